"""Who speaks and whether anyone does: made-up lips, then real GRID clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lipread.errors import ConfigError
from lipread.speaking import (
    STILL_SPREAD,
    TALKING_SPREAD,
    SeenFace,
    check_speaker,
    left_to_right,
    lip_spread,
    moving_frames,
    sight_warnings,
    why_nothing_is_said,
)
from lipread.values import Array, MouthTrack


def track(gaps: Array, *, absent: Array | None = None, eye_px: float = 25.0, start_s: float = 0.0) -> MouthTrack:
    """Lips of width 1 whose inner gap (eye distances) is given per frame."""
    points = np.zeros((len(gaps), 9, 2), np.float32)
    points[:, 1, 0] = 1.0
    points[:, 3, 1] = gaps
    if absent is not None:
        points[absent] = np.nan
    present = np.isfinite(points).all(axis=(1, 2))
    return MouthTrack(np.zeros((len(gaps), 96, 96), np.uint8), points, present, start_s, eye_px)


def talking(frames: int, size: float = 0.3) -> Array:
    return np.asarray(size * (1 + np.sin(np.arange(frames) * 1.1)) / 2)


def test_spread_is_the_deviation_around_each_frame() -> None:
    gaps = np.random.default_rng(0).normal(0, 0.1, 200)
    points = track(gaps).points
    spread = lip_spread(points)
    for frame in (0, 40, 100, 199):
        near = gaps[max(3, frame - 25) : frame + 26]  # the mesh settles in the first three frames
        assert spread[frame] == pytest.approx(near.std(), rel=1e-4)


def test_settling_after_each_appearance_does_not_count() -> None:
    gaps = np.zeros(60)
    gaps[[0, 1, 2, 30, 31, 32]] = 2.0  # the mesh jumps when the face is found, and when it is found again
    found_again = track(gaps, absent=np.arange(20, 30))
    assert lip_spread(found_again.points).max() == pytest.approx(0.0, abs=1e-6)


def test_still_lips_and_no_face_have_reasons() -> None:
    noise = np.random.default_rng(0).normal(0, 0.003, 75)
    assert "hardly move" in (why_nothing_is_said(track(noise)) or "")
    assert "in any of the 30 frames" in (why_nothing_is_said(track(np.zeros(30), absent=np.arange(30))) or "")
    assert why_nothing_is_said(track(talking(75))) is None
    assert "too short (1 of at least 7 frames)" in (why_nothing_is_said(track(talking(1))) or "")
    assert "in 6 of the 90 frames only" in (why_nothing_is_said(track(talking(90), absent=np.arange(6, 90))) or "")
    assert "0 frames" in (why_nothing_is_said(track(np.zeros(0))) or "")


def test_a_short_sentence_in_a_long_silence_is_speech() -> None:
    gaps = np.zeros(1500)
    gaps[700:720] = talking(20)
    talk = track(gaps)
    assert why_nothing_is_said(talk) is None
    moving = moving_frames(talk)
    assert moving[700:720].all()
    assert not moving[:650].any()
    assert not moving[760:].any()


def test_frames_without_a_face_do_not_move() -> None:
    moving = moving_frames(track(talking(100), absent=np.arange(40, 60)))
    assert not moving[40:60].any()
    assert moving[:40].all()


@pytest.mark.parametrize("speaker", ["biggest", -1, True, "0"])
def test_odd_speakers_are_refused(speaker: str | int) -> None:
    with pytest.raises(ConfigError, match="speaker"):
        check_speaker(speaker)


def test_left_to_right_without_passers_by() -> None:
    faces = {0: SeenFace(), 1: SeenFace(), 2: SeenFace()}
    for _ in range(100):
        faces[0].see(np.array([[200.0, 50.0], [260.0, 130.0]]))
        faces[1].see(np.array([[20.0, 50.0], [60.0, 90.0]]))
    faces[2].see(np.array([[0.0, 0.0], [5.0, 5.0]]))
    assert left_to_right(faces) == [1, 0]
    assert (faces[0].left_px, faces[0].height_px) == (230.0, 80.0)
    assert left_to_right({}) == []


def test_portraits_are_of_the_largest_sighting_and_stay_in_the_picture() -> None:
    face, image = SeenFace(), np.zeros((100, 200, 3), np.uint8)
    face.see(np.array([[50.0, 40.0], [70.0, 70.0]]), image)
    assert face.portrait is not None
    assert face.portrait.shape == (50, 40, 3)  # a third of its height around it
    face.see(np.array([[50.0, 40.0], [70.0, 72.0]]), image + 1)
    assert not face.portrait.any()  # hardly larger
    face.see(np.array([[150.0, 10.0], [210.0, 70.0]]), image + 2)
    assert (face.portrait.shape, int(face.portrait.min())) == ((90, 70, 3), 2)
    outside = SeenFace()
    outside.see(np.array([[250.0, 40.0], [270.0, 70.0]]), image)
    assert outside.portrait is None


def test_warnings_name_times_and_size() -> None:
    def warnings(seen: MouthTrack) -> tuple[str, ...]:
        return sight_warnings(seen.present, seen.eye_px, start_s=seen.start_s)

    assert warnings(track(talking(75))) == ()
    lost = track(talking(200), absent=np.r_[50:100, 150:155], start_s=1.0)
    (warning,) = warnings(lost)  # five frames are no long gap
    assert "3.00 to 5.00 s" in warning
    (small,) = warnings(track(talking(75), eye_px=7.4))
    assert "7 pixels" in small
    assert warnings(track(np.zeros(50), absent=np.arange(50))) == ()  # the reason says it


def test_real_sentences_move_and_a_repeated_picture_does_not(grid_dir: Path) -> None:
    from lipread.landmarks import FaceMesh
    from lipread.mouth import MouthCropper
    from lipread.video import read_frames

    def watch(images: list[Array]) -> MouthTrack:
        cropper = MouthCropper()
        with FaceMesh(max_faces=1) as mesh:
            for image in images:
                found = mesh.detect(image)
                cropper.push(image, found[0] if len(found) else None)
        return cropper.finish()

    for clip in sorted((grid_dir / "clips").glob("s[345]_*.mp4"))[::30]:
        with read_frames(clip) as frames:
            images = [frame.image for frame in frames]
        assert lip_spread(watch(images).points).max() > 1.5 * TALKING_SPREAD, clip.name
        coded = [cv2.imdecode(cv2.imencode(".jpg", images[0])[1], cv2.IMREAD_COLOR)] * 40
        assert lip_spread(watch(coded).points).max() < STILL_SPREAD, clip.name
