"""Exact log-probabilities of texts against sums over every path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctc_by_hand import log_probs, log_softmax, probabilities_of_all_texts, probability_of_text
from lipread.alphabet import BLANK_SYMBOL, Alphabet
from lipread.decoding.text_probability import TextGraph
from lipread.values import LOWEST_LOG_PROB, Array

WORDS = Alphabet((BLANK_SYMBOL, " ", "a", "b", " a", " ab"))


@given(log_probs(WORDS.size))
@settings(max_examples=25, deadline=None)
def test_equals_the_sum_over_every_path(scores: Array) -> None:
    wanted = probabilities_of_all_texts(scores, WORDS)
    got = np.exp(TextGraph(list(wanted), WORDS).log_probabilities(scores))
    assert got == pytest.approx(list(wanted.values()), rel=1e-5, abs=1e-12)
    assert got.sum() == pytest.approx(1, rel=1e-5)


@given(st.lists(st.sampled_from(["a", "b", "ab", "aab", "ba"]), max_size=3), st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_equals_the_forward_over_writings(words: list[str], seed: int) -> None:
    scores = log_softmax(np.random.default_rng(seed).normal(size=(9, WORDS.size)) * 2)
    text = " ".join(words)
    assert np.exp(TextGraph([text], WORDS).log_probabilities(scores)[0]) == pytest.approx(
        probability_of_text(scores, text, WORDS), rel=1e-5
    )


def test_by_hand() -> None:
    alphabet = Alphabet((BLANK_SYMBOL, "a"))
    scores = np.log(np.array([[0.25, 0.75], [0.5, 0.5]]))
    got = np.exp(TextGraph(["", "a", "aa"], alphabet).log_probabilities(scores))
    assert got == pytest.approx([0.25 * 0.5, 1 - 0.25 * 0.5, 0.0])  # no blank fits between two


def test_texts_do_not_touch_one_another() -> None:
    scores = log_softmax(np.random.default_rng(0).normal(size=(12, WORDS.size)))
    texts = ["a b ab", "", "ab", "b a", "a b ab"]
    together = TextGraph(texts, WORDS).log_probabilities(scores)
    assert together.tolist() == [TextGraph([text], WORDS).log_probabilities(scores)[0] for text in texts]


def test_edges() -> None:
    assert TextGraph(["", "a"], WORDS).log_probabilities(np.zeros((0, WORDS.size))).tolist() == [0.0, -np.inf]
    assert TextGraph([], WORDS).log_probabilities(np.zeros((3, WORDS.size))).tolist() == []
    assert TextGraph(["c"], WORDS).log_probabilities(np.zeros((3, WORDS.size)))[0] == -np.inf  # no symbol for it
    impossible = np.full((2, 2), -np.inf)
    impossible[:, 0] = 0.0
    assert TextGraph(["a"], Alphabet((BLANK_SYMBOL, "a"))).log_probabilities(impossible)[0] == pytest.approx(
        LOWEST_LOG_PROB + np.log(2), abs=1e-3
    )


def test_arcs_grow_with_the_text() -> None:
    assert TextGraph(["ab " * 100], WORDS).size < 3 * 301
