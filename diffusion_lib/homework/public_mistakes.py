"""Mistakes to try tests on at home. The mistakes that count are others.

Each spoils the student's own function from outside, so that none of them shows how it is written.
"""

from collections.abc import Callable, Mapping
from typing import Any

Function = Callable[..., Any]


def in_float32(own: Function) -> Function:
    """``own`` with its answer rounded to float32: still right."""
    return lambda *inputs, **named: own(*inputs, **named).float()


def _from_the_far_end(own: Function) -> Function:
    return lambda schedule, x, t, *rest: own(schedule, x, len(schedule) - 1 - t, *rest)


def _clipped(own: Function) -> Function:
    return lambda schedule, x, t, *rest: own(schedule, x, t, *rest).clamp(-1, 1)


def _neighbours_noise(own: Function) -> Function:
    return lambda schedule, x, t, *rest: own(schedule, x, t, *rest[:-1], rest[-1].roll(1, 0))


def _half_the_noise(own: Function) -> Function:
    return lambda schedule, x, t, eps, noise: own(schedule, x, t, eps, 0.5 * noise)


def _half_the_loss(own: Function) -> Function:
    return lambda *inputs, **named: 0.5 * own(*inputs, **named)


def _one_label(own: Function) -> Function:
    def f(model: Any, schedule: Any, x_start: Any, label: Any = None, **given: Any) -> Any:
        return own(model, schedule, x_start, label if label is None else label[:1].expand_as(label), **given)

    return f


def _neighbours_level(own: Function) -> Function:
    def f(model: Any, *inputs: Any, **given: Any) -> Any:
        return own(lambda x, t, *label, **named: model(x, t.roll(1, 0), *label, **named), *inputs, **given)

    return f


MISTAKES: Mapping[str, Mapping[str, Callable[[Function], Function]]] = {
    "q_sample": {
        "levels are counted from the far end": _from_the_far_end,
        "x_t is clipped to [−1, 1]": _clipped,
        "each image gets the noise of its neighbour": _neighbours_noise,
    },
    "ddpm_loss": {
        "half of the loss": _half_the_loss,
        "the first label stands for the whole batch": _one_label,
        "the model is told the level of the neighbouring image": _neighbours_level,
    },
    "p_sample": {
        "levels are counted from the far end": _from_the_far_end,
        "the answer is clipped to [−1, 1]": _clipped,
        "half of the fresh noise": _half_the_noise,
    },
}
