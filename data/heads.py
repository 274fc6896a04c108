"""A text and a seed -> a drawn talking head, as pictures, as mouth crops, and as lip points.

Shapes: T frames, H x W pixels, N points. Face coordinates as in `people`.

Everything is a polygon in face coordinates that a camera matrix puts into a picture, so the same drawing gives a whole
video or, through the matrix of the mouth crop, the 96 x 96 crops directly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lipread.data.drawing import Pen, draw_face
from lipread.data.people import HEIGHT_PX, WIDTH_PX, Camera, Identity, Mouth
from lipread.data.visemes import speak
from lipread.mouth import REFERENCE, similarity, smooth_anchors
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, Array, Word

SUPERSAMPLE = 3  # pictures are drawn so much larger, then reduced
INNER_EYE_SHARE = 0.29  # inner eye corners lie at +- this from the middle
GRAIN_VALUES = 50_021  # of film grain, repeated over the picture; prime, so that no pattern shows

_EYES = np.array([[-0.5, 0], [0.5, 0.0]])
_INNER_EYES = np.array([[-INNER_EYE_SHARE, 0], [INNER_EYE_SHARE, 0]])
# where the nine lip points lie: share of the half width, and whether on the upper lip's inner edge
_POINTS_X = np.array([-1, 1, 0, 0, 0, 0.45, -0.45, 0.45, -0.45])
_POINTS_ABOVE = np.array([True, True, True, False, False, True, True, False, False])
_CHIN = 4  # of the nine


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
    """One drawn person saying one sentence before one camera; everything follows from text, seed and sizes.

    Args:
        text: what it says, words of a to z.
        seed: decides person, camera, tempo and all else.
        width, height: of the picture, pixels.
        frames: length; by default as long as the sentence takes.
    Raises: DataError: the text cannot be spoken, or not in that many frames.
    """

    def __init__(
        self, text: str, seed: int, *, width: int = WIDTH_PX, height: int = HEIGHT_PX, frames: int | None = None
    ) -> None:
        rng = np.random.default_rng([seed, 7])
        self.text, self.seed, self.size = text, seed, (width, height)
        self.person = Identity.draw(rng)
        self.camera = Camera.draw(rng, width, height)
        speech = speak(text, rng, frames=frames)
        self.words = speech.words
        self.shapes = speech.shapes.clip(-1, 1.3)
        self.blinks = _blinks(len(self.shapes), rng)
        self._grain = (rng.standard_normal(GRAIN_VALUES) * self.camera.noise).astype(np.float32)
        self._curve = (255 * (np.arange(256) / 255) ** self.camera.gamma).astype(np.uint8)

    def __len__(self) -> int:
        return len(self.shapes)

    def view(self, index: int) -> tuple[Array, float]:
        """Camera matrix (2, 3) from face coordinates to pixels, and the yaw, of one frame."""
        c, t = self.camera, index / FRAME_RATE_HZ
        dx, dy, roll, yaw = c.sway * np.sin(2 * np.pi * np.array([0.35, 0.5, 0.3, 0.25]) * t + c.sway_phase)
        angle = c.roll + roll
        turn = c.scale_px * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.column_stack([turn, c.centre_px + np.array([dx, dy])]), c.yaw + yaw

    def mouth(self, index: int) -> Mouth:
        """The mouth in one frame."""
        return Mouth.formed(self.person, self.shapes[index])

    def landmarks(self, index: int) -> tuple[Array, Array]:
        """Anchors in pixels (4, 2) and lip points in the face's own coordinates (9, 2) of one frame."""
        matrix, yaw = self.view(index)
        m = self.mouth(index)
        y = np.where(_POINTS_ABOVE, *m.inner_edges(_POINTS_X))
        y[_CHIN] = self.person.chin_y + m.jaw
        lips = np.column_stack([_POINTS_X * m.half, y])
        middle_line = np.array([[0, self.person.nose_y + 0.02], [0, m.y + 0.14 * m.gap + 0.01]])
        known = np.concatenate([_EYES, middle_line, _INNER_EYES, lips])
        placed = self._turned(known, yaw) @ matrix[:, :2].T + matrix[:, 2]
        inner = placed[4:6]
        middle, across = inner.mean(axis=0), inner[1] - inner[0]
        away = (placed[6:] - middle) @ np.array([1, 1j])
        own = away * np.exp(-1j * self._roll(index)) / np.hypot(*across)
        return placed[:4], np.column_stack([own.real, own.imag])

    def _roll(self, index: int) -> float:
        """Angle of the line through the eyes in the picture, radians."""
        matrix, yaw = self.view(index)
        eyes = self._turned(_EYES, yaw) @ matrix[:, :2].T
        return float(np.arctan2(*(eyes[1] - eyes[0])[::-1]))

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
        camera = own if matrix is None else matrix @ np.vstack([own, [0, 0, 1]])
        width, height = size or self.size
        canvas = np.empty((height * SUPERSAMPLE, width * SUPERSAMPLE, 3), np.uint8)
        canvas[:] = self.camera.background
        pen = Pen(canvas, camera * SUPERSAMPLE, lambda points: self._turned(points, yaw))
        clothes = self.camera.background[::-1] * 0.8
        draw_face(pen, self.person, self.mouth(index), blink=self.blinks[index], clothes=clothes)
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


def _blinks(frames: int, rng: np.random.Generator) -> Array:
    """How far the eyes are closed in each frame, 0..1."""
    closed = np.zeros(frames)
    start = int(rng.integers(0, 60))
    while start < frames:
        for offset, value in enumerate((0.5, 1.0, 0.9, 0.4)):
            if start + offset < frames:
                closed[start + offset] = value
        start += int(rng.integers(40, 130))
    return closed


def draw_clip(
    text: str, seed: int, *, width: int = WIDTH_PX, height: int = HEIGHT_PX, frames: int | None = None
) -> DrawnClip:
    """Draw a talking head; the same arguments always give the same clip.

    Args:
        text, seed, width, height, frames: as `Head` takes them.
    Raises: DataError: the text cannot be spoken, or not in that many frames.
    """
    head = Head(text, seed, width=width, height=height, frames=frames)
    anchors, points = _marks(head)
    pictures = np.stack([head.picture(index) for index in range(len(head))])
    return DrawnClip(frames=pictures, text=text, words=head.words, anchors=anchors, points=points, seed=seed)


def draw_crops(head: Head) -> tuple[Array, Array]:
    """Mouth crops (T, 96, 96) and lip points (T, 9, 2) of a head without making its video."""
    anchors, points = _marks(head)
    crops = []
    for index in range(len(head)):
        smooth = smooth_anchors(anchors, index)
        a, b = similarity(smooth, REFERENCE)
        b += complex(CROP_SIDE_PX / 2, CROP_SIDE_PX / 2) - (a * complex(*smooth[3]) + b)
        matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
        crop = head.picture(index, matrix, (CROP_SIDE_PX, CROP_SIDE_PX))
        crops.append(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY))
    return np.stack(crops), points


def _marks(head: Head) -> tuple[Array, Array]:
    """Anchors (T, 4, 2) and lip points (T, 9, 2), float32, of all frames."""
    marks = [head.landmarks(index) for index in range(len(head))]
    return np.stack([anchors for anchors, _ in marks]), np.stack([points for _, points in marks]).astype(np.float32)
