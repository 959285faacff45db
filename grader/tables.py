"""Tables as spreadsheets and course systems write them: what is not changed is given back byte for byte.

Understood are commas, semicolons and tabs, UTF-8 and UTF-16 with their marks, Windows' cp1252, and Excel's ``sep=``
line. What cannot be understood is refused with its line and column, and no file is written.
"""

import codecs
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}
NUMBER = re.compile(r"[0-9]+[.,]?[0-9]*|[.,][0-9]+")
FORMULA = ("=", "+", "-", "@", "\t", "'")  # what a spreadsheet would not take for text, and the sign that prevents it


def write_whole(path: Path, content: str | bytes) -> None:
    """Write ``path`` so that whoever reads it, whenever, finds the old file or the whole new one."""
    path = path.resolve()  # a link stays a link
    data = content.encode("utf-8", errors="backslashreplace") if isinstance(content, str) else content
    part = path.with_name(f".{uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def number(text: str) -> float | None:
    """A number with a decimal point or comma; None where it is none, or negative."""
    return float(text.replace(",", ".")) if NUMBER.fullmatch(text) else None


def safe(text: str) -> str:
    """A cell's text that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(FORMULA) else text


@dataclass
class Row:
    """One record: its cells as they stand in the file, quotation marks included."""

    line: int
    cells: list[str]
    end: str

    def text(self, column: int | None) -> str:
        """A cell's text; empty where the row is too short, or there is no such column."""
        raw = self.cells[column] if column is not None and column < len(self.cells) else ""
        return raw[1:-1].replace('""', '"') if raw.startswith('"') else raw


@dataclass
class Table:
    """The rows of a file under its first, and how they were written."""

    path: Path
    encoding: str = "utf-8"
    prefix: str = ""  # a byte-order mark, a line sep=;
    delimiter: str = ","
    head: Row = field(default_factory=lambda: Row(1, [], "\n"))
    rows: list[Row] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [self.head.text(i).strip() for i in range(len(self.head.cells))]

    def column(self, name: str) -> int | None:
        """The place of a column, capitals aside; None where there is none, ValueError where there are several."""
        found = [i for i, known in enumerate(self.names) if known.casefold() == name.casefold()]
        if len(found) > 1:
            raise ValueError(f"{self.path}, line {self.head.line}: the column {name} is there {len(found)} times.")
        return found[0] if found else None

    def needed(self, name: str) -> int:
        """The place of a column that must be there."""
        if (place := self.column(name)) is None:
            there = ", ".join(filter(None, self.names)) or "no column at all"
            raise ValueError(f"{self.path}, line {self.head.line}: the column {name} is missing; there is {there}.")
        return place

    def where(self, row: Row, column: int) -> str:
        """A cell's place in words."""
        name = self.names[column] if column < len(self.names) else ""
        return f"{self.path}, line {row.line}, column {name or column + 1}"

    def put(self, row: Row, column: int, text: str) -> None:
        """Write a cell; one that says the same already keeps its form."""
        if row.text(column) != text:
            row.cells += [""] * (column + 1 - len(row.cells))
            special = {self.delimiter, '"', "\r", "\n"} & set(text) or text != text.strip()
            row.cells[column] = '"' + text.replace('"', '""') + '"' if special else text

    def add_column(self, name: str) -> int:
        """The place of the column ``name``, added behind all others where it is missing."""
        if (place := self.column(name)) is not None:
            return place
        self.put(self.head, len(self.head.cells), name)
        return len(self.head.cells) - 1

    def add_row(self, texts: Mapping[str, str]) -> Row:
        """A new last row; ``texts`` by their columns' names."""
        last = (self.rows or [self.head])[-1]
        last.end = last.end or "\n"
        self.rows.append(Row(last.line + 1, [""] * len(self.head.cells), last.end))
        for name, text in texts.items():
            self.put(self.rows[-1], self.needed(name), text)
        return self.rows[-1]

    def encoded(self) -> bytes:
        """The file, in its own encoding; in UTF-8 with a mark where that lacks a letter."""
        text = "".join(self.delimiter.join(row.cells) + row.end for row in [self.head, *self.rows])
        try:
            return (self.prefix + text).encode(self.encoding)
        except UnicodeEncodeError:
            return codecs.BOM_UTF8 + (self.prefix + text).encode("utf-8")

    def write(self, path: Path | None = None) -> None:
        """Write the file as a whole, and only where it differs from what is there."""
        path, data = path or self.path, self.encoded()
        if not path.exists() or path.read_bytes() != data:
            write_whole(path, data)


def read_table(path: Path) -> Table:
    """The table in ``path``; raises ValueError that names line and column where it cannot be understood."""
    table, text = _decoded(path)
    if match := re.match(r"sep=([,;\t])\r?\n", text):
        table.prefix, table.delimiter = table.prefix + match[0], match[1]
        text, first = text[match.end() :], 2
    else:
        bare = re.sub(r'"[^"]*"', "", text).splitlines() or [""]
        table.delimiter, first = max(",;\t", key=bare[0].count), 1
    rows = _rows(table, text, first)
    if rows:
        table.head, *table.rows = rows
    for row in table.rows:
        if len(row.cells) > len(table.head.cells):
            raise ValueError(
                f"{path}, line {row.line}, column {len(table.head.cells) + 1}: the row has {len(row.cells)} cells, but "
                f"the first line names {len(table.head.cells)} columns. Does a cell with a comma lack its quotation "
                "marks?"
            )
    return table


def _decoded(path: Path) -> tuple[Table, str]:
    data = path.read_bytes()
    if data.startswith(b"PK\x03\x04"):
        raise ValueError(f"{path} is a workbook, and no table of text: save it as CSV.")
    for mark, encoding in MARKS.items():
        if data.startswith(mark):
            return Table(path, encoding, "\ufeff"), _text(path, data[len(mark) :], encoding)
    encoding = "utf-8" if _bad(data, "utf-8") < 0 else "cp1252"
    return Table(path, encoding), _text(path, data, encoding)


def _bad(data: bytes, encoding: str) -> int:
    """The first byte that is no text; -1 where all is."""
    try:
        return data.find(b"\0") if "\0" in data.decode(encoding) else -1
    except UnicodeDecodeError as error:
        return error.start


def _text(path: Path, data: bytes, encoding: str) -> str:
    """The bytes as text; ValueError that names the line where they are none."""
    if (bad := _bad(data, encoding)) >= 0:
        before = data[:bad].decode(encoding, errors="replace")
        line, place = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise ValueError(f"{path}, line {line}, character {place}: this is no text in {encoding}. Save it as UTF-8.")
    return data.decode(encoding)


def _rows(table: Table, text: str, line: int) -> list[Row]:
    d = re.escape(table.delimiter)
    part = re.compile(rf'(?:("(?:[^"]|"")*")|([^{d}\r\n]*))({d}|\r\n|\n|\r|\Z)')
    rows: list[Row] = []
    cells: list[str] = []
    place, first = 0, line
    while place < len(text) or cells:
        match = part.match(text, place)
        assert match is not None  # an empty cell always fits
        quoted, plain, end = match.groups()
        if plain and plain.startswith('"'):
            raise ValueError(
                f"{table.path}, line {line}, column {len(cells) + 1}: a quotation mark opens the cell and does not "
                "close at its end."
            )
        cells.append(quoted or plain)
        line += len(re.findall(r"\r\n|\n|\r", match[0]))
        place = match.end()
        if end != table.delimiter:
            rows.append(Row(first, cells, end))
            cells, first = [], line
    return rows
