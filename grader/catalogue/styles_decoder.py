"""Honest styles of the network's outer parts."""

import torch
from torch import nn
from torch.nn import functional as F

from grader.catalogue.styles import style
from grader.catalogue.wrong_decoders import encoded


def _row(self, label, batch):
    return torch.full((batch,), self.null_label) if label is None else label


@style("label_tokens")
def tokens_view(self, label, batch):
    return self.mlp(self.table(_row(self, label, batch))).view(batch, self.num_tokens, -1)


@style("label_tokens")
def tokens_reshaped(self, label, batch):
    if label is None:
        label = torch.ones(batch, dtype=torch.long) * self.num_classes
    return self.mlp(self.table(label)).reshape(len(label), self.num_tokens, self.table.embedding_dim)


@style("label_tokens")
def tokens_unflatten(self, label, batch):
    return self.mlp(self.table(_row(self, label, batch))).unflatten(-1, (self.num_tokens, -1))


@style("label_tokens")
def tokens_chunks(self, label, batch):
    numbers = self.mlp(self.table(_row(self, label, batch)))
    return torch.stack(numbers.chunk(self.num_tokens, dim=1), dim=1)


@style("label_tokens")
def tokens_by_index(self, label, batch):
    return self.mlp(self.table.weight[_row(self, label, batch)]).view(batch, self.num_tokens, -1)


@style("label_tokens")
def tokens_one_row_expanded(self, label, batch):
    if label is None:
        row = self.table(torch.tensor([self.null_label]))
        return self.mlp(row).view(1, self.num_tokens, -1).expand(batch, -1, -1)
    return self.mlp(F.embedding(label, self.table.weight)).view(batch, self.num_tokens, -1)


@style("label_tokens")
def tokens_one_hot(self, label, batch):
    hot = F.one_hot(_row(self, label, batch), self.num_classes + 1).to(self.table.weight)
    return self.mlp(hot @ self.table.weight).view(batch, self.num_tokens, -1)


@style("label_tokens")
def tokens_in_a_loop(self, label, batch):
    rows = [self.null_label] * batch if label is None else label.tolist()
    return torch.stack([self.mlp(self.table.weight[i]).view(self.num_tokens, -1) for i in rows])


def _output(self, h, x):
    return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), self.config.patch_size).to(x.dtype)


def _middle(self, x, t, label):
    h, skips, time, context = encoded(self, x, t, label)
    return self.middle2(self.middle1(h, time, context), time, context), skips, time, context


@style("decoder")
def up_with_pop(self, x, t, label=None):
    h, skips, time, context = _middle(self, x, t, label)
    for i, level in enumerate(self.up):
        h = level(torch.cat((h, skips.pop()), 1), time, context)
        h = self.upsamples[i](h) if i < len(self.upsamples) else h
    return _output(self, h, x)


@style("decoder")
def up_reversed(self, x, t, label=None):
    h, skips, time, context = _middle(self, x, t, label)
    for level, skip, up in zip(self.up, reversed(skips), [*self.upsamples, nn.Identity()], strict=True):
        h = up(level(torch.cat([h, skip], dim=1), time, context))
    return _output(self, h, x)


@style("decoder")
def up_by_index(self, x, t, label=None):
    h, skips, time, context = _middle(self, x, t, label)
    last = len(self.up) - 1
    for i in range(last + 1):
        h = self.up[i](torch.cat([h, skips[last - i]], dim=1), time, context)
        if i != last:
            h = self.upsamples[i](h)
    return _output(self, h, x)


@style("decoder")
def up_before_all_but_the_first(self, x, t, label=None):
    h, skips, time, context = _middle(self, x, t, label)
    for i, level in enumerate(self.up):
        if i > 0:
            h = self.upsamples[i - 1](h)
        h = level(torch.hstack([h, skips[-1 - i]]), time=time, context=context)
    return _output(self, h, x)


@style("decoder")
def up_blocks_in_a_row(self, x, t, label=None):
    h, skips, time, context = encoded(self, x, t, label)
    for block in (self.middle1, self.middle2):
        h = block(h, time, context)
    ups = iter(self.upsamples)
    for level in self.up:
        h = level(torch.cat([h, skips.pop()], dim=1), time, context)
        if skips:
            h = next(ups)(h)
    return _output(self, h, x)


@style("decoder")
def up_recursive(self, x, t, label=None):
    h, skips, time, context = _middle(self, x, t, label)

    def rise(h, i):
        h = self.up[i](torch.cat([h, skips[len(skips) - 1 - i]], dim=1), time, context)
        return h if i == len(self.upsamples) else rise(self.upsamples[i](h), i + 1)

    return _output(self, rise(h, 0), x)


@style("decoder")
def up_written_out(self, x, t, label=None):
    h, skips, time, context = _middle(self, x, t, label)
    while skips:
        skip, i = skips.pop(), len(self.up) - 1 - len(skips)
        both = torch.empty(len(h), h.shape[1] + skip.shape[1], *h.shape[2:]).to(h)
        both[:, : h.shape[1]], both[:, h.shape[1] :] = h, skip
        h = self.up[i](both, time, context)
        if skips:
            h = self.upsamples[i](h)
    h = self.norm_out(h)
    return nn.PixelShuffle(self.config.patch_size)(self.conv_out(h * torch.sigmoid(h))).type_as(x)


@style("decoder")
def up_through_parts(self, x, t, label=None):
    h, skips, time, context = _middle(self, x, t, label)
    for i, level in enumerate(self.up):
        h = level.block(torch.cat([h, skips.pop()], dim=1), time)
        h = level.transformer(h, context) if level.transformer is not None else h
        h = self.upsamples[i](h) if i < len(self.upsamples) else h
    return _output(self, h, x)
