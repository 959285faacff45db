"""Points into the table that Canvas or Moodle exported: one column is filled in, every other byte stays.

Known are Canvas' gradebook, Moodle's grading worksheet of an assignment, and Moodle's export of the grader report, with
English column names, and Moodle's two with German, French or Spanish ones. Of any other table a teacher says which
column holds the students' numbers, or their names.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grader.archives import stem
from grader.reports import COUNTS
from grader.tables import Row, Table, number, read_table


@dataclass(frozen=True)
class System:
    """How a course system's table names its columns."""

    name: str
    needs: tuple[str, ...]  # what it is known by
    id: str  # holds the number that hand-ins carry in their names; empty where there is none
    names: tuple[tuple[str, ...], ...]  # columns that, joined, name a student
    points: str  # pattern of columns that can hold points
    most: str = ""  # the column with the points that can be had


OTHERS = {  # a column's English name -> what it is called in German, French, Spanish
    "Identifier": ("ID", "Identifiant", "Identificador"),
    "Full name": ("Vollständiger Name", "Nom complet", "Nombre completo"),
    "Email address": ("E-Mail-Adresse", "Adresse de courriel", "Dirección de correo"),
    "Grade": ("Bewertung", "Note", "Calificación"),
    "Maximum Grade": ("Bestwertung", "Note maximale", "Calificación máxima"),
    "Grade can be changed": (
        "Bewertung kann geändert werden", "La note peut être modifiée", "La calificación puede ser cambiada",
    ),
    "First name": ("Vorname", "Prénom", "Nombre"),
    "Last name": ("Nachname", "Nom", "Nom de famille", "Apellido(s)"),
    "ID number": ("ID-Nummer", "Numéro d'identification", "Numéro d’identification", "Número de ID"),
}  # fmt: skip
NO = ("no", "nein", "non")
SYSTEMS = (
    System(
        "Canvas gradebook", ("Student", "ID", "Section"), "ID", (("Student",), ("SIS Login ID",), ("SIS User ID",)),
        r".*\(\d+\)",
    ),
    System(
        "Moodle grading worksheet", ("Identifier", "Full name", "Grade"), "Identifier",
        (("Full name",), ("Email address",), ("ID number",)), "|".join(("Grade", *OTHERS["Grade"])), "Maximum Grade",
    ),
    System(
        "Moodle grader report", ("First name", "Email address"), "",
        (("First name", "Last name"), ("First name", "Surname"), ("Email address",), ("ID number",)),
        r"(?!\W*Feedback: ).*: .*|.*\(Real\)",
    ),
)  # fmt: skip


@dataclass
class Filled:
    """The table with points in it, and what a teacher should know."""

    table: Table
    system: str
    column: str
    count: int = 0
    told: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Earned:
    """A row of grades.csv: whose, and how many points; None where there are none yet."""

    hand_in: str
    name: str
    user: str  # the course system's number
    points: float | None


def fill(
    export: Path, grades: Path, *, column: str = "", points: str = "", id: str = "", name: Sequence[str] = ()
) -> Filled:
    """``export`` with the column ``points`` of ``grades`` in its ``column``; ValueError where that is not clear.

    By default those that count after lateness, where the assignment takes it off, and else the total. ``id`` and
    ``name`` say in which columns students' numbers and names are, of a table that is none of the known ones.
    """
    table = read_table(export)
    system = _told(table, id, name) if id or name else _known(table)
    place = _place(table, system, column)
    filled = Filled(table, system.name, table.names[place])
    points = points or ("total" if read_table(grades).column(COUNTS) is None else COUNTS)
    filled.told += ["Filled in are the points after lateness, the column counts."] * (points == COUNTS)
    earned, out_of = _earned(grades, points)
    students = {row.line: row for row in table.rows if _student(table, system, row)}
    pairs = _pairs(table, system, list(students.values()), earned, filled.told)
    for one, row in pairs:
        _enter(filled, system, row, place, one)
    _tell(filled, system, place, out_of, [row for line, row in students.items() if line not in _lines(pairs)])
    return filled


def _column(table: Table, name: str) -> int | None:
    """The place of a column by its English name, in whichever language it is called."""
    found = (table.column(known) for known in (name, *OTHERS.get(name, ())))
    return next((place for place in found if place is not None), None)


def _known(table: Table) -> System:
    for system in SYSTEMS:
        if all(_column(table, name) is not None for name in system.needs):
            return system
    kinds = "; ".join(f"{system.name} ({', '.join(system.needs)}, …)" for system in SYSTEMS)
    raise ValueError(
        f"{table.path}, line {table.head.line}: these are the columns of none of {kinds}. There is: "
        f"{', '.join(filter(None, table.names))}. Say which holds the students' numbers with --id, or their names with "
        "--name (twice, where first and last names are apart), and which the points with --column."
    )


def _told(table: Table, id: str, name: Sequence[str]) -> System:
    """The system that a teacher describes."""
    for column in filter(None, (id, *name)):
        table.needed(column)
    names = (tuple(name),) if name else ()
    return System("table", (id,) if id else tuple(name), id, names, ".*")


def _lines(pairs: list[tuple[Earned, Row]]) -> set[int]:
    return {row.line for _, row in pairs}


def _place(table: Table, system: System, column: str) -> int:
    """The column to fill: the one that is named, or the only one that can hold points."""
    fits = [i for i, name in enumerate(table.names) if re.fullmatch(system.points, name)]
    asked = [i for i in fits if column.casefold() in table.names[i].casefold()]
    exact = [i for i in asked if column.casefold() == table.names[i].casefold()]
    found = exact or asked
    if len(found) != 1:
        there = ", ".join(table.names[i] for i in asked or fits) or "none"
        raise ValueError(f"{table.path}: name the column for the points with --column. It may be: {there}.")
    return found[0]


