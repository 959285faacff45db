from types import SimpleNamespace

import nbformat
import pytest
import torch
from conftest import ROOT, images

from diffusion_lib.consistency import path_end
from diffusion_lib.data import load_stand_in
from diffusion_lib.diffusion import q_sample
from diffusion_lib.editing import inpaint_step
from diffusion_lib.embeddings import timestep_embedding
from diffusion_lib.flow import as_velocity, path_time, straight_path
from diffusion_lib.metrics import in_batches, label_agreement, within_class_spread
from diffusion_lib.oracles import finite_set_oracle
from diffusion_lib.schedules import NoiseSchedule, gather, linear_betas, straight_betas
from diffusion_lib.showing import try_it
from diffusion_lib.words import asked, encode


@pytest.mark.parametrize(
    ("value", "expected", "said"),
    [
        (..., 0.6, "x_t: not written yet. Add the noise."),
        (0.6, 0.6, "x_t: right."),
        (0.6 + 1e-7, 0.6, "x_t: right."),
        (0.36, 0.6, "x_t: not yet: it is off by up to 0.24. Add the noise."),
        (float("nan"), 0.6, "x_t: not yet: it is off by up to nan. Add the noise."),
        ((64, 28, 28), (128, 28, 28), "x_t: not yet: it is off by up to 64. Add the noise."),
        (None, 0.6, "x_t: not yet: it is of type NoneType, but should be numbers. Add the noise."),
        ([], 0.6, "x_t: not yet: its shape is (0,), but should be (). Add the noise."),
    ],
)
def test_a_line_is_answered_at_once(value, expected, said, capsys):
    try_it("x_t", value, expected, "Add the noise.")
    assert capsys.readouterr().out == said + "\n"


def test_images_are_compared_pixel_by_pixel_and_never_broadcast(capsys):
    x = images(3, 1, 5, 4)
    almost = x.clone()
    almost[2, 0, 4, 3] += 0.01
    for value in (x, x.double(), x.requires_grad_(), almost, x[:1]):
        try_it("x_t", value, x, "")
    verdicts = capsys.readouterr().out.splitlines()
    assert verdicts[:3] == ["x_t: right."] * 3
    assert "off by up to 0.01" in verdicts[3]
    assert "its shape is (1, 1, 5, 4), but should be (3, 1, 5, 4)" in verdicts[4]


def test_a_root_that_is_missing_is_never_taken_for_rounding(capsys):
    noise = images(2, 1, 4, 4)
    sigma = torch.tensor(1e-4).sqrt()  # the least factor of the series: the first of a thousand steps
    try_it("noise", sigma**2 * noise, sigma * noise, "")
    assert "not yet" in capsys.readouterr().out


