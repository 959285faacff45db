"""Every number a run depends on, in named sizes. A profile changes size and duration, never the maths.

``tiny``    seconds, offline: for tests and for seeing every cell run
``laptop``  real digits on two CPU cores in minutes
``full``    a larger network: 30 epochs at width 64, for a GPU
``sprint``  laptop's network, one epoch by a recipe of its own
``flow``    laptop's network, taught straight paths: notebook 08
``words``   laptop's network in latents, told prompts: notebook 09; ``words-pixels`` is the same without the latents
"""

import json
import os
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

Kind = Literal["linear", "cosine", "straight"]
Decay = Literal["constant", "cosine"]
TimestepSampling = Literal["uniform", "amplitude"]
LossWeight = Literal["simple", "half_v"]
Target = Literal["noise", "velocity"]


def _among(name: str, value: str, accepted: Any) -> None:
    if value not in get_args(accepted):
        raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(get_args(accepted))}.")


def _hold(config: Any, **rules: tuple[bool, str]) -> None:
    """Raise for the first field whose rule, (does it hold, what must hold), is broken."""
    for name, (holds, words) in rules.items():
        if not holds:
            raise ValueError(f"{name} must be {words}, but is {getattr(config, name)}.")


@dataclass(frozen=True)
class DataConfig:
    """What the images are: it shapes the network, names the classes in pictures, and travels with the weights."""

    name: str = "mnist"  # as ``--data`` takes it: mnist, fashion-mnist, ..., folder:PATH
    channels: int = 1  # 1 is grey, 3 is RGB
    size: tuple[int, int] = (28, 28)  # height, width
    class_names: tuple[str, ...] = tuple("0123456789")
    ink: bool = True  # one channel only: 1 is ink on white paper, as MNIST is shown; else 1 is white

    def __post_init__(self) -> None:
        _hold(
            self,
            channels=(self.channels in (1, 3), "1, grey, or 3, RGB"),
            size=(min(self.size) >= 1, "a height and a width of at least 1"),
            class_names=(len(set(self.class_names)) == len(self.class_names) > 0, "one or more names, all different"),
        )

    @property
    def num_classes(self) -> int:
        """Labels are 0 ... num_classes - 1."""
        return len(self.class_names)


@dataclass(frozen=True)
class UNetConfig:
    """The shape of the network."""

    image_channels: int = 1
    image_size: tuple[int, int] = (28, 28)  # height, width of a sample; other sizes that fit still pass through
    patch_size: int = 1  # fold patch_size x patch_size pixels into channels before the first convolution
    width: int = 64  # channels at the first stage
    multipliers: tuple[int, ...] = (1, 2, 4)  # channels at stage i: width * multipliers[i]
    transformer_stages: tuple[int, ...] = (
        0,
        1,
        2,
    )  # stages (resolutions) with a transformer; the middle always has one
    time_dim: int = 256  # length of the time vector
    context_dim: int = 64  # length of each label token
    context_tokens: int = 4  # 1 is the original homework's design, and is not attention: see notebook 02
    num_classes: int = 10  # or words, where prompts are read
    prompt_words: int = 0  # length of the prompts that it reads, one token a word; 0: it reads a label
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.width < 8 or self.width % 8:
            raise ValueError(f"width must be a multiple of 8, but is {self.width}.")
        if not self.multipliers or min(self.multipliers) < 1:
            raise ValueError(f"multipliers must be one or more positive integers, but are {self.multipliers}.")
        if not set(self.transformer_stages) <= set(range(len(self.multipliers))):
            stages = f"0 ... {len(self.multipliers) - 1}"
            raise ValueError(f"transformer_stages must lie in {stages}, but are {self.transformer_stages}.")
        counts = ("image_channels", "patch_size", "time_dim", "context_dim", "context_tokens", "num_classes")
        _hold(self, **{name: (getattr(self, name) >= 1, "at least 1") for name in counts})
        _hold(
            self,
            prompt_words=(self.prompt_words >= 0, "at least 0"),
            dropout=(0 <= self.dropout < 1, "in [0, 1)"),
        )
        fits = all(length >= 1 and length % self.side_multiple == 0 for length in self.image_size)
        _hold(self, image_size=(fits, f"a height and a width that are multiples of {self.side_multiple}"))

    @property
    def side_multiple(self) -> int:
        """An image's sides must be divisible by this."""
        return self.patch_size * 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True)
