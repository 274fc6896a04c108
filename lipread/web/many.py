"""Several uploads, zip archives among them -> one row each as they are read, and one zip with all outputs."""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import shutil
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from lipread.errors import LipreadError, OutputError
from lipread.hearing import Modality
from lipread.inputs import CAPTIONED_SUFFIX, OWN_FILMS, VIDEO_SUFFIXES
from lipread.outputs import write_outputs
from lipread.pipeline import LipReader
from lipread.web.limits import Cancelled, Limits, check_count, deleted
from lipread.web.reading import Reading, Tell, read_video, write_film

CHUNK = 1 << 20
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, ValueError)
RESULT_ZIP, TABLE = "lipread-results.zip", "results"
NAME_BYTES = 200  # of each part of a name: with a number and a suffix it is still a file's name
HEADERS = ("file", "state", "text", "confidence", "seconds", "notes")
WAITING, READING, DONE, EMPTY, FAILED = "waiting", "reading …", "read", "nothing said", "failed"


@dataclass
class Row:
    """One video of a batch.

    Attributes:
        name: unique, a path below the batch, to name the outputs by.
        path: the file; None where it could not be taken.
        notes: what made it hard to read.
    """

    name: str
    path: Path | None
    state: str = WAITING
    text: str = ""
    confidence: float | None = None
    seconds: float | None = None
    notes: str = ""

    def cells(self) -> list[str]:
        """As `HEADERS`."""
        sure = "" if self.confidence is None else f"{self.confidence:.0%}"
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}"
        return [self.name, self.state, self.text, sure, seconds, self.notes]


@dataclass
class Batch:
    """A running batch, so that whoever cancels it still gets what was finished.

    Attributes:
        stop: set by whoever wants no more.
        rows: of all videos.
        over: set when the work has ended, however it did.
    """

    stop: threading.Event
    rows: list[Row] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)
    _kept: Path | None = None  # holds the zip
    _unwanted: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def finished(self) -> list[Row]:
        """Rows of which it is known what became of them."""
        return [row for row in self.rows if row.state not in (WAITING, READING)]

    def keep(self, folder: Path) -> None:
        """Pack what was finished, and put it where it stays when the batch's own folder goes."""
        if any(row.seconds is not None for row in self.finished):
            with self._lock, contextlib.suppress(OSError, OutputError):
                if not self._unwanted:
                    self._kept = Path(tempfile.mkdtemp(prefix="lipread-cancelled-"))
                    shutil.move(pack(folder, self.finished), self._kept / RESULT_ZIP)

    def result(self) -> Path | None:
        """The zip with the outputs of what was finished, or None where nothing was."""
        zipped = self._kept and self._kept / RESULT_ZIP
        return zipped if zipped and zipped.is_file() else None

    def discard(self) -> None:
        """Nobody wants the results any more."""
        with self._lock:
            self._unwanted = True
            if self._kept is not None:
                shutil.rmtree(self._kept, ignore_errors=True)


def unpack(paths: Sequence[str | Path], folder: Path, limits: Limits) -> list[Row]:
    """Uploads -> rows; the videos in zip archives are unpacked into the folder, nothing else of them is.

    Archives that lead out of the folder cannot: what they call their files only names the outputs. What an archive
    says of its size is not believed; unpacking stops at the limit.

    An archive that cannot be unpacked, or to too much, or holds no video, is a row that failed; the others are read.

    Raises: DataError: too many files, or none.
    """
    rows: list[Row] = []
    left = limits.unpacked_mb * CHUNK
    for path in map(Path, paths):
        if not path.exists():
            rows.append(Row(path.name, None, FAILED, deleted(path.name, limits)))
        elif path.suffix.lower() == ".zip" and not zipfile.is_zipfile(path):
            rows.append(Row(path.name, None, FAILED, f"{path.name} is no zip archive, or a damaged one; pack it again"))
        elif zipfile.is_zipfile(path) and path.suffix.lower() not in VIDEO_SUFFIXES:
            left = _unpack_one(path, folder / str(len(rows)), rows, left, limits)
        else:
            rows.append(Row(path.name, path))
        check_count(len(rows), limits)
    check_count(len(rows), limits)
    _name_apart(rows)
    return rows


def _unpack_one(archive: Path, folder: Path, rows: list[Row], left: int, limits: Limits) -> int:
    """Unpack the videos of one archive -> bytes that may still be unpacked; what cannot be unpacked fails alone."""
    first, before, fault = len(rows), left, ""
    try:
        with zipfile.ZipFile(archive) as bundle:
            for item in bundle.infolist():
                name = PurePosixPath(item.filename.replace("\\", "/"))
                if item.is_dir() or not _is_video(name):
                    continue
                check_count(len(rows) + 1, limits)
                row = Row(_shown(name), folder / f"{len(rows)}{name.suffix.lower()}")  # a name of ours
                rows.append(row)
                try:
                    left = _unpack_member(bundle, item, row, left)
                except DAMAGED as error:
                    locked = bool(item.flag_bits & 1)
                    why = "has a password; pack it without one" if locked else f"is damaged ({error}); pack it again"
                    row.path, row.state, row.text = None, FAILED, f"{row.name} {why}"
                if left < 0:
                    fault = f"unpacks to more than the {limits.unpacked_mb} MB that are taken; send fewer videos"
                    break
    except OSError as error:
        fault = f"cannot be unpacked ({error.strerror or error}); send fewer videos"
    except DAMAGED as error:
        fault = f"cannot be unpacked ({error}); pack it again"
    if len(rows) == first:
        fault = fault or "holds no video; pack mp4, mov, webm, … files"
    if not fault:
        return left
    shutil.rmtree(folder, ignore_errors=True)
    rows[first:] = [Row(archive.name, None, FAILED, f"{archive.name} {fault}")]
    return before


