"""Late days: the end, the time of a hand-in and what tells it, extensions, and arithmetic that adds up."""

import csv
import io
import os
import tarfile
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from diffusion_lib.homework.exercises import assignment_path, load_assignment
from diffusion_lib.homework.rules import Late
from grader.gradebook import fill
from grader.grading import Result, grade_one
from grader.hand_ins import BY_FILES, BY_NAME, HandIn, discover, time_of
from grader.lateness import after, lateness, matched, read_extensions
from grader.reports import write_reports
from grader.sheets import rules

DUE = datetime(2026, 12, 1, 23, 59)


def assignment(tmp_path, due="due = 2026-12-01T23:59:00\n", late=""):
    text = assignment_path().read_text(encoding="utf-8")
    path = tmp_path / "assignment.toml"
    path.write_text(f"{text}\n[late]\n{due}{late}", encoding="utf-8")
    return load_assignment(path)


def result(student="roe (112)", at=None, by=BY_FILES, late=False, name="roe_112_1_a.zip"):
    return Result(name, student, late, "graded", handed_in=at.isoformat() if at else "", time_from=by if at else "")


def zipped_at(path, *times):
    with zipfile.ZipFile(path, "w") as archive:
        for i, time in enumerate(times):
            archive.writestr(zipfile.ZipInfo(f"h/{i}.py", time), "x = 1\n")
    return path


@pytest.mark.parametrize(("text", "due"), [
    ("", None),
    ("due = 2026-12-01T23:59:00\n", DUE),
    ("due = 2026-12-01\n", datetime(2026, 12, 1, 23, 59, 59)),
    ("due = 2026-12-01T23:59:00+00:00\n", datetime.fromisoformat("2026-12-01T23:59+00:00").astimezone()),
])  # fmt: skip
def test_the_due_date_is_local_time_and_need_not_be_there(tmp_path, text, due):
    assert assignment(tmp_path, text).late.due == (due and due.replace(tzinfo=None))


