"""What one visitor may ask for, so that there is something left for the others; errors say what to do instead."""

from __future__ import annotations

from dataclasses import dataclass

from lipread.errors import ConfigError, DataError, VideoError
from lipread.files import PathLike
from lipread.video import VideoInfo, probe

QUOTED = 80  # characters, of a value that is told back


class Cancelled(Exception):
    """The visitor wants no result any more."""


@dataclass(frozen=True)
class Limits:
    """Attributes:
        upload_mb: largest file that is taken.
        duration_s: longest video that is read, seconds.
        files: most videos in one batch.
        unpacked_mb: most that an archive may unpack to.
        waiting: requests that may wait; more are refused with a message.
        at_once: videos that are read side by side.
        keep_s: uploads and results are deleted when they are so old, seconds.
        left_s: and so long after their visitor has left the page.
        remembered: readings that are kept in memory for the pictures of "why".
    """

    upload_mb: int = 200
    duration_s: float = 300.0
    files: int = 50
    unpacked_mb: int = 1000
    waiting: int = 40
    at_once: int = 2
    keep_s: int = 1800
    left_s: float = 60.0
    remembered: int = 12


def make_limits(upload_mb: int, duration_s: float) -> Limits:
    """Limits that an owner chose. Raises: ConfigError: they let nothing through."""
    if upload_mb < 1:
        raise ConfigError(f"{upload_mb} MB let no video through; choose 1 or more")
    if not 1 <= duration_s <= 86_400:
        raise ConfigError(f"{duration_s:g} s is no useful limit; choose 1 to 86400")
    return Limits(upload_mb=upload_mb, duration_s=duration_s)


def quoted(value: object) -> str:
    """What a visitor gave, as it is told back: long ones are cut short."""
    shown = repr(value)
    return shown if len(shown) <= QUOTED else shown[:QUOTED] + "…"


def check_video(path: PathLike, limits: Limits, name: str) -> VideoInfo:
    """Look at an uploaded file before it is read.

    Args:
        name: what the visitor calls it.
    Raises: VideoError: it is no video, or too long.
    """
    try:
        info = probe(path)
    except VideoError as error:
        raise type(error)(str(error).replace(str(path), name)) from error
    check_duration(info.duration_s or 0.0, limits, name)
    return info


def check_duration(seconds: float, limits: Limits, name: str) -> None:
    """Raises: VideoError: longer than is read here."""
    if seconds > limits.duration_s + 0.5:
        raise VideoError(
            f"{name} is {seconds:.0f} s long, and this page reads up to {limits.duration_s:.0f} s; choose a part of it "
            "with the start and end fields, or use the lipread command, which has no limit"
        )


def check_part(seconds: float, start_s: float, limits: Limits, name: str) -> None:
    """Raises: VideoError: the part from start_s on is longer than is read here."""
    if seconds > limits.duration_s + 0.5:
        raise VideoError(
            f"the part of {name} from {start_s:g} s on is longer than the {limits.duration_s:g} s that this page reads;"
            f" set the end to {start_s + limits.duration_s:g} s or earlier"
        )


def deleted(name: str, limits: Limits) -> str:
    """What is said of an upload that is not there any more."""
    kept = f"{limits.keep_s / 60:g} minutes, and less when the page is left"
    return f"{name} was deleted, since uploads are kept for {kept}; choose it again"


def check_count(count: int, limits: Limits) -> None:
    """Raises: DataError: more files than one batch takes, or none."""
    if not count:
        raise DataError("no video was given; choose video files or a zip of them")
    if count > limits.files:
        raise DataError(f"{count} files are more than the {limits.files} that are read at a time; send fewer")
