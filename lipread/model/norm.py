"""Batch normalisation over real frames only, frozen or synchronised on demand.

Shapes: N frames (padding already taken out), C channels.
Source: Ioffe & Szegedy 2015, arXiv:1502.03167.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.Module):
    """Normalises channel 1 of (N, C) or (N, C, H, W).

    With several processes (`torch.distributed` initialised), training statistics are those of all processes' frames,
    on any device (torch's own SyncBatchNorm is for GPUs only); every process must then run the same layers, with no
    frames where it has none. `freeze_batchnorm(network)` stops statistics from moving.

    Args:
        channels: C.
        momentum: weight of a new batch in the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.momentum, self.eps = momentum, eps
        self.frozen = False

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        training = self.training and not self.frozen
        if training and several_processes():
            return self._synchronised(x)
        if training and x.numel() // x.shape[1] < 2:
            training = False  # one value has no variance
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training, self.momentum, self.eps
        )

    def _synchronised(self, x: Tensor) -> Tensor:
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        count = torch.full((1,), x.numel() // x.shape[1], dtype=wide.dtype, device=x.device)
        sums = torch.cat([wide.sum(axes), (wide * wide).sum(axes), count])
        sums = dist_nn.all_reduce(sums)  # type: ignore[no-untyped-call]
        total = sums[-1].clamp_min(1)
        mean, square = (sums[:-1] / total).chunk(2)
        variance = (square - mean * mean).clamp_min(0)
        with torch.no_grad():
            momentum = self.momentum * (sums[-1] > 0).to(sums.dtype)  # no frames anywhere: nothing was learned
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (total / (total - 1).clamp_min(1)), momentum)
        scale = self.weight / torch.sqrt(variance + self.eps)
        out: Tensor = wide * scale.view(shape) + (self.bias - mean * scale).view(shape)
        return out.to(x.dtype)


def several_processes() -> bool:
    """Whether this training runs in more than one process."""
    return dist.is_initialized() and dist.get_world_size() > 1


def freeze_batchnorm(network: nn.Module, frozen: bool = True) -> None:
    """Stop (or let go) the statistics of every BatchNorm in a network; weights and biases still learn."""
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.frozen = frozen


def freeze_kept_batchnorm(network: nn.Module) -> None:
    """Stop the statistics of every BatchNorm whose weights do not learn."""
    for module in network.modules():
        if isinstance(module, BatchNorm) and not module.weight.requires_grad:
            module.frozen = True
