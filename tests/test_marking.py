"""Tables are given back as they came, and what a teacher writes in the marking sheet survives."""

import codecs
import csv
import io
import itertools
import os

import pytest

from diffusion_lib.homework.exercises import assignment_path, load_assignment
from grader.grading import Result
from grader.marking import merge, read_sheet
from grader.reports import write_reports
from grader.tables import read_table, write_whole

ASSIGNMENT = load_assignment(assignment_path())
NASTY = ("", "a", "1,5", "x;y", 'say "no"', " spaced ", "two\nlines", "Grüße", 'a "b', "it's")


def handed_in(*names, student=None):
    return [Result(name, student or name.removesuffix(".zip"), False, "graded") for name in names]


def written(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_a_table_says_what_the_csv_module_says_and_is_given_back_as_it_came(tmp_path, delimiter, newline, encoding):
    rows = [["one", "two", "three"], *map(list, itertools.product(NASTY, NASTY, ("z", "")))]
    rows = [[*row, "", ""][:3] for row in rows]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=delimiter, lineterminator=newline, quoting=quoting).writerows(rows)
        path = written(tmp_path / "table.csv", file.getvalue(), encoding)
        table = read_table(path)
        assert [[row.text(i) for i in range(3)] for row in [table.head, *table.rows]] == rows
        assert table.encoded() == path.read_bytes()
        table.put(table.rows[5], 1, 'new; "x", y')
        path.write_bytes(table.encoded())
        rows[6][1] = 'new; "x", y'
        again = read_table(path)
        assert [[row.text(i) for i in range(3)] for row in [again.head, *again.rows]] == rows


def test_excels_separator_line_and_a_missing_last_newline_stay(tmp_path):
    path = written(tmp_path / "t.csv", "\ufeffsep=;\r\na;b\r\n1;2")
    table = read_table(path)
    assert (table.delimiter, table.names, table.rows[0].line) == (";", ["a", "b"], 3)
    assert table.encoded() == path.read_bytes()


def test_names_that_the_files_encoding_lacks_turn_it_into_utf_8(tmp_path):
    table = read_table(written(tmp_path / "t.csv", "a\nGrüße\n", "cp1252"))
    table.add_row({"a": "Ελένη"})
    table.write()
    assert read_table(tmp_path / "t.csv").rows[1].text(0) == "Ελένη"
    assert (tmp_path / "t.csv").read_bytes().startswith(codecs.BOM_UTF8)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = written(tmp_path / "t.csv", "old")

    def fails(*paths):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, "new")
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("t.csv", "old")]


def test_what_a_teacher_added_stays_where_it_is(tmp_path):
    sheet = written(
        tmp_path / "marking.csv",
        "\ufefftutor;comment;hand_in;experiment;LATENT;student;injection;to_read\r\n"
        'Ada;"good; ""really""\nso";max.zip;3,5;1,5;max;;old.ipynb\r\n'
        "Bob;gone;left.zip;4;;left;;\r\n"
        ";;;2,1;mean;;;\r\n",
    )
    marks = merge(sheet, handed_in("max.zip", "new.zip"), ASSIGNMENT).marks
    assert marks["max.zip"] == {"comment": 'good; "really"\nso', "experiment": 3.5, "latent": 1.5}
    assert marks["left.zip"] == {"comment": "gone", "experiment": 4.0}
    assert sheet.read_bytes().decode().splitlines() == [
        "\ufefftutor;comment;hand_in;experiment;LATENT;student;injection;to_read",
        'Ada;"good; ""really""',
        'so";max.zip;3,5;1,5;max;;',
        "Bob;gone;left.zip;4;;left;;",
        ";;;2,1;mean;;;",
        ";;new.zip;;;new;;",
    ]
    before = sheet.stat()
    merge(sheet, handed_in("max.zip", "new.zip"), ASSIGNMENT)
    assert sheet.stat().st_ino == before.st_ino  # nothing new: the file is left alone


def test_marks_move_to_the_hand_in_that_counts_now_and_it_is_said(tmp_path):
    first, again = "roe_112_2002_homework.zip", "roe_112_2005_homework-1.zip"
    write_reports(tmp_path, handed_in(first, student="roe (112)"), ASSIGNMENT)
    sheet = tmp_path / "marking.csv"
    head, row = sheet.read_text(encoding="utf-8").splitlines()
    sheet.write_text(f"{head}\n{row.replace(',,,,,', ',1,2,,well seen,')}\n", encoding="utf-8")
    both = handed_in(first, again, student="roe (112)")
    both[0].status = "superseded"
    for _ in range(2):  # it is said until the teacher has emptied the cell
        write_reports(tmp_path, both, ASSIGNMENT)
        report = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert f"{again}: marked as {first}" in report
        assert sheet.read_text(encoding="utf-8").splitlines()[1:] == [f"{again},roe (112),1,2,,well seen,,{first}"]
    [grades] = [r for r in csv.DictReader((tmp_path / "grades.csv").open(encoding="utf-8")) if r["hand_in"] == again]
    assert grades["total"] == "3"
    for name in (first, again):
        assert ("well seen" in (tmp_path / f"students/{name}/feedback.html").read_text()) == (name == again)
    sheet.write_text(sheet.read_text(encoding="utf-8").replace(f",,{first}", ",,"), encoding="utf-8")
    write_reports(tmp_path, both, ASSIGNMENT)
    assert "marked as" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_two_hand_ins_of_one_name_share_no_marks(tmp_path):
    sheet = written(tmp_path / "marking.csv", "hand_in,student,latent\nold.zip,roe,2\n")
    marks = merge(sheet, handed_in("a.zip", "b.zip", student="roe"), ASSIGNMENT).marks
    assert marks == {"old.zip": {"comment": "", "latent": 2.0}}