STRAIGHT = {T: NoiseSchedule.from_betas(straight_betas(T)).to("cpu") for T in (100, 1000)}
HERE = {
    "torch": torch, "try_it": try_it, "q_sample": q_sample, "NoiseSchedule": NoiseSchedule, "device": "cpu",
    "timestep_embedding": timestep_embedding, "in_batches": in_batches, "label_agreement": label_agreement,
    "within_class_spread": within_class_spread, "path_time": path_time, "straight_path": straight_path,
    "as_velocity": as_velocity, "finite_set_oracle": finite_set_oracle, "asked": asked,
}  # fmt: skip
BLANKS = {  # notebook, cell: the right line, then what students write
    ("01_forward_process", "01-07b"): [
        "(1 - beta).sqrt() * x + beta.sqrt() * noise",
        "(1 - beta) * x + beta * noise",  # both roots are missing
        "(1 - beta).sqrt() * x + beta * noise",  # a variance where the spread stands
        "x + beta.sqrt() * noise",
    ],
    ("01_forward_process", "01-13d"): [
        "alpha_bar.sqrt() * images + (1 - alpha_bar).sqrt() * noise",
        "alpha_bar.sqrt() * images + (1 - alpha_bar) * noise",
        "alpha_bar * images + (1 - alpha_bar).sqrt() * noise",
        "(1 - alpha_bar).sqrt() * images + alpha_bar.sqrt() * noise",  # swapped
    ],
    ("02_embeddings_and_unet", "02-05b"): [
        "torch.cat([(t[:, None] * omega).sin(), (t[:, None] * omega).cos()], dim=1)",
        "torch.cat([(t[:, None] * omega).cos(), (t[:, None] * omega).sin()], dim=1)",
        "(t[:, None] * omega).sin()",
    ],
    ("02_embeddings_and_unet", "02-11a"): [
        "h + bias[:, :, None, None]",
        "h + bias.mean()",
        "h + bias[0, :, None, None]",  # the first image's bias for all
    ],
    ("05_mnist_experiment", "05-16b"): [
        "(read == named).float().mean()",
        "(read == named).sum()",
        "(read != named).float().mean()",
    ],
    ("05_mnist_experiment", "05-16f"): [
        "threes.var(dim=0).mean().sqrt()",
        "threes.var(dim=0).mean()",
        "threes.std(dim=0).mean()",  # the root before the mean
        "threes.std()",  # how far ink is from paper
    ],
    ("07_fewer_steps", "07-17b"): [
        "x_tau + step * (v + ahead) / 2",
        "x_tau + step * ahead",
        "x_tau + step * (v + ahead)",
        "x_tau - step * (v + ahead) / 2",
    ],
    ("08_straight_paths", "08-08"): [
        "x_tau - tau * u",
        "x_tau + tau * u",  # the other way
        "x_tau - u",  # as if from the noise
        "x_tau - (1 - tau) * u",
    ],
    ("08_straight_paths", "08-12"): [
        "(x - gamma @ xy) / tau",
        "(gamma @ xy - x) / tau",  # the way a sampler walks
        "x - gamma @ xy",
        "(x - xy.mean(dim=0)) / tau",  # every point alike
    ],
    ("09_labels_to_words", "09-06"): [
        "torch.cat([prompt[:, 3:], prompt[:, :2]], dim=1)",
        "torch.cat([prompt[:, :2], prompt[:, 3:]], dim=1)",  # as if they said "above"
        "prompt[:, [4, 3, 1, 0]]",  # the rows backwards
        "prompt[:, 1:]",
    ],
    ("09_labels_to_words", "09-39"): [
        "raw / raw.std()",
        "raw * raw.std()",
        "raw / raw.var()",
        "raw / raw.std(dim=(0, 2, 3), keepdim=True)",  # each channel by its own
        "(raw - raw.mean()) / raw.std()",
    ],
    ("10_what_people_do", "10-04"): [
        "mask * (alpha_bar.sqrt() * known + (1 - alpha_bar).sqrt() * noise) + (1 - mask) * x",
        "(1 - mask) * (alpha_bar.sqrt() * known + (1 - alpha_bar).sqrt() * noise) + mask * x",
        "mask * known + (1 - mask) * x",  # clean
        "mask * (alpha_bar * known + (1 - alpha_bar) * noise) + (1 - mask) * x",
        "alpha_bar.sqrt() * known + (1 - alpha_bar).sqrt() * noise",
    ],
    ("10_what_people_do", "10-13"): [
        "rho * alpha_bar.sqrt() * seen",
        "rho * seen",  # as if it were clean
        "rho * seen / alpha_bar.sqrt()",
        "alpha_bar.sqrt() * seen",
    ],
    ("07_fewer_steps", "07-40"): [
        "(x - noised * eps) / torch.maximum(kept, noised / 3)",
        "(x - noised * eps) / kept",
        "(x - noised * eps) / torch.minimum(kept, noised / 3)",
        "(x - noised * eps) / torch.maximum(kept, 3 * noised)",
        "(x - eps) / torch.maximum(kept, noised / 3)",
    ],
}


@pytest.mark.parametrize("place", BLANKS, ids=lambda place: place[1])
def test_each_blank_takes_the_right_line_and_no_other(place, capsys):
    name, cell = place
    book = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    source = next(c.source for c in book.cells if c.id == cell)
    assert source.count("= ...  # your line") == 1
    digits = load_stand_in("test")
    here = HERE | {
        "images": images(10, 1, 6, 5), "schedule": NoiseSchedule.from_betas(linear_betas(1000)).to("cpu"),
        "classifier": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10)), "test_digits": digits,
        "named": digits.labels, "tau": {600: 0.7, 800: 0.9}, "eps_model": None,
        "digits": digits, "flow": SimpleNamespace(schedule=STRAIGHT[1000]), "toy_schedule": STRAIGHT[100],
        "points": images(9, 2, 1, 1, dtype=torch.float32),
        "x_tau": images(2, 1, 4, 4), "v": images(2, 1, 4, 4, seed=1), "velocity": lambda _model, x, _t: x.sin(),
        "gather": gather, "path_end": path_end, "inpaint_step": inpaint_step,
        "prompts": encode(["three one above four seven"]),
        "x": images(3, 2, 4, 4) * torch.tensor([2.0, 5.0]).view(2, 1, 1) + 1,
        "autoencoder": SimpleNamespace(encode=lambda x: SimpleNamespace(mean=x)),
    }  # fmt: skip
    for line in ["...", *BLANKS[place]]:
        exec(source.replace("= ...  # your line", f"= {line}  #"), dict(here))
    told = capsys.readouterr().out.splitlines()
    blank, right, *wrong = [line for line in told if ": not " in line or ": right." in line]
    assert "not written yet" in blank
    assert right.endswith(": right.")
    assert all("not yet" in answer for answer in wrong)
