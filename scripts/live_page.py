"""What the page `live` carries: its scripts, the shipped networks, the tables of wrong samplers, and test digits.

    python scripts/live_page.py

writes site/live/digits.png anew from MNIST: five test digits of each label. scripts/build_site.py uses the rest.
"""

import base64
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffusion_lib import words
from diffusion_lib.latents import Autoencoder
from diffusion_lib.profiles import DataConfig
from diffusion_lib.schedules import cosine_betas
from diffusion_lib.showing.exporting import describe, describe_decoder
from diffusion_lib.training.checkpoints import Pretrained, load_autoencoder, load_pretrained
from grader.catalogue.mistakes import MISTAKES
from grader.catalogue.tables import sampler_tables

SITE = Path(__file__).parents[1] / "site"
LIVE = SITE / "live"
SKETCH = Path(__file__).parents[1] / "diffusion_lib" / "showing" / "sketch.js"
EXAMPLES = 5  # test digits of each label
# What the reader chooses among: which weights, how they walk from noise to a digit, how many steps are taken at first
# and at most, which settings matter to the walk, whether the network can do without a label, and what it is.
NETWORKS: tuple[dict[str, Any], ...] = (
    {
        "key": "laptop",
        "title": "laptop: guesses the noise",
        "walk": "ddim",
        "steps": [20, 1000],
        "settings": ["guidance", "η"],
        "any": True,
        "text": "The network of notebooks 03 to 06. It guesses the noise in a picture, and each DDIM step takes some "
        "of it off.",
    },
    {
        "key": "flow",
        "title": "straight paths: guesses the velocity",
        "walk": "straight",
        "steps": [8, 100],
        "settings": ["guidance"],
        "any": True,
        "text": "The network of notebook 08. It guesses the velocity, noise minus digit, along a straight path, and "
        "each step walks a straight piece. No fresh noise comes in on the way, so η has no say.",
    },
    {
        "key": "one-step",
        "title": "one look: guesses the end",
        "walk": "ends",
        "steps": [1, 2],
        "settings": [],
        "any": False,
        "text": "The network of notebook 07, which learned from laptop's steps to say at once where they end. A second "
        "step noises that answer and asks again. Guidance was learned along with the rest, so there is none to set.",
    },
)
PROMPTS = (  # to click: a page, the same in other words, its rows exchanged, and two with pairs that training never has
    "three one above eight two",
    "eight two below three one",
    "eight two above three one",
    "three one above four seven",
    "nine two above one four",
)
WORKER = [LIVE / f"{name}.js" for name in ("wasm", "engine", "diffusion", "points", "worker")]
PARTS = ("diffusion", "mnist", "points", "prompts", "client", "controls", "walk")
PARTS += ("pad", "grow", "words", "compare", "train", "page")
PAGE = [SKETCH, *(LIVE / f"{name}.js" for name in PARTS)]


def joined(paths: list[Path]) -> str:
    """Modules as one script: each after those that it imports, without the lines that import and export.

    A page that is opened from disk may load no module from a file beside it.
    """
    text = "\n".join(path.read_text(encoding="utf-8") for path in paths)
    text = re.sub(r"^import .*?;\n|^export default .*?;\n", "", text, flags=re.MULTILINE)
    return re.sub(r"^export ", "", text, flags=re.MULTILINE)


def scripts(known: dict[str, Any]) -> str:
    """The scripts of the page: what it knows as JSON, its thread as text, and what starts both.

    Each network but the first lies in a script of its own, which the page reads when that network is chosen.
    """
    data = {"live-data": {name: value for name, value in known.items() if name != "others"}}
    data |= {f"live-network-{key}": description for key, description in known["others"].items()}
    texts = {name: json.dumps(value, ensure_ascii=False).replace("<", "\\u003c") for name, value in data.items()}
    return (
        "".join(f'<script type="application/json" id="{name}">{text}</script>\n' for name, text in texts.items())
        + f'<script type="text/plain" id="live-worker">{joined(WORKER)}</script>\n'
        f'<script type="module">{joined(PAGE)}</script>'
    )


@cache
def known() -> dict[str, Any]:
    """:func:`contents` with the weights that ship, and the network of prompts."""
    found = contents({network["key"]: load_pretrained(network["key"]) for network in NETWORKS})
    trained, autoencoder = load_pretrained("words"), load_autoencoder()
    found["others"]["words"] = carried(trained, autoencoder)
    return {**found, "prompts": prompts("words", trained)}


def carried(trained: Pretrained, autoencoder: Autoencoder | None = None) -> dict[str, Any]:
    """A network and its schedule, as the page's thread takes them; of latents with their decoder."""
    decoder = {"decoder": describe_decoder(autoencoder, trained.model.image_shape)} if autoencoder else {}
    return {**describe(trained.model), "betas": trained.schedule.betas.double().tolist(), **decoder}


