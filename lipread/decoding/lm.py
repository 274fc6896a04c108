"""Texts -> natural-log probabilities: the form that all language models share, and n-grams in ARPA format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from lipread.outputs import PathLike

Unit = Literal["word", "char"]


class SentenceScorer(Protocol):
    """A language model, as rescoring sees it."""

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Natural-log probability (or pseudo-log-likelihood) of each text."""
        ...


class NgramModel:
    """An n-gram language model with backoff; a `SentenceScorer`."""

    unit: Unit

    @classmethod
    def load(cls, path: PathLike, *, unit: Unit | None = None) -> NgramModel:
        """Read an ARPA file, also gzipped. Raises: DataError: it is not a whole ARPA file."""
        raise NotImplementedError

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Natural-log probability of each text, the end of the sentence included."""
        raise NotImplementedError
