"""Likeness: copies are told however they are dressed up, people who wrote for themselves are not."""

import ast
import inspect
import itertools
import textwrap
import tomllib

import pytest
from classroom import FILE, SOLUTION, student_source, zipped
from conftest import ROOT

from diffusion_lib.homework.exercises import assignment_path, get, load_assignment
from grader.catalogue.styles import STYLES
from grader.grading import Result
from grader.likeness import Alike, Code, alike, codes, compare, grams
from grader.reports import write_reports
from grader.trees import stub

ASSIGNMENT = load_assignment(assignment_path())
NAMES = tuple(ASSIGNMENT.exercises)


@pytest.fixture(scope="module")
def people():
    """Fifty people, each with three functions written for themselves: file -> text."""
    strangers = tomllib.loads((ROOT / "grader" / "catalogue" / "strangers.toml").read_text(encoding="utf-8"))
    styles = {name: [textwrap.dedent(inspect.getsource(f)).partition("\n")[2] for f in STYLES[name]] for name in NAMES}
    pools = {name: styles[name] + [entry["code"] for entry in strangers[name]] for name in NAMES}
    count = min(map(len, pools.values()))
    steps = dict(zip(NAMES, (1, 3, 5), strict=True))
    return [{f"{n}.py": pool[i * steps[n] % len(pool)] for n, pool in pools.items()} for i in range(count)]


def code(name, sources):
    return Code(name, name, grams(sources), sources)


def wrote(people):
    return [code(f"p{i}", sources) for i, sources in enumerate(people)]


def test_people_who_wrote_for_themselves_are_not_told(people):
    half = len(people) // 2
    told = alike(wrote(people)[:half], wrote(people)[half:])
    shared = [(a, b) for a, b in itertools.product(people[:half], people[half:]) if set(a.values()) & set(b.values())]
    assert half >= 20
    assert len(told) <= len(shared)  # two of them may hold one function of the pools
    for pair in told:
        assert set(people[int(pair.hand_in[1:])].values()) & set(people[int(pair.earlier[1:])].values())


class Renamed(ast.NodeTransformer):
    """Every name that a student gave, given anew."""

    def __init__(self, tree):
        self.names = {n.arg for n in ast.walk(tree) if isinstance(n, ast.arg)}
        self.names |= {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}

    def visit_Name(self, node):
        node.id = f"my_{node.id}" if node.id in self.names else node.id
        return node

    def visit_arg(self, node):
        node.arg = f"my_{node.arg}"
        return node


def renamed(text):
    tree = ast.parse(text)
    return ast.unparse(Renamed(tree).visit(tree))


def commented(text):
    lines = ["# mine", *itertools.chain(*((line, "") for line in ast.unparse(ast.parse(text)).splitlines()))]
    return "\n".join(lines).replace("):\n", "):\n    'My own words.'\n", 1)


@pytest.mark.parametrize("dress", [renamed, commented, lambda text: commented(renamed(text))])
def test_a_copy_is_told_however_it_is_dressed_up(people, dress):
    half = len(people) // 2
    classmates, earlier = wrote(people)[:half], wrote(people)[half:]
    for i in range(half, len(people), 5):
        copy = code("copy", {name: dress(text) for name, text in people[i].items()})
        told = {pair.earlier: pair.share for pair in alike([copy, *classmates], earlier) if pair.hand_in == "copy"}
        assert told[f"p{i}"] == 1


def test_the_lines_are_those_of_the_copied_part(people):
    fifth = people[5]["p_sample.py"]
    mine = "x = 1\n" * 7 + fifth + "\n\n\ndef other():\n    return [print(i) for i in range(3)]\n"
    theirs = "y = 2\n" * 3 + fifth
    now, then = code("a", {"f.py": mine}), code("b", {"f.py": theirs})
    [pair] = alike([now], [then])
    last = len(fifth.rstrip().splitlines())
    first, end = map(int, pair.lines.removeprefix("f.py ").split("–"))
    assert (first >= 8, end <= 7 + last) == (True, True)
    assert pair.earlier_lines == f"f.py {first - 4}–{end - 4}"
    assert pair.text == pair.earlier_text == "\n".join(mine.splitlines()[first - 1 : end])


def test_what_everybody_has_is_not_counted(people):
    crowd = [code(f"p{i}", people[3]) for i in range(12)]
    assert alike(crowd[:6], crowd[6:]) == []
    assert len(alike(crowd[:1], crowd[1:2])) == 1


def test_the_handout_is_not_counted_and_own_files_are(tmp_path):
    empty, helper = SOLUTION, "def helper(a, b):\n    " + "\n    ".join(f"a = a * {i} + b.at({i})" for i in range(9))
    for exercise in map(get, NAMES):
        empty = stub(empty, exercise)
    for year in ("now", "then"):
        (tmp_path / year).mkdir()
        zipped(tmp_path / year, "roe", {f"h/{FILE}": empty + "\n# not the handout to the last byte\n"})
        zipped(
            tmp_path / year, f"doe{year}", {f"h/{FILE}": empty, "h/diffusion_lib/mine.py": helper + "\n    return a\n"}
        )
    assert [len(found.grams) > 20 for found in codes(tmp_path / "now", ASSIGNMENT)] == [True, False]
    [pair] = compare(tmp_path / "now", [tmp_path / "then"], ASSIGNMENT)
    assert (pair.hand_in, pair.earlier, pair.same_student) == ("doenow.zip", "doethen.zip", False)
    assert pair.lines.startswith("diffusion_lib/mine.py ")


def test_a_student_who_comes_again_is_named_as_such(tmp_path):
    body = "a = schedule.at('alphas_cumprod', t, x_start)\n" + "\n".join(f"a = a + {i} - {i}" for i in range(1, 9))
    for year in ("now", "then"):
        (tmp_path / year).mkdir()
        source = student_source(q_sample=body + "\nreturn a.sqrt() * x_start + (1 - a).sqrt() * noise")
        zipped(tmp_path / year, "roe_112_1_h", {f"h/{FILE}": source})
    [pair] = compare(tmp_path / "now", [tmp_path / "then"], ASSIGNMENT)
    assert pair.same_student


@pytest.mark.parametrize("text", ["def f(:", "x" * 300_000, "f" + "(" * 5000, "-" * 50_000 + "1", "\0"])
def test_what_cannot_be_parsed_is_not_compared(text):
    assert grams({"f.py": text}) == {}


def test_the_report_tells_it_to_the_teacher_alone(tmp_path):
    result = Result("<b>.zip", "<b>", False, "graded")
    pair = Alike("<b>.zip", "old & grey.zip", False, 0.75, "f.py 3–9", "f.py 1–7", "x < 1", "x < 1")
    for earlier, words in (
        ([pair], "old &amp; grey.zip</td><td>75 %</td><td>f.py 3–9</td>"),
        ([], "None."),
        (None, ""),
    ):
        write_reports(tmp_path, [result], ASSIGNMENT, earlier)
        report = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert ("Like earlier hand-ins" in report) == (earlier is not None)
        assert words in report
        assert "<b>.zip" not in report
        assert report.count("<pre>x &lt; 1</pre>") == 2 * bool(earlier)
        [page] = tmp_path.glob("students/*/feedback.html")
        assert "grey" not in page.read_text(encoding="utf-8")
