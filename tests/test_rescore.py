"""Rescoring against sums by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from lipread.decoding.rescore import Remembering, Rescorer
from lipread.errors import DataError
from lipread.values import Hypothesis

CANDIDATES = (Hypothesis("lay red", -2.0, -2.0), Hypothesis("lay red now", -2.5, -2.5), Hypothesis("bin", -4.0, -4.0))


class Table:
    """Scores from a table; counts how often it is asked for each text."""

    can_follow = True

    def __init__(self, **scores: float) -> None:
        self.table = {text.replace("_", " "): score for text, score in scores.items()}
        self.asked: list[str] = []

    def scores(self, texts: Sequence[str]) -> list[float]:
        self.asked += texts
        return [self.table[text] for text in texts]

    def next_score(self, previous: str, text: str) -> float:
        return -1.0 if previous == "go" and text == "bin" else -9.0


def table() -> Table:
    return Table(lay_red=-5.0, lay_red_now=-3.0, bin=-1.0)


def test_scores_add_up_and_order_follows_them() -> None:
    found = Rescorer(table(), 0.5, word_score=0.25)(CANDIDATES)
    assert [each.text for each in found] == ["lay red now", "lay red", "bin"]
    assert [each.score for each in found] == pytest.approx([-2.5 - 1.5 + 0.75, -2.0 - 2.5 + 0.5, -4.0 - 0.5 + 0.25])
    assert [each.acoustic_score for each in found] == [-2.5, -2.0, -4.0]
    assert [each.lm_score for each in found] == [-3.0, -5.0, -1.0]


def test_weight_zero_keeps_the_order_and_a_large_one_takes_over() -> None:
    assert [each.text for each in Rescorer(table(), 0.0)(CANDIDATES)] == [each.text for each in CANDIDATES]
    assert Rescorer(table(), 100.0)(CANDIDATES)[0].text == "bin"


def test_equal_scores_stay_in_their_order() -> None:
    same = (Hypothesis("b", -1.0, -1.0), Hypothesis("a", -1.0, -1.0))
    assert [each.text for each in Rescorer(Table(a=-1.0, b=-1.0), 1.0)(same)] == ["b", "a"]


def test_the_sentence_before_takes_part_only_with_a_weight() -> None:
    best = Rescorer(table(), 0.0, next_weight=1.0)(CANDIDATES, "go")[0]
    assert (best.text, best.next_score, best.score) == ("bin", -1.0, -5.0)
    assert Rescorer(table(), 0.0, next_weight=1.0)(CANDIDATES, "")[0].text == "lay red"
    assert Rescorer(table(), 0.0)(CANDIDATES, "go")[0].text == "lay red"


def test_a_remembering_scorer_asks_once_per_text() -> None:
    inner = table()
    scorer = Remembering(inner)
    assert scorer.scores(["bin", "lay red", "bin"]) == [-1.0, -5.0, -1.0]
    assert scorer.scores(["lay red now", "bin"]) == [-3.0, -1.0]
    assert inner.asked == ["bin", "lay red", "lay red now"]
    assert scorer.can_follow and scorer.next_score("go", "bin") == -1.0


def test_a_full_memory_starts_anew() -> None:
    inner = table()
    scorer = Remembering(inner, most=2)
    assert scorer.scores(["bin", "lay red"]) == [-1.0, -5.0]
    assert scorer.scores(["lay red now", "bin"]) == [-3.0, -1.0]
    assert inner.asked == ["bin", "lay red", "lay red now", "bin"]


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(score: float) -> None:
    with pytest.raises(DataError, match=f"gives the score {score}; its weights are damaged"):
        Rescorer(Table(lay_red=-5.0, lay_red_now=score, bin=-1.0), 0.0)(CANDIDATES)
    odd = table()
    odd.next_score = lambda *_: score  # type: ignore[method-assign]
    with pytest.raises(DataError, match=f"gives the score {score}"):
        Rescorer(odd, 0.5, next_weight=1.0)(CANDIDATES, "go")
    assert len(Rescorer(odd, 0.5, next_weight=1.0)(CANDIDATES)) == 3  # nothing goes before
