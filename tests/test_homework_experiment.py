"""The experiment is the student's: their functions train and draw, and the run is tied to them."""

import json
import shutil
import zipfile

import numpy as np
import pytest
import torch
from classroom import FILE, SOLUTION, student_source, write_body
from conftest import ROOT
from test_homework_checks import run
from torch import nn

from diffusion_lib import UNet, make_schedule, p_sample
from diffusion_lib.homework.digests import digest
from diffusion_lib.homework.exercises import get
from diffusion_lib.homework.experiment import own_draws, own_steps, place, recipe
from diffusion_lib.showing.player import png
from diffusion_lib.training import shipped_history
from diffusion_lib.training.loop import Trained
from diffusion_lib.training.runs import command
from grader.hand_ins import HandIn
from grader.reading import read


def test_a_digest_sees_what_runs_and_nothing_else():
    plain = digest(SOLUTION, "ddpm_loss")
    assert digest(SOLUTION.replace("    x_t = q_sample", "\n    # noised\n    x_t = q_sample"), "ddpm_loss") == plain
    assert digest(SOLUTION.replace("Noise a clean image", "Make a mess"), "q_sample") == digest(SOLUTION, "q_sample")
    inside = write_body(SOLUTION, "q_sample", "return x_start")
    assert digest(inside, "ddpm_loss") != plain  # it calls q_sample
    assert digest(inside, "p_sample") == digest(SOLUTION, "p_sample")
    assert digest("q_sample = f", "q_sample") != digest("q_sample = g", "q_sample")


def test_in_training_the_loss_draws_and_held_out_it_is_given():
    seen = []
    loss = own_draws(lambda model, schedule, x, y, *, t=None, noise=None: seen.append((t, noise)))
    model = nn.Identity()
    loss(model.train(), None, None, None, t=1, noise=2)
    loss(model.eval(), None, None, None, t=1, noise=2)
    assert seen == [(None, None), (1, 2)]


def test_the_students_step_draws_several_digits_of_each_label_so_that_equal_ones_show():
    profile, asked = recipe("tiny"), []

    class Silent(UNet):
        def forward(self, x, t, label=None):
            asked.append(label)
            return torch.zeros_like(x)

    images = own_steps(Silent(profile.unet), make_schedule(profile.schedule), p_sample, 1.0)
    assert torch.equal(asked[0], torch.arange(10).repeat(3))
    assert len(images.flatten(1).unique(dim=0)) == 30


