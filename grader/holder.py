"""Holds the functions under test: a process that answers calls of them, so that tests can run where their code is not.

``Holder`` starts it. Each function answers in a fork of its own, through two named pipes, until its tests have ended.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 120  # of processor time, for one function


class Holder:
    """The process, started when it is first needed."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None

    def hold(self, exercise: str, version: str, calls: Path, answers: Path) -> None:
        """Let ``version`` of ``exercise`` answer through the two pipes, in place of the one before; OSError if not."""
        if self.process is None or self.process.poll() is not None:
            self.process = self._started()
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([exercise, version, str(calls), str(answers)]) + "\n")
        self.process.stdin.flush()
        if self.process.stdout.readline().strip() != "held":
            raise OSError("the function under test is not there")

    @staticmethod
    def _started() -> "subprocess.Popen[str]":
        command = [sys.executable, "-I", __file__, str(Path(__file__).parents[1])]
        environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True
        )

    def close(self) -> None:
        """End it, and the function that it holds."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def main() -> None:
    """Hold what each line [exercise, version, calls, answers] names."""
    sys.path.insert(0, sys.argv[1])
    sys.dont_write_bytecode = True
    import torch

    from diffusion_lib.homework.testing import warm_up
    from grader.catalogue.versions import TESTABLE, versions

    torch.set_num_threads(1)
    warm_up()
    known = {name: versions(name) for name in TESTABLE}
    child = 0
    for line in sys.stdin:
        exercise, version, calls, answers = json.loads(line)
        if child:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        child = os.fork()
        if child == 0:
            serve(known[exercise][version].function, calls, answers)
        print("held", flush=True)


def serve(function: Callable[..., Any], calls: str, answers: str) -> None:
    """The fork's whole life. What it reads was written by a student, so its memory and its time are bounded."""
    from diffusion_lib.homework.elsewhere import Wire, answer
    from grader.sandbox import lockdown

    try:
        lockdown.limit(SECONDS)
        with open(calls, "rb") as reader, open(answers, "wb") as writer:
            answer(function, Wire(reader, writer))
    finally:
        os._exit(0)


if __name__ == "__main__":
    main()
