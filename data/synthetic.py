"""Text -> a drawn talking head, as video or as prepared crops: people without number, who need no data.

Shapes: T frames, H x W pixels, N polygon points. Face coordinates: origin between the eyes, unit = distance of the eye
centres, x right and y down in the picture.

Everything is a polygon in face coordinates that a camera matrix puts into a picture, so the same drawing gives a whole
video or, through the matrix of the mouth crop, the 96 x 96 crops directly. Seeds below `FIRST_RESERVED_SEED` may be
trained on; those from there on are for demonstration and measurement and must never be trained on.

    python -m lipread.data.synthetic prepared/drawn --count 1000 --processes 2
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lipread.data.visemes import SHAPE, speak
from lipread.errors import DataError, OutputError
from lipread.mouth import REFERENCE, similarity, smooth_anchors, write_crops_mp4
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, SAMPLE_RATE_HZ, Array, Word

FIRST_RESERVED_SEED = 1_000_000
WIDTH_PX, HEIGHT_PX = 360, 288
SUPERSAMPLE = 3
INNER_EYE_SHARE = 0.29  # inner eye corners lie at +- this from the middle

GRAMMAR: tuple[tuple[str, ...], ...] = (
    ("bin", "lay", "place", "set"),
    ("blue", "green", "red", "white"),
    ("at", "by", "in", "with"),
    tuple("abcdefghijklmnopqrstuvxyz"),
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    ("again", "now", "please", "soon"),
)


def grid_sentence(rng: np.random.Generator) -> str:
    """A random sentence of the GRID corpus's grammar."""
    return " ".join(choices[rng.integers(len(choices))] for choices in GRAMMAR)


@dataclass(frozen=True)
class Identity:
    """One drawn person, all lengths in eye distances, colours RGB 0..255."""

    skin: Array
    lip: Array
    hair: Array
    eye: Array
    face_width: float
    jaw_width: float
    chin_y: float
    nose_y: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    brow_y: float
    beard: float
    moustache: float
    long_hair: bool
    fringe: float
    asymmetry: float
    teeth: Array
    opening: float  # how far this person opens the mouth

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Identity:
        """A random person."""
        tone = rng.random()
        skin = (1 - tone) * np.array([243, 208, 182.0]) + tone * np.array([92, 58, 40.0]) + rng.normal(0, 6, 3)
        lip = skin * rng.uniform(0.62, 0.92) + np.array([rng.uniform(5, 45), 0, rng.uniform(0, 12)])
        man = rng.random() < 0.5
        return cls(
            skin=skin.clip(20, 255), lip=lip.clip(20, 255), hair=rng.uniform(15, 150) * np.array([1, 0.85, 0.7]) + rng.normal(0, 8, 3),
            eye=rng.uniform(30, 120, 3), face_width=rng.uniform(1.05, 1.25), jaw_width=rng.uniform(0.6, 0.85),
            chin_y=rng.uniform(1.72, 1.98), nose_y=rng.uniform(0.72, 0.82), nose_width=rng.uniform(0.24, 0.34),
            mouth_y=rng.uniform(1.13, 1.24), mouth_width=rng.uniform(0.36, 0.46), upper_lip=rng.uniform(0.05, 0.11),
            lower_lip=rng.uniform(0.08, 0.15), brow_y=rng.uniform(-0.36, -0.26),
            beard=rng.uniform(0.3, 0.9) if man and rng.random() < 0.4 else 0.0,
            moustache=rng.uniform(0.3, 0.9) if man and rng.random() < 0.35 else 0.0,
            long_hair=not man and rng.random() < 0.8, fringe=rng.uniform(0.25, 0.6), asymmetry=rng.normal(0, 0.012),
            teeth=np.array([235, 228, 210.0]) * rng.uniform(0.75, 1.0), opening=rng.uniform(0.28, 0.42),
        )


