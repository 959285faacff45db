"""Whose code is like whose: what a teacher may want to read side by side, and never an accusation.

Code is compared as MOSS and JPlag do it: as n-grams of its syntax tree's tokens. Layout, comments, docstrings and the
names that a student gave do not count. Nor does what the handout gives to everybody, nor what a fifth of all hand-ins
have: a formula has few ways to be written. (Schleimer, Wilkerson, Aiken, "Winnowing", SIGMOD 2003.)
"""

import ast
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from diffusion_lib.homework.exercises import Assignment, get, tree
from diffusion_lib.homework.finding import parsed
from grader.hand_ins import discover
from grader.reading import read
from grader.trees import definition, stub

LENGTH = 8  # tokens of an n-gram: about a line of a formula
SHARE, FEWEST = 0.5, 20  # of the smaller code's n-grams in the other; of n-grams that both have
COMMON, COMMON_LEAST = 0.2, 3  # what more of the hand-ins have is everybody's
MOST_CHARACTERS = 200_000  # of a file
Grams = dict[int, list[tuple[str, int, int]]]  # an n-gram -> file, first and last line, wherever it stands


@dataclass(frozen=True)
class Alike:
    """Two hand-ins, the share of the smaller one's n-grams that the other has, and the lines in both."""

    hand_in: str
    earlier: str
    same_student: bool
    share: float
    lines: str  # "diffusion_lib/diffusion.py 41–48, 60–63"
    earlier_lines: str
    text: str  # what stands in these lines
    earlier_text: str


@dataclass
class Code:
    """What is compared of a hand-in, and the files that it is in."""

    name: str
    student: str
    grams: Grams
    sources: Mapping[str, str]


def compare(folder: Path, earlier: Iterable[Path], assignment: Assignment) -> list[Alike]:
    """The pairs of hand-ins in ``folder`` and in the folders ``earlier`` that are alike, most alike first."""
    now = codes(folder, assignment)
    then = [code for place in earlier for code in codes(place, assignment)]
    return alike(now, then)


def codes(folder: Path, assignment: Assignment) -> list[Code]:
    """The code of every hand-in in ``folder`` that counts."""
    exercises, found = [get(name) for name in assignment.exercises], []
    texts, given = _handout(tuple(assignment.exercises))
    for hand_in in discover(folder):
        if not (hand_in.aside or hand_in.superseded_by):
            read(hand_in, exercises)
            there = hand_in.beside | hand_in.sources
            sources = {file: text for file, text in there.items() if text not in texts}
            own = {gram: places for gram, places in grams(sources).items() if gram not in given}
            found.append(Code(hand_in.name, hand_in.student, own, sources))
    return found


@cache
def _handout(names: tuple[str, ...]) -> tuple[frozenset[str], frozenset[int]]:
    """The files that everybody gets, and their n-grams."""
    root = tree()
    texts = {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
             for path in (root / "diffusion_lib").rglob("*.py")}  # fmt: skip
    for exercise in map(get, names):
        texts[exercise.path] = stub(texts[exercise.path], exercise)
    return frozenset(texts.values()), frozenset(grams(texts))


def alike(now: list[Code], then: list[Code]) -> list[Alike]:
    """Pairs above the thresholds; see :func:`compare`."""
    seen = Counter(gram for code in [*now, *then] for gram in code.grams)
    most = max(COMMON_LEAST, COMMON * (len(now) + len(then)))
    own = {id(code): {gram for gram in code.grams if seen[gram] <= most} for code in [*now, *then]}
    found = []
    for a in now:
        for b in then:
            both = own[id(a)] & own[id(b)]
            share = len(both) / max(1, min(len(own[id(a)]), len(own[id(b)])))
            if len(both) >= FEWEST and share >= SHARE:
                (lines, text), (earlier_lines, earlier_text) = _shown(a, both), _shown(b, both)
                same = a.student == b.student
                found.append(Alike(a.name, b.name, same, share, lines, earlier_lines, text, earlier_text))
    return sorted(found, key=lambda pair: (-pair.share, pair.hand_in, pair.earlier))


def _shown(code: Code, shared: set[int]) -> tuple[str, str]:
    """The lines of n-grams as ranges, and what stands in them."""
    marked: dict[str, set[int]] = {}
    for file, first, last in (place for gram in shared for place in code.grams[gram]):
        marked.setdefault(file, set()).update(range(first, last + 1))
    ranges = "; ".join(f"{file} {', '.join(_ranges(sorted(lines)))}" for file, lines in sorted(marked.items()))
    texts = {file: code.sources[file].splitlines() for file in marked}
    return ranges, "\n".join(texts[file][line - 1] for file in sorted(marked) for line in sorted(marked[file]))


def _ranges(lines: list[int]) -> Iterator[str]:
    start = lines[0]
    for line, following in zip(lines, [*lines[1:], 0], strict=True):
        if following != line + 1:
            yield f"{start}–{line}" if line > start else str(line)
            start = following


def grams(sources: Mapping[str, str]) -> Grams:
    """The n-grams of all functions and classes in ``sources``, file -> text."""
    found: Grams = {}
    for file, text in sources.items():
        if len(text) > MOST_CHARACTERS:
            continue
        try:
            parts = [list(_tokens(part)) for part in parsed(text).body]
        except RecursionError:
            continue
        for tokens in parts:
            for run in zip(*(tokens[i:] for i in range(LENGTH)), strict=False):
                lines = [line for _, line in run]
                gram = int.from_bytes(hashlib.blake2b(repr([t for t, _ in run]).encode(), digest_size=8).digest())
                found.setdefault(gram, []).append((file, min(lines), max(lines)))
    return found


def _tokens(part: ast.stmt) -> Iterator[tuple[str, int]]:
    """(token, line) for every node of a top-level statement, in the order of the text."""
    named = {n.arg for n in ast.walk(part) if isinstance(n, ast.arg)}
    named |= {n.id for n in ast.walk(part) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    yield from _of(part, named, part.lineno)


def _of(node: ast.AST, named: set[str], line: int) -> Iterator[tuple[str, int]]:
    line = getattr(node, "lineno", line)
    if isinstance(node, ast.expr_context | ast.arguments):
        return  # arguments are the exercise's
    yield _token(node, named), line
    for child in ast.iter_child_nodes(node):
        if not _docstring(child):
            yield from _of(child, named, line)


def _docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _token(node: ast.AST, named: set[str]) -> str:
    kind = type(node).__name__
    if isinstance(node, ast.Name):
        return kind if node.id in named else f"{kind} {node.id}"
    if isinstance(node, ast.Attribute):
        return f"{kind} {node.attr}"
    return f"{kind} {node.value!r}" if isinstance(node, ast.Constant) else kind


def fingerprint(sources: dict[str, str], assignment: Assignment) -> str:
    """A hash of the graded functions' syntax trees with docstrings and all names taken out; empty if incomplete."""
    trees = []
    for name in assignment.exercises:
        try:
            function = definition(ast.parse(sources.get(get(name).path, "")), get(name).attribute)
        except (SyntaxError, ValueError, RecursionError):
            return ""
        if function is None or any(isinstance(n, ast.Raise) for n in function.body):
            return ""
        names: dict[str, str] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.Name):
                node.id = names.setdefault(node.id, f"n{len(names)}")
            elif isinstance(node, ast.arg):
                node.arg, node.annotation = names.setdefault(node.arg, f"n{len(names)}"), None
        first = function.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            function.body = function.body[1:] or [ast.Pass()]
        trees.append("".join(ast.dump(node) for node in function.body))
    return hashlib.sha256("\n".join(trees).encode()).hexdigest()[:16]
