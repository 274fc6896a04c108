"""Everyone's mouths: the same as one cropper gives, complete, in order, and in flat memory."""

from __future__ import annotations

import numpy as np

from lipread.crowd import GONE_FRAMES, Crowd, Mouths
from lipread.mouth import MAX_GAP_FRAMES, SMOOTH_FRAMES, MouthCropper
from lipread.values import Array


def mesh(x: float, y: float, *, seed: int = 0) -> Array:
    """A face-like scatter of points about (x, y), pixels."""
    return np.random.default_rng(seed).normal((x, y), 12, (478, 2)).astype(np.float32)


def pictures(count: int) -> list[Array]:
    noise = np.random.default_rng(3)
    return [noise.integers(0, 255, (120, 240, 3), np.uint8) for _ in range(count)]


def watched(images: list[Array], meshes: list[dict[int, Array]]) -> list[Mouths]:
    crowd = Crowd()
    found = [mouths for image, each in zip(images, meshes, strict=True) for mouths in crowd.push(image, each)]
    return found + crowd.end()


def test_each_face_is_cropped_as_if_it_were_alone() -> None:
    images = pictures(40)
    seen = [{0: mesh(60, 60)} | ({7: mesh(170, 60, seed=1)} if 10 <= t < 30 else {}) for t in range(40)]
    found = watched(images, seen)
    assert len(found) == 40
    alone = MouthCropper()
    for image, each in zip(images, seen, strict=True):
        alone.push(image, each.get(0))
    track = alone.finish()
    for frame, mouths in enumerate(found):
        assert (mouths[0].crop == track.crops[frame]).all()
        assert (mouths[0].points == track.points[frame]).all()
        assert (7 in mouths) == (10 <= frame < 30)
        assert mouths[0].box.tolist() == [mesh(60, 60).min(axis=0).tolist(), mesh(60, 60).max(axis=0).tolist()]


def test_short_gaps_are_filled_and_long_ones_are_not() -> None:
    away = set(range(10, 10 + MAX_GAP_FRAMES)) | set(range(40, 41 + MAX_GAP_FRAMES))
    found = watched(pictures(80), [{} if t in away else {0: mesh(60, 60)} for t in range(80)])
    assert [frame for frame, mouths in enumerate(found) if 0 not in mouths] == list(range(40, 41 + MAX_GAP_FRAMES))


def test_frames_wait_no_longer_than_they_must() -> None:
    crowd, images = Crowd(), pictures(100)
    given = 0
    for number, image in enumerate(images, start=1):
        given += len(crowd.push(image, {0: mesh(60, 60)} if number < 60 else {}))
        assert number - given <= MAX_GAP_FRAMES + SMOOTH_FRAMES + 1
    assert number - given == 0  # nobody is there any more: nothing is waited for
    assert given + len(crowd.end()) == 100


def test_faces_that_left_are_forgotten_and_come_back_with_their_number() -> None:
    crowd, image = Crowd(), pictures(1)[0]
    for identity in range(30):
        for _ in range(3):
            crowd.push(image, {identity: mesh(60, 60)})
        for _ in range(GONE_FRAMES + 1):
            crowd.push(image, {})
        assert not crowd._croppers
    crowd.push(image, {3: mesh(60, 60)})
    assert [set(mouths) for mouths in crowd.end()] == [{3}]


def test_nothing_is_smoothed_over_a_cut() -> None:
    """One person, first small at the left, then large at the right: as two films would give it."""
    images, small, large = pictures(60), mesh(60, 60), 2.5 * mesh(0, 0, seed=1) + np.float32([170, 60])
    together = watched(images, [{0: small}] * 30 + [{0: large}] * 30)
    apart = watched(images[:30], [{0: small}] * 30) + watched(images[30:], [{0: large}] * 30)
    assert len(together) == 60
    for one, other in zip(together, apart, strict=True):
        assert (one[0].crop == other[0].crop).all()
        assert (one[0].points == other[0].points).all()


def test_an_empty_film() -> None:
    assert watched([], []) == []
    assert watched(pictures(3), [{}, {}, {}]) == [{}, {}, {}]
