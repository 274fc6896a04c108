"""Whose lips are read: hand-made mouths of people who talk, listen, leave and come back."""

from __future__ import annotations

import numpy as np
import pytest

from lipread.crowd import Mouths
from lipread.errors import ConfigError
from lipread.landmarks import MAX_TRACKS
from lipread.speaking import (
    LASTING_FACES,
    LATEST_FACES,
    MAX_FACES,
    PORTRAIT_PX,
    STILL_SPREAD,
    TALKING_SPREAD,
    SeenFace,
    forget_faces,
    lip_spread,
    moving_frames,
    see_face,
    why_nothing_is_said,
)
from lipread.turns import HEARD_FRAMES, KEPT_FRAMES, LATE_FRAMES, STEP_FRAMES, Look, Turns, looks_at
from lipread.values import Array, Mouth, MouthTrack


def talk(frames: int, size: float) -> Array:
    """How far a mouth is open, eye distances."""
    return np.asarray(size * (0.5 + 0.5 * np.sin(0.9 * np.arange(frames))))


def mouth(gap: float, left_px: float, *, height_px: float = 80.0) -> Mouth:
    points = np.zeros((9, 2), np.float32)
    points[1, 0], points[3, 1] = 1.0, gap
    box = np.array([(left_px, 10.0), (left_px + 60.0, 10.0 + height_px)], np.float32)
    return Mouth(np.zeros((96, 96), np.uint8), points, 25.0, box)


def film(*people: tuple[float, Array]) -> list[Mouths]:
    """Frames of people who stand at some pixel from the left; NaN: not seen."""
    frames = len(people[0][1])
    return [
        {number: mouth(gaps[t], left) for number, (left, gaps) in enumerate(people) if np.isfinite(gaps[t])}
        for t in range(frames)
    ]


def looks(frames: list[Mouths], speaker: str | int = "auto") -> list[Look]:
    turns = Turns(speaker)
    return [each for mouths in frames for each in turns.push(mouths)] + turns.end()


def away(gaps: Array, first: int, end: int) -> Array:
    gaps = gaps.copy()
    gaps[first:end] = np.nan
    return gaps


def test_one_person_is_looked_at_in_every_frame() -> None:
    found = looks(film((0.0, talk(400, 0.3))))
    assert [each.frame for each in found] == list(range(400))
    assert {each.face for each in found} == {0}
    assert all(each.mouth is not None and each.moving for each in found[10:])


def test_a_short_clip_is_judged_as_the_whole_track_is() -> None:
    gaps = np.concatenate([np.zeros(30), talk(30, 0.2), np.zeros(15)])
    track = MouthTrack.of([mouth(gap, 0.0) for gap in gaps])
    found = list(looks_at(track))
    assert [each.moving for each in found] == moving_frames(track).tolist()
    np.testing.assert_allclose([each.spread for each in found], lip_spread(track.points), atol=1e-6)
    still = MouthTrack.of([mouth(gap, 0.0) for gap in talk(75, 0.03)])
    assert STILL_SPREAD / 2 < lip_spread(still.points).max() < TALKING_SPREAD
    assert why_nothing_is_said(still)
    assert not any(each.moving for each in looks_at(still))


def test_in_a_conversation_the_one_who_talks_is_read() -> None:
    left = np.concatenate([talk(250, 0.3), np.zeros(250), talk(250, 0.3)])
    right = np.concatenate([np.zeros(250), talk(250, 0.3), np.zeros(250)])
    found = looks(film((0.0, left), (100.0, right)))
    assert [each.frame for each in found] == list(range(750))
    faces = np.array([each.face for each in found])
    for first, end, face in ((0, 225, 0), (275, 475, 1), (525, 750, 0)):
        assert (faces[first:end] == face).all()


def test_who_talks_all_the_time_beats_who_yawns_once() -> None:
    yawn = np.zeros(150)
    yawn[70:80] = 0.3
    assert {each.face for each in looks(film((0.0, yawn), (100.0, talk(150, 0.3))))} == {1}


