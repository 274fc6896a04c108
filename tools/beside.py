"""Whose lips are read where two people talk at once: pairs of clips side by side, with the sound of one of them.

Run: python tools/beside.py MANIFEST [--split test] [--model small] [--limit N]. Every clip stands beside another one of
the split, left and right in turns. Prints in how many frames the face is read that the sound belongs to, with that
sound and without any, and the word errors against what that person says.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from lipread.container import FilmPictures, written_film
from lipread.evaluate import EvalClip
from lipread.hearing import SoundStream
from lipread.in_noise import sound_of
from lipread.metrics import score
from lipread.pipeline import LipReader
from lipread.values import Array
from lipread.video import read_frames
from lipread.watch import Watch
from measuring import measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the shares -> exit code."""
    return measured(measure, __doc__, arguments)


def measure(reader: LipReader, clips: list[EvalClip], _: argparse.Namespace) -> None:
    """Print how often the right face is read, and what comes of it."""
    right: dict[str, list[float]] = {"with sound": [], "lips alone": []}
    texts: dict[str, list[str]] = {how: [] for how in right}
    with tempfile.TemporaryDirectory() as folder:
        for number, (clip, other) in enumerate(zip(clips, [*clips[1:], clips[0]], strict=True)):
            film, place = Path(folder) / "two.mp4", number % 2
            write_beside(film, *((clip, other) if place == 0 else (other, clip)))
            sound = sound_of(clip)
            for how in right:
                heard = SoundStream([sound]) if how == "with sound" else None
                right[how].append(share_of(reader, film, place, heard))
                modality = "auto" if heard else "video"
                texts[how].append(reader.transcribe(film, modality=modality, sound=heard and SoundStream([sound])).text)
    print(f"{len(clips)} clips, each beside another:")
    for how, shares in right.items():
        wer = score([clip.text for clip in clips], texts[how]).wer
        print(
            f"{how}: the right face in {np.mean(shares):.1%} of the frames, in most of them in "
            f"{np.mean(np.array(shares) > 0.5):.1%} of the pairs; {wer:.1%} word errors"
        )


def share_of(reader: LipReader, film: Path, place: int, sound: SoundStream | None) -> float:
    """Of the frames in which anyone is read, those in which the face number `place` from the left is."""
    watch = Watch(film, agreement=reader.agreement(sound))
    faces = [look.face for look in watch if look.moving]
    wanted = watch.ordered[place] if place < len(watch.ordered) else None
    return float(np.mean([face == wanted for face in faces])) if faces else 0.0


def write_beside(path: Path, left: EvalClip, right: EvalClip) -> None:
    """An mp4 of both, as long as the longer one, at 25 Hz without sound."""
    with written_film(path) as film:
        both = FilmPictures(film, crf=18)
        last: list[Array | None] = [None, None]
        for pair in itertools.zip_longest(pictures(left), pictures(right)):
            last = [new if new is not None else old for new, old in zip(pair, last, strict=True)]
            both.add(np.hstack([picture for picture in last if picture is not None]))
        both.end()


def pictures(clip: EvalClip) -> Iterator[Array]:
    """Of a clip, RGB uint8 (H, W, 3)."""
    with read_frames(clip.video) as frames:
        for frame in frames:
            yield frame.image


if __name__ == "__main__":
    sys.exit(main())
