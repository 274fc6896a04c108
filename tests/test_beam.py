"""Prefix beam search against sums over every path, greedy, and torchaudio's decoder; long inputs; bad input."""

from __future__ import annotations

import math
import time
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_by_hand import log_probs, log_softmax, probabilities_of_all_texts, probability_of_text
from lipread.alphabet import BLANK_SYMBOL, Alphabet
from lipread.decoding.beam import BeamDecoder
from lipread.decoding.greedy import greedy_decode
from lipread.decoding.lm import NgramModel, Unit
from lipread.errors import ConfigError, DataError
from lipread.training.ngram import estimate_ngrams
from lipread.values import Array

AB = Alphabet((BLANK_SYMBOL, "a", "b"))
WORDS = Alphabet((BLANK_SYMBOL, " ", "a", "b", " a", " ab"))
ENGLISH = Alphabet.english().with_words(["bin", "at", "blue", "red", "a"])


def saying(symbols: list[str], alphabet: Alphabet = ENGLISH, *, sure: float = 0.9) -> Array:
    """Log-probabilities with one likely symbol per frame; "" is the blank."""
    frames = np.full((len(symbols), alphabet.size), (1 - sure) / (alphabet.size - 1))
    for frame, symbol in zip(frames, symbols, strict=True):
        frame[alphabet.symbols.index(symbol or BLANK_SYMBOL)] = sure
    return np.log(frames).astype(np.float32)


def noise(frames: int, alphabet: Alphabet, seed: int = 0, blank: float = 4.0) -> Array:
    scores = np.random.default_rng(seed).normal(size=(frames, alphabet.size)) * 2
    scores[:, 0] += blank
    return log_softmax(scores)


@pytest.mark.parametrize("lexicon", [None, ["a", "ab", "b"]], ids=["open", "lexicon"])
@pytest.mark.parametrize("unit", ["word", "char"])
def test_a_wide_beam_with_an_ngram_finds_the_best_of_all_texts(
    unit: Unit, lexicon: list[str] | None, tmp_path: Path
) -> None:
    said = ["a ab", "a a b", "ab a", "b ab ab a", "ab b a", "a b ab"]
    estimate_ngrams(said, order=3, unit=unit).write(tmp_path / "lm.arpa")
    lm = NgramModel.load(tmp_path / "lm.arpa")
    decoder = BeamDecoder(
        WORDS, beam_size=3000, nbest=3000, lm=lm, lm_weight=0.7, word_score=0.4, lexicon=lexicon
    )
    for seed in range(3):
        scores = noise(4, WORDS, seed, blank=0.0)
        wanted = {
            text: (math.log(probability), lm.scores([text])[0])
            for text, probability in probabilities_of_all_texts(scores, WORDS).items()
            if probability > 0 and (lexicon is None or set(text.split()) <= set(lexicon))
        }
        found = decoder.decode(scores)
        missing = set(wanted) - {each.text for each in found}  # in a lexicon each word has one spelling
        assert all(len(canonical_of_words(text)) + repeats(text) > len(scores) for text in missing)
        assert lexicon or not missing
        for each in found:
            acoustic, of_lm = wanted[each.text]
            assert (each.acoustic_score, each.lm_score) == pytest.approx((acoustic, of_lm), abs=1e-4)
            assert each.score == pytest.approx(acoustic + 0.7 * of_lm + 0.4 * len(each.text.split()), abs=1e-4)
        assert found[0].score == max(each.score for each in found)


@pytest.mark.parametrize("alphabet", [AB, WORDS], ids=["letters", "words"])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_a_wide_beam_finds_every_text_with_its_probability(alphabet: Alphabet, data: st.DataObject) -> None:
    scores = data.draw(log_probs(alphabet.size, 4 if alphabet is AB else 3))
    wanted = probabilities_of_all_texts(scores, alphabet)
    found = BeamDecoder(alphabet, beam_size=2000, nbest=2000).decode(scores)
    assert {each.text: math.exp(each.acoustic_score) for each in found} == pytest.approx(wanted, rel=1e-4, abs=1e-9)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert all(each.score == each.acoustic_score and each.lm_score == 0 for each in found)


