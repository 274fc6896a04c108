"""A person in a light -> the picture of a head whose mouth is still to be painted, and its depth.

Shapes: H x W pixels of the canvas. Coordinates as in `people`.
The skin is a height field of bumps and grooves that the light falls on. All this is done once per clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lipread.data.canvas import HEIGHT, WIDTH, Canvas
from lipread.data.eyes import draw_brows, draw_eyes
from lipread.data.hair import draw_beard, draw_hair
from lipread.data.people import EYE_X, Camera, Identity
from lipread.values import Array

_BLUSH = ((-34, 32, 13, 11), (34, 32, 13, 11), (0, 30, 8, 9), (0, 92, 14, 9))  # x, y, width, height
_STEEPEST = 2.2  # slope of the skin beyond which the light no longer changes


@dataclass(frozen=True)
class Portrait:
    """A head that can be moved.

    Attributes:
        picture: premultiplied RGBA uint8, shape (H, W, 4).
        light: brightness of the light on the skin, float32 (H, W).
        fold: where smiling darkens the cheeks, 0..1, float32 (H, W).
        depth: height towards the camera in units, float32 (HEIGHT, WIDTH): one value per unit.
        eyes: RGB uint8 pictures of `eyes.EYE_BOX`, from open to shut.
        canvas: its scale and grid.
    """

    picture: Array
    light: Array
    fold: Array
    depth: Array
    eyes: tuple[Array, ...]
    canvas: Canvas


def paint_portrait(person: Identity, camera: Camera, scale: float) -> Portrait:
    """Paint a head.

    Args:
        person, camera: who, and in which light.
        scale: pixels per unit.
    """
    rng = np.random.default_rng(person.texture_seed)
    canvas = Canvas(scale)
    surface = _surface(canvas, person)
    light = _light(surface, camera, scale)
    picture, fold = _skin(canvas, person, rng), _fold(canvas, person)
    draw_beard(canvas, picture, person, rng)
    _shade_creases(canvas, picture, person, fold)
    picture *= light[..., None]
    draw_brows(canvas, picture, person, rng, light)
    face = canvas.filled(_outline(person), 0.35)
    picture, alpha = _with_ears(canvas, picture, face, person, light)
    picture, alpha = draw_hair(canvas, picture, alpha, person, camera, rng)
    eyes = draw_eyes(canvas, picture, person, light)
    rgba = np.concatenate([picture.clip(0, 255) * alpha[..., None], 255 * alpha[..., None]], axis=-1)
    small = cv2.resize(surface, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    return Portrait(rgba.astype(np.uint8), light, fold, cv2.GaussianBlur(small, (0, 0), 3), eyes, canvas)


def _surface(c: Canvas, p: Identity) -> Array:
    """Height of the skin towards the camera, units, (H, W)."""
    inside = np.clip(1 - (c.x / (p.face_width + 8)) ** 2 - ((c.y - 5) / 118) ** 2, 0.02, 1)
    z = 64 * np.sqrt(inside) - 52
    ramp = np.clip((c.y + 8) / (p.nose_y - 2), 0, 1) * np.clip((p.nose_y + 1 - c.y) / 7, 0, 1)
    z += p.nose_height * ramp * np.exp(-((c.x / (5.0 + 2.5 * np.clip(c.y / 40, 0, 1))) ** 2))
    for side in (-1, 1):
        z += 5 * c.bump(side * (p.nose_width - 4), p.nose_y - 6, 4.5, 5)  # wings of the nose
        z -= 8 * c.bump(side * EYE_X * 0.9, -1, 15, 9)  # eye sockets, and the eyes in them
        z += 4 * c.bump(side * EYE_X, 1, 10, 7)
        z += 3 * c.bump(side * 24, -17, 17, 5)  # brows
        z += 4 * c.bump(side * 36, 28, 15, 13)  # cheeks
        z -= 1.5 * c.bump(side * 20, 11, 9, 2.5)  # under the eyes
    z += 5 * c.bump(0, p.mouth_y, 19, 14)
    z -= 0.8 * c.bump(0, (p.nose_y + p.mouth_y) / 2 - 1, 2.2, 6)  # philtrum
    z -= 2.6 * c.bump(0, p.mouth_y + p.lower_lip + 6, 12, 4)  # between lip and chin
    z += 4 * c.bump(0, p.chin_y - 11, 12, 9)
    return np.asarray(z, np.float32)


def _light(surface: Array, camera: Camera, scale: float) -> Array:
    """Light that each point of a surface sends to the camera, around 1, (H, W)."""
    down, right = np.gradient(surface, 1 / scale)
    steep = np.maximum(np.hypot(down, right) / _STEEPEST, 1)
    normal = np.stack([-right / steep, -down / steep, np.ones_like(surface)])
    normal /= np.linalg.norm(normal, axis=0)
    light = camera.light.astype(np.float32)
    strength = float(np.linalg.norm(light))
    half = light / strength + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    diffuse = np.einsum("c,chw->hw", light, normal).clip(0)
    gloss = np.einsum("c,chw->hw", half, normal).clip(0, 1) ** 24
    total = camera.ambient * (0.85 + 0.15 * normal[2]) + diffuse + 0.10 * strength * gloss
    return np.asarray(cv2.GaussianBlur(total, (0, 0), 0.6 * scale), np.float32)


def _skin(c: Canvas, p: Identity, rng: np.random.Generator) -> Array:
    """Skin with blotches, pores, blush and moles, before the light, (H, W, 3)."""
    picture = p.skin.astype(np.float32) * np.ones((c.size[1], c.size[0], 1), np.float32)
    picture *= 1 + 0.02 * p.blotches * c.noise(rng, 7)[..., None]
    picture *= 1 + 0.012 * c.noise(rng, 0.5)[..., None]
    for place in _BLUSH:
        picture *= 1 + 0.10 * p.blotches * c.bump(*place)[..., None] * np.array([0.5, -0.7, -0.7], np.float32)
    for _ in range(int(rng.integers(0, 6))):
        picture *= 1 - 0.4 * c.bump(rng.uniform(-50, 50), rng.uniform(-30, 98), 0.8, 0.8)[..., None]
    return np.asarray(picture, np.float32)


def _fold(c: Canvas, p: Identity) -> Array:
    """The lines from the nose to beside the corners of the mouth, 0..1, (H, W)."""
    mask = np.zeros((c.size[1], c.size[0]), np.float32)
    share = np.linspace(0, 1, 12)
    for side in (-1, 1):
        x = side * (p.nose_width + 1 + (p.mouth_width + 7 - p.nose_width) * share**0.8)
        c.stroke(mask, np.column_stack([x, p.nose_y - 5 + (p.mouth_y + 8 - p.nose_y) * share]), 1.0, 1.3)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.1 * c.scale))


def _shade_creases(c: Canvas, picture: Array, p: Identity, fold: Array) -> None:
    """Nostrils, the nose's wings and the folds beside the mouth, in place."""
    picture *= (1 - 0.22 * p.folds * fold)[..., None]
    for side in (-1, 1):
        hole = c.bump(side * p.nose_width * 0.5, p.nose_y - 3.2, 3.0, 1.5)
        wing = c.bump(side * (p.nose_width + 1), p.nose_y - 5, 1.5, 5)
        picture *= ((1 - 0.75 * np.clip(1.6 * hole, 0, 1)) * (1 - 0.18 * wing))[..., None]


