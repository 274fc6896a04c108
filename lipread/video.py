"""A video file -> upright RGB pictures at an even 25 Hz, chosen by presentation time.

Shapes: H x W pixels as delivered (upright, square pixels, reduced to at most `max_side_px`).

Frame k is the picture that a player shows k/25 s after the recording begins: the last one whose time is not later, or
the first one, where sound begins before all pictures.
So 16, 29.97, 50, 60 fps and variable rates become 25 Hz without counting, and a file of 25 fps gives its own
pictures, one each. Only one decoded picture is held at a time: memory does not grow with the length of the video.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from types import TracebackType
from typing import TYPE_CHECKING, Self

from lipread.container import (
    Clock,
    beginning_of,
    decoded_pictures,
    length_of,
    moment_of,
    open_container,
    picture_stream,
    sound_stream,
    trusted_length_s,
)
from lipread.errors import ConfigError, VideoError
from lipread.files import PathLike
from lipread.picture import MIN_SIDE_PX, Painter, deinterlaced
from lipread.stream_parts import MAX_HOLD_S
from lipread.values import FRAME_RATE_HZ, Array, Frame

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream as PictureStream

MAX_SIDE_PX = 1280  # a face fills enough of this; 4K is reduced to it
MIN_RATE_HZ = 10.0  # below this lips cannot be read; the pictures are delivered, with a warning
STEP_S = Fraction(1, FRAME_RATE_HZ)
MAX_TICK_SLACK_S = Fraction(1, 2000)  # containers that count milliseconds are off by up to half a millisecond
JITTER_SLACK_S = STEP_S / 4  # a stream that states 25 fps keeps its pictures although their times tremble
THREADED_PX = 1280 * 720  # from this size on threads pay; below, they cost start-up and latency

_threads = 0  # that large pictures are decoded with; 0: as many as there are cores


def use_threads(count: int) -> None:
    """Decode large pictures with so many threads from now on, in this process; 0: as many as there are cores.

    Where every core has a process of its own, one thread each costs a twentieth less (docs/speed.md).
    """
    global _threads
    _threads = count


@dataclass(frozen=True)
class VideoInfo:
    """What a video file says about itself.

    Attributes:
        path: the file as it was named.
        width, height: size of the pictures as delivered, pixels.
        duration_s: stated length of the picture, seconds; None where the file does not say.
        frame_rate_hz: stated average rate of the source; None where the file does not say.
        has_audio: whether there is a sound stream that can be decoded.
    """

    path: str
    width: int
    height: int
    duration_s: float | None
    frame_rate_hz: float | None
    has_audio: bool


def probe(path: PathLike, *, max_side_px: int = MAX_SIDE_PX) -> VideoInfo:
    """Describe a video; its first picture is decoded, so what passes here can be read.

    Raises: VideoError: see `read_frames`.
    """
    with read_frames(path, max_side_px=max_side_px) as stream:
        return stream.info


def read_frames(path: PathLike, *, max_side_px: int = MAX_SIDE_PX) -> VideoStream:
    """Open a video for reading as an even 25 Hz stream.

    Args:
        path: any file that FFmpeg reads.
        max_side_px: longer edge of the pictures; larger ones are reduced while decoding, smaller ones are kept.
    Raises:
        VideoError: no such file, not a video, no picture, no picture that can be decoded, or too narrow for a face.
        ConfigError: max_side_px is too small.
    """
    return VideoStream(path, max_side_px=max_side_px)


class VideoStream:
    """Iterator of `Frame` at 25 Hz; close it, or use it in a `with` statement.

    A picture that is shown for several grid points is delivered several times as the same array: copy before drawing.

    Attributes:
        info: what the file says about itself.
        warnings: sentences about the input, filled while reading (broken tail, jumping times, very low rate).
    """

    def __init__(self, path: PathLike, *, max_side_px: int = MAX_SIDE_PX) -> None:
        if max_side_px < MIN_SIDE_PX:
            raise ConfigError(f"max_side_px={max_side_px} is too small to show a face; try {MAX_SIDE_PX}")
        self._name = os.fspath(path)
        self.warnings: list[str] = []
        self._container = open_container(path)
        try:
            self._stream = picture_stream(self._container, self._name)
            large = self._stream.width * self._stream.height >= THREADED_PX
            self._stream.thread_type = "AUTO" if large and _threads != 1 else "NONE"
            if large:
                self._stream.codec_context.thread_count = _threads
            self._source = deinterlaced(decoded_pictures(self._container, self._stream, self.warnings))
            first = next(self._source, None)
            if first is None:
                raise VideoError(
                    f"{self._name} has a picture stream, but not one picture in it can be decoded: it is damaged or "
                    "was cut off while recording; record it again or convert it to H.264 mp4"
                )
            self._painter = Painter(self._name, first, self._stream, max_side_px)
        except BaseException:
            self._container.close()
            raise
        self.info = _describe(self._name, self._container, self._stream, self._painter)
        self._frames = self._even(first)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the file; harmless when repeated. Iterating afterwards ends at once."""
        self._frames.close()
        self._source.close()
        self._container.close()

    def _even(self, first: VideoFrame) -> Generator[Frame]:
        """Deliver each picture at the grid points k/25 at which it is the one being shown."""
        rate = _usual_rate(self._stream)
        plain = rate is not None and abs(rate / FRAME_RATE_HZ - 1) < Fraction(1, 100)
        tick = Fraction(self._stream.time_base or 0)
        slack = JITTER_SLACK_S if plain else min(tick / 2, MAX_TICK_SLACK_S)
        usual_s = 1 / rate if rate else STEP_S

        origin = beginning_of(self._container, moment_of(first))
        clock = Clock(self.warnings, "picture", origin, trusted_s=trusted_length_s(self._container))
        shown, early_s = first, clock.place(moment_of(first), usual_s)
        latest_s = early_s
        pictures, index, paused_s = 1, 0, Fraction(0)  # decoded so far; next grid point; without pictures
        for frame in self._source:
            pictures += 1
            time_s = clock.place(moment_of(frame), usual_s)
            image: Array | None = None  # converted only if it is shown at a grid point
            while index * STEP_S + slack < time_s:
                image = self._painter.paint(shown) if image is None else image
                yield Frame(image, index / FRAME_RATE_HZ)
                index += 1
            paused_s += time_s - latest_s if time_s - latest_s > MAX_HOLD_S else 0
            shown, latest_s = frame, max(latest_s, time_s)

        end_s = latest_s + (usual_s if plain else _length_s(shown, usual_s))
        image = None
        while index == 0 or index * STEP_S + slack < end_s:
            image = self._painter.paint(shown) if image is None else image
            yield Frame(image, index / FRAME_RATE_HZ)
            index += 1
        self._judge(pictures, clock.origin + early_s, end_s - early_s, paused_s)

    def _judge(self, pictures: int, start_s: Fraction, end_s: Fraction, paused_s: Fraction) -> None:
        """Warn, at the end, about what cannot be known before."""
        stated_s = _stated_length_s(self._stream, self._container)
        late_s = max(Fraction(0), start_s)  # some containers count the time before the first picture
        if stated_s is not None and stated_s - end_s - late_s > max(Fraction(1, 2), stated_s / 50):
            self.warnings.append(
                f"The file states {float(stated_s):.1f} s of picture, but only {float(end_s):.1f} s could be read; "
                "its end is missing or damaged."
            )
        rate_hz = pictures / max(float(end_s - paused_s), 1e-3)
        if pictures == 1:
            self.warnings.append("The file holds a single picture; lips can only be read from moving ones.")
        elif rate_hz < MIN_RATE_HZ:
            self.warnings.append(
                f"The video shows only {rate_hz:.3g} pictures per second; lips need {FRAME_RATE_HZ} (at least "
                f"{MIN_RATE_HZ:g}), so the text is unreliable."
            )
        if self._painter.resized:
            self.warnings.append("The size of the picture changes within the file; all were fitted to the first size.")


