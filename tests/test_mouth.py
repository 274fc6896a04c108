"""Mouth crops against written-out formulas, hand-made films, and real GRID clips seen through another camera."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.landmarks import MESH_POINTS
from lipread.mouth import (
    MAX_GAP_FRAMES,
    REFERENCE,
    SMOOTH_FRAMES,
    MouthCropper,
    anchors_of,
    centre_crop,
    crop_mouth,
    lip_points,
    similarity,
    smooth_anchors,
)
from lipread.values import CROP_SIDE_PX, LIP_POINTS, MouthTrack

Array = npt.NDArray[Any]

HALF = CROP_SIDE_PX // 2
ANCHOR_GROUPS = (  # MediaPipe's rings around the eyes, the base of the nose, the lips; written here a second time
    (33, 160, 158, 133, 153, 144),
    (362, 385, 387, 263, 373, 380),
    (98, 97, 2, 326, 327),
    (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)


def turned(points: Array, *, scale: float = 1.0, degrees: float = 0.0, shift: tuple[float, float] = (0, 0)) -> Array:
    """Scale and turn (clockwise on the screen) about the origin, then shift; written with a matrix."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray(scale * points @ np.array([[c, -s], [s, c]]).T + shift)


def drawn_mesh(anchors: Array = REFERENCE, seed: int = 0) -> Array:
    """A mesh whose anchors lie at `anchors`; its other points are anywhere."""
    rng = np.random.default_rng(seed)
    mesh = rng.uniform(anchors.min(axis=0), anchors.max(axis=0), (MESH_POINTS, 2))
    for group, anchor in zip(ANCHOR_GROUPS, anchors, strict=True):
        offsets = rng.uniform(-4, 4, (len(group), 2))
        mesh[list(group)] = anchor + offsets - offsets.mean(axis=0)
    return mesh.astype(np.float32)


# --- alignment ---


