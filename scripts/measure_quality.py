"""Measure shipped weights on their data, and write what the figures and the write-up quote.

    python scripts/measure_quality.py laptop

Writes ``diffusion_lib/weights/NAME.quality.json``: scores for several numbers of steps and guidance scales, the
scores of one large set of samples, and the loss at each level, each beside real digits where that has a meaning.
Measures the scores of the card again, too, and writes them into NAME.json and the weights' own copy of it.
"""

import json
import sys
from dataclasses import asdict
from typing import Any

import torch
from ship_weights import scores

from diffusion_lib.data import STAND_IN, load_data
from diffusion_lib.diffusion import ddpm_loss, q_sample
from diffusion_lib.metrics import Judge, label_agreement, within_class_spread
from diffusion_lib.samplers import generate
from diffusion_lib.training.checkpoints import WEIGHTS, load_pretrained, load_snapshots, save_small
from diffusion_lib.training.classifier import classifier_for
from diffusion_lib.training.loop import default_device
from diffusion_lib.training.runs import device_name, versions

STEPS, SCALES = (5, 10, 25, 50, 100), (0.0, 1.0, 1.2, 1.5, 2.0, 3.0)
LEVELS = (0, 1, 3, 10, 30, 60, 100, 200, 300, 400, 500, 600, 700, 800, 900, 999)
PER_LABEL, LARGE = 50, 450  # images of each digit; 450 is as many as the floor can draw without repeating


def main(name: str) -> None:
    device = default_device()
    trained = load_pretrained(name, device)
    data = trained.profile.data
    train, test = load_data(data.name, device, size=data.size)
    if train.source == STAND_IN:
        raise SystemExit(f"This needs MNIST, but the data is {train.source}.")
    classifier, _ = classifier_for(train, test, print)
    judge = Judge(classifier, test=test, train=train)
    usual = trained.profile.guidance_scale
    card = json.loads((WEIGHTS / f"{name}.json").read_text(encoding="utf-8")) | {"scores": scores(trained, judge)}
    (WEIGHTS / f"{name}.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_small(WEIGHTS / f"{name}.safetensors", trained.model, trained.profile, card)

    def measured(per_label: int, steps: int, scale: float, eta: float = 1.0) -> dict[str, Any]:
        label = torch.arange(data.num_classes, device=device).repeat(per_label)
        options = {"guidance_scale": scale, "eta": eta, "seed": 1, "shape": trained.model.image_shape}
        images = generate(trained.eps_model, trained.schedule, label, steps, **options)
        found = asdict(judge.score(images, label))
        found |= {"steps": steps, "scale": scale, "eta": eta}
        print(found, flush=True)
        return found

    def floor(per_label: int) -> dict[str, Any]:
        return asdict(judge.floor(data.num_classes * per_label))

    quality = {
        "command": f"python scripts/measure_quality.py {name}",
        "device": device_name(device),
        "versions": versions(),
        "data": train.source,
        "floor": floor(PER_LABEL),
        "steps": [measured(PER_LABEL, steps, usual) for steps in STEPS],
        "scales": [measured(PER_LABEL, 50, scale) for scale in SCALES],
        "etas": [measured(2 * PER_LABEL, 50, 1.0, eta) for eta in (0.0, 1.0)],
        "large_floor": floor(LARGE),
        "large": measured(LARGE, 50, usual),
        "loss": losses(trained, *test[:500]),
        "epochs": over_epochs(name, classifier, test),
    }
    path = WEIGHTS / f"{name}.quality.json"  # benchmarks/looks.py writes there too
    others = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.write_text(json.dumps(others | quality, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def over_epochs(name: str, classifier: Any, test: Any) -> list[dict[str, float]]:
    """Agreement and spread of the stored snapshots, eight images of each label."""
    label, real = torch.arange(test.config.num_classes).repeat(8).to(test.labels.device), within_class_spread(*test[:])
    rows = []
    for epoch, images in load_snapshots(name).items():
        images = images.to(label.device)
        agreement, spread = label_agreement(classifier, images, label), within_class_spread(images, label) / real
        rows.append({"epoch": epoch, "agreement": agreement, "spread": spread})
    return rows


@torch.no_grad()
def losses(trained: Any, x_start: torch.Tensor, label: torch.Tensor) -> list[dict[str, float]]:
    """The loss at each level, with the same noise at every level, beside the answer "the input itself"."""
    noise = torch.randn(x_start.shape, generator=torch.Generator().manual_seed(0)).to(x_start)
    rows = []
    for level in LEVELS:
        t = torch.full_like(label, level)
        x_t = q_sample(trained.schedule, x_start, t, noise)
        ours = ddpm_loss(trained.eps_model, trained.schedule, x_start, label, t=t, noise=noise)
        rows.append({"t": level, "loss": ours.item(), "lazy": (x_t - noise).square().mean().item()})
    return rows


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "laptop")
