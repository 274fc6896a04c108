"""Several training processes that act as one (started by torchrun; one process needs nothing)."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lipread.errors import ConfigError


def join(device: torch.device) -> tuple[int, int, torch.device]:
    """Meet the other processes of torchrun, gloo on processors, NCCL on GPUs, of which each process has its own.

    Returns: rank, world size, and this process's device.
    Raises: ConfigError: several processes cannot train on such a device, or there are too few GPUs.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1 and not dist.is_initialized():
        if device.type == "cuda":
            device = _own_gpu(device)
        elif device.type != "cpu":
            raise ConfigError(f"several processes cannot train on device {str(device)!r}; add --device cpu")
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return (dist.get_rank(), dist.get_world_size(), device) if dist.is_initialized() else (0, 1, device)


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


def leave() -> None:
    """Part from the other processes, once all have come so far: what one of them wrote is there for all."""
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
