"""Candidates + a language model -> candidates in a new order.

Source: Salazar et al. 2020, arXiv:1910.14659, for rescoring with (pseudo-)log-likelihoods.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lipread.decoding.lm import SentenceScorer
from lipread.errors import DataError
from lipread.values import Hypothesis


@dataclass(frozen=True)
class Rescorer:
    """Adds what a language model thinks of each candidate to what the network says.

    The new score is acoustic + weight x LM + word_score x words + next_weight x "follows the sentence before".

    Attributes:
        scorer: the language model.
        weight: of its natural-log score; 0 changes nothing.
        word_score: added per word, against the liking of language models for short texts.
        next_weight: of the next-sentence score, where the scorer has one.
    """

    scorer: SentenceScorer
    weight: float
    word_score: float = 0.0
    next_weight: float = 0.0

    def __call__(self, candidates: Sequence[Hypothesis], previous: str = "") -> tuple[Hypothesis, ...]:
        """Candidates -> the same with all their scores, best first; equals stay in their order.

        Args:
            candidates: of one utterance.
            previous: text of the utterance before, "" where there is none.
        Raises: DataError: the language model gives a score that is no finite number.
        """
        texts = [each.text for each in candidates]
        scores = self.scorer.scores(texts)
        following = [0.0] * len(texts)
        if self.next_weight and previous and getattr(self.scorer, "can_follow", False):
            following = [self.scorer.next_score(previous, text) for text in texts]  # type: ignore[attr-defined]
        if wrong := [score for score in (*scores, *following) if not math.isfinite(score)]:
            raise DataError(f"the language model gives the score {wrong[0]}; its weights are damaged, get it again")
        scored = [
            replace(
                each,
                lm_score=lm_score,
                next_score=follows,
                score=each.acoustic_score + self.weight * lm_score + self.word_score * len(each.text.split())
                + self.next_weight * follows,
            )
            for each, lm_score, follows in zip(candidates, scores, following, strict=True)
        ]
        return tuple(sorted(scored, key=lambda each: -each.score))


class Remembering:
    """A scorer that asks another one only for texts that it has not seen yet."""

    def __init__(self, scorer: SentenceScorer, most: int = 100_000) -> None:
        self._scorer, self._most = scorer, most
        self._known: dict[str, float] = {}

    def scores(self, texts: Sequence[str]) -> list[float]:
        """As `SentenceScorer.scores`."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if len(self._known) + len(new) > self._most:
            self._known.clear()
            new = list(dict.fromkeys(texts))
        if new:
            self._known.update(zip(new, self._scorer.scores(new), strict=True))
        return [self._known[text] for text in texts]

    @property
    def can_follow(self) -> bool:
        """Whether the scorer can tell which text follows another."""
        return bool(getattr(self._scorer, "can_follow", False))

    def next_score(self, previous: str, text: str) -> float:
        """As the scorer's."""
        return float(self._scorer.next_score(previous, text))  # type: ignore[attr-defined]
