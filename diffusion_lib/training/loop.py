"""Training: Algorithm 1 in a loop, an average of the weights, and checkpoints that resume exactly.

Everything random in an epoch follows from (seed, epoch). So a checkpoint needs no generator state, and a run
that was killed continues bit for bit as the unbroken one would have.
"""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from diffusion_lib.data import Digits
from diffusion_lib.diffusion import LabelledModel
from diffusion_lib.fast import bfloat16, keep_memory
from diffusion_lib.profiles import Profile
from diffusion_lib.schedules import NoiseSchedule, make_schedule
from diffusion_lib.shapes import check_range
from diffusion_lib.training.checkpoints import CheckpointError, load_into, load_tensors, save_model, save_tensors
from diffusion_lib.training.history import History
from diffusion_lib.training.optimizers import make_optimizer, set_rate
from diffusion_lib.training.processes import Team, teamwork
from diffusion_lib.training.recipe import (
    TARGETS,
    TIMESTEP_SAMPLING,
    DrawT,
    Loss,
    drop_labels,
    drop_prompts,
    ema_update,
    held_out_loss,
    learning_rate,
    loss_of,
)
from diffusion_lib.training.resuming import difference, optimizer_states
from diffusion_lib.unet import UNet

LOG_EVERY = 50  # steps