@dataclass(frozen=True)
class Camera:
    """Where a clip is filmed from and how well."""

    scale_px: float  # eye distance in the picture
    centre_px: Array
    roll: float
    yaw: float
    pitch: float
    sway: Array  # amplitudes of the slow head movement: x, y (px), roll, yaw
    sway_phase: Array
    light_direction: float
    light: float
    gain: float
    gamma: float
    blur_px: float
    noise: float
    background: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, width: int, height: int) -> Camera:
        """A random camera for pictures of this size."""
        scale = rng.uniform(0.15, 0.23) * height
        return cls(
            scale_px=scale, centre_px=np.array([width * rng.uniform(0.42, 0.58), height * rng.uniform(0.36, 0.46)]),
            roll=rng.normal(0, 0.04), yaw=rng.normal(0, 0.12), pitch=rng.normal(0, 0.06),
            sway=np.abs(rng.normal(0, 1, 4)) * np.array([1.5, 1.0, 0.012, 0.03]), sway_phase=rng.uniform(0, 2 * np.pi, 4),
            light_direction=rng.uniform(0, 2 * np.pi), light=rng.uniform(0.05, 0.45), gain=rng.uniform(0.75, 1.15),
            gamma=rng.uniform(0.8, 1.25), blur_px=rng.uniform(0.3, 0.9) * height / HEIGHT_PX, noise=rng.uniform(0.5, 4.0),
            background=rng.uniform(20, 230, 3),
        )


@dataclass(frozen=True)
class DrawnClip:
    """A talking head with what is known about it.

    Attributes:
        frames: RGB uint8 (T, H, W, 3).
        text, words: what is said, with times in seconds.
        anchors: eye centres, nose base, mouth centre in pixels, (T, 4, 2), as `mouth.anchors_of` would find them.
        points: the nine lip points in the face's own coordinates, (T, 9, 2), as `MouthTrack.points`.
        seed: of the person and everything else.
    """

    frames: Array
    text: str
    words: tuple[Word, ...]
    anchors: Array
    points: Array
    seed: int


