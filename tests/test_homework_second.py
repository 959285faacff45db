"""The other sets of exercises: one line switches one on, and handout, checks and grader follow."""

import json
import re
import tomllib

import pytest
from classroom import zipped
from conftest import ROOT
from test_homework_checks import run
from test_homework_round import rows

from diffusion_lib.homework.exercises import EXERCISES, get, load_assignment
from grader.trees import stub

ASSIGNMENT = (ROOT / "homework" / "assignment.toml").read_text(encoding="utf-8")
SETS = {
    "second": ("attention", "ddim_step", "guided", "label_tokens", "decoder"),
    "third": ("flow_loss", "euler_step", "inpaint_step", "encode_scaled"),
}
ALL = [name for names in SETS.values() for name in names]
SPOILT = {  # a hand-in for each row: file, what is right, what is wrong, exercise
    "first": (
        ("unet.py", "torch.cat([h, skips.pop()]", "torch.cat([skips.pop(), h]", "decoder"),
        ("flow.py", "velocity = noise - x_start", "velocity = x_start - noise", "flow_loss"),
    ),
    "second": (
        ("embeddings.py", "(batch,), self.null_label,", "(batch,), 0,", "label_tokens"),
        ("flow.py", "(tau_next - tau) * velocity", "tau_next * velocity", "euler_step"),
    ),
    "third": (
        ("guidance.py", "torch.lerp(eps_u, eps_c, scale)", "eps_c + scale * (eps_c - eps_u)", "guided"),
        ("editing.py", "noised.where(mask > 0, x_prev)", "noised.where(mask < 1, x_prev)", "inpaint_step"),
        ("latents.py", "model.encode(x).mean / scale", "model.encode(x).mean * scale", "encode_scaled"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_one_line_switches_to_another_set_for_the_same_points(tmp_path, name):
    assert ASSIGNMENT.count('set = "exercises"') == 1
    (tmp_path / "a.toml").write_text(ASSIGNMENT.replace('set = "exercises"', f'set = "{name}"'), encoding="utf-8")
    assignment = load_assignment(tmp_path / "a.toml")
    assert sorted(assignment.exercises) == sorted(SETS[name])
    assert sum(assignment.exercises.values()) == 4
    assert assignment.points == load_assignment(ROOT / "homework" / "assignment.toml").points


def of_every_set(folder):
    """The assignment that hands out all of them: one handout and one round of grading are enough to see them work."""
    tables = tomllib.loads(ASSIGNMENT)
    lines = [f"{name} = {{ points = {tables[chosen][name]['points']} }}" for chosen in SETS for name in SETS[chosen]]
    table = "\n".join(["[every]", *lines, "\n[rules]"])
    text = ASSIGNMENT.replace('set = "exercises"', 'set = "every"').replace("[rules]", table)
    (folder / "every.toml").write_text(text, encoding="utf-8")
    return folder / "every.toml"


def test_the_other_sets_are_handed_out_and_graded(tmp_path):
    path = of_every_set(tmp_path)
    worth = load_assignment(path).exercises
    run("build", "--out", tmp_path / "out", "--assignment", path)
    student = tmp_path / "out" / "student"
    out = run("check", cwd=student, code=1).stdout
    assert re.findall(r"^(\w+): not checked\. It is not written yet", out, flags=re.M) == ALL
    books = "\n".join(p.read_text(encoding="utf-8") for p in (student / "notebooks").glob("*.ipynb"))
    assert [books.count(f'check(\\"{name}\\").show()') for name in ALL] == [1] * len(ALL)
    assert "put_back = ..." not in books  # a line to write, which is that of inpaint_step
    for name in ("euler_step", "encode_scaled"):  # which stand at a section's end, behind the answers in it
        book = json.loads((student / "notebooks" / f"{get(name).notebook}.ipynb").read_text(encoding="utf-8"))
        place = next(i for i, cell in enumerate(book["cells"]) if cell["id"] == f"c-{name}")
        assert "".join(book["cells"][place + 1]["source"]).startswith("## ")
    answers = {path: (ROOT / path).read_text(encoding="utf-8") for path in {get(name).path for name in ALL}}
    (tmp_path / "in").mkdir()
    for hand_in, places in SPOILT.items():
        spoilt = dict(answers)
        for file, old, new, _ in places:
            assert old in spoilt[f"diffusion_lib/{file}"]
            spoilt[f"diffusion_lib/{file}"] = spoilt[f"diffusion_lib/{file}"].replace(old, new, 1)
        zipped(tmp_path / "in", hand_in, spoilt)
    zipped(tmp_path / "in", "right", answers)
    zipped(tmp_path / "in", "empty", {path: (student / path).read_text(encoding="utf-8") for path in answers})
    run("grade", tmp_path / "in", "--out", tmp_path / "results", "--jobs", 1, "--assignment", path)
    grades = rows(tmp_path)
    assert (float(grades["right"]["total"]), grades["empty"]["total"]) == (sum(worth.values()), "0")
    for hand_in, places in SPOILT.items():
        row, wrong = grades[hand_in], {name for *_, name in places}
        assert {name for name in ALL if float(row[name]) != worth[name]} == wrong
        assert all(float(row[name]) == worth[name] / 2 and f"{name}: " in row["mistakes"] for name in wrong), row


def test_cells_that_give_an_exercise_away_are_in_its_notebook():
    for exercise in EXERCISES:
        book = json.loads((ROOT / "notebooks" / f"{exercise.notebook}.ipynb").read_text(encoding="utf-8"))
        assert set(exercise.gives_away) <= {cell["id"] for cell in book["cells"]}, exercise.name


def test_of_the_decoder_the_way_down_is_given(tmp_path):
    source = (ROOT / "diffusion_lib/unet.py").read_text(encoding="utf-8")
    text = stub(source, get("decoder"))
    assert "skips.append(h)" in text
    assert "skips.pop()" not in text
    assert "self.middle1(" not in text
    with pytest.raises(ValueError, match=r"no statement 'h = self\.middle1'"):
        stub(source.replace("h = self.middle1", "m = self.middle1"), get("decoder"))
