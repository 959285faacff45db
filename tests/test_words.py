"""Pages of four digits, the prompts that ask for them, networks that read words, and latents."""

from dataclasses import replace

import pytest
import torch
from conftest import images

from diffusion_lib.data import Digits
from diffusion_lib.diffusion import ddpm_loss
from diffusion_lib.embeddings import WordEmbedding
from diffusion_lib.guidance import guided
from diffusion_lib.latents import (
    Autoencoder,
    Code,
    autoencoder_loss,
    decode_scaled,
    encode_scaled,
    encoded,
    generate_latents,
    kl_to_standard,
    latent_scale,
)
from diffusion_lib.metrics import wilson_interval
from diffusion_lib.profiles import PROFILES, UNetConfig
from diffusion_lib.samplers import generate
from diffusion_lib.schedules import NoiseSchedule, linear_betas
from diffusion_lib.training import drop_prompts, load_autoencoder, load_classifier, load_pretrained, shipped_quality
from diffusion_lib.training.checkpoints import WEIGHTS
from diffusion_lib.training.loop import Trainer
from diffusion_lib.unet import UNet
from diffusion_lib.words import agreement, asked, cut, decode, draw_pages, encode, page, phrase, read, unseen

SHORT = NoiseSchedule.from_betas(linear_betas(10)).to("cpu")
TINY = UNetConfig(
    image_size=(56, 56), patch_size=4, width=16, multipliers=(1, 2), transformer_stages=(1,), time_dim=32,
    context_dim=16, num_classes=12, prompt_words=5,
)  # fmt: skip
TEXT = ["three one above four seven", "four seven below three one", "zero zero below nine five"]


def test_a_prompt_says_a_page_in_two_ways():
    prompts = encode(TEXT)
    assert prompts.tolist() == [[3, 1, 10, 4, 7], [4, 7, 11, 3, 1], [0, 0, 11, 9, 5]]
    assert decode(prompts) == TEXT
    assert asked(prompts).tolist() == [[3, 1, 4, 7], [3, 1, 4, 7], [9, 5, 0, 0]]
    below = torch.tensor([False, True, True])
    assert torch.equal(phrase(asked(prompts), below), prompts)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("three one over four seven", "unknown word 'over'; the words are zero, one"),
        ("three one four seven", "two digits, above or below, two digits, but was 'three one four seven'"),
        ("three above one four seven", "two digits, above or below, two digits"),
        ("", "two digits, above or below, two digits"),
    ],
)
def test_what_is_not_of_the_grammar_is_told(text, words):
    with pytest.raises(ValueError, match=words):
        encode(text)


def test_a_page_is_read_in_rows_and_cut_again():
    crops = images(3, 4, 1, 2, 5)
    whole = page(crops)
    assert whole.shape == (3, 1, 4, 10)
    for place, (row, column) in enumerate([(0, 0), (0, 5), (2, 0), (2, 5)]):
        assert torch.equal(whole[:, :, row : row + 2, column : column + 5], crops[:, place])
    assert torch.equal(cut(whole), crops)


