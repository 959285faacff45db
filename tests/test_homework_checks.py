"""The homework's checks: every known mistake caught and named, nobody honest refused, whatever the seed."""

import json
import os
import re
from dataclasses import replace

import pytest
import torch
from classroom import student_source
from conftest import ROOT, SHARED
from warm import python

from diffusion_lib.homework import check
from diffusion_lib.homework.checks import NotYet, Verdict, close, judge
from diffusion_lib.homework.exercises import EXERCISES, get, load_assignment
from diffusion_lib.homework.probes import observe
from diffusion_lib.homework.records import read_record, shipped_record
from grader.selftest import Score, table
from grader.trees import stub

# Outside of the tests' shape checks, as a student and a teacher run it. What the grader keeps is made once a session.
PLAIN = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "no_network"), "XDG_CACHE_HOME": str(SHARED / "cache")}


def run(*arguments, cwd=ROOT, code=0, env=PLAIN):
    done = python("-m", "diffusion_lib", "homework", *arguments, cwd=cwd, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def scores():
    """The command that the README names; it fails when a mistake slips."""
    return [Score(**score) for score in json.loads(run("selftest", "--json").stdout)]


def test_the_grader_passes_its_own_test(scores):
    assert {score.exercise for score in scores} == {exercise.name for exercise in EXERCISES}
    assert sum(score.mistakes for score in scores) >= 45
    for score in scores:
        assert score.caught == score.named == score.mistakes, score
        assert score.pairs_caught == score.pairs, score
        assert score.pairs_named >= 0.6 * score.pairs, score
        assert score.styles >= 8, score
        assert score.false_alarms == 0, score
        assert score.clean


def test_the_self_test_can_fail(scores):
    for spoilt in ({"caught": 0}, {"named": 0}, {"pairs_caught": 0}, {"false_alarms": 1}):
        assert not replace(scores[0], **spoilt).clean


def test_the_readme_shows_the_table_of_the_selftest(scores):
    assert table(scores) in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def by_strangers():
    return run("selftest", "--strangers").stdout.strip()


def test_code_that_the_catalogues_author_did_not_derive_is_caught_and_hardly_ever_named_wrongly(by_strangers):
    row = by_strangers.splitlines()[-1]
    hand_ins, caught, known, named, evidence, wrongly = map(int, re.findall(r"\d+", row))
    assert caught == hand_ins == named + evidence + wrongly >= 120
    assert named >= 0.9 * known
    assert wrongly <= 1


def test_the_readme_shows_how_strangers_fared(by_strangers):
    assert by_strangers in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_fits_two_mistakes_is_named_by_what_they_share_or_not_at_all():
    exercise, record = get("q_sample"), shipped_record()
    entry = record["q_sample"]
    seen = observe("q_sample", lambda schedule, x_start, t, noise: x_start + 2 * noise)
    row = entry.flatten(seen)
    as_one = replace(entry, singles=torch.stack([row, row]), single_names=[2, 5])
    as_two = replace(entry, pairs=entry.thin(row).expand(2, -1), pair_names=[(1, 4), (4, 7)])
    assert judge(exercise, seen, {"q_sample": as_one}).mistakes == []
    assert judge(exercise, seen, {"q_sample": as_two}).mistakes == [entry.mistakes[4]]


NAMES_UNDER_SEEDS = """
import torch
from grader.catalogue import mistakes
from diffusion_lib.homework.checks import judge
from diffusion_lib.homework.exercises import get
from diffusion_lib.homework.probes import observe
from grader.recording import kept_record
record = kept_record(key=7)
for seed in range(3):
    torch.manual_seed(seed)
    for m in mistakes.MISTAKES:
        found = judge(get(m.exercise), observe(m.exercise, mistakes.build(m.exercise, m), 7), record)
        assert [x["name"] for x in found.mistakes] == [m.name], (seed, m.id, found)
print("all named")
"""


def test_no_verdict_hangs_on_a_seed_and_the_graders_numbers_do_as_well():
    done = python("-c", NAMES_UNDER_SEEDS, cwd=ROOT, env=PLAIN)
    assert done.stdout.strip() == "all named", done.stderr[-2000:]


KEPT = """
import sys
from pathlib import Path
from diffusion_lib.homework.records import write_record
from grader.recording import kept_record
write_record(Path(sys.argv[1]), kept_record())
"""


def test_the_record_that_ships_is_that_of_this_library_and_this_catalogue(tmp_path):
    """Else: python -m diffusion_lib homework record. Wrong code that draws by itself is told by its traces alone."""
    done = python("-c", KEPT, tmp_path / "record", cwd=ROOT, env=PLAIN)
    assert done.returncode == 0, done.stderr
    shipped, fresh = shipped_record(), read_record(tmp_path / "record")  # kept since this session began, in a new cache
    assert list(shipped) == list(fresh)
    for name, entry in fresh.items():
        old = shipped[name]
        assert (old.cases, old.shapes, old.mistakes) == (entry.cases, entry.shapes, entry.mistakes)
        assert old.pair_names == entry.pair_names
        assert old.single_names == entry.single_names
        draws = {i for i, row in zip(entry.single_names, entry.singles, strict=True) if entry.draws(row)}
        members = [*[()] * len(entry.accepted), *((i,) for i in entry.single_names), *entry.pair_names]
        rows = [[*map(e.thin, [*e.accepted, *e.singles]), *e.pairs] for e in (old, entry)]
        ends = torch.tensor([len(kept) for kept in entry.kept]).cumsum(0).tolist()
        for who, then, now in zip(members, *rows, strict=True):
            for case, start, end in zip(entry.cases, [0, *ends], ends, strict=False):
                random = draws & set(who) and not case.startswith("T")
                assert random or close(case, then[start:end], now[start:end]).all(), (name, who, case)


VIA_DDIM = "return ddim_step(schedule, x_t, t, t - 1, eps, noise, eta=1.0)"
VIA_POSTERIOR = (
    "mean, variance = q_posterior(schedule, predict_x_start(schedule, x_t, t, eps), x_t, t)\n"
    "return mean + variance.sqrt() * noise"
)


def at_home(folder, monkeypatch, source, name):
    """The verdict on ``name`` in a student's file."""
    path = folder / "diffusion.py"
    path.write_text(source, encoding="utf-8")
    monkeypatch.setattr("diffusion_lib.homework.checks.current", lambda exercise: path)
    return check(name)


@pytest.mark.parametrize("body", [VIA_DDIM, VIA_POSTERIOR])
def test_a_step_back_may_call_what_stands_in_the_file(tmp_path, monkeypatch, body):
    source = student_source(p_sample=body)
    for name in ("q_sample", "ddpm_loss"):
        source = stub(source, get(name))
    assert at_home(tmp_path, monkeypatch, source, "p_sample")


def test_a_function_that_calls_an_unwritten_one_is_told_which(tmp_path, monkeypatch):
    verdict = at_home(tmp_path, monkeypatch, stub(student_source(p_sample=VIA_DDIM), get("ddim_step")), "p_sample")
    assert verdict.problem.startswith("It calls ddim_step, which is not written yet. Exercise P.4")
    verdict = at_home(tmp_path, monkeypatch, stub(student_source(), get("q_sample")), "ddpm_loss")
    assert verdict.problem.startswith("It calls q_sample, which is not written yet. Exercise 1.1")
    verdict = at_home(tmp_path, monkeypatch, stub(student_source(), get("p_sample")), "p_sample")
    assert verdict.problem.startswith("It is not written yet. Exercise 3.1")


def test_a_function_that_calls_a_wrong_one_is_told_which(tmp_path, monkeypatch):
    halved = student_source(p_sample=VIA_DDIM, ddim_step="return x_t / 2", q_sample="return x_start / 2")
    for name, called in (("p_sample", "ddim_step"), ("ddpm_loss", "q_sample")):
        verdict = at_home(tmp_path, monkeypatch, halved, name)
        assert verdict.evidence[0] == f"{name} calls {called}, which is not right yet: check that first"
    alone = student_source(ddpm_loss="return model(x_start, t, label).mean()", q_sample="return x_start / 2")
    assert "q_sample" not in repr(at_home(tmp_path, monkeypatch, alone, "ddpm_loss"))


def test_unlisted_wrong_code_fails_with_evidence():
    verdict = check("q_sample", lambda schedule, x_start, t, noise: 0.7 * x_start + 0.1 * noise)
    assert not verdict
    assert not verdict.mistakes
    assert "t = T/4" in repr(verdict)
    assert "data of spread 1: 5 of 5 numbers differ, the first is number 1: expected 1, received 0.7" in repr(verdict)
    verdict = check("euler_step", lambda x, tau, tau_next, u: 0.7 * x)  # it knows no level
    assert "image 1, image 2" in repr(verdict)
    assert "t = T/4" not in repr(verdict)


def right_but_in_place(schedule, x_start, t, noise):
    x_start.mul_(schedule.at("sqrt_alphas_cumprod", t, x_start))
    return x_start.add_(schedule.at("sqrt_one_minus_alphas_cumprod", t, noise) * noise)


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda *inputs: None, "NoneType"),
        (lambda schedule, x_start: x_start, "positional"),
        (lambda schedule, x_start, t, noise: x_start[:2], "expected shape"),
        (right_but_in_place, "inputs kept"),
    ],
)
def test_an_answer_of_the_wrong_kind_is_told_apart(function, words):
    verdict = check("q_sample", function)
    assert not verdict
    assert words in repr(verdict)


