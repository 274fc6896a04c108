"""Text and symbol numbers: round trips, normalisation, refusals."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipread.alphabet import BLANK_SYMBOL, Alphabet
from lipread.errors import ConfigError, DataError

ENGLISH = Alphabet.english()


def test_english_has_29_symbols_in_a_fixed_order() -> None:
    assert ENGLISH.size == 29
    assert ENGLISH.blank == 0
    assert ENGLISH.symbols[:4] == (BLANK_SYMBOL, " ", "'", "a")


def test_encode_by_hand() -> None:
    assert ENGLISH.encode("a b'c") == [3, 1, 4, 2, 5]


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz' ", max_size=60))
def test_round_trip(text: str) -> None:
    assert ENGLISH.decode(ENGLISH.encode(text)) == " ".join(text.split())


@given(st.text(max_size=40))
def test_normalise_is_stable_or_refuses(text: str) -> None:
    try:
        once = ENGLISH.normalise(text)
    except DataError:
        assert any(not character.isascii() or character.isdigit() for character in text)
    else:
        assert ENGLISH.normalise(once) == once
        assert set(once) <= set(ENGLISH.symbols[1:])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Bin  BLUE\tat\nF", "bin blue at f"),
        ("It\u2019s well-known, isn't it?", "it's well known isn't it"),
        ("  ... ", ""),
        ("end.Next", "end next"),
        ("\uff21bc", "abc"),  # a full-width A
    ],
)
def test_normalise(text: str, wanted: str) -> None:
    assert ENGLISH.normalise(text) == wanted


def test_foreign_letters_are_shown_once_each() -> None:
    with pytest.raises(DataError, match="ß é 7;") as caught:
        ENGLISH.normalise("Straße été 77")
    assert "'Straße été 77'" in str(caught.value)


def test_an_alphabet_without_apostrophe_drops_it_without_a_gap() -> None:
    assert Alphabet((BLANK_SYMBOL, " ", *"dnot")).normalise("don't") == "dont"


def test_an_alphabet_without_space_joins_words() -> None:
    assert Alphabet((BLANK_SYMBOL, "a", "b")).normalise("a b") == "ab"


def test_json_round_trip() -> None:
    assert Alphabet.from_list(json.loads(json.dumps(ENGLISH.symbols))) == ENGLISH


@pytest.mark.parametrize(
    ("symbols", "shown"),
    [
        ((), "nothing"),
        (("a", BLANK_SYMBOL), "'a'"),
        ((BLANK_SYMBOL, "A"), "'A'"),
        ((BLANK_SYMBOL, "ab"), "'ab'"),
        ((BLANK_SYMBOL, "a", "b", "a"), "'a' more than once"),
    ],
)
def test_bad_symbols_are_refused(symbols: tuple[str, ...], shown: str) -> None:
    with pytest.raises(ConfigError, match=shown):
        Alphabet(symbols)


def test_from_list_wants_strings() -> None:
    with pytest.raises(ConfigError, match="list of strings"):
        Alphabet.from_list([BLANK_SYMBOL, 3])  # type: ignore[list-item]


def test_decode_skips_blanks_keeps_repeats_and_refuses_strangers() -> None:
    assert ENGLISH.decode([0, 3, 0, 3, 3]) == "aaa"
    with pytest.raises(ConfigError, match=r"29 is outside the alphabet's 0\.\.28"):
        ENGLISH.decode([29])
    with pytest.raises(ConfigError, match="-1"):
        ENGLISH.decode([-1])


def test_frequent_words_have_symbols_and_all_others_are_spelled() -> None:
    words = Alphabet.english().with_words(["bin", "blue"])
    bin_, blue = words.symbols.index(" bin"), words.symbols.index(" blue")
    assert words.encode("bin blue") == [bin_, blue]
    assert words.encode_words("bin a") == [[bin_], [words.symbols.index(" "), words.symbols.index("a")]]
    for text in ("bin blue at f", "at bin", "cat", "bin", "bins bin binbin"):
        assert words.decode(words.encode(text)) == text
    assert Alphabet.from_list(list(words.symbols)) == words


@pytest.mark.parametrize("symbol", [" two words", "ab", "  ", " Bin"])
def test_symbols_that_are_neither_character_nor_word_are_refused(symbol: str) -> None:
    with pytest.raises(ConfigError, match="lower-case"):
        Alphabet(("<blank>", " ", symbol))
