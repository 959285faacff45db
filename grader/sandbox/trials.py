"""A student's tests on one function under test, which lies in another process behind two named pipes."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any


def run(job: dict[str, Any], loaded: Callable[[], None]) -> None:
    """Load the tests among the student's modules, call ``loaded``, run them, and write down what they raised."""
    from diffusion_lib.homework.elsewhere import Elsewhere, Wire
    from diffusion_lib.homework.testing import attempts, load_tests, strays, tests_of
    from grader.sandbox import surroundings

    source = Path(job["source"])
    notes: list[str] = []
    try:  # the other end opens the two pipes in the same order, and each waits for the other
        with open(job["calls"], "wb") as writer, open(job["answers"], "rb") as reader:
            surroundings.settle(Path(job["home"]), own=True)
            module = surroundings.loaded(lambda: load_tests(source), notes)
            loaded()
            raised = attempts(tests_of(module, job["tests"]), Elsewhere(Wire(reader, writer)), source)
        told = {name: r and asdict(r) for name, r in raised.items()}
        info: dict[str, Any] = {"tests": told, "strays": strays(module)}
    except BaseException as error:
        info = {"failed": f"{type(error).__name__}: {error}"[:500]}
    Path(job["scratch"], "answer.json").write_text(json.dumps({"notes": notes, **info}))
