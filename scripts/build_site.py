"""Build the reading site: python scripts/build_site.py [OUT], by default _site.

The notebooks are the only source of their pages; this gathers them, the README's first part, the glossary, the table of
symbols, the page that leads from a symptom to its mistakes, and the live page, and has Sphinx build them. The result
opens from disk.
"""

import argparse
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from html import escape
from pathlib import Path
from typing import Any

import live_page
from reading_times import WORDS_A_MINUTE, spoken

from diffusion_lib.showing.widgets import NO_KERNEL
from grader.catalogue.mistakes import MISTAKES, Mistake

ROOT = Path(__file__).parents[1]
SITE = ROOT / "site"
PICTURE = '<img src="data:image/png;base64,{data}" alt="{alt}">'
PAD = '<a href="../live.html#draw-a-digit">Draw a digit here, in the browser</a>: the same pad, without a kernel.'
TOC = """
```{toctree}
:hidden:
:caption: The series

PAGES
```

```{toctree}
:hidden:
:caption: Beside it

live
debugging
glossary
symbols
figures
course
```
"""


def gather(source: Path) -> None:
    """Everything that Sphinx reads, in one folder."""
    shutil.copyfile(SITE / "conf.py", source / "conf.py")
    for name in ("course.md", "figures.md", "glossary.md", "live.md"):
        (source / name).write_text(timed((SITE / name).read_text(encoding="utf-8")), encoding="utf-8")
    shutil.copytree(ROOT / "figures", source / "figures")
    shutil.copytree(SITE / "symptoms", source / "_static" / "symptoms")
    styles = (SITE / "site.css", SITE / "live" / "live.css", live_page.SKETCH.with_suffix(".css"))
    (source / "_static" / "site.css").write_text("\n".join(path.read_text(encoding="utf-8") for path in styles))
    shutil.copyfile(SITE / "site.js", source / "_static" / "site.js")
    (source / "_templates").mkdir()
    shutil.copyfile(SITE / "home.html", source / "_templates" / "home.html")
    shutil.copyfile(mathjax(), source / "_static" / "tex-svg.js")
    (source / "notebooks").mkdir()
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    for path in notebooks:
        text = json.dumps(readable(json.loads(path.read_text(encoding="utf-8"))))
        (source / "notebooks" / path.name).write_text(text, encoding="utf-8")
    (source / "index.md").write_text(front(notebooks), encoding="utf-8")
    (source / "debugging.md").write_text(timed(debugging()), encoding="utf-8")
    (source / "symbols.md").write_text(timed(symbols()), encoding="utf-8")


def mathjax() -> Path:
    """The one script that draws equations, from the package that holds MathJax."""
    package = importlib.util.find_spec("sphinx-mathjax-offline")
    if package is None or package.origin is None:
        raise SystemExit("sphinx-mathjax-offline is missing: run make setup.")
    return Path(package.origin).parent / "static" / "mathjax" / "tex-svg.js"


