"""Clips -> new sentences: parts of sentences, words spliced from other clips of the speaker, real silences.

Shapes: T frames, S pixels, P lip points, N = 640 T samples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from lipread.config import TrainConfig
from lipread.training.batches import UNSAID, Example, WordSpan
from lipread.training.clips import Clip
from lipread.values import SAMPLES_PER_FRAME, Array

MARGIN_FRAMES = 8  # most silence and neighbouring speech kept beside a cut-out sentence part
NEIGHBOUR_FRAMES = 2  # most of a neighbouring word in that, and never more than half of the word
TRIMMED_FRAMES = (2, 13)  # of silence left at either end of a trimmed clip
SILENCE_FRAMES = (6, 24)  # put before and after sentences that have none
FADE_SAMPLES = 80  # over which the sound of one clip goes over into another's, on either side of a cut

Slot = tuple[str, str, bool, int, int]  # speaker, source, with crops, words of the sentence, place in it


class Piece(NamedTuple):
    """Frames of a clip; `word` is what is said in them, UNSAID for a part of a word, None for silence."""

    clip: Clip
    start: int
    end: int
    word: str | None = None


class Composer:
    """Makes examples out of the clips of one corpus.

    Args:
        clips: all training clips.
        read: clip -> decoded crops.
        max_frames: longest example; new sentences that would be longer are not made.
        listen: clip -> its sound; None where sound is not used.
    """

    def __init__(
        self, clips: list[Clip], read: Callable[[Clip], Array], *, max_frames: int,
        listen: Callable[[Clip], Array] | None = None,
    ) -> None:
        self._read, self._max_frames, self._listen = read, max_frames, listen
        self._words: dict[Slot, dict[str, list[tuple[Clip, int]]]] = {}
        self._silences: list[Piece] = []
        counts = Counter(word.text for clip in clips for word in clip.words)
        self._rarity = {word: 1 / count for word, count in counts.items()}
        for clip in clips:
            for place in range(len(clip.words)):
                said = self._words.setdefault(_slot(clip, place), {})
                said.setdefault(clip.words[place].text, []).append((clip, place))
            if clip.source == "real" and clip.words and np.isfinite(clip.points).all():
                for start, end in ((0, clip.words[0].start), (clip.words[-1].end, clip.frames)):
                    if end - start >= SILENCE_FRAMES[0]:
                        self._silences.append(Piece(clip, start, end))

    def example(
        self, clip: Clip, rng: np.random.Generator, config: TrainConfig, step: int, *, pixels: bool = True
    ) -> Example:
        """A clip as it is, cut down, or with words of other clips; decided at random.

        Args:
            clip: of at most `max_frames`.
            step: of the training, for the curriculum.
            pixels: False where crops are not wanted; they are then not decoded.
        """
        pieces = self._sentence(clip, rng, config, step) if clip.words else [Piece(clip, 0, clip.frames)]
        if clip.source == "points" and self._silences:
            pieces = [self._silence(rng, ends=True), *pieces, self._silence(rng, ends=False)]
        if sum(piece.end - piece.start for piece in pieces) > self._max_frames:
            return self._join([Piece(clip, 0, clip.frames)], clip, clip.words, clip.text, pixels)
        words, frames = [], 0
        for piece in pieces:
            if piece.word is not None:
                words.append(WordSpan(frames, frames + piece.end - piece.start, piece.word))
            frames += piece.end - piece.start
        text = " ".join(word.text for word in words if word.text != UNSAID) if clip.words else clip.text
        return self._join(pieces, clip, words, text, pixels)

    def _sentence(self, clip: Clip, rng: np.random.Generator, config: TrainConfig, step: int) -> list[Piece]:
        """Some or all words of a clip, each from it or from another clip, with the silences between them."""
        first, last = _part([self._rarity[word.text] for word in clip.words], rng, config, step)
        splice = rng.random() < config.augment.splice
        swap = rng.random(len(clip.words)) < 0.5 if splice else np.zeros(len(clip.words), bool)
        trim = rng.random() < config.augment.trim
        lead, tail = rng.integers(*TRIMMED_FRAMES, 2) if trim else (clip.frames, clip.frames)
        pieces = []
        if first:
            pieces += _margin_before(clip, first, int(rng.integers(0, MARGIN_FRAMES + 1)))
        else:
            pieces.append(Piece(clip, max(0, clip.words[0].start - int(lead)), clip.words[0].start))
        for place in range(first, last):
            source, index = clip, place
            if swap[place]:
                said = list(self._words[_slot(clip, place)].values())
                choices = said[rng.integers(len(said))]  # every word as often as another, however often people say it
                source, index = choices[rng.integers(len(choices))]
            word = source.words[index]
            pieces.append(Piece(source, word.start, word.end, word.text))
            if place + 1 < last:
                pieces.append(Piece(clip, clip.words[place].end, clip.words[place + 1].start))
        if last < len(clip.words):
            pieces += _margin_after(clip, last, int(rng.integers(0, MARGIN_FRAMES + 1)))
        else:
            pieces.append(Piece(clip, clip.words[-1].end, min(clip.frames, clip.words[-1].end + int(tail))))
        return [piece for piece in pieces if piece.end > piece.start]

    def _silence(self, rng: np.random.Generator, *, ends: bool) -> Piece:
        """A stretch of real silence: the end of one before speech, the start of one after it."""
        clip, start, end, _ = self._silences[rng.integers(len(self._silences))]
        frames = min(end - start, int(rng.integers(SILENCE_FRAMES[0], SILENCE_FRAMES[1] + 1)))
        return Piece(clip, end - frames, end) if ends else Piece(clip, start, start + frames)

    def _join(
        self, pieces: list[Piece], clip: Clip, words: Sequence[WordSpan], text: str, pixels: bool
    ) -> Example:
        """The frames of the pieces one after the other, the cuts between clips softened."""
        points = np.concatenate([piece.clip.displacements[piece.start : piece.end] for piece in pieces])
        crops = None
        if pixels and clip.source != "points" and all(piece.clip.crops_path for piece in pieces):
            crops = np.concatenate([self._read(piece.clip)[piece.start : piece.end] for piece in pieces])
        sound = None
        if self._listen and all(piece.clip.sound_path for piece in pieces):
            heard = [_samples(self._listen(piece.clip), piece) for piece in pieces]
            sound = np.concatenate(heard).astype(np.float32)
        joint = 0
        for left, right in pairwise(pieces):
            joint += left.end - left.start
            if left.clip is not right.clip:
                _blend(points, joint)
                if crops is not None:
                    _blend(crops, joint)
                if sound is not None:
                    _fade(sound, joint * SAMPLES_PER_FRAME)
        return Example(clip.name, text, crops, points.astype(np.float32), tuple(words), sound=sound)


def _part(rarity: Sequence[float], rng: np.random.Generator, config: TrainConfig, step: int) -> tuple[int, int]:
    """First and last (not included) word of the part to use; the longest part grows over the curriculum.

    A part is cut out around a word drawn by its rarity, so that words with few examples are seen more often.
    """
    words = len(rarity)
    growing = step < config.curriculum_steps
    if not growing and rng.random() >= config.augment.sub_sentence:
        return 0, words
    most = max(1, round(words * (step + 1) / config.curriculum_steps)) if growing else words
    count = int(rng.integers(1, most + 1))
    centre = int(rng.choice(words, p=np.array(rarity) / sum(rarity)))
    first = int(rng.integers(max(0, centre - count + 1), min(centre, words - count) + 1))
    return first, first + count


def _margin_before(clip: Clip, place: int, frames: int) -> list[Piece]:
    """At most so many frames before a word that is not the first: silence, and the end of the word before."""
    start, before = clip.words[place].start, clip.words[place - 1]
    rest = max(start - frames, before.end - min(NEIGHBOUR_FRAMES, (before.end - before.start) // 2))
    return [Piece(clip, rest, before.end, UNSAID), Piece(clip, max(start - frames, before.end), start)]


def _margin_after(clip: Clip, place: int, frames: int) -> list[Piece]:
    """At most so many frames after the word before `place`: silence, and the beginning of the word there."""
    end, after = clip.words[place - 1].end, clip.words[place]
    rest = min(end + frames, after.start + min(NEIGHBOUR_FRAMES, (after.end - after.start) // 2))
    return [Piece(clip, end, min(end + frames, after.start)), Piece(clip, after.start, rest, UNSAID)]


def _slot(clip: Clip, place: int) -> Slot:
    """Words are exchanged between clips of one speaker and source at the same place of equally long sentences."""
    return clip.speaker, clip.source, clip.crops_path is not None, len(clip.words), place


def _blend(frames: Array, joint: int) -> None:
    """Soften a cut: the frames beside it take a third of each other, in place; a lost face (NaN) stays alone."""
    left, right = frames[joint - 1].astype(np.float32), frames[joint].astype(np.float32)
    if np.isfinite(left).all() and np.isfinite(right).all():
        frames[joint - 1] = (2 * left + right) / 3
        frames[joint] = (left + 2 * right) / 3


def _samples(sound: Array, piece: Piece) -> Array:
    return np.asarray(sound[piece.start * SAMPLES_PER_FRAME : piece.end * SAMPLES_PER_FRAME])


def _fade(sound: Array, joint: int) -> None:
    """Let the sound die away before a cut and come back after it, in place."""
    ramp = np.linspace(1, 0, FADE_SAMPLES, dtype=np.float32)
    sound[joint - FADE_SAMPLES : joint] *= ramp
    sound[joint : joint + FADE_SAMPLES] *= ramp[::-1]
