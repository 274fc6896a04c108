"""A path -> an opened media file, its decoded pieces, and their times: what pictures and sound share; films to write.

Times are exact fractions of a second, so that no rounding can turn 75 pictures into 74.
"""

from __future__ import annotations

import functools
import os
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np

from lipread.errors import NoPictureError, OutputError, VideoError
from lipread.files import PathLike, written_whole
from lipread.stream_parts import MAX_APART_S, MAX_BACK_S, MAX_HOLD_S, Part, Parts
from lipread.values import FRAME_RATE_HZ, Array

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream


MAX_PAUSE_S = Fraction(600)  # a longer one is broken times in any case: all of it is read as a still picture
LEAST_EARLY_S = Fraction(1, 10)  # before the picture: less may be an encoder's first samples, and nobody notices it
CLOCK_S = Fraction(2**33, 90_000)  # how far the clock of a transport stream runs
STORED_FORMATS = frozenset({"avi", "mxf", "mxf_opatom", "asf"})  # state when a picture is stored, not when it is shown
TEXT_FORMATS = frozenset({"tty", "concat", "hls", "dash", "imf", "vobsub"})  # texts as pictures; lists of other files
_TS_DISCONT = 0x200  # FFmpeg's flag of formats whose times may start anew within a file
_START_BYTES = 1024  # without a zero byte in them it is a text
_HELP = "check that it plays in a video player, or convert it to mp4"


def open_container(path: PathLike) -> InputContainer:
    """Open a media file for reading; the caller closes it.

    Only the file itself is read: playlists that point to other places are not followed.

    Raises: VideoError: missing, a directory, unreadable, empty, or not a media file.
    """
    name = os.fspath(path)
    start = _checked_start(name)
    try:
        return av.open(
            f"file:{name}", "r", metadata_errors="replace",
            container_options={"protocol_whitelist": "file", "format_whitelist": _formats(), "pattern_type": "none"},
            # pattern_type: else x%d.png would stand for x0.png, x1.png ...
        )  # fmt: skip
    except av.error.ArgumentError as error:  # also what FFmpeg says of a format that is not among them
        if b"\0" in start:
            raise _cannot_be_read(name, error) from error
        raise VideoError(
            f"{name} is a text or a list of other files, not a video; give a video file such as mp4 or mkv"
        ) from error
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise _cannot_be_read(name, error) from error


def stated_length_s(path: PathLike) -> float | None:
    """How long a media file says it is, seconds. Raises: VideoError: as `open_container`."""
    with open_container(path) as container:
        length_s = length_of(container)
    return None if length_s is None else float(length_s)


def length_of(container: InputContainer) -> Fraction | None:
    """How long an opened file says it is, seconds; None where it does not say."""
    length = container.duration or 0
    return Fraction(length, av.time_base) if length > 0 else None


def trusted_length_s(container: InputContainer) -> Fraction:
    """How far the times of an opened file may be believed to run, seconds; 0 where it does not say. The length of a
    transport stream is guessed, but `packets_of` leaves no pause in it that is too long."""
    return CLOCK_S if _restarts(container) else length_of(container) or Fraction(0)


def _restarts(container: InputContainer) -> bool:
    """Whether times may start anew within the file, as where transport streams were joined."""
    return bool(container.format.flags & _TS_DISCONT)


@functools.cache
def _formats() -> str:
    """What may be opened: a list would open what it names, be it itself or a pipe on which one waits for ever."""
    return ",".join(each for each in sorted(av.formats_available) if TEXT_FORMATS.isdisjoint(each.split(",")))


def _cannot_be_read(name: str, error: Exception) -> VideoError:
    return VideoError(
        f"{name} cannot be read as a video ({_reason(error)}): it is of another kind or damaged; {_HELP}"
    )


@contextmanager
def written_film(path: PathLike) -> Iterator[OutputContainer]:
    """An mp4 file to write streams into, whole or not at all.

    Raises: OutputError: it cannot be written (full disk, no permission, pictures that H.264 cannot hold).
    """
    try:
        with written_whole(path) as temporary, av.open(
            str(temporary), "w", format="mp4", options={"movflags": "+faststart"}
        ) as film:
            yield film
    except (av.error.FFmpegError, ValueError) as error:
        raise OutputError(
            f"{os.fspath(path)} cannot be written ({_reason(error)}): mp4 does not take these pictures or this sound; "
            "convert the video to H.264 mp4 first"
        ) from error


