"""Canvas' and Moodle's own tables come back with points in them and every other byte as it was."""

import csv
import io

import pytest

from grader.gradebook import fill

CANVAS = '''\ufeffStudent,ID,SIS User ID,SIS Login ID,Section,Homework 1 (8812),Quiz 1 (8813),Current Score,Final Score
,,,,,Manual Posting,,,
    Points Possible,,,,,12,10.00,(read only),(read only)
"Doe, Jane",113,u113,jdoe@uni.example,"Autumn ""A""",,8.00,80.0,80.0
"Roe, Rick",112,u112,rroe@uni.example,"Autumn ""A""",3,,,
"Müller, Ann Kathrin",114,u114,amuell@uni.example,Autumn B,7.50,9,90,90
"Smith, Sam",115,u115,ssmith@uni.example,Autumn B,EX,9,90,90
"Student, Test",999,,0123456789abcdef,Autumn B,,,,
'''
WORKSHEET = (
    "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed,"
    "Last modified (submission),Last modified (grade),Feedback comments\r\n"
    'Participant 113,Jane Doe,jdoe@uni.example,"Submitted for grading - ",,"12,00",Yes,'
    '"Tuesday, 1 December 2026, 11:58 PM",-,"<p>so ""far""</p>"\r\n'
    'Participant 112,Rick Roe,rroe@uni.example,Submitted for grading,,"12,00",Yes,-,-,\r\n'
    'Participant 114,Ann Kathrin Müller,amuell@uni.example,Submitted,"7,50","12,00",Yes,-,-,\r\n'
    'Participant 115,Sam Smith,ssmith@uni.example,Submitted,"5,00","12,00",No,-,-,\r\n'
)
REPORT = (
    '"First name",Surname,"ID number",Institution,Department,"Email address","Assignment: Homework 1 (Real)", '
    '"Feedback: Homework 1","Course total (Real)","Last downloaded from this course"\n'
    "Jane,Doe,u113,,,jdoe@uni.example,-, ,-,1764633600\n"
    "Rick,Roe,u112,,,rroe@uni.example,-,,-,1764633600\n"
    '"Ann Kathrin",Müller,u114,,,amuell@uni.example,7.50,"a, b",-,1764633600\n'
    "Sam,Smith,u115,,,ssmith@uni.example,-,,-,1764633600"
)
HEAD = "student,hand_in,status,late,q_sample,total,out_of,mistakes,run\n"
OF_CANVAS = HEAD + (
    "doejane (113),doejane_113_1_h.zip,graded,,1,11.5,12,,\n"
    "roerick (112),roerick_112_1_h.zip,superseded,,1,1,12,,\n"
    "roerick (112),roerick_112_2_h.zip,graded,,1,4,12,,\n"
    "mullerann (114),mullerann_114_1_h.zip,graded,,1,7.5,12,,\n"
    "smithsam (115),smithsam_115_1_h.zip,graded,,1,9,12,,\n"
    "nobody (777),nobody_777_1_h.zip,graded,,1,9,12,,\n"
)
OF_MOODLE = HEAD + (
    "Jane Doe (113),Jane Doe_113_assignsubmission_file_,graded,,1,11.5,12,,\n"
    "Rick Roe (112),Rick Roe_112_assignsubmission_file_,graded,,1,4,12,,\n"
    "Ann Kathrin Müller (114),Ann Kathrin Müller_114_assignsubmission_file_,graded,,1,7.5,12,,\n"
    "Sam Smith (115),Sam Smith_115_assignsubmission_file_,unclear,,,,12,,\n"
    "No Body (777),No Body_777_assignsubmission_file_,graded,,1,9,12,,\n"
)
NOT_SURE = ["No Body_777_assignsubmission_file_: no row fits", "Sam Smith_115_assignsubmission_file_: no points"]
KINDS = {  # export, grades, --column, the new cells by line, words
    "canvas": (CANVAS, OF_CANVAS, "homework", {4: "11.5", 5: "4"},
               ["3 stood in line 5, now 4", "line 7 says excused", "nobody_777_1_h.zip: no row fits",
                "without a hand-in: Student Test"]),
    "worksheet": (WORKSHEET, OF_MOODLE, "", {2: "11,5", 3: "4"},
                  NOT_SURE),
    "report": (REPORT, OF_MOODLE, "homework", {2: "11.5", 3: "4"},
               NOT_SURE),
}  # fmt: skip


