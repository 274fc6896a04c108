"""The prepared folder: what lies where in it, and its tables and files, checked as they are read.

Shapes: T frames at 25 Hz, P = 9 lip points, N = 640 T samples.

    manifest.tsv     clip speaker split source streams frames text
    words.tsv        clip start_s end_s word
    report.tsv       clip reason kept: what was left out or is doubtful
    crops/CLIP.mp4   96 x 96 grey, at most 60 KB for 3 s
    points/CLIP.npy  float32 (T, 9, 2), NaN where no face
    sound/CLIP.m4a   mono AAC, 16 kHz
"""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lipread.errors import DataError, LipreadError
from lipread.files import PathLike, write_text, written_whole
from lipread.values import LIP_POINTS, Array, MouthTrack

MANIFEST_COLUMNS = ("clip", "speaker", "split", "source", "streams", "frames", "text")
WORD_COLUMNS = ("clip", "start_s", "end_s", "word")
REPORT_COLUMNS = ("clip", "reason", "kept")
STREAM_SUFFIXES = {"crops": "mp4", "points": "npy", "sound": "m4a"}
SILENCES = frozenset({"sil", "sp", ""})  # in place of words, as GRID writes them


def stream_path(folder: PathLike, stream: str, clip: str) -> Path:
    """Where a stream of a clip lies."""
    return Path(folder) / stream / f"{clip}.{STREAM_SUFFIXES[stream]}"


def write_table(path: Path, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Write tab-separated text whole or not at all; white space inside a value becomes one space."""
    lines = ("\t".join(" ".join(str(value).split()) for value in row) for row in (columns, *rows))
    write_text(path, "".join(f"{line}\n" for line in lines))


def table_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a table, each with its place for sentences about it; cells without the white space around them.

    Cells are separated by tabs, and quotes mean nothing.

    Args:
        columns: that it must have; cells of others may be missing at a line's end.
    Raises: DataError: it is no table, a column is absent, or a line ends before one of these columns.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            if missing := [column for column in columns if column not in (reader.fieldnames or ())]:
                raise DataError(
                    f"{path}: has no column {', '.join(missing)}; it must have {', '.join(columns)}, separated by tabs"
                )
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if any(row[column] is None for column in columns):
                    raise DataError(f"{place}: fewer cells than in the heading; complete the line or delete it")
                yield place, {key: cell.strip() for key, cell in row.items() if isinstance(cell, str)}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{path}: cannot be read ({reason}); it must be UTF-8 text, cells separated by tabs") from error


def write_points(path: Path, points: Array) -> None:
    """Write lip points (T, P, 2) as float32, whole or not at all. Raises: OutputError."""
    with written_whole(path) as temporary, open(temporary, "wb") as file:
        np.save(file, np.asarray(points, np.float32))


def read_points(folder: PathLike, clip: str, frames: int) -> Array:
    """Lip points of a clip, float32 (T, P, 2). Raises: DataError: absent, damaged, or of another number of frames."""
    path, wanted = stream_path(folder, "points", clip), (frames, len(LIP_POINTS), 2)
    try:
        points = np.asarray(np.load(path, allow_pickle=False), np.float32)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: lip points cannot be read ({error}); prepare that clip again") from error
    if points.shape != wanted:
        raise DataError(f"{path}: lip points of shape {points.shape}, wanted {wanted}; prepare that clip again")
    return points


def whole_crops(path: Path, frames: int) -> Array:
    """Crops of a clip, uint8 (T, S, S). Raises: DataError: absent, damaged, or of another number of frames."""
    from lipread.mouth import read_crops

    crops = read_crops(path)
    if len(crops) != frames:
        raise DataError(f"{path}: {len(crops)} frames, the manifest says {frames}; prepare that clip again")
    return crops


def read_sound(path: Path, frames: int) -> Array:
    """The sound of a clip in step with its frames, (N,). Raises: DataError: absent or damaged."""
    from lipread.audio import read_audio

    try:
        sound = read_audio(path, frames=frames)
    except LipreadError as error:
        raise DataError(f"{path}: {error}; prepare that clip again") from error
    if sound is None:
        raise DataError(f"{path}: no sound in it; prepare that clip again")
    return sound


def read_track(folder: PathLike, clip: str) -> MouthTrack:
    """The mouth track of a clip.

    Raises: DataError: its crops or points are absent, damaged, or of different lengths.
    """
    from lipread.mouth import read_crops

    crops = read_crops(stream_path(folder, "crops", clip))
    points = read_points(folder, clip, len(crops))
    return MouthTrack(crops=crops, points=points, present=np.isfinite(points).all(axis=(1, 2)))
