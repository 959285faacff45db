"""The training steps that bench.py compares, each run in a process of its own.

    python benchmarks/contenders.py NAME PROFILE BATCH

Does one step for each line on its input and answers with the seconds; the last line says the size of the network and
the peak memory. A process of its own keeps one contender's settings and memory from the others.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from plain import PlainTrainer
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from diffusion_lib.data import Digits, load_digits
from diffusion_lib.profiles import PROFILES, UNetConfig
from diffusion_lib.training import Trainer

Step = Callable[[], Any]
Probe = tuple[nn.Module, Callable[[], Any]]  # the network, and a forward pass of one image


def ours(profile_name: str, digits: Digits, batch: int) -> tuple[Step, Probe]:
    """The library's own step."""
    profile = PROFILES[profile_name]
    profile = replace(profile, train=replace(profile.train, batch_size=batch, label_dropout=0.0, min_snr=None))
    trainer = Trainer(profile, digits, digits, torch.device("cpu"))
    probe = lambda: trainer.model(torch.zeros(1, 1, 28, 28), torch.zeros(1).long())  # noqa: E731
    return lambda: trainer.step(torch.randint(0, len(trainer.train_digits), (batch,))), (trainer.model, probe)


def plain(profile_name: str, digits: Digits, batch: int) -> tuple[Step, Probe]:
    """The same network and step as a starter code has them."""
    trainer = PlainTrainer(PROFILES[profile_name].unet, *digits[:], batch)
    probe = lambda: trainer.model(torch.zeros(1, 1, 28, 28), torch.zeros(1).long())  # noqa: E731
    return trainer.step, (trainer.model, probe)


def diffusers(profile_name: str, digits: Digits, batch: int) -> tuple[Step, Probe]:
    """diffusers' conditional UNet of the nearest size, its own scheduler for the noise, AdamW and EMA in plain use."""
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from diffusers.training_utils import EMAModel

    config: UNetConfig = PROFILES[profile_name].unet
    widths = tuple(config.width * m for m in config.multipliers)
    down = tuple(
        "CrossAttnDownBlock2D" if i in config.transformer_levels else "DownBlock2D" for i in range(len(widths))
    )
    up = tuple(name.replace("Down", "Up") for name in reversed(down))
    pixels, side = config.patch_size**2, 28 // config.patch_size
    model = UNet2DConditionModel(
        sample_size=side, in_channels=pixels, out_channels=pixels, block_out_channels=widths,
        layers_per_block=1, down_block_types=down, up_block_types=up,
        cross_attention_dim=config.context_dim, attention_head_dim=max(1, widths[-1] // 32),
        norm_num_groups=min(32, widths[0] // 4),
    )  # fmt: skip
    tokens = nn.Embedding(11, 4 * config.context_dim)
    average, scheduler = EMAModel(model.parameters(), 0.999), DDPMScheduler(1000)
    optimizer = torch.optim.AdamW([*model.parameters(), *tokens.parameters()], 2e-4)

    def step() -> None:
        x, label = digits[torch.randint(0, len(digits), (batch,))]
        x = torch.nn.functional.pixel_unshuffle(x, config.patch_size)
        t, noise = torch.randint(0, 1000, (batch,)), torch.randn_like(x)
        context = tokens(label).view(batch, 4, -1)
        loss = (model(scheduler.add_noise(x, noise, t), t, context).sample - noise).square().mean()
        update(loss, model, optimizer)
        average.step(model.parameters())

    context = torch.zeros(1, 4, config.context_dim)
    return step, (model, lambda: model(torch.zeros(1, pixels, side, side), torch.zeros(1).long(), context))


def lucidrains(profile_name: str, digits: Digits, batch: int) -> tuple[Step, Probe]:
    """denoising-diffusion-pytorch's conditional UNet of the nearest size, with its own loss and ema-pytorch's EMA."""
    from denoising_diffusion_pytorch.classifier_free_guidance import GaussianDiffusion, Unet
    from ema_pytorch import EMA

    config = PROFILES[profile_name].unet
    pixels, side = config.patch_size**2, 28 // config.patch_size
    model = Unet(config.width, 10, cond_drop_prob=0.0, dim_mults=config.multipliers, channels=pixels)
    diffusion = GaussianDiffusion(model, image_size=side, timesteps=1000)
    average = EMA(diffusion, beta=0.999, update_every=1)
    optimizer = torch.optim.AdamW(diffusion.parameters(), 2e-4)

    def step() -> None:
        x, label = digits[torch.randint(0, len(digits), (batch,))]
        x = torch.nn.functional.pixel_unshuffle(x, config.patch_size)
        update(diffusion((x + 1) / 2, classes=label), model, optimizer)
        average.update()

    label = torch.zeros(1).long()
    return step, (model, lambda: model(torch.zeros(1, pixels, side, side), torch.zeros(1).long(), classes=label))


def update(loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Backward, clip, step: the same for both libraries."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()


def main() -> None:
    name, profile, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    torch.manual_seed(0)
    make = {"ours": ours, "plain": plain, "diffusers": diffusers, "denoising-diffusion-pytorch": lucidrains}[name]
    step, (model, forward) = make(profile, load_digits("train").take(4096), batch)
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        print(time.perf_counter() - start, flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB; ru_maxrss counts KiB on Linux
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        forward()
    parameters = sum(p.numel() for p in model.parameters())
    print(json.dumps({"parameters": parameters, "flops": counter.get_total_flops(), "peak": peak}), flush=True)


if __name__ == "__main__":
    main()
