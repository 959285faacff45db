"""Hand-ins as students really send them: packed, named and written in every way. One run grades them all."""

import ast
import csv
import io
import json
import tarfile
import zipfile

import nbformat
import pytest
from classroom import FILE, SOLUTION, student_source, write_body, zipped
from test_homework_checks import run

from diffusion_lib.homework.exercises import assignment_path, get, load_assignment
from grader.grading import Result, grade
from grader.reports import write_reports
from grader.sandbox.client import Sandbox
from grader.trees import stub

STUBS = SOLUTION
for exercise in (get(name) for name in ("q_sample", "ddpm_loss", "p_sample")):
    STUBS = stub(STUBS, exercise)
GOOD = student_source()


def packed(files):
    """The bytes of a .zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def replaced(name, text, top=""):
    """The answer key with the whole function ``name`` replaced by ``text``, and ``top`` above everything."""
    node = next(n for n in ast.parse(SOLUTION).body if isinstance(n, ast.FunctionDef) and n.name == name)
    lines = SOLUTION.splitlines()
    docstring_end = ast.parse(SOLUTION).body[0].end_lineno
    body = [*lines[docstring_end : node.lineno - 1], *text.splitlines(), *lines[node.end_lineno :]]
    return "\n".join([*lines[:docstring_end], *top.splitlines(), *body]) + "\n"


def notebook(code):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    return nbformat.writes(book)


Q = """def q_sample(schedule, x_start, t, noise):
    a = schedule.at("alphas_cumprod", t, x_start)
    return a.sqrt() * x_start + (1 - a).sqrt() * noise
"""
LOSS = """def ddpm_loss(model, schedule, x_start, label=None, *, t=None, noise=None):
    t = torch.randint(len(schedule), (len(x_start),)) if t is None else t
    noise = {} if noise is None else noise
    return mse_loss(model(q_sample(schedule, x_start, t, noise), t, label), noise)
"""
P = """def p_sample(schedule, x_t, t, eps, noise):
    b, bar = schedule.at("betas", t, x_t), schedule.at("alphas_cumprod", t, x_t)
    mean = (x_t - b * eps / (1 - bar).sqrt()) / (1 - b).sqrt()
