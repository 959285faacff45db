"""One symbol, one meaning: every symbol of the notebooks' formulas stands in site/symbols.toml."""

import json
import re
import tomllib
from collections import Counter

import pytest
from conftest import ROOT

ROWS = tomllib.loads((ROOT / "site" / "symbols.toml").read_text(encoding="utf-8"))["symbol"]
BOOKS = {path.stem.split("_")[0]: path for path in (ROOT / "notebooks").glob("*.ipynb")}
ACCENTS = {"bar", "hat", "tilde"}
FONTS = {"mathcal", "mathbb"}
GREEK = {
    *("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "lambda", "mu", "rho", "sigma", "tau"),
    *("phi", "varphi", "omega", "Sigma"),
}
STANDARD = {"e", r"\nabla"}  # Euler's number, the gradient
TOKEN = re.compile(r"\\[a-zA-Z]+|[a-zA-Z]|[_^{}]|\S")


def formulas(markdown):
    """The LaTeX of every formula in a cell, without its words."""
    text = re.sub(r"```.*?```|`[^`]*`", " ", markdown, flags=re.DOTALL)
    for formula in re.findall(r"\$\$(.+?)\$\$|\$([^$]+?)\$", text, flags=re.DOTALL):
        latex = re.sub(r"\\(?:text|operatorname|mathrm\{(?!KL))\{?[^{}]*\}", " ", "".join(formula))
        latex = re.sub(r"\\(?:begin|end)\{\w+\}", " ", latex)
        yield re.sub(r"(?<![a-zA-Z\\])d(?=\\?[a-z])", " ", latex)  # the d of dx and dx/dt


def group(tokens, at):
    """What stands at ``at``, one token or a braced group, and where it ends."""
    if at >= len(tokens) or tokens[at] != "{":
        return tokens[at : at + 1], at + 1
    depth, end = 0, at
    while end < len(tokens):
        depth += (tokens[end] == "{") - (tokens[end] == "}")
        end += 1
        if depth == 0:
            break
    return tokens[at + 1 : end - 1], end


def symbols(latex, named):
    """Every symbol of a formula; one with an index is a symbol of its own where ``named`` has it so."""
    tokens, at, found = TOKEN.findall(latex), 0, []
    while at < len(tokens):
        token, name = tokens[at], tokens[at][1:]
        at += 1
        if name in ACCENTS | FONTS:
            inner, at = group(tokens, at)
            join = "" if inner and inner[0].startswith("\\") else " "
            token = token + join + "".join(inner)
        elif not (len(token) == 1 and token.isalpha()) and name not in GREEK:
            continue
        if at < len(tokens) and tokens[at] == "_":
            index, end = group(tokens, at + 1)
            shape = "".join(index)
            if any(f"{token}_{form}" in named for form in (shape, "{" + shape + "}")):
                token, at = f"{token}_{shape}" if f"{token}_{shape}" in named else f"{token}_{{{shape}}}", end
        found.append(token)
    return [token for token in found if token not in STANDARD]


NAMED = {row["symbol"] for row in ROWS}


def used(book):
    cells = json.loads(BOOKS[book].read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["cell_type"] == "markdown":
            for latex in formulas("".join(cell["source"])):
                yield from ((symbol, cell["id"]) for symbol in symbols(latex, NAMED))


@pytest.mark.parametrize("book", BOOKS)
def test_every_symbol_of_a_notebook_has_a_meaning_there(book):
    known = {row["symbol"] for row in ROWS if book in row["used"]}
    assert sorted({(symbol, cell) for symbol, cell in used(book) if symbol not in known}) == []


def test_every_row_is_used_where_it_says_so():
    found = {book: {symbol for symbol, _ in used(book)} for book in BOOKS}
    assert [(r["symbol"], book) for r in ROWS for book in r["used"] if r["symbol"] not in found[book]] == []


def test_no_symbol_has_two_meanings():
    assert [symbol for symbol, count in Counter(row["symbol"] for row in ROWS).items() if count > 1] == []


@pytest.mark.parametrize(
    ("latex", "found"),
    [
        (r"x_t = \sqrt{\bar\alpha_t}\,x_0", ["x", "t", r"\bar\alpha", "t", "x"]),
        (r"\epsilon_\theta(x_t, t)", [r"\epsilon_\theta", "x", "t", "t"]),
        (r"\bar\alpha_{t-1}^2 + e^{-s}", [r"\bar\alpha", "t", "s"]),
        (r"\hat x_0, \tilde{\beta}_t", [r"\hat x", r"\tilde\beta", "t"]),
        (r"\mathcal N(0, I) \frac{a}{b}", [r"\mathcal N", "I", "a", "b"]),
    ],
)
def test_symbols_are_found_in_a_formula(latex, found):
    assert symbols(latex, {r"\epsilon_\theta"}) == found


def test_words_code_and_differentials_are_no_symbols():
    assert [symbols(f, set()) for f in formulas(r"`$q$` and $\text{spread}=dm/d\tau$")] == [["m", r"\tau"]]
