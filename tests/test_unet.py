from dataclasses import replace

import pytest
import torch
from conftest import images
from diffusers.models.embeddings import get_timestep_embedding
from plain_unet import plain_unet
from torch import nn

from diffusion_lib.embeddings import LabelEmbedding, timestep_embedding
from diffusion_lib.profiles import PROFILES, DataConfig, Profile, ScheduleConfig, TrainConfig, UNetConfig
from diffusion_lib.samplers import generate
from diffusion_lib.training.checkpoints import load_pretrained
from diffusion_lib.unet import Attention, ResBlock, UNet, group_norm

SMALL = UNetConfig(width=16, multipliers=(1, 2, 3), transformer_stages=(0, 1, 2), time_dim=24, context_dim=20)


def small(**changes):
    torch.manual_seed(0)
    return UNet(replace(SMALL, **changes))


def batch(size=2):
    x = images(size, 1, 28, 28, dtype=torch.float32)
    return x, torch.arange(size) * 100, torch.arange(size) % 10


@pytest.mark.parametrize("dim", [2, 8, 64])
def test_timestep_embedding_equals_diffusers(dim):

    t = torch.tensor([0, 1, 10, 999])
    expected = get_timestep_embedding(t, dim, flip_sin_to_cos=False, downscale_freq_shift=0)
    torch.testing.assert_close(timestep_embedding(t, dim), expected, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="even number"):
        timestep_embedding(t, dim + 1)


