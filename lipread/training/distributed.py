"""Several training processes that act as one (started by torchrun; one process needs nothing)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lipread.errors import ConfigError
from lipread.model.context import Context


@dataclass(frozen=True)
class Place:
    """Where a process stands among all of a training.

    Attributes:
        rank, world_size: its number, and how many there are.
        device: its own.
        context: those that have the same clips and share their frames; None: it has clips of its own.
    """

    rank: int
    world_size: int
    device: torch.device
    context: Context | None = None

    @property
    def data_rank(self) -> int:
        """The number of its share of every batch; a context has one share together."""
        return self.rank // (self.context.size if self.context else 1)

    @property
    def data_size(self) -> int:
        """How many shares there are."""
        return self.world_size // (self.context.size if self.context else 1)


def join(device: torch.device, context_processes: int = 1) -> Place:
    """Meet the other processes of torchrun, gloo on processors, NCCL on GPUs, of which each process has its own.

    Args:
        device: as it was chosen.
        context_processes: so many neighbours share the frames of the same clips.
    Raises: ConfigError: several processes cannot train on such a device, there are too few GPUs, or the processes
        cannot be divided so.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1:
        if device.type == "cuda":
            device = _own_gpu(device)
        elif device.type != "cpu":
            raise ConfigError(f"several processes cannot train on device {str(device)!r}; add --device cpu")
        if not dist.is_initialized():  # the training before, another stage, has met them
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    rank, world_size = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    if world_size % context_processes:
        raise ConfigError(
            f"context_processes={context_processes} cannot share {world_size} process{'es' * (world_size > 1)}; start "
            f"{context_processes}, or a multiple of that: torchrun --nproc-per-node {context_processes} train.py .."
        )
    return Place(rank, world_size, device, _context(rank, world_size, context_processes))


def _context(rank: int, world_size: int, size: int) -> Context | None:
    """The neighbours of a process; each must call it."""
    groups = [dist.new_group(range(first, first + size)) for first in range(0, world_size, size)] if size > 1 else []
    return Context(groups[rank // size], rank % size, size) if groups else None


def _own_gpu(device: torch.device) -> torch.device:
    """The GPU with the number of this process on its machine. Raises: ConfigError."""
    number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if device.index is not None:
        raise ConfigError(f"several processes cannot share device {str(device)!r}; give cuda, so that each has its own")
    if number >= there:
        raise ConfigError(
            f"process {number + 1} of this machine has no GPU, there are {there}; start {there}, or add --device cpu"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def wait() -> None:
    """Go on once all processes have come so far: what one of them wrote is there for all."""
    if dist.is_initialized():
        dist.barrier()


def leave() -> None:
    """Part from the other processes at the program's end; they cannot meet a second time."""
    if dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(value)
    return value


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up gradients over all processes, so that every process steps as one process with the whole batch would.

    A parameter without a gradient here (its stream was absent) counts as zero; one without any anywhere keeps none, so
    that the optimizer leaves it alone.
    """
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return
    learning = [p for p in parameters if p.requires_grad]
    having = torch.tensor([float(p.grad is not None) for p in learning], device=learning[0].device)
    dist.all_reduce(having)
    chosen = [p for p, processes in zip(learning, having.tolist(), strict=True) if processes]
    for parameter in chosen:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.flatten() for p in chosen if p.grad is not None])
    dist.all_reduce(flat)
    place = 0
    for parameter in chosen:
        assert parameter.grad is not None
        parameter.grad.copy_(flat[place : place + parameter.numel()].view_as(parameter))
        place += parameter.numel()
