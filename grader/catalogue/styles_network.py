"""Honest styles of the network's exercises and of guidance."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from grader.catalogue.styles import style


@style("timestep_embedding")
def emb_powers(t, dim, max_period=10000.0):
    omega = max_period ** (-torch.arange(dim // 2) / (dim // 2))
    return torch.cat([torch.sin(t[:, None] * omega), torch.cos(t[:, None] * omega)], dim=1)


@style("timestep_embedding")
def emb_outer(t, dim, max_period=10000.0):
    omega = torch.exp(torch.arange(dim // 2) * (-math.log(max_period) / (dim // 2)))
    angles = torch.outer(t.float(), omega)
    return torch.hstack([angles.sin(), angles.cos()])


@style("timestep_embedding")
def emb_double(t, dim, max_period=10000.0):
    return emb_powers(t.double(), dim, float(max_period))


@style("timestep_embedding")
def emb_divided(t, dim, max_period=10000.0):
    period = torch.as_tensor(max_period) ** (torch.arange(0, dim, 2).float() / dim)
    angles = t.unsqueeze(-1) / period
    return torch.cat((angles.sin(), angles.cos()), -1)


@style("timestep_embedding")
def emb_filled(t, dim, max_period=10000.0):
    out = torch.zeros(len(t), dim)
    for i in range(dim // 2):
        omega = max_period ** (-i / (dim // 2))
        out[:, i], out[:, i + dim // 2] = torch.sin(omega * t), torch.cos(omega * t)
    return out


@style("timestep_embedding")
def emb_python(t, dim, max_period=10000.0):
    half = dim // 2
    rows = []
    for n in t.tolist():
        angles = [n * max_period ** (-i / half) for i in range(half)]
        rows.append([math.sin(a) for a in angles] + [math.cos(a) for a in angles])
    return torch.tensor(rows)


@style("timestep_embedding")
def emb_logspace(t, dim, max_period=10000.0):
    half = dim // 2
    omega = torch.logspace(0, -(half - 1) / half, half, base=max_period)
    return torch.cat([(t[:, None] * omega).sin(), (t[:, None] * omega).cos()], dim=-1)


@style("timestep_embedding")
def emb_phase(t, dim, max_period=10000.0):
    omega = max_period ** (-torch.arange(dim // 2).double() / (dim // 2))
    angles = (t.double()[:, None] * omega).repeat(1, 2)
    angles[:, dim // 2 :] += math.pi / 2
    return angles.sin()


@style("res_block")
def block_views(self, x, time):
    h = self.conv1(F.silu(self.norm1(x)))
    bias = self.time(F.silu(time))
    return self.conv2(self.dropout(F.silu(self.norm2(h + bias.view(*bias.shape, 1, 1))))) + self.shortcut(x)


@style("res_block")
def block_sigmoid(self, x, time):
    def silu(v):
        return v * torch.sigmoid(v)

    h = self.conv1(silu(self.norm1(x))) + self.time(silu(time)).unsqueeze(-1).unsqueeze(-1)
    return self.shortcut(x) + self.conv2(self.dropout(silu(self.norm2(h))))


@style("res_block")
def block_module_silu(self, x, time):
    act = nn.SiLU()
    h = self.conv1(act(self.norm1(x)))
    h += self.time(act(time))[..., None, None]
    return self.shortcut(x) + self.conv2(self.dropout(act(self.norm2(h))))


@style("res_block")
def block_broadcast(self, x, time):
    h = self.conv1(F.silu(self.norm1(x)))
    h = h + self.time(F.silu(time))[:, :, None, None].expand_as(h)
    return torch.add(self.conv2(self.dropout(F.silu(self.norm2(h)))), self.shortcut(x))


@style("res_block")
def block_channels_last(self, x, time):
    h = self.conv1(F.silu(self.norm1(x))).permute(0, 2, 3, 1) + self.time(F.silu(time))[:, None, None, :]
    return self.conv2(self.dropout(F.silu(self.norm2(h.permute(0, 3, 1, 2))))) + self.shortcut(x)


@style("res_block")
def block_reshape(self, x, time):
    skip = self.shortcut(x)
    x = self.conv1(F.silu(self.norm1(x)))
    x = x + self.time(F.silu(time)).reshape(len(x), -1, 1, 1)
    return skip + self.conv2(self.dropout(F.silu(self.norm2(x))))


@style("res_block")
def block_functional(self, x, time):
    h = F.conv2d(F.silu(self.norm1(x)), self.conv1.weight, self.conv1.bias, padding=1)
    h = h + F.linear(F.silu(time), self.time.weight, self.time.bias)[:, :, None, None]
    return self.conv2(self.dropout(F.silu(self.norm2(h)))) + self.shortcut(x)


@style("res_block")
def block_einsum(self, x, time):
    h = self.conv1(F.silu(self.norm1(x)))
    h = h + torch.einsum("bc,hw->bchw", self.time(F.silu(time)), torch.ones(h.shape[2:]).to(h))
    return self.conv2(self.dropout(F.silu(self.norm2(h)))) + self.shortcut(x)


def _qkv(self, x, context):
    source = x if context is None else context
    k, v = self.to_kv(source).chunk(2, dim=-1)
    return self.to_q(x), k, v


def _merge(h):
    return h.transpose(1, 2).reshape(h.shape[0], h.shape[2], -1)


@style("attention")
def att_fused(self, x, context=None):
    q, k, v = map(self.split_heads, _qkv(self, x, context))
    return self.out(_merge(F.scaled_dot_product_attention(q, k, v)))


@style("attention")
def att_explicit(self, x, context=None):
    q, k, v = map(self.split_heads, _qkv(self, x, context))
    return self.out(_merge((q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v))


@style("attention")
def att_scaled_query(self, x, context=None):
    q, k, v = map(self.split_heads, _qkv(self, x, context))
    return self.out(_merge(torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(2, 3), dim=3) @ v))


@style("attention")
def att_einsum(self, x, context=None):
    q, k, v = map(self.split_heads, _qkv(self, x, context))
    weights = torch.einsum("bhid,bhjd->bhij", q, k).div(q.shape[-1] ** 0.5).softmax(dim=-1)
    return self.out(torch.einsum("bhij,bhjd->bihd", weights, v).flatten(2))


@style("attention")
def att_loop(self, x, context=None):
    q, k, v = (part.chunk(self.num_heads, dim=-1) for part in _qkv(self, x, context))
    heads = [(a @ b.mT * a.shape[-1] ** -0.5).softmax(-1) @ c for a, b, c in zip(q, k, v, strict=True)]
    return self.out(torch.cat(heads, dim=-1))


@style("attention")
def att_views(self, x, context=None):
    q, k, v = _qkv(self, x, context)
    q, k, v = (p.view(p.shape[0], p.shape[1], self.num_heads, -1).permute(0, 2, 1, 3) for p in (q, k, v))
    h = F.scaled_dot_product_attention(q.contiguous(), k.contiguous(), v.contiguous())
    return self.out(h.permute(0, 2, 1, 3).reshape(x.shape))


@style("attention")
def att_own_softmax(self, x, context=None):
    q, k, v = map(self.split_heads, _qkv(self, x, context))
    scores = q @ k.mT / q.shape[-1] ** 0.5
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    return self.out(_merge(weights / weights.sum(-1, keepdim=True) @ v))


@style("attention")
def att_transposed(self, x, context=None):
    q, k, v = map(self.split_heads, _qkv(self, x, context))
    weights = (k @ q.mT / math.sqrt(k.shape[-1])).softmax(dim=-2)
    return self.out(_merge(weights.mT @ v))


@style("guided")
def guided_lerp(model, label, scale):
    return lambda x, t: torch.lerp(model(x, t, None), model(x, t, label), scale)


@style("guided")
def guided_plain(model, label, scale):
    def eps_model(x, t):
        u, c = model(x, t), model(x, t, label)
        return u + scale * (c - u)

    return eps_model


@style("guided")
def guided_paper(model, label, scale):
    w = scale - 1
    return lambda x, t: (1 + w) * model(x, t, label) - w * model(x, t, None)


@style("guided")
def guided_weights(model, label, scale):
    return lambda x, t: scale * model(x, t, label) + (1 - scale) * model(x, t, None)


@style("guided")
def guided_label_first(model, label, scale):
    def eps_model(x, t):
        told = model(x, t, label)
        free = model(x, t, label=None)
        return free + (told - free) * scale

    return eps_model


@style("guided")
def guided_shortcut(model, label, scale):
    if scale == 1:
        return lambda x, t: model(x, t, label)
    return guided_plain(model, label, scale)


@style("guided")
class GuidedClass:
    def __init__(self, model, label, scale):
        self.model, self.label, self.scale = model, label, scale

    def __call__(self, x, t):
        free = self.model(x, t, None)
        return free + self.scale * (self.model(x, t, self.label) - free)


@style("guided")
def guided_in_place(model, label, scale):
    def eps_model(x, t):
        free = model(x, t, None)
        return free.clone().add_(model(x, t, label) - free, alpha=scale)

    return eps_model
