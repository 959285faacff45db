"""The history in memory is the history in the file."""

import json

import pytest

from diffusion_lib.training.history import History


def filled(path):
    history = History(path)
    for epoch in (1, 2, 3):
        history.add("steps", {"epoch": epoch, "step": 10 * epoch})
        history.add("epochs", {"epoch": epoch, "loss": 1 / epoch})
    return history


def test_a_history_comes_back_from_its_file(tmp_path):
    path = tmp_path / "history.jsonl"
    written, read = filled(path), History.read(path)
    assert read == written
    assert [e["epoch"] for e in read.epochs] == [1, 2, 3]
    assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["steps", "epochs"] * 3
    assert History.read(tmp_path / "none") == History(tmp_path / "none")


def test_a_line_that_was_cut_short_is_left_out(tmp_path):
    path = tmp_path / "history.jsonl"
    whole = filled(path)
    path.write_text(path.read_text() + '{"kind": "steps", "epo')
    assert History.read(path) == whole


def test_what_came_after_an_epoch_is_forgotten_in_both_places(tmp_path):
    history = filled(tmp_path / "history.jsonl")
    history.cut(2)
    assert [s["step"] for s in history.steps] == [10, 20]
    assert [e["epoch"] for e in history.epochs] == [1, 2]
    again = History.read(tmp_path / "history.jsonl")
    assert (again.steps, again.epochs) == (history.steps, history.epochs)
    history.cut(0)
    assert (tmp_path / "history.jsonl").read_text() == ""
    assert filled(None).epochs[-1]["epoch"] == 3


def test_a_kill_while_the_history_is_cut_loses_nothing(tmp_path, monkeypatch):
    history = History(tmp_path / "history.jsonl")
    for epoch in (1, 2, 3):
        history.add("steps", {"epoch": epoch, "loss": 0.5})
        history.add("epochs", {"epoch": epoch})
    before = history.path.read_text()

    def killed(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", killed)
        patch.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            history.cut(1)
    assert history.path.read_text() == before
    history = History.read(history.path)
    history.cut(2)
    assert [r["epoch"] for r in History.read(history.path).epochs] == [1, 2]
    assert len(History.read(history.path).steps) == 2
