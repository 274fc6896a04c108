"""Drawn heads: what a seed means, geometry against hand-made formulas, and whether MediaPipe sees what was drawn."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import cv2
import numpy as np
import pytest

from lipread.data.heads import Head, draw_clip, draw_crops
from lipread.data.people import Camera, Identity, Mouth
from lipread.data.visemes import SHAPE
from lipread.errors import DataError
from lipread.landmarks import FaceMesh
from lipread.mouth import REFERENCE, MouthCropper, anchors_of, similarity
from lipread.values import Array, MouthTrack

SEED_0_PERSON = [0.45830232, 0.41336145, 48.02182, 0.0062340578]
SEED_0_SHAPES = [0.19115927, 0.17785238, 0.089057397, 0.066716418, 0.01641791, 0.093171642, 0.39873134]
SEED_0_POINTS = [-0.00010418181, 2.1682128]
INNER_EYES_APART = 0.58  # in eye distances
UPPER, LOWER = 13, 14  # inner lips in the mesh


def straight(head: Head, **changes: object) -> Head:
    """The same head looking straight and still into the camera."""
    still = {"roll": 0.0, "yaw": 0.0, "pitch": 0.0, "sway": np.zeros(4)}
    head.camera = replace(head.camera, **{**still, **changes})  # type: ignore[arg-type]
    return head


def shape(**values: float) -> Array:
    return np.array([values.get(name, 0.0) for name in SHAPE])


# --- what a seed means


def test_a_clip_follows_from_its_seed() -> None:
    one, two = (draw_clip("bin at", 5, width=120, height=96, frames=20) for _ in range(2))
    for field in ("frames", "anchors", "points"):
        np.testing.assert_array_equal(getattr(one, field), getattr(two, field))
    assert (one.words, one.text, one.seed) == (two.words, "bin at", 5)
    assert (one.frames.shape, one.frames.dtype) == ((20, 96, 120, 3), np.uint8)
    assert (one.anchors.shape, one.points.shape, one.points.dtype) == ((20, 4, 2), (20, 9, 2), np.float32)


def test_frames_can_be_drawn_in_any_order() -> None:
    clip = draw_clip("set", 8, width=120, height=96, frames=20)
    head = Head("set", 8, width=120, height=96, frames=20)
    for index in (17, 3, 3, 0):
        np.testing.assert_array_equal(head.picture(index), clip.frames[index])


def test_other_seeds_are_other_people() -> None:
    heads = [Head("bin", seed) for seed in range(40)]
    for name in ("face_width", "jaw_width", "chin_y", "mouth_y", "mouth_width", "upper_lip", "opening"):
        assert len({getattr(head.person, name) for head in heads}) == 40, name
    for name in ("scale_px", "roll", "yaw", "light_direction", "gain", "blur_px"):
        assert len({getattr(head.camera, name) for head in heads}) == 40, name
    beards = sum(head.person.beard > 0 for head in heads)
    long_hair = sum(head.person.long_hair for head in heads)
    assert 3 <= beards <= 20 and 8 <= long_hair <= 28
    tones = [head.person.skin.mean() for head in heads]
    assert min(tones) < 90 and max(tones) > 190
    first, second = heads[0].picture(0), heads[1].picture(0)
    assert np.abs(first.astype(int) - second).mean() > 10


def test_a_person_stays_the_same_whatever_they_say() -> None:
    one, two = Head("bin blue", 11).person, Head("place red by k nine please", 11).person
    for field in fields(Identity):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(two, field.name))


def test_seeds_keep_their_meaning() -> None:
    """Numbers from the day the first network was trained on drawn heads: they must not change behind its back."""
    head = Head("place white with v six now", 0)
    assert len(head) == 67
    np.testing.assert_allclose([head.words[0].start_s, head.words[0].end_s], [0.277742465756705, 0.7265083906834935])
    checks = [head.person.mouth_width, head.person.opening, head.camera.scale_px, head.camera.yaw]
    np.testing.assert_allclose(checks, SEED_0_PERSON, rtol=1e-6)
    np.testing.assert_allclose(head.shapes.mean(axis=0), SEED_0_SHAPES, rtol=1e-6)
    np.testing.assert_allclose(head.landmarks(30)[1].mean(axis=0), SEED_0_POINTS, rtol=1e-6)


# --- geometry


def test_mouth_by_hand() -> None:
    person = replace(Identity.draw(np.random.default_rng(0)), mouth_width=0.4, opening=0.3, asymmetry=0.01)
    rest, wide = Mouth.formed(person, shape()), Mouth.formed(person, shape(open=1.0, spread=1.0))
    assert (rest.half, rest.gap, rest.jaw) == (0.4, 0.0, 0.0)
    assert (wide.half, wide.gap, wide.jaw) == (pytest.approx(0.48), pytest.approx(0.3), pytest.approx(0.2))
    assert Mouth.formed(person, shape(round=1.0)).half == pytest.approx(0.264)
    assert Mouth.formed(person, shape(open=-0.5)).gap == 0.0
    assert Mouth.formed(person, shape(press=1.0)).lower == pytest.approx(0.55 * person.lower_lip)
    upper, lower = wide.inner_edges(np.array([-1.0, 0.0, 1.0]))
    np.testing.assert_allclose(lower - upper, [0, 0.3, 0], atol=1e-12)
    np.testing.assert_allclose(upper[[0, 2]], [wide.y - 0.01, wide.y + 0.01])


def test_lip_points_of_a_straight_face() -> None:
    head = straight(Head("wow", 3))
    for index in range(0, len(head), 5):
        mouth, points = head.mouth(index), head.landmarks(index)[1]
        np.testing.assert_allclose(points[:2, 0], [-mouth.half / INNER_EYES_APART, mouth.half / INNER_EYES_APART])
        np.testing.assert_allclose(points[3, 1] - points[2, 1], mouth.gap / INNER_EYES_APART, atol=1e-12)
        np.testing.assert_allclose(points[2:5, 0], 0, atol=1e-12)
        assert points[4, 1] == pytest.approx((head.person.chin_y + mouth.jaw) / INNER_EYES_APART)


def test_anchors_of_a_straight_face() -> None:
    head = straight(Head("wow", 3), scale_px=50.0, centre_px=np.array([180.0, 110.0]))
    eyes = head.landmarks(0)[0][:2]
    np.testing.assert_allclose(eyes, [[155, 110], [205, 110]])
    assert head.landmarks(0)[0][3, 1] == pytest.approx(110 + 50 * (head.mouth(0).y + 0.14 * head.mouth(0).gap + 0.01))


def test_a_tilted_head_has_the_same_lip_points() -> None:
    upright, tilted = straight(Head("wow", 4)), straight(Head("wow", 4), roll=0.3)
    for index in (0, 12, 20):
        np.testing.assert_allclose(tilted.landmarks(index)[1], upright.landmarks(index)[1], atol=1e-9)
    eyes = tilted.landmarks(0)[0]
    assert np.arctan2(*(eyes[1] - eyes[0])[::-1]) == pytest.approx(0.3)


def test_a_turned_head_is_narrower_and_cameras_sway() -> None:
    front, turned = straight(Head("set", 4)), straight(Head("set", 4), yaw=0.4)
    width = [float(np.ptp(head.landmarks(0)[0][:2, 0])) for head in (front, turned)]
    assert width[1] == pytest.approx(width[0] * np.cos(0.4))
    moving = Head("set", 4)
    assert np.ptp([moving.landmarks(index)[0][0] for index in range(len(moving))], axis=0).min() > 0.05


def test_open_mouths_are_dark_inside_and_closed_ones_are_not() -> None:
    for seed in range(6):
        head = straight(Head("papa", seed, width=180, height=144), blur_px=0.3, noise=0.0, light=0.0)
        gaps = [head.mouth(index).gap for index in range(len(head))]
        grey = {}
        for name, index in (("open", int(np.argmax(gaps))), ("closed", int(np.argmin(gaps)))):
            matrix, mouth = head.view(index)[0], head.mouth(index)
            face = head._turned(np.array([[0.0, mouth.y + 0.2 * mouth.gap], [0.0, -0.25]]), 0.0)
            spots = (face @ matrix[:, :2].T + matrix[:, 2]).round().astype(int)
            picture = cv2.cvtColor(head.picture(index), cv2.COLOR_RGB2GRAY).astype(float)
            grey[name] = picture[spots[0, 1], spots[0, 0]] / picture[spots[1, 1], spots[1, 0]]  # mouth against forehead
        assert grey["open"] < grey["closed"], seed
        assert grey["open"] < 0.75, seed


def test_crops_are_upright_and_to_scale() -> None:
    head = Head("wow", 21, frames=30)
    crops, points = draw_crops(head)
    assert (crops.shape, crops.dtype, points.shape) == ((30, 96, 96), np.uint8, (30, 9, 2))
    a, _ = similarity(np.stack([head.landmarks(index)[0] for index in range(30)]).mean(axis=0), REFERENCE)
    eye_px = abs(a) * head.camera.scale_px
    assert 45 < eye_px < 62  # the reference face has 54
    rows = np.abs(np.diff(crops.astype(float), axis=0)).mean(axis=(0, 2))
    assert 30 < int(np.argmax(cv2.blur(rows[:, None], (1, 9))[:, 0])) < 75  # what moves is in the middle: the mouth


@pytest.mark.parametrize(("text", "frames"), [("", None), ("42", None), ("place red at c two now", 12)])
def test_what_cannot_be_drawn(text: str, frames: int | None) -> None:
    with pytest.raises(DataError):
        draw_clip(text, 0, frames=frames)


def test_small_and_odd_pictures() -> None:
    for width, height in ((64, 48), (97, 131)):
        clip = draw_clip("bin", 2, width=width, height=height, frames=12)
        assert clip.frames.shape == (12, height, width, 3)
    assert isinstance(Camera.draw(np.random.default_rng(0), 64, 48).scale_px, float)


# --- the face mesh on drawn heads


@dataclass(frozen=True)
class Watched:
    """A drawn head as the face mesh sees it: `meshes` (T, 478, 2), NaN where it found nothing."""

    head: Head
    meshes: Array
    track: MouthTrack


@pytest.fixture(scope="module")
def watched() -> list[Watched]:
    """Five people saying wide and narrow vowels, all the way through pictures and the mesh."""
    found = []
    for seed in range(5):
        head, cropper, meshes = Head("wow pie see papa", seed, frames=50), MouthCropper(), []
        with FaceMesh(1) as mesh:
            for index in range(len(head)):
                picture = head.picture(index)
                faces = mesh.detect(picture)
                cropper.push(picture, faces[0] if len(faces) else None)
                meshes.append(faces[0] if len(faces) else np.full((478, 2), np.nan))
        found.append(Watched(head, np.stack(meshes), cropper.finish()))
    return found


def test_a_face_is_found_in_every_frame(watched: list[Watched]) -> None:
    for seen in watched:
        assert np.isfinite(seen.meshes).all(), seen.head.seed
        assert seen.track.face_share == 1.0


def test_found_lips_follow_the_drawn_ones(watched: list[Watched]) -> None:
    for seen in watched:
        scale = 256 / np.ptp(seen.meshes[:, :, 0], axis=1)  # as if the face were 256 pixels wide
        found = (seen.meshes[:, LOWER, 1] - seen.meshes[:, UPPER, 1]) * scale
        drawn = np.array([seen.head.mouth(index).gap for index in range(len(seen.head))])
        assert np.corrcoef(found, drawn)[0, 1] > 0.9, seen.head.seed
        assert found.min() < 1.5 and found.max() > 15, seen.head.seed


def test_eyes_and_mouth_are_found_where_they_were_drawn(watched: list[Watched]) -> None:
    for seen in watched:
        drawn = np.stack([seen.head.landmarks(index)[0] for index in range(len(seen.head))])
        found = np.stack([anchors_of(mesh) for mesh in seen.meshes])
        assert np.abs(found - drawn).mean() < 0.12 * seen.head.camera.scale_px, seen.head.seed


def test_crops_through_video_and_without_it_are_nearly_the_same(watched: list[Watched]) -> None:
    corners, lower_lips = [], []
    for seen in watched:
        crops, points = draw_crops(seen.head)
        difference = np.abs(crops.astype(int) - seen.track.crops)
        unlike = np.abs(crops.astype(int) - seen.track.crops[:, ::-1])  # what crops that do not fit would give
        assert difference.mean() < 8, seen.head.seed
        assert difference.mean() < 0.4 * unlike.mean(), seen.head.seed
        found = seen.track.points
        lower_lips.append(np.corrcoef(found[:, 3, 1], points[:, 3, 1])[0, 1])
        corners += [np.corrcoef(found[:, corner, 0], points[:, corner, 0])[0, 1] for corner in (0, 1)]
        assert np.abs(found - points)[:, :4].mean() < 0.15, seen.head.seed
    assert min(lower_lips) > 0.85
    assert np.median(corners) > 0.9 and min(corners) > 0.75  # least where lips have the skin's colour (seed 4)
