"""Error rates against hand counts and an independent edit distance; the bootstrap against its formula."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lipread.errors import DataError
from lipread.metrics import Confusion, calibration, confusions, right_words, score, score_groups, told_apart


def distance(first: list[str], second: list[str]) -> int:
    """Levenshtein distance, the textbook recursion by rows."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]


def test_by_hand() -> None:
    result = score(["bin blue at f", "set red"], ["bin blue by f now", "red"])
    assert (result.substitutions, result.insertions, result.deletions) == (1, 1, 1)
    assert (result.clips, result.words, result.characters) == (2, 6, 20)
    assert result.wer == pytest.approx(3 / 6)
    assert result.cer == pytest.approx((6 + 4) / 20)  # at->by 2 and " now" 4; "set " 4


def test_against_an_independent_distance() -> None:
    generator = random.Random(3)
    words = ["bin", "blue", "at", "f", "two", "now", "soon"]
    said = [" ".join(generator.choices(words, k=generator.randint(1, 6))) for _ in range(40)]
    read = [" ".join(generator.choices(words, k=generator.randint(0, 6))) for _ in range(40)]
    result = score(said, read)
    errors = [distance(a.split(), b.split()) for a, b in zip(said, read, strict=True)]
    characters = [distance(list(a), list(b)) for a, b in zip(said, read, strict=True)]
    assert result.wer == pytest.approx(sum(errors) / sum(len(a.split()) for a in said))
    assert result.cer == pytest.approx(sum(characters) / sum(map(len, said)))


def test_perfect_and_empty() -> None:
    assert score(["a b"], [" a  b "]).wer == 0.0
    nothing = score(["a b", "c"], ["", ""])
    assert (nothing.wer, nothing.cer, nothing.wer_interval) == (1.0, 1.0, (1.0, 1.0))


def test_an_empty_reference_counts_what_was_invented() -> None:
    result = score(["a b", ""], ["a b", "x yz"])
    assert (result.insertions, result.wer) == (2, 1.0)
    assert result.cer == pytest.approx(4 / 3)


def test_interval_is_seeded_covers_the_rate_and_shrinks_with_clips() -> None:
    generator = np.random.default_rng(0)
    read = ["a b c d" if generator.random() < 0.7 else "a b x x" for _ in range(400)]
    said = ["a b c d"] * 400
    small, large = score(said[:25], read[:25], seed=5), score(said, read, seed=5)
    assert score(said, read, seed=5) == large
    assert score(said, read, seed=6).wer_interval != large.wer_interval
    low, high = large.wer_interval
    assert low < large.wer < high
    assert high - low < (small.wer_interval[1] - small.wer_interval[0]) / 2
    share = np.mean([text != "a b c d" for text in read])
    normal = 2 * 1.96 * 0.5 * np.sqrt(share * (1 - share) / 400)  # clips err by 0 or 0.5: a binomial share
    assert high - low == pytest.approx(normal, rel=0.15)


def test_groups() -> None:
    result = score_groups(["s2", "s1", "s2", "s3"], ["a", "b", "c d", ""], ["a", "x", "c", "q"])
    assert list(result) == ["s1", "s2"]  # s3 said nothing
    assert result["s1"].wer == 1.0
    assert result["s2"].wer == pytest.approx(1 / 3)


def test_confusions_are_ordered_by_count_then_name() -> None:
    said = ["bin at f", "bin at f", "set by m", ""]
    read = ["bin at s", "bin at s", "set by n", "x"]
    assert confusions(said, read) == (Confusion("f", "s", 2), Confusion("m", "n", 1))
    assert confusions(said, read, limit=1) == (Confusion("f", "s", 2),)


def test_refusals() -> None:
    with pytest.raises(DataError, match="2 references and 1 hypotheses"):
        score(["a", "b"], ["a"])
    with pytest.raises(DataError, match="no word"):
        score(["", " "], ["a", ""])
    with pytest.raises(DataError, match="1 group names for 2"):
        score_groups(["s1"], ["a", "b"], ["a", "b"])


def test_calibration_by_hand() -> None:
    words = [(0.95, True), (0.91, True), (0.93, False), (0.15, False), (0.05, True), (1.0, True)]
    found = calibration(words)
    assert found is not None
    assert found.words == 6
    assert found.bins == (
        (0.05, 1.0, 1), (0.15, 0.0, 1), (pytest.approx((0.95 + 0.91 + 0.93 + 1.0) / 4), 0.75, 4)
    )
    assert found.error == pytest.approx((0.95 + 0.15 + 4 * abs(3.79 / 4 - 0.75)) / 6)
    assert calibration([]) is None


def test_told_apart_by_hand() -> None:
    # pairs of a right and a wrong word: .9 > .5, .9 > .2, .5 = .5 (half), .5 > .2, .1 < .5, .1 < .2
    words = [(0.9, True), (0.5, True), (0.1, True), (0.5, False), (0.2, False)]
    assert told_apart(words) == pytest.approx(3.5 / 6)
    assert told_apart([(1.0, True)]) is told_apart([(1.0, False)]) is told_apart([]) is None


@pytest.mark.parametrize(
    ("said", "read", "right"),
    [
        ("bin blue at f", "bin red at f", [True, False, True, True]),
        ("bin blue", "bin very blue", [True, False, True]),
        ("bin blue at", "at", [True]),
        ("bin", "", []),
        ("", "bin", [False]),
    ],
)
def test_right_words(said: str, read: str, right: list[bool]) -> None:
    assert right_words(said, read) == right
