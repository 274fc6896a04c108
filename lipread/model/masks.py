"""Lengths -> masks, and which frames of padded clips are real.

Shapes: B clips, T frames, N real frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def valid_frames(lengths: Tensor, frames: int) -> Tensor:
    """True for real frames, False for padding; (B,) -> (B, frames) bool."""
    return torch.arange(frames, device=lengths.device)[None, :] < lengths[:, None]


@dataclass(frozen=True)
class Frames:
    """Which frames of padded clips are real.

    Their places are found once, not in every layer: each search makes the processor wait for the GPU.

    Attributes:
        valid: bool (B, T).
        place: of each real frame among the B T, in order, (N,).
    """

    valid: Tensor
    place: Tensor

    @classmethod
    def of(cls, valid: Tensor) -> Frames:
        """Find the real frames of bool (B, T)."""
        return cls(valid, valid.flatten().nonzero()[:, 0])

    @property
    def time(self) -> Tensor:
        """The number of each real frame in its clip, (N,)."""
        return self.place % max(1, self.valid.shape[1])

    @property
    def clip(self) -> Tensor:
        """The clip of each real frame, (N,)."""
        return self.place // max(1, self.valid.shape[1])

    def finer(self, steps: int) -> Frames:
        """The same where each frame is so many steps, (B, steps T)."""
        inside = torch.arange(steps, device=self.place.device)
        return Frames(self.valid.repeat_interleave(steps, dim=1), (self.place[:, None] * steps + inside).flatten())

    def take(self, padded: Tensor) -> Tensor:
        """The real frames of padded ones, (B, T, ...) -> (N, ...)."""
        return padded.flatten(0, 1).index_select(0, self.place)

    def spread(self, frames: Tensor) -> Tensor:
        """Put real frames (N, ...) back into their places, zeros elsewhere -> (B, T, ...)."""
        out = frames.new_zeros(self.valid.numel(), *frames.shape[1:]).index_copy(0, self.place, frames)
        return out.view(*self.valid.shape, *frames.shape[1:])