def _describe(name: str, container: InputContainer, stream: PictureStream, painter: Painter) -> VideoInfo:
    rate = _usual_rate(stream)
    length_s = _stated_length_s(stream, container)
    if length_s is None:
        length_s = length_of(container)  # may be that of a longer sound
    return VideoInfo(
        path=name,
        width=painter.width,
        height=painter.height,
        duration_s=None if length_s is None else float(length_s),
        frame_rate_hz=None if rate is None else float(rate),
        has_audio=sound_stream(container) is not None,
    )


def _usual_rate(stream: PictureStream) -> Fraction | None:
    """Stated pictures per second where it is believable."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate and 1 / MAX_HOLD_S <= rate <= 1000:
            return Fraction(rate)
    return None


def _stated_length_s(stream: PictureStream, container: InputContainer) -> Fraction | None:
    """Length of the picture as the file states it: by stream, or by file where it holds nothing else."""
    if stream.duration and stream.duration > 0 and stream.time_base:
        return stream.duration * Fraction(stream.time_base)
    return length_of(container) if len(container.streams) == 1 else None


def _length_s(frame: VideoFrame, usual_s: Fraction) -> Fraction:
    """How long the last picture is shown."""
    stated_s = (frame.duration or 0) * Fraction(frame.time_base or 0)
    return stated_s if 0 < stated_s <= MAX_HOLD_S else usual_s