class ScheduleConfig:
    """The noise schedule."""

    kind: Kind = "linear"
    num_timesteps: int = 1000

    def __post_init__(self) -> None:
        _among("schedule", self.kind, Kind)
        _hold(self, num_timesteps=(self.num_timesteps >= 1, "at least 1"))


@dataclass(frozen=True)
class TrainConfig:
    """How long and how hard to train."""

    epochs: int = 30
    batch_size: int = 64
    learning_rate: float = 2e-4
    muon_rate: float | None = None  # Muon for the weights of hidden layers, at this rate; None: AdamW for all
    warmup_steps: int = 0
    decay: Decay = "constant"  # cosine: the rate falls to 0 at the last step
    ema_decay: float = 0.999
    grad_clip: float = 1.0
    label_dropout: float = 0.0  # share of labels replaced by the null label, for guidance
    timestep_sampling: TimestepSampling = "uniform"  # t drawn evenly, or so that the signal's amplitude √ᾱ is
    loss_weight: LossWeight = "simple"  # the loss of each t drawn counts alike, or half-way to a loss on v
    target: Target = "noise"  # what the network is taught: the noise, or the velocity of a straight path (flow.py)
    max_images: int | None = None  # train on the first max_images only
    snapshot_epochs: tuple[int, ...] = ()  # save a sample grid and the averaged weights after these
    seed: int = 0
    bfloat16: bool = False  # autocast, on CUDA and on CPUs with AMX: on others, and for small networks, it is slower
    compile: bool = False  # torch.compile, on CUDA only: on CPUs it takes minutes

    def __post_init__(self) -> None:
        _among("decay", self.decay, Decay)
        _among("timestep_sampling", self.timestep_sampling, TimestepSampling)
        _among("loss_weight", self.loss_weight, LossWeight)
        _among("target", self.target, Target)
        if self.loss_weight != "simple" and self.target != "noise":
            raise ValueError(f"loss_weight {self.loss_weight!r} is for target 'noise', but target is {self.target!r}.")
        _hold(
            self,
            epochs=(self.epochs >= 1, "at least 1"),
            batch_size=(self.batch_size >= 1, "at least 1"),
            learning_rate=(self.learning_rate > 0, "positive"),
            muon_rate=(self.muon_rate is None or self.muon_rate > 0, "None or positive"),
            warmup_steps=(self.warmup_steps >= 0, "at least 0"),
            ema_decay=(0 <= self.ema_decay < 1, "in [0, 1)"),
            grad_clip=(self.grad_clip > 0, "positive"),
            label_dropout=(0 <= self.label_dropout <= 1, "in [0, 1]"),
            max_images=(self.max_images is None or self.max_images >= 1, "None or at least 1"),
        )


