"""Which code a run belongs to: a digest of a function, and of what it calls in its own file."""

import ast
import hashlib

from diffusion_lib.homework.finding import definitions, parsed


def digest(source: str, attribute: str) -> str:
    """Twelve hex digits for the function ``attribute`` of ``source``; layout, comments and docstrings do not count.

    Functions of the same file that it calls, directly or through others, count as well. Where there is no such
    ``def``, the whole text counts.
    """
    tree = parsed(source)
    waiting, texts = [attribute], {}
    while waiting:
        name = waiting.pop()
        found = definitions(tree, name)
        if name in texts or not found:
            continue
        texts[name] = _bare(found[-1])
        waiting += [node.id for node in ast.walk(found[-1]) if isinstance(node, ast.Name)]
    told = "\n".join(texts[name] for name in sorted(texts)) or source
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _bare(function: ast.FunctionDef) -> str:
    """The function as Python prints it, without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    named = (function.name, ast.unparse(function.args))
    return "\n".join([*named, *(ast.unparse(node) for node in body)])
