"""Turn a finished run into shipped weights: python scripts/ship_weights.py runs/laptop [FOLDER]

Writes into FOLDER, by default the library's own: NAME.safetensors (the averaged weights; in half precision
where the file would be too large), NAME.json (the card, with the metrics of 1,000 samples), NAME.history.jsonl and
NAME.snapshots.safetensors (80 samples after each snapshot epoch). NAME is the profile's.
"""

import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from diffusion_lib.data import load_data, to_bytes
from diffusion_lib.metrics import Judge, table
from diffusion_lib.profiles import PROFILES
from diffusion_lib.samplers import generate
from diffusion_lib.training.checkpoints import (
    SMALL_FILE,
    WEIGHTS,
    Pretrained,
    load_model,
    save_small,
    save_tensors,
)
from diffusion_lib.training.classifier import classifier_for
from diffusion_lib.training.history import History
from diffusion_lib.training.loop import default_device
from diffusion_lib.training.runs import timing


def main(run: Path, folder: Path = WEIGHTS, per_label: int = 100) -> None:
    device = default_device()
    trained = load_model(run / "checkpoint.safetensors", device)
    card, name = json.loads((run / "card.json").read_text()), trained.profile.name
    steps, scale = PROFILES[name].sample_steps, PROFILES[name].guidance_scale
    profile = replace(trained.profile, sample_steps=steps, guidance_scale=scale)
    card |= {"profile": profile.to_dict(), "seed": profile.train.seed}
    card |= timing(History.read(run / "history.jsonl").epochs)
    weights = folder / f"{name}.safetensors"
    save_small(weights, trained.model, profile, card)
    shipped = load_model(weights, device)  # to judge what is shipped: it may be rounded

    train, test = load_data(profile.data.name, device, size=profile.data.size)
    classifier, _ = classifier_for(train, test, print)
    card["scores"] = scores(shipped, Judge(classifier, test=test, train=train), per_label)
    save_small(weights, trained.model, profile, card)

    snapshots, wanted = {}, torch.arange(profile.data.num_classes).repeat(8).to(device)
    for epoch in (e for e in profile.train.snapshot_epochs if e <= card["epochs"]):
        model, shape = load_model(run / f"epoch_{epoch}.safetensors", device).eps_model, trained.model.image_shape
        samples = generate(model, trained.schedule, wanted, steps, guidance_scale=scale, shape=shape)
        snapshots[str(epoch)] = to_bytes(samples.cpu())
    save_tensors(folder / f"{name}.snapshots.safetensors", snapshots, {"labels": wanted.tolist()})
    (folder / f"{name}.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    shutil.copy(run / "history.jsonl", folder / f"{name}.history.jsonl")
    size = weights.stat().st_size
    print(f"Written: {weights} ({size / 2**20:.1f} MiB), and beside it card, history and snapshots.")
    if size > SMALL_FILE:
        print(f"That is too large for a repository, which should hold no file above {SMALL_FILE / 2**20:.0f} MiB.")


def scores(shipped: Pretrained, judge: Judge, per_label: int = 100) -> dict[str, Any]:
    """The card's scores: samples as ``evaluate`` draws them, with and without guidance, beside real digits."""
    profile, device = shipped.profile, shipped.schedule.betas.device
    label = torch.arange(profile.data.num_classes, device=device).repeat(per_label)
    rows = {"real digits": judge.floor(len(label))}
    guided = {"samples": profile.guidance_scale} | (
        {"samples, no guidance": 1.0} if profile.guidance_scale != 1 else {}
    )
    for row, scale in guided.items():
        options = {"guidance_scale": scale, "shape": shipped.model.image_shape}
        images = generate(shipped.eps_model, shipped.schedule, label, profile.sample_steps, **options)
        rows[row] = judge.score(images, label)
    print(table(rows))
    command = f"python -m diffusion_lib evaluate --weights {profile.name}"
    return {"command": command} | {name: asdict(row) for name, row in rows.items()}


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
