"""Whose is what: names that do not collide, pages that name nobody else, runs that came twice, evidence in words."""

import json
import os
import re

import pytest
import torch
from classroom import FILE, SOLUTION, zipped
from test_homework_runs import SHIPPED, run_files

from diffusion_lib.homework.checks import judge
from diffusion_lib.homework.exercises import assignment_path, get, load_assignment
from diffusion_lib.homework.probing import Observation
from diffusion_lib.homework.records import Entry
from grader.grading import grade_one
from grader.hand_ins import MOST_KEY, HandIn, discover, key_of
from grader.reports import gradescope, write_reports
from grader.sandbox.client import Ran

ASSIGNMENT = load_assignment(assignment_path())
LONG = "Wolfeschlegelsteinhausenbergerdorff" * 6
NAMES = [
    "roe.zip", "a b", "a_b", "a  b", "homework (1).zip", "homework_1_.zip", ".hidden", "hidden", "???", "!!!", "",
    f"{LONG}1.zip", f"{LONG}2.zip", f"{LONG}1", "名" * 60 + "1", "名" * 60 + "2", "é" * 80, "x" * 100, "x" * 101,
    os.fsdecode(b"n\xffme"), "n\\xffme",
]  # fmt: skip


def test_different_names_have_different_folders_that_a_disk_can_make(tmp_path):
    keys = [key_of(name) for name in NAMES]
    assert len(set(keys)) == len(NAMES)
    for key in keys:
        assert len(os.fsencode(key)) <= MOST_KEY
        (tmp_path / key).mkdir()
    assert key_of("right_library.zip") == "right_library.zip"


def test_names_that_differ_in_capitals_alone_have_two_folders_on_any_disk(tmp_path):
    for name in ("Roe.zip", "roe.zip", f"{LONG[:200]}1.zip", f"{LONG[:200]}2.zip"):
        (tmp_path / name).write_bytes(b"")
    keys = [hand_in.key.casefold() for hand_in in discover(tmp_path)]
    assert len(set(keys)) == 4


class Idle:
    """A sandbox in which nothing comes back."""

    def run(self, *job, **how):
        return Ran(None, "idle")


def test_no_page_of_a_student_names_another(tmp_path):
    history = {f"h/experiment/minutes/{n}": t for n, t in run_files().items()}
    names = ["homework", "homework (1)", "homework (2)", "anna_1_2_h", "berta_2_3_h", "Clara_3_4_h"]
    (tmp_path / "in").mkdir()
    for name in names:
        zipped(tmp_path / "in", name, {f"h/{FILE}": SOLUTION} | history)
    results = [grade_one(hand_in, ASSIGNMENT, {}, Idle()) for hand_in in discover(tmp_path / "in")]
    (tmp_path / "out").mkdir()
    write_reports(tmp_path / "out", results, ASSIGNMENT)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "homework (1).zip, homework (2).zip, homework.zip: counted as 3 hand-ins" in report
    assert "anna_1_2_h.zip and berta_2_3_h.zip: the same losses in 4 epochs" in report
    for result in results:
        for page in (tmp_path / "out" / "students" / key_of(result.hand_in)).iterdir():
            if page.name in ("feedback.html", "results.json"):
                others = {other.hand_in for other in results} | {other.student for other in results}
                text = page.read_text(encoding="utf-8").replace(result.hand_in, "").replace(result.student, "")
                assert not [o for o in others - {result.hand_in, result.student, "homework"} if o in text], page


HISTORY = run_files()["history.jsonl"]
SECONDS = HISTORY.replace('"epoch": 1,', '"epoch": 1, "seconds": 60.5,')
OTHER = re.sub(r"_loss\": (\d)", r'_loss": 1\1', HISTORY)


