"""Wrong versions of what is done with a trained network: inpaint_step."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch


# inpaint_step: mask * (signal * known + sigma * noise) + (1 - mask) * x_prev
def _inpaint_step(p: Any) -> Callable[..., Any]:
    def f(schedule, x_prev, known, mask, t_prev, noise):
        bar, noise = p["bar"](schedule, t_prev, x_prev), p["noise"](noise)
        noised = p["signal"](bar) * known + p["sigma"](bar) * noise
        return p["mix"](p["mask"](mask), noised, p["drawn"](x_prev, bar, noise))

    return f


def _before(schedule, t_prev, like):
    return schedule.at("alphas_cumprod_prev", t_prev + 1, like)


def _replaced_in_place(mask, noised, x_prev):
    return x_prev.copy_(mask * noised + (1 - mask) * x_prev)


_I = {
    "bar": _before,
    "noise": lambda e: e,
    "signal": lambda bar: bar.sqrt(),
    "sigma": lambda bar: (1 - bar).sqrt(),
    "mask": lambda m: m,
    "drawn": lambda x, bar, e: x,
    "mix": lambda m, noised, x: m * noised + (1 - m) * x,
}
_i: list[Any] = [
    ("the mask is the wrong way round", "What does a 1 in the mask say of its pixel?", {"mask": lambda m: 1 - m}),
    ("the known pixels come back clean", "How noisy are the pixels around them, and how noisy are these?",
     {"signal": lambda bar: 1.0, "sigma": lambda bar: 0.0}),
    ("the noise of the level above", "x_prev has left level t. Where has it arrived?",
     {"bar": lambda s, t_prev, x: s.at("alphas_cumprod", t_prev + 1, x)}),
    ("noise at the last step too", "How noisy is the clean image, t_prev = −1?",
     {"bar": lambda s, t_prev, x: s.at("alphas_cumprod", t_prev.clamp(min=0), x)}),
    ("t_prev = -1 read as the last level", "Which entry of a table is number −1, and which one is meant?",
     {"bar": lambda s, t_prev, x: s.at("alphas_cumprod", t_prev % len(s), x)}),
    ("one level too early", "Which entry of alphas_cumprod_prev belongs to t_prev?",
     {"bar": lambda s, t_prev, x: s.at("alphas_cumprod_prev", t_prev.clamp(min=0), x)}),
    ("one level for the whole batch", "Every image has its own t_prev.",
     {"bar": lambda s, t_prev, x: _before(s, t_prev[:1].expand_as(t_prev), x)}),
    ("the level lacks its three extra axes", "A vector of B numbers meets the last axis, the width, first.",
     {"bar": lambda s, t_prev, x: _before(s, t_prev, x).flatten()}),
    ("the signal lacks its root", "Which power of ᾱ does the forward process give to the image?",
     {"signal": lambda bar: bar}),
    ("the noise lacks its root", "Is 1 − ᾱ a standard deviation?", {"sigma": lambda bar: 1 - bar}),
    ("the two factors are swapped", "At t_prev = −1 nothing but the image should be left. Is it?",
     {"signal": lambda bar: (1 - bar).sqrt(), "sigma": lambda bar: bar.sqrt()}),
    ("the signal does not fade", "Which spread have the drawn pixels at a high level, and which the known ones?",
     {"signal": lambda bar: 1.0}),
    ("noise drawn inside", "The noise is an argument: who calls decides which.",
     {"noise": lambda e: torch.randn_like(e)}),
    ("one noise for the whole batch", "Every image has its own noise.", {"noise": lambda e: e[:1].expand_as(e)}),
    ("the noise is clamped", "A normal draw may be large. Take it as it is.",
     *({"noise": lambda e, most=most: e.clamp(-most, most)} for most in (4, 1, 2))),
    ("the drawn pixels are noised again", "How noisy is x_prev already?",
     {"drawn": lambda x, bar, e: bar.sqrt() * x + (1 - bar).sqrt() * e}),
    ("known and drawn are averaged", "How much of a known pixel does the network have to guess?",
     {"mix": lambda m, noised, x: m * (noised + x) / 2 + (1 - m) * x}),
    ("the known pixels are added to the drawn ones", "What stands in a known pixel before it is put back?",
     {"mix": lambda m, noised, x: m * noised + x}),
    ("the drawn pixels are lost", "What should be left where the mask is 0?",
     {"mix": lambda m, noised, x: m * noised}),
    ("the known pixels are not put back", "Which pixels of the answer come from known?",
     {"mix": lambda m, noised, x: x + 0 * noised}),
    ("one mask for the whole batch", "May each image have a mask of its own?", {"mask": lambda m: m[:1]}),
    ("the mask's rows and columns are exchanged", "Which axis of the mask meets the height of the image?",
     {"mask": lambda m: m.transpose(-1, -2)}),
    ("the caller's image is changed in place", "x_prev belongs to the caller.", {"mix": _replaced_in_place}),
]  # fmt: skip

EDITS = SimpleNamespace(
    templates={"inpaint_step": (_inpaint_step, _I)},
    mistakes=[("inpaint_step", *entry) for entry in _i],
)
