"""Clips with known words -> a prepared folder (lipread/prepared.py): mouth crops, lip points, sound, and tables.

Shapes: T frames.

A clip is done when its file in records/ is there, which is written last; the tables are made from the records. So a
run that was killed at any moment can simply be started again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import cv2

from lipread.alphabet import Alphabet
from lipread.audio import read_audio, write_audio
from lipread.errors import DataError, LipreadError, MissingDependencyError, OutputError
from lipread.files import write_text
from lipread.landmarks import FaceMesh
from lipread.mouth import MouthCropper, write_crops_mp4
from lipread.prepared import (
    MANIFEST_COLUMNS,
    REPORT_COLUMNS,
    SILENCES,
    WORD_COLUMNS,
    stream_path,
    write_points,
    write_table,
)
from lipread.values import FRAME_RATE_HZ, Array, MouthTrack
from lipread.video import read_frames

CROPS_BYTES_PER_S = 20_000
QUALITIES = (12, 16, 20, 24, 28)  # x264 crf, tried in turn until a film is small enough
MIN_FRAMES = 10  # shorter is not a sentence
FLAT_CONTRAST = 4.0  # a picture whose grey values deviate by less than this shows nothing
LATE_S = 0.12  # word times may go this far beyond the last frame

GONE = "its video is not there"
LONGEST_NAME = 255 - len(".json")  # bytes of a clip's name, for file systems allow 255 with the suffix

Times = tuple[tuple[float, float, str], ...]  # start_s, end_s, word or silence


class Outcome(Enum):
    """What became of a clip in a run."""

    PREPARED = "prepared"
    KEPT = "kept"
    LEFT_OUT = "left out"


@dataclass(frozen=True)
class ClipJob:
    """A clip to prepare: its video and what a corpus says about it.

    Attributes:
        name: of the prepared files.
        video: the file; None where the corpus names one that is not there.
        words: start_s, end_s, word, silences included; may be empty.
        frames: as the corpus states; None where it does not.
        doubts: sentences about what the corpus says.
    """

    name: str
    speaker: str
    split: str
    text: str
    video: Path | None
    words: Times = ()
    frames: int | None = None
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Seen:
    """What a video turned out to be: `problem` says why the clip is left out, `doubts` what else is odd."""

    size: int
    frames: int = 0
    streams: str = ""
    problem: str = ""
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class PrepareReport:
    """What a run did: clips prepared now, kept from before, left out (report.tsv says why), and seconds taken."""

    prepared: int
    kept: int
    left_out: int
    seconds: float


@dataclass
class Record:
    """What is known of a clip, or of a file of clips, as kept in records/."""

    clips: list[dict[str, Any]] = field(default_factory=list)  # the manifest's columns, and `words`
    report: list[tuple[str, str, str]] = field(default_factory=list)  # clip, reason, yes or no: kept
    seen: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it whole or not at all, unless the file says the same already."""
        text = json.dumps(asdict(self))
        with contextlib.suppress(OSError):
            if path.read_bytes() == text.encode():
                return
        write_text(path, text)

    @classmethod
    def read(cls, path: Path) -> Record | None:
        """The record, or None where there is none that can be read."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


def open_folder(out: Path) -> None:
    """Make the folders.

    Raises: DataError: `out` holds prepared clips that have no records. OutputError: it cannot be written.
    """
    if (out / "manifest.tsv").exists() and not (out / "records").is_dir():
        raise DataError(f"{out} holds clips that were prepared in another way; choose another folder")
    try:
        for name in ("crops", "points", "sound", "records"):
            (out / name).mkdir(parents=True, exist_ok=True)
        (out / ".lock").touch()
    except OSError as error:
        raise OutputError(f"{out} cannot be written ({error.strerror}); choose another folder") from error


def is_done(job: ClipJob, out: Path) -> bool:
    """Whether a clip is there from an earlier run, from the same video, or one that is gone.

    Its words and split are brought up to date, also where the video is another one now.
    """
    seen = seen_before(job.name, out)
    if seen is None:
        return False
    record = described(job if job.video else _doubtful(job, GONE), seen)
    record.write(record_path(out, job.name))
    return bool(record.clips) and (job.video is None or job.video.stat().st_size == seen.size)


def seen_before(name: str, out: Path) -> Seen | None:
    """What an earlier run saw in the video of a clip that it prepared; None where it did not, or a file is lost."""
    record = Record.read(record_path(out, name)) or Record()
    try:
        seen = Seen(**{**record.seen, "doubts": tuple(record.seen["doubts"])})
    except (KeyError, TypeError):  # of another version
        return None
    return seen if seen.streams and has_streams(out, name, seen.streams) else None


def name_problem(name: str) -> str:
    """Why files and lines of tables cannot bear the name of a clip, or nothing."""
    if not name or name.startswith(".") or set(name) & set("/\\\0"):
        return "is no plain file name"
    if name != " ".join(name.split()):  # `write_table` would change it
        return "has white space other than single spaces inside"
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} bytes"
    return ""


def has_streams(out: Path, name: str, streams: str) -> bool:
    """Whether all files of a clip are there; `streams` as in the manifest."""
    return all(stream_path(out, stream, name).exists() for stream in streams.split(","))


def prepare_clip(task: tuple[ClipJob, Path]) -> Outcome:
    """Prepare one clip and write its record.

    Raises: OutputError, MissingDependencyError: what would hold for every other clip as well.
    """
    cv2.setNumThreads(1)
    job, out = task
    if job.video is None:
        return give_up(job, out, GONE)
    try:
        seen = _see(job, job.video, out)
    except (OutputError, MissingDependencyError):
        raise
    except LipreadError as error:
        return give_up(job, out, f"unreadable: {error}")
    except Exception as error:  # a fault of ours in one clip must not lose the others
        return give_up(job, out, f"unexpected {type(error).__name__}: {error}; please report this with the clip")
    record = described(job, seen)
    record.write(record_path(out, job.name))
    return Outcome.PREPARED if record.clips else Outcome.LEFT_OUT


def give_up(job: ClipJob, out: Path, why: str) -> Outcome:
    """Keep a clip whose video cannot be read as an earlier run prepared it, or leave it out; the record says why."""
    seen = seen_before(job.name, out)
    record = described(_doubtful(job, why), seen) if seen else described(job, Seen(0, problem=why))
    record.write(record_path(out, job.name))
    return Outcome.KEPT if record.clips else Outcome.LEFT_OUT


def _doubtful(job: ClipJob, why: str) -> ClipJob:
    return dataclasses.replace(job, doubts=(*job.doubts, f"{why}; kept as it was prepared before"))


def _see(job: ClipJob, video: Path, out: Path) -> Seen:
    size = video.stat().st_size
    if problem := _text_problem(job):
        return Seen(size, problem=problem)
    cropper, flat = MouthCropper(), 0
    with read_frames(video) as frames, FaceMesh(1) as mesh:
        for frame in frames:
            found = mesh.detect(frame.image)
            cropper.push(frame.image, found[0] if len(found) else None)
            flat += float(frame.image.std(axis=(0, 1)).max()) < FLAT_CONTRAST
        doubts = list(frames.warnings)
    track = cropper.finish()
    if problem := _picture_problem(track, flat, len(job.text.split())):
        return Seen(size, len(track.points), problem=problem)
    if flat:
        doubts.append(f"{flat} of {len(track.points)} frames are of one grey")
    if absent := int((~track.present).sum()):
        doubts.append(f"{absent} of {len(track.points)} frames without a face")
    record_path(out, job.name).unlink(missing_ok=True)  # from here on the files are not those that it speaks of
    streams = "crops,points" + (",sound" if _write_sound(video, out, job.name, len(track.points), doubts) else "")
    write_small_crops(stream_path(out, "crops", job.name), track.crops)
    write_points(stream_path(out, "points", job.name), track.points)
    return Seen(size, len(track.points), streams, doubts=tuple(doubts))


def _text_problem(job: ClipJob) -> str:
    if not job.text.split():
        return "no text"
    try:
        Alphabet.english().normalise(job.text)
    except DataError as error:
        return str(error)
    return ""


def _picture_problem(track: MouthTrack, flat: int, words: int) -> str:
    frames = len(track.points)
    if flat > frames / 2:
        return f"grey or black picture in {flat} of {frames} frames"
    if not track.present.any():
        return "no face"
    if track.face_share < 0.5:
        return f"no face in {int((~track.present).sum())} of {frames} frames"
    return length_problem(frames, words)


def length_problem(frames: int, words: int) -> str:
    """Why a clip is too short for its words, or nothing."""
    least = max(MIN_FRAMES, 2 * words)
    return f"too short: {frames} frames for {words} words, at least {least} are needed" if frames < least else ""


def described(job: ClipJob, seen: Seen) -> Record:
    """Video and labels together: the record of a clip."""
    facts = {**asdict(seen), "doubts": list(seen.doubts)}
    if problem := seen.problem or _text_problem(job):
        return Record([], [(job.name, problem, "no")], facts)
    text = Alphabet.english().normalise(job.text)
    doubts, words = [*job.doubts, *seen.doubts], job.words
    spoken = " ".join(word for _, _, word in words if word not in SILENCES)
    if words and spoken != text:
        doubts.append(f"words do not match the text: {spoken!r}, {text!r}; the word times are left out")
        words = ()
    if words and words[-1][1] > seen.frames / FRAME_RATE_HZ + LATE_S and words[-1][2] not in SILENCES:
        doubts.append(f"the last word ends at {words[-1][1]:.2f} s, the picture at {seen.frames / FRAME_RATE_HZ:.2f} s")
    if job.frames is not None and job.frames != seen.frames:
        doubts.append(f"frame count differs: {seen.frames}, {job.frames} expected")
    row = {"clip": job.name, "speaker": job.speaker, "split": job.split, "source": "real", "streams": seen.streams,
           "frames": seen.frames, "text": text, "words": [list(word) for word in words]}
    return Record([row], [(job.name, doubt, "yes") for doubt in doubts], facts)


def _write_sound(video: Path, out: Path, name: str, frames: int, doubts: list[str]) -> bool:
    try:
        samples = read_audio(video, frames=frames, warnings=doubts)
    except LipreadError as error:
        doubts.append(f"sound left out: {error}")
        return False
    if samples is None or not len(samples):
        return False
    write_audio(stream_path(out, "sound", name), samples)
    return True


def write_small_crops(path: Path, crops: Array) -> None:
    """Write crops (T, 96, 96) in the best quality that keeps 3 s within 60 KB. Raises: OutputError."""
    most = CROPS_BYTES_PER_S * max(len(crops) / FRAME_RATE_HZ, 1.0)
    for quality in QUALITIES:
        write_crops_mp4(path, crops, crf=quality)
        if path.stat().st_size <= most:
            return


def record_path(out: Path, name: str) -> Path:
    """Where the record of a clip, or of a file of clips, lies."""
    return out / "records" / f"{name}.json"


def write_tables(out: Path) -> int:
    """Make manifest.tsv, words.tsv and report.tsv from the records; returns how many clips they leave out."""
    records = [Record.read(path) or Record() for path in sorted((out / "records").glob("*.json"))]
    rows = sorted((row for record in records for row in record.clips), key=lambda row: str(row["clip"]))
    report = sorted({tuple(entry) for record in records for entry in record.report})
    write_table(out / "manifest.tsv", MANIFEST_COLUMNS, ([row[key] for key in MANIFEST_COLUMNS] for row in rows))
    words = ([row["clip"], f"{start:.3f}", f"{end:.3f}", word] for row in rows for start, end, word in row["words"])
    write_table(out / "words.tsv", WORD_COLUMNS, words)
    write_table(out / "report.tsv", REPORT_COLUMNS, report)
    return sum(kept == "no" for _, _, kept in report)


@contextlib.contextmanager
def only_run(out: Path) -> Iterator[None]:
    """Keep a second run away from a folder while the block lasts, and remove what a killed one left half-written.

    Raises: DataError: another run is at work there.
    """
    with open(out / ".lock", "w", encoding="utf-8") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the process, however that ends
        except BlockingIOError as error:
            raise DataError(f"{out}: another run is at work there; wait for it to end") from error
        except (ImportError, OSError):  # Windows, or a file system without locks: runs are not kept apart
            pass
        for part in [*out.glob(".*.part"), *out.glob("*/.*.part")]:
            part.unlink(missing_ok=True)
        yield