HEAD = "hand_in,student,latent,injection,experiment,comment,to_read\n"
REFUSED = {
    "no_number": (HEAD + "a.zip,a,1,01. Mai,,,\n", "line 2, column injection: '01. Mai' is no number"),
    "too_much": (HEAD + "a.zip,a,,,9,,\n", "line 2, column experiment: 9 is outside 0 ... 4"),
    "negative": (HEAD + "a.zip,a,-1,,,,\n", "line 2, column latent: '-1' is no number"),
    "underscore": (HEAD + "a.zip,a,1_1,,,,\n", "line 2, column latent"),
    "bare_comma": (HEAD + "b.zip,b,1,2,3,,\na.zip,a,1,5,2,3,fine,\n", "line 3, column 8: the row has 8 cells"),
    "no_column": ("name,latent\na.zip,1\n", "line 1: the column hand_in is missing; there is name, latent"),
    "column_twice": ("hand_in,latent,Latent\na.zip,1,2\n", "line 1: the column latent is there 2 times"),
    "row_twice": (HEAD + 'a.zip,a,,,,"x\ny",\na.zip,a,1,,,,\n', "line 4, column hand_in: a.zip stands in line 2 too"),
    "open_quote": (HEAD + 'a.zip,a,,,,"never closed,\n', "line 2, column 6: a quotation mark"),
    "early_quote": (HEAD + 'a.zip,a,,,,"shut" and on,\n', "line 2, column 6: a quotation mark"),
    "workbook": ("PK\x03\x04...", "is a workbook"),
    "no_text": (HEAD + "a.zip,a,1,\0,,,\n", "line 2, character 11: this is no text"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_sheet_that_cannot_be_understood_is_refused_and_left_alone(tmp_path, name):
    text, words = REFUSED[name]
    sheet = written(tmp_path / "marking.csv", text)
    with pytest.raises(ValueError, match=r"marking\.csv") as refused:
        write_reports(tmp_path, handed_in("a.zip"), ASSIGNMENT)
    assert words in str(refused.value)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"marking.csv": text.encode()}
    assert sheet.exists()


def test_a_byte_that_no_encoding_has_is_told_by_its_place(tmp_path):
    (tmp_path / "marking.csv").write_bytes(HEAD.encode() + b"a.zip,\x81,,,,,\n")
    with pytest.raises(ValueError, match="line 2, character 7"):
        read_sheet(tmp_path / "marking.csv", ASSIGNMENT)


def test_a_name_like_a_formula_is_found_again(tmp_path):
    names = ["=1+1.zip", "'quoted.zip", "-x.zip"]
    for _ in range(2):
        sheet = merge(tmp_path / "marking.csv", handed_in(*names), ASSIGNMENT)
        assert list(sheet.rows) == names
    assert "\n=" not in (tmp_path / "marking.csv").read_text(encoding="utf-8")


def test_a_part_that_the_assignment_no_longer_asks_for_stays_the_teachers(tmp_path):
    sheet = written(tmp_path / "marking.csv", "hand_in,student,essay\na.zip,a,7\n")
    merge(sheet, handed_in("a.zip"), ASSIGNMENT)
    assert sheet.read_text().splitlines() == [
        "hand_in,student,essay,latent,injection,experiment,comment,to_read", "a.zip,a,7"
    ]  # fmt: skip


def test_a_sheet_without_the_students_column_gets_it_back(tmp_path):
    sheet = written(tmp_path / "marking.csv", "hand_in,latent\na.zip,1\n")
    merge(sheet, handed_in("a.zip", student="roe (112)"), ASSIGNMENT)
    assert merge(sheet, handed_in("b.zip", student="roe (112)"), ASSIGNMENT).marks["b.zip"]["latent"] == 1


def test_a_run_with_nothing_new_leaves_the_form_of_every_cell(tmp_path):
    text = '"hand_in";"student";"latent";"injection";"experiment";"comment";"to_read"\r\n'
    text += '"a.zip";"a";"1,50";"";"";"";""\r\n'
    sheet = written(tmp_path / "marking.csv", text)
    merge(sheet, handed_in("a.zip"), ASSIGNMENT)
    assert sheet.read_bytes() == text.encode()
