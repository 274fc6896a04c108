"""Who looks like whom: drawn people by hand, real ones of GRID, and cuts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lipread.appearance import SAME_LOOKS, appearance, is_cut, likeness, thumbnail
from lipread.landmarks import FaceMesh
from lipread.values import Array
from media import frames_of

BOX = np.array([(40, 40), (80, 40), (40, 90), (80, 90)], np.float32)  # what matters of a mesh: where it ends
NOBODY = np.zeros((3, 72))


def person(hair: int, skin: tuple[int, int, int], shirt: tuple[int, int, int], *, x: int = 0) -> tuple[Array, Array]:
    """A picture of someone, and the mesh of the face."""
    image = np.full((160, 240, 3), (40, 60, 160), np.uint8)
    image[20:40, 35 + x : 85 + x] = hair
    image[40:90, 35 + x : 85 + x] = skin
    image[90:, 20 + x : 100 + x] = shirt
    return image, BOX + np.float32([x, 0])


def test_the_place_does_not_matter_and_the_person_does() -> None:
    looks = appearance(*person(30, (200, 150, 120), (180, 20, 20)))
    assert likeness(looks, looks) > 0.9999
    assert likeness(looks, appearance(*person(30, (200, 150, 120), (180, 20, 20), x=100))) > 0.99
    assert likeness(looks, appearance(*person(30, (200, 150, 120), (20, 120, 20)))) < SAME_LOOKS
    assert likeness(looks, appearance(*person(200, (120, 80, 60), (20, 120, 20)))) < 0.6


def test_what_is_outside_the_picture_is_left_out() -> None:
    image, mesh = person(30, (200, 150, 120), (180, 20, 20))
    near = appearance(image[40:], mesh - np.float32([0, 40]))  # without the hair
    assert near[0].sum() == 0
    assert likeness(near, appearance(image, mesh)) > 0.99
    assert likeness(appearance(image, mesh + 1000), appearance(image, mesh)) == likeness(NOBODY, NOBODY) == 0.0


def test_real_people(grid_dir: Path) -> None:
    looks = {}
    for clip in ("s1_bbaf2n", "s3_bbaf1s"):
        images = frames_of(grid_dir, clip)
        with FaceMesh(1) as mesh:
            looks[clip] = [appearance(images[at], mesh.detect(images[at])[0]) for at in (0, 70)]
    for first, last in looks.values():
        assert likeness(first, last) > 0.95
    one, other = (first for first, _ in looks.values())
    assert likeness(one, other) < SAME_LOOKS


def test_cuts() -> None:
    noise = np.random.default_rng(0)
    scene = noise.integers(0, 255, (9, 16, 3), np.uint8).repeat(40, axis=0).repeat(40, axis=1)
    moved = np.roll(scene, 3, axis=1)
    moved[100:200, 100:250] = 255  # someone walks in
    assert not is_cut(thumbnail(scene), thumbnail(moved))
    assert is_cut(thumbnail(scene), thumbnail(scene[::-1]))
    assert is_cut(thumbnail(np.zeros((20, 30, 3), np.uint8)), thumbnail(np.full((20, 30, 3), 200, np.uint8)))
