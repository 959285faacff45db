"""Pages from prompts, seen and unseen, in pixels and in latents: shipped weights.

    python benchmarks/words.py ["words" ...]

Writes ``benchmarks/words.md`` and, for notebook 09, ``diffusion_lib/weights/words.quality.json``. With names of rows it
measures those again, and the others stay. Takes about ten minutes on one CPU core.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from diffusion_lib.data import Digits, load_data
from diffusion_lib.latents import decode_scaled, encode_scaled, generate_latents
from diffusion_lib.metrics import Judge
from diffusion_lib.samplers import generate
from diffusion_lib.shapes import Images
from diffusion_lib.training.checkpoints import (
    WEIGHTS,
    load_autoencoder,
    load_classifier,
    load_pretrained,
    load_tensors,
)
from diffusion_lib.training.runs import device_name, versions
from diffusion_lib.words import agreement, asked, cut, draw_pages

TABLE, NUMBERS = Path(__file__).with_name("words.md"), WEIGHTS / "words.quality.json"
STEPS, SEED = 50, 2
HEAD = """# Pages of four digits from a prompt

`python benchmarks/words.py`: shipped weights on MNIST, guidance 1.5, 50 steps with fresh noise, seed 2. *Seen*
prompts have pairs of digits that training has side by side, *unseen* ones two rows of pairs that it never has. A page
counts where all four digits are read as asked, each in its place. Ranges are 95 % intervals (Wilson). Spread, spread of
features and Fréchet distance are of the single digits, beside real ones; Fréchet distances of unequal counts cannot be
compared. *Real* pages are of test digits; *decoded* ones went through the autoencoder. Seconds: one page, one core.

Both networks had about the same time of one core, `words` and autoencoder 1,054 seconds, `words-pixels` 1,108. Both
runs were shortened on the way, from 10 epochs to 8 after the third and from 6 to 5 after the fourth, so their first
epochs had the rates of the longer plans. Where longer training would bring either, the table does not say.

| pages | prompts | count | digits right | pages right | spread | of features | Fréchet | seconds a page |
|---|---|---|---|---|---|---|---|---|
"""
Draw = Callable[[Images, torch.Tensor], Images]


def drawn(name: str, scale: float) -> Draw:
    """Pages that a shipped network draws."""
    trained, autoencoder = load_pretrained(name), load_autoencoder()

    def draw(_: Images, prompts: torch.Tensor) -> Images:
        how = {"num_steps": STEPS, "guidance_scale": scale, "seed": SEED}
        if trained.profile.unet.image_channels == 1:
            return generate(trained.model, trained.schedule, prompts, **how)
        return generate_latents(trained.model, trained.schedule, prompts, autoencoder, **how)

    return draw


def decoded(pages: Images, _: torch.Tensor) -> Images:
    """Real pages, encoded and decoded."""
    autoencoder = load_autoencoder()
    return decode_scaled(autoencoder, encode_scaled(autoencoder, pages, autoencoder.scale), autoencoder.scale)


ROWS: dict[str, tuple[Callable[[], Draw], int]] = {  # and how many prompts of each kind
    "real": (lambda: lambda pages, _: pages, 250),
    "real, decoded": (lambda: decoded, 250),
    "words": (lambda: drawn("words", 1.5), 250),
    "words-pixels": (lambda: drawn("words-pixels", 1.5), 40),
}


def measured(name: str, test: Digits, judge: Judge) -> Iterator[dict[str, Any]]:
    """Two rows: seen and unseen prompts."""
    make, count = ROWS[name]
    draw = make()
    for new in (False, True):
        pages, prompts = draw_pages(test, count, SEED, new=new)[:]
        start = time.process_time()
        images = draw(pages, prompts)
        seconds = (time.process_time() - start) / count
        scores = asdict(judge.score(cut(images).flatten(0, 1), asked(prompts).flatten()))
        parts = {key: scores[key] for key in ("spread", "feature_spread", "frechet")}
        row = {"row": name, "prompts": "unseen" if new else "seen", "seconds": round(seconds, 3)}
        row |= asdict(agreement(judge.classifier, images, prompts)) | parts
        print(row, flush=True)
        yield row


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    shares = [f"{row[k]:.1%} ({row[k + '_range'][0]:.1%} to {row[k + '_range'][1]:.1%})" for k in ("digits", "pages")]
    spreads = [f"{row['spread']:.2f}", f"{row['feature_spread']:.2f}", f"{row['frechet']:.0f}"]
    seconds = f"{row['seconds']:.2f}" if row["row"].startswith("words") else ""
    return "| " + " | ".join([row["row"], row["prompts"], str(row["count"]), *shares, *spreads, seconds]) + " |"


def main(names: list[str]) -> None:
    train, test = load_data("mnist", "cpu")
    judge = Judge(load_classifier("cpu"), test=test, train=train, neighbours=1)
    before = json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.exists() else {}
    rows = [row for row in before.get("rows", []) if row["row"] not in names]
    rows += [row for name in names for row in measured(name, test, judge)]
    rows.sort(key=lambda row: (list(ROWS).index(row["row"]), row["prompts"]))
    made = {"command": "python benchmarks/words.py", "device": device_name(torch.device("cpu")), "versions": versions()}
    cards = {name: load_pretrained(name).card for name in ("words", "words-pixels")}
    cards = {"autoencoder": load_tensors(WEIGHTS / "autoencoder.safetensors")[1]} | cards
    training = {name: {key: card[key] for key in ("pages", "cpu_seconds")} for name, card in cards.items()}
    numbers = before | made | {"data": test.source, "training": training, "rows": rows}
    NUMBERS.write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    TABLE.write_text(HEAD + "\n".join(map(line, rows)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or list(ROWS))
