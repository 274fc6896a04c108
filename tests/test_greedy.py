"""Best path decoding against hand-made log-probabilities and a plain recount."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipread.alphabet import BLANK_SYMBOL, Alphabet
from lipread.decoding.greedy import greedy_decode
from lipread.errors import ConfigError
from lipread.values import Array

ABC = Alphabet((BLANK_SYMBOL, " ", "a", "b"))


def peaked(path: list[int], symbols: int = 4, sure: float = 0.7) -> Array:
    """Log-probabilities whose best path is `path`."""
    probabilities = np.full((len(path), symbols), (1 - sure) / (symbols - 1), np.float32)
    probabilities[np.arange(len(path)), path] = sure
    return np.asarray(np.log(probabilities))


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([0, 2, 2, 0, 2, 3, 3], "aab"),
        ([2, 1, 0, 1, 3], "a b"),  # two spaces with a blank between are one
        ([1, 2, 1], "a"),
        ([0, 0, 0], ""),
        ([1, 1], ""),
    ],
)
def test_collapse(path: list[int], text: str) -> None:
    best = greedy_decode(peaked(path), ABC)
    assert best.text == text
    assert best.score == best.acoustic_score == pytest.approx(len(path) * np.log(0.7), rel=1e-5)
    assert best.lm_score == 0.0


@given(st.lists(st.integers(0, 3), max_size=30))
def test_against_groupby(path: list[int]) -> None:
    wanted = "".join(ABC.symbols[symbol] for symbol, _ in itertools.groupby(path) if symbol)
    assert greedy_decode(peaked(path), ABC).text == " ".join(wanted.split())


WORDS = ABC.with_words(["yes", "no", "oh"])  # 4, 5, 6


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ([4, 0, 5], "yes no"),
        ([0, 4, 4, 5, 0], "yes"),  # neighbours are one word, the one with more frames here
        ([4, 5, 5, 0, 6], "no oh"),
        ([4, 2, 5], "yesa no"),  # letters may stand beside words
        ([5, 5], "no"),
    ],
)
def test_neighbouring_words_are_one(path: list[int], text: str) -> None:
    best = greedy_decode(peaked(path, WORDS.size), WORDS)
    assert best.text == text


def test_neighbouring_words_are_the_likelier_one() -> None:
    rows = np.full((3, WORDS.size), 0.01, np.float32)
    rows[0, [0, 4, 5]] = 0.3, 0.4, 0.25
    rows[1, [0, 4, 5, 6]] = 0.01, 0.05, 0.45, 0.44
    rows[2, 0] = 0.9
    best = greedy_decode(np.log(rows), WORDS)
    assert best.text == "no"  # 0.70 together, yes has 0.45
    assert best.score == pytest.approx(np.log(0.25 * 0.45 * 0.9), rel=1e-5)


def test_no_frames() -> None:
    best = greedy_decode(np.zeros((0, 4), np.float32), ABC)
    assert (best.text, best.score) == ("", 0.0)


def test_refusals_name_shape_and_frame() -> None:
    with pytest.raises(ConfigError, match=r"\(5, 3\).*V=4"):
        greedy_decode(np.zeros((5, 3)), ABC)
    with pytest.raises(ConfigError, match=r"\(4,\)"):
        greedy_decode(np.zeros(4), ABC)
    spoilt = peaked([0, 2, 3])
    spoilt[1, 2] = np.nan
    with pytest.raises(ConfigError, match=r"log_probs\[1\]"):
        greedy_decode(spoilt, ABC)
    with pytest.raises(ConfigError, match="at most 0"):
        greedy_decode(np.full((2, 4), 3.0), ABC)
