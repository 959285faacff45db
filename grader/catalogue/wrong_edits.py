"""Wrong versions of what surrounds a trained network: inpaint_step, encode_scaled."""

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
    ("the caller's image is changed in place", "What comes in belongs to the caller, who may look at it again.",
     {"mix": _replaced_in_place}),
]  # fmt: skip


# encode_scaled
def _encode_scaled(p: Any) -> Callable[..., Any]:
    def f(model, x, scale):
        z = p["latent"](model.encode(p["image"](x, scale)))
        return p["end"](p["divide"](p["centre"](z), p["scale"](model, scale, z)))

    return f


def _drawn(code):
    return code.mean + (0.5 * code.log_variance).exp() * torch.randn_like(code.mean)


_E = {
    "image": lambda x, scale: x,
    "latent": lambda code: code.mean,
    "centre": lambda z: z,
    "scale": lambda model, scale, z: scale,
    "divide": lambda z, scale: z / scale,
    "end": lambda z: z,
}
_e: list[Any] = [
    ("multiplied by the scale", "Latents have the spread scale. Which spread have yours after it?",
     {"divide": lambda z, scale: z * scale}),
    ("divided by the scale's square", "Is the scale a spread, or a variance?",
     {"divide": lambda z, scale: z / scale**2}),
    ("divided by the scale's root", "Is the scale a spread, or a variance?",
     {"divide": lambda z, scale: z / scale**0.5}),
    ("the latents are not scaled", "Which spread does a noise schedule expect of its data?",
     {"divide": lambda z, scale: z}),
    ("the image is scaled, not its latent", "What should have variance 1: what the encoder sees, or what it says?",
     {"image": lambda x, scale: x / scale, "divide": lambda z, scale: z}),
    ("the image is moved to [0, 1]", "Which range were the encoder's images in, when it was trained?",
     {"image": lambda x, scale: (x + 1) / 2}),
    ("a mean is subtracted", "decode_scaled has one number to undo this with. What else would it need?",
     {"centre": lambda z: z - z.mean()}, {"centre": lambda z: z - z.mean(dim=(0, 2, 3), keepdim=True)},
     {"centre": lambda z: z - z.mean(dim=(1, 2, 3), keepdim=True)}),
    ("a latent is drawn", "Should an image that is encoded twice be two latents?", {"latent": _drawn}),
    ("the log variance is taken for the mean", "A code says two things of each latent. Which of them is a latent?",
     {"latent": lambda code: code.log_variance}),
    ("the spread of the batch stands for the scale", "Should an image's latent depend on the images beside it?",
     {"scale": lambda model, scale, z: z.std()}),
    ("each image has its own scale", "Where would the decoder learn the scale of a latent that nobody encoded?",
     {"scale": lambda model, scale, z: z.std(dim=(1, 2, 3), keepdim=True)}),
    ("each channel has its own scale", "The scale is one number, for all channels.",
     {"scale": lambda model, scale, z: z.std(dim=(0, 2, 3), keepdim=True)}),
    ("the model's scale, whatever is given", "scale is an argument.", {"scale": lambda model, scale, z: model.scale}),
    ("the latents are clamped", "Images end at −1 and 1. Where does a latent end?",
     {"end": lambda z: z.clamp(-1, 1)}, {"end": lambda z: z.clamp(-3, 3)}),
]  # fmt: skip

EDITS = SimpleNamespace(
    templates={"inpaint_step": (_inpaint_step, _I), "encode_scaled": (_encode_scaled, _E)},
    mistakes=[("inpaint_step", *entry) for entry in _i] + [("encode_scaled", *entry) for entry in _e],
)