def _unpack_member(bundle: zipfile.ZipFile, item: zipfile.ZipInfo, row: Row, left: int) -> int:
    """Write one video -> bytes that may still be unpacked; below 0 it stopped before it wrote too much."""
    assert row.path is not None
    row.path.parent.mkdir(parents=True, exist_ok=True)
    with bundle.open(item) as source, open(row.path, "wb") as out:
        while left >= 0 and (block := source.read(CHUNK)):
            left -= len(block)
            if left >= 0:
                out.write(block)
    return left


def _is_video(name: PurePosixPath) -> bool:
    """Whether a member of an archive is worth unpacking."""
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in name.parts if part not in ("..", "."))
    return name.suffix.lower() in VIDEO_SUFFIXES and not hidden and not name.name.endswith(OWN_FILMS)


def _shown(name: PurePosixPath) -> str:
    """What a member of an archive names its outputs by: without ways up, roots and drives, and not too long."""
    parts = [part.replace(":", "-") for part in name.parts if not re.fullmatch(r"\.\.|/+|[A-Za-z]:", part)]
    *folders, last = parts
    return "/".join([*map(_shortened, folders), _shortened(last.removesuffix(name.suffix)) + name.suffix])


def _shortened(part: str) -> str:
    return part.encode()[:NAME_BYTES].decode(errors="ignore")


def _name_apart(rows: list[Row]) -> None:
    """Give every row a name, and an output, of its own."""
    taken = {TABLE}
    for row in rows:
        path = PurePosixPath(row.name)
        number, name = 2, row.name
        while str(PurePosixPath(name).with_suffix("")) in taken:
            name = str(path.with_name(f"{path.stem}-{number}{path.suffix}"))
            number += 1
        row.name = name
        taken.add(str(PurePosixPath(name).with_suffix("")))


def read_many(
    reader: LipReader,
    rows: list[Row],
    folder: Path,
    *,
    limits: Limits,
    modality: Modality = "auto",
    captioned: bool = False,
    tell: Tell | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Row]:
    """Read one row after the other; each is yielded when it begins and when it is done, whatever became of it.

    Args:
        folder: outputs go to its folder `out`.
        modality: as `LipReader.transcribe`.
        captioned: also write captioned films.
    Raises: Cancelled: `stop` was set.
    """
    (folder / "out").mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        if row.path is None:
            yield row
            continue
        row.state = READING
        yield row

        def heard(share: float, what: str, number: int = number, name: str = row.name) -> None:
            if tell is not None:
                tell((number + share) / len(rows), f"{number + 1} of {len(rows)}, {name}: {what.lower()}")

        work = folder / f"work-{number}"
        work.mkdir()
        try:
            reading = read_video(reader, row.path, work, limits=limits, modality=modality, tell=heard, stop=stop)
            _keep(reading, row, folder / "out", captioned)
        except Cancelled:
            raise
        except LipreadError as error:
            said = str(error).replace(f"{folder / 'out'}{os.sep}", "")
            row.state, row.text = FAILED, said.replace(row.path.name, PurePosixPath(row.name).name)
        except Exception as error:  # a fault of ours in one file must not lose the others
            row.state, row.text = FAILED, unexpected(error)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        yield row


def unexpected(error: Exception) -> str:
    """What a visitor is told of a fault of ours."""
    return f"unexpected {type(error).__name__}; please report this with the file"


def _keep(reading: Reading, row: Row, out: Path, captioned: bool) -> None:
    """Write the outputs of a row under its name, and put what was read into it."""
    transcript = replace(reading.transcript, source=row.name)
    name = str(PurePosixPath(row.name).with_suffix(""))
    write_outputs(transcript, out, name)
    if captioned and reading.info is not None:
        film = write_film(reading, out.parent)
        target = out / (name + CAPTIONED_SUFFIX)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(film, target)
    row.seconds = transcript.duration_s
    row.state = DONE if transcript.text else EMPTY
    row.text = transcript.text or transcript.reason or ""
    row.confidence = transcript.confidence if transcript.words else None
    row.notes = " ".join(transcript.warnings)


def pack(folder: Path, rows: Sequence[Row]) -> Path:
    """All outputs and a table of what became of each file -> one zip. Raises: OutputError: it cannot be written."""
    target = folder / RESULT_ZIP
    lines = ["\t".join(HEADERS)] + ["\t".join(" ".join(cell.split()) for cell in row.cells()) for row in rows]
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bundle:
            bundle.writestr(f"{TABLE}.tsv", "\n".join(lines) + "\n")
            for path in sorted((folder / "out").rglob("*")):
                if path.is_file():
                    stored = zipfile.ZIP_STORED if path.suffix == ".mp4" else zipfile.ZIP_DEFLATED
                    bundle.write(path, path.relative_to(folder / "out").as_posix(), stored)
    except OSError as error:
        raise OutputError(f"{RESULT_ZIP} cannot be written ({error.strerror or error}); free some space") from error
    return target


