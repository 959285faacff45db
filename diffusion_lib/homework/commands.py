"""Commands: python -m diffusion_lib homework check | experiment | pack."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def homework() -> None:
    """The homework."""
    from diffusion_lib.homework.printing import on_any_code_page

    on_any_code_page()


@app.command()
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Exercises to check; by default all of the assignment.")
    ] = None,
) -> None:
    """Check exercises as they stand in their files, and tests where they are asked for; exit 0 when all are right."""
    from diffusion_lib.homework.checks import check_all
    from diffusion_lib.homework.exercises import BY_NAME, assignment_path, load_assignment, tree
    from diffusion_lib.homework.testing import try_tests

    unknown = set(names or []) - set(BY_NAME)
    if unknown:
        typer.echo(f"Error: no exercise {', '.join(sorted(unknown))}; choose from {', '.join(BY_NAME)}.", err=True)
        raise typer.Exit(2)
    try:
        assignment = load_assignment(assignment_path())
        verdicts = check_all(list(names or assignment.exercises))
    except ValueError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    for verdict in verdicts:
        typer.echo(repr(verdict))
    trials = [try_tests(name) for name in assignment.tests if name in (names or assignment.tests)]
    for line in (line for trial in trials for line in trial.lines()):
        typer.echo(line)
    if (tree() / "experiment").exists():  # before the first run there is nothing to say of it
        _tell_of_runs()
    raise typer.Exit(0 if all(verdicts) and all(trials) else 1)


def _tell_of_runs() -> None:
    """Say what is amiss with the runs, where the experiment's functions are handed out."""
    from diffusion_lib.homework.exercises import assignment_path, load_assignment, tree
    from diffusion_lib.homework.experiment import DRAWING, TRAINING, remarks

    if {*TRAINING, DRAWING} <= set(load_assignment(assignment_path()).exercises):
        for remark in remarks(tree()):
            typer.echo(remark)


@app.command()
def experiment(
    recipe: Annotated[str, typer.Option(help="minutes, tiny, laptop, or full on a GPU.")] = "minutes",
    device: Annotated[str | None, typer.Option(help="cpu, cuda or mps; by default the fastest there is.")] = None,
) -> None:
    """Train and draw with your own functions, or continue; all lands in experiment/RECIPE."""
    from diffusion_lib.homework.experiment import experiment as run
    from diffusion_lib.training.checkpoints import CheckpointError

    try:
        run(recipe, device=device)
    except FloatingPointError:
        typer.echo("Error: the loss is not finite: one of q_sample and ddpm_loss is wrong. See make check.", err=True)
        raise typer.Exit(2) from None
    except (ValueError, CheckpointError, OSError, NotImplementedError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    typer.echo(f"Curve, card and grids are in experiment/{recipe}; make pack takes them along.")


@app.command()
def pack(out: Annotated[Path, typer.Option(help="The .zip to write.")] = Path("homework.zip")) -> None:
    """Make the .zip to hand in: your code, your notebooks, your write-up."""
    from diffusion_lib.homework.exercises import assignment_path, load_assignment, tree
    from diffusion_lib.homework.packing import pack_hand_in

    try:
        names = pack_hand_in(tree(), out, load_assignment(assignment_path()))
    except (ValueError, OSError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{out} ({out.stat().st_size / 2**20:.1f} MiB) holds:\n  " + "\n  ".join(names))
    _tell_of_runs()
