"""Videos and outputs on any file system that fsspec knows, named by URLs such as s3://bucket/folder.

A video is copied to this machine to be read, and its outputs are copied back when all of them are written. Local paths
take the same way without any copy.
"""

from __future__ import annotations

import contextlib
import datetime
import glob
import os
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lipread.errors import ConfigError, LipreadError, OutputError, VideoError
from lipread.files import PathLike, process_runs
from lipread.run_record import RECORD_NAME, FileState, RunRecord

WRITE_BACK_EVERY_S = 10.0  # what a killed run did since then is done again
_WILDCARDS = frozenset("*?[")
_SCRATCH = f"lipread-{socket.gethostname()}-"  # machines may share a folder for temporary files


def keep_scratch_apart() -> None:
    """Have this process make its temporary files in a folder of its own, for it may be killed at any moment."""
    folder = Path(tempfile.gettempdir()) / f"{_SCRATCH}{os.getpid()}"
    folder.mkdir(exist_ok=True)
    tempfile.tempdir = str(folder)


def sweep_scratch() -> None:
    """Delete the folders of `keep_scratch_apart` whose processes are gone: a fetched video may lie there."""
    for folder in Path(tempfile.gettempdir()).glob(f"{glob.escape(_SCRATCH)}*"):
        pid = folder.name.removeprefix(_SCRATCH)
        if pid.isdecimal() and not process_runs(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def is_url(path: PathLike) -> bool:
    """Whether a path names a file system of its own."""
    return "://" in os.fspath(path)


def joined(folder: PathLike, name: str) -> Path | str:
    """FOLDER/NAME; of a chained URL, in its first part: zip://FOLDER/NAME::a.zip."""
    if not is_url(folder):
        return Path(folder) / name
    first, rest = _split_chain(os.fspath(folder))
    stem = first.rstrip("/")
    return f"{first.removesuffix('/') if stem.endswith(':') else stem}/{name}{rest}"


def _split_chain(url: str) -> tuple[str, str]:
    """Where a path inside of what the URL names ends, and what follows: zip://a.mp4::b.zip -> zip://a.mp4, ::b.zip."""
    path_at = url.index("://") + len("://")  # links without a path may come before
    end = url.find("::", path_at)
    return (url, "") if end < 0 else (url[:end], url[end:])


def is_there(path: PathLike) -> bool:
    """Whether there is such a file."""
    if not is_url(path):
        return os.path.exists(path)
    fs, inner = _opened(os.fspath(path))
    return bool(_asked(lambda: fs.exists(inner), os.fspath(path)))


def state_of(path: PathLike) -> FileState | None:
    """As `FileState.of`; where a file system tells no time, the size alone counts."""
    if not is_url(path):
        return FileState.of(path)
    try:
        fs, inner = _opened(os.fspath(path))
        about = fs.info(inner)
    except Exception:  # reading it will say why
        return None
    when = about.get("mtime") or about.get("LastModified") or about.get("updated") or 0
    when_s = when.timestamp() if isinstance(when, datetime.datetime) else when
    return FileState(int(about.get("size") or 0), int(when_s * 1e9) if isinstance(when_s, int | float) else 0)


def videos_at(url: str, is_video: Callable[[str, str], bool]) -> list[tuple[str, str]]:
    """(URL, its path for the outputs) of each video below a folder, of each that a pattern matches, or of the one.

    Hidden files and folders are left out, unless a pattern names them. A file that is called as a pattern is the file.

    Args:
        is_video: whether a name is meant by a pattern, which is "" in a folder.
    Raises: ConfigError: nobody here can read such URLs. VideoError: the file system does not answer.
    """
    fs, inner = _opened(url)

    def look() -> tuple[list[str], str]:
        fs.invalidate_cache()  # who looks again wants to see what is new
        if not _WILDCARDS.isdisjoint(inner) and not fs.exists(inner):
            root = os.path.dirname(re.split(r"[*?[]", inner)[0])
            hits = [path for path, about in fs.glob(inner, detail=True).items() if about.get("type") != "directory"]
            return among(hits, root, pattern=inner[len(root) :]), root
        if fs.isdir(inner):
            return among(fs.find(inner), inner), inner
        return ([inner] if fs.exists(inner) else []), os.path.dirname(inner)

    def among(paths: Iterable[str], root: str, *, pattern: str = "") -> list[str]:
        seen = (path for path in sorted(paths) if _is_hidden(pattern) or not _is_hidden(path[len(root) :]))
        return [path for path in seen if is_video(os.path.basename(path), pattern)]

    paths, root = _asked(look, url)
    rest = _split_chain(url)[1]
    return [(f"{fs.unstrip_protocol(path)}{rest}", path[len(root) :].lstrip("/")) for path in paths]


def _is_hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


@contextlib.contextmanager
def at_hand(source: PathLike) -> Iterator[Path]:
    """A video as a local file, which goes away afterwards if it was fetched.

    Raises: VideoError: it cannot be fetched, or is a link to nothing. Errors of the block name the URL instead of the
        local file.
    """
    if not is_url(source):
        if os.path.islink(source) and not os.path.exists(source):
            to = os.readlink(source)
            raise VideoError(f"{source} is a link that leads nowhere: no file is at {to}; mend or leave it out")
        yield Path(source)
        return
    url = os.fspath(source)
    fs, inner = _opened(url)
    with tempfile.TemporaryDirectory(prefix="lipread-") as folder:
        path = Path(folder) / ("video" + os.path.splitext(inner)[1])
        _asked(lambda: fs.get_file(inner, str(path)), url)
        try:
            yield path
        except LipreadError as error:
            raise type(error)(str(error).replace(str(path), url)) from error


@contextlib.contextmanager
def written_to(folder: PathLike) -> Iterator[Path]:
    """A local folder, the files of which are copied to `folder` when the block ends well.

    Raises: OutputError: they cannot be copied there.
    """
    if not is_url(folder):
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="lipread-") as here:
        yield Path(here)
        for path in sorted(each for each in Path(here).rglob("*") if each.is_file()):
            put(path, str(joined(folder, path.relative_to(here).as_posix())))