class Head:
    """One drawn person saying one sentence before one camera; everything follows from the seed."""

    def __init__(self, text: str, seed: int, *, width: int = WIDTH_PX, height: int = HEIGHT_PX, frames: int | None = None) -> None:
        rng = np.random.default_rng([seed, 7])
        self.text, self.seed, self.size = text, seed, (width, height)
        self.person = Identity.draw(rng)
        self.camera = Camera.draw(rng, width, height)
        speech = speak(text, rng, frames=frames)
        self.words = speech.words
        self.shapes = speech.shapes.clip(-1, 1.3)
        self.blinks = _blinks(len(self.shapes), rng)
        self._grain = (rng.standard_normal(50_021) * self.camera.noise).astype(np.float32)
        self._curve = (255 * (np.arange(256) / 255) ** self.camera.gamma).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.shapes)

    def view(self, index: int) -> tuple[Array, float]:
        """Camera matrix (2, 3) from face coordinates to pixels, and the yaw, of one frame."""
        c, t = self.camera, index / FRAME_RATE_HZ
        dx, dy, roll, yaw = c.sway * np.sin(2 * np.pi * np.array([0.35, 0.5, 0.3, 0.25]) * t + c.sway_phase)
        angle = c.roll + roll
        turn = c.scale_px * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.column_stack([turn, c.centre_px + (dx, dy)]), c.yaw + yaw

    def mouth(self, index: int) -> dict[str, float]:
        """Measures of the mouth in one frame, eye distances."""
        p, shape = self.person, dict(zip(SHAPE, self.shapes[index].tolist(), strict=True))
        half = p.mouth_width * (1 + 0.20 * shape["spread"] - 0.34 * shape["round"])
        gap = p.opening * max(0.0, shape["open"]) * (1 - 0.35 * shape["round"]) * (1 - 0.6 * shape["bite"])
        thick = (1 - 0.45 * shape["press"]) * (1 + 0.30 * shape["round"]) * (1 - 0.12 * shape["spread"])
        return {**shape, "half": half, "gap": gap, "upper": p.upper_lip * thick, "lower": p.lower_lip * thick * (1 - 0.35 * shape["bite"]),
                "jaw": 0.20 * max(0.0, shape["open"]), "y": p.mouth_y + 0.05 * max(0.0, shape["open"])}

    def lip_curves(self, m: dict[str, float], x: Array) -> tuple[Array, Array]:
        """Inner edges of upper and lower lip at x in -1..1 of the half width -> y, y."""
        arch = (1 - np.abs(x) ** 2.2).clip(0)
        corner = m["y"] + self.person.asymmetry * x
        upper = corner - 0.34 * m["gap"] * arch
        lower = corner + 0.66 * m["gap"] * arch
        return upper, lower

    def landmarks(self, index: int) -> tuple[Array, Array]:
        """Anchors in pixels (4, 2) and lip points in the face's own coordinates (9, 2) of one frame."""
        matrix, yaw = self.view(index)
        m = self.mouth(index)
        x = np.array([-1, 1, 0, 0, 0, 0.45, -0.45, 0.45, -0.45])
        upper, lower = self.lip_curves(m, x)
        y = np.where([True, True, True, False, False, True, True, False, False], upper, lower)
        y[4] = self.person.chin_y + m["jaw"]
        lips = np.column_stack([x * m["half"], y])
        around = np.array([[-0.5, 0], [0.5, 0], [0, self.person.nose_y + 0.02], [0, m["y"] + 0.14 * m["gap"] + 0.01]])
        eyes = np.array([[-INNER_EYE_SHARE, 0], [INNER_EYE_SHARE, 0]])
        placed = self._turned(np.concatenate([around, eyes, lips]), yaw) @ matrix[:, :2].T + matrix[:, 2]
        inner = placed[4:6]
        middle, across = inner.mean(axis=0), inner[1] - inner[0]
        away = (placed[6:] - middle) @ np.array([[1], [1j]])[:, 0]
        own = away * np.exp(-1j * self._roll(index)) / np.hypot(*across)
        return placed[:4], np.column_stack([own.real, own.imag])

    def _roll(self, index: int) -> float:
        anchors = self._turned(np.array([[-0.5, 0], [0.5, 0.0]]), self.view(index)[1]) @ self.view(index)[0][:, :2].T
        return float(np.arctan2(*(anchors[1] - anchors[0])[::-1]))

    def _turned(self, points: Array, yaw: float) -> Array:
        """Turn the head: face coordinates with a made-up depth, rotated about the upright and the level axis."""
        x, y = points[:, 0], points[:, 1]
        depth = 0.55 * (1 - (x / 1.2) ** 2) - 0.1 * np.abs(y - 0.6)
        pitch = self.camera.pitch
        turned_y = 0.7 + (y - 0.7) * np.cos(pitch) - depth * np.sin(pitch)
        return np.column_stack([x * np.cos(yaw) + depth * np.sin(yaw), turned_y])

    def picture(self, index: int, matrix: Array | None = None, size: tuple[int, int] | None = None) -> Array:
        """Draw one frame.

        Args:
            index: frame number.
            matrix: puts picture pixels into another picture, (2, 3), e.g. the mouth crop; by default the video's own.
            size: (width, height) of that picture.
        Returns: RGB uint8 (H, W, 3).
        """
        own, yaw = self.view(index)
        over = np.vstack([own, [0, 0, 1]])
        camera = (own if matrix is None else matrix @ over)
        width, height = size or self.size
        canvas = np.empty((height * SUPERSAMPLE, width * SUPERSAMPLE, 3), np.uint8)
        canvas[:] = self.camera.background
        pen = Pen(canvas, camera * SUPERSAMPLE, lambda points: self._turned(points, yaw))
        draw_face(pen, self, index)
        picture = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_AREA)
        zoom = 1.0 if matrix is None else float(np.hypot(*matrix[:, 0]))
        return self._film(picture, camera, index, zoom)

    def _film(self, picture: Array, camera: Array, index: int, zoom: float) -> Array:
        """Light from one side, blur, exposure, grain."""
        c = self.camera
        height, width = picture.shape[:2]
        x = (np.arange(width, dtype=np.float32) - camera[0, 2]) / np.hypot(*camera[:, 0])
        y = (np.arange(height, dtype=np.float32) - camera[1, 2]) / np.hypot(*camera[:, 0]) - 0.7
        side = np.tanh(np.cos(c.light_direction) * x[None] + np.sin(c.light_direction) * y[:, None])
        shade = np.repeat((c.gain * (1 + c.light * side))[..., None], 3, axis=2).astype(np.float32)
        lit = cv2.multiply(cv2.GaussianBlur(picture, (0, 0), max(0.3, c.blur_px * zoom)), shade, dtype=cv2.CV_8U)
        lit = cv2.LUT(lit, self._curve)
        turn = (index * 7919) % (width * height)
        grain = np.roll(np.resize(self._grain, width * height), turn).reshape(height, width, 1)
        return np.asarray(cv2.add(lit, np.repeat(grain, 3, axis=2), dtype=cv2.CV_8U))


