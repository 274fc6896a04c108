"""A mouth shape -> where the lips are, and their picture: lips around a dark mouth with teeth and tongue.

Shapes: C = 8 columns of a mouth shape (`visemes.SHAPE`), h x w pixels of the canvas. Coordinates as in `people`.
Edges are computed, not drawn: each pixel knows how far it lies inside a curve, so that no supersampling is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lipread.data.people import Identity
from lipread.values import Array

_TOOTH_EDGES = np.array([0.0, 7.2, 12.6, 17.0, 20.2])
_TONGUE = np.array([188, 98, 98.0])
_CAVITY = np.array([44, 17, 17.0])
_CORNER_MARGIN = 2.0  # outer corners lie so far beyond the inner ones


@dataclass(frozen=True)
class Mouth:
    """Measures of one frame's lips, units.

    Attributes:
        person: whose.
        half_width: from the middle to an inner corner.
        corner, up, low: y of the corners and of the inner lips' middles.
        upper, lower: thickness of the lips.
        jaw: how far it is lowered.
        curve: exponent of the opening's outline: 2 is an oval, more is squarer.
        shape: what it was formed from, (C,).
    """

    person: Identity
    half_width: float
    corner: float
    up: float
    low: float
    upper: float
    lower: float
    jaw: float
    curve: float
    shape: Array

    @property
    def gap(self) -> float:
        """Distance of the inner lips in the middle."""
        return self.low - self.up

    @classmethod
    def formed(cls, person: Identity, shape: Array) -> Mouth:
        """Where a mouth shape puts a person's lips."""
        jaw, spread, rounded, press, bite, _, upper, lower = (float(value) for value in shape)
        jaw = max(0.0, jaw) * person.jaw_drop
        shut = _ramp(press, 0.25, 0.65)
        width = person.mouth_width * (1 + 0.15 * max(spread, 0) + 0.15 * min(spread, 0) - 0.27 * rounded - 0.05 * shut)
        width -= 0.08 * jaw  # an open jaw pulls the corners together
        reach = (1 - 0.45 * rounded) * (1 - shut)
        up = person.mouth_y - (2.4 * upper + 0.13 * jaw) * reach - 0.6 * rounded
        low = person.mouth_y + (0.72 * jaw + 3.0 * lower) * reach + 0.9 * rounded * (1 - shut) + 0.25 * jaw * shut
        edge = person.mouth_y + person.incisors
        up -= 1.3 * bite
        low += bite * (edge - 0.4 - low)
        low = max(low, up)
        if shut > 0.9:
            up = low = (up + low) / 2
        thin = 1 - 0.35 * _ramp(press, 0.45, 1.0)
        stretched = 1 - 0.10 * max(spread, 0) - 0.008 * jaw
        return cls(
            person, width, person.mouth_y + 0.22 * jaw * reach - 0.8 * max(spread, 0), up, low,
            upper=person.upper_lip * thin * stretched * (1 + 0.22 * rounded),
            lower=person.lower_lip * thin * stretched * (1 + 0.15 * rounded) * (1 - 0.3 * bite), jaw=jaw,
            curve=2.5 - 0.5 * rounded, shape=shape,
        )


def inner_curves(mouth: Mouth, x: Array) -> tuple[Array, Array]:
    """Lower edge of the upper lip and upper edge of the lower lip at x (units), y in units."""
    share = np.clip(np.abs(x) / mouth.half_width, 0, 1)
    arch = 1 - share**mouth.curve
    tilt = mouth.corner + mouth.person.skew * np.clip(x / mouth.half_width, -1.2, 1.2)
    tubercle = 0.5 * np.exp(-((x / (0.25 * mouth.half_width)) ** 2)) - 0.25 * np.sin(np.pi * share) ** 2
    return tilt + (mouth.up - mouth.corner) * arch + tubercle, tilt + (mouth.low - mouth.corner) * arch + tubercle


def outer_curves(mouth: Mouth, x: Array) -> tuple[Array, Array]:
    """Upper edge of the upper lip and lower edge of the lower lip at x (units)."""
    outer = mouth.half_width + _CORNER_MARGIN
    share = np.clip(np.abs(x) / outer, 0, 1)
    above, below = inner_curves(mouth, x)
    bow = (1 - share**1.6) * (1 - 0.20 * np.exp(-((share / 0.16) ** 2)))
    return above - mouth.upper * bow, below + mouth.lower * (1 - share**2.3)


