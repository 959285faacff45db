"""The teacher's commands: python -m diffusion_lib homework inventory sheet | score."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The concept inventory: print its two forms, score a class.", no_args_is_help=True)


@app.command()
def sheet(
    form: Annotated[str, typer.Option(help="A or B; both by default.")] = "",
    key: Annotated[bool, typer.Option("--key", help="With a reply to each option: for you.")] = False,
) -> None:
    """Print the forms as Markdown, without answers."""
    from grader.inventory import questions

    if form.upper() not in ("", *questions.FORMS):
        typer.echo(f"Error: there is no form {form!r}; choose A or B.", err=True)
        raise typer.Exit(2)
    made = questions.load()
    typer.echo("\n".join(questions.sheet(made, f, key=key) for f in questions.FORMS if form.upper() in ("", f)))


@app.command()
def score(answers: Annotated[Path, typer.Argument(help="A .csv: student, when, form, 1 … 20.")]) -> None:
    """Tell difficulty, discrimination, the favourite wrong belief of each question, and the class's gain."""
    from grader.inventory import questions
    from grader.inventory.answers import read_answers
    from grader.inventory.scoring import report, unpaired

    made = questions.load()
    try:
        sheets, told = read_answers(answers, len(made))
        if not sheets:
            raise ValueError(f"{answers} holds no row that can be used. " + " ".join(told))
    except (ValueError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(report(made, sheets))
    for line in [*told, *unpaired(sheets)]:
        typer.echo(line, err=True)
