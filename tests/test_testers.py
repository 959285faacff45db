"""Catch the bug: students' tests, graded by what they catch; the same at home and in the sandbox; hostile ones too."""

import csv
import json
import re
from dataclasses import replace

import pytest
import torch
import typer
from classroom import FILE, student_source, zipped
from conftest import ROOT, images
from torch import nn

from diffusion_lib.diffusion import ddpm_loss, q_sample
from diffusion_lib.homework import commands, exercises, testing
from diffusion_lib.homework.elsewhere import under_test
from diffusion_lib.homework.exercises import TESTABLE, TESTS_FILE, load_assignment
from diffusion_lib.homework.packing import pack_hand_in
from diffusion_lib.homework.public_mistakes import MISTAKES as PUBLIC
from diffusion_lib.schedules import NoiseSchedule, linear_betas
from grader import handout
from grader.catalogue import mistakes
from grader.catalogue.versions import seen, versions
from grader.grading import grade_one
from grader.hand_ins import HandIn
from grader.reading import read
from grader.reports import write_reports
from grader.sandbox import client
from grader.sandbox.client import Sandbox, Tried
from grader.testers import escaped_from_the_class, grade_tests, score_tests

REFERENCE = (ROOT / "grader/catalogue/reference_tests.py").read_text(encoding="utf-8")
SCHEDULE = NoiseSchedule.from_betas(linear_betas(40, 0.002, 0.3))
SHAPES = """
import torch
from diffusion_lib.schedules import NoiseSchedule, linear_betas

S = NoiseSchedule.from_betas(linear_betas(40))
X, T = torch.zeros(5, 2, 3, 4), torch.tensor([0, 1, 10, 20, 39])

def test_shape_of_x_t(q_sample):
    assert q_sample(S, X, T, torch.randn_like(X)).shape == X.shape

def test_shape_of_the_step(p_sample):
    assert p_sample(S, X, T, X, torch.randn_like(X)).shape == X.shape

def test_the_loss_is_a_number(ddpm_loss):
    assert ddpm_loss(lambda x, t, label=None: 0 * x, S, X).shape == ()
"""


class InProcess:
    """What the sandbox does, in this process: for the sums, where nobody is hostile."""

    def __init__(self, folder):
        self.path = folder / TESTS_FILE
        self.known = {exercise: versions(exercise) for exercise in TESTABLE}

    def try_tests(self, exercise, files, version):
        self.path.write_text(files[TESTS_FILE], encoding="utf-8")
        module = testing.load_tests(self.path)
        with under_test(self.known[exercise][version].function) as function:
            return Tried(
                testing.attempts(testing.tests_of(module, exercise), function, self.path), notes=testing.strays(module)
            )


@pytest.fixture(scope="module")
def at_hand(tmp_path_factory):
    return InProcess(tmp_path_factory.mktemp("at_hand"))


def scored(exercise, source, sandbox):
    return score_tests(exercise, {TESTS_FILE: source}, sandbox, [])


@pytest.mark.parametrize("exercise", TESTABLE)
def test_the_reference_tests_catch_every_wrong_version_and_refuse_no_style(exercise, at_hand):
    score = scored(exercise, REFERENCE, at_hand)
    assert (score.escaped, score.refused, score.problem) == ([], [], "")
    assert score.wrong == len(mistakes.of(exercise)) >= 16
    assert score.right >= 8
    assert score.share == 1


@pytest.fixture(scope="module")
def shapes(at_hand):
    """What tests of shapes alone are worth, for each exercise."""
    return {exercise: scored(exercise, SHAPES, at_hand) for exercise in TESTABLE}


@pytest.mark.parametrize("exercise", TESTABLE)
def test_shapes_alone_earn_less_than_a_fifth_and_refusing_all_earns_nothing(exercise, shapes, at_hand):
    assert (shapes[exercise].problem, shapes[exercise].refusals) == ("", 0)
    assert 0 <= shapes[exercise].share < 0.2
    everything = scored(exercise, f"def test_all({exercise}):\n    assert False\n", at_hand)
    assert (len(everything.escaped), everything.refusals) == (0, everything.right)
    assert everything.share == 0


