"""The training steps that bench.py compares, each run in a process of its own.

    python benchmarks/contenders.py NAME PROFILE BATCH DEVICE

Does one step for each line on its input and answers with the seconds; the last line says the size of the network and
the peak memory. A process of its own keeps one contender's settings and memory from the others.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from plain import PlainTrainer, rewrite
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.flop_counter import FlopCounterMode

from diffusion_lib.data import Digits, load_digits
from diffusion_lib.fast import TokenLinear, UpsampleConv2d, keep_memory
from diffusion_lib.profiles import PROFILES, UNetConfig
from diffusion_lib.training import loop
from diffusion_lib.training.loop import Trainer
from diffusion_lib.unet import Attention

Step = Callable[[], Any]
Probe = tuple[nn.Module, Callable[[], Any]]  # the network, and a forward pass of one image


def ours(
    profile_name: str, digits: Digits, batch: int, device: torch.device, bfloat16: bool = False
) -> tuple[Step, Probe]:
    """The library's own step; on a CPU in float32, unless ``bfloat16`` is asked for."""
    return stepping(our_trainer(profile_name, digits, batch, device, bfloat16))


def our_trainer(profile_name: str, digits: Digits, batch: int, device: torch.device, bfloat16: bool = False) -> Trainer:
    """The library's trainer; AdamW alone, and all labels, for the others have neither Muon nor a null label."""
    profile, narrow = PROFILES[profile_name], bfloat16 or device.type == "cuda"
    even = {"label_dropout": 0.0, "timestep_sampling": "uniform", "muon_rate": None}
    profile = replace(profile, train=replace(profile.train, batch_size=batch, bfloat16=narrow, **even))
    return Trainer(profile, digits, digits, device)


def stepping(trainer: Trainer) -> tuple[Step, Probe]:
    """Steps on random images."""
    count, batch, device = len(trainer.train_digits), trainer.config.batch_size, trainer.device
    step = lambda: trainer.step(torch.randint(0, count, (batch,), device=device))  # noqa: E731
    return step, (trainer.model, lambda: trainer.model(*one_image(device)))


UNDO: dict[str, Callable[[nn.Module], Any]] = {
    "attention with its scores written out": lambda model: rewrite(model, Attention),
    "token layers as matrix products": lambda model: rewrite(model, TokenLinear),
    "the larger image made before its convolution": lambda model: rewrite(model, UpsampleConv2d),
    "channels first in memory": lambda model: model.to(memory_format=torch.contiguous_format),
}
KEPT = "plain, memory kept"
GIVEN_BACK, ALL = "freed memory given back to the system", "all five"


def undone(what: str, profile_name: str, digits: Digits, batch: int, device: torch.device) -> Trainer:
    """The library's trainer with one thing that makes its step faster undone, or all."""
    if what in (GIVEN_BACK, ALL):
        loop.keep_memory = lambda: None
    trainer = our_trainer(profile_name, digits, batch, device)
    for part, undo in UNDO.items():
        if what in (part, ALL):
            undo(trainer.model)
            undo(trainer.average)
    return trainer


def plain(
    profile_name: str, digits: Digits, batch: int, device: torch.device, keep: bool = False
) -> tuple[Step, Probe]:
    """The same network and step as a starter code has them; ``keep``: but for memory, which is kept as ours is."""
    if keep:
        keep_memory()
    trainer = PlainTrainer(PROFILES[profile_name].unet, *digits[:], batch, device)
    return trainer.step, (trainer.model, lambda: trainer.model(*one_image(device)))


def one_image(device: torch.device, channels: int = 1, side: int = 28) -> tuple[Tensor, Tensor]:
    """A batch of one, and its t."""
    return torch.zeros(1, channels, side, side, device=device), torch.zeros(1, dtype=torch.long, device=device)


