"""Diffusion in the latent space of an autoencoder (Rombach et al. 2022, "Latent Diffusion Models").

An encoder makes a picture smaller, a decoder makes it whole again, and diffusion happens in between, on fewer numbers.
The autoencoder is trained first, by itself, and then stays as it is.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lib.data import Digits
from diffusion_lib.diffusion import LabelledModel
from diffusion_lib.fast import UpsampleConv2d
from diffusion_lib.metrics import in_batches
from diffusion_lib.samplers import generate
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.shapes import Images, Labels

Latents = Float[Tensor, "batch latent_channel latent_height latent_width"]  # sides are a quarter of the image's


class Code(NamedTuple):
    """What the encoder says of an image: a normal distribution of latents, with independent entries."""

    mean: Tensor  # (B, C_z, H / 4, W / 4)
    log_variance: Tensor  # of the same shape


class Autoencoder(nn.Module):
    """A small convolutional variational autoencoder (Kingma and Welling 2014): sides a quarter, ``channels`` channels.

    ``scale`` is the standard deviation of its latents on the training data; see :func:`latent_scale`.
    """

    scale: Tensor

    def __init__(self, channels: int = 2, width: int = 32) -> None:
        super().__init__()
        self.channels = channels
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(2 * width, 2 * channels, 1),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Conv2d(channels, 2 * width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 3, padding=1), nn.SiLU(),
            UpsampleConv2d(2 * width, width), nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, 4, 3, padding=1), nn.PixelShuffle(2),
        )  # fmt: skip
        self.register_buffer("scale", torch.ones(()))

    def encode(self, x: Images) -> Code:
        """(B, 1, H, W) in [-1, 1] -> means and log variances, each (B, channels, H / 4, W / 4)."""
        return Code(*self.encoder(x).chunk(2, dim=1))

    def decode(self, z: Latents) -> Images:
        """(B, channels, H / 4, W / 4) -> (B, 1, H, W), about [-1, 1]."""
        return self.decoder(z)


def kl_to_standard(code: Code) -> Tensor:
    """How far the code is from N(0, I), in nats, as a mean over latents (Kingma and Welling 2014, appendix B).

    KL = ½ (μ² + σ² − 1 − log σ²)
    """
    return 0.5 * (code.mean.square() + code.log_variance.exp() - 1 - code.log_variance).mean()


def autoencoder_loss(model: Autoencoder, x: Images, noise: Latents, kl_weight: float = 1e-4) -> Tensor:
    """Reconstruction and KL (Kingma and Welling 2014, eq. 10, with a weight): a scalar.

    z = μ + σ · ε,   L = ‖x − D(z)‖² + w · KL,   both as means
    """
    code = model.encode(x)
    z = code.mean + (0.5 * code.log_variance).exp() * noise
    return F.mse_loss(model.decode(z), x) + kl_weight * kl_to_standard(code)


@torch.no_grad()
def latent_scale(model: Autoencoder, x: Images) -> Tensor:
    """The standard deviation of the latents of ``x``, over everything (Rombach et al. 2022, appendix G): a scalar."""
    return in_batches(lambda part: model.encode(part).mean, x).std()


@torch.no_grad()
def encode_scaled(model: Autoencoder, x: Images, scale: Tensor | float) -> Latents:
    """Latents of variance 1, which is what a noise schedule expects (Rombach et al. 2022, appendix G).

    z = μ(x) / scale   with μ(x) the mean of the encoder

    ``x`` (B, 1, H, W) in [-1, 1]. Returns (B, channels, H / 4, W / 4).
    """
    return model.encode(x).mean / scale


@torch.no_grad()
def decode_scaled(model: Autoencoder, z: Latents, scale: Tensor | float) -> Images:
    """Images in [-1, 1] of what :func:`encode_scaled` made, or of a sample."""
    return model.decode(z * scale).clamp(-1, 1)


def generate_latents(
    model: LabelledModel,
    schedule: NoiseSchedule,
    label: Labels,
    autoencoder: Autoencoder,
    num_steps: int = 50,
    **how: Any,
) -> Images:
    """As ``generate``, with its options, in latent space, and decoded. Nothing is clipped: latents have no range."""
    z = generate(model, schedule, label, num_steps, clip=False, **how)
    return torch.cat([decode_scaled(autoencoder, part, autoencoder.scale) for part in z.split(250)])


@dataclass(frozen=True, eq=False)
class LatentData(Digits):
    """Latents in place of images: ``images`` are floats of variance 1, and are handed out as they are."""

    images: Float[Tensor, "count latent_channel latent_height latent_width"]

    def __getitem__(self, index: Tensor | slice | list[int]) -> tuple[Latents, Labels]:
        """Latents of ``index`` and their labels or prompts."""
        return self.images[index], self.labels[index]


def encoded(model: Autoencoder, data: Digits) -> LatentData:
    """All of ``data`` as latents, once, with the autoencoder's own scale."""
    parts = torch.arange(len(data)).split(500)
    latents = torch.cat([encode_scaled(model, data[part][0], model.scale) for part in parts])
    return LatentData(latents, data.labels, f"latents of {data.source}", data.config)
