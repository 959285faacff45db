"""The figures of the README and the write-up, drawn from shipped weights, logs and scores. No data set is needed."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import torch
from torch.nn.functional import pad

from diffusion_lib.consistency import sample_ends
from diffusion_lib.diffusion import ddpm_loss, p_sample, q_sample
from diffusion_lib.editing import windowed
from diffusion_lib.guidance import clipped, guided
from diffusion_lib.latents import generate_latents
from diffusion_lib.samplers import denoiser, generate, last, sample_ddim
from diffusion_lib.showing.diagrams import beside_code, unet_diagram
from diffusion_lib.showing.viz import Picture, heat_map, image_grid, learning_curve, lines, sample_grid
from diffusion_lib.training.checkpoints import (
    load_autoencoder,
    load_classifier,
    load_pretrained,
    load_snapshots,
    shipped_history,
    shipped_quality,
)
from diffusion_lib.unet import Stage
from diffusion_lib.words import encode

PROMPTS = (  # below and above; "one four", "nine two", "five eight" and "seven zero" never stood side by side
    "three one above four seven", "four seven below three one", "four seven above three one",
    "three one below four seven", "one four above nine two", "five eight below seven zero",
    "six six above two three", "eight nine below zero five",
)  # fmt: skip


def samples() -> Picture:
    """Ten digits of each label, 50 DDIM steps."""
    trained = load_pretrained()
    label = torch.arange(trained.profile.data.num_classes).repeat(10)
    images = generate(trained.model, trained.schedule, label, guidance_scale=trained.profile.guidance_scale)
    return sample_grid(images, label, data=trained.profile.data)


def both_ways() -> Picture:
    """Top: the forward process. Bottom: a new digit grown from the noise that the top row ends in."""
    trained, levels = load_pretrained(), [0, 100, 200, 300, 450, 600, 800, 999]
    schedule, label, scale = trained.schedule, torch.tensor([3]), trained.profile.guidance_scale
    start = generate(trained.model, schedule, label, guidance_scale=scale, seed=4)
    generator = torch.Generator().manual_seed(2)
    noise = torch.randn(start.shape, generator=generator)
    forward = [q_sample(schedule, start, torch.tensor([t]), noise) for t in levels]

    eps_model = clipped(guided(trained.model, label, scale), schedule)
    back = list(sample_ddim(eps_model, schedule, forward[-1], 50, eta=1.0, generator=generator))
    nearest = [min(back, key=lambda step: abs(step.t - level)).x for level in levels[1:-1]]
    alt = "Top row: a 3 dissolves into noise as t grows. Bottom row, read from right to left: noise becomes a new 3."
    return image_grid(
        torch.cat([*forward, back[-1].x, *nearest, forward[-1]]),
        alt,
        columns=len(levels),
        titles=[f"t = {t}" for t in levels],
        row_titles=["forward →", "reverse ←"],
        limits=(-1.5, 1.5),
    )


def one_look() -> Picture:
    """The same noise under one look of ``one-step``, two looks, and the 50 of its teacher."""
    few, laptop, label = load_pretrained("one-step"), load_pretrained(), torch.arange(10)
    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(len(label), *laptop.model.image_shape, generator=generator)
    levels, schedule = few.card["levels"], laptop.schedule
    teacher = denoiser(laptop.model, schedule, label, few.card["teacher_scale"])
    walks = {
        "1 look": sample_ends(few.model, schedule, x_T, label, levels[:1]),
        "2 looks": sample_ends(few.model, schedule, x_T, label, levels, generator=generator),
        "50 looks": sample_ddim(teacher, schedule, x_T, 25),
    }
    alt = "Digits 0 to 9 from the same noise. Top: one look. Middle: two. Bottom: 50 looks of the guided teacher."
    return image_grid(torch.cat([last(walk) for walk in walks.values()]), alt, columns=10, row_titles=[*walks])


def prompts() -> Picture:
    """Eight pages of four digits, drawn from their prompts in latents."""
    trained, texts = load_pretrained("words"), PROMPTS
    images = generate_latents(
        trained.model, trained.schedule, encode(texts), load_autoencoder(), trained.profile.sample_steps,
        guidance_scale=trained.profile.guidance_scale,
    )  # fmt: skip
    titles = [f"{first}\n{then}" for first, then in (re.split(r" (?=\w+ \w+$)", text) for text in texts)]
    alt = "Eight pages of four digits under the prompts that they were drawn from: " + "; ".join(texts) + "."
    return image_grid(images, alt, columns=4, titles=titles, size=1.7)


def strips() -> Picture:
    """A year through four windows at once, the mean of the guesses where they overlap (notebook 10)."""
    laptop, year, rows = load_pretrained(), torch.tensor([2, 0, 2, 6]), []
    for stride in (28, 24, 20):
        generator = torch.Generator().manual_seed(0)
        x_T = torch.randn(2, 1, 28, 28 + 3 * stride, generator=generator)
        eps_model = clipped(windowed(laptop.model, year, stride), laptop.schedule)
        images = last(sample_ddim(eps_model, laptop.schedule, x_T, 25, eta=1, generator=generator))
        rows.append(pad(images, (0, 112 - images.shape[3]), value=-1))
    alt = "Six strips asked for 2026, drawn through four windows: two each that stand 28, 24 and 20 columns apart."
    return image_grid(torch.cat(rows).view(1, 1, -1, 112), alt, size=4)


def two_networks() -> Picture:
    """Two networks that share no training digit, from the same noise, for several numbers of digits."""
    kept = load_snapshots("memorisation")
    rows = torch.cat([torch.cat([images[:10], images[20:]]) for images in kept.values()])
    titles = [f"{which} {count:,}" for count in kept for which in ("one,", "other,")]
    alt = "Digits that two networks draw from the same ten noises, a row each, for 10, 100, 1,000 and 10,000 digits."
    return image_grid(rows, alt, columns=10, row_titles=titles, size=0.7)


def curve() -> Picture:
    """The learning curve of the run that made the shipped weights."""
    history = shipped_history()
    return learning_curve(history.epochs, history.steps)


def grids_over_epochs() -> Picture:
    """Two digits of each label after several epochs, the same noise in each row."""
    snapshots = load_snapshots()
    names = load_pretrained().profile.data.class_names
    rows = torch.cat([images[: 2 * len(names)] for images in snapshots.values()])
    epochs = ", ".join(map(str, snapshots))
    alt = f"Samples after epochs {epochs}, one row each, labels {names[0]} to {names[-1]} twice, from the same noise."
    return image_grid(rows, alt, columns=2 * len(names), row_titles=[f"epoch {n}" for n in snapshots], size=0.5)


def full_stages() -> Picture:
    """A digit of each label at four stages of training: by the larger network, and by laptop's beside it."""
    snapshots = load_snapshots("full")
    rows = torch.cat([torch.cat([images[:10], images[20:30]]) for images in snapshots.values()])
    alt = "Digits 0 to 9 from the same noise at four stages of training: full at the left, laptop's network beside it."
    titles = [f"{count:,} images" for count in snapshots]
    return image_grid(rows, alt, columns=20, row_titles=titles, size=0.5)


