"""Lexicon: the file, and which symbols may follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from lipread.alphabet import BLANK_SYMBOL, Alphabet
from lipread.decoding.beam import read_lexicon
from lipread.decoding.lexicon import Lexicon
from lipread.errors import ConfigError, DataError

ALPHABET = Alphabet.english().with_words(["bin", "at"])


def following(lexicon: Lexicon, word: str, alphabet: Alphabet = ALPHABET, **situation: bool) -> set[str]:
    row = lexicon.may_follow(word, **situation)
    assert row.shape == (alphabet.size - 1,)
    return {symbol for symbol, allowed in zip(alphabet.symbols[1:], row, strict=True) if allowed}


def test_read(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffBin\r\n\n# a comment\n it\u2019s  # said often\nbin\nnow".encode())
    assert read_lexicon(path, ALPHABET) == ("bin", "it's", "now")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no word"),
        (b"# only a comment\n\n", "has no word"),
        (b"bin\nblue now\n", r"line 2: 'blue now' is not one word"),
        (b"bin\n\nwell-known\n", r"line 3: 'well-known' is not one word"),
        ("bin\nna\u00efve\n".encode(), r"line 2: .*na\u00efve"),
        (b"bin\n\xff\xfe\n", "line 2: is not UTF-8"),
        (b"bin\n...\n", "line 2: '...' is not one word"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"words.txt.*{says}"):
        read_lexicon(path, ALPHABET)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: cannot be read"):
        read_lexicon(tmp_path / "none.txt", ALPHABET)
    with pytest.raises(DataError, match="cannot be read"):
        read_lexicon(tmp_path, ALPHABET)


def test_words_that_only_a_symbol_can_write(tmp_path: Path) -> None:
    alphabet = Alphabet((BLANK_SYMBOL, " ", "a", "b", "t", " ab"))
    path = tmp_path / "words.txt"
    path.write_text("ab\nta")
    assert read_lexicon(path, alphabet) == ("ab", "ta")
    with pytest.raises(DataError, match="line 1.*cannot write: x"):
        path.write_text("ax")
        read_lexicon(path, alphabet)


def test_what_may_follow() -> None:
    lexicon = Lexicon(["bin", "at", "bit", "bits", "now"], ALPHABET)
    assert following(lexicon, "", begun=False) == {"b", "n", " ", " bin", " at"}
    assert following(lexicon, "") == {"b", "n"}  # after a space: spelled words only
    assert following(lexicon, "b") == {"i"}
    assert following(lexicon, "bi") == {"t"}  # bin has a symbol of its own
    assert following(lexicon, "bit") == {"s", " ", " bin", " at"}
    assert following(lexicon, "bits") == {" ", " bin", " at"}
    assert following(lexicon, "bin", whole=True) == {" ", " bin", " at"}
    assert following(Lexicon(["at"], ALPHABET), "at", whole=True) == {" at"}  # nothing to spell, so no space


def test_allows() -> None:
    lexicon = Lexicon(["bin", "at"], ALPHABET)
    assert lexicon.allows("at bin at")
    assert lexicon.allows("")
    assert not lexicon.allows("at bins")


def test_refusals() -> None:
    for none in ([], (), "bin"):
        with pytest.raises(ConfigError, match="no words"):
            Lexicon(none, ALPHABET)
    with pytest.raises(ConfigError, match="needs an alphabet with a space"):
        Lexicon(["ab"], Alphabet((BLANK_SYMBOL, "a", "b")))
    with pytest.raises(DataError, match=r"lexicon\[1\].*4"):
        Lexicon(["bin", "4"], ALPHABET)
