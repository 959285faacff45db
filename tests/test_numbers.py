"""No number stands in a notebook's prose that the page does not show."""

from decimal import Decimal

import pytest
from numbers_in_prose import books, exceptions, is_shown, numbers, unshown

BOOKS = books()


@pytest.mark.parametrize("name", BOOKS)
def test_every_number_in_prose_is_shown_on_the_page(name):
    assert list(unshown(BOOKS[name], exceptions())) == []


def test_every_exception_has_a_reason_and_is_needed():
    needed = {(cell, number) for book in BOOKS.values() for cell, number in unshown(book, {})}
    listed = {(cell, number) for cell, entry in exceptions().items() for number in entry["numbers"]}
    assert listed - needed == set()
    assert all(len(entry["why"]) > 5 for entry in exceptions().values())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("spread 0.95 and 12 digits", ["0.95", "12"]),
        ("from 49.6 % to 50\\%", ["49.6 %", "50%"]),
        ("100,000 copies, $20\\,000$ pixels, 1e-4", ["100,000", "20000", "1e-4"]),
        ("the digits 0 to 9, two 8s", []),
        ("eq. 12, section 3.4, notebook 05, (2.2), see 1.6, Ho 2020", []),
        ("$x_{300}$ and $e^{-25}$ and 10000$^2$", ["10000"]),
        ("## 1.12 Title\n$$ 0.75 $$ [15](a_99.md)", ["15"]),
        ("$t=750$, $\\bar\\alpha_t=0.5$", ["750", "0.5"]),
    ],
)
def test_numbers_are_found_in_text(text, found):
    assert [written for written, *_ in numbers(text)] == found


def shown(text, exact=(), near=()):
    (_, *number), *rest = numbers(text)
    assert not rest
    return is_shown(*number, *({(Decimal(v.rstrip("%")), v.endswith("%")) for v in vs} for vs in (exact, near)))


def test_a_number_near_by_may_be_rounded_and_becomes_a_percentage():
    assert all(shown(text, near=["0.4961"]) for text in ("0.4961", "0.496", "0.50", "49.6 %", "50 %"))
    assert not any(shown(text, near=["0.4961"]) for text in ("0.4962", "0.497", "0.49", "49.7 %", "49 %", "49.6"))
    assert shown("half of 50 %", near=["49.61%"])
    assert not shown("12 %", exact=["12"], near=["12"])


def test_a_number_far_away_is_not_rounded():
    assert shown("0.4961", exact=["0.4961"])
    assert shown("12 %", exact=["12%"])
    assert not shown("0.50", exact=["0.4961"])


def test_a_change_of_the_last_digit_turns_most_pages_red():
    """What the test is worth: of all decimals and percentages, more than half cannot be changed without a complaint."""
    caught = total = 0
    for book in BOOKS.values():
        before = set(unshown(book, {}))
        for cell in book["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] != "markdown":
                continue
            for written, _, decimals, percent in numbers(text):
                digits = written.rstrip(" %")
                if not digits[-1].isdigit() or not (decimals > 0 or percent):
                    continue
                changed = written.replace(digits, digits[:-1] + str((int(digits[-1]) + 3) % 10), 1)
                cell["source"] = text.replace(written, changed)
                total += 1
                caught += set(unshown({"cells": book["cells"]}, {})) != before
                cell["source"] = text
    assert total > 80
    assert caught / total > 0.6
