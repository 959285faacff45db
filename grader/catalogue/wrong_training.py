"""Wrong versions of what surrounds the equations: ddpm_loss, guided."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F

from diffusion_lib.diffusion import q_sample


# ddpm_loss
def _ddpm_loss(p: Any) -> Callable[..., Any]:
    def f(model, schedule, x_start, label=None, *, t=None, noise=None):
        t = p["t"](t, schedule, x_start)
        noise = p["noise"](noise, x_start)
        x_t = p["x_t"](schedule, x_start, t, noise)
        with p["context"]():
            eps = p["call"](model, x_t, t, label, schedule)
        return p["reduce"](eps, p["target"](noise, x_start, x_t))

    return f


def _any_t(t, schedule, x, low=0, short=0):
    return torch.randint(low, len(schedule) - short, (len(x),)) if t is None else t


def _any_noise(e, x):
    return torch.randn_like(x) if e is None else e


def _previewing(model, x_t, t, label, schedule):
    model.eval()
    return model(x_t, t, label)


_L = {
    "t": _any_t,
    "noise": _any_noise,
    "x_t": q_sample,
    "context": nullcontext,
    "call": lambda model, x_t, t, label, s: model(x_t, t, label),
    "target": lambda noise, x_start, x_t: noise,
    "reduce": F.mse_loss,
}
_l: list[Any] = [
    ("the last level is never drawn", "randint leaves its upper end out already.",
     {"t": lambda t, s, x: _any_t(t, s, x, short=1)}),
    ("level 0 is never drawn", "t = 0 is a level too: one step of noise.",
     {"t": lambda t, s, x: _any_t(t, s, x, low=1)}),
    ("one t for the whole batch", "Each image draws its own t.",
     {"t": lambda t, s, x: torch.randint(0, len(s), (1,)).expand(len(x)) if t is None else t}),
    ("the given t is ignored", "t may be given; draw it only where it is None.",
     {"t": lambda t, s, x: _any_t(None, s, x)}),
    ("the given noise is ignored", "noise may be given; draw it only where it is None.",
     {"noise": lambda e, x: torch.randn_like(x)}),
    ("uniform noise", "rand is not randn: the noise is normal, with mean 0 and spread 1.",
     {"noise": lambda e, x: torch.rand_like(x) if e is None else e}),
    ("one noise for the whole batch", "Every image has its own noise.",
     {"noise": lambda e, x: torch.randn_like(x[:1]).expand_as(x) if e is None else e}),
    ("one number of noise for each image", "Every pixel has its own noise: it is as large as the image.",
     {"noise": lambda e, x: torch.randn(len(x), 1, 1, 1).to(x).expand_as(x) if e is None else e}),
    ("the noise has no tails", "A normal draw may be large. Leave it as it is.",
     {"noise": lambda e, x: torch.randn_like(x).clamp(-2.5, 2.5) if e is None else e},
     *({"noise": lambda e, x, most=most: _any_noise(e, x).clamp(-most, most)} for most in (2.5, 4)),
     {"noise": lambda e, x: torch.randn_like(x).clamp(-4, 4) if e is None else e}),
    ("the noise in x_t is not the noise in the loss", "Two draws. Draw once, use it twice.",
     {"x_t": lambda s, x, t, e: q_sample(s, x, t, torch.randn_like(x))}),
    ("the model sees the clean image", "The model must get the noisy image.", {"x_t": lambda s, x, t, e: x}),
    ("the model sees pure noise", "The model must get the noisy image, not the noise.", {"x_t": lambda s, x, t, e: e}),
    ("the target is the clean image", "The sampler takes the model's answer for noise. So must the loss.",
     {"target": lambda e, x, x_t: x}),
    ("the target is the noisy image", "What is the model asked for?", {"target": lambda e, x, x_t: x_t}),
    ("the target has the wrong sign", "A sign in the target.", {"target": lambda e, x, x_t: -e}),
    ("absolute error", "Eq. 14 squares the error.", {"reduce": F.l1_loss}),
    ("a sum instead of a mean", "The loss grows with the size of the batch.",
     {"reduce": lambda a, b: F.mse_loss(a, b, reduction="sum")}),
    ("a sum over pixels, a mean over images", "The loss grows with the size of the image.",
     {"reduce": lambda a, b: F.mse_loss(a, b, reduction="sum") / len(a)}),
    ("the root of the mean", "Eq. 14 has no root.", {"reduce": lambda a, b: F.mse_loss(a, b).sqrt()}),
    ("no gradient", "no_grad belongs to sampling. Here the network must learn.", {"context": torch.no_grad}),
    ("t and label are swapped", "Both are int64 of shape (B,). The order is image, time, label.",
     {"call": lambda model, x_t, t, label, s: model(x_t, label if label is not None else t, t)}),
    ("the label is dropped", "The model is not told which digit it looks at.",
     {"call": lambda model, x_t, t, label, s: model(x_t, t)}),
    ("the model is always told t = 0", "The model must know the level.",
     {"call": lambda model, x_t, t, label, s: model(x_t, torch.zeros_like(t), label)}),
    ("the model is told t + 1", "Tables and model count alike, from 0.",
     {"call": lambda model, x_t, t, label, s: model(x_t, t + 1, label)}),
    ("eval mode is left on", "eval() is for sampling, and who calls it must call train() again.",
     {"call": _previewing}),
    ("the model is called twice", "One pass is enough: keep its answer.",
     {"call": lambda model, x_t, t, label, s: (model(x_t, t, label), model(x_t, t, label))[0]}),
]  # fmt: skip


# guided
def _guided(p: Any) -> Callable[..., Any]:
    def f(model, label, scale):
        state = {"scale": scale}

        def eps_model(x, t):
            eps_u, eps_c = p["free"](model, x, t, label), p["told"](model, x, t, label)
            answer = p["mix"](eps_u, eps_c, state["scale"])
            p["after"](state, label)
            return answer

        return eps_model

    return f


_G = {
    "free": lambda model, x, t, label: model(x, t, None),
    "told": lambda model, x, t, label: model(x, t, label),
    "mix": lambda u, c, scale: u + scale * (c - u),
    "after": lambda state, label: None,
}
_g = [
    ("w where 1 + w belongs", "Two conventions: here scale 1 is the conditional model, in the paper w = 0 is.",
     {"mix": lambda u, c, scale: c + scale * (c - u)}),
    ("1 + scale", "Here scale = 1 + w already.", {"mix": lambda u, c, scale: (1 + scale) * c + scale * u}),
    ("the wrong way round", "Guidance moves away from the unconditional guess, towards the label.",
     {"mix": lambda u, c, scale: c + scale * (u - c)}),
    ("the conditional guess is scaled alone", "Guidance scales a difference.", {"mix": lambda u, c, scale: scale * c}),
    ("the difference alone", "The difference is added to a guess.", {"mix": lambda u, c, scale: scale * (c - u)}),
    ("the null label is the digit 0", "No label is None: 0 is a digit.",
     {"free": lambda model, x, t, label: model(x, t, torch.zeros_like(label))}),
    ("both guesses know the label", "One of the two guesses must not be told.",
     {"free": lambda model, x, t, label: model(x, t, label)}),
    ("no guess knows the label", "One of the two guesses must be told.",
     {"told": lambda model, x, t, label: model(x, t, None)}),
    ("only the first step is guided", "Something is changed after the first call, and stays changed.",
     {"after": lambda state, label: state.update(scale=1.0)}),
    ("the caller's labels are overwritten", "The labels belong to the caller, and the next step needs them.",
     {"after": lambda state, label: label.zero_()}),
]  # fmt: skip

TRAINING = SimpleNamespace(
    templates={"ddpm_loss": (_ddpm_loss, _L), "guided": (_guided, _G)},
    mistakes=[(exercise, *entry) for exercise, entries in {"ddpm_loss": _l, "guided": _g}.items() for entry in entries],
)
