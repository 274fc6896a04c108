"""A person -> hair over the forehead and beside the face, beard and moustache: coloured noise where they grow.

Coordinates as in `people`; pictures are float32 (H, W, 3), masks (H, W).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipread.data.canvas import Canvas
from lipread.data.people import Camera, Identity
from lipread.values import Array


@dataclass(frozen=True)
class Style:
    """How far hair stands off the skull, where it begins over the forehead, how long it is beside the face (y of its
    end), how long its streaks are, and how thick it grows."""

    volume: float
    line: float
    reach: float | None
    streak: float
    cover: float = 1.0


STYLES = {
    "short": Style(9, -50, None, 6),
    "fringe": Style(11, -34, None, 6),
    "bald": Style(2, -74, None, 6, 0.25),
    "curly": Style(18, -42, 40, 1.5),
    "long": Style(12, -50, 96, 6),
}


def draw_hair(
    canvas: Canvas, picture: Array, alpha: Array, person: Identity, camera: Camera, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Hair on a head.

    Args:
        picture, alpha: the head without it and where that is.
    Returns: both with it.
    """
    x, y, style = canvas.x, canvas.y, STYLES[person.hair_style]
    rough = canvas.noise(rng, 2.2)
    streaks = canvas.noise(rng, 0.6, style.streak)
    skull = 1 - (x / (person.face_width + style.volume)) ** 2 - ((y + 12) / (76 + style.volume)) ** 2
    line = style.line + float(rng.uniform(-5, 5)) + 0.35 * np.abs(x) + 2.2 * rough
    line += 1.1 * np.clip(np.abs(x) - 42, 0, None) ** 1.25  # down to the ears
    mask = np.clip(skull * 25 + 0.5 * rough + 0.5, 0, 1)
    mask = mask * np.clip((line - y) / 2.5, 0, 1) * np.clip((12 - y) / 4, 0, 1)
    if style.reach is not None:
        beside = np.clip((np.abs(x) - person.face_width * 0.95 + 0.03 * (y - 20) + rough) / 2.5, 0, 1)
        beside = beside * np.clip((person.face_width + style.volume * 1.6 - np.abs(x) + 2 * rough) / 4, 0, 1)
        beside = beside * np.clip((y + 40) / 10, 0, 1) * np.clip((style.reach - y + 5 * rough) / 8, 0, 1)
        mask = np.maximum(mask, beside)
    mask = mask * style.cover
    bright = camera.ambient + 0.6 * float(np.linalg.norm(camera.light))
    bright = bright + 0.35 * camera.light[0] * x / 60 - 0.3 * camera.light[1] * np.clip(-y / 80, -1, 1)
    colour = person.hair.astype(np.float32) * ((1 + 0.28 * streaks) * bright).clip(0.15, 2)[..., None]
    return picture + (colour - picture) * mask[..., None], np.maximum(alpha, mask)


def draw_beard(canvas: Canvas, picture: Array, person: Identity, rng: np.random.Generator) -> None:
    """Beard and moustache, in place."""
    if not (person.beard or person.moustache):
        return
    x, y = canvas.x, canvas.y
    grain = 0.5 + 0.3 * canvas.noise(rng, 0.4, 1.0)
    edge = 2.5 * canvas.noise(rng, 4)
    side = np.clip((np.abs(x) + edge - 30 + 0.25 * (person.chin_y - y)) / 10, 0, 1)
    side = side * np.clip((y - 22 + edge) / 14, 0, 1)
    cheek = np.clip((y + edge - 18 - 0.9 * (52 - np.abs(x))) / 8, 0, 1)
    chin = np.clip((y + edge - person.mouth_y - person.lower_lip - 5) / 6, 0, 1)
    beard = person.beard * np.maximum(np.minimum(side, cheek), chin)
    droop = 0.012 * x**2
    lip = person.mouth_y - person.upper_lip + 3 + 1.6 * droop
    over = np.clip((y + 0.4 * edge - person.nose_y - 3 - droop) / 4, 0, 1) * np.clip((lip - y + 0.4 * edge) / 4, 0, 1)
    over = over * np.clip((person.mouth_width + 7 - np.abs(x) + 0.5 * edge) / 6, 0, 1)
    amount = np.maximum(beard, person.moustache * over) * np.clip(grain + 0.3, 0.2, 1.1)
    colour = person.hair.astype(np.float32) * (0.7 + 0.5 * grain[..., None])
    picture += (colour - picture) * amount.clip(0, 0.96)[..., None]
