"""Values that stages hand to one another: frozen, derived where they can be, sensible when empty."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass

import numpy as np
import pytest

from lipread import values
from lipread.errors import DataError
from lipread.values import (
    CROP_SIDE_PX,
    FRAME_RATE_HZ,
    LIP_POINTS,
    SAMPLE_RATE_HZ,
    SAMPLES_PER_FRAME,
    Frame,
    Hypothesis,
    Mouth,
    MouthTrack,
    Segment,
    Transcript,
    Utterance,
    Word,
)

BIN = Word("bin", 0.2, 0.5, 0.9)
BLUE = Word("blue", 0.5, 0.8, 0.8)
AT = Word("at", 1.6, 1.7, 0.7)


def examples() -> list[object]:
    """One of each kind."""
    return [
        Frame(np.zeros((2, 3, 3), np.uint8), 0.04),
        Mouth(np.zeros((96, 96), np.uint8), np.zeros((9, 2), np.float32), 30.0, np.zeros((2, 2))),
        MouthTrack(np.zeros((1, 96, 96), np.uint8), np.zeros((1, 9, 2), np.float32), np.ones(1, dtype=bool)),
        BIN,
        Segment(0.2, 0.8, "bin blue", (BIN, BLUE), 0.85),
        Hypothesis("bin blue", -1.5, -1.5),
        Utterance(0.0, 1.0, "bin blue", "bin blew", ()),
        Transcript("", (), 3.0, 1.0, 0.0),
    ]


def test_every_kind_has_an_example():
    kinds = {kind for kind in vars(values).values() if isinstance(kind, type) and is_dataclass(kind)}
    assert {type(value) for value in examples()} == kinds


@pytest.mark.parametrize("value", examples(), ids=lambda value: type(value).__name__)
def test_values_are_frozen(value: object):
    for field in fields(value):  # type: ignore[arg-type]
        with pytest.raises(FrozenInstanceError):
            setattr(value, field.name, None)


def test_rates_fit_one_another():
    assert (FRAME_RATE_HZ, SAMPLE_RATE_HZ, CROP_SIDE_PX) == (25, 16_000, 96)
    assert SAMPLES_PER_FRAME * FRAME_RATE_HZ == SAMPLE_RATE_HZ


def test_lip_points_are_those_of_the_stored_corpus():
    """The order of shared/grid/landmarks: corners, inner lips' middle, chin, upper inner lip, lower inner lip."""
    assert LIP_POINTS == (78, 308, 13, 14, 152, 311, 81, 402, 178)


@pytest.mark.parametrize(
    ("present", "share"), [([], 0.0), ([False, False], 0.0), ([True, False, False, False], 0.25), ([True], 1.0)]
)
def test_face_share(present: list[bool], share: float):
    frames = len(present)
    track = MouthTrack(
        np.zeros((frames, 96, 96), np.uint8), np.zeros((frames, 9, 2), np.float32), np.array(present, dtype=bool)
    )
    assert track.face_share == share and isinstance(track.face_share, float)


@pytest.mark.parametrize(
    ("crops", "points"), [((2, 48, 48), (2, 9, 2)), ((2, 96, 96, 3), (2, 9, 2)), ((2, 96, 96), (1, 9, 2)), ((2,), (2,))]
)
def test_a_track_of_another_shape_is_refused(crops: tuple[int, ...], points: tuple[int, ...]):
    with pytest.raises(DataError, match=r"are no mouth of 2 frames; give \(2, 96, 96\) and \(2, 9, 2\)"):
        MouthTrack(np.zeros(crops, np.uint8), np.zeros(points, np.float32), np.ones(2, bool))


def test_words_of_a_transcript_are_those_of_its_segments_in_order():
    segments = (Segment(0.2, 0.8, "bin blue", (BIN, BLUE), 0.85), Segment(1.6, 1.7, "at", (AT,), 0.7))
    transcript = Transcript("bin blue at", segments, 3.0, 1.0, 0.8)
    assert transcript.words == (BIN, BLUE, AT)
    assert Transcript("", (), 3.0, 0.0, 0.0, reason="no face").words == ()


def test_transcripts_do_not_share_their_defaults():
    first, second = (Transcript("", (), 3.0, 1.0, 0.0) for _ in range(2))
    assert first == second
    assert first.stage_s == {} and first.stage_s is not second.stage_s
    assert first.reason is None and first.nbest == first.warnings == ()


def test_a_transcript_sums_up_its_utterances():
    one = Utterance(0, 1, "bin", "pin", (Hypothesis("bin", -1.0, -0.5, -0.25), Hypothesis("pin", -2.0, -2.0)))
    two = Utterance(1, 2, "blue", "blue", (Hypothesis("blue", -4.0, -3.0, -0.5),))
    alone = Transcript("bin", (), 3.0, 1.0, 0.8, utterances=(one,))
    both = Transcript("bin blue", (), 3.0, 1.0, 0.8, utterances=(one, two))
    assert (alone.raw_text, alone.changed, alone.nbest) == ("pin", True, one.nbest)
    assert (both.raw_text, both.changed) == ("pin blue", True)
    assert both.nbest == (Hypothesis("bin blue", -5.0, -3.5, -0.75),)
    assert not Transcript("blue", (), 3.0, 1.0, 0.8, utterances=(two,)).changed
