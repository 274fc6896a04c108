"""Lips and sound -> how well they go together, at every offset between them.

Shapes: B clips, T frames, D features, K = 2 REACH_FRAMES + 1 offsets.
Source: Chung & Zisserman 2016, "Out of time" (embeddings of both that are near where they belong together).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REACH_FRAMES = 15  # offsets of up to 0.6 s either way
HIDDEN, WIDTH = 48, 32


class Agreement(nn.Module):
    """Brings both to a common space, in which frames that belong together point the same way."""

    def __init__(self, lips_width: int, sound_width: int) -> None:
        super().__init__()
        self.lips, self.sound = (
            nn.Sequential(nn.Linear(width, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, WIDTH))
            for width in (lips_width, sound_width)
        )
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, lips: Tensor, sound: Tensor, valid: Tensor) -> Tensor:
        """Score every offset.

        Args:
            lips, sound: features, (B, T, D) each, their widths differ.
            valid: frames in which both are there, bool (B, T).
        Returns: a score for each offset in frames, from -REACH_FRAMES (the sound is early by so many) to REACH_FRAMES
            (late), (B, K); softmax gives probabilities. Scores grow with the number of frames, and scores of several
            stretches of one file add up.
        """
        mask = valid[..., None]
        lips = F.normalize(self.lips(lips).float(), dim=-1) * mask  # (B, T, 32)
        sound = F.pad(F.normalize(self.sound(sound).float(), dim=-1) * mask, (0, 0, REACH_FRAMES, REACH_FRAMES))
        there = F.pad(valid, (REACH_FRAMES, REACH_FRAMES))
        frames, scores = valid.shape[1], []
        for shift in range(2 * REACH_FRAMES + 1):
            both = valid & there[:, shift : shift + frames]
            likeness = (lips * sound[:, shift : shift + frames]).sum((1, 2)) / both.sum(1).clamp_min(1)
            scores.append(likeness * valid.sum(1))  # as if all frames had met one another
        return self.scale * torch.stack(scores, dim=1)
