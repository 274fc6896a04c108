"""Files and folders -> transcripts beside one another in an output folder; one failing file does not stop the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lipread.errors import DataError, LipreadError
from lipread.files import PathLike, inside
from lipread.outputs import USUAL_FORMATS, WRITERS, write_outputs
from lipread.values import Transcript

if TYPE_CHECKING:
    from lipread.pipeline import LipReader, Progress

VIDEO_SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"}
    | {".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"}
)
CAPTIONED_SUFFIX = ".captioned.mp4"  # what we write ourselves is not read again


@dataclass(frozen=True)
class Job:
    """One video to read, and the name of its outputs: a path without suffix below the output folder."""

    source: Path
    name: str


@dataclass(frozen=True)
class Failure:
    """A path that could not be read, and why."""

    source: str
    message: str


@dataclass(frozen=True)
class Done:
    """A video that was read, and the files that were written (none where they were there already)."""

    job: Job
    transcript: Transcript
    written: tuple[Path, ...]


@dataclass
class BatchReport:
    """What became of every path."""

    done: list[Done] = field(default_factory=list)
    skipped: list[Job] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        """0 when all went well, 1 when a file failed, 130 after Ctrl-C."""
        return 130 if self.interrupted else 1 if self.failures else 0


def collect(paths: Iterable[PathLike]) -> tuple[list[Job], list[Failure]]:
    """Find the videos.

    Args:
        paths: files (taken whatever their suffix) and folders (searched in depth for `VIDEO_SUFFIXES`; hidden ones
            are left out).
    Returns: jobs with distinct names, a folder's ones by their path inside it; and the paths that are no use.
    """
    found: list[tuple[Path, Path]] = []  # (video, its path below the folder that was given)
    failures: list[Failure] = []
    for given in map(Path, paths):
        if given.is_dir():
            videos = _videos_below(given, failures)
            found += [(video, video.relative_to(given)) for video in videos]
            if not videos:
                failures.append(Failure(str(given), f"{given}: the folder holds no video; give one with mp4, mov, ..."))
        elif given.exists():
            found.append((given, Path(given.name)))
        else:
            failures.append(Failure(str(given), f"{given}: there is no such file or folder; check the path"))
    return _named(found), failures


def transcribe_files(
    reader: LipReader,
    jobs: Sequence[Job],
    folder: PathLike,
    *,
    formats: Sequence[str] = USUAL_FORMATS,
    captioned: bool = False,
    speaker: str | int = "auto",
    skip_existing: bool = False,
    progress: Progress | None = None,
    finished: Callable[[Job, Done | Failure | None], None] | None = None,
) -> BatchReport:
    """Read every video and write its files as soon as it is read.

    Args:
        reader: does the reading.
        jobs: as `collect` gives them.
        folder: where to write; made if it is not there.
        formats: keys of `WRITERS`.
        captioned: also write NAME.captioned.mp4.
        speaker: as `LipReader.transcribe`.
        skip_existing: leave out videos whose files are all there.
        progress: is told how far the current video is.
        finished: is told what became of each video (None: it was skipped).
    Returns: the report. A video without any face is written with its reason and counts as a failure. Ctrl-C ends the
        work early and is in the report.
    """
    report = BatchReport()
    try:
        for job in jobs:
            outcome: Done | Failure | None
            if skip_existing and _all_there(job, folder, formats, captioned):
                outcome = None
                report.skipped.append(job)
            else:
                outcome = _one(reader, job, folder, formats, captioned, speaker, progress)
                if isinstance(outcome, Failure):
                    report.failures.append(outcome)
                else:
                    report.done.append(outcome)
                    if outcome.transcript.face_share == 0.0:
                        report.failures.append(Failure(str(job.source), f"{job.source}: {outcome.transcript.reason}"))
            if finished:
                finished(job, outcome)
    except KeyboardInterrupt:
        report.interrupted = True
    return report


def _one(
    reader: LipReader,
    job: Job,
    folder: PathLike,
    formats: Sequence[str],
    captioned: bool,
    speaker: str | int,
    progress: Progress | None,
) -> Done | Failure:
    try:
        transcript = reader.transcribe(job.source, speaker=speaker, progress=progress)
        written = write_outputs(transcript, folder, job.name, formats)
        if captioned:
            from lipread.captions import write_captioned_video

            film = inside(folder, job.name + CAPTIONED_SUFFIX)
            write_captioned_video(job.source, transcript, film)
            written = (*written, film)
        return Done(job, transcript, written)
    except LipreadError as error:
        message = str(error)
    except Exception as error:  # a fault of ours in one file must not lose the others
        message = f"unexpected {type(error).__name__}: {error}; please report this with the file"
    named = message if str(job.source) in message else f"{job.source}: {message}"
    return Failure(str(job.source), named)


def _all_there(job: Job, folder: PathLike, formats: Sequence[str], captioned: bool) -> bool:
    names = [f"{job.name}.{WRITERS[form].suffix}" for form in formats]
    names += [job.name + CAPTIONED_SUFFIX] if captioned else []
    return all((Path(folder) / name).exists() for name in names)


def _videos_below(folder: Path, failures: list[Failure]) -> list[Path]:
    """Videos in a folder and below, in order; folders that may not be opened go to `failures`."""

    def refused(error: OSError) -> None:
        where = str(error.filename)
        failures.append(Failure(where, f"{where}: cannot be opened ({error.strerror}); check its permissions"))

    videos = []
    for parent, folders, files in os.walk(folder, onerror=refused):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        videos += [
            Path(parent) / name
            for name in sorted(files)
            if Path(name).suffix.lower() in VIDEO_SUFFIXES
            and not name.startswith(".")
            and not name.endswith(CAPTIONED_SUFFIX)
        ]
    return videos


def _named(found: Sequence[tuple[Path, Path]]) -> list[Job]:
    """Give each video an output name of its own: without suffix, with it where two would meet, else with a number."""
    stems = [str(below.with_suffix("")) if below.suffix else str(below) for _, below in found]
    taken: set[str] = set()
    jobs = []
    for (video, below), stem in zip(found, stems, strict=True):
        name = stem if stems.count(stem) == 1 else str(below)
        number = 2
        while name in taken:
            name = f"{below}-{number}"
            number += 1
        taken.add(name)
        jobs.append(Job(video, name))
    return jobs


def require_jobs(jobs: Sequence[Job], failures: Sequence[Failure]) -> None:
    """Refuse work without any video. Raises: DataError."""
    if not jobs:
        raise DataError("; ".join(each.message for each in failures) or "no video was given; give files or folders")
