"""Other numbers for each student: the same every time, different between students, right, and nobody else's."""

import csv
import json
import math
import zipfile
from dataclasses import replace

import pytest
from conftest import ROOT

from diffusion_lib.homework import checks
from diffusion_lib.homework.exercises import load_assignment
from diffusion_lib.homework.questions import load_questions
from diffusion_lib.homework.records import read_record, shipped_record
from grader import handout, rounds
from grader.grading import Result
from grader.notebooks import student_notebook
from grader.recording import make_record
from grader.reports import write_reports
from grader.variants import CHECKS, asked, check_key, drawn, key, numbers, read_roster

PHRASE = "a quiet pond in spring"
STUDENTS = ["Roe, Rick", "113"]
SOURCE = (ROOT / "homework" / "assignment.toml").read_text(encoding="utf-8")
QUESTIONS = load_questions(ROOT / "homework" / "questions.toml")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The assignment with the one line changed, and a roster beside it."""
    home = tmp_path_factory.mktemp("variants")
    assert SOURCE.count('variants = ""') == 1
    (home / "assignment.toml").write_text(SOURCE.replace('variants = ""', f'variants = "{PHRASE}"'), encoding="utf-8")
    (home / "roster.csv").write_text('group;student\n1;"Roe, Rick"\n2;113\n', encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def assignment(files):
    return load_assignment(files / "assignment.toml")


def test_a_student_gets_the_same_numbers_every_time_and_in_any_company(assignment):
    assert numbers(assignment, "injection", "Roe, Rick") == numbers(assignment, "injection", " roe,  RICK ")
    assert drawn("phrase", "roe", "place", range(1000)) == 148  # as openssl says: HMAC-SHA256, eight bytes
    assert drawn("phrase", "roe", "place", range(1000)) != drawn("another", "roe", "place", range(1000))


@pytest.mark.parametrize("name", [name for name, question in QUESTIONS.items() if question.variant])
def test_students_differ_and_every_number_is_drawn_for_somebody(assignment, name):
    found = [numbers(assignment, name, f"student {i}") for i in range(200)]
    for what, among in QUESTIONS[name].variant.draws.items():
        assert {one[what] for one in found} == set(among)
    kinds = math.prod(len(among) for among in QUESTIONS[name].variant.draws.values())
    assert len({json.dumps(one) for one in found}) > 0.5 * min(200, kinds)
    assert {check_key(assignment, f"student {i}") for i in range(200)} == set(CHECKS)


def by_hand(question, n):
    """What is right, without a tensor and without the library."""
    if question == "injection":
        return {"weights": n["side"] * n["side"] * n["tokens"] * n["heads"], "each": 1 / n["tokens"]}
    beta = [1e-4 + i * (n["beta_end"] - 1e-4) / (n["T"] - 1) for i in range(n["T"])]
    left = [1.0]
    for one in beta:
        left.append(left[-1] * (1 - one))
    t = n["t"]
    fresh = math.sqrt((1 - left[t]) / (1 - left[t + 1]) * beta[t])
    return {"numbers in x_T": n["channels"] * n["side"] ** 2, "√ᾱ at T − 1": math.sqrt(left[-1]), "√β̃ at t": fresh}


@pytest.mark.parametrize("name", ["latent", "injection"])
@pytest.mark.parametrize("student", [f"student {i}" for i in range(12)])
def test_what_whoever_marks_reads_is_right(assignment, name, student):
    told = key(assignment, name, student)
    drew, _, right = told.partition(": ")
    assert drew == ", ".join(f"{what} = {value}" for what, value in numbers(assignment, name, student).items())
    read = dict(part.rsplit(" = ", 1) for part in right.split(", "))
    wanted = by_hand(name, numbers(assignment, name, student))
    assert {what: float(value) for what, value in read.items()} == pytest.approx(wanted, rel=1e-3)


@pytest.fixture(scope="module")
def release(files):
    """What a teacher builds for two students, with a shipped record that says which numbers it should hold."""

    def kept(key):
        return {name: replace(entry, key=key) for name, entry in shipped_record().items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handout, "kept_record", kept)
        handout.build(files / "out", files / "assignment.toml", files / "roster.csv")
    return files / "out"


def opened(path):
    with zipfile.ZipFile(path) as archive:
        return {name.removeprefix("student/"): archive.read(name) for name in archive.namelist()}


def test_each_student_gets_a_zip_with_own_numbers_and_nobodys_name(release, assignment, tmp_path):
    zips = {path.name: opened(path) for path in (release / "students").iterdir()}
    assert len(zips) == len(STUDENTS)
    assert not (release / "student").exists()
    of = {"113": zips["113.zip"], "Roe, Rick": next(found for name, found in zips.items() if name != "113.zip")}
    for student, found in of.items():
        everything = b"\n".join(found.values())
        for secret in (PHRASE, "Rick", *STUDENTS[:1]):
            assert secret.encode() not in everything
        texts = {name: data.decode() for name, data in found.items() if name.endswith((".md", ".ipynb"))}
        for name, question in asked(assignment, student).questions.items():
            own = json.dumps(question.question, ensure_ascii=False)[1:-1]
            holding = {path for path, text in texts.items() if own in text or question.question in text}
            book = f"notebooks/{question.notebook}.ipynb"
            assert {"handout.md", "write-up.md", "rubric.md", book, "notebooks/05_mnist_experiment.ipynb"} == holding
            other = asked(assignment, STUDENTS[student == STUDENTS[0]]).questions[name].question
            assert other == question.question or other not in "\n".join(texts.values())
        (tmp_path / "record").write_bytes(found["diffusion_lib/homework/record.safetensors"])
        assert {e.key for e in read_record(tmp_path / "record").values()} == {check_key(assignment, student)}
    assert asked(assignment, STUDENTS[0]).questions["latent"] != asked(assignment, STUDENTS[1]).questions["latent"]
    same = [name for name in of["113"] if of["113"][name] == of["Roe, Rick"][name]]
    assert set(of["113"]) == set(of["Roe, Rick"])
    assert len(same) > 0.8 * len(of["113"])


def test_the_teacher_gets_everybodys_numbers_with_what_is_right(release, assignment):
    told = (release / "teacher" / "model_answers.md").read_text(encoding="utf-8")
    for student in STUDENTS:
        for name in QUESTIONS:
            assert f"| {student} | {key(assignment, name, student)} |" in told


def test_the_check_at_home_asks_what_its_record_answers(monkeypatch):
    monkeypatch.setattr(checks, "shipped_record", lambda: make_record(["timestep_embedding"], key=CHECKS[1]))
    assert checks.check("timestep_embedding")


def test_sheet_and_feedback_show_each_student_the_own_numbers(tmp_path, files, assignment):
    (tmp_path / "roster.csv").write_bytes((files / "roster.csv").read_bytes())
    names = {"rick_112_1_a.zip": "Roe, Rick (112)", "doe_113_1_a.zip": "doe (113)", "eve_7_1_a.zip": "eve (7)"}
    results = [Result(name, student, False, "graded") for name, student in names.items()]
    write_reports(tmp_path, results, assignment)
    with (tmp_path / "marking.csv").open(newline="", encoding="utf-8-sig") as file:
        rows = {row["hand_in"]: row for row in csv.DictReader(file)}
    for name in QUESTIONS:
        of = {hand_in: row[f"{name}_numbers"] for hand_in, row in rows.items()}
        assert of["rick_112_1_a.zip"] == key(assignment, name, "Roe, Rick")
        assert of["doe_113_1_a.zip"] == key(assignment, name, "113")
        assert of["eve_7_1_a.zip"] == "?"
    page = (tmp_path / "students" / "doe_113_1_a.zip" / "feedback.html").read_text(encoding="utf-8")
    assert asked(assignment, "113").questions["injection"].question in page
    assert "Rick" not in page
    report = (tmp_path / "report.html").read_text(encoding="utf-8").split("Whose numbers?")[1]
    assert "eve_7_1_a.zip: nobody of the roster" in report.split("<h2>")[0]


def test_without_the_setting_all_get_the_same_and_no_roster_is_asked_for(tmp_path):
    plain = load_assignment(ROOT / "homework" / "assignment.toml")
    assert asked(plain, "roe").questions == plain.questions
    assert [key(plain, name, "roe") for name in QUESTIONS] == [""] * len(QUESTIONS)
    assert read_roster(None, plain) == []
    assert plain.published == plain.source
    write_reports(tmp_path, [Result("a.zip", "a", False, "graded")], plain)
    assert "_numbers" not in (tmp_path / "marking.csv").read_text(encoding="utf-8")
    assert "Whose numbers" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    (tmp_path / "roster.csv").write_text("student\nroe\n", encoding="utf-8")
    with pytest.raises(ValueError, match="variants is not set"):
        handout.build(tmp_path / "out", ROOT / "homework" / "assignment.toml", tmp_path / "roster.csv")


@pytest.mark.parametrize(("text", "words"), [
    (None, "variants is set, but .* is missing"), ("name\nroe\n", "the column student is missing"),
    ("student\n\n", "names no student"), ("student\nroe\nRoe\n", "line 3, column student: Roe has a row already"),
])  # fmt: skip
def test_a_roster_that_does_not_say_whose_is_refused(tmp_path, assignment, text, words):
    if text is not None:
        (tmp_path / "roster.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        read_roster(tmp_path / "roster.csv", assignment)


def test_without_its_roster_nothing_is_graded(tmp_path, assignment):
    (tmp_path / "in").mkdir()
    with pytest.raises(ValueError, match=r"roster\.csv is missing"):
        rounds.run(tmp_path / "in", tmp_path / "out", assignment)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("value", "words"), [('"pond"', "12 letters or more"), ("true", "variants is True")])
def test_a_phrase_that_is_none_is_refused(tmp_path, value, words):
    (tmp_path / "a.toml").write_text(SOURCE.replace('variants = ""', f"variants = {value}"), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        load_assignment(tmp_path / "a.toml")


def test_a_phrase_that_students_would_read_elsewhere_is_refused(tmp_path):
    text = SOURCE.replace('variants = ""', f'variants = "{PHRASE}"') + f"\n# {PHRASE}\n"
    (tmp_path / "a.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="stands somewhere else"):
        _ = load_assignment(tmp_path / "a.toml").published


@pytest.mark.parametrize(("old", "new", "words"), [
    ('"√β̃ at t" = "fresh_spread"', '"√β̃ at t" = "freshness"', "asks for freshness, which nobody computes"),
    ('"weights" = "attention_weights"', '"weights" = "pixels"', "pixels needs channels, side; .* no channels"),
])  # fmt: skip
def test_a_quantity_that_cannot_be_computed_is_refused(tmp_path, files, old, new, words):
    text = (ROOT / "homework" / "questions.toml").read_text(encoding="utf-8")
    assert text.count(old) == 1
    (tmp_path / "questions.toml").write_text(text.replace(old, new), encoding="utf-8")
    (tmp_path / "assignment.toml").write_bytes((files / "assignment.toml").read_bytes())
    spoilt = load_assignment(tmp_path / "assignment.toml")
    with pytest.raises(ValueError, match=words):
        handout._keys(spoilt, ["roe"])


def test_a_variant_that_draws_what_it_does_not_ask_is_refused(tmp_path):
    text = (ROOT / "homework" / "questions.toml").read_text(encoding="utf-8")
    (tmp_path / "questions.toml").write_text(text.replace("draws = { label", "draws = { digit"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"\[experiment\] variant: asks names label; draws needs a list for each"):
        load_questions(tmp_path / "questions.toml")


def test_a_notebook_asks_in_the_words_of_the_sheet(assignment):
    book = json.loads((ROOT / "notebooks" / "02_embeddings_and_unet.ipynb").read_text(encoding="utf-8"))
    own = asked(assignment, "113")
    text = json.dumps(student_notebook(book, "02_embeddings_and_unet", own), ensure_ascii=False)
    assert own.questions["injection"].question in text
