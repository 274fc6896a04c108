"""The canvas a head is painted on: a grid of pixels in face coordinates, with bumps, noise and outlines.

Shapes: H x W pixels of the canvas, N outline points. Coordinates as in `people`.
"""

from __future__ import annotations

import cv2
import numpy as np

from lipread.values import Array

LEFT, TOP, WIDTH, HEIGHT = -100, -112, 200, 256  # what the canvas holds, units
_FRACTION_BITS = 4  # of pixel positions handed to OpenCV


class Canvas:
    """Where each pixel is, and what can be put there.

    Args:
        scale: pixels per unit.
    Attributes:
        scale: the same.
        size: width and height, pixels.
        x: float32 (1, W), y: float32 (H, 1): units.
    """

    def __init__(self, scale: float) -> None:
        self.scale = scale
        self.size = (round(WIDTH * scale), round(HEIGHT * scale))
        self.x = np.arange(self.size[0], dtype=np.float32)[None] / np.float32(scale) + LEFT
        self.y = np.arange(self.size[1], dtype=np.float32)[:, None] / np.float32(scale) + TOP

    def box(self, box: tuple[float, float, float, float]) -> tuple[slice, slice]:
        """Rows and columns of a box x0, y0, x1, y1 in units."""
        x0, y0, x1, y1 = box
        return (
            slice(round((y0 - TOP) * self.scale), round((y1 - TOP) * self.scale)),
            slice(round((x0 - LEFT) * self.scale), round((x1 - LEFT) * self.scale)),
        )

    def bump(self, x: float, y: float, wide: float, high: float) -> Array:
        """A smooth hill of height 1 at a point, (H, W)."""
        return np.asarray(np.exp(-(((self.x - x) / wide) ** 2)) * np.exp(-(((self.y - y) / high) ** 2)))

    def noise(self, rng: np.random.Generator, across: float, along: float | None = None) -> Array:
        """Smooth noise of mean 0 and deviation 1, (H, W); `across` and `along` (up and down) are its grain in units."""
        across_px, along_px = across * self.scale, (along or across) * self.scale
        step = max(1, int(min(across_px, along_px) / 2))  # coarse noise is made small and enlarged
        small: Array = rng.standard_normal((self.size[1] // step + 2, self.size[0] // step + 2)).astype(np.float32)
        sigma = max(across_px / step, 0.3), max(along_px / step, 0.3)
        small = cv2.GaussianBlur(small, (0, 0), sigmaX=sigma[0], sigmaY=sigma[1])
        grown = cv2.resize(small, self.size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(grown / max(float(grown.std()), 1e-6))

    def filled(self, outline: Array, soft: float = 0.3) -> Array:
        """Mask 0..1 of a closed outline (N, 2) in units; `soft` blurs its edge, units."""
        mask = np.zeros((self.size[1], self.size[0]), np.uint8)
        cv2.fillPoly(mask, [self.pixels(outline)], (255,), cv2.LINE_AA, shift=_FRACTION_BITS)
        return np.asarray(cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), soft * self.scale + 0.1))

    def stroke(self, picture: Array, line: Array, colour: object, thick: float) -> None:
        """Draw an open line (N, 2) in units, in place; `thick` in units."""
        pixels = self.pixels(line)
        thick_px = max(1, round(thick * self.scale))
        cv2.polylines(picture, [pixels], False, colour, thick_px, cv2.LINE_AA, shift=_FRACTION_BITS)  # type: ignore[call-overload]

    def pixels(self, points: Array) -> Array:
        """Points in units as OpenCV takes them with `shift`."""
        return np.asarray(np.round((points - [LEFT, TOP]) * self.scale * 2**_FRACTION_BITS), np.int32)

    def brightness(self, light: Array, x: float, y: float) -> float:
        """The light at a point in units."""
        return float(light[round((y - TOP) * self.scale), round((x - LEFT) * self.scale)])
