"""What a check says of code that is in no catalogue: right code passes, wrong code is told by what was seen of it."""

import json
import os
import re

import pytest
import torch
from conftest import ROOT
from judged import HAND_INS, judged
from torch.nn.functional import mse_loss
from warm import python

from diffusion_lib.flow import path_time, straight_path
from diffusion_lib.homework.exercises import EXERCISES
from diffusion_lib.homework.probes import observe
from diffusion_lib.homework.probing import Observation, levels
from diffusion_lib.homework.records import shipped_record

RIGHT = [(exercise, name) for exercise, given in HAND_INS.items() for name in given["right"]]
WRONG = [(exercise, name) for exercise, given in HAND_INS.items() for name in given["wrong"]]


@pytest.fixture(scope="module")
def verdicts():
    """On all hand-ins, outside of the tests' shape checks, as a student and a teacher run them."""
    path = os.pathsep.join([str(ROOT / "tests" / "no_network"), str(ROOT)])
    done = python(ROOT / "tests" / "judged.py", cwd=ROOT, env=os.environ | {"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(("exercise", "name"), RIGHT)
def test_right_code_passes_however_it_is_written(verdicts, exercise, name):
    assert [passed for passed, _, _ in verdicts[f"{exercise}/{name}"]] == [True, True], verdicts[f"{exercise}/{name}"]


@pytest.mark.parametrize(("exercise", "name"), WRONG)
def test_wrong_code_that_is_in_no_catalogue_is_told_by_what_was_seen(verdicts, exercise, name):
    entry = HAND_INS[exercise]["wrong"][name]
    home, graded = verdicts[f"{exercise}/{name}"]
    for passed, _, lines in (home, graded):
        assert not passed
        assert re.search(entry["words"], "\n".join(lines)), lines
    assert home[1] == entry.get("named", [])


def test_a_level_that_is_told_is_the_one_that_was_asked(monkeypatch):
    """Evidence calls the five images of a case by their levels where its name has "T = "."""
    now, keep = [""], Observation.case
    monkeypatch.setattr(Observation, "case", lambda self, name, call: now.append(name) or keep(self, name, call))
    found = 0
    for exercise in EXERCISES:
        entry, asked = shipped_record()[exercise.name], {}

        def spy(schedule, *inputs, asked=asked):
            t = next(v for v in inputs if isinstance(v, torch.Tensor) and v.dtype == torch.int64)
            asked[now[-1]] = schedule, t
            return inputs[0]

        shapes = zip(entry.cases, entry.shapes, strict=True)
        told = [case for case, shape in shapes if "T = " in case and len(shape) == 4 and shape[0] == 5]
        if told:
            observe(exercise.name, spy)
        for case in told:
            schedule, t = asked[case]
            assert torch.equal(t, levels(schedule) - int("t_prev = t − 1" in case)), (exercise.name, case)
        found += len(told)
    assert found >= 10


def faint(schedule, x_start, t, noise):
    """Too little noise: where image and noise happen to be alike the answer spreads too much, elsewhere too little."""
    bar = schedule.at("alphas_cumprod", t, x_start)
    return bar.sqrt() * x_start + 0.9 * (1 - bar).sqrt() * noise


def test_what_is_told_of_a_spread_is_the_same_at_home_and_where_it_is_graded():
    home, graded = (verdict.evidence for verdict in judged("q_sample", faint))
    spread = [[line for line in lines if "spread" in line] for lines in (home, graded)]
    assert spread[0] == spread[1]
    [told] = spread[0]
    assert told.startswith("spread of x_t for data of spread 1: ")
    assert "expected 1, received 0.9" in told


def test_a_level_drawn_inside_is_not_taken_for_another_noise():
    """Of code that draws only traces are compared: they tell the given noise at another level from another noise."""

    def drawing(what):
        def f(model, schedule, x_start, label=None, *, t, noise):
            tau = torch.rand(len(x_start), 1, 1, 1).to(x_start) if what == "tau" else path_time(schedule, t, x_start)
            in_x = torch.randn_like(noise) if what == "noise" else noise
            return mse_loss(model(straight_path(x_start, in_x, tau), t, label), noise - x_start)

        return f

    names = {what: [m["name"] for m in judged("flow_loss", drawing(what))[0].mistakes] for what in ("tau", "noise")}
    assert names == {"tau": [], "noise": ["the noise in x_τ is not the noise in the target"]}
