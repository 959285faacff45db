"""Several processes that train one network, by torch's DistributedDataParallel.

    torchrun --nproc-per-node 2 -m diffusion_lib train --profile laptop

Every process draws all that is random for the whole batch, from the same seed, and works on its share. So several
follow the same loss curve as one, to rounding (Muon's steps are rounded to bfloat16), and any number of them may
continue a run.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Team:
    """This process among ``size`` of them; alone by default."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes and prints."""
        return self.rank == 0

    def check(self, batch_size: int) -> None:
        """Raise unless the batch can be shared out evenly, as the mean of the shares' losses demands."""
        if batch_size % self.size:
            raise ValueError(f"a batch of {batch_size} cannot be shared evenly by {self.size} processes.")

    def wrap(self, model: nn.Module) -> Any:
        """The model with its gradients averaged over all processes."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch."""
        return batch[self.rank :: self.size]

    def mean(self, value: Tensor) -> Tensor:
        """The mean of ``value`` over all processes."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value / self.size

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def teamwork(device: torch.device) -> Iterator[Team]:
    """The team that ``torchrun`` has started, while it works; a team of one without it."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