@given(
    scale=st.floats(0.05, 20),
    degrees=st.floats(-180, 180),
    x=st.floats(-500, 500),
    y=st.floats(-500, 500),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_similarity_finds_the_known_transform(scale: float, degrees: float, x: float, y: float, seed: int):
    source = np.random.default_rng(seed).uniform(-100, 100, (4, 2))
    a, b = similarity(source, turned(source, scale=scale, degrees=degrees, shift=(x, y)))
    assert a == pytest.approx(scale * np.exp(1j * np.radians(degrees)), rel=1e-6)
    assert b == pytest.approx(complex(x, y), rel=1e-6, abs=1e-6)


def test_similarity_equals_opencv_without_noise():
    source = np.random.default_rng(1).uniform(0, 100, (6, 2))
    target = turned(source, scale=1.7, degrees=-20, shift=(3, 40))
    matrix, _ = cv2.estimateAffinePartial2D(source, target)
    a, b = similarity(source, target)
    ours = [[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]]
    np.testing.assert_allclose(ours, matrix, atol=1e-4)  # OpenCV searches in float32


@pytest.mark.parametrize("seed", range(5))
def test_similarity_is_the_least_squares_solution(seed: int):
    """With noise: unknowns (p, q, u, v) of x' = p x - q y + u, y' = q x + p y + v."""
    rng = np.random.default_rng(seed)
    source, target = rng.uniform(0, 100, (4, 2)), rng.uniform(0, 100, (4, 2))
    rows = [row for x, y in source for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    p, q, u, v = np.linalg.lstsq(np.array(rows), target.reshape(-1), rcond=None)[0]
    a, b = similarity(source, target)
    np.testing.assert_allclose([a, b], [complex(p, q), complex(u, v)], rtol=1e-9, atol=1e-9)


def test_anchors_are_the_means_of_their_groups():
    mesh = np.random.default_rng(0).uniform(0, 300, (MESH_POINTS, 2)).astype(np.float32)
    expected = [[np.mean([mesh[i, axis] for i in group]) for axis in (0, 1)] for group in ANCHOR_GROUPS]
    np.testing.assert_allclose(anchors_of(mesh), expected, rtol=1e-5)


def test_smoothing_keeps_the_place_and_averages_the_shape():
    rng = np.random.default_rng(0)
    anchors = rng.uniform(0, 100, (20, 4, 2))
    anchors[7] = np.nan
    for index in (0, 5, 13, 19):
        smooth = smooth_anchors(anchors, index)
        np.testing.assert_allclose(smooth.mean(axis=0), anchors[index].mean(axis=0))
        near = [k for k in range(index - SMOOTH_FRAMES, index + SMOOTH_FRAMES + 1) if 0 <= k < 20 and k != 7]
        shapes = [anchors[k] - anchors[near].mean(axis=(0, 1)) for k in near]
        np.testing.assert_allclose(smooth - smooth.mean(axis=0), np.mean(shapes, axis=0))


def test_smoothing_leaves_a_still_face_alone():
    np.testing.assert_allclose(smooth_anchors(np.stack([REFERENCE] * 9), 4), REFERENCE)


# --- one crop ---


def ramp(width: int, height: int, across: float, down: float) -> Array:
    """A picture whose grey level is across * x + down * y."""
    y, x = np.mgrid[:height, :width]
    return np.asarray(np.round(across * x + down * y).astype(np.uint8))


def test_a_face_of_the_reference_size_is_cut_without_change():
    """Pixel (x, y) of the crop is pixel (x, y) - (48, 48) + mouth centre of the picture."""
    crop = crop_mouth(ramp(256, 256, 0.6, 0.3), REFERENCE)
    y, x = np.mgrid[:CROP_SIDE_PX, :CROP_SIDE_PX]
    mouth_x, mouth_y = REFERENCE[3]
    np.testing.assert_allclose(crop, 0.6 * (x - HALF + mouth_x) + 0.3 * (y - HALF + mouth_y), atol=1.1)


@pytest.mark.parametrize("scale", [0.4, 1.0, 1.9, 2.1, 4.5, 9.0])
@pytest.mark.parametrize("degrees", [0, 15, -40, 180])
def test_a_spot_lands_where_the_geometry_says(scale: float, degrees: float):
    """Small and large, turned faces; halving a large picture must not move it."""
    centre = np.array([128.0, 128.0])
    shift = tuple(centre * scale * 1.6 - turned(centre[None], scale=scale, degrees=degrees)[0])
    spot = REFERENCE[3] + (12.0, -7.0)  # in the canvas
    x, y = turned(spot[None], scale=scale, degrees=degrees, shift=shift)[0]
    side = int(256 * scale * 1.6)
    rows, columns = np.mgrid[:side, :side]
    width = 5.0 * scale
    picture = (250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * width**2))).astype(np.uint8)
    crop = crop_mouth(picture, turned(REFERENCE, scale=scale, degrees=degrees, shift=shift)).astype(float)
    rows, columns = np.mgrid[:CROP_SIDE_PX, :CROP_SIDE_PX]
    found = np.array([(crop * columns).sum(), (crop * rows).sum()]) / crop.sum()
    np.testing.assert_allclose(found, (HALF + 12, HALF - 7), atol=0.3)


@pytest.mark.parametrize("scale", [3.0, 6.5, 7.3])
def test_a_large_picture_does_not_alias(scale: float):
    """Stripes finer than a crop's pixel become grey; sampling the picture directly shows them as coarse bands."""
    side = int(256 * scale)
    stripes = np.broadcast_to(np.where(np.arange(side) % 2, 255, 0).astype(np.uint8), (side, side))
    crop = crop_mouth(stripes, REFERENCE * scale)
    assert np.abs(crop.astype(float) - 127.5).max() < 3
    direct = cv2.warpAffine(stripes, np.array([[1 / scale, 0, -80], [0, 1 / scale, -100]]), (CROP_SIDE_PX,) * 2)
    assert direct.std() > 40


