"""Text <-> the symbol numbers of the CTC head.

Symbol 0 is the CTC blank; every other symbol is one character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from lipread.errors import ConfigError, DataError

BLANK = 0
BLANK_SYMBOL = "<blank>"
_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'", "`": "'"})


@dataclass(frozen=True)
class Alphabet:
    """The symbols a network can write, in the order of its output channels.

    Attributes:
        symbols: `BLANK_SYMBOL` first, then single lower-case characters, each once.
    Raises: ConfigError: the first symbol is not the blank, or a symbol is repeated, longer than one character,
        or not lower case.
    """

    symbols: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.symbols or self.symbols[0] != BLANK_SYMBOL:
            first = repr(self.symbols[0]) if self.symbols else "nothing"
            raise ConfigError(f"alphabet.symbols starts with {first}; symbol 0 must be {BLANK_SYMBOL!r}")
        for symbol in self.symbols[1:]:
            if len(symbol) != 1 or symbol != symbol.lower():
                raise ConfigError(f"alphabet.symbols has {symbol!r}; each symbol must be one lower-case character")
        repeated = sorted({symbol for symbol in self.symbols if self.symbols.count(symbol) > 1})
        if repeated:
            raise ConfigError(f"alphabet.symbols has {', '.join(map(repr, repeated))} more than once; list each once")

    @classmethod
    def english(cls) -> Alphabet:
        """Blank, space, apostrophe and a to z: 29 symbols."""
        return cls((BLANK_SYMBOL, " ", "'", *"abcdefghijklmnopqrstuvwxyz"))

    @classmethod
    def from_list(cls, symbols: Sequence[str]) -> Alphabet:
        """The inverse of `to_list`, as read from JSON."""
        if isinstance(symbols, str) or not all(isinstance(symbol, str) for symbol in symbols):
            raise ConfigError(f"alphabet.symbols is {symbols!r}; it must be a list of strings")
        return cls(tuple(symbols))

    def to_list(self) -> list[str]:
        """The symbols as a list that JSON can hold."""
        return list(self.symbols)

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
                f"{''.join(self.symbols[1:])!r}"
            )
        separator = " " if " " in self._numbers else ""
        return separator.join("".join(kept).split())

    def encode(self, text: str) -> list[int]:
        """Symbol numbers of a text that is normalised first.

        Raises: DataError: as `normalise`.
        """
        return [self._numbers[character] for character in self.normalise(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The characters of symbol numbers; blanks write nothing. Repeats are kept: collapsing is the decoder's work.

        Raises: ConfigError: a number is outside 0..size-1.
        """
        characters = []
        for number in ids:
            if not 0 <= number < self.size:
                raise ConfigError(f"symbol number {number} is outside the alphabet's 0..{self.size - 1}")
            if number != BLANK:
                characters.append(self.symbols[number])
        return "".join(characters)
