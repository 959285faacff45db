"""How long each notebook takes a reader, and whether it says so: python scripts/reading_times.py [--write]

Prose counts at the speed of reading aloud, 183 words a minute (M. Brysbaert, *How many words do we read per minute?*,
Journal of Memory and Language 109, 2019), because a lesson that is understood is hardly read faster than it is said. A
formula is spoken symbol by symbol. The other allowances are stated below. They are ours, not measured: chosen so that
six notebooks come near what two readers, who had just read them, thought that a student needs. The minutes in which all
cells run are added as the notebook's first cell tells them.

Without --write: a table, and exit status 1 where a stated time is wrong or a long notebook has no stopping place. With
--write: the times go into the notebooks' first cells and into the README's table of notebooks; nothing else changes.
"""

import json
import re
import sys
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
WORDS_A_MINUTE = 183
SECONDS = {  # beside reading
    "code lines": 5,
    "predictions": 60,
    "lines to write": 180,
    "questions": 60,
    "pictures": 30,
    "sliders": 60,
}
LONGEST = 45  # minutes without a place to stop
STOP = "**A good place to stop.**"  # in a section, or the first cell says "a good place to stop is after 1.4"
PROMISED = re.compile(r"good place to stop is after (\d+\.\d+)")
STATED = re.compile(r"(?<=\*)(?:Reading time )?(\d+|[A-Z][a-z]+) minutes(?=[.,] )")
RUNS = re.compile(r"run in (?:under|about) (a|one|two|three|four|five) minutes?")
MINUTES = {"a": 1, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
FORMULA = re.compile(r"\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)
SILENT = (
    r"\\(?:begin|end)\{\w+\}|\\(?:left|right|quad|qquad|mathcal|mathrm|text|operatorname|boxed|tfrac|[Bb]ig[lr]?)\b"
)
SYMBOL = re.compile(r"\\[A-Za-z]+|[A-Za-z]+(?=\})|[A-Za-z]|\d+(?:[.,]\d+)?|[-+=<>/]")
WORD = re.compile(r"[^\W_]+(?:['’.,_-][^\W_]+)*")


@dataclass(frozen=True)
class Part:
    """A stretch of a notebook from one heading of level 2 to the next."""

    title: str
    counts: dict[str, int]
    stop: bool = False  # a place to stop lies at its end

    @property
    def minutes(self) -> float:
        allowed = sum(SECONDS[name] * count for name, count in self.counts.items() if name in SECONDS) / 60
        return self.counts.get("words", 0) / WORDS_A_MINUTE + allowed


def spoken(text: str) -> int:
    """Words that are said when the text is read aloud, its formulas included."""
    symbols = sum(len(SYMBOL.findall(re.sub(SILENT, " ", f))) for f in FORMULA.findall(text))
    plain = re.sub(r"</?\w+[^>]*>|\]\([^)]*\)", " ", FORMULA.sub(" ", text))
    return symbols + len(WORD.findall(plain))


def counted(cell: dict[str, Any]) -> dict[str, int]:
    """What a reader meets in a cell."""
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return {
            "words": spoken(text),
            "predictions": len(re.findall(r"\*\*Predict, then \w+\.\*\*", text)),
            "lines to write": len(re.findall(r"\*\*Write, then \w+\.\*\*", text)),
            "questions": len(re.findall(r"<summary>a\)", text)),
        }
    data = [output.get("data", {}) for output in cell.get("outputs", [])]
    return {
        "code lines": sum(bool(line.strip()) for line in text.splitlines()),
        "pictures": sum("image/png" in each for each in data),
        "sliders": sum("mountPlayer(" in "".join(each.get("text/html", "")) for each in data),
    }


def parts(book: dict[str, Any]) -> list[Part]:
    """The notebook in its sections."""
    found, stops = [Part("the head", {})], PROMISED.findall("".join(book["cells"][0]["source"]))
    for cell in book["cells"]:
        text, prose = "".join(cell["source"]), cell["cell_type"] == "markdown"
        # Prose before a heading in the same cell still belongs to the section that ends there.
        for piece in re.split(r"(?m)^(?=## )", text) if prose else [text]:
            if prose and piece.startswith("## "):
                title = piece.splitlines()[0][3:]
                found.append(Part(title, {}, stop=title.split()[0] in stops))
            here, counts = found[-1], counted(cell | {"source": piece})
            both = {name: here.counts.get(name, 0) + counts.get(name, 0) for name in {*here.counts, *counts}}
            found[-1] = replace(here, counts=both, stop=here.stop or (prose and STOP in piece))
    return found


def running(head: str) -> int:
    """Minutes in which all cells run, as the head tells them."""
    told = RUNS.search(head)
    return MINUTES[told.group(1)] if told else 0


def needed(book: dict[str, Any]) -> float:
    """Minutes that the notebook takes."""
    return sum(part.minutes for part in parts(book)) + running("".join(book["cells"][0]["source"]))


def rounded(minutes: float) -> int:
    """To 5 minutes, and never none."""
    return max(5, 5 * round(minutes / 5))


def stated(book: dict[str, Any]) -> int | None:
    """Minutes that the head states, as a number."""
    told = STATED.search("".join(book["cells"][0]["source"]))
    return int(told.group(1)) if told and told.group(1).isdigit() else None


def unbroken(book: dict[str, Any]) -> tuple[float, str]:
    """The longest stretch without a place to stop, in minutes, and the section before which one would halve it best."""
    stretches: list[list[Part]] = [[]]
    for part in parts(book):
        stretches[-1].append(part)
        if part.stop:
            stretches.append([])
    worst = max(stretches, key=lambda stretch: sum(part.minutes for part in stretch))
    total, so_far, best = sum(part.minutes for part in worst), 0.0, (float("inf"), "")
    for before, after in pairwise(worst):
        so_far += before.minutes
        best = min(best, (abs(so_far - total / 2), after.title))
    return total, best[1]


def in_readme(text: str, times: dict[str, int]) -> str:
    """The README with a last column "minutes" in its table of notebooks, made where it is missing."""
    lines = text.splitlines(keepends=True)
    rows = [i for i, line in enumerate(lines) if re.match(r"\| .*\]\(notebooks/\w+\.ipynb\)", line)]
    if not rows:
        raise SystemExit("README.md: no table of notebooks, rows with a link to notebooks/NAME.ipynb, was found.")
    head = rows[0] - 2
    if not lines[head].rstrip().endswith("| minutes |"):
        for i, cell in [(head, "minutes"), (head + 1, "---"), *((i, "") for i in rows)]:
            lines[i] = lines[i].rstrip("\n") + (f"{cell}|\n" if cell == "---" else f" {cell} |\n")
    for i in rows:
        name = re.search(r"\]\(notebooks/(\w+)\.ipynb\)", lines[i])
        assert name
        lines[i] = re.sub(r"\|[^|]*\|\n$", f"| {times[name.group(1)]} |\n", lines[i])
    return "".join(lines)


def faults(name: str, book: dict[str, Any]) -> list[str]:
    """What a notebook states wrongly about its length, in sentences."""
    told, right, (stretch, title) = stated(book), needed(book), unbroken(book)
    found = []
    if told is None or abs(told - right) > 5:
        found.append(f"{name}: states {told} minutes, needs {rounded(right)}: run scripts/reading_times.py --write.")
    if stretch > LONGEST:
        found.append(f'{name}: {stretch:.0f} minutes without "{STOP}". Best before "{title}".')
    return found


def main() -> None:
    paths = sorted((ROOT / "notebooks").glob("*.ipynb"))
    texts = {path: path.read_text(encoding="utf-8") for path in paths}
    books = {path.stem: json.loads(text) for path, text in texts.items()}
    times = {name: rounded(needed(book)) for name, book in books.items()}
    if "--write" in sys.argv[1:]:
        for path, text in texts.items():
            if not STATED.search("".join(books[path.stem]["cells"][0]["source"])):
                raise SystemExit(f'{path.name}: its first cell needs a line that begins "*Reading time 5 minutes. ".')
            told = f"Reading time {times[path.stem]} minutes"
            new = STATED.sub(told, text, count=1)
            path.write_text(new, encoding="utf-8")
            books[path.stem] = json.loads(new)
        readme = ROOT / "README.md"
        readme.write_text(in_readme(readme.read_text(encoding="utf-8"), times), encoding="utf-8")
    for name, book in books.items():
        print(f"{name}: {needed(book):.0f} minutes, stated {stated(book)}")
        for part in parts(book):
            print(f"    {part.minutes:5.1f}  {part.title}")
    wrong = [fault for name, book in books.items() for fault in faults(name, book)]
    if wrong:
        raise SystemExit("\n".join(wrong))


if __name__ == "__main__":
    main()