def test_outside_of_the_picture_is_black():
    """The mouth lies 10 pixels from the left edge and 20 from the bottom."""
    anchors = REFERENCE - REFERENCE[3] + (10, 100)
    crop = crop_mouth(np.full((120, 200), 200, np.uint8), anchors)
    assert (crop[:, : HALF - 11] == 0).all()
    assert (crop[HALF + 21 :] == 0).all()
    assert (crop[: HALF + 19, HALF - 9 :] == 200).all()


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_a_mouth_beside_the_picture_is_black(scale: float):
    for far in ((-3000, 50), (5000, 50), (50, -3000), (50, 5000)):
        anchors = (REFERENCE - REFERENCE[3]) * scale + far
        assert not crop_mouth(np.full((120, 200), 200, np.uint8), anchors).any()


@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    scale=st.floats(1e-3, 1e3),
    degrees=st.floats(0, 360),
    x=st.floats(-1e4, 1e4),
    y=st.floats(-1e4, 1e4),
)
@settings(max_examples=150, deadline=None)
def test_no_picture_or_place_breaks_the_crop(
    height: int, width: int, scale: float, degrees: float, x: float, y: float
):
    crop = crop_mouth(
        np.full((height, width), 99, np.uint8), turned(REFERENCE, scale=scale, degrees=degrees, shift=(x, y))
    )
    assert (crop.shape, crop.dtype) == ((CROP_SIDE_PX, CROP_SIDE_PX), np.uint8)
    assert crop.max() <= 99


@given(scale=st.floats(0.1, 10), degrees=st.floats(-60, 60), seed=st.integers(0, 100))
@settings(deadline=None)
def test_lip_points_do_not_know_size_place_and_roll(scale: float, degrees: float, seed: int):
    mesh = drawn_mesh(seed=seed)
    points, eye_px = lip_points(mesh, 0.0)
    right, left = mesh[133].astype(float), mesh[362].astype(float)
    assert eye_px == pytest.approx(np.linalg.norm(left - right), rel=1e-5)
    expected = [(mesh[i] - (right + left) / 2) / np.linalg.norm(left - right) for i in LIP_POINTS]
    np.testing.assert_allclose(points, expected, atol=1e-5)
    other = turned(mesh, scale=scale, degrees=degrees, shift=(200, -30)).astype(np.float32)
    moved, moved_px = lip_points(other, -np.radians(degrees))
    np.testing.assert_allclose(moved, points, atol=2e-3)
    assert moved_px == pytest.approx(scale * eye_px, rel=1e-3)


# --- a film ---


def film_of(
    present: Array, *, still: bool = False, seed: int = 0
) -> tuple[list[Array], list[Array | None]]:
    """Pictures of one grey level each (frame k: k + 20), and a mesh that sways, nods and comes nearer and back."""
    rng = np.random.default_rng(seed)
    meshes: list[Array | None] = []
    for k, seen in enumerate(present):
        sway = 0.0 if still else np.sin(k / 10)
        jitter = 0 if still else rng.normal(0, 0.5, (4, 2))
        anchors = turned(REFERENCE + jitter, scale=1.1 + 0.2 * sway, degrees=8 * sway, shift=(60 - 20 * sway, 40))
        meshes.append(drawn_mesh(anchors, seed=seed) if seen else None)
    return [np.full((320, 400), k + 20, np.uint8) for k in range(len(present))], meshes


def track_of(images: list[Array], meshes: list[Array | None], **options: int) -> MouthTrack:
    cropper = MouthCropper(options.get("start_frame", 0))
    for image, mesh in zip(images, meshes, strict=True):
        cropper.push(image, mesh)
    return cropper.finish(options.get("frames"))


