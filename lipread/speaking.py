"""Mouth tracks -> who speaks, whether anyone does, and what to warn about.

Shapes: T frames at 25 Hz, P = 9 lip points, N = 478 mesh points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lipread.errors import ConfigError, NoFaceError
from lipread.values import FRAME_RATE_HZ, Array, MouthTrack

AROUND_FRAMES = FRAME_RATE_HZ  # lip movement is measured over a second to each side
SETTLE_FRAMES = 3  # the face mesh is still settling so long after it finds a face
# Spread of the lips in eye distances, measured on GRID: 0.10 to 0.35 in sentences, under 0.05 in a repeated frame.
TALKING_SPREAD = 0.06
# ... and 0.005 to 0.02 in a second of a person who keeps still.
STILL_SPREAD = 0.02
SMALL_EYE_PX = 12.0  # inner eye corners nearer than this: the mouth is a dozen pixels wide
GHOST_SHARE = 0.05  # a face seen in less than this share of the frames of the most seen one does not count
LARGER_PORTRAIT = 1.25  # a face so many times as high as in its portrait is cut out anew
LONG_GAP_S = 0.5  # a face lost for longer is worth a warning


@dataclass
class SeenFace:
    """Where a face was and how large, summed while a video is read.

    Attributes:
        portrait: the face and a little around it, RGB uint8, to tell it from others; None without a picture.
    """

    frames: int = 0
    portrait: Array | None = None
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
                self.portrait, self._portrait_px = cut.copy(), height_px
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


def lip_spread(points: Array) -> Array:
    """How far the lips move around each frame.

    Args:
        points: lip points in eye distances, float, shape (T, 9, 2), NaN where there was no face.
    Returns: standard deviation of the inner-lip gap plus that of the mouth width over +-1 s, shape (T,), eye
        distances; 0 where there was no face.
    """
    gap = points[:, 3, 1] - points[:, 2, 1]
    width = points[:, 1, 0] - points[:, 0, 0]
    seen = np.isfinite(gap) & np.isfinite(width)
    settled = seen.copy()
    for late in range(1, SETTLE_FRAMES + 1):  # a frame counts when the SETTLE_FRAMES before it had the face too
        settled[late:] &= seen[:-late]
    settled[:SETTLE_FRAMES] = False
    spread = np.zeros(len(points))
    for frame in np.flatnonzero(seen):
        near = slice(max(0, frame - AROUND_FRAMES), frame + AROUND_FRAMES + 1)
        chosen = settled[near]
        if chosen.any():
            spread[frame] = gap[near][chosen].std() + width[near][chosen].std()
    return spread


def moving_frames(track: MouthTrack) -> Array:
    """Frames in which something could be said: the face is there and the lips move around them; bool, shape (T,)."""
    return np.asarray(track.present & (lip_spread(track.points) >= STILL_SPREAD))


def why_nothing_is_said(track: MouthTrack) -> str | None:
    """A sentence where there is no face or the lips keep still; None where someone may be talking."""
    frames = len(track.present)
    if not track.present.any():
        return f"no face was found in any of the {frames} frames"
    seen = int(track.present.sum())
    if seen <= 2 * SETTLE_FRAMES:
        return f"a face is seen in {seen} of the {frames} frames only, and lips are read from their movement"
    spread = float(lip_spread(track.points).max())
    if spread < TALKING_SPREAD:
        return f"the lips hardly move (spread {spread:.3f} of the eye distance; talking gives {TALKING_SPREAD} or more)"
    return None


def track_warnings(track: MouthTrack) -> tuple[str, ...]:
    """What makes a track hard to read: a small face, a face that is lost for a while."""
    warnings = []
    if track.present.any() and 0 < track.eye_px < SMALL_EYE_PX:
        warnings.append(
            f"The face is small ({track.eye_px:.0f} pixels between the inner eye corners, {SMALL_EYE_PX:.0f} or more "
            "read better); come closer or use a larger picture."
        )
    gaps = [
        f"{track.start_s + first / FRAME_RATE_HZ:.2f} to {track.start_s + end / FRAME_RATE_HZ:.2f} s"
        for first, end in _runs(~track.present)
        if end - first > LONG_GAP_S * FRAME_RATE_HZ
    ]
    if gaps and track.present.any():
        shown = ", ".join(gaps[:5]) + (f" and {len(gaps) - 5} more times" if len(gaps) > 5 else "")
        warnings.append(f"No face was found from {shown}; nothing could be read there.")
    return tuple(warnings)


def check_speaker(speaker: str | int) -> None:
    """Refuse a choice that names no speaker. Raises: ConfigError."""
    if isinstance(speaker, bool) or (speaker not in ("auto", "largest") and not isinstance(speaker, int)):
        raise ConfigError(f"speaker {speaker!r} is not known; use auto, largest, or a number from 0 (left to right)")
    if isinstance(speaker, int) and speaker < 0:
        raise ConfigError(f"speaker {speaker} is negative; count faces from 0, from left to right")


def left_to_right(faces: dict[int, SeenFace]) -> list[int]:
    """Identities of the faces that count, leftmost first; what was seen only for a moment is left out."""
    most = max((face.frames for face in faces.values()), default=0)
    counted = [identity for identity, face in faces.items() if face.frames >= GHOST_SHARE * most]
    return sorted(counted, key=lambda identity: faces[identity].left_px)


def choose_speaker(speaker: str | int, tracks: Sequence[MouthTrack], heights_px: Sequence[float]) -> int:
    """Which of several faces to read.

    Args:
        speaker: "auto": the one whose lips move most over the whole time; "largest"; or a number from 0.
        tracks: one per face, at least one.
        heights_px: mean height of each face, pixels.
    Raises: NoFaceError: there is no face of that number. ConfigError: as `check_speaker`.
    """
    check_speaker(speaker)
    if isinstance(speaker, int):
        if speaker >= len(tracks):
            raise NoFaceError(
                f"there is no face {speaker}: {len(tracks)} seen, numbered 0 to {len(tracks) - 1} from left to right"
            )
        return speaker
    if speaker == "largest":
        return int(np.argmax(heights_px))
    return int(np.argmax([lip_spread(track.points).sum() for track in tracks]))


def join_tracks(tracks: Sequence[MouthTrack]) -> MouthTrack | None:
    """One track of tracks that are never there at the same time (one person, after a cut or a walk); None if any are.

    Args:
        tracks: all of the same length, at least one.
    """
    present = np.stack([track.present for track in tracks])  # (faces, T)
    if (present.sum(axis=0) > 1).any():
        return None
    first = tracks[0]
    crops, points = first.crops.copy(), first.points.copy()
    for track in tracks[1:]:
        crops[track.present], points[track.present] = track.crops[track.present], track.points[track.present]
    eye_px = float(np.average([track.eye_px for track in tracks], weights=present.sum(axis=1)))
    return MouthTrack(crops, points, present.any(axis=0), first.start_s, eye_px)


def _runs(flags: Array) -> list[tuple[int, int]]:
    """Stretches of True: (first, one past the last)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2], strict=True)]