def test_the_shipped_network_computes_what_its_docstrings_say():
    """Another architecture with the same names and shapes loads without a word, and would be seen here."""
    model = load_pretrained().model.double()
    x, t = images(4, 1, 28, 28), torch.tensor([0, 10, 300, 999])
    for label in (torch.tensor([3, 0, 9, 5]), torch.tensor([10, 10, 1, 10])):
        expected = plain_unet(model.state_dict(), x, t, label)
        torch.testing.assert_close(model(x, t, label), expected, rtol=0, atol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize("changes", [{}, {"patch_size": 2, "multipliers": (1, 2), "transformer_stages": (1,)}])
def test_every_parameter_gets_gradient(changes):
    model, (x, t, label) = small(**changes), batch(4)
    ((model(x, t, label) - images(*x.shape, seed=1, dtype=torch.float32)) ** 2).mean().backward()
    norms = {name: p.grad.norm() / (p.norm() + 1e-8) for name, p in model.named_parameters()}
    typical = torch.stack(list(norms.values())).median()
    weak = [name for name, norm in norms.items() if norm / typical < 1e-6]
    assert not weak


def test_one_token_gives_queries_and_keys_no_gradient():
    model, (x, t, label) = small(context_tokens=1), batch(4)
    model(x, t, label).square().mean().backward()
    attention = model.middle1.transformer.cross_attention
    to_k, to_v = attention.to_kv.weight.grad.chunk(2)
    assert attention.to_q.weight.grad.abs().max() < 1e-10
    assert to_k.abs().max() < 1e-10
    assert to_v.abs().max() > 1e-8


def recorded(model, modules, *inputs):
    """The outputs of ``modules`` in one pass."""
    kept = {}
    handles = [
        m.register_forward_hook(lambda _m, _i, out, name=name: kept.__setitem__(name, out)) for name, m in modules
    ]
    with torch.no_grad():
        model(*inputs)
    for handle in handles:
        handle.remove()
    return kept


def test_time_and_label_are_heard_at_every_level():
    model, (x, t, label) = small(), batch()
    blocks = [(n, m) for n, m in model.named_modules() if isinstance(m, ResBlock)]
    crosses = [(n, m) for n, m in model.named_modules() if n.endswith("cross_attention")]
    assert len(blocks) == 8  # three down, two in the middle, three up
    assert len(crosses) == 7
    base = recorded(model, blocks + crosses, x, t, label)
    with_t = recorded(model, blocks, x, t + 50, label)
    with_label = recorded(model, crosses, x, t, (label + 1) % 10)
    for name, _ in blocks:
        assert (with_t[name] - base[name]).abs().max() > 1e-5, name
    for name, _ in crosses:
        assert (with_label[name] - base[name]).abs().max() > 1e-6, name
    with torch.no_grad():
        out = model(x, t, label)
        assert not torch.allclose(out, model(x, t + 50, label), atol=1e-6)
        assert not torch.allclose(out, model(x, t, (label + 1) % 10), atol=1e-6)
        assert not torch.allclose(out, model(x, t), atol=1e-6)
        assert not torch.allclose(out, model(x, label, t // 100), atol=1e-6)


def test_the_time_bias_is_one_number_for_each_channel():
    block, x = ResBlock(16, 24, 12).double(), images(3, 16, 5, 7)
    seen = []
    block.norm2.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    block(x, images(3, 12))
    block(x, images(3, 12, seed=1))
    moved = seen[1] - seen[0]
    torch.testing.assert_close(moved, moved[:, :, :1, :1].expand_as(moved))
    assert moved[:, :, 0, 0].std() > 0


def test_skips_keep_the_full_resolution():
    model, inputs = small(), batch()
    shapes = {}
    for i, level in enumerate(model.up):
        level.register_forward_pre_hook(lambda _m, args, i=i: shapes.__setitem__(i, tuple(args[0].shape)))
    model(*inputs)
    assert shapes == {0: (2, 96, 7, 7), 1: (2, 64, 14, 14), 2: (2, 32, 28, 28)}


def test_attention_equals_the_formula():
    attention, x, context = Attention(64, 20).double(), images(2, 9, 64), images(2, 5, 20)
    weights = attention.weights(x, context)
    assert weights.shape == (2, 2, 9, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    v = attention.split_heads(attention.to_kv(context).chunk(2, dim=-1)[1])
    expected = attention.out((weights @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, context), expected)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_builds_and_keeps_the_shape(name):
    model, config = UNet(PROFILES[name].unet), PROFILES[name].unet
    (_, t, label), x = batch(), torch.zeros(2, *model.image_shape)
    label = torch.arange(2 * config.prompt_words).view(2, -1) if config.prompt_words else label
    with torch.no_grad():
        assert model(x, t, label).shape == x.shape


def test_label_none_is_the_null_label():
    model, (x, t, _) = small(), batch()
    with torch.no_grad():
        torch.testing.assert_close(model(x, t), model(x, t, torch.full((2,), 10)))


@pytest.mark.parametrize(
    ("x", "t", "label", "error", "words"),
    [
        ((2, 3, 28, 28), [0, 1], [1, 2], ValueError, r"shape \(batch, 1, height, width\).*\(2, 3, 28, 28\)"),
        ((2, 1, 27, 28), [0, 1], [1, 2], ValueError, "divisible by 4"),
        ((2, 1, 28, 28), [[0], [1]], [1, 2], ValueError, r"t must have shape \(2,\)"),
        ((2, 1, 28, 28), [0.5, 1.0], [1, 2], TypeError, "t must be int64"),
        ((2, 1, 28, 28), [0, 1], [1], ValueError, r"label must have shape \(2,\)"),
    ],
)
def test_a_wrong_batch_is_told_what_was_received(x, t, label, error, words):
    with pytest.raises(error, match=words):
        UNet.check.__wrapped__(small(), torch.zeros(x), torch.tensor(t), torch.tensor(label))


def test_a_label_out_of_range_is_told():
    with pytest.raises(IndexError, match=r"label must lie in 0 ... 10, but runs from 3 to 12"):
        LabelEmbedding(10, 8, 2)(torch.tensor([3, 12]), 2)


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 12}, {"multipliers": ()}, {"transformer_stages": (3,)}, {"context_tokens": 0}, {"patch_size": 0},
        {"num_classes": 0}, {"image_channels": 0}, {"time_dim": 0}, {"context_dim": 0}, {"dropout": 1.0},
    ],
)  # fmt: skip
def test_an_impossible_config_is_refused(changes):
    with pytest.raises(ValueError, match="must"):
        small(**changes)


def test_groups_and_heads_divide_every_width():
    for channels in range(8, 2 * 7 * 96 + 1, 8):
        with torch.device("meta"):
            norm, heads = group_norm(channels), Attention(channels, 8).num_heads
        assert channels % norm.num_groups == channels % heads == 0
        assert channels // norm.num_groups >= 4


@pytest.mark.parametrize("multipliers", [(1,), (3,), (1, 2), (1, 3), (2, 3), (1, 2, 4), (1, 2, 3), (3, 5, 7)])
def test_every_shape_runs(multipliers):
    levels = tuple(range(len(multipliers)))
    for width in (8, 40, 96):
        config = UNetConfig(width=width, multipliers=multipliers, transformer_stages=levels, time_dim=8, context_dim=8)
        side = config.side_multiple
        with torch.device("meta"):  # shapes alone
            model = UNet(config)
            x, t = torch.zeros(1, 1, side, 2 * side), torch.zeros(1, dtype=torch.long)
            assert model(x, t).shape == x.shape, (width, multipliers)


def test_groups_and_heads_of_the_shipped_network_are_those_it_was_trained_with():
    modules = list(load_pretrained().model.modules())
    norms = {(m.num_channels, m.num_groups) for m in modules if isinstance(m, nn.GroupNorm)}
    heads = {(m.to_q.in_features, m.num_heads) for m in modules if isinstance(m, Attention)}
    assert norms == {(32, 8), (64, 16), (128, 32)}
    assert heads == {(64, 2)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_precision_samples(dtype):
    trained, label = load_pretrained(), torch.arange(10)
    expected = generate(trained.model, trained.schedule, label, 4)
    found = generate(trained.model.to(dtype), trained.schedule, label, 4)
    # Rounding of the network alone: bfloat16 keeps 8 bits, and the states are not rounded with it.
    assert (found - expected).abs().mean() < 8 * torch.finfo(dtype).eps + 1e-5


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (ScheduleConfig(), {"kind": "cosin"}, "unknown schedule 'cosin'; choose one of linear, cosine"),
        (ScheduleConfig(), {"num_timesteps": 0}, "num_timesteps must be at least 1, but is 0"),
        (
            TrainConfig(),
            {"timestep_sampling": "amplitudes"},
            "unknown timestep_sampling 'amplitudes'; choose one of uniform, amplitude",
        ),
        (TrainConfig(), {"decay": "cos"}, "unknown decay 'cos'; choose one of constant, cosine"),
        (TrainConfig(), {"batch_size": 0}, "batch_size must be at least 1, but is 0"),
        (TrainConfig(), {"epochs": 0}, "epochs must be at least 1, but is 0"),
        (TrainConfig(), {"learning_rate": -1e-3}, "learning_rate must be positive, but is -0.001"),
        (TrainConfig(), {"label_dropout": 1.5}, r"label_dropout must be in \[0, 1\], but is 1.5"),
        (TrainConfig(), {"ema_decay": 1.0}, "ema_decay must be in"),
        (TrainConfig(), {"grad_clip": -1.0}, "grad_clip must be positive"),
        (DataConfig(), {"channels": 4}, "channels must be 1, grey, or 3, RGB, but is 4"),
        (DataConfig(), {"class_names": ("cat", "cat")}, "all different"),
        (DataConfig(), {"size": (0, 28)}, "at least 1"),
        (TrainConfig(), {"max_images": 0}, "max_images must be None or at least 1"),
    ],
)
def test_a_typo_in_a_profile_is_told_what_is_accepted(config, changes, words):
    for name, value in changes.items():
        object.__setattr__(config, name, value)  # past the type check that the tests switch on
    with pytest.raises(ValueError, match=words):
        type(config).__post_init__(config)


def test_a_profile_takes_its_shape_from_the_data_and_brings_it_back_from_json():
    data = DataConfig("folder:pets", channels=3, size=(16, 24), class_names=("cat", "dog", "owl"), ink=False)
    profile = PROFILES["tiny"].with_data(data)
    assert Profile.from_dict(profile.to_dict()) == profile
    assert UNet(profile.unet).image_shape == (3, 16, 24)
    assert UNet(profile.unet).label.null_label == 3
    with pytest.raises(ValueError, match=r"multiples of 4, .*are 30 x 17.*height 28 or 32, width 16 or 20"):
        PROFILES["tiny"].with_data(replace(data, size=(30, 17)))
    old = PROFILES["laptop"].to_dict()
    del old["data"], old["unet"]["image_size"]  # as in a file from before there was a choice
    assert Profile.from_dict(old) == PROFILES["laptop"]


def test_shape_annotations_are_checked_in_tests():
    from jaxtyping import TypeCheckError

    with pytest.raises(TypeCheckError):
        timestep_embedding(torch.zeros(3, 1, dtype=torch.long), 8)
