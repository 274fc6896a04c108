"""A seed -> who is drawn, and by which camera.

Lengths are in units of the mouth crop's reference face (`lipread.mouth.REFERENCE`), in which the eye centres are 54.3
apart: one unit is about 1.15 mm. Origin between the eyes, x right and y down in the picture. Colours are RGB 0..255.
Typical measures are those of eight people of the GRID corpus as the face mesh sees them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipread.mouth import REFERENCE
from lipread.values import Array

ORIGIN = REFERENCE[:2].mean(axis=0)  # of these coordinates in the reference canvas
EYE_X = float(REFERENCE[1, 0] - REFERENCE[0, 0]) / 2
_PALE, _BROWN, _DARK = np.array([238, 198, 172.0]), np.array([186, 134, 98.0]), np.array([92, 60, 44.0])
_BLACK_HAIR, _FAIR_HAIR, _GREY_HAIR = np.array([24, 20, 18.0]), np.array([150, 112, 66.0]), np.array([140, 138, 132.0])


@dataclass(frozen=True)
class Identity:
    """Shape and colours of one drawn head, and how far its lips go."""

    skin: Array
    lip: Array
    hair: Array
    iris: Array
    teeth: Array
    shirt: Array
    face_width: float  # half, at the cheekbones
    jaw_width: float  # share of the usual
    chin_y: float
    nose_y: float  # base
    nose_width: float  # half
    nose_height: float
    mouth_y: float
    mouth_width: float  # half, inner corners
    upper_lip: float
    lower_lip: float
    incisors: float  # edge of the upper teeth below the mouth line
    overbite: float
    tooth_gap: float  # darkness of the lines between teeth, 0..1
    jaw_drop: float  # at the widest vowel
    skew: float  # one corner lower than the other
    brow_y: float
    brow: float  # thickness
    eye_height: float
    hair_style: str
    beard: float  # density 0..1
    moustache: float
    folds: float  # depth of the folds beside the mouth
    blotches: float
    glasses: bool
    texture_seed: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Identity:
        """A random person."""
        tone = rng.random()
        skin = _between(_PALE, _BROWN, tone * 2) if tone < 0.5 else _between(_BROWN, _DARK, tone * 2 - 1)
        skin = skin * rng.uniform(0.92, 1.06) + rng.normal(0, 4, 3)
        paint = rng.uniform(0.0, 1.0) ** 2  # lipstick
        lip = skin * np.array([0.96, 0.76, 0.78]) * rng.uniform(0.84, 1.02) + paint * np.array([18, -38, -26])
        hair = _between(_BLACK_HAIR, _FAIR_HAIR, rng.random() ** 1.5) if rng.random() > 0.15 else _GREY_HAIR
        man = bool(rng.random() < 0.5)
        bearded = man and rng.random() < 0.45
        styles = ("short", "fringe", "bald", "curly") if man else ("long", "fringe", "curly", "long")

        def about(mean: float, deviation: float) -> float:
            return float(mean + deviation * np.clip(rng.normal(), -2.2, 2.2))

        # fmt: off
        return cls(
            skin=skin.clip(30, 250), lip=lip.clip(25, 240), hair=(hair + rng.normal(0, 5, 3)).clip(5, 250),
            iris=_between(np.array([60, 40, 25]), np.array([90, 120, 140]), rng.random()),
            teeth=np.array([238, 230, 212]) * rng.uniform(0.82, 1.0), shirt=rng.uniform(15, 225, 3),
            face_width=rng.uniform(57, 66), jaw_width=rng.uniform(0.9, 1.1), chin_y=about(103, 4),
            nose_y=about(42, 1.8), nose_width=rng.uniform(13, 18.5), nose_height=rng.uniform(10, 19),
            mouth_y=about(63, 2), mouth_width=about(20, 1.6), upper_lip=rng.uniform(4.0, 9.0),
            lower_lip=rng.uniform(6.5, 12.0), incisors=rng.uniform(0.2, 2.6), overbite=rng.uniform(0.5, 2.2),
            tooth_gap=rng.uniform(0.1, 0.5), jaw_drop=rng.uniform(11, 22), skew=about(0, 0.5),
            brow_y=rng.uniform(-21, -15), brow=rng.uniform(3, 7), eye_height=rng.uniform(3.2, 5.0),
            hair_style=str(rng.choice(styles)),
            beard=rng.uniform(0.2, 1.0) if bearded and rng.random() < 0.75 else 0.0,
            moustache=rng.uniform(0.3, 1.0) if bearded and rng.random() < 0.8 else 0.0,
            folds=rng.uniform(0, 1) ** 1.5, blotches=rng.uniform(0.2, 1.0), glasses=bool(rng.random() < 0.2),
            texture_seed=int(rng.integers(2**31)),
        )
        # fmt: on


@dataclass(frozen=True)
class Camera:
    """Where a clip is filmed from, in which light, and how well.

    Attributes:
        scale_px: pixels per unit.
        centre_px: where the point between the eyes is.
        roll, yaw, pitch: mean pose, radians.
        sway: (5, 3): amplitude, frequency (Hz), phase of slow changes of x, y (px), roll, yaw, pitch.
        light: direction towards the light (x, y, z), length = strength; `ambient` is the rest.
        gain, gamma: tone curve.
        blur_px, noise: standard deviations, pixels and grey levels.
        jpeg: quality of a compression before all others, 0 for none.
        background: two colours, RGB.
    """

    scale_px: float
    centre_px: Array
    roll: float
    yaw: float
    pitch: float
    sway: Array
    light: Array
    ambient: float
    gain: Array
    gamma: float
    blur_px: float
    noise: float
    jpeg: int
    background: Array

    @classmethod
    def draw(cls, rng: np.random.Generator, width: int, height: int) -> Camera:
        """A random camera for pictures of this size."""
        side = min(width * 0.8, height)
        scale = side / 288 * float(np.exp(rng.uniform(np.log(0.72), np.log(1.15))))
        slack = np.maximum([width - 150 * scale, height - 225 * scale], 0) / 2
        centre = np.array([width / 2, height / 2 - 5 * scale]) + rng.uniform(-0.6, 0.6, 2) * slack
        amplitude = np.abs(rng.normal(0, 1, 5)) * np.array([2.0 * scale, 1.5 * scale, 0.012, 0.03, 0.02])
        direction = np.array([rng.normal(0, 0.7), rng.uniform(-1.0, 0.15), 1.0])
        strength = rng.uniform(0.25, 0.8)
        background = rng.uniform(15, 235, (2, 3))
        return cls(
            scale_px=scale, centre_px=centre, roll=rng.normal(0, 0.045),
            yaw=float(np.clip(rng.normal(0, 0.11), -0.25, 0.25)),
            pitch=float(np.clip(rng.normal(0, 0.07), -0.16, 0.16)),
            sway=np.column_stack([amplitude, rng.uniform(0.1, 0.7, 5), rng.uniform(0, 2 * np.pi, 5)]),
            light=direction / np.linalg.norm(direction) * strength, ambient=1.0 - 0.8 * strength,
            gain=rng.uniform(0.72, 1.12) * np.exp(rng.normal(0, 0.05, 3)), gamma=rng.uniform(0.75, 1.3),
            blur_px=rng.uniform(0.25, 1.0) * max(1.0, side / 288), noise=rng.uniform(0.3, 4.5),
            jpeg=int(rng.integers(35, 92)) if rng.random() < 0.5 else 0, background=background,
        )


def _between(first: Array, second: Array, share: float) -> Array:
    return np.asarray((1 - share) * first + share * second, np.float64)
