"""Wrong versions of straight paths: flow_loss, euler_step."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from diffusion_lib.diffusion import q_sample
from diffusion_lib.flow import path_time, straight_path
from diffusion_lib.predictions import amplitudes


# flow_loss
def _flow_loss(p: Any) -> Callable[..., Any]:
    def f(model, schedule, x_start, label=None, *, t, noise):
        tau, noise = p["tau"](schedule, t, x_start), p["noise"](noise)
        x_tau = p["x_tau"](schedule, x_start, noise, tau, t)
        with p["context"]():
            u = p["call"](model, x_tau, t, label, tau)
        return p["reduce"](u, p["target"](x_start, noise, x_tau, amplitudes(schedule, t, x_start)))

    return f


def _evenly(first, less):
    """τ as if levels lay evenly on the line."""
    return lambda s, t, x: ((t + first) / (len(s) - less)).view(-1, 1, 1, 1).to(x)


_F = {
    "tau": path_time,
    "noise": lambda e: e,
    "x_tau": lambda s, x, e, tau, t: straight_path(x, e, tau),
    "context": nullcontext,
    "call": lambda model, x_tau, t, label, tau: model(x_tau, t, label),
    "target": lambda x, e, x_tau, factors: e - x,
    "reduce": F.mse_loss,
}
_f: list[Any] = [
    ("the velocity has the wrong sign", "Both papers count from noise to image. What lies at τ = 0 here?",
     {"target": lambda x, e, x_tau, factors: x - e}),
    ("the target is the noise", "The noise is one end of the line. What is the network asked for?",
     {"target": lambda x, e, x_tau, factors: e}),
    ("the target is the clean image", "The image is where the line begins. What is the network asked for?",
     {"target": lambda x, e, x_tau, factors: x}),
    ("the target is v", "v is the velocity along a circle (notebook 03). Which shape has this path?",
     {"target": lambda x, e, x_tau, factors: factors[0] * e - factors[1] * x}),
    ("the target is a way, not a velocity", "A velocity is a way divided by the time that it takes.",
     {"target": lambda x, e, x_tau, factors: x_tau - x}, {"target": lambda x, e, x_tau, factors: e - x_tau}),
    ("image and noise are exchanged on the path", "At τ = 0 the point is one end of the line. Which one?",
     {"x_tau": lambda s, x, e, tau, t: straight_path(e, x, tau)}),
    ("x_t of the schedule stands for x_τ", "On a straight line the two shares add up to 1. Do yours?",
     {"x_tau": lambda s, x, e, tau, t: q_sample(s, x, t, e)}),
    ("the network sees the clean image", "What does the network see at τ = 1?",
     {"x_tau": lambda s, x, e, tau, t: x}),
    ("τ counts the levels evenly", "One schedule puts its levels evenly on the line. Is it the one that is given?",
     {"tau": _evenly(1, 0)}, {"tau": _evenly(0, 0)}, {"tau": _evenly(0, 1)}),
    ("the noise's factor stands for τ", "How far along the line is x_t, once it is scaled back on to the line?",
     {"tau": lambda s, t, x: amplitudes(s, t, x)[1]}, {"tau": lambda s, t, x: amplitudes(s, t, x)[1] ** 2}),
    ("τ of one level too early", "A list of path_times begins with the clean image, which is no level.",
     {"tau": lambda s, t, x: path_time(s, (t - 1).clamp(min=0), x) * (t > 0).view(-1, 1, 1, 1)},
     {"tau": lambda s, t, x: path_time(s, (t - 1).clamp(min=0), x)}),
    ("one τ for the whole batch", "Every image has its own t.",
     {"tau": lambda s, t, x: path_time(s, t[:1].expand_as(t), x)}),
    ("τ lacks its three extra axes", "A vector of B numbers meets the last axis, the width, first.",
     {"tau": lambda s, t, x: path_time(s, t, x).flatten()}),
    ("the given noise is ignored", "The noise is an argument: the pairs may have been chosen.",
     {"noise": lambda e: torch.randn_like(e)}),
    ("the noise in x_τ is not the noise in the target", "How many ends has a line?",
     {"x_tau": lambda s, x, e, tau, t: straight_path(x, torch.randn_like(e), tau)}),
    ("the network is given τ for t", "What does the network count: shares of a line, or levels?",
     {"call": lambda model, x_tau, t, label, tau: model(x_tau, tau.flatten(), label)},
     {"call": lambda model, x_tau, t, label, tau: model(x_tau, 1000 * tau.flatten(), label)}),
    ("t and label are swapped", "Both are int64 of shape (B,). The order is image, time, label.",
     {"call": lambda model, x_tau, t, label, tau: model(x_tau, label if label is not None else t, t)}),
    ("the label is dropped", "Who tells the network which digit it looks at?",
     {"call": lambda model, x_tau, t, label, tau: model(x_tau, t)}),
    ("no gradient", "no_grad belongs to sampling. What must a loss do that a sample need not?",
     {"context": torch.no_grad}),
    ("absolute error", "Which average does an absolute error ask for? (Notebook 03.)", {"reduce": F.l1_loss}),
    ("a sum instead of a mean", "Does the loss of two equal images differ from that of one?",
     {"reduce": lambda a, b: F.mse_loss(a, b, reduction="sum")}),
    ("a sum over pixels, a mean over images", "The loss grows with the size of the image.",
     {"reduce": lambda a, b: F.mse_loss(a, b, reduction="sum") / len(a)}),
    ("no single number comes back", "From how many numbers can backward start?",
     {"reduce": lambda a, b: F.mse_loss(a, b, reduction="none").flatten(1).mean(1)},
     {"reduce": lambda a, b: F.mse_loss(a, b, reduction="none")}, {"reduce": lambda a, b: (a - b).square().mean(0)}),
]  # fmt: skip


# euler_step
def _euler_step(p: Any) -> Callable[..., Any]:
    def f(x_tau, tau, tau_next, velocity):
        step = p["step"](tau, tau_next)
        return p["end"](p["start"](x_tau, tau, tau_next), step * p["velocity"](velocity, x_tau, tau))

    return f


def _of_the_first(tau, tau_next):
    step = tau_next - tau
    return step[:1] if isinstance(step, Tensor) else step


_S = {
    "step": lambda tau, tau_next: tau_next - tau,
    "velocity": lambda u, x, tau: u,
    "start": lambda x, tau, tau_next: x,
    "end": lambda x, way: x + way,
}
_s: list[Any] = [
    ("the step has the wrong sign", "On the way to the image τ falls. Which sign has the step?",
     {"step": lambda tau, tau_next: tau - tau_next}),
    ("the clean image comes back", "There the whole line ends. Where does this step end?",
     {"step": lambda tau, tau_next: -tau}),
    ("the noise comes back", "There the line began. Where does this step end?",
     {"step": lambda tau, tau_next: 1 - tau}),
    ("the step is as long as τ", "How far is it from τ to τ', and in which direction?",
     {"step": lambda tau, tau_next: tau}),
    ("the step is as long as τ'", "How far is it from τ to τ', and in which direction?",
     {"step": lambda tau, tau_next: tau_next}, {"step": lambda tau, tau_next: -tau_next}),
    ("all steps are of one length", "Must two neighbouring τ always be equally far apart?",
     *({"step": lambda tau, tau_next, length=length: length} for length in (-0.02, -0.001, -0.01, -0.1))),
    ("half a step", "Where a velocity does not change, does this walk arrive?",
     {"step": lambda tau, tau_next: (tau_next - tau) / 2}),
    ("the step of the first image for the whole batch", "τ may be a tensor, with a value for each image.",
     {"step": _of_the_first}),
    ("the velocity is multiplied by τ", "Along a straight line, where is the velocity smaller than elsewhere?",
     {"velocity": lambda u, x, tau: tau * u}),
    ("the velocity is divided by τ", "u = (x_τ − x_0) / τ. By what has it been divided already?",
     {"velocity": lambda u, x, tau: u / tau}),
    ("the velocity is taken for the noise", "What does this network answer: an end of the line, or its direction?",
     {"velocity": lambda u, x, tau: (u - x) / (1 - tau)}),
    ("the way alone comes back", "A way leads from somewhere.", {"start": lambda x, tau, tau_next: 0 * x}),
    ("the point is scaled by τ' / τ", "DDIM scales, because its circle does not lie on a line. What does a line need?",
     {"start": lambda x, tau, tau_next: tau_next / tau * x}),
    ("the caller's image is changed in place", "What comes in belongs to the caller, who may look at it again.",
     {"end": lambda x, way: x.add_(way)}),
    ("the answer is clamped", "At which τ is x an image, and at which is it noise? What is the range of each?",
     {"end": lambda x, way: (x + way).clamp(-1, 1)}, {"end": lambda x, way: (x + way).clamp(-3, 3)}),
]  # fmt: skip

FLOWS = SimpleNamespace(
    templates={"flow_loss": (_flow_loss, _F), "euler_step": (_euler_step, _S)},
    mistakes=[
        (exercise, *entry) for exercise, entries in {"flow_loss": _f, "euler_step": _s}.items() for entry in entries
    ],
)
