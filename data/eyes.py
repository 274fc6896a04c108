"""A person in a light -> pictures of both eyes from open to shut, with brows and glasses.

Coordinates as in `people`; both eyes are drawn at once, as they are mirror images.
"""

from __future__ import annotations

import cv2
import numpy as np

from lipread.data.canvas import Canvas
from lipread.data.people import EYE_X, Identity
from lipread.values import Array

EYE_BOX = (-50.0, -14.0, 50.0, 14.0)  # x0, y0, x1, y1
LID_LEVELS = 5
INNER_EYE_X, _OUTER_EYE_X = 14.5, 38.0  # eye corners
_IRIS, _PUPIL = 5.4, 2.3  # radii
_FRAME_COLOUR = (45, 40, 38)


def draw_eyes(canvas: Canvas, picture: Array, person: Identity, light: Array) -> tuple[Array, ...]:
    """The eyes on the skin of `picture`.

    Args:
        picture: lit skin, float32 (H, W, 3).
        light: brightness of the light, (H, W).
    Returns: LID_LEVELS pictures of EYE_BOX, RGB uint8, the lids open in the first and shut in the last.
    """
    levels = np.linspace(0, 1, LID_LEVELS)
    eyes = (_eyes(canvas, picture, person, light, float(closed)) for closed in levels)
    return tuple(_with_glasses(eye, canvas.scale) if person.glasses else eye for eye in eyes)


def _eyes(canvas: Canvas, picture: Array, person: Identity, light: Array, closed: float) -> Array:
    rows, columns = canvas.box(EYE_BOX)
    out = picture[rows, columns].astype(np.float32)
    x, y, scale = np.abs(canvas.x[:, columns]), canvas.y[rows], canvas.scale
    share = np.clip((x - INNER_EYE_X) / (_OUTER_EYE_X - INNER_EYE_X), 0, 1)  # from the inner to the outer corner
    arch = np.sin(np.pi * share).clip(0) ** 0.8
    middle = 0.4 - (share - 0.5)  # the outer corner is the higher one
    above, below = middle - person.eye_height * arch, middle + 0.62 * person.eye_height * arch
    lid = above + (below - above) * closed
    across = np.clip(x - INNER_EYE_X + 0.5, 0, 1) * np.clip(_OUTER_EYE_X + 0.5 - x, 0, 1)
    opening = np.clip((y - lid) * scale + 0.5, 0, 1) * np.clip((below - y) * scale + 0.5, 0, 1) * across
    covered = np.clip((y - above) * scale + 0.5, 0, 1) * np.clip((lid - y) * scale + 0.5, 0, 1) * across
    crease = np.exp(-(((y - above + 2.2) / 0.9) ** 2)) * arch
    out *= (1 - 0.25 * crease - 0.12 * covered)[..., None]
    ball = _eyeball(person, x, y, y - lid, share, scale)
    out += (ball * light[rows, columns][..., None] * 0.92 - out) * opening[..., None]
    lashes = np.exp(-(((y - lid) / 0.75) ** 2)) * np.clip(arch * 1.5, 0, 1) * across
    lower = np.exp(-(((y - below) / 0.6) ** 2)) * arch * across
    out *= (1 - 0.75 * lashes - 0.3 * lower)[..., None]
    return np.asarray(out.clip(0, 255).astype(np.uint8))


def _eyeball(person: Identity, x: Array, y: Array, under_lid: Array, share: Array, scale: float) -> Array:
    """White, iris, pupil and a glint; `under_lid` is the distance below the lid's edge."""
    shadow = 0.30 * np.exp(-under_lid / 1.5).clip(0, 1) + 0.25 * np.abs(share - 0.5)
    ball = np.array([232, 228, 222], np.float32) * (1 - shadow)[..., None]
    distance = np.hypot(x - EYE_X, y - 0.3)
    iris = person.iris.astype(np.float32) * (1.15 - 0.5 * (distance / (_IRIS + 0.2)) ** 4).clip(0.3)[..., None]
    ball += (iris - ball) * np.clip((_IRIS - distance) * scale * 0.7, 0, 1)[..., None]
    ball *= 1 - 0.9 * np.clip((_PUPIL - distance) * scale, 0, 1)[..., None]
    glint = np.exp(-(((x - EYE_X + 1.6) ** 2 + (y + 1.4) ** 2) / 0.7))
    return np.asarray(ball + 170 * glint[..., None])


def _with_glasses(eye: Array, scale: float) -> Array:
    """Frames round both eyes, a bridge, and the beginnings of the sides."""
    out, thick = eye.copy(), max(1, round(1.4 * scale))
    x0, y0, _, _ = EYE_BOX

    def at(x: float, y: float) -> tuple[int, int]:
        return round((x - x0) * scale), round((y - y0) * scale)

    for side in (-1, 1):
        centre = ((side * (EYE_X + 0.5) - x0) * scale, (1.5 - y0) * scale)
        cv2.ellipse(out, (centre, (38 * scale, 23 * scale), 0), _FRAME_COLOUR, thick, cv2.LINE_AA)
        cv2.line(out, at(side * 46, 0), at(side * 50, -1), _FRAME_COLOUR, thick, cv2.LINE_AA)
    cv2.line(out, at(-7.5, -1), at(7.5, -1), _FRAME_COLOUR, thick, cv2.LINE_AA)
    return out


def draw_brows(canvas: Canvas, picture: Array, person: Identity, rng: np.random.Generator, light: Array) -> None:
    """Strokes of hair over the eyes, in place."""
    bright = canvas.brightness(light, 0, person.brow_y)
    for side in (-1, 1):
        for _ in range(int(17 * person.brow)):
            along = rng.random()
            arch = person.brow_y + 2.5 - 4.5 * np.sin(np.pi * min(1.0, along * 0.62 + 0.12)) + 5.5 * along**3
            x = side * (10 + 39 * along)
            y = arch + rng.uniform(-0.5, 0.5) * person.brow * (1 - 0.55 * along)
            tip = x + side * rng.uniform(2, 5), y + rng.uniform(-1.6, 0.6)
            colour = (person.hair * rng.uniform(0.6, 1.1) * bright).clip(0, 255).tolist()
            canvas.stroke(picture, np.array([(x, y), tip]), colour, 0.45)