class Pen:
    """Fills polygons given in face coordinates."""

    def __init__(self, canvas: Array, camera: Array, turn: object) -> None:
        self.canvas, self.camera, self.turn = canvas, camera, turn

    def fill(self, points: Array, colour: Array, alpha: float = 1.0) -> None:
        """One polygon (N, 2); alpha below 1 mixes it with what is there."""
        placed = self.turn(np.asarray(points, float)) @ self.camera[:, :2].T + self.camera[:, 2]  # type: ignore[operator]
        pixels = np.round(placed.clip(-20_000, 20_000) * 16).astype(np.int32)
        shade = tuple(float(v) for v in np.asarray(colour, float).clip(0, 255))
        if alpha >= 1:
            cv2.fillPoly(self.canvas, [pixels], shade, cv2.LINE_AA, shift=4)
            return
        low = np.floor(placed.min(0)).astype(int).clip(0) - 1
        high = np.ceil(placed.max(0)).astype(int) + 2
        left, top = low.clip(0)
        part = self.canvas[top : max(high[1], top), left : max(high[0], left)]
        if part.size:
            over = part.copy()
            cv2.fillPoly(over, [pixels - np.array([left, top], np.int32) * 16], shade, cv2.LINE_AA, shift=4)
            cv2.addWeighted(over, alpha, part, 1 - alpha, 0, dst=part)

    def ellipse(self, x: float, y: float, half_width: float, half_height: float, colour: Array, alpha: float = 1.0) -> None:
        """An upright ellipse."""
        self.fill(np.column_stack([x + half_width * _COS, y + half_height * _SIN]), colour, alpha)


_ANGLES = np.linspace(0, 2 * np.pi, 36, endpoint=False)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)
_ACROSS = np.linspace(-1, 1, 21)


