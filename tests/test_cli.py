import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from diffusion_lib.__main__ import app
from diffusion_lib.training import runs

runner = CliRunner()


def run(*args, code=0):
    result = runner.invoke(app, [str(a) for a in args])
    assert result.exit_code == code, result.output + str(result.exception)
    return result.output


def test_help_names_every_command():
    text = run("--help")
    for command in ("train", "sample", "evaluate", "figures", "serve-data"):
        assert command in text
        assert "Usage" in run(command, "--help")


def test_sample_writes_arrays(tmp_path):
    out = tmp_path / "new" / "digits.npz"
    assert "20 digits" in run("sample", "--per-label", 2, "--steps", 3, "--seed", 1, "--out", out)
    with np.load(out) as file:
        images, labels = file["images"], file["labels"]
    assert images.shape == (20, 1, 28, 28)
    assert images.dtype == np.float32
    assert -1 <= images.min() < images.max() <= 1
    assert np.bincount(labels).tolist() == [2] * 10
    again = tmp_path / "again.npz"
    run("sample", "--per-label", 2, "--steps", 3, "--seed", 1, "--out", again)
    with np.load(again) as file:
        assert np.array_equal(file["images"], images)


def test_sample_writes_a_grid(tmp_path):
    run("sample", "--per-label", 2, "--steps", 2, "--out", tmp_path / "grid.png")
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("ignore::diffusion_lib.data.StandInWarning")
def test_evaluate_prints_samples_beside_real_digits():
    rows = json.loads(run("evaluate", "--per-label", 2, "--steps", 2, "--json"))["rows"]
    assert set(rows) == {"real digits", "laptop, 2 steps"}
    for row in rows.values():
        assert row["count"] == 20
        assert 0 <= row["agreement_low"] <= row["agreement"] <= row["agreement_high"] <= 1


@pytest.mark.filterwarnings("ignore::diffusion_lib.data.StandInWarning")
def test_train_then_sample_and_ship_the_run(tmp_path, monkeypatch, capsys):
    run("train", "--profile", "tiny", "--epochs", 1, "--run-dir", tmp_path, "--tensorboard", "--device", "cpu")
    names = {p.name for p in tmp_path.iterdir()}
    assert {"card.json", "checkpoint.safetensors", "history.jsonl", "samples_epoch_1.png"} <= names
    assert any(name.startswith("events") for name in names)
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["epochs"] == 1
    run("sample", "--weights", tmp_path / "checkpoint.safetensors", "--steps", 2, "--out", tmp_path / "a.npz")
    shipped = tmp_path / "shipped"
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "scripts")
    import ship_weights

    ship_weights.main(tmp_path, shipped, per_label=5)
    assert "real digits" in capsys.readouterr().out
    endings = ("history.jsonl", "json", "safetensors", "snapshots.safetensors")
    assert {p.name for p in shipped.iterdir()} == {f"tiny.{ending}" for ending in endings}
    assert json.loads((shipped / "tiny.json").read_text())["scores"]["samples"]["count"] == 50
    run("sample", "--weights", shipped / "tiny.safetensors", "--steps", 2, "--out", tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train", "--profile", "huge"], "unknown profile 'huge'; choose one of tiny, laptop, full"),
        (["train", "--device", "nonsense"], "there is no device 'nonsense'; choose cpu, cuda or mps."),
        (["sample", "--out", "a.npz", "--device", "cuda:99"], "the device 'cuda:99' cannot be used here ("),
        (["evaluate", "--device", "meta"], "there is no device 'meta'"),
        (["sample", "--out", "digits.jpg"], "must end in .npz or .png"),
        (["sample", "--out", "a.npz", "--weights", "nope"], "no shipped weights 'nope'; choose one of "),
        (["sample", "--out", "a.npz", "--weights", "./nope.safetensors"], "there is no file"),
        (["sample", "--out", "a.npz", "--weights", "one-step"], "draw with consistency.sample_ends"),
        (["sample", "--out", "a.npz", "--steps", "5000"], "1 ... 1000, but is 5000"),
        (["figures", "--only", "nope"], "unknown figure nope; choose from"),
        (["train", "--profile", "words"], "python scripts/words.py words"),
        (["sample", "--weights", "words", "--out", "a.png"], "draws pages from prompts"),
    ],
)
def test_bad_requests_are_told_what_to_do(args, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = run(*args, code=2)
    assert words in told
    assert len(told.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_figures_are_drawn(tmp_path):
    run("figures", "--out", tmp_path, "--only", "learning_curve", "--only", "grids_over_epochs")
    assert {p.name for p in tmp_path.iterdir()} == {"learning_curve.svg", "grids_over_epochs.png"}


def git(folder, *args):
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    out = subprocess.run(["git", *who, *args], cwd=folder, check=True, capture_output=True, text=True)
    return out.stdout.strip()


def test_a_commit_is_that_of_the_code_and_not_of_what_surrounds_it(tmp_path, monkeypatch):
    package = tmp_path / "project" / "site-packages" / "diffusion_lib"
    package.mkdir(parents=True)
    (package / "runs.py").write_text("code")
    git(tmp_path, "init", "-q", "project")
    monkeypatch.setattr(runs, "__file__", str(package / "runs.py"))
    git(tmp_path / "project", "commit", "-q", "--allow-empty", "-m", "of the project around it")
    assert runs.commit() is None
    git(tmp_path / "project", "add", "-A")
    git(tmp_path / "project", "commit", "-q", "-m", "of the code")
    assert runs.commit() == git(package, "rev-parse", "--short", "HEAD")
    (package / "runs.py").write_text("changed")
    assert runs.commit() == git(package, "rev-parse", "--short", "HEAD") + "+"
