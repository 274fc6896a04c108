"""A portrait, a mouth shape and a pose -> the picture that the camera delivers.

Shapes: H x W pixels of the picture. Coordinates as in `people`.
The lower face is stretched by the jaw, lips and lids are painted, and one warp puts the head before the still body.
A window of the picture can be had without the rest.
"""

from __future__ import annotations

import cv2
import numpy as np

from lipread.data.canvas import HEIGHT, LEFT, TOP, WIDTH
from lipread.data.eyes import EYE_BOX, LID_LEVELS
from lipread.data.lips import Mouth, paint_lips
from lipread.data.people import Camera, Identity
from lipread.data.portrait import paint_portrait
from lipread.values import Array

SUPERSAMPLE = 2  # portrait pixels per picture pixel
MOST_SCALE = 4.0  # portrait pixels per unit: more detail than this is not drawn
JAW_ON_SKIN = 0.9  # how far the skin of the chin follows the jaw
_CAMERA_DISTANCE = 600.0  # units
_GRID_STEP = 8  # pixels between computed points of the warp
_NOISE_SHIFTS = 64  # the noise is one field, shifted from frame to frame
_MOUTH_BOX = (-34.0, 40.0, 34.0, 108.0)  # x0, y0, x1, y1
_JAW_BOX = (-74.0, 30.0, 74.0, 140.0)