@pytest.mark.parametrize(("text", "words"), [
    ('due = "tomorrow"\n', "without quotation marks"), ("due = 12:00:00\n", "should be like 2026-12-01T23:59:00")
])  # fmt: skip
def test_a_due_date_of_another_kind_is_refused(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        assignment(tmp_path, text)


def test_a_share_above_everything_is_refused(tmp_path):
    with pytest.raises(ValueError, match="each_day"):
        assignment(tmp_path, late="each_day = 10\n")


def test_the_time_is_the_names_or_the_newest_files(tmp_path):
    zipped_at(tmp_path / "a.zip", (2026, 12, 1, 9, 0, 0), (2026, 12, 1, 23, 58, 58), (1980, 1, 1, 0, 0, 0))
    zipped_at(tmp_path / "undated.zip", (1980, 1, 1, 0, 0, 0))
    zipped_at(tmp_path / "HW_roe_attempt_2026-12-02-08-00-01_h.zip", (2026, 11, 1, 0, 0, 0))
    (tmp_path / "torn.zip").write_bytes(b"PK no zip")
    stamp = datetime(2026, 12, 3, 10, 12).timestamp()
    (tmp_path / "folder" / ".venv").mkdir(parents=True)
    for name, time in (("a.py", stamp), ("b.py", stamp - 60), (".venv/c.py", stamp + 9999)):
        (tmp_path / "folder" / name).write_text("")
        os.utime(tmp_path / "folder" / name, (time, time))
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("a.py")
        info.mtime = stamp
        archive.addfile(info, io.BytesIO())
    found = {hand_in.name: time_of(hand_in) for hand_in in discover(tmp_path)}
    assert found == {
        "a.zip": ("2026-12-01T23:58:58", BY_FILES), "undated.zip": ("", ""), "torn.zip": ("", ""),
        "HW_roe_attempt_2026-12-02-08-00-01_h.zip": ("2026-12-02T08:00:01", BY_NAME),
        "folder": ("2026-12-03T10:12:00", BY_FILES), "t.tar.gz": ("2026-12-03T10:12:00", BY_FILES),
    }  # fmt: skip


def test_of_blackboards_attempts_the_newest_counts(tmp_path):
    for time in ("2026-12-01-10-00-00", "2026-12-02-09-00-00"):
        zipped_at(tmp_path / f"HW_roe_attempt_{time}_h.zip", (2026, 1, 1, 0, 0, 0))
    zipped_at(tmp_path / "HW_doe_attempt_2026-12-01-11-00-00_h.zip", (2026, 1, 1, 0, 0, 0))
    assert [(h.student, bool(h.superseded_by)) for h in discover(tmp_path)] == [
        ("doe", False), ("roe", True), ("roe", False)
    ]  # fmt: skip


def test_a_result_keeps_the_time(tmp_path):
    path = zipped_at(tmp_path / "a.zip", (2026, 12, 1, 9, 0, 0))
    graded = grade_one(HandIn("a.zip", path, "a"), assignment(tmp_path), {}, None)
    assert (graded.handed_in, graded.time_from) == ("2026-12-01T09:00:00", BY_FILES)


CASES = {  # time past the end -> days begun
    timedelta(0): 0, timedelta(seconds=1): 1, timedelta(days=1): 1, timedelta(days=1, seconds=1): 2,
    timedelta(days=2, hours=10, minutes=13): 3, timedelta(days=-3): 0,
}  # fmt: skip


@pytest.mark.parametrize("over", CASES)
@pytest.mark.parametrize("free", [0, 1, 5])
@pytest.mark.parametrize("later", [timedelta(0), timedelta(days=4)])
def test_days_are_begun_days_after_the_end_less_free_ones(tmp_path, over, free, later):
    table = tmp_path / "extensions.csv"
    table.write_text(f"student;until;late_days;why\nroe;{DUE + later:%d.%m.%Y %H:%M};{free};ill\n", encoding="utf-8")
    late = result(at=DUE + later + over)
    fits, odd = matched([late], read_extensions(table))
    found = lateness(late, assignment(tmp_path), fits[late.hand_in])
    assert (found.days, odd) == (max(0, CASES[over] - free), [])


def test_the_arithmetic_is_shown():
    late = result(at=datetime(2026, 12, 4, 10, 12))
    given = replace(load_assignment(assignment_path()), late=Late(DUE))
    assert lateness(late, given, None).words == (
        "2026-12-04 10:12 by the newest file inside, due 2026-12-01 23:59: 2 d 10 h 13 min over, 3 begun."
    )
    assert after(9, 2, Late(each_day=0.1)) == (pytest.approx(7.2), "9 × (1 − 2 × 0.1) = 7.2")
    assert after(9, 12, Late(each_day=0.1))[0] == 0


def test_where_nobody_can_tell_it_is_not_told_as_zero(tmp_path):
    given = assignment(tmp_path)
    assert lateness(result(), given).cell == "?"
    assert "LATE" in lateness(result(at=DUE, late=True), given).words
    assert lateness(result(at=DUE, late=True), given).cell == "?"
    assert lateness(result(at=DUE, late=True, by=BY_NAME), given).cell == "0"


REFUSED = {
    "student;until\nroe;05/12/2026\n": "line 2, column until: '05/12/2026' is no time",
    "student,late_days\nroe,two\n": "line 2, column late_days: 'two' is no number of days",
    "student,late_days\nroe,-1\n": "line 2, column late_days",
    "name,until\nroe,\n": "line 1: the column student is missing",
    "student,why\nroe,ill\n": "line 1: the column until is missing",
    "student,late_days\nroe,1\nRoe,2\n": "line 3, column student: Roe has a row already",
}


@pytest.mark.parametrize("text", REFUSED)
def test_extensions_that_cannot_be_understood_are_refused(tmp_path, text):
    (tmp_path / "extensions.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"extensions\.csv") as refused:
        read_extensions(tmp_path / "extensions.csv")
    assert REFUSED[text] in str(refused.value)


@pytest.mark.parametrize("called", ["roe (112)", "ROE", "112", "roe_112_1_a.zip", "roe_112_1_a"])
def test_a_student_may_be_called_by_any_name_and_none_is_mixed_up(tmp_path, called):
    (tmp_path / "extensions.csv").write_text(f"student,late_days\n{called},1\nnobody,1\n", encoding="utf-8")
    roe, doe = result(), result("doe (113)", name="doe_113_1_a.zip")
    fits, odd = matched([roe, doe], read_extensions(tmp_path / "extensions.csv"))
    assert list(fits) == [roe.hand_in]
    assert odd == ["nobody has handed in nothing under this name."]
    twin = result("roe (114)", name="roe_114_1_a.zip")
    if called == "ROE":
        assert matched([roe, twin], read_extensions(tmp_path / "extensions.csv"))[0] == {}


def table(path):
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_sheet_grades_and_report_tell_it_and_the_total_stays(tmp_path):
    given = assignment(tmp_path, late="each_day = 0.25\n")
    (tmp_path / "extensions.csv").write_text("student,late_days\nroe,1\nnobody,2\n", encoding="utf-8")
    late = result(at=DUE + timedelta(days=2, seconds=1))
    late.exercises = {"q_sample": {"points": 4.0, "worth": 4.0, "passed": True, "lines": [], "mistakes": []}}
    late.exercises["q_sample"]["layers"] = {}
    fine = result("doe (113)", at=DUE, name="doe_113_1_a.zip")
    write_reports(tmp_path, [late, fine], given)
    first, second = table(tmp_path / "grades.csv")
    assert (first["late_days"], first["total"], second["late_days"], second["total"]) == ("0", "0", "2", "4")
    assert second["after_lateness"] == "2"
    assert "4 × (1 − 2 × 0.25) = 2" in second["lateness"]
    assert [row["late_days"] for row in table(tmp_path / "marking.csv")] == ["0", "2"]
    report = (tmp_path / "report.html").read_text(encoding="utf-8").split("<h2>Late</h2>")[1].split("<h2>")[0]
    assert "roe_112_1_a.zip" in report
    assert "doe_113" not in report
    assert "nobody has handed in" in report


def test_without_a_due_date_nothing_is_counted(tmp_path):
    (tmp_path / "extensions.csv").write_text("student,late_days\nroe,1\n", encoding="utf-8")
    write_reports(tmp_path, [result(at=DUE)], assignment(tmp_path, due=""))
    for name in ("grades.csv", "marking.csv"):
        assert not [head for head in table(tmp_path / name)[0] if "late_" in head or "lateness" in head]
    assert "Late</h2>" not in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("minutes", "days"), [(0, 0), (15, 0), (16, 1), (24 * 60, 1), (24 * 60 + 1, 2)])
def test_grace_forgives_minutes_and_counts_no_other_day(tmp_path, minutes, days):
    given = assignment(tmp_path, late="each_day = 0.1\ngrace = 15\n")
    found = lateness(result(at=DUE + timedelta(minutes=minutes)), given)
    assert found.days == days
    assert ("forgiven" in found.words) == (minutes == 15)


@pytest.mark.parametrize(("days", "left"), [(0, 8), (1, 7.2), (3, 5.6), (4, 5.6), (40, 5.6)])
def test_all_days_together_take_no_more_than_the_most(days, left):
    found, words = after(8, days, Late(each_day=0.1, at_most=0.3))
    assert found == pytest.approx(left)
    assert words.partition(", as no more is taken off")[0].endswith(f"= {left:g}")
    assert ("no more" in words) == (days > 3)


@pytest.mark.parametrize(("text", "words"), [
    ("apply = true\n", "accepted: false, and true where due and each_day are set"),
    ("each_day = -0.1\n", "each_day is -0.1; accepted: a number in 0 ... 1"),
    ("at_most = 30\n", "at_most is 30; accepted"), ('grace = "15 min"\n', "grace is '15 min'; accepted"),
    ("cap = 0.3\n", "no setting cap; accepted: due, each_day, grace, at_most, apply"),
])  # fmt: skip
def test_a_rule_that_is_none_is_refused(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        assignment(tmp_path, late=text)


WORKSHEET = (
    "Identifier,Full name,Email address,Status,Grade,Maximum Grade,Grade can be changed\n"
    "Participant 112,Rick Roe,r@uni.example,Submitted,,12,Yes\n"
    "Participant 113,Jane Doe,j@uni.example,Submitted,,12,Yes\n"
    "Participant 114,Sam Smith,s@uni.example,Submitted,,12,Yes\n"
)


@pytest.mark.parametrize("applies", [False, True])
def test_what_a_day_costs_is_taken_off_only_where_that_is_said(tmp_path, applies):
    """Before and after stand beside each other, and the grade book takes the one that counts."""
    given = assignment(tmp_path, late=f"each_day = 0.1\nat_most = 0.3\napply = {str(applies).lower()}\n")
    found = [result(at=DUE + timedelta(days=1, seconds=1)), result("doe (113)", at=DUE, name="doe_113_1_a.zip"),
             result("smith (114)", name="smith_114_1_a.zip")]  # fmt: skip
    for one in found:
        one.exercises = {"q_sample": {"points": 4.0, "worth": 4.0, "passed": True, "lines": [], "mistakes": [],
                                      "layers": {}}}  # fmt: skip
    write_reports(tmp_path, found, given)
    rows = {row["hand_in"]: row for row in table(tmp_path / "grades.csv")}
    assert [rows[r.hand_in]["total"] for r in found] == ["4", "4", "4"]
    assert [rows[r.hand_in]["after_lateness"] for r in found] == ["3.2", "4", ""]
    assert [rows[r.hand_in].get("counts") for r in found] == (["3.2", "4", ""] if applies else [None] * 3)
    (tmp_path / "export.csv").write_text(WORKSHEET, encoding="utf-8")
    filled = fill(tmp_path / "export.csv", tmp_path / "grades.csv")
    grades = [row.text(4) for row in filled.table.rows]
    assert grades == (["3.2", "4", ""] if applies else ["4", "4", "4"])
    assert ("smith_114_1_a.zip: no points yet" in "\n".join(filled.told)) == applies
    assert ("after lateness" in "\n".join(filled.told)) == applies
    by_hand = fill(tmp_path / "export.csv", tmp_path / "grades.csv", points="total")
    assert [row.text(4) for row in by_hand.table.rows] == ["4", "4", "4"]
    pages = [(tmp_path / "students" / r.hand_in / "feedback.html").read_text(encoding="utf-8") for r in found]
    assert ["4 × (1 − 2 × 0.1) = 3.2" in page for page in pages] == [applies, False, False]


def test_students_read_what_a_day_costs_where_it_costs(tmp_path):
    settings = "each_day = 0.125\nat_most = 0.5\ngrace = 15\n"
    told = rules(assignment(tmp_path, late=settings + "apply = true\n"))
    assert "Each day that has begun after 2026-12-01 23:59 takes 12.5 % off your total, 50 % at most." in told
    assert "15 minutes are forgiven." in told
    assert "decides" not in told
    assert "Each day" not in rules(assignment(tmp_path, late=settings))