@pytest.fixture
def filled(tmp_path):
    def run(export, grades, column="", **how):
        (tmp_path / "export.csv").write_bytes(export.encode())
        (tmp_path / "grades.csv").write_bytes(grades.encode())
        return fill(tmp_path / "export.csv", tmp_path / "grades.csv", column=column, **how)

    return run


def cells(text):
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline="")))


@pytest.mark.parametrize("kind", KINDS)
def test_points_are_filled_in_and_nothing_else_is_touched(filled, kind):
    export, grades, column, new, words = KINDS[kind]
    found = filled(export, grades, column)
    after = found.table.encoded().decode()
    was, now = cells(export), cells(after)
    assert {i + 1: b for i, (x, y) in enumerate(zip(was, now, strict=True)) for a, b in zip(x, y, strict=True) if a != b
            } == new  # fmt: skip
    untouched = [line for i, line in enumerate(export.splitlines(True)) if i + 1 not in new]
    assert [line for i, line in enumerate(after.splitlines(True)) if i + 1 not in new] == untouched
    for part in words:
        assert part in "\n".join(found.told)
    assert "scaled" not in "\n".join(found.told)
    place = was[0].index(found.column)
    for line in new:  # the very bytes around the cell
        before, filled_in = export.splitlines(True)[line - 1], after.splitlines(True)[line - 1]
        cell = f'"{new[line]}"' if "," in new[line] else new[line]
        assert filled_in.replace(f",{cell},", f",{was[line - 1][place]},", 1) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_time_changes_no_byte(filled, kind):
    export, grades, column, _, _ = KINDS[kind]
    once = filled(export, grades, column).table.encoded().decode()
    assert filled(once, grades, column).table.encoded().decode() == once


def test_a_grade_that_cannot_be_changed_is_left(filled):
    found = filled(WORKSHEET, OF_MOODLE.replace("unclear,,,,12", "graded,,1,9,12"))
    assert 'Submitted,"5,00",' in found.table.encoded().decode()
    assert "cannot be changed" in "\n".join(found.told)


def test_other_totals_are_told_and_not_scaled(filled):
    for export, grades in ((CANVAS.replace(",12,10.00", ",100,10.00"), OF_CANVAS), (WORKSHEET.replace("12,00", "100"),
                                                                                  OF_MOODLE)):  # fmt: skip
        found = filled(export, grades, "homework" if export.startswith("\ufeff") else "")
        assert "out of 100, here out of 12: nothing was scaled" in "\n".join(found.told)


def test_another_column_of_the_grades_may_be_chosen(filled):
    grades = OF_CANVAS.replace("run\n", "run,after_lateness\n", 1).replace("11.5,12,,\n", "11.5,12,,,10\n")
    assert ",10,8.00," in filled(CANVAS, grades, "homework", points="after_lateness").table.encoded().decode()


