"""Binary files of KenLM against sums by hand and the ARPA files that they were made of."""

from __future__ import annotations

import base64
import sys
import zlib
from pathlib import Path

import pytest

from lipread.alphabet import BLANK_SYMBOL, Alphabet
from lipread.config import SearchConfig
from lipread.decoding.beam import BeamDecoder
from lipread.decoding.lm import NgramModel
from lipread.decoding.ngram_binary import BinaryNgrams, load_ngrams
from lipread.errors import ConfigError, DataError, MissingDependencyError
from lipread.language_models import make_search
from lipread.training.ngram import estimate_ngrams
from test_beam import noise
from test_lm import BY_HAND, LN_10, SCORES

# KenLM 0.3.0, `build_binary trie`: of test_lm.BY_HAND, and of characters_arpa() below
WORDS = (
    "eNrLzU0sUMjJVcgoKSmw0tfPzkhNTMtMzUnRS87P1U/OT0lVSMsvyk0sUShLLSrOzM9TMOViQIAGeyCxnxFI/AcCkAgjVIYZTB6wZ4KKgTArih"
    "xCLQiwQOmCOsW9lm2lDBL+syxtJ5ZzTtVe9e2v/PQwrpzvH2uLH2QjdBzYD3IAgn/sEJC7D8FfAJRv2IvgO4DU70OyE6yfiQEVMDNgB0Dxn0C9"
    "f4C+38APNHw70AF1IANgBnIwIHz1CdlnDDaledl2DDbFdgxJOaWpDEmZeQw2+kAeAPB/PyE="
)
CHARACTERS = (
    "eNrLzU0sUMjJVcgoKSmw0tfPzkhNTMtMzUnRS87P1U/OT0lVSMsvyk0sUShLLSrOzM9TMOViQIAGeyCxnxFI/AcCkAgjVIYJTB6wZ4KKgTAHVI"
    "4TyQR2KF1Qp7jXsq2UQTA7+/IlcXH2O/MMHpStXS2yhU98r4Y3TzJXzvePtcUPso8fOn7Txqf5trmW1qTaP92vYOYEb5m0H+QghMnHDs1WmLUP"
    "xtsgbrsfmb+uIBXMZ0LjMyOpB5nHgibPhmYeOwMq4GTADjbe+fBOufGGyXzR2D8/l714dF79NO/7fdF5Fd/vXrI9oD9N+l7tJqASZmQ9NqV52X"
    "YMNsV2DIkMeQw1DDb6QGYmQxIDAJKJbxE="
)
ALPHABET = Alphabet((BLANK_SYMBOL, " ", *"abinlue", " bin", " blue"))


@pytest.fixture
def words(tmp_path: Path) -> Path:
    return unpacked(tmp_path / "words.bin", WORDS)


@pytest.fixture
def characters(tmp_path: Path) -> Path:
    return unpacked(tmp_path / "characters.bin", CHARACTERS)


def unpacked(path: Path, text: str) -> Path:
    path.write_bytes(zlib.decompress(base64.b64decode(text)))
    return path


def characters_arpa(folder: Path) -> Path:
    path = folder / "characters.arpa"
    estimate_ngrams(["bin a", "ab"], order=2, unit="char").write(path)
    return path


@pytest.mark.parametrize("text", SCORES)
def test_words_score_as_by_hand(words: Path, text: str) -> None:
    model = load_ngrams(words, None, ["bin", "blue"], "abin")
    assert isinstance(model, BinaryNgrams) and model.unit == "word" and model.vocabulary == {"bin", "blue"}
    assert model.scores([text]) == pytest.approx([SCORES[text] * LN_10], rel=1e-3)


def test_characters_score_as_their_arpa_file(characters: Path, tmp_path: Path) -> None:
    model, arpa = load_ngrams(characters, None, None, "abin "), NgramModel.load(characters_arpa(tmp_path))
    assert isinstance(model, BinaryNgrams) and model.unit == "char" and model.vocabulary == set("abin|")
    texts = ["bin a", "ab", "nib", "", "xyz"]
    assert model.scores(texts) == pytest.approx(arpa.scores(texts), rel=1e-4)


@pytest.mark.parametrize("unit", ["word", "char"])
def test_the_beam_finds_the_same_as_with_the_arpa_file(
    unit: str, words: Path, characters: Path, tmp_path: Path
) -> None:
    arpa = tmp_path / "words.arpa"
    arpa.write_text(BY_HAND)
    binary = words
    if unit == "char":
        arpa, binary = characters_arpa(tmp_path), characters
    lexicon = ["bin", "blue", "a", "ab"]
    for seed in range(3):
        scores = noise(12, ALPHABET, seed)
        left, right = (BeamDecoder(ALPHABET, lm=file, lexicon=lexicon).decode(scores) for file in (arpa, binary))
        assert [each.text for each in left] == [each.text for each in right]
        assert [each.score for each in left] == pytest.approx([each.score for each in right], abs=1e-3)


def test_what_a_binary_file_cannot_do_is_said(
    words: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="does not tell its words; give a lexicon, or the ARPA file"):
        load_ngrams(words, None, None, "abin")
    with pytest.raises(DataError, match="knows none of the lexicon's"):
        BeamDecoder(ALPHABET, lm=words, lexicon=["nib"])
    with pytest.raises(DataError, match="a binary file of KenLM; give the ARPA file it was made of"):
        make_search(SearchConfig(decoder="grammar", lm=str(words)), Alphabet.english())
    cut = tmp_path / "cut.bin"
    cut.write_bytes(words.read_bytes()[:200])
    with pytest.raises(DataError, match=r"cut\.bin: KenLM cannot read it"):
        load_ngrams(cut, None, ["bin"], "abin")
    monkeypatch.setitem(sys.modules, "flashlight.lib.text.decoder.kenlm", None)
    with pytest.raises(MissingDependencyError, match="pip install flashlight-text"):
        load_ngrams(words, None, ["bin"], "abin")
