"""Examples -> padded batches.

Shapes: B clips, T frames, S pixels, P lip points, N = 640 T samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lipread.training.pixels import Change, RawPixels, shown
from lipread.values import SAMPLES_PER_FRAME, Array

UNSAID = ""  # the text of a WordSpan that holds a part of a word only, so that its word is not in the sentence


class WordSpan(NamedTuple):
    """A word and its frames, start included, end not."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Example:
    """One clip on its way into a batch; `crops` is None where pixels are not used."""

    name: str
    text: str
    crops: Array | None  # (T, S, S) uint8
    points: Array  # (T, P, 2) float32, NaN where no face
    words: tuple[WordSpan, ...]
    use_points: bool = True
    targets: tuple[int, ...] = ()
    shape: Array | None = None  # (T, P, 2) points as the pixels show them, for their teacher; None: as `points`
    frame_labels: Array | None = None  # (T,) word numbers, 0 silence, -100 not counted
    pair: int | None = None  # number of a pair of views of one sentence, of equal length
    sound: Array | None = None  # (N,) float32 at 16 kHz; None where sound is not used
    change: Change | None = None  # what is still to happen to the crops, which are then larger and of other frames

    def with_targets(self, targets: Sequence[int], frame_labels: Array) -> Example:
        """The same with what is to be learned."""
        return replace(self, targets=tuple(targets), frame_labels=frame_labels)


@dataclass(frozen=True)
class Batch:
    """Padded tensors that travel with their lengths."""

    names: tuple[str, ...]
    texts: tuple[str, ...]
    crops: Tensor | None  # uint8 (B, T, S, S); None where no clip has pixels
    points: Tensor  # float32 (B, T, P, 2)
    shape: Tensor  # float32 (B, T, P, 2), lip points as the pixels show them
    lengths: Tensor  # (B,)
    use_pixels: Tensor  # bool (B,)
    use_points: Tensor  # bool (B,)
    targets: Tensor  # (sum of target_lengths,)
    target_lengths: Tensor  # (B,)
    frame_labels: Tensor  # (B, T)
    twin: Tensor  # (B,) row of the other view of the same sentence; its own row where there is none
    sound: Tensor | None  # float32 (B, N); None where no clip has sound
    use_sound: Tensor  # bool (B,)
    raw: RawPixels | None = None  # crops that are still to be changed, in place of `crops`

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same in memory that a GPU can fetch from by itself; the loader calls this."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        changed: dict[str, Any] = {
            field.name: change(value)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **changed, raw=self.raw and self.raw.each(change))

    @property
    def streams(self) -> dict[str, Any]:
        """The arguments of a network that reads it."""
        names = ("crops", "points", "lengths", "sound", "use_pixels", "use_points", "use_sound")
        return {name: getattr(self, name) for name in names}

    def shown(self, side_px: int) -> Batch:
        """The same with the changes of its pixels done, on the device where it is."""
        if self.raw is None:
            return self
        frames = shown(self.raw, side_px)  # (M, S, S)
        crops = frames.new_zeros(len(self.lengths), self.points.shape[1], side_px, side_px)
        crops[self.raw.rows[self.raw.owner], self.raw.time] = frames
        return replace(self, crops=crops, raw=None)

    def padded(self, multiple: int, most: int) -> Batch:
        """The same with frames up to a multiple of so many, or as many as a network can read at most."""
        frames = self.points.shape[1]
        more = min(frames + -frames % multiple, max(frames, most)) - frames
        behind = (0, 0, 0, 0, 0, more)
        return replace(
            self,
            crops=None if self.crops is None else F.pad(self.crops, behind),
            points=F.pad(self.points, behind, value=math.nan),
            shape=F.pad(self.shape, behind, value=math.nan),
            frame_labels=F.pad(self.frame_labels, (0, more), value=-100),
            sound=None if self.sound is None else F.pad(self.sound, (0, more * SAMPLES_PER_FRAME)),
        )


def collate(examples: Sequence[Example], side_px: int) -> Batch:
    """Pad examples to the longest."""
    lengths = [len(example.points) for example in examples]
    frames = max(lengths, default=0)
    points = np.full((len(examples), frames, *examples[0].points.shape[1:]), np.nan, np.float32)
    shape = points.copy()
    labels = np.full((len(examples), frames), -100, np.int64)
    has_pixels = [example.crops is not None for example in examples]
    later = [row for row, example in enumerate(examples) if example.crops is not None and example.change is not None]
    crops = None
    if any(has_pixels) and not later:
        crops = np.zeros((len(examples), frames, side_px, side_px), np.uint8)
    has_sound = [example.sound is not None for example in examples]
    sound = np.zeros((len(examples), frames * SAMPLES_PER_FRAME), np.float32) if any(has_sound) else None
    for row, example in enumerate(examples):
        if sound is not None and example.sound is not None:
            sound[row, : len(example.sound)] = example.sound
        points[row, : lengths[row]] = example.points
        shape[row, : lengths[row]] = example.points if example.shape is None else example.shape
        if example.frame_labels is not None:
            labels[row, : lengths[row]] = example.frame_labels
        if crops is not None and example.crops is not None:
            crops[row, : lengths[row]] = example.crops
    return Batch(
        names=tuple(example.name for example in examples),
        texts=tuple(example.text for example in examples),
        crops=None if crops is None else torch.from_numpy(crops),
        points=torch.from_numpy(points),
        shape=torch.from_numpy(shape),
        lengths=torch.tensor(lengths),
        use_pixels=torch.tensor(has_pixels),
        use_points=torch.tensor([example.use_points for example in examples]),
        targets=torch.tensor([symbol for example in examples for symbol in example.targets], dtype=torch.long),
        target_lengths=torch.tensor([len(example.targets) for example in examples]),
        frame_labels=torch.from_numpy(labels),
        twin=torch.tensor(_twins([example.pair for example in examples])),
        sound=None if sound is None else torch.from_numpy(sound),
        use_sound=torch.tensor(has_sound),
        raw=_raw([examples[row] for row in later], later) if later else None,
    )


def _raw(examples: Sequence[Example], rows: Sequence[int]) -> RawPixels:
    crops = [example.crops for example in examples if example.crops is not None]
    return RawPixels.of(crops, [example.change for example in examples if example.change is not None], rows)


def _twins(pairs: Sequence[int | None]) -> list[int]:
    """Number of each row's pair, None without one -> the row of its other view, its own where there is none."""
    twin = list(range(len(pairs)))
    first: dict[int, int] = {}
    for row, pair in enumerate(pairs):
        if pair is not None and pair in first:
            twin[row], twin[first[pair]] = first[pair], row
        elif pair is not None:
            first[pair] = row
    return twin