def test_the_readme_says_how_the_reference_and_shapes_alone_fare(shapes):
    """That the reference catches all and refuses none is the first test's."""
    wrong, right = (sum(getattr(score, kind) for score in shapes.values()) for kind in ("wrong", "right"))
    caught = wrong - sum(len(score.escaped) for score in shapes.values())
    told = f"catch all {wrong} and refuse none of {right}; tests of shapes alone catch {caught}."
    assert told in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_what_escaped_is_named_by_what_one_would_see_and_not_by_its_code(at_hand):
    """Without the test of the fresh noise's spread, all that is wrong with that spread alone escapes."""
    score = scored("p_sample", REFERENCE.replace("def test_fresh_noise", "def no_test_of_fresh_noise"), at_hand)
    escaped = [mistake for mistake in mistakes.of("p_sample") if set(mistake.parts) == {"std"}]
    assert {m.name for m in escaped} < {version.name for version in score.escaped}
    assert score.share == 1 - len(score.escaped) / score.wrong
    text = "\n".join(score.lines("p_sample_tests"))
    assert (
        f"{score.wrong - len(score.escaped)} of {score.wrong} wrong versions caught, 0 of {score.right} right ones"
        in text
    )
    assert "· At t = 0 the answer depends on the fresh noise." in text
    for mistake in mistakes.of("p_sample"):
        assert (seen()["p_sample"][mistake.name] in text) == (mistake.name in {v.name for v in score.escaped})
        assert mistake.hint not in text
    assert not re.search(r"lambda|def |schedule|torch|_like|\bat\(", text)
    rows = escaped_from_the_class([{"p_sample_tests": {"escaped": [v.name for v in score.escaped]}}, {}])
    assert ("p_sample_tests", "no fresh noise", 1) in rows


def test_a_refused_style_is_told_with_the_line_of_the_test(at_hand):
    line = "    assert q_sample(S, X.double(), T, X.double()).dtype == torch.float64"
    source = f"{SHAPES}\ndef test_dtype(q_sample):\n{line}\n"
    score = scored("q_sample", source, at_hand)
    assert {version.name for version, _, _ in score.refused} == {"float32 inside"}
    told = f"test_dtype raised AssertionError in line {source.splitlines().index(line) + 1}"
    assert f"written as “float32 inside”: {told}" in "\n".join(score.lines("q"))


def test_every_mistake_has_a_line_that_says_what_one_would_see():
    assert {exercise: set(lines) for exercise, lines in seen().items()} == {
        exercise: {mistake.name for mistake in mistakes.of(exercise)} for exercise in TESTABLE
    }
    for exercise in TESTABLE:
        for mistake in mistakes.of(exercise):
            assert mistake.hint not in seen()[exercise][mistake.name]


def test_no_public_mistake_is_one_that_counts(at_hand):
    """Else home would give away what is graded: no public mistake answers the probes as one of the catalogue does."""
    from diffusion_lib.homework.checks import judge
    from diffusion_lib.homework.exercises import get
    from diffusion_lib.homework.probes import observe
    from diffusion_lib.homework.records import shipped_record

    for exercise in TESTABLE:
        for name, version in at_hand.known[exercise].items():
            if version.kind == "public":
                verdict = judge(get(exercise), observe(exercise, version.function), shipped_record())
                assert not verdict.passed, name
                assert verdict.mistakes == [], name


# The connection: a function elsewhere behaves as one that is here.
class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.asked = []

    def forward(self, x, t, label=None):
        self.asked.append((t, label, self.training, torch.is_grad_enabled()))
        return self.weight * x


def test_a_function_elsewhere_answers_draws_and_differentiates_as_here():
    x, t, label = images(5, 2, 3, 4), torch.arange(5), torch.tensor([7, 2, 0, 9, 4])
    found = []
    with under_test(ddpm_loss) as elsewhere:
        for function in (ddpm_loss, elsewhere):
            model = Model()
            torch.manual_seed(3)
            loss = function(model, SCHEDULE, x, label)
            loss.backward()
            found.append((loss.item(), model.weight.grad.item(), torch.get_rng_state(), model.asked))
    (here, slope, state, asked), (there, slope_there, state_there, asked_there) = found
    assert (here, slope) == (there, slope_there)
    assert torch.equal(state, state_there)
    assert all(torch.equal(a, b) for a, b in zip(asked[0][:2], asked_there[0][:2], strict=True))
    assert asked[0][2:] == asked_there[0][2:]
    noise = images(5, 2, 3, 4, seed=1).requires_grad_()
    with under_test(q_sample) as elsewhere:
        elsewhere(SCHEDULE, x, t, noise=noise).sum().backward()
    assert torch.allclose(noise.grad[:, 0, 0, 0], SCHEDULE.sqrt_one_minus_alphas_cumprod[:5])


