"""Whose run is it: what the teacher is told of the experiment that was handed in, and that it counts no points."""

import csv
import json
import platform

import pytest
from classroom import FILE, SOLUTION, student_source, zipped

from diffusion_lib.homework.digests import digest
from diffusion_lib.homework.exercises import assignment_path, get, load_assignment, tree
from grader.grading import Result, grade_one
from grader.hand_ins import HandIn
from grader.reading import read
from grader.reports import write_reports
from grader.sandbox.client import Ran

NAMES = ("q_sample", "ddpm_loss", "p_sample")
OTHER = student_source(p_sample="return x_t - x_t")
SHIPPED = (tree() / "diffusion_lib/weights/laptop.history.jsonl").read_text(encoding="utf-8")


def run_files(source=SOLUTION, epochs=4, images=57_600, **changes):
    """What the experiment leaves, with some files replaced, or left out where they are None."""
    digests = {name: digest(source, name) for name in NAMES}
    grids = {f"samples_epoch_{epoch}.png": digests["p_sample"] for epoch in range(1, epochs + 1)}
    history = [{"kind": "epochs", "epoch": e, "train_loss": 0.1 / e, "held_out_loss": 0.2 / e} for e in range(1, 5)]
    card = {"data": "MNIST", "images": images, "epochs": epochs, "versions": {"python": platform.python_version()}}
    files = {
        "code.json": json.dumps({"functions": {n: digests[n] for n in NAMES[:2]}, "grids": grids}),
        "card.json": json.dumps(card),
        "history.jsonl": "".join(json.dumps(record) + "\n" for record in history[:epochs]),
    }
    return {name: text for name, text in (files | changes).items() if text is not None}


def handed_in(folder, files, source=SOLUTION, where="experiment/minutes"):
    zipped(folder, "jane", {f"homework/{FILE}": source} | {f"homework/{where}/{n}": t for n, t in files.items()})
    hand_in = HandIn("jane.zip", folder / "jane.zip", "jane")
    read(hand_in, [get(name) for name in NAMES])
    return hand_in


def broken(**changes):
    return lambda: run_files(**{name.replace("_j", ".j"): text for name, text in changes.items()})


