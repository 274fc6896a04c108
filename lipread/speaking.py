"""Mouth tracks -> who speaks, whether anyone does, and what to warn about.

Shapes: T frames at 25 Hz, P = 9 lip points, N = 478 mesh points.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from lipread.errors import ConfigError
from lipread.values import FRAME_RATE_HZ, Array, MouthTrack

AROUND_FRAMES = FRAME_RATE_HZ  # lip movement is measured over a second to each side
SETTLE_FRAMES = 3  # the face mesh is still settling so long after it finds a face
# Spread of the lips in eye distances, measured on GRID: 0.10 to 0.35 in sentences, under 0.05 in a repeated frame.
TALKING_SPREAD = 0.06
# ... and 0.005 to 0.02 in a second of a person who keeps still.
STILL_SPREAD = 0.02
SMALL_EYE_PX = 12.0  # inner eye corners nearer than this: the mouth is a dozen pixels wide
GHOST_SHARE = 0.05  # a face seen in less than this share of the frames of the most seen one does not count
LONG_SIGHT_FRAMES = 60 * FRAME_RATE_HZ  # ... of which a minute counts: three seconds are more than a moment
LARGER_PORTRAIT = 1.25  # a face so many times as high as in its portrait is cut out anew
PORTRAIT_PX = 256  # portraits are no larger, either way
MAX_FACES = 4  # looked for in each picture, unless more are asked for
# What is kept of people who have gone: of those seen last, who may be known again, and of those seen longest.
LATEST_FACES, LASTING_FACES = 80, 48
LONG_GAP_S = 0.5  # a face lost for longer is worth a warning


@dataclass
class SeenFace:
    """Where a face was and how large, summed while a video is read.

    Attributes:
        portrait: the face and a little around it, RGB uint8, to tell it from others; None without a picture.
        read_frames: in how many frames it was read.
    """

    frames: int = 0
    portrait: Array | None = None
    read_frames: int = 0
    _left_sum: float = 0.0
    _size_sum: float = 0.0
    _portrait_px: float = 0.0

    def see(self, mesh: Array, image: Array | None = None) -> None:
        """Take the face's mesh (478, 2) in one frame, pixels, and the frame, RGB uint8 (H, W, 3), to cut it out of."""
        low, high = mesh.min(axis=0), mesh.max(axis=0)
        height_px = float(high[1] - low[1])
        if image is not None and height_px > LARGER_PORTRAIT * self._portrait_px:
            around = height_px / 3
            left, top = (max(0, int(edge - around)) for edge in low)
            right, bottom = (max(0, int(edge + around)) for edge in high)
            if (cut := image[top:bottom, left:right]).size:
                self.portrait, self._portrait_px = _small(cut), height_px
        self.frames += 1
        self._left_sum += float(low[0] + high[0]) / 2
        self._size_sum += float(high[1] - low[1])

    @property
    def left_px(self) -> float:
        """Mean distance of the face's middle from the left edge, pixels."""
        return self._left_sum / max(1, self.frames)

    @property
    def height_px(self) -> float:
        """Mean height, pixels."""
        return self._size_sum / max(1, self.frames)


def see_face(faces: dict[int, SeenFace], identity: int, mesh: Array, image: Array | None = None) -> None:
    """Note a face among those seen so far, in which the one seen last comes last. Arguments as `SeenFace.see`."""
    face = faces.pop(identity, None) or SeenFace()
    face.see(mesh, image)
    faces[identity] = face


def forget_faces(faces: dict[int, SeenFace], there: Container[int]) -> list[int]:
    """Forget people where there are too many -> their identities.

    They are those seen in the fewest frames, of all who are neither there nor among the `LATEST_FACES` seen last.
    """
    surplus = max(0, len(faces) - LATEST_FACES - LASTING_FACES)
    gone = [identity for identity in list(faces)[:-LATEST_FACES] if identity not in there] if surplus else []
    forgotten = sorted(gone, key=lambda identity: faces[identity].frames)[:surplus]
    for identity in forgotten:
        del faces[identity]
    return forgotten


def lip_spread(points: Array) -> Array:
    """How far the lips move around each frame.

    Args:
        points: lip points in eye distances, float, shape (T, 9, 2), NaN where there was no face.
    Returns: standard deviation of the inner-lip gap plus that of the mouth width over +-1 s, shape (T,), eye
        distances; 0 where there was no face.
    """
    gap, width = lip_gap_and_width(points)
    seen = np.isfinite(gap) & np.isfinite(width)
    settled = seen.copy()
    for late in range(1, SETTLE_FRAMES + 1):  # a frame counts when the SETTLE_FRAMES before it had the face too
        settled[late:] &= seen[:-late]
    settled[:SETTLE_FRAMES] = False
    spread = deviation_around(gap, settled, AROUND_FRAMES) + deviation_around(width, settled, AROUND_FRAMES)
    return np.where(seen, spread, 0.0)


