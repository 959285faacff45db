"""Programs that start with PyTorch already imported end, speak and die as those of a fresh interpreter."""

import os
import signal
import subprocess
import sys

import pytest
import warm

PROGRAMS = {
    "words": "import sys; print(sys.argv[1:], sys.stdin.read()); print('aside', file=sys.stderr)",
    "place": "import os, sys; print(os.getcwd(), os.environ['HERE'], 'HOME' in os.environ, __name__)",
    "number": "raise SystemExit(3)",
    "sentence": "import sys; sys.exit('It is said.')",
    "error": "1 / 0",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "without ours": "import sys; print([name for name in sys.modules if name.startswith(('diffusion', 'conf'))])",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_ends_as_in_a_fresh_interpreter(tmp_path, name):
    arguments, environment = ("-c", PROGRAMS[name], "one", "two"), {"HERE": "yes", "PATH": os.environ["PATH"]}
    found = warm.python(*arguments, cwd=tmp_path, env=environment, stdin="read")
    fresh = subprocess.run(
        [sys.executable, *arguments], cwd=tmp_path, env=environment, input="read", capture_output=True, text=True
    )
    assert (found.returncode, found.stdout) == (fresh.returncode, fresh.stdout)
    assert found.stderr.splitlines()[-1:] == fresh.stderr.splitlines()[-1:]


WAITS = ("-c", "print('here', flush=True)\nwhile True: __import__('time').sleep(1)")


def running(**options):
    program = warm.Program(WAITS, cwd="/", env=dict(os.environ), **options)
    told = program.place / "stdout"
    while not (told.exists() and told.read_text()):
        assert program.poll() is None
    return program


def test_a_program_can_be_ended_and_a_kernel_leads_a_group():
    alone, leader = running(), running(group=True)
    assert os.getpgid(leader.pid) == leader.pid != os.getpgid(alone.pid)
    alone.terminate()
    os.killpg(leader.pid, signal.SIGKILL)
    assert (alone.wait(), leader.wait()) == (-signal.SIGTERM, -signal.SIGKILL)
    assert (alone.poll(), leader.poll()) == (-signal.SIGTERM, -signal.SIGKILL)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_whoever_asked_and_is_gone_leaves_no_program_behind():
    program = running()
    program.told.close()
    program.asked.close()
    while alive(program.pid):  # until it has been ended
        os.sched_yield()
