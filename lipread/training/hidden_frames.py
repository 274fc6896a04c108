"""Learning without words: frames are hidden, and what the lips do in them is told from what is around; and of clips
with another one's second half it is told that this does not follow.

What lips do is a number: the nearest of many typical shapes and motions of lip points, found by k-means.

Shapes: B clips, T frames, S pixels, P lip points, F = 4 P features, K clusters, D features of the encoder.
Source: Shi et al. 2022, arXiv:2201.02184 (AV-HuBERT: clusters of hidden frames; a span of 10 frames); Devlin et al.
2018, arXiv:1810.04805 (whether what follows belongs there, from the pooled [CLS]).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.errors import DataError
from lipread.model.geometry_frontend import geometry_features
from lipread.model.masks import valid_frames
from lipread.training.batches import Batch
from lipread.training.clips import Clip
from lipread.values import SAMPLES_PER_FRAME

SPAN_FRAMES = 10
SAMPLE_CLIPS = 2000  # that clusters are made of
ROUNDS = 30
UNKNOWN = -100


class HiddenFrames(nn.Module):
    """Names the cluster of each hidden frame from the encoder's last layer; only in training.

    Args:
        width: D.
        clusters: K.
        points: P.
        next_clip: whether it also tells if a clip's second half is its own.
    """

    centres: Tensor

    def __init__(self, width: int, clusters: int, points: int, *, next_clip: bool = False) -> None:
        super().__init__()
        self.register_buffer("centres", torch.zeros(clusters, 4 * points))
        self.linear = nn.Linear(width, clusters)
        if next_clip:
            self.follows = nn.Linear(width, 2)

    def forward(self, states: Tensor, targets: Tensor) -> Tensor:
        """Last hidden states (B, 1 + T, D), clusters (B, T), `UNKNOWN` not counted -> mean cross-entropy (B,)."""
        logits = self.linear(states[:, 1:]).float().transpose(1, 2)
        losses = F.cross_entropy(logits, targets, ignore_index=UNKNOWN, reduction="none")
        return losses.sum(1) / (targets != UNKNOWN).sum(1).clamp_min(1)

    def targets(self, batch: Batch, hidden: Tensor) -> Tensor:
        """The cluster of each hidden frame, bool (B, T), in which a face is seen; elsewhere `UNKNOWN`, (B, T)."""
        features = geometry_features(batch.shape, valid_frames(batch.lengths, hidden.shape[1]))
        seen = features[..., -1] > 0
        return torch.where(seen & hidden, nearest(features[..., :-1], self.centres), UNKNOWN)


    def next_clip_loss(self, pooled: Tensor, own: Tensor) -> Tensor:
        """Pooled [CLS] (B, D), whether the second half is the clip's own, (B,) -> cross-entropy (B,)."""
        return F.cross_entropy(self.follows(pooled).float(), own.long(), reduction="none")


def nearest(features: Tensor, centres: Tensor) -> Tensor:
    """Features (..., F), centres (K, F) -> number of the nearest centre, (...)."""
    with torch.autocast(features.device.type, enabled=False):
        apart = centres.square().sum(1) - 2 * features.float() @ centres.T  # less what all have in common
        return apart.argmin(-1)


def clusters_of(clips: Sequence[Clip], clusters: int, seed: int) -> Tensor:
    """Typical lip shapes and motions of clips, by k-means, (K, F). Raises: DataError: too few lip points."""
    rng = np.random.default_rng(seed)
    with_points = [clip for clip in clips if np.isfinite(clip.points).any()]
    chosen = [with_points[place] for place in rng.permutation(len(with_points))[:SAMPLE_CLIPS]]
    found = []
    for clip in chosen:
        features = geometry_features(torch.from_numpy(clip.points)[None], torch.ones(1, clip.frames, dtype=torch.bool))
        found.append(features[0, features[0, :, -1] > 0, :-1])
    frames = torch.cat(found) if found else torch.zeros(0, 0)
    if len(frames) < clusters:
        raise DataError(
            f"{len(frames)} frames with lip points make no {clusters} clusters; lower clusters={clusters}, or add clips"
        )
    return k_means(frames, clusters, torch.Generator().manual_seed(seed))