def test_a_card_names_the_command_that_one_would_type_and_no_kernels(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/x/diffusion_lib/__main__.py", "train", "--profile", "tiny"])
    assert command() == "python -m diffusion_lib train --profile tiny"
    monkeypatch.setattr("sys.argv", ["/x/ipykernel_launcher.py", "-f", "/tmp/kernel.json"])
    assert command() == "from a notebook"


def test_the_recipe_of_minutes_is_the_ablations_budget():
    train = recipe("minutes").train
    assert train.epochs * train.max_images == pytest.approx(300 * 769, rel=0.01)  # 769 a second: ablation.md
    assert len(train.snapshot_epochs) == 4  # the question asks for four stages
    assert {recipe(name).train.timestep_sampling for name in ("minutes", "tiny", "laptop", "full")} == {"uniform"}


def test_the_handout_counts_the_minutes_of_the_benchmarks():
    told = (ROOT / "homework" / "handout.md").read_text(encoding="utf-8")
    train = recipe("minutes").train
    seen = train.epochs * train.max_images
    assert f"{seen:,} digits" in told
    ours = ("| laptop, batch 64 | ours", 4)
    speeds = (("ablation", "| laptop |", 3, 5), ("bench", *ours, 8), ("bench_narrow", *ours, 10))
    for name, row, column, minutes in speeds:
        text = (ROOT / "benchmarks" / f"{name}.md").read_text(encoding="utf-8")
        cells = next(line.split("|") for line in text.splitlines() if line.startswith(row))
        speed = int(cells[column].split()[0])
        assert round(seen / speed / 60) == minutes
        assert f"{speed} " in told


def test_a_students_run_from_wrong_to_right(release, tmp_path):
    """One folder: unwritten, wrong step back, right step (drawn again, not trained again), other loss, pack."""
    release = shutil.copytree(release / "student", tmp_path / "student")
    assert "not written yet" in run("experiment", "--recipe", "tiny", cwd=release, code=2).stderr
    assert "no run yet. Start it" in run("pack", cwd=release).stdout
    folder = release / "experiment" / "tiny"
    (release / FILE).write_text(student_source(p_sample="return x_t - x_t"), encoding="utf-8")
    run("experiment", "--recipe", "tiny", cwd=release)
    first = {p.name: p.read_bytes() for p in folder.glob("*.png")}
    assert sorted(first) == ["samples_epoch_1.png", "samples_epoch_2.png"]
    weights = (folder / "epoch_2.safetensors").read_bytes()

    (release / FILE).write_text(student_source(), encoding="utf-8")
    assert "p_sample changed since. Run it again: it draws the grids again" in run("check", cwd=release).stdout
    run("experiment", "--recipe", "tiny", cwd=release)
    assert all((folder / name).read_bytes() != old for name, old in first.items())
    assert (folder / "epoch_2.safetensors").read_bytes() == weights
    assert "changed since" not in run("pack", cwd=release).stdout
    with zipfile.ZipFile(release / "homework.zip") as archive:
        packed = {n for n in archive.namelist() if "/experiment/" in n}
    names = ("code.json", "card.json", "history.jsonl", *first)
    assert packed == {f"homework/experiment/tiny/{name}" for name in names}
    [told] = handed_in(release)
    data = json.loads((folder / "card.json").read_text(encoding="utf-8"))["data"]
    other_data = () if data == "MNIST" else ("not MNIST",)  # on a machine without it
    assert told.faults == ("too short", *other_data)  # and nothing else: it is this code's
    assert "1,024 images seen" in told.words

    other = "t = torch.zeros(len(x_start)).long() if t is None else t\nnoise = torch.randn_like(x_start)\n"
    other += "return mse_loss(model(q_sample(schedule, x_start, t, noise), t, label), noise)"
    (release / FILE).write_text(student_source(ddpm_loss=other), encoding="utf-8")
    assert "ddpm_loss changed since. Delete its folder" in run("pack", cwd=release).stdout
    assert handed_in(release)[0].faults == ("other code", "too short", *other_data)
    assert "other code" in run("experiment", "--recipe", "tiny", cwd=release, code=2).stderr
    for path in folder.iterdir():
        path.unlink()
    before = json.loads(archive_card(release))["held_out_loss"]
    run("experiment", "--recipe", "tiny", cwd=release)
    assert json.loads((folder / "card.json").read_text())["held_out_loss"] != before  # the student's loss trained it


def handed_in(release):
    """The runs that the teacher is told of."""
    hand_in = HandIn("homework.zip", release / "homework.zip", "jane")
    read(hand_in, [get(name) for name in ("q_sample", "ddpm_loss", "p_sample")])
    return hand_in.runs


def archive_card(release):
    with zipfile.ZipFile(release / "homework.zip") as archive:
        return archive.read("homework/experiment/tiny/card.json").decode()


def test_the_students_notebook_of_the_experiment_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    """Its cells, with the library's functions in place of a student's, and a run that is not trained."""
    monkeypatch.setattr("diffusion_lib.homework.experiment.tree", lambda: tmp_path)
    monkeypatch.setattr("diffusion_lib.homework.experiment.experiment", untrained)
    book = json.loads((ROOT / "homework" / "05_your_experiment.ipynb").read_text(encoding="utf-8"))
    assert not [cell for cell in book["cells"] if cell.get("outputs")]
    space, code = {}, ["".join(cell["source"]) for cell in book["cells"] if cell["cell_type"] == "code"]
    for old, new in (('RECIPE = "minutes"', 'RECIPE = "tiny"'), ("repeat(30)", "repeat(2)")):
        assert sum(source.count(old) for source in code) == 1
        code = [source.replace(old, new) for source in code]
    for source in code:
        exec(source, space)
    told = capsys.readouterr().out
    assert told.count(": right.") == 3
    assert "kept in experiment/tiny" in told
    assert "my samples" in told


def untrained(name):
    """What :func:`experiment` returns and leaves, without training."""
    profile = recipe(name)
    place(name).mkdir(parents=True)
    for epoch in profile.train.snapshot_epochs:
        (place(name) / f"samples_epoch_{epoch}.png").write_bytes(png(np.zeros((2, 2), dtype=np.uint8)))
    return Trained(UNet(profile.unet).eval(), make_schedule(profile.schedule), shipped_history("laptop"))
