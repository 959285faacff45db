"""Files that never finish loading, and functions that never end: the line is told, and nobody else pays for it."""

import csv
from dataclasses import replace

import pytest
from classroom import FILE, SOLUTION, student_source, write_body, zipped
from conftest import ROOT

from diffusion_lib.homework.exercises import TESTS_FILE, load_assignment
from grader import testers
from grader.catalogue.versions import versions
from grader.grading import grade
from grader.reports import write_reports
from grader.sandbox import client, server
from grader.sandbox.client import Sandbox

LINES = SOLUTION.count("\n")
ENDLESS = {  # a file that at home runs on and on as well -> the line, and words
    "loop": (SOLUTION + "while True:\n    pass\n", (LINES + 1, LINES + 2), "1 seconds of work"),
    "calls": (SOLUTION + "def train():\n    while True:\n        torch.randn(9).sort()\n\n\ntrain()\n",
              (LINES + 2, LINES + 3), "1 seconds of work"),
    "sleeps": ("import time\n\ntime.sleep(10**6)\n" + SOLUTION, (3, 3), "slept for 2 seconds"),
}  # fmt: skip
INPUT = 'who = input("Your name: ")\n' + SOLUTION


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """What is meant here to have no end is waited for less long."""
    monkeypatch.setattr(client, "LOADING", 1)
    monkeypatch.setattr(client, "ASLEEP", 2)


@pytest.fixture
def assignment():
    """Two exercises of one file, whose record is made in a moment."""
    whole = load_assignment(ROOT / "homework" / "assignment.toml")
    return replace(whole, exercises={"q_sample": 1, "ddim_step": 1}, questions={})


def test_such_a_file_is_told_with_its_line_once_and_nobody_gets_a_0_for_it(tmp_path, monkeypatch, assignment):
    asked, ask = [], Sandbox._ask
    monkeypatch.setattr(Sandbox, "_ask", lambda box, name, job: asked.append(job["exercise"]) or ask(box, name, job))
    (tmp_path / "in").mkdir()
    for name, source in {"a_right": student_source(), "z_right": student_source(), "input": INPUT}.items():
        zipped(tmp_path / "in", name, {FILE: source})
    for name, (source, _, _) in ENDLESS.items():
        zipped(tmp_path / "in", name, {FILE: source})
    results = {r.hand_in.removesuffix(".zip"): r for r, _ in grade(tmp_path / "in", tmp_path / "out", assignment)}
    assert len(asked) == 2 * 3 + len(ENDLESS)  # once for each file, not for each of its exercises
    for name, (_, (first, last), words) in ENDLESS.items():
        assert results[name].status == "unclear"
        for entry in results[name].exercises.values():
            told = "\n".join(entry["lines"])
            assert "does not finish loading" in told
            assert words in told
            assert any(f"in line {line} of {FILE}" in told for line in range(first, last + 1)), told
    assert {results[name].points for name in ("a_right", "z_right", "input")} == {2}
    assert "input() asks" in " ".join(results["input"].notes)
    write_reports(tmp_path / "out", list(results.values()), assignment)
    with (tmp_path / "out" / "grades.csv").open(newline="", encoding="utf-8") as file:
        totals = {row["hand_in"].removesuffix(".zip"): row["total"] for row in csv.DictReader(file)}
    assert {totals[name] for name in ENDLESS} == {""}
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8").split("to look at")[1]
    assert report.count("no points, and no 0") == len(ENDLESS)


def test_tests_that_never_finish_loading_are_told_once_for_all_exercises(tmp_path, monkeypatch, assignment):
    two = dict(list(versions("q_sample").items())[:2])
    monkeypatch.setattr(testers, "versions", lambda exercise: two)
    tests = "def test_it(q_sample):\n    pass\n\n\nwhile True:\n    pass\n"
    (tmp_path / "in").mkdir()
    zipped(tmp_path / "in", "tester", {FILE: student_source(), TESTS_FILE: tests})
    asked = replace(assignment, exercises={"q_sample": 1}, tests={"q_sample": 1, "ddpm_loss": 1})
    tried, try_tests = [], Sandbox.try_tests
    monkeypatch.setattr(Sandbox, "try_tests", lambda *job: tried.append(job) or try_tests(*job))
    [(result, _)] = grade(tmp_path / "in", tmp_path / "out", asked)
    assert (result.status, len(tried)) == ("unclear", 1)
    for name in ("q_sample_tests", "ddpm_loss_tests"):
        assert "does not finish loading" in result.exercises[name]["lines"][0]
        assert "of tests_by_me.py" in result.exercises[name]["lines"][0]
    assert result.exercises["q_sample"]["points"] == 1