def k_means(frames: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """Lloyd's algorithm from frames (N, F) drawn at random -> centres (K, F); one that nothing is near to stays."""
    centres = frames[torch.randperm(len(frames), generator=generator)[:clusters]].clone()
    for _ in range(ROUNDS):
        number = nearest(frames, centres)
        counts = torch.bincount(number, minlength=clusters)
        sums = torch.zeros_like(centres).index_add_(0, number, frames)
        centres = torch.where((counts > 0)[:, None], sums / counts.clamp_min(1)[:, None], centres)
    return centres


def spans(lengths: Tensor, frames: int, share: float) -> Tensor:
    """Spans of `SPAN_FRAMES`, that begin anywhere, and may overlap -> which frames they cover, bool (B, T)."""
    begins = torch.rand(len(lengths), 1, frames + SPAN_FRAMES - 1, device=lengths.device)
    begins = (begins < 1 - (1 - share) ** (1 / SPAN_FRAMES)).float()
    covered = F.max_pool1d(begins, SPAN_FRAMES, stride=1)[:, 0] > 0
    return covered & valid_frames(lengths, frames)


def hide(batch: Batch, hidden: Tensor) -> Batch:
    """The same without what is seen and heard in hidden frames, bool (B, T): grey, no face, silence."""
    crops, sound = batch.crops, batch.sound
    if crops is not None:
        real = valid_frames(batch.lengths, crops.shape[1])
        counts = real.sum(1).clamp_min(1)
        mean = (crops.float().mean(dim=(2, 3)) * real).sum(1) / counts
        crops = torch.where(hidden[..., None, None], mean.to(crops.dtype)[:, None, None, None], crops)
    if sound is not None:
        sound = sound * ~hidden.repeat_interleave(SAMPLES_PER_FRAME, dim=1)
    points = torch.where(hidden[..., None, None], torch.nan, batch.points)
    return replace(batch, crops=crops, points=points, sound=sound)


def exchange_halves(batch: Batch) -> tuple[Batch, Tensor]:
    """Give half of the clips another one's second half: one that has the same streams, and keeps its own length.

    Returns: the clips, and which still have their own second half, bool (B,).
    """
    rows, partner = torch.arange(len(batch.names)), torch.arange(len(batch.names))
    kinds = (batch.use_pixels + 2 * batch.use_points + 4 * batch.use_sound).cpu()  # which streams are there
    for kind in set(kinds.tolist()):
        alike = rows[kinds == kind]
        alike = alike[torch.randperm(len(alike))]
        taking = alike[: (len(alike) + 1) // 2]
        partner[taking] = alike.roll(1)[: len(taking)]
    rows, partner = rows.to(batch.lengths.device), partner.to(batch.lengths.device)
    frames = batch.points.shape[1]
    cut, time = (batch.lengths // 2)[:, None], torch.arange(frames, device=rows.device)[None]  # (B, 1), (1, T)
    row = torch.where(time < cut, rows[:, None], partner[:, None])  # (B, T) where each frame is from
    place = torch.where(time < cut, time, (cut[partner] + time - cut).clamp_max(frames - 1))
    lengths = batch.lengths // 2 + (batch.lengths - batch.lengths // 2)[partner]
    real = valid_frames(lengths, frames)
    crops, sound = batch.crops, batch.sound
    if crops is not None:
        crops = crops[row, place] * real[..., None, None]
    if sound is not None:
        sound = (sound.view(len(rows), frames, SAMPLES_PER_FRAME)[row, place] * real[..., None]).flatten(1)
    points, shape = (
        torch.where(real[..., None, None], each[row, place], torch.nan) for each in (batch.points, batch.shape)
    )
    labels = torch.where(real, batch.frame_labels[row, place], UNKNOWN)
    changed = replace(
        batch, crops=crops, sound=sound, points=points, shape=shape, lengths=lengths, frame_labels=labels
    )
    return changed, partner == rows