class FilmPictures:
    """The pictures of a film that is written: H.264 at 25 Hz, one after the other.

    Args:
        film: where they go; further streams may be added to it until the first picture is there.
        crf: x264's quality, lower is better and larger.
        options: of x264, others than these.
        one_thread: for many small films at the same time.
    """

    def __init__(
        self, film: OutputContainer, *, crf: int, options: Mapping[str, str] | None = None, one_thread: bool = False
    ) -> None:
        self._film, self.written = film, 0
        every = {"crf": str(crf), "preset": "veryfast", **(options or {})}
        self._stream = film.add_stream("libx264", rate=FRAME_RATE_HZ, options=every)
        self._stream.pix_fmt = "yuv420p"
        if one_thread:
            self._stream.codec_context.thread_count = 1

    def add(self, image: Array) -> None:
        """The next one, RGB (H, W, 3) or grey (H, W) uint8, as large as the first; of odd sides a pixel is lost."""
        if not self.written:
            self._stream.height, self._stream.width = (max(2, side // 2 * 2) for side in image.shape[:2])
        image = np.ascontiguousarray(image[: self._stream.height, : self._stream.width])
        frame = av.VideoFrame.from_ndarray(image, format="gray" if image.ndim == 2 else "rgb24")
        frame.pts, frame.time_base = self.written, Fraction(1, FRAME_RATE_HZ)
        self._film.mux(self._stream.encode(frame))
        self.written += 1

    def end(self) -> None:
        """There are no more."""
        self._film.mux(self._stream.encode(None))


def _checked_start(name: str) -> bytes:
    """The first bytes, or in words why a path cannot be opened; FFmpeg's own name neither the file nor the cure."""
    try:
        kind = os.stat(name).st_mode
    except FileNotFoundError as error:
        raise VideoError(f"{name} does not exist; check the path and its spelling") from error
    except (OSError, ValueError) as error:
        raise VideoError(f"{name!r} cannot be reached ({_reason(error)}); check the path and its rights") from error
    if stat.S_ISDIR(kind):
        raise VideoError(f"{name} is a directory, not a video file; give the files inside it")
    if not stat.S_ISREG(kind):
        raise VideoError(f"{name} is a pipe or a device, not a video file; save the video to a file first")
    try:
        with open(name, "rb") as file:
            start = file.read(_START_BYTES)
    except PermissionError as error:
        raise VideoError(f"{name} may not be read by this user; give yourself read permission (chmod u+r)") from error
    except OSError as error:
        raise VideoError(f"{name} cannot be read ({_reason(error)}); check the disk or copy the file again") from error
    if not start:
        raise VideoError(f"{name} is empty (0 bytes); copy or record it again")
    return start


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error or type(error).__name__)


def picture_stream(container: InputContainer, name: str) -> VideoStream:
    """The stream of moving pictures; cover images and thumbnails of a sound file do not count.

    Raises: VideoError: there is none, or FFmpeg knows no decoder for it.
    """
    from av.stream import Disposition

    still = Disposition.attached_pic | Disposition.timed_thumbnails
    moving = [stream for stream in container.streams.video if not stream.disposition & still]
    if not moving:
        found = (
            "sound and a cover image"
            if container.streams.video and container.streams.audio
            else ("a cover image" if container.streams.video else "sound" if container.streams.audio else "other data")
        )
        raise NoPictureError(
            f"{name} has no picture to read lips from, only {found}; give a video that shows the speaker"
        )
    known = [stream for stream in moving if stream.codec_context is not None]
    if not known:
        raise VideoError(f"{name} has a picture in a format that FFmpeg cannot decode; convert it to H.264 mp4")
    best = container.streams.best("video")
    known.sort(key=lambda stream: best is None or stream.index != best.index)  # the best first
    return known[0]


def sound_stream(container: InputContainer) -> AudioStream | None:
    """The main sound stream that can be decoded, or None."""
    known = [stream for stream in container.streams.audio if stream.codec_context is not None]
    best = container.streams.best("audio")
    known.sort(key=lambda stream: best is None or stream.index != best.index)  # the best first
    return known[0] if known else None


def first_sound_s(path: PathLike) -> Fraction | None:
    """Time of the first sound that can be decoded on the file's own clock, seconds; None where there is none."""
    with open_container(path) as container:
        stream = sound_stream(container)
        frame = next(decoded_sound(container, stream, []), None) if stream else None
        return None if frame is None else moment_of(frame)


def beginning_s(path: PathLike) -> Fraction | None:
    """Time on the file's own clock at which a recording with pictures begins, seconds; None where none can be decoded.

    Raises: VideoError: the file cannot be opened.
    """
    with open_container(path) as container:
        try:
            stream = picture_stream(container, os.fspath(path))
        except VideoError:
            return None
        stream.thread_type = "NONE"  # one picture: start no threads
        frame = next(decoded_pictures(container, stream, []), None)
        return None if frame is None else beginning_of(container, moment_of(frame))


def beginning_of(container: InputContainer, picture_s: Fraction | None) -> Fraction | None:
    """The time of the first picture, or that of its sound where this begins noticeably earlier: players count from
    there. A time that cannot be believed does not count.

    Args:
        picture_s: time of the first picture that can be decoded.
    """
    sound = sound_stream(container)
    if picture_s is None or sound is None or sound.start_time is None or not sound.time_base:
        return picture_s
    sound_s = sound.start_time * Fraction(sound.time_base)
    early_s = picture_s - sound_s
    return sound_s if LEAST_EARLY_S < early_s <= _longest_pause_s(early_s, trusted_length_s(container)) else picture_s


def _longest_pause_s(time_s: Fraction, trusted_s: Fraction) -> Fraction:
    """How long a pause is believed that ends at this time, where times are trusted for so long."""
    return MAX_PAUSE_S if abs(time_s) <= trusted_s else MAX_HOLD_S


def decoded_pictures(container: InputContainer, stream: VideoStream, warnings: list[str]) -> Iterator[VideoFrame]:
    """Pictures in order of presentation; broken places are skipped, and `warnings` says so."""
    return _decoded(container, stream, warnings, "picture")


def decoded_sound(container: InputContainer, stream: AudioStream, warnings: list[str]) -> Iterator[AudioFrame]:
    """Blocks of sound in order; broken places are skipped, and `warnings` says so."""
    return _decoded(container, stream, warnings, "sound")


def _decoded(container: InputContainer, stream: Any, warnings: list[str], what: str) -> Iterator[Any]:
    packets = packets_of(container, stream, warnings, what)
    name = container.format.name
    shown = _Shown(delayed=name != "asf") if what == "picture" and name in STORED_FORMATS else None
    again = deque[int]()  # when the latest picture is shown once more, which empty packets say in Ogg
    latest: Any = None
    broken = 0  # packets or pictures that could not be decoded whole
    ended = False
    while not ended:
        try:
            packet = next(packets, None)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            warnings.append(f"The {what} breaks off ({_reason(error)}); what came before was read.")
            packet = None
        ended = packet is None
        if packet is not None and not packet.size:
            if name == "ogg" and what == "picture" and packet.pts is not None:
                again.append(packet.pts)
            continue  # "nothing new" in some files, and PyAV's mark of the end, would empty the decoder too early
        if shown and packet is not None:
            shown.note(packet)
        try:
            frames = stream.decode(packet)  # None: give out what was kept back for reordering
        except (av.error.FFmpegError, ValueError):
            broken, frames = broken + 1, []
        for frame in frames:
            broken += bool(frame.is_corrupt)
            frame.time_base = frame.time_base or stream.time_base  # PyAV leaves it out of those kept back
            if shown:
                shown.mend(frame)
            yield from _shown_again(latest, again, frame.pts)
            latest = frame
            yield frame
    yield from _shown_again(latest, again, None)
    if broken:
        warnings.append(f"The {what} is damaged in {broken} place(s); the text may be wrong there.")


def _shown_again(frame: VideoFrame | None, again: deque[int], before: int | None) -> Iterator[VideoFrame]:
    """A picture at the times at which it is shown once more, up to that of the next one."""
    while frame is not None and again and (before is None or again[0] < before):
        frame.pts = again.popleft()
        yield frame


def packets_of(container: InputContainer, stream: Any, warnings: list[str], what: str) -> Iterator[Packet[Any]]:
    """Packets of a stream in the order stored. Where times start anew within the file, those of picture and sound are
    moved by one shift, so that they stay in step, and `warnings` says so."""
    if not _restarts(container):
        yield from container.demux(stream)
        return
    jumped = False
    for packet, part in _with_parts(container):
        if packet.stream_index != stream.index:
            continue
        shift_s = part.settle()
        if shift_s and packet.time_base:
            ticks = round(shift_s / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks
        if shift_s and not jumped:
            warnings.append(_jump_warning(what))
            jumped = True
        yield packet


def _with_parts(container: InputContainer) -> Iterator[tuple[Packet[Any], Part]]:
    """Packets of picture and sound with the part that each belongs to; they wait until its shift can be known."""
    parts, waiting = Parts(), deque[tuple["Packet[Any]", Part]]()
    broken: Exception | None = None
    try:
        for packet in container.demux(*_read_streams(container)):
            shown, stored = packet.pts, packet.dts
            if shown is not None and stored is not None and abs(shown - stored) * packet.time_base > MAX_APART_S:
                packet.pts = None  # FFmpeg may give the last picture before a break the time of the first one after it
            waiting.append((packet, parts.part_of(packet)))
            while waiting and waiting[0][1].shift_s is not None:
                yield waiting.popleft()
    except (av.error.FFmpegError, OSError, ValueError) as error:
        broken = error
    yield from waiting
    if broken:
        raise broken


def _read_streams(container: InputContainer) -> list[VideoStream | AudioStream]:
    """The stream of pictures and that of sound, as far as they can be read."""
    sound = sound_stream(container)
    streams: list[VideoStream | AudioStream] = [] if sound is None else [sound]
    try:
        return [picture_stream(container, container.name), *streams]
    except VideoError:
        return streams


class _Shown:
    """Gives pictures the time at which they are shown where the container states when they are stored.

    FFmpeg makes up `pts` there. `dts` goes on from picture to picture in the order shown, and the last few have none.

    Args:
        delayed: `dts` comes too late by the decoder's delay, which the first picture tells.
    """

    def __init__(self, *, delayed: bool) -> None:
        self._late: int | None = None if delayed else 0
        self._stored: dict[int | None, int] = {}  # `pts` of packets before the first picture -> when each is stored

    def note(self, packet: Packet[Any]) -> None:
        """Take a packet before it is decoded."""
        if self._late is None:
            self._stored.setdefault(packet.pts, max(0, packet.dts or 0))

    def mend(self, frame: VideoFrame) -> None:
        """Set the time of the next picture."""
        if self._late is None and frame.dts is not None:
            self._late = frame.dts - self._stored.get(frame.pts, frame.dts)
        frame.pts = None if frame.dts is None else frame.dts - (self._late or 0)


def moment_of(frame: VideoFrame | AudioFrame) -> Fraction | None:
    """Presentation time as the file states it, seconds; None where it states none."""
    if frame.pts is None or not frame.time_base:
        return None
    return frame.pts * Fraction(frame.time_base)


class Clock:
    """Presentation times that start near 0 and never run away: missing ones are counted, jumps are closed.

    Args:
        warnings: receives one sentence when times had to be mended.
        what: "picture" or "sound", for that sentence.
        origin: moment that becomes time 0; None takes the first one stated.
        trusted_s: a long pause is believed where it lies within this length.
    """

    def __init__(
        self, warnings: list[str], what: str, origin: Fraction | None = None, *, trusted_s: Fraction = Fraction(0)
    ) -> None:
        self._warnings, self._what, self._trusted_s = warnings, what, trusted_s
        self._origin = origin
        self._previous: Fraction | None = None  # last stated moment
        self._latest: Fraction | None = None  # latest time given out
        self._expected = Fraction(0)  # time of the next piece if it follows at once
        self._jumps = 0

    @property
    def origin(self) -> Fraction:
        """The moment that is time 0 since the last jump."""
        return self._origin or Fraction(0)

    def place(self, moment: Fraction | None, length_s: Fraction) -> Fraction:
        """Time of the next piece, seconds, where `length_s` is how long the piece lasts."""
        time_s = self._expected
        if moment is not None and moment != self._previous:
            if self._origin is None:
                self._origin = moment - self._expected
            if self._plausible(moment - self._origin):
                time_s = moment - self._origin
            else:
                self._origin = moment - time_s
                self._note_jump()
            self._previous = moment
        self._latest = time_s if self._latest is None else max(self._latest, time_s)
        self._expected = self._latest + length_s
        return time_s

    def _plausible(self, time_s: Fraction) -> bool:
        longest_s = _longest_pause_s(time_s, self._trusted_s)
        if self._latest is None:
            return abs(time_s) <= longest_s  # sound may start before or after the picture
        return -MAX_BACK_S <= time_s - self._latest <= longest_s

    def _note_jump(self) -> None:
        self._jumps += 1
        if self._jumps == 1:
            self._warnings.append(_jump_warning(self._what))


def _jump_warning(what: str) -> str:
    return (
        f"The times of the {what} jump; it was read as if it went on without a pause, "
        "so times after the jump may be off."
    )