def test_a_function_that_does_not_end_is_still_a_wrong_one(monkeypatch):
    monkeypatch.setattr(client, "SECONDS", 1)
    with Sandbox(7, ["q_sample"]) as sandbox:
        ran = sandbox.run("q_sample", write_body(SOLUTION, "q_sample", "while True:\n    pass"))
        assert (ran.seen, ran.stuck) == (None, False)
        assert "It did not end within 1 seconds, in line" in ran.problem
        forged = "import os\nos.remove('where')\nos.mkfifo('where')\nwhile True: pass\n"
        assert sandbox.run("q_sample", forged).stuck  # nobody waits for what is in that pipe


@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ("while True:\n    pass", 2),  # the line says whose fault it is: so it is waited for once
        ("import time\ntime.sleep(10**6)", 2),
        ("return forever()", 2),  # a helper that the library does not have
        ("import os\nos.remove('where')\nwhile True:\n    pass", 2),  # no line: not waited for again either
        ("import os\nos._exit(0)", 3),
        ("import sys\nsys.exit()", 3),
        ("import ctypes\nctypes.string_at(0)", 3),
    ],
)
def test_whoever_calls_a_function_without_an_end_is_not_to_blame(tmp_path, monkeypatch, assignment, body, asked):
    jobs, run = [], Sandbox.run
    monkeypatch.setattr(client, "SECONDS", 1)
    monkeypatch.setattr(Sandbox, "run", lambda *job, **how: jobs.append(job) or run(*job, **how))
    (tmp_path / "in").mkdir()
    helper = "\n\ndef forever():\n    while True:\n        pass\n"
    zipped(tmp_path / "in", "student", {FILE: student_source(q_sample=body) + helper})
    both = replace(assignment, exercises={"q_sample": 1, "ddpm_loss": 2})
    [(result, _)] = grade(tmp_path / "in", tmp_path / "out", both)
    assert {name: entry["points"] for name, entry in result.exercises.items()} == {"q_sample": 0, "ddpm_loss": 2}
    assert len(jobs) == asked


def test_a_file_that_cannot_be_loaded_is_asked_once_for_each_exercise(tmp_path, monkeypatch, assignment):
    jobs, run = [], Sandbox.run
    monkeypatch.setattr(Sandbox, "run", lambda *job, **how: jobs.append(job) or run(*job, **how))
    (tmp_path / "in").mkdir()
    zipped(tmp_path / "in", "student", {FILE: SOLUTION + "raise ValueError('mine')\n"})
    [(result, _)] = grade(tmp_path / "in", tmp_path / "out", assignment)
    assert result.points == 0
    assert len(jobs) == len(result.exercises) == 2
    assert all("ValueError: mine" in entry["lines"][0] for entry in result.exercises.values())


def test_a_function_that_calls_one_without_an_end_is_asked_again(tmp_path, monkeypatch, assignment):
    monkeypatch.setattr(client, "SECONDS", 1)
    (tmp_path / "in").mkdir()
    zipped(tmp_path / "in", "student", {FILE: student_source(q_sample="while True:\n    pass")})
    other_way_round = replace(assignment, exercises={"ddpm_loss": 2, "q_sample": 1})
    [(result, _)] = grade(tmp_path / "in", tmp_path / "out", other_way_round)
    assert {name: entry["points"] for name, entry in result.exercises.items()} == {"ddpm_loss": 2, "q_sample": 0}


def watched(monkeypatch, tmp_path, clock):
    """What a watch says of a child seen in turn as ``clock`` tells: seconds gone by, processor time, asleep."""
    job = {"scratch": str(tmp_path), "loading": 60, "asleep": 30, "seconds": 10, "longest": 600}
    now = [0.0]
    monkeypatch.setattr(server.time, "monotonic", lambda: now[0])
    watch, said = server.Watch(job), ""
    for time, used, asleep in clock:
        now[0] = time
        monkeypatch.setattr(server, "usage", lambda child, elapsed, seen=(used, asleep): seen)
        said = said or watch.over(1)
    return said


def test_no_verdict_is_the_clocks(monkeypatch, tmp_path):
    starved = [(t, t / 100, False) for t in range(0, 650, 5)]  # it would work, and is hardly ever let
    assert watched(monkeypatch, tmp_path, starved).startswith("machine: too busy")
    assert watched(monkeypatch, tmp_path, [(t, t / 100, True) for t in range(0, 650, 5)]) == "loading asleep"
    assert watched(monkeypatch, tmp_path, [(t, float(t), False) for t in range(0, 100, 5)]) == "loading"
    assert watched(monkeypatch, tmp_path, [(t, float(t), False) for t in range(0, 55, 5)]) == ""
    assert watched(monkeypatch, tmp_path, [(t, 1.0, True) for t in range(0, 29, 5)]) == ""
    assert watched(monkeypatch, tmp_path, [(t, 1.0, True) for t in range(0, 40, 5)]) == "loading asleep"
    (tmp_path / server.LOADED).touch()
    assert watched(monkeypatch, tmp_path, [(t, float(t), False) for t in range(0, 40, 5)]) == "time"