def draw_face(pen: Pen, head: Head, index: int) -> None:
    """Everything from the hair behind to the lips in front."""
    p, m = head.person, head.mouth(index)
    skin, dark = p.skin, p.skin * 0.78
    chin = p.chin_y + m["jaw"]
    if p.long_hair:
        pen.ellipse(0, 0.35, p.face_width * 1.28, 2.1, p.hair)
    pen.fill(np.array([[-0.62, 1.2], [0.62, 1.2], [0.72, 2.6], [2.4, 3.2], [2.4, 6], [-2.4, 6], [-2.4, 3.2], [-0.72, 2.6]]), dark)
    pen.fill(np.array([[-0.8, 2.75], [0.8, 2.75], [2.6, 3.2], [2.6, 7], [-2.6, 7], [-2.6, 3.2]]), head.camera.background[::-1] * 0.8)
    for side in (-1, 1):
        pen.ellipse(side * p.face_width * 1.0, 0.25, 0.16, 0.36, dark)
    pen.ellipse(0, -0.35, p.face_width * 1.06, 1.32, p.hair)
    outline = _face_outline(p, chin)
    pen.fill(outline, skin)
    for side in (-1, 1):  # cheeks turn away from the light
        half = outline * [side, 1]
        pen.fill(half[half[:, 0] > 0.55 * p.face_width] * [side, 1], dark, 0.25)
        pen.ellipse(side * 0.62, 0.75, 0.30, 0.34, skin * 1.06, 0.35)
    fringe = np.column_stack([p.face_width * _ACROSS, -0.55 - p.fringe * (1 - _ACROSS**2)])
    crown = np.column_stack([1.06 * p.face_width * _ACROSS, -0.45 - 1.25 * np.sqrt(1 - _ACROSS**2)])
    pen.fill(np.concatenate([fringe, crown[::-1]]), p.hair)
    if p.beard:
        low = outline[outline[:, 1] > 0.9]
        pen.fill(low, p.hair, 0.75 * p.beard)
    _draw_eyes(pen, p, head.blinks[index])
    _draw_nose(pen, p)
    if p.moustache:
        pen.fill(np.array([[-0.36, m["y"] - 0.03], [-0.2, p.nose_y + 0.14], [0, p.nose_y + 0.12], [0.2, p.nose_y + 0.14], [0.36, m["y"] - 0.03],
                           [0, m["y"] - p.upper_lip]]), p.hair, 0.8 * p.moustache)
    for side in (-1, 1):  # folds beside the mouth, deeper when it spreads
        fold = np.array([[0.26, p.nose_y + 0.02], [m["half"] + 0.10, m["y"] - 0.05], [m["half"] + 0.06, m["y"]], [0.24, p.nose_y + 0.06]])
        pen.fill(fold * [side, 1], dark, 0.35 + 0.25 * max(0.0, m["spread"]))
    below = m["y"] + 0.66 * m["gap"] + m["lower"]
    pen.ellipse(0, below + 0.07, m["half"] * 0.6, 0.035, dark, 0.6)
    pen.ellipse(0, chin - 0.16, 0.26, 0.13, skin * 1.05, 0.4)
    _draw_mouth(pen, head, m)


def _face_outline(p: Identity, chin: float) -> Array:
    top = np.linspace(np.pi, 2 * np.pi, 18)
    upper = np.column_stack([p.face_width * np.cos(top), 0.25 + 1.45 * np.sin(top)])
    share = np.linspace(0, 1, 14)[1:]
    width = p.face_width * (1 - share**3) ** 0.5 * (1 - (1 - p.jaw_width) * 0.5 * share)
    right = np.column_stack([width, 0.25 + (chin - 0.25) * share**0.9])
    return np.concatenate([upper, right, right[::-1] * [-1, 1]])


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
        x = side * (0.5 + 0.26 * _ACROSS)
        arch = p.brow_y - 0.05 * (1 - _ACROSS**2)
        pen.fill(np.concatenate([np.column_stack([x, arch]), np.column_stack([x, arch + 0.055])[::-1]]), p.hair * 0.8)


def _draw_nose(pen: Pen, p: Identity) -> None:
    pen.fill(np.array([[-0.07, -0.1], [0.07, -0.1], [0.10, p.nose_y - 0.15], [-0.10, p.nose_y - 0.15]]), p.skin * 1.07, 0.4)
    pen.fill(np.array([[0.07, 0.0], [0.12, 0], [p.nose_width, p.nose_y - 0.05], [0.10, p.nose_y - 0.05]]), p.skin * 0.82, 0.35)
    pen.ellipse(0, p.nose_y - 0.09, p.nose_width * 0.8, 0.11, p.skin * 1.04, 0.5)
    pen.ellipse(0, p.nose_y + 0.01, p.nose_width * 0.75, 0.035, p.skin * 0.7, 0.6)
    for side in (-1, 1):
        pen.ellipse(side * p.nose_width * 0.48, p.nose_y - 0.02, 0.055, 0.032, p.skin * 0.35)


