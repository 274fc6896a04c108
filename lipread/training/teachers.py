"""Losses that only help to learn: the word of each frame, and the lips' shape from the pixels.

Shapes: B clips, T frames, N real frames, D features, P lip points.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.model.geometry_frontend import geometry_features
from lipread.model.masks import valid_frames
from lipread.model.temporal import spread


class FrameWords(nn.Module):
    """Names the word of each frame, from the joined streams and from the encoder's last layer; only in training."""

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.early, self.late = nn.Linear(width, words + 1), nn.Linear(width, words + 1)

    def forward(self, states: list[Tensor], labels: Tensor) -> Tensor:
        """Hidden states (B, 1 + T, D), word numbers (B, T), -100 not counted -> mean cross-entropy of a clip (B,)."""
        count = (labels >= 0).sum(1).clamp_min(1)
        total = torch.zeros(len(labels), device=labels.device)
        for head, state in ((self.early, states[0]), (self.late, states[-1])):
            logits = head(state[:, 1:]).float().transpose(1, 2)  # (B, words, T)
            total = total + F.cross_entropy(logits, labels, ignore_index=-100, reduction="none").sum(1) / count
        return total / 2


class LipShape(nn.Module):
    """Tells the lip points' displacements and velocities from the pixel front-end's features; only in training.

    It shows the pixel front-end at once what the lips do, in every person, before it knows a word.
    """

    def __init__(self, width: int, points: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 4 * points)

    def forward(self, features: Tensor, points: Tensor, lengths: Tensor) -> Tensor:
        """Features of real frames (N, D), points (B, T, P, 2) and lengths (B,) -> mean smooth L1 error of a clip (B,).

        Frames without a face do not count.
        """
        valid = valid_frames(lengths, points.shape[1])
        target = geometry_features(points, valid)  # (B, T, 4 P + 1), whether a face was there last
        told = spread(self.linear(features).float(), valid)
        error = F.smooth_l1_loss(told, target[..., :-1].float(), reduction="none").mean(-1)  # (B, T)
        seen = target[..., -1].float()
        return (error * seen).sum(1) / seen.sum(1).clamp_min(1)


@contextmanager
def captured_output(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what a module gives out while the block runs."""
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        outputs.append(output)

    handle = module.register_forward_hook(keep)
    try:
        yield outputs
    finally:
        handle.remove()
