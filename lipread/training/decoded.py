"""Clips -> their decoded crops and sound, each decoded once and kept in memory that worker processes share.

Shapes: T frames, S = 96 pixels, N = 640 T samples.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lipread.prepared import read_sound, whole_crops
from lipread.training.clips import Clip
from lipread.values import CROP_SIDE_PX, SAMPLES_PER_FRAME, Array

MOST_BYTES = 16_000_000_000  # of all that is kept
MEMORY_SHARE = 1 / 3  # ... and of the machine's memory
ALIGNED_BYTES = 64


class _Slot(NamedTuple):
    number: int
    start: int  # in the memory, bytes


class Decoded:
    """Processes that are forked after it was made share what any of them has decoded.

    Memory is taken as clips are decoded, not before. Clips beyond `limit_bytes` are decoded each time.

    Args:
        clips: that may be asked for.
        sound: whether their sound will be.
        limit_bytes: None: a share of the machine's memory.
    """

    def __init__(self, clips: Sequence[Clip], *, sound: bool, limit_bytes: int | None = None) -> None:
        limit = _limit_bytes() if limit_bytes is None else limit_bytes
        self._slots: dict[Path, _Slot] = {}
        used = 0
        for clip in clips:
            parts = [(clip.crops_path, clip.frames * CROP_SIDE_PX**2)]
            if sound:
                parts.append((clip.sound_path, clip.frames * SAMPLES_PER_FRAME * np.float32().nbytes))
            for path, size in parts:
                if path and path not in self._slots and used + size <= limit:
                    self._slots[path] = _Slot(len(self._slots), used)
                    used += -(-size // ALIGNED_BYTES) * ALIGNED_BYTES
        self._memory = mmap.mmap(-1, max(1, used))
        self._done = np.frombuffer(mmap.mmap(-1, max(1, len(self._slots))), bool)

    @property
    def kept(self) -> int:
        """How many crops and sounds are there."""
        return int(self._done[: len(self._slots)].sum())

    def crops(self, clip: Clip) -> Array:
        """Crops of a clip, uint8 (T, S, S), not to be written to. Raises: DataError: absent, damaged or too short."""
        assert clip.crops_path is not None
        shape = (clip.frames, CROP_SIDE_PX, CROP_SIDE_PX)
        return self._get(clip.crops_path, np.dtype(np.uint8), shape, lambda path: whole_crops(path, clip.frames))

    def sound(self, clip: Clip) -> Array:
        """Sound of a clip, float32 (N,), not to be written to. Raises: DataError: absent or damaged."""
        assert clip.sound_path is not None
        shape = (clip.frames * SAMPLES_PER_FRAME,)
        return self._get(clip.sound_path, np.dtype(np.float32), shape, lambda path: read_sound(path, clip.frames))

    def _get(self, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...], read: Callable[[Path], Array]) -> Array:
        slot = self._slots.get(path)
        if slot is None:
            return read(path)
        count = int(np.prod(shape))
        place: Array = np.frombuffer(self._memory, dtype, count, slot.start).reshape(shape)
        if not self._done[slot.number]:  # two processes may both decode it: they write the same
            place[:] = read(path)
            self._done[slot.number] = True
        place.flags.writeable = False
        return place


def _limit_bytes() -> int:
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return MOST_BYTES // 4
    return min(MOST_BYTES, int(memory * MEMORY_SHARE))
