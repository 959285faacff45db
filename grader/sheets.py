"""The sheets of an assignment, filled from ``assignment.toml`` and ``questions.toml``: the same words everywhere."""

import re
from collections.abc import Mapping

from diffusion_lib.homework.exercises import TESTS_FILE, Assignment, get, tree
from diffusion_lib.homework.questions import Question

AFTER_ALL = "What comes after the deadline is graded like the rest."
READING = re.compile(r"Reading time (\d+) minutes")


def fill(text: str, assignment: Assignment) -> str:
    """A sheet with the assignment's title, deadline, rules, points, questions and rubric in it."""
    tests = (tree() / "homework" / "handout_tests.md").read_text(encoding="utf-8").strip() if assignment.tests else ""
    values = {
        "title": assignment.title, "deadline": assignment.deadline, "table": table(assignment),
        "questions": "\n\n".join(map(question_on_the_sheet, assignment.questions.values())),
        "rubric": "\n\n".join(map(rubric, assignment.questions.values())), "rules": rules(assignment),
        "hours": f"{assignment.rules.hours:g}", "reading": str(reading_minutes()),
        "tests": tests,
    }  # fmt: skip
    filled = re.sub(r"\{\{(\w+)\}\}", lambda match: values[match.group(1)], text)
    return re.sub(r"\n{3,}", "\n\n", filled)


def table(assignment: Assignment) -> str:
    """What is asked, where it stands, and what it is worth."""
    rows = [f"| {get(n).number} | `{n}` in `{get(n).path}` | {p:g} |" for n, p in assignment.exercises.items()]
    rows += [f"| tests | of `{n}`, in `{TESTS_FILE}` | {p:g} |" for n, p in assignment.tests.items()]
    rows += [f"| written, {number(q)} | {q.question} | {q.points:g} |" for q in assignment.questions.values()]
    rows += [f"| | **together** | {assignment.points:g} |"]
    return "\n".join(["| exercise | what | points |", "|---|---|---|", *rows])


def number(question: Question) -> str:
    """The number of the notebook in which a question stands: "04"."""
    return question.notebook.partition("_")[0]


def marked_by(question: Question) -> str:
    """The parts of a question, with their points."""
    parts = ", ".join(f"{criterion.about} ({criterion.points:g})" for criterion in question.criteria)
    return f"*Marked by: {parts}. {question.evidence}*"


def question_on_the_sheet(question: Question) -> str:
    """A question of the students' sheet, with room for the answer."""
    return f"## {question.question} ({question.points:g} points)\n\n{marked_by(question)}\n\n*Your answer.*"


def question_in_a_notebook(question: Question) -> str:
    """The cell above the answer's cell."""
    return f"## Question ({question.points:g} points)\n\n{question.question}\n\n{marked_by(question)}"


def for_the_write_up(questions: Mapping[str, Question], heading: str) -> str:
    """The list of all questions that stands in notebook 05, under its ``heading``."""
    asked = [f"{i}. {q.question} (notebook {number(q)})" for i, q in enumerate(questions.values(), start=1)]
    told = "What the homework asks, and the notebook in which each question can be answered:"
    return "\n".join([heading, "", told, "", *asked])


def rubric(question: Question) -> str:
    """What earns full, half and no points; students read it too."""
    rows = [f"| {c.about} ({c.points:g}) | {c.full} | {c.half} | {c.none} |" for c in question.criteria]
    head = ["| points for | all | half | none |", "|---|---|---|---|"]
    parts = [f"## {question.question} ({question.points:g} points)", "\n".join([*head, *rows]), question.evidence]
    return "\n\n".join(parts)


def model_answers(assignment: Assignment) -> str:
    """The teacher's part of the rubric: an answer at full and one at half level, and what is often misunderstood."""
    parts = ["# Model answers", "Not for students. Both stand for a level, not for a wording."]
    for question in assignment.questions.values():
        parts.append(f"## {question.question}")
        parts += [f"**At {level} level.** {question.answers[level].strip()}" for level in ("full", "half")]
        parts.append("\n".join(f"- {belief}" for belief in question.misunderstandings))
    return "\n\n".join(filter(None, parts)) + "\n"


def rules(assignment: Assignment) -> str:
    """What the assignment's settings mean for students, as a list."""
    names = {"assistants": "Assistants", "late": "Late", "evidence": "Evidence"}
    told = {name: assignment.rules.told(name) for name in names}
    if assignment.late.apply:
        marked = assignment.rules.late == "marked"
        told["late"] = f"{AFTER_ALL if marked else told['late']} {assignment.late.told()}"
    return "\n".join(f"- **{title}.** {told[name]}" for name, title in names.items())


def reading_minutes() -> int:
    """The reading times that notebooks 01 to 05 state, together."""
    books = (tree() / "notebooks").glob("0[1-5]*.ipynb")
    return sum(int(minutes) for book in books for minutes in READING.findall(book.read_text(encoding="utf-8")))
