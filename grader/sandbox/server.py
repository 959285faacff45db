"""Runs hand-ins, each in a forked and shut-in process. Started by ``client.Sandbox``; speaks JSON lines.

PyTorch is loaded once. The library around the student's function is the one that was handed out, so no answer is
in memory, except ``q_sample`` where another exercise needs it, in a server of its own.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Answer one line {"exercise", "source", "scratch", "key", "seconds"} after another with how it ended."""
    library, unsafe = sys.argv[1], sys.argv[2] == "unsafe"
    sys.path.insert(0, library)
    sys.dont_write_bytecode = True
    import safetensors.torch  # noqa: F401
    import torch

    from diffusion_lib.homework import probes
    from grader.sandbox import lockdown

    torch.set_num_threads(1)
    torch.randn(4).sin().sum()  # the first operation loads more code
    roots = readable_roots(Path(library))
    print("ready", flush=True)
    for line in sys.stdin:
        job, started = json.loads(line), time.monotonic()
        child = os.fork()
        if child == 0:
            try:
                leave(job["scratch"])
                if not unsafe:
                    lockdown.shut_in(roots, Path(job["scratch"]), job["seconds"] + 5)
                run(job, probes.observe)
            finally:
                os._exit(0)
        print(json.dumps({"ended": wait(child, job["seconds"]), "seconds": time.monotonic() - started}), flush=True)


def leave(scratch: str) -> None:
    """Out of the server's session, streams and folder."""
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.chdir(scratch)


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


def wait(child: int, seconds: float) -> str:
    """How the child ended: "exit", "signal N" or "time", after which it is gone, threads and all."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "exit"
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "time"


def run(job: dict[str, Any], observe: Any) -> None:
    """Load the student's file, put the pristine library around the exercise, and write down what it answers."""
    from safetensors.torch import save_file

    from diffusion_lib.homework.checks import load_source
    from diffusion_lib.homework.exercises import find, get

    exercise, scratch = get(job["exercise"]), Path(job["scratch"])
    try:
        module = load_source(Path(job["source"]))
        pristine = sys.modules.get(exercise.module) or __import__(exercise.module, fromlist=["_"])
        own = exercise.attribute.split(".")[0]
        for name, value in vars(pristine).items():
            if callable(value) and getattr(value, "__module__", "") == exercise.module and name != own:
                setattr(module, name, value)
        function = find(module, exercise.attribute)
        seen = observe(exercise.name, function, job["key"])
        values, info = seen.values, {"errors": seen.errors, "unwritten": seen.unwritten}
    except BaseException as error:
        values, info = {}, {"errors": {}, "unwritten": "", "failed": f"{type(error).__name__}: {error}"[:500]}
    save_file(
        {k: v.contiguous() for k, v in values.items()}, scratch / "answer.safetensors", {"info": json.dumps(info)}
    )


if __name__ == "__main__":
    main()
