"""Ask a student's function the questions of an exercise, in a process that can do no harm."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from safetensors import SafetensorError, safe_open

from diffusion_lib.homework.exercises import EXERCISES, Exercise, get, tree
from diffusion_lib.homework.probing import Observation
from diffusion_lib.homework.records import RECORD_FILE
from grader.sandbox import lockdown
from grader.trees import copy_package

ROOM = Path(__file__).parent
SECONDS = 10  # of processor time, for one exercise of one hand-in
LOADING = 60  # of processor time, to import its file with whatever that imports
LONGEST = 600  # of the clock, whatever it does
MOST_ANSWER = 16 * 2**20
NEEDS_Q_SAMPLE = {"ddpm_loss"}
ENDS = {
    "time": f"It did not end within {SECONDS} seconds.",
    "exit": "The code ended the program before it answered.",
    "signal 11": "It crashed the interpreter.",
    "signal 24": "It used too much processor time.",
}


MACHINE = ("machine", "lost", "signal 9")  # no process, no server, or killed by the system for want of memory


class MachineError(RuntimeError):
    """The machine failed, not the hand-in: nothing can be said about it."""


@dataclass
class Ran:
    """What came back: an observation, or why there is none."""

    seen: Observation | None
    problem: str = ""
    notes: list[str] = field(default_factory=list)


class Sandbox:
    """Two servers, one without the answers of the exercises ``taken`` and one where ``q_sample`` is given.

    Both are forks of one process that has loaded PyTorch and nothing else.
    """

    def __init__(self, key: int, taken: Collection[str] = (), *, unsafe: bool = False) -> None:
        lack = lockdown.missing()
        if lack and not unsafe:
            raise ValueError(
                f"Hand-ins cannot be shut in here: {lack}. Grade on Linux or on Gradescope, or pass --unsafe to run "
                "them without protection."
            )
        self.key, self.unsafe = key, bool(lack)
        self.home = Path(tempfile.mkdtemp(prefix="diffusion-grading-"))
        self.process: subprocess.Popen[str] | None = None
        self.servers: dict[str, tuple[socket.socket, TextIO]] = {}
        exercises = [get(name) for name in taken] or list(EXERCISES)
        self._furnish("alone", exercises)
        self._furnish("given", [e for e in exercises if e.name != "q_sample"])

    def _furnish(self, name: str, taken: Collection[Exercise]) -> None:
        """What server ``name`` may read: the students' library with no recorded answers, and this room."""
        copy_package(tree() / "diffusion_lib", self.home / name, taken=taken, without={"weights", RECORD_FILE.name})
        copy_package(ROOM, self.home / name / "grader")
        shutil.copyfile(ROOM.with_name("__init__.py"), self.home / name / "grader" / "__init__.py")

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def _stop(self) -> None:
        """End both servers and the process that they are forks of, where they are running."""
        if self.process is not None:
            with suppress(ProcessLookupError, PermissionError):  # all of them are gone
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for server, lines in self.servers.values():
            with suppress(OSError):  # what was not sent
                lines.close()
            server.close()
        self.process, self.servers = None, {}

    def _start(self) -> None:
        ends = {name: socket.socketpair() for name in ("alone", "given")}
        theirs = {name: end.fileno() for name, (_, end) in ends.items()}
        program = self.home / "alone" / "grader" / "sandbox" / "server.py"
        places = [f"{number}:{self.home / name}" for name, number in theirs.items()]
        self.process = subprocess.Popen(
            [sys.executable, "-I", str(program), "unsafe" if self.unsafe else "safe", *places], text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=theirs.values(),
            cwd=self.home, env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}, start_new_session=True,
        )  # fmt: skip
        for name, (ours, end) in ends.items():
            end.close()
            self.servers[name] = ours, ours.makefile("rw", encoding="utf-8")
        if any(lines.readline().strip() != "ready" for _, lines in self.servers.values()):
            assert self.process.stderr is not None
            os.killpg(self.process.pid, signal.SIGKILL)  # or its last words never end
            said = self.process.stderr.read()[-2000:]
            self._stop()
            raise MachineError(f"the grading process did not start:\n{said}")

    def server(self, name: str) -> tuple[socket.socket, TextIO]:
        """The socket of the server ``name``, and its lines; both servers are started where none is running."""
        if self.process is None:
            self._start()
        return self.servers[name]

    def run(self, exercise: str, source: str, beside: Mapping[str, str] | None = None, *, given: bool = False) -> Ran:
        """Observe ``exercise`` as the file ``source`` (its text) implements it, with the modules ``beside`` it.

        ``given``: among the library's own functions instead of the student's. Where the machine fails, it is tried once
        more; then MachineError.
        """
        for _ in range(2):
            ended, ran = self._once(exercise, source, beside or {}, given)
            if not ended.startswith(MACHINE):
                return ran
        raise MachineError(ended)

    def _once(self, exercise: str, source: str, beside: Mapping[str, str], given: bool) -> tuple[str, Ran]:
        scratch = Path(tempfile.mkdtemp(dir=self.home))
        try:
            files = {**beside, get(exercise).path: source}
            for name, text in files.items():
                path = scratch / "home" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8", errors="surrogateescape")
            ended = self._ask(exercise, scratch, given)
            return ended, self._answer(scratch / "answer.safetensors", ended)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _ask(self, exercise: str, scratch: Path, given: bool) -> str:
        home = scratch / "home"
        job = {
            "exercise": exercise, "source": str(home / get(exercise).path), "home": str(home), "scratch": str(scratch),
            "given": given, "key": self.key, "seconds": SECONDS, "loading": LOADING, "longest": LONGEST,
        }  # fmt: skip
        server, lines = self.server("given" if given and exercise in NEEDS_Q_SAMPLE else "alone")
        try:
            print(json.dumps(job), file=lines, flush=True)
            if not select.select([server], [], [], LONGEST + 60)[0]:
                raise OSError("no reply")
            return json.loads(lines.readline())["ended"]
        except (OSError, ValueError):  # the server itself was hit: the next exercise gets a new one
            self._stop()
            return "lost: the grading process is gone"

    @staticmethod
    def _answer(path: Path, ended: str) -> Ran:
        if path.is_symlink() or not path.is_file():
            return Ran(None, ENDS.get(ended, f"It ended without an answer ({ended})."))
        if path.stat().st_size > MOST_ANSWER:
            return Ran(None, "Its answer is far too large.")
        try:
            with safe_open(path, framework="pt") as file:
                info = json.loads((file.metadata() or {})["info"])
                values = {key: file.get_tensor(key).double() for key in file.keys()}  # noqa: SIM118
            notes = [str(note)[:500] for note in info["notes"]][:20]
            if info.get("failed"):
                return Ran(None, f"The file cannot be run: {info['failed']}", notes)
            return Ran(Observation(values, dict(info["errors"]), str(info["unwritten"])), "", notes)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            return Ran(None, f"Its answer cannot be read: {type(error).__name__}.")