def test_of_two_who_talk_at_once_the_one_is_read_who_is_heard() -> None:
    asked: list[tuple[int, int]] = []

    def heard(first: int, tracks: dict[int, MouthTrack]) -> dict[int, Array]:
        assert set(tracks) == {0, 1}
        count = len(tracks[0].points)
        asked.append((first, count))
        frames = np.arange(first, first + count)
        np.testing.assert_array_equal(tracks[0].points[:, 3, 1], talk(300, 0.3)[frames].astype(np.float32))
        return {0: np.where(frames < 150, 0.9, 0.1), 1: np.full(count, 0.5)}

    frames = film((0.0, talk(300, 0.3)), (100.0, talk(300, 0.2)))
    turns = Turns("auto", heard)
    found = [each for mouths in frames for each in turns.push(mouths)] + turns.end()
    assert [each.face for each in found] == [0] * 150 + [1] * 150
    assert turns.heard and [first + count for first, count in asked][-1] == 300
    assert max(count for _, count in asked) == 2 * HEARD_FRAMES + STEP_FRAMES
    deaf = Turns("auto", lambda first, tracks: {})  # the sound goes with nobody's lips: those that move most
    assert {each.face for mouths in frames for each in deaf.push(mouths)} == {0} and not deaf.heard


def test_who_keeps_still_is_not_compared_with_the_sound() -> None:
    def heard(first: int, tracks: dict[int, MouthTrack]) -> dict[int, Array]:
        raise AssertionError

    frames = film((0.0, talk(200, 0.3)), (100.0, np.zeros(200)))
    for speaker, people in (("auto", frames), (1, film((0.0, talk(200, 0.3)), (100.0, talk(200, 0.3))))):
        turns = Turns(speaker, heard)
        chosen = {each.face for mouths in people for each in turns.push(mouths)}
        assert chosen == {0 if speaker == "auto" else 1}


def test_largest_and_numbers() -> None:
    frames = film((100.0, talk(100, 0.3)), (0.0, np.zeros(100)))
    for mouths in frames:
        mouths[1] = mouth(0.0, 0.0, height_px=120.0)
    assert {each.face for each in looks(frames, "largest")} == {1}
    assert {each.face for each in looks(frames, 0)} == {1}  # the leftmost
    assert {each.face for each in looks(frames, 1)} == {0}
    assert {(each.face, each.mouth) for each in looks(frames, 2)} == {(None, None)}


def test_all_are_read_from_left_to_right_each_in_order() -> None:
    found = looks(film((100.0, talk(100, 0.3)), (0.0, away(talk(100, 0.2), 40, 60))), "all")
    assert [each.face for each in found][:2] == [1, 1]
    for face in (0, 1):
        assert [each.frame for each in found if each.face == face] == list(range(100))
    assert [each.frame for each in found if each.mouth is None] == list(range(40, 60))


def test_a_person_with_a_new_identity_after_a_cut_is_read_on() -> None:
    before, after = away(talk(300, 0.3), 150, 300), away(talk(300, 0.3), 0, 150)
    turns = Turns()
    found = [each for mouths in film((0.0, before), (300.0, after)) for each in turns.push(mouths)] + turns.end()
    assert [each.face for each in found] == [0] * 150 + [1] * 150
    assert not turns.together


def test_nobody_is_read_instead_of_a_speaker_who_is_hidden_for_a_moment() -> None:
    found = looks(film((0.0, away(talk(200, 0.3), 90, 110)), (100.0, np.zeros(200))))
    assert {each.face for each in found} == {0}
    assert [each.frame for each in found if each.mouth is None] == list(range(90, 110))


def test_a_ghost_face_is_never_read() -> None:
    ghost = np.full(200, np.nan)
    ghost[100:104] = [0.0, 0.9, 0.0, 0.9]
    turns = Turns()
    found = [each for mouths in film((0.0, talk(200, 0.3)), (90.0, ghost)) for each in turns.push(mouths)]
    assert {each.face for each in found + turns.end()} == {0}
    assert not turns.together


def test_nobody_there() -> None:
    found = looks([{}] * 60)
    assert [(each.face, each.mouth, each.moving) for each in found] == [(None, None, False)] * 60
    assert looks([]) == []
    assert looks([{}] * 60, "all") == looks([{}] * 60)