NAMES = {  # a hand-in without a number -> the line of its row; 0 where none is sure
    "doe_jane": 4, "Jane Doe": 4, "jdoe": 4, "u113": 4, "JDoe@uni.example": 4, "doe": 0, "ann kathrin müller": 6,
    "homework": 0,
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_without_a_number_the_name_decides_and_only_where_it_is_sure(filled, name):
    found = filled(CANVAS, HEAD + f"{name},{name}.zip,graded,,1,2,12,,\n", "homework")
    changed = [i + 1 for i, (a, b) in enumerate(zip(cells(CANVAS), cells(found.table.encoded().decode()), strict=True))
               if a != b]  # fmt: skip
    assert changed == [NAMES[name]] * (NAMES[name] > 0)


def test_two_of_one_name_and_two_hand_ins_for_one_row_are_asked_about(filled):
    twins = CANVAS + '"Doe, Jane",116,u116,jdoe2@uni.example,Autumn B,,,,\n'
    found = filled(twins, HEAD + "Jane Doe,a.zip,graded,,1,2,12,,\n", "homework")
    assert "lines 4, 9 fit" in "\n".join(found.told)
    two = HEAD + "jdoe,a.zip,graded,,1,2,12,,\nJane Doe,b.zip,graded,,1,3,12,,\n"
    found = filled(CANVAS, two, "homework")
    assert "line 4 fits a.zip and b.zip" in "\n".join(found.told)
    assert found.table.encoded().decode() == CANVAS


@pytest.mark.parametrize(("export", "column", "words"), [
    ("a,b\n1,2\n", "", "none of Canvas gradebook"),
    (CANVAS, "", "name the column for the points with --column. It may be: Homework 1 (8812), Quiz 1 (8813)"),
    (CANVAS, "essay", "It may be: Homework 1 (8812), Quiz 1 (8813)"),
    (CANVAS, "Final Score", "It may be: Homework 1"),
    (CANVAS.replace('"Doe, Jane"', '"Doe, Jane'), "homework", "export.csv, line"),
])  # fmt: skip
def test_what_is_not_clear_is_refused(filled, export, column, words):
    with pytest.raises(ValueError, match=r"export\.csv") as refused:
        filled(export, OF_CANVAS, column)
    assert words in str(refused.value)


def test_points_that_are_no_number_are_refused(filled):
    with pytest.raises(ValueError, match="line 2, column total: 'many' is no number"):
        filled(CANVAS, OF_CANVAS.replace("11.5", "many"), "homework")


def worksheet(heads, person, yes, no, delimiter, mark="", newline="\r\n"):
    """Moodle's grading worksheet as another language has it, with a comma in one cell."""
    rows = [
        heads,
        [f"{person}113", "Jane Doe", "jdoe@uni.example", "x - ", "", "12,00", yes, "1, 2", "-", "so; und, so"],
        [f"{person}112", "Rick Roe", "rroe@uni.example", "x", "", "12,00", yes, "-", "-", ""],
        [f"{person}114", "Ann Kathrin Müller", "amuell@uni.example", "x", "7,50", "12,00", yes, "-", "-", ""],
        [f"{person}115", "Sam Smith", "ssmith@uni.example", "x", "5,00", "12,00", no, "-", "-", ""],
    ]
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, lineterminator=newline).writerows(rows)
    return mark + file.getvalue()


GERMAN = ["ID", "Vollständiger Name", "E-Mail-Adresse", "Status", "Bewertung", "Bestwertung",
          "Bewertung kann geändert werden", "Zuletzt geändert (Abgabe)", "Zuletzt geändert (Bewertung)",
          "Feedback als Kommentar"]  # fmt: skip
FRENCH = ["Identifiant", "Nom complet", "Adresse de courriel", "Statut", "Note", "Note maximale",
          "La note peut être modifiée", "Dernière modification (travail remis)", "Dernière modification (note)",
          "Feedback par commentaires"]  # fmt: skip
SPANISH = ["Identificador", "Nombre completo", "Dirección de correo", "Estado", "Calificación", "Calificación máxima",
           "La calificación puede ser cambiada", "Última modificación (entrega)",
           "Última modificación (calificación)", "Comentarios de retroalimentación"]  # fmt: skip
DUTCH = ["Identificatie", "Volledige naam", "E-mailadres", "Status", "Cijfer", "Maximumcijfer", "Cijfer kan gewijzigd",
         "Laatst gewijzigd", "Laatst gewijzigd (cijfer)", "Feedback"]  # fmt: skip
