"""One run over a folder of hand-ins: grade, compare with the run before, write what it leaves."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from diffusion_lib.homework.exercises import Assignment
from grader import grading, regrade
from grader.hand_ins import discover
from grader.lateness import read_extensions
from grader.likeness import compare
from grader.marking import read_sheet
from grader.reports import ROSTER, write_reports
from grader.sandbox.client import lacking, refuse
from grader.variants import read_roster


@dataclass
class Round:
    """What a run came to: its results, how many of them were known before, and in words whose points changed."""

    results: list[grading.Result]
    known: int
    changed: str

    @property
    def failed(self) -> list[str]:
        """Hand-ins at which the machine failed, not the student."""
        return sorted(result.hand_in for result in self.results if result.status == "not graded")


def run(
    folder: Path,
    out: Path,
    assignment: Assignment,
    *,
    jobs: int = 1,
    unsafe: bool = False,
    earlier: Sequence[Path] = (),
) -> Round:
    """Grade ``folder`` into ``out``; raises ValueError that says what to repair, before anything is graded.

    ``earlier``: folders of hand-ins of other years, with which the code is compared.
    """
    refuse(lacking(), unsafe=unsafe)
    read_sheet(out / "marking.csv", assignment)
    read_extensions(out / "extensions.csv")
    read_roster(out / ROSTER, assignment)
    total = len([discover(place) for place in (*earlier, folder)][-1])
    if not total:
        raise ValueError(f"{folder} holds no .zip and no folder.")
    regrade.remember(out)
    results, known = [], 0
    with tqdm(total=total, unit="hand-in", desc="grading") as bar:
        for result, was_known in grading.grade(folder, out, assignment, jobs=jobs, unsafe=unsafe):
            results.append(result)
            known += was_known
            bar.update()
    changed = regrade.tell(out, results)
    write_reports(out, results, assignment, compare(folder, earlier, assignment) if earlier else None)
    regrade.forget(out, results)
    return Round(results, known, changed)
