"""The UNet once more, straight from its weights by name: nothing but torch.nn.functional and the docstrings.

Written for two levels with a transformer at the second one, folded 2 x 2, as the shipped weights are.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

HEAD_DIM = 32


def conv(w: dict, name: str, x: Tensor, **options) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w[f"{name}.bias"], padding=weight.shape[-1] // 2, **options)


def linear(w: dict, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def group_norm(w: dict, name: str, x: Tensor) -> Tensor:
    """Groups of four channels while they are at most 32: the mean and spread of each group, by hand."""
    groups = x.reshape(len(x), min(32, x.shape[1] // 4), -1)
    groups = groups - groups.mean(-1, keepdim=True)
    scaled = (groups / (groups.square().mean(-1, keepdim=True) + 1e-5).sqrt()).view_as(x)
    return scaled * w[f"{name}.weight"][:, None, None] + w[f"{name}.bias"][:, None, None]


def layer_norm(w: dict, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"])


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def time_vector(w: dict, t: Tensor) -> Tensor:
    """Two layers on sines, then cosines, whose periods grow from 2π towards 2π · 10,000."""
    half = w["time.mlp.0.weight"].shape[1] // 2
    angles = t[:, None] / 10_000 ** (torch.arange(half) / half)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1).to(w["time.mlp.0.weight"])
    return linear(w, "time.mlp.2", silu(linear(w, "time.mlp.0", waves)))


def label_tokens(w: dict, label: Tensor) -> Tensor:
    table = w["label.table.weight"]
    tokens = linear(w, "label.mlp.2", silu(linear(w, "label.mlp.0", table[label])))
    return tokens.view(len(label), -1, table.shape[1])


def res_block(w: dict, name: str, x: Tensor, time: Tensor) -> Tensor:
    h = conv(w, f"{name}.conv1", silu(group_norm(w, f"{name}.norm1", x)))
    h = h + linear(w, f"{name}.time", silu(time))[:, :, None, None]
    h = conv(w, f"{name}.conv2", silu(group_norm(w, f"{name}.norm2", h)))
    return h + (conv(w, f"{name}.shortcut", x) if f"{name}.shortcut.weight" in w else x)


def attention(w: dict, name: str, x: Tensor, context: Tensor) -> Tensor:
    """Head by head: softmax(Q Kᵀ / √d) V, the heads joined."""
    q, (k, v) = linear(w, f"{name}.to_q", x), linear(w, f"{name}.to_kv", context).chunk(2, dim=-1)
    heads = zip(*(part.split(HEAD_DIM, dim=-1) for part in (q, k, v)), strict=True)
    mixed = [(q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1) @ v for q, k, v in heads]
    return linear(w, f"{name}.out", torch.cat(mixed, dim=-1))


def transformer(w: dict, name: str, x: Tensor, context: Tensor) -> Tensor:
    h = conv(w, f"{name}.proj_in", group_norm(w, f"{name}.norm", x)).flatten(2).mT
    seen = layer_norm(w, f"{name}.norm1", h)
    h = h + attention(w, f"{name}.self_attention", seen, seen)
    h = h + attention(w, f"{name}.cross_attention", layer_norm(w, f"{name}.norm2", h), context)
    h = h + linear(w, f"{name}.mlp.2", F.gelu(linear(w, f"{name}.mlp.0", layer_norm(w, f"{name}.norm3", h))))
    return x + conv(w, f"{name}.proj_out", h.mT.reshape(x.shape))


def plain_unet(w: dict[str, Tensor], x: Tensor, t: Tensor, label: Tensor) -> Tensor:
    """Down: block, transformer, keep; middle; up: [what comes from below, what was kept], block, transformer."""
    time, context = time_vector(w, t), label_tokens(w, label)
    fine = res_block(w, "down.0.block", conv(w, "conv_in", F.pixel_unshuffle(x, 2)), time)
    h = conv(w, "downsamples.0.conv", fine, stride=2)
    coarse = transformer(w, "down.1.transformer", res_block(w, "down.1.block", h, time), context)
    h = transformer(w, "middle1.transformer", res_block(w, "middle1.block", coarse, time), context)
    h = res_block(w, "middle2.block", h, time)
    h = res_block(w, "up.0.block", torch.cat([h, coarse], dim=1), time)
    h = transformer(w, "up.0.transformer", h, context)
    h = conv(w, "upsamples.0.conv", h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    h = res_block(w, "up.1.block", torch.cat([h, fine], dim=1), time)
    return F.pixel_shuffle(conv(w, "conv_out", silu(group_norm(w, "norm_out", h))), 2)
