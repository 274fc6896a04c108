"""KenLM's binary files -> what the beam search asks of an n-gram. ARPA files need none of this: `lm.py` reads them.

Source: Heafield 2011, "KenLM: faster and smaller language model queries".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Protocol

from lipread.decoding.lm import BEGIN, END, KENLM_MAGIC, SPACE, UNKNOWN, NgramModel, Unit, split_sentence
from lipread.errors import ConfigError, DataError, MissingDependencyError
from lipread.files import PathLike

_LONGEST_ORDER = 6  # that KenLM is built for
_LN_10 = math.log(10)


class Ngrams(Protocol):
    """An n-gram, as the search sees it; `NgramModel` is one."""

    order: int
    unit: Unit
    vocabulary: frozenset[str]

    def tokens(self, text: str) -> list[str]:
        """The words or characters of a text as the model knows them."""
        ...

    def log_probability(self, history: Sequence[str], token: str) -> float:
        """Natural-log probability of a token after others."""
        ...

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Natural-log probability of each text with its end."""
        ...


def load_ngrams(path: PathLike, unit: Unit | None, words: Iterable[str] | None, letters: Iterable[str]) -> Ngrams:
    """Read an ARPA file, also gzipped, or a binary file of KenLM.

    Args:
        unit: what it counts; None: the file shows it.
        words: that can be asked for; None: any, which a binary file cannot do, as it does not tell its words.
        letters: that can be asked for.
    Raises:
        DataError: the file cannot be read or is damaged.
        ConfigError: a binary file that counts words, without `words`.
        MissingDependencyError: flashlight-text is absent, and the file is binary.
    """
    try:
        with open(path, "rb") as file:
            binary = file.read(len(KENLM_MAGIC)) == KENLM_MAGIC
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); give an ARPA or KenLM file") from error
    return BinaryNgrams(path, unit, words, letters) if binary else NgramModel.load(path, unit=unit)


class BinaryNgrams:
    """A binary n-gram of KenLM; `Ngrams`, arguments and errors as for `load_ngrams`."""

    def __init__(self, path: PathLike, unit: Unit | None, words: Iterable[str] | None, letters: Iterable[str]) -> None:
        try:
            kenlm = import_module("flashlight.lib.text.decoder.kenlm")
            dictionary = import_module("flashlight.lib.text.dictionary")
        except ImportError as error:
            raise MissingDependencyError(
                f"{path} is a binary file of KenLM, which flashlight-text reads: pip install flashlight-text, "
                "or give the ARPA file it was made of"
            ) from error
        asked = [*(words or ()), *(letter for letter in letters if letter != " "), SPACE]
        known = list(dict.fromkeys([UNKNOWN, *asked, *map(str.upper, asked)]))
        self._index = {token: index for index, token in enumerate(known)}
        try:
            self._model: Any = kenlm.KenLM(str(path), dictionary.Dictionary(known))
        except RuntimeError as error:
            raise DataError(f"{path}: KenLM cannot read it ({str(error).splitlines()[-1]}); make it anew") from error
        self.order = _LONGEST_ORDER
        unknown = self.log_probability((), UNKNOWN)
        self.vocabulary = frozenset(token for token in known[1:] if self.log_probability((), token) != unknown)
        self.unit: Unit = unit or ("char" if SPACE in self.vocabulary else "word")
        if self.unit == "word" and words is None:
            raise ConfigError(f"{path}: a binary n-gram does not tell its words; give a lexicon, or the ARPA file")
        self._fold = str.lower if self.vocabulary.intersection(asked) - {SPACE} else str.upper

    def tokens(self, text: str) -> list[str]:
        """As `Ngrams.tokens`."""
        said = split_sentence(text, self.unit, self._fold)
        return [token if token in self.vocabulary else UNKNOWN for token in said]

    def log_probability(self, history: Sequence[str], token: str) -> float:
        """As `Ngrams.log_probability`."""
        recent = history[max(0, len(history) - self.order + 1) :]
        from_start = bool(recent) and recent[0] == BEGIN
        state = self._model.start(not from_start)
        for said in recent[from_start:]:
            state, _ = self._model.score(state, self._index[said])
        _, log10 = self._model.finish(state) if token == END else self._model.score(state, self._index[token])
        return float(log10) * _LN_10

    def scores(self, texts: Sequence[str]) -> list[float]:
        """As `Ngrams.scores`."""
        return [self._score([BEGIN, *self.tokens(text), END]) for text in texts]

    def _score(self, said: Sequence[str]) -> float:
        return sum(self.log_probability(said[:place], said[place]) for place in range(1, len(said)))
