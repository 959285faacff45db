"""Turn a finished run into shipped weights: python scripts/ship_weights.py runs/laptop laptop

Writes NAME.safetensors (the averaged weights), NAME.json (the card, with the metrics of 1,000 samples),
NAME.history.jsonl and NAME.snapshots.safetensors (80 samples after each snapshot epoch).
"""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from diffusion_lib.checkpoints import WEIGHTS, load_classifier, load_model, save_model, save_tensors
from diffusion_lib.data import load_digits, to_bytes
from diffusion_lib.metrics import real_floor, score, table
from diffusion_lib.samplers import generate
from diffusion_lib.training import default_device


def main(run: Path, name: str) -> None:
    device = default_device()
    trained = load_model(run / "checkpoint.safetensors", device)
    card = json.loads((run / "card.json").read_text())
    train, test, classifier = load_digits("train", device), load_digits("test", device), load_classifier(device)

    label = torch.arange(10).repeat(100).to(device)
    images = generate(trained.model, trained.schedule, label, trained.profile.sample_steps)
    rows = {
        "real digits": real_floor(classifier, len(label), test=test, train=train),
        "samples": score(classifier, images, label, test=test, train=train),
    }
    print(table(rows))
    card["scores"] = {"command": "python -m diffusion_lib evaluate", **{k: asdict(v) for k, v in rows.items()}}
    card["seed"] = trained.profile.train.seed

    snapshots, wanted = {}, torch.arange(10).repeat(8).to(device)
    for epoch in trained.profile.train.snapshot_epochs:
        model = load_model(run / f"epoch_{epoch}.safetensors", device).model
        samples = generate(model, trained.schedule, wanted, trained.profile.sample_steps)
        snapshots[str(epoch)] = to_bytes(samples.cpu())
    save_model(WEIGHTS / f"{name}.safetensors", trained.model, trained.profile, card)
    save_tensors(WEIGHTS / f"{name}.snapshots.safetensors", snapshots, {"labels": wanted.tolist()})
    (WEIGHTS / f"{name}.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    shutil.copy(run / "history.jsonl", WEIGHTS / f"{name}.history.jsonl")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
