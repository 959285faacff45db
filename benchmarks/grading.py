"""How long does a class of 300 take to grade, and how long does a student wait for a check?

python benchmarks/grading.py
"""

import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from subprocess import run

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from classroom import FILE, HOSTILE, RIGHT, WRONG, student_source, zipped  # noqa: E402

from diffusion_lib.homework.exercises import EXERCISES, load_assignment  # noqa: E402
from diffusion_lib.training.runs import versions  # noqa: E402
from grader.grading import KEY  # noqa: E402
from grader.recording import kept_record  # noqa: E402

CLASS, HOSTILE_SHARE = 300, 15


def make(folder: Path) -> None:
    """300 hand-ins: right and wrong in turn, every fifteenth hostile."""
    folder.mkdir()
    calm = [student_source(**bodies) for bodies in RIGHT.values()]
    calm += [student_source(**{exercise: body}) for exercise, body, _ in WRONG.values()]
    hostile = [source for source, _ in HOSTILE.values()]
    for i in range(CLASS):
        source = hostile[i // HOSTILE_SHARE % len(hostile)] if i % HOSTILE_SHARE == 0 else calm[i % len(calm)]
        zipped(folder, f"student{i:03}", {f"homework/{FILE}": source})


def seconds(*arguments: str) -> float:
    """Wall time of one homework command."""
    start = time.perf_counter()
    run([sys.executable, "-m", "diffusion_lib", "homework", *arguments], check=True, cwd=ROOT, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    load = os.getloadavg()[0]
    begun = time.perf_counter()
    assignment = load_assignment(ROOT / "homework" / "assignment.toml")
    kept_record(list(assignment.exercises), key=KEY)
    recorded = time.perf_counter() - begun
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        make(home / "class")
        grade = seconds("grade", str(home / "class"), "--out", str(home / "results"), "--jobs", "2")
        again = seconds("grade", str(home / "class"), "--out", str(home / "results"), "--jobs", "2")
        build = seconds("build", "--out", str(home / "release"))
    check = seconds("check", *(exercise.name for exercise in EXERCISES))
    rows = {
        "what the grader compares with, once for a version; less where it is known": recorded,
        f"grade {CLASS} hand-ins, {CLASS // HOSTILE_SHARE} of them hostile, 2 jobs": grade,
        "the same again: everything is known": again,
        "build the handout": build,
        f"check all {len(EXERCISES)} exercises, start included": check,
    }
    lines = ["# The homework's commands", "", "| command | seconds |", "|---|---|"]
    lines += [f"| {what} | {took:.0f} |" for what, took in rows.items()]
    machine = f"{os.cpu_count()} CPU cores ({platform.machine()}), torch {versions()['torch']}"
    beside = f" The machine was shared: load average {load:.1f} before it began." if load > 0.5 else ""
    lines += ["", f"{machine}.{beside} `python benchmarks/grading.py`"]
    (ROOT / "benchmarks" / "grading.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