def lip_gap_and_width(points: Array) -> tuple[Array, Array]:
    """Lip points (T, 9, 2) -> gap between the inner lips, width of the mouth, (T,), eye distances."""
    return points[:, 3, 1] - points[:, 2, 1], points[:, 1, 0] - points[:, 0, 0]


def deviation_around(values: Array, chosen: Array, reach: int) -> Array:
    """Standard deviation of the chosen values (T,) up to `reach` frames from each frame; 0 where there are none."""
    mean = values[chosen].mean() if chosen.any() else 0.0  # taken out, so that the squares lose no digits
    kept = np.where(chosen, values - mean, 0.0).astype(np.float64)
    sums = [np.concatenate([[0.0], np.cumsum(each)]) for each in (chosen, kept, kept * kept)]
    frames = np.arange(len(values))
    first, end = np.maximum(0, frames - reach), np.minimum(len(values), frames + reach + 1)
    count, total, squares = (each[end] - each[first] for each in sums)
    count = np.maximum(1, count)
    return np.asarray(np.sqrt(np.maximum(0.0, squares / count - (total / count) ** 2)))


def moving_frames(track: MouthTrack) -> Array:
    """Frames in which something could be said: the face is there and the lips move around them; bool, shape (T,)."""
    return np.asarray(track.present & (lip_spread(track.points) >= STILL_SPREAD))


def why_nothing_is_said(track: MouthTrack) -> str | None:
    """A sentence where there is no face or the lips keep still; None where someone may be talking."""
    return reason_for_silence(track.present, float(lip_spread(track.points).max(initial=0.0)))


def reason_for_silence(present: Array, spread: float) -> str | None:
    """As `why_nothing_is_said`: `present` says in which frames the face is seen, `spread` is the largest one."""
    frames, seen = len(present), int(present.sum())
    if not seen:
        return f"no face was found in any of the {frames} frames"
    if seen == frames <= 2 * SETTLE_FRAMES:
        wanted = 2 * SETTLE_FRAMES + 1
        return f"the video is too short ({frames} of at least {wanted} frames), and lips are read from their movement"
    if seen <= 2 * SETTLE_FRAMES:
        return f"a face is seen in {seen} of the {frames} frames only, and lips are read from their movement"
    if spread < TALKING_SPREAD:
        return f"the lips hardly move (spread {spread:.3f} of the eye distance; talking gives {TALKING_SPREAD} or more)"
    return None


def sight_warnings(present: Array, eye_px: float, *, start_s: float = 0.0) -> tuple[str, ...]:
    """What makes a face hard to read: it is small (median distance of the eyes), or lost for a while (`present`)."""
    warnings = []
    if present.any() and 0 < eye_px < SMALL_EYE_PX:
        warnings.append(
            f"The face is small ({eye_px:.0f} pixels between the inner eye corners, {SMALL_EYE_PX:.0f} or more "
            "read better); come closer or use a larger picture."
        )
    gaps = [
        f"{start_s + first / FRAME_RATE_HZ:.2f} to {start_s + end / FRAME_RATE_HZ:.2f} s"
        for first, end in _runs(~present)
        if end - first > LONG_GAP_S * FRAME_RATE_HZ
    ]
    if gaps and present.any():
        shown = ", ".join(gaps[:5]) + (f" and {len(gaps) - 5} more times" if len(gaps) > 5 else "")
        warnings.append(f"No face was found from {shown}; nothing could be read there.")
    return tuple(warnings)


def check_speaker(speaker: str | int) -> None:
    """Refuse a choice that names no speaker. Raises: ConfigError."""
    if isinstance(speaker, bool) or (speaker not in ("auto", "largest", "all") and not isinstance(speaker, int)):
        raise ConfigError(
            f"speaker {speaker!r} is not known; use auto, largest, all, or a number from 0 (left to right)"
        )
    if isinstance(speaker, int) and speaker < 0:
        raise ConfigError(f"speaker {speaker} is negative; count faces from 0, from left to right")


def left_to_right(faces: dict[int, SeenFace]) -> list[int]:
    """Identities of the faces that count, leftmost first; what was seen only for a moment is left out."""
    most = min(max((face.frames for face in faces.values()), default=0), LONG_SIGHT_FRAMES)
    counted = [identity for identity, face in faces.items() if face.frames >= GHOST_SHARE * most]
    return sorted(counted, key=lambda identity: (faces[identity].left_px, identity))


def _small(picture: Array) -> Array:
    """A copy of a picture (h, w, 3), reduced to `PORTRAIT_PX` at most."""
    scale = PORTRAIT_PX / max(picture.shape[:2])
    if scale >= 1:
        return picture.copy()
    import cv2

    height, width = (max(1, round(scale * side)) for side in picture.shape[:2])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


def _runs(flags: Array) -> list[tuple[int, int]]:
    """Stretches of True: (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