def injection() -> Picture:
    """Where time and label enter the network, from one pass through the shipped weights."""
    network, shapes, told = load_pretrained().model, {}, {}
    stages = {f"down {i}": level for i, level in enumerate(network.down)}
    stages |= {"middle 1": network.middle1, "middle 2": network.middle2}
    stages |= {f"up {len(network.up) - 1 - i}": level for i, level in enumerate(network.up)}
    for name, stage in stages.items():
        stage.register_forward_hook(lambda _stage, _in, out, name=name: shapes.update({name: tuple(out.shape[1:])}))
        told[name] = "t" if stage.transformer is None else "t, label"
    with torch.no_grad():
        network(torch.zeros(1, *network.image_shape), torch.zeros(1, dtype=torch.long))
    return unet_diagram(shapes, told)


def time_bias() -> Picture:
    """The bias that the first block adds to each of its channels, for every t: the same number at every pixel."""
    trained = load_pretrained()
    with torch.no_grad():
        vector = trained.model.time(torch.arange(len(trained.schedule)))
        bias = cast(Stage, trained.model.down[0]).block.time(torch.nn.functional.silu(vector))
    alt = (
        "The learned time bias of each channel of the first block, for every t. Some channels change early, some late."
    )
    return heat_map(bias.T, alt, xlabel="t", ylabel="channel")


