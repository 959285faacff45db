"""What the README claims, held against the files that it claims it from."""

import json
import re
import runpy
import subprocess
import sys

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text()
WEIGHTS = ROOT / "diffusion_lib" / "weights"
CARD = json.loads((WEIGHTS / "laptop.json").read_text())


@pytest.mark.parametrize(
    ("line", "row"),
    [("real digits", "real digits"), ("shipped `laptop`", "samples"), ("the same without", "samples, no guidance")],
)
def test_the_table_is_the_cards(line, row):
    scores = CARD["scores"][row]
    shares = (scores["agreement"], scores["agreement_low"], scores["agreement_high"])
    expected = [f"{100 * share:.1f}" for share in shares] + [f"{scores['spread']:.2f}", f"{scores['frechet']:.1f}"]
    text = next(text for text in README.splitlines() if text.startswith(f"| {line}"))
    assert re.findall(r"\d+\.\d+", text) == expected


def test_the_shipped_weights_are_good_enough():
    scores = CARD["scores"]["samples"]
    assert scores["agreement"] >= 0.95
    assert scores["spread"] >= 0.85
    assert scores["count"] == 1000
    assert json.loads((WEIGHTS / "classifier.json").read_text())["test_accuracy"] >= 0.993


def test_one_epoch_is_told_as_measured():
    scores = json.loads((WEIGHTS / "sprint.json").read_text())["scores"]["samples"]
    told = README.split("Of 1,000 of its digits", 1)[1].split("[Ninety seconds]", 1)[0]
    shares = (scores["agreement"], scores["agreement_low"], scores["agreement_high"])
    expected = [*(f"{100 * share:.1f}" for share in shares), "1.3", f"{scores['spread']:.2f}"]
    assert re.findall(r"\d+\.\d+", told) == expected


def test_more_work_per_image_is_told_as_measured():
    lines = (ROOT / "benchmarks" / "full.jsonl").read_text(encoding="utf-8").splitlines()
    found = {row["row"]: row for row in map(json.loads, lines) if row["scale"] == 1}
    told = README.split("whose images cost", 1)[1].split("[All rows]", 1)[0]
    expected = []
    for row in (found["full"], found["laptop"], found["laptop, shipped"]):
        shares = (row["agreement"], row["agreement_low"], row["agreement_high"])
        expected += [
            f"{row['held_out_loss']:.4f}",
            *(f"{100 * share:.1f}" for share in shares),
            f"{row['frechet']:.0f}",
        ]
    assert re.findall(r"\d+\.\d+|\b\d\d\b", told) == expected
    cost = [found[name]["processor_seconds"] / found[name]["images"] for name in ("full", "laptop")]
    assert round(cost[0] / cost[1]) == 19
    assert round(found["full"]["processor_seconds"] / 60) == 110


def test_one_look_and_two_are_told_as_measured():
    measured = json.loads((WEIGHTS / "one-step.quality.json").read_text())
    told = README.split("Eight more minutes", 1)[1].split("[Four ways", 1)[0].split("digits drawn", 1)[1]
    expected = []
    for row in (measured["rows"][1], measured["rows"][0]):
        shares = (row["agreement"], row["agreement_low"], row["agreement_high"])
        expected += [*(f"{100 * share:.1f}" for share in shares), f"{row['spread']:.2f}", f"{row['frechet']:.1f}"]
        assert row["count"] == 1000
    seconds = measured["seconds_for_100_digits"]
    assert re.findall(r"\d+\.\d+", told) == [*expected, f"{seconds['2']:.2f}", f"{seconds['1']:.2f}"]


def test_prompts_are_told_as_measured():
    measured = json.loads((WEIGHTS / "words.quality.json").read_text())
    rows = {row["prompts"]: row for row in measured["rows"] if row["row"] == "words"}
    told, expected = README.split("Asked in words", 1)[1].split("The weights", 1)[0], []
    for key in ("digits", "pages"):
        for kind in ("seen", "unseen"):
            expected += [f"{100 * share:.1f}" for share in (rows[kind][key], *rows[kind][f"{key}_range"])]
    seen = rows["seen"]
    assert re.findall(r"\d+\.\d+", told) == [*expected, f"{seen['spread']:.2f}", f"{seen['seconds']:.2f}"]
    minutes = [round(measured["training"][part]["cpu_seconds"] / 60) for part in ("words", "autoencoder")]
    assert f"took {minutes[0]} minutes of one core, and {minutes[1]} for the autoencoder" in README


def test_the_memory_of_each_notebook_is_told_and_fits_a_hub_of_two_gigabytes():
    limit = runpy.run_path(str(ROOT / "scripts" / "run_notebooks.py"))["MOST_MEMORY"]
    told = re.search(r"^\| GiB \|(.*)\|$", README, re.MULTILINE)[1].split("|")
    assert len(told) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert all(0.3 < float(peak) <= limit / 2**30 for peak in told)


def test_every_link_and_command_exists():
    for path in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_nothing_private_or_foreign_is_committed():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in listed if "ubyte" in name or name.endswith((".pt", ".pkl", ".pth"))]
    for name in listed:
        path = ROOT / name
        limit = 16 if "weights" in name else 4 if name.endswith("record.safetensors") else 2
        assert path.stat().st_size <= limit * 2**20, name


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("ours", "ours"),
        ("the same network, written plainly", "plain"),
        ("diffusers, nearest size", "diffusers"),
        ("denoising-diffusion-pytorch, nearest size", "denoising-diffusion-pytorch"),
        ("smalldiffusion, nearest size", "smalldiffusion"),
    ],
)
def test_the_speeds_are_those_of_the_bench(line, code):
    table = (ROOT / "benchmarks" / "bench.md").read_text()
    measured = next(row for row in table.splitlines() if row.startswith(f"| full, batch 64 | {code} |")).split("|")
    told = next(text for text in README.splitlines() if text.startswith(f"| {line} |")).split("|")
    work, speed, ratio = (cell.strip() for cell in told[2:5])
    assert measured[3].strip().endswith(work)
    assert measured[4].split()[0] == speed
    assert measured[5].strip() == ratio


def test_the_write_up_is_filled_in_from_the_runs_own_files():
    sys.path.insert(0, str(ROOT / "scripts"))
    from write_up import FOLDER, filled

    text = (FOLDER / "write-up.md").read_text(encoding="utf-8")
    assert text == filled()
    assert "{{" not in text
    for path in re.findall(r"\]\(([^)]+)\)", text):
        assert (FOLDER / path).exists(), path
    assert (FOLDER / "write-up.pdf").read_bytes().startswith(b"%PDF")


def test_every_figure_is_committed_and_every_committed_figure_has_a_command():
    script = runpy.run_path(str(ROOT / "scripts" / "figures.py"))
    FIGURES, VECTOR = script["FIGURES"], script["VECTOR"]

    names = {f"{name}.{'svg' if name in VECTOR else 'png'}" for name in FIGURES}
    assert {path.name for path in (ROOT / "figures").iterdir()} == names
    assert set(FIGURES) >= VECTOR
    for name in VECTOR:
        assert not re.search(r'href="https?://(?!www\.w3)', (ROOT / "figures" / f"{name}.svg").read_text())
