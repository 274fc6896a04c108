"""What a user names -> videos to read, each with an output name of its own that cannot lead out of the output folder.

Files, folders, quoted patterns and lists of paths are taken. The output tree mirrors the input: a folder's videos are
named by their path below the folder, a pattern's by their path below its part without wildcards, a list's as written.
A URL such as s3://bucket/folder stands for a folder, a file or a pattern of another file system.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lipread.errors import DataError, LipreadError
from lipread.files import PathLike, require_path
from lipread.outputs import WRITERS
from lipread.remote import is_url, videos_at
from lipread.run_record import RECORD_NAME

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
CAPTIONED_SUFFIX = ".captioned.mp4"
CROPS_SUFFIX = ".crops.mp4"
OWN_FILMS = (CAPTIONED_SUFFIX, CROPS_SUFFIX)  # what we write ourselves is not read again
LIVE_SUFFIX = ".live"  # of what is said in a video while it is being read
STDIN = "-"
MAX_PART_BYTES = 200  # of one part of an output name; file systems take 255 with all suffixes
_WILDCARDS = frozenset("*?[")
_OUTPUT_SUFFIXES = (*(f".{writer.suffix}" for writer in WRITERS.values()), CAPTIONED_SUFFIX, LIVE_SUFFIX)


@dataclass(frozen=True)
class Job:
    """One video to read, and the name of its outputs: a path without suffix below the output folder."""

    source: Path | str  # str: a URL
    name: str

    @property
    def key(self) -> str:
        """What tells inputs apart: the absolute path, or the URL."""
        return key_of(self.source)


def key_of(source: Path | str) -> str:
    """As `Job.key`."""
    return source if isinstance(source, str) and is_url(source) else os.path.abspath(source)


@dataclass(frozen=True)
class Failure:
    """A path that could not be read, and why.

    Attributes:
        may_come: no video is there now, but one may still appear, which is what --watch waits for.
        took_s, device: how long it was tried and on what; None: not at all, or the process that did so is gone.
    """

    source: str
    message: str
    may_come: bool = False
    took_s: float | None = None
    device: str | None = None


def collect(
    paths: Iterable[PathLike], *, listed: Iterable[PathLike] = (), known: Mapping[str, str] | None = None
) -> tuple[list[Job], list[Failure]]:
    """Find the videos.

    Args:
        paths: files (taken whatever their suffix), folders (searched in depth for `VIDEO_SUFFIXES`; hidden ones and
            links to folders are left out) and patterns with *, ?, [..] and ** (any depth).
        listed: the same from a list: files are named by their whole path as it is written there.
        known: names that were given to inputs before, by `Job.key`: they keep them.
    Returns: jobs with distinct names, each file once; and the paths that are no use.
    Raises: ConfigError: a path is empty.
    """
    failures: list[Failure] = []
    found: dict[str, tuple[Path | str, Path]] = {}  # key -> (video, its path for the outputs)
    for given, whole in [(each, False) for each in paths] + [(each, True) for each in listed]:
        require_path(given)
        at = _found_remotely(str(given), failures) if is_url(given) else _found_at(Path(given), whole, failures)
        for video, below in at:
            found.setdefault(key_of(video), (video, below))
    return _named(found, known or {}), failures


def read_list(source: PathLike) -> list[Path | str]:
    """Paths from a file, or from the standard input where it is called -: one a line, or ended by zero bytes.

    Raises: DataError: the file cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if os.fspath(source) == STDIN else Path(source).read_bytes()
    except OSError as error:
        raise DataError(f"{source}: the list cannot be read ({error.strerror or error}); give a text file") from error
    lines = content.split(b"\0") if b"\0" in content else content.removeprefix(b"\xef\xbb\xbf").splitlines()
    named = [os.fsdecode(line) for line in lines if line.strip()]
    return [each if is_url(each) else Path(each) for each in named]


def require_jobs(jobs: Sequence[Job], failures: Sequence[Failure]) -> None:
    """Refuse work without any video. Raises: DataError."""
    if not jobs:
        raise DataError("; ".join(each.message for each in failures) or "no video was given; give files or folders")


def _found_at(given: Path, whole: bool, failures: list[Failure]) -> Iterator[tuple[Path, Path]]:
    """(video, its path for the outputs) of each video that was meant; what is no use goes to `failures`."""
    try:
        is_folder, is_there = given.is_dir(), given.exists() or given.is_symlink()
    except (OSError, ValueError) as error:  # a folder on the way is closed, the name is too long or has a zero byte
        why = getattr(error, "strerror", None) or error
        failures.append(Failure(str(given), f"{given}: cannot be reached ({why}); check the path and its permissions"))
        return
    if is_there and not is_folder:
        yield given, given if whole else Path(given.name)
        return
    pattern = not is_there and not _WILDCARDS.isdisjoint(str(given))
    videos = _matching(given) if pattern else [(each, given) for each in _videos_below(given, failures)]
    for video, root in videos:
        yield video, video if whole else video.relative_to(root)
    if pattern and not videos:
        why = f"{given}: no video matches this pattern; check it, and quote it"
        failures.append(Failure(str(given), why, may_come=True))
    elif is_folder and not videos:
        why = f"{given}: the folder holds no video; give one, or name sound files"
        failures.append(Failure(str(given), why, may_come=True))
    elif not is_there and not pattern:
        failures.append(Failure(str(given), f"{given}: there is no such file or folder; check the path"))


