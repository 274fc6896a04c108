"""Clips -> new sentences: parts of sentences, words spliced from other clips of the speaker, real silences.

Shapes: T frames, S pixels, P lip points.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from lipread.config import TrainConfig
from lipread.training.batches import Example, WordSpan
from lipread.values import Array

if TYPE_CHECKING:
    from lipread.training.dataset import Clip

MARGIN_FRAMES = 8  # most silence or neighbouring speech kept beside a cut-out sentence part
SILENCE_FRAMES = (6, 24)  # put before and after sentences that have none
Piece = tuple["Clip", int, int]


class Composer:
    """Makes examples out of the clips of one corpus.

    Args:
        clips: all training clips.
        read: clip -> decoded crops.
    """

    def __init__(self, clips: list[Clip], read: Callable[[Clip], Array]) -> None:
        self._read = read
        self._words: dict[tuple[str, bool, int, int], list[tuple[Clip, int]]] = {}
        self._silences: list[Piece] = []
        for clip in clips:
            for place in range(len(clip.words)):
                self._words.setdefault(_slot(clip, place), []).append((clip, place))
            if clip.source == "real" and clip.words and np.isfinite(clip.points).all():
                for start, end in ((0, clip.words[0].start), (clip.words[-1].end, clip.frames)):
                    if end - start >= SILENCE_FRAMES[0]:
                        self._silences.append((clip, start, end))

    def example(self, clip: Clip, rng: np.random.Generator, config: TrainConfig, step: int) -> Example:
        """A clip as it is, cut down, or with words of other clips; decided at random."""
        augment = config.augment
        if not clip.words:
            return self._join([(clip, 0, clip.frames)], [], clip.name, clip.text, clip.source)
        first, last = 0, len(clip.words)
        growing = step < config.curriculum_steps
        if growing or rng.random() < augment.sub_sentence:
            most = max(1, round(len(clip.words) * (step + 1) / config.curriculum_steps)) if growing else len(clip.words)
            count = int(rng.integers(1, most + 1))
            first = int(rng.integers(0, len(clip.words) - count + 1))
            last = first + count
        swap = rng.random(len(clip.words)) < 0.5 if rng.random() < augment.splice else np.zeros(len(clip.words), bool)
        pieces: list[Piece] = []
        spoken: list[tuple[int, str]] = []  # piece number, word
        before = clip.words[first - 1].end if first else 0
        lead = clip.words[first].start
        if lead > before or first:
            start = max(before if first == 0 else before - 2, lead - int(rng.integers(0, MARGIN_FRAMES + 1)) if first else 0)
            pieces.append((clip, max(0, start), lead))
        for place in range(first, last):
            source, index = clip, place
            if swap[place]:
                choices = self._words[_slot(clip, place)]
                source, index = choices[rng.integers(len(choices))]
            word = source.words[index]
            spoken.append((len(pieces), word.text))
            pieces.append((source, word.start, word.end))
            following = clip.words[place + 1].start if place + 1 < len(clip.words) else clip.frames
            if place + 1 < last and following > clip.words[place].end:
                pieces.append((clip, clip.words[place].end, following))
        tail = clip.words[last - 1].end
        end = clip.frames if last == len(clip.words) else min(clip.words[last].start + 2, clip.frames)
        if last != len(clip.words):
            end = min(end, tail + int(rng.integers(0, MARGIN_FRAMES + 1)))
        if end > tail:
            pieces.append((clip, tail, end))
        if clip.source == "points" and self._silences:
            pieces = [self._silence(rng, ends=True), *pieces, self._silence(rng, ends=False)]
            spoken = [(number + 1, word) for number, word in spoken]
        text = " ".join(word for _, word in spoken)
        return self._join(pieces, spoken, clip.name, text, clip.source)

    def _silence(self, rng: np.random.Generator, *, ends: bool) -> Piece:
        """A stretch of real silence: the end of one before speech, the start of one after it."""
        clip, start, end = self._silences[rng.integers(len(self._silences))]
        frames = min(end - start, int(rng.integers(SILENCE_FRAMES[0], SILENCE_FRAMES[1] + 1)))
        return (clip, end - frames, end) if ends else (clip, start, start + frames)

    def _join(self, pieces: list[Piece], spoken: list[tuple[int, str]], name: str, text: str, source: str) -> Example:
        starts = np.cumsum([0, *(end - start for _, start, end in pieces)])
        points = np.concatenate([clip.displacements[start:end] for clip, start, end in pieces])
        crops = None
        if source != "points" and all(clip.crops_path for clip, _, _ in pieces):
            crops = np.concatenate([self._read(clip)[start:end] for clip, start, end in pieces])
        for number in range(1, len(pieces)):
            if pieces[number][0] is not pieces[number - 1][0]:
                joint = int(starts[number])
                _blend(points, joint)
                if crops is not None:
                    _blend(crops, joint)
        words = tuple(WordSpan(int(starts[number]), int(starts[number + 1]), word) for number, word in spoken)
        return Example(name, text, crops, points.astype(np.float32), words)


def _slot(clip: Clip, place: int) -> tuple[str, bool, int, int]:
    """Words are exchanged between clips of one speaker at the same place of equally long sentences."""
    return clip.speaker, clip.crops_path is not None, len(clip.words), place


def _blend(frames: Array, joint: int) -> None:
    """Soften a cut: the frames beside it take a third of each other, in place."""
    if 0 < joint < len(frames):
        left, right = frames[joint - 1].astype(np.float32), frames[joint].astype(np.float32)
        frames[joint - 1] = (2 * left + right) / 3
        frames[joint] = (left + 2 * right) / 3