def plain_track(images: list[Array], meshes: list[Array | None]) -> tuple[Array, Array, Array]:
    """The same rules over the whole film at once: crops, points, present."""
    frames = len(images)
    dense = np.stack([np.full((MESH_POINTS, 2), np.nan) if mesh is None else mesh for mesh in meshes]).astype(float)
    seen = [k for k in range(frames) if meshes[k] is not None]
    for left, right in pairwise(seen):
        if 1 < right - left <= 12 + 1:
            for k in range(left + 1, right):
                dense[k] = dense[left] + (dense[right] - dense[left]) * (k - left) / (right - left)
    present = np.isfinite(dense[:, 0, 0])
    crops = np.zeros((frames, 96, 96), np.uint8)
    points = np.full((frames, 9, 2), np.nan)
    for k in np.flatnonzero(present):
        near = [j for j in range(max(0, k - 6), min(frames, k + 7)) if present[j]]
        shape = np.mean([anchors_of(dense[j]) for j in near], axis=0)
        anchors = shape - shape.mean(axis=0) + anchors_of(dense[k]).mean(axis=0)
        rows = [row for x, y in anchors for row in ([x, -y, 1, 0], [y, x, 0, 1])]
        p, q, u, v = np.linalg.lstsq(np.array(rows), REFERENCE.reshape(-1), rcond=None)[0]
        rotation = np.array([[p, -q], [q, p]])
        corner = rotation @ anchors[3] + (u, v) - 48
        matrix = np.column_stack([rotation, np.array([u, v]) - corner])
        crops[k] = cv2.warpAffine(images[k], matrix, (96, 96))
        right_eye, left_eye = dense[k][133], dense[k][362]
        upright = rotation / np.hypot(p, q)
        relative = dense[k][list(LIP_POINTS)] - (right_eye + left_eye) / 2
        points[k] = relative @ upright.T / np.linalg.norm(left_eye - right_eye)
    return crops, points, present


@pytest.mark.parametrize("seed", range(6))
def test_streaming_equals_the_whole_film_at_once(seed: int):
    """Random stretches with and without a face, on random pictures."""
    rng = np.random.default_rng(seed)
    present = np.concatenate([np.full(rng.integers(1, 18), bool(rng.integers(2))) for _ in range(9)])
    _, meshes = film_of(present, seed=seed)
    images = [cv2.GaussianBlur(rng.integers(0, 256, (320, 400), np.uint8), (0, 0), 3) for _ in present]
    track = track_of(images, meshes)
    crops, points, seen = plain_track(images, meshes)
    np.testing.assert_array_equal(track.present, seen)
    np.testing.assert_allclose(track.points, points, atol=1e-4)
    difference = np.abs(track.crops.astype(int) - crops)  # OpenCV rounds places to 1/32 pixel
    assert difference.max() <= 8 and difference.mean() < 0.1


@pytest.mark.parametrize("gap", [1, 2, 5, MAX_GAP_FRAMES])
def test_a_short_gap_is_interpolated(gap: int):
    present = np.ones(40, bool)
    present[10 : 10 + gap] = False
    images, meshes = film_of(present)
    track = track_of(images, meshes)
    assert track.present.all() and np.isfinite(track.points).all()
    before, after = track.points[9], track.points[10 + gap]
    for k in range(10, 10 + gap):
        share = (k - 9) / (gap + 1)
        np.testing.assert_allclose(track.points[k], (1 - share) * before + share * after, atol=0.02)
        assert track.crops[k][HALF, HALF] == k + 20  # its own picture


@pytest.mark.parametrize("gap", [MAX_GAP_FRAMES + 1, MAX_GAP_FRAMES + 2, 25])
def test_a_long_gap_stays_in_place(gap: int):
    present = np.ones(45, bool)
    present[10 : 10 + gap] = False
    track = track_of(*film_of(present))
    np.testing.assert_array_equal(track.present, present)
    assert np.isnan(track.points[~present]).all()
    assert not track.crops[~present].any()
    np.testing.assert_array_equal(track.crops[:, HALF, HALF][present], np.flatnonzero(present) + 20)
    assert track.face_share == pytest.approx(1 - gap / 45)


@pytest.mark.parametrize(("first", "end"), [(3, 20), (0, 15), (14, 30), (29, 30), (0, 1)])
def test_before_the_first_and_after_the_last_face_is_nothing(first: int, end: int):
    """However short: there is nothing to interpolate to."""
    present = np.zeros(30, bool)
    present[first:end] = True
    track = track_of(*film_of(present))
    np.testing.assert_array_equal(track.present, present)
    np.testing.assert_array_equal(track.crops[:, HALF, HALF], np.where(present, np.arange(30) + 20, 0))
    assert track.eye_px > 0


