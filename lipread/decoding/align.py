"""CTC log-probabilities + the chosen text -> words with times and confidence, and subtitle-sized segments.

Shapes: T frames at 25 Hz, V symbols (0 = blank), L symbols of the text.
Source: Kürzinger et al. 2020, "CTC-segmentation", arXiv:2007.09127, for forced alignment with a CTC model.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from lipread.alphabet import Alphabet
from lipread.decoding.greedy import check_log_probs
from lipread.errors import DataError
from lipread.values import FRAME_RATE_HZ, LOWEST_LOG_PROB, Array, Segment, Word

STRETCH_FRAMES = 3  # a CTC peak is narrow: a word reaches at most so far into the blanks beside it
PAUSE_S = 1.0  # a longer silence starts a new segment
SEGMENT_LINES, LINE_CHARACTERS = 2, 42  # of a subtitle, with the label of who speaks
SEGMENT_S = 7.0  # how long a subtitle may stand


def align_words(
    log_probs: Array, text: str, alphabet: Alphabet, *, start_s: float = 0.0, temperature: float = 1.0
) -> tuple[Word, ...]:
    """Find when each word of a text was said.

    A word runs from its first symbol's peak to one frame after its last symbol's, and from there half-way
    through the blanks beside it, at most `STRETCH_FRAMES` far. Its confidence is the geometric mean, over its
    symbols, of the highest probability that each has in the frames aligned to it.

    Args:
        log_probs: natural-log probabilities, float, shape (T, V).
        text: what was chosen; it is normalised first.
        alphabet: its size is V.
        start_s: time of frame 0, seconds.
        temperature: the probabilities that confidences come from are flattened (above 1) or sharpened by it.
    Returns: the words in order, with times in seconds and confidences in 0..1.
    Raises: DataError: T frames are too few for the text, or it has characters outside the alphabet.
    """
    check_log_probs(log_probs, alphabet)
    normal = alphabet.normalise(text)
    if not normal:
        return ()
    by_word = alphabet.encode_words(normal)
    ids = [number for word in by_word for number in word]
    spans = _symbol_spans(log_probs, ids)  # (L, 2): first frame, one past the last
    if temperature != 1.0:
        log_probs = tempered(log_probs, temperature)
    peaks = [float(log_probs[first:end, number].max()) for number, (first, end) in zip(ids, spans, strict=True)]

    space = [alphabet.symbols.index(" ")] if " " in alphabet.symbols else []
    frames: list[tuple[int, int]] = []
    confidences: list[float] = []
    position = 0
    for word_ids in by_word:
        own = slice(position + (word_ids[:1] == space), position + len(word_ids))  # the space is no part of the word
        frames.append((spans[own][0][0], spans[own][-1][1]))
        confidences.append(min(1.0, float(np.exp(np.mean(peaks[own])))))
        position += len(word_ids)
    return tuple(
        Word(word, start_s + first / FRAME_RATE_HZ, start_s + end / FRAME_RATE_HZ, confidence)
        for word, (first, end), confidence in zip(
            normal.split(), _stretch(frames, len(log_probs)), confidences, strict=True
        )
    )


def tempered(log_probs: Array, temperature: float) -> Array:
    """Log-probabilities (T, V) divided by a temperature and made to sum to one again.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    scaled = log_probs.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    normal: Array = scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return normal


def segment_words(words: Sequence[Word], *, speaker: str | None = None) -> tuple[Segment, ...]:
    """Group a speaker's words into subtitles: a new one after a pause of `PAUSE_S`, or when one grows too long."""
    segments: list[Segment] = []
    group: list[Word] = []
    for word in words:
        if group and _starts_segment(group, word, speaker):
            segments.append(_segment(group, speaker))
            group = []
        group.append(word)
    if group:
        segments.append(_segment(group, speaker))
    return tuple(segments)


def _starts_segment(group: Sequence[Word], word: Word, speaker: str | None) -> bool:
    text = " ".join([*([f"{speaker}:"] if speaker else []), *(each.text for each in group), word.text])
    return (
        word.start_s - group[-1].end_s > PAUSE_S
        or word.end_s - group[0].start_s > SEGMENT_S
        or len(textwrap.wrap(text, LINE_CHARACTERS)) > SEGMENT_LINES
    )


def _segment(group: Sequence[Word], speaker: str | None) -> Segment:
    return Segment(
        start_s=group[0].start_s,
        end_s=group[-1].end_s,
        text=" ".join(word.text for word in group),
        words=tuple(group),
        confidence=float(np.mean([word.confidence for word in group])),
        speaker=speaker,
    )


def _symbol_spans(log_probs: Array, ids: Sequence[int]) -> list[tuple[int, int]]:
    """The frames of each symbol on the likeliest path that spells the text: (first, one past the last)."""
    needed = len(ids) + sum(left == right for left, right in pairwise(ids))  # blank between repeats
    if needed > len(log_probs):
        raise DataError(
            f"a text of {len(ids)} symbols needs at least {needed} frames to be aligned, and there are "
            f"{len(log_probs)}; give a shorter text or a longer clip"
        )
    import torch
    from torchaudio.functional import forced_align

    emission = torch.from_numpy(np.maximum(log_probs, LOWEST_LOG_PROB).astype(np.float32))
    path, _ = forced_align(emission[None], torch.tensor([list(ids)], dtype=torch.int32), blank=0)
    spans: list[tuple[int, int]] = []
    previous = 0
    for frame, symbol in enumerate(path[0].tolist()):  # (T,)
        if symbol and symbol != previous:
            spans.append((frame, frame + 1))
        elif symbol:
            spans[-1] = (spans[-1][0], frame + 1)
        previous = symbol
    return spans


def _stretch(frames: Sequence[tuple[int, int]], total: int) -> list[tuple[float, float]]:
    """Let each word reach half-way to its neighbours (all the way to the clip's ends), `STRETCH_FRAMES` at most."""
    stretched: list[tuple[float, float]] = []
    for index, (first, end) in enumerate(frames):
        before = (first - frames[index - 1][1]) / 2 if index else first
        after = (frames[index + 1][0] - end) / 2 if index + 1 < len(frames) else total - end
        stretched.append((first - min(before, STRETCH_FRAMES), end + min(after, STRETCH_FRAMES)))
    return stretched
