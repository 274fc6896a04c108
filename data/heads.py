"""A text and a seed -> a drawn head that says it: its pictures, its mouth crops, and where its lips are.

Shapes: T frames at 25 Hz, H x W pixels, P = 9 lip points. Coordinates as in `people`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from lipread.data.eyes import INNER_EYE_X
from lipread.data.lips import Mouth, inner_curves, outer_curves
from lipread.data.people import EYE_X, Camera, Identity
from lipread.data.scene import Scene
from lipread.data.visemes import speak
from lipread.errors import DataError
from lipread.mouth import REFERENCE, crop_mouth, similarity, smooth_anchors
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, Array, Word

WIDTH_PX, HEIGHT_PX = 360, 288
LEAST_SIDE_PX = 64
# where the face mesh sees what is drawn: found by comparing the two over many heads, units
_MESH_EYE_Y, _MESH_NOSE_Y, _MESH_INNER_Y, _MESH_CHIN_Y, _MESH_CORNER_X = 1.3, 0.3, 2.7, 0.3, -1.4


@dataclass(frozen=True)
class DrawnClip:
    """A talking head with what is known about it.

    Attributes:
        frames: RGB uint8, shape (T, H, W, 3).
        text, words: what is said, with times in seconds.
        anchors: eye centres (the picture's left one first), nose base, mouth centre in pixels, (T, 4, 2), as
            `mouth.anchors_of` would find them.
        lips: the nine `values.LIP_POINTS` in pixels, (T, 9, 2).
        inner_eyes: inner eye corners in pixels, the picture's left one first, (T, 2, 2).
        seed: of the person and all else.
    """

    frames: Array
    text: str
    words: tuple[Word, ...]
    anchors: Array
    lips: Array
    inner_eyes: Array
    seed: int

    @property
    def points(self) -> Array:
        """Lip points in the face's own coordinates, float32 (T, 9, 2), as `MouthTrack.points`."""
        return face_coordinates(self.anchors, self.lips, self.inner_eyes)


class Head:
    """One drawn person saying one sentence before one camera; everything follows from the seed.

    Args:
        text: words to say, separated by spaces.
        seed: decides all else.
        width, height: of the picture, pixels.
        frames: length; by default as long as the sentence takes.
    Raises: DataError: the text cannot be spoken, or not in that many frames; or the picture is too small.
    """

    def __init__(
        self, text: str, seed: int, *, width: int = WIDTH_PX, height: int = HEIGHT_PX, frames: int | None = None
    ) -> None:
        if min(width, height) < LEAST_SIDE_PX:
            raise DataError(
                f"a head cannot be drawn in {width}x{height} pixels; give {LEAST_SIDE_PX} or more to each side"
            )
        rng = np.random.default_rng([seed, 7])
        self.text, self.seed, self.size = text, seed, (width, height)
        self.person = Identity.draw(rng)
        self.camera = Camera.draw(rng, width, height)
        speech = speak(text, rng, frames=frames)
        self.words, self.shapes = speech.words, speech.shapes
        self.lids = _blinks(len(self.shapes), rng)
        self.poses = _poses(self.camera, self.shapes, rng)  # (T, 5): x, y in pixels, roll, yaw, pitch
        self._shifts = rng.integers(0, 64, (len(self.shapes), 2))
        self._scene_rng = rng

    def __len__(self) -> int:
        return len(self.shapes)

    @cached_property
    def scene(self) -> Scene:
        """What is painted once."""
        return Scene(self.person, self.camera, self.size, self._scene_rng)

    def mouth(self, index: int) -> Mouth:
        """Measures of the lips in frame `index`."""
        return Mouth.formed(self.person, self.shapes[index])

    def picture(self, index: int, window: tuple[int, int, int, int] | None = None) -> Array:
        """Frame `index`.

        Args:
            window: x, y, width, height of the part wanted; by default all.
        Returns: RGB uint8 (H, W, 3).
        """
        lips, window = self.mouth(index), window or (0, 0, *self.size)
        return self.scene.picture(lips, float(self.lids[index]), self.poses[index], self._shifts[index], window)

    def landmarks(self, index: int) -> tuple[Array, Array, Array]:
        """What the drawing knows of frame `index`, in pixels.

        Returns: anchors (4, 2), lip points (9, 2), inner eye corners (2, 2), as in `DrawnClip`.
        """
        lips, person = self.mouth(index), self.person
        half, corner = lips.half_width, lips.half_width + _MESH_CORNER_X
        across = np.array([-corner, corner, 0, 0, 0, half / 2, -half / 2, half / 2, -half / 2])
        up, low = inner_curves(lips, across)
        points = np.column_stack([across, np.where([0, 0, 0, 1, 0, 0, 0, 1, 1], low, up)])
        points[4] = (0, person.chin_y + _MESH_CHIN_Y + 0.8 * lips.jaw)
        anchors = np.array([
            (-EYE_X, _MESH_EYE_Y), (EYE_X, _MESH_EYE_Y), (0, person.nose_y + _MESH_NOSE_Y), (0, _lip_centre(lips)),
        ])  # fmt: skip
        inner = np.array([(-INNER_EYE_X, _MESH_INNER_Y), (INNER_EYE_X, _MESH_INNER_Y)])
        placed = self.scene.place(np.concatenate([anchors, points, inner]), self.poses[index])
        return placed[:4], placed[4:13], placed[13:]

    def all_landmarks(self) -> tuple[Array, Array, Array]:
        """The same of every frame: (T, 4, 2), (T, 9, 2), (T, 2, 2)."""
        anchors, lips, inner_eyes = zip(*(self.landmarks(index) for index in range(len(self))), strict=True)
        return np.stack(anchors), np.stack(lips), np.stack(inner_eyes)


def draw_clip(
    text: str, seed: int, *, width: int = WIDTH_PX, height: int = HEIGHT_PX, frames: int | None = None
) -> DrawnClip:
    """Draw a talking head.

    Args:
        text: what it says: words separated by spaces.
        seed: decides person, camera, tempo and all else; the same seed and text give the same clip.
        width, height: of the picture, pixels.
        frames: length; by default as long as the sentence takes.
    Raises: DataError: as `Head`.
    """
    head = Head(text, seed, width=width, height=height, frames=frames)
    anchors, lips, inner_eyes = head.all_landmarks()
    pictures = np.stack([head.picture(index) for index in range(len(head))])
    return DrawnClip(pictures, text, head.words, anchors, lips, inner_eyes, seed)


def draw_crops(head: Head) -> tuple[Array, Array]:
    """Mouth crops and lip points of a head, without drawing the rest of its pictures.

    Returns: crops, uint8 (T, 96, 96), and points, float32 (T, 9, 2), as of a `MouthTrack`; the points are as
        unsteady as those of the face mesh.
    """
    anchors, lips, inner_eyes = head.all_landmarks()
    crops = []
    for index in range(len(head)):
        near = smooth_anchors(anchors, index)
        reach = CROP_SIDE_PX * 0.75 / abs(similarity(near, REFERENCE)[0]) + 4  # the crop may be turned
        low = np.floor(near[3] - reach).astype(int).clip(0, np.array(head.size) - 2)
        high = np.ceil(near[3] + reach).astype(int).clip(low + 2, head.size)
        (x, y), (width, height) = low.tolist(), (high - low).tolist()
        grey = cv2.cvtColor(head.picture(index, (x, y, width, height)), cv2.COLOR_RGB2GRAY)
        crops.append(crop_mouth(grey, near - low))
    return np.stack(crops), as_seen(face_coordinates(anchors, lips, inner_eyes), head.seed)


def face_coordinates(anchors: Array, lips: Array, inner_eyes: Array) -> Array:
    """Lip points relative to the midpoint of the inner eye corners, in units of their distance, upright.

    Args:
        anchors: (T, 4, 2), lips: (T, 9, 2), inner_eyes: (T, 2, 2), pixels.
    Returns: float32 (T, 9, 2).
    """
    out = np.empty(lips.shape, np.float32)
    for index, (right, left) in enumerate(inner_eyes):
        turn = similarity(smooth_anchors(anchors, index), REFERENCE)[0]
        offsets = (lips[index] - (right + left) / 2) / np.hypot(*(left - right))
        turned = (offsets[:, 0] + 1j * offsets[:, 1]) * turn / abs(turn)
        out[index] = np.stack([turned.real, turned.imag], axis=-1)
    return out


def as_seen(points: Array, seed: int) -> Array:
    """Lip points with errors like those of the face mesh, most of which are those of the eyes it measures them from.

    Args:
        points: (T, 9, 2) in the face's own coordinates.
    Returns: float32 (T, 9, 2).
    """
    rng = np.random.default_rng([seed, 11])
    kernel = np.exp(-np.arange(8) / 1.5)  # errors last a few frames
    kernel /= np.linalg.norm(kernel)
    white = rng.standard_normal((3, len(points) + len(kernel) - 1))
    wander = np.stack([np.convolve(row, kernel, mode="valid") for row in white], axis=-1)
    wander *= rng.uniform(0.4, 1.3) * np.array([0.012, 0.035, 0.012])  # x, y, scale
    noise = rng.normal(0, 0.006, points.shape)
    return np.asarray(points * (1 + wander[:, None, 2:]) + wander[:, None, :2] + noise, np.float32)


def _lip_centre(lips: Mouth) -> float:
    """y of the mean of the 20 mesh points that `mouth.anchors_of` takes for the mouth."""
    over, under = outer_curves(lips, np.array([-0.62, -0.3, 0, 0.3, 0.62]) * lips.half_width)
    up, low = inner_curves(lips, np.array([-0.5, 0, 0.5]) * lips.half_width)
    return float((over.sum() + under.sum() + up.sum() + low.sum() + 4 * lips.corner) / 20)


def _blinks(frames: int, rng: np.random.Generator) -> Array:
    """How far the lids are shut, 0..1, shape (T,)."""
    shut = np.full(frames, rng.uniform(0, 0.25))
    start = int(rng.integers(-20, 90))
    while start < frames:
        for frame, value in enumerate((0.5, 1.0, 1.0, 0.5), start):
            if 0 <= frame < frames:
                shut[frame] = value
        start += int(rng.integers(40, 140))
    return shut


def _poses(camera: Camera, shapes: Array, rng: np.random.Generator) -> Array:
    """Slow head movement, and small nods with the voice, (T, 5): x, y in pixels, roll, yaw, pitch."""
    times = np.arange(len(shapes))[:, None] / FRAME_RATE_HZ
    amplitude, rate, phase = camera.sway.T
    poses = amplitude * np.sin(2 * np.pi * rate * times + phase)
    poses += np.array([0, 0, camera.roll, camera.yaw, camera.pitch])
    kernel = np.hanning(13) / np.hanning(13).sum()
    voice = np.convolve(np.pad(shapes[:, 0], 6, mode="edge"), kernel, mode="valid")
    poses[:, 1] += rng.normal(0, 1.5) * camera.scale_px * voice
    poses[:, 4] += rng.normal(0, 0.03) * voice
    return np.asarray(poses)
