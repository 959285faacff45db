"""AdamW for all weights, or Muon for those of hidden layers and AdamW for the rest."""

from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lib.profiles import TrainConfig


class Muon(torch.optim.Muon):
    """torch's Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers") for convolutions too.

    A step moves a matrix by about U Vᵀ, where U S Vᵀ is its gradient, averaged as momentum does: by about as much in
    each direction, however faint the gradient is there. A convolution's kernel is the matrix (C_out, height x width x
    C_in), as in memory. The step is scaled to the size that AdamW's have, so that rates compare (Liu et al. 2025, "Muon
    is scalable"). No weight decays.
    """

    def __init__(self, weights: list[Tensor], rate: float) -> None:
        self.weights = weights
        super().__init__(
            [self.matrix(weight.detach()) for weight in weights],
            lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw",
        )  # fmt: skip
        self.check()

    def check(self) -> None:
        """Raise unless the matrices are the weights themselves, and no copies of them."""
        pairs = zip(self.param_groups[0]["params"], self.weights, strict=True)
        if any(matrix.data_ptr() != weight.data_ptr() for matrix, weight in pairs):
            raise ValueError(
                "Muon moves weights in place, and needs convolutions in memory as channels_last. Before it is made, "
                "call model.to(memory_format=torch.channels_last); afterwards do not move the model."
            )

    @staticmethod
    def matrix(weight: Tensor) -> Tensor:
        """The same numbers, (C_out, all the rest)."""
        return weight if weight.ndim == 2 else weight.permute(0, 2, 3, 1).flatten(1)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step by the gradients of the weights; ``closure`` must be None."""
        self.check()
        for matrix, weight in zip(self.param_groups[0]["params"], self.weights, strict=True):
            matrix.grad = None if weight.grad is None else self.matrix(weight.grad)
        super().step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, the weights' own as well; they become None."""
        super().zero_grad()
        for weight in self.weights:
            weight.grad = None


class Together:
    """Several optimisers as one: weights, groups and states are numbered through, from the first one's on."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of all parts."""
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for part in self.parts:
            part.zero_grad()

    def step(self) -> None:
        """One step of each."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """As of one optimiser."""
        states: dict[int, Any] = {}
        groups, first = [], 0
        for part in self.parts:
            own = part.state_dict()
            states |= {first + i: state for i, state in own["state"].items()}
            groups += [group | {"params": [first + i for i in group["params"]]} for group in own["param_groups"]]
            first += sum(len(group["params"]) for group in own["param_groups"])
        return {"state": states, "param_groups": groups}

    def load_state_dict(self, given: dict[str, Any]) -> None:
        """What :meth:`state_dict` returned."""
        groups = iter(given["param_groups"])
        for part in self.parts:
            own = [next(groups) for _ in part.param_groups]
            states = {i: given["state"][i] for group in own for i in group["params"] if i in given["state"]}
            part.load_state_dict({"state": states, "param_groups": own})


def hidden(model: nn.Module) -> list[Tensor]:
    """The weights of linear and convolutional layers, but for the ends, ``conv_in`` and ``conv_out``."""
    ends = [getattr(model, name, None) for name in ("conv_in", "conv_out")]
    if None in ends:
        raise ValueError(f"muon_rate needs a network with conv_in and conv_out, but got a {type(model).__name__}.")
    layers = [m for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) and m not in ends]
    return list(dict.fromkeys(layer.weight for layer in layers))  # a shared one once


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer | Together:
    """The optimiser of a run: AdamW, and with a ``muon_rate`` Muon for hidden layers."""
    fused = next(model.parameters()).device.type != "mps"
    if config.muon_rate is None:
        return torch.optim.AdamW(model.parameters(), config.learning_rate, fused=fused)
    matrices = hidden(model)
    chosen = {id(weight) for weight in matrices}
    rest = [weight for weight in model.parameters() if id(weight) not in chosen]
    muon = Muon(matrices, config.muon_rate)
    muon.param_groups[0]["rate_ratio"] = config.muon_rate / config.learning_rate
    return Together(muon, torch.optim.AdamW(rest, config.learning_rate, fused=fused))


def set_rate(optimizer: torch.optim.Optimizer | Together, rate: float) -> None:
    """Give AdamW the learning rate ``rate``, and Muon its share of it."""
    for group in optimizer.param_groups:
        group["lr"] = group.get("rate_ratio", 1.0) * rate
