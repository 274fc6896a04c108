"""A picture and a face mesh -> what the person looks like, to be known again after a cut or behind someone else.

Shapes: H x W pixels, N = 478 mesh points.

Colours of hair, face and clothes, nothing more: who changes clothes is somebody else, and twins are one person.
Measured on GRID (28 clips of 7 people, all before one blue wall): two people are alike by 0.66 (median; 0.92 at most),
one person on different days by 0.88 (median), within a clip by more than 0.95.
"""

from __future__ import annotations

import cv2
import numpy as np

from lipread.values import Array

SAME_LOOKS = 0.9  # likeness from which on it is taken to be the same person
LIGHT_BINS, COLOUR_BINS = 8, 8
COLOUR_RANGE = (96, 160)  # of the two colour axes of CIELAB, where most people's colours lie; others count at its ends
THUMBNAIL_PX = (32, 18)
# Grey levels by which two pictures that follow each other differ on average where there is a cut: in GRID's clips it is
# 2 at most, between two of its people in the same room 22. Where it is none, people are known again by their looks.
CUT_LEVELS = 12.0


def appearance(image: Array, mesh: Array) -> Array:
    """Colours of the hair, the face and what is worn below.

    Args:
        image: RGB uint8, shape (H, W, 3).
        mesh: (478, 2) pixels.
    Returns: square roots of three histograms, float, (3, 72); zeros for a part that lies outside the picture.
    """
    (left, top), (right, bottom) = mesh.min(axis=0), mesh.max(axis=0)
    side, height = 0.1 * (right - left), bottom - top
    bounds = (top - 0.35 * height, top), (top, bottom), (bottom + 0.05 * height, bottom + 0.5 * height)
    return np.stack([_colours(_part(image, left + side, right - side, *rows)) for rows in bounds])


def likeness(one: Array, other: Array) -> float:
    """How alike two appearances are, 0..1: the overlap of their histograms, a part that either lacks left out."""
    both = (one.sum(axis=1) > 0) & (other.sum(axis=1) > 0)
    return float((one * other).sum(axis=1)[both].mean()) if both.any() else 0.0


def thumbnail(image: Array) -> Array:
    """RGB uint8 (H, W, 3) -> a small grey picture, float."""
    width, height = THUMBNAIL_PX
    dots = cv2.resize(image, (4 * width, 4 * height), interpolation=cv2.INTER_NEAREST)  # the whole picture costs more
    return np.asarray(cv2.resize(dots, THUMBNAIL_PX).mean(axis=2))


def is_cut(before: Array, after: Array) -> bool:
    """Whether two thumbnails that follow each other are of different scenes."""
    return float(np.abs(after - before).mean()) > CUT_LEVELS


def _part(image: Array, left: float, right: float, top: float, bottom: float) -> Array:
    (x0, x1), (y0, y1) = np.clip([left, right], 0, image.shape[1]), np.clip([top, bottom], 0, image.shape[0])
    return image[int(y0) : int(y1), int(x0) : int(x1)]


def _colours(part: Array) -> Array:
    """Square roots of a histogram of light and of one of colour, each of half the weight, (72,)."""
    if not part.size:
        return np.zeros(LIGHT_BINS + COLOUR_BINS**2)
    lab = cv2.cvtColor(np.ascontiguousarray(part), cv2.COLOR_RGB2LAB)
    np.clip(lab[..., 1:], COLOUR_RANGE[0], COLOUR_RANGE[1] - 1, out=lab[..., 1:])
    light = cv2.calcHist([lab], [0], None, [LIGHT_BINS], [0, 256]).ravel()
    colour = cv2.calcHist([lab], [1, 2], None, [COLOUR_BINS] * 2, [*COLOUR_RANGE, *COLOUR_RANGE]).ravel()
    return np.asarray(np.sqrt(np.concatenate([light / light.sum(), colour / colour.sum()]) / 2))
