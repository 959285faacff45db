"""A UNet as data: every operation in order, with names, shapes and weights, for an engine that is not PyTorch.

The engine of the live page (site/live/engine.js) runs such a list. It knows operations and nothing of the network, so
another ``UNetConfig`` needs no change there. Maps are (C, H, W), tokens are (C, N): channels first, pixels behind.
"""

import base64
from typing import Any

import numpy as np
from torch import Tensor, nn

from diffusion_lib.embeddings import LabelEmbedding, TimeEmbedding
from diffusion_lib.fast import UpsampleConv2d
from diffusion_lib.unet import UNet

Part = Any  # a module of the class that the method speaks of: a ModuleList gives no closer type


class Listing:
    """The operations so far. Each method adds some and returns the name of the value that the last one makes."""

    def __init__(self, inputs: dict[str, list[int]]) -> None:
        self.shapes = dict(inputs)
        self.layers: list[dict[str, Any]] = []

    def add(self, op: str, name: str, of: list[str], shape: list[int], **settings: Any) -> str:
        """One operation: it makes ``name``, of ``shape``, from the values ``of``."""
        self.layers.append({"op": op, "name": name, "of": of, "shape": shape, **settings})
        self.shapes[name] = shape
        return name

    def like(self, op: str, name: str, *of: str, **settings: Any) -> str:
        """An operation that keeps the shape of its first input."""
        return self.add(op, name, list(of), self.shapes[of[0]], **settings)

    def product(self, op: str, name: str, layer: Part, x: str, shape: list[int], **settings: Any) -> str:
        """A convolution or a linear layer: a matrix, and perhaps a bias."""
        bias = None if layer.bias is None else f"{name}.bias"
        return self.add(op, name, [x], shape, weight=f"{name}.weight", bias=bias, **settings)

    def conv(self, name: str, layer: Part, x: str) -> str:
        """A convolution; ``repeat`` 2 doubles the side first, each pixel repeated."""
        kernel, stride, padding = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
        repeat = 2 if isinstance(layer, UpsampleConv2d) else 1
        sides = [(side * repeat + 2 * padding - kernel) // stride + 1 for side in self.shapes[x][1:]]
        settings = {"kernel": kernel, "stride": stride, "padding": padding, "repeat": repeat}
        return self.product("conv", name, layer, x, [layer.out_channels, *sides], **settings)

    def linear(self, name: str, layer: Part, x: str) -> str:
        """A linear layer, for each token."""
        return self.product("linear", name, layer, x, [layer.out_features, *self.shapes[x][1:]])

    def norm(self, name: str, layer: nn.GroupNorm | nn.LayerNorm, x: str) -> str:
        """A group norm over the pixels and some channels, or a layer norm over the channels of a token."""
        weights = {"weight": f"{name}.weight", "bias": f"{name}.bias", "eps": layer.eps}
        if isinstance(layer, nn.GroupNorm):
            return self.like("group_norm", name, x, groups=layer.num_groups, **weights)
        return self.like("layer_norm", name, x, **weights)

    def mlp(self, name: str, layers: nn.Sequential, x: str) -> str:
        """Linear layers and activations, one after the other."""
        activations = {nn.SiLU: "silu", nn.GELU: "gelu"}
        for i, layer in enumerate(layers):
            here = f"{name}.{i}"
            is_linear = isinstance(layer, nn.Linear)
            x = self.linear(here, layer, x) if is_linear else self.like(activations[type(layer)], here, x)
        return x

    def time(self, name: str, layer: TimeEmbedding) -> str:
        """:class:`TimeEmbedding`."""
        waves = self.add("waves", f"{name}.waves", ["t"], [layer.dim, 1], period=10000.0)
        return self.mlp(f"{name}.mlp", layer.mlp, waves)

    def label(self, name: str, layer: LabelEmbedding) -> str:
        """:class:`LabelEmbedding`: tokens (C, N)."""
        dim = layer.table.embedding_dim
        row = self.add("embedding", f"{name}.table", ["label"], [dim, 1], weight=f"{name}.table.weight")
        return self.add("deal", name, [self.mlp(f"{name}.mlp", layer.mlp, row)], [dim, layer.num_tokens])

    def res_block(self, name: str, block: Part, x: str, time: str) -> str:
        """:class:`ResBlock`."""
        h = self.like("silu", f"{name}.silu1", self.norm(f"{name}.norm1", block.norm1, x))
        h = self.conv(f"{name}.conv1", block.conv1, h)
        bias = self.linear(f"{name}.time", block.time, self.like("silu", f"{name}.silu_time", time))
        h = self.like("add", f"{name}.timed", h, bias)
        h = self.like("silu", f"{name}.silu2", self.norm(f"{name}.norm2", block.norm2, h))
        h = self.conv(f"{name}.conv2", block.conv2, h)
        keep = isinstance(block.shortcut, nn.Identity)
        return self.like("add", name, h, x if keep else self.conv(f"{name}.shortcut", block.shortcut, x))

    def attention(self, name: str, layer: Part, x: str, context: str) -> str:
        """:class:`Attention`; ``context`` is ``x`` itself where the tokens look at one another."""
        q, kv = self.linear(f"{name}.to_q", layer.to_q, x), self.linear(f"{name}.to_kv", layer.to_kv, context)
        attended = self.like("attention", f"{name}.attended", q, kv, heads=layer.num_heads)
        return self.linear(f"{name}.out", layer.out, attended)

    def transformer(self, name: str, layer: Part, x: str, context: str) -> str:
        """:class:`SpatialTransformer`. A map is its tokens already: pixels behind channels."""
        tokens = self.conv(f"{name}.proj_in", layer.proj_in, self.norm(f"{name}.norm", layer.norm, x))
        for i, part in enumerate(("self_attention", "cross_attention", "mlp"), start=1):
            here = self.norm(f"{name}.norm{i}", getattr(layer, f"norm{i}"), tokens)
            if part == "mlp":
                here = self.mlp(f"{name}.mlp", layer.mlp, here)
            else:
                seen = here if part == "self_attention" else context
                here = self.attention(f"{name}.{part}", getattr(layer, part), here, seen)
            tokens = self.like("add", f"{name}.sum{i}", tokens, here)
        return self.like("add", name, x, self.conv(f"{name}.proj_out", layer.proj_out, tokens))

    def stage(self, name: str, stage: Part, x: str, time: str, context: str) -> str:
        """:class:`Stage`."""
        x = self.res_block(f"{name}.block", stage.block, x, time)
        if stage.transformer is None:
            return x
        return self.transformer(f"{name}.transformer", stage.transformer, x, context)

    def concat(self, name: str, *of: str) -> str:
        """Channels of one map behind those of another."""
        channels = sum(self.shapes[part][0] for part in of)
        return self.add("concat", name, list(of), [channels, *self.shapes[of[0]][1:]])


def operations(model: UNet) -> Listing:
    """What ``model.forward`` does to one image, in order; the last operation makes the predicted noise."""
    if not isinstance(model.label, LabelEmbedding):
        raise TypeError(f"the engine reads labels; {type(model.label).__name__} makes tokens of something else.")
    (channels, height, width), patch = model.image_shape, model.config.patch_size
    made = Listing({"x": [channels, height, width], "t": [1], "label": [1]})
    time, context = made.time("time", model.time), made.label("label", model.label)
    folded = [channels * patch**2, height // patch, width // patch]
    h = made.conv("conv_in", model.conv_in, made.add("unshuffle", "folded", ["x"], folded, patch=patch))
    skips = []
    for i, level in enumerate(model.down):
        h = made.stage(f"down.{i}", level, h, time, context)
        skips.append(h)
        if i < len(model.downsamples):
            h = made.conv(f"downsamples.{i}.conv", model.downsamples[i].conv, h)
    h = made.stage("middle1", model.middle1, h, time, context)
    h = made.stage("middle2", model.middle2, h, time, context)
    for i, level in enumerate(model.up):
        h = made.stage(f"up.{i}", level, made.concat(f"up.{i}.joined", h, skips.pop()), time, context)
        if i < len(model.upsamples):
            h = made.conv(f"upsamples.{i}.conv", model.upsamples[i].conv, h)
    h = made.conv("conv_out", model.conv_out, made.like("silu", "silu_out", made.norm("norm_out", model.norm_out, h)))
    made.add("shuffle", "eps", [h], [channels, height, width], patch=patch)
    return made


def sixteen_bits(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """Tensors as two base64 texts, little end first: 16-bit integers, and for each row what one of them is worth.

    A row is what one index of the first axis holds; a vector is one row. Half precision takes as much room, but has 11
    bits for each number where this has 15 for the largest: with it the shipped network's guess moved by up to 0.002.
    """
    integers, units = [], []
    for tensor in tensors.values():
        rows = tensor.detach().cpu().double().numpy().reshape(len(tensor) if tensor.ndim > 1 else 1, -1)
        unit = np.maximum(np.abs(rows).max(axis=1, keepdims=True), 1e-30).astype("<f4") / np.float32(32767)
        integers.append(np.round(rows / unit).astype("<i2").tobytes())
        units.append(unit.tobytes())
    texts = {"weights": integers, "units": units}
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    return {"tensors": shapes, **{name: base64.b64encode(b"".join(parts)).decode() for name, parts in texts.items()}}


def describe(model: UNet) -> dict[str, Any]:
    """The network as JSON takes it: ``inputs``, ``layers`` in order, ``tensors`` (name -> shape), and their numbers."""
    made = operations(model)
    inputs = {name: made.shapes[name] for name in ("x", "t", "label")}
    numbers = sixteen_bits(dict(model.state_dict()))
    return {"inputs": inputs, "null_label": model.label.null_label, "layers": made.layers, **numbers}
