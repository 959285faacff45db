"""The drawing pad without a browser: what it does with ink, with a press of each button, and with bad input."""

import numpy as np
import pytest
import torch
from traitlets import TraitError

from diffusion_lib.data import like_mnist, to_float
from diffusion_lib.diffusion import q_sample
from diffusion_lib.profiles import PROFILES
from diffusion_lib.schedules import NoiseSchedule, cosine_betas
from diffusion_lib.showing.widgets import SketchPad
from diffusion_lib.training.checkpoints import Pretrained
from diffusion_lib.unet import UNet


def seven(top=30, left=50, size=1.0):
    """A 7 on a page of 140 x 140: a bar and a leg."""
    page = torch.zeros(140, 140)
    page[top : top + 10, left : left + int(40 * size)] = 1
    page[top : top + int(60 * size), left + int(40 * size) - 10 : left + int(40 * size)] = 1
    return page


def test_a_drawing_is_fitted_as_mnist_was():
    """LeCun et al. 1998: the longer side is 20 pixels, the centre of mass is in the middle, wherever it was drawn."""
    for page in (seven(), seven(70, 5), seven(3, 90, 0.7)):
        ink = (like_mnist(page)[0, 0] + 1) / 2
        rows, columns = (ink > 0.05).any(1).nonzero(), (ink > 0.05).any(0).nonzero()
        assert rows.max() - rows.min() + 1 == 20
        assert 12 <= columns.max() - columns.min() + 1 <= 14
        places = torch.arange(28.0)
        assert abs((ink.sum(1) @ places) / ink.sum() - 14) <= 0.5
        assert abs((ink.sum(0) @ places) / ink.sum() - 14) <= 0.5
    assert (like_mnist(torch.zeros(140, 140)) == -1).all()
    dot = torch.zeros(140, 140)
    dot[139, 0] = 1  # one pixel in a corner
    assert like_mnist(dot).shape == (1, 1, 28, 28)


def test_mnist_itself_does_not_move(mnist):
    """What the makers of MNIST fitted is fitted already; and wherever it is moved to, it comes back."""
    digits = to_float(mnist["test"].images[:100])
    for margins in ((0, 0, 0, 0), (9, 3, 2, 30)):
        page = torch.nn.functional.pad((digits + 1) / 2, margins)
        again = torch.cat([like_mnist(ink[0]) for ink in page])
        assert (again - digits).abs().mean() < 0.001


@pytest.fixture
def pad(stand_in):
    model, seen = UNet(PROFILES["tiny"].unet).eval(), []
    model.register_forward_pre_hook(lambda module, given: seen.append((given[1].item(), given[2])))
    schedule = NoiseSchedule.from_betas(cosine_betas(200)).to("cpu")
    made = SketchPad(Pretrained(model, schedule, PROFILES["tiny"], {}), stand_in, num_steps=5)
    made.seen = seen
    return made


def panes(pad):
    return np.frombuffer(pad.panes, np.uint8).reshape(3, 28, 28)


def bytes_of(image):
    return (255 - (image.clamp(-1, 1) + 1) * 127.5).round().numpy().reshape(28, 28)


def test_ink_is_shown_as_the_model_sees_it_and_noised_to_the_level(pad):
    assert (panes(pad)[0] == 255).all()
    pad.draw((255 - 255 * seven()).to(torch.uint8).numpy().tobytes())
    for level in (0, 80, 199):
        pad.level = level
        drawn, noised, _ = panes(pad)
        assert np.abs(drawn - bytes_of(like_mnist(seven()))).max() <= 1
        x_t = q_sample(pad.trained.schedule, like_mnist(seven()), torch.tensor([level]), pad.noise)
        assert np.abs(noised - bytes_of(x_t)).max() <= 1


def test_a_run_goes_from_the_level_with_the_label_and_each_run_draws_new_noise(pad):
    pad.take(7)
    pad.level, pad.label = 120, 4
    shown = []
    pad.observe(lambda change: shown.append(change["new"]), "panes")
    first = pad.run()
    assert [t for t, _ in pad.seen] == [120, 90, 60, 30, 0]
    assert {label.item() for _, label in pad.seen} == {4}
    assert len(shown) == 5
    assert pad.status.startswith("Brought back as a 4 from t = 120: 5 steps, ")
    assert not torch.equal(pad.run(), first)
    pad.label = -1
    pad.seen.clear()
    pad.run()
    assert {label for _, label in pad.seen} == {None}


def test_buttons_do_what_they_say(pad):
    sent = []
    pad.send = sent.append
    pad._hear(pad, {"do": "take", "digit": 5}, [])
    assert sent == [{"do": "show"}]
    assert any(np.array_equal(bytes_of(d), panes(pad)[0]) for d in pad.digits[pad.digits.labels == 5][0])
    pad._hear(pad, {"do": "clear"}, [])
    assert (panes(pad)[0] == 255).all()
    pad._hear(pad, {"do": "draw"}, [memoryview((255 - 255 * seven()).to(torch.uint8).numpy().tobytes())])
    assert np.abs(panes(pad)[0] - bytes_of(like_mnist(seven()))).max() <= 1
    pad._hear(pad, {"do": "run", "level": 30, "label": -1}, [])
    assert "Brought back as any digit from t = 30" in pad.status


def test_the_pad_refuses_what_it_cannot_show(pad):
    with pytest.raises(TraitError, match="label"):
        pad.label = 10
    with pytest.raises(ValueError, match=r"level must lie in 0 ... 199, but is 200"):
        pad.level = 200
    assert pad.level <= 199


def test_the_pad_says_so_where_there_is_no_kernel(pad, monkeypatch):
    data, _ = pad._repr_mimebundle_()
    assert "running kernel" in data["text/html"]
    assert len(data) == 3
    monkeypatch.setenv("DIFFUSION_PLAIN", "1")  # no widget, then: words alone
    assert pad._repr_mimebundle_() == ({name: data[name] for name in ("text/html", "text/plain")}, {})
