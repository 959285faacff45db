"""Ask a student's function the questions of an exercise, in a process that can do no harm."""

import itertools
import json
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError, safe_open

from diffusion_lib.homework.exercises import EXERCISES, TESTS_FILE, Exercise, get, tree
from diffusion_lib.homework.probing import Observation
from diffusion_lib.homework.records import RECORD_FILE
from diffusion_lib.homework.testing import Raised
from grader.holder import Holder
from grader.sandbox.server import APART, LOADED, SAFE, UNSAFE, WHERE
from grader.trees import copy_package

ROOM = Path(__file__).parent
USERS, NUMBERS = 61_000, itertools.count(step=2)  # who owns nothing; each sandbox has two of these numbers
SECONDS = 10  # of processor time, for one exercise of one hand-in
LOADING = 60  # of processor time, to import its file with whatever that imports
ASLEEP = 30  # of the clock, without any work
LONGEST = 600  # of the clock; then it is the machine's fault, unless it slept for the most part
MOST_ANSWER, MOST_TOLD = 16 * 2**20, 2**18
NEEDS_Q_SAMPLE = {"ddpm_loss"}
TESTS_SECONDS = 5  # of processor time, for the tests of one exercise on one function
ENDS = {
    "exit": "The code ended the program before it answered.",
    "signal 11": "It crashed the interpreter.",
    "signal 24": "It used too much processor time.",
}
ENDLESS = ("loading", "time")
MACHINE = ("machine", "lost", "signal 9")  # no process, no server, or killed by the system for want of memory


class MachineError(RuntimeError):
    """The machine failed, not the hand-in: nothing can be said about it."""


@dataclass
class Ran:
    """What came back: an observation, or why there is none."""

    seen: Observation | None
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    stuck: bool = False  # its file did not finish loading, so no other function of it can be asked either
    ended: str = ""  # how, where the function was called and nothing came back; as of server.wait
    where: tuple[str, int] | None = None  # file and line of the student's at which it was ended, as far as known


def lacking() -> str:
    """What this machine lacks to shut hand-ins in; empty where it can."""
    if sys.platform != "linux":
        return f"this is {sys.platform}, and only Linux has Landlock and seccomp"
    from grader.sandbox import lockdown  # it cannot be imported elsewhere

    return lockdown.missing()


def refuse(lack: str, *, unsafe: bool) -> None:
    """Say in a sentence what grading needs, where it is not there."""
    if sys.platform == "win32":
        raise ValueError(
            "Grading runs students' code in a sandbox, and that needs Linux (5.13 or newer, with Landlock and "
            "seccomp): use a Linux machine, a virtual one is enough, or Gradescope."
        )
    if lack and not unsafe:
        raise ValueError(
            f"Hand-ins cannot be shut in here: {lack}. Grade on Linux or on Gradescope, or pass --unsafe to run them "
            "without protection."
        )


@dataclass
class Tried:
    """What came back of tests: what each raised on one function under test, or why that is not known."""

    raised: dict[str, Raised | None] = field(default_factory=dict)
    problem: str = ""
    notes: list[str] = field(default_factory=list)
    stuck: bool = False  # as of Ran


Answer = TypeVar("Answer", Ran, Tried)


