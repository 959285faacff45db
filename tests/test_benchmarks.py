"""What the benchmarks compare with must compute the same."""

import json
import sys
from itertools import permutations
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

from diffusion_lib.diffusion import q_sample
from diffusion_lib.predictions import PREDICTIONS, amplitudes
from diffusion_lib.profiles import PROFILES
from diffusion_lib.schedules import make_schedule
from diffusion_lib.training import load_snapshots, load_tensors
from diffusion_lib.training.recipe import weighing
from diffusion_lib.unet import UNet

sys.path.insert(0, str(ROOT / "benchmarks"))


def test_the_plain_network_is_numerically_ours():
    from plain import PlainAttention, check_equal, plain_unet

    assert check_equal(PROFILES["laptop"].unet) < 1e-4
    plain = plain_unet(PROFILES["tiny"].unet)
    assert isinstance(plain.middle1.transformer.cross_attention, PlainAttention)


def test_a_contender_steps_in_a_process_of_its_own_and_says_its_size():
    import bench

    found = bench.beside_ours("tiny", 16, 2, ["plain", bench.ALL])
    seconds, size, ratio = found["ours"]
    assert list(found) == ["ours", "plain", bench.ALL]
    assert (len(seconds), len(found["plain"][0]), ratio) == (4, 2, 1.0)  # ours raced with each of them
    assert min(seconds) > 0
    first = sum(seconds[:2]) / 2  # the race with plain
    assert found["plain"][2] == pytest.approx(sum(found["plain"][0]) / 2 / first)
    assert size["parameters"] == sum(p.numel() for p in UNet(PROFILES["tiny"].unet).parameters())
    assert found["plain"][1]["flops"] == found[bench.ALL][1]["flops"]
    assert found["plain"][1]["flops"] > size["flops"] > 1e6  # ours upsamples with fewer products
    assert bench.gpu_lines() if torch.cuda.is_available() else "none at hand" in "".join(bench.gpu_lines())
    with pytest.raises(RuntimeError, match="nobody ended before ready"):
        bench.Contender("nobody", "tiny", 16)


def test_whatever_is_undone_is_undone_in_the_average_too(monkeypatch, stand_in):
    import contenders

    def looks(what):
        kept = []
        monkeypatch.setattr(contenders.loop, "keep_memory", lambda: kept.append(True))
        trainer = contenders.undone(what, "tiny", stand_in, 16, torch.device("cpu"))
        networks = [trainer.model, trainer.ema]
        kinds = [[type(m) for m in network.modules()] for network in networks]
        strides = [[p.stride() for p in network.parameters()] for network in networks]
        assert kinds[0] == kinds[1]
        assert strides[0] == strides[1]
        return kept, kinds, strides

    ours = looks("nothing")
    each = [looks(what) for what in (*contenders.UNDO, contenders.GIVEN_BACK)]
    assert [one != ours for one in each] == [True] * 5
    assert [[a != b for a, b in zip(one, ours, strict=True)].count(True) for one in each] == [1] * 5
    assert all(a != b for a, b in zip(looks(contenders.ALL), ours, strict=True))


def test_that_comparison_can_fail(monkeypatch):
    import plain

    right = plain.PlainAttention.forward
    monkeypatch.setattr(plain.PlainAttention, "forward", lambda self, x, context=None: 1.01 * right(self, x, context))
    assert plain.check_equal(PROFILES["tiny"].unet) > 1e-4
    assert torch.is_grad_enabled()


def test_memorisation_is_told_as_measured():
    import memorisation

    numbers = json.loads(memorisation.NUMBERS.read_text(encoding="utf-8"))
    rows, table = numbers["rows"], memorisation.TABLE.read_text(encoding="utf-8")
    assert table.startswith(memorisation.head(numbers))
    assert [memorisation.line(row) in table for row in rows] == [True] * len(memorisation.SIZES)
    kept = load_snapshots("memorisation")
    assert list(kept) == [row["digits"] for row in rows] == list(memorisation.SIZES)
    assert {len(images) for images in kept.values()} == {3 * memorisation.SHOWN}


def test_two_networks_are_compared_from_the_same_noise():
    import memorisation

    ours = torch.arange(6.0).view(6, 1, 1, 1)
    assert memorisation.apart(ours, ours) == 0
    assert memorisation.apart(ours, ours + 0.5) == pytest.approx(0.5 / 0.5)  # of a neighbour: 1 - 0.5
    assert memorisation.apart(ours, ours.roll(-1, dims=0)) > 1