def test_never_a_face():
    track = track_of(*film_of(np.zeros(30, bool)))
    assert not track.present.any() and not track.crops.any() and np.isnan(track.points).all()
    assert (track.crops.shape, track.points.shape, track.eye_px) == ((30, 96, 96), (30, 9, 2), 0.0)


def test_no_frames_at_all():
    track = MouthCropper().finish()
    assert (track.crops.shape, track.points.shape, track.present.shape) == ((0, 96, 96), (0, 9, 2), (0,))
    assert (track.crops.dtype, track.points.dtype, track.present.dtype) == (np.uint8, np.float32, np.bool_)


def test_finish_pads_and_start_frame_leads():
    images, meshes = film_of(np.ones(10, bool))
    track = track_of(images, meshes, start_frame=7, frames=25)
    alone = track_of(images, meshes)
    np.testing.assert_array_equal(track.present, [False] * 7 + [True] * 10 + [False] * 8)
    np.testing.assert_array_equal(track.crops[7:17], alone.crops)
    np.testing.assert_array_equal(track.points[7:17], alone.points)
    assert not track.crops[17:].any() and np.isnan(track.points[:7]).all()
    assert len(track_of(images, meshes, frames=3).present) == 10  # never cuts


def test_colour_and_grey_pictures_give_the_same():
    images, meshes = film_of(np.ones(3, bool))
    coloured = [np.repeat(image[..., None], 3, axis=2) for image in images]
    np.testing.assert_array_equal(track_of(coloured, meshes).crops, track_of(images, meshes).crops)


def test_a_picture_may_be_overwritten_after_it_was_given():
    images, meshes = film_of(np.ones(12, bool))
    buffer = np.empty_like(images[0])
    cropper = MouthCropper()
    for image, mesh in zip(images, meshes, strict=True):
        buffer[:] = image
        cropper.push(buffer, mesh)
    np.testing.assert_array_equal(cropper.finish().crops, track_of(images, meshes).crops)


@pytest.mark.parametrize("mesh", [np.full((MESH_POINTS, 2), np.nan), np.full((MESH_POINTS, 2), 7.0)])
def test_a_senseless_mesh_is_no_face(mesh: Array):
    images, meshes = film_of(np.ones(30, bool), still=True)
    spoilt = [*meshes[:10], *[mesh.astype(np.float32)] * 3, *meshes[13:]]
    np.testing.assert_array_equal(track_of(images, spoilt).crops, track_of(images, meshes).crops)
    assert not track_of(images[:4], [mesh.astype(np.float32)] * 4).present.any()


@pytest.mark.parametrize("pattern", [[True], [False], [True] + [False] * 12, [True] + [False] * 13])
def test_memory_holds_few_pictures(pattern: list[bool]):
    """200 pictures of 1.2 MB: no more than MAX_GAP + SMOOTH + 1 of them at once, beside the crops themselves."""
    picture = np.zeros((960, 1280), np.uint8)
    mesh = drawn_mesh()
    cropper = MouthCropper()
    cropper.push(picture, mesh)
    frames = 200
    tracemalloc.start()
    try:
        for k in range(frames):
            cropper.push(picture, mesh.copy() if pattern[k % len(pattern)] else None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    crops = sum(pattern[k % len(pattern)] for k in range(frames)) * 96 * 96
    if pattern == [True] + [False] * 12:
        crops = frames * 96 * 96  # all interpolated
    assert peak < (MAX_GAP_FRAMES + SMOOTH_FRAMES + 1) * picture.nbytes + crops + 400_000


def test_centre_crop():
    crops = np.arange(2 * 96 * 96).reshape(2, 96, 96)
    np.testing.assert_array_equal(centre_crop(crops, 88), crops[:, 4:92, 4:92])
    np.testing.assert_array_equal(centre_crop(crops, 96), crops)
