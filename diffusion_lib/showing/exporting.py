"""A network as data: every operation in order, with names, shapes and weights, for an engine that is not PyTorch.

The engine of the live page (site/live/engine.js) runs such a list. It knows operations and nothing of the network, so
another ``UNetConfig`` needs no change there. Maps are (C, H, W), tokens are (C, N): channels first, pixels behind.
"""

import base64
from typing import Any

import numpy as np
from torch import Tensor, nn

from diffusion_lib.embeddings import LabelEmbedding, TimeEmbedding, WordEmbedding
from diffusion_lib.fast import UpsampleConv2d
from diffusion_lib.latents import Autoencoder
from diffusion_lib.unet import UNet

Part = Any  # a module of the class that the method speaks of: a ModuleList gives no closer type
ACTIVATIONS = {nn.SiLU: "silu", nn.GELU: "gelu"}


class Listing:
    """The operations so far. Each method adds some and returns the name of the value that the last one makes."""

    def __init__(self, inputs: dict[str, list[int]]) -> None:
        self.inputs, self.shapes = inputs, dict(inputs)
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

    def shuffle(self, name: str, x: str, patch: int) -> str:
        """Channels become ``patch`` x ``patch`` pixels."""
        channels, height, width = self.shapes[x]
        return self.add("shuffle", name, [x], [channels // patch**2, height * patch, width * patch], patch=patch)

    def sequence(self, name: str, layers: nn.Sequential, x: str) -> str:
        """Layers one after the other."""
        for i, layer in enumerate(layers):
            x = self.layer(f"{name}.{i}", layer, x)
        return x

    def layer(self, name: str, layer: Part, x: str) -> str:
        """A layer of a :class:`nn.Sequential`."""
        if isinstance(layer, nn.Linear):
            return self.linear(name, layer, x)
        if isinstance(layer, nn.Conv2d):
            return self.conv(name, layer, x)
        if isinstance(layer, nn.PixelShuffle):
            return self.shuffle(name, x, layer.upscale_factor)
        return self.like(ACTIVATIONS[type(layer)], name, x)

    def time(self, name: str, layer: TimeEmbedding) -> str:
        """:class:`TimeEmbedding`."""
        waves = self.add("waves", f"{name}.waves", ["t"], [layer.dim, 1], period=10000.0)
        return self.sequence(f"{name}.mlp", layer.mlp, waves)

    def context(self, name: str, layer: Part) -> str:
        """What cross-attention reads, tokens (C, N): of a prompt's words, or of a label."""
        return (self.words if isinstance(layer, WordEmbedding) else self.label)(name, layer)

    def label(self, name: str, layer: LabelEmbedding) -> str:
        """:class:`LabelEmbedding`: tokens (C, N)."""
        dim = layer.table.embedding_dim
        row = self.add("embedding", f"{name}.table", ["label"], [dim, 1], weight=f"{name}.table.weight")
        return self.add("deal", name, [self.sequence(f"{name}.mlp", layer.mlp, row)], [dim, layer.num_tokens])

    def words(self, name: str, layer: WordEmbedding) -> str:
        """:class:`WordEmbedding`: tokens (C, N)."""
        shape = [layer.table.embedding_dim, layer.length]
        words = self.add("embedding", f"{name}.table", ["label"], shape, weight=f"{name}.table.weight")
        places = self.add("rows_as_tokens", f"{name}.places", [], shape, weight=f"{name}.positions")
        return self.encoder(f"{name}.transformer", layer.transformer, self.like("add", f"{name}.sum", words, places))

    def encoder(self, name: str, layer: nn.TransformerEncoderLayer, x: str) -> str:
        """A transformer layer that norms first: tokens look at one another, then pass an MLP."""
        h = self.norm(f"{name}.norm1", layer.norm1, x)
        x = self.like("add", f"{name}.sum", x, self.joint_attention(f"{name}.self_attn", layer.self_attn, h))
        h = self.linear(f"{name}.linear1", layer.linear1, self.norm(f"{name}.norm2", layer.norm2, x))
        h = self.linear(f"{name}.linear2", layer.linear2, self.like("gelu", f"{name}.gelu", h))
        return self.like("add", name, x, h)

    def joint_attention(self, name: str, layer: nn.MultiheadAttention, x: str) -> str:
        """PyTorch's attention of tokens to one another: one product makes queries, keys and values."""
        dim, count = self.shapes[x]
        weights = {"weight": f"{name}.in_proj_weight", "bias": f"{name}.in_proj_bias"}
        made = self.add("linear", f"{name}.in_proj", [x], [3 * dim, count], **weights)
        q = self.add("slice", f"{name}.q", [made], [dim, count], start=0)
        kv = self.add("slice", f"{name}.kv", [made], [2 * dim, count], start=dim)
        attended = self.like("attention", f"{name}.attended", q, kv, heads=layer.num_heads)
        return self.linear(f"{name}.out_proj", layer.out_proj, attended)

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
                here = self.sequence(f"{name}.mlp", layer.mlp, here)
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
    (channels, height, width), patch = model.image_shape, model.config.patch_size
    made = Listing({"x": [channels, height, width], "t": [1], "label": [1, model.config.prompt_words or 1]})
    time, context = made.time("time", model.time), made.context("label", model.label)
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
    made.shuffle("eps", h, patch)
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
    null = model.label.null_word if isinstance(model.label, WordEmbedding) else model.label.null_label
    return {"null_label": null, **described(operations(model), dict(model.state_dict()))}


def describe_decoder(autoencoder: Autoencoder, latent_shape: tuple[int, int, int]) -> dict[str, Any]:
    """:func:`decode_scaled` but for its clipping, as :func:`describe` tells of a network; its input x is a latent."""
    made = Listing({"x": list(latent_shape)})
    made.sequence("decoder", autoencoder.decoder, made.like("scale", "scaled", "x", by=autoencoder.scale.item()))
    tensors = {name: tensor for name, tensor in autoencoder.state_dict().items() if name.startswith("decoder.")}
    return described(made, tensors)


def described(made: Listing, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The operations and their weights as JSON takes them."""
    return {"inputs": made.inputs, "layers": made.layers, **sixteen_bits(tensors)}