ELSEWHERE = {  # the table, and how a teacher describes it where that is needed
    "german": (worksheet(GERMAN, "Teilnehmer/in", "Ja", "Nein", ";", "\ufeff"), {}),
    "french": (worksheet(FRENCH, "Participant ", "Oui", "Non", ","), {}),
    "spanish": (worksheet(SPANISH, "Participante ", "Sí", "No", "\t", newline="\n"), {}),
    "dutch by number": (worksheet(DUTCH, "Deelnemer ", "Ja", "Nee", ";"), {"id": "Identificatie", "column": "Cijfer"}),
    "dutch by name": (worksheet(DUTCH, "Deelnemer ", "Ja", "Nee", ";"), {"name": ["Volledige naam"],
                                                                        "column": "Cijfer"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", ELSEWHERE)
def test_in_another_language_two_cells_change_and_no_other_byte(filled, kind):
    export, how = ELSEWHERE[kind]
    found = filled(export, OF_MOODLE, **how)
    after = found.table.encoded().decode()
    was, now = export.splitlines(True), after.splitlines(True)
    assert [i + 1 for i, (a, b) in enumerate(zip(was, now, strict=True)) if a != b] == [2, 3]
    delimiter = found.table.delimiter
    cell = '"11,5"' if delimiter == "," else "11,5"
    assert now[1] == was[1].replace(f"x - {delimiter}{delimiter}", f"x - {delimiter}{cell}{delimiter}")
    assert now[2] == was[2].replace(f"{delimiter}x{delimiter}{delimiter}", f"{delimiter}x{delimiter}4{delimiter}")
    assert "No Body_777_assignsubmission_file_: no row fits" in "\n".join(found.told)
    assert "scaled" not in "\n".join(found.told)
    assert filled(after, OF_MOODLE, **how).table.encoded().decode() == after


@pytest.mark.parametrize("kind", ["german", "french", "spanish"])
def test_no_is_no_in_every_language(filled, kind):
    found = filled(ELSEWHERE[kind][0], OF_MOODLE.replace("unclear,,,,12", "graded,,1,9,12"))
    assert "cannot be changed" in "\n".join(found.told)


def test_a_german_grader_report_by_first_and_last_name(filled):
    report = (
        "Vorname;Nachname;ID-Nummer;E-Mail-Adresse;Aufgabe: Homework 1 (Punkte)\n"
        "Jane;Doe;u113;jdoe@uni.example;-\nRick;Roe;u112;rroe@uni.example;\n"
    )
    found = filled(report, HEAD + "Jane Doe,a.zip,graded,,1,11.5,12,,\nu112,b.zip,graded,,1,4,12,,\n", "homework")
    assert [row.text(4) for row in found.table.rows] == ["11,5", "4"]  # a semicolon's table has decimal commas
    other = report.replace("Vorname;Nachname", "Voornaam;Achternaam").replace("E-Mail-Adresse", "Mail")
    how = {"column": "Homework", "name": ["Voornaam", "Achternaam"]}
    found = filled(other, HEAD + "Jane Doe,a.zip,graded,,1,11.5,12,,\n", **how)
    assert found.table.rows[0].text(4) == "11,5"


def test_a_canvas_table_in_another_language_is_asked_about_and_then_filled_in(filled):
    export = CANVAS.replace("Student,ID,", "Étudiant,Numéro,", 1).replace("Points Possible", "Points possibles")
    with pytest.raises(ValueError, match="--id") as refused:
        filled(export, OF_CANVAS, "homework")
    assert "There is: Étudiant, Numéro, SIS User ID" in str(refused.value)
    found = filled(export, OF_CANVAS, "homework", id="Numéro", name=["Étudiant"])
    changed = [i + 1 for i, (a, b) in enumerate(zip(cells(export), cells(found.table.encoded().decode()), strict=True))
               if a != b]  # fmt: skip
    assert changed == [4, 5]
    other = filled(export.replace(",12,10.00", ",100,10.00"), OF_CANVAS, "homework", id="Numéro")
    assert "out of 100, here out of 12" in "\n".join(other.told)
    with pytest.raises(ValueError, match="the column Nummer is missing; there is Étudiant, Numéro"):
        filled(export, OF_CANVAS, "homework", id="Nummer")
