import base64
import io
import json
import re

import numpy as np
import pytest
import torch
from conftest import images
from matplotlib.colors import to_rgb
from PIL import Image

from diffusion_lib.diffusion import q_sample
from diffusion_lib.showing import moving_panels, player, viz
from diffusion_lib.showing.widgets import FrameSlider


def test_a_picture_is_a_png_with_alt_text_and_repeats():
    def draw():
        return viz.lines([1, 2, 3], {"a": [1, 2, 3], "b": [3, 2, 1]}, "Two crossing lines.", xlabel="x", ylabel="y")

    data, metadata = draw()._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    said = "Two crossing lines. a: lowest 1 at 1, highest 3 at 3. b: highest 3 at 1, lowest 1 at 3."
    assert metadata["image/png"]["alt"] == data["text/plain"] == said
    assert f'alt="{said}"' in data["text/html"]
    assert draw().png() == draw().png()


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([4, 3, 2], "y: highest 4 at 10, lowest 2 at 30."),
        ([2, 5, 3], "y: lowest 2 at 10, highest 5 at 20, 3 at 30."),
        ([3, 1, 4, 2], "y: 3 at 10, lowest 1 at 20, highest 4 at 30, 2 at 40."),
    ],
)
def test_a_curve_is_told_from_its_values(y, words):
    assert viz.course("y", [10, 20, 30, 40][: len(y)], y) == words


def test_a_floor_is_told_with_its_height():
    picture = viz.lines([1, 2], {"loss": [3, 2]}, "A loss.", xlabel="x", ylabel="y", floor=("floor", 1.5))
    assert picture.alt == "A loss. loss: highest 3 at 1, lowest 2 at 2. Line at 1.5: floor."


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


def test_show_source_is_the_librarys_own_in_a_monospaced_block():
    source = viz.show_source(q_sample)
    assert "signal * x_start + sigma * noise" in repr(source)
    html = source._repr_html_()
    assert "font-family:monospace" in html
    assert "q_sample" in html


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


