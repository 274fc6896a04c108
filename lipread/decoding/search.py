"""Log-probabilities of a video -> what was said between its pauses, with candidates.

Shapes: T frames at 25 Hz, V symbols (0 = blank).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from lipread.alphabet import BLANK, Alphabet
from lipread.decoding.greedy import check_log_probs, greedy_decode
from lipread.errors import DataError
from lipread.values import FRAME_RATE_HZ, Array, Hypothesis, Utterance

PAUSE_FRAMES = FRAME_RATE_HZ  # so long without any symbol, and a new utterance begins
PAUSE_LOG_PROB = float(np.log(0.5))  # of the blank, in every frame of a pause
MAX_UTTERANCE_FRAMES = 60 * FRAME_RATE_HZ
MAX_JOINED_FRAMES = 20 * FRAME_RATE_HZ  # longer ones are not made of several utterances
JOINING_GAIN = 1.0  # of the score, natural log, for which what a pause parted is one sentence after all

Rescore = Callable[[Sequence[Hypothesis], str], tuple[Hypothesis, ...]]


class Decoder(Protocol):
    """One kind of search."""

    def decode(self, log_probs: Array) -> tuple[Hypothesis, ...]:
        """Natural-log probabilities (T, V) -> candidates, best first, one at least."""


class GreedyDecoder:
    """The best path, one candidate."""

    def __init__(self, alphabet: Alphabet) -> None:
        self.alphabet = alphabet

    def decode(self, log_probs: Array) -> tuple[Hypothesis, ...]:
        """As `Decoder.decode`."""
        return (greedy_decode(log_probs, self.alphabet),)


class Search:
    """A decoder, and a language model that looks at its candidates.

    Args:
        alphabet: of the network.
        decoder: greedy without one.
        rescore: candidates and the text before -> candidates in a new order.
        nbest: so many candidates are kept.
        name: says how the text was found, for the transcript.
        sentences: whether the scores are those of whole sentences, as with a grammar or a language model: what a pause
            parted is then joined where that fits better.
    """

    def __init__(
        self, alphabet: Alphabet, decoder: Decoder | None = None, rescore: Rescore | None = None,
        *, nbest: int = 10, name: str = "greedy", sentences: bool = False,
    ) -> None:
        self.alphabet, self.nbest, self.name, self.sentences = alphabet, nbest, name, sentences
        self.decoder = decoder or GreedyDecoder(alphabet)
        self.rescore = rescore

    def utterances(self, log_probs: Array, *, start_s: float = 0.0) -> tuple[Utterance, ...]:
        """Search every stretch between pauses; where the network says nothing, no search makes words up.

        Args:
            log_probs: natural-log probabilities, float, shape (T, V).
            start_s: time of frame 0, seconds.
        Raises: ConfigError: they do not fit the alphabet.
        """
        listener = Listener(self, start_s=start_s)
        return tuple(each.utterance for each in (*listener.push(log_probs), *listener.end()))

    def read(self, log_probs: Array, before: str) -> Found:
        """Search the frames of one utterance; the greedy text alone, worth nothing, where nothing fits them.

        Args:
            log_probs: (T, V).
            before: the text of the utterance before, empty where there is none.
        """
        raw = greedy_decode(log_probs, self.alphabet)
        try:
            candidates = self.decoder.decode(log_probs)
        except DataError:  # too few frames for the shortest sentence of a grammar
            return Found(raw, (raw,), -np.inf)
        if self.rescore:
            candidates = self.rescore(candidates, before)
        return Found(raw, candidates, candidates[0].score)


@dataclass(frozen=True)
class Found:
    """What a search finds in some frames: the greedy text, the candidates, and what the best of them is worth."""

    raw: Hypothesis
    candidates: tuple[Hypothesis, ...]
    score: float


@dataclass(frozen=True)
class Heard:
    """An utterance that is over, and the log-probabilities (T, V) of its frames, from `utterance.start_s` on."""

    utterance: Utterance
    log_probs: Array


class Listener:
    """A search that is given log-probabilities as they come, and says what was said as soon as a pause follows.

    However they are cut into pieces, the same utterances come out. Memory holds the utterance that is going on and,
    where pauses may be bridged, the one before.

    Args:
        search: does the searching.
        start_s: time of frame 0, seconds.
    """

    def __init__(self, search: Search, *, start_s: float = 0.0) -> None:
        self._search, self._start_s = search, start_s
        self._coming = np.zeros((0, search.alphabet.size), np.float32)  # no utterance yet
        self._first = 0  # number of its first frame
        self._dropped = 0  # frames of silence just before it
        self._last: _Part | None = None  # may yet be joined with what comes
        self._before = ""  # what was said before that one

    def push(self, log_probs: Array) -> list[Heard]:
        """Take the next frames (T, V) -> the utterances that have ended. Raises: ConfigError: as `Search`."""
        check_log_probs(log_probs, self._search.alphabet)
        self._coming = np.concatenate([self._coming, log_probs]) if len(self._coming) else log_probs
        heard = []
        while (cut := next_cut(self._coming[:, BLANK] > PAUSE_LOG_PROB)) is not None:
            heard += self._take(cut)
        if len(self._coming) > 2 * PAUSE_FRAMES and (self._coming[:, BLANK] > PAUSE_LOG_PROB).all():
            self._drop(len(self._coming) - PAUSE_FRAMES)  # a long silence takes no memory
            heard += self._give_last()
        return heard

    def end(self) -> list[Heard]:
        """Take that nothing follows -> the last utterances."""
        return [*self._take(len(self._coming)), *self._give_last()]

    def _take(self, frames: int) -> list[Heard]:
        """Search the next `frames` frames."""
        heard: list[Heard] = []
        blank = self._coming[:frames, BLANK] > PAUSE_LOG_PROB
        lead = frames if blank.all() else int(blank.argmin())
        if self._dropped + lead > 2 * PAUSE_FRAMES:  # what comes after a long silence stands alone
            heard += self._give_last()
            self._drop(surplus := max(0, lead - PAUSE_FRAMES))
            frames -= surplus
        part, self._coming = self._coming[:frames], self._coming[frames:]
        first, self._first, self._dropped = self._first, self._first + frames, 0
        if not greedy_decode(part, self._search.alphabet).text:
            if self._last is not None:
                self._last = self._last.followed_by(part)
            return heard
        last = self._last
        found = self._search.read(part, self._before if last is None else last.found.candidates[0].text)
        alone = _Part(first, part, found, len(part))
        joinable = last is not None and len(last.log_probs) + len(part) <= MAX_JOINED_FRAMES
        if last is not None and joinable and self._search.sentences:
            both = np.concatenate([last.log_probs, part])
            joined = self._search.read(both, self._before)
            silence = float(last.log_probs[last.frames :].max(axis=1).sum())
            if joined.score > last.found.score + silence + found.score + JOINING_GAIN:
                self._last = _Part(last.first, both, joined, len(both))
                return heard
        heard += self._give_last()
        self._last = alone
        return heard if self._search.sentences else heard + self._give_last()

    def _drop(self, frames: int) -> None:
        """Leave out the first frames, which are silent."""
        self._coming = self._coming[frames:].copy()
        self._first += frames
        self._dropped += frames

    def _give_last(self) -> list[Heard]:
        """Nothing will be joined with the last utterance any more."""
        part, self._last = self._last, None
        if part is None:
            return []
        candidates = part.found.candidates
        self._before = candidates[0].text
        start_s, end_s = (self._start_s + at / FRAME_RATE_HZ for at in (part.first, part.first + part.frames))
        utterance = Utterance(
            start_s, end_s, candidates[0].text, part.found.raw.text,
            candidates[: self._search.nbest], _without_lm(candidates),
        )
        return [Heard(utterance, part.log_probs[: part.frames])]


@dataclass(frozen=True)
class _Part:
    """An utterance from frame `first` on, `frames` long; after them `log_probs` may hold silence."""

    first: int
    log_probs: Array
    found: Found
    frames: int

    def followed_by(self, silence: Array) -> _Part:
        return replace(self, log_probs=np.concatenate([self.log_probs, silence]))


def _without_lm(candidates: Sequence[Hypothesis]) -> str | None:
    """The text that the network likes best; None where no language model took part."""
    if not any(each.lm_score for each in candidates):
        return None
    return max(candidates, key=lambda each: each.acoustic_score).text


def next_cut(blank: Array) -> int | None:
    """Where the utterance that begins at frame 0 ends: in the middle of its first pause.

    Of a long pause the first two seconds count; someone who talks for `MAX_UTTERANCE_FRAMES` without a pause is cut
    off in the longest silence before that. More frames at the end never change the answer once there is one.

    Args:
        blank: whether each frame is silent, bool, shape (T,).
    Returns: number of the first frame that no longer belongs to it; None where that is not known yet.
    """
    full = len(blank) >= MAX_UTTERANCE_FRAMES
    blank = blank[:MAX_UTTERANCE_FRAMES]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], blank, [False]]).astype(np.int8)))
    runs = [(int(first), int(end)) for first, end in edges.reshape(-1, 2) if first > 0]
    for first, end in runs:
        if end - first >= 2 * PAUSE_FRAMES or (end - first >= PAUSE_FRAMES and end < len(blank)):
            return first + min(end - first, 2 * PAUSE_FRAMES) // 2
    if not full:
        return None
    first, end = max(runs, key=lambda run: run[1] - run[0], default=(len(blank), len(blank)))
    return (first + end) // 2
