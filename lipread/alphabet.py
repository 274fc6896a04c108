"""Text <-> the symbol numbers of the CTC head.

Symbol 0 is the CTC blank; every other symbol is one character, or a whole word with the space before it. Frequent words
that have a symbol of their own need one CTC peak instead of one per character, which matters at 25 Hz: a quick speaker
says a word of three letters within a single frame. All other words are spelled.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lipread.errors import ConfigError, DataError
from lipread.values import Array

BLANK = 0
BLANK_SYMBOL = "<blank>"
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'"})


@dataclass(frozen=True)
class Alphabet:
    """The symbols a network can write, in the order of its output channels.

    Attributes:
        symbols: `BLANK_SYMBOL` first, then single lower-case characters and words (" word"), each once.
    Raises: ConfigError: the first symbol is not the blank, or a symbol is repeated, neither a character nor a word,
        or not lower case.
    """

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.symbols or self.symbols[0] != BLANK_SYMBOL:
            first = repr(self.symbols[0]) if self.symbols else "nothing"
            raise ConfigError(f"alphabet.symbols starts with {first}; symbol 0 must be {BLANK_SYMBOL!r}")
        for symbol in self.symbols[1:]:
            word = symbol[1:] if len(symbol) > 1 and symbol[0] == " " else symbol
            if symbol != symbol.lower() or (len(symbol) != 1 and (word == symbol or not word.strip() or " " in word)):
                raise ConfigError(
                    f"alphabet.symbols has {symbol!r}; each symbol must be one lower-case character, or a lower-case "
                    "word with a space before it"
                )
        repeated = sorted({symbol for symbol in self.symbols if self.symbols.count(symbol) > 1})
        if repeated:
            raise ConfigError(f"alphabet.symbols has {', '.join(map(repr, repeated))} more than once; list each once")

    @classmethod
    def english(cls) -> Alphabet:
        """Blank, space, apostrophe and a to z: 29 symbols."""
        return cls((BLANK_SYMBOL, " ", "'", *"abcdefghijklmnopqrstuvwxyz"))

    def with_words(self, words: Iterable[str]) -> Alphabet:
        """This alphabet with symbols for whole words added, in the order given."""
        return Alphabet((*self.symbols, *(f" {word}" for word in words)))

    @classmethod
    def from_list(cls, symbols: Sequence[str]) -> Alphabet:
        """From `symbols`, as read from JSON."""
        if isinstance(symbols, str) or not all(isinstance(symbol, str) for symbol in symbols):
            raise ConfigError(f"alphabet.symbols is {symbols!r}; it must be a list of strings")
        return cls(tuple(symbols))

    @property
    def blank(self) -> int:
        """Number of the CTC blank, always 0."""
        return BLANK

    @property
    def size(self) -> int:
        """Number of symbols V with the blank: channels of the CTC head."""
        return len(self.symbols)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {symbol: number for number, symbol in enumerate(self.symbols) if number != BLANK}

    @cached_property
    def whole_words(self) -> Array:
        """Which symbols are whole words, bool (V,)."""
        return np.array([number != BLANK and len(symbol) > 1 for number, symbol in enumerate(self.symbols)], dtype=bool)

    def normalise(self, text: str) -> str:
        """Lower case, single spaces, and nothing that the alphabet cannot write.

        Punctuation outside the alphabet becomes a space (an apostrophe outside it just goes).

        Raises: DataError: the text has letters or digits outside the alphabet (they carry words, so dropping them
            would change what was said); the message shows them.
        """
        lowered = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower()
        kept: list[str] = []
        foreign: list[str] = []
        for character in lowered:
            if character in self._numbers or character.isspace():
                kept.append(character)
            elif unicodedata.category(character)[0] in "LMN":
                foreign.append(character)
            elif character != "'":
                kept.append(" ")
        if foreign:
            shown = " ".join(dict.fromkeys(foreign))
            raise DataError(
                f"the text {text!r} has characters that the alphabet cannot write: {shown}; spell them out with "
                f"{''.join(symbol for symbol in self.symbols if len(symbol) == 1)!r}"
            )
        separator = " " if " " in self._numbers else ""
        return separator.join("".join(kept).split())

    def encode(self, text: str) -> list[int]:
        """Symbol numbers of a text that is normalised first.

        Raises: DataError: as `normalise`.
        """
        return [number for word in self.encode_words(text) for number in word]

    def encode_words(self, text: str) -> list[list[int]]:
        """Symbol numbers of each word. A spelled word that is not the first begins with the space.

        Raises: DataError: as `normalise`.
        """
        words: list[list[int]] = []
        for word in self.normalise(text).split():
            whole = self._numbers.get(f" {word}")
            space = [self._numbers[" "]] if words else []
            words.append([whole] if whole is not None else space + [self._numbers[character] for character in word])
        return words

    def decode(self, ids: Iterable[int]) -> str:
        """The characters of symbol numbers; blanks write nothing. Repeats are kept: collapsing is the decoder's work.

        Raises: ConfigError: a number is outside 0..size-1.
        """
        pieces = []
        for number in ids:
            if not 0 <= number < self.size:
                raise ConfigError(f"symbol number {number} is outside the alphabet's 0..{self.size - 1}")
            if number != BLANK:
                pieces.append(self.symbols[number])
        if pieces and len(pieces[0]) > 1:
            pieces[0] = pieces[0][1:]
        return "".join(pieces)
