"""A second run with another assignment, checker or hand-in: who has other points than before, and why."""

import csv
import json
from itertools import pairwise

import pytest
from classroom import FILE, SOLUTION, student_source, zipped

from diffusion_lib.homework.exercises import assignment_path, load_assignment
from grader import grading
from grader.grading import Result, grade, load_result, result_of
from grader.regrade import BEFORE, changes, forget, paragraph, remember, tell
from grader.sandbox.client import Ran

MADE = {"hand-in": "h", "assignment": "a", "checker": "c"}


def entry(points, worth=1.0, mistake="", lines=("q_sample: not yet right. exact values ✗",)):
    return {"points": points, "worth": worth, "passed": points == worth, "lines": list(lines), "layers": {},
            "mistakes": [mistake] if mistake else []}  # fmt: skip


def result(name="roe.zip", student=None, status="graded", made=None, **exercises):
    made_of = MADE | (made or {})
    return Result(name, student or name.removesuffix(".zip"), False, status, exercises=exercises, made_of=made_of)


def changed(before, after):
    return [(c.student, c.exercise, c.before, c.after, c.why) for c in changes(before, after)]


def test_what_did_not_change_is_not_told():
    same = [result(q_sample=entry(1.0)), result("doe.zip", q_sample=entry(0.0))]
    assert changes(same, [result(made={"checker": "new"}, q_sample=entry(1.0)), same[1]]) == []
    assert changes([], same) == []
    assert paragraph([]) == ""


def test_points_the_reason_and_both_verdicts_are_told():
    before = [result(q_sample=entry(0.5, mistake="the noise lacks its root"), p_sample=entry(1.0))]
    after = [result(made={"checker": "new"}, q_sample=entry(1.0), p_sample=entry(1.0))]
    assert changed(before, after) == [
        ("roe", "q_sample", 0.5, 1.0, "the checker changed; the noise lacks its root → right")
    ]
    [change] = changes(before, after)
    assert (change.all_before, change.all_after) == (1.5, 2.0)


def test_an_assignment_that_pays_otherwise_or_asks_for_other_things_is_named():
    before = [result(q_sample=entry(1.0), ddpm_loss=entry(1.0))]
    after = [result(made={"assignment": "new"}, q_sample=entry(2.0, worth=2.0), p_sample=entry(1.0))]
    assert changed(before, after) == [
        ("roe", "q_sample", 1.0, 2.0, "the assignment changed; worth 1 → 2"),
        ("roe", "ddpm_loss", 1.0, None, "the assignment changed; no longer asked for"),
        ("roe", "p_sample", None, 1.0, "the assignment changed; asked for now"),
    ]


def test_a_new_hand_in_is_compared_with_the_students_last_one():
    before = [result("roe_112_1_a.zip", "roe (112)", q_sample=entry(0.0))]
    after = [
        result("roe_112_1_a.zip", "roe (112)", status="superseded"),
        result("roe_112_2_a.zip", "roe (112)", made={"hand-in": "new"}, q_sample=entry(1.0)),
    ]
    [(student, _, was, now, why)] = changed(before, after)
    assert (student, was, now) == ("roe (112)", 0.0, 1.0)
    assert why.startswith("handed in again; not yet right. exact values ✗ → right")


def test_no_points_yet_is_not_zero_points():
    before, after = [result(status="unclear", q_sample=entry(0.0))], [result(q_sample=entry(0.0))]
    assert [row[2:4] for row in changed(before, after)] == [(None, 0.0)]
    assert changes(before, [result(status="not graded")]) == []


def test_a_result_of_an_earlier_grader_is_still_compared(tmp_path):
    old = {"hand_in": "roe.zip", "student": "roe", "late": False, "status": "graded", "digest": "0",
           "exercises": {"q_sample": entry(0.0)}}  # fmt: skip
    assert changed([result_of(old)], [result(q_sample=entry(1.0))])[0][-1].startswith("the checker changed;")
    assert result_of({"hand_in": "roe.zip"}) is None
    assert result_of([]) is None


