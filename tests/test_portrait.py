"""Portraits: canvas coordinates, light by hand, hair and eyes, and scenes put together from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lipread.data.canvas import HEIGHT, LEFT, TOP, WIDTH, Canvas
from lipread.data.eyes import EYE_BOX, LID_LEVELS
from lipread.data.hair import STYLES
from lipread.data.lips import Mouth
from lipread.data.people import EYE_X, ORIGIN, Camera, Identity
from lipread.data.portrait import Portrait, _light, paint_portrait
from lipread.data.scene import Scene
from lipread.data.visemes import SHAPE
from lipread.mouth import REFERENCE
from lipread.values import Array

REST = np.array([0.0, 0, 0, 0.3, 0, 0, 0, 0])


def person(seed: int = 0, **changes: object) -> Identity:
    return replace(Identity.draw(np.random.default_rng(seed)), **changes)  # type: ignore[arg-type]


def camera(**changes: object) -> Camera:
    plain = replace(
        Camera.draw(np.random.default_rng(0), 360, 288), scale_px=1.0, centre_px=np.array([180.0, 120.0]), noise=0.0,
        jpeg=0, blur_px=0.3, gamma=1.0, gain=np.ones(3), light=np.array([0.0, 0.0, 0.5]), ambient=0.6,
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def at(portrait: Portrait, x: float, y: float) -> Array:
    scale = portrait.canvas.scale
    return portrait.picture[round((y - TOP) * scale), round((x - LEFT) * scale)].astype(float)


def lips(**values: float) -> Mouth:
    return Mouth.formed(person(), np.array([values.get(name, 0.0) for name in SHAPE]))


# --- canvas


def test_canvas_knows_where_its_pixels_are() -> None:
    canvas = Canvas(2.0)
    assert canvas.size == (2 * WIDTH, 2 * HEIGHT)
    rows, columns = canvas.box((-10, 5, 10, 6))
    assert canvas.x[0, columns.start] == -10 and canvas.y[rows.start, 0] == 5
    assert canvas.bump(-10, 5, 3, 3)[rows.start, columns.start] == 1
    square = canvas.filled(np.array([(0, 0), (20, 0), (20, 10), (0, 10)]), 0.1)
    assert square.sum() / canvas.scale**2 == pytest.approx(200, rel=0.12)
    assert square[rows.start + 2, (10 - LEFT) * 2] > 0.98


@pytest.mark.parametrize(("across", "along"), [(0.4, None), (5, None), (0.6, 6)])
def test_noise_has_the_grain_asked_for(across: float, along: float | None) -> None:
    noise = Canvas(2.0).noise(np.random.default_rng(1), across, along)
    assert noise.std() == pytest.approx(1) and abs(noise.mean()) < 0.35
    steps = [np.abs(np.diff(noise, axis=axis)).mean() for axis in (0, 1)]
    assert steps[0] < 0.5 * steps[1] if along else steps[0] == pytest.approx(steps[1], rel=0.2)
    coarser = Canvas(2.0).noise(np.random.default_rng(1), 2 * across, along and 2 * along)
    assert np.abs(np.diff(coarser, axis=1)).mean() < 0.8 * steps[1]


def test_units_are_those_of_the_mouth_crop() -> None:
    np.testing.assert_allclose(ORIGIN + np.array([EYE_X, 0]), REFERENCE[1], atol=0.5)
    mean = np.mean([person(seed).mouth_y for seed in range(300)])
    assert mean == pytest.approx(REFERENCE[3, 1] - ORIGIN[1], abs=1.5)


# --- light and skin


def test_light_of_a_slope_by_hand() -> None:
    x = np.arange(60, dtype=np.float32)
    slope = np.broadcast_to(0.75 * x, (60, 60)).copy()  # rises to the right: faces left
    light = camera(light=np.array([-0.3, 0.0, 0.4]), ambient=0.5)
    normal = np.array([-0.6, 0.0, 0.8])
    half = np.array([-0.6, 0, 1.8])
    gloss = 0.10 * 0.5 * (normal @ half / np.linalg.norm(half)) ** 24
    expected = 0.5 * (0.85 + 0.15 * 0.8) + normal @ light.light + gloss
    assert _light(slope, light, 1.0)[30, 30] == pytest.approx(expected, rel=1e-4)


def test_the_lit_side_is_brighter() -> None:
    plain = person(3, beard=0.0, moustache=0.0, hair_style="bald", blotches=0.0)
    for side in (-1, 1):
        portrait = paint_portrait(plain, camera(light=np.array([0.5 * side, 0, 0.4])), 2.0)
        assert at(portrait, side * 40, 40)[:3].mean() > 1.15 * at(portrait, -side * 40, 40)[:3].mean()


def test_the_nose_stands_out_and_the_jaw_falls_back() -> None:
    depth = paint_portrait(person(), camera(), 2.0).depth
    assert depth.shape == (HEIGHT, WIDTH)
    heights = [depth[int(y) - TOP, int(x) - LEFT] for x, y in ((0, 34), (0, 62), (30, 40), (55, 40))]
    assert np.all(np.diff(heights) < 0)


def test_head_is_solid_inside_and_absent_outside() -> None:
    portrait = paint_portrait(person(), camera(), 2.0)
    assert at(portrait, 0, 30)[3] == 255 and at(portrait, 95, 100)[3] == 0
    colour, alpha = portrait.picture[..., :3].max(axis=-1).astype(int), portrait.picture[..., 3].astype(int)
    assert (colour <= alpha + 1).all()  # premultiplied


def test_nostrils_are_dark() -> None:
    portrait = paint_portrait(person(2), camera(), 3.0)
    p = person(2)
    hole, tip = at(portrait, p.nose_width / 2, p.nose_y - 3.2)[:3].mean(), at(portrait, 0, p.nose_y - 9)[:3].mean()
    assert hole < 0.5 * tip


# --- hair, beard, eyes


def test_hair_grows_where_its_style_says() -> None:
    dark = np.array([20.0, 18, 16])
    heads = {
        style: paint_portrait(person(5, hair=dark, hair_style=style, skin=np.full(3, 210.0)), camera(), 2.0)
        for style in STYLES
    }
    assert at(heads["bald"], 0, -60)[:3].mean() > 2 * at(heads["short"], 0, -75)[:3].mean()
    assert at(heads["long"], 70, 60)[3] > 200 > 50 > at(heads["short"], 76, 60)[3]
    assert (heads["curly"].picture[..., 3] > 0).sum() > (heads["short"].picture[..., 3] > 0).sum()


def test_a_beard_darkens_the_chin_and_not_the_cheeks() -> None:
    dark = np.array([20.0, 18, 16])
    fair = {"skin": np.full(3, 210.0), "hair": dark, "moustache": 0.0}
    bare, bearded = (paint_portrait(person(5, beard=beard, **fair), camera(), 2.0) for beard in (0.0, 1.0))
    chin = slice(round((92 - TOP) * 2), round((98 - TOP) * 2)), slice(round((-8 - LEFT) * 2), round((8 - LEFT) * 2))
    assert bearded.picture[chin].mean() < 0.8 * bare.picture[chin].mean()
    assert at(bearded, 30, 15)[:3].mean() == pytest.approx(at(bare, 30, 15)[:3].mean(), rel=0.1)


def test_eyes_are_white_when_open_and_skin_when_shut() -> None:
    portrait = paint_portrait(person(1, skin=np.array([120.0, 80, 60]), glasses=False), camera(), 3.0)
    assert len(portrait.eyes) == LID_LEVELS
    rows, columns = portrait.canvas.box(EYE_BOX)
    assert portrait.eyes[0].shape == (rows.stop - rows.start, columns.stop - columns.start, 3)
    white = [(eye.min(axis=-1) > 130).sum() for eye in portrait.eyes]
    assert white[0] > 200 and white[-1] < 0.05 * white[0]
    assert white == sorted(white, reverse=True)
    spectacled = paint_portrait(person(1, skin=np.array([120.0, 80, 60]), glasses=True), camera(), 3.0)
    assert (np.abs(spectacled.eyes[0].astype(int) - portrait.eyes[0]).max(axis=-1) > 20).sum() > 500


# --- scenes


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene(person(), camera(), (360, 288), np.random.default_rng(2))


def shot(scene: Scene, mouth: Mouth, pose: tuple[float, ...] = (0, 0, 0, 0, 0), lid: float = 0.0) -> Array:
    return scene.picture(mouth, lid, np.array(pose), np.zeros(2, int), (0, 0, 360, 288)).astype(float)


def test_the_jaw_moves_the_chin_and_not_the_forehead(scene: Scene) -> None:
    shut, wide = shot(scene, lips(press=0.3)), shot(scene, lips(jaw=1.0))
    changed = np.abs(shut - wide).mean(axis=(1, 2))
    assert np.all(changed[: 120 + 35] < 0.2)  # above the nose's base nothing moves
    assert changed[120 + 65 : 120 + 75].min() > 1


def test_blinking_changes_the_eyes_alone(scene: Scene) -> None:
    open_eyes, shut_eyes = shot(scene, lips(press=0.3)), shot(scene, lips(press=0.3), lid=1.0)
    rows = np.flatnonzero(np.abs(open_eyes - shut_eyes).max(axis=(1, 2)) > 3)
    assert rows.min() > 120 - 15 and rows.max() < 120 + 15


@pytest.mark.parametrize("pose", [(0, 0, 0, 0, 0), (6, -4, 0.1, 0, 0), (0, 0, 0, 0.2, 0), (3, 0, -0.1, -0.15, 0.1)])
def test_points_are_where_the_picture_shows_them(pose: tuple[float, ...]) -> None:
    """A black dot painted on the portrait is found in the picture where `place` says."""
    made = Scene(person(), camera(), (360, 288), np.random.default_rng(2))
    for spot in ((-20.0, 20.0), (26.0, 22.0), (0.0, 19.0)):
        before = shot(made, lips(press=0.3), pose)
        kept = made.portrait.picture.copy()
        row, column = round((spot[1] - TOP) * 2), round((spot[0] - LEFT) * 2)
        made.portrait.picture[row - 3 : row + 4, column - 3 : column + 4, :3] = 0
        weight = np.abs(shot(made, lips(press=0.3), pose) - before).sum(axis=-1)
        made.portrait.picture[:] = kept
        found = np.array([(weight.sum(axis=0) @ np.arange(360)), (weight.sum(axis=1) @ np.arange(288))]) / weight.sum()
        np.testing.assert_allclose(found, made.place(np.array([spot]), np.array(pose))[0], atol=0.6)


def test_the_camera_does_what_it_says() -> None:
    pictures = {}
    ways: dict[str, dict[str, object]] = {
        "plain": {}, "dark": {"gain": np.full(3, 0.5)}, "noisy": {"noise": 6.0}, "packed": {"jpeg": 30},
        "soft": {"blur_px": 2.0},
    }  # fmt: skip
    for name, changes in ways.items():
        pictures[name] = shot(Scene(person(), camera(**changes), (360, 288), np.random.default_rng(2)), lips(press=0.3))
    sharpness = {name: np.abs(np.diff(picture, axis=0)).mean() for name, picture in pictures.items()}
    assert pictures["dark"].mean() == pytest.approx(0.5 * pictures["plain"].mean(), rel=0.03)
    assert 4 < (pictures["noisy"] - pictures["plain"]).std() < 7
    assert 0.5 < np.abs(pictures["packed"] - pictures["plain"]).mean() < 8
    assert sharpness["soft"] < sharpness["plain"] < sharpness["noisy"]
