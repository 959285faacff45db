"""Numbers a network can use: a timestep as a vector of waves, a label as a few learned tokens, a word as one."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffusion_lib.shapes import Labels, Timesteps, check_range


def timestep_embedding(t: Timesteps, dim: int, max_period: float = 10000.0) -> Float[Tensor, "batch dim"]:
    """Sines and cosines of t at ``dim`` / 2 frequencies (Vaswani et al. 2017, section 3.5).

    ω_i = max_period^(−i / (dim/2)),  i = 0 … dim/2 − 1
    emb = [sin(ω_0 t) … sin(ω_{dim/2−1} t), cos(ω_0 t) … cos(ω_{dim/2−1} t)]

    ``t`` (B,), 0 ... T-1; ``dim`` even. Returns float32, (B, dim), values in [-1, 1].
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be an even number of at least 2, but is {dim}.")
    half = dim // 2
    i = torch.arange(half, device=t.device, dtype=torch.float32)
    omega = torch.exp(-math.log(max_period) * i / half)
    angles = t.float()[:, None] * omega[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class TimeEmbedding(nn.Module):
    """A timestep as a vector that the residual blocks read: sinusoid, then a small MLP."""

    def __init__(self, dim: int, out_dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.mlp = nn.Sequential(nn.Linear(dim, out_dim), nn.SiLU(), nn.Linear(out_dim, out_dim))

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return next(self.parameters()).dtype

    def forward(self, t: Timesteps) -> Float[Tensor, "batch out_dim"]:
        """(B,) int64 -> (B, out_dim)."""
        return self.mlp(timestep_embedding(t, self.dim).to(self.dtype))


class LabelEmbedding(nn.Module):
    """A label as ``num_tokens`` context tokens: a learned vector, then a small MLP.

    One extra row of the table is the null label, "any digit". ``label=None`` means that row, and
    classifier-free guidance (Ho and Salimans 2022) trains it.
    """

    def __init__(self, num_classes: int, dim: int, num_tokens: int) -> None:
        super().__init__()
        self.num_classes, self.num_tokens = num_classes, num_tokens
        self.null_label = num_classes
        self.table = nn.Embedding(num_classes + 1, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, num_tokens * dim))

    def forward(self, label: Labels | None, batch: int) -> Float[Tensor, "batch token dim"]:
        """(B,) int64, 0 ... num_classes (the last is the null label), or None -> (B, num_tokens, dim)."""
        if label is None:
            label = torch.full((batch,), self.null_label, device=self.table.weight.device)
        check_range("label", label, self.num_classes + 1)
        return self.mlp(self.table(label)).view(batch, self.num_tokens, -1)


class WordEmbedding(nn.Module):
    """A prompt as one context token a word: a learned vector of the word plus one of its place, then a transformer.

    token_i = word_i + position_i,   context = transformer(token_1 … token_L)

    In the transformer (Vaswani et al. 2017; Rombach et al. 2022, section 3.3) words look at one another. Without
    positions it would see them as a set. One extra row of the table is the null word; a prompt of null words, which
    ``prompt=None`` means, is the null prompt of guidance.
    """

    def __init__(self, num_words: int, dim: int, length: int) -> None:
        super().__init__()
        self.null_word, self.length = num_words, length
        self.table = nn.Embedding(num_words + 1, dim)
        self.positions = nn.Parameter(torch.randn(length, dim))
        self.transformer = nn.TransformerEncoderLayer(
            dim, 2, 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )

    def forward(self, prompt: Labels | None, batch: int) -> Float[Tensor, "batch word dim"]:
        """(B, L) int64, 0 ... num_words (the last is the null word), or None -> (B, L, dim)."""
        if prompt is None:
            prompt = torch.full((batch, self.length), self.null_word, device=self.table.weight.device)
        check_range("a word", prompt, self.null_word + 1)
        return self.transformer(self.table(prompt) + self.positions)
