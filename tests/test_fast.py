"""A faster way must give the same numbers, forwards and backwards."""

import pytest
import torch
from conftest import images
from torch import nn
from torch.nn import functional as F

from diffusion_lib.fast import GroupNorm, TokenLinear, UpsampleConv2d, keep_memory, likes_bfloat16


@pytest.mark.parametrize("shape", [(3, 5), (1, 7), (4, 1), (1, 1)], ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_token_linear_is_linear(shape, bias):
    plain, fast = nn.Linear(6, 9, bias=bias).double(), TokenLinear(6, 9, bias=bias).double()
    fast.load_state_dict(plain.state_dict())
    outcomes = []
    for layer in (plain, fast):
        x = images(*shape, 6).requires_grad_()
        out = layer(x)
        out.sin().sum().backward()
        outcomes.append([out, x.grad, *(p.grad for p in layer.parameters())])
    for a, b in zip(*outcomes, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 3, 1, 1), (1, 3, 5, 2)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_upsample_conv_is_a_convolution_of_repeated_pixels(shape, layout):
    conv = UpsampleConv2d(3, 5).double().to(memory_format=layout)
    outcomes = []
    for make in (lambda x: F.conv2d(F.interpolate(x, scale_factor=2.0), conv.weight, conv.bias, padding=1), conv):
        x = images(*shape).to(memory_format=layout).requires_grad_()
        conv.zero_grad()
        out = make(x)
        out.sin().sum().backward()
        outcomes.append([out, x.grad, *(p.grad.clone() for p in conv.parameters())])
    for a, b in zip(*outcomes, strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-12)


def test_token_linear_keeps_the_layout_of_its_tokens():
    assert TokenLinear(6, 9)(torch.randn(3, 5, 6)).is_contiguous()
    assert TokenLinear(6, 9)(torch.randn(2, 6)).shape == (2, 9)


def test_keep_memory_may_be_called_anywhere(monkeypatch):
    keep_memory()
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr("ctypes.CDLL", None)
    keep_memory()


def test_norms_stay_in_float32_where_autocast_narrows_the_rest():
    norm, plain, x = GroupNorm(2, 8), nn.GroupNorm(2, 8), 100 + images(3, 8, 5, 5).float()
    assert torch.equal(norm(x), plain(x))
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x.bfloat16()).dtype == torch.float32
        torch.testing.assert_close(norm(x.bfloat16()), plain(x.bfloat16().float()))
    assert GroupNorm(2, 8).bfloat16()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize(("amx", "likes"), [({"amx_bf16": True}, True), ({"amx_bf16": False}, False), ({}, False)])
def test_bfloat16_is_for_devices_that_multiply_it(monkeypatch, amx, likes):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: amx, raising=False)
    assert likes_bfloat16(torch.device("cpu")) == likes
    assert likes_bfloat16(torch.device("cuda"))
    assert not likes_bfloat16(torch.device("mps"))
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert not likes_bfloat16(torch.device("cpu"))
