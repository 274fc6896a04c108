"""Convolutions over time that padding cannot reach.

Shapes: B clips, T frames, N real frames, D features.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lipread.model.masks import Frames
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

    def forward(self, x: Tensor, real: Frames) -> Tensor:
        """(B, T, D) -> (B, T, D); padding is neither read nor changed."""
        y = self.conv((x * real.valid[..., None]).transpose(1, 2)).transpose(1, 2)  # (B, T, D)
        y = self.dropout(F.gelu(self.norm(real.take(y))))  # (N, D)
        return x + real.spread(y)


class LessClipMean(nn.Module):
    """Takes the mean over a clip out of its features: what stays the same is the person and the light."""

    def forward(self, features: Tensor, real: Frames) -> Tensor:
        """Features of the real frames in order (N, D) -> the same shape."""
        counts = real.valid.sum(1).clamp_min(1)[:, None]
        means = real.spread(features.float()).sum(1) / counts  # (B, D)
        return features - means.to(features.dtype).index_select(0, real.clip)