def passers_by(people: int, *, frames_each: int = 20) -> list[Mouths]:
    """Frames of person 0, who stays, and of others, each there for a moment and then gone for good."""
    return [
        {0: mouth(gap, 0.0), 1 + t // frames_each: mouth(gap, 100.0 + t // frames_each)}
        for t, gap in enumerate(talk(people * frames_each, 0.3))
    ]


@pytest.mark.parametrize("speaker", ["auto", "all", "largest", 0])
def test_of_hundreds_who_pass_by_few_are_kept(speaker: str | int) -> None:
    turns, frames, most = Turns(speaker), passers_by(400), 0
    found = []
    for mouths in frames:
        found += turns.push(mouths)
        assert mouths.keys() <= turns.faces.keys()
        most = max(most, len(turns.faces))
    found += turns.end()
    assert most <= LATEST_FACES + LASTING_FACES + 2  # those who came since faces were last forgotten
    assert turns.faces[0].frames == len(frames)  # who stays is counted on
    assert list(turns.faces)[-LATEST_FACES:] == [*range(402 - LATEST_FACES, 400), 0, 400]  # in the order of last seen
    assert turns.together and not turns.more  # none of the others counts beside the one who stays
    if speaker == "all":
        for identity in (0, 1, 200, 400):
            there = {each.frame for each in found if each.face == identity and each.mouth is not None}
            assert there == {t for t, mouths in enumerate(frames) if identity in mouths}
    else:
        assert {each.face for each in found} == {0}


def test_faces_that_counted_and_were_forgotten_are_told_of() -> None:
    turns = Turns()
    for mouths in passers_by(LATEST_FACES + LASTING_FACES + 5, frames_each=80):  # 3 s count beside any length of time
        turns.push(mouths)
    assert turns.more


def test_those_who_may_come_back_and_those_who_stayed_longest_are_kept() -> None:
    """The tracker knows `MAX_TRACKS` people again; a person's last sight may be a picture's faces out of order."""
    assert LATEST_FACES >= MAX_TRACKS + MAX_FACES
    faces: dict[int, SeenFace] = {}
    box, kept = np.array([(0.0, 0.0), (50.0, 80.0)]), LATEST_FACES + LASTING_FACES
    for identity in range(300):
        for _ in range(1 + identity % 7):
            see_face(faces, identity, box)
    see_face(faces, 3, box)  # came back
    assert forget_faces(dict(list(faces.items())[:kept]), ()) == []
    before, there = dict(faces), {0, 7}
    forgotten = forget_faces(faces, there)
    latest = set(list(before)[-LATEST_FACES:])
    assert 3 in latest and len(faces) == kept and before.keys() - faces.keys() == set(forgotten)
    assert latest | there <= faces.keys()
    least_kept = min(faces[identity].frames for identity in faces.keys() - latest - there)
    assert all(before[identity].frames <= least_kept for identity in forgotten)


def test_portraits_of_large_faces_are_reduced() -> None:
    face, noise = SeenFace(), np.random.default_rng(0)
    picture = noise.integers(100, 140, (1000, 1900, 3), np.uint8)
    face.see(np.array([(200.0, 200.0), (700.0, 800.0)]), picture)
    assert face.portrait is not None and face.portrait.base is None
    assert face.portrait.shape == (PORTRAIT_PX, round(PORTRAIT_PX * 900 / 1000), 3)
    assert face.portrait.std() < 5 < picture.std()  # averaged, not picked
    face.see(np.array([(0.0, 0.0), (1900.0, 900.0)]), picture)  # far wider than high
    assert face.portrait.shape[1] == PORTRAIT_PX


def test_few_frames_are_kept_and_answers_come_soon() -> None:
    turns, gaps = Turns(), talk(2000, 0.3)
    given = 0
    for number, gap in enumerate(gaps, start=1):
        given += len(turns.push({0: mouth(gap, 0.0)}))
        assert number - given <= STEP_FRAMES + LATE_FRAMES
        assert len(turns._mouths) <= KEPT_FRAMES + STEP_FRAMES + LATE_FRAMES


def test_odd_speakers_are_refused() -> None:
    with pytest.raises(ConfigError, match="loudest"):
        Turns("loudest")