class Sandbox:
    """Two servers, one without the answers of the exercises ``taken`` and one where ``q_sample`` is given.

    ``unsafe``: where there is no Landlock, hand-ins run as another user if this is root, and else without protection.
    """

    def __init__(self, key: int, taken: Collection[str] = (), *, unsafe: bool = False) -> None:
        lack = lacking()
        refuse(lack, unsafe=unsafe)
        self.key = key
        self.mode = SAFE if not lack else APART if sys.platform == "linux" and os.geteuid() == 0 else UNSAFE
        self.user = USERS + (16 * os.getpid() + next(NUMBERS) % 16) % 4096
        self.home = Path(tempfile.mkdtemp(prefix="diffusion-grading-"))
        self.servers: dict[str, subprocess.Popen[str]] = {}
        self.holder = Holder()
        exercises = [get(name) for name in taken] or list(EXERCISES)
        self._furnish("alone", exercises)
        self._furnish("given", [e for e in exercises if e.name != "q_sample"])

    def _furnish(self, name: str, taken: Collection[Exercise]) -> None:
        """What server ``name`` may read: the students' library with no recorded answers, and this room."""
        copy_package(tree() / "diffusion_lib", self.home / name, taken=taken, without={"weights", RECORD_FILE.name})
        copy_package(ROOM, self.home / name / "grader")
        shutil.copyfile(ROOM.with_name("__init__.py"), self.home / name / "grader" / "__init__.py")
        if self.mode == APART:  # for its own server's children and for root; the folder around is no more than passed
            self.home.chmod(0o711)
            _give(self.home / name, 0, self.user + (name == "given"))
            (self.home / name).chmod(0o750)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *error: object) -> None:
        for server in self.servers.values():
            server.kill()
            server.wait()
        self.holder.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def server(self, name: str) -> "subprocess.Popen[str]":
        """The running server ``name``, started where there is none."""
        if name not in self.servers or self.servers[name].poll() is not None:
            program = self.home / name / "grader" / "sandbox" / "server.py"
            command = [sys.executable, "-I", str(program), str(self.home / name), self.mode, str(self.user)]
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                cwd=self.home, env={"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}, start_new_session=True,
            )  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            if process.stdout.readline().strip() != "ready":
                raise MachineError(f"the grading process did not start:\n{process.stderr.read()[-2000:]}")
            self.servers[name] = process
        return self.servers[name]

    def run(self, exercise: str, source: str, beside: Mapping[str, str] | None = None, *, given: bool = False) -> Ran:
        """Observe ``exercise`` as the file ``source`` (its text) implements it, with the modules ``beside`` it.

        ``given``: among the library's own functions instead of the student's. Where the machine fails, it is tried once
        more; then MachineError.
        """
        path = get(exercise).path
        job = {"exercise": exercise, "source": path, "given": given, "key": self.key, "seconds": SECONDS}
        server = "given" if given and exercise in NEEDS_Q_SAMPLE else "alone"
        return self._twice(lambda scratch: self._observed(scratch, {**(beside or {}), path: source}, job, server))

    def try_tests(self, exercise: str, files: Mapping[str, str], version: str) -> Tried:
        """Run the tests of ``exercise`` in the student's ``files`` on one version of it, as :meth:`run` does.

        ``version`` is one of grader.catalogue.versions. It lies in a process of its own, and answers calls.
        """
        return self._twice(lambda scratch: self._tried(scratch, exercise, files, version))

    def _twice(self, once: Callable[[Path], tuple[str, Answer]]) -> Answer:
        """The answer of ``once`` in a folder of its own, or, where the machine fails, of a second time."""
        for _ in range(2):
            scratch = Path(tempfile.mkdtemp(dir=self.home))
            try:
                ended, answer = once(scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            if not ended.startswith(MACHINE):
                return answer
        raise MachineError(ended)

    def _observed(self, scratch: Path, files: Mapping[str, str], job: dict[str, Any], server: str) -> tuple[str, Ran]:
        ended = self._ask(server, job | self._furnished(scratch, files, job["source"]))
        if ended.startswith(ENDLESS):
            where, stuck = _where(scratch), ended.startswith("loading")
            problem = endless(ended, "It", SECONDS, where)
            return ended, Ran(None, problem, stuck=stuck, ended="" if stuck else ended, where=where)
        ran = self._answer(scratch / "answer.safetensors", ended)
        ran.ended = ended if ran.seen is None and (scratch / LOADED).exists() else ""
        return ended, ran

    def _tried(self, scratch: Path, exercise: str, files: Mapping[str, str], version: str) -> tuple[str, Tried]:
        pipes = {name: scratch / name for name in ("calls", "answers")}
        for pipe in pipes.values():
            os.mkfifo(pipe, 0o600)
        try:
            self.holder.hold(exercise, version, **pipes)
        except OSError as error:
            return f"machine: {error}", Tried(problem=str(error))
        job = {"tests": exercise, "seconds": TESTS_SECONDS, **{name: str(pipe) for name, pipe in pipes.items()}}
        ended = self._ask("alone", job | self._furnished(scratch, files, TESTS_FILE))
        if ended.startswith(ENDLESS):
            problem = endless(ended, "They", TESTS_SECONDS, _where(scratch))
            return ended, Tried(problem=problem, stuck=ended.startswith("loading"))
        return ended, read_tried(scratch / "answer.json", ended)

    def _ask(self, name: str, job: dict[str, Any]) -> str:
        """Give a job to the server ``name``, and wait for how it ended."""
        server = self.server(name)
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            server.stdin.write(json.dumps(job | {"loading": LOADING, "asleep": ASLEEP, "longest": LONGEST}) + "\n")
            server.stdin.flush()
            if not select.select([server.stdout], [], [], LONGEST + 60)[0]:
                raise OSError("no reply")
            return json.loads(server.stdout.readline())["ended"]
        except (OSError, ValueError):  # the server itself was hit: the next exercise gets a new one
            server.kill()
            server.wait()
            return "lost: the grading process is gone"

    def _furnished(self, scratch: Path, files: Mapping[str, str], source: str) -> dict[str, str]:
        """Write the student's files under ``scratch``, and tell a job where they are."""
        home = scratch / "home"
        for name, text in files.items():
            path = home / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="surrogateescape")
        if self.mode == APART:
            _give(scratch, self.user, self.user)
        return {"source": str(home / source), "home": str(home), "scratch": str(scratch)}

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


