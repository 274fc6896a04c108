"""WordPiece against a small independent one, transformers' BertTokenizer, hand-made vocabularies and bad files."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.errors import ConfigError, DataError, MissingDependencyError
from lipread.wordpiece import NO_WORD, SPECIAL, WordPiece, fitting

PIECES = [*SPECIAL, "un", "##aff", "##able", "a", "b", "##b", "cafe", "!", "'", "中", "don", "t", "##t", "q"]
TEXT = ["place blue at f two now", "set white with p two soon", "lay green by k nine again"] * 3
ODD = "abqt un'!中文éÉßİ\t\n\u200b\u00a0\ufffd\x00#"
TEXTS = st.text(st.one_of(st.sampled_from(ODD), st.characters(exclude_categories=["Cs"])), max_size=30)


@pytest.fixture(scope="module")
def small() -> WordPiece:
    return WordPiece(PIECES)


def shown(wordpiece: WordPiece, text: str) -> list[str]:
    return [wordpiece.pieces[row] for row in wordpiece.split(text)[0]]


@pytest.mark.parametrize(("text", "wanted"), [
    ("unaffable", ["un", "##aff", "##able"]),
    ("UNAFFABLE Café!", ["un", "##aff", "##able", "cafe", "!"]),
    ("don't", ["don", "'", "t"]),
    ("中中a", ["中", "中", "a"]),
    ("unaffablez", ["[UNK]"]),  # the whole word
    ("bb b", ["b", "##b", "b"]),
    (" \t\n\x00", []),
    ("[MASK]", ["[UNK]", "[UNK]", "[UNK]"]),  # text cannot bring special pieces in
    ("a" * 101, ["[UNK]"]),
])
def test_splits_as_worked_out_by_hand(small: WordPiece, text: str, wanted: list[str]) -> None:
    assert shown(small, text) == wanted


def test_pieces_of_a_word_share_its_number(small: WordPiece) -> None:
    assert small.split("unaffable don't bb")[1] == [0, 0, 0, 1, 2, 3, 4, 4]
    assert small.split_all(["bb a", ""]) == [small.split("bb a"), ([], [])]


def test_case_is_kept_where_wanted() -> None:
    cased = WordPiece([*SPECIAL, "A", "a", "é"], lower_case=False)
    assert shown(cased, "A a é") == ["A", "a", "é"]
    assert shown(WordPiece([*SPECIAL, "é"], strip_accents=False), "É") == ["é"]


def greedy(pieces: set[str], word: str) -> list[str]:
    """WordPiece as its paper says it, one character at a time."""
    if len(word) > 100:
        return ["[UNK]"]
    found: list[str] = []
    while word:
        prefix = "##" if found else ""
        length = next((n for n in range(len(word), 0, -1) if prefix + word[:n] in pieces), 0)
        if not length:
            return ["[UNK]"]
        found.append(prefix + word[:length])
        word = word[length:]
    return found


@given(st.lists(st.text("abtunq", min_size=1, max_size=8), max_size=5))
def test_equals_the_slow_way(words: list[str]) -> None:
    wordpiece = WordPiece([*PIECES, "##a", "##u", "##n", "tu", "ab"])
    wanted = [piece for word in words for piece in greedy(set(wordpiece.pieces), word)]
    assert shown(wordpiece, " ".join(words)) == wanted


@pytest.mark.parametrize("lower", [True, False])
def test_equals_transformers_on_any_text(lower: bool, tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="pip install 'lipread[dev]' brings transformers")
    ours = WordPiece([*PIECES, "é", "s", "##s", "i"], lower_case=lower)
    ours.save(tmp_path / "vocab.txt")
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path, do_lower_case=lower)

    @settings(max_examples=150, deadline=None)
    @given(TEXTS, TEXTS)
    def same(text: str, second: str) -> None:
        if any(piece in text + second for piece in SPECIAL):
            return  # there it takes them for special pieces, which is not wanted here
        assert list(ours.encode(text).ids) == theirs(text)["input_ids"]
        pair, wanted = ours.encode(text, second or "a"), theirs(text, second or "a")
        assert list(pair.ids) == wanted["input_ids"]
        assert list(pair.segments) == wanted["token_type_ids"]

    same()


def test_sequences(small: WordPiece) -> None:
    one = small.encode("bb a")
    assert one.ids == (2, 9, 10, 8, 3)
    assert one.segments == (0,) * 5
    assert one.words == (NO_WORD, 0, 0, 1, NO_WORD)
    two = small.encode("bb a", "q bb")
    assert two.ids == (2, 9, 10, 8, 3, 18, 9, 10, 3)
    assert two.segments == (0,) * 5 + (1,) * 4
    assert two.words == (NO_WORD, 0, 0, 1, NO_WORD, 2, 3, 3, NO_WORD)
    assert small.encode("", "").words == (NO_WORD,) * 3


def test_too_long_sequences_lose_what_is_far(small: WordPiece) -> None:
    assert small.encode("bb a q", most=5).ids == (2, 9, 10, 8, 3)
    assert small.encode("bb a q", most=2).ids == (2, 3)
    pair = small.encode("bb a q", "b a a q", most=7)  # the end of the first, the beginning of the second
    assert pair.ids == (2, 8, 18, 3, 9, 8, 3)
    assert pair.words == (NO_WORD, 0, 1, NO_WORD, 2, 3, NO_WORD)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 40))
def test_fitting_takes_from_the_longer(first: int, second: int, room: int) -> None:
    a, b = first, second
    while a + b > room:  # one at a time, as BERT's own does
        a, b = (a - 1, b) if a > b else (a, b - 1)
    kept = fitting(first, second, room)
    assert sum(kept) == a + b
    assert abs(kept[0] - a) <= 1 and kept[0] <= first and kept[1] <= second


def test_training_learns_words_and_only_what_is_there() -> None:
    wordpiece = WordPiece.train(TEXT, 500)
    assert wordpiece.pieces[:5] == SPECIAL
    for text in TEXT:
        ids, words = wordpiece.split(text)
        assert wordpiece.unknown not in ids
        assert len(ids) == len(words) == len(text.split())  # frequent words are one piece
    letters = set("".join(TEXT)) - {" "}
    assert set("".join(wordpiece.pieces[5:]).replace("#", "")) == letters
    assert len(WordPiece.train(TEXT, 60).pieces) <= 60
    assert len(WordPiece.train(TEXT, 60).pieces) < len(wordpiece.pieces)


def test_training_separates_what_basic_tokenisation_separates() -> None:
    pieces = WordPiece.train(["Éa中文 b!b", "Éa中文 b!b"], 100).pieces
    assert {"ea", "中", "文", "!", "b"} <= set(pieces)
    assert not [piece for piece in pieces if "中文" in piece or "b!" in piece]
    assert not [piece for piece in pieces if unicodedata.normalize("NFD", piece) != piece]


def test_rare_words_stay_in_characters() -> None:
    wordpiece = WordPiece.train(["abc abc xyz"], 100)
    assert shown(wordpiece, "abc xyz") == ["abc", "x", "##y", "##z"]


def test_training_gives_the_same_in_every_process() -> None:
    code = (
        "from lipread.wordpiece import WordPiece\n"
        f"print(repr(WordPiece.train({[*TEXT, 'unaffable table stable fable']!r}, 70).pieces))"
    )
    seen = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            for _ in range(3)}
    assert len(seen) == 1 and "SEP" in seen.pop()


def test_too_small_a_vocabulary_says_how_large() -> None:
    with pytest.raises(ConfigError, match="vocab=10 is too small for the 4 characters.*need 11 pieces") as caught:
        WordPiece.train(["ab cd"], 10)
    assert "\n" not in str(caught.value)
    assert len(WordPiece.train(["ab cd"], 11).pieces) == 11  # a b c d ##b ##d
    with pytest.raises(DataError, match="has no words"):
        WordPiece.train([" ", "\t"], 100)


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=5))
@settings(max_examples=40, deadline=None)
def test_any_text_can_be_learnt_from(texts: list[str]) -> None:
    try:
        wordpiece = WordPiece.train(texts, 3000)
    except DataError as error:
        assert "no words" in str(error)
        return
    for text in texts:
        assert wordpiece.unknown not in wordpiece.split(text)[0]


def test_saved_and_loaded(tmp_path: Path, small: WordPiece) -> None:
    file = tmp_path / "vocab.txt"
    small.save(file)
    assert WordPiece.load(file).pieces == small.pieces
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    assert WordPiece.load(file).pieces == small.pieces


@pytest.mark.parametrize(("content", "said"), [
    (b"a\nb\n", r"has no \[PAD\]"),
    ("\n".join([*SPECIAL, "a", "b", "a"]).encode(), "the piece 'a' is there 2 times"),
    ("\n".join(SPECIAL[:4]).encode(), r"has no \[MASK\]"),
    (b"\xff\xfe[PAD]", "is not UTF-8"),
    (b"", r"has no \[PAD\]"),
    (None, "cannot be read"),
])
def test_bad_vocabularies_are_one_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "vocab.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        WordPiece.load(file)
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingDependencyError, match="pip install tokenizers"):
        WordPiece(PIECES)
