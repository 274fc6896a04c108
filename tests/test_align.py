"""Forced alignment against brute force over every path, hand-made peaks, and refusals."""

from __future__ import annotations

import itertools
import textwrap

import numpy as np
import pytest

from lipread.alphabet import Alphabet
from lipread.decoding.align import STRETCH_FRAMES, _symbol_spans, align_words, segment_words, tempered
from lipread.errors import ConfigError, DataError
from lipread.values import Array, Word
from test_greedy import ABC, peaked


def random_log_probs(frames: int, seed: int, symbols: int = 4) -> Array:
    logits = np.random.default_rng(seed).normal(0, 2, (frames, symbols))
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


def best_path_by_force(log_probs: Array, ids: list[int]) -> tuple[int, ...]:
    """The likeliest of all V**T paths that spell the ids."""
    frames, symbols = log_probs.shape

    def spelt(path: tuple[int, ...]) -> list[int]:
        return [symbol for symbol, _ in itertools.groupby(path) if symbol]

    paths = (path for path in itertools.product(range(symbols), repeat=frames) if spelt(path) == ids)
    return max(paths, key=lambda path: sum(log_probs[t, s] for t, s in enumerate(path)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("text", ["ab", "a b", "aa", "bab"])
def test_spans_equal_brute_force(seed: int, text: str) -> None:
    log_probs, ids = random_log_probs(6, seed), ABC.encode(text)
    wanted = []
    position = 0
    for symbol, group in itertools.groupby(best_path_by_force(log_probs, ids)):
        length = len(list(group))
        if symbol:
            wanted.append((position, position + length))
        position += length
    assert _symbol_spans(log_probs, ids) == wanted


def test_times_confidence_and_stretch_by_hand() -> None:
    # frames:  0 1 2 3 4 5 6 7 8 9 10 ... : two blanks, "ab" at 2..3, blanks and a space, "b" at 10, ten blanks
    path = [0, 0, 2, 3, 0, 0, 1, 0, 0, 0, 3] + [0] * 10
    first, second = align_words(peaked(path), "ab b", ABC, start_s=2.0)
    assert (first.text, second.text) == ("ab", "b")
    assert first.start_s == pytest.approx(2.0)  # two blanks before it, all taken
    assert first.end_s == pytest.approx(2 + (4 + STRETCH_FRAMES) / 25)  # six frames to the next word: half each
    assert second.start_s == pytest.approx(2 + (10 - STRETCH_FRAMES) / 25)
    assert second.end_s == pytest.approx(2 + (11 + STRETCH_FRAMES) / 25)  # at most STRETCH_FRAMES into ten blanks
    assert first.confidence == pytest.approx(0.7, rel=1e-5)


def test_confidence_is_the_geometric_mean_of_the_symbols_peaks() -> None:
    log_probs = peaked([2, 2, 3], sure=0.5)
    log_probs[1] = np.log([0.03, 0.03, 0.9, 0.04])
    (word,) = align_words(log_probs, "ab", ABC)
    assert word.confidence == pytest.approx(np.sqrt(0.9 * 0.5), rel=1e-5)


@pytest.mark.parametrize("seed", range(20))
def test_words_are_in_order_inside_the_clip_and_do_not_overlap(seed: int) -> None:
    words = align_words(random_log_probs(40, seed), "ab ba b aab", ABC)
    bounds = [time for word in words for time in (word.start_s, word.end_s)]
    assert bounds == sorted(bounds)
    assert bounds[0] >= 0
    assert bounds[-1] <= 40 / 25
    assert all(word.end_s > word.start_s and 0 < word.confidence <= 1 for word in words)


def test_certain_log_probs_with_infinities() -> None:
    certain = np.full((5, 4), -np.inf)
    certain[range(5), [0, 2, 0, 3, 0]] = 0.0
    (word,) = align_words(certain, "AB!", ABC)
    assert (word.text, word.confidence) == ("ab", 1.0)
    (unseen,) = align_words(certain, "bb", ABC)  # the first b has no frame of its own
    assert unseen.confidence == 0.0


def test_nothing_to_align() -> None:
    assert align_words(random_log_probs(5, 0), "  ", ABC) == ()
    assert align_words(np.zeros((0, 4)), "", ABC) == ()


def test_refusals() -> None:
    with pytest.raises(DataError, match="3 symbols needs at least 4 frames.*there are 3"):
        align_words(random_log_probs(3, 0), "aab", ABC)
    assert len(align_words(random_log_probs(4, 0), "aab", ABC)) == 1
    with pytest.raises(DataError, match="c"):
        align_words(random_log_probs(9, 0), "abc", ABC)
    with pytest.raises(ConfigError, match="V=29"):
        align_words(random_log_probs(9, 0), "ab", Alphabet.english())


def word(text: str, start_s: float, end_s: float, confidence: float = 0.5) -> Word:
    return Word(text, start_s, end_s, confidence)


def test_segments_break_at_pauses() -> None:
    words = [word("bin", 0.0, 0.4, 0.2), word("blue", 0.5, 0.9, 0.6), word("at", 2.5, 2.7)]
    first, second = segment_words(words)
    assert (first.text, first.start_s, first.end_s) == ("bin blue", 0.0, 0.9)
    assert first.confidence == pytest.approx(0.4)
    assert second.words == (words[2],)
    assert segment_words([]) == ()


def test_long_speech_is_cut_into_readable_segments() -> None:
    words = [word("please", 0.3 * n, 0.3 * n + 0.3) for n in range(100)]
    segments = segment_words(words)
    assert [w for segment in segments for w in segment.words] == words
    assert all(len(segment.text) <= 84 and segment.end_s - segment.start_s <= 7 for segment in segments)
    assert len(segments) == 100 // 12 + 1  # 6 words of 6 letters with their spaces fill 41 characters, twice


def test_a_segment_and_the_label_of_who_speaks_fill_two_lines_at_most() -> None:
    rng = np.random.default_rng(0)
    words = [word("x" * length, 0.1 * n, 0.1 * n + 0.1) for n, length in enumerate(rng.integers(1, 30, 300))]
    for speaker, label in ((None, ""), ("Speaker 10", "Speaker 10: ")):
        segments = segment_words(words, speaker=speaker)
        assert [each for segment in segments for each in segment.words] == words
        for segment, after in itertools.pairwise(segments):
            assert segment.speaker == speaker
            assert len(textwrap.wrap(label + segment.text, 42)) <= 2
            assert len(textwrap.wrap(f"{label}{segment.text} {after.words[0].text}", 42)) > 2  # no shorter than it must


def test_a_word_symbol_is_a_word_and_a_spelled_one_leaves_its_space_out() -> None:
    alphabet = Alphabet(("<blank>", " ", "a", "b", " bin", "i", "n"))
    path = [0, 4, 4, 0, 1, 2, 3, 0]  # bin, then the space and "ab"
    log_probs = np.log(np.full((len(path), 7), 0.02) + np.eye(7)[path] * 0.9)
    words = align_words(log_probs, "bin ab", alphabet)
    assert [word.text for word in words] == ["bin", "ab"]
    assert words[0].start_s <= 1 / 25 and 3 / 25 <= words[0].end_s <= 4 / 25
    assert words[1].start_s == pytest.approx(4 / 25, abs=1 / 25) and words[1].end_s >= 7 / 25


def test_temperature_flattens_confidences_and_leaves_times() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (40, Alphabet.english().size))
    log_probs = (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)
    plain = align_words(log_probs, "bin blue", Alphabet.english())
    flat = align_words(log_probs, "bin blue", Alphabet.english(), temperature=4.0)
    assert [(w.start_s, w.end_s) for w in plain] == [(w.start_s, w.end_s) for w in flat]
    assert flat[0].confidence != plain[0].confidence
    expected = np.exp(logits / 4) / np.exp(logits / 4).sum(1, keepdims=True)
    assert np.exp(tempered(log_probs, 4.0)) == pytest.approx(expected, abs=1e-5)
