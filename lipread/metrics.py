"""References and hypotheses -> word and character error rates with 95 % intervals.

Rates are errors / reference length over all clips together (1.0 = 100 %). The interval is a percentile bootstrap that
draws whole clips: words of one clip go wrong together, so drawing single words would look too certain.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from lipread.errors import DataError
from lipread.values import Array

RESAMPLES = 1000
BINS = 10  # of confidences
Interval = tuple[float, float]


@dataclass(frozen=True)
class Score:
    """How far hypotheses are from their references.

    Attributes:
        wer, cer: word and character error rate; 0 is perfect, above 1 is possible.
        wer_interval, cer_interval: (low, high) of the 95 % bootstrap interval over clips.
        clips, words, characters: how much was counted (references).
        substitutions, deletions, insertions: word errors by kind.
    """

    wer: float
    cer: float
    wer_interval: Interval
    cer_interval: Interval
    clips: int
    words: int
    characters: int
    substitutions: int
    deletions: int
    insertions: int


@dataclass(frozen=True)
class Confusion:
    """A word that was read as another, and how often."""

    reference: str
    hypothesis: str
    count: int


@dataclass(frozen=True)
class Calibration:
    """How far confidences agree with how often words are right.

    Attributes:
        error: expected calibration error, 0..1: the mean gap between confidence and share of right words, over
            `BINS` equally wide bins weighted by their words.
        words: how many were judged.
        bins: per bin with words: mean confidence, share that is right, words.
    """

    error: float
    words: int
    bins: tuple[tuple[float, float, int], ...]


def calibration(words: Sequence[tuple[float, bool]]) -> Calibration | None:
    """Confidences in 0..1 with whether each word is right -> calibration; None without words.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    if not words:
        return None
    confidence = np.array([each for each, _ in words])
    right = np.array([each for _, each in words], dtype=float)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        (float(confidence[place == number].mean()), float(right[place == number].mean()), int((place == number).sum()))
        for number in np.unique(place)
    ]
    error = sum(count * abs(mean - share) for mean, share, count in bins) / len(words)
    return Calibration(float(error), len(words), tuple(bins))


def told_apart(words: Sequence[tuple[float, bool]]) -> float | None:
    """How well a number tells right words from wrong ones: the share of pairs of a right and a wrong word in which the
    right one has the higher, ties half (the area under the ROC curve); None where there are not both."""
    right, wrong = (np.array([each for each, good in words if good == wanted]) for wanted in (True, False))
    if not len(right) or not len(wrong):
        return None
    higher = (right[:, None] > wrong).mean() + (right[:, None] == wrong).mean() / 2
    return float(higher)


