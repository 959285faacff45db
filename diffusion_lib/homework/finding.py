"""Find and load the function that a student wrote, the same way for whoever checks."""

import ast
import importlib.util
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from diffusion_lib.homework.formerly import Formerly

OWN_STUB = re.compile(r"Exercise [A-Z\d]+\.\d+, \w+")  # how the message of every stub begins
SETTERS = ("set_default_dtype", "set_default_tensor_type", "set_default_device", "set_grad_enabled", "manual_seed",
           "set_deterministic", "use_deterministic_algorithms")  # fmt: skip


def load_source(path: Path, module: str = "diffusion_lib.diffusion") -> ModuleType:
    """The file at ``path`` as ``module``, read afresh: what was edited a second ago counts, and nothing stays behind.

    It runs as a part of its package, so that relative imports work. What it sets in torch for everybody, the default
    dtype, gradients, the random state, is set back.
    """
    package, _, stem = module.rpartition(".")
    name = f"{package}._checked_{stem}" if package else f"_checked_{stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file.")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[name] = loaded  # dataclasses look their module up
    settings = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_rng_state(), sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    formerly = Formerly()
    sys.meta_path.append(formerly)
    try:
        spec.loader.exec_module(loaded)
    finally:
        sys.meta_path.remove(formerly)
        dtype, grad, state, sys.dont_write_bytecode = settings
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        torch.set_rng_state(state)
        sys.modules.pop(name, None)
    return loaded


def parsed(source: str) -> ast.Module:
    """The syntax tree of ``source``; an empty one where it is no Python."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])


def definitions(tree: ast.Module, attribute: str) -> list[ast.FunctionDef]:
    """Every ``def`` of ``attribute`` ("f" or "Class.f"), in the order of the file, inside ``if`` and ``try`` too."""
    *classes, name = attribute.split(".")
    bodies: list[Any] = [tree]
    for cls in classes:
        bodies = [n for body in bodies for n in _statements(body) if isinstance(n, ast.ClassDef) and n.name == cls]
    return [n for body in bodies for n in _statements(body) if isinstance(n, ast.FunctionDef) and n.name == name]


def _statements(node: Any) -> Iterator[ast.stmt]:
    """The statements of a block, and of the blocks of ``if``, ``try``, ``with`` in it, in their order."""
    for part in ("body", "handlers", "orelse", "finalbody"):
        for child in getattr(node, part, []):
            if isinstance(child, ast.stmt):
                yield child
            if isinstance(child, ast.If | ast.Try | ast.With | ast.ExceptHandler | ast.For | ast.While):
                yield from _statements(child)


def stub_line(function: ast.FunctionDef) -> int:
    """The line of the exercise's ``raise`` in a function; 0 where it is none of ours."""
    for node in function.body:
        if isinstance(node, ast.Raise) and node.exc is not None and OWN_STUB.search(_message(node.exc)):
            return node.lineno
    return 0


def _message(raised: ast.expr) -> str:
    return "".join(n.value for n in ast.walk(raised) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def written(source: str, attributes: Collection[str]) -> list[str]:
    """Which of these functions ``source`` defines, by ``def`` or by assignment, with more in them than our stub."""
    tree, found = parsed(source), []
    assigned = {ast.unparse(t) for n in _statements(tree) if isinstance(n, ast.Assign) for t in n.targets}
    for attribute in attributes:
        functions = definitions(tree, attribute)
        if attribute in assigned or any(not stub_line(f) or _below(f) for f in functions):
            found.append(attribute)
    return found


def _below(function: ast.FunctionDef) -> list[ast.stmt]:
    """What stands below a stub's ``raise``, and is never reached."""
    return [node for node in function.body if stub_line(function) and node.lineno > stub_line(function)]


def unreached(source: str, attribute: str) -> str:
    """Why a function that is there still says that it is not written; empty where it really is not."""
    functions = definitions(parsed(source), attribute)
    if not functions or not (line := stub_line(functions[-1])):
        return ""
    real = [f for f in functions[:-1] if not stub_line(f)]
    if real:
        return (
            f"{attribute} is written in line {real[-1].lineno}, and the stub in line {functions[-1].lineno} replaces "
            "it: delete the stub."
        )
    if below := _below(functions[-1]):
        return (
            f"{attribute} is written in line {below[0].lineno}, below the stub's raise in line {line}, and is never "
            "reached: delete the raise."
        )
    return ""


def global_settings(source: str) -> list[str]:
    """What a file sets in torch for everybody when it is imported, line by line."""
    calls = [n for s in _statements(parsed(source)) if isinstance(s, ast.Expr | ast.Assign) for n in [s.value]]
    return [
        f"line {call.lineno}: {ast.unparse(call)} changes torch for every program that imports this file. It was "
        "checked without; delete it."
        for call in calls
        if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] in SETTERS
    ]
