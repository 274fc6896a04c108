"""Readings of clips that choose -> the weights that suit a language model, and the temperature of confidences."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from math import inf, log

import numpy as np

from lipread.alphabet import Alphabet
from lipread.compare import Reading, figures
from lipread.config import SearchConfig
from lipread.decoding.align import align_words
from lipread.decoding.greedy import greedy_decode
from lipread.decoding.lm import SentenceScorer
from lipread.decoding.rescore import Remembering
from lipread.errors import DataError
from lipread.language_models import LanguageModel, Tuned, make_search
from lipread.metrics import right_words

WEIGHTS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
WORD_SCORES = (0.0, 0.5, 1.0, 2.0)
TEMPERATURES = tuple(np.geomspace(0.2, 8.0, 60))
SURE = 1e-6  # confidences are kept so far from 0 and 1 in the likelihood


@dataclass(frozen=True)
class Trial:
    """One choice of weights and its error rate."""

    weight: float
    word_score: float
    wer: float
    cer: float


def those_read(readings: Sequence[Reading]) -> list[Reading]:
    """Without the clips that could not be read. Raises: DataError: none is left."""
    if read := [each for each in readings if not each.problem]:
        return read
    raise DataError("none of the clips could be read, so there is nothing to fit; choose clips with a face")


def tune_weights(
    readings: Sequence[Reading], model: LanguageModel, loaded: SentenceScorer, alphabet: Alphabet,
    *, base: SearchConfig | None = None,
) -> list[Trial]:
    """Try all weights and word scores; best first, of equals the one that trusts the language model least.

    Args:
        loaded: the language model, as `load_checked` gives it.
        base: the other options of the search.
    """
    base = base or SearchConfig(decoder="beam", lm=model.name)
    scorer = loaded if model.kind == "ngram" else Remembering(loaded)  # the beam asks an n-gram word by word
    trials = []
    for weight, word_score in product(WEIGHTS, WORD_SCORES):
        options = base.model_copy(update={"lm_weight": weight, "word_score": word_score})
        found = figures(readings, make_search(options, alphabet, scorer=scorer)).score
        trials.append(Trial(weight, word_score, found.wer, found.cer))
    return sorted(trials, key=lambda each: (each.wer, each.cer, each.weight, each.word_score))


def tuned(trials: Sequence[Trial], *, tuned_on: str) -> Tuned:
    """What to store beside the language model."""
    best, without = trials[0], min((each for each in trials if each.weight == 0), key=lambda each: each.wer)
    return Tuned(
        weight=best.weight, word_score=best.word_score, helps=best.wer < without.wer,
        tuned_on=f"{tuned_on}: WER {100 * best.wer:.1f} % with it, {100 * without.wer:.1f} % without",
    )


def fit_temperature(readings: Sequence[Reading], alphabet: Alphabet) -> float:
    """The temperature under which the confidences of greedily read words are likeliest, given which are right.

    Raises: DataError: no word was read.
    """
    best, lowest = 1.0, inf
    judged = []
    for reading in readings:
        text = greedy_decode(reading.log_probs, alphabet).text if len(reading.log_probs) else ""
        with suppress(DataError):  # spelt, some texts need more frames than there are
            if align_words(reading.log_probs, text, alphabet):
                judged.append((reading, text, right_words(reading.reference, text)))
    if not judged:
        raise DataError("no word was read in these clips, so there is no confidence to fit; use other clips")
    for temperature in TEMPERATURES:
        total = 0.0
        for reading, text, right in judged:
            words = align_words(reading.log_probs, text, alphabet, temperature=float(temperature))
            for word, good in zip(words, right, strict=True):
                sure = min(max(word.confidence, SURE), 1 - SURE)
                total -= log(sure if good else 1 - sure)
        if total < lowest:
            best, lowest = float(temperature), total
    return best
