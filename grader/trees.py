"""Copies of the repository's packages: whole, with the answers taken out, zipped."""

import ast
import json
import re
import shutil
import zipfile
from collections.abc import Collection
from pathlib import Path

from diffusion_lib.homework.exercises import Exercise
from diffusion_lib.homework.finding import definitions

FORMULA = re.compile(r"[^`.]{1,20} [=←] ")  # how a docstring's paragraph begins that is a formula
FIXED_DATE = (2020, 1, 1, 0, 0, 0)  # in zips, so that equal trees give equal bytes


def copy_package(
    package: Path, target: Path, *, taken: Collection[Exercise] = (), without: Collection[str] = ()
) -> None:
    """Copy the folder ``package`` into ``target``, the bodies of ``taken`` taken out.

    Files and folders named in ``without`` stay behind, and so do caches and whatever is hidden: an editor's backup of
    a module holds its answers.
    """
    for path in sorted(package.rglob("*")):
        parts = path.relative_to(package.parent).parts
        if not path.is_file() or any(part.startswith((".", "__pycache__")) or part in without for part in parts):
            continue
        goal = target.joinpath(*parts)
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, goal)
    for exercise in taken:
        file = target / exercise.path
        file.write_text(stub(file.read_text(encoding="utf-8"), exercise), encoding="utf-8")


def stub(source: str, exercise: Exercise) -> str:
    """The module's ``source`` with the exercise's part of the body replaced by a NotImplementedError that says what to
    do; what stands before that part is given, and docstrings keep no formula."""
    source = without_formulas(source, exercise.attribute)
    function = definition(ast.parse(source), exercise.attribute)
    if function is None:
        raise ValueError(f"{exercise.path} has no {exercise.attribute}.")
    taken = next((node for node in _statements(function) if ast.unparse(node).startswith(exercise.begins)), None)
    if taken is None:
        raise ValueError(f"{exercise.attribute} in {exercise.path} has no statement {exercise.begins!r}.")
    indent = " " * function.body[0].col_offset
    message = f"Exercise {exercise.number}, {exercise.name}: {exercise.task}. See notebook {exercise.reread}."
    lines = source.splitlines()
    body = [
        f"{indent}raise NotImplementedError(",
        f"{indent}    {json.dumps(message, ensure_ascii=False)}",
        f"{indent})",
    ]
    return "\n".join([*lines[: taken.lineno - 1], *body, *lines[function.end_lineno :]]) + "\n"


def without_formulas(source: str, attribute: str) -> str:
    """``source`` with the formulas out of the docstrings of ``attribute`` and its class; each is a paragraph there."""
    module = ast.parse(source)
    outer = [node for node in module.body if getattr(node, "name", "") == attribute.partition(".")[0]]
    for node in [*outer, definition(module, attribute)]:
        told = ast.get_docstring(node, clean=False) or "" if isinstance(node, ast.ClassDef | ast.FunctionDef) else ""
        kept = [part for part in told.split("\n\n") if not FORMULA.match(part.strip())]
        source = source.replace(told, "\n\n".join(kept), 1)
    return source


def _statements(function: ast.FunctionDef) -> list[ast.stmt]:
    """The body without its docstring."""
    return function.body[ast.get_docstring(function, clean=False) is not None :]


def definition(module: ast.Module, attribute: str) -> ast.FunctionDef | None:
    """The function called ``attribute`` ("f" or "Class.f") in a syntax tree; the last, where there are several."""
    found = definitions(module, attribute)
    return found[-1] if found else None


TEXTS = {".py", ".sh", ".toml", ".lock", ".md", ".yml", ".ipynb", ".html", ".css", ".js", ""}  # "": Makefile, scripts


def pack_folder(folder: Path, target: Path, *, inside: bool = True) -> None:
    """Zip the files under ``folder``, ``inside`` one folder of its name or at the top.

    Lines of text end as Linux wants them, whichever system packs: Make and the shell read no other script.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and not path.is_symlink():
                name = f"{folder.name}/{relative.as_posix()}" if inside else relative.as_posix()
                info = zipfile.ZipInfo(name, FIXED_DATE)
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o755 << 16
                data = path.read_bytes()
                archive.writestr(info, data.replace(b"\r\n", b"\n") if path.suffix in TEXTS else data)