def _outline(p: Identity) -> Array:
    """Head from the skull to the chin, (N, 2)."""
    y = np.array([-84, -78, -66, -48, -20, 10, 40, 62, 78, 90, 97, 101, 103.0])
    half = np.array([0, 26, 44, 53.4, 58.2, 60, 57, 52, 43, 33, 23, 13, 0.0])
    half[3:7] *= p.face_width / 60
    half[7:12] *= p.jaw_width * (0.5 + 0.5 * p.face_width / 60)
    y = np.where(y > 40, 40 + (y - 40) * (p.chin_y - 40) / 63, y)
    fine, given = np.linspace(0, len(y) - 1, 80), np.arange(len(y))
    y, half = (np.pad(np.interp(fine, given, value), 3, mode="edge") for value in (y, half))
    y, half = (np.convolve(value, np.ones(7) / 7, mode="valid") for value in (y, half))
    half[[0, -1]] = 0
    return np.concatenate([np.column_stack([half, y]), np.column_stack([-half, y])[::-1]])


def _with_ears(c: Canvas, picture: Array, face: Array, p: Identity, light: Array) -> tuple[Array, Array]:
    """Ears behind the face: picture and mask of both."""
    turn = np.linspace(0, 2 * np.pi, 40)
    ears = np.zeros_like(face)
    for side in (-1, 1):
        x = side * (p.face_width + 1 + 6.5 * np.cos(turn))
        ears = np.maximum(ears, c.filled(np.column_stack([x, 14 + 17 * np.sin(turn) - 1.5 * np.cos(turn)]), 0.6))
    colour = p.skin.astype(np.float32) * c.brightness(light, 0, 30) * 0.78
    return picture + (colour - picture) * (ears * (1 - face))[..., None], np.maximum(face, ears)
