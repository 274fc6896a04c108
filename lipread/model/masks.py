"""Lengths -> masks. Shapes: B clips, T frames."""

from __future__ import annotations

import torch
from torch import Tensor


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """True for real frames, False for padding; (B,) -> (B, frames) bool."""
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]