def default_device() -> torch.device:
    """CUDA, then Apple's GPU, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def _on(device: torch.device, profile: Profile, train: Digits, test: Digits) -> tuple[Digits, Digits]:
    """Both splits on ``device``, the first one as long as the profile says; their labels must be classes."""
    for name, digits in (("a training label", train), ("a test label", test)):
        check_range(name, digits.labels.cpu(), profile.unet.num_classes)  # the next number is the null label
    return train.take(profile.train.max_images or len(train)).to(device), test.to(device)


class Trainer:
    """A network, its average and its optimiser; one method trains an epoch, two save and restore it all.

    What is trained is an argument: ``model``, by default the profile's UNet; ``loss``, called as ``ddpm_loss`` is, by
    default that of the profile's target and weights; ``draw_t``, by default the profile's timestep sampling.
    """

    def __init__(
        self,
        profile: Profile,
        train: Digits,
        test: Digits,
        device: torch.device,
        team: Team | None = None,
        *,
        model: nn.Module | None = None,
        loss: Loss | None = None,
        draw_t: DrawT | None = None,
    ) -> None:
        self.profile, self.config, self.device = profile, profile.train, device
        self.team = team or Team()
        self.team.check(self.config.batch_size)
        self.train_digits, self.test_digits = _on(device, profile, train, test)
        self.schedule = make_schedule(profile.schedule).to(device)
        self.loss = loss or loss_of(self.config)
        self.draw_t = draw_t or TIMESTEP_SAMPLING[self.config.timestep_sampling]
        self.null_label = profile.unet.num_classes
        torch.manual_seed(self.config.seed)
        # channels_last is the layout that convolutions want: 1.2 times faster on two CPU cores.
        self.model = (model or UNet(profile.unet)).to(device).to(memory_format=torch.channels_last)
        self.average = AveragedModel(self.model, multi_avg_fn=ema_update(self.config.ema_decay))
        self.average.eval()
        if device.type == "cpu":
            keep_memory()
        on_gpu = device.type == "cuda"
        self.optimizer = make_optimizer(self.model, self.config)
        shared = self.team.wrap(self.model)
        self.forward: Any = torch.compile(shared) if self.config.compile and on_gpu else shared
        self.autocast = bfloat16(device, wanted=self.config.bfloat16)
        self.steps_per_epoch = len(self.train_digits) // self.config.batch_size
        if self.steps_per_epoch == 0:
            raise ValueError(f"{len(self.train_digits)} images do not fill one batch of {self.config.batch_size}.")
        self.epoch = 0

    @property
    def ema(self) -> nn.Module:
        """The network with averaged weights, in eval mode: the one to sample from."""
        return cast(nn.Module, self.average.module)

    @property
    def eps_model(self) -> LabelledModel:
        """The same as a predictor of noise, whatever it is taught: what ``generate`` takes."""
        return TARGETS[self.config.target].eps_model(self.ema, self.schedule)

    def step(self, index: Tensor) -> Tensor:
        """One turn of Algorithm 1 on the images at ``index``; returns the loss.

        All that is random is drawn for the whole batch. Then each process of the team takes its share.
        """
        x_start, label = self.train_digits[index]
        drop = drop_labels if label.ndim == 1 else drop_prompts
        label = drop(label, self.null_label, self.config.label_dropout)
        t = self.draw_t(self.schedule, torch.rand(len(index), device=self.device))
        batch = (x_start, label, t, torch.randn_like(x_start))
        x_start, label, t, noise = (self.team.share(whole) for whole in batch)
        with self.autocast:
            loss = self.loss(self.forward, self.schedule, x_start, label, t=t, noise=noise)
        return self.update(loss)

    def update(self, loss: Tensor) -> Tensor:
        """Move weights and their average down the loss; returns it."""
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip)
        self.optimizer.step()
        self.average.update_parameters(self.model)
        return loss.detach()

    def run_epoch(self, history: History, bar: tqdm) -> None:
        """Every training image once, in an order drawn from (seed, epoch)."""
        self.epoch += 1
        torch.manual_seed(self.config.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.train_digits), device=self.device)
        batches = order[: self.steps_per_epoch * self.config.batch_size].split(self.config.batch_size)
        start, losses = time.perf_counter(), []
        self.model.train()
        for i, index in enumerate(batches, start=1):
            self.set_learning_rate((self.epoch - 1) * self.steps_per_epoch + i - 1)
            losses.append(self.step(index))
            bar.update()
            if i % LOG_EVERY == 0 or i == self.steps_per_epoch:
                self.report(losses[-LOG_EVERY:], i, time.perf_counter() - start, history, bar)
        self.close_epoch(losses, time.perf_counter() - start, history)

    def set_learning_rate(self, step: int) -> None:
        """The rate of this step, 0 ... total - 1, in the optimiser."""
        set_rate(self.optimizer, learning_rate(self.config, step, self.steps_per_epoch * self.config.epochs))

    def report(self, losses: list[Tensor], done: int, seconds: float, history: History, bar: tqdm) -> None:
        """Write the mean of the last losses into bar and history; stop a run that has diverged."""
        loss, step = self.team.mean(torch.stack(losses).mean()).item(), (self.epoch - 1) * self.steps_per_epoch + done
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss became {loss} in epoch {self.epoch}, step {step}. Lower the learning rate "
                f"(now {self.rates}) and start again."
            )
        speed = done * self.config.batch_size / seconds
        bar.set_postfix_str(f"epoch {self.epoch}, loss {loss:.4f}, {speed:,.0f} images/s")
        history.add("steps", {"epoch": self.epoch, "step": step, "loss": loss})

    @property
    def rates(self) -> str:
        """The learning rates of the profile, in words."""
        muon = self.config.muon_rate
        return f"{self.config.learning_rate:g}" + (f", muon_rate {muon:g}" if muon else "")

    def close_epoch(self, losses: list[Tensor], seconds: float, history: History) -> None:
        """Write what the epoch came to."""
        held_out = held_out_loss(self.ema, self.schedule, self.test_digits, draw_t=self.draw_t, loss=self.loss)
        record = {
            "epoch": self.epoch,
            "train_loss": self.team.mean(torch.stack(losses).mean()).item(),
            "held_out_loss": held_out,
            "seconds": seconds,
            "images_per_second": self.steps_per_epoch * self.config.batch_size / seconds,
        }
        history.add("epochs", record)

    def save(self, path: Path) -> None:
        """Everything that the next epoch depends on."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in state.items()}
        info = {"profile": self.profile.to_dict(), "epoch": self.epoch, "num_averaged": int(self.average.n_averaged)}
        save_tensors(path, tensors, info | {"data": self.train_digits.source, "images": self.train_digits.digest})

    def load(self, path: Path) -> None:
        """Restore what :meth:`save` wrote; network, schedule, training and data must be the same."""
        tensors, info = load_tensors(path)
        found = difference(self.profile, self.train_digits, info)
        if found:
            raise CheckpointError(
                f"{path} belongs to another run: {found}. Choose another folder, or delete this one to start afresh."
            )
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "ema": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
        load_into(self.model, parts["model"], path)
        load_into(self.ema, parts["ema"], path)
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        states, groups = optimizer_states(parts["optimizer"], weights), self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": states, "param_groups": groups})
        self.average.n_averaged.fill_(info["num_averaged"])
        self.epoch = info["epoch"]


