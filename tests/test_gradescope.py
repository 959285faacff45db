"""Gradescope without Landlock: the hand-in's code runs as another user, and nothing that it can read holds an answer.

The container is stood in for by a folder, and Landlock is said to be missing. Where the tests are not root, as root
alone can run code as somebody else, it is the refusal that is seen.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from classroom import FILE, student_source, write_body
from conftest import ROOT

from diffusion_lib.homework.exercises import TESTS_FILE, load_assignment
from grader.gradescope import write_autograder
from grader.sandbox import client
from grader.sandbox.client import APART, SAFE, UNSAFE, Sandbox

IS_ROOT = os.geteuid() == 0
WITHOUT = """
import os, runpy, sys
sys.path.insert(0, os.getcwd())
from grader.sandbox import client
client.lacking = lambda: "no Landlock, says a test"
sys.argv = sys.argv[2:]
runpy.run_module("diffusion_lib", run_name="__main__", alter_sys=True)
"""
TWO = "[exercises]\nq_sample = { points = 1 }\ntimestep_embedding = { points = 2 }\n"
# What it finds is told in the error. The words that it looks for must not stand in the file that it is in.
PRY = """
import os, signal, socket
secret, found, scratch = (b"return signal" + b" * x_start", b'"noise drawn' + b' inside"'), [], os.getcwd()
tops = [TOP, os.path.dirname(scratch), *(os.path.join(os.path.dirname(scratch), name) for name in ("alone", "given"))]
for top in tops:
    for folder, _, names in os.walk(top):
        for path in (os.path.join(folder, name) for name in names):
            try:
                text = open(path, "rb").read()
            except OSError:
                continue
            if any(word in text for word in secret) or "metadata" in path or path.endswith("record.safetensors"):
                found.append(path)
def can(what, do):
    try:
        do()
        found.append(what)
    except OSError:
        pass
can("kill", lambda: os.kill(os.getppid(), signal.SIGTERM))
can("memory", lambda: open(f"/proc/{os.getppid()}/mem", "rb").read(1))
can("root", lambda: os.setuid(0))
can("write", lambda: open(os.path.join(os.path.dirname(scratch), "alone", "here"), "w"))
can("fork", os.fork)
can("network", socket.socket)
open("/tmp/diffusion-left-behind", "w").write("an answer")
raise RuntimeError(f"user {os.getuid()} {sorted(set(os.getgroups()))} found {found}")
"""


def of_two():
    """An assignment whose record is made in a moment."""
    text = (ROOT / "homework" / "assignment.toml").read_text(encoding="utf-8")
    start, end = text.index("[exercises]"), text.index("# Catch the bug")
    return replace(load_assignment(ROOT / "homework" / "assignment.toml"), source=f"{text[:start]}{TWO}{text[end:]}")


@pytest.fixture
def container():
    """/autograder as Gradescope has it: the zip unpacked, a submission, what it tells of the student; all readable."""
    place = Path(tempfile.mkdtemp(prefix="autograder-"))
    place.chmod(0o755)
    write_autograder(place / "zip", of_two())
    shutil.unpack_archive(place / "zip", place / "source", "zip")
    (place / "zip").unlink()
    (place / "submission_metadata.json").write_text('{"name": "return signal * x_start"}')
    for folder in ("submission/diffusion_lib", "results", "venv/bin"):
        (place / folder).mkdir(parents=True)
    (place / "without.py").write_text(WITHOUT)
    (place / "venv/bin/python").write_text(f'#!/bin/sh\nexec {sys.executable} {place}/without.py "$@"\n')
    (place / "venv/bin/python").chmod(0o755)
    yield place
    shutil.rmtree(place)


def autograded(place, source):
    """The submission ``source``, graded by the script that Gradescope calls; the process and results.json."""
    (place / "submission" / FILE).write_text(source, encoding="utf-8")
    shutil.copy(ROOT / "diffusion_lib" / "embeddings.py", place / "submission" / "diffusion_lib")
    script = (place / "source" / "run_autograder").read_text().replace("/autograder/", f"{place}/")
    script = script.replace("find /autograder ", f"find {place} ")
    assert str(place) in script
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "HOME": str(place / "results")}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    results = place / "results" / "results.json"
    return done, json.loads(results.read_text()) if results.exists() else None


def test_where_a_hand_in_runs_no_file_that_it_can_read_holds_an_answer(container):
    if not IS_ROOT:
        done, results = autograded(container, student_source())
        assert "run this as root" in done.stderr
        assert results is None
        return
    prying = write_body(student_source(), "q_sample", PRY.replace("TOP", repr(str(container))).strip())
    done, results = autograded(container, prying)
    assert done.returncode == 0, done.stderr
    q, embedding = results["tests"]
    assert "found []" in q["output"], q["output"]
    assert "user 0 " not in q["output"]
    assert (q["score"], embedding["score"]) == (0, 2)  # the rest is graded as ever
    assert not os.path.exists("/tmp/diffusion-left-behind")
    assert (container / "source").stat().st_mode & 0o077 == 0


@pytest.fixture
def apart(monkeypatch):
    monkeypatch.setattr(client, "lacking", lambda: "no Landlock, says a test")
    with Sandbox(7, ["q_sample", "ddpm_loss"], unsafe=True) as sandbox:
        yield sandbox


def test_who_runs_hand_ins_says_how_they_are_kept_away(apart):
    assert apart.mode == (APART if IS_ROOT else UNSAFE)
    assert {SAFE, APART, UNSAFE} == {"safe", "apart", "unsafe"}


def test_students_tests_run_as_that_user_too(apart):
    body = "import os\n\ndef test_it(q_sample):\n    raise RuntimeError if os.getuid() == 0 else KeyError\n"
    tried = apart.try_tests("q_sample", {TESTS_FILE: body}, "style/one line")
    assert tried.problem == ""
    assert tried.raised["test_it"].kind == "KeyError"


def test_what_runs_on_after_its_end_is_ended(apart):
    """One that ends without an answer has its limits, and the next hand-in finds nothing of it."""
    ends = write_body(student_source(), "q_sample", "import os\nos._exit(0)")
    assert "ended the program" in apart.run("q_sample", ends).problem
    assert apart.run("q_sample", student_source()).seen is not None


def test_the_autograders_zip_holds_no_phrase_of_the_variants(tmp_path):
    assignment = load_assignment(ROOT / "homework" / "assignment.toml")
    source = assignment.source.replace('variants = ""', 'variants = "a quiet pond in spring"')
    assert source != assignment.source
    write_autograder(tmp_path / "zip", replace(assignment, source=source, variants="a quiet pond in spring"))
    shutil.unpack_archive(tmp_path / "zip", tmp_path / "out", "zip")
    assert not [p for p in tmp_path.rglob("out/**/*") if p.is_file() and b"a quiet pond" in p.read_bytes()]