CASES = {  # files -> faults, words
    "right": (run_files, (), "230,400 images seen"),
    "longer": (lambda: run_files(epochs=2, images=60_000 * 2), (), "240,000 images seen"),
    "other_step": (lambda: run_files(OTHER), ("other code",), "p_sample is not the function"),
    "other_loss": (lambda: run_files(student_source(ddpm_loss="return 0")), ("other code",), "ddpm_loss is not"),
    "other_q": (lambda: run_files(student_source(q_sample="return 0")), ("other code",), "q_sample and ddpm_loss are"),
    "short": (lambda: run_files(epochs=2), ("too short",), "115,200 images seen; the experiment asks for 230,400"),
    "card_says_more": (
        broken(history_jsonl=run_files(epochs=2)["history.jsonl"]), ("too short",), "history.jsonl holds 2 epochs"
    ),
    "shipped": (broken(history_jsonl=SHIPPED), ("the course's history",), "30 of its 30 epochs"),
    "shipped_in_part": (
        broken(history_jsonl="".join(SHIPPED.splitlines(True)[-5:])),
        ("the course's history", "too short"),
        "1 of its 1 epochs",
    ),
    "not_mnist": (
        broken(card_json='{"images": 57600, "epochs": 4, "data": "\\ud800 digits"}'), ("not MNIST",), "'\\ud800 digits'"
    ),
    "no_code": (broken(code_json=None), ("not readable",), "code.json is not there"),
    "torn_code": (broken(code_json='{"functions": {'), ("not readable",), "code.json cannot be read"),
    "deep_code": (broken(code_json="[" * 100_000), ("not readable",), "code.json cannot be read"),
    "list_code": (broken(code_json="[]"), ("not readable",), "code.json"),
    "empty_code": (broken(code_json='{"functions": {}, "grids": {}}'), ("not readable",), "which functions trained"),
    "no_text": (broken(code_json=b"\xff\xfe\x00"), ("not readable",), "code.json cannot be read"),
    "huge_code": (broken(code_json=" " * 2**21), ("not readable",), "larger than"),
    "torn_card": (broken(card_json="{"), ("not readable",), "card.json cannot be read"),
    "odd_card": (broken(card_json='{"images": 1e999, "epochs": true}'), ("not readable",), "how many images"),
    "no_history": (broken(history_jsonl=None), ("not readable",), "history.jsonl is not there"),
    "odd_history": (broken(history_jsonl='{"kind": ["epochs"]}\n[1]\n'), ("not readable",), "holds no epoch"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_run_is_told_for_what_it_is(tmp_path, name):
    files, faults, words = CASES[name]
    [run] = handed_in(tmp_path, files()).runs
    assert run.faults == faults
    assert words in run.words
    assert "experiment/minutes" in run.words


def test_none_is_none_and_shipped_files_in_their_place_are_no_run(tmp_path):
    assert handed_in(tmp_path, {}).runs == []
    weights = {"laptop.history.jsonl": SHIPPED, "laptop.json": "{}"}
    assert handed_in(tmp_path, weights, where="diffusion_lib/weights").runs == []


def test_without_the_code_nothing_is_compared(tmp_path):
    [run] = handed_in(tmp_path, run_files(), source="<<<<<<< HEAD\n=======\n>>>>>>> mine\n").runs
    assert run.faults == ("code not known",)


def test_another_python_is_named_where_digests_differ(tmp_path):
    card = json.dumps({"images": 57_600, "epochs": 4, "data": "MNIST", "versions": {"python": "3.1.4"}})
    [run] = handed_in(tmp_path, run_files(OTHER, **{"card.json": card})).runs
    assert "Python 3.1, and this is" in run.words


class Idle:
    """A sandbox in which nothing comes back."""

    def run(self, *job, **how):
        return Ran(None, "idle")


def graded(folder, name, files):
    """The Result of a hand-in whose functions are not run."""
    zipped(folder, name, {FILE: SOLUTION} | files)
    hand_in = HandIn(f"{name}.zip", folder / f"{name}.zip", name)
    return grade_one(hand_in, load_assignment(assignment_path()), {}, Idle())


def test_the_teacher_is_told_the_student_is_not_and_points_stay(tmp_path):
    good = {f"experiment/minutes/{n}": t for n, t in run_files().items()}
    tried = {f"experiment/tiny/{n}": t for n, t in run_files(OTHER, epochs=1).items()}
    shipped = {f"experiment/minutes/{n}": t for n, t in run_files(**{"history.jsonl": SHIPPED}).items()}
    results = [
        graded(tmp_path, "both", tried | good),
        graded(tmp_path, "tried", tried),
        graded(tmp_path, "borrowed", shipped),
        graded(tmp_path, "without", {}),
    ]
    (tmp_path / "torn.zip").write_bytes(b"PK no zip")
    assignment = load_assignment(assignment_path())
    results.append(grade_one(HandIn("torn.zip", tmp_path / "torn.zip", "torn"), assignment, {}, Idle()))
    assert len({result.points for result in results}) == 1
    (tmp_path / "out").mkdir()
    write_reports(tmp_path / "out", results, assignment)
    with (tmp_path / "out" / "grades.csv").open(newline="", encoding="utf-8") as file:
        runs = {row["student"]: row["run"] for row in csv.DictReader(file)}
    assert runs == {
        "both": "in order", "tried": "other code, too short", "borrowed": "the course's history", "without": "none",
        "torn": "",
    }  # fmt: skip
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    look = report.split("<h2>Hand-ins to look at</h2>")[1].split("<h2>")[0]
    assert "No run of the experiment was handed in: without.zip." in look
    assert "tried.zip: experiment/tiny" in look
    assert "borrowed.zip: experiment/minutes" in look
    assert "both.zip" not in look
    assert "both.zip" in report.split("<h2>The experiment's runs</h2>")[1].split("<h2>")[0]
    for path in (tmp_path / "out" / "students").glob("*/[fr]*s.*"):
        assert "experiment/" not in path.read_text(encoding="utf-8")
        assert "in order" not in path.read_text(encoding="utf-8")


def test_a_homework_without_the_experiment_says_nothing_of_runs(tmp_path):
    text = assignment_path().read_text(encoding="utf-8").replace(', "experiment"]', "]")
    (tmp_path / "assignment.toml").write_text(text, encoding="utf-8")
    assignment = load_assignment(tmp_path / "assignment.toml")
    zipped(tmp_path, "jane", {FILE: SOLUTION})
    result = grade_one(HandIn("jane.zip", tmp_path / "jane.zip", "jane"), assignment, {}, Idle())
    (tmp_path / "out").mkdir()
    write_reports(tmp_path / "out", [result], assignment)
    assert "No run" not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert Result("a", "a", False, "graded").run == ""