def prompts(key: str, trained: Pretrained) -> dict[str, Any]:
    """What the page knows of the network of prompts before it is chosen: the language, sizes, settings, examples."""
    digits = torch.arange(len(words.DIGITS))
    language = {
        "words": words.WORDS,
        "digits": len(words.DIGITS),
        "relation": words.RELATION,
        "length": words.LENGTH,
        "unseen": words.unseen(torch.cartesian_prod(digits, digits)).view(len(digits), -1).tolist(),
    }
    sizes = {"latent": trained.model.image_shape, "page": words.PAGE.size}
    how = {"walk": "latents", "steps": 20, "most": len(trained.schedule), "scale": trained.profile.guidance_scale}
    return {"key": key, "language": language, **sizes, **how, "examples": PROMPTS}


def contents(shipped: dict[str, Pretrained]) -> dict[str, Any]:
    """Everything that the page knows and does not compute. The first network is the one of all its parts."""
    trained, *_ = shipped.values()
    tables, measured = sampler_tables(trained.schedule), json.loads((SITE / "symptoms.json").read_text("utf-8"))
    for exercise, settings in tables.items():
        for name, table in settings.items():
            table["measured"] = at(name, measured[f"{exercise}/correct"])
    return {
        "model": carried(trained),
        "others": {network["key"]: carried(shipped[network["key"]]) for network in NETWORKS[1:]},
        "networks": [network | setting(shipped[network["key"]]) for network in NETWORKS],
        "names": list(trained.profile.data.class_names),
        "scale": trained.profile.guidance_scale,
        "digitBytes": digits() if trained.profile.data == DataConfig() else "",
        "tables": tables,
        "mistakes": mistakes(tables, measured),
        "training": {"betas": cosine_betas(100).tolist(), "steps": 3000, "seconds": 10},  # or what is over sooner
    }


def setting(trained: Pretrained) -> dict[str, Any]:
    """What the weights' card says of drawing with them; ``levels`` of the looks, if the network was taught some."""
    return {"scale": trained.profile.guidance_scale, "levels": trained.card.get("levels")}


def at(setting: str, measured: dict[str, Any]) -> dict[str, Any]:
    """The part of an entry of site/symptoms.json that was measured at a setting."""
    found = measured if setting == "usual" else measured["louder"][setting]
    return {name: number for name, number in found.items() if name in ("agreement", "spread", "most", "error")}


def shows(wrong: dict[str, Any], right: dict[str, Any]) -> bool:
    """Whether forty digits of a wrong sampler differ from the right one's by more than two right ones might.

    Forty tell agreement to about 0.1, and correct samplers differ by less than a tenth in their spread. Where no label
    is to be obeyed, as with guidance 0, it may be one digit again and again.
    """
    if "error" in wrong:
        return True
    agreement, most = (abs(wrong[name] - right[name]) for name in ("agreement", "most"))
    return agreement > 0.1 or most > 0.3 or not 0.9 <= wrong["spread"] / right["spread"] <= 1.1


def mistakes(tables: dict[str, Any], measured: dict[str, Any]) -> list[dict[str, Any]]:
    """The wrong samplers that the tables hold, with the symptom that the symptom page gives them.

    ``setting`` is the first at which something is to be seen: the usual one, or a louder one.
    """
    symptoms = tomllib.loads((SITE / "symptoms.toml").read_text(encoding="utf-8"))["symptom"]
    placed = {name: symptom["title"] for symptom in symptoms for name in symptom["mistakes"]}
    found, keys = [], try_keys(tables)
    for mistake in (each for each in MISTAKES if each.id in keys):
        settings = {name: table for name, table in tables[mistake.exercise].items() if mistake.id in table["wrong"]}
        seen = {name: at(name, measured[mistake.id]) for name in settings}
        telling = [name for name, table in settings.items() if shows(seen[name], table["measured"])]
        about = {"key": keys[mistake.id], "id": mistake.id, "exercise": mistake.exercise, "name": mistake.name}
        found.append({**about, "symptom": placed[mistake.id], "measured": seen, "setting": [*telling, "usual"][0]})
    return found


def try_keys(tables: dict[str, Any]) -> dict[str, str]:
    """Mistake's id -> the word that a link to the page names it by, for those that the page can run."""
    run = {name for settings in tables.values() for table in settings.values() for name in table["wrong"]}
    ordered = [mistake for mistake in MISTAKES if mistake.id in run]
    return {mistake.id: f"{mistake.exercise}_{i:02d}" for i, mistake in enumerate(ordered, start=1)}


def digits() -> str:
    """The test digits, label by label and again from 0, as base64 of their bytes: 0 is paper."""
    sheet = np.asarray(Image.open(LIVE / "digits.png"))
    rows, columns = sheet.shape[0] // 28, sheet.shape[1] // 28
    each = sheet.reshape(rows, 28, columns, 28).transpose(0, 2, 1, 3)
    return base64.b64encode(np.ascontiguousarray(each).tobytes()).decode()


def write_digits() -> None:
    """Draw site/live/digits.png from MNIST's test images: a column for each label."""
    from diffusion_lib.data import load_digits

    test = load_digits("test")
    order = [(test.labels == label).nonzero().flatten()[:EXAMPLES] for label in range(10)]
    chosen = torch.stack(order, dim=1).flatten()
    sheet = test.images[chosen, 0].view(EXAMPLES, 10, 28, 28).permute(0, 2, 1, 3).reshape(EXAMPLES * 28, 280)
    Image.fromarray(sheet.numpy()).save(LIVE / "digits.png", optimize=True)


if __name__ == "__main__":
    write_digits()
