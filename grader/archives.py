"""Look into a hand-in without unpacking it: folders, .zip, .tar.gz, single files, and archives inside archives.

Whatever is in there, looking writes nothing, follows no link and takes a bounded amount of memory.
"""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from itertools import islice, takewhile
from pathlib import Path, PurePosixPath
from typing import IO

MOST_SOURCE = 1 * 2**20  # bytes of one graded file
MOST_INNER = 64 * 2**20  # bytes of an archive inside an archive
MOST_TAR = 512 * 2**20  # bytes that a .tar.gz may unpack to
MOST_NAMES = 20_000
MOST_DEPTH = 2
ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")
SKIPPED = {
    "__MACOSX", ".venv", "venv", "env", ".env", "site-packages", "node_modules", "__pycache__", ".git", ".idea",
    ".vscode", ".ipynb_checkpoints", ".pytest_cache", ".mypy_cache", ".ruff_cache", "runs",
}  # fmt: skip
BROKEN = (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, NotImplementedError, RuntimeError, ValueError)
UNSAFE = "It holds links or names with '..' or a leading '/': ignored."
Load = Callable[[int], bytes]  # most bytes -> the file's bytes, ValueError where there are more
Files = dict[str, Load]  # names with "/" inside the hand-in


def is_archive(name: str) -> bool:
    """Can this file, by its name, be looked into?"""
    return name.lower().endswith(ARCHIVES)


def stem(name: str) -> str:
    """``name`` without the ending of an archive."""
    return next((name[: -len(end)] for end in ARCHIVES if name.lower().endswith(end)), name)


def look(path: Path, notes: list[str]) -> Files:
    """The files of the hand-in at ``path``, environments and caches left out; raises one of BROKEN."""
    if path.is_symlink():
        raise ValueError("it is a link, not a hand-in")
    if path.is_dir():
        files: Files = {name: partial(_from_disk, path / os.fsdecode(name)) for name in walk(path)}
    elif is_archive(path.name):
        files = _open(path.name, path.open("rb"), notes)
    else:
        files = {path.name: partial(_from_disk, path)}
    return _with_inner(files, notes, MOST_DEPTH)


def _with_inner(files: Files, notes: list[str], depth: int) -> Files:
    """``files`` with those of archives among them, under the archive's name."""
    found: Files = {}
    for name, load in files.items():
        found[name] = load
        if depth and is_archive(name):
            try:
                inner = _with_inner(_open(name, io.BytesIO(load(MOST_INNER)), notes), notes, depth - 1)
                found |= {f"{stem(name)}/{n}": inside for n, inside in inner.items()}
            except BROKEN as error:
                notes.append(f"{name} inside it cannot be opened: {error}.")
    return found


def _open(name: str, file: IO[bytes], notes: list[str]) -> Files:
    found = _zip(file) if name.lower().endswith(".zip") else _tar(file)
    files: Files = {}
    for raw, load in found:
        inside = raw.replace("\\", "/")  # as Windows writes them
        parts = PurePosixPath(inside).parts
        if load is None or not parts or ".." in parts or inside.startswith("/"):
            if UNSAFE not in notes:
                notes.append(UNSAFE)
        elif not SKIPPED & set(parts[:-1]):
            files["/".join(parts)] = load
        if len(files) >= MOST_NAMES:
            break
    return files


def _zip(file: IO[bytes]) -> Iterator[tuple[str, Load | None]]:
    archive = zipfile.ZipFile(file)
    for info in archive.infolist():
        if not info.is_dir() and not info.filename.endswith("\\"):
            is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
            yield info.filename, None if is_link else partial(_from_zip, archive, info)


def _tar(file: IO[bytes]) -> Iterator[tuple[str, Load | None]]:
    archive = tarfile.open(fileobj=file, mode="r:*")  # noqa: SIM115  (read from later)
    for member in archive:
        if member.offset_data + member.size > MOST_TAR:
            raise ValueError(f"it unpacks to more than {MOST_TAR // 2**20} MiB")
        if not member.isdir():
            yield member.name.removeprefix("./"), partial(_from_tar, archive, member) if member.isreg() else None


def _from_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    with archive.open(info) as file:
        return _bounded(file, most)


def _from_tar(archive: tarfile.TarFile, member: tarfile.TarInfo, most: int) -> bytes:
    file = archive.extractfile(member)
    return _bounded(file, most) if file else b""


def _from_disk(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        return _bounded(file, most)


def _bounded(file: IO[bytes], most: int) -> bytes:
    data = file.read(most + 1)  # a bomb is unpacked no further
    if len(data) > most:
        raise ValueError(f"larger than {most // 2**20} MiB")
    return data


def walk(folder: Path) -> list[str]:
    """Files under ``folder`` as relative names, links, environments and caches left out."""
    names: list[str] = []
    for root, folders, files in os.walk(folder, followlinks=False):
        folders[:] = sorted(set(folders) - SKIPPED)
        for name in sorted(files):
            path = Path(root, name)
            if path.is_file() and not path.is_symlink():
                names.append(path.relative_to(folder).as_posix())
        if len(names) > MOST_NAMES:
            break
    return names


def newest(path: Path) -> datetime | None:
    """When the newest file of a hand-in was last written, as its machine dated it; None where nothing is dated."""
    if path.is_dir() and not path.is_symlink():
        times = [datetime.fromtimestamp((path / os.fsdecode(name)).stat().st_mtime) for name in walk(path)]
    elif path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist()[:MOST_NAMES] if not info.is_dir()]
        times = [when for info in infos if (when := _dated(info))]
    elif is_archive(path.name):
        with tarfile.open(path) as archive_of_tar:
            members = takewhile(lambda m: m.offset_data + m.size <= MOST_TAR, islice(archive_of_tar, MOST_NAMES))
            times = [datetime.fromtimestamp(member.mtime) for member in members if member.isreg()]
    else:
        times = [datetime.fromtimestamp(path.lstat().st_mtime)]
    return max(times, default=None)


def _dated(info: zipfile.ZipInfo) -> datetime | None:
    """The entry's time; None where the packer left it out, which reads as 1980."""
    try:
        when = datetime(*info.date_time)
    except ValueError:
        return None
    return when if when.year > 1980 else None
