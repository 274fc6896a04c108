"""How often the offset between lips and sound is found: clips whose sound is moved by known amounts.

Run: python tools/shifted.py MANIFEST [--split test] [--model small]. Each clip is read with its sound late and early by
several amounts, and with the sound of another clip; prints how often the offset is right within a frame, and how often
its own sound is taken for its own and a foreign one for foreign.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

from lipread.errors import NoSoundError
from lipread.evaluate import EvalClip, mouth_track
from lipread.hearing import LEAST_FIT, SoundStream
from lipread.in_noise import sound_of
from lipread.pipeline import LipReader
from lipread.sync import sync_of_looks
from lipread.turns import looks_at
from lipread.values import FRAME_RATE_HZ, SAMPLES_PER_FRAME, Array, MouthTrack
from measuring import measured

SHIFTS = (-12, -7, -3, 0, 2, 5, 9, 12)  # frames


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the shares -> exit code."""
    return measured(measure, __doc__, arguments)


def measure(reader: LipReader, clips: list[EvalClip], _: argparse.Namespace) -> None:
    """Print how often offsets, own and foreign sound are told."""
    tracks, sounds = [mouth_track(clip) for clip in clips], [sound_of(clip) for clip in clips]
    near, own = [], []
    for track, sound in zip(tracks, sounds, strict=True):
        for shift in SHIFTS:
            found, fit = offset_of(reader, track, moved(sound, shift * SAMPLES_PER_FRAME))
            near.append(abs(found - shift) <= 1)
            own.append(fit)
    foreign = [offset_of(reader, track, sound)[1] for track, sound in zip(tracks, sounds[1:], strict=False)]
    print(f"{len(clips)} clips, {len(SHIFTS)} shifts of {min(SHIFTS)} to {max(SHIFTS)} frames:")
    print(f"offset right within a frame: {np.mean(near):.1%}")
    print(f"fit of its own sound: {spread(own)}; {np.mean(np.array(own) >= LEAST_FIT):.1%} at {LEAST_FIT} or more")
    if foreign:  # of two clips or more
        print(f"fit of another's:     {spread(foreign)}; {np.mean(np.array(foreign) < LEAST_FIT):.1%} below that")


def offset_of(reader: LipReader, track: MouthTrack, sound: Array) -> tuple[int, float]:
    """How late the sound is, frames, and its fit; far off where nothing is known."""
    try:
        found = sync_of_looks(reader, looks_at(track), SoundStream([sound]))
    except NoSoundError:
        found = None
    return (99, 0.0) if found is None else (round(found.late_s * FRAME_RATE_HZ), found.fit)


def moved(sound: Array, late: int) -> Array:
    """Sound that comes so many samples later, silence in the gap, (N,)."""
    gap = np.zeros(abs(late), np.float32)
    if late >= 0:
        return np.concatenate([gap, sound[: len(sound) - late]])
    return np.concatenate([sound[-late:], gap])


def spread(fits: Sequence[float]) -> str:
    """Lowest, some quantiles, highest."""
    return " ".join(f"{value:.2f}" for value in np.quantile(fits, [0, 0.05, 0.5, 0.95, 1]))


if __name__ == "__main__":
    sys.exit(main())