def test_errors_of_the_function_and_of_the_model_reach_the_test():
    x = images(5, 2, 3, 4)

    def stern(x, t, label=None):
        raise ZeroDivisionError("the model's own")

    with under_test(q_sample) as elsewhere:
        with pytest.raises(TypeError):
            elsewhere(SCHEDULE, x)
        with pytest.raises(TypeError, match="takes tensors, numbers, a schedule and a model, not dict"):
            elsewhere({}, x, torch.arange(5), x)
        assert elsewhere(SCHEDULE, x, torch.arange(5), x).shape == x.shape  # and it goes on
    with under_test(ddpm_loss) as elsewhere:
        with pytest.raises(ZeroDivisionError, match="the model's own"):
            elsewhere(stern, SCHEDULE, x)
        assert elsewhere(Model(), SCHEDULE, x).shape == ()


# At home
HOME = """
import random, sys, torch
from diffusion_lib.schedules import NoiseSchedule, linear_betas

S = NoiseSchedule.from_betas(linear_betas(40, 0.002, 0.3))
X, NOISE, T = torch.rand(5, 2, 3, 4), torch.randn(5, 2, 3, 4), torch.tensor([0, 1, 10, 20, 39])

def test_little_noise_at_the_start(q_sample):
    assert (q_sample(S, X, 0 * T, NOISE).double() - X).abs().max() < 0.3

def test_of_two(q_sample, p_sample):
    pass

def test_of_no_exercise(r_sample):
    pass
"""


def test_at_home_tests_are_tried_on_ones_own_function_and_on_public_mistakes(tmp_path):
    (tmp_path / TESTS_FILE).write_text(HOME, encoding="utf-8")
    state = torch.get_rng_state()
    trial = testing.try_tests("q_sample", tmp_path)
    assert torch.equal(state, torch.get_rng_state())
    assert not trial
    assert trial.refused == {}
    assert "levels are counted from the far end" not in trial.escaped
    assert "each image gets the noise of its neighbour" in trial.escaped
    assert trial.lines()[0] == f"tests of q_sample: 1 written, {3 - len(trial.escaped)} of 3 public mistakes caught."
    module = testing.load_tests(tmp_path / TESTS_FILE)
    assert [line.split("(")[0] for line in testing.strays(module)] == ["test_of_two", "test_of_no_exercise"]
    assert "has no test of it" in testing.try_tests("ddpm_loss", tmp_path).problem
    (tmp_path / TESTS_FILE).write_text("def test_(", encoding="utf-8")
    assert "tests_by_me.py, line 1" in testing.try_tests("q_sample", tmp_path).problem
    (tmp_path / TESTS_FILE).write_text(REFERENCE, encoding="utf-8")
    assert all(testing.try_tests(exercise, tmp_path) for exercise in TESTABLE)
    (tmp_path / TESTS_FILE).write_text("def test_all(q_sample):\n    raise SystemExit\n", encoding="utf-8")
    told = "\n".join(testing.try_tests("q_sample", tmp_path).lines())
    assert "test_all refuses your own function: SystemExit in line 2." in told
    assert "is missing" in testing.try_tests("q_sample", tmp_path / "nowhere").problem


# In the sandbox
@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(0, TESTABLE) as made:
        yield made


def tried(sandbox, source, version="style/one line", exercise="q_sample"):
    return sandbox.try_tests(exercise, {FILE: student_source(), TESTS_FILE: source}, version)


