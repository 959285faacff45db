"""A folder of pictures as a data set: one sub-folder for each class, any image that Pillow reads."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from diffusion_lib.datasets import Bytes, DataError
from diffusion_lib.shapes import Labels


def read_folder(path: Path, size: tuple[int, int]) -> tuple[Bytes, Labels, list[str]]:
    """All images of a folder, resized to (H, W), their labels, and the names of the classes.

    One channel where every pixel of every image is grey, else three. Files come in the order of their names.
    """
    from torchvision.datasets import ImageFolder

    if not path.is_dir():
        raise DataError(f"there is no folder {path}; folder:PATH takes a folder of one sub-folder for each class")
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    if not names:
        raise DataError(f"{path} has no sub-folders; it needs one for each class, with that class's images in it")
    places = {name: i for i, name in enumerate(names)}
    try:
        found = ImageFolder.make_dataset(str(path), places, is_valid_file=_is_picture)
    except FileNotFoundError as error:
        raise DataError(f"{path} has a sub-folder without images: {error}") from error
    images = torch.stack([read_picture(Path(file), size) for file, _ in found])
    grey = bool((images == images[:, :1]).all())
    return images[:, :1] if grey else images, torch.tensor([label for _, label in found]), names


def held_out(labels: Labels) -> Tensor:
    """Which images are for testing: every fifth of each class."""
    places = [(labels == label).nonzero().flatten() for label in labels.unique()]
    chosen = torch.cat([place[4::5] for place in places])
    return torch.zeros(len(labels), dtype=torch.bool).index_fill(0, chosen, True)


def _is_picture(file: str) -> bool:
    from PIL import Image

    name = Path(file).name
    return not name.startswith(".") and Image.registered_extensions().get(Path(file).suffix.lower()) in Image.OPEN


def read_picture(path: Path, size: tuple[int, int]) -> UInt8[Tensor, "3 height width"]:
    """One image as RGB: upright, on white where it is transparent, resized to (H, W)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture: Image.Image = ImageOps.exif_transpose(opened)
            if picture.mode.startswith("I"):  # 16 bits a pixel
                picture = Image.fromarray((np.asarray(picture) // 256).astype(np.uint8))
            if picture.has_transparency_data:
                clear = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
            picture = picture.convert("RGB").resize(size[::-1], Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} is not an image that can be read ({error})") from error
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)
