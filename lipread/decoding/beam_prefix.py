"""What a beam search has written so far, and what a language model thinks of it.

A word counts once it is complete: one that is a symbol of its own at once (unless letters follow), a spelled one when
the next begins or the text ends. Characters count one by one; a space counts with the letter after it, so that spaces
at the ends or side by side count nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from lipread.alphabet import Alphabet
from lipread.decoding.lm import BEGIN, END, SPACE
from lipread.decoding.ngram_binary import Ngrams

_MOST_REMEMBERED = 500_000  # probabilities of the language model: about 100 MB


@dataclass(slots=True)
class Prefix:
    """Symbols that were written, linked to the prefix without the last one.

    Attributes:
        before: without the last symbol; None for the empty prefix.
        symbol: the last one; 0 for the empty prefix.
        key, before_key: equal for equal sequences of symbols.
        word: letters of the last word so far; empty after a space.
        whole: the last word is one symbol.
        words: how many were begun.
        history: what the language model looks back on, without `word`.
        settled: natural-log score of what can no longer change.
        lm_score: `settled`, with the last word where it is one symbol.
    """

    before: Prefix | None
    symbol: int
    key: int
    before_key: int
    word: str
    whole: bool
    words: int
    history: tuple[str, ...]
    settled: float
    lm_score: float

    def symbols(self) -> list[int]:
        """All symbols in order."""
        found: list[int] = []
        prefix = self
        while prefix.before is not None:
            found.append(prefix.symbol)
            prefix = prefix.before
        return found[::-1]


class Writer:
    """Makes prefixes longer, and keeps account of the language model's score."""

    def __init__(self, alphabet: Alphabet, lm: Ngrams | None) -> None:
        self._symbols = alphabet.symbols
        self._lm = lm
        self._by_words = lm is not None and lm.unit == "word"
        self._by_letters = lm is not None and lm.unit == "char"
        self._tokens: dict[str, str] = {}
        self._scores: dict[tuple[tuple[str, ...], str], float] = {}
        history = self._shortened((BEGIN,)) if lm else ()
        self.start = Prefix(None, 0, hash(()), -1, "", False, 0, history, 0.0, 0.0)

    def extend(self, prefix: Prefix, number: int) -> Prefix:
        """The prefix with one symbol more."""
        symbol = self._symbols[number]
        whole = len(symbol) > 1
        ends_word = whole or symbol == " "
        word = symbol[1:] if ends_word else prefix.word + symbol
        words = prefix.words + (whole or (bool(word) and not prefix.word))
        history, settled = prefix.history, prefix.settled
        if self._by_words and ends_word:
            history, settled = self._settle(prefix)
        elif self._by_letters and word:
            new_word = whole or not prefix.word
            letters = word if whole else symbol
            if new_word and prefix.words:
                letters = SPACE + letters
            history, settled = self._add(history, settled, letters)
        lm_score = settled
        if self._by_words and whole:
            lm_score += self._score(history, self._token(word))
        key = hash((prefix.key, number))
        return Prefix(prefix, number, key, prefix.key, word, whole, words, history, settled, lm_score)

    def end(self, prefix: Prefix) -> tuple[float, int]:
        """Natural-log score of the prefix as a whole sentence, and its number of words."""
        if self._lm is None:
            return 0.0, prefix.words
        history, settled = self._settle(prefix) if self._by_words else (prefix.history, prefix.settled)
        return settled + self._score(history, END), prefix.words

    def _settle(self, prefix: Prefix) -> tuple[tuple[str, ...], float]:
        """History and score with the last word complete."""
        if not prefix.word:
            return prefix.history, prefix.settled
        token = self._token(prefix.word)
        return self._shortened((*prefix.history, token)), prefix.settled + self._score(prefix.history, token)

    def _add(self, history: tuple[str, ...], score: float, letters: str) -> tuple[tuple[str, ...], float]:
        for letter in letters:
            token = SPACE if letter == SPACE else self._token(letter)
            score += self._score(history, token)
            history = self._shortened((*history, token))
        return history, score

    def _shortened(self, history: tuple[str, ...]) -> tuple[str, ...]:
        assert self._lm is not None
        return history[max(0, len(history) - self._lm.order + 1) :]

    def _token(self, written: str) -> str:
        """A word or letter as the language model knows it."""
        if (token := self._tokens.get(written)) is None:
            assert self._lm is not None
            if len(self._tokens) > _MOST_REMEMBERED:
                self._tokens.clear()
            token = self._tokens[written] = self._lm.tokens(written)[0]
        return token

    def _score(self, history: tuple[str, ...], token: str) -> float:
        if (score := self._scores.get((history, token))) is None:
            assert self._lm is not None
            if len(self._scores) > _MOST_REMEMBERED:
                self._scores.clear()
            score = self._scores[history, token] = self._lm.log_probability(history, token)
        return score
