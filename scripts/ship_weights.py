"""Turn a finished run into shipped weights: python scripts/ship_weights.py runs/laptop laptop

Writes NAME.safetensors (the averaged weights), NAME.json (the card, with the metrics of 1,000 samples),
NAME.history.jsonl and NAME.snapshots.safetensors (80 samples after each snapshot epoch).
"""

import json
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path

import torch

from diffusion_lib.checkpoints import WEIGHTS, load_classifier, load_model, save_model, save_tensors
from diffusion_lib.data import load_digits, to_bytes
from diffusion_lib.history import History
from diffusion_lib.metrics import Judge, table
from diffusion_lib.profiles import PROFILES
from diffusion_lib.runs import timing
from diffusion_lib.samplers import generate
from diffusion_lib.training import default_device


def main(run: Path, name: str) -> None:
    device = default_device()
    trained = load_model(run / "checkpoint.safetensors", device)
    card = json.loads((run / "card.json").read_text())
    steps, scale = PROFILES[trained.profile.name].sample_steps, PROFILES[trained.profile.name].sample_scale
    profile = replace(trained.profile, sample_steps=steps, sample_scale=scale)
    card["profile"] = profile.to_dict()
    train, test = load_digits("train", device), load_digits("test", device)
    judge = Judge(load_classifier(device), test=test, train=train)

    label = torch.arange(10).repeat(100).to(device)
    rows = {"real digits": judge.floor(len(label))}
    for name_of_row, guidance in {"samples": scale, "samples, no guidance": 1.0}.items():
        images = generate(trained.model, trained.schedule, label, steps, scale=guidance)
        rows[name_of_row] = judge.score(images, label)
    print(table(rows))
    card["scores"] = {"command": "python -m diffusion_lib evaluate", **{k: asdict(v) for k, v in rows.items()}}
    card["seed"] = trained.profile.train.seed
    card |= timing(History.read(run / "history.jsonl").epochs)

    snapshots, wanted = {}, torch.arange(10).repeat(8).to(device)
    for epoch in trained.profile.train.snapshot_epochs:
        model = load_model(run / f"epoch_{epoch}.safetensors", device).model
        samples = generate(model, trained.schedule, wanted, steps, scale=scale)
        snapshots[str(epoch)] = to_bytes(samples.cpu())
    save_model(WEIGHTS / f"{name}.safetensors", trained.model, profile, card)
    save_tensors(WEIGHTS / f"{name}.snapshots.safetensors", snapshots, {"labels": wanted.tolist()})
    (WEIGHTS / f"{name}.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    shutil.copy(run / "history.jsonl", WEIGHTS / f"{name}.history.jsonl")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
