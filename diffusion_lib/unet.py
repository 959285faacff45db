"""The network that predicts the noise: a UNet with time in every residual block and the label by attention.

Ronneberger et al. 2015 for the shape, Ho et al. 2020 (appendix B) for time as a bias in residual blocks,
Rombach et al. 2022 (section 3.3) for labels by cross-attention. It knows nothing of noise schedules.
"""

from math import gcd

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lib.embeddings import LabelEmbedding, TimeEmbedding, WordEmbedding
from diffusion_lib.fast import GroupNorm, TokenLinear, UpsampleConv2d
from diffusion_lib.profiles import UNetConfig
from diffusion_lib.shapes import Images, Labels, Timesteps, check_batch, check_prompts

Map = Float[Tensor, "batch in_channel height width"]
SameSide = Float[Tensor, "batch out_channel height width"]
HalfSide = Float[Tensor, "batch out_channel height//2 width//2"]
TwiceSide = Float[Tensor, "batch out_channel 2*height 2*width"]
Tokens = Float[Tensor, "batch token channel"]
Context = Float[Tensor, "batch key context_dim"]
TimeVector = Float[Tensor, "batch time_dim"]


def group_norm(channels: int) -> nn.GroupNorm:
    """Group norm over groups of at least four channels: at most 32 of them, and as many as divide the channels."""
    return GroupNorm(gcd(channels, min(32, channels // 4)), channels)


class ResBlock(nn.Module):
    """Two convolutions and a shortcut; the time vector enters between them as one bias per channel."""

    def __init__(self, in_channels: int, out_channels: int, time_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.norm2 = group_norm(in_channels), group_norm(out_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_dim, out_channels)
        self.dropout = nn.Dropout(dropout)
        same = in_channels == out_channels
        self.shortcut = nn.Identity() if same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Map, time: TimeVector) -> SameSide:
        """x (B, C_in, H, W), time (B, time_dim) -> (B, C_out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return h + self.shortcut(x)


class Attention(nn.Module):
    """Attention with several heads (Vaswani et al. 2017, eq. 1).

    Attention(Q, K, V) = softmax(Q Kᵀ / √d) V

    Queries come from ``x``; keys and values from ``context``, or from ``x`` itself where there is none.
    """

    def __init__(self, dim: int, context_dim: int | None = None, head_dim: int = 32) -> None:
        super().__init__()
        self.num_heads = gcd(dim, max(1, dim // head_dim))  # heads of equal size, ``head_dim`` where that divides
        self.to_q = TokenLinear(dim, dim, bias=False)
        self.to_kv = TokenLinear(context_dim or dim, 2 * dim, bias=False)
        self.out = TokenLinear(dim, dim)

    def forward(self, x: Tokens, context: Context | None = None) -> Tokens:
        """x (B, N, dim), context (B, M, context_dim) -> (B, N, dim)."""
        q = self.split_heads(self.to_q(x))
        k, v = map(self.split_heads, self.to_kv(x if context is None else context).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(q, k, v)
        return self.out(attended.transpose(1, 2).flatten(2))

    def split_heads(self, x: Tokens) -> Float[Tensor, "batch head token head_dim"]:
        """(B, N, dim) -> (B, heads, N, dim / heads)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    @torch.no_grad()
    def weights(self, x: Tokens, context: Context | None = None) -> Float[Tensor, "batch head token key"]:
        """The share that each query takes of each key, (B, heads, N, M): the map that a figure shows."""
        q = self.split_heads(self.to_q(x))
        k = self.split_heads(self.to_kv(x if context is None else context).chunk(2, dim=-1)[0])
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1)


class SpatialTransformer(nn.Module):
    """Pixels as tokens: they look at one another, then at the label's tokens, then pass an MLP."""

    def __init__(self, channels: int, context_dim: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))
        self.self_attention = Attention(channels)
        self.cross_attention = Attention(channels, context_dim)
        self.mlp = nn.Sequential(TokenLinear(channels, 4 * channels), nn.GELU(), TokenLinear(4 * channels, channels))
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Map, context: Context) -> Map:
        """x (B, C, H, W), context (B, M, context_dim) -> (B, C, H, W)."""
        tokens = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        tokens = tokens + self.self_attention(self.norm1(tokens))
        tokens = tokens + self.cross_attention(self.norm2(tokens), context)
        tokens = tokens + self.mlp(self.norm3(tokens))
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, x.shape[-2:]))