@pytest.mark.parametrize(("first", "second", "words"), [
    (HISTORY, HISTORY, "the same losses in 4 epochs; one of their histories is the same to the last byte"),
    (HISTORY, SECONDS, "the same losses in 4 epochs; their histories differ elsewhere"),
    (HISTORY, "".join(SECONDS.splitlines(True)[:1]), "the same losses in 1 epoch; their histories differ elsewhere"),
    (HISTORY, OTHER, ""),
    (HISTORY, None, ""),
])  # fmt: skip
def test_one_history_in_two_hand_ins_is_told_to_the_teacher(tmp_path, first, second, words):
    results = []
    for name, history in (("anna", first), ("berta", second)):
        files = {f"h/experiment/minutes/{n}": t for n, t in run_files(**{"history.jsonl": history}).items()}
        zipped(tmp_path, name, {f"h/{FILE}": SOLUTION} | files)
        results.append(grade_one(HandIn(f"{name}.zip", tmp_path / f"{name}.zip", name), ASSIGNMENT, {}, Idle()))
    write_reports(tmp_path, results, ASSIGNMENT)
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("One history in two hand-ins" in report) == bool(words)
    assert words in report


def test_the_courses_own_history_does_not_make_two_students_alike(tmp_path):
    for name in ("anna", "berta"):
        files = {f"h/experiment/minutes/{n}": t for n, t in run_files(**{"history.jsonl": SHIPPED}).items()}
        zipped(tmp_path, name, {f"h/{FILE}": SOLUTION} | files)
    results = [grade_one(hand_in, ASSIGNMENT, {}, Idle()) for hand_in in discover(tmp_path)]
    assert [(result.run, result.losses) for result in results] == [("the course's history", [])] * 2


def test_gradescope_shows_the_run_to_teachers_alone(tmp_path):
    files = {f"h/experiment/minutes/{n}": t for n, t in run_files(epochs=2).items()}
    zipped(tmp_path, "submission", {f"h/{FILE}": SOLUTION} | files)
    result = grade_one(HandIn("submission", tmp_path / "submission.zip", "submission"), ASSIGNMENT, {}, Idle())
    [entry] = [test for test in gradescope(result, {}, ASSIGNMENT, hidden=True)["tests"] if "run" in test["name"]]
    assert entry["visibility"] == "hidden"
    assert entry["output"].startswith("too short\n")
    assert "115,200 images seen" in entry["output"]
    assert "too short" not in json.dumps(gradescope(result, {}, ASSIGNMENT))


def told(wanted, *answers, accepted=()):
    """The evidence of a made-up exercise whose cases should answer ``wanted``, and answered ``answers``."""
    names = [f"T case {i}" for i in range(len(wanted))]
    wanted, answers = ([torch.tensor(values, dtype=torch.float64) for values in v] for v in (wanted, answers))
    rows = [torch.cat([w.flatten() for w in wanted]), *(torch.tensor(a, dtype=torch.float64) for a in accepted)]
    none = torch.empty(0, len(rows[0]))
    entry = Entry(names, [tuple(w.shape) for w in wanted], torch.stack(rows), [], none, [], none, [])
    seen = Observation(dict(zip(names, answers, strict=True)))
    return judge(get("q_sample"), seen, {"q_sample": entry}).evidence


def test_evidence_says_which_number_is_the_first_that_differs_and_how_many_do():
    ones = [1.0] * 8
    assert told([ones], [*ones[:6], 0.0, 0.5]) == [
        "case 0: 2 of 8 numbers differ, the first is number 7: expected 1, received 0"
    ]
    assert told([0.25], 0.5) == ["case 0: expected 0.25, received 0.5"]
    assert told([[1.0, 2.0]], [1.0, 2.0002]) == [
        "case 0: 1 of 2 numbers differ, the first is number 2: expected 2, received 2.0002"
    ]
    assert told([ones], [float("nan"), *ones[1:]]) == [
        "case 0: 1 of 8 numbers differ, the first is number 1: expected 1, received nan"
    ]


def test_of_the_accepted_forms_the_nearest_is_shown():
    right, other = [1.0, 1.0, 1.0, 1.0], [3.0, 3.0, 3.0, 5.0]
    [line] = told([right], [3.0, 3.0, 3.0, 1.5], accepted=[other])
    assert line == "case 0: 1 of 4 numbers differ, the first is number 4: expected 5, received 1.5"
