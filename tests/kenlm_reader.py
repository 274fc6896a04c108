"""KenLM, as flashlight-text brings it: a reader of ARPA files that is not ours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flashlight.lib.text.decoder.kenlm import KenLM
from flashlight.lib.text.dictionary import Dictionary


def kenlm_scores(path: Path, sentences: Sequence[Sequence[str]]) -> list[float]:
    """log10 probability of each sentence, given as its tokens, from its beginning to its end."""
    known = list(dict.fromkeys(token for sentence in sentences for token in sentence))
    model = KenLM(str(path), Dictionary(known))
    scores = []
    for sentence in sentences:
        state, total = model.start(False), 0.0
        for token in sentence:
            state, log10 = model.score(state, known.index(token))
            total += log10
        scores.append(total + model.finish(state)[1])
    return scores