class Downsample(nn.Module):
    """Half the side, by a convolution with stride 2."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)

    def forward(self, x: Map) -> HalfSide:
        """(B, C_in, H, W) -> (B, C_out, H / 2, W / 2)."""
        return self.conv(x)


class Upsample(nn.Module):
    """Twice the side, each pixel repeated, then a convolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = UpsampleConv2d(in_channels, out_channels)  # both at once, in half the time

    def forward(self, x: Map) -> TwiceSide:
        """(B, C_in, H, W) -> (B, C_out, 2 H, 2 W)."""
        return self.conv(x)


class Stage(nn.Module):
    """What happens at one resolution: a residual block, and a transformer where the config asks for one."""

    def __init__(self, in_channels: int, out_channels: int, config: UNetConfig, transformer: bool) -> None:
        super().__init__()
        self.block = ResBlock(in_channels, out_channels, config.time_dim, config.dropout)
        self.transformer = SpatialTransformer(out_channels, config.context_dim) if transformer else None

    def forward(self, x: Map, time: TimeVector, context: Context) -> SameSide:
        """x (B, C_in, H, W), time (B, time_dim), context (B, M, context_dim) -> (B, C_out, H, W)."""
        x = self.block(x, time)
        return x if self.transformer is None else self.transformer(x, context)


def context_of(config: UNetConfig) -> nn.Module:
    """What makes context tokens: of a prompt's words, or of a label."""
    if config.prompt_words:
        return WordEmbedding(config.num_classes, config.context_dim, config.prompt_words)
    return LabelEmbedding(config.num_classes, config.context_dim, config.context_tokens)


class UNet(nn.Module):
    """Predicts the noise in x_t from x_t, t and a label, or a prompt."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * m for m in config.multipliers]
        pixels = config.image_channels * config.patch_size**2
        self.time = TimeEmbedding(config.width, config.time_dim)
        self.label = context_of(config)
        self.conv_in = nn.Conv2d(pixels, widths[0], 3, padding=1)
        self.down, self.downsamples = nn.ModuleList(), nn.ModuleList()
        self.up, self.upsamples = nn.ModuleList(), nn.ModuleList()
        for i, width in enumerate(widths):
            here = i in config.transformer_stages
            self.down.append(Stage(width, width, config, here))
            self.up.insert(0, Stage(2 * width, width, config, here))
            if i + 1 < len(widths):
                self.downsamples.append(Downsample(width, widths[i + 1]))
                self.upsamples.insert(0, Upsample(widths[i + 1], width))
        self.middle1 = Stage(widths[-1], widths[-1], config, transformer=True)
        self.middle2 = Stage(widths[-1], widths[-1], config, transformer=False)
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], pixels, 3, padding=1)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images that it was made for."""
        return (self.config.image_channels, *self.config.image_size)

    def forward(self, x: Images, t: Timesteps, label: Labels | None = None) -> Images:
        """x_t (B, C, H, W), t (B,), label (B,) or None for the null label -> predicted noise (B, C, H, W)."""
        self.check(x, t, label)
        time, context = self.time(t), self.label(label, batch=x.shape[0])
        h = self.conv_in(F.pixel_unshuffle(x, self.config.patch_size).to(time.dtype))  # weights may be narrower than x
        skips = []
        for i, level in enumerate(self.down):
            h = level(h, time, context)
            skips.append(h)
            if i < len(self.downsamples):
                h = self.downsamples[i](h)
        h = self.middle1(h, time, context)
        h = self.middle2(h, time, context)
        for i, level in enumerate(self.up):
            h = level(torch.cat([h, skips.pop()], dim=1), time, context)
            if i < len(self.upsamples):
                h = self.upsamples[i](h)
        h = self.conv_out(F.silu(self.norm_out(h)))
        return F.pixel_shuffle(h, self.config.patch_size).to(x.dtype)

    def check(self, x: Images, t: Timesteps, label: Labels | None) -> None:
        """Raise a readable error for a batch that this network cannot take."""
        channels, side = self.config.image_channels, self.config.side_multiple
        if x.ndim != 4 or x.shape[1] != channels or x.shape[2] % side or x.shape[3] % side:
            raise ValueError(
                f"x must have shape (batch, {channels}, height, width) with sides divisible by {side}, "
                f"but has {tuple(x.shape)}."
            )
        check_batch("t", t, x.shape[0])
        if label is not None and self.config.prompt_words:
            check_prompts(label, x.shape[0], self.config.prompt_words)
        elif label is not None:
            check_batch("label", label, x.shape[0])
