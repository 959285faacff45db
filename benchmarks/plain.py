"""The same network and step, written plainly: what a good starter code does before anybody measures.

Explicit softmax attention, tables read on the CPU and reshaped each step, a DataLoader with workers, float32, an
optimiser that walks parameter by parameter, an average updated in a Python loop. The numbers are those of the
library: ``check_equal`` holds outputs and gradients against it.
"""

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from diffusion_lib.fast import TokenLinear, UpsampleConv2d
from diffusion_lib.profiles import UNetConfig
from diffusion_lib.schedules import linear_betas
from diffusion_lib.unet import Attention, UNet


class PlainAttention(Attention):
    """Attention with the score matrix written out."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        q = self.split_heads(self.to_q(x))
        k, v = map(self.split_heads, self.to_kv(x if context is None else context).chunk(2, dim=-1))
        weights = torch.softmax(q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5, dim=-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2))


class PlainUpsampleConv(UpsampleConv2d):
    """Upsampling with the larger image made first."""

    def forward(self, input: Tensor) -> Tensor:
        return F.conv2d(F.interpolate(input, scale_factor=2.0), self.weight, self.bias, padding=1)


PLAIN: dict[type[nn.Module], type[nn.Module]] = {
    Attention: PlainAttention,
    TokenLinear: nn.Linear,
    UpsampleConv2d: PlainUpsampleConv,
}


def rewrite(network: nn.Module, *kinds: type[nn.Module]) -> nn.Module:
    """The same network with the layers of these kinds written plainly."""
    for module in network.modules():
        if type(module) in kinds:
            module.__class__ = PLAIN[type(module)]
    return network


def plain_unet(config: UNetConfig) -> nn.Module:
    """The library's network with plain attention, linear layers and upsampling."""
    return rewrite(UNet(config), *PLAIN)


class PlainTrainer:
    """Algorithm 1 as a starter code has it."""

    def __init__(
        self, config: UNetConfig, images: Tensor, labels: Tensor, batch_size: int, device: torch.device
    ) -> None:
        self.device = device
        self.model = plain_unet(config).to(device)
        self.average = deepcopy(self.model)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), 2e-4, foreach=False, fused=False)
        self.alphas_cumprod = (1 - linear_betas(1000)).cumprod(0).float()
        data = TensorDataset(images.cpu(), labels.cpu())
        self.loader = DataLoader(data, batch_size, shuffle=True, num_workers=2, drop_last=True, persistent_workers=True)
        self.batches: Any = iter(self.loader)

    def step(self) -> Tensor:
        """One training step on the next batch."""
        try:
            x, label = next(self.batches)
        except StopIteration:
            self.batches = iter(self.loader)
            x, label = next(self.batches)
        t = torch.randint(0, 1000, (len(x),))
        alpha_bar = self.alphas_cumprod.gather(0, t).reshape(-1, 1, 1, 1)
        x, label, t, alpha_bar = (value.to(self.device) for value in (x, label, t, alpha_bar))
        noise = torch.randn_like(x)
        loss = F.mse_loss(self.model(alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * noise, t, label), noise)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0, foreach=False)
        self.optimizer.step()
        with torch.no_grad():
            for kept, new in zip(self.average.parameters(), self.model.parameters(), strict=True):
                kept.mul_(0.999).add_(new, alpha=0.001)
        return loss.detach()


def check_equal(config: UNetConfig) -> float:
    """The largest relative difference of outputs and gradients between the plain network and the library's."""
    torch.manual_seed(0)
    plain = plain_unet(config)
    ours = UNet(config)
    ours.load_state_dict(plain.state_dict())
    ours = ours.to(memory_format=torch.channels_last)
    x, t, label = torch.randn(2, 1, 28, 28), torch.tensor([3, 700]), torch.tensor([1, 8])
    worst = 0.0
    outputs = [network(x, t, label) for network in (plain, ours)]
    for out in outputs:
        out.square().mean().backward()
    pairs = [tuple(outputs), *((a.grad, b.grad) for a, b in zip(plain.parameters(), ours.parameters(), strict=True))]
    for a, b in pairs:
        if a is not None and a.abs().max() > 1e-8:
            worst = max(worst, ((a - b).abs().max() / a.abs().max()).item())
    return worst
