"""Ask a function questions whose answers are numbers: injected noise, all kinds of t, a model that keeps a log.

A probe knows no right answer. It runs the same on the library, on a wrong version and on a student's code, and
what it brings back, an ``Observation``, is compared elsewhere. The first letter of a case is its layer: S exact
values, G closed form, T trace. Inputs come from formulas, so nothing hangs on a random seed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lib.homework.finding import OWN_STUB
from diffusion_lib.schedules import NoiseSchedule, linear_betas

SHAPE = (5, 2, 3, 4)  # B, C, H, W all different, so that no wrong broadcast can agree by chance
LEVELS = ("t = 0", "t = 1", "t = T/4", "t = T/2", "t = T − 1")  # the images of each case whose name has "T = "
DREW = "T inputs kept, same answer twice, nothing drawn"  # the case that tells whether a function draws by itself
SIXFOLD = "noise of ±6 counts six times as much as that of ±1 (1: yes)"  # a case, asked with :func:`sixfold`
H = 1e-3  # a small step, for slopes
LARGE = 6.0  # a normal number is beyond with a chance of 2e-9: whoever cuts off noise does it below


@dataclass
class Observation:
    """What a function answered: a tensor for each case, or the error that it raised."""

    values: dict[str, Tensor] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    unwritten: str = ""  # the message of a stub

    def case(self, name: str, call: Callable[[], Any]) -> None:
        """Run ``call`` and keep its answer, or its error."""
        try:
            answer = call()
            if not isinstance(answer, Tensor):
                raise TypeError(f"a tensor was expected, but {type(answer).__name__} came back")
            self.values[name] = answer.detach().to("cpu", torch.float64).clone()  # of its own memory
        except Exception as error:
            if isinstance(error, NotImplementedError) and OWN_STUB.match(str(error)):
                self.unwritten = str(error)
            else:
                self.errors[name] = f"{type(error).__name__}: {error}"[:500]


def uniform(*shape: int, key: int) -> Tensor:
    """Fixed numbers in (0, 1), float64, that look random: the fractional part of a large sine."""
    i = torch.arange(1, math.prod(shape) + 1, dtype=torch.float64)
    return ((torch.sin(i * 12.9898 + key * 78.233) * 43758.5453) % 1).clamp(1e-6, 1 - 1e-6).view(shape)


def normal(*shape: int, key: int) -> Tensor:
    """Fixed numbers that look normally distributed, float64."""
    return torch.special.ndtri(uniform(*shape, key=key))


@cache
def _schedules() -> dict[str, NoiseSchedule]:
    return {
        "T = 1000": NoiseSchedule.from_betas(linear_betas(1000)),
        "T = 40": NoiseSchedule.from_betas(linear_betas(40, 0.002, 0.3)),
    }


def schedules() -> dict[str, NoiseSchedule]:
    """The usual schedule, and a short steep one where mistakes are large; each time as new, for code that writes to it.

    Copies are made ten times as fast as tables from β.
    """
    kept = _schedules().items()
    return {name: NoiseSchedule(**{k: table.clone() for k, table in vars(made).items()}) for name, made in kept}


def levels(schedule: NoiseSchedule) -> Tensor:
    """0, 1, T/4, T/2, T-1: see LEVELS."""
    T = len(schedule)
    return torch.tensor([0, 1, T // 4, T // 2, T - 1])


def on_copies(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` on copies of its tensors, so that one that changes its inputs spoils only its own case."""

    def copying(*inputs: Any, **named: Any) -> Any:
        copied = [v.clone() if isinstance(v, Tensor) else v for v in inputs]
        return f(*copied, **{k: v.clone() if isinstance(v, Tensor) else v for k, v in named.items()})

    return copying


def sixfold(answer: Callable[[Tensor], Tensor], key: int) -> Tensor:
    """(B,): 1 for each image in which noise of ±6 moves the answer six times as far as noise of ±1, else 0."""
    sign = normal(*SHAPE, key=key).sign()
    still, one, six = (answer(size * sign) for size in (0.0, 1.0, LARGE))
    wanted = LARGE * (one - still)
    kept = (six - still - wanted).abs() <= 1e-3 * wanted.abs() + 1e-6
    return kept.flatten(1).all(dim=1).double()


def in_float32(f: Callable[..., Any]) -> Callable[..., Any]:
    """``f`` on float32: code that trains, because its network is float32, need not run on anything else."""

    def narrow(value: Any) -> Any:
        return value.float() if isinstance(value, Tensor) and value.dtype == torch.float64 else value

    return lambda *inputs, **named: f(*map(narrow, inputs), **{k: narrow(v) for k, v in named.items()})


def trace(seen: Observation, call: Callable[..., Tensor], first: Any, *inputs: Tensor) -> None:
    """Does a function of ``first`` (a schedule, a module) and tensors keep those, repeat itself, and draw nothing?"""

    def run() -> Tensor:
        given = [tensor.clone() for tensor in inputs]
        state = torch.get_rng_state()
        answer = call(first, *given)
        drew = not torch.equal(state, torch.get_rng_state())
        again = call(first, *(tensor.clone() for tensor in inputs))
        kept = all(torch.equal(a, b) for a, b in zip(given, inputs, strict=True))
        same = answer.shape == again.shape and torch.allclose(answer, again, rtol=1e-6, atol=1e-9, equal_nan=True)
        return torch.tensor([float(kept), float(same), float(drew)])

    seen.case(DREW, run)


class Spy(nn.Module):
    """A "network" that answers by a formula and keeps what it was asked."""

    def __init__(self, answer: Callable[[Tensor, Tensor, Tensor | None], Tensor] | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.answer = answer
        self.log: list[tuple[Any, ...]] = []

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        self.log.append((x.detach().clone(), t, label, torch.is_grad_enabled(), self.training))
        if self.answer:
            return (self.answer(x, t, label) + 0 * self.weight).to(x.dtype)
        told = 0.3 if label is None else 0.05 * label.view(-1, 1, 1, 1)
        return (self.weight * x + 0.01 * t.view(-1, 1, 1, 1) + told).to(x.dtype)


def filled(module: nn.Module, key: int) -> nn.Module:
    """``module`` in eval mode with weights from a formula, in float64."""
    module = module.double().eval().requires_grad_(False)
    for i, parameter in enumerate(module.parameters()):
        parameter.copy_(normal(*parameter.shape, key=key + i) / max(1, parameter[0].numel()) ** 0.5)
    return module
