"""Mouth crops and lip points of real GRID clips: seen through other cameras, beside published points, and as before."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from lipread.landmarks import FaceMesh
from lipread.mouth import MouthCropper, lip_points, read_crops, write_crops_mp4
from lipread.values import FRAME_RATE_HZ, MouthTrack
from media import frames_of

Array = npt.NDArray[Any]

CLIPS = ("s3_bbaf1s", "s4_bbae9n")  # a man and a woman, both also in landmarks/
CAMERA_FRAMES = 30
WIDTH, HEIGHT = 360, 288  # of every GRID clip


def watch(images: list[Array]) -> tuple[MouthTrack, Array]:
    """The mouth track of a film of one face, and its meshes (T, 478, 2)."""
    cropper, meshes = MouthCropper(), []
    with FaceMesh(1) as mesh:
        for image in images:
            found = mesh.detect(image)
            assert len(found) == 1
            meshes.append(found[0])
            cropper.push(image, found[0])
    return cropper.finish(), np.stack(meshes)


@pytest.fixture(scope="module")
def seen(grid_dir: Path) -> dict[str, tuple[MouthTrack, Array]]:
    """Track and meshes of each clip."""
    return {clip: watch(frames_of(grid_dir, clip)) for clip in CLIPS}


# --- the same face through another camera ---


def resized(factor: float) -> Callable[[Array], Array]:
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return lambda image: np.asarray(cv2.resize(image, None, fx=factor, fy=factor, interpolation=way))


def rolled(degrees: float) -> Callable[[Array], Array]:
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), degrees, 1)
    return lambda image: np.asarray(cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC))


def shifted(x: int, y: int) -> Callable[[Array], Array]:
    matrix = np.array([[1.0, 0, x], [0, 1.0, y]])
    return lambda image: np.asarray(cv2.warpAffine(image, matrix, (WIDTH, HEIGHT)))


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize(
    ("camera", "size", "grey_levels"),
    [
        pytest.param(resized(0.5), 0.5, 1.8, id="half"),  # loses detail
        pytest.param(resized(2), 2.0, 0.8, id="double"),
        pytest.param(resized(4), 4.0, 0.8, id="1440 wide"),
        pytest.param(rolled(15), 1.0, 1.2, id="15 degrees"),
        pytest.param(rolled(-15), 1.0, 1.2, id="-15 degrees"),
        pytest.param(shifted(25, -20), 1.0, 0.3, id="shifted"),
    ],
)
def test_another_camera_gives_nearly_the_same_crops_and_points(
    grid_dir: Path,
    seen: dict[str, tuple[MouthTrack, Array]],
    clip: str,
    camera: Callable[[Array], Array],
    size: float,
    grey_levels: float,
):
    """A crop moved by one pixel differs by 2.5 to 3.5 grey levels on these clips."""
    kept = slice(3, CAMERA_FRAMES - 6)  # later frames are smoothed over frames that the shorter film lacks
    track, _ = watch([camera(image) for image in frames_of(grid_dir, clip)[:CAMERA_FRAMES]])
    before = seen[clip][0]
    assert np.abs(track.crops[kept].astype(int) - before.crops[kept]).mean() < grey_levels
    moved = np.roll(before.crops[kept].astype(int), 1, axis=2)
    assert np.abs(moved - before.crops[kept]).mean() > 2
    assert np.abs(track.points[kept] - before.points[kept]).mean() < 0.05
    assert track.eye_px == pytest.approx(size * before.eye_px, rel=0.04)


# --- the corpus's own points ---


def stored_points(grid_dir: Path, clip: str) -> tuple[Array, Array]:
    """Frame numbers of a sentence, and its points in landmarks/SPEAKER.npz: pixels from between the eyes, (n, 9, 2)."""
    speaker, name = clip.split("_")
    with np.load(grid_dir / "landmarks" / f"{speaker}.npz") as stored:
        sentence = int(np.flatnonzero(stored["clip"] == name)[0])
        points = stored["point"][stored["offset"][sentence] : stored["offset"][sentence + 1]] / 128
        segments = stored["segment"][stored["segment"][:, 0] == sentence]
    starts_s = [start_s for start_s, _, word in spoken(grid_dir, clip) if word != "sp"]
    frames: list[int] = []
    for _, word, count in segments:
        first = round(starts_s[word] * FRAME_RATE_HZ) if word >= 0 else frames[-1] + 1  # -1: a pause after a word
        frames += range(first, first + count)
    assert len(frames) == len(points) > 30
    return np.array(frames), points


def spoken(grid_dir: Path, clip: str) -> list[tuple[float, float, str]]:
    """Start and end in seconds, and the word, of all that is not silence before and after the sentence."""
    with (grid_dir / "words.tsv").open() as file:
        rows = [row for row in csv.DictReader(file, delimiter="\t") if row["clip"] == clip]
    return [(float(row["start_s"]), float(row["end_s"]), row["word"]) for row in rows if row["word"] != "sil"]


@pytest.mark.parametrize("clip", CLIPS)
def test_points_agree_with_those_of_the_corpus(
    grid_dir: Path, seen: dict[str, tuple[MouthTrack, Array]], clip: str
):
    """Measured on the original films before they were compressed again, which moves each point by half a pixel."""
    track, meshes = seen[clip]
    frames, points = stored_points(grid_dir, clip)

    def error_px(shift: int) -> float:
        offsets = [np.multiply(*lip_points(meshes[frame + shift], 0.0)) for frame in frames]
        return float(np.linalg.norm(np.stack(offsets) - points, axis=-1).mean())

    assert error_px(0) < 0.65
    assert error_px(0) < min(error_px(-1), error_px(1))  # not a frame early or late
    # The track's points are turned upright, too: by the same small angle for all nine points of a frame.
    eye_px = np.array([lip_points(meshes[frame], 0.0)[1] for frame in frames])
    ours, theirs = (p[..., 0] + 1j * p[..., 1] for p in (track.points[frames] * eye_px[:, None, None], points))
    roll = np.angle((theirs.conj() * ours).sum(axis=1))
    assert np.abs(roll).max() < np.radians(8)
    assert np.abs(theirs * np.exp(1j * roll)[:, None] - ours).mean() < 0.65


# --- speech and silence ---


@pytest.mark.parametrize("clip", ["s1_bbaf2n", "s4_bbae9n"])
def test_lips_move_more_in_words_than_after_them(grid_dir: Path, clip: str):
    """Both end with three quarters of a second of silence; lips go on for a third of a second after the last word."""
    words = spoken(grid_dir, clip)
    first, end = (int(time_s * FRAME_RATE_HZ) for time_s in (words[0][0], words[-1][1]))
    points = watch(frames_of(grid_dir, clip))[0].points
    assert len(points) - (end + 8) > 10
    assert changes(points[first:end]) > 2 * changes(points[end + 8 :]) > 0


def test_a_frozen_picture_does_not_speak(grid_dir: Path):
    track, _ = watch([frames_of(grid_dir, CLIPS[0])[40]] * 20)
    assert changes(track.points[5:]) < 0.003


def changes(points: Array) -> float:
    """Mean absolute change per frame of the inner-lip gap and of the mouth width, eye distances."""
    gap, width = points[:, 3, 1] - points[:, 2, 1], points[:, 1, 0] - points[:, 0, 0]
    return float(np.abs(np.diff(gap)).mean() + np.abs(np.diff(width)).mean())


# --- as before ---

# Frame 30, points in the order of LIP_POINTS; the network was trained on points measured by exactly this code.
POINTS_AT_30 = {
    "s3_bbaf1s": [
        (-0.601, 2.115), (0.647, 2.128), (0.004, 2.063), (0.004, 2.087), (0.020, 3.469),
        (0.317, 2.061), (-0.297, 2.057), (0.319, 2.080), (-0.301, 2.075),
    ],
    "s4_bbae9n": [
        (-0.567, 2.081), (0.608, 2.051), (0.025, 1.989), (0.031, 2.347), (0.011, 3.334),
        (0.338, 1.974), (-0.291, 1.984), (0.335, 2.274), (-0.277, 2.286),
    ],
}  # fmt: skip
GREY_AT_30 = {  # every 24th pixel of the crop
    "s3_bbaf1s": [[207, 154, 169, 153], [189, 145, 114, 154], [180, 127, 94, 114], [124, 162, 141, 150]],
    "s4_bbae9n": [[159, 143, 160, 147], [164, 135, 127, 147], [42, 144, 146, 137], [56, 135, 141, 111]],
}


@pytest.mark.parametrize("clip", CLIPS)
def test_points_and_crops_are_what_the_network_was_trained_on(seen: dict[str, tuple[MouthTrack, Array]], clip: str):
    track, _ = seen[clip]
    assert track.present.all() and len(track.present) == 75
    np.testing.assert_allclose(track.points[30], POINTS_AT_30[clip], atol=0.02)
    np.testing.assert_allclose(track.crops[30, ::24, ::24], GREY_AT_30[clip], atol=12)


@pytest.mark.parametrize("clip", CLIPS)
def test_crops_show_the_mouth_in_the_middle(seen: dict[str, tuple[MouthTrack, Array]], clip: str):
    """The line between the lips is the darkest row, a few pixels from the middle."""
    track, _ = seen[clip]
    rows = track.crops[:, 30:66, 36:60].mean(axis=(0, 2))
    assert abs(30 + int(np.argmin(rows)) - 48) <= 8


@pytest.mark.parametrize("clip", CLIPS)
def test_a_clip_is_stored_small_and_true(tmp_path: Path, seen: dict[str, tuple[MouthTrack, Array]], clip: str):
    crops = seen[clip][0].crops
    write_crops_mp4(tmp_path / "clip.mp4", crops)
    assert (tmp_path / "clip.mp4").stat().st_size <= 60_000
    back = read_crops(tmp_path / "clip.mp4")
    assert back.shape == crops.shape == (75, 96, 96)
    assert np.abs(back.astype(int) - crops).mean() < 1.5


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """OpenCV's threads would only wait for one another on such small pictures."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)
