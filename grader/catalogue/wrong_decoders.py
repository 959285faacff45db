"""Wrong versions of the network's outer parts: LabelEmbedding.forward, and UNet.forward from its middle on."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn import functional as F


# LabelEmbedding.forward
def _label_tokens(p: Any) -> Callable[..., Any]:
    def f(self, label, batch):
        label = p["none"](self, batch) if label is None else p["label"](self, label)
        numbers = p["mlp"](self, self.table(label))
        return p["deal"](self, numbers, batch)

    return f


_T = {
    "none": lambda layer, batch: torch.full((batch,), layer.null_label),
    "label": lambda layer, label: label,
    "mlp": lambda layer, row: layer.mlp(row),
    "deal": lambda layer, numbers, batch: numbers.unflatten(1, (layer.num_tokens, -1)),
}
_t = [
    ("no label is the digit 0", "0 is a digit. The table has one more row, for no label.",
     {"none": lambda layer, batch: torch.zeros(batch).long()}),
    ("no label is the last digit", "The table has one more row than there are digits, for no label.",
     {"none": lambda layer, batch: torch.full((batch,), layer.null_label - 1)}),
    ("one row stands for the whole batch where there is no label", "Every image has tokens, with a label or without.",
     {"none": lambda layer, batch: torch.tensor([layer.null_label])}),
    ("the digit 0 counts as no label", "Ask whether label is None: 0 is a digit.",
     {"label": lambda layer, label: torch.where(label == 0, layer.null_label, label)}),
    ("labels are counted from 1", "Row d of the table belongs to digit d.",
     {"label": lambda layer, label: (label + 1).clamp(max=layer.null_label)}),
    ("the first label decides for the whole batch", "Every image has its own label.",
     {"label": lambda layer, label: label[:1].expand_as(label)}),
    ("the MLP is missing", "The row of the table is only the MLP's input.",
     {"mlp": lambda layer, row: row.repeat(1, layer.num_tokens)}),
    ("the activation in the MLP is missing", "Call the whole MLP, not its linear layers one by one.",
     {"mlp": lambda layer, row: layer.mlp[2](layer.mlp[0](row))}),
    ("tokens and channels take turns", "The first dim numbers make the first token.",
     {"deal": lambda layer, numbers, batch: numbers.unflatten(1, (-1, layer.num_tokens)).transpose(1, 2)}),
    ("tokens and channels have changed places", "The shape is (B, tokens, dim).",
     {"deal": lambda layer, numbers, batch: numbers.unflatten(1, (layer.num_tokens, -1)).transpose(1, 2)}),
    ("tokens of different images are mixed", "view counts images first, then tokens.",
     {"deal": lambda layer, numbers, batch: numbers.reshape(layer.num_tokens, batch, -1).transpose(0, 1)}),
    ("all tokens are the first one", "Each token has numbers of its own.",
     {"deal": lambda layer, n, batch: n.unflatten(1, (layer.num_tokens, -1))[:, :1].expand(-1, layer.num_tokens, -1)}),
]  # fmt: skip


# UNet.forward
def encoded(self, x, t, label):
    """What is given: the way down. Returns (lowest map, skips, time, context)."""
    self.check(x, t, label)
    time, context = self.time(t), self.label(label, batch=x.shape[0])
    h = self.conv_in(F.pixel_unshuffle(x, self.config.patch_size).to(time.dtype))
    skips = []
    for i, level in enumerate(self.down):
        h = level(h, time, context)
        skips.append(h)
        if i < len(self.downsamples):
            h = self.downsamples[i](h)
    return h, skips, time, context


def _decoder(p: Any) -> Callable[..., Any]:
    def f(self, x, t, label=None):
        h, skips, time, context = encoded(self, x, t, label)
        h = p["middle"](self, h, time, context)
        for i, level in enumerate(self.up):
            h = p["before"](self, i, h)
            h = level(p["join"](h, p["skip"](skips)), p["time"](time), p["context"](context))
            h = p["after"](self, i, h)
        h = p["out"](self, h)
        return p["end"](F.pixel_shuffle(h, p["patch"](self)), x)

    return f


def _up(net, i, h):
    return net.upsamples[i](h) if i < len(net.upsamples) else h


_D = {
    "middle": lambda net, h, time, context: net.middle2(net.middle1(h, time, context), time, context),
    "before": lambda net, i, h: h,
    "skip": lambda skips: skips.pop(),
    "join": lambda h, skip: torch.cat([h, skip], dim=1),
    "time": lambda time: time,
    "context": lambda context: context,
    "after": _up,
    "out": lambda net, h: net.conv_out(F.silu(net.norm_out(h))),
    "patch": lambda net: net.config.patch_size,
    "end": lambda h, x: h.to(x.dtype),
}
_d = [
    ("the skips come in the wrong order", "The last map saved is the first one needed.",
     {"skip": lambda skips: skips.pop(0)}),
    ("the same skip at every stage", "Each stage has the skip of its own resolution.",
     {"skip": lambda skips: skips[-1]}),
    ("the skip stands in front", "The stage was made for the map first and the skip behind it.",
     {"join": lambda h, skip: torch.cat([skip, h], dim=1)}),
    ("the skip is added", "A stage on the way up takes twice the channels: side by side, not a sum.",
     {"join": lambda h, skip: h + skip}),
    ("the map stands in for the skip", "The skip is what was saved on the way down.",
     {"join": lambda h, skip: torch.cat([h, h], dim=1)}),
    ("the skips are empty", "The skip is what was saved on the way down.",
     {"join": lambda h, skip: torch.cat([h, torch.zeros_like(skip)], dim=1)}),
    ("upsampling stands before the stage", "The skip of a stage has the resolution before upsampling.",
     {"before": _up, "after": lambda net, i, h: h}),
    ("upsampling is only enlarged, without its layer", "Each upsampling has a layer of its own that fits the channels.",
     {"after": lambda net, i, h: F.interpolate(h, scale_factor=2) if i < len(net.upsamples) else h}),
    ("t does not enter on the way up", "Every stage takes the time vector, down, middle and up.",
     {"time": lambda time: torch.zeros_like(time)}),
    ("the label does not enter on the way up", "Every stage takes the context, down, middle and up.",
     {"context": lambda context: torch.zeros_like(context)}),
    ("the middle is missing", "Two stages stand between the way down and the way up.",
     {"middle": lambda net, h, time, context: h}),
    ("the second middle stage is missing", "Two stages stand between the way down and the way up.",
     {"middle": lambda net, h, time, context: net.middle1(h, time, context)}),
    ("the middle stages are swapped", "middle1 comes first.",
     {"middle": lambda net, h, time, context: net.middle1(net.middle2(h, time, context), time, context)}),
    ("the last activation is missing", "Norm, activation, convolution: at the output too.",
     {"out": lambda net, h: net.conv_out(net.norm_out(h))}),
    ("the last norm is missing", "Norm, activation, convolution: at the output too.",
     {"out": lambda net, h: net.conv_out(F.silu(h))}),
    ("the pixels stay packed", "What pixel_unshuffle folded at the start must be unfolded at the end.",
     {"patch": lambda net: 1}),
    ("the noisy image is added to the answer", "The network predicts the noise itself.",
     {"end": lambda h, x: x + h}),
]  # fmt: skip

DECODERS = SimpleNamespace(
    templates={"label_tokens": (_label_tokens, _T), "decoder": (_decoder, _D)},
    mistakes=[
        (exercise, *entry) for exercise, entries in {"label_tokens": _t, "decoder": _d}.items() for entry in entries
    ],
)