def aligned_words(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Each word that was said with what was read for it, in the alignment with the fewest errors; "" in place of what
    was left out, or of what was not said."""
    import jiwer

    said, read = reference.split(), hypothesis.split()
    pairs: list[tuple[str, str]] = []
    for chunk in jiwer.process_words(" ".join(said), " ".join(read)).alignments[0]:
        some = said[chunk.ref_start_idx : chunk.ref_end_idx], read[chunk.hyp_start_idx : chunk.hyp_end_idx]
        pairs += zip_longest(*some, fillvalue="")
    return pairs


def right_words(reference: str, hypothesis: str) -> list[bool]:
    """For each word of the hypothesis, whether it is right (in the alignment with the fewest errors)."""
    return [said == read for said, read in aligned_words(reference, hypothesis) if read]


def score(references: Sequence[str], hypotheses: Sequence[str], *, seed: int = 0) -> Score:
    """Compare hypotheses with references, clip by clip.

    Args:
        references: what was said, one text per clip.
        hypotheses: what was read, in the same order.
        seed: of the bootstrap; the same seed gives the same interval.
    Raises: DataError: the two differ in number, or the references hold no word.
    """
    _check_pairs(references, hypotheses)
    errors = np.zeros((len(references), 3), dtype=np.int64)  # substitutions, deletions, insertions
    character_errors = np.zeros(len(references), dtype=np.int64)
    words = np.array([len(text.split()) for text in references], dtype=np.int64)
    characters = np.array([len(_squeeze(text)) for text in references], dtype=np.int64)
    for index, (reference, hypothesis) in enumerate(zip(references, hypotheses, strict=True)):
        errors[index] = word_errors(reference, hypothesis)
        character_errors[index] = _character_errors(reference, hypothesis)
    if not words.sum():
        raise DataError("the references hold no word, so there is no error rate; give at least one spoken clip")
    totals = errors.sum(axis=1)
    return Score(
        wer=float(totals.sum() / words.sum()),
        cer=float(character_errors.sum() / characters.sum()),
        wer_interval=_interval(totals, words, seed),
        cer_interval=_interval(character_errors, characters, seed),
        clips=len(references),
        words=int(words.sum()),
        characters=int(characters.sum()),
        substitutions=int(errors[:, 0].sum()),
        deletions=int(errors[:, 1].sum()),
        insertions=int(errors[:, 2].sum()),
    )


def score_groups(
    groups: Sequence[str], references: Sequence[str], hypotheses: Sequence[str], *, seed: int = 0
) -> Mapping[str, Score]:
    """One `Score` per group (for example per speaker), in the order of the groups' names.

    Groups whose references hold no word have no rate and are left out.
    """
    _check_pairs(references, hypotheses)
    if len(groups) != len(references):
        raise DataError(f"{len(groups)} group names for {len(references)} references; give one name per clip")
    members: dict[str, list[int]] = defaultdict(list)
    for index, group in enumerate(groups):
        members[group].append(index)
    return {
        group: score([references[i] for i in indices], [hypotheses[i] for i in indices], seed=seed)
        for group, indices in sorted(members.items())
        if any(references[i].split() for i in indices)
    }


def confusions(references: Sequence[str], hypotheses: Sequence[str], *, limit: int = 10) -> tuple[Confusion, ...]:
    """The most frequent word substitutions, most frequent first, ties in alphabetical order."""
    _check_pairs(references, hypotheses)
    counts = Counter(
        pair
        for reference, hypothesis in zip(references, hypotheses, strict=True)
        for pair in aligned_words(reference, hypothesis)
        if all(pair) and pair[0] != pair[1]
    )
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Confusion(said, read, count) for (said, read), count in ordered[:limit])


def word_errors(reference: str, hypothesis: str) -> tuple[int, int, int]:
    """Substitutions, deletions, insertions of one clip."""
    wrong = [pair for pair in aligned_words(reference, hypothesis) if pair[0] != pair[1]]
    deletions, insertions = sum(not read for _, read in wrong), sum(not said for said, _ in wrong)
    return len(wrong) - deletions - insertions, deletions, insertions


def _character_errors(reference: str, hypothesis: str) -> int:
    import jiwer

    counted = jiwer.process_characters(_squeeze(reference), _squeeze(hypothesis))
    return int(counted.substitutions + counted.deletions + counted.insertions)


def _interval(errors: Array, lengths: Array, seed: int) -> Interval:
    """Percentile bootstrap over clips of sum(errors) / sum(lengths)."""
    generator = np.random.default_rng(seed)
    rates = []
    for _ in range(RESAMPLES):
        drawn = generator.integers(0, len(errors), size=len(errors))
        length = lengths[drawn].sum()
        if length:  # a draw of wordless clips only has no rate
            rates.append(errors[drawn].sum() / length)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def _check_pairs(references: Sequence[str], hypotheses: Sequence[str]) -> None:
    if len(references) != len(hypotheses):
        raise DataError(f"{len(references)} references and {len(hypotheses)} hypotheses; give one of each per clip")


def _squeeze(text: str) -> str:
    return " ".join(text.split())
