"""Several training processes that act as one (started by torchrun; one process needs nothing)."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


def join() -> tuple[int, int]:
    """Meet the other processes of torchrun, gloo on processors, NCCL on GPUs -> (rank, world size)."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def leave() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, in place."""
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(value)
    return value


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Add up gradients over all processes, so that every process steps as one process with the whole batch would.

    A parameter without a gradient here (its stream was absent) counts as zero.
    """
    if not (dist.is_initialized() and dist.get_world_size() > 1):
        return
    chosen = [p for p in parameters if p.requires_grad]
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