@dataclass(frozen=True, eq=False)
class Trained:
    """What training leaves: the averaged network in eval mode, its schedule, and the history."""

    model: nn.Module  # a UNet, unless another was handed in
    schedule: NoiseSchedule
    history: History


def fit(
    profile: Profile,
    train: Digits,
    test: Digits,
    *,
    model: nn.Module | None = None,
    loss: Loss | None = None,
    draw_t: DrawT | None = None,
    run_dir: Path | str | None = None,
    device: torch.device | str | None = None,
    on_epoch: Callable[[Trainer], None] | None = None,
    progress: bool = True,
) -> Trained:
    """Train ``profile``'s network, or continue the run that ``run_dir`` holds.

    With a ``run_dir``: ``checkpoint.safetensors`` after each epoch, ``history.jsonl`` as it goes, and
    ``epoch_N.safetensors`` (the average alone) after the profile's snapshot epochs. Stopping it, by Ctrl-C
    or otherwise, loses at most the current epoch. ``on_epoch`` is called after each epoch. Started by
    ``torchrun``, several processes share each batch, and the first one writes. ``model``, ``loss`` and ``draw_t`` are
    those of :class:`Trainer`.
    """
    device = torch.device(device) if device else default_device()
    folder = Path(run_dir) if run_dir else None
    with teamwork(device) as team, _own_random_state(device):  # the team chooses the device whose state it is
        trainer = Trainer(profile, train, test, device, team, model=model, loss=loss, draw_t=draw_t)
        history = History()
        if folder:
            folder.mkdir(parents=True, exist_ok=True)
            history = History.read(folder / "history.jsonl")
            if (folder / "checkpoint.safetensors").exists():
                trainer.load(folder / "checkpoint.safetensors")
            team.wait()  # all have read before one writes
            history.path = history.path if team.is_main else None
            history.cut(trainer.epoch)
        if not team.is_main:
            folder = on_epoch = None
        _run(trainer, history, folder, on_epoch, progress and team.is_main)
    return Trained(trainer.ema.eval().requires_grad_(False), trainer.schedule, history)


def _own_random_state(device: torch.device) -> AbstractContextManager[None]:
    """The caller's random state, put back afterwards."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])


def _run(
    trainer: Trainer,
    history: History,
    folder: Path | None,
    on_epoch: Callable[[Trainer], None] | None,
    progress: bool,
) -> None:
    total = trainer.steps_per_epoch * trainer.config.epochs
    done = trainer.steps_per_epoch * trainer.epoch
    with tqdm(total=total, initial=done, disable=not progress, desc="training", unit="batch") as bar:
        while trainer.epoch < trainer.config.epochs:
            try:
                trainer.run_epoch(history, bar)
            except KeyboardInterrupt:
                kept = f"Epochs 1 to {trainer.epoch - 1} are saved in {folder}; run again to continue there."
                saved = folder and trainer.epoch > 1
                bar.write(f"Stopped in epoch {trainer.epoch}. {kept if saved else 'Nothing was saved yet.'}")
                raise
            if folder:
                trainer.save(folder / "checkpoint.safetensors")
                if trainer.epoch in trainer.config.snapshot_epochs:
                    path = folder / f"epoch_{trainer.epoch}.safetensors"
                    save_model(path, trainer.ema, trainer.profile, {"epoch": trainer.epoch})
            if on_epoch:
                on_epoch(trainer)
            trainer.team.wait()
