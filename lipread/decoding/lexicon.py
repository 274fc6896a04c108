"""A list of words -> the symbols that may come next.

The file has one word per line; # begins a comment.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from lipread.alphabet import BLANK, Alphabet
from lipread.errors import ConfigError, DataError
from lipread.files import PathLike


def read_lexicon(path: PathLike, alphabet: Alphabet) -> tuple[str, ...]:
    """Read the words of a file, each once, in its order.

    Raises: DataError: the file cannot be read, is not UTF-8 or has no word; a line has several words, or one that the
        alphabet cannot spell.
    """
    try:
        with open(path, "rb") as file:
            lines = file.read().split(b"\n")
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path}: cannot be read ({reason}); give a file with a word per line") from error
    words: dict[str, None] = {}
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig" if number == 1 else "utf-8").partition("#")[0].strip()
        except UnicodeDecodeError as error:
            raise DataError(f"{path}, line {number}: is not UTF-8; save the file as UTF-8") from error
        if not line:
            continue
        word = _checked(line, alphabet, f"{path}, line {number}")
        words[word] = None
    if not words:
        raise DataError(f"{path}: has no word; write one per line")
    return tuple(words)


def _checked(written: str, alphabet: Alphabet, where: str) -> str:
    """A word as the alphabet writes it. Raises: DataError: it cannot, or these are several words."""
    try:
        word = alphabet.normalise(written)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if not word or len(word.split()) != 1 or len(written.split()) != 1:
        raise DataError(f"{where}: {written[:60]!r} is not one word; write one word per line")
    singles = {symbol for symbol in alphabet.symbols if len(symbol) == 1}
    if f" {word}" not in alphabet.symbols and not singles.issuperset(word):
        raise DataError(f"{where}: {word!r} cannot be spelled with the symbols of the network; leave it out")
    return word


class Lexicon:
    """Which symbols may follow, so that a text has words of a list only, each in its one spelling.

    A word that has a symbol of its own is written with it. Others are spelled, after a space unless they are the first.

    Args:
        words: one at least; they are normalised.
        alphabet: it must spell them all.
    Raises: ConfigError: there is no word, or the alphabet has no space. DataError: a word cannot be spelled.
    """

    def __init__(self, words: Sequence[str], alphabet: Alphabet) -> None:
        if isinstance(words, str) or not words:
            raise ConfigError(f"lexicon={words!r} has no words; give one at least, or no lexicon")
        if " " not in alphabet.symbols:
            raise ConfigError("a lexicon needs an alphabet with a space, to tell words apart; leave the lexicon out")
        self.words = frozenset(_checked(word, alphabet, f"lexicon[{place}]") for place, word in enumerate(words))
        self._numbers = {symbol: number for number, symbol in enumerate(alphabet.symbols) if number != BLANK}
        self._spelled = sorted(word for word in self.words if f" {word}" not in self._numbers)
        whole = [self._numbers[f" {word}"] for word in self.words if f" {word}" in self._numbers]
        self._new_word = [*whole, *([self._numbers[" "]] if self._spelled else [])]

    def allows(self, text: str) -> bool:
        """Whether all words of a text are in the list."""
        return self.words.issuperset(text.split())

    def may_follow(self, word: str, *, whole: bool = False, begun: bool = True) -> npt.NDArray[np.bool_]:
        """Symbols that may come next, (V - 1,): without the blank.

        Args:
            word: letters written since the last space.
            whole: they are one symbol, which no letter can follow.
            begun: whether anything is written yet, be it a space.
        """
        allowed = [] if whole else [self._numbers[letter] for letter in self._letters(word)]
        if not begun or (word and (whole or word in self.words)):
            allowed += self._new_word
        row = np.zeros(max(self._numbers.values()), dtype=bool)
        row[np.array(allowed, dtype=np.int64) - 1] = True
        return row

    def _letters(self, prefix: str) -> Iterator[str]:
        """Letters that lead from a beginning to spelled words."""
        place = bisect_left(self._spelled, prefix)
        if place < len(self._spelled) and self._spelled[place] == prefix:
            place += 1
        while place < len(self._spelled) and self._spelled[place].startswith(prefix):
            letter = self._spelled[place][len(prefix)]
            yield letter
            place = bisect_left(self._spelled, prefix + chr(ord(letter) + 1), place)