def _give(top: Path, user: int, group: int) -> None:
    """Let ``top`` and all under it belong to a user and a group, whatever the mask of new files is."""
    for path in (top, *top.rglob("*")):
        os.chown(path, user, group)
        path.chmod(0o755 if path.is_dir() else 0o644)


def endless(ended: str, who: str, seconds: float, where: tuple[str, int] | None) -> str:
    """In words, what did not end, and in which line of the student's it was."""
    place = f", in line {where[1]} of {where[0]}" if where else ""
    if ended.startswith("loading"):
        spent = f"it slept for {ASLEEP} seconds" if "asleep" in ended else f"it took {LOADING} seconds of work"
        return (
            f"The file does not finish loading: {spent}{place}. Keep what takes long, and what waits for something, "
            "out of the file, or inside a function that nobody calls here."
        )
    return f"{who} did not end{f', asleep for {ASLEEP}' if 'asleep' in ended else f' within {seconds}'} seconds{place}."


def _where(scratch: Path) -> tuple[str, int] | None:
    """File and line at which the student's code was when it was ended; None where that is not known."""
    path = scratch / WHERE
    if path.is_symlink() or not path.is_file():
        return None
    with path.open("rb") as file:
        text = file.read(MOST_TOLD).decode(errors="replace")
    found = re.search(rf'File "{re.escape(str(scratch / "home"))}/([^"]{{1,200}})", line (\d{{1,9}})', text)
    return (found[1], int(found[2])) if found else None


def read_tried(path: Path, ended: str) -> Tried:
    """What tests wrote down; a student may have written it, so nothing is taken on trust."""
    if path.is_symlink() or not path.is_file():
        return Tried(problem=ENDS.get(ended, f"They ended without an answer ({ended})."))
    if path.stat().st_size > MOST_TOLD:
        return Tried(problem="Their answer is far too large.")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        notes = [str(note)[:500] for note in [*told["notes"], *told.get("strays", [])]][:20]
        if "failed" in told:
            return Tried(problem=f"The file cannot be run: {told['failed']}", notes=notes)
        raised = {str(name)[:100]: _raised(entry) for name, entry in told["tests"].items()}
        return Tried(raised, "" if raised else "There is no test of it.", notes)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        return Tried(problem=f"Their answer cannot be read: {type(error).__name__}.")


def _raised(entry: Any) -> Raised | None:
    return None if entry is None else Raised(str(entry["kind"])[:100], int(entry["line"]))
