"""Convolutions over time that padding cannot reach.

Shapes: B clips, T frames, D features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.model.norm import BatchNorm


class TemporalConv(nn.Module):
    """Residual convolution over time: Conv1d -> BatchNorm -> GELU -> Dropout, added to its input.

    Args:
        width: D.
        kernel: frames that one output frame sees, odd.
    """

    def __init__(self, width: int, *, kernel: int = 5, dropout: float = 0.1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, bias=False)
        self.norm = BatchNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """(B, T, D), bool (B, T) -> (B, T, D); padding is neither read nor changed."""
        y = self.conv((x * valid[..., None]).transpose(1, 2)).transpose(1, 2)  # (B, T, D)
        y = self.dropout(F.gelu(self.norm(y[valid])))  # (N, D)
        return x + spread(y, valid)


class LessClipMean(nn.Module):
    """Takes the mean over a clip out of its features: what stays the same is the person and the light."""

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        """Features of the real frames in order (N, D), bool (B, T) -> the same shape."""
        counts = valid.sum(1)
        means = spread(features.float(), valid).sum(1) / counts.clamp_min(1)[:, None]  # (B, D)
        return features - means.to(features.dtype).repeat_interleave(counts, dim=0)


def spread(frames: Tensor, valid: Tensor) -> Tensor:
    """Put real frames (N, ...) back into their places, zeros elsewhere -> (B, T, ...)."""
    out = torch.zeros(*valid.shape, *frames.shape[1:], dtype=frames.dtype, device=frames.device)
    return out.masked_scatter(valid.view(*valid.shape, *[1] * (frames.dim() - 1)), frames)
