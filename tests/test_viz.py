import base64
import io

import numpy as np
import pytest
import torch
from conftest import images
from PIL import Image

from diffusion_lib import player, viz
from diffusion_lib.diffusion import q_sample
from diffusion_lib.widgets import FrameSlider


def test_a_picture_is_a_png_with_alt_text_and_repeats():
    def draw():
        return viz.lines([1, 2, 3], {"a": [1, 2, 3], "b": [3, 2, 1]}, "Two crossing lines.", xlabel="x", ylabel="y")

    data, metadata = draw()._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert metadata["image/png"]["alt"] == data["text/plain"] == "Two crossing lines."
    assert 'alt="Two crossing lines."' in data["text/html"]
    assert draw().png() == draw().png()


@pytest.mark.parametrize(
    "make",
    [
        lambda: viz.image_grid(
            images(7, 1, 6, 5), "Seven pictures.", columns=3, titles=list("abcdefg"), row_titles=list("xyz")
        ),
        lambda: viz.heat_map(images(4, 6), "A matrix of numbers.", xlabel="x", ylabel="y"),
        lambda: viz.scatter({"a": images(10, 2), "b": images(10, 2)}, "Two clouds."),
        lambda: viz.histograms({"a": images(50), "b": images(50)}, "Two histograms."),
        lambda: viz.sample_grid(images(20, 1, 4, 4), torch.arange(10).repeat(2)),
        lambda: viz.learning_curve([{"epoch": n, "train_loss": 1 / n, "held_out_loss": 1 / n} for n in (1, 2)]),
    ],
)
def test_every_figure_draws_and_describes_itself(make):
    picture = make()
    assert len(picture.png()) > 1000
    assert len(picture.alt) > 10


def test_paper_is_white_and_ink_is_dark():
    gray = viz.to_gray(torch.tensor([-1.0, 1.0, 0.0, 5.0]).view(4, 1, 1, 1))
    assert gray.ravel().tolist()[:2] == [255, 0]
    assert gray.ravel()[3] == 0


def test_signed_colours_are_white_at_zero():
    colour = viz.to_colour(torch.tensor([-2.0, 0.0, 2.0]).view(3, 1, 1))
    assert colour[1].min() > 240
    assert colour[0, 0, 0].tolist() != colour[2, 0, 0].tolist()


def test_mosaic_and_beside_place_what_they_are_given():
    tiles = np.arange(5, dtype=np.uint8)[:, None, None].repeat(2, 1).repeat(2, 2)
    whole = viz.mosaic(tiles, columns=3)
    assert whole.shape == (6, 9)
    assert whole[0, 3] == 1
    assert whole[3, 0] == 3
    joined = viz.beside(tiles, tiles)
    assert joined.shape == (5, 2, 6)
    assert joined[4, 0].tolist() == [4, 4, 255, 255, 4, 4]


def test_show_source_is_the_librarys_own():
    text = viz.show_source(q_sample)._repr_markdown_()
    assert "def q_sample(" in text
    assert "signal * x_start + sigma * noise" in text


def film(count=7):
    return np.arange(count, dtype=np.uint8)[:, None, None].repeat(4, 1).repeat(3, 2) * 30


def test_the_slider_knows_the_frame_it_stands_on():
    slider = FrameSlider(film(), [f"t = {i}" for i in range(7)], "A grey patch.", label="t", start=2)
    seen = []
    slider.observe(lambda change: seen.append(change["new"]), "value")
    assert (slider.value, slider.text) == (2, "t = 2")
    slider.value = 6
    assert (slider.value, slider.text, seen) == (6, "t = 6", [6])
    with pytest.raises(ValueError, match=r"0 ... 6, but is 7"):
        slider.value = 7
    with pytest.raises(ValueError, match="7 and 1"):
        FrameSlider(film(), ["one"], "A grey patch.")


def decoded(sheet):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(sheet.split(",")[1]))))


def test_every_frame_is_where_the_player_looks_for_it():
    for frames in (film(), film()[..., None].repeat(3, -1)):
        data = player.film(frames, list("abcdefg"), "A grey patch.", label="t", scale=6)
        sheet, height, width = decoded(data["sheet"]), data["height"], data["width"]
        assert (height, width) == (4, 3) or (height, width) == frames.shape[1:3]
        for i, frame in enumerate(frames):
            row, column = divmod(i, data["columns"])
            assert np.array_equal(sheet[row * height :, column * width :][:height, :width], frame)


def test_the_slider_has_a_face_that_needs_no_kernel():
    slider = FrameSlider(film(), [f"t = {i} <" for i in range(7)], "A grey patch.", label="t", start=2)
    bundle, _ = slider._repr_mimebundle_()
    html = bundle["text/html"]
    assert 'alt="A grey patch. All frames, row by row."' in html
    assert "http" not in html
    assert "\\u003c" in html  # texts cannot close the script
    assert (player.keep_even(1000)[0], player.keep_even(1000)[-1], len(player.keep_even(1000))) == (0, 999, 41)
    assert player.keep_even(3) == [0, 1, 2]
