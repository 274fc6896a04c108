"""n-grams in ARPA format: a file written by hand, KenLM as an independent reader, and files that are broken."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest

from kenlm_reader import kenlm_scores
from lipread.decoding.lm import NgramModel, read_arpa, split_sentence
from lipread.errors import ConfigError, DataError
from lipread.training.ngram import estimate_ngrams

LN_10 = math.log(10)
BY_HAND = """# a comment
\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1.5\t<unk>
-99\t<s>\t-0.25
-0.5\t</s>
-0.75\tbin\t-0.125
-1.25\tblue\t-0.0625

\\2-grams:
-0.375\t<s> bin\t-0.03125
-0.625\tbin blue\t-0.5
-0.875\tblue </s>

\\3-grams:
-0.1875\t<s> bin blue

\\end\\
"""


@pytest.fixture
def by_hand(tmp_path: Path) -> Path:
    path = tmp_path / "hand.arpa"
    path.write_text(BY_HAND)
    return path


SCORES = {
    "bin blue": -0.375 - 0.1875 + (-0.5 - 0.875),  # `bin blue </s>` backs off with the weight of `bin blue`
    "blue": (-0.25 - 1.25) - 0.875,
    "blue bin": (-0.25 - 1.25) + (-0.0625 - 0.75) + (-0.125 - 0.5),
    "": -0.25 - 0.5,
    "green": (-0.25 - 1.5) - 0.5,
    "bin green blue": -0.375 + (-0.03125 - 0.125 - 1.5) - 1.25 - 0.875,
    "BIN  blue\t": -0.375 - 0.1875 + (-0.5 - 0.875),
    "<s> </s>": (-0.25 - 1.5) - 1.5 - 0.5,  # marks in a text are unknown words
}


@pytest.mark.parametrize("text", SCORES)
def test_scores_by_hand(by_hand: Path, text: str) -> None:
    assert NgramModel.load(by_hand).scores([text]) == pytest.approx([SCORES[text] * LN_10], abs=1e-9)


def test_what_a_model_says_of_itself(by_hand: Path) -> None:
    model = NgramModel.load(by_hand)
    assert (model.order, model.unit, model.counts) == (3, "word", (5, 3, 1))
    assert model.vocabulary == {"bin", "blue"}
    assert model.scores([]) == []
    assert model.tokens("Bin of blue") == ["bin", "<unk>", "blue"]


def test_perplexity_is_per_token_with_the_ends(by_hand: Path) -> None:
    texts = ["bin blue", "green"]
    log10 = SCORES["bin blue"] + SCORES["green"]
    assert NgramModel.load(by_hand).perplexity(texts) == pytest.approx(10 ** (-log10 / (3 + 2)), rel=1e-12)
    with pytest.raises(ConfigError, match="no text"):
        NgramModel.load(by_hand).perplexity([])


def test_token_scores_add_up(by_hand: Path) -> None:
    model = NgramModel.load(by_hand)
    each = model.token_scores("bin blue")
    assert len(each) == 3 and each[0] == pytest.approx(-0.375 * LN_10)
    assert sum(each) == pytest.approx(model.scores(["bin blue"])[0])


def test_gzip_line_ends_and_spaces_make_no_difference(by_hand: Path, tmp_path: Path) -> None:
    want = read_arpa(by_hand)
    packed, windows, spaces = (tmp_path / name for name in ("a.arpa.gz", "b.arpa", "c.arpa"))
    packed.write_bytes(gzip.compress(BY_HAND.encode()))
    windows.write_bytes(BY_HAND.replace("\n", "\r\n").encode())
    spaces.write_text(BY_HAND.replace("\t", "  ").replace("ngram 2=3", "ngram  2 = 3"))
    for path in (packed, windows, spaces):
        assert read_arpa(path) == want


def test_without_unknown_word_kenlm_agrees(tmp_path: Path) -> None:
    path = tmp_path / "closed.arpa"
    path.write_text(BY_HAND.replace("-1.5\t<unk>\n", "").replace("1=5", "1=4"))
    model = NgramModel.load(path)
    assert model.scores(["green"])[0] == pytest.approx((-0.25 - 100 - 0.5) * LN_10)
    assert kenlm_scores(path, [["green"]])[0] == pytest.approx(-0.25 - 100 - 0.5, rel=1e-6)


def test_a_model_in_capitals_reads_our_texts(tmp_path: Path) -> None:
    path = tmp_path / "capitals.arpa"
    path.write_text(BY_HAND.replace("bin", "BIN").replace("blue", "BLUE"))
    assert NgramModel.load(path).scores(["bin blue"]) == pytest.approx([SCORES["bin blue"] * LN_10])


def test_case_does_not_count_in_a_text(tmp_path: Path) -> None:
    path = tmp_path / "mixed.arpa"
    path.write_text(BY_HAND.replace("bin", "Bin"))
    assert NgramModel.load(path).scores(["bin blue", "BIN blue"]) == pytest.approx([SCORES["bin blue"] * LN_10] * 2)
    more = BY_HAND.replace("1=5", "1=6").replace("-0.75\tbin", "-4\tBIN\n-0.75\tbin")
    path.write_text(more)  # both are there: the one in lower case is meant
    assert NgramModel.load(path).scores(["Bin blue"]) == pytest.approx([SCORES["bin blue"] * LN_10])


def test_the_unknown_word_in_capitals_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "capitals.arpa"
    path.write_text(BY_HAND.replace("<unk>", "<UNK>"), encoding="utf-8-sig")
    model = NgramModel.load(path)
    assert "<UNK>" not in model.vocabulary
    texts = ["green", "bin green blue"]
    assert model.scores(texts) == pytest.approx([SCORES[text] * LN_10 for text in texts])
    path.write_text(BY_HAND.replace("<unk>", "<UNK>"))  # KenLM knows no such mark
    theirs = kenlm_scores(path, [text.split() for text in texts])
    assert model.scores(texts) == pytest.approx([score * LN_10 for score in theirs], rel=1e-5)


def test_characters_are_told_by_the_sign_of_the_space(tmp_path: Path) -> None:
    assert split_sentence("Bin a", "char") == ["b", "i", "n", "|", "a"]
    path = tmp_path / "c.arpa"
    estimate_ngrams(["bin a", "ab"], order=2, unit="char").write(path)
    model = NgramModel.load(path)
    assert (model.unit, NgramModel.load(path, unit="word").unit) == ("char", "word")
    assert model.tokens("a bx") == ["a", "|", "b", "<unk>"]
    estimate_ngrams(["b i n", "a b"], order=2).write(path)  # words of one letter
    assert NgramModel.load(path).unit == "word"


@pytest.mark.parametrize("text", ["bin blue", "blue bin blue", "green bin", "", "bin bin bin bin", "a b c d"])
def test_scores_by_hand_equal_kenlm(by_hand: Path, text: str) -> None:
    (log10,) = kenlm_scores(by_hand, [text.split()])
    assert NgramModel.load(by_hand).scores([text])[0] == pytest.approx(log10 * LN_10, rel=1e-5)


def test_a_broken_file_names_file_and_line(tmp_path: Path) -> None:
    def broken(old: str, new: str, *said: str) -> None:
        path = tmp_path / "broken.arpa"
        assert old in BY_HAND
        path.write_text(BY_HAND.replace(old, new, 1))
        with pytest.raises(DataError) as caught:
            NgramModel.load(path)
        message = str(caught.value)
        assert message.startswith(str(path)) and "\n" not in message
        for part in said:
            assert part in message, message

    broken("\\data\\", "hello", "line 2", "hello", "no ARPA file")
    broken("ngram 1=5", "ngram 1=6", "line 14", "5 1-grams end here", "says 6")
    broken("ngram 1=5", "ngram 1=4", "line 14", "says 4")
    broken("ngram 2=3", "ngram 3=3", "line 4", "ngram 2=COUNT")
    broken("ngram 2=3", "ngram 2=many", "line 4", "ngram 2=many")
    broken("ngram 1=5\nngram 2=3\nngram 3=1\n", "", "line 4", "ngram 1=COUNT")
    broken("\\2-grams:", "\\3-grams:", "line 14", "\\2-grams: should be")
    broken("-0.75\tbin", "minus\tbin", "line 11", "not a number", "minus")
    broken("-0.75\tbin", "nan\tbin", "line 11", "nan")
    broken("-0.75\tbin", "-inf\tbin", "line 11")
    broken("-0.75\tbin", "0.75\tbin", "line 11", "up to 0")
    broken("bin\t-0.125", "bin\tinf", "line 11", "finite")
    broken("bin\t-0.125", "bin\tx", "line 11", "not a number")
    broken("bin\t-0.125", "bin\t-0.125\t-1\t-2", "line 11")
    broken("-0.625\tbin blue\t-0.5", "-0.625\tbin", "line 16", "2 words")
    broken("-0.625\tbin blue", "-0.625\tbin red", "line 16", "bin red", "1-grams")
    broken("-0.875\tblue </s>", "-0.875\tbin blue", "line 17", "twice")
    broken("\\end\\", "\\4-grams:", "line 22", "\\end\\")
    broken("\n-99\t<s>\t-0.25", "\n-99\tset\t-0.25", "line 15", "<s> bin")
    broken("</s>\n-0.75", "stop\n-0.75", "line 17", "blue </s>")


def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path) -> None:
    """Every cut before \\end\\ is an error of ours; none gives a model of half the numbers."""
    path, whole = tmp_path / "cut.arpa", BY_HAND.rstrip()
    for length in range(len(whole)):
        path.write_text(whole[:length])
        with pytest.raises(DataError, match="cut.arpa"):
            NgramModel.load(path)
    path.write_text(whole)
    assert NgramModel.load(path).order == 3


def test_sentences_without_marks_cannot_be_scored(tmp_path: Path) -> None:
    path = tmp_path / "marks.arpa"
    path.write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n-0.5\t<s>\n-0.5\ta\n\n\\end\\\n")
    with pytest.raises(DataError, match="no 1-gram </s>"):
        NgramModel.load(path)


def test_files_of_another_kind(tmp_path: Path) -> None:
    def refused(content: bytes, said: str) -> None:
        path = tmp_path / "other.arpa"
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            NgramModel.load(path)

    refused(b"", "is empty")
    refused(b"\n \n# only a comment\n", "is empty")
    refused(b"\\data\\\n", "line 1: is cut off in its header")
    refused(b"mmap lm http://kheafield.com/code format version 5\n\x00\xff", "binary file of KenLM; give the ARPA")
    refused("\\data\\\nngram 1=3\n\\1-grams:\n-1\tß\n".encode("latin-1"), "line 4: is not UTF-8")
    packed = gzip.compress(BY_HAND.encode())
    refused(packed[:-20], "cut off")
    refused(packed[:20] + b"\x00\x00\x00\x00" + packed[24:], "other.arpa")
    with pytest.raises(DataError, match="absent.arpa: cannot be read"):
        NgramModel.load(tmp_path / "absent.arpa")
    with pytest.raises(DataError, match="cannot be read"):
        NgramModel.load(tmp_path)