class Scene:
    """A person before a camera.

    Args:
        size: width and height of the picture, pixels.
        rng: decides background and noise.
    """

    def __init__(self, person: Identity, camera: Camera, size: tuple[int, int], rng: np.random.Generator) -> None:
        self.person, self.camera = person, camera
        scale = min(SUPERSAMPLE * camera.scale_px, MOST_SCALE)
        self.portrait = paint_portrait(person, camera, scale)
        self._canvas = self.portrait.canvas
        self._backdrop = _backdrop(person, camera, size, rng)
        rows, columns = self._canvas.box(_JAW_BOX)
        x, y = self._canvas.x[:, columns], self._canvas.y[rows]
        hinge = np.clip(1.25 - (x / 58) ** 2, 0, 1)  # the jaw turns about the ears
        self._drop = (_smooth((y - person.mouth_y) / 10) * hinge).astype(np.float32)
        around = np.exp(-(((y - person.mouth_y) / 17) ** 2) - (x / 34) ** 2)
        self._pull = (np.clip(x / person.mouth_width, -1, 1) * around).astype(np.float32)
        self._grid = np.meshgrid(np.arange(x.shape[1], dtype=np.float32), np.arange(y.shape[0], dtype=np.float32))
        fine = rng.standard_normal((1, self._canvas.size[0])).astype(np.float32)
        self._creases = 0.045 * np.sqrt(scale) * cv2.GaussianBlur(fine, (0, 0), 0.35 * scale)
        height, width = self._backdrop.shape[:2]
        noise = rng.standard_normal((height + _NOISE_SHIFTS, width + _NOISE_SHIFTS))
        self._noise = (noise * camera.noise).astype(np.float32)
        tone = 255 * (np.arange(256) / 255) ** camera.gamma
        self._tone = np.stack([(tone * gain).clip(0, 255) for gain in camera.gain], axis=-1).astype(np.uint8)[None]

    def place(self, points: Array, pose: Array) -> Array:
        """Where points of the face, (N, 2) in units, are in the picture, (N, 2) in pixels."""
        grid = np.round(points - [LEFT, TOP]).astype(int)
        z = self.portrait.depth[grid[:, 1].clip(0, HEIGHT - 1), grid[:, 0].clip(0, WIDTH - 1)]
        dx, dy, roll, yaw, pitch = pose
        x = points[:, 0] * np.cos(yaw) + z * np.sin(yaw)
        y = points[:, 1] * np.cos(pitch) + z * np.sin(pitch)
        flat = np.column_stack([x, y]) / (1 - z / _CAMERA_DISTANCE)[:, None] * self.camera.scale_px
        c, s = np.cos(roll), np.sin(roll)
        return np.asarray(flat @ np.array([[c, s], [-s, c]]) + self.camera.centre_px + [dx, dy])

    def picture(
        self, lips: Mouth, lid: float, pose: Array, shift: Array, window: tuple[int, int, int, int]
    ) -> Array:
        """One frame.

        Args:
            lips: to paint.
            lid: how far the eyes are shut, 0..1.
            pose: shift in pixels (x, y), roll, yaw, pitch in radians.
            shift: of the noise, 0..64 pixels down and right.
            window: x, y, width, height of the part of the picture that is wanted.
        Returns: RGB uint8, shape (height, width, 3).
        """
        x0, y0, width, height = window
        over = self._before_camera(self._face(lips, lid), pose, window)
        behind = cv2.cvtColor(255 - over[..., 3], cv2.COLOR_GRAY2RGB)
        picture = cv2.multiply(self._backdrop[y0 : y0 + height, x0 : x0 + width], behind, scale=1 / 255)
        picture = cv2.add(picture, np.ascontiguousarray(over[..., :3]))
        picture = cv2.LUT(cv2.GaussianBlur(picture, (0, 0), self.camera.blur_px), self._tone)
        top, left = y0 + int(shift[0]), x0 + int(shift[1])
        noise = self._noise[top : top + height, left : left + width]
        picture = cv2.add(picture, cv2.merge([noise] * 3), dtype=cv2.CV_8U)
        if self.camera.jpeg:
            _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, self.camera.jpeg])
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
        return np.asarray(picture)

    def _face(self, lips: Mouth, lid: float) -> Array:
        """The portrait with jaw, lips and lids in place; premultiplied RGBA uint8."""
        portrait, canvas = self.portrait, self._canvas
        face = portrait.picture.copy()
        rows, columns = canvas.box(_JAW_BOX)
        pull = (lips.half_width - self.person.mouth_width) * canvas.scale
        drop = JAW_ON_SKIN * lips.jaw * canvas.scale
        map_x, map_y = self._grid[0] - np.float32(pull) * self._pull, self._grid[1] - np.float32(drop) * self._drop
        face[rows, columns] = cv2.remap(portrait.picture[rows, columns], map_x, map_y, cv2.INTER_LINEAR)
        rows, columns = canvas.box(_MOUTH_BOX)
        mouth = face[rows, columns, :3].astype(np.float32)
        smile = max(0.0, float(lips.shape[1]))
        mouth *= (1 - 0.16 * smile * portrait.fold[rows, columns])[..., None]
        creases = self._creases[:, columns]
        x, y = canvas.x[:, columns], canvas.y[rows]
        paint_lips(mouth, portrait.light[rows, columns], lips, creases, x, y, canvas.scale)
        face[rows, columns, :3] = mouth.clip(0, 255).astype(np.uint8)
        rows, columns = canvas.box(EYE_BOX)
        face[rows, columns, :3] = portrait.eyes[round(min(1.0, max(0.0, lid)) * (LID_LEVELS - 1))]
        return face

    def _before_camera(self, face: Array, pose: Array, window: tuple[int, int, int, int]) -> Array:
        """Warp the face into a window of the picture -> premultiplied RGBA uint8 (height, width, 4).

        Where each pixel comes from is computed on a coarse grid.
        """
        x0, y0, width, height = window
        dx, dy, roll, yaw, pitch = pose
        k, centre = self.camera.scale_px, self.camera.centre_px
        finer = max(1, round(self._canvas.scale / k))  # pixels drawn per picture pixel
        step = _GRID_STEP / finer
        u = (np.arange(-1, width * finer // _GRID_STEP + 3) + 0.5) * step - 0.5 + x0 - centre[0] - dx
        v = (np.arange(-1, height * finer // _GRID_STEP + 3) + 0.5) * step - 0.5 + y0 - centre[1] - dy
        u, v = np.meshgrid(u / k, v / k)
        u, v = np.cos(roll) * u + np.sin(roll) * v, np.cos(roll) * v - np.sin(roll) * u
        x, y = u, v
        for _ in range(3):  # find the point of the face that is seen there
            grid = (x - LEFT).astype(np.float32), (y - TOP).astype(np.float32)
            z = cv2.remap(self.portrait.depth, *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            near = 1 - z / _CAMERA_DISTANCE
            x, y = (u * near - z * np.sin(yaw)) / np.cos(yaw), (v * near - z * np.sin(pitch)) / np.cos(pitch)
        size = (u.shape[1] * _GRID_STEP, u.shape[0] * _GRID_STEP)
        inner = (slice(_GRID_STEP, _GRID_STEP + height * finer), slice(_GRID_STEP, _GRID_STEP + width * finer))
        maps = (((part - first) * self._canvas.scale).astype(np.float32) for part, first in ((x, LEFT), (y, TOP)))
        map_x, map_y = (cv2.resize(part, size, interpolation=cv2.INTER_LINEAR)[inner] for part in maps)
        big = cv2.remap(face, map_x, map_y, cv2.INTER_LINEAR)
        return np.asarray(cv2.resize(big, (width, height), interpolation=cv2.INTER_AREA) if finer > 1 else big)


def _smooth(share: Array) -> Array:
    """0 below 0, 1 above 1, smooth between."""
    share = np.clip(share, 0, 1)
    return np.asarray(share * share * (3 - 2 * share))


def _backdrop(p: Identity, camera: Camera, size: tuple[int, int], rng: np.random.Generator) -> Array:
    """Wall, neck and shoulders, RGB uint8 (H, W, 3)."""
    width, height = size
    across = np.linspace(0, 1, width, dtype=np.float32)[None, :, None]
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    mix = np.clip(rng.uniform(-0.3, 0.8) * across + rng.uniform(-0.3, 0.8) * down, 0, 1)
    picture = ((1 - mix) * camera.background[0] + mix * camera.background[1]).astype(np.float32)
    for _ in range(int(rng.integers(0, 7))):  # furniture, out of focus
        corner = rng.uniform(-0.2, 1.0, 2) * size
        far = corner + rng.uniform(0.05, 0.5, 2) * size
        colour = (camera.background[0] * rng.uniform(0.5, 1.5)).clip(0, 255).tolist()
        cv2.rectangle(picture, corner.astype(int).tolist(), far.astype(int).tolist(), colour, -1)
    picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(2, 9) * max(height, 64) / 288)

    def fill(outline: Array, colour: Array) -> None:
        pixels = np.round((outline * camera.scale_px + camera.centre_px) * 16).astype(np.int32)
        cv2.fillPoly(picture, [pixels], colour.clip(0, 255).tolist(), cv2.LINE_AA, shift=4)

    bright = camera.ambient + 0.55 * float(np.linalg.norm(camera.light))
    neck = p.face_width * (0.72 if p.hair_style in ("short", "bald") else 0.64)
    fill(np.array([(-neck, 50), (neck, 50), (neck + 3, 190), (-neck - 3, 190)]), p.skin * bright)
    x = (np.arange(width, dtype=np.float32)[None] - camera.centre_px[0]) / camera.scale_px
    y = (np.arange(height, dtype=np.float32)[:, None] - camera.centre_px[1]) / camera.scale_px
    rounded = 0.55 + 0.40 * np.sqrt(np.clip(1 - (x / (neck + 3)) ** 2, 0, 1)) + 0.2 * camera.light[0] * x / neck
    under_chin = 1 - 0.42 * np.clip((p.chin_y + 32 + 0.004 * x**2 - y) / 34, 0, 1)
    on_neck = (np.abs(x) < neck + 4) & (y > 49)
    picture *= np.where(on_neck, rounded * under_chin, 1.0).astype(np.float32)[..., None]
    collar = p.chin_y + 30 + rng.uniform(-8, 12)
    right = [(neck + 4, collar - 8), (95, collar + 14), (125, 320)]
    left = [(-x, y) for x, y in reversed(right)]
    fill(np.array([(0, collar + 16), *right, *left]), p.shirt * bright)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.8).clip(0, 255).astype(np.uint8))
