"""A class of forty, every hand-in another style of code, packing and encoding: home and grader say the same of each."""

import compileall
import csv
import io
import json
import shutil
import tarfile

import pytest
from classroom import FILE, RIGHT, WRONG, student_source
from conftest import ROOT
from test_hand_ins import HELPER, RIGHT_CODE, UTILS, Q, notebook, packed, replaced
from test_homework_checks import PLAIN, run
from warm import python

from diffusion_lib.homework.exercises import get
from grader.trees import copy_package

SIZE = 40
HELPED = replaced("q_sample", Q.replace('schedule.at("alphas_cumprod", t, x_start)',
                  "extract(schedule.alphas_cumprod, t, x_start)"), HELPER)  # fmt: skip
# What takes seconds to import is imported in test_hand_ins; here it is enough that something is missing.
LIGHT = {"heavy_imports": "import pandas as pd\nfrom tqdm.auto import tqdm\n"}
CODE = {
    **{name: {FILE: replaced(exercise, text, "import torch\n" * ("torch." in top) + LIGHT.get(name, top))}
       for name, (exercise, text, top) in RIGHT_CODE.items()},
    **{name: {FILE: student_source(**bodies)} for name, bodies in RIGHT.items()},
    "helper": {FILE: HELPED, "diffusion_lib/my_utils.py": UTILS},
    **{f"wrong_{name}": {FILE: student_source(**{exercise: body})} for name, (exercise, body, _) in WRONG.items()},
}  # fmt: skip
ENCODINGS = {
    "utf-8": lambda text: text.encode(),
    "mark": lambda text: text.encode("utf-8-sig"),
    "crlf": lambda text: text.replace("\n", "\r\n").encode(),
    "utf-16": lambda text: text.encode("utf-16"),
    "cp1252": lambda text: ("# -*- coding: cp1252 -*-\n# schön\n" + text).encode("cp1252", "replace"),
    "latin-1": lambda text: ("# schön\n" + text).encode("latin-1", "replace"),
}
NOT_HERE = {"heavy_imports", "colab"}  # import what this machine may lack; the grader has stand-ins
READ_BY_PYTHON = set(ENCODINGS) - {"utf-16", "latin-1"}


def zipped(path, files):
    path.write_bytes(packed(files))


