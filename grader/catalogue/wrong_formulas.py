"""Wrong versions of the equations: q_sample, p_sample, ddim_step."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from diffusion_lib.diffusion import predict_x_start


def _alpha_bar(at: Callable) -> Any:
    return at("alphas_cumprod")


def _reader(schedule: Any, t: Any, like: Any, shift: int = 0) -> Callable[[str], Any]:
    """at(name): a table read at t, moved by ``shift`` and kept inside it; "unless last" is 0 at t = 0, else 1."""
    moved = (t + shift).clamp(0, len(schedule) - 1)
    return lambda name: (t > 0).view(-1, 1, 1, 1) if name == "unless last" else schedule.at(name, moved, like)


# q_sample: signal * x_start + sigma * noise
def _q_sample(p: Any) -> Callable[..., Any]:
    def f(schedule, x_start, t, noise):
        at = p["table"](schedule, t, x_start)
        return p["signal"](at) * p["image"](x_start) + p["sigma"](at) * p["noise"](noise)

    return f


def _flat(schedule, t, like):
    return lambda name: ((t > 0) if name == "unless last" else getattr(schedule, name)[t]).to(like)


def _sums(schedule, t, like):
    return lambda name: (
        schedule.betas.cumsum(0)[t].to(like).view(-1, 1, 1, 1) if name == "summed" else schedule.at(name, t, like)
    )


_Q = {
    "table": _reader,
    "signal": lambda at: at("alphas_cumprod").sqrt(),
    "sigma": lambda at: (1 - at("alphas_cumprod")).sqrt(),
    "image": lambda x: x,
    "noise": lambda e: e,
}
_q = [
    ("the noise lacks its root", "One factor is a variance where eq. 4 needs a standard deviation.",
     {"sigma": lambda at: 1 - _alpha_bar(at)}),
    ("the signal lacks its root", "The signal's factor fades too fast. Which power of the product does eq. 4 have?",
     {"signal": _alpha_bar}),
    ("the two factors are swapped", "At t = 0 nearly all should be signal. Is it?",
     {"signal": lambda at: (1 - _alpha_bar(at)).sqrt(), "sigma": lambda at: _alpha_bar(at).sqrt()}),
    ("one step of noise instead of all", "Level t means t + 1 steps of noise. Which table multiplies them up?",
     {"signal": lambda at: at("sqrt_alphas"), "sigma": lambda at: at("betas").sqrt()}),
    ("the noise of a single step", "The signal is right. The noise is that of one step, not of all steps so far.",
     {"sigma": lambda at: at("betas").sqrt()}),
    ("the signal of a single step", "The noise is right. The signal has shrunk by one step only.",
     {"signal": lambda at: at("sqrt_alphas")}),
    ("a sum where a product belongs", "Shares of variance multiply from step to step; they do not add.",
     {"table": _sums, "signal": lambda at: (1 - at("summed")).clamp(min=0).sqrt(),
      "sigma": lambda at: at("summed").clamp(max=1).sqrt()}),
    ("one level too early", "The tables count from 0: t = 0 is already one step of noise.",
     {"table": lambda s, t, x: _reader(s, t, x, -1)}),
    ("one level too late", "The tables count from 0: index t itself is level t.",
     {"table": lambda s, t, x: _reader(s, t, x, 1)}),
    ("factors without their three extra axes", "A vector of B numbers meets the last axis, the width, first.",
     {"table": _flat}),
    ("one level for the whole batch", "Every image has its own t.",
     {"table": lambda s, t, x: _reader(s, t[:1].expand_as(t), x)}),
    ("the signal does not fade", "Noise is added, but the image keeps its full strength.", {"signal": lambda at: 1.0}),
    ("noise of full strength at every level", "The noise has the same spread at every t.", {"sigma": lambda at: 1.0}),
    ("noise drawn inside", "The noise is an argument, so that the loss can compare with it. Use the one you are given.",
     {"noise": lambda e: torch.randn_like(e)}),
    ("the noise is clamped", "A normal draw may be large. Take it as it is.", {"noise": lambda e: e.clamp(-4, 4)},
     *({"noise": lambda e, most=most: e.clamp(-most, most)} for most in (1, 2))),
    ("the noise is subtracted", "A sign: eq. 4 adds the noise.", {"noise": lambda e: -e}),
    ("the image is moved to [0, 1]", "Images are given, and stay, in [-1, 1].", {"image": lambda x: (x + 1) / 2}),
]  # fmt: skip


# p_sample: factor * (x_t - weight * eps) + fresh (eq. 11), or of_x_start * x_start + of_x_t * x_t + fresh (eq. 7)
def _p_sample(p: Any) -> Callable[..., Any]:
    def f(schedule, x_t, t, eps, noise):
        at = p["table"](schedule, t, x_t)
        return p["mean"](at, x_t, eps, p) + p["std"](at) * p["fresh"](noise, eps)

    return f


def _eq_11(at, x_t, eps, p):
    return p["factor"](at) * (x_t - p["weight"](at) * eps)


def _eq_7(at, x_t, eps, p):
    x_start = p["x_start"](at, x_t, eps).clamp(-1, 1)
    return at("posterior_x_start_coef") * x_start + at("posterior_x_t_coef") * x_t


def _x_start(at, x_t, eps):
    return (x_t - (1 - _alpha_bar(at)).sqrt() * eps) / _alpha_bar(at).sqrt()


def _clean(at, x_t, eps, p):
    return _x_start(at, x_t, eps)


def _clean_clipped(at, x_t, eps, p):
    return _x_start(at, x_t, eps).clamp(-1, 1)


def _swapped(x_start):
    return lambda at, x_t, eps, p: (
        at("posterior_x_start_coef") * x_t + at("posterior_x_t_coef") * x_start(at, x_t, eps, p)
    )


def _weight(at):
    return at("betas") / (1 - _alpha_bar(at)).sqrt()


def _beta_std(at):
    return at("betas").sqrt() * at("unless last")


def _together(decides):
    """Tables where ``decides`` takes the fresh noise from the whole batch, whichever variance it has."""

    def table(s, t, x):
        at, keep = _reader(s, t, x), not decides(t)
        scaled = {"posterior_variance": lambda: at("posterior_variance") * keep, "unless last": lambda: keep}
        return lambda name: scaled[name]() if name in scaled else at(name)

    return table


_P = {
    "table": _reader,
    "mean": _eq_11,
    "factor": lambda at: 1 / at("alphas").sqrt(),
    "weight": _weight,
    "x_start": _x_start,
    "std": lambda at: at("posterior_variance").sqrt(),
    "fresh": lambda z, eps: z,
}
# eq. 11 is eq. 7 unclipped
_P_FORMS: tuple[dict[str, Any], ...] = ({}, {"std": _beta_std}, {"mean": _eq_7}, {"mean": _eq_7, "std": _beta_std})
_p: list[Any] = [
    ("multiplies by √α_t where Algorithm 2 divides", "Look at the factor in front of the bracket.",
     {"factor": lambda at: at("sqrt_alphas")}),
    ("the factor in front of the bracket is missing", "The bracket must be stretched back to the size of x_{t-1}.",
     {"factor": lambda at: 1.0}),
    ("the root of α_t is missing", "The factor in front of the bracket has a root.",
     {"factor": lambda at: 1 / at("alphas")}),
    ("ᾱ_t where α_t belongs", "The factor undoes one step, not all of them.",
     {"factor": lambda at: 1 / _alpha_bar(at).sqrt()}),
    ("the root of 1 − ᾱ_t is missing", "The weight of the guess lacks a root.",
     {"weight": lambda at: at("betas") / (1 - _alpha_bar(at))}),
    ("multiplies the guess by √(1 − ᾱ_t) where it divides", "The weight of the guess: a fraction, not a product.",
     {"weight": lambda at: at("betas") * (1 - _alpha_bar(at)).sqrt()}),
    ("α_t where ᾱ_t belongs", "The weight of the guess divides by all the noise so far, not that of one step.",
     {"weight": lambda at: at("betas").sqrt()}),
    ("the guess is weighted by β_t alone", "The weight of the guess has a denominator.",
     {"weight": lambda at: at("betas")}),
    ("all the noise is removed at once", "That is the jump to the clean image. Algorithm 2 takes one step.",
     {"weight": lambda at: (1 - _alpha_bar(at)).sqrt()}),
    ("√β_t where β_t belongs", "The numerator of the weight has no root.",
     {"weight": lambda at: at("betas").sqrt() / (1 - _alpha_bar(at)).sqrt()}),
    ("the guess is added", "A sign: noise is taken away.", {"weight": lambda at: -_weight(at)},
     {"x_start": lambda at, x_t, eps: _x_start(at, x_t, -eps)}),
    ("the variance stands where the standard deviation belongs", "z has spread 1. What multiplies it is a spread.",
     {"std": lambda at: at("posterior_variance")}),
    ("β_t as standard deviation", "z has spread 1. What multiplies it is a spread, and β_t is a variance.",
     {"std": lambda at: at("betas")}, {"std": lambda at: at("betas") * at("unless last")}),
    ("no fresh noise", "Line 3 of Algorithm 2 draws z. Where does it go?", {"std": lambda at: 0.0}),
    ("noise at the last step too", "What must the spread of the fresh noise be at t = 0?",
     {"std": lambda at: at("betas").sqrt()}),
    ("fresh noise of full strength", "The fresh noise needs its own small factor.", {"std": lambda at: 1.0},
     {"std": lambda at: at("unless last")}),
    ("the spread of all the noise so far", "The fresh noise replaces one step's noise, not all of it.",
     {"std": lambda at: (1 - _alpha_bar(at)).sqrt()},
     {"std": lambda at: (1 - _alpha_bar(at)).sqrt() * at("unless last")}),
    ("the guess is reused as fresh noise", "z is a new draw. The guess is not random.", {"fresh": lambda z, eps: eps}),
    ("noise drawn inside", "The fresh noise is an argument. Use the one you are given.",
     {"fresh": lambda z, eps: torch.randn_like(z)}),
    ("the fresh noise is clamped", "A normal draw may be large. Take it as it is.",
     {"fresh": lambda z, eps: z.clamp(-4, 4)},
     *({"fresh": lambda z, eps, most=most: z.clamp(-most, most)} for most in (1, 2))),
    ("one level too early", "The tables count from 0: index t itself is level t.",
     {"table": lambda s, t, x: _reader(s, t, x, -1)}),
    ("one level for the whole batch", "Every image has its own t.",
     {"table": lambda s, t, x: _reader(s, t[:1].expand_as(t), x)}),
    ("factors without their three extra axes", "A vector of B numbers meets the last axis, the width, first.",
     {"table": _flat}),
    ("the first image decides for the whole batch", "Every image has its own t: ask each of them whether it is 0.",
     {"table": _together(lambda t: t[0] == 0)}),
    ("one image at t = 0 takes the noise from the whole batch",
     "Every image has its own t: only where it is 0 is there no fresh noise.",
     {"table": _together(lambda t: (t == 0).any())}),
    ("returns the clean image", "That is the network's idea of x_0. Algorithm 2 goes one step.",
     {"mean": _clean, "factor": None, "weight": None},
     *({"mean": mean, "std": std}
       for mean in (_clean, _clean_clipped) for std in (_P["std"], _beta_std, lambda at: 0.0))),
    ("eq. 7 with its two images swapped", "Which of the two coefficients belongs to x_0, and which to x_t?",
     {"mean": _swapped(_clean), "factor": None, "weight": None}, {"mean": _swapped(_clean_clipped)}),
    ("the guess is taken for the clean image", "The network predicts noise. Eq. 15 turns that into a clean image.",
     {"mean": lambda at, x_t, eps, p: at("posterior_x_start_coef") * eps + at("posterior_x_t_coef") * x_t,
      "factor": None, "weight": None}, {"mean": _eq_7, "x_start": lambda at, x_t, eps: eps}),
]  # fmt: skip


# ddim_step
def _ddim_step(p: Any) -> Callable[..., Any]:
    def f(schedule, x_t, t, t_prev, eps, noise, eta=0.0):
        now, prev = schedule.at("alphas_cumprod", t, x_t), p["prev"](schedule, t_prev, x_t)
        std = p["std"](now, prev, p["eta"](eta))
        x_start = p["x_start"](schedule, x_t, t, eps)
        return p["place"](now, prev) * x_start + p["direction"](now, prev, std) * eps + std * noise

    return f


def _std(now, prev, eta):
    return eta * ((1 - prev) / (1 - now) * (1 - now / prev)).sqrt()


_D = {
    "prev": lambda s, t_prev, x: s.at("alphas_cumprod_prev", t_prev + 1, x),
    "eta": lambda eta: eta,
    "std": _std,
    "x_start": predict_x_start,
    "place": lambda now, prev: prev.sqrt(),
    "direction": lambda now, prev, std: (1 - prev - std**2).clamp(min=0).sqrt(),
}
_d = [
    ("σ² is missing under the root", "The fresh noise takes its share of the variance: the direction must give it up.",
     {"direction": lambda now, prev, std: (1 - prev).sqrt()}),
    ("σ where σ² belongs", "Variances add, spreads do not.",
     {"direction": lambda now, prev, std: (1 - prev - std).clamp(min=0).sqrt()}),
    ("the direction has the old level's size", "The new image has the noise of t_prev, not of t.",
     {"direction": lambda now, prev, std: (1 - now - std**2).clamp(min=0).sqrt()}),
    ("the root of the direction is missing", "A variance stands where a spread belongs.",
     {"direction": lambda now, prev, std: 1 - prev - std**2}),
    ("no direction", "Only at the clean image is no noise left.", {"direction": lambda now, prev, std: 0.0}),
    ("the clean image is placed at the old level", "Which level does the step arrive at?",
     {"place": lambda now, prev: now.sqrt()}),
    ("the clean image is not scaled", "At level t_prev the signal has faded a little.",
     {"place": lambda now, prev: 1.0}),
    ("the noisy image stands for the clean one", "Eq. 12 starts from the predicted clean image.",
     {"x_start": lambda s, x, t, e: x}),
    ("the variance stands for σ", "Eq. 16 has roots.", {"std": lambda now, prev, eta: _std(now, prev, eta**0.5) ** 2}),
    ("η is ignored", "η scales the fresh noise.", {"eta": lambda eta: 1.0}),
    ("η is squared", "η is a factor of σ, not of σ².", {"eta": lambda eta: eta**2}),
    ("t_prev = -1 read as the last level", "Index -1 is the end of the table. The clean image has ᾱ = 1.",
     {"prev": lambda s, t_prev, x: s.at("alphas_cumprod", t_prev % len(s), x)}),
    ("one level too early", "Which entry of alphas_cumprod_prev belongs to t_prev?",
     {"prev": lambda s, t_prev, x: s.at("alphas_cumprod_prev", t_prev.clamp(min=0), x)}),
]  # fmt: skip


FORMULAS = SimpleNamespace(
    templates={"q_sample": (_q_sample, _Q), "p_sample": (_p_sample, _P), "ddim_step": (_ddim_step, _D)},
    forms={"p_sample": _P_FORMS},
    mistakes=[
        (exercise, *entry)
        for exercise, entries in {"q_sample": _q, "p_sample": _p, "ddim_step": _d}.items()
        for entry in entries
    ],
)