def diffusers(profile_name: str, digits: Digits, batch: int, device: torch.device) -> tuple[Step, Probe]:
    """diffusers' conditional UNet of the nearest size, its own scheduler for the noise, AdamW and EMA in plain use."""
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from diffusers.training_utils import EMAModel

    config: UNetConfig = PROFILES[profile_name].unet
    widths = tuple(config.width * m for m in config.multipliers)
    down = tuple(
        "CrossAttnDownBlock2D" if i in config.transformer_stages else "DownBlock2D" for i in range(len(widths))
    )
    up = tuple(name.replace("Down", "Up") for name in reversed(down))
    pixels, side = config.patch_size**2, 28 // config.patch_size
    model = UNet2DConditionModel(
        sample_size=side, in_channels=pixels, out_channels=pixels, block_out_channels=widths,
        layers_per_block=1, down_block_types=down, up_block_types=up,
        cross_attention_dim=config.context_dim, attention_head_dim=max(1, widths[-1] // 32),
        norm_num_groups=min(32, widths[0] // 4),
    ).to(device)  # fmt: skip
    tokens = nn.Embedding(11, 4 * config.context_dim, device=device)
    average, scheduler = EMAModel(model.parameters(), 0.999), DDPMScheduler(1000)
    optimizer = torch.optim.AdamW([*model.parameters(), *tokens.parameters()], 2e-4)

    def step() -> None:
        x, label = digits[torch.randint(0, len(digits), (batch,), device=device)]
        x = torch.nn.functional.pixel_unshuffle(x, config.patch_size)
        t, noise = torch.randint(0, 1000, (batch,), device=device), torch.randn_like(x)
        context = tokens(label).view(batch, 4, -1)
        loss = (model(scheduler.add_noise(x, noise, t), t, context).sample - noise).square().mean()
        update(loss, model, optimizer)
        average.step(model.parameters())

    context = torch.zeros(1, 4, config.context_dim, device=device)
    return step, (model, lambda: model(*one_image(device, pixels, side), context))


def lucidrains(profile_name: str, digits: Digits, batch: int, device: torch.device) -> tuple[Step, Probe]:
    """denoising-diffusion-pytorch's conditional UNet of the nearest size, with its own loss and ema-pytorch's EMA."""
    from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    config = PROFILES[profile_name].unet
    pixels, side = config.patch_size**2, 28 // config.patch_size
    model = Unet(config.width, 10, cond_drop_prob=0.0, dim_mults=config.multipliers, channels=pixels)
    diffusion = GaussianDiffusion(model, image_size=side, timesteps=1000).to(device)
    average = EMA(diffusion, beta=0.999, update_every=1)
    optimizer = torch.optim.AdamW(diffusion.parameters(), 2e-4)

    def step() -> None:
        x, label = digits[torch.randint(0, len(digits), (batch,), device=device)]
        x = torch.nn.functional.pixel_unshuffle(x, config.patch_size)
        update(diffusion((x + 1) / 2, classes=label), model, optimizer)
        average.update()

    def probe() -> Tensor:
        x, t = one_image(device, pixels, side)
        return model(x, t, classes=t)

    return step, (model, probe)


def smalldiffusion(profile_name: str, digits: Digits, batch: int, device: torch.device) -> tuple[Step, Probe]:
    """smalldiffusion's UNet of the nearest size, with its own schedule, draws and loss, and torch's average."""
    from smalldiffusion import CondEmbedderLabel, ScheduleDDPM, Unet, generate_train_sample

    config = PROFILES[profile_name].unet
    pixels, side, width = config.patch_size**2, 28 // config.patch_size, config.width
    attended = tuple(side // 2**i for i in config.transformer_stages)
    label = CondEmbedderLabel(4 * width, 10, dropout_prob=0.0)
    shape = {"ch_mult": config.multipliers, "num_res_blocks": 1, "attn_resolutions": attended, "dropout": 0.0}
    model = Unet(side, pixels, pixels, ch=width, cond_embed=label, **shape).to(device)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    schedule, optimizer = ScheduleDDPM(1000), torch.optim.AdamW(model.parameters(), 2e-4)

    def step() -> None:
        x, label = digits[torch.randint(0, len(digits), (batch,), device=device)]
        x = torch.nn.functional.pixel_unshuffle(x, config.patch_size)
        x, sigma, noise, label = generate_train_sample((x, label), schedule, conditional=True)
        update(model.get_loss(x, sigma, noise, cond=label), model, optimizer)
        average.update_parameters(model)

    def probe() -> Tensor:
        x, t = one_image(device, pixels, side)
        return model(x, torch.ones((), device=device), cond=t)

    return step, (model, probe)


def update(loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Backward, clip, step: the same for all libraries."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def peak_memory(device: torch.device) -> float:
    """The most that this process has held at once, in GiB: on the GPU, or of the machine's memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # ru_maxrss counts KiB on Linux


def main() -> None:
    name, profile, batch, device = sys.argv[1], sys.argv[2], int(sys.argv[3]), torch.device(sys.argv[4])
    torch.manual_seed(0)
    make = {
        "ours": ours, "ours, bfloat16": partial(ours, bfloat16=True), "plain": plain, KEPT: partial(plain, keep=True),
        "diffusers": diffusers,
        "denoising-diffusion-pytorch": lucidrains, "smalldiffusion": smalldiffusion,
        **{what: lambda *job, what=what: stepping(undone(what, *job)) for what in (*UNDO, GIVEN_BACK, ALL)},
    }[name]  # fmt: skip
    step, (model, forward) = make(profile, load_digits("train", device).take(max(4096, batch)), batch, device)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        if device.type == "cuda":
            torch.cuda.synchronize()
        print(time.perf_counter() - start, flush=True)
    peak = peak_memory(device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward()
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"parameters": parameters, "flops": counter.get_total_flops(), "peak": peak}), flush=True)


if __name__ == "__main__":
    main()