def numbered() -> Digits:
    """100 "digits", each of one colour: image i is i everywhere, its label i // 10, in mixed order."""
    order = torch.randperm(100, generator=torch.Generator().manual_seed(0))
    shades = order.view(-1, 1, 1, 1).expand(-1, 1, 28, 28).to(torch.uint8)
    return Digits(shades.clone(), order // 10, "shades")


def test_pages_hold_the_digits_that_their_prompts_ask_for():
    pages = draw_pages(numbered(), 400)
    x, prompts = pages[:]
    assert x.shape == (400, 1, 56, 56)
    shades = ((cut(x).mean(dim=(2, 3, 4)) + 1) * 127.5).round().long()
    assert torch.equal(shades // 10, asked(prompts))
    assert len(shades.unique()) == 100  # every digit of a label has its turn
    assert 0.4 < (prompts[:, 2] == 10).float().mean() < 0.6


def test_the_seed_decides_which_pages_are_drawn_and_part_of_them_is_the_same_pages(stand_in):
    pages, again, other = (draw_pages(stand_in, 50, seed) for seed in (3, 3, 4))
    assert torch.equal(pages[:][0], again[:][0])
    assert torch.equal(pages.labels, again.labels)
    assert not torch.equal(pages.labels, other.labels)
    chosen = torch.tensor([7, 2])
    for part in (pages.where(chosen), pages.take(50).to("cpu").where(chosen)):
        assert torch.equal(part[:][0], pages[chosen][0])
        assert torch.equal(part.labels, pages.labels[chosen])


def test_pairs_three_apart_are_never_side_by_side_in_training_and_always_in_the_new_pages(stand_in):
    pairs = torch.cartesian_prod(torch.arange(10), torch.arange(10))
    hidden = {(a, b) for a in range(10) for b in range(10) if min((a - b) % 10, (b - a) % 10) == 3}
    assert {tuple(pair) for pair in pairs[unseen(pairs)].tolist()} == hidden
    for new in (False, True):
        drawn = asked(draw_pages(stand_in, 4000, new=new).labels).view(-1, 2)
        rows = {tuple(pair) for pair in drawn.tolist()}
        assert rows == (hidden if new else {(a, b) for a in range(10) for b in range(10)} - hidden)


def test_real_pages_are_read_as_asked(mnist):
    x, prompts = draw_pages(mnist["test"], 100)[:]
    found = agreement(load_classifier(), x, prompts)
    assert found.digits > 0.97
    assert found.count == 100
    right = (read(load_classifier(), x) == asked(prompts)).all(dim=1).float().mean().item()
    assert found.pages == right
    assert found.pages_range == wilson_interval(right, 100)
    mirrored = agreement(load_classifier(), page(cut(x).flip(1)), prompts)
    assert mirrored.digits < 0.3


def test_positions_tell_words_apart_and_without_them_a_prompt_is_a_set():
    torch.manual_seed(0)
    embedding, prompts = WordEmbedding(12, 16, 5).eval(), encode(TEXT[:1])
    order = torch.tensor([4, 1, 2, 3, 0])
    with torch.no_grad():
        context, other = embedding(prompts, 1), embedding(prompts[:, order], 1)
        assert not torch.allclose(context[:, order], other, atol=1e-3)
        embedding.positions.zero_()
        context, other = embedding(prompts, 1), embedding(prompts[:, order], 1)
    torch.testing.assert_close(context[:, order], other)


def test_a_network_without_positions_cannot_tell_orders_apart():
    torch.manual_seed(0)
    model, x, t = UNet(TINY).eval(), images(2, 1, 56, 56, dtype=torch.float32), torch.tensor([3, 900])
    one, other = encode(["three one above four seven"] * 2), encode(["four one above three seven"] * 2)
    with torch.no_grad():
        assert (model(x, t, one) - model(x, t, other)).abs().max() > 1e-4
        model.label.positions.zero_()
        torch.testing.assert_close(model(x, t, one), model(x, t, other))


def test_no_prompt_is_the_prompt_of_null_words_and_guidance_starts_there():
    torch.manual_seed(0)
    model, x, t = UNet(TINY).eval(), images(2, 1, 56, 56, dtype=torch.float32), torch.tensor([3, 900])
    null, prompts = torch.full((2, 5), 12), encode(TEXT[:2])
    with torch.no_grad():
        torch.testing.assert_close(model(x, t), model(x, t, null))
        torch.testing.assert_close(guided(model, prompts, 0.0)(x, t), model(x, t, null))
        assert (model(x, t) - model(x, t, prompts)).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("prompt", "error", "words"),
    [
        (torch.zeros(2, dtype=torch.int64), ValueError, r"5 words .* but the shape is \(2,\)"),
        (torch.zeros(2, 4, dtype=torch.int64), ValueError, r"but the shape is \(2, 4\)"),
        (torch.full((2, 5), 13), IndexError, r"a word must lie in 0 ... 12, but runs from 13 to 13"),
    ],
)
def test_a_prompt_that_the_network_cannot_read_is_told(prompt, error, words):
    with pytest.raises(error, match=words):
        UNet(TINY)(torch.zeros(2, 1, 56, 56), torch.zeros(2, dtype=torch.int64), prompt)


def test_a_network_of_labels_refuses_a_prompt():
    with pytest.raises(ValueError, match=r"label must have shape \(2,\)"):
        UNet(PROFILES["tiny"].unet)(torch.zeros(2, 1, 28, 28), torch.zeros(2, dtype=torch.int64), encode(TEXT[:2]))


def test_a_prompt_is_dropped_whole_or_not_at_all():
    prompts = encode(TEXT).repeat(200, 1)
    torch.manual_seed(0)
    dropped = drop_prompts(prompts, 12, 0.3)
    gone = (dropped == 12).all(dim=1)
    assert 0.2 < gone.float().mean() < 0.4
    assert torch.equal(dropped[~gone], prompts[~gone])
    assert torch.equal(drop_prompts(prompts, 12, 0.0), prompts)


def test_the_trainer_takes_pages_and_drops_whole_prompts(stand_in):
    pages, seen = draw_pages(stand_in, 32), []
    profile = replace(PROFILES["words-pixels"], unet=TINY)
    profile = replace(profile, train=replace(profile.train, batch_size=32, label_dropout=0.5, max_images=None))

    def loss(model, schedule, x_start, label, *, t, noise):
        seen.append(label)
        return ddpm_loss(model, schedule, x_start, label, t=t, noise=noise)

    trainer = Trainer(profile, pages, pages, torch.device("cpu"), loss=loss)
    trainer.step(torch.arange(32))
    null = seen[0] == 12
    assert torch.equal(null.any(dim=1), null.all(dim=1))
    assert 0 < null.all(dim=1).sum() < 32


def test_sampling_takes_prompts():
    torch.manual_seed(0)
    model = UNet(TINY).eval()
    assert generate(model, SHORT, encode(TEXT), 2, guidance_scale=1.5).shape == (3, 1, 56, 56)


def test_the_autoencoder_makes_a_quarter_of_each_side_and_whole_again():
    torch.manual_seed(0)
    autoencoder, x = Autoencoder(3, width=8), images(2, 1, 56, 56, dtype=torch.float32)
    code = autoencoder.encode(x)
    assert code.mean.shape == code.log_variance.shape == (2, 3, 14, 14)
    assert autoencoder.decode(code.mean).shape == x.shape
    loss = autoencoder_loss(autoencoder, x, torch.zeros_like(code.mean), kl_weight=0.0)
    torch.testing.assert_close(loss, (autoencoder.decode(code.mean) - x).square().mean())
    noise = torch.ones_like(code.mean)
    noisy = autoencoder.decode(code.mean + code.log_variance.exp().sqrt() * noise)
    expected = (noisy - x).square().mean() + 0.5 * kl_to_standard(code)
    torch.testing.assert_close(autoencoder_loss(autoencoder, x, noise, kl_weight=0.5), expected)


def test_the_decoder_gets_the_mean_and_spread_times_the_noise():
    class Open(Autoencoder):  # a code of mean 0 and variance 4, and a decoder that changes nothing
        def encode(self, x):
            return Code(torch.zeros_like(x), torch.full_like(x, 4.0).log())

        def decode(self, z):
            return z

    x = torch.zeros(2, 1, 4, 4)
    loss = autoencoder_loss(Open(1, width=8), x, torch.ones_like(x), kl_weight=0.0)
    torch.testing.assert_close(loss, torch.tensor(4.0))  # the square of a spread of 2


def test_kl_is_that_of_torch_and_0_for_the_standard_normal():
    mean, log_variance = images(2, 3, 4, 4), images(2, 3, 4, 4, seed=1)
    ours = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    standard = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(ours, standard).mean()
    torch.testing.assert_close(kl_to_standard(Code(mean, log_variance)), expected)
    assert kl_to_standard(Code(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2))) == 0