def test_maps_stand_beside_their_picture_and_one_of_them_is_chosen():
    frames, maps = film(100), [("a", film(100) // 2), ("b", 255 - film(100)), ("a", film(100))]
    slider = FrameSlider(frames, [f"t = {i}" for i in range(100)], "A grey patch.", maps=maps)
    assert (slider.text, slider.film["maps"]) == ("t = 0 · a", {"names": ["a", "b", "a"], "gap": player.GAP})
    slider.chosen = 1
    assert slider.text == "t = 0 · b"
    with pytest.raises(ValueError, match=r"chosen must lie in 0 ... 2, but is 3"):
        slider.chosen = 3
    html = slider._repr_mimebundle_()[0]["text/html"]
    saved, kept = json.loads(re.search(r"film = (\{.*\});", html).group(1)), player.keep_even(100)
    for data, places in ((slider.film, range(100)), (saved | {"sheet": re.search(r'src="([^"]*)', html)[1]}, kept)):
        sheet, (height, width), gap = decoded(data["sheet"]), frames.shape[1:], data["maps"]["gap"]
        for place, i in enumerate(places):
            row, column = divmod(place, data["columns"])
            for k, shown in enumerate([frames, *(shown for _, shown in maps)]):  # as player.js looks for them
                left = (4 * column + k) * (width + gap)
                assert np.array_equal(sheet[row * (height + gap) :, left:][:height, :width], shown[i]), (i, k)
    assert "from t = 0 to t = 99. Beside each its maps: a, b, a." in html
    with pytest.raises(ValueError, match=r"needs 7 frames of 4 x 3 pixels as the film has, but 'a' has the shape"):
        FrameSlider(film(), list("abcdefg"), "A grey patch.", maps=maps)
    with pytest.raises(ValueError, match=r"chosen must lie in 0 ... 0, but is 1"):
        FrameSlider(film(), list("abcdefg"), "A grey patch.").chosen = 1


def test_a_tint_is_white_at_zero_and_darker_the_larger_the_share():
    tints = viz.tint(torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1))
    assert tints[0].ravel().tolist() == [255] * 3
    grey = seen_by("grey", tints.reshape(3, 3) / 255)[:, 0]
    assert grey[0] > grey[1] + 0.1 > grey[2] + 0.2
    assert grey[2] > 0.5  # ink stays darker


def test_the_slider_has_a_face_that_needs_no_kernel():
    slider = FrameSlider(film(), [f"t = {i} <" for i in range(7)], "A grey patch.", label="t", start=2)
    bundle, _ = slider._repr_mimebundle_()
    html = bundle["text/html"]
    assert 'alt="A grey patch. All frames, row by row, from t = 0 &lt; to t = 6 &lt;."' in html
    assert "http" not in html
    assert "\\u003c" in html  # texts cannot close the script
    assert (player.keep_even(1000)[0], player.keep_even(1000)[-1], len(player.keep_even(1000))) == (0, 999, 41)
    assert player.keep_even(3) == [0, 1, 2]


def test_a_picture_is_as_large_as_fits_unless_it_is_told_otherwise():
    def scale(height, width, **options):
        frames = np.zeros((3, height, width), np.uint8)
        return player.film(frames, list("abc"), "Black.", label="t", **options)["scale"]

    assert [scale(28, 28), scale(58, 290), scale(290, 232), scale(900, 900)] == [12, 2, 2, 1]
    assert scale(28, 28, scale=3) == 3


def test_a_curve_has_a_point_for_each_frame_in_a_page_too():
    x = np.arange(100)
    frames, texts = np.zeros((100, 4, 4), np.uint8), [f"t = {i}" for i in x]
    data = player.film(frames, texts, "Black.", label="t", curve=(x, torch.tensor(x / 3), "a third of t"))
    assert data["curve"] == {"x": x.tolist(), "y": [float(f"{i / 3:.4g}") for i in x], "label": "a third of t"}
    html = player.player_html(frames, texts, "Black.", label="t", curve=(x, 2 * x, "twice t"))
    saved = json.loads(re.search(r"film = (\{.*\});", html).group(1))
    assert len(saved["texts"]) == len(saved["curve"]["x"]) == player.STATIC_FRAMES
    for text, at, y in zip(saved["texts"], saved["curve"]["x"], saved["curve"]["y"], strict=True):
        assert (text, y) == (f"t = {at:.0f}", 2 * at)
    with pytest.raises(ValueError, match="each of 100 frames, but has 2 and 100"):
        FrameSlider(frames, texts, "Black.", curve=([0, 1], x, "short"))
    with pytest.raises(ValueError, match="NaN or infinity"):
        FrameSlider(frames, texts, "Black.", curve=(x, np.where(x == 3, np.nan, 1.0), "a gap"))


def seen_by(kind, colours):
    """sRGB colours in [0, 1], (N, 3), as seen with a colour deficiency (Machado et al. 2009, severity 1) or in grey."""
    matrices = {
        "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
        "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
        "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
        "grey": [[0.2126, 0.7152, 0.0722]] * 3,
    }
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    mixed = (linear @ np.array(matrices[kind]).T).clip(0, 1)
    return np.where(mixed <= 0.0031308, mixed * 12.92, 1.055 * mixed ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["protanopia", "deuteranopia", "tritanopia"])
def test_the_palette_survives_colour_blindness(kind):
    seen = seen_by(kind, np.array([to_rgb(colour) for colour in viz.PALETTE]))
    apart = np.abs(seen[:, None] - seen[None]).max(axis=-1) + np.eye(len(seen))
    assert apart.min() > 0.1
    red_and_green = seen_by(kind, np.array([to_rgb("#D62728"), to_rgb("#2CA02C")]))  # what the test would refuse
    assert kind != "deuteranopia" or np.abs(red_and_green[0] - red_and_green[1]).max() < 0.2


def test_curves_differ_in_grey_print():
    names = [f"curve {i}" for i in range(7)]
    picture = viz.lines([1, 2], {n: [i, i] for i, n in enumerate(names)}, "Seven.", xlabel="x", ylabel="y", points=True)
    curves = picture.axes[0].get_lines()
    assert len({str(curve._unscaled_dash_pattern) for curve in curves}) == 7
    picture = viz.learning_curve([{"epoch": n, "train_loss": 1 / n, "held_out_loss": 1 / n} for n in (1, 2)])
    assert len({(curve.get_marker(), curve.get_linestyle()) for curve in picture.axes[0].get_lines()}) == 2


def test_the_two_signs_of_a_map_differ_in_grey_print():
    values = torch.tensor([-1.0, -0.75, 0.0, 0.75, 1.0]).view(5, 1, 1)
    grey = seen_by("grey", viz.to_colour(values).reshape(5, 3) / 255)[:, 0]
    assert grey[2] > 0.95
    assert abs(grey[0] - grey[4]) > 0.05
    assert abs(grey[1] - grey[3]) > 0.05


def test_moving_panels_move_a_dot_along_its_curve_and_change_nothing_else():
    black, white = torch.full((3, 1, 4, 4), 2.0), torch.full((3, 1, 4, 4), -2.0)
    curve = torch.linspace(0, 1, 100)
    frames = moving_panels({"black": black, "white": white}, {"rise": curve}, [0, 50, 99])
    assert frames.shape == (3, 350, 490, 3)
    assert frames.dtype == np.uint8
    top, bottom = frames[:, :190], frames[:, 190:]
    assert (top == top[0]).all()
    assert (top[0].max(axis=2) == 0).sum() > 10_000  # the black panel
    blue = (np.abs(bottom.astype(int) - np.array([0, 114, 178])).sum(axis=3) < 40).astype(float)
    moved = [np.argwhere(now > blue.mean(axis=0)).mean(axis=0) for now in blue]  # pixels that only this frame has
    assert moved[0][1] < moved[1][1] - 100 < moved[2][1] - 200  # to the right
    assert moved[0][0] > moved[1][0] + 20 > moved[2][0] + 40  # and up