def _earned(path: Path, points: str) -> tuple[list[Earned], float | None]:
    """The rows of grades.csv that count, and the points of everything together."""
    table, found, out_of = read_table(path), [], None
    place = table.needed(points)
    for row in table.rows:
        hand_in, student = (row.text(table.needed(name)).removeprefix("'") for name in ("hand_in", "student"))
        if row.text(table.column("status")) == "superseded" or not hand_in:
            continue
        text = row.text(place).strip()
        if text and number(text) is None:
            raise ValueError(f"{table.where(row, place)}: {text!r} is no number of points.")
        parts = re.fullmatch(r"(.*) \((\d+)\)", student)
        name, user = parts.groups() if parts else (stem(student), "")
        found.append(Earned(hand_in, name, user, number(text)))
        out_of = number(row.text(table.column("out_of"))) or out_of
    return found, out_of


def _student(table: Table, system: System, row: Row) -> bool:
    """Is it a student's row? Canvas writes rows of its own under the first, without a number."""
    if system.id:
        return bool(re.search(r"\d", row.text(_column(table, system.id))))
    return any(row.text(_column(table, name)).strip() for name in system.needs)


def _pairs(
    table: Table, system: System, rows: list[Row], earned: list[Earned], told: list[str]
) -> list[tuple[Earned, Row]]:
    """Each hand-in with its student's row, by number where both have one, else by name; what is not sure is told."""
    by_id, by_name = defaultdict(list), defaultdict(list)
    for row in rows:
        if system.id:
            by_id[re.sub(r"\D", "", row.text(_column(table, system.id)))].append(row)
        for name in {_plain(name) for name in _names(table, system, row)} - {""}:
            by_name[name].append(row)
    fits = {one.hand_in: by_id[one.user] if one.user and system.id else by_name[_plain(one.name)] for one in earned}
    wanted: dict[int, list[str]] = defaultdict(list)
    for hand_in, found in fits.items():
        for row in found:
            wanted[row.line].append(hand_in)
    pairs = []
    for one in earned:
        found = fits[one.hand_in]
        if len(found) == 1 and len(wanted[found[0].line]) == 1:
            pairs.append((one, found[0]))
        else:
            told.append(f"{one.hand_in}: {_why(table, found, wanted)}")
    return pairs


def _why(table: Table, found: list[Row], wanted: Mapping[int, list[str]]) -> str:
    if not found:
        return "no row fits."
    if len(found) > 1:
        return f"the rows in lines {', '.join(str(row.line) for row in found)} fit."
    return f"line {found[0].line} fits {' and '.join(wanted[found[0].line])}."


def _names(table: Table, system: System, row: Row) -> list[str]:
    """What the table calls a student: names in both orders, and what stands before the @ of an address."""
    found = []
    for columns in system.names:
        texts = [row.text(_column(table, name)).strip() for name in columns]
        if all(texts):
            parts = texts if len(texts) > 1 else [part.strip() for part in texts[0].split(",")]
            found += [" ".join(parts), " ".join(reversed(parts)), parts[0].partition("@")[0] if "@" in parts[0] else ""]
    return found


def _plain(name: str) -> str:
    """Letters and digits alone, as Canvas writes a name in front of a file."""
    return re.sub(r"[\W_]", "", name).casefold()


def _enter(filled: Filled, system: System, row: Row, place: int, one: Earned) -> None:
    """One student's points; a cell that holds the same number already keeps its form."""
    table, there = filled.table, row.text(place).strip()
    if one.points is None:
        filled.told.append(f"{one.hand_in}: no points yet in grades.csv; its cell stays as it is.")
    elif row.text(_column(table, "Grade can be changed")).strip().casefold() in NO:
        filled.told.append(f"{one.hand_in}: line {row.line} says that its grade cannot be changed.")
    elif there.casefold() in ("ex", "excused"):
        filled.told.append(f"{one.hand_in}: line {row.line} says excused; its cell stays as it is.")
    else:
        filled.count += 1
        if there and number(there) not in (None, one.points):
            filled.told.append(f"{one.hand_in}: {there} stood in line {row.line}, now {one.points:g}.")
        if number(there) != one.points:
            table.put(row, place, f"{one.points:g}".replace(".", _point(table, system, place)))


def _point(table: Table, system: System, place: int) -> str:
    """The decimal sign of the numbers that are there; where there are none, the one that goes with the delimiter."""
    columns = (place, _column(table, system.most) if system.most else None)
    found = [sign for row in table.rows for c in columns for sign in re.findall(r"^\d+([.,])\d+$", row.text(c).strip())]
    return max(",.", key=found.count) if found else "," if table.delimiter == ";" else "."


def _tell(filled: Filled, system: System, place: int, out_of: float | None, without: list[Row]) -> None:
    """Who has no hand-in, and whether both count up to the same number."""
    table = filled.table
    most = {number(row.text(_column(table, system.most)).strip()) for row in table.rows} if system.most else set()
    if system.id and not system.most:  # Canvas writes it into a row of its own, whatever that is called
        heads = [row for row in table.rows if not _student(table, system, row)]
        most = {number(row.text(place).strip()) for row in heads}
    other = {value for value in most if value not in (None, out_of)}
    if other and out_of:
        there = ", ".join(f"{value:g}" for value in other if value is not None)
        filled.told.append(f"There it is out of {there}, here out of {out_of:g}: nothing was scaled.")
    if without:
        first = [next(filter(None, _names(table, system, row)), f"line {row.line}") for row in without]
        filled.told.append(f"In the table, but without a hand-in: {'; '.join(first)}.")
