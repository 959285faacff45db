"""What the handout tells and keeps: the same questions everywhere, the rubric, the rules; no answer and no formula."""

import ast
import json
import re
import tomllib

import pytest
from conftest import ROOT

from diffusion_lib.homework.exercises import EXERCISES, get, load_assignment
from diffusion_lib.homework.questions import load_questions
from diffusion_lib.homework.records import shipped_record
from diffusion_lib.homework.rules import CHOICES
from grader import handout
from grader.notebooks import student_notebook
from grader.sheets import fill, for_the_write_up
from grader.trees import definition, stub

SOURCE = ROOT / "homework" / "questions.toml"
ASSIGNMENT = ROOT / "homework" / "assignment.toml"
QUESTIONS = load_questions(SOURCE)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """What a teacher publishes, with the record that ships: to make it anew takes long and is tested elsewhere."""
    out = tmp_path_factory.mktemp("release") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handout, "kept_record", lambda key: shipped_record())
        handout.build(out, ASSIGNMENT)
    return out


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def prose(path):
    return ["".join(cell["source"]) for cell in cells(path) if cell["cell_type"] == "markdown"]


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_sheet_and_notebook_asks_in_the_same_words(release, name):
    asked, student = QUESTIONS[name], release / "student"
    sheets = [student / sheet for sheet in ("handout.md", "write-up.md", "rubric.md")]
    sheets += [release / "teacher" / "rubric.md", ROOT / "homework" / "reference" / "write-up.md"]
    assert [path.read_text(encoding="utf-8").count(asked.question) for path in sheets] == [1] * 5
    books = {path.stem: "\n".join(prose(path)) for path in (student / "notebooks").glob("*.ipynb")}
    asking = {stem: text.count(asked.question) for stem, text in books.items() if asked.question in text}
    assert asking == {asked.notebook: 1, "05_mnist_experiment": 1}


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_stands_at_the_end_of_the_section_that_answers_it(release, name):
    asked = QUESTIONS[name]
    found = cells(release / "student" / "notebooks" / f"{asked.notebook}.ipynb")
    place = next(i for i, cell in enumerate(found) if cell["id"] == f"q-{name}")
    before = [line for cell in found[:place] for line in "".join(cell["source"]).splitlines() if line.startswith("## ")]
    assert before[-1] == f"## {asked.section}"
    assert found[place + 1]["metadata"]["nbgrader"]["points"] == asked.points
    after = "".join("".join(cell["source"]) for cell in found[place + 2 : place + 3])
    assert not after or after.startswith("## ")  # nothing of the section stands behind it


def test_the_notebook_of_the_experiment_lists_what_the_homework_asks():
    [listed] = [text for text in prose(ROOT / "notebooks" / "05_mnist_experiment.ipynb") if "For your write-up" in text]
    assert listed == for_the_write_up(QUESTIONS, "## 5.12 For your write-up")


def test_students_get_the_rubric_and_never_the_teachers_part(release):
    student = release / "student"
    rubric = (student / "rubric.md").read_text(encoding="utf-8")
    files = [path for path in student.rglob("*") if path.is_file()]
    published = "\n".join(path.read_text(encoding="utf-8", errors="ignore") for path in files).replace('\\"', '"')
    kept = (release / "teacher" / "model_answers.md").read_text(encoding="utf-8")
    assert not [path for path in files if path.name in ("questions.toml", "model_answers.md")]
    for asked in QUESTIONS.values():
        for criterion in asked.criteria:
            assert all(text in rubric for text in (criterion.about, criterion.full, criterion.half, criterion.none))
        for text in (*asked.answers.values(), *asked.misunderstandings):
            assert text.strip() in kept
            for sentence in filter(None, text.strip().split(". ")):
                assert sentence not in published, sentence


