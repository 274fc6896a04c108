"""The frames of every clip divided over processes: context parallelism, to train on clips too long for one of them.

Each of the P processes of a context has the same clips. Its pixel front-end looks at its part of the frames only, and
its encoder works on its part of the positions; keys and values of all parts are gathered on the way forward, and their
gradients summed and scattered on the way back. All else is small, and every process does the whole of it.

So each process has a copy of the losses. As steps follow the sum of all processes' gradients over the number of all
their clips (`training.distributed`), the copies count as one.

Shapes: P processes, K frames of one part, n = of all parts.
Source: Dubey et al. 2024, arXiv:2407.21783, section 3.3.2, for gathering keys and values instead of passing them round.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Context:
    """The processes that share the frames of their clips.

    Attributes:
        group: of `torch.distributed`.
        rank: number of this process among them.
        size: P.
    """

    group: dist.ProcessGroup
    rank: int
    size: int

    def own(self, whole: Tensor, dim: int) -> Tensor:
        """This process's part of n entries: ceil(n / P) of them, in the last processes fewer or none."""
        count = whole.shape[dim]
        share = -(-count // self.size)
        first = min(self.rank * share, count)
        return whole.narrow(dim, first, min(share, count - first))

    def gathered(self, part: Tensor, dim: int, count: int) -> Tensor:
        """The parts of all processes, put together to n = `count` entries."""
        lacking = -(-count // self.size) - part.shape[dim]
        if lacking:
            part = torch.cat([part, part.new_zeros(*part.shape[:dim], lacking, *part.shape[dim + 1 :])], dim)
        whole: Tensor = _Gathered.apply(part, self.group, self.size, dim)  # type: ignore[no-untyped-call]
        return whole.narrow(dim, 0, count)

    @contextlib.contextmanager
    def own_dropout(self, device: torch.device) -> Iterator[None]:
        """Within it, each process draws random numbers of its own; after it, all draw the same again."""
        seed = int(torch.randint(2**31, ()))
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed + self.rank)
            yield


class _Gathered(torch.autograd.Function):
    """Equal parts (..., K, ...) -> (..., P K, ...) in the order of the processes."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: dist.ProcessGroup, size: int, dim: int) -> Tensor:
        ctx.group, ctx.size, ctx.dim = group, size, dim
        first = part.movedim(dim, 0).contiguous()
        whole = first.new_empty(size * len(first), *first.shape[1:])
        dist.all_gather_into_tensor(whole, first, group=group)
        return whole.movedim(0, dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        first = gradients[0].movedim(ctx.dim, 0).contiguous()
        part = first.new_empty(len(first) // ctx.size, *first.shape[1:])
        dist.reduce_scatter_tensor(part, first, group=ctx.group)
        return part.movedim(0, ctx.dim), None, None, None
