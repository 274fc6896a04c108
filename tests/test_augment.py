"""Augmentation: what changes, what must not, crops and points together; against hand-made numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ctc_by_hand import frames_needed
from lipread.alphabet import Alphabet
from lipread.config import AugmentConfig
from lipread.training.augment import (
    MIRRORED,
    augment,
    change_pixels,
    change_points,
    change_sound,
    change_speed,
    draw_hole,
    stutter,
    time_masks,
)
from lipread.training.batches import Example, WordSpan
from lipread.training.pixels import RawPixels, shown
from lipread.values import SAMPLES_PER_FRAME, Array

STILL: dict[str, Any] = {
    "flip": 0.0, "shift_px": 0.0, "scale": 0.0, "rotate_deg": 0.0, "light": 0.0, "blur": 0.0, "noise": 0.0,
    "speed": 0.0, "time_mask_frames": 0, "point_noise": 0.0, "point_warp": 0.0,
    "warp_px": 0.0, "cut_out": 0.0, "compress": 0.0, "stutter": 0.0,
}


def only(**changes: Any) -> AugmentConfig:
    return AugmentConfig(**STILL | changes)


def clip(frames: int = 30, *, crops: bool = True, text: str = "bin blue") -> Example:
    """Frame k has grey level 3 k and all points at k."""
    grey = np.broadcast_to(3 * np.arange(frames, dtype=np.uint8)[:, None, None], (frames, 96, 96)).copy()
    points = np.broadcast_to(np.arange(frames, dtype=np.float32)[:, None, None], (frames, 9, 2)).copy()
    half = frames // 2
    words = (WordSpan(2, half, "bin"), WordSpan(half, frames - 2, "blue"))
    return Example("x", text, grey if crops else None, points, words)


def seen(example: Example) -> Array:
    """The crops of an example as the network sees them, (T, 88, 88)."""
    assert example.crops is not None and example.change is not None
    return np.asarray(shown(RawPixels.of([example.crops], [example.change], [0]), 88).numpy())


def changed_film(film: Array, generator: np.random.Generator, config: AugmentConfig, *, flip: bool = False) -> Array:
    """A film with changes of its pixels drawn at random, (T, 88, 88)."""
    frames = len(film)
    change = change_pixels(
        np.arange(frames, dtype=float), np.zeros(frames, bool), film.shape[-1], generator, config, 88, flip=flip
    )
    return seen(Example("x", "ah", film, np.zeros((frames, 9, 2), np.float32), (), change=change))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# -- place ------------------------------------------------------------------------------------------------------------


def square(x: int, y: int) -> Array:
    """A bright dot of 3 x 3 pixels around (x, y)."""
    crop = np.zeros((96, 96), np.uint8)
    crop[y - 1 : y + 2, x - 1 : x + 2] = 255
    return crop


def centre_of(crop: Array) -> tuple[float, float]:
    rows, columns = np.mgrid[: crop.shape[0], : crop.shape[1]]
    weight = crop.astype(float)
    return float((columns * weight).sum() / weight.sum()), float((rows * weight).sum() / weight.sum())


def test_crops_are_88_px_within_the_96() -> None:
    film = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)
    film = np.stack([cv2.GaussianBlur(crop, (0, 0), 6) for crop in film])
    places = set()
    for seed in range(40):
        cut = changed_film(film, rng(seed), only())
        assert cut.shape == (3, 88, 88)
        assert cut.dtype == np.uint8
        difference = {
            (x, y): float(np.abs(cut.astype(int) - film[:, y : y + 88, x : x + 88]).mean())
            for x in range(9) for y in range(9)
        }
        place = min(difference, key=lambda at: difference[at])
        assert difference[place] < 1.0  # half a pixel away at most, between whole places
        places.add(place)
    assert {x for x, _ in places} == {y for _, y in places} == set(range(9))


def test_the_same_move_for_the_whole_clip() -> None:
    film = np.stack([square(30, 40)] * 4)
    cut = changed_film(film, rng(3), only(shift_px=3.0, scale=0.1, rotate_deg=8.0), flip=True)
    assert all(np.array_equal(cut[0], crop) for crop in cut)


@pytest.mark.parametrize("seed", range(8))
def test_moves_are_similarities_of_the_size_asked_for(seed: int) -> None:
    film = np.stack([square(x, y) for x, y in ((36, 48), (60, 48), (48, 36))])
    left, right, top = (
        np.array(centre_of(c)) for c in changed_film(film, rng(seed), only(shift_px=3.0, scale=0.1, rotate_deg=8.0))
    )
    across, up = right - left, top - (left + right) / 2
    assert 24 * 0.9 * 0.95 - 0.5 <= np.hypot(*across) <= 24 * 1.1 * 1.05 + 0.5
    assert abs(np.rad2deg(np.arctan2(across[1], across[0]))) <= 8.5
    assert up[1] < 0  # upright
    assert across[0] > 0


def test_flip_mirrors_crops_about_the_middle() -> None:
    for flip, wanted in ((False, 1), (True, -1)):
        film = np.stack([square(40, 48), square(56, 48)])
        left, right = (centre_of(crop) for crop in changed_film(film, rng(1), only(), flip=flip))
        assert right[0] - left[0] == pytest.approx(16 * wanted, abs=0.01)
        assert right[1] == pytest.approx(left[1], abs=0.01)


def test_flip_mirrors_points_and_renames_them() -> None:
    # 0, 1: the corners; 2, 3: the inner lips' middle; 4: the chin; 5, 6 and 7, 8: beside the middle
    mouth = [(-3, 0), (3, 0), (0, -1), (0, 1), (0, 5), (1, -0.8), (-1, -0.8), (-1, 0.8), (1, 0.8)]
    points = np.array([mouth], np.float32)
    config = only(point_warp=0.0)
    plain = change_points(points, rng(5), config, flip=False)
    mirrored = change_points(points, rng(5), config, flip=True)
    assert np.allclose(plain, mirrored, atol=1e-5)  # a symmetric mouth looks the same in a mirror
    crooked = points.copy()
    crooked[0, 1] = (3, 1)  # the right corner hangs
    renamed = change_points(crooked, rng(5), config, flip=True) - plain
    assert np.abs(renamed[0, 0]).max() > 0.5  # now it is the left one
    assert np.abs(np.delete(renamed, 0, axis=1)).max() < 1e-5
    assert sorted(MIRRORED) == list(range(9))


def test_flip_is_one_decision_for_crops_and_points() -> None:
    film = np.stack([square(30, 48)] * 30)
    example = clip()
    outcomes = set()
    for seed in range(20):
        points = np.zeros_like(example.points)
        points[:, 0, 0] = -1.0
        points[:, 1, 0] = 1.0
        points[:, 1, 1] = 0.5  # the right corner hangs
        changed = augment(Example("x", "ah", film, points, ()), rng(seed), only(flip=0.5), 88)
        crop_flipped = centre_of(seen(changed)[0])[0] > 43.5
        points_flipped = changed.points[0, 0, 1] > changed.points[0, 1, 1]
        assert crop_flipped == points_flipped
        outcomes.add(crop_flipped)
    assert outcomes == {True, False}


def test_nothing_asked_for_changes_almost_nothing() -> None:
    example = clip()
    changed = augment(example, rng(), only(), 88)
    assert example.crops is not None
    assert np.abs(seen(changed).astype(int) - example.crops[:, :88, :88]).max() <= 1
    assert (changed.text, changed.words, changed.use_points) == (example.text, example.words, True)
    assert np.corrcoef(changed.points[:, 3, 1], example.points[:, 3, 1])[0, 1] > 0.9999


def test_the_example_given_is_not_changed() -> None:
    example = clip()
    assert example.crops is not None
    crops, points = example.crops.copy(), example.points.copy()
    for seed in range(5):
        augment(example, rng(seed), AugmentConfig(), 88)
    assert np.array_equal(example.crops, crops)
    assert np.array_equal(example.points, points)


def test_chance_comes_from_the_generator_alone() -> None:
    one, two, other = (augment(clip(), rng(seed), AugmentConfig(), 88) for seed in (1, 1, 2))
    assert np.array_equal(seen(one), seen(two))
    assert np.array_equal(one.points, two.points, equal_nan=True)
    assert seen(one).shape != seen(other).shape or not np.array_equal(seen(one), seen(other))


# -- light ------------------------------------------------------------------------------------------------------------


def test_light_changes_stay_light() -> None:
    film = np.broadcast_to(np.linspace(40, 200, 88).astype(np.uint8), (5, 88, 88)).copy()
    means = []
    for seed in range(30):
        changed = changed_film(film, rng(seed), only(light=0.4, blur=0.3, noise=6.0))
        assert changed.shape == film.shape
        assert changed.dtype == np.uint8
        # from dark to light stays from dark to light, and a light does not flicker
        assert changed[:, :, -20:].mean() > changed[:, :, :20].mean()
        assert np.ptp(changed.mean(axis=(1, 2))) < 2
        means.append(changed.mean())
    assert np.std(means) > 5


def test_grain_differs_from_frame_to_frame_and_is_no_more_than_asked_for() -> None:
    film = np.full((20, 88, 88), 128, np.uint8)
    spreads = [changed_film(film, rng(seed), only(noise=6.0)).astype(float).std(axis=0).mean() for seed in range(20)]
    assert max(spreads) > 1
    assert max(spreads) < 7
    assert min(spreads) == 0  # half of the clips have none


# -- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "count"), [(1.25, 24), (0.8, 38), (1.0, 30)])
def test_speed_changes_the_number_of_frames(factor: float, count: int) -> None:
    changed, place = change_speed(clip(30), factor)
    assert len(changed.points) == len(place) == count
    wanted = np.linspace(0, 29, count)  # frame k carried the number k
    assert np.allclose(changed.points[:, 0, 0], wanted, atol=1e-5)
    assert np.abs(place - wanted).max() <= 0.2  # sharp where a frame is near


def test_pixels_keep_step_with_points() -> None:
    lengths = set()
    for seed in range(10):
        changed = augment(clip(50), rng(seed), only(speed=0.4, stutter=1.0), 88)
        assert changed.shape is not None
        assert np.abs(seen(changed)[:, 50, 50] / 3 - changed.shape[:, 3, 1]).max() < 0.6
        lengths.add(len(changed.points))
    assert len(lengths) > 5


def test_speed_one_is_exact_and_lost_faces_do_not_spread() -> None:
    example = clip(30)
    example.points[7] = np.nan
    changed, _ = change_speed(example, 1.0)
    assert np.array_equal(changed.points, example.points, equal_nan=True)
    assert changed.words == example.words


@given(frames=st.integers(12, 100), factor=st.floats(0.55, 1.9), cut=st.integers(3, 9))
@hypothesis_settings(deadline=None, max_examples=150)
def test_words_stay_in_step(frames: int, factor: float, cut: int) -> None:
    example = clip(frames, crops=False, text="a b")
    words = (WordSpan(0, cut, "a"), WordSpan(cut, cut + 1, "b"), WordSpan(frames - 1, frames, "c"))
    changed, _ = change_speed(Example("x", "a b", None, example.points, words), factor)
    count = len(changed.points)
    for old, new in zip(words, changed.words, strict=True):
        assert 0 <= new.start < new.end <= count
        assert new.text == old.text
        # the frames of the word still show what the word showed, half a frame at each end apart
        shown = changed.points[new.start : new.end, 0, 0]
        pace = max(1.0, frames / count)
        assert old.start - pace <= shown.min()
        assert shown.max() <= old.end - 1 + pace


WORDY = Alphabet.english().with_words(["three", "no"])
SOME_WORDS = st.sampled_from(["three", "soon", "aa", "no", "a", "bookkeeper"])


@given(
    text=st.lists(SOME_WORDS, min_size=1, max_size=8).map(" ".join),
    spare=st.integers(0, 30), factor=st.floats(0.5, 1.9), alphabet=st.sampled_from([Alphabet.english(), WORDY]),
)
@hypothesis_settings(deadline=None, max_examples=200)
def test_a_text_that_fits_fits_at_any_speed(text: str, spare: int, factor: float, alphabet: Alphabet) -> None:
    needed = frames_needed(alphabet.encode(text))
    frames = frames_needed(Alphabet.english().encode(text)) + spare
    changed, _ = change_speed(Example("x", text, None, np.zeros((frames, 9, 2), np.float32), ()), factor)
    assert len(changed.points) >= needed


def test_a_text_that_never_fitted_is_not_made_worse() -> None:
    example = Example("x", "a" * 50, None, np.zeros((20, 9, 2), np.float32), ())
    assert len(change_speed(example, 1.5)[0].points) == 20


def test_slow_clips_end_at_the_longest_that_the_network_reads() -> None:
    assert len(change_speed(clip(30), 0.5, max_frames=40)[0].points) == 40
    assert len(change_speed(clip(30), 0.5, max_frames=100)[0].points) == 60
    slow = [len(augment(clip(30), rng(k), only(speed=0.5), 88, max_frames=33).points) for k in range(20)]
    assert max(slow) == 33


def test_speeds_are_within_what_is_asked_for() -> None:
    counts = [len(augment(clip(60, crops=False), rng(k), only(speed=0.2), 88).points) for k in range(60)]
    assert min(counts) in (50, 51)
    assert max(counts) in (74, 75)


@pytest.mark.parametrize(("frames", "masks"), [(10, 0), (13, 1), (25, 1), (75, 3), (100, 4)])
def test_one_time_mask_a_second(frames: int, masks: int) -> None:
    lengths = set()
    for seed in range(200):
        found = time_masks(frames, rng(seed), 10)
        assert len(found) == masks
        for start, end in found:
            assert 0 <= start <= end <= frames
            lengths.add(end - start)
    assert lengths == (set(range(11)) if masks else set())
    assert time_masks(frames, rng(), 0) == []


def test_masked_frames_are_grey_and_without_points() -> None:
    both, crops_alone = 0, 0
    for seed in range(30):
        example = clip(50)
        changed = augment(example, rng(seed), only(time_mask_frames=10), 88)
        crops = seen(changed)
        lost = np.isnan(changed.points).all(axis=(1, 2))
        assert np.array_equal(lost, np.isnan(changed.points).any(axis=(1, 2)))
        # unmasked frames have their own grey, 3 k; masked ones the mean
        grey = np.abs(crops[:, 40, 40].astype(int) - 3 * np.arange(50)) > 2
        flat = crops.reshape(50, -1).std(axis=1) == 0
        assert flat[lost].all()
        assert lost.sum() <= 20
        both += int((grey & lost).sum())
        crops_alone += int((grey & ~lost).sum())
    assert both > 0
    assert crops_alone > 0


def test_points_alone_are_masked_too() -> None:
    lost = [
        int(np.isnan(augment(clip(50, crops=False), rng(k), only(time_mask_frames=10), 88).points[:, 0, 0]).sum())
        for k in range(20)
    ]
    assert max(lost) > 5
    assert max(lost) <= 20


def test_a_warp_moves_places_apart_by_the_size_asked_for_in_all_frames_alike() -> None:
    film = np.stack([square(x, y) for x, y in ((30, 30), (60, 30), (48, 60))])
    moved = []
    for seed in range(60):
        still, warped = (
            np.array([centre_of(c) for c in changed_film(film, rng(seed), only(warp_px=px))])
            for px in (0.0, 2.0)
        )
        moved.append(warped - still)
    spread = np.array(moved).std(axis=0)  # of each dot's x and y over the seeds
    assert (spread > 0.6).all() and (spread < 2.6).all()
    between = np.array(moved)[:, 0] - np.array(moved)[:, 1]
    assert (between.std(axis=0) > 0.5).all()  # not one shift for the whole picture
    same = changed_film(np.stack([square(30, 40)] * 3), rng(3), only(warp_px=2.0), flip=True)
    assert all(np.array_equal(same[0], crop) for crop in same)


def test_a_hidden_rectangle_is_no_more_than_a_third_of_each_side_and_of_any_duration() -> None:
    shares = []
    for seed in range(60):
        first, last, top, bottom, left, right, grey = draw_hole(20, 88, rng(seed)).tolist()
        assert 0 <= first <= last <= 20 and 0 <= grey < 256
        assert 88 // 8 <= bottom - top < 88 / 3 and 88 // 8 <= right - left < 88 / 3
        assert min(top, left) >= 0 and max(bottom, right) <= 88
        shares.append((last - first) / 20)
    assert min(shares) < 0.2 and max(shares) > 0.7


def test_compression_keeps_the_picture_and_loses_detail() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 88, 88), dtype=np.uint8)
    film = np.stack([cv2.GaussianBlur(crop, (0, 0), 3) for crop in noise])
    coded = changed_film(film, rng(0), only(compress=1.0))
    assert coded.shape == film.shape and coded.dtype == np.uint8
    error = np.abs(coded.astype(int) - film).mean()
    assert 0.5 < error < 8
    change = change_pixels(np.arange(4.0), np.zeros(4, bool), 88, rng(0), only(compress=1.0), 84, flip=False)
    part = shown(RawPixels.of([film], [change], [0]), 84).numpy()  # ten blocks and a half
    assert part.shape == (4, 84, 84)
    assert np.abs(part.astype(int) - film[:, 2:86, 2:86]).mean() < 8
    assert np.abs(changed_film(film, rng(0), only()).astype(int) - film).max() <= 1


def test_lost_frames_show_the_frame_before_in_pixels_and_points() -> None:
    lost = 0
    for seed in range(30):
        jerky, place = stutter(clip(50), np.arange(50.0), rng(seed))
        assert np.array_equal(place, jerky.points[:, 0, 0])
        late = np.arange(50) - place
        assert set(late.tolist()) <= {0, 1} and late[0] == 0
        assert late.sum() <= 50 // 8
        lost += int(late.sum())
    assert lost > 30
    assert len(stutter(clip(1), np.zeros(1), rng())[0].points) == 1


# -- streams ----------------------------------------------------------------------------------------------------------


def test_streams_that_are_not_used() -> None:
    pixels_off = augment(clip(), rng(), AugmentConfig(), 88, use_pixels=False)
    assert pixels_off.crops is None
    assert pixels_off.use_points
    points_off = augment(clip(), rng(), AugmentConfig(), 88, use_points=False)
    assert points_off.crops is not None
    assert not points_off.use_points


# -- points -----------------------------------------------------------------------------------------------------------


def test_points_are_warped_as_one_mouth_for_the_whole_clip() -> None:
    points = np.random.default_rng(0).normal(size=(40, 9, 2)).astype(np.float32)
    changed = change_points(points, rng(1), only(point_warp=0.3, rotate_deg=8.0), flip=False)
    for place in range(9):  # each point goes through one 2 x 2 matrix, the same in all frames
        matrix, *_ = np.linalg.lstsq(points[:, place], changed[:, place], rcond=None)
        assert np.abs(points[:, place] @ matrix - changed[:, place]).max() < 1e-4
        assert 0.5 < np.linalg.det(matrix) < 2
    assert changed.dtype == np.float32


def test_point_noise_is_of_the_size_asked_for() -> None:
    points = np.zeros((200, 9, 2), np.float32)
    spreads = [change_points(points, rng(k), only(point_noise=0.01), flip=False).std() for k in range(50)]
    assert max(spreads) < 0.021
    assert np.mean(spreads) == pytest.approx(0.01, rel=0.3)


# -- what the pixels' teacher is shown --------------------------------------------------------------------------------


def test_the_teacher_is_shown_the_points_as_the_pixels_show_them() -> None:
    example = clip()
    crooked = example.points + np.arange(9, dtype=np.float32)[:, None]
    example = replace(example, points=crooked)
    warped = augment(example, rng(), only(point_warp=0.3, rotate_deg=8.0, point_noise=0.01), 88)
    assert warped.shape is not None and np.array_equal(warped.shape, crooked)
    assert not np.allclose(warped.points, crooked, atol=0.01)
    mirrored = augment(example, rng(), only(flip=1.0), 88)
    assert mirrored.shape is not None and np.array_equal(mirrored.shape, crooked[:, MIRRORED] * [-1, 1])
    masked = augment(clip(100), rng(1), only(time_mask_frames=10), 88)
    assert masked.shape is not None and masked.crops is not None
    hidden = np.isnan(masked.shape).all(axis=(1, 2))
    assert hidden.any() and not hidden.all()
    assert np.isfinite(masked.shape[~hidden]).all()


# -- sound ------------------------------------------------------------------------------------------------------------

SOUND = np.sin(np.arange(50 * SAMPLES_PER_FRAME) / 9).astype(np.float32) * np.hanning(50 * SAMPLES_PER_FRAME)


def ratio_db(seed: int, **changes: Any) -> float:
    """Of the sound to the noise that was added to it; the noise is what else differs from the same without noise."""
    without, among = (
        change_sound(SOUND.astype(np.float32), rng(seed), only(sound_noise=share, **changes), other_people)
        for share in (0.0, 1.0)
    )
    added = among.astype(np.float64) - without
    return float(10 * np.log10(np.mean(without.astype(np.float64) ** 2) / np.mean(added**2)))


def other_people(draw: np.random.Generator) -> Array:
    return draw.normal(0, 1, 20_000).astype(np.float32)


def test_noise_is_as_loud_as_asked_for() -> None:
    ratios = [ratio_db(seed, snr_db=(-5.0, 20.0)) for seed in range(80)]
    assert min(ratios) > -5.01 and max(ratios) < 20.01
    assert min(ratios) < -2 and max(ratios) > 17 and np.mean(ratios) == pytest.approx(7.5, abs=2.5)


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_noise_of_one_ratio(snr_db: float) -> None:
    ratios = [ratio_db(seed, snr_db=(snr_db, snr_db), time_mask_frames=10) for seed in range(12)]
    assert ratios == pytest.approx([snr_db] * 12, abs=0.02)


def test_the_sound_given_is_not_changed() -> None:
    given = SOUND.astype(np.float32)
    for seed in range(5):
        assert change_sound(given, rng(seed), AugmentConfig(), other_people).shape == given.shape
    assert np.array_equal(given, SOUND.astype(np.float32))