def one(body, exercise="q_sample"):
    return f"import os, sys, time, torch\n\ndef test_it({exercise}):\n    {body}\n"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("print('x' * 10**6); sys.stderr.write('y')", None),
        ("torch.manual_seed(5); torch.set_num_threads(1)", None),
        ("assert False", "AssertionError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("sys.exit()", "SystemExit"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("open('/etc/passwd')", "PermissionError"),
        ("os.fork()", "PermissionError"),
        ("os.kill(os.getpid(), 9)", "PermissionError"),
        (f"open({str(ROOT / 'grader/catalogue/wrong_formulas.py')!r})", "PermissionError"),
        ("import grader.catalogue", "ModuleNotFoundError"),
        ("import grader.holder", "ModuleNotFoundError"),
        ("q_sample.__code__", "AttributeError"),
        ("q_sample.__wrapped__", "AttributeError"),
    ],
)
def test_what_a_test_may_do_is_one_verdict(sandbox, body, kind):
    raised = tried(sandbox, one(body)).raised["test_it"]
    assert (raised and raised.kind) == kind
    assert raised is None or raised.line == 4


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (one("os._exit(0)"), "The code ended the program before it answered."),
        (one("while True: pass"), "They did not end within 1 seconds, in line 4 of tests_by_me.py."),
        (one("time.sleep(1000)"), "They did not end, asleep for 1 seconds, in line 4 of tests_by_me.py."),
        (one("import ctypes; ctypes.string_at(0)"), "It crashed the interpreter."),
        (one("os.abort()"), "They ended without an answer (signal 6)."),
        ("import os; os._exit(0)", "The code ended the program before it answered."),
        ("1 / 0", "The file cannot be run: ZeroDivisionError"),
        ("x = 1", "There is no test of it."),
        (one("open('answer.json', 'w').write('[]'); os._exit(0)"), "Their answer cannot be read: TypeError."),
        (one("open('answer.json', 'w').write('9' * 10**6); os._exit(0)"), "Their answer is far too large."),
    ],
)
def test_tests_that_end_the_program_or_never_end_are_told_in_words(sandbox, monkeypatch, source, words):
    monkeypatch.setattr(client, "TESTS_SECONDS", 1)
    monkeypatch.setattr(client, "ASLEEP", 1)
    assert words in tried(sandbox, source).problem
    assert tried(sandbox, one("pass")).raised == {"test_it": None}  # and the sandbox goes on


def test_nothing_is_carried_from_one_function_to_the_next(sandbox):
    source = one(
        "import builtins\n    before = vars(builtins).setdefault('seen', [])\n    before.append(1)\n"
        "    open('n', 'a').write('x')\n    assert len(before) == 1 and open('n').read() == 'x'"
    )
    for version in ("style/one line", "mistake/the noise is subtracted", "style/by hand"):
        assert tried(sandbox, source, version).raised == {"test_it": None}


def test_all_that_is_in_the_process_is_the_way_to_the_function(sandbox):
    """No object there holds a wrong version: not a function, not its code, not its source."""
    body = (
        "import gc\n    gc.unfreeze()\n    kind = type(lambda: 0)\n"
        "    places = [o.__code__.co_filename for o in gc.get_objects() if isinstance(o, kind)]\n"
        "    found = [place for place in places if 'catalogue' in place]\n"
        "    assert found == []\n    assert not [n for n in sys.modules if 'catalogue' in n]"
    )
    assert tried(sandbox, one(body), "mistake/the noise is subtracted").raised == {"test_it": None}


def test_a_student_imports_own_modules_and_the_own_function(sandbox):
    source = (
        "from diffusion_lib.diffusion import q_sample as mine\nfrom helping import S, X\nimport torch\n\n"
        "def test_like_mine(q_sample):\n    got, wanted = (f(S, X, torch.arange(5), X) for f in (q_sample, mine))\n"
        "    torch.testing.assert_close(got.double(), wanted.double(), rtol=0, atol=1e-4)\n"
    )
    helping = SHAPES.split("def ")[0].replace("zeros", "ones")
    files = {FILE: student_source(), TESTS_FILE: source, "helping.py": helping}
    assert sandbox.try_tests("q_sample", files, "style/one line").raised == {"test_like_mine": None}
    raised = sandbox.try_tests("q_sample", files, "mistake/the noise lacks its root").raised["test_like_mine"]
    assert raised.kind == "AssertionError"


