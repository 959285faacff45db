"""Python that starts with PyTorch already imported: one process imports it, and every program runs in a fork of it.

A program sees what a fresh interpreter would show it: its own arguments, folder, environment and module path, and none
of our modules. Only the seconds that such imports take are not spent again. So it cannot tell what a program imports.
"""

import atexit
import gc
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from functools import cache
from pathlib import Path


def python(*arguments, cwd, env, stdin=""):
    """Run ``python ARGUMENTS`` (``-m MODULE ...``, ``-c CODE ...`` or ``SCRIPT ...``) to its end, as subprocess.run."""
    program = Program(arguments, cwd=cwd, env=env, stdin=stdin)
    code = program.wait()
    stdout, stderr = ((program.place / name).read_text(encoding="utf-8") for name in ("stdout", "stderr"))
    shutil.rmtree(program.place)
    return subprocess.CompletedProcess(arguments, code, stdout, stderr)


class Program:
    """A running program, with as much of ``subprocess.Popen`` as jupyter_client asks for."""

    stdin = stdout = stderr = None  # files in ``place``

    def __init__(self, arguments, *, cwd, env, stdin="", group=False):
        self.place, self.returncode = Path(tempfile.mkdtemp(prefix="warm-")), None
        (self.place / "stdin").write_text(stdin, encoding="utf-8")
        place = {"cwd": str(cwd), "place": str(self.place), "group": group}
        self.pid = self._ask(arguments=[*map(str, arguments)], env=dict(env), **place)

    def _ask(self, **what):
        parent = _parent()
        parent.stdin.write(json.dumps(what) + "\n")
        parent.stdin.flush()
        return json.loads(parent.stdout.readline())

    def _end(self, wait):
        if self.returncode is None:
            self.returncode = self._ask(pid=self.pid, wait=wait)
        return self.returncode

    def poll(self):
        return self._end(wait=False)

    def wait(self, timeout=None):
        return self._end(wait=True)

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def kernel(command, *, cwd=None, env=None, **_):
    """A Jupyter kernel as such a program; takes the place of jupyter_client's ``launch_kernel``."""
    arguments = [argument for argument in command[1:] if not argument.startswith("-X")]
    return Program(arguments, cwd=cwd or os.getcwd(), env=env or os.environ, group=True)


@cache
def _parent():
    no_network = {"PYTHONPATH": str(Path(__file__).parent / "no_network")}
    command = [sys.executable, "-P", __file__]
    parent = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | no_network
    )
    atexit.register(parent.wait)
    atexit.register(parent.stdin.close)  # called first: at the end of its input the parent ends
    return parent


def main():
    """Import what takes long; then for each line of input fork a child that runs it, or tell how one has ended."""
    import IPython  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import safetensors.torch  # noqa: F401
    import torch
    import torchvision  # noqa: F401

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # a process's first optimiser imports the compiler
    gc.freeze()  # what is here for good need not be searched, and so copied, by every fork
    path = [entry for entry in sys.path if entry not in os.environ["PYTHONPATH"].split(os.pathsep)]
    for line in sys.stdin:
        job = json.loads(line)
        if "pid" in job:
            pid, status = os.waitpid(job["pid"], 0 if job["wait"] else os.WNOHANG)
            print(os.waitstatus_to_exitcode(status) if pid else "null", flush=True)
            continue
        child = os.fork()
        if child == 0:
            os._exit(exit_code(job, path))  # an interpreter that ends tidily takes seconds to let go of PyTorch
        if job["group"]:  # before anybody asks for the group: jupyter_client ends a kernel by its group, which was ours
            os.setpgid(child, child)
        print(child, flush=True)


def exit_code(job, path):
    """Run the job in this process, to its last words."""
    try:
        run(job, path)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def end_with(parent):
    """A kernel outlives no parent, however that one ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def run(job, path):
    """The child: become the interpreter that the job asks for."""
    place = Path(job["place"])
    if job["group"]:  # a kernel: with pictures in its outputs
        threading.Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
        sys.modules["matplotlib"].rcParams["backend"] = "module://matplotlib_inline.backend_inline"
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
    for number, (name, mode) in enumerate({"stdin": os.O_RDONLY, "stdout": flags, "stderr": flags}.items()):
        file = os.open(place / name, mode)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - the old one has read ahead
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["env"])
    listed = [str(Path(entry).resolve()) for entry in job["env"].get("PYTHONPATH", "").split(os.pathsep) if entry]
    kind, *arguments = job["arguments"]
    first = os.getcwd() if kind in ("-m", "-c") else str(Path(kind).resolve().parent)
    sys.path[:] = [first, *listed, *path]
    if kind == "-m":
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.argv = ["-c", *arguments[1:]]
        exec(compile(arguments[0], "<string>", "exec"), {"__name__": "__main__", "__builtins__": __builtins__})
    else:
        sys.argv = [kind, *arguments]
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    main()