def tarred(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"./homework/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def unpacked(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def under(top, files):
    return {f"{top}{name}": data for name, data in files.items()}


def of_two(folder, who, files):
    zipped(folder / f"{who}_{1000 + len(who)}_1_code.zip", files)
    zipped(folder / f"{who}_{1000 + len(who)}_2_notebooks.zip", {"01.ipynb": notebook("1 + 1").encode()})
    return f"{who}_{1000 + len(who)}_1_code.zip"


def named(suffix, write):
    def pack(folder, who, files):
        write(folder / f"{who}{suffix}", files)
        return f"{who}{suffix}"

    return pack


PACKINGS = {
    "as_packed": named(".zip", lambda p, f: zipped(p, under("homework/", f))),
    "windows": named(".zip", lambda p, f: zipped(p, {n.replace("/", "\\"): d for n, d in f.items()})),
    "zip_in_zip": named(".zip", lambda p, f: zipped(p, {"homework.zip": packed(f)})),
    "moodle": named("_77_assignsubmission_file_", lambda p, f: unpacked(p, {"h.zip": packed(under("h/", f))})),
    "moodle_open": named("_78_assignsubmission_file_", unpacked),
    "canvas": of_two,
    "tar": named(".tar.gz", tarred),
    "environment": named(".zip", lambda p, f: zipped(p, f | {f".venv/{FILE}": b"", "node_modules/a.py": b""})),
    "backup": named(".zip", lambda p, f: zipped(p, f | under("backup/", {FILE: b"import torch\n"}))),
    "numbered": named(".zip", lambda p, f: zipped(p, {n.replace("diffusion.py", "diffusion (1).py"): d
                                                      for n, d in f.items()})),
    "capitals": named(".zip", lambda p, f: zipped(p, {n.replace("diffusion", "Diffusion"): d for n, d in f.items()})),
    "flat": named(".zip", lambda p, f: zipped(p, {n.rpartition("/")[2]: d for n, d in f.items()})),
    "download": named(" (1).zip", lambda p, f: zipped(p, under("student/", f))),
}  # fmt: skip


def crossing(size=SIZE):
    """(code, packing, encoding) for each student: every value of each comes up, in other company each time."""
    lists = [(list(CODE), 1), (list(PACKINGS), 5), (list(ENCODINGS), 5)]
    return [tuple(kinds[(i * step + i // len(kinds)) % len(kinds)] for kinds, step in lists)
            for i in range(size)]  # fmt: skip


HOME = """
import json, os, sys, torch
for line in sys.stdin:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.chdir(line.strip())
        sys.path.insert(0, os.getcwd())
        from diffusion_lib.homework.checks import check_all
        found = {v.exercise: v.passed for v in check_all(["q_sample", "ddpm_loss", "p_sample"])}
        os.write(writer, json.dumps(found).encode())
        os._exit(0)
    os.close(writer)
    os.wait()
    print(os.read(reader, 10000).decode(), flush=True)
    os.close(reader)
"""


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    """For each student: kinds, what check says in the student's own folder, the row of grades.csv; and the report."""
    home = tmp_path_factory.mktemp("forty")
    (home / "in").mkdir()
    taken = [get(name) for name in ("q_sample", "ddpm_loss", "p_sample")]
    copy_package(ROOT / "diffusion_lib", home / "clean", taken=taken, without={"weights"})
    compileall.compile_dir(home / "clean", quiet=1)  # else each of forty copies is compiled anew
    places, names = [], []
    for i, (code, packing, encoding) in enumerate(crossing()):
        files = {name: ENCODINGS[encoding](text) for name, text in CODE[code].items()}
        shutil.copytree(home / "clean", home / f"student{i}")
        unpacked(home / f"student{i}", files)
        places.append(str(home / f"student{i}"))
        names.append(PACKINGS[packing](home / "in", f"student{chr(65 + i // 26)}{chr(65 + i % 26)}", files))
    run("grade", home / "in", "--out", home / "out", "--jobs", 1)
    checks = python("-c", HOME, cwd=home, env=PLAIN, stdin="\n".join(places))
    assert checks.returncode == 0, checks.stderr
    with (home / "out" / "grades.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["hand_in"]: row for row in csv.DictReader(file)}
    said = [json.loads(line) for line in checks.stdout.splitlines()]
    report = (home / "out" / "report.html").read_text(encoding="utf-8")
    return [*zip(crossing(), said, [rows[name] for name in names], strict=True)], names, report


def test_every_kind_is_in_the_class():
    for i, kinds in enumerate((CODE, PACKINGS, ENCODINGS)):
        assert {student[i] for student in crossing()} == set(kinds)


def test_what_passes_at_home_earns_the_same_from_the_grader(forty):
    worth = {"q_sample": "1", "ddpm_loss": "2", "p_sample": "1"}
    for kinds, home, row in forty[0]:
        for exercise, points in worth.items():
            right = row[exercise] == points
            assert right or not home[exercise], (kinds, exercise)
            once = exercise == "ddpm_loss" and not home["q_sample"]  # the grader counts no mistake twice
            # What Python cannot read at home, the grader reads all the same.
            if kinds[2] in READ_BY_PYTHON and kinds[0] not in NOT_HERE and not once:
                assert right == home[exercise], (kinds, exercise)


def test_no_right_answer_gets_a_zero(forty):
    right = [(kinds, row["total"]) for kinds, _, row in forty[0] if not kinds[0].startswith("wrong")]
    assert [student for student in right if student[1] != "4"] == []
    assert all(row["total"] not in ("0", "4") for kinds, _, row in forty[0] if kinds[0].startswith("wrong"))


def test_every_hand_in_of_the_class_is_in_the_report(forty):
    assert len(forty[1]) == SIZE
    assert [name for name in forty[1] if name not in forty[2]] == []