def label_attention() -> Picture:
    """Which of four label tokens each of 7 x 7 pixels reads, for five digits at t = 300."""
    trained, label = load_pretrained(), torch.tensor([0, 2, 3, 6, 8])
    images = generate(trained.model, trained.schedule, label, guidance_scale=trained.profile.guidance_scale, seed=2)
    t, noise = torch.full((5,), 300), torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert trained.model.middle1.transformer is not None
    layer = trained.model.middle1.transformer.cross_attention
    seen: list[tuple] = []
    layer.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs))
    with torch.no_grad():
        trained.model(q_sample(trained.schedule, images, t, noise), t, label)
    weights = layer.weights(*seen[0])[:, 0].transpose(1, 2)
    return image_grid(
        weights.reshape(-1, 7, 7), "The weight that each pixel gives to each of four label tokens, first head.",
        columns=4, titles=[f"token {i}" for i in range(4)], row_titles=[str(n) for n in label.tolist()],
        limits=(0, 1), cmap="cividis",
    )  # fmt: skip


def forward_code() -> Picture:
    """DDPM eq. 4 beside q_sample."""
    maths = [
        r"$q(x_t\,|\,x_0) = \mathcal{N}(x_t;\ \sqrt{\bar\alpha_t}\,x_0,\ (1-\bar\alpha_t)\,I)$",
        r"$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon$",
    ]
    return beside_code(maths, q_sample, "The forward process in one step, DDPM eq. 4.")


def training_code() -> Picture:
    """Algorithm 1 beside ddpm_loss."""
    maths = [
        "Algorithm 1", r"$x_0 \sim q(x_0)$", r"$t \sim \mathrm{Uniform}(\{0,\ldots,T-1\})$",
        r"$\epsilon \sim \mathcal{N}(0, I)$",
        r"gradient step on $\Vert\epsilon - \epsilon_\theta("
        r"\sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\epsilon,\ t)\Vert^2$",
    ]  # fmt: skip
    return beside_code(maths, ddpm_loss, "Training, DDPM Algorithm 1.", width=11.5)


def sampling_code() -> Picture:
    """Line 4 of Algorithm 2 beside p_sample."""
    maths = [
        r"Algorithm 2, for $t = T-1, \ldots, 0$", r"$z \sim \mathcal{N}(0, I)$",
        r"$x_{t-1} = \frac{1}{\sqrt{\alpha_t}}\left(x_t - \frac{\beta_t}{\sqrt{1-\bar\alpha_t}}\,\epsilon_\theta\right)"
        r" + \sqrt{\tilde\beta_t}\,z$",
    ]  # fmt: skip
    return beside_code(maths, p_sample, "One step back, DDPM Algorithm 2, line 4.")


def loss_against_t() -> Picture:
    """The loss at each level beside the answer "the input itself"."""
    rows = shipped_quality()["loss"]
    curves = {"trained network": [r["loss"] for r in rows], "lazy answer: the input itself": [r["lazy"] for r in rows]}
    first, last = rows[0]["loss"], rows[-1]["loss"]
    alt = (
        f"Loss against t, log axes. The network's falls from {first:.2f} at t = 0 to {last:.4f} at t = {rows[-1]['t']}."
    )
    return lines([r["t"] + 1 for r in rows], curves, alt, xlabel="t + 1", ylabel="mean squared error", log="xy")


