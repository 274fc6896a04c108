"""Log-probabilities of a video -> what was said between its pauses, with candidates.

Shapes: T frames at 25 Hz, V symbols (0 = blank).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from lipread.alphabet import BLANK, Alphabet
from lipread.decoding.greedy import check_log_probs, greedy_decode
from lipread.errors import DataError
from lipread.values import FRAME_RATE_HZ, Array, Hypothesis, Utterance

PAUSE_FRAMES = FRAME_RATE_HZ  # so long without any symbol, and a new utterance begins
PAUSE_LOG_PROB = float(np.log(0.5))  # of the blank, in every frame of a pause
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
        """Search every stretch between pauses; where the lips say nothing, no search makes words up.

        Args:
            log_probs: natural-log probabilities, float, shape (T, V).
            start_s: time of frame 0, seconds.
        Raises: ConfigError: they do not fit the alphabet.
        """
        check_log_probs(log_probs, self.alphabet)
        found: list[_Part] = []
        silence = 0.0  # score of the blanks since the last of them
        for first, end in speech_spans(log_probs):
            raw = greedy_decode(log_probs[first:end], self.alphabet)
            if not raw.text:
                silence += raw.score
                continue
            part = self._read(log_probs, first, end, found)
            if found and self.sentences:
                joined = self._read(log_probs, found[-1].first, end, found[:-1])
                if joined.score > found[-1].score + silence + part.score + JOINING_GAIN:
                    found.pop()
                    part = joined
            found.append(part)
            silence = 0.0
        return tuple(
            Utterance(
                start_s + part.first / FRAME_RATE_HZ, start_s + part.end / FRAME_RATE_HZ,
                part.candidates[0].text, part.raw.text, part.candidates[: self.nbest], _without_lm(part.candidates),
            )
            for part in found
        )

    def _read(self, log_probs: Array, first: int, end: int, before: Sequence[_Part]) -> _Part:
        """Search the frames first..end; the greedy text alone, worth nothing, where nothing fits them."""
        part = log_probs[first:end]
        raw = greedy_decode(part, self.alphabet)
        try:
            candidates = self.decoder.decode(part)
        except DataError:  # too few frames for the shortest sentence of a grammar
            return _Part(first, end, raw, (raw,), -np.inf)
        if self.rescore:
            candidates = self.rescore(candidates, before[-1].candidates[0].text if before else "")
        return _Part(first, end, raw, candidates, candidates[0].score)


def _without_lm(candidates: Sequence[Hypothesis]) -> str | None:
    """The text that fits the lips best; None where no language model took part."""
    if not any(each.lm_score for each in candidates):
        return None
    return max(candidates, key=lambda each: each.acoustic_score).text


@dataclass(frozen=True)
class _Part:
    """The frames first..end with what was found in them."""

    first: int
    end: int
    raw: Hypothesis
    candidates: tuple[Hypothesis, ...]
    score: float


def speech_spans(log_probs: Array) -> list[tuple[int, int]]:
    """Cut T frames in the middle of each pause; (first, one past the last) of each part, which tile 0..T."""
    blank = log_probs[:, BLANK] > PAUSE_LOG_PROB  # (T,)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], blank, [False]]).astype(np.int8)))
    cuts = [
        (int(start) + int(end)) // 2
        for start, end in edges.reshape(-1, 2)
        if end - start >= PAUSE_FRAMES and start > 0 and end < len(blank)
    ]
    bounds = [0, *cuts, len(blank)]
    return [(first, end) for first, end in pairwise(bounds) if end > first]