def test_what_is_not_asked_is_nowhere(tmp_path):
    text = ASSIGNMENT.read_text(encoding="utf-8").replace('["latent", "injection", "experiment"]', '["injection"]')
    (tmp_path / "assignment.toml").write_text(text, encoding="utf-8")
    assignment = load_assignment(tmp_path / "assignment.toml")
    assert assignment.points == 4 + QUESTIONS["injection"].points
    for sheet in ("handout.md", "write-up.md", "rubric.md"):
        filled = fill((ROOT / "homework" / sheet).read_text(encoding="utf-8"), assignment)
        assert QUESTIONS["injection"].question in filled
        assert QUESTIONS["latent"].question not in filled


def test_a_students_copy_has_no_questions_and_its_assignment_loads(release):
    text = (release / "student" / "assignment.toml").read_text(encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffusion_lib.homework.exercises.tree", lambda: release / "student")
        assignment = load_assignment(release / "student" / "assignment.toml")
    assert (assignment.source, assignment.written) == (text, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("points = 1", "points = 0"), r"\[latent\] criteria: points is 0; it must be a number above 0"),
        (("points = 1", 'points = "one"'), "it must be a number above 0"),
        (("evidence = ", "evidense = "), r"\[latent\] has the entries .*evidense.*; it needs .*evidence"),
        (("half = ", "some = "), r"criteria has the entries .*some.*; it needs about, points, full, half, none"),
        (("[latent.answers]\nfull", "[latent.answers]\nall"), "answers has the entries all, half; it needs full, half"),
        (("[latent]", "[latent"), "not valid TOML"),
    ],
)
def test_a_wrong_file_of_questions_says_what_to_repair(tmp_path, change, message):
    text = SOURCE.read_text(encoding="utf-8")
    assert change[0] in text
    (tmp_path / "questions.toml").write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_questions(tmp_path / "questions.toml")


def misplaced(folder, old):
    """The assignment that ships, beside questions of which one stands somewhere else."""
    text = SOURCE.read_text(encoding="utf-8")
    assert old in text
    (folder / "questions.toml").write_text(text.replace(old, "4.9 Elsewhere", 1), encoding="utf-8")
    (folder / "assignment.toml").write_text(ASSIGNMENT.read_text(encoding="utf-8"), encoding="utf-8")
    return folder / "assignment.toml"


def test_a_question_in_no_section_is_refused(tmp_path):
    book = json.loads((ROOT / "notebooks" / "04_reverse_sampling.ipynb").read_text(encoding="utf-8"))
    assignment = load_assignment(misplaced(tmp_path, "4.3 Algorithm 2, line by line"))
    with pytest.raises(ValueError, match=r"no section '4\.9 Elsewhere'; it has: 4\.1 One step back, if x_0"):
        student_notebook(book, "04_reverse_sampling", assignment)


def test_a_question_in_no_notebook_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(handout, "kept_record", lambda key: shipped_record())
    with pytest.raises(ValueError, match=r"into 4\.9 Elsewhere, which is no notebook"):
        handout.build(tmp_path / "out", misplaced(tmp_path, "04_reverse_sampling"))