def put(path: Path, url: str) -> None:
    """Copy a local file. Raises: OutputError."""
    fs, inner = _opened(url)
    try:
        fs.makedirs(os.path.dirname(inner), exist_ok=True)
        fs.put_file(str(path), inner)
    except Exception as error:  # every file system has errors of its own
        raise OutputError(f"{url} cannot be written ({error}); check the address and your rights there") from error


class RemoteRecord(RunRecord):
    """The record in an output folder that is a URL: fetched at the start, written back now and then and at the end.

    Nobody keeps a second run out of such a folder.

    Raises: OutputError: the folder lies in an archive.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        from fsspec.archive import AbstractArchiveFileSystem

        self._url, self._read_only, self._written_s = str(joined(url, RECORD_NAME)), read_only, time.monotonic()
        fs, inner = _opened(self._url)
        if isinstance(fs, AbstractArchiveFileSystem):
            raise OutputError(f"{url} lies in an archive, which is only read; choose a folder outside of it")
        self._here = tempfile.TemporaryDirectory(prefix="lipread-")
        if is_there(self._url):
            _asked(lambda: fs.get_file(inner, str(Path(self._here.name) / RECORD_NAME)), self._url)
        super().__init__(self._here.name, read_only=read_only)

    def append(self, line: Any) -> None:
        """As `RunRecord.append`, but it may be a few seconds until the line is there."""
        super().append(line)
        if time.monotonic() - self._written_s >= WRITE_BACK_EVERY_S:
            with contextlib.suppress(OutputError):  # it will go better the next time, or be told at the end
                put(self.path, self._url)
            self._written_s = time.monotonic()

    def __exit__(self, *how: Any) -> None:
        super().__exit__(*how)
        if not self._read_only and self.path.exists():
            put(self.path, self._url)
        self._here.cleanup()


def record_in(folder: PathLike, *, read_only: bool = False) -> RunRecord:
    """The record of an output folder, wherever it is. Raises: as `RunRecord`."""
    if is_url(folder):
        return RemoteRecord(os.fspath(folder), read_only=read_only)
    return RunRecord(folder, read_only=read_only)


def _opened(url: str) -> tuple[Any, str]:
    """A URL -> its file system and the path there.

    Raises: ConfigError: nobody here can read such URLs. VideoError: an archive on the way cannot be opened.
    """
    from fsspec.core import url_to_fs

    try:
        fs, inner = url_to_fs(url)
    except (ImportError, ValueError) as error:  # no library for it, or no such protocol
        raise ConfigError(f"{url}: {error}; install what it names, or give a local path") from error
    except Exception as error:  # every file system has errors of its own
        raise VideoError(f"{url} cannot be opened ({error}); check the address") from error
    return fs, str(inner)


def _asked(ask: Callable[[], Any], url: str) -> Any:
    try:
        return ask()
    except FileNotFoundError as error:
        raise VideoError(f"{url} does not exist; check the address and its spelling") from error
    except Exception as error:  # every file system has errors of its own
        raise VideoError(f"{url} cannot be fetched ({error}); check the address and your rights there") from error