def test_scaled_latents_have_variance_1_and_come_back(stand_in):
    torch.manual_seed(0)
    autoencoder, pages = Autoencoder(2, width=8), draw_pages(stand_in, 40)
    x, _ = pages[:]
    autoencoder.scale.copy_(latent_scale(autoencoder, x))
    z = encode_scaled(autoencoder, x, autoencoder.scale)
    torch.testing.assert_close(z.std(), torch.ones(()))
    assert abs(autoencoder.scale.item() - 1) > 0.1  # or this test would see nothing
    plain = autoencoder.decode(autoencoder.encode(x).mean).clamp(-1, 1)
    torch.testing.assert_close(decode_scaled(autoencoder, z, autoencoder.scale), plain)
    data = encoded(autoencoder, pages)
    torch.testing.assert_close(data[torch.tensor([5, 1])][0], z[[5, 1]])
    assert torch.equal(data.where(slice(3)).labels, pages.labels[:3])
    model = UNet(replace(TINY, image_channels=2, image_size=(14, 14), patch_size=1)).eval()
    drawn = generate_latents(model, SHORT, encode(TEXT), autoencoder, 2, guidance_scale=1.5)
    assert drawn.shape == (3, 1, 56, 56)
    assert drawn.abs().max() <= 1


def test_the_shipped_networks_are_those_of_the_profiles_and_small():
    size = 0
    for name in ("words", "words-pixels", "autoencoder"):
        path = WEIGHTS / f"{name}.safetensors"
        size += path.stat().st_size
        assert name == "autoencoder" or load_pretrained(name).profile == PROFILES[name]
    assert size < 8 * 2**20
    autoencoder = load_autoencoder()
    assert 0.2 < autoencoder.scale < 10
    assert (PROFILES["words"].unet.image_channels, 14, 14) == autoencoder.encode(torch.zeros(1, 1, 56, 56))[0].shape[1:]


def test_the_shipped_network_draws_the_digits_that_are_asked_for_and_puts_them_in_their_places():
    trained, prompts = load_pretrained("words"), encode([*TEXT, "two eight above six one"])
    drawn = generate_latents(trained.model, trained.schedule, prompts, load_autoencoder(), 20, guidance_scale=1.5)
    assert agreement(load_classifier(), drawn, prompts).digits > 0.6
    assert agreement(load_classifier(), drawn, prompts[:, [3, 4, 2, 0, 1]]).digits < 0.4


def test_what_was_measured_is_good_enough():
    measured = {(row["row"], row["prompts"]): row for row in shipped_quality("words")["rows"]}
    assert measured["words", "seen"]["digits"] >= 0.95
    assert measured["words", "unseen"]["digits"] >= 0.9
    assert measured["words", "seen"]["spread"] > 0.8
    assert measured["words", "seen"]["seconds"] <= 2
    for kind in ("seen", "unseen"):
        assert measured["real", kind]["digits"] >= measured["words", kind]["digits"] - 0.02