def changed(folder, old, new):
    """The assignment that ships, with one setting changed."""
    text = ASSIGNMENT.read_text(encoding="utf-8")
    assert old in text
    (folder / "assignment.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    return folder / "assignment.toml"


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in CHOICES.items() for value in values])
def test_every_setting_is_told_in_the_handout(tmp_path, name, value):
    standing = tomllib.loads(ASSIGNMENT.read_text(encoding="utf-8"))["rules"][name]
    assignment = load_assignment(changed(tmp_path, f'{name} = "{standing}"', f'{name} = "{value}"'))
    told = fill((ROOT / "homework" / "handout.md").read_text(encoding="utf-8"), assignment)
    assert [v for v, text in CHOICES[name].items() if text in told] == [value]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('assistants = "named"', 'assistants = "yes"', "assistants is 'yes'; accepted: named, explain, none"),
        ('late = "marked"', "late = 3", "late is 3; accepted: marked, agreed, refused"),
        ('evidence = "run"', 'evidence = ["run"]', "evidence is .'run'.; accepted: run, talk"),
        ("hours = 12", "hours = 0", "hours is 0; accepted: a number above 0"),
        ("hours = 12", 'hours = "twelve"', "hours is 'twelve'; accepted: a number"),
        ("hours = 12", "minutes = 12", "no setting minutes; accepted: hours, assistants, late, evidence"),
        ('["latent"', '["latend"', "names latend; questions.toml has latent, injection, experiment"),
        ('written = ["latent", "injection", "experiment"]', "[written.latent]\npoints = 2", "list of questions"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_is_accepted(tmp_path, old, new, message):
    with pytest.raises(ValueError, match=message):
        load_assignment(changed(tmp_path, old, new))


def test_rules_that_are_left_out_are_the_usual_ones(tmp_path):
    text = ASSIGNMENT.read_text(encoding="utf-8")
    start, end = text.index("[rules]"), text.index("# Credit")
    (tmp_path / "assignment.toml").write_text(text[:start] + text[end:], encoding="utf-8")
    assert load_assignment(tmp_path / "assignment.toml").rules == load_assignment(ASSIGNMENT).rules


def test_the_handout_tells_the_time(tmp_path):
    assignment = load_assignment(changed(tmp_path, "hours = 12", "hours = 7.5"))
    told = fill((ROOT / "homework" / "handout.md").read_text(encoding="utf-8"), assignment)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    minutes = [int(n) for n in re.findall(r"\(notebooks/0[1-5]_\w+\.ipynb\).*\| (\d+) \|", readme)]
    assert len(minutes) == 5
    assert "about 7.5 hours" in told
    assert f"takes {sum(minutes)} minutes" in told


FORMULAS = {  # a piece that no other way of telling holds
    "q_sample": "√ᾱ_t · x_0",
    "ddpm_loss": "‖ε − ε_θ",
    "p_sample": "1/√α_t",
    "timestep_embedding": "max_period^",
    "attention": "softmax(",
    "ddim_step": "√ᾱ_prev",
    "guided": "ε_u + scale",
    "flow_loss": "(ε − x_0)",
    "euler_step": "(τ' − τ)",
    "inpaint_step": "(1 − m)",
    "encode_scaled": "μ(x)",
}
SHAPES = re.compile(r"\(B,[^)]*\)|\[-1, 1\]|0 \.\.\. T-1|scalar")


def told(source, attribute):
    """The docstrings of a function and of what it stands in, and the message of its stub."""
    tree = ast.parse(source)
    outer = [node for node in tree.body if getattr(node, "name", "") == attribute.partition(".")[0]]
    function = definition(tree, attribute)
    strings = [n.value for n in ast.walk(function) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return "\n".join([*(ast.get_docstring(node) or "" for node in outer), *strings])


@pytest.mark.parametrize("name", [exercise.name for exercise in EXERCISES])
def test_no_stub_tells_its_formula_and_every_stub_keeps_its_shapes(name):
    exercise = get(name)
    library = (ROOT / exercise.path).read_text(encoding="utf-8")
    handed_out = told(stub(library, exercise), exercise.attribute)
    if name in FORMULAS:
        assert FORMULAS[name] in told(library, exercise.attribute)
        assert FORMULAS[name] not in handed_out
    assert not re.findall(r"^\s*[^\s`.]+ (?:=|←) .*[√·‖^∈]", handed_out, flags=re.MULTILINE)
    assert set(SHAPES.findall(told(library, exercise.attribute))) <= set(SHAPES.findall(handed_out))


def test_no_formula_of_the_assignment_is_in_the_students_file(release):
    source = (release / "student" / "diffusion_lib" / "diffusion.py").read_text(encoding="utf-8")
    for name in load_assignment(ASSIGNMENT).exercises:
        assert FORMULAS[name] not in told(source, name)


def test_the_handout_says_what_may_be_called():
    text = (ROOT / "homework" / "handout.md").read_text(encoding="utf-8").split("## Rules")[1]
    assert all(f"`{name}`" in text for name in ("ddim_step", "predict_x_start", "q_posterior", "q_sample"))
