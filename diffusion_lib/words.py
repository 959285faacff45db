"""Pages of four digits and the prompts that ask for them: "three one above four seven", "four seven below three one".

A page is two rows of two digits, 56 x 56 pixels. A prompt names a row, says "above" or "below", and names the other
row. So the same five words mean another page in another order, and each page has two prompts. Pages are put together
from single digits as they are asked for; what is kept is which digits stand where.

Two digits whose distance on a ring of ten is 3, as in "one four" or "nine two", never stand side by side in training.
Prompts whose rows are both of this kind are *unseen*: they test whether a network composes or remembers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from diffusion_lib.data import Digits
from diffusion_lib.metrics import in_batches, wilson_interval
from diffusion_lib.profiles import DataConfig
from diffusion_lib.shapes import Images

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORDS = (*DIGITS, "above", "below")
ABOVE, BELOW = 10, 11
RELATION = 2  # the place of "above" or "below" in a prompt
LENGTH, SIDE = 5, 28
APART = 3  # on a ring of ten: such digits are never side by side in training
PAGE = DataConfig("pages", size=(2 * SIDE, 2 * SIDE), class_names=WORDS)

Prompts = Int64[Tensor, "batch 5"]
Four = Int64[Tensor, "batch 4"]  # digits of a page: top left, top right, bottom left, bottom right
Crops = Float[Tensor, "batch 4 channel half_height half_width"]


def encode(text: str | Sequence[str]) -> Prompts:
    """Prompts as numbers of words, int64, (B, 5); of one prompt B is 1. ValueError where one is not of the grammar."""
    return torch.stack([_encode(one) for one in ([text] if isinstance(text, str) else text)])


def _encode(text: str) -> Int64[Tensor, "5"]:
    words = text.lower().split()
    unknown = [word for word in words if word not in WORDS]
    if unknown:
        raise ValueError(f"unknown word {unknown[0]!r}; the words are {', '.join(WORDS)}.")
    prompt = [WORDS.index(word) for word in words]
    if [number >= ABOVE for number in prompt] != [place == RELATION for place in range(LENGTH)]:
        raise ValueError(f"a prompt is two digits, above or below, two digits, but was {text!r}.")
    return torch.tensor(prompt)


def decode(prompts: Prompts) -> list[str]:
    """The prompts as text, null words as dots; the inverse of :func:`encode`."""
    return [" ".join([*WORDS, "·"][number] for number in row) for row in prompts.tolist()]


def asked(prompts: Prompts) -> Four:
    """The digits that prompts ask for, in reading order of the page, (B, 4)."""
    first, second = prompts[:, :RELATION], prompts[:, RELATION + 1 :]
    above = prompts[:, RELATION, None] == ABOVE
    return torch.cat([first.where(above, second), second.where(above, first)], dim=1)


def phrase(four: Four, below: Bool[Tensor, " batch"]) -> Prompts:
    """The prompt of a page; where ``below`` is true, the one that begins with the lower row. (B, 4) -> (B, 5)."""
    top, bottom = four[:, :2], four[:, 2:]
    swap = below[:, None]
    relation = torch.where(swap, BELOW, ABOVE)
    return torch.cat([bottom.where(swap, top), relation, top.where(swap, bottom)], dim=1)


def unseen(pairs: Int64[Tensor, "*batch 2"]) -> Bool[Tensor, "*batch"]:
    """Whether two digits, (..., 2), are a pair that never stands side by side in training."""
    apart = (pairs[..., 0] - pairs[..., 1]) % 10
    return (apart == APART) | (apart == 10 - APART)


def page(crops: Crops) -> Images:
    """Four pictures, (B, 4, C, H, W), as one page, (B, C, 2 H, 2 W), in reading order."""
    rows = [torch.cat([crops[:, i], crops[:, i + 1]], dim=-1) for i in (0, 2)]
    return torch.cat(rows, dim=-2)


def cut(pages: Images) -> Crops:
    """The inverse of :func:`page`: (B, C, 2 H, 2 W) -> (B, 4, C, H, W)."""
    rows = [row for half in pages.chunk(2, dim=-2) for row in half.chunk(2, dim=-1)]
    return torch.stack(rows, dim=1)


@dataclass(frozen=True, eq=False)
class Pages(Digits):
    """Pages with their prompts, in place of digits with their labels; each page is put together when it is read.

    ``images`` are the single digits, ``labels`` the prompts, (count, 5), ``config`` says what a page is.
    """

    parts: Four | None = None  # which four of ``images`` make each page

    def __getitem__(self, index: Tensor | slice | list[int]) -> tuple[Images, Prompts]:
        """Pages of ``index`` in [-1, 1], (B, 1, 56, 56), and their prompts, (B, 5)."""
        assert self.parts is not None
        parts = self.parts[index]
        crops = self.images[parts.flatten()].unflatten(0, parts.shape)
        return page(crops.float() / 127.5 - 1), self.labels[index]

    def where(self, index: Tensor | slice) -> "Pages":
        """The pages of ``index``."""
        assert self.parts is not None
        return replace(self, labels=self.labels[index], parts=self.parts[index])

    def to(self, device: torch.device | str) -> "Pages":
        """The same pages on ``device``."""
        assert self.parts is not None
        moved = {name: getattr(self, name).to(device) for name in ("images", "labels", "parts")}
        return replace(self, **moved)


def draw_pages(digits: Digits, count: int, seed: int = 0, *, new: bool = False) -> Pages:
    """``count`` pages of ``digits``, drawn with ``seed``; both kinds of prompt equally often.

    Rows are pairs that training has, each equally often; with ``new`` both rows are pairs that it never has.
    """
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    pairs = pairs[unseen(pairs) == new]
    four = pairs[torch.randint(len(pairs), (count, 2), generator=generator)].flatten(1)
    below = torch.rand(count, generator=generator) < 0.5
    labels = digits.labels.cpu()
    order, counts = labels.argsort(stable=True), labels.bincount(minlength=10)
    place = (torch.rand(count, 4, generator=generator) * counts[four]).long()  # among the digits of that label
    parts = order[(counts.cumsum(0) - counts)[four] + place]
    pages = Pages(digits.images, phrase(four, below), f"pages of {digits.source}", PAGE, parts)
    return pages.to(digits.labels.device)


@dataclass(frozen=True)
class Agreement:
    """How many digits, and how many whole pages, are read as asked; shares with 95 % Wilson intervals."""

    digits: float
    digits_range: tuple[float, float]
    pages: float  # all four right
    pages_range: tuple[float, float]
    count: int  # pages


def agreement(classifier: nn.Module, pages: Images, prompts: Prompts) -> Agreement:
    """``pages`` (B, 1, 56, 56) in [-1, 1] against what ``prompts``, (B, 5), ask for, as the classifier reads them."""
    right = read(classifier, pages) == asked(prompts)
    digits, whole = right.float().mean().item(), right.all(dim=1).float().mean().item()
    count = len(prompts)
    return Agreement(digits, wilson_interval(digits, 4 * count), whole, wilson_interval(whole, count), count)


def read(classifier: nn.Module, pages: Images) -> Four:
    """The four digits that the classifier reads on each page, in reading order, (B, 4)."""
    crops = cut(pages)
    return in_batches(classifier, crops.flatten(0, 1)).argmax(dim=1).view(-1, 4)