@given(log_probs(WORDS.size, 8), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_never_below_greedy(scores: Array, beam_size: int) -> None:
    best = BeamDecoder(WORDS, beam_size=beam_size, nbest=1).decode(scores)[0]
    greedy = greedy_decode(scores, WORDS)
    of_best, of_greedy = (probability_of_text(scores, text, WORDS) for text in (best.text, greedy.text))
    assert of_best >= of_greedy * (1 - 1e-6)
    assert math.exp(best.acoustic_score) == pytest.approx(of_best, rel=1e-5)


def canonical(words: list[str]) -> list[int]:
    return [number for word in ENGLISH.encode_words(" ".join(words)) for number in word]


@given(st.lists(st.sampled_from(["bin", "at", "a", "tab", "abet"]), min_size=1, max_size=5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_reads_what_is_said_with_any_lexicon(words: list[str], held: bool) -> None:
    path: list[str] = []
    for number in canonical(words):
        path += [ENGLISH.symbols[number]] * (3 if held else 1) + [""]
    for lexicon in (None, ["bin", "at", "a", "tab", "abet", "tabs", "t"]):
        assert BeamDecoder(ENGLISH, lexicon=lexicon).decode(saying(path))[0].text == " ".join(words)


def test_a_word_may_last_longer_than_a_frame() -> None:
    scores = saying([" bin", " bin", ""], sure=0.98)
    for lexicon in (None, ["bin", "at"]):
        best = BeamDecoder(ENGLISH, lexicon=lexicon).decode(scores)[0]
        assert best.text == "bin"
        assert math.exp(best.score) > 0.98**3
        assert math.exp(best.score) == pytest.approx(probability_of_text(scores, "bin", ENGLISH), rel=1e-4)


@given(log_probs(WORDS.size, 4))
@settings(max_examples=25, deadline=None)
def test_lexicon_finds_its_texts_and_no_others(scores: Array) -> None:
    lexicon = ["a", "ab", "b"]
    found = {each.text: each for each in BeamDecoder(WORDS, beam_size=2000, nbest=2000, lexicon=lexicon).decode(scores)}
    for text, probability in probabilities_of_all_texts(scores, WORDS).items():
        if not set(text.split()) <= set(lexicon):
            assert text not in found
        elif len(canonical_of_words(text)) + repeats(text) <= len(scores):
            assert math.exp(found.pop(text).score) == pytest.approx(probability, rel=1e-4, abs=1e-12)
    assert set(found) <= {"b b", "b", ""} | {greedy_decode(scores, WORDS).text}


def canonical_of_words(text: str) -> list[int]:
    return WORDS.encode(text)


def repeats(text: str) -> int:
    numbers = canonical_of_words(text)
    return sum(left == right for left, right in pairwise(numbers))


def test_unfinished_words_are_left_out() -> None:
    scores = saying([" bin", "", " ", "n", "o", ""])
    found = BeamDecoder(ENGLISH, lexicon=["bin", "now"], beam_size=1).decode(scores)
    assert [each.text for each in found] == ["bin"]
    assert math.exp(found[0].score) == pytest.approx(probability_of_text(scores, "bin", ENGLISH), rel=1e-4)
    assert BeamDecoder(ENGLISH, lexicon=["zoo"], beam_size=1).decode(saying(["z", "o"]))[0].text == ""


def test_spellings_of_one_text_are_one_hypothesis() -> None:
    found = BeamDecoder(ENGLISH, beam_size=50, nbest=50).decode(saying([" bin", "", " ", "b", "i", "n"], sure=0.6))
    texts = [each.text for each in found]
    assert texts[0] == "bin bin"
    assert len(set(texts)) == len(texts)
    assert all(text == " ".join(text.split()) for text in texts)


def test_torchaudio_finds_the_same_where_its_prefixes_are_texts() -> None:
    pytest.importorskip("flashlight.lib.text", reason="flashlight-text is not installed: pip install flashlight-text")
    import torch
    from torchaudio.models.decoder import ctc_decoder

    alphabet = Alphabet((BLANK_SYMBOL, "a", "b", "c"))
    theirs = ctc_decoder(
        None, ["-", "a", "b", "c"], sil_token="-", blank_token="-", beam_size=20_000, nbest=20, log_add=True
    )
    for seed in range(5):
        scores = noise(12, alphabet, seed, blank=1.0)
        ours = BeamDecoder(alphabet, beam_size=3000, nbest=20).decode(scores)
        for left, right in zip(ours, theirs(torch.from_numpy(scores)[None])[0], strict=True):
            assert left.text == "".join(alphabet.symbols[token] for token in right.tokens.tolist())
            assert left.score == pytest.approx(right.score, abs=1e-6)


def test_word_score_and_its_sum() -> None:
    scores = saying([" bin", "", " blue", " red", ""], sure=0.4)
    for word_score in (-5.0, 0.0, 2.5, 8.0):
        found = BeamDecoder(ENGLISH, word_score=word_score, nbest=20).decode(scores)
        for each in found:
            assert each.score == pytest.approx(each.acoustic_score + word_score * len(each.text.split()))
    few, many = (BeamDecoder(ENGLISH, word_score=score).decode(scores)[0].text for score in (-9.0, 9.0))
    assert len(few.split()) < 3 <= len(many.split())


def test_no_frames_and_nothing_but_blanks() -> None:
    for lexicon in (None, ["bin"]):
        decoder = BeamDecoder(ENGLISH, lexicon=lexicon, word_score=1.0)
        (only,) = decoder.decode(np.zeros((0, ENGLISH.size), np.float32))
        assert (only.text, only.score, only.acoustic_score) == ("", 0.0, 0.0)
        assert decoder.decode(saying([""] * 9, sure=0.999))[0].text == ""


def test_impossible_symbols_do_no_harm() -> None:
    scores = np.full((4, ENGLISH.size), -np.inf, np.float32)
    for frame, symbol in enumerate([" bin", "", " red", ""]):
        scores[frame, ENGLISH.symbols.index(symbol or BLANK_SYMBOL)] = 0.0
    for lexicon in (None, ["bin", "red", "zoo"]):
        best = BeamDecoder(ENGLISH, lexicon=lexicon).decode(scores)[0]
        assert best.text == "bin red"
        assert best.score == pytest.approx(0.0, abs=1e-6)


def test_length_of_the_list() -> None:
    scores = noise(10, ENGLISH)
    for beam_size, nbest, wanted in ((50, 10, 10), (50, 1, 1), (3, 10, 3), (1, 1, 1)):
        assert len(BeamDecoder(ENGLISH, beam_size=beam_size, nbest=nbest).decode(scores)) <= wanted
    assert len(BeamDecoder(ENGLISH, beam_size=50, nbest=10).decode(scores)) == 10


@pytest.mark.parametrize("lexicon", [None, ["bin", "at", "blue", "red", "a", "now", "not"]], ids=["free", "lexicon"])
def test_long_inputs_take_linear_time_and_level_memory(lexicon: list[str] | None) -> None:
    decoder = BeamDecoder(ENGLISH, beam_size=10, lexicon=lexicon)
    decoder.decode(noise(50, ENGLISH))
    seconds: dict[int, list[float]] = {2_000: [], 8_000: []}
    for frames in [*seconds] * 3:  # what else the machine does must not decide
        scores = noise(frames, ENGLISH)
        begun = time.process_time()
        decoder.decode(scores)
        seconds[frames].append(time.process_time() - begun)
    assert min(seconds[8_000]) <= 8 * min(seconds[2_000])  # 4 in proportion, 16 where it grows with the square
    peaks = []
    for frames in (500, 1_500):
        scores = noise(frames, ENGLISH)
        tracemalloc.start()
        decoder._search(scores)
        peaks.append(tracemalloc.get_traced_memory()[1] - 2 * scores.nbytes)  # they are copied as float64
        tracemalloc.stop()
    assert peaks[1] <= peaks[0] + 1_000 * 2_000  # bytes per frame: about what the texts themselves need


@pytest.mark.slow
def test_ten_minutes() -> None:
    import resource

    alphabet = Alphabet.english().with_words([f"{first}{second}w" for first in "abcdefg" for second in "hijklmn"][:51])
    decoder = BeamDecoder(alphabet)
    seconds: dict[int, list[float]] = {3_750: [], 15_000: []}
    for frames in [*seconds, *seconds]:  # each twice: what else the machine does must not decide
        scores = noise(frames, alphabet)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.process_time()
        found = decoder.decode(scores)
        seconds[frames].append(time.process_time() - begun)
        grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        assert len(found) == 10
        assert grown_mib < 100
    assert min(seconds[15_000]) <= 8 * min(seconds[3_750])  # 4 in proportion, 16 where it grows with the square


def test_long_texts_keep_the_sums_of_the_beam(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = noise(40, ENGLISH, blank=3.0)
    exact = BeamDecoder(ENGLISH).decode(scores)
    monkeypatch.setattr("lipread.decoding.beam.MOST_EXACT", 0)
    kept = {each.text: each.score for each in BeamDecoder(ENGLISH).decode(scores)}
    greedy = greedy_decode(scores, ENGLISH)
    assert max(kept.values()) >= greedy.score
    both = [each for each in exact if each.text in kept]
    assert len(both) >= 5
    assert all(each.score - 1.0 < kept[each.text] <= each.score + 1e-4 for each in both)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"beam_size": 0}, "beam_size=0"),
        ({"nbest": -1}, "nbest=-1"),
        ({"lm_weight": -0.5}, "lm_weight=-0.5"),
        ({"lm_weight": math.nan}, "lm_weight=nan"),
        ({"word_score": math.inf}, "word_score=inf"),
        ({"lm_unit": "syllable"}, "lm_unit='syllable'"),
        ({"lexicon": []}, "no words"),
    ],
)
def test_options_that_cannot_work(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        BeamDecoder(ENGLISH, **options)


def test_bad_words_and_log_probs() -> None:
    with pytest.raises(DataError, match=r"lexicon\[1\].*'two words'"):
        BeamDecoder(ENGLISH, lexicon=["bin", "two words"])
    with pytest.raises(ConfigError, match="shape"):
        BeamDecoder(ENGLISH).decode(np.zeros((3, 4)))
    with pytest.raises(ConfigError, match=r"log_probs\[1\]"):
        BeamDecoder(AB).decode(np.array([[-1.0, -1.0, -1.0], [-1.0, np.nan, -1.0]]))