def test_a_cell_with_a_check_stops_a_notebook_without_a_traceback(capsys):
    check("q_sample").show()
    assert capsys.readouterr().out.startswith("q_sample: right")
    with pytest.raises(NotYet) as caught:
        Verdict("q_sample", False, problem="It is not written yet.").show()
    assert len(caught.value._render_traceback_()) == 1


def test_a_check_leaves_threads_and_random_numbers_as_they_were():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    check("ddpm_loss")
    assert torch.equal(state, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_unknown_names_are_refused():
    assert "choose from" in run("check", "q_simple", code=2).stderr
    with pytest.raises(ValueError, match="choose one of"):
        check("q_simple")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("q_sample = {", "q_simple = {"), "unknown exercises"),
        (("points = 1 }", "points = -1 }"), "negative"),
        (("S = 0.6", "S = 0.9"), "add up"),
        (("[credit]", "[credits]"), "lacks"),
        (("title = ", "title "), "not valid TOML"),
        (("points = 2 }", 'points = "two" }'), "wrong kind"),
    ],
)
def test_a_wrong_assignment_file_says_what_to_repair(tmp_path, change, message):
    text = (ROOT / "homework" / "assignment.toml").read_text(encoding="utf-8")
    assert change[0] in text
    (tmp_path / "assignment.toml").write_text(text.replace(*change, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_assignment(tmp_path / "assignment.toml")


def test_code_that_writes_into_the_tables_spoils_no_other_check():
    def spoils(schedule, x_start, t, noise):
        for numbers in vars(schedule).values():
            numbers.zero_()
        return x_start

    assert not check("q_sample", spoils)
    assert check("q_sample")


def test_code_that_draws_by_itself_says_the_same_each_time():
    def drawing(schedule, x_start, t, noise):
        return torch.randn_like(x_start)

    first = observe("q_sample", drawing)
    torch.rand(5)  # the state of torch's random numbers is another now
    second = observe("q_sample", drawing)
    assert all(torch.equal(first.values[case], second.values[case]) for case in first.values)