def metrics_over_epochs() -> Picture:
    """Agreement and spread of the stored snapshots."""
    rows = shipped_quality()["epochs"]
    curves = {name: [r[name] for r in rows] for name in ("agreement", "spread")}
    alt = "Agreement rises, spread settles: " + "; ".join(
        f"epoch {r['epoch']}: agreement {r['agreement']:.0%}, spread {r['spread']:.2f}" for r in rows
    )
    xs, floor = [r["epoch"] for r in rows], ("real digits", 1.0)
    return lines(xs, curves, alt, xlabel="epoch", ylabel="share (80 digits each)", floor=floor, points=True)


def steps_and_quality() -> Picture:
    """Agreement and spread against the number of DDIM steps."""
    return _quality_lines("steps", "DDIM steps", "x")


def guidance_and_quality() -> Picture:
    """Agreement and spread against the guidance scale."""
    return _quality_lines("scales", "guidance scale", "")


def _quality_lines(part: str, xlabel: str, log: str) -> Picture:
    rows, key = shipped_quality()[part], part.removesuffix("s") if part == "scales" else part
    curves = {name: [r[name] for r in rows] for name in ("agreement", "spread")}
    told = "; ".join(f"{r[key]:g}: agreement {r['agreement']:.1%}, spread {r['spread']:.2f}" for r in rows)
    floor = ("real digits", 1.0)
    xs = [r[key] for r in rows]
    return lines(xs, curves, f"{xlabel}: {told}.", xlabel=xlabel, ylabel="share", log=log, floor=floor, points=True)


def failures() -> Picture:
    """The samples that a classifier believes least, of all labels, of the 2s and of the 6s."""
    trained = load_pretrained()
    label = torch.arange(trained.profile.data.num_classes).repeat(30)
    images = generate(trained.model, trained.schedule, label, guidance_scale=trained.profile.guidance_scale, seed=1)
    with torch.no_grad():
        belief = load_classifier()(images).softmax(dim=1).gather(1, label[:, None])[:, 0]
    groups = [torch.arange(len(label)), *((label == digit).nonzero().flatten() for digit in (2, 6))]
    worst = torch.cat([group[belief[group].argsort()[:8]] for group in groups])
    return image_grid(
        images[worst], "The least convincing of 300 samples with the classifier's belief: of all labels, 2s and 6s.",
        titles=[f"{label[i]}: {belief[i]:.0%}" for i in worst.tolist()], columns=8, row_titles=["all", "2", "6"],
    )  # fmt: skip


FIGURES: dict[str, Callable[[], Picture]] = {
    "samples": samples,
    "both_ways": both_ways,
    "one_look": one_look,
    "prompts": prompts,
    "strips": strips,
    "two_networks": two_networks,
    "forward_code": forward_code,
    "training_code": training_code,
    "sampling_code": sampling_code,
    "injection": injection,
    "time_bias": time_bias,
    "label_attention": label_attention,
    "learning_curve": curve,
    "grids_over_epochs": grids_over_epochs,
    "metrics_over_epochs": metrics_over_epochs,
    "loss_against_t": loss_against_t,
    "steps_and_quality": steps_and_quality,
    "guidance_and_quality": guidance_and_quality,
    "failures": failures,
    "full_stages": full_stages,
}
VECTOR = {  # the others are pictures of pixels
    "forward_code", "training_code", "sampling_code", "injection", "learning_curve", "metrics_over_epochs",
    "loss_against_t", "steps_and_quality", "guidance_and_quality",
}  # fmt: skip


def draw(out: Path, names: list[str] | None = None) -> Iterator[Path]:
    """Write the figures called ``names``, by default all, into ``out``; yields each file."""
    out.mkdir(parents=True, exist_ok=True)
    for name in names or FIGURES:
        path = out / f"{name}.{'svg' if name in VECTOR else 'png'}"
        picture = FIGURES[name]()
        path.write_bytes(picture.svg() if name in VECTOR else picture.png(dpi=150))
        yield path
