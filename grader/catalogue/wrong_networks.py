"""Wrong versions of what stands inside the network: timestep_embedding, ResBlock.forward, Attention.forward."""

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F


# timestep_embedding
def _timestep_embedding(p: Any) -> Callable[..., Any]:
    def f(t, dim, max_period=10000.0):
        half = dim // 2
        omega = p["omega"](torch.arange(half).double(), half, p["period"](max_period))
        angles = p["t"](t).double()[:, None] * omega
        return p["join"](angles.sin(), angles.cos())

    return f


_E = {
    "omega": lambda i, half, period: torch.exp(-math.log(period) * i / half),
    "period": lambda period: period,
    "t": lambda t: t,
    "join": lambda sin, cos: torch.cat([sin, cos], dim=-1),
}
_e = [
    ("the frequencies divide by one less", "i / (d/2): the last wave is not quite 1 / max_period.",
     {"omega": lambda i, half, period: torch.exp(-math.log(period) * i / (half - 1))}),
    ("the frequencies divide by d", "Which length does the exponent divide by?",
     {"omega": lambda i, half, period: torch.exp(-math.log(period) * i / (2 * half))}),
    ("the frequencies grow", "A sign in the exponent.",
     {"omega": lambda i, half, period: torch.exp(math.log(period) * i / half)}),
    ("the frequencies fall in a straight line", "They fall by a constant factor, not by a constant step.",
     {"omega": lambda i, half, period: 1 - i / half}),
    ("max_period is ignored", "max_period is an argument.", {"period": lambda period: 10000.0}),
    ("sines and cosines take turns", "First all sines, then all cosines.",
     {"join": lambda sin, cos: torch.stack([sin, cos], dim=-1).flatten(-2)}),
    ("cosines come first", "First all sines, then all cosines.",
     {"join": lambda sin, cos: torch.cat([cos, sin], dim=-1)}),
    ("sines only", "Half of the columns are cosines.", {"join": lambda sin, cos: torch.cat([sin, sin], dim=-1)}),
    ("t is divided by 1000", "t enters as it is, 0 … T − 1.", {"t": lambda t: t / 1000}),
    ("t + 1", "t enters as it is, counted from 0.", {"t": lambda t: t + 1}),
]  # fmt: skip


# ResBlock.forward
def _res_block(p: Any) -> Callable[..., Any]:
    def f(self, x, time):
        h = self.conv1(p["first"](self, x))
        h = p["bias"](h, p["time"](self, time))
        h = p["late"](self, self.conv2(p["second"](self, h)), time)
        return p["end"](self, h, x)

    return f


def _add(h, bias):
    return h + bias[:, :, None, None]


_R = {
    "first": lambda block, x: F.silu(block.norm1(x)),
    "time": lambda block, time: block.time(F.silu(time)),
    "bias": _add,
    "second": lambda block, h: block.dropout(F.silu(block.norm2(h))),
    "late": lambda block, h, time: h,
    "end": lambda block, h, x: h + block.shortcut(x),
}
_r = [
    ("time is not added", "Where does the block hear of t?", {"time": lambda block, time: block.time(0 * time) * 0}),
    ("time is added after the second convolution", "The bias stands between the two convolutions.",
     {"bias": lambda h, bias: h, "late": lambda block, h, time: _add(h, block.time(F.silu(time)))}),
    ("the bias lacks its two extra axes", "A (B, C) tensor meets height and width, not channels.",
     {"bias": lambda h, bias: h + bias}),
    ("time multiplies", "The time vector is added.", {"bias": lambda h, bias: h * bias[:, :, None, None]}),
    ("time passes no activation", "The time vector passes a SiLU before its linear layer.",
     {"time": lambda block, time: block.time(time)}),
    ("the shortcut is missing", "A residual block adds its input.", {"end": lambda block, h, x: h}),
    ("the second norm is missing", "Norm, activation, convolution: twice.",
     {"second": lambda block, h: block.dropout(F.silu(h))}),
    ("the second activation is missing", "Norm, activation, convolution: twice.",
     {"second": lambda block, h: block.dropout(block.norm2(h))}),
    ("activation before norm", "Norm first, then the activation.",
     {"first": lambda block, x: block.norm1(F.silu(x))}),
]  # fmt: skip


# Attention.forward
def _attention(p: Any) -> Callable[..., Any]:
    def f(self, x, context=None):
        source = p["source"](x, context)
        q = self.split_heads(p["query"](self, x))
        k, v = map(self.split_heads, p["key_value"](self.to_kv(source).chunk(2, dim=-1)))
        weights = (q @ k.transpose(-1, -2) * p["scale"](q, self)).softmax(dim=p["axis"]())
        return p["out"](self, p["merge"](weights @ v))

    return f


_A = {
    "source": lambda x, context: x if context is None else context,
    "query": lambda layer, x: layer.to_q(x),
    "key_value": lambda kv: kv,
    "scale": lambda q, layer: q.shape[-1] ** -0.5,
    "axis": lambda: -1,
    "merge": lambda h: h.transpose(1, 2).flatten(2),
    "out": lambda layer, h: layer.out(h),
}
_a = [
    ("the scores are not scaled", "Eq. 1 divides by the root of d.", {"scale": lambda q, layer: 1.0}),
    ("scaled by the whole width", "d is the length of one head's query.",
     {"scale": lambda q, layer: (q.shape[-1] * q.shape[1]) ** -0.5}),
    ("the scale lacks its root", "Eq. 1 divides by the root of d.", {"scale": lambda q, layer: 1 / q.shape[-1]}),
    ("softmax over the queries", "For each query the weights of all keys add up to 1.", {"axis": lambda: -2}),
    ("softmax over the heads", "For each query the weights of all keys add up to 1.", {"axis": lambda: 1}),
    ("keys and values are swapped", "to_kv gives keys first, then values.",
     {"key_value": lambda kv: (kv[1], kv[0])}),
    ("values are the keys", "to_kv gives keys first, then values.", {"key_value": lambda kv: (kv[0], kv[0])}),
    ("the heads are merged in the wrong order", "Bring the heads beside the channels before you flatten.",
     {"merge": lambda h: h.reshape(h.shape[0], h.shape[2], -1)}),
    ("the output layer is missing", "A last linear layer mixes the heads.", {"out": lambda layer, h: h}),
]  # fmt: skip

NETWORKS = SimpleNamespace(
    templates={
        "timestep_embedding": (_timestep_embedding, _E), "res_block": (_res_block, _R), "attention": (_attention, _A),
    },
    mistakes=[
        (exercise, *entry)
        for exercise, entries in {"timestep_embedding": _e, "res_block": _r, "attention": _a}.items()
        for entry in entries
    ],
)  # fmt: skip