def test_one_paragraph_sums_it_up():
    before = [result(f"s{i}.zip", q_sample=entry(1.0), p_sample=entry(0.0)) for i in range(4)]
    after = [result("s0.zip", made={"checker": "new"}, q_sample=entry(1.0), p_sample=entry(1.0)),
             result("s1.zip", made={"checker": "new"}, q_sample=entry(0.5), p_sample=entry(0.0)),
             result("s2.zip", made={"hand-in": "new"}, q_sample=entry(0.0), p_sample=entry(0.75)),
             before[3]]  # fmt: skip
    text = paragraph(changes(before, after))
    assert "for 3 students: 1 with more, 2 with fewer." in text
    assert "The largest step is +1, for s0." in text
    assert "p_sample (2), q_sample (2)" in text or "q_sample (2), p_sample (2)" in text
    assert "the checker changed (2), handed in again (1)" in text


def stored(out, *results):
    for one in results:
        grading.store_result(out, one.hand_in, one)


def test_a_run_that_was_stopped_is_compared_with_the_last_that_was_not(tmp_path):
    first, new = result(q_sample=entry(0.0)), result(made={"checker": "new"}, q_sample=entry(1.0))
    remember(tmp_path)
    assert not (tmp_path / BEFORE).exists()  # nothing is known yet
    stored(tmp_path, first)
    remember(tmp_path)
    stored(tmp_path, new)  # and here the second run is killed
    remember(tmp_path)
    told = tell(tmp_path, [new])
    assert "1 with more" in told
    [row] = csv.DictReader((tmp_path / "regrade.csv").open(encoding="utf-8"))
    assert (row["student"], row["before"], row["after"], row["change"]) == ("roe", "0", "1", "+1")
    forget(tmp_path, [new, Result("x", "x", False, "not graded")])
    assert (tmp_path / BEFORE).exists()  # the machine failed: the run is not over
    forget(tmp_path, [new])
    remember(tmp_path)
    assert tell(tmp_path, [new]) == ""
    assert (tmp_path / "regrade.md").read_text(encoding="utf-8") == told + "\n"  # the last change stays to be read


class Idle:
    """A sandbox in which nothing comes back."""

    def run(self, *job, **how):
        return Ran(None, "idle")


@pytest.fixture
def class_of_one(tmp_path, monkeypatch):
    def grade_all(waiting, out, assignment, jobs, unsafe):
        return (grading._graded(hand_in, out, assignment, {}, Idle()) for hand_in in waiting)

    monkeypatch.setattr(grading, "_grade_all", grade_all)
    (tmp_path / "in").mkdir()
    zipped(tmp_path / "in", "roe", {FILE: SOLUTION})

    def known(text=None):
        (tmp_path / "assignment.toml").write_text(text or assignment_path().read_text(encoding="utf-8"))
        [(_, known)] = grade(tmp_path / "in", tmp_path / "out", load_assignment(tmp_path / "assignment.toml"))
        return known

    return tmp_path, known


def test_a_newer_checker_or_assignment_grades_again_and_another_deadline_does_not(class_of_one, monkeypatch):
    home, known = class_of_one
    text = assignment_path().read_text(encoding="utf-8")
    assert [known(), known()] == [False, True]
    assert known(text.replace('title = "', 'title = "The ') + "\n[late]\ndue = 2026-12-01\n")
    assert not known(text.replace("q_sample = { points = 1 }", "q_sample = { points = 2 }", 1))
    assert load_result(home / "out", "roe.zip").exercises["q_sample"]["worth"] == 2
    assert not known()
    monkeypatch.setattr(grading, "_checker", lambda: "newer")
    assert [known(), known()] == [False, True]
    zipped(home / "in", "roe", {FILE: student_source(q_sample="return x_start"), "more.py": ""})
    assert not known()


def test_the_checkers_digest_hangs_on_the_checks_and_not_on_the_pages(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "tree", lambda: tmp_path)
    for name in ("diffusion_lib/homework/checks.py", "grader/reports.py", "grader/catalogue/mistakes.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    digest = grading._checker.__wrapped__
    seen = [digest()]
    for name in ("grader/reports.py", "diffusion_lib/homework/checks.py", "grader/catalogue/mistakes.py"):
        (tmp_path / name).write_text("2")
        seen.append(digest())
    assert [a == b for a, b in pairwise(seen)] == [True, False, False]


def test_the_stored_baseline_is_readable_text(tmp_path):
    stored(tmp_path, result(q_sample=entry(0.0)))
    remember(tmp_path)
    assert json.loads((tmp_path / BEFORE).read_text(encoding="utf-8"))[0]["student"] == "roe"
