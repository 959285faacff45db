"""The concept inventory: its questions as a file, a class's answers as a table, and statistics worked out by hand."""

import statistics
import tomllib
from collections import Counter

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from diffusion_lib.__main__ import app
from grader.catalogue.mistakes import MISTAKES
from grader.inventory.answers import Sheet, read_answers
from grader.inventory.questions import FORMS, LETTERS, inventory_path, load, sheet
from grader.inventory.scoring import gain, items, report, unpaired

QUESTIONS = load()


def test_twenty_concepts_in_two_forms_and_each_belief_once():
    assert len(QUESTIONS) == len({q.concept for q in QUESTIONS}) == 20
    names = [belief.name for q in QUESTIONS for belief in q.beliefs]
    assert len(names) == len(set(names)) == 60
    asked = [text for q in QUESTIONS for text in q.asks.values()]
    assert len(asked) == len(set(asked)) == 40


def test_a_belief_is_one_of_the_catalogue_or_of_the_symptom_page_where_it_says_so():
    symptoms = tomllib.loads((ROOT / "site" / "symptoms.toml").read_text(encoding="utf-8"))["symptom"]
    known = {mistake.id for mistake in MISTAKES} | {symptom["title"] for symptom in symptoms}
    seen = [belief.seen for q in QUESTIONS for belief in q.beliefs if belief.seen]
    assert set(seen) <= known
    assert len(seen) >= 15


@pytest.mark.parametrize("form", FORMS)
def test_the_place_and_the_length_of_an_option_do_not_give_it_away(form):
    assert Counter(q.right(form) for q in QUESTIONS) == dict.fromkeys(LETTERS, 5)
    longest = 0
    for q in QUESTIONS:
        lengths = {letter: len(option.text) for letter, option in zip(LETTERS, q.options[form], strict=True)}
        assert max(lengths.values()) < 2 * min(lengths.values()), q.concept
        longest += lengths[q.right(form)] == max(lengths.values())
    assert longest <= 10


def test_the_two_forms_differ_in_the_place_of_the_right_option():
    assert sum(q.right("A") == q.right("B") for q in QUESTIONS) <= 10


@pytest.mark.parametrize("form", FORMS)
def test_a_sheet_asks_everything_and_tells_nothing(form):
    text, key = sheet(QUESTIONS, form), sheet(QUESTIONS, form, key=True)
    for q in QUESTIONS:
        assert q.asks[form] in text
        for option in q.options[form]:
            assert option.text in text
            assert option.reply in key
            assert option.reply not in text


def test_a_question_without_exactly_one_right_option_is_refused(tmp_path):
    text = inventory_path().read_text(encoding="utf-8")
    broken = tmp_path / "inventory.toml"
    broken.write_text(text.replace('belief = "one-step-is-a-level"\n', "", 1), encoding="utf-8")
    with pytest.raises(ValueError, match="question 1, form A: needs four options"):
        load(broken)


# Three questions of the file; wrong letters are written as "the first wrong one", so nothing here hangs on their order.
THREE = QUESTIONS[:3]


def wrong(question, form="A"):
    return next(letter for letter in LETTERS if letter != question.right(form))


def answered(student, when, pattern, form="A"):
    """A sheet from a pattern such as "10-": right, wrong, no answer."""
    letters = [{"1": q.right(form), "0": wrong(q, form), "-": ""}[c] for q, c in zip(THREE, pattern, strict=True)]
    return Sheet(student, when, form, tuple(letters))


def test_difficulty_and_discrimination_by_hand():
    """Four students: 111, 110, 100, 000. Shares right 3/4, 2/4, 1/4.

    Question 1: right (1, 1, 1, 0), the others' sum (2, 1, 0, 0). Both means are 3/4. The products of the deviations sum
    to 3/4, their squares to 3/4 and 11/4. Question 2: (1, 1, 0, 0) and (2, 1, 1, 0), means 1/2 and 1, products 1,
    squares 1 and 2.
    """
    class_ = [
        answered(name, "after", pattern) for name, pattern in zip("klmn", ("111", "110", "100", "000"), strict=True)
    ]
    first, second, third = items(THREE, class_)
    assert [item.difficulty for item in (first, second, third)] == [0.75, 0.5, 0.25]
    assert first.discrimination == pytest.approx(0.75 / (0.75 * 2.75) ** 0.5)
    assert second.discrimination == pytest.approx(2**-0.5)
    assert first.belief == THREE[0].belief("A", wrong(THREE[0]))
    assert first.share == 0.25


def test_what_does_not_vary_has_no_discrimination_and_no_wrong_belief():
    found = items(THREE, [answered(name, "after", "1-0") for name in "kl"])
    assert [item.discrimination for item in found] == [None, None, None]
    assert [(item.belief != "", item.share) for item in found] == [(False, 0), (False, 0), (True, 1)]


