"""Changes of pixels on any device: compared with what OpenCV does, frame by frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest

from lipread.training.pixels import Change, RawPixels, shown
from lipread.values import Array

SIDE = 88


def film(frames: int = 5, seed: int = 0) -> Array:
    noise = np.random.default_rng(seed).integers(0, 256, (frames, 96, 96)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(frame, (0, 0), 3) for frame in noise])
    return np.asarray((4 * (smooth - 128) + 128).clip(0, 255).astype(np.uint8))


def still(frames: int = 5, **changes: Any) -> Change:
    """The middle of the crop, as it is."""
    nothing = Change(
        place=np.arange(frames, dtype=float), back=np.array([[1.0, 0, 4], [0, 1, 4]]), knots=np.zeros((4, 4, 2)),
        curve=np.arange(256), shade=np.zeros(2), blur_px=0.0, grain=0.0, seed=0, quality=0, hole=np.zeros(7, int),
        hidden=np.zeros(frames, bool),
    )
    return replace(nothing, **changes)


def seen(crops: Array, change: Change) -> Array:
    return np.asarray(shown(RawPixels.of([crops], [change], [0]), SIDE).numpy())


def centre(crops: Array) -> Array:
    return crops[:, 4:92, 4:92]


def apart(one: Array, other: Array) -> float:
    return float(np.abs(one.astype(float) - other.astype(float)).max())


def test_nothing_changes_nothing() -> None:
    assert np.array_equal(seen(film(), still()), centre(film()))


def test_a_move_is_opencvs_warp() -> None:
    crops, back = film(), np.array([[0.97, -0.1, 5.3], [0.12, 1.05, 1.7]])
    wanted = np.stack([
        cv2.warpAffine(
            crop.astype(np.float32), back, (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for crop in crops
    ])
    assert apart(seen(crops, still(back=back)), wanted) < 3  # OpenCV counts places in 32nds of a pixel


def test_displacements_are_smooth_between_their_knots() -> None:
    crops, knots = film(), np.random.default_rng(1).normal(0, 2, (4, 4, 2)).astype(np.float32)
    field = cv2.resize(knots, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    wanted = np.stack([
        cv2.remap(
            crop.astype(np.float32), columns + 4 + field[..., 0], rows + 4 + field[..., 1], cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        for crop in crops
    ])
    assert apart(seen(crops, still(knots=knots)), wanted) < 3


def test_grey_levels_follow_the_curve_and_the_light() -> None:
    crops = film()
    assert np.array_equal(seen(crops, still(curve=255 - np.arange(256))), 255 - centre(crops))
    ramp = np.linspace(-1, 1, SIDE)
    wanted = (centre(crops) * (1 + 0.2 * ramp - 0.1 * ramp[:, None])).clip(0, 255)
    assert apart(seen(crops, still(shade=np.array([0.2, -0.1]))), wanted) < 1


@pytest.mark.parametrize("sigma", [0.4, 1.0, 1.6])
def test_blur_is_opencvs(sigma: float) -> None:
    wanted = np.stack([cv2.GaussianBlur(c.astype(np.float32), (11, 11), sigma) for c in centre(film())])
    assert apart(seen(film(), still(blur_px=sigma)), wanted) < 0.6


@pytest.mark.parametrize("quality", [10, 35, 59])
def test_coding_loses_what_jpeg_loses(quality: int) -> None:
    crops = film()
    wanted = np.stack([
        cv2.imdecode(cv2.imencode(".jpg", c, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_GRAYSCALE)
        for c in centre(crops)
    ])
    got = seen(crops, still(quality=quality))
    assert apart(got, wanted) <= 12 and np.abs(got.astype(int) - wanted).mean() < 0.3
    assert apart(wanted, centre(crops)) > 5  # there is something to lose


def test_grain_is_of_the_size_asked_for_and_other_in_every_frame() -> None:
    grey = np.full((6, 96, 96), 128, np.uint8)
    noise = seen(grey, still(6, grain=5.0)).astype(float) - 128
    assert noise.std() == pytest.approx(5, rel=0.05)
    assert np.abs(np.corrcoef(noise.reshape(6, -1)) - np.eye(6)).max() < 0.1
    assert np.array_equal(seen(grey, still(6, grain=5.0)), seen(grey, still(6, grain=5.0)))
    assert not np.array_equal(seen(grey, still(6, grain=5.0)), seen(grey, still(6, grain=5.0, seed=1)))


def test_places_between_frames_are_blends() -> None:
    crops = np.broadcast_to(10 * np.arange(5, dtype=np.uint8)[:, None, None], (5, 96, 96))
    got = seen(crops, still(4, place=np.array([0.0, 1.3, 3.5, 4.0])))
    assert got[:, 0, 0].tolist() == [0, 13, 35, 40]


def test_a_hole_and_hidden_frames() -> None:
    crops, hidden = film(), np.array([False, False, False, False, True])
    got = seen(crops, still(hole=np.array([1, 3, 10, 20, 30, 50, 77]), hidden=hidden))
    wanted = centre(crops).copy()
    wanted[1:3, 10:20, 30:50] = 77
    assert np.array_equal(got[:4], wanted[:4])
    assert (got[4] == int(wanted.mean(axis=(1, 2)).mean())).all()


def test_every_clip_has_its_own_changes() -> None:
    one, two, three = film(4, 1), film(6, 2), film(3, 3)
    changes = [
        still(4, blur_px=1.2, shade=np.array([0.1, 0.0])),
        still(5, place=np.linspace(0, 5, 5), hole=np.array([0, 2, 0, 9, 0, 9, 5]), quality=20),
        still(3, back=np.array([[-1.0, 0, 91], [0, 1, 2]]), hidden=np.array([True, False, False])),
    ]
    together = shown(RawPixels.of([one, two, three], changes, [0, 2, 5]), SIDE).numpy()
    alone = [seen(crops, change) for crops, change in zip((one, two, three), changes, strict=True)]
    assert apart(together, np.concatenate(alone)) <= 1
