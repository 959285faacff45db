"""Numbers in a notebook's prose that nothing on the page shows.  python tests/numbers_in_prose.py lists them.

A number is shown by the output of a code cell, by a number in a cell's source, or by a measured file that the page
names. Digits 0 to 10 are left out (labels, small counts), and so are equation, section and notebook numbers, years
of papers, exponents, indices and display formulas, which are mathematics and no measurement.
"""

import io
import json
import re
import sys
import tokenize
import tomllib
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).parents[1]
NEAR = 6  # cells before and after: from there a number may be rounded
NUMBER = re.compile(r"(?<![\w.^])(\d{1,3}(?:,\d{3})+|\d+)(\.\d+)?(e[+-]?\d+)?(?: ?(%))?(?![\w^]|\.\d)")
FILES = {
    "laptop.quality.json": r"\bquality\b",
    "laptop.json": r"\.card\b|\bcard\b",
    "classifier.json": r"classifier",
    "one-step.quality.json": r"\bmeasured\[",
}
NO_MEASUREMENT = (
    r"\$\$.*?\$\$",  # display formulas
    r"(?s)### References.*",
    r"\]\([^)]*\)|https?:\S+",  # where links lead
    r"(?m)^#+ [\d.]+ ",  # numbers of headings
    r"(?i)\b(?:eqs?|equations?|sections?|notebooks?|algorithm|appendix|arxiv|line|table)\.? "
    r"[\d.]+(?:(?:, | and | to )[\d.]+)*",
    r"\((?:\d\.\d+(?:, | and )?)+\)|\b(?:[Ss]ee|[Ii]n|from|after) (?:10|\d)\.\d+\b",  # cross references such as (2.3)
    r"(?:19|20)\d\d\b",  # years
    r"Reading time \d+ minutes|95 % interval",
    r"[_^]\{[^{}]*\}|[_^]\w",  # indices and exponents
    r"<sub>.*?</sub>",
)


def numbers(text):
    """(as written, value, decimals, is a share in %) of each number in ``text`` that could be a measurement."""
    for pattern in NO_MEASUREMENT:
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    text = text.replace(r"\%", "%").replace("\\,", "").replace(r"\ ", " ")
    for match in NUMBER.finditer(text):
        whole, fraction, exponent, percent = match.groups()
        value = Decimal(whole.replace(",", "") + (fraction or "") + (exponent or ""))
        decimals = -value.as_tuple().exponent
        if percent or fraction or exponent or value > 10:
            yield match.group().strip(), value, decimals, bool(percent)


def is_shown(value, decimals, percent, exact, near):
    """Whether prose repeats one of the numbers ``exact``, or one of ``near`` rounded to the decimals that prose gives.

    Both hold pairs (value, is a share in %). 0.4961 near by shows 0.4961, 0.496, 0.50, 49.6 % and 50 %; "49.61%" does
    too. A percentage is never shown by a bare number of the same size: 12 digits are not 12 %.
    """
    half = Decimal("0.5000001").scaleb(-decimals)
    wanted, half = (value / 100, half / 100) if percent else (value, half)
    exact, near = ({seen / 100 if share else seen for seen, share in shown} for shown in (exact, near))
    return wanted in exact or any(abs(seen - wanted) <= half for seen in near)


def written_in(source):
    """The numbers of a cell's code, without its strings and comments."""
    plain = re.sub(r"(?m)^[%!].*$", "", source)
    tokens = tokenize.generate_tokens(io.StringIO(plain).readline)
    return {(Decimal(str(float(t.string.replace("_", "")))), False) for t in tokens if t.type == tokenize.NUMBER}


def measured_for(book):
    """The numbers of the measured files that a page names."""
    text = "\n".join("".join(cell["source"]) for cell in book["cells"])
    for file, named in FILES.items():
        if re.search(named, text):
            tree = json.loads((ROOT / "diffusion_lib" / "weights" / file).read_text(encoding="utf-8"))
            yield from ((Decimal(str(x)), False) for x in leaves(tree))
    for table in re.findall(r"\]\(\.\./(benchmarks/\w+\.md)\)", text):
        yield from printed((ROOT / table).read_text(encoding="utf-8"))


def shown_at(book):
    """For each cell, what prose there may repeat: every number of the page as it stands; near outputs rounded.

    The numbers of measured files may be rounded anywhere, to three digits.
    """
    code = [written_in("".join(c["source"])) if c["cell_type"] == "code" else set() for c in book["cells"]]
    texts = ["".join("".join(o.get("text", "")) for o in c.get("outputs", [])) for c in book["cells"]]
    outputs = [printed(text) for text in texts]
    digits = {(Decimal(f"{x:.3g}"), share) for x, share in measured_for(book)}
    exact = set().union(*code, *outputs, digits)
    for i in range(len(outputs)):
        yield exact, set().union(*outputs[max(0, i - NEAR) : i + NEAR + 1])


def printed(text):
    """The numbers of printed text."""
    found = re.findall(r"(?<![\w.])[-+−]?(\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?: ?(%))?", text)
    return {(Decimal(number.rstrip(",").replace(",", "")), bool(share)) for number, share in found}


def leaves(tree):
    """Every number inside a JSON value."""
    if isinstance(tree, dict | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from leaves(branch)
    elif isinstance(tree, int | float) and not isinstance(tree, bool):
        yield tree


def unshown(book, excepted):
    """(cell id, number as written) of each number in prose that neither the page shows nor ``excepted`` allows."""
    for cell, shown in zip(book["cells"], shown_at(book), strict=True):
        if cell["cell_type"] == "markdown":
            allowed = excepted.get(cell["id"], {}).get("numbers", [])
            for written, *number in numbers("".join(cell["source"])):
                if written not in allowed and not is_shown(*number, *shown):
                    yield cell["id"], written


def exceptions():
    """Cell id -> why, numbers."""
    return tomllib.loads((ROOT / "tests" / "numbers_in_prose.toml").read_text(encoding="utf-8"))


def books():
    """Notebook name -> its JSON."""
    found = sorted((ROOT / "notebooks").glob("*.ipynb"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in found}


if __name__ == "__main__":
    listed = exceptions() if "--all" not in sys.argv else {}
    for name, book in books().items():
        for cell, written in unshown(book, listed):
            print(f"{name}  {cell}  {written}")