def _draw_mouth(pen: Pen, head: Head, m: dict[str, float]) -> None:
    """Lips around a dark mouth with teeth and tongue."""
    p, x = head.person, _ACROSS
    upper, lower = head.lip_curves(m, x)
    across = x * m["half"]
    wide = x * (m["half"] + 0.035)
    bow = (1 - np.abs(x) ** 2.4) * (1 - 0.22 * np.exp(-((x / 0.14) ** 2)))
    top = np.column_stack([wide, upper - 0.012 - m["upper"] * bow])
    bottom = np.column_stack([wide, lower + 0.012 + m["lower"] * (1 - np.abs(x) ** 2.6)])
    edge_up, edge_low = np.column_stack([across, upper]), np.column_stack([across, lower])
    pen.fill(np.concatenate([top, bottom[::-1]]), p.lip * 0.9)  # both lips, then what is between them
    pen.fill(np.concatenate([edge_low, bottom[::-1]]), p.lip * 1.04)
    pen.ellipse(0, float(lower[10] + 0.5 * m["lower"]), m["half"] * 0.45, m["lower"] * 0.22, p.lip * 1.25, 0.5)
    if m["gap"] > 0.004:
        pen.fill(np.concatenate([edge_up, edge_low[::-1]]), np.array([38, 14, 14]))
        _draw_inside(pen, p, m, x, upper, lower)
    line = np.concatenate([edge_up - [0, 0.006], (edge_low + [0, 0.006])[::-1]])
    if m["gap"] <= 0.02:
        pen.fill(line, p.lip * 0.45, 0.9)
    if m["bite"] > 0.15:  # lower lip drawn under the upper teeth
        reach = 0.05 * m["bite"]
        inside = np.abs(x) < 0.72
        teeth = np.concatenate([edge_up[inside], (edge_up[inside] + [0, reach + 0.25 * m["gap"]])[::-1]])
        pen.fill(teeth, p.teeth, min(1.0, 1.2 * m["bite"]))


def _draw_inside(pen: Pen, p: Identity, m: dict[str, float], x: Array, upper: Array, lower: Array) -> None:
    within = np.abs(x) < 0.86
    across, high, low = x[within] * m["half"], upper[within], lower[within]
    room = low - high
    bed = low - room * (0.35 - 0.15 * m["round"])  # the tongue's back rests low
    pen.fill(np.column_stack([np.r_[across * 0.75, across[::-1] * 0.75], np.r_[bed, low[::-1]]]), np.array([150, 70, 72]), 0.8)
    shown = max(0.0, m["teeth"]) * (1 - 0.7 * m["round"])
    upper_teeth = np.minimum(room * 0.95, 0.075 * (0.35 + 0.65 * shown))
    pen.fill(np.column_stack([np.r_[across, across[::-1]], np.r_[high, (high + upper_teeth)[::-1]]]), p.teeth, 0.35 + 0.65 * shown)
    if shown > 0.45:
        lower_teeth = np.minimum(room * 0.6, 0.06 * (shown - 0.35))
        pen.fill(np.column_stack([np.r_[across * 0.85, across[::-1] * 0.85], np.r_[low - lower_teeth, low[::-1]]]), p.teeth * 0.88, shown)
    if m["tongue"] > 0.1:
        tip = np.abs(across) < m["half"] * 0.5
        raise_to = low - room * (0.35 + 0.6 * m["tongue"])
        pen.fill(np.column_stack([np.r_[across[tip], across[tip][::-1]], np.r_[raise_to[tip], low[tip][::-1]]]), np.array([196, 104, 102]), min(1.0, 1.3 * m["tongue"]))


def _blinks(frames: int, rng: np.random.Generator) -> Array:
    closed = np.zeros(frames)
    start = int(rng.integers(0, 60))
    while start < frames:
        for offset, value in enumerate((0.5, 1.0, 0.9, 0.4)):
            if start + offset < frames:
                closed[start + offset] = value
        start += int(rng.integers(40, 130))
    return closed


