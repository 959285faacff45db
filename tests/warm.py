"""Python that starts with PyTorch already imported: one process imports it, and every program runs in a fork of it.

A program sees what a fresh interpreter would show it: its own arguments, folder, environment and module path, and none
of our modules. Only the seconds that such imports take are not spent again. So it cannot tell what a program imports.

There is one such process for all that a test session starts. It listens on a socket in the file system, and answers
each connection with the number of the program that it has started, and when that has ended, with its exit code.
"""

import atexit
import gc
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

ADDRESS = "DIFFUSION_TESTS_WARM"  # in the environment: where that process listens


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
        start()
        self.place, self.returncode = Path(tempfile.mkdtemp(dir=os.path.dirname(os.environ[ADDRESS]))), None
        (self.place / "stdin").write_text(stdin, encoding="utf-8")
        job = {"cwd": str(cwd), "place": str(self.place), "group": group, "env": dict(env)}
        self.asked = socket.socket(socket.AF_UNIX)
        self.asked.connect(os.environ[ADDRESS])
        self.asked.sendall(json.dumps(job | {"arguments": [*map(str, arguments)]}).encode() + b"\n")
        self.told = self.asked.makefile("rb", buffering=0)
        self.pid = int(self.told.readline())

    def poll(self):
        ended = self.returncode is None and select.select([self.asked], [], [], 0)[0]
        return self.wait() if ended else self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            self.returncode = int(self.told.readline())
            self.told.close()
            self.asked.close()
        return self.returncode

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


def start():
    """Start the process that imports, unless there is one. It ends with this process; whatever that starts may ask."""
    if ADDRESS in os.environ:
        return
    address = os.path.join(tempfile.mkdtemp(prefix="warm-"), "socket")
    no_network = {"PYTHONPATH": str(Path(__file__).parent / "no_network")}
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, address], stdin=subprocess.PIPE, env=os.environ | no_network
    )
    atexit.register(shutil.rmtree, os.path.dirname(address), ignore_errors=True)
    atexit.register(process.wait)
    atexit.register(process.stdin.close)  # called first: at the end of its input the process ends
    while not os.path.exists(address):
        assert process.poll() is None, "it ended before it listened"
        time.sleep(0.01)
    os.environ[ADDRESS] = address


def warm_up():
    """Import what takes long, and what programs of ours import from elsewhere."""
    import anywidget  # noqa: F401
    import IPython  # noqa: F401
    import jinja2  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import safetensors.torch  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import torch
    import torchvision  # noqa: F401
    import tqdm.auto  # noqa: F401
    import typer.rich_utils  # noqa: F401

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # a process's first optimiser imports the compiler
    gc.freeze()  # what is here for good need not be searched, and so copied, by every fork


def main(address):
    """Until standard input ends, run a program for each connection, and end it where its asker has gone away."""
    door, bells = socket.socket(socket.AF_UNIX), socket.socketpair()
    door.bind(address)
    door.listen(100)
    warm_up()
    path = [entry for entry in sys.path if entry not in os.environ["PYTHONPATH"].split(os.pathsep)]
    for bell in bells:
        bell.setblocking(False)
    signal.set_wakeup_fd(bells[0].fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)  # rings: a program has ended
    askers = {}  # the process number of each running program: who asked for it
    while sys.stdin not in (ready := select.select([sys.stdin, door, bells[1], *askers.values()], [], [])[0]):
        if bells[1] in ready:
            bells[1].recv(1000)
        for pid, asker in [*askers.items()]:
            if asker in ready:
                os.kill(pid, signal.SIGKILL)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                tell(asker, os.waitstatus_to_exitcode(status))
                askers.pop(pid).close()
        if door in ready:
            asker = door.accept()[0]
            askers[begin(asker, path, [door, *bells, *askers.values()])] = asker
    for pid in askers:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)  # an interpreter that ends tidily takes seconds to let go of PyTorch


def tell(asker, number):
    """Send a line, to whoever still listens."""
    with suppress(OSError):
        asker.sendall(f"{number}\n".encode())


def begin(asker, path, others):
    """Fork a child that runs the program that ``asker`` describes, without our own connections; returns its number."""
    job = json.loads(asker.makefile().readline())
    child = os.fork()
    if child == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for connection in (asker, *others):
            connection.close()
        os._exit(exit_code(job, path))
    if job["group"]:  # before anybody asks for the group: jupyter_client ends a kernel by its group, which was ours
        os.setpgid(child, child)
    tell(asker, child)
    return child


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
    main(sys.argv[1])
