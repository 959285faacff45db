import pytest
import torch
from conftest import images

from diffusion_lib.showing import try_it


@pytest.mark.parametrize(
    ("value", "expected", "said"),
    [
        (..., 0.6, "x_t: not written yet. Add the noise."),
        (0.6, 0.6, "x_t: right."),
        (0.6 + 1e-7, 0.6, "x_t: right."),
        (0.36, 0.6, "x_t: not yet: it is off by up to 0.24. Add the noise."),
        (float("nan"), 0.6, "x_t: not yet: it is off by up to nan. Add the noise."),
        ((64, 28, 28), (128, 28, 28), "x_t: not yet: it is off by up to 64. Add the noise."),
        (None, 0.6, "x_t: not yet: it is of type NoneType, but should be numbers. Add the noise."),
        ([], 0.6, "x_t: not yet: its shape is (0,), but should be (). Add the noise."),
    ],
)
def test_a_line_is_answered_at_once(value, expected, said, capsys):
    try_it("x_t", value, expected, "Add the noise.")
    assert capsys.readouterr().out == said + "\n"


def test_images_are_compared_pixel_by_pixel_and_never_broadcast(capsys):
    x = images(3, 1, 5, 4)
    almost = x.clone()
    almost[2, 0, 4, 3] += 0.01
    for value in (x, x.double(), x.requires_grad_(), almost, x[:1]):
        try_it("x_t", value, x, "")
    verdicts = capsys.readouterr().out.splitlines()
    assert verdicts[:3] == ["x_t: right."] * 3
    assert "off by up to 0.01" in verdicts[3]
    assert "its shape is (1, 1, 5, 4), but should be (3, 1, 5, 4)" in verdicts[4]


def test_a_root_that_is_missing_is_never_taken_for_rounding(capsys):
    noise = images(2, 1, 4, 4)
    sigma = torch.tensor(1e-4).sqrt()  # the least factor of the series: the first of a thousand steps
    try_it("noise", sigma**2 * noise, sigma * noise, "")
    assert "not yet" in capsys.readouterr().out