def draw_clip(text: str, seed: int, *, width: int = WIDTH_PX, height: int = HEIGHT_PX, frames: int | None = None) -> DrawnClip:
    """Draw a talking head.

    Args:
        text: what it says, words of a to z.
        seed: decides person, camera, tempo and all else; the same seed and text give the same clip.
        width, height: of the picture, pixels.
        frames: length; by default as long as the sentence takes.
    Raises: DataError: the text cannot be spoken, or not in that many frames.
    """
    head = Head(text, seed, width=width, height=height, frames=frames)
    marks = [head.landmarks(index) for index in range(len(head))]
    return DrawnClip(
        frames=np.stack([head.picture(index) for index in range(len(head))]), text=text, words=head.words,
        anchors=np.stack([anchors for anchors, _ in marks]), points=np.stack([points for _, points in marks]).astype(np.float32), seed=seed,
    )


def draw_crops(head: Head) -> tuple[Array, Array]:
    """Mouth crops (T, 96, 96) and lip points (T, 9, 2) of a head without making its video."""
    marks = [head.landmarks(index) for index in range(len(head))]
    anchors = np.stack([a for a, _ in marks])
    crops = []
    for index in range(len(head)):
        smooth = smooth_anchors(anchors, index)
        a, b = similarity(smooth, REFERENCE)
        b += complex(CROP_SIDE_PX / 2, CROP_SIDE_PX / 2) - (a * complex(*smooth[3]) + b)
        matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
        crops.append(cv2.cvtColor(head.picture(index, matrix, (CROP_SIDE_PX, CROP_SIDE_PX)), cv2.COLOR_RGB2GRAY))
    return np.stack(crops), np.stack([points for _, points in marks]).astype(np.float32)


def write_video(path: str | os.PathLike[str], clip: DrawnClip, *, sound: bool = True, crf: int = 20) -> bool:
    """Write a drawn clip as H.264 mp4 at 25 Hz, whole or not at all.

    Args:
        path: mp4 to write.
        sound: speak the text too, where eSpeak NG is installed.
        crf: x264 quality; more is a poorer camera.
    Returns: whether the video has sound.
    Raises: OutputError: the file cannot be written.
    """
    import av

    samples = espeak(clip) if sound else None
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with av.open(str(temporary), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=FRAME_RATE_HZ, options={"crf": str(crf), "preset": "veryfast"})
            stream.height, stream.width = clip.frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            voice = container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono") if samples is not None else None
            for frame in clip.frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode(None))
            if voice is not None and samples is not None:
                block = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
                block.sample_rate = SAMPLE_RATE_HZ
                container.mux(voice.encode(block))
                container.mux(voice.encode(None))
        os.replace(temporary, target)
    except OSError as error:
        raise OutputError(f"{target}: the drawn video cannot be written ({error.strerror or error}); free some space or choose another folder") from error
    finally:
        temporary.unlink(missing_ok=True)
    return samples is not None


def espeak(clip: DrawnClip) -> Array | None:
    """The sentence spoken by eSpeak NG between the first and the last word's time; float32 at 16 kHz, None without it."""
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    import av

    out = np.zeros(len(clip.frames) * SAMPLE_RATE_HZ // FRAME_RATE_HZ, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for number, word in enumerate(clip.words):
            file = Path(folder) / f"{number}.wav"
            done = subprocess.run([program, "-s", "220", "-w", str(file), word.text], capture_output=True, check=False, timeout=30)
            if done.returncode != 0 or not file.exists():
                return None
            with av.open(str(file)) as container:
                resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ)
                parts = [part.to_ndarray()[0] for frame in [*container.decode(audio=0), None] for part in resampler.resample(frame)]
            spoken = np.concatenate(parts) if parts else np.zeros(1, np.float32)
            loud = np.flatnonzero(np.abs(spoken) > 0.01)
            spoken = spoken[loud[0] : loud[-1] + 1] if len(loud) else spoken
            wanted = max(1, int((word.end_s - word.start_s) * SAMPLE_RATE_HZ))
            spoken = np.interp(np.linspace(0, len(spoken) - 1, wanted), np.arange(len(spoken)), spoken)
            first = int(word.start_s * SAMPLE_RATE_HZ)
            out[first : first + wanted] += spoken[: max(0, len(out) - first)].astype(np.float32)
    return 0.8 * out