WEAK = (
    HOME
    + """
def test_a_perfect_guess_costs_nothing(ddpm_loss):
    assert ddpm_loss(lambda x, t, label=None: x / (1 - S.alphas_cumprod[t]).sqrt().view(-1, 1, 1, 1), S, 0 * X) < 1e-3

def test_of_a_weight(ddpm_loss):
    weight = torch.tensor(0.5, requires_grad=True)
    ddpm_loss(lambda x, t, label=None: weight * x, S, X, T, t=T, noise=NOISE).backward()
    assert abs(weight.grad - 0.75) < 0.75

def test_levels_and_labels(ddpm_loss):
    seen = []
    ddpm_loss(lambda x, t, label: seen.append((t, label)) or x, S, X, T, t=T)
    assert seen[0][0][0] == 0 and seen[0][1].unique().numel() == 5

def test_draws_follow_the_seed(ddpm_loss):
    torch.manual_seed(4)
    first = ddpm_loss(lambda x, t, label=None: 0 * x, S, X)
    torch.manual_seed(4)
    assert first == ddpm_loss(lambda x, t, label=None: 0 * x, S, X)

def test_noise_moves_the_step(p_sample):
    assert p_sample(S, X, T, NOISE, 5 * NOISE).std() > 1.5 and random.random() < 0.9
"""
)


@pytest.mark.parametrize("exercise", TESTABLE)
def test_home_and_grader_say_the_same_of_the_public_mistakes_to_the_line(sandbox, at_hand, exercise):
    differs = set()
    for name in (*(f"public/{name}" for name in PUBLIC[exercise]), next(iter(at_hand.known[exercise]))):
        home = at_hand.try_tests(exercise, {TESTS_FILE: WEAK}, name)
        there = tried(sandbox, WEAK, name, exercise)
        assert there.problem == ""
        assert there.raised == home.raised
        differs.add(json.dumps({test: str(raised) for test, raised in home.raised.items()}))
    assert len(differs) > 1  # the tests do tell them apart


# From handout to grades
@pytest.fixture(scope="module")
def assignment(tmp_path_factory):
    """The assignment with the one line changed that makes testers of the students."""
    text = (ROOT / "homework" / "assignment.toml").read_text(encoding="utf-8")
    path = tmp_path_factory.mktemp("assignment") / "assignment.toml"
    path.write_text(text.replace('set = "exercises"', 'set = "testers"'), encoding="utf-8")
    return load_assignment(path)


def test_the_set_for_testers_is_worth_as_much_as_the_first(assignment):
    first = load_assignment(ROOT / "homework" / "assignment.toml")
    assert (first.tests, assignment.tests) == ({}, {"q_sample": 0.5, "ddpm_loss": 1, "p_sample": 0.5})
    assert first.points == assignment.points
    assert list(assignment.by_machine)[-1] == "p_sample_tests"
    texts = [
        handout.fill((ROOT / "homework" / "handout.md").read_text(encoding="utf-8"), a) for a in (first, assignment)
    ]
    assert ["## Catch the bug" in text for text in texts] == [False, True]
    assert "| tests | of `q_sample`, in `tests_by_me.py` | 0.5 |" in texts[1]


def test_students_get_a_file_to_start_from_and_nothing_that_counts(assignment, tmp_path, monkeypatch):
    monkeypatch.setattr(handout, "kept_record", lambda key: {})
    handout._student(tmp_path, assignment)
    assert (tmp_path / TESTS_FILE).read_bytes() == (ROOT / "homework" / TESTS_FILE).read_bytes()
    assert list(testing.tests_of(testing.load_tests(tmp_path / TESTS_FILE), "q_sample")) == ["test_shape_of_x_t"]
    texts = [path.read_text(encoding="utf-8", errors="ignore") for path in tmp_path.rglob("*") if path.is_file()]
    published = "\n".join(texts)
    for secret in (*seen()["p_sample"].values(), *re.findall(r"def (test_\w+)", REFERENCE), "grader/catalogue"):
        assert secret not in published
    assert TESTS_FILE in pack_hand_in(tmp_path, tmp_path / "homework.zip", assignment)
    (tmp_path / TESTS_FILE).unlink()
    with pytest.raises(ValueError, match=r"tests_by_me\.py is missing"):
        pack_hand_in(tmp_path, tmp_path / "homework.zip", assignment)


