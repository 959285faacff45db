"""Profiles: what they refuse, and that they come back from JSON."""

import json

import pytest

from diffusion_lib.profiles import PROFILES, Profile, UNetConfig, get_profile


def test_profiles_survive_json_and_unknown_ones_are_named(monkeypatch):
    for profile in PROFILES.values():
        assert Profile.from_dict(json.loads(json.dumps(profile.to_dict()))) == profile
    monkeypatch.setenv("DIFFUSION_PROFILE", "huge")
    with pytest.raises(ValueError, match="unknown profile 'huge'; choose one of tiny, laptop, full"):
        get_profile()


def test_the_environment_names_the_profile_unless_the_caller_does(monkeypatch):
    monkeypatch.setenv("DIFFUSION_PROFILE", "full")
    assert get_profile().name == "full"
    assert get_profile("tiny").name == "tiny"
    monkeypatch.delenv("DIFFUSION_PROFILE")
    assert get_profile().name == "laptop"


@pytest.mark.parametrize(
    ("patch", "multipliers", "side"), [(1, (1,), 1), (1, (1, 2, 4), 4), (2, (1, 2), 4), (3, (1, 1), 6)]
)
def test_sides_must_survive_folding_and_halving(patch, multipliers, side):
    config = UNetConfig(patch_size=patch, multipliers=multipliers, transformer_stages=(), image_size=(side, 2 * side))
    assert config.side_multiple == side


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"width": 20}, "multiple of 8, but is 20"),
        ({"width": 0}, "multiple of 8, but is 0"),
        ({"multipliers": (1, 0)}, r"positive integers, but are \(1, 0\)"),
        ({"transformer_stages": (0, 3)}, r"lie in 0 ... 2, but are \(0, 3\)"),
        ({"context_tokens": 0}, "context_tokens must be at least 1, but is 0"),
        ({"patch_size": 0}, "patch_size must be at least 1, but is 0"),
        ({"image_size": (28, 30)}, r"image_size must be .* multiples of 4, but is \(28, 30\)"),
        ({"image_size": (0, 4)}, r"image_size must be .* multiples of 4, but is \(0, 4\)"),
        ({"multipliers": (1, 2, 4, 8)}, r"image_size must be .* multiples of 8, but is \(28, 28\)"),
    ],
)
def test_a_shape_that_cannot_be_built_is_told(wrong, words):
    with pytest.raises(ValueError, match=words):
        UNetConfig(**wrong)
