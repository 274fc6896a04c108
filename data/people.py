"""Random numbers -> a drawn person, the shape of their mouth, and the camera before them.

Face coordinates: origin between the eyes, unit = distance of the eye centres, x right and y down in the picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipread.data.visemes import SHAPE
from lipread.values import Array

WIDTH_PX, HEIGHT_PX = 360, 288  # of a picture, unless said otherwise


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
    beard: float  # 0 for none, up to 1; likewise the moustache
    moustache: float
    long_hair: bool
    fringe: float
    asymmetry: float  # how much lower the mouth's corner at +x is than its middle
    teeth: Array
    opening: float  # how far this person opens the mouth

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Identity:
        """A random person."""
        tone = rng.random()
        skin = (1 - tone) * np.array([243, 208, 182.0]) + tone * np.array([92, 58, 40.0]) + rng.normal(0, 6, 3)
        lip = skin * rng.uniform(0.62, 0.92) + np.array([rng.uniform(5, 45), 0, rng.uniform(0, 12)])
        man = rng.random() < 0.5
        return cls(  # the order of these lines is part of what a seed means
            skin=skin.clip(20, 255),
            lip=lip.clip(20, 255),
            hair=rng.uniform(15, 150) * np.array([1, 0.85, 0.7]) + rng.normal(0, 8, 3),
            eye=rng.uniform(30, 120, 3),
            face_width=rng.uniform(1.05, 1.25),
            jaw_width=rng.uniform(0.6, 0.85),
            chin_y=rng.uniform(1.72, 1.98),
            nose_y=rng.uniform(0.72, 0.82),
            nose_width=rng.uniform(0.24, 0.34),
            mouth_y=rng.uniform(1.13, 1.24),
            mouth_width=rng.uniform(0.36, 0.46),
            upper_lip=rng.uniform(0.05, 0.11),
            lower_lip=rng.uniform(0.08, 0.15),
            brow_y=rng.uniform(-0.36, -0.26),
            beard=rng.uniform(0.3, 0.9) if man and rng.random() < 0.4 else 0.0,
            moustache=rng.uniform(0.3, 0.9) if man and rng.random() < 0.35 else 0.0,
            long_hair=not man and rng.random() < 0.8,
            fringe=rng.uniform(0.25, 0.6),
            asymmetry=rng.normal(0, 0.012),
            teeth=np.array([235, 228, 210.0]) * rng.uniform(0.75, 1.0),
            opening=rng.uniform(0.28, 0.42),
        )


@dataclass(frozen=True)
class Mouth:
    """A person's mouth at one moment.

    Attributes:
        open, spread, round, press, bite, tongue, teeth: the mouth shape, see `visemes.SHAPE`.
        half: half its width; gap: between the lips in the middle; upper, lower: how thick the lips are; jaw: how far
            the chin has gone down; y: of the corners. All in eye distances, as is `asymmetry`.
    """

    open: float
    spread: float
    round: float
    press: float
    bite: float
    tongue: float
    teeth: float
    half: float
    gap: float
    upper: float
    lower: float
    jaw: float
    y: float
    asymmetry: float

    @classmethod
    def formed(cls, person: Identity, shape: Array) -> Mouth:
        """The mouth of a person who makes a shape (7,)."""
        s = dict(zip(SHAPE, shape.tolist(), strict=True))
        thick = (1 - 0.45 * s["press"]) * (1 + 0.30 * s["round"]) * (1 - 0.12 * s["spread"])
        opened = max(0.0, s["open"])
        return cls(
            **s,
            half=person.mouth_width * (1 + 0.20 * s["spread"] - 0.34 * s["round"]),
            gap=person.opening * opened * (1 - 0.35 * s["round"]) * (1 - 0.6 * s["bite"]),
            upper=person.upper_lip * thick,
            lower=person.lower_lip * thick * (1 - 0.35 * s["bite"]),
            jaw=0.20 * opened,
            y=person.mouth_y + 0.05 * opened,
            asymmetry=person.asymmetry,
        )

    def inner_edges(self, x: Array) -> tuple[Array, Array]:
        """Where the lips part: y of the upper and of the lower lip at x in -1..1 of the half width."""
        arch = (1 - np.abs(x) ** 2.2).clip(0)
        corner = self.y + self.asymmetry * x
        return corner - 0.34 * self.gap * arch, corner + 0.66 * self.gap * arch


@dataclass(frozen=True)
class Camera:
    """Where a clip is filmed from and how well; angles in radians."""

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
        return cls(  # the order of these lines is part of what a seed means
            scale_px=rng.uniform(0.15, 0.23) * height,
            centre_px=np.array([width * rng.uniform(0.42, 0.58), height * rng.uniform(0.36, 0.46)]),
            roll=rng.normal(0, 0.04),
            yaw=rng.normal(0, 0.12),
            pitch=rng.normal(0, 0.06),
            sway=np.abs(rng.normal(0, 1, 4)) * np.array([1.5, 1.0, 0.012, 0.03]),
            sway_phase=rng.uniform(0, 2 * np.pi, 4),
            light_direction=rng.uniform(0, 2 * np.pi),
            light=rng.uniform(0.05, 0.45),
            gain=rng.uniform(0.75, 1.15),
            gamma=rng.uniform(0.8, 1.25),
            blur_px=rng.uniform(0.3, 0.9) * height / HEIGHT_PX,
            noise=rng.uniform(0.5, 4.0),
            background=rng.uniform(20, 230, 3),
        )
