"""The GRID corpus's public record -> the corpus, unpacked.

It is record 3625687 at Zenodo, "The Grid Audio-Visual Speech Corpus", given out by its authors under CC BY 4.0: a zip
file of videos per speaker (none of s21), and one of alignments.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lipread.data.download import RemoteFile, fetch, file_size, part_path, read_record, unpack
from lipread.data.prepare import only_run
from lipread.errors import DataError, OutputError
from lipread.files import PathLike, write_text

RECORD = "https://zenodo.org/api/records/3625687"
ALIGNMENTS = "alignments.zip"
VIDEOS = re.compile(r"s[0-9]+")  # .zip
ARCHIVES = "archives"  # sub-folder for what arrives


@dataclass(frozen=True)
class DownloadReport:
    """What a run did: files fetched now, kept from before, and seconds taken."""

    fetched: int
    kept: int
    seconds: float


def download_grid(
    folder: PathLike,
    *,
    speakers: Collection[str] | None = None,
    address: str = RECORD,
    keep_archives: bool = True,
    show: bool = True,
    pause_s: float = 1.0,
) -> DownloadReport:
    """Fetch and unpack the GRID corpus; what is there already is kept, so a run can be broken off and started again.

    Args:
        folder: where s1 to s34 and alignments are to lie; the files as they arrive lie in `archives` in it.
        speakers: only these, such as ["s1", "s2"]; the record has no video of s21.
        address: the record's description, here or at a mirror.
        keep_archives: False removes each archive when it has been unpacked.
        show: progress bar on stderr.
        pause_s: before the first repetition, doubled each time.
    Returns: what was done in this run.
    Raises:
        DataError: the record cannot be reached or lacks a speaker, or what arrives is not what it promises.
        OutputError: there is not enough room, or `folder` cannot be written.
    """
    began, root = time.monotonic(), Path(folder)
    files = _chosen(read_record(address, pause_s=pause_s), speakers, address)
    archives = root / ARCHIVES
    try:
        archives.mkdir(parents=True, exist_ok=True)
        (root / ".lock").touch()
    except OSError as error:
        raise OutputError(f"{root} cannot be written ({error.strerror}); choose another folder") from error
    with only_run(root):
        todo = [file for file in files if not _is_done(archives, file)]
        _check_room(root, archives, todo)
        fetched = 0
        with _bar(sum(file.size for file in todo), show) as advance:
            for file in todo:
                fetched += fetch(file, archives / file.name, advance=advance, pause_s=pause_s)
                unpack(archives / file.name, root)
                write_text(_mark(archives, file), file.checksum)
                if not keep_archives:
                    (archives / file.name).unlink()
    return DownloadReport(fetched, len(files) - fetched, time.monotonic() - began)


def _chosen(files: list[RemoteFile], speakers: Collection[str] | None, address: str) -> list[RemoteFile]:
    videos = {file.name.removesuffix(".zip").lower(): file for file in files if file.name.endswith(".zip")}
    videos = {name: file for name, file in videos.items() if VIDEOS.fullmatch(name)}
    wanted = [each.strip().lower() for each in speakers] if speakers is not None else sorted(videos, key=_number)
    for each in wanted:
        if each not in videos:
            there = ", ".join(sorted(videos, key=_number)) or "none"
            raise DataError(f"{address}: the record has no video of speaker {each!r}; it has {there}")
    return [file for file in files if file.name == ALIGNMENTS] + [videos[each] for each in dict.fromkeys(wanted)]


def _number(speaker: str) -> int:
    return int(speaker[1:])


def _mark(archives: Path, file: RemoteFile) -> Path:
    return archives / f"{file.name}.done"


def _is_done(archives: Path, file: RemoteFile) -> bool:
    try:
        return _mark(archives, file).read_text(encoding="utf-8") == file.checksum
    except OSError:
        return False


def _check_room(root: Path, archives: Path, todo: list[RemoteFile]) -> None:
    """Each file needs its size twice: as it arrives, and unpacked (video hardly packs)."""
    places = [(archives / file.name, file.size) for file in todo]
    there = sum(min(size, max(file_size(place), file_size(part_path(place)))) for place, size in places)
    needed, free = 2 * sum(file.size for file in todo) - there, shutil.disk_usage(root).free
    if needed > free:
        raise OutputError(
            f"{root}: {needed / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; free some space, choose fewer "
            "speakers or another folder"
        )


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from lipread.terminal import err

    columns = TextColumn("fetching"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True, disable=not (show and err.is_terminal)) as progress:
        task = progress.add_task("fetching", total=total)
        yield lambda count: progress.advance(task, count)
