"""Data that is not MNIST goes all the way: loaded, trained on, sampled, drawn in its colours, judged."""

import json
import shutil
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.image import AxesImage
from PIL import Image
from traitlets import TraitError
from typer.testing import CliRunner

from diffusion_lib.__main__ import app
from diffusion_lib.data import DataError, Digits, load_data, parse_size
from diffusion_lib.metrics import Judge, nearest_neighbours
from diffusion_lib.profiles import PROFILES, DataConfig
from diffusion_lib.schedules import NoiseSchedule, cosine_betas
from diffusion_lib.showing import viz
from diffusion_lib.showing.widgets import FrameSlider, SketchPad
from diffusion_lib.training import classifier
from diffusion_lib.training.checkpoints import Pretrained, load_model
from diffusion_lib.training.classifier import classifier_for
from diffusion_lib.unet import UNet

COLOURS = {"blue": (20, 30, 220), "green": (10, 200, 40), "red": (230, 20, 10), "yellow": (240, 230, 30)}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(classifier, "LEAST_STEPS", 20)
    return tmp_path / "cache" / "diffusion_lib"


def patches(colour, count, height, width, seed):
    """Pictures of one colour, (count, H, W[, 3]), each with noise of its own."""
    noise = np.random.default_rng(seed).integers(-20, 20, (count, height, width, *np.shape(colour)))
    return (np.array(colour) + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def colours(tmp_path):
    """A folder of four classes, RGB, 32 x 32."""
    for i, (name, colour) in enumerate(COLOURS.items()):
        folder = tmp_path / "colours" / name
        folder.mkdir(parents=True)
        for j, picture in enumerate(patches(colour, 20, 32, 32, i)):
            Image.fromarray(picture).save(folder / f"{j:02}.png")
    return tmp_path / "colours"


@pytest.fixture
def greys(tmp_path):
    """A folder of two classes, grey, 16 high and 24 wide, as JPEG and as PNG."""
    for name, grey, ending in (("dark", 40, "png"), ("light", 210, "jpg")):
        folder = tmp_path / "greys" / name
        folder.mkdir(parents=True)
        for j, picture in enumerate(patches(grey, 20, 16, 24, grey)):
            Image.fromarray(picture).save(folder / f"{j:02}.{ending}")
    return tmp_path / "greys"


def run(*args, code=0):
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result.stdout if code == 0 else result.output


def drawn(picture):
    """The images of a figure's panels, in order."""
    return [ax.findobj(AxesImage)[0].get_array() for ax in picture.axes if ax.findobj(AxesImage)]


def test_a_folder_in_colour_goes_all_the_way(colours, cache, tmp_path):
    folder, weights = tmp_path / "run", tmp_path / "run" / "checkpoint.safetensors"
    given = ("--data", f"folder:{colours}", "--run-dir", folder, "--device", "cpu")
    run("train", "--profile", "tiny", "--epochs", 1, *given)
    grid = np.asarray(Image.open(folder / "samples_epoch_1.png").convert("RGB")).astype(int)
    assert (grid.max(axis=-1) - grid.min(axis=-1)).max() > 50  # not a grey picture
    data = load_model(weights).profile.data
    assert data == DataConfig(f"folder:{colours}", 3, (32, 32), ("blue", "green", "red", "yellow"), ink=False)

    settings = ("--weights", weights, "--per-label", 2, "--steps", 2)
    run("sample", *settings, "--out", tmp_path / "a.png")
    assert "8 images" in run("sample", *settings, "--out", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert file["images"].shape == (8, 3, 32, 32)
        assert file["labels"].tolist() == [0, 1, 2, 3] * 2

    judged = json.loads(run("evaluate", *settings, "--json"))
    assert judged["classifier_accuracy"] == 1  # four plain colours
    assert judged["rows"]["real images"]["agreement"] == 1
    assert {row["count"] for row in judged["rows"].values()} == {8}
    kept = list((cache / "classifiers").iterdir())
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    assert "The classifier is right on 100.0% of test images." in run("evaluate", *settings)
    assert kept[0].stat().st_mtime_ns == before  # it was not trained again


def test_a_folder_of_other_sides_in_grey_goes_all_the_way(greys, tmp_path):
    folder, weights = tmp_path / "run", tmp_path / "run" / "checkpoint.safetensors"
    given = ("--data", f"folder:{greys}", "--run-dir", folder, "--device", "cpu")
    refused = run("train", "--profile", "tiny", "--size", "18x24", *given, code=2)
    assert "multiples of 4" in refused
    assert "height 16 or 20" in refused
    assert not folder.exists()
    run("train", "--profile", "tiny", "--size", "16x24", "--epochs", 2, *given)
    assert (folder / "samples_epoch_2.png").exists()
    run("train", "--profile", "tiny", "--size", "16x24", "--epochs", 2, *given)  # as done: it is the same run
    settings = ("--weights", weights, "--per-label", 2, "--steps", 2)
    run("sample", *settings, "--out", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as file:
        assert file["images"].shape == (4, 1, 16, 24)
    assert json.loads(run("evaluate", *settings, "--json"))["rows"]["real images"]["count"] == 4
    assert "greys has 1 of dark, light" in run("evaluate", "--data", f"folder:{greys}", code=2)


def test_pictures_have_the_colours_and_the_names_of_their_data(colours):
    train, _ = load_data(f"folder:{colours}")
    chosen = torch.cat([(train.labels == c).nonzero()[:2, 0] for c in range(4)])
    images, labels = train[chosen]
    expected = train.images[chosen].permute(0, 2, 3, 1).numpy()

    grid = viz.sample_grid(images, labels, data=train.config)
    assert [ax.get_ylabel() for ax in grid.axes[::2]] == list(COLOURS)
    assert "blue at the top to yellow, 2 in a row" in grid.alt
    for shown, picture in zip(drawn(grid), expected, strict=True):
        assert np.abs(shown * 255 - picture).max() < 0.5

    frames = viz.to_gray(images)
    assert np.array_equal(frames, expected)
    whole = viz.mosaic(frames, columns=4)
    assert whole.shape == (66, 132, 3)
    assert np.array_equal(whole[33:65, 66:98], expected[6])
    assert (whole[32] == 255).all()
    slider = FrameSlider(frames, [train.config.class_names[i] for i in labels.tolist()], "Patches.", label="class")
    assert (slider.film["width"], slider.film["height"], slider.text) == (32, 32, "blue")
    beside = viz.beside(frames, viz.to_gray(images[:, :1]))
    assert beside.shape == (8, 32, 66, 3)


@pytest.mark.parametrize(("channels", "ink", "paper"), [(3, False, 1), (1, False, 1), (1, True, -1)])
def test_the_pad_has_the_size_the_names_and_the_colours_of_the_data(channels, ink, paper):
    data = DataConfig("folder:pets", channels, (16, 24), ("cat", "owl"), ink=ink)
    profile, schedule = PROFILES["tiny"].with_data(data), NoiseSchedule.from_betas(cosine_betas(20)).to("cpu")
    pets = Digits(torch.randint(0, 256, (4, channels, 16, 24), dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), "pets")
    pad = SketchPad(Pretrained(UNet(profile.unet).eval(), schedule, profile, {}), pets, num_steps=2)
    assert (pad.size, pad.names, pad.label, pad.noun) == ([16, 24], ["cat", "owl"], 1, "image")

    def first_pane():
        return np.frombuffer(pad.panes, np.uint8).reshape(3, 16, 24, -1)[0]

    assert (pad.drawing == paper).all()
    assert (first_pane() == 255).all()  # paper is white
    pad.draw(bytes(140 * 140))  # all of it ink
    assert pad.drawing.shape == (1, channels, 16, 24)
    assert (first_pane() == 0).all()
    pad.take(1)
    assert any(torch.equal(pad.drawing[0], image) for image in pets[[1, 3]][0])
    assert pad.status == "An owl from the test set."
    pad.run()
    assert pad.status.startswith("Brought back as an owl from t = 9: 2 steps")
    with pytest.raises(TraitError, match=r"label must lie in -1 ... 1, but is 2"):
        pad.label = 2


def test_grey_pictures_of_a_folder_are_no_negatives(greys):
    train, _ = load_data(f"folder:{greys}", size=(16, 24))
    light = (train.labels == train.config.class_names.index("light")).nonzero()[:2, 0]
    images, labels = train[light]
    assert images.shape == (2, 1, 16, 24)
    assert images.mean() > 0.5
    grid = viz.sample_grid(images, labels, data=train.config)
    shown = [ax.findobj(AxesImage)[0] for ax in grid.axes]
    assert all(panel.to_rgba(panel.get_array())[..., 0].mean() > 0.7 for panel in shown)
    assert np.array_equal(viz.to_display(images, ink=False), train.images[light][:, 0].numpy())


def test_every_fifth_image_of_each_class_is_for_testing(colours, tmp_path):
    (colours / "red" / "98.png").write_bytes((colours / "red" / "00.png").read_bytes())
    (colours / ".hidden").mkdir()
    train, test = load_data(f"folder:{colours}")
    assert (train.labels.bincount().tolist(), test.labels.bincount().tolist()) == ([16, 16, 17, 16], [4, 4, 4, 4])
    files = [sorted((colours / name).iterdir()) for name in COLOURS]
    expected = {np.asarray(Image.open(file)).tobytes() for of_class in files for file in of_class[4::5]}
    assert {image.permute(1, 2, 0).numpy().tobytes() for image in test.images} == expected
    again, _ = load_data(f"folder:{colours}")
    assert torch.equal(again.images, train.images)
    assert train.take(40).labels.unique().tolist() == [0, 1, 2, 3]  # mixed, for a profile that takes the first
    for half in (test.labels[0::2], test.labels[1::2]):
        assert half.bincount().tolist() == [2, 2, 2, 2]


def test_any_image_that_pillow_reads_is_upright_and_on_white(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "mix" / name).mkdir(parents=True)
    clear = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    turned = Image.new("L", (20, 40), 200)
    turned.putpixel((0, 0), 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    for i in range(5):
        clear.save(tmp_path / "mix" / "a" / f"{i}.webp", lossless=True)
        Image.fromarray(np.full((9, 9), 65535 // 2, np.uint16)).save(tmp_path / "mix" / "b" / f"{i}.png")
    turned.save(tmp_path / "mix" / "b" / "5.png", exif=exif)
    train, _ = load_data(f"folder:{tmp_path / 'mix'}", size=(20, 40))
    assert train.images.shape == (9, 1, 20, 40)  # grey, for all of them are
    assert (train.images[train.labels == 0] == 255).all()
    values = train.images[train.labels == 1].flatten(1)
    assert {127, 200} <= set(values[:, 0].tolist()) | set(values[:, -1].tolist())
    corner = next(image for image in train.images if image.min() == 0)[0]
    assert corner[0, -1] == 0  # the first pixel has gone to the right


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there is no folder"),
        (lambda path: path.mkdir(), "has no sub-folders"),
        (lambda path: (path / "cat").mkdir(parents=True), "without images"),
        (lambda path: [(path / "cat").mkdir(parents=True), (path / "cat" / "a.png").write_text("no")], "a.png is not"),
        (
            lambda path: [(path / "cat").mkdir(parents=True), Image.new("L", (4, 4)).save(path / "cat" / "a.png")],
            "five",
        ),
    ],
)
def test_a_folder_that_is_none_is_told(make, words, tmp_path):
    make(tmp_path / "pets")
    assert words in run("train", "--profile", "tiny", "--data", f"folder:{tmp_path / 'pets'}", code=2)


def test_a_size_is_a_number_or_two():
    assert (parse_size("32"), parse_size("32x48")) == ((32, 32), (32, 48))
    for text in ("x", "32x", "0", "32,48", "32x48x3"):
        with pytest.raises(ValueError, match="32x48, but was"):
            parse_size(text)
    assert "for folder:PATH alone" in run("train", "--data", "fashion-mnist", "--size", "32", code=2)


def test_a_copy_is_at_distance_nothing():
    training = torch.randn(500, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    distance, index = nearest_neighbours(training[[7, 123, 499]], training)
    assert index.tolist() == [7, 123, 499]
    assert distance.tolist() == [0, 0, 0]
    shifted, index = nearest_neighbours(training[[7]].double() + 0.5, training.double())
    assert shifted.item() == pytest.approx(0.5 * (3 * 8 * 12) ** 0.5)
    assert nearest_neighbours(training[:1], training[1:3])[1].shape == (1,)  # fewer than it looks at


def test_a_classifier_is_trained_once_for_each_data(greys, cache, stand_in):
    said = []
    grey = load_data(f"folder:{greys}", size=(16, 24))
    drawn = torch.initial_seed(), torch.get_rng_state()
    first, accuracy = classifier_for(*grey, said.append)
    assert torch.equal(torch.get_rng_state(), drawn[1])  # who draws next is not disturbed
    assert accuracy == 1
    assert said[0] == "No classifier ships for folder greys: training one."
    said.clear()
    again, same = classifier_for(*grey, said.append)
    assert (same, said) == (accuracy, [])
    for ours, theirs in zip(first.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    changed = replace(grey[0], images=grey[0].images.flip(3))
    classifier_for(changed, grey[1], said.append)
    assert said
    shutil.rmtree(cache)
    cache.write_text("no folder")
    said.clear()
    assert classifier_for(*grey, said.append)[1] == 1
    assert said[-1].startswith("It will be trained again next time: ")
    said.clear()
    assert classifier_for(stand_in, stand_in, said.append)[1] > 0.99  # the shipped one's on MNIST
    assert not said


def test_the_floor_has_as_many_of_each_class(greys):
    train, test = load_data(f"folder:{greys}", size=(16, 24))
    model, _ = classifier_for(train, test, lambda told: None)
    judge = Judge(model, test=test, train=train)
    assert judge.floor(4).count == 4
    few = test.where((test.labels == 0) | (torch.arange(len(test)) == int((test.labels == 1).nonzero()[0])))
    with pytest.raises(ValueError, match="at least four test images of each class, but of light there are 1"):
        Judge(model, test=few, train=train)


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.numpy().tobytes()


def write_idx(folder, prefixes, images, labels):
    folder.mkdir(parents=True)
    for prefix in prefixes:
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))


@pytest.mark.parametrize(
    ("name", "folder", "title", "label_7"),
    [("fashion-mnist", "FashionMNIST", "Fashion-MNIST", "sneaker"), ("kmnist", "KMNIST", "KMNIST", "ya")],
)
def test_the_files_of_mnists_relatives_are_read(name, folder, title, label_7, tmp_path):
    images = torch.arange(11 * 784).remainder(251).to(torch.uint8).view(11, 28, 28)
    labels = torch.tensor([7, *range(10)], dtype=torch.uint8)
    write_idx(tmp_path / folder / "raw", ("train", "t10k"), images, labels)
    for root in (tmp_path, tmp_path / folder, tmp_path / folder / "raw"):
        for part in load_data(name, root=root):
            assert torch.equal(part.images[:, 0], images)
            assert torch.equal(part.labels, labels.long())
            assert (part.source, part.config.name) == (title, name)
            assert part.config.class_names[part.labels[0]] == label_7
    assert PROFILES["tiny"].with_data(part.config).unet == PROFILES["tiny"].unet


def test_emnist_letters_are_upright_and_count_from_nought(tmp_path):
    letter = torch.zeros(28, 28, dtype=torch.uint8)
    letter[4:24, 8], letter[23, 8:20] = 255, 200  # an L: a stroke down, and a foot to the right
    images = torch.stack([letter.T, letter.T, letter.T.flip(0)])  # the files hold columns where rows belong
    labels = torch.tensor([12, 26, 1], dtype=torch.uint8)
    write_idx(tmp_path / "EMNIST" / "raw", ("emnist-letters-train", "emnist-letters-test"), images, labels)
    train, test = load_data("emnist-letters", root=tmp_path)
    assert torch.equal(train.images[0, 0], letter)
    assert [train.config.class_names[i] for i in test.labels.tolist()] == ["l", "z", "a"]
    assert train.config.num_classes == 26


def test_other_data_has_no_stand_in_and_says_so_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFUSION_DATA", str(tmp_path / "mine"))
    for name, title, folder in (
        ("fashion-mnist", "Fashion-MNIST", "FashionMNIST"),
        ("kmnist", "KMNIST", "KMNIST"),
        ("emnist-letters", "EMNIST letters", "EMNIST"),
    ):
        told = run("train", "--data", name, code=2)
        assert len(told.strip().splitlines()) == 1, told
        assert told.startswith(f"Error: {title} could not be read or downloaded: there is no network")
        assert str(tmp_path / "mine" / folder / "raw") in told
    assert not (tmp_path / "mine").exists()
    assert "choose one of mnist, fashion-mnist, kmnist, emnist-letters, folder:PATH" in run(
        "train", "--data", "cifar", code=2
    )
    write_idx(
        tmp_path / "KMNIST" / "raw", ("train", "t10k"), torch.zeros(2, 28, 28).byte(), torch.tensor([3, 10]).byte()
    )
    with pytest.raises(DataError, match="not those of KMNIST"):
        load_data("kmnist", root=tmp_path)
