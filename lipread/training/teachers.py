"""Losses that only help to learn: the word of each frame, the lips' shape from the pixels, two views that agree.

Shapes: B clips, T frames, N real frames, D features, P lip points, V symbols.
Source: Yao et al. 2024, arXiv:2410.05101 (consistency of CTC between two views).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.model.ctc import BLANK
from lipread.model.geometry_frontend import geometry_features
from lipread.model.masks import Frames, valid_frames
from lipread.model.temporal import TemporalConv

NEAR_FRAMES = 2  # word times are no more exact
ELSEWHERE_LOG_PROB = -30.0  # of a symbol outside its word: next to impossible, and finite where no other path fits


class FrameWords(nn.Module):
    """Names the word of each frame, from the joined streams and from the encoder's last layer; only in training."""

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.early, self.late = nn.Linear(width, words + 1), nn.Linear(width, words + 1)

    def forward(self, states: list[Tensor], labels: Tensor) -> Tensor:
        """Hidden states (B, 1 + T, D), word numbers (B, T), -100 not counted -> mean cross-entropy of a clip (B,)."""
        early, late = self.early(states[0][:, 1:]), self.late(states[-1][:, 1:])
        return (frame_cross_entropy(early, labels) + frame_cross_entropy(late, labels)) / 2


class PixelWords(nn.Module):
    """Names the word of each frame from the pixel front-end's features alone; only in training.

    Where both streams are there, the lip points explain so much that the words teach the pixels little; this does.
    """

    def __init__(self, features: int, width: int, words: int, *, layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.project = nn.Linear(features, width)
        self.layers = nn.ModuleList(TemporalConv(width, dropout=dropout) for _ in range(layers))
        self.linear = nn.Linear(width, words + 1)

    def forward(self, features: Tensor, real: Frames, labels: Tensor) -> Tensor:
        """Features of the real frames (N, D), word numbers (B, T) -> mean cross-entropy of a clip (B,)."""
        x = real.spread(self.project(features))
        for layer in self.layers:
            x = layer(x, real)
        return frame_cross_entropy(self.linear(x), labels)


def frame_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Logits (B, T, words), word numbers (B, T), -100 not counted -> mean over the words of a clip (B,).

    Every word counts the same, however short: by frames, silence and long words drown the letters.
    """
    losses = F.cross_entropy(logits.float().transpose(1, 2), labels, ignore_index=-100, reduction="none")
    share = 1 / (labels[:, :, None] == labels[:, None]).sum(2) * (labels >= 0)  # (B, T) of its word's frames
    return (losses * share).sum(1) / share.sum(1).clamp_min(1)


def kept_in_words(log_probs: Tensor, labels: Tensor, words: Tensor) -> Tensor:
    """Log-probabilities (B, T, V) for the CTC loss, whose paths then write each word where it is said.

    CTC alone does not care when a symbol comes: the first and last words of a clip drift to its first and last frame,
    and words that are hard to tell wait for what follows. A word's symbol may come `NEAR_FRAMES` early or late;
    symbols that spell words may come wherever any word is said.

    Args:
        log_probs: of the CTC head, (B, T, V).
        labels: word numbers, 0 silence, -100 not known, (B, T).
        words: the word that each symbol stands for, 0 for those that spell, (V,).
    """
    own = ((labels[..., None] == words) & (words > 0)).transpose(1, 2).to(log_probs.dtype)  # (B, V, T)
    near = F.max_pool1d(own, 2 * NEAR_FRAMES + 1, stride=1, padding=NEAR_FRAMES).transpose(1, 2) > 0
    known = (labels != -100)[..., None]
    allowed = near | ~known | ((labels > 0)[..., None] & (words == 0))
    allowed[..., BLANK] = True
    return log_probs.masked_fill(~allowed, ELSEWHERE_LOG_PROB)


def consistency_loss(log_probs: Tensor, lengths: Tensor, twin: Tensor) -> Tensor:
    """How far each clip's distributions are from those of its other view, which is not moved by this.

    Args:
        log_probs: (B, T, V).
        lengths: frames, (B,); the same for both views.
        twin: row of the other view, (B,); the clip's own row gives 0.
    Returns: Kullback-Leibler divergence, summed over frames, (B,).
    """
    return _divergence(log_probs.detach()[twin], log_probs, lengths)


def taught_loss(log_probs: Tensor, lengths: Tensor, taught: Sequence[Tensor]) -> Tensor:
    """How far each clip's distributions are from the mean of its teachers'.

    Args:
        log_probs: (B, T, V).
        lengths: frames, (B,).
        taught: log-probabilities of each teacher, (B, T, V).
    Returns: Kullback-Leibler divergence, summed over frames, (B,).
    """
    mean = torch.logsumexp(torch.stack(list(taught)), 0) - math.log(len(taught))
    return _divergence(mean, log_probs, lengths)


def _divergence(target: Tensor, log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Kullback-Leibler divergence of log-probabilities (B, T, V) from those aimed at, summed over real frames, (B,)."""
    divergence = (target.exp() * (target - log_probs)).sum(-1)  # (B, T)
    return (divergence * valid_frames(lengths, log_probs.shape[1])).sum(1)


class LipShape(nn.Module):
    """Tells the lip points' displacements and velocities from the pixel front-end's features; only in training.

    It shows the pixel front-end at once what the lips do, in every person, before it knows a word.
    """

    def __init__(self, width: int, points: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 4 * points)

    def forward(self, features: Tensor, real: Frames, points: Tensor) -> Tensor:
        """Features of the real frames (N, D), points (B, T, P, 2) -> mean smooth L1 error of a clip (B,).

        Frames without a face do not count.
        """
        target = geometry_features(points, real.valid)  # (B, T, 4 P + 1), whether a face was there last
        told = real.spread(self.linear(features).float())
        error = F.smooth_l1_loss(told, target[..., :-1].float(), reduction="none").mean(-1)  # (B, T)
        seen = target[..., -1].float()
        return (error * seen).sum(1) / seen.sum(1).clamp_min(1)


class Call(NamedTuple):
    """What a module was given, and gave."""

    inputs: tuple[Any, ...]
    output: Tensor


@contextmanager
def captured(module: nn.Module) -> Iterator[list[Call]]:
    """Collect a module's calls while the block runs."""
    calls: list[Call] = []

    def keep(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        calls.append(Call(inputs, output))

    handle = module.register_forward_hook(keep)
    try:
        yield calls
    finally:
        handle.remove()