"""
STUB = '    raise NotImplementedError("Exercise 1.1, q_sample: return x_t. See notebook 01.")\n'
RIGHT_CODE = {
    "heavy_imports": ("q_sample", Q, "import matplotlib.pyplot as plt\nfrom tqdm.auto import tqdm\nimport torchvision\n"
                      "import torchmetrics\nfrom IPython.display import display\nimport pandas as pd\n"),
    "colab": ("q_sample", Q, "from google.colab import drive\ndrive.mount('/content/drive')\n"),
    "relative": ("q_sample", Q, "from . import schedules as sch\n"),
    "heading": ("q_sample", Q, 'NOTES = """\nResults\n=======\n\n<<<<<<< so to say\n>>>>>>> and so on\n"""\n'),
    "in_try": ("q_sample", "try:\n    import einops\n" + "".join(f"    {line}\n" for line in Q.splitlines())
               + "except ImportError:\n    q_sample = None\n", ""),
    "lambda": ("q_sample", "q_sample = lambda schedule, x_start, t, noise: ("
               "schedule.at('sqrt_alphas_cumprod', t, x_start) * x_start"
               " + schedule.at('sqrt_one_minus_alphas_cumprod', t, x_start) * noise)\n", ""),
    "decorated": ("q_sample", Q.replace("q_sample", "_q") + "q_sample = torch.no_grad()(_q)\n", ""),
    "compiled": ("q_sample", Q.replace("q_sample", "_q") + "q_sample = torch.compile(_q)\n", ""),
    "method": ("q_sample", "class Forward:\n    def noised(self, schedule, x_start, t, noise):\n"
               "        a = schedule.at('alphas_cumprod', t, x_start)\n"
               "        return a.sqrt() * x_start + (1 - a).sqrt() * noise\n\n\nq_sample = Forward().noised\n", ""),
    "via_ddim": ("p_sample", "def p_sample(schedule, x_t, t, eps, noise):\n"
                 "    return ddim_step(schedule, x_t, t, t - 1, eps, noise, eta=1.0)\n", ""),
    "via_posterior": ("p_sample", "def p_sample(schedule, x_t, t, eps, noise):\n"
                      "    x_start = predict_x_start(schedule, x_t, t, eps)\n"
                      "    mean, variance = q_posterior(schedule, x_start, x_t, t)\n"
                      "    return mean + variance.sqrt() * noise\n", ""),
    "q_float32": ("q_sample", Q.replace('schedule.at("alphas_cumprod", t, x_start)',
                  "schedule.alphas_cumprod.float()[t].view(-1, 1, 1, 1)")
                  .replace("* x_start", "* x_start.float()"), ""),
    "loss_float32": ("ddpm_loss", LOSS.format("torch.randn_like(x_start)").replace(
                     "model(q_sample(schedule, x_start, t, noise), t, label)",
                     "model(q_sample(schedule, x_start, t, noise).float(), t, label)"), ""),
    "former_name": ("ddpm_loss", LOSS.format("torch.randn_like(x_start)").replace(
                    "torch.randint(len(schedule), (len(x_start),))",
                    "draw_levels(len(schedule), len(x_start), None, x_start.device)"),
                    "from diffusion_lib.recipe import draw_levels\n"),
    "numbers_at_home": ("q_sample", Q, "torch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)\n"
                        "torch.manual_seed(0)\n"),
}  # fmt: skip
TOLD_CODE = {  # exercise, its text, what stands at the top, words of the verdict
    "stub_below": ("q_sample", Q + "\n\n" + Q.splitlines()[0] + "\n" + STUB, "", "the stub in line"),
    "below_raise": ("q_sample", Q.replace("\n    a =", "\n" + STUB + "    a ="), "", "below the stub's raise in line"),
    "torchs_own": ("q_sample", Q.replace("    a =", "    noise = torch.randn_like(t).view(-1, 1, 1, 1)\n    a =", 1),
                   "",
                   "not implemented for"),
    "own_not_written": ("q_sample", "def q_sample(schedule, x_start, t, noise):\n"
                        "    raise NotImplementedError('forward')\n", "", "NotImplementedError: forward"),
    "gone": ("q_sample", Q, "from diffusion_lib.recipes import draw_levels\n", "diffusion_lib.recipes"),
    "an_image_a_number": ("ddpm_loss", LOSS.format("torch.randn(len(x_start), 1, 1, 1).to(x_start).expand_as(x_start)"),
                          "", "one number of noise for each image"),
    "a_channel_a_number": ("ddpm_loss", LOSS.format(
        "torch.randn(*x_start.shape[:2], 1, 1).to(x_start).expand_as(x_start)"), "", "not yet right"),
    "clamped": ("ddpm_loss", LOSS.format("torch.randn_like(x_start).clamp(-2.5, 2.5)"), "", "the noise has no tails"),
    "first_decides": ("p_sample", P + '    if t[0] == 0:\n        return mean\n    return mean + b.sqrt() * noise\n',
                      "",
                      "the first image decides for the whole batch"),
}  # fmt: skip
STATE_LINES = ("torch.set_default_dtype", "torch.set_grad_enabled", "torch.manual_seed")
HELPER = "from diffusion_lib.my_utils import extract\n"
UTILS = "def extract(table, t, like):\n    return table.to(like.dtype)[t].view(-1, 1, 1, 1)\n"


def code_hand_ins(folder):
    for name, (exercise, text, top) in RIGHT_CODE.items():
        top = "import torch\n" + top if "torch." in top else top
        zipped(folder, f"right_{name}", {f"homework/{FILE}": replaced(exercise, text, top)})
    for name, (exercise, text, top, _) in TOLD_CODE.items():
        zipped(folder, f"told_{name}", {f"homework/{FILE}": replaced(exercise, text, top)})
    helped = replaced("q_sample", Q.replace("schedule.at(\"alphas_cumprod\", t, x_start)",
                      "extract(schedule.alphas_cumprod, t, x_start)"), HELPER)  # fmt: skip
    zipped(folder, "right_helper", {f"h/{FILE}": helped, "h/diffusion_lib/my_utils.py": UTILS})
    three = replaced("q_posterior", "def q_posterior(schedule, x_start, x_t, t):\n"
        "    mean = schedule.at('posterior_x_start_coef', t, x_t) * x_start\n"
        "    mean = mean + schedule.at('posterior_x_t_coef', t, x_t) * x_t\n"
        "    variance = schedule.at('posterior_variance', t, x_t)\n"
        "    return mean, variance, torch.log(variance.clamp(min=1e-20))\n")  # fmt: skip
    zipped(folder, "right_three", {FILE: write_body(three, "p_sample",
        "x0 = predict_x_start(schedule, x_t, t, eps).clamp(-1, 1)\n"
        "mean, _, log_var = q_posterior(schedule, x0, x_t, t)\n"
        "return mean + (t != 0).float().view(-1, 1, 1, 1) * (0.5 * log_var).exp() * noise")})  # fmt: skip


def packings(folder):
    """Right answers, however they are packed; returns nothing, writes the folder."""
    zipped(folder, "pack_backslash", {"homework\\diffusion_lib\\diffusion.py": GOOD})
    zipped(folder, "pack_zip_in_zip", {"homework.zip": packed({FILE: GOOD})})
    for name, files in {
        "Jane Doe_123456_assignsubmission_file_": {"homework.zip": packed({FILE: GOOD})},
        "Max Muster_123457_assignsubmission_file_": {FILE: GOOD},
        "pack_environment": {FILE: GOOD, **{f".venv/lib/m{i}.py": "" for i in range(300)}},
    }.items():
        for path, text in files.items():
            (folder / name / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / name / path).write_bytes(text if isinstance(text, bytes) else text.encode())
    zipped(folder, "roe_112_3001_code", {FILE: GOOD})
    zipped(folder, "roe_112_3002_notebooks", {"notebooks/01.ipynb": notebook("1 + 1")})
    zipped(
        folder, "pack_zipped_environment", {**{f"h/.venv/lib/m{i}.py": "" for i in range(20_001)}, f"h/{FILE}": GOOD}
    )
    for name in ("homework", "homework (1)", "homework (2)"):
        zipped(folder, name, {FILE: GOOD})
    zipped(folder, "pack_numbered", {"homework/diffusion_lib/diffusion (1).py": GOOD})
    zipped(folder, "pack_capital", {"Diffusion_Lib/Diffusion.py": GOOD})
    (folder / "diffusion.py").write_text(GOOD)
    (folder / "bare_111_2001_diffusion.py").write_text(GOOD)
    with tarfile.open(folder / "pack_tar.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo(f"./homework/{FILE}")
        info.size = len(GOOD.encode())
        archive.addfile(info, io.BytesIO(GOOD.encode()))
    for encoding in ("utf-16", "utf-16-le", "utf-8-sig"):
        zipped(folder, f"pack_{encoding}", {FILE: GOOD.encode(encoding)})
    zipped(folder, "pack_cr", {FILE: GOOD.replace("\n", "\r")})
    zipped(folder, "pack_backup", {f"{FILE}": GOOD, f"backup/{FILE}": STUBS})
    zipped(folder, "pack_backup_first", {f"a/b/c/{FILE}": GOOD, f"a/{FILE}": STUBS})


def unclear(folder):
    zipped(folder, "ask_two", {f"one/{FILE}": GOOD, f"two/{FILE}": write_body(SOLUTION, "q_sample", "return x_start")})
    zipped(folder, "ask_notebook", {FILE: STUBS, "notebooks/01.ipynb": notebook(Q)})
    zipped(folder, "ask_notebook_only", {"01.ipynb": notebook(Q)})
    (folder / "essay.rar").write_bytes(b"Rar!")
    (folder / ".DS_Store").write_bytes(b"")


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    home = tmp_path_factory.mktemp("sent")
    (home / "in").mkdir()
    for write in (code_hand_ins, packings, unclear):
        write(home / "in")
    run("grade", home / "in", "--out", home / "out", "--jobs", 1)
    return home


@pytest.fixture(scope="module")
def rows(graded):
    with (graded / "out" / "grades.csv").open(newline="", encoding="utf-8") as file:
        return {row["hand_in"]: row for row in csv.DictReader(file)}


def stored(graded, name):
    [folder] = [f for f in (graded / "out" / "students").iterdir() if f.name.startswith(name)]
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def test_a_right_answer_is_right_however_it_is_packed(rows):
    packed_ones = [n for n in rows if n.startswith(("pack_", "bare", "diffusion.py", "homework", "roe", "Jane", "Max"))]
    assert len(packed_ones) == 21
    assert {name: rows[name]["total"] for name in packed_ones} == dict.fromkeys(packed_ones, "4")


def test_students_are_known_by_the_names_that_the_course_system_gives(rows, graded):
    assert rows["Jane Doe_123456_assignsubmission_file_"]["student"] == "Jane Doe (123456)"
    assert "roe_112_3002_notebooks.zip" not in rows  # one hand-in of two files, both named
    assert "roe_112_3002_notebooks.zip" in " ".join(stored(graded, "roe_112_3001_code")["notes"])
    assert stored(graded, "roe_112_3001_code")["papers"] == ["roe_112_3002_notebooks.zip/notebooks/01.ipynb"]
    assert "of one student?" in " ".join(stored(graded, "homework_1")["for_teacher"])


def test_where_the_right_file_cannot_be_told_the_teacher_is_asked(rows, graded):
    assert (rows["ask_two.zip"]["status"], rows["ask_two.zip"]["total"]) == ("unclear", "")
    assert f"one/{FILE}, two/{FILE}" in " ".join(stored(graded, "ask_two")["notes"])
    for name in ("ask_notebook.zip", "ask_notebook_only.zip"):
        assert (rows[name]["status"], rows[name]["total"]) == ("unclear", "")
        [line] = stored(graded, name)["exercises"]["q_sample"]["lines"]
        assert "is in the notebook" in line
        assert "you decide" in " ".join(stored(graded, name)["notes"])


def test_every_file_of_the_folder_is_in_the_report(graded):
    report = (graded / "out" / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in (graded / "in").iterdir() if path.name not in report] == []


def test_every_row_of_the_marking_sheet_stays_and_is_in_the_report(graded):
    results = [Result(name, name, False, "graded") for name in ("jane.zip", "max.zip")]
    assignment = load_assignment(assignment_path())
    sheet = graded / "marks" / "marking.csv"
    sheet.parent.mkdir()
    write_reports(sheet.parent, results, assignment)
    rows = sheet.read_text(encoding="utf-8").splitlines()
    sheet.write_text("\n".join([*rows[:2], "max.zip,max,1,2,3,fine,"]) + "\n", encoding="utf-8")
    write_reports(sheet.parent, results[:1], assignment)
    assert "max.zip" in (sheet.parent / "report.html").read_text(encoding="utf-8")
    assert "max.zip,max,1,2,3,fine," in sheet.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", [*RIGHT_CODE, "helper", "three"])
def test_code_that_is_right_at_home_is_right_at_the_grader(rows, graded, name):
    assert rows[f"right_{name}.zip"]["total"] == "4", stored(graded, f"right_{name}.zip")["exercises"]


def test_what_was_worked_round_is_noted(graded):
    assert "google.colab is not installed" in " ".join(stored(graded, "right_colab")["notes"])
    assert "diffusion_lib.recipe is diffusion_lib.training.recipe now" in " ".join(
        stored(graded, "right_former")["notes"]
    )
    lines = "\n".join(stored(graded, "right_numbers_at_home")["exercises"]["ddpm_loss"]["lines"])
    for number, call in enumerate(STATE_LINES, start=7):
        assert f"line {number}: {call}" in lines


@pytest.mark.parametrize("name", TOLD_CODE)
def test_what_is_not_right_is_told_by_name(graded, name):
    exercise, _, _, words = TOLD_CODE[name]
    entry = stored(graded, f"told_{name}.zip")["exercises"][exercise]
    assert not entry["passed"]
    assert words in "\n".join(entry["lines"])


def test_a_failing_machine_is_never_a_grade(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    zipped(tmp_path / "in", "jane", {FILE: GOOD})
    assignment, asked = load_assignment(assignment_path()), []
    monkeypatch.setattr(Sandbox, "_ask", lambda *job: asked.append(job) or "machine: no process")
    monkeypatch.setattr("grader.grading.kept_record", lambda *names, key: {})  # nothing comes back to be judged
    [(result, known)] = grade(tmp_path / "in", tmp_path / "out", assignment)
    assert (result.status, known, result.exercises) == ("not graded", False, {})
    assert len(asked) == 2  # tried once more
    write_reports(tmp_path / "out", [result], assignment)
    assert "no process" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    [row] = csv.DictReader((tmp_path / "out" / "grades.csv").read_text(encoding="utf-8").splitlines())
    assert (row["status"], row["total"]) == ("not graded", "")
    [(_, known)] = grade(tmp_path / "in", tmp_path / "out", assignment)
    assert not known  # nothing was stored: the next run asks again
