"""Fill the reference write-up's numbers in from the run's own files, and print it as PDF.

python scripts/write_up.py            # homework/reference/write-up.md
python scripts/write_up.py --pdf      # and write-up.pdf, printed by Chromium
"""

import base64
import json
import re
import sys
from pathlib import Path
from typing import Any

from diffusion_lib import make_schedule
from diffusion_lib.homework.exercises import load_assignment
from diffusion_lib.profiles import ScheduleConfig

ROOT = Path(__file__).resolve().parent.parent
FOLDER, WEIGHTS, FIGURES = ROOT / "homework" / "reference", ROOT / "diffusion_lib" / "weights", "../../figures"
STYLE = """
body { font: 10.5pt/1.4 serif; margin: 0 }
h1 { font-size: 17pt }
h2 { font-size: 13pt }
img { max-width: 100%; max-height: 85mm; display: block; margin: 2mm auto }
table { border-collapse: collapse; font-size: 9pt }
td, th { border-bottom: 1px solid #999; padding: 1mm 2mm; text-align: left }
"""


def values() -> dict[str, str]:
    """Every placeholder of the template."""
    card = json.loads((WEIGHTS / "laptop.json").read_text(encoding="utf-8"))
    quality = json.loads((WEIGHTS / "laptop.quality.json").read_text(encoding="utf-8"))
    classifier = json.loads((WEIGHTS / "classifier.json").read_text(encoding="utf-8"))
    history = [json.loads(line) for line in (WEIGHTS / "laptop.history.jsonl").read_text().splitlines()]
    held_out = [record["held_out_loss"] for record in history if "held_out_loss" in record]
    few, schedule = quality["steps"][0], make_schedule(ScheduleConfig(**card["profile"]["schedule"]))
    falls = (held_out[0] - held_out[len(held_out) // 2 - 1]) / (held_out[0] - held_out[-1])
    found = {
        "figures": FIGURES,
        "timesteps": f"{len(schedule):,}",
        "last_amplitude": f"{schedule.sqrt_alphas_cumprod[-1].item():.1%}",
        "dropped": f"{card['profile']['train']['label_dropout']:.0%}",
        "last_t": str(quality["loss"][-1]["t"]),
        "first_half": f"{falls:.0%}",
        "minutes": f"{card['training_seconds'] / 60:.0f}",
        "first_loss": f"{quality['loss'][0]['loss']:.2f}",
        "last_loss": f"{quality['loss'][-1]['loss']:.6f}",
        "first_held_out": f"{held_out[0]:.4f}",
        "last_held_out": f"{held_out[-1]:.4f}",
        "epoch_1_agreement": f"{quality['epochs'][0]['agreement']:.0%}",
        "epoch_last_agreement": f"{quality['epochs'][-1]['agreement']:.0%}",
        "count": f"{card['scores']['samples']['count']:,}",
        "guidance": f"{quality['large']['scale']:g}",
        "classifier": f"{classifier['test_accuracy']:.1%}",
        "large_count": f"{quality['large']['count']:,}",
        "large_frechet": f"{quality['large']['frechet']:.1f}",
        "large_floor": f"{quality['large_floor']['frechet']:.1f}",
        "nearest": f"{card['scores']['samples']['nearest']:.1f}",
        "nearest_floor": f"{card['scores']['real digits']['nearest']:.1f}",
        "few_steps": str(few["steps"]),
        "few_agreement": f"{few['agreement']:.1%}",
        "few_spread": f"{few['spread']:.2f}",
    }
    found |= {f"row:{name}": row(scores) for name, scores in card["scores"].items() if isinstance(scores, dict)}
    found |= sheet() | closest()
    return found | {f"card.{name}": value for name, value in leaves(card)}


def sheet() -> dict[str, str]:
    """What the student's sheet asks, as it asks it."""
    assignment = load_assignment(ROOT / "homework" / "assignment.toml")
    questions = {f"question.{name}": asked.question for name, asked in assignment.questions.items()}
    return {"title": assignment.title, **questions}


def closest() -> dict[str, str]:
    """The smallest distances to a training digit, as notebook 05 printed them."""
    book = (ROOT / "notebooks" / "05_mnist_experiment.ipynb").read_text(encoding="utf-8")
    printed = dict(re.findall(r"(test digits|samples) +nearest training digit: .*?smallest (\d+\.\d+)", book))
    return {"closest": printed["samples"], "closest_real": printed["test digits"]}


def row(s: dict[str, Any]) -> str:
    """A table row of scores."""
    share = f"{s['agreement']:.1%} ({s['agreement_low']:.1%} to {s['agreement_high']:.1%})"
    return f"{share} | {s['spread']:.2f} | {s['frechet']:.1f} | {s['nearest']:.1f}"


def leaves(table: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested keys with dots, values as text."""
    found = []
    for key, value in table.items():
        if isinstance(value, dict):
            found += leaves(value, f"{prefix}{key}.")
        else:
            found.append((prefix + key, f"{value:,}" if isinstance(value, int) else str(value)))
    return found


def filled() -> str:
    """The write-up as Markdown; an unknown placeholder is an error."""
    known = values()
    template = (FOLDER / "write-up.template.md").read_text(encoding="utf-8")
    return re.sub(r"\{\{([^}]+)\}\}", lambda match: known[match.group(1)], template)


def print_pdf(markdown: str, target: Path) -> None:
    """Markdown to HTML with pictures inside, to PDF by Chromium."""
    from markdown_it import MarkdownIt
    from playwright.sync_api import sync_playwright

    def inside(match: re.Match[str]) -> str:
        path = (FOLDER / match.group(1)).resolve()
        kind = "svg+xml" if path.suffix == ".svg" else "png"
        return f'src="data:image/{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"'

    html = re.sub(r'src="([^":]+)"', inside, MarkdownIt("commonmark").enable("table").render(markdown))
    sys.path.insert(0, str(ROOT / "tests"))
    from lab_server import CHROMIUM, FLAGS

    if not CHROMIUM:
        raise SystemExit("The PDF needs Chromium: install your system's chromium package.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.set_content(f'<html lang="en"><meta charset="utf-8"><style>{STYLE}</style><body>{html}</body></html>')
        margin = dict.fromkeys(("top", "bottom", "left", "right"), "18mm")
        page.pdf(path=target, format="A4", margin=margin, tagged=True)
        browser.close()


if __name__ == "__main__":
    text = filled()
    (FOLDER / "write-up.md").write_text(text, encoding="utf-8")
    if "--pdf" in sys.argv:
        print_pdf(text, FOLDER / "write-up.pdf")
