"""A video and two times -> an mp4 of what lies between them, exact to the frame, with its sound."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from lipread.captions import aac_stream
from lipread.container import FilmPictures, beginning_s, decoded_sound, open_container, sound_stream, written_film
from lipread.errors import ConfigError, VideoError
from lipread.files import PathLike
from lipread.values import FRAME_RATE_HZ
from lipread.video import read_frames

if TYPE_CHECKING:
    from av.container import OutputContainer

    from lipread.pipeline import Progress

SHORTEST_S, LATEST_S = 0.2, 1e6


def part_wanted(start_s: float | None, end_s: float | None) -> tuple[float, float | None] | None:
    """The two fields of the page -> (start, end; None for that of the video); None where the whole video is wanted.

    Raises: ConfigError: the times make no part.
    """
    start, end = float(start_s or 0.0), float(end_s or 0.0)
    if not (0 <= start <= LATEST_S and 0 <= end <= LATEST_S):
        raise ConfigError(
            f"start {start:g} s and end {end:g} s: times are numbers from 0 to {LATEST_S:.0f}; empty the fields"
        )
    if end and end - start < SHORTEST_S:
        raise ConfigError(
            f"the end, {end:g} s, must be at least {SHORTEST_S} s after the start, {start:g} s; 0 is the video's end"
        )
    return (start, end or None) if start or end else None


def cut_video(
    source: PathLike, out: PathLike, start_s: float, end_s: float | None,
    *, limit_s: float = math.inf, progress: Progress | None = None,
) -> None:
    """Write the pictures from start_s to end_s (None: to the end), and the sound between, as H.264 mp4 at 25 Hz.

    Args:
        limit_s: no more than this is written.
    Raises: VideoError: the source cannot be read, or ends before start_s. OutputError: the part cannot be written.
    """
    end_s = min(math.inf if end_s is None else end_s, start_s + limit_s + 1)
    with written_film(out) as film:
        _write(film, source, start_s, end_s, progress)


def _write(film: OutputContainer, source: PathLike, start_s: float, end_s: float, progress: Progress | None) -> None:
    pictures = FilmPictures(film, crf=16)
    with open_container(source) as container, read_frames(source) as frames:
        voice = sound_stream(container)
        target = None if voice is None else aac_stream(film, voice)
        first = math.ceil(start_s * FRAME_RATE_HZ - 1e-6)
        for number, frame in enumerate(frames):
            if frame.time_s >= end_s - 1e-6:
                break
            if progress and number % 10 == 0:
                progress("cut", min(1.0, number / FRAME_RATE_HZ / end_s) if math.isfinite(end_s) else 0.0)
            if number >= first:
                pictures.add(frame.image)
        if not pictures.written:
            raise VideoError(f"{os.fspath(source)} ends before {start_s:g} s; choose an earlier start")
        pictures.end()
        if target is not None:
            shift = float(beginning_s(source) or 0) + first / FRAME_RATE_HZ
            _copy_sound(film, container, voice, target, shift, pictures.written / FRAME_RATE_HZ)


def _copy_sound(film: OutputContainer, container: Any, voice: Any, target: Any, from_s: float, length_s: float) -> None:
    """Decode the sound and write what lies between; whole packets, a few hundredths of a second more or less."""
    import av
    import av.error

    resampler = av.AudioResampler(format="fltp", layout=target.layout, rate=target.rate)
    try:
        for frame in decoded_sound(container, voice, []):
            if frame.pts is None or frame.time_base is None:
                continue
            time_s = float(frame.pts * frame.time_base) - from_s
            if time_s >= length_s:
                break
            if time_s < 0:
                continue
            frame.pts = round(time_s / frame.time_base)
            for resampled in resampler.resample(frame):
                film.mux(target.encode(resampled))
    except av.error.FFmpegError:
        pass  # a broken tail: what could be read is there
    film.mux(target.encode(None))