def test_the_check_at_home_tries_the_tests_that_are_asked_for(assignment, tmp_path, monkeypatch, capsys):
    (tmp_path / "assignment.toml").write_text(assignment.source, encoding="utf-8")
    monkeypatch.setattr(exercises, "assignment_path", lambda: tmp_path / "assignment.toml")
    monkeypatch.setattr(testing, "tree", lambda: tmp_path)
    told = "3 of 3 public mistakes caught."
    for source, code, words in ((REFERENCE, 0, told), (SHAPES, 1, "Escaped: x_t is clipped"), ("", 1, "no test of it")):
        (tmp_path / TESTS_FILE).write_text(source, encoding="utf-8")
        with pytest.raises(typer.Exit) as ended:
            commands.check(["q_sample"])
        assert ended.value.exit_code == code
        assert words in capsys.readouterr().out


def test_tests_become_points_and_words(assignment, sandbox, tmp_path):
    only_tests = replace(assignment, exercises={}, tests={"q_sample": 0.5}, questions={})
    hand_ins = {"right": REFERENCE, "shapes": SHAPES, "ends": one("os._exit(0)"), "wild": "def test_(", "none": None}
    results = []
    for name, tests in hand_ins.items():
        files = {f"homework/{FILE}": student_source()} | ({f"homework/{TESTS_FILE}": tests} if tests else {})
        zipped(tmp_path, name, files)
        results.append(grade_one(HandIn(name, tmp_path / f"{name}.zip", name), only_tests, {}, sandbox))
    write_reports(tmp_path, results, only_tests)
    with (tmp_path / "grades.csv").open(newline="", encoding="utf-8") as file:
        points = {row["hand_in"]: float(row["q_sample_tests"]) for row in csv.DictReader(file)}
    assert 0 <= points.pop("shapes") < 0.1
    assert points == {"right": 0.5, "ends": 0, "wild": 0, "none": 0}
    words = {"ends": "ended the program", "wild": "line 1 is not valid Python", "none": "is not in the hand-in",
             "right": "wrong versions caught, 0 of 9 right ones refused"}  # fmt: skip
    for name, told in words.items():
        feedback = (tmp_path / "students" / name / "feedback.html").read_text(encoding="utf-8")
        assert told in feedback
        caught = re.search(r"(\d+) of (\d+) wrong versions", feedback)
        assert name != "right" or caught[1] == caught[2]
    assert "What escaped the students" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_tests_can_be_asked_for_only_where_there_are_versions_to_catch(tmp_path):
    text = (ROOT / "homework" / "assignment.toml").read_text(encoding="utf-8")
    wrong = text.replace('set = "exercises"', 'set = "second"').replace(
        "guided = { points = 0.5", "guided = { tests = 1, points = 0.5"
    )
    (tmp_path / "a.toml").write_text(wrong, encoding="utf-8")
    with pytest.raises(ValueError, match=r"asks for tests of \['guided'\]; they can be of q_sample"):
        load_assignment(tmp_path / "a.toml")


def test_a_tests_file_is_found_as_other_files_are(tmp_path):
    for name, files in {
        "numbered": {FILE: student_source(), "tests_by_me (1).py": REFERENCE},
        "backup": {FILE: student_source(), TESTS_FILE: REFERENCE, f"backup/{TESTS_FILE}": SHAPES},
        "two": {FILE: student_source(), f"a/{TESTS_FILE}": REFERENCE, f"b/{TESTS_FILE}": SHAPES},
    }.items():
        zipped(tmp_path, name, files)
        hand_in = HandIn(f"{name}.zip", tmp_path / f"{name}.zip", name)
        read(hand_in, [], tests=True)
        if name == "two":
            assert hand_in.unclear == [f"a/{TESTS_FILE}", f"b/{TESTS_FILE}"]
            entry = grade_tests(hand_in, "q_sample", 1.0, None)
            assert (entry["points"], entry["passed"]) == (0, False)
            assert "Which of these is meant?" in entry["lines"][0]
        else:
            assert hand_in.sources[TESTS_FILE] == REFERENCE
