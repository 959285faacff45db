"""AdamW for all weights, or Muon for those of hidden layers and AdamW for the rest."""

from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lib.profiles import TrainConfig


class Muon(torch.optim.Muon):
    """torch's Muon (Jordan et al. 2024, "Muon: An optimizer for hidden layers") for convolutions too.

    A step moves a matrix by U Vᵀ, where U S Vᵀ is its averaged gradient: by as much in each direction, however faint
    the gradient is there. A convolution's kernel is the matrix (C_out, height x width x C_in), as in its memory. The
    step is scaled to the size that AdamW's have, so that rates compare (Liu et al. 2025, "Muon is scalable").
    """

    def __init__(self, weights: list[Tensor], rate: float) -> None:
        self.weights = weights
        flat = [self.matrix(weight.detach()) for weight in weights]
        if any(matrix.data_ptr() != weight.data_ptr() for matrix, weight in zip(flat, weights, strict=True)):
            raise ValueError("Muon needs weights of convolutions in memory as channels_last; call model.to first.")
        super().__init__(flat, lr=rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")

    @staticmethod
    def matrix(weight: Tensor) -> Tensor:
        """The same numbers, (C_out, all the rest)."""
        return weight if weight.ndim == 2 else weight.permute(0, 2, 3, 1).flatten(1)

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step by the gradients of the weights."""
        for matrix, weight in zip(self.param_groups[0]["params"], self.weights, strict=True):
            matrix.grad = None if weight.grad is None else self.matrix(weight.grad)
        super().step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, the weights' own as well."""
        super().zero_grad()
        for weight in self.weights:
            weight.grad = None


class Together:
    """Several optimisers as one: their weights are numbered through, from the first one's on."""

    def __init__(self, *parts: torch.optim.Optimizer) -> None:
        self.parts = parts

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Those of all parts; a group's rate is ``times`` that of the run."""
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
        states = [state for part in self.parts for state in _states(part)]
        return {"state": dict(enumerate(states)), "param_groups": self.param_groups}

    def load_state_dict(self, given: dict[str, Any]) -> None:
        """What :meth:`state_dict` returned; settings stay those of this run."""
        first = 0
        for part in self.parts:
            count = len(_weights(part))
            states = {i: given["state"][first + i] for i in range(count) if first + i in given["state"]}
            part.load_state_dict({"state": states, "param_groups": part.state_dict()["param_groups"]})
            first += count


def _weights(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]


def _states(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    return [optimizer.state.get(weight, {}) for weight in _weights(optimizer)]


def hidden(model: nn.Module) -> list[Tensor]:
    """The weights of linear and convolutional layers, but for those where images enter and leave the network."""
    ends = [getattr(model, name, None) for name in ("conv_in", "conv_out")]
    return [m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Conv2d) and m not in ends]


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer | Together:
    """The optimiser of a run: AdamW, and with a ``muon_rate`` Muon for hidden layers."""
    fused = next(model.parameters()).device.type != "mps"
    if config.muon_rate is None:
        return torch.optim.AdamW(model.parameters(), config.learning_rate, fused=fused)
    matrices = hidden(model)
    chosen = {id(weight) for weight in matrices}
    rest = [weight for weight in model.parameters() if id(weight) not in chosen]
    muon = Muon(matrices, config.muon_rate)
    muon.param_groups[0]["times"] = config.muon_rate / config.learning_rate
    return Together(muon, torch.optim.AdamW(rest, config.learning_rate, fused=fused))
