"""A class of generated students for the tests and the benchmark: right, wrong, strange and hostile."""

import ast
import os
import zipfile
from pathlib import Path

from conftest import ROOT

FILE = "diffusion_lib/diffusion.py"
SOLUTION = (ROOT / FILE).read_text(encoding="utf-8")


def write_body(source: str, name: str, body: str) -> str:
    """``source`` with the body of the function ``name`` replaced."""
    node = next(n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name)
    lines = source.splitlines()
    new = ["    " + line for line in body.splitlines()]
    return "\n".join([*lines[: node.body[0].end_lineno], *new, *lines[node.end_lineno :]]) + "\n"


RIGHT = {
    "library": {},
    "eq_7_clipped_beta": {
        "p_sample": "x_start = predict_x_start(schedule, x_t, t, eps).clamp(-1, 1)\n"
        "mean = q_posterior(schedule, x_start, x_t, t).mean\n"
        "return mean + schedule.at('betas', t, x_t).sqrt() * noise * (t > 0).view(-1, 1, 1, 1)",
    },
}  # fmt: skip
WRONG = {  # body, and the name that the check must give
    "multiplies_by_root_alpha": ("p_sample", "a, b = schedule.at('alphas', t, x_t), schedule.at('betas', t, x_t)\n"
        "mean = a.sqrt() * (x_t - b / (1 - schedule.at('alphas_cumprod', t, x_t)).sqrt() * eps)\n"
        "return mean + schedule.at('posterior_std', t, x_t) * noise", "multiplies by √α_t where Algorithm 2 divides"),
    "root_missing": ("q_sample", "a = schedule.at('alphas_cumprod', t, x_start)\n"
        "return a.sqrt() * x_start + (1 - a) * noise", "the noise lacks its root"),
    "no_last_level": ("ddpm_loss", "t = torch.randint(0, len(schedule) - 1, (len(x_start),)) if t is None else t\n"
        "noise = torch.randn_like(x_start) if noise is None else noise\n"
        "return mse_loss(model(q_sample(schedule, x_start, t, noise), t, label), noise)",
        "the last level is never drawn"),
    "no_grad": ("ddpm_loss", "t = torch.randint(0, len(schedule), (len(x_start),)) if t is None else t\n"
        "noise = torch.randn_like(x_start) if noise is None else noise\nwith torch.no_grad():\n"
        "    eps = model(q_sample(schedule, x_start, t, noise), t, label)\nreturn mse_loss(eps, noise)", "no gradient"),
    "unknown": ("q_sample", "return 0.7 * x_start + 0.1 * noise", ""),
}  # fmt: skip
FORGED = "import json\nprint(json.dumps({'score': 12, 'passed': True}))\n"
HOSTILE = {  # source of the whole file -> words of the verdict on q_sample
    "endless": (write_body(SOLUTION, "q_sample", "while True: pass"), "did not end"),
    "sleeps": (write_body(SOLUTION, "q_sample", "import time; time.sleep(1000)"), "did not end"),
    "memory": (write_body(SOLUTION, "q_sample", "return torch.ones(2**34)"), "memory"),
    "forks": (write_body(SOLUTION, "q_sample", "import os\nwhile True: os.fork()"), "not permitted"),
    "exits": (write_body(SOLUTION, "q_sample", "import os; os._exit(0)"), "ended the program"),
    "exits_at_import": ("import os; os._exit(0)\n" + SOLUTION, "ended the program"),
    "syntax": (SOLUTION.replace("return signal * x_start", "return signal * * x_start"), "not valid Python"),
    "merge": ("<<<<<<< HEAD\n" + SOLUTION + "=======\n>>>>>>> mine\n", "merge marks"),
    "passwords": (write_body(SOLUTION, "q_sample", "return open('/etc/passwd').read()"), "Permission denied"),
    "answers": (write_body(SOLUTION, "q_sample", f"return open({str(ROOT / FILE)!r}).read()"), "Permission denied"),
    "catalogue": (write_body(SOLUTION, "q_sample", "from grader.catalogue.mistakes import build\n"
        "return build('q_sample')(schedule, x_start, t, noise)"), "No module named 'grader.catalogue'"),
    "recorded": (write_body(SOLUTION, "q_sample", "from diffusion_lib.homework.records import shipped_record\n"
        "return shipped_record()"), "is missing"),
    "socket": (write_body(SOLUTION, "q_sample", "import socket; socket.create_connection(('127.0.0.1', 9))"),
               "not permitted"),
    "kills": (write_body(SOLUTION, "q_sample", "import os; os.kill(os.getppid(), 9)"), "not permitted"),
    "shell": (write_body(SOLUTION, "q_sample", "import subprocess; subprocess.run(['true'])"), "not permitted"),
    "writes_outside": (write_body(SOLUTION, "q_sample", "open('/tmp/diffusion-was-here', 'w')"), "Permission denied"),
    "fills_disk": (write_body(SOLUTION, "q_sample", "open('big', 'wb').write(bytes(2**27))"), "too large"),
    "crashes": (write_body(SOLUTION, "q_sample", "import ctypes; ctypes.string_at(0)"), "crashed"),
    "patches_the_checks": (FORGED + "import diffusion_lib.homework.probes as p\n"
        "p.PROBES = dict.fromkeys(p.PROBES, lambda f, key: p.Observation({'S T = 1000': torch.zeros(5)}))\n"
        "import torch\n" + write_body(SOLUTION, "q_sample", "return x_start"), "no answer"),
    "prints_perfection": (FORGED + write_body(SOLUTION, "q_sample", "return x_start"), "not yet right"),
    "forges_its_answer": (write_body(SOLUTION, "q_sample", "open('answer.safetensors', 'w').write('{}')\n"
        "import os; os._exit(0)"), "cannot be read"),
    "no_function": ("import torch\n", "has no function"),
}  # fmt: skip


