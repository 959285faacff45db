"""Runs hand-ins, each in a forked and shut-in process. Started by ``client.Sandbox``; speaks JSON lines.

PyTorch is loaded once. The library is the one that was handed out, so no answer is in memory, except ``q_sample`` where
another exercise needs it, in a server of its own. Around the graded function stand the student's own modules.
"""

import faulthandler
import gc
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

WHERE = "where"  # the file in which a child writes where it is, when it gets this signal; Windows only imports us
ASK = getattr(signal, "SIGUSR1", 0)
LOADED = "loaded"  # a file that tells: from here on, processor time is the function's own
SAFE, APART, UNSAFE = "safe", "apart", "unsafe"  # shut in by Landlock; as another user; with no protection
MACHINE = 71  # exit status of a child that failed before the student's code began


def loaded() -> Any:
    """What every child has from the start: the library's two modules, PyTorch, and what students usually import."""
    import safetensors.torch  # noqa: F401
    import torch

    from diffusion_lib.homework import probes, testing
    from grader.sandbox import lockdown, surroundings, trials  # noqa: F401

    torch.set_num_threads(1)
    torch.randn(4).sin().sum()  # the first operation loads more code
    gc.freeze()  # what is here for good need not be searched, and so copied, by every child
    return probes, testing


def main() -> None:
    """Answer one line {"exercise" or "tests", "source", "home", "scratch", ...} after another with how it ended."""
    library, mode, user = sys.argv[1], sys.argv[2], int(sys.argv[3])
    sys.path.insert(0, library)
    sys.dont_write_bytecode = True
    probes, testing = loaded()
    roots = readable_roots(Path(library))
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        if "tests" in job:
            testing.warm_up()
        try:
            child = os.fork()
        except OSError as error:
            print(json.dumps({"ended": f"machine: {error}"}), flush=True)
            continue
        if child == 0:
            enter(job, roots, mode, user, probes.observe)
        ended = wait(child, job)
        if mode == APART:
            from grader.sandbox import lockdown

            lockdown.sweep(user)
        print(json.dumps({"ended": ended}), flush=True)


def enter(job: dict[str, Any], roots: list[Path], mode: str, user: int, observe: Any) -> None:
    """The child's whole life; it never returns. Until the student's code starts, what fails is the machine."""
    code = MACHINE
    try:
        leave(job["scratch"])
        if mode != UNSAFE:
            from grader.sandbox import lockdown

            seconds = job["loading"] + job["seconds"] + 5
            if mode == SAFE:
                lockdown.shut_in(roots, Path(job["scratch"]), seconds)
            else:
                lockdown.step_down(user, os.stat(roots[0]).st_gid, seconds)
        faulthandler.register(ASK, open(Path(job["scratch"], WHERE), "w"), all_threads=False)  # noqa: SIM115
        code = 0
        if "tests" in job:
            from grader.sandbox import trials

            trials.run(job, Path(job["scratch"], LOADED).touch)
        else:
            run(job, observe)
    finally:
        os._exit(code)