def write_prepared(
    folder: str | os.PathLike[str], count: int, *, first_seed: int = 0, processes: int = 1, through_video: bool = False,
) -> int:
    """Write a prepared folder of drawn heads that say sentences of the GRID grammar.

    Args:
        folder: to write or to go on with; clips that are there are kept.
        count: seeds first_seed .. first_seed + count - 1, a person each.
        processes: that draw side by side.
        through_video: find the face with the mesh as in a real video (slower); else crop by the known anchors.
    Returns: number of clips in the folder's manifest.
    Raises: DataError: seeds that are reserved.
    """
    if first_seed + count > FIRST_RESERVED_SEED:
        raise DataError(f"seeds from {FIRST_RESERVED_SEED} on are reserved for measuring; got {first_seed} + {count}")
    root = Path(folder)
    for name in ("crops", "points", "words"):
        (root / name).mkdir(parents=True, exist_ok=True)
    jobs = [(root, seed, through_video) for seed in range(first_seed, first_seed + count)]
    if processes > 1:
        with ProcessPoolExecutor(processes) as pool:
            list(pool.map(_prepare_one, jobs, chunksize=4))
    else:
        for job in jobs:
            _prepare_one(job)
    return _write_manifest(root)


def _prepare_one(job: tuple[Path, int, bool]) -> None:
    root, seed, through_video = job
    name = f"drawn{seed:06d}"
    if (root / "words" / f"{name}.tsv").exists():
        return
    cv2.setNumThreads(1)
    head = Head(grid_sentence(np.random.default_rng([seed, 3])), seed)
    if through_video:
        crops, points = _through_mesh(head)
    else:
        crops, points = draw_crops(head)
    write_crops_mp4(root / "crops" / f"{name}.mp4", crops)
    np.save(root / "points" / f"{name}.npy", points)
    lines = "".join(f"{name}\t{w.start_s:.3f}\t{w.end_s:.3f}\t{w.text}\n" for w in head.words)
    temporary = root / "words" / f".{name}.part"
    temporary.write_text(f"{len(crops)}\t{head.text}\n{lines}", encoding="utf-8")
    temporary.replace(root / "words" / f"{name}.tsv")


def _through_mesh(head: Head) -> tuple[Array, Array]:
    from lipread.landmarks import FaceMesh
    from lipread.mouth import MouthCropper

    cropper = MouthCropper()
    with FaceMesh(1) as mesh:
        for index in range(len(head)):
            picture = head.picture(index)
            found = mesh.detect(picture)
            cropper.push(picture, found[0] if len(found) else None)
    track = cropper.finish()
    return track.crops, track.points


def _write_manifest(root: Path) -> int:
    done = sorted((root / "words").glob("drawn*.tsv"))
    with open(root / "manifest.tsv", "w", encoding="utf-8", newline="") as manifest, open(root / "words.tsv", "w", encoding="utf-8") as words:
        rows = csv.writer(manifest, delimiter="\t", lineterminator="\n")
        rows.writerow(("clip", "speaker", "split", "source", "streams", "frames", "text"))
        words.write("clip\tstart_s\tend_s\tword\n")
        for file in done:
            first, *lines = file.read_text(encoding="utf-8").splitlines()
            frames, text = first.split("\t")
            rows.writerow((file.stem, file.stem, "train", "drawn", "crops,points", frames, text))
            words.writelines(line + "\n" for line in lines)
    return len(done)


def main() -> None:
    """Write a prepared folder."""
    parser = argparse.ArgumentParser(description="Draw talking heads into a prepared folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="first seed; below 1,000,000")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--through-video", action="store_true", help="find faces with the mesh, as in a real video")
    arguments = parser.parse_args()
    total = write_prepared(
        arguments.folder, arguments.count, first_seed=arguments.seed, processes=arguments.processes, through_video=arguments.through_video
    )
    print(f"{arguments.folder}: {total} clips")


if __name__ == "__main__":
    main()