def readable(book: dict[str, Any]) -> dict[str, Any]:
    """A notebook as a page of the site: its pictures carry their alt text, its pad is a link to the one that works
    here, and no link leads out of the site.
    """
    for cell in book["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = inside("".join(cell["source"]))
        for output in cell.get("outputs", []):
            data, alt = output.get("data", {}), output.get("metadata", {}).get("image/png", {}).get("alt")
            if "image/png" in data and alt:
                png = "".join(data.pop("image/png")).strip()
                data["text/html"] = PICTURE.format(data=png, alt=escape(alt))
            if NO_KERNEL in "".join(data.get("text/html", "")):
                data["text/html"] = f"<p>{PAD}</p>"
    return book


def inside(text: str) -> str:
    """The text with links to files that are not pages turned into plain words."""
    return re.sub(r"(?<!!)\[([^\]]+)\]\((?!http|#|\d\d_|notebooks/|draw_)[^)]+\)", r"\1", text)


def timed(page: str) -> str:
    """The page with the time it takes under its title; notebooks state theirs."""
    title, rest = page.split("\n", 1)
    minutes = max(2, round(spoken(page) / WORDS_A_MINUTE))
    return f"{title}\n\n*Reading time {minutes} minutes from end to end.*\n{rest}"


def front(notebooks: list[Path]) -> str:
    """The first page: the README down to where it speaks of other ways to read and run it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("Other front ends, Colab")[0]
    pages = "\n".join(f"notebooks/{path.stem}" for path in notebooks)
    return inside(text) + TOC.replace("PAGES", pages)


def debugging() -> str:
    """From a symptom to its mistakes, each with what it draws, a hint, and what to reread."""
    symptoms = tomllib.loads((SITE / "symptoms.toml").read_text(encoding="utf-8"))["symptom"]
    measured = json.loads((SITE / "symptoms.json").read_text(encoding="utf-8"))
    mistakes = {mistake.id: mistake for mistake in MISTAKES}
    tries = {mistake["id"]: mistake for mistake in live_page.known()["mistakes"]}
    correct = [told(name, numbers) for name, numbers in measured.items() if name.endswith("/correct")]
    page = [(SITE / "debugging.md").read_text(encoding="utf-8").replace("RIGHT", "\n".join(correct))]
    for symptom in symptoms:
        page.append(f"## {symptom['title']}\n\n{symptom['text']}\n")
        page += [entry(mistakes[name], measured.get(name), tries.get(name)) for name in symptom["mistakes"]]
        page += [beside(row) for row in symptom.get("row", []) if not row.get("mistakes")]
    return "\n".join(page)


def entry(mistake: Mistake, measured: dict[str, Any] | None, live: dict[str, Any] | None) -> str:
    """One mistake: its name, where, a hint, what was measured, and where the live page runs it."""
    number = mistake.reread[:2]
    target = next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
    text = (
        f"**{mistake.name}** · `{mistake.exercise}`<br>{mistake.hint} "
        f"Reread [{mistake.reread}](notebooks/{target.name}).\n"
    )
    text += "\n" + told(mistake.name, measured) if measured else ""
    if measured and live and live["setting"] != "usual":
        text += "\n" + louder(mistake, measured["louder"][live["setting"]], live["setting"])
    return text + (f'\n<a href="live.html#try-{live["key"]}">Try it: predict, then run it.</a>\n' if live else "")


def louder(mistake: Mistake, measured: dict[str, Any], setting: str) -> str:
    """What was seen when a mistake that hardly shows was run so that it does, and what was turned for that."""
    table, seen = live_page.known()["tables"][mistake.exercise][setting], told(f"{mistake.name}, louder", measured)
    return f"Louder. {table['told']} The right one: {scores(table['measured'])}.\n\n{seen}"


def symbols() -> str:
    """Every symbol of the series, what it means, and where that is said first."""
    rows = tomllib.loads((SITE / "symbols.toml").read_text(encoding="utf-8"))["symbol"]
    page = ["# Symbols\n", "| symbol | what it is | shape | from | in the code |", "|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: str(row["where"])):
        number, section = row["where"].split(", ")
        target = next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
        code = f"`{row['code']}`" if row["code"] else ""
        link = f"[{section}](notebooks/{target.name})"
        page.append(f"| ${row['symbol']}$ | {row['name']} | {row['shape']} | {link} | {code} |")
    return "\n".join(page) + "\n"


def beside(row: dict[str, str]) -> str:
    """A cause that a notebook tells and the catalogue of mistakes does not hold: what is seen, why, where."""
    target = next((ROOT / "notebooks").glob(f"{row['notebook']}_*.ipynb"))
    return f"**{row['see']}**<br>{row['cause']}. Reread [{row['notebook']}](notebooks/{target.name}).\n"


def told(name: str, measured: dict[str, Any]) -> str:
    """What was seen when it ran."""
    if "error" in measured:
        return f"Seen: {measured['error']}.\n"
    alt = f"What came when the digits 0 to 9 were asked for: {name}."
    picture = f'<img class="strip" src="_static/symptoms/{measured["picture"]}" alt="{escape(alt)}">'
    who = f"`{name.split('/')[0]}`, correct" if name.endswith("/correct") else "Seen"
    return f"{who}: {scores(measured)}.\n\n{picture}\n"


def scores(measured: dict[str, Any]) -> str:
    """Agreement and spread in words, and whether it is always the same digit."""
    same = f", {measured['most']:.0%} read as one and the same digit" if measured["most"] > 0.5 else ""
    return f"agreement {measured['agreement']:.0%}, spread {measured['spread']:.2f} of real digits'{same}"


def enliven(page: Path) -> None:
    """Put the scripts and the network into the live page itself: it needs no file beside it to compute."""
    before, place, after = page.read_text(encoding="utf-8").partition('<div id="live-scripts"></div>')
    if not place:
        raise SystemExit("site/live.md has no place for its scripts.")
    page.write_text(before + live_page.scripts(live_page.known()) + after, encoding="utf-8")


def main(out: Path) -> None:
    if out.exists() and any(out.iterdir()) and not (out / "searchindex.js").exists():
        raise SystemExit(f"{out} holds other files: choose a new or empty folder.")
    with tempfile.TemporaryDirectory() as folder:  # what the builder leaves beside its pages stays in here
        source, pages = Path(folder) / "source", Path(folder) / "html"
        source.mkdir()
        gather(source)
        command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", str(source), str(pages)]
        done = subprocess.run(command, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        enliven(pages / "live.html")
        shutil.rmtree(pages / ".doctrees")
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(pages, out)
    print(f"Open {out / 'index.html'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Build the reading site.")
    parser.add_argument("out", nargs="?", type=Path, default=Path("_site"), help="folder to write, by default _site")
    main(parser.parse_args().out)
