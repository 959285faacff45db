"""Find hand-ins in a folder and read from each just the files that are graded. Nothing is ever unpacked.

A hand-in is a .zip or a folder, as Canvas or Gradescope names it. Whatever it holds, reading it writes nothing, follows
no link and takes a bounded amount of memory.
"""

import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MOST_SOURCE = 1 * 2**20  # bytes of one graded file
MOST_NAMES = 20_000
CANVAS = re.compile(r"^(?P<who>[^_]+)(?P<late>_LATE)?_(?P<user>\d+)_(?P<submission>\d+)_(?P<file>.*)$")
PAPER = re.compile(r"(write-?up[^/]*|\.ipynb)$", re.IGNORECASE)
MERGE_MARK = re.compile(r"^(<{7} |={7}$|>{7} )", re.MULTILINE)
Load = Callable[[str], bytes]  # a name inside the hand-in -> its bytes; ValueError where there are too many


@dataclass
class HandIn:
    """One student's hand-in, read."""

    name: str  # as in the folder, printable
    path: Path
    student: str
    late: bool = False
    superseded_by: str = ""
    sources: dict[str, str] = field(default_factory=dict)  # "diffusion_lib/diffusion.py" -> text
    problems: dict[str, str] = field(default_factory=dict)  # the same names -> why there is no text
    notes: list[str] = field(default_factory=list)
    papers: list[str] = field(default_factory=list)  # notebooks and write-ups, for the person who marks them
    problem: str = ""  # why nothing could be read

    @property
    def key(self) -> str:
        """A file name for its results, different for different hand-ins."""
        return key_of(self.name)


def key_of(name: str) -> str:
    """The folder of a hand-in's results."""
    return re.sub(r"[^\w.-]+", "_", name)[:100].lstrip(".") or "unnamed"


def printable(name: str) -> str:
    """A file name that can be written anywhere; bytes that are no text show as \\xNN."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def discover(folder: Path) -> list[HandIn]:
    """All hand-ins in ``folder``, by name; of several by one student all but the newest are marked."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder of hand-ins.")
    found = []
    for path in sorted(folder.iterdir()):
        name = printable(path.name)
        if name.startswith(".") or name == "__MACOSX" or not (path.is_dir() or path.suffix.lower() == ".zip"):
            continue
        stem = name[: -len(path.suffix)] if path.suffix.lower() == ".zip" else name
        match = CANVAS.match(stem)
        student = f"{match['who']} ({match['user']})" if match else re.sub(r" \(\d+\)$", "", stem)
        found.append(HandIn(name, path, student, late=bool(match and match["late"])))
    newest: dict[str, HandIn] = {}
    for hand_in in sorted(found, key=_age):
        newest[hand_in.student] = hand_in
    for hand_in in found:
        if newest[hand_in.student] is not hand_in:
            hand_in.superseded_by = newest[hand_in.student].name
    keys: dict[str, int] = {}
    for hand_in in found:
        keys[hand_in.key] = keys.get(hand_in.key, 0) + 1
        if keys[hand_in.key] > 1:
            hand_in.name += f"~{keys[hand_in.key]}"
    return found


def _age(hand_in: HandIn) -> tuple[int, int, str]:
    """Later hand-ins last: by Canvas's submission number, then by the -N that downloads append."""
    stem = hand_in.name.removesuffix(".zip")
    match = CANVAS.match(stem)
    again = re.search(r"-(\d+)$", stem) if match else re.search(r" \((\d+)\)$", stem)
    return int(match["submission"]) if match else 0, int(again[1]) if again else 0, hand_in.name


def read(hand_in: HandIn, wanted: list[str]) -> None:
    """Fill in the sources of ``wanted`` ("diffusion_lib/diffusion.py"), or why they cannot be read."""
    try:
        if hand_in.path.is_symlink():
            hand_in.problem = "It is a link, not a hand-in."
        elif hand_in.path.is_dir():
            _read(hand_in, wanted, _folder_names(hand_in.path), lambda name: _file(hand_in.path / os.fsdecode(name)))
        else:
            with zipfile.ZipFile(hand_in.path) as archive:
                names = {info.filename: info for info in archive.infolist()[:MOST_NAMES] if not info.is_dir()}
                safe = [name for name, info in names.items() if _harmless(name, info)]
                if len(safe) < len(names):
                    hand_in.notes.append("It holds links or names with '..' or a leading '/': ignored.")
                _read(hand_in, wanted, safe, lambda name: _member(archive, names[name]))
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        hand_in.problem = f"It cannot be opened: {error or type(error).__name__}."


def _read(hand_in: HandIn, wanted: list[str], names: list[str], load: Load) -> None:
    names = [name for name in names if "__MACOSX" not in name]
    if not names:
        hand_in.problem = "It is empty."
        return
    papers = [name for name in names if PAPER.search(name) and ".ipynb_checkpoints" not in name]
    hand_in.papers = sorted(map(printable, papers))
    for target in wanted:
        place = _place(hand_in, target, names)
        if place is None:
            hand_in.problems[target] = f"{target} is not in the hand-in."
        else:
            _source(hand_in, target, place, load)
    for name in hand_in.papers:
        if name.endswith(".ipynb") and name in names and MERGE_MARK.search(_glance(load, name)):
            hand_in.notes.append(f"{name} holds merge marks and cannot be opened.")


def _place(hand_in: HandIn, target: str, names: list[str]) -> str | None:
    """The name under which ``target`` was handed in, a note where that is unusual; None where it was not."""
    places = [n for n in names if n == target or n.endswith("/" + target)] or [
        n for n in names if PurePosixPath(n).name == PurePosixPath(target).name
    ]
    if not places:
        return None
    place = min(places, key=lambda n: (n.count("/"), n))
    if len(places) > 1:
        hand_in.notes.append(f"{target} is there {len(places)} times; graded: {printable(place)}.")
    elif place.removesuffix(target).count("/") > 1 or not place.endswith(target):
        hand_in.notes.append(f"{target} was found at {printable(place)}.")
    return place


def _source(hand_in: HandIn, target: str, place: str, load: Load) -> None:
    """Load the text of ``target``, or say why there is none."""
    try:
        data = load(place)
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
        hand_in.notes.append(f"{target} is not UTF-8; read as Latin-1.")
    except ValueError as error:
        hand_in.problems[target] = f"{target}: {error}"
        return
    if MERGE_MARK.search(text):
        hand_in.problems[target] = f"{target} holds merge marks (<<<<<<<): choose one side and delete them."
    else:
        hand_in.sources[target] = text.replace("\r\n", "\n")


def _glance(load: Load, name: str) -> str:
    try:
        return load(name).decode("utf-8", errors="replace")
    except ValueError:
        return ""


def _harmless(name: str, info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
    return bool(parts) and ".." not in parts and not name.startswith(("/", "\\")) and not is_link


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as file:
        data = file.read(MOST_SOURCE + 1)  # a bomb is unpacked no further
    return _bounded(data)


def _file(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(file.read(MOST_SOURCE + 1))


def _bounded(data: bytes) -> bytes:
    if len(data) > MOST_SOURCE:
        raise ValueError(f"larger than {MOST_SOURCE // 2**20} MiB")
    return data


def _folder_names(folder: Path) -> list[str]:
    """Files under ``folder`` as relative names, links left out."""
    names: list[str] = []
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(f for f in folders if f not in (".git", ".venv", "__pycache__", "runs"))
        for name in sorted(files):
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                names.append(path.relative_to(folder).as_posix())
        if len(names) > MOST_NAMES:
            break
    return names