def test_memorisation_keeps_each_size_and_writes_when_all_are_there(tmp_path, monkeypatch):
    import memorisation

    measured = []

    def cheap(size, steps, *data):
        measured.append((size, steps))
        keys = ("loss", "held_out", "exact_loss", "exact_held_out", "nearest", "real_nearest", "copies", "real_copies")
        return {"digits": size, **dict.fromkeys((*keys, "apart", "cpu_seconds"), 0.5)}, torch.zeros(3, 1, 28, 28)

    for name in ("RUNS", "TABLE", "NUMBERS", "SAMPLES"):
        monkeypatch.setattr(memorisation, name, tmp_path / name)
    monkeypatch.setattr(memorisation, "measured", cheap)
    monkeypatch.setattr(memorisation, "load_data", lambda *_: (SimpleNamespace(source="MNIST"), None))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["memorisation.py", *arguments])
        memorisation.main()

    run("--steps", "7", "--sizes", "100", "10")
    assert measured == [(100, 7), (10, 7)]
    assert not (tmp_path / "NUMBERS").exists()
    run("--steps", "7")
    assert measured[2:] == [(1000, 7), (10_000, 7)]
    numbers = json.loads((tmp_path / "NUMBERS").read_text())
    assert [row["digits"] for row in numbers["rows"]] == list(memorisation.SIZES)
    assert "7 steps of 32 images" in (tmp_path / "TABLE").read_text()
    assert numbers["command"].endswith("--steps 7")
    run("--steps", "8", "--sizes", "10")
    assert measured[4:] == [(10, 8)]


def test_ninety_seconds_are_told_as_measured():
    import ninety

    found = ninety.summaries()
    table = ninety.TABLE.read_text(encoding="utf-8")
    assert {row["seconds"] for row in found} == {90, 300}
    for seconds in (90, 300):
        rows = [row for row in found if row["seconds"] == seconds]
        scales = sorted({scale for row in rows for scale in row["scales"]})
        assert all(ninety.line(row, scales) in table for row in rows)
    assert json.loads(ninety.NUMBERS.read_text(encoding="utf-8"))["rows"] == found


def test_seeds_are_averaged_and_a_scale_that_one_lacks_is_left_out():
    import ninety

    one = {"cost": 1.0, "images": 10, "held_out_loss": 0.1, "agreement_1": 0.5, "spread_1": 0.8}
    two = one | {"images": 20, "agreement_1": 0.7, "agreement_1.5": 0.9, "spread_1.5": 0.7}
    found = ninety.summary([one, two])
    assert found["images"] == 15
    assert list(found["scales"]) == ["1"]
    assert found["scales"]["1"]["agreement"] == pytest.approx(0.6)
    assert found["scales"]["1"]["low"] < 0.6 < found["scales"]["1"]["high"]


def test_a_plan_has_as_many_images_as_it_is_given():
    import ninety
    from ninety_rows import ROWS

    for row in ROWS.values():
        steps = ninety.plan(row, 6400)
        assert 6400 - 128 < sum(size for size, _ in steps) <= 6400
        small = sum(size for size, small in steps if small)
        assert small == pytest.approx(row.small_first * 6400, abs=64)


@pytest.fixture
def asked():
    """Levels, images, labels and noise for a loss, and a model that answers from a table of numbers."""
    torch.manual_seed(0)
    schedule, label = make_schedule(PROFILES["laptop"].schedule), torch.tensor([3, 3, 5, 5, 3, 5])
    x_start, noise, guess = torch.randn(3, 6, 1, 28, 28)
    given = {"x_start": x_start, "label": label, "t": torch.tensor([0, 10, 400, 700, 900, 999]), "noise": noise}
    return SimpleNamespace(schedule=schedule, guess=guess, given=given)


def test_a_contrasted_loss_pulls_to_one_target_and_pushes_from_anothers(asked):
    from ninety_rows import contrastive, half_v

    a, s = amplitudes(asked.schedule, asked.given["t"], asked.guess)
    x_t = q_sample(asked.schedule, asked.given["x_start"], asked.given["t"], asked.given["noise"])
    v = PREDICTIONS["v"].target(a, s, asked.given["x_start"], asked.given["noise"])
    other = PREDICTIONS["v"].target(a, s, asked.given["x_start"].roll(1, 0), asked.given["noise"].roll(1, 0))
    said = PREDICTIONS["v"].target(a, s, (x_t - s * asked.guess) / a, asked.guess)  # the guess, told as v
    apart = (said - v).square() - 0.05 * (said - other).square()
    weight = asked.schedule.alphas_cumprod[asked.given["t"]].view(-1, 1, 1, 1)  # back from v's error to that of noise
    loss = contrastive(0.05)(lambda *_: asked.guess, asked.schedule, **asked.given)
    assert loss.item() == pytest.approx((weight * apart).mean().item(), rel=1e-5)
    plain = weighing(half_v)(lambda *_: asked.guess, asked.schedule, **asked.given)
    unmoved = contrastive(0.0, half_v)(lambda *_: asked.guess, asked.schedule, **asked.given)
    assert unmoved.item() == pytest.approx(plain.item(), rel=1e-5)


