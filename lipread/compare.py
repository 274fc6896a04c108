"""Clips whose words are known + ways to search -> error rates of every way, from one reading of the network.

Shapes: T frames, V symbols.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lipread.config import SearchConfig
from lipread.decoding.search import Search
from lipread.errors import LipreadError
from lipread.evaluate import EvalClip, mouth_track
from lipread.hearing import SoundStream
from lipread.in_noise import sound_of
from lipread.language_models import bundled_language_models, find_language_model, make_search
from lipread.metrics import Score, score, word_errors
from lipread.values import Array, Utterance

if TYPE_CHECKING:
    from lipread.pipeline import LipReader

ORACLE_CANDIDATES = 10


@dataclass(frozen=True)
class Reading:
    """What the network sees in one clip: log-probabilities (T, V) beside the true text; `problem`: why none."""

    clip: str
    reference: str
    log_probs: Array
    problem: str | None = None


@dataclass(frozen=True)
class WayFigures:
    """Figures of one way to search.

    Attributes:
        way: its name.
        score: error rates of its texts.
        oracle_wer: error rate if the best of its first ten candidates were always chosen.
        milliseconds: median time of the search per clip.
    """

    way: str
    score: Score
    oracle_wer: float
    milliseconds: float


def read_clips(
    reader: LipReader, clips: Sequence[EvalClip], *, sound: bool = False,
    finished: Callable[[EvalClip, str | None], None] | None = None,
) -> list[Reading]:
    """Run the network over every clip; a clip that cannot be read counts as blanks only.

    Args:
        sound: listen to the clips as well.
        finished: is told each clip as it is done, and why it could not be read.
    """
    from lipread.piece_reader import blanks

    readings = []
    for clip in clips:
        problem = None
        try:
            heard = SoundStream([sound_of(clip)]) if sound else None
            log_probs = reader.moving_log_probs(mouth_track(clip), sound=heard)
        except LipreadError as error:
            log_probs, problem = blanks(0, reader.alphabet.size), str(error)
        readings.append(Reading(clip.clip, reader.alphabet.normalise(clip.text), log_probs, problem))
        if finished:
            finished(clip, problem)
    return readings


def usual_ways() -> dict[str, SearchConfig]:
    """Greedy, beam, beam with each bundled language model, and the grammar; by name."""
    ways = {"greedy": SearchConfig(), "beam": SearchConfig(decoder="beam")}
    for name in sorted(bundled_language_models(), key=lambda each: find_language_model(each).kind == "bert"):
        ways[f"beam + {name}"] = SearchConfig(decoder="beam", lm=name)
    ways["grammar grid"] = SearchConfig(decoder="grammar")
    return ways


def compare(readings: Sequence[Reading], searches: Mapping[str, Search], *, seed: int = 0) -> list[WayFigures]:
    """Search every reading in every way."""
    return [figures(readings, search, way=way, seed=seed) for way, search in searches.items()]


def make_searches(reader: LipReader, ways: Mapping[str, SearchConfig]) -> dict[str, Search]:
    """Build each search once."""
    return {way: make_search(config, reader.alphabet) for way, config in ways.items()}


def figures(readings: Sequence[Reading], search: Search, *, way: str = "", seed: int = 0) -> WayFigures:
    """Error rates of one search over all readings."""
    texts, best, seconds = [], [], []
    for each in readings:
        start = time.perf_counter()
        found = search.utterances(each.log_probs)
        seconds.append(time.perf_counter() - start)
        texts.append(" ".join(utterance.text for utterance in found))
        errors = {text: sum(word_errors(each.reference, text)) for text in _joint_candidates(found)}
        best.append(min(errors, key=lambda text: errors[text]))
    references = [each.reference for each in readings]
    return WayFigures(
        way, score(references, texts, seed=seed), score(references, best, seed=seed).wer,
        1000 * statistics.median(seconds),
    )


def _joint_candidates(utterances: Sequence[Utterance]) -> list[str]:
    """The likeliest texts of all utterances together."""
    joint = [(0.0, "")]
    for each in utterances:
        longer = [(score + more.score, f"{text} {more.text}".strip()) for score, text in joint for more in each.nbest]
        joint = sorted(longer, key=lambda pair: -pair[0])[:ORACLE_CANDIDATES]
    return [text for _, text in joint]
