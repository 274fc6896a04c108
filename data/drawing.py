"""A person and their mouth -> polygons on a canvas, from the hair behind to the lips in front.

Shapes: H x W pixels, N polygon points. Face coordinates as in `people`; colours RGB 0..255.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from lipread.data.people import Identity, Mouth
from lipread.values import Array

SUBPIXEL_BITS = 4
FARTHEST_PX = 20_000  # OpenCV's fixed-point coordinates must not overflow

_ANGLES = np.linspace(0, 2 * np.pi, 36, endpoint=False)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)
_ACROSS = np.linspace(-1, 1, 21)


class Pen:
    """Fills polygons given in face coordinates.

    Args:
        canvas: RGB uint8 (H, W, 3), drawn on in place.
        camera: from face coordinates to pixels, (2, 3).
        turn: turns the head: face coordinates (N, 2) -> (N, 2).
    """

    def __init__(self, canvas: Array, camera: Array, turn: Callable[[Array], Array]) -> None:
        self.canvas, self.camera, self.turn = canvas, camera, turn

    def fill(self, points: Array, colour: Array, alpha: float = 1.0) -> None:
        """One polygon (N, 2); alpha below 1 mixes it with what is there."""
        placed = self.turn(np.asarray(points, float)) @ self.camera[:, :2].T + self.camera[:, 2]
        pixels = np.round(placed.clip(-FARTHEST_PX, FARTHEST_PX) * 2**SUBPIXEL_BITS).astype(np.int32)
        shade = tuple(float(v) for v in np.asarray(colour, float).clip(0, 255))
        if alpha >= 1:
            cv2.fillPoly(self.canvas, [pixels], shade, cv2.LINE_AA, shift=SUBPIXEL_BITS)
            return
        low = np.floor(placed.min(0)).astype(int).clip(0) - 1
        high = np.ceil(placed.max(0)).astype(int) + 2
        left, top = low.clip(0)
        part = self.canvas[top : max(high[1], top), left : max(high[0], left)]
        if part.size:
            over = part.copy()
            moved = pixels - np.array([left, top], np.int32) * 2**SUBPIXEL_BITS
            cv2.fillPoly(over, [moved], shade, cv2.LINE_AA, shift=SUBPIXEL_BITS)
            cv2.addWeighted(over, alpha, part, 1 - alpha, 0, dst=part)

    def ellipse(
        self, x: float, y: float, half_width: float, half_height: float, colour: Array, alpha: float = 1.0
    ) -> None:
        """An upright ellipse."""
        self.fill(np.column_stack([x + half_width * _COS, y + half_height * _SIN]), colour, alpha)

    def band(self, x: Array, upper: Array, lower: Array, colour: Array, alpha: float = 1.0) -> None:
        """What lies between two curves over the same x."""
        self.fill(np.column_stack([np.r_[x, x[::-1]], np.r_[upper, lower[::-1]]]), colour, alpha)


def draw_face(pen: Pen, p: Identity, m: Mouth, *, blink: float, clothes: Array) -> None:
    """The whole head: `blink` is how far the eyes are closed, 0..1."""
    chin = p.chin_y + m.jaw
    outline = _face_outline(p, chin)
    _draw_behind(pen, p, clothes)
    pen.fill(outline, p.skin)
    _draw_cheeks_and_hair(pen, p, outline)
    _draw_eyes(pen, p, blink)
    _draw_nose(pen, p)
    _draw_around_mouth(pen, p, m, chin)
    _draw_mouth(pen, p, m)


def _face_outline(p: Identity, chin: float) -> Array:
    top = np.linspace(np.pi, 2 * np.pi, 18)
    upper = np.column_stack([p.face_width * np.cos(top), 0.25 + 1.45 * np.sin(top)])
    share = np.linspace(0, 1, 14)[1:]
    width = p.face_width * (1 - share**3) ** 0.5 * (1 - (1 - p.jaw_width) * 0.5 * share)
    right = np.column_stack([width, 0.25 + (chin - 0.25) * share**0.9])
    return np.concatenate([upper, right, right[::-1] * [-1, 1]])


def _draw_behind(pen: Pen, p: Identity, clothes: Array) -> None:
    """Long hair, neck, clothes, ears, the back of the head."""
    dark = p.skin * 0.78
    if p.long_hair:
        pen.ellipse(0, 0.35, p.face_width * 1.28, 2.1, p.hair)
    neck = [[-0.62, 1.2], [0.62, 1.2], [0.72, 2.6], [2.4, 3.2], [2.4, 6], [-2.4, 6], [-2.4, 3.2], [-0.72, 2.6]]
    pen.fill(np.array(neck), dark)
    pen.fill(np.array([[-0.8, 2.75], [0.8, 2.75], [2.6, 3.2], [2.6, 7], [-2.6, 7], [-2.6, 3.2]]), clothes)
    for side in (-1, 1):
        pen.ellipse(side * p.face_width * 1.0, 0.25, 0.16, 0.36, dark)
    pen.ellipse(0, -0.35, p.face_width * 1.06, 1.32, p.hair)


def _draw_cheeks_and_hair(pen: Pen, p: Identity, outline: Array) -> None:
    for side in (-1, 1):  # cheeks turn away from the light
        half = outline * [side, 1]
        pen.fill(half[half[:, 0] > 0.55 * p.face_width] * [side, 1], p.skin * 0.78, 0.25)
        pen.ellipse(side * 0.62, 0.75, 0.30, 0.34, p.skin * 1.06, 0.35)
    fringe = np.column_stack([p.face_width * _ACROSS, -0.55 - p.fringe * (1 - _ACROSS**2)])
    crown = np.column_stack([1.06 * p.face_width * _ACROSS, -0.45 - 1.25 * np.sqrt(1 - _ACROSS**2)])
    pen.fill(np.concatenate([fringe, crown[::-1]]), p.hair)
    if p.beard:
        pen.fill(outline[outline[:, 1] > 0.9], p.hair, 0.75 * p.beard)


def _draw_eyes(pen: Pen, p: Identity, blink: float) -> None:
    white, lid = np.array([238, 236, 232]), p.skin * 0.72
    for side in (-1, 1):
        height = 0.10 * (1 - blink) + 0.008
        pen.ellipse(side * 0.5, -0.02, 0.25, 0.15, p.skin * 0.9, 0.6)
        pen.ellipse(side * 0.5, 0, 0.21, height + 0.02, lid)
        pen.ellipse(side * 0.5, 0.006, 0.20, height, white if blink < 0.8 else lid)
        if blink < 0.7:
            pen.ellipse(side * 0.5, 0, 0.095, min(0.095, height), p.eye)
            pen.ellipse(side * 0.5, 0, 0.045, min(0.045, height), np.array([12, 12, 12]))
        arch = p.brow_y - 0.05 * (1 - _ACROSS**2)
        pen.band(side * (0.5 + 0.26 * _ACROSS), arch, arch + 0.055, p.hair * 0.8)


def _draw_nose(pen: Pen, p: Identity) -> None:
    bridge, side_y = p.nose_y - 0.15, p.nose_y - 0.05
    pen.fill(np.array([[-0.07, -0.1], [0.07, -0.1], [0.10, bridge], [-0.10, bridge]]), p.skin * 1.07, 0.4)
    pen.fill(np.array([[0.07, 0.0], [0.12, 0], [p.nose_width, side_y], [0.10, side_y]]), p.skin * 0.82, 0.35)
    pen.ellipse(0, p.nose_y - 0.09, p.nose_width * 0.8, 0.11, p.skin * 1.04, 0.5)
    pen.ellipse(0, p.nose_y + 0.01, p.nose_width * 0.75, 0.035, p.skin * 0.7, 0.6)
    for side in (-1, 1):
        pen.ellipse(side * p.nose_width * 0.48, p.nose_y - 0.02, 0.055, 0.032, p.skin * 0.35)


def _draw_around_mouth(pen: Pen, p: Identity, m: Mouth, chin: float) -> None:
    """Moustache, folds, the shadow under the lower lip, the chin."""
    dark = p.skin * 0.78
    if p.moustache:
        low, high = m.y - 0.03, p.nose_y + 0.14
        corners = [[-0.36, low], [-0.2, high], [0, p.nose_y + 0.12], [0.2, high], [0.36, low], [0, m.y - p.upper_lip]]
        pen.fill(np.array(corners), p.hair, 0.8 * p.moustache)
    for side in (-1, 1):  # folds beside the mouth, deeper when it spreads
        outer = [[0.26, p.nose_y + 0.02], [m.half + 0.10, m.y - 0.05]]
        fold = np.array([*outer, [m.half + 0.06, m.y], [0.24, p.nose_y + 0.06]])
        pen.fill(fold * [side, 1], dark, 0.35 + 0.25 * max(0.0, m.spread))
    below = m.y + 0.66 * m.gap + m.lower
    pen.ellipse(0, below + 0.07, m.half * 0.6, 0.035, dark, 0.6)
    pen.ellipse(0, chin - 0.16, 0.26, 0.13, p.skin * 1.05, 0.4)


def _draw_mouth(pen: Pen, p: Identity, m: Mouth) -> None:
    """Lips around a dark mouth with teeth and tongue."""
    x = _ACROSS
    upper, lower = m.inner_edges(x)
    across, wide = x * m.half, x * (m.half + 0.035)
    bow = (1 - np.abs(x) ** 2.4) * (1 - 0.22 * np.exp(-((x / 0.14) ** 2)))
    top = np.column_stack([wide, upper - 0.012 - m.upper * bow])
    bottom = np.column_stack([wide, lower + 0.012 + m.lower * (1 - np.abs(x) ** 2.6)])
    pen.fill(np.concatenate([top, bottom[::-1]]), p.lip * 0.9)  # both lips, then what is between them
    pen.fill(np.concatenate([np.column_stack([across, lower]), bottom[::-1]]), p.lip * 1.04)
    pen.ellipse(0, float(lower[10] + 0.5 * m.lower), m.half * 0.45, m.lower * 0.22, p.lip * 1.25, 0.5)
    if m.gap > 0.004:
        pen.band(across, upper, lower, np.array([38, 14, 14]))
        _draw_inside(pen, p, m, x, upper, lower)
    if m.gap <= 0.02:  # the line between closed lips
        pen.band(across, upper - 0.006, lower + 0.006, p.lip * 0.45, 0.9)
    if m.bite > 0.15:  # lower lip drawn under the upper teeth
        inside = np.abs(x) < 0.72
        edge = upper[inside]
        pen.band(across[inside], edge, edge + (0.05 * m.bite + 0.25 * m.gap), p.teeth, min(1.0, 1.2 * m.bite))


def _draw_inside(pen: Pen, p: Identity, m: Mouth, x: Array, upper: Array, lower: Array) -> None:
    """Tongue and teeth between the lips' inner edges."""
    within = np.abs(x) < 0.86
    across, high, low = x[within] * m.half, upper[within], lower[within]
    room = low - high
    bed = low - room * (0.35 - 0.15 * m.round)  # the tongue's back rests low
    pen.band(across * 0.75, bed, low, np.array([150, 70, 72]), 0.8)
    shown = max(0.0, m.teeth) * (1 - 0.7 * m.round)
    upper_teeth = np.minimum(room * 0.95, 0.075 * (0.35 + 0.65 * shown))
    pen.band(across, high, high + upper_teeth, p.teeth, 0.35 + 0.65 * shown)
    if shown > 0.45:
        lower_teeth = np.minimum(room * 0.6, 0.06 * (shown - 0.35))
        pen.band(across * 0.85, low - lower_teeth, low, p.teeth * 0.88, shown)
    if m.tongue > 0.1:
        tip = np.abs(across) < m.half * 0.5
        raised = low - room * (0.35 + 0.6 * m.tongue)
        pen.band(across[tip], raised[tip], low[tip], np.array([196, 104, 102]), min(1.0, 1.3 * m.tongue))