def student_source(**bodies: str) -> str:
    """The answer key with some functions written differently."""
    source = SOLUTION
    for name, body in bodies.items():
        source = write_body(source, name, body)
    return source


def zipped(folder: Path, name: str, files: dict[str, str | bytes]) -> None:
    with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in files.items():
            archive.writestr(path, text)


def make_class(folder: Path) -> None:
    """One hand-in of every kind."""
    folder.mkdir()
    for name, bodies in RIGHT.items():
        zipped(folder, f"right_{name}", {f"homework/{FILE}": student_source(**bodies), "homework/write-up.md": "Mine."})
    for name, (exercise, body, _) in WRONG.items():
        zipped(folder, f"wrong_{name}", {f"homework/{FILE}": student_source(**{exercise: body})})
    for name, (source, _) in HOSTILE.items():
        zipped(folder, f"hostile_{name}", {f"homework/{FILE}": source})
    good = student_source()
    zipped(folder, "doejane_LATE_111_2001_homework", {f"homework/{FILE}": good})
    zipped(folder, "roerick_112_2002_homework", {f"homework/{FILE}": "import torch\n"})
    zipped(folder, "roerick_112_2005_homework-1", {f"homework/{FILE}": good})
    zipped(folder, "strange_deep", {f"a/b/c/{FILE}": good, f"__MACOSX/{FILE}": "x"})
    zipped(folder, "strange_flat", {"diffusion.py": good})
    zipped(folder, "strange_escape", {f"../../{FILE}": good, f"/abs/{FILE}": good})
    zipped(folder, "strange_empty", {})
    zipped(folder, "strange_bomb", {f"homework/{FILE}": b"#" * 300_000_000})
    zipped(folder, "strange_latin", {f"homework/{FILE}": ("# é\n" + good).encode("latin-1", "replace")})
    (folder / "strange_torn.zip").write_bytes(b"PK\x03\x04 no zip")
    plain = folder / os.fsdecode(b"strange_n\xffme")
    (plain / "diffusion_lib").mkdir(parents=True)
    (plain / FILE).write_text(good, encoding="utf-8")
    (plain / "link").symlink_to("/etc/passwd")
    (plain / "loop").symlink_to(plain)
    with (plain / "huge.bin").open("wb") as file:
        file.truncate(2**30)  # a hand-in of 1 GiB
    (folder / "strange_link").symlink_to("/etc")
    (folder / "strange_deleted").mkdir()
    (folder / "strange_deleted" / "notes.txt").write_text("I lost my files.")