def _found_remotely(url: str, failures: list[Failure]) -> Iterator[tuple[str, Path]]:
    """As `_found_at`, of a URL."""
    try:
        videos = videos_at(url, _is_video)
    except LipreadError as error:
        failures.append(Failure(url, str(error)))
        return
    if not videos:
        failures.append(Failure(url, f"{url}: there is no video; check the address", may_come=True))
    for video, below in videos:
        yield video, Path(below)


def _is_video(name: str, pattern: str = "") -> bool:
    """Whether a file is meant: one with a video's suffix, or any where the pattern that it matches ends in a suffix."""
    suffix = os.path.splitext(pattern)[1]
    any_suffix = bool(suffix) and _WILDCARDS.isdisjoint(suffix)
    usual = os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES and not name.startswith(".")
    return (any_suffix or usual) and not name.endswith(OWN_FILMS)


def _videos_below(folder: Path, failures: list[Failure]) -> list[Path]:
    """Videos in a folder and below, in order; folders that may not be opened go to `failures`."""

    def refused(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):  # else it went away just now
            where = str(error.filename)
            failures.append(Failure(where, f"{where}: cannot be opened ({error.strerror}); check its permissions"))

    videos = []
    for parent, folders, files in os.walk(folder, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        videos += [Path(parent) / name for name in sorted(files) if _is_video(name)]
    return videos


def _matching(pattern: Path) -> list[tuple[Path, Path]]:
    """(file, the pattern's part without wildcards) of the files that match, in order."""
    parts = [part if part == "**" else re.sub(r"\*\*+", "*", part) for part in pattern.parts]
    first = next(index for index, part in enumerate(parts) if not _WILDCARDS.isdisjoint(part))
    root, wild = Path(*parts[:first]), parts[first:]
    if wild[-1] == "**":
        wild = [*wild, "*"]
    hidden = any(part.startswith(".") for part in wild)
    hits = []
    for path in sorted(root.glob(str(Path(*wild)))):
        seen = hidden or not any(part.startswith(".") for part in path.relative_to(root).parts)
        if seen and _is_video(path.name, wild[-1]):
            try:
                if not path.is_dir():
                    hits.append((path, root))
            except OSError:  # nothing is known of it: reading will say why
                hits.append((path, root))
    return hits


def _named(found: Mapping[str, tuple[Path | str, Path]], known: Mapping[str, str]) -> list[Job]:
    """Give each video an output name of its own: the one it had, else without suffix, with it, or with a number."""
    stems = {key: _safe(below, keep_suffix=False) for key, (_, below) in found.items()}
    fulls = {key: _safe(below, keep_suffix=True) for key, (_, below) in found.items()}
    counts = Counter(_folded(stem) for stem in stems.values())
    names, taken = {}, set()
    for key, name in known.items():  # also of inputs that are not read now: their outputs stay theirs
        there = key in found or is_url(key) or os.path.lexists(key)
        if there and _folded(name) not in taken and name == _safe(Path(name)):
            names[key] = name
            taken.add(_folded(name))
    for key in found:
        if key in names:
            continue
        alone = counts[_folded(stems[key])] == 1 and _folded(stems[key]) not in taken
        names[key], number = stems[key] if alone else fulls[key], 2
        while _folded(names[key]) in taken:
            names[key] = f"{fulls[key]}-{number}"
            number += 1
        taken.add(_folded(names[key]))
    return [Job(video, names[key]) for key, (video, _) in found.items()]


def _folded(name: str) -> str:
    """Names that are one on some file system are equal: Mac and Windows tell neither cases nor accents' spellings."""
    return unicodedata.normalize("NFC", name).casefold()


def _safe(below: Path, *, keep_suffix: bool = True) -> str:
    """A path -> an output name: relative, without "..", no part too long, no folder called as a file of ours may be."""
    *folders, last = [part for part in below.parts if part not in (below.anchor, "..", ".")] or ["video"]
    last = last if keep_suffix else os.path.splitext(last)[0]
    ours = (*_OUTPUT_SUFFIXES, RECORD_NAME)
    folders = [part + "_" if part.lower().endswith(ours) else part for part in folders]
    return "/".join(_shortened(part) for part in [*folders, last])


def _shortened(part: str) -> str:
    coded = os.fsencode(part)
    if len(coded) <= MAX_PART_BYTES:
        return part
    kept = coded[: MAX_PART_BYTES - 9].decode("utf-8", "ignore")
    return f"{kept}-{hashlib.sha256(coded).hexdigest()[:8]}"
