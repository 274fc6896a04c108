"""Pictures with face meshes -> the mouth crops and lip points that the network sees.

Shapes: T frames, H x W pixels, P = 9 lip points.
Source: reference geometry of the field's 256 x 256 mean face (Martinez et al. 2020, arXiv:2001.08702, and their
published preparation code's constants), so that crops stay compatible with published models and corpora.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np

from lipread.errors import DataError, OutputError
from lipread.files import PathLike
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, LIP_POINTS, Array, Mouth, MouthTrack, Word

# right-eye centre, left-eye centre, nose base, mouth centre in the 256 x 256 canvas
REFERENCE = np.array([(102.07, 94.27), (156.36, 93.58), (129.00, 135.90), (129.31, 157.82)])
SMOOTH_FRAMES = 6  # scale and rotation are averaged over +-6 frames
MAX_GAP_FRAMES = FRAME_RATE_HZ // 2  # a face lost for longer is reported as absent, a shorter gap is interpolated

_RIGHT_EYE = (33, 160, 158, 133, 153, 144)
_LEFT_EYE = (362, 385, 387, 263, 373, 380)
_NOSE_BASE = (98, 97, 2, 326, 327)
_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)
_INNER_EYES = (133, 362)


def anchors_of(mesh: Array) -> Array:
    """The four points that the crop is aligned by: eye centres, nose base, mouth centre; (478, 2) -> (4, 2) pixels."""
    groups = (_RIGHT_EYE, _LEFT_EYE, _NOSE_BASE, _LIPS)
    return np.array([mesh[list(group)].mean(axis=0) for group in groups], np.float64)


def similarity(source: Array, target: Array) -> tuple[complex, complex]:
    """Least-squares similarity w = a z + b between point sets (N, 2), points taken as complex numbers x + iy."""
    z, w = source[:, 0] + 1j * source[:, 1], target[:, 0] + 1j * target[:, 1]
    zc, wc = z - z.mean(), w - w.mean()
    a = (zc.conj() @ wc) / (zc.conj() @ zc).real
    return complex(a), complex(w.mean() - a * z.mean())


def smooth_anchors(anchors: Array, index: int) -> Array:
    """Mean anchors over +-6 frames (frames without a face left out), moved onto the centre of frame `index`.

    Args:
        anchors: (T, 4, 2) pixels, NaN where there is no face; frame `index` has one.
    Returns: (4, 2) pixels.
    """
    window = anchors[max(0, index - SMOOTH_FRAMES) : index + SMOOTH_FRAMES + 1]
    window = window[np.isfinite(window).all(axis=(1, 2))]
    mean = window.mean(axis=0)
    return np.asarray(mean - mean.mean(axis=0) + anchors[index].mean(axis=0))


def crop_mouth(grey: Array, anchors: Array) -> Array:
    """Cut the mouth out of one picture.

    Args:
        grey: uint8 picture, shape (H, W).
        anchors: smoothed anchors in pixels, shape (4, 2).
    Returns: uint8, shape (96, 96); outside the picture is black.
    """
    a, b = similarity(anchors, REFERENCE)
    centre = a * complex(*anchors[3]) + b  # mouth centre in the canvas
    b += complex(CROP_SIDE_PX / 2, CROP_SIDE_PX / 2) - centre
    scale = abs(a)
    while scale < 0.5 and min(grey.shape[:2]) > 1:  # a large face: halve the picture first, so that nothing aliases
        corner = (complex(0, 0) - b) / a, (complex(CROP_SIDE_PX, CROP_SIDE_PX) - b) / a
        grey, offset = _region(grey, corner[0], corner[1])
        b += a * offset
        grey = cv2.pyrDown(grey)
        a *= 2
        scale *= 2
    matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
    return np.asarray(cv2.warpAffine(grey, matrix, (CROP_SIDE_PX, CROP_SIDE_PX), flags=cv2.INTER_LINEAR))


def _region(grey: Array, first: complex, second: complex) -> tuple[Array, complex]:
    """The part of a picture around the square with these opposite corners, with a margin, and its offset."""
    middle, reach = (first + second) / 2, abs(second - first)
    height, width = grey.shape[:2]
    left = int(np.clip(middle.real - reach, 0, width - 2)) // 2 * 2
    top = int(np.clip(middle.imag - reach, 0, height - 2)) // 2 * 2
    right, bottom = int(np.ceil(middle.real + reach)), int(np.ceil(middle.imag + reach))
    return grey[top : max(bottom, top + 2), left : max(right, left + 2)], complex(left, top)


def lip_points(mesh: Array, roll: float) -> tuple[Array, float]:
    """Lip points in the face's own coordinates.

    Args:
        mesh: (478, 2) pixels.
        roll: rotation that makes the face upright, radians.
    Returns: (9, 2) relative to the midpoint of the inner eye corners in units of their distance, and that distance
        in pixels.
    """
    right, left = mesh[list(_INNER_EYES)].astype(np.float64)
    eye_px = float(np.hypot(*(left - right)))
    offsets = (mesh[list(LIP_POINTS)] - (right + left) / 2) / max(eye_px, 1e-6)
    turned = (offsets[:, 0] + 1j * offsets[:, 1]) * np.exp(1j * roll)
    return np.stack([turned.real, turned.imag], axis=-1).astype(np.float32), eye_px


class MouthCropper:
    """Follows one face through a stream of pictures; keeps at most MAX_GAP_FRAMES + SMOOTH_FRAMES + 1 of them.

    Call `push` for every 25 Hz frame in order, with None where the face is not seen, then `finish` for the track. Of a
    long video, `take` what is ready now and then, and what is left after `end`.
    Frames before the face's first appearance can be given as `start_frame`.
    """

    def __init__(self, start_frame: int = 0) -> None:
        self._grey: dict[int, Array] = {}
        self._mesh: list[Array] = []  # NaN where there is no face, and once it is no longer needed
        self._anchors: list[Array] = []  # of these
        self._ready: list[Mouth | None] = [None] * start_frame
        self._emitted = 0  # frames that are, or were, in `_ready`
        self._resolved = 0  # frames whose mesh is final (seen, interpolated or absent)

    def push(self, image: Array, mesh: Array | None) -> None:
        """Take the next frame.

        Args:
            image: RGB or grey uint8, shape (H, W, 3) or (H, W).
            mesh: (478, 2) pixels, or None where the face is not seen. A mesh that is not finite or has shrunk to a
                point counts as not seen.
        """
        index = len(self._mesh)
        anchors = None if mesh is None else usable_anchors(mesh)
        seen = anchors is not None
        self._mesh.append(np.asarray(mesh, np.float32) if seen else _NO_MESH)
        self._anchors.append(_NO_ANCHORS if anchors is None else anchors)
        if seen:
            if 0 < self._resolved < index <= self._resolved + MAX_GAP_FRAMES:
                self._interpolate(self._resolved, index)
            self._resolved = index + 1
        elif index + 1 - self._resolved > MAX_GAP_FRAMES or self._resolved == 0:
            self._resolved = index + 1
        elif not np.isfinite(self._mesh[self._resolved - 1]).all():
            self._resolved = index + 1  # inside a long gap
        if seen or self._resolved <= index:  # the picture is, or may still be, needed
            self._grey[index] = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if image.ndim == 3 else image.copy()
        self._emit(self._resolved - SMOOTH_FRAMES)

    def take(self) -> list[Mouth | None]:
        """The next frames that are ready, in order, None where there is no face; they are not kept."""
        ready, self._ready = self._ready, []
        return ready

    def end(self) -> None:
        """Take that no frame follows: all become ready."""
        self._resolved = len(self._mesh)
        self._emit(self._resolved)

    def finish(self, frames: int | None = None) -> MouthTrack:
        """The whole track; `frames` pads it (no face) to that many frames."""
        self.end()
        return MouthTrack.of([*self._ready, *[None] * ((frames or 0) - len(self._ready))])

    def _interpolate(self, first: int, last: int) -> None:
        """Fill frames first..last-1 between the meshes of first-1 and last."""
        before, after = self._mesh[first - 1], self._mesh[last]
        if not np.isfinite(before).all():
            return
        for index in range(first, last):
            share = (index - first + 1) / (last - first + 1)
            self._mesh[index] = (1 - share) * before + share * after
            self._anchors[index] = anchors_of(self._mesh[index])

    def _emit(self, until: int) -> None:
        """Crop the frames before `until`, whose neighbours are known."""
        while (index := self._emitted) < until:
            self._emitted += 1
            grey, mesh = self._grey.pop(index, _BLACK), self._mesh[index]
            first, last = max(0, index - SMOOTH_FRAMES), min(index + SMOOTH_FRAMES, self._resolved - 1)
            if first:
                self._mesh[first - 1], self._anchors[first - 1] = _NO_MESH, _NO_ANCHORS  # keeps the lists' indices
            if not np.isfinite(mesh).all():
                self._ready.append(None)
                continue
            anchors = smooth_anchors(np.stack(self._anchors[first : last + 1]), index - first)
            a, _ = similarity(anchors, REFERENCE)
            points, eye_px = lip_points(mesh, float(np.angle(a)))
            box = np.stack([mesh.min(axis=0), mesh.max(axis=0)])
            self._ready.append(Mouth(crop_mouth(grey, anchors), points, eye_px, box))


_BLACK = np.zeros((CROP_SIDE_PX, CROP_SIDE_PX), np.uint8)
_NO_MESH = np.full((478, 2), np.nan, np.float32)  # one array for all frames without a face: an hour takes no memory
_NO_ANCHORS = np.full((4, 2), np.nan)


def usable_anchors(mesh: Array) -> Array | None:
    """Anchors (4, 2) of a mesh that can be aligned; None where a point is not finite, or the anchors are one point."""
    if not np.isfinite(mesh).all():
        return None
    anchors = anchors_of(mesh)
    return anchors if np.ptp(anchors, axis=0).max() > 0 else None


def centre_crop(crops: Array, side_px: int) -> Array:
    """The middle square of crops (..., S, S) -> (..., side_px, side_px)."""
    margin = (crops.shape[-1] - side_px) // 2
    return crops[..., margin : margin + side_px, margin : margin + side_px]


def write_crops_mp4(path: PathLike, crops: Array, *, crf: int = 12) -> None:
    """Write crops as H.264 at 25 Hz, so that they can be looked at and kept small.

    Args:
        path: mp4 to write (whole or not at all).
        crops: grey uint8, shape (T, S, S), S even.
        crf: x264 quality, lower is better and larger.
    Raises: OutputError: the file cannot be written.
    """
    from lipread.container import FilmPictures, written_film

    if not len(crops):
        raise OutputError(f"{os.fspath(path)}: there are no crops to write; was the video empty?")
    with written_film(path) as film:
        # x264's fastest code does not choose the same bits in every run; what `cpu-independent` takes does, as fast
        pictures = FilmPictures(film, crf=crf, options={"x264-params": "cpu-independent=1"}, one_thread=True)
        for crop in crops:
            pictures.add(crop)
        pictures.end()


def read_crops(path: PathLike) -> Array:
    """Read crops written by `write_crops_mp4` with OpenCV -> uint8 (T, 96, 96).

    Raises: DataError: the file is not such a film.
    """
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        good, frame = capture.read()
        if not good:
            break
        frames.append(frame[:, :, 0] if frame.ndim == 3 else frame)
    declared = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    if not frames or frames[0].shape != (CROP_SIDE_PX, CROP_SIDE_PX):
        raise DataError(f"{path}: not a film of {CROP_SIDE_PX}x{CROP_SIDE_PX} mouth crops; prepare it again")
    if len(frames) < declared:
        raise DataError(f"{path}: damaged, {len(frames)} of {declared} frames can be read; prepare it again")
    return np.stack(frames)


def crop_strip(crops: Array, words: Sequence[Word] = (), *, columns: int = 15) -> Array:
    """A picture of crops in rows, each with the word spoken at its time written under it.

    Args:
        crops: (T, 96, 96) grey uint8.
        words: words with times from frame 0.
        columns: crops in a row.
    Returns: RGB uint8 picture.
    """
    caption_px = 16
    rows = -(-len(crops) // columns)
    picture = np.full((rows * (CROP_SIDE_PX + caption_px), columns * CROP_SIDE_PX, 3), 255, np.uint8)
    spoken = ""
    for index, crop in enumerate(crops):
        top, left = index // columns * (CROP_SIDE_PX + caption_px), index % columns * CROP_SIDE_PX
        picture[top : top + CROP_SIDE_PX, left : left + CROP_SIDE_PX] = crop[..., None]
        time_s = (index + 0.5) / FRAME_RATE_HZ
        word = next((w.text for w in words if w.start_s <= time_s < w.end_s), "")
        if word:
            bottom = top + CROP_SIDE_PX
            picture[bottom + 1 : bottom + caption_px - 1, left : left + CROP_SIDE_PX] = (222, 235, 247)
        if word and (word != spoken or left == 0):
            corner = (left + 3, top + CROP_SIDE_PX + 12)
            cv2.putText(picture, word, corner, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA)
        spoken = word
    return picture