@dataclass(frozen=True)
class Profile:
    """One complete experiment."""

    name: str
    unet: UNetConfig = field(default_factory=UNetConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    sample_steps: int = 50  # DDIM steps of a sample
    guidance_scale: float = 1.0  # guidance of a sample; above 1 only with label_dropout
    data: DataConfig = field(default_factory=DataConfig)

    def with_data(self, data: DataConfig) -> "Profile":
        """The same experiment on other images: channels, size and classes of the network are the data's."""
        side = self.unet.side_multiple
        if any(length % side for length in data.size):
            near = [sorted({max(side, n // side * side), -(-n // side) * side}) for n in data.size]
            sizes = [" or ".join(map(str, lengths)) for lengths in near]
            raise ValueError(
                f"profile {self.name} takes images whose sides are multiples of {side}, but those of {data.name} are "
                f"{data.size[0]} x {data.size[1]}. Nearest that fit: height {sizes[0]}, width {sizes[1]}."
            )
        unet = replace(self.unet, image_channels=data.channels, image_size=data.size, num_classes=data.num_classes)
        return replace(self, data=data, unet=unet)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, as JSON gives them back."""
        return json.loads(json.dumps(asdict(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Profile":
        """The inverse of :meth:`to_dict`; lists become tuples again.

        Settings of training that no longer exist are left out: they do not shape a network.
        """
        values = current_names(values)
        known = {f.name for f in fields(TrainConfig)}

        def tuples(d: dict[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in d.items()}

        return cls(
            name=values["name"],
            unet=UNetConfig(**tuples(values["unet"])),
            schedule=ScheduleConfig(**tuples(values["schedule"])),
            train=TrainConfig(**tuples({k: v for k, v in values["train"].items() if k in known})),
            sample_steps=values["sample_steps"],
            guidance_scale=values["guidance_scale"],
            data=DataConfig(**tuples(values.get("data", {}))),  # older files were all of MNIST
        )


RENAMED = {"transformer_levels": "transformer_stages", "levels": "timestep_sampling", "sample_scale": "guidance_scale"}


def current_names(values: dict[str, Any]) -> dict[str, Any]:
    """A profile's dict with settings of former names, which older files have, under their present ones."""
    return {RENAMED.get(k, k): current_names(v) if isinstance(v, dict) else v for k, v in values.items()}


# The network of laptop and of all that is compared with it: a transformer at 14 x 14 cost more than it brought, and
# patches of 4 x 4 were worse (benchmarks/ablation.md).
SMALL = UNetConfig(patch_size=2, width=32, multipliers=(1, 2), transformer_stages=(1,), time_dim=128)

# The same network for pages of four digits: it reads prompts of five words, of a vocabulary of twelve.
PAGES = replace(SMALL, image_size=(56, 56), num_classes=12, prompt_words=5)

# How they are taught: timesteps even in amplitude teach the label sooner, at less spread lost (benchmarks/ablation.md).
RECIPE = TrainConfig(
    learning_rate=4e-3, warmup_steps=200, decay="cosine", label_dropout=0.1, timestep_sampling="amplitude"
)
WORDS_RECIPE = replace(RECIPE, learning_rate=3e-3)

PROFILES = {
    "tiny": Profile(
        name="tiny",
        unet=UNetConfig(
            patch_size=2, width=16, multipliers=(1, 2), transformer_stages=(1,), time_dim=32, context_dim=16
        ),
        # T = 100 needs the cosine schedule: 1e-4 ... 0.02 would leave 36 % of the signal's variance.
        schedule=ScheduleConfig(kind="cosine", num_timesteps=100),
        train=TrainConfig(epochs=2, learning_rate=2e-3, max_images=512, ema_decay=0.9, snapshot_epochs=(1, 2)),
        sample_steps=10,
    ),
    "laptop": Profile(
        name="laptop",
        unet=SMALL,
        schedule=ScheduleConfig(kind="linear", num_timesteps=1000),
        train=replace(RECIPE, epochs=30, snapshot_epochs=(1, 2, 5, 10, 15, 20, 30)),
        guidance_scale=1.2,
    ),
    "full": Profile(
        name="full",
        unet=UNetConfig(width=64, multipliers=(1, 2, 4), transformer_stages=(0, 1, 2), time_dim=256),
        schedule=ScheduleConfig(kind="linear", num_timesteps=1000),
        # The rates of its one epoch in benchmarks/full.md, there in batches of 32; thirty epochs were never run.
        train=replace(
            RECIPE,
            epochs=30,
            learning_rate=1e-3,
            muon_rate=5e-3,
            snapshot_epochs=(1, 2, 5, 10, 15, 20, 30),
            bfloat16=True,
            compile=True,
        ),
        guidance_scale=1.2,
    ),
    # One epoch: benchmarks/ninety.md has the reasons for Muon and the weights of the loss.
    "sprint": Profile(
        name="sprint",
        unet=SMALL,
        train=replace(RECIPE, epochs=1, warmup_steps=100, muon_rate=1e-2, loss_weight="half_v", snapshot_epochs=(1,)),
        guidance_scale=1.3,
    ),
    "flow": Profile(
        name="flow",
        unet=SMALL,
        schedule=ScheduleConfig(kind="straight", num_timesteps=1000),
        # laptop's recipe for another target. Even in amplitude, t shows it the same mixture of noise as laptop saw.
        train=replace(RECIPE, epochs=15, target="velocity", snapshot_epochs=(1, 2, 5, 10, 15)),
    ),
    "words": Profile(
        name="words",
        unet=replace(PAGES, image_channels=2, image_size=(14, 14), patch_size=1),
        train=replace(WORDS_RECIPE, epochs=8, max_images=30_000),
        guidance_scale=1.5,
    ),
    "words-pixels": Profile(
        name="words-pixels",
        unet=PAGES,
        train=replace(WORDS_RECIPE, epochs=5, max_images=15_000),
        guidance_scale=1.5,
    ),
}


def get_profile(name: str | None = None) -> Profile:
    """The profile called ``name``; by default ``$DIFFUSION_PROFILE``, or ``laptop``."""
    name = name or os.environ.get("DIFFUSION_PROFILE") or "laptop"
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; choose one of {', '.join(PROFILES)}.")
    return PROFILES[name]