def paint_lips(picture: Array, light: Array, mouth: Mouth, creases: Array, x: Array, y: Array, scale: float) -> None:
    """Paint the mouth over the skin, in place.

    Args:
        picture: RGB float32, shape (h, w, 3).
        light: brightness of the light on the skin, (h, w).
        mouth: what to paint.
        creases: noise around 0 across the lips, (1, w).
        x, y: coordinates of the pixels, (1, w) and (h, 1).
        scale: pixels per unit.
    """
    up, low = (curve.astype(np.float32) for curve in inner_curves(mouth, x))
    over, under = (curve.astype(np.float32) for curve in outer_curves(mouth, x))
    person, soft = mouth.person, min(scale, 1.3)  # the lips' border is about as soft as a unit
    ends = np.clip((mouth.half_width + _CORNER_MARGIN - np.abs(x)) * 0.7, 0, 1)
    shade = light[..., None]
    corner = np.exp(-(((np.abs(x) - mouth.half_width - 1.5) / 2.5) ** 2) - ((y - mouth.corner) / 2.2) ** 2)
    below = np.exp(-(((y - under - 1.5) / 2.5) ** 2)) * np.clip(1.1 - (x / mouth.half_width) ** 2, 0, 1)
    picture *= (1 - 0.22 * corner - 0.16 * below)[..., None]

    inside_up = np.clip((y - over) / np.maximum(up - over, 0.1), 0, 1)  # 0 at the border, 1 at the opening
    tone = 1.0 - 0.24 * inside_up - 0.30 * inside_up**8 + creases * (1 + mouth.shape[2])
    mask = np.clip((y - over) * soft + 0.5, 0, 1) * np.clip((up - y) * scale + 0.5, 0, 1) * ends
    _mix(picture, person.lip * tone[..., None] * shade, mask)

    inside_low = np.clip((under - y) / np.maximum(under - low, 0.1), 0, 1)
    bulge = np.exp(-(((inside_low - 0.55) / 0.28) ** 2)) * np.exp(-((x / (0.7 * mouth.half_width)) ** 2))
    tone = 0.93 + 0.22 * bulge - 0.25 * inside_low**6 + creases * (1 + mouth.shape[2])
    mask = np.clip((under - y) * soft + 0.5, 0, 1) * np.clip((y - low) * scale + 0.5, 0, 1) * ends
    _mix(picture, person.lip * tone[..., None] * shade, mask)
    wet = np.exp(-(((inside_low - 0.6) / 0.10) ** 2) - ((x / (0.4 * mouth.half_width)) ** 2)) * mask
    picture += (26.0 * wet * (1 + 3 * creases))[..., None] * shade

    within = np.clip((mouth.half_width + 0.3 - np.abs(x)) * scale, 0, 1)
    opening = np.clip((y - up) * scale + 0.5, 0, 1) * np.clip((low - y) * scale + 0.5, 0, 1) * within
    seam = np.exp(-(((y - (up + low) / 2) / 0.7) ** 2)) * np.clip(1.2 - mouth.gap, 0, 1) * within
    picture *= (1 - 0.5 * seam)[..., None]
    if mouth.gap > 0.05:
        _mix(picture, _inside(mouth, x, y, up, low, scale) * shade, opening)


def _inside(mouth: Mouth, x: Array, y: Array, up: Array, low: Array, scale: float) -> Array:
    """Picture of what is behind the lips, (h, w, 3), before the light."""
    person, tongue = mouth.person, float(mouth.shape[5])
    picture = np.broadcast_to(_CAVITY, (*np.broadcast_shapes(x.shape, y.shape), 3)).astype(np.float32)
    side = (x / 20.0) ** 2
    edge = person.mouth_y + person.incisors - 1.6 * side  # of the upper teeth, which stay with the skull
    lower_edge = person.mouth_y + person.incisors - person.overbite + 0.9 * mouth.jaw - 0.8 * side
    shaded = 0.45 + 0.55 * np.clip(mouth.gap / 7, 0, 1)  # little light comes through a narrow opening
    rest = lower_edge + 1.0 - 0.16 * mouth.jaw + 9.0 * (x / mouth.half_width) ** 4
    raised = edge - 0.6 + 0.3 * x**2 / mouth.half_width
    lift = np.clip(tongue / 0.6, 0, 1)
    body = rest + (raised - rest) * lift
    colour = _TONGUE * ((0.45 + 0.4 * lift) * shaded + 0.15 * np.clip((y - body) / 5, 0, 1))[..., None]
    _mix(picture, colour, np.clip((y - body) * min(scale, 1.0) + 0.5, 0, 1))
    lines = np.abs(np.abs(x)[..., None] - _TOOTH_EDGES * 0.72).min(axis=-1)
    tone = (0.88 - 0.35 * side) * (0.55 + 0.45 * np.clip((low - y) / 2.0, 0, 1)) * shaded
    tone = tone * (1 - person.tooth_gap * np.exp(-((lines / 0.6) ** 2)))
    row = np.clip((y - lower_edge - 0.4 * np.exp(-((lines / 0.7) ** 2))) * scale + 0.5, 0, 1)
    _mix(picture, person.teeth * 0.9 * tone[..., None], row * (np.abs(x) < 17))
    lines = np.abs(np.abs(x)[..., None] - _TOOTH_EDGES).min(axis=-1)
    tone = (1.0 - 0.45 * side) * (0.55 + 0.45 * np.clip((y - up) / 2.5, 0, 1)) * (0.45 + 0.55 * shaded)
    tone = tone * (1 - person.tooth_gap * np.exp(-((lines / 0.6) ** 2)))
    row = np.clip((edge - 0.7 * np.exp(-((lines / 0.8) ** 2)) - y) * scale + 0.5, 0, 1)
    _mix(picture, person.teeth * tone[..., None], row * (np.abs(x) < 20))
    between = float(_ramp(tongue, 0.72, 0.95))
    if between > 0:  # the tip comes out between the teeth
        tip = np.clip(1.6 - (x / 8.0) ** 2, 0, 1) * np.clip((y - edge + 1.0) * scale, 0, 1)
        tip = tip * np.clip((lower_edge + 2.5 - y) * 0.8 + 0.5, 0, 1)
        _mix(picture, _TONGUE * (0.75 + 0.35 * np.clip((y - edge) / 4, 0, 1))[..., None], tip * between)
    return picture


def _mix(picture: Array, colour: Array, mask: Array) -> None:
    picture += (colour - picture) * mask[..., None]


def _ramp(value: float, low: float, high: float) -> float:
    """0 below low, 1 above high, smooth between."""
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return share * share * (3 - 2 * share)
