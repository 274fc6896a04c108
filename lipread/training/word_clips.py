"""Clips -> parts of them that are one class each: words cut by the word times, as those of LRW are, or whole clips.

Shapes: T frames, S pixels, P lip points, N = 640 T samples.
Source: Chung & Zisserman 2016, "Lip Reading in the Wild": 29 frames with the word in their middle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lipread.config import TrainConfig
from lipread.errors import DataError
from lipread.training.batches import Example, WordSpan
from lipread.training.clips import Clip
from lipread.values import SAMPLES_PER_FRAME


class Cut(NamedTuple):
    """Frames of a clip, start included, end not, and the class that they show."""

    clip: Clip
    start: int
    end: int
    label: str


def cuts_of(clip: Clip, config: TrainConfig) -> list[Cut]:
    """The parts of a clip that are classified; none where nothing is.

    A word comes with as many real frames before it as after it, up to `word_frames` in all: it is in the middle, and
    nothing else says which of the words in sight is meant. A clip whose only word has no times is taken whole.
    """
    if not config.classifies:
        return []
    if config.task == "phrases" or not clip.words:
        one = bool(clip.text) and (config.task == "phrases" or " " not in clip.text)
        return [Cut(clip, 0, clip.frames, clip.text)] if one else []
    cuts = []
    for word in clip.words:
        wanted = max(0, config.word_frames - (word.end - word.start)) // 2
        margin = min(wanted, word.start, clip.frames - word.end)
        cuts.append(Cut(clip, word.start - margin, word.end + margin, word.text))
    return cuts


def cuts_of_all(clips: Iterable[Clip], config: TrainConfig) -> list[Cut]:
    """`cuts_of` of all clips, in order."""
    return [cut for clip in clips for cut in cuts_of(clip, config)]


def with_classes(clips: list[Clip], config: TrainConfig) -> list[Clip]:
    """The clips that have a part to classify. Raises: DataError: there is none to train on."""
    found = [clip for clip in clips if cuts_of(clip, config)]
    if not any(clip.split == "train" for clip in found):
        raise DataError(
            f"no clip of the split `train` has what --task {config.task} needs: word times to cut by (words), or a "
            "text (phrases); prepare the corpus with its alignments or texts"
        )
    return found


def fits(clip: Clip, config: TrainConfig) -> bool:
    """Whether what goes through the network at once, a clip or a part of it, is short enough."""
    cuts = cuts_of(clip, config)
    longest = max((cut.end - cut.start for cut in cuts), default=clip.frames)
    return longest < config.network_config.encoder.max_position_embeddings


def part_of(whole: Example, cut: Cut) -> Example:
    """The frames of a cut, out of the example of the whole clip."""
    frames = slice(cut.start, cut.end)
    samples = slice(cut.start * SAMPLES_PER_FRAME, cut.end * SAMPLES_PER_FRAME)
    words = [
        WordSpan(max(word.start, cut.start) - cut.start, min(word.end, cut.end) - cut.start, word.text)
        for word in whole.words
        if word.start < cut.end and word.end > cut.start
    ]
    return replace(
        whole,
        text=cut.label,
        crops=None if whole.crops is None else whole.crops[frames],
        points=whole.points[frames],
        sound=None if whole.sound is None else whole.sound[samples],
        words=tuple(words),
    )


class Cutter:
    """Draws parts of training clips so that every class comes about as often, as in LRW: of a clip that was drawn, a
    part whose class has few of them is likelier than one of a frequent class."""

    def __init__(self, clips: Iterable[Clip], config: TrainConfig) -> None:
        self._config = config
        self._counts = Counter(cut.label for cut in cuts_of_all(clips, config))

    def draw(self, clip: Clip, rng: np.random.Generator) -> Cut:
        """One part of a clip that has some."""
        cuts = cuts_of(clip, self._config)
        weights = 1 / np.array([self._counts[cut.label] for cut in cuts])
        return cuts[int(rng.choice(len(cuts), p=weights / weights.sum()))]
