"""Probes of the network's outer parts: a label as tokens, and the way up with its skips.

Blocks, attention and embeddings are stand-ins that keep a log, so that no other exercise has to be right first.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lib.homework.probing import Observation, filled, normal, trace
from diffusion_lib.profiles import UNetConfig

MOST_CALLS = 16


class Repeated(nn.Module):
    """In place of an MLP: (B, D) -> (B, K D), the vector times 1, 2 ... K."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([(i + 1) * x for i in range(self.times)], dim=-1)


def label_tokens(f: Callable[..., Tensor], key: int) -> Observation:
    """A row of a table, then an MLP to several tokens."""
    from diffusion_lib.embeddings import LabelEmbedding

    seen = Observation()
    layer, single = (filled(LabelEmbedding(5, 6, tokens), key) for tokens in (3, 1))
    label = torch.tensor([4, 0, 3, 5])  # 5 is the null label
    seen.case("S labels", lambda: f(layer, label.clone(), 4))
    seen.case("S one token", lambda: f(single, label.clone(), 4))
    seen.case("S no label", lambda: f(layer, None, 4))
    seen.case("S as many images as tokens", lambda: f(layer, label[:3].clone(), 3))
    plain = filled(LabelEmbedding(5, 6, 3), key + 50)
    plain.mlp = Repeated(3)
    seen.case("G token k is k times the first", lambda: f(plain, label.clone(), 4))
    trace(seen, lambda layer, label: f(layer, label, 4), layer, label)
    return seen


@dataclass
class Log:
    """What the stand-ins of a network were given, call by call."""

    calls: list[tuple[float, ...]] = field(default_factory=list)
    time: Tensor | None = None
    context: Tensor | None = None

    def enter(self, number: int, x: Tensor) -> None:
        """Stage or upsampling ``number`` was given ``x``."""
        self.calls.append((float(number), *map(float, x.shape)))

    def enter_upsampling(self, number: int, _: nn.Module, given: tuple[Tensor]) -> None:
        """The same, as a hook of the upsampling."""
        self.enter(number, given[0])

    def table(self) -> Tensor:
        """(MOST_CALLS, 5): number and shape of each call, in order; zeros below."""
        rows = [row for row in self.calls if len(row) == 5][:MOST_CALLS]
        return torch.cat([torch.tensor(rows).view(-1, 5), torch.zeros(MOST_CALLS - len(rows), 5)]).double()


class Block(nn.Module):
    """In place of a residual block: one convolution and a bias from t."""

    def __init__(self, channels: int, out: int, time_dim: int, log: Log, number: int) -> None:
        super().__init__()
        self.conv, self.told = nn.Conv2d(channels, out, 3, padding=1), nn.Linear(time_dim, out)
        self.log, self.number = log, number

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        self.log.enter(self.number, x)
        return self.conv(x) + self.told(time)[:, :, None, None]


class Told(nn.Module):
    """In place of a transformer: a bias from the context."""

    def __init__(self, channels: int, context_dim: int) -> None:
        super().__init__()
        self.told = nn.Linear(context_dim, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return x + self.told(context.mean(dim=1))[:, :, None, None]


class Waves(nn.Module):
    """In place of the time embedding: (B,) -> (B, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.arange(1.0, dim + 1))

    def forward(self, t: Tensor) -> Tensor:
        return torch.sin(0.1 * t[:, None] * self.frequency)


class Digits(nn.Module):
    """In place of the label embedding: a row of waves for each token; no label is label 10."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.tokens, self.waves = tokens, Waves(tokens * dim)

    def forward(self, label: Tensor | None, batch: int) -> Tensor:
        label = torch.full((batch,), 10) if label is None else label
        return self.waves(label + 1).view(batch, self.tokens, -1)


def network(patch_size: int, key: int) -> tuple[Any, Log]:
    """A UNet of three stages made of stand-ins, and their log; whatever is done to them, the next are as new."""
    from diffusion_lib.unet import UNet

    return deepcopy(_network(UNet, patch_size, key))


@lru_cache(maxsize=8)
def _network(kind: type, patch_size: int, key: int) -> tuple[Any, Log]:
    config = UNetConfig(
        image_size=(8, 16), image_channels=2, patch_size=patch_size, width=8, multipliers=(1, 2, 3),
        transformer_stages=(0, 1), time_dim=6, context_dim=4, context_tokens=3,
    )  # fmt: skip
    unet, log = kind(config), Log()
    unet.time, unet.label = Waves(6), Digits(3, 4)
    for number, stage in enumerate(_stages(unet), start=1):
        old = stage.block.conv1
        stage.block = Block(old.in_channels, old.out_channels, 6, log, number)
        if stage.transformer is not None:
            stage.transformer = Told(old.out_channels, 4)
    for number, up in enumerate(unet.upsamples, start=20):
        up.register_forward_pre_hook(partial(log.enter_upsampling, number))  # a copy of the network has a copy of it
    return filled(unet, key), log


def _stages(unet: Any) -> Iterator[Any]:
    yield from (*unet.down, unet.middle1, unet.middle2, *unet.up)


def decoder(f: Callable[..., Tensor], key: int) -> Observation:
    """The UNet of Ronneberger et al. 2015 from its middle on."""
    seen = Observation()
    x, t, label = normal(3, 2, 4, 8, key=key), torch.tensor([0, 7, 31]), torch.tensor([4, 0, 9])
    plain, log = network(1, key + 1)
    packed, _ = network(2, key + 2)
    seen.case("S with a label", lambda: f(plain, x.clone(), t, label))
    seen.case("S no label", lambda: f(plain, x.clone(), t))
    large = normal(2, 2, 8, 16, key=key + 4)
    seen.case("S patches of 2 x 2 pixels", lambda: f(packed, large.clone(), t[1:], label[1:]))
    seen.case("G a pixel through the finest skip alone", partial(_through_the_skip, f, key + 3))
    seen.case("T what ran, in which order, on which shapes", lambda: _calls(f, plain, log, x, t, label))
    trace(seen, f, plain, x, t, label)
    return seen


def _through_the_skip(f: Callable[..., Tensor], key: int) -> Tensor:
    """The last stage reads its skip alone: a lone pixel of the input is seen no further than its convolutions reach."""
    unet, _ = network(1, key)
    unet.norm_out = nn.Identity()
    unet.up[-1].block.conv.weight[:, :8] = 0
    x = torch.zeros(2, 2, 4, 16, dtype=torch.float64)
    lit = x.clone()
    lit[:, :, 1, 9] = 1
    t = torch.tensor([2, 5])
    return f(unet, lit, t) - f(unet, x, t)


def _calls(f: Callable[..., Tensor], unet: Any, log: Log, *inputs: Tensor) -> Tensor:
    """The log of one pass, up to the error where there is one."""
    log.calls.clear()
    try:
        f(unet, *inputs)
    except NotImplementedError:
        raise
    except Exception:
        pass  # what ran until then tells mistakes apart
    return log.table()
