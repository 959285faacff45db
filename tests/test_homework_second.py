"""The second set of exercises: one line switches it on, and handout, checks and grader follow."""

import re

import pytest
from classroom import zipped
from conftest import ROOT
from test_homework_checks import run
from test_homework_round import rows

from diffusion_lib.homework.exercises import get, load_assignment
from grader.trees import stub

SECOND = ("attention", "ddim_step", "guided", "label_tokens", "decoder")
SPOILT = (  # file, what is right, what is wrong, exercise
    ("diffusion_lib/unet.py", "torch.cat([h, skips.pop()]", "torch.cat([skips.pop(), h]", "decoder"),
    ("diffusion_lib/embeddings.py", "(batch,), self.null_label,", "(batch,), 0,", "label_tokens"),
    ("diffusion_lib/guidance.py", "torch.lerp(eps_u, eps_c, scale)", "eps_c + scale * (eps_c - eps_u)", "guided"),
)  # fmt: skip


def second_set(folder):
    """The assignment with the one line changed that hands out the second set."""
    text = (ROOT / "homework" / "assignment.toml").read_text(encoding="utf-8")
    assert text.count('set = "exercises"') == 1
    (folder / "second.toml").write_text(text.replace('set = "exercises"', 'set = "second"'), encoding="utf-8")
    return folder / "second.toml"


def test_one_line_hands_out_the_second_set_and_the_grader_follows(tmp_path):
    assignment = load_assignment(second_set(tmp_path))
    assert assignment.points == load_assignment(ROOT / "homework" / "assignment.toml").points
    run("build", "--out", tmp_path / "out", "--assignment", tmp_path / "second.toml")
    student = tmp_path / "out" / "student"
    out = run("check", cwd=student, code=1).stdout
    assert re.findall(r"^(\w+): not checked\. It is not written yet", out, flags=re.M) == [*SECOND]
    books = "\n".join(p.read_text(encoding="utf-8") for p in (student / "notebooks").glob("*.ipynb"))
    assert [books.count(f'check(\\"{name}\\").show()') for name in SECOND] == [1] * len(SECOND)
    answers = {path: (ROOT / path).read_text(encoding="utf-8") for path in {get(name).path for name in SECOND}}
    (tmp_path / "in").mkdir()
    for path, old, new, name in SPOILT:
        assert old in answers[path]
        zipped(tmp_path / "in", f"wrong_{name}", answers | {path: answers[path].replace(old, new, 1)})
    zipped(tmp_path / "in", "right", answers)
    zipped(tmp_path / "in", "empty", {path: (student / path).read_text(encoding="utf-8") for path in answers})
    run("grade", tmp_path / "in", "--out", tmp_path / "results", "--jobs", 1, "--assignment", tmp_path / "second.toml")
    grades = rows(tmp_path)
    assert (grades["right"]["total"], grades["empty"]["total"]) == ("4", "0")
    for *_, name in SPOILT:
        row = grades[f"wrong_{name}"]
        assert float(row["total"]) == 4 - assignment.exercises[name] / 2, row
        assert row["mistakes"].startswith(f"{name}: ")


def test_of_the_decoder_the_way_down_is_given(tmp_path):
    source = (ROOT / "diffusion_lib/unet.py").read_text(encoding="utf-8")
    text = stub(source, get("decoder"))
    assert "skips.append(h)" in text
    assert "skips.pop()" not in text
    assert "self.middle1(" not in text
    with pytest.raises(ValueError, match=r"no statement 'h = self\.middle1'"):
        stub(source.replace("h = self.middle1", "m = self.middle1"), get("decoder"))