def leave(scratch: str) -> None:
    """Out of the server's session, streams and folder; what packages write goes to the scratch folder."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(scratch)
    homes = ("HOME", "TMPDIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "IPYTHONDIR", "TORCHINDUCTOR_CACHE_DIR")
    os.environ.update(dict.fromkeys(homes, scratch), MPLBACKEND="Agg")
    sys.modules["torch"].compile = as_it_is  # type: ignore[attr-defined]  # compiling starts processes


def readable_roots(library: Path) -> list[Path]:
    """What Python needs to import packages: all of its folders, but neither of our own that are installed."""
    prefixes = {Path(p).resolve() for p in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    sites = [Path(p).resolve() for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    roots = [library, Path("/usr/lib"), Path("/lib"), Path("/lib64"), Path("/dev/null"), Path("/dev/urandom")]
    for prefix in prefixes:
        roots += [prefix / "bin", prefix / "pyvenv.cfg"]
        roots += [p for p in (prefix / "lib").glob("*") if not p.name.startswith("python")]
        for python in (prefix / "lib").glob("python*"):
            roots += [p for p in python.iterdir() if p.name not in ("site-packages", "dist-packages")]
    for site in sites:
        ours = [p for p in site.iterdir() if "diffusion_lib" in p.name or p.name == "grader"]
        roots += [p for p in site.iterdir() if p not in ours and p.suffix != ".pth"]
    return [root for root in dict.fromkeys(roots) if root.exists()]


def wait(child: int, job: dict[str, Any]) -> str:
    """How the child ended: "exit", "signal N", "machine: ...", or what :class:`Watch` says when it does not.

    It is gone then, threads and all; where it was stands in the file ``WHERE``.
    """
    watch, pause = Watch(job), 0.002
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return _ended(status)
        if over := watch.over(child):
            break
        time.sleep(pause := min(1.2 * pause, 0.02))
    where = Path(job["scratch"], WHERE)
    os.kill(child, ASK)
    for _ in range(50):  # it answers at once, if it answers
        if os.waitpid(child, os.WNOHANG)[0]:
            return over
        if where.is_file() and where.stat().st_size:
            break
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return over


class Watch:
    """Tells when a child has had enough.

    What counts is processor time, of its own since the student's file was loaded, and time asleep: neither a busy
    machine nor a slow disk is the student's fault.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self.job, self.loaded = job, -1.0  # processor time when the student's file was loaded
        self.started = self.moved = time.monotonic()
        self.before, self.looks, self.sleeps = -1.0, 0, 0

    def over(self, child: int) -> str:
        """Nothing, or why it is ended: "loading" or "time", with " asleep" where it slept; or the machine's fault."""
        now = time.monotonic()
        used, asleep = usage(child, now - self.started)
        if self.loaded < 0 and Path(self.job["scratch"], LOADED).exists():
            self.loaded, self.moved = used, now
        if used > self.before or not asleep:
            self.before, self.moved = used, now
        self.looks, self.sleeps = self.looks + 1, self.sleeps + asleep
        phase = "loading" if self.loaded < 0 else "time"
        if used - max(0.0, self.loaded) > self.job["loading" if phase == "loading" else "seconds"]:
            return phase
        if now - self.moved > self.job["asleep"]:
            return f"{phase} asleep"
        if now - self.started < self.job["longest"]:
            return ""
        return f"{phase} asleep" if 2 * self.sleeps > self.looks else "machine: too busy to bring a hand-in to its end"


def _ended(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return "machine: the process could not be shut in" if os.WEXITSTATUS(status) == MACHINE else "exit"


def usage(pid: int, elapsed: float) -> tuple[float, bool]:
    """Processor seconds of a process, and whether it sleeps; where there is no /proc, the time that has passed."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return elapsed, False
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] == "S"


def run(job: dict[str, Any], observe: Any) -> None:
    """Load the student's file among the student's modules, and write down what its function answers."""
    from safetensors.torch import save_file

    from diffusion_lib.homework.exercises import get

    scratch, exercise = Path(job["scratch"]), get(job["exercise"])
    notes: list[str] = []
    try:
        function = found(job, exercise, notes)
        (scratch / LOADED).touch()
        seen = observe(exercise.name, function, job["key"])
        values, info = seen.values, {"errors": seen.errors, "unwritten": seen.unwritten}
    except BaseException as error:
        values, info = {}, {"errors": {}, "unwritten": "", "failed": f"{type(error).__name__}: {error}"[:500]}
    info["notes"] = notes
    save_file(
        {k: v.contiguous() for k, v in values.items()}, scratch / "answer.safetensors", {"info": json.dumps(info)}
    )


def found(job: dict[str, Any], exercise: Any, notes: list[str]) -> Any:
    """The student's function; its module stands among the student's own, or, if "given", among the library's."""
    from diffusion_lib.homework.exercises import find
    from diffusion_lib.homework.finding import load_source
    from grader.sandbox.surroundings import loaded, put_around, settle

    settle(Path(job["home"]), own=not job["given"])
    module = loaded(lambda: load_source(Path(job["source"]), exercise.module), notes)
    if job["given"]:
        put_around(module, exercise)
    if exercise.attribute.split(".")[0] not in vars(module):
        raise LookupError(f"{exercise.path} has no function {exercise.attribute}.")
    return find(module, exercise.attribute)


def as_it_is(model: Any = None, **options: Any) -> Any:
    """In place of torch.compile: the function itself, or, used as a decorator with options, one that returns it."""
    return model if model is not None else as_it_is


if __name__ == "__main__":
    main()