def test_guidance_that_is_trained_in_is_guidance_undone(asked):
    from ninety_rows import guidance_within

    def network(x, t, label=None):
        return asked.guess if label is None else asked.guess + 1.5 * (asked.given["noise"] - asked.guess)

    # guided by 1.5 from the unlabelled guess to the right noise: so this answer has nothing left to learn
    assert guidance_within(1.5)(network, asked.schedule, **asked.given).item() == pytest.approx(0, abs=1e-10)
    assert guidance_within(1.3)(network, asked.schedule, **asked.given).item() > 1e-3


def test_noise_is_exchanged_within_a_label_alone_and_comes_nearer(asked):
    from ninety_rows import immiscible

    got = []
    immiscible(lambda *_, noise, **__: got.append(noise))(None, asked.schedule, **asked.given)
    x_start, label, noise = (asked.given[name] for name in ("x_start", "label", "noise"))
    for kind in (3, 5):
        mine = [tuple(n.flatten().tolist()) for n in noise[label == kind]]
        assert sorted(mine) == sorted(tuple(n.flatten().tolist()) for n in got[0][label == kind])
        pairs = permutations(noise[label == kind])
        least = min((torch.stack(order) - x_start[label == kind]).flatten(1).norm(dim=1).sum() for order in pairs)
        assert (got[0] - x_start)[label == kind].flatten(1).norm(dim=1).sum().item() == pytest.approx(least.item())


def test_levels_in_turn_hit_each_share_once():
    from ninety_rows import in_turn

    u = in_turn(torch.rand(64))
    assert sorted((u * 64).long().tolist()) == list(range(64))


@pytest.fixture
def small_run(tmp_path, monkeypatch, stand_in):
    """benchmarks/full.py with one row, of a small network, that keeps a checkpoint after every step."""
    import full

    tiny = {"width": 8, "time_dim": 8, "context_dim": 8}
    monkeypatch.setattr(full, "ROWS", {"small": full.Row("", unet=tiny, train=full.RECIPE)})
    monkeypatch.setattr(full, "RUNS", tmp_path)
    monkeypatch.setattr(full, "EVERY", -1)
    monkeypatch.setattr(full, "NOTE", 2)
    monkeypatch.setattr(full, "load_digits", lambda _: stand_in)
    return full


def test_a_budget_that_was_interrupted_ends_as_the_unbroken_one(small_run, tmp_path, monkeypatch):
    from diffusion_lib.training.loop import Trainer

    small_run.train("small", float("inf"), 320)
    whole = load_tensors(tmp_path / "small" / "stage_3.safetensors")[0]
    notes = (tmp_path / "small" / "history.jsonl").read_text().splitlines()
    (tmp_path / "small").rename(tmp_path / "unbroken")
    step, done = Trainer.step, []

    def dies(self, index):
        done.append(index)
        if len(done) == 6:
            raise KeyboardInterrupt
        return step(self, index)

    monkeypatch.setattr(Trainer, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        small_run.train("small", float("inf"), 320)
    small_run.train("small", float("inf"), 320)
    again = load_tensors(tmp_path / "small" / "stage_3.safetensors")[0]
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    steps = [json.loads(line)["step"] for line in (tmp_path / "small" / "history.jsonl").read_text().splitlines()]
    assert steps == [json.loads(line)["step"] for line in notes] == [2, 4, 6, 8, 10]
    assert sorted(path.name for path in tmp_path.glob("small/stage_*")) == [f"stage_{n}.safetensors" for n in range(4)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train"], "needs a row"),
        (["train", "laptop"], "--seconds or --images"),
        (["train", "laptop, shipped"], "one of"),
    ],
)
def test_a_budget_that_is_missing_is_told(arguments, words, capsys):
    import full

    with pytest.raises(SystemExit):
        full.main(arguments)
    assert words in capsys.readouterr().err
