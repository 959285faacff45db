"""Train and ship the networks of notebook 09: pages of four digits from a prompt.

    python scripts/words.py                    # all of it, needs MNIST; under two hours on one CPU core
    python scripts/words.py autoencoder words  # these parts alone

A part that was stopped goes on where it was: checkpoints lie in ``runs/``. Writes into ``diffusion_lib/weights``
``autoencoder.safetensors``, ``words.safetensors`` (in latents) and ``words-pixels.safetensors``, each with its card.
``benchmarks/words.py`` judges them.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffusion_lib.data import load_data
from diffusion_lib.fast import keep_memory
from diffusion_lib.latents import Autoencoder, autoencoder_loss, encoded, latent_scale
from diffusion_lib.profiles import PROFILES, Profile
from diffusion_lib.training.checkpoints import WEIGHTS, load_autoencoder, load_model, save_small, save_tensors
from diffusion_lib.training.history import History
from diffusion_lib.training.loop import Trainer, fit
from diffusion_lib.training.runs import commit, device_name, versions
from diffusion_lib.words import Pages, draw_pages

RUNS, CPU = Path("runs"), torch.device("cpu")
PAGES, TEST_PAGES = 60_000, 1_000
STEPS, BATCH, CHANNELS = 700, 64, 2  # of the autoencoder
SMALL = 2**20  # bytes; larger weights go to half precision


def train_autoencoder(train: Pages) -> Autoencoder:
    """An autoencoder of pages, in eval mode, that knows the scale of its latents."""
    torch.manual_seed(0)
    keep_memory()
    model = Autoencoder(CHANNELS).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS)
    for step in range(1, STEPS + 1):
        x, _ = train[torch.randint(len(train), (BATCH,))]
        loss = autoencoder_loss(model, x, torch.randn(BATCH, CHANNELS, 14, 14))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step % 100 == 0:
            print(f"autoencoder, step {step} of {STEPS}: loss {loss:.5f}", flush=True)
    model.eval().requires_grad_(False)
    model.scale.copy_(latent_scale(model, train[:2000][0]))
    return model


def ship_autoencoder(train: Pages) -> None:
    """Train it; write weights and card."""
    start = time.process_time()
    model = train_autoencoder(train)
    made = {"channels": CHANNELS, "scale": model.scale.item(), "pages": STEPS * BATCH}
    card = about(train, "autoencoder") | made | {"cpu_seconds": round(time.process_time() - start)}
    save_tensors(WEIGHTS / "autoencoder.safetensors", dict(model.state_dict()), card)
    write_card("autoencoder", card)


def train_words(profile: Profile, train: Pages, test: Pages) -> None:
    """Train one network, in latents or in pixels; its checkpoint stays in ``runs/``."""
    data: tuple[Any, Any] = (train.take(profile.train.max_images or len(train)), test)
    if profile.unet.image_channels != train.config.channels:
        autoencoder = load_autoencoder()
        data = tuple(encoded(autoencoder, pages) for pages in data)
    folder, start = RUNS / profile.name, time.process_time()
    spent = folder / "cpu_seconds"  # of all sittings, with the encoding of the pages
    before = float(spent.read_text()) if spent.exists() else 0.0

    def on_epoch(_: Trainer) -> None:
        spent.write_text(f"{before + time.process_time() - start:.0f}")
        print(profile.name, History.read(folder / "history.jsonl").epochs[-1], flush=True)

    fit(profile, *data, run_dir=folder, device=CPU, on_epoch=on_epoch, progress=False)


def ship_words(name: str, source: Pages) -> None:
    """Write the averaged weights of a run, and their card."""
    trained, history = load_model(RUNS / name / "checkpoint.safetensors"), History.read(RUNS / name / "history.jsonl")
    parameters = sum(p.numel() for p in trained.model.parameters())
    pages = len(history.epochs) * (PROFILES[name].train.max_images or len(source))
    card = about(source, name) | {"parameters": parameters, "epochs": len(history.epochs), "pages": pages}
    card |= {"cpu_seconds": round(float((RUNS / name / "cpu_seconds").read_text()))}
    card |= {"held_out_loss": history.epochs[-1]["held_out_loss"], "profile": PROFILES[name].to_dict()}
    save_small(WEIGHTS / f"{name}.safetensors", trained.model, PROFILES[name], card, limit=SMALL)
    write_card(name, card)


def about(source: Pages, part: str) -> dict[str, Any]:
    """What every card begins with."""
    command = f"python scripts/words.py {part}"
    made = {"command": command, "commit": commit(), "data": source.source, "device": device_name(CPU)}
    return made | {"versions": versions()}


def write_card(name: str, card: dict[str, Any]) -> None:
    """The card as JSON beside the weights."""
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    (WEIGHTS / f"{name}.json").write_text(text, encoding="utf-8")


def main(parts: list[str]) -> None:
    train, test = load_data("mnist", CPU)
    pages, held_out = draw_pages(train, PAGES), draw_pages(test, TEST_PAGES, seed=1)
    for part in parts:
        if part == "autoencoder":
            ship_autoencoder(pages)
        else:
            train_words(PROFILES[part], pages, held_out)
            ship_words(part, pages)


if __name__ == "__main__":
    main(sys.argv[1:] or ["autoencoder", "words", "words-pixels"])
