"""Mouth shapes to lips: measures by hand, curves that meet, and what the painted mouth shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.data.lips import Mouth, inner_curves, outer_curves, paint_lips
from lipread.data.people import Identity
from lipread.data.visemes import SHAPE
from lipread.values import Array

PERSON = replace(
    Identity.draw(np.random.default_rng(0)), mouth_y=60.0, mouth_width=20.0, jaw_drop=15.0, incisors=1.5, overbite=1.0,
    upper_lip=6.0, lower_lip=9.0, skew=0.0,
    skin=np.full(3, 170.0), lip=np.array([150.0, 90, 90]), teeth=np.full(3, 235.0),
)  # fmt: skip
SCALE = 4.0
X = np.arange(-34, 34, 1 / SCALE, dtype=np.float32)[None]
Y = np.arange(40, 100, 1 / SCALE, dtype=np.float32)[:, None]


def shape(**values: float) -> Array:
    return np.array([values.get(name, 0.0) for name in SHAPE])


def painted(person: Identity = PERSON, **values: float) -> Array:
    picture = np.full((Y.size, X.size, 3), 170.0, np.float32)
    mouth = Mouth.formed(person, shape(**values))
    paint_lips(picture, np.ones(picture.shape[:2], np.float32), mouth, np.zeros_like(X), X, Y, SCALE)
    return picture


def at(picture: Array, x: float, y: float) -> Array:
    return np.asarray(picture[round((y - 40) * SCALE), round((x + 34) * SCALE)])


def test_measures_by_hand() -> None:
    rest, wide = Mouth.formed(PERSON, shape(press=0.3)), Mouth.formed(PERSON, shape(jaw=1.0))
    assert (rest.gap, rest.jaw) == (pytest.approx(0.0, abs=1e-9), 0.0)
    assert wide.jaw == 15.0
    assert wide.gap == pytest.approx((0.13 + 0.72) * 15)  # both lips, of which the lower goes with the jaw
    assert Mouth.formed(PERSON, shape(round=1.0)).half_width == pytest.approx(20 * 0.73)
    assert Mouth.formed(PERSON, shape(spread=1.0)).half_width == pytest.approx(20 * 1.15)
    assert Mouth.formed(PERSON, shape(round=1.0)).upper > rest.upper > Mouth.formed(PERSON, shape(press=1.0)).upper


def test_lips_that_press_are_shut_whatever_the_jaw_does() -> None:
    for jaw in (0.0, 0.4, 1.0):
        assert Mouth.formed(PERSON, shape(jaw=jaw, press=0.9, lower=1.0)).gap == 0.0


def test_f_brings_the_lower_lip_to_the_upper_teeth() -> None:
    for jaw in (0.0, 0.5):
        mouth = Mouth.formed(PERSON, shape(jaw=jaw, bite=1.0, upper=0.5))
        assert mouth.low == pytest.approx(PERSON.mouth_y + PERSON.incisors - 0.4)
        assert mouth.up < mouth.low - 1.5  # and the teeth show above it


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-0.8, 1.2), min_size=8, max_size=8), st.integers(0, 50))
def test_curves_never_cross(values: list[float], seed: int) -> None:
    mouth = Mouth.formed(Identity.draw(np.random.default_rng(seed)), np.array(values))
    x = np.linspace(-1.3, 1.3, 81) * mouth.half_width
    (up, low), (over, under) = inner_curves(mouth, x), outer_curves(mouth, x)
    assert np.all(up <= low + 1e-6) and np.all(over <= up + 1e-6) and np.all(low <= under + 1e-6)
    outside = np.abs(x) > mouth.half_width
    np.testing.assert_allclose(up[outside], low[outside], atol=1e-9)  # they meet in the corners
    assert mouth.gap >= 0 and mouth.half_width > 5


def test_an_open_mouth_is_dark_and_a_shut_one_is_not() -> None:
    shut, wide = painted(press=0.3), painted(jaw=1.0)
    assert at(wide, 0, 67).mean() < 60 < at(shut, 0, 66).mean()
    np.testing.assert_allclose(at(wide, 30, 45), 170, atol=1)  # the skin beside it is left alone


def test_teeth_show_when_the_lips_part_and_the_jaw_does_not() -> None:
    sibilant = painted(jaw=0.06, upper=0.9, lower=1.0)
    mouth = Mouth.formed(PERSON, shape(jaw=0.06, upper=0.9, lower=1.0))
    column = sibilant[:, round((34 + 3) * SCALE)]
    inside = (Y[:, 0] > mouth.up + 0.8) & (Y[:, 0] < mouth.low - 0.8)
    assert column[inside].mean() > 110
    rounded = painted(jaw=0.12, round=1.0, spread=-0.6)
    assert (rounded.mean(axis=-1) > 175).sum() < (sibilant.mean(axis=-1) > 175).sum() / 4


def test_the_tongue_shows_between_the_teeth() -> None:
    without, raised = painted(jaw=0.35, upper=0.4, lower=0.5), painted(jaw=0.35, upper=0.4, lower=0.5, tongue=1.0)
    spot = PERSON.mouth_y + PERSON.incisors + 1.5
    red = [at(picture, 1, spot)[0] - at(picture, 1, spot)[1] for picture in (without, raised)]
    assert red[1] > red[0] + 20
    assert at(raised, 1, spot).mean() > at(without, 1, spot).mean()


def test_more_light_more_bright() -> None:
    mouth = Mouth.formed(PERSON, shape(jaw=0.5, upper=0.5))
    pictures = []
    for light in (0.6, 1.2):
        picture = np.full((Y.size, X.size, 3), 170.0 * light, np.float32)
        paint_lips(picture, np.full(picture.shape[:2], light, np.float32), mouth, np.zeros_like(X), X, Y, SCALE)
        pictures.append(picture)
    np.testing.assert_allclose(pictures[1], 2 * pictures[0], rtol=1e-3, atol=0.1)


def test_same_looks_for_p_and_b_but_for_their_time() -> None:
    """Homophenes stay so: sounds that differ in the voice alone are drawn with the same lips."""
    p, b = (Mouth.formed(PERSON, shape(press=press, jaw=0.1)) for press in (1.0, 0.9))
    assert p.gap == b.gap == 0.0
    assert abs(p.upper - b.upper) < 0.15 * PERSON.upper_lip
