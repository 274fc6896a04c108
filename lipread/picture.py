"""Decoded pictures -> upright RGB arrays of one size: square pixels, turned as the file asks, without combing.

Shapes: H x W pixels as delivered.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import av.error
import numpy as np
from av.sidedata.sidedata import SideDataContainer
from av.video.reformatter import VideoReformatter

from lipread.errors import VideoError
from lipread.values import Array

if TYPE_CHECKING:
    from av.filter import Graph
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

MIN_SIDE_PX = 16  # a narrower picture cannot hold a face
LUMA_CHROMA = ("yuv", "nv12", "p010")  # how the names begin of what cameras record


class Painter:
    """Decoded picture -> upright RGB array of one fixed size.

    The size follows from the first picture: pixels made square, the longer edge at most `max_side_px`.
    """

    def __init__(self, name: str, first: VideoFrame, stream: VideoStream, max_side_px: int) -> None:
        self._name = name
        self._to_rgb, self._smaller = VideoReformatter(), VideoReformatter()  # kept: new ones cost 10 times more
        self._aspect = _pixel_aspect(stream)
        self._orientation = _orientation(first)
        width, height = _square_size(first.width, first.height, self._aspect)
        if min(width, height) < MIN_SIDE_PX:
            raise VideoError(
                f"{name} is {first.width}x{first.height} pixels, too narrow to show a face (at least {MIN_SIDE_PX} "
                "pixels are needed each way); give a video that shows the speaker's face"
            )
        scale = min(1.0, max_side_px / max(width, height))
        self._coded = (max(1, round(width * scale)), max(1, round(height * scale)))  # before turning upright
        self.width, self.height = self._coded[::-1] if self._orientation[0] else self._coded
        self._source_size = (first.width, first.height)
        self.resized = False  # whether pictures of another size were met

    def paint(self, frame: VideoFrame) -> Array:
        """RGB uint8, contiguous, shape (height, width, 3)."""
        if (frame.width, frame.height) == self._source_size:
            image = _upright(self._scaled(frame, *self._coded), self._orientation)
            return np.ascontiguousarray(image)
        self.resized = True  # keep the proportions, centre on black
        orientation = _orientation(frame)
        width, height = _square_size(frame.width, frame.height, self._aspect)
        box = (self.height, self.width) if orientation[0] else (self.width, self.height)
        scale = min(box[0] / width, box[1] / height)
        size = (min(box[0], max(1, round(width * scale))), min(box[1], max(1, round(height * scale))))
        image = _upright(self._scaled(frame, *size), orientation)
        canvas = np.zeros((self.height, self.width, 3), np.uint8)
        top, left = (self.height - image.shape[0]) // 2, (self.width - image.shape[1]) // 2
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        return canvas

    def _scaled(self, frame: VideoFrame, width: int, height: int) -> Array:
        smaller = width < frame.width or height < frame.height
        way = "AREA" if smaller else "BILINEAR"
        try:  # threads=1: FFmpeg's slices leave wrong rows in 10-bit pictures
            if smaller and frame.format.name.startswith(LUMA_CHROMA):  # in one step FFmpeg takes twice as long
                frame = self._smaller.reformat(frame, width, height, "yuv420p", interpolation=way, threads=1)
            return self._to_rgb.reformat(frame, width, height, "rgb24", interpolation=way, threads=1).to_ndarray()
        except (av.error.FFmpegError, ValueError) as error:
            raise VideoError(
                f"{self._name}: its pixel format {frame.format.name!r} cannot be turned into RGB ({error}); "
                "convert it to H.264 mp4"
            ) from error


def deinterlaced(frames: Iterator[VideoFrame]) -> Generator[VideoFrame]:
    """Pass pictures through; from the first one flagged as interlaced on, mend those that are flagged.

    FFmpeg's bwdif leaves unflagged pictures as they are. It looks one picture ahead, so it is only put in where needed.
    """
    graph: Graph | None = None
    kind: tuple[object, ...] = ()  # size and format that the graph was built for
    for frame in frames:
        if graph is None and not frame.interlaced_frame:
            yield frame
            continue
        if kind != (frame.width, frame.height, frame.format.name):
            if graph is not None:
                yield from _pushed(graph, None)
            graph, kind = _bwdif(frame), (frame.width, frame.height, frame.format.name)
        assert graph is not None
        yield from _pushed(graph, frame)
    if graph is not None:
        yield from _pushed(graph, None)


def _bwdif(frame: VideoFrame) -> Graph:
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    mend = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    graph.link_nodes(source, mend, graph.add("buffersink")).configure()
    return graph


def _pushed(graph: Graph, frame: VideoFrame | None) -> Iterator[VideoFrame]:
    graph.vpush(frame)
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):  # wants more pictures, or is empty
            return


def _pixel_aspect(stream: VideoStream) -> Fraction:
    """Width of a pixel over its height; 1 where it is not stated or absurd."""
    aspect = stream.sample_aspect_ratio
    return Fraction(aspect) if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)


def _square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Size with square pixels; only ever enlarged, so that no detail is lost."""
    return (round(width * aspect), height) if aspect >= 1 else (width, round(height / aspect))


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """(swap rows and columns, then mirror left-right, then mirror up-down) that turns the picture upright.

    The display matrix sends a pixel (x, y) to (a x + c y, b x + d y) with y downwards; the nearest of the eight
    orientations of a rectangle is taken.
    """
    try:
        matrix = np.frombuffer(bytes(cast(SideDataContainer, frame.side_data)["DISPLAYMATRIX"]), np.int32)
    except KeyError:
        return False, False, False
    if matrix.size != 9:
        return False, False, False
    a, b, c, d = (int(value) for value in matrix[[0, 1, 3, 4]])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return False, a < 0, d < 0
    return True, c < 0, b < 0


def _upright(image: Array, orientation: tuple[bool, bool, bool]) -> Array:
    swap, mirror, flip = orientation
    image = image.transpose(1, 0, 2) if swap else image
    return image[:: -1 if flip else 1, :: -1 if mirror else 1]
