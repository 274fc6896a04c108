"""Prepared folders for tests: made-up mouths that open and close, in the format that `lipread prepare` writes.

Shapes: T frames, S = 96 pixels, P = 9 lip points.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lipread.mouth import write_crops_mp4
from lipread.values import FRAME_RATE_HZ, Array

VOCABULARY = {"bin": 0.2, "blue": 0.5, "three": 0.35, "soon": 0.8, "no": 0.65, "ah": 1.0}  # word -> how far it opens
MANIFEST = "clip\tspeaker\tsplit\tsource\tstreams\tframes\ttext\n"
WORDS = "clip\tstart_s\tend_s\tword\n"
SILENCE = 8  # frames before and after a sentence
GAP = 2  # ... between words
WORD = 6  # ... of a word


@dataclass(frozen=True)
class Spoken:
    """A made-up clip: crops (T, S, S) uint8, points (T, P, 2), word times in seconds with their silences."""

    crops: Array
    points: Array
    times: tuple[tuple[float, float, str], ...]
    text: str


def speak(words: list[str], *, seed: int = 0, silence: int = SILENCE, gap: int = GAP) -> Spoken:
    """A mouth that opens once in each word, as far as the word says."""
    opening: list[float] = []
    times = []

    def stretch(frames: int, word: str, size: float) -> None:
        start = len(opening)
        opening.extend(size * np.sin(np.pi * (k + 1) / (frames + 1)) for k in range(frames))
        if frames:
            times.append((start / FRAME_RATE_HZ, len(opening) / FRAME_RATE_HZ, word))

    stretch(silence, "sil", 0.0)
    for number, word in enumerate(words):
        stretch(gap if number else 0, "sp", 0.0)
        stretch(WORD, word, VOCABULARY[word])
    stretch(silence, "sil", 0.0)
    rng = np.random.default_rng(seed)
    skin = int(rng.integers(110, 190))
    crops = np.stack([_mouth(size, skin) for size in opening])
    points = np.stack([_lips(size) for size in opening]) + rng.normal(0, 0.002, (len(opening), 9, 2))
    return Spoken(crops, points.astype(np.float32), tuple(times), " ".join(words))


def prepare(
    folder: Path, *, speakers: tuple[str, ...] = ("anna", "ben"), clips: int = 2, points_only: int = 1,
    splits: tuple[str, ...] = ("train", "val"), source: str = "real", words: int = 3, seed: int = 0,
) -> Path:
    """Write a prepared folder.

    Args:
        clips: clips with crops and points of each speaker and split.
        points_only: clips of each speaker in `train` with points alone and no silences.
        source: of the clips with crops.
        words: words in each sentence.
    """
    rng = np.random.default_rng(seed)
    for name in ("crops", "points"):
        (folder / name).mkdir(parents=True)
    manifest, word_times = [MANIFEST], [WORDS]

    def add(name: str, speaker: str, split: str, kind: str) -> None:
        said = [str(word) for word in rng.choice(list(VOCABULARY), words)]
        spoken = speak(said, seed=len(manifest), **({"silence": 0, "gap": 0} if kind == "points" else {}))
        np.save(folder / "points" / f"{name}.npy", spoken.points)
        if kind != "points":
            write_crops_mp4(folder / "crops" / f"{name}.mp4", spoken.crops)
        streams = "points" if kind == "points" else "crops,points"
        manifest.append(f"{name}\t{speaker}\t{split}\t{kind}\t{streams}\t{len(spoken.points)}\t{spoken.text}\n")
        word_times.extend(f"{name}\t{start:.3f}\t{end:.3f}\t{word}\n" for start, end, word in spoken.times)

    for speaker in speakers:
        for split in splits:
            for number in range(clips):
                add(f"{speaker}_{split}{number}", speaker, split, source)
        for number in range(points_only):
            add(f"{speaker}_points{number}", speaker, "train", "points")
    (folder / "manifest.tsv").write_text("".join(manifest), encoding="utf-8")
    (folder / "words.tsv").write_text("".join(word_times), encoding="utf-8")
    return folder


def _mouth(opening: float, skin: int) -> Array:
    """A crop (S, S): a dark ellipse, lips around it."""
    crop = np.full((96, 96), skin, np.uint8)
    cv2.ellipse(crop, (48, 48), (30, 8 + int(22 * opening)), 0, 0, 360, skin - 60, -1, cv2.LINE_AA)
    cv2.ellipse(crop, (48, 48), (22, 1 + int(18 * opening)), 0, 0, 360, 20, -1, cv2.LINE_AA)
    return crop


def _lips(opening: float) -> Array:
    """Lip points (P, 2) of that mouth in eye distances, in the order of values.LIP_POINTS."""
    gap = 0.25 * opening
    lips = [(-0.4, 1), (0.4, 1), (0, 1 - gap / 3), (0, 1 + gap), (0, 1.6 + gap)]
    sides = [(0.2, 1 - gap / 4), (-0.2, 1 - gap / 4), (-0.2, 1 + 0.8 * gap), (0.2, 1 + 0.8 * gap)]
    return np.array(lips + sides, np.float32)