def test_both_forms_of_a_question_count_together():
    question = THREE[0]
    belief = question.beliefs[1].name
    letters = {f: next(letter for letter in LETTERS if question.belief(f, letter) == belief) for f in FORMS}
    class_ = [Sheet(form, "after", form, (letters[form], "", "")) for form in FORMS]
    assert items(THREE, class_)[0].belief == belief
    assert items(THREE, class_)[0].share == 1


def test_the_gain_by_hand():
    """k: 0 to 3 right of 3; l: 1 to 1. Means 1/6 and 4/6: (4/6 − 1/6) / (5/6) = 0.6. Drawn again, the class is k and k
    (gain 1), l and l (gain 0), or both: with chances 1/4, 1/4, 1/2, so the 95 % interval is 0 to 1."""
    sheets = [
        answered("k", "before", "000"), answered("k", "after", "111"),
        answered("l", "before", "100"), answered("l", "after", "010", "B"),
        answered("only before", "before", "111"), answered("only after", "after", "111"),
    ]  # fmt: skip
    found = gain(THREE, sheets)
    assert found.students == 2
    assert (found.before, found.after, found.gain) == pytest.approx((1 / 6, 4 / 6, 0.6))
    assert (found.low, found.high) == (0, 1)
    assert unpaired(sheets) == [
        "Answered only before the series, so not counted for the gain: only before.",
        "Answered only after the series, so not counted for the gain: only after.",
    ]


def test_students_who_gain_alike_leave_no_doubt_and_a_perfect_start_no_gain():
    alike = [answered(n, w, p) for n in "klm" for w, p in (("before", "100"), ("after", "110"))]
    found = gain(THREE, alike)
    assert (found.gain, found.low, found.high) == pytest.approx((0.5, 0.5, 0.5))
    perfect = gain(THREE, [answered("k", "before", "111"), answered("k", "after", "110")])
    assert (perfect.gain, perfect.low, perfect.high) == (None, None, None)
    assert gain(THREE, [answered("k", "after", "111")]) is None
    assert "no gain to tell" in report(THREE, [answered("k", "after", "111")])


def test_more_students_make_a_narrower_interval():
    def width(copies):
        patterns = (("000", "111"), ("100", "010"))
        sheets = [
            answered(f"{i} {n}", when, pattern)
            for n in range(copies)
            for i, pair in enumerate(patterns)
            for when, pattern in zip(("before", "after"), pair, strict=True)
        ]
        found = gain(THREE, sheets)
        return found.high - found.low

    assert width(32) < width(8) < width(1)
    assert statistics.fmean([width(32)]) > 0


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_table_is_read_as_it_comes_and_its_faults_are_told_in_words(tmp_path, separator):
    rows = [
        ["Student", "WHEN", "form", "1", "2", "3"],
        ["k", "before", "a", "A", "b)", " c "],
        ["k", "After", "B", "a", "e", ""],
        ["k", "after", "B", "a", "a", "a"],
        ["l", "later", "A", "a", "a", "a"],
        ["m", "after", "C", "a", "a", "a"],
        ["", "after", "A", "a", "a", "a"],
        ["", "", "", "", "", ""],
    ]
    path = tmp_path / "answers.csv"
    path.write_text("\ufeff" + "\n".join(separator.join(row) for row in rows), encoding="utf-8")
    sheets, told = read_answers(path, 3)
    assert sheets == [Sheet("k", "before", "A", ("a", "b", "c")), Sheet("k", "after", "B", ("a", "", ""))]
    assert told == [
        "Line 3, question 2: 'e' is not one of a, b, c, d; it counts as no answer.",
        "Line 3: k has no answer to 2 of 3 questions; they count as not right.",
        "Line 4: k has answered after the series twice; the first row counts.",
        "Line 5: when is 'later', not before or after; the row is left out.",
        "Line 6: form is 'C', not A or B; the row is left out.",
        "Line 7: no student is named; the row is left out.",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("student,when,form,1,2\n", "lacks the column 3"),
        ("name;1;2;3\n", "lacks the columns student"),
    ],
)
def test_a_table_that_lacks_a_column_is_refused(tmp_path, text, message):
    path = tmp_path / "answers.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        read_answers(path, 3)


def homework(*arguments):
    return CliRunner().invoke(app, ["homework", "inventory", *map(str, arguments)])


def test_the_commands(tmp_path):
    printed = homework("sheet")
    assert printed.exit_code == 0
    assert printed.stdout.count("**20.**") == 2
    assert homework("sheet", "--form", "C").exit_code == 2
    right = ",".join(q.right("A") for q in QUESTIONS)
    path = tmp_path / "answers.csv"
    path.write_text(f"student,when,form,{','.join(map(str, range(1, 21)))}\nk,before,A,{right}\n", encoding="utf-8")
    scored = homework("score", path)
    assert scored.exit_code == 0
    assert scored.stdout.count("| 100% |") == 20
    assert "only before the series" in scored.output
    path.write_text("nonsense\n", encoding="utf-8")
    assert homework("score", path).exit_code == 2
    assert homework("score", tmp_path / "missing.csv").exit_code == 2
