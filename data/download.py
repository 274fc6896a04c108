"""Files of a public record -> a folder: broken off and gone on with, checked, whole or not at all.

The description of a record is JSON, in the form of Zenodo:
{"files": [{"key": "s1.zip", "size": bytes, "checksum": "md5:...", "links": {"self": address}}, ...]}
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lipread.errors import DataError, OutputError
from lipread.files import inside, written_whole

ATTEMPTS = 5  # in a row without a byte
LONGEST_PAUSE_S = 60.0
TIMEOUT_S = 60.0  # of silence on the line
CHUNK_BYTES = 1 << 18
RECORD_BYTES = 1 << 24  # a description is never longer
PASSING = frozenset({408, 416, 425, 429, 500, 502, 503, 504})  # answers that may be another in a moment

Advance = Callable[[int], None]  # takes bytes; fewer than none where a part had to be thrown away


@dataclass(frozen=True)
class RemoteFile:
    """A file of a record: name, size in bytes, "md5:..." or another checksum, and its address."""

    name: str
    size: int
    checksum: str
    address: str


def read_record(address: str, *, pause_s: float = 1.0) -> list[RemoteFile]:
    """The files of a record, from its description.

    Raises: DataError: it cannot be reached, or is not such a description.
    """
    data = bytearray()
    _patiently(address, lambda: _read_all(address, data), lambda: 0, pause_s)
    try:
        files = [
            RemoteFile(str(file["key"]), int(file["size"]), str(file["checksum"]).lower(), str(file["links"]["self"]))
            for file in json.loads(data)["files"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{address}: is not the description of a record ({error!r}); check the address") from error
    for file in files:
        if not file.name or file.name.startswith(".") or set(file.name) & set("/\\"):
            raise DataError(f"{address}: the file name {file.name!r} would lead out of the folder; check the address")
    return files


def _read_all(address: str, data: bytearray) -> None:
    data.clear()
    with _opened(address, 0) as answer:
        data.extend(answer.read(RECORD_BYTES))
        promised = int(answer.headers.get("Content-Length") or 0)
    if len(data) < min(promised, RECORD_BYTES):  # a read that is given a size does not say so
        raise ConnectionError(f"the connection ended after {len(data)} of {promised} bytes")


def fetch(file: RemoteFile, target: Path, *, advance: Advance = lambda _: None, pause_s: float = 1.0) -> bool:
    """Fetch a file; what arrived in an earlier run is gone on with.

    Args:
        file: what and from where.
        target: appears when the checksum is right; TARGET.part until then.
        advance: is told of bytes that have arrived.
        pause_s: before the first repetition, doubled each time.
    Returns: False if it was there already.
    Raises: DataError: it cannot be had, or its checksum is wrong twice. OutputError: it cannot be written.
    """
    part, found = part_path(target), ""
    if target.is_file() and checksum_of(target, file.checksum) == file.checksum:
        advance(file.size)
        return False
    advance(file_size(part))
    for _ in range(2):  # a part of an older version of the file shows in the checksum only
        _patiently(file.address, lambda: _append(file, part, advance), lambda: file_size(part), pause_s)
        found = checksum_of(part, file.checksum)
        if found == file.checksum:
            os.replace(part, target)
            return True
        advance(-file_size(part))
        part.unlink()
    raise DataError(
        f"{file.address}: what arrives has the checksum {found}, and {file.checksum} is promised; nothing of it is "
        "kept, try again later"
    )


def part_path(target: Path) -> Path:
    """Where a file lies until it is whole."""
    return target.with_name(f"{target.name}.part")


def file_size(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def checksum_of(path: Path, like: str) -> str:
    """Checksum of a file, in the manner of another one: "md5:..." or "sha256:...".

    Raises: DataError: that manner is not known.
    """
    manner = like.partition(":")[0]
    if manner not in hashlib.algorithms_available:
        raise DataError(f"{path}: the checksum {like!r} is of no known kind; update lipread")
    with open(path, "rb") as data:
        return f"{manner}:{hashlib.file_digest(data, manner).hexdigest()}"


def _patiently(address: str, work: Callable[[], None], progress: Callable[[], int], pause_s: float) -> None:
    """Do work over the net, again after faults that may pass, until it is done or nothing arrives any more."""
    failures = 0
    while True:
        before, wait_s = progress(), 0.0
        try:
            return work()
        except urllib.error.HTTPError as error:
            if error.code not in PASSING:
                raise DataError(f"{address}: {_answer(error)}; check the address") from error
            why, asked = _answer(error), error.headers.get("Retry-After", "")
            wait_s = float(asked) if asked.isdecimal() else 0.0
        except (OSError, http.client.HTTPException) as error:
            why = str(getattr(error, "reason", "") or error or type(error).__name__)
        failures = 1 if progress() > before else failures + 1
        if failures >= ATTEMPTS:
            raise DataError(
                f"{address}: {why}; check the network connection and start again, what has arrived is kept"
            )
        time.sleep(min(max(wait_s, pause_s * 2 ** (failures - 1)), LONGEST_PAUSE_S))


def _answer(error: urllib.error.HTTPError) -> str:
    return f"the server answers {error.code} {error.reason}"


def _append(file: RemoteFile, part: Path, advance: Advance) -> None:
    """Fetch what is missing at the end of `part`. Raises: OSError, HTTPException: the line broke. OutputError."""
    at = file_size(part)
    if at == file.size and part.exists():
        return
    if at > file.size:
        at = _thrown_away(part, advance)
    try:
        answer = _opened(file.address, at)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing can be gone on with there
            _thrown_away(part, advance)
        raise
    with answer:
        goes_on = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {at}-")
        if at and not goes_on:  # the whole file comes, or something else
            at = _thrown_away(part, advance)
            if answer.status == 206:
                raise ConnectionError("the server sent another part than was asked for")
        while at <= file.size and (chunk := answer.read1(CHUNK_BYTES)):  # what is there: a silent line loses none
            _write(part, chunk)
            at += len(chunk)
            advance(len(chunk))
    if at < file.size:
        raise ConnectionError(f"the connection ended after {at} of {file.size} bytes")
    if not part.exists():
        _write(part, b"")


def _write(part: Path, chunk: bytes) -> None:
    try:
        with open(part, "ab") as out:
            out.write(chunk)
    except OSError as error:
        raise OutputError(
            f"{part} cannot be written ({error.strerror}); free some space and start again, what has arrived is kept"
        ) from error


def _thrown_away(part: Path, advance: Advance) -> int:
    advance(-file_size(part))
    part.unlink(missing_ok=True)
    return 0


def _opened(address: str, start: int) -> http.client.HTTPResponse:
    if not address.lower().startswith(("http://", "https://")):
        raise DataError(f"{address}: is no address that starts with https:// or http://")
    headers = {"User-Agent": "lipread", "Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    answer: http.client.HTTPResponse = urllib.request.urlopen(
        urllib.request.Request(address, headers=headers), timeout=TIMEOUT_S
    )
    return answer


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip file; files that are there with their full size are kept, others are written whole.

    Raises: DataError: it is damaged. OutputError: a file cannot be written, or would lie outside the folder.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                hidden = any(part == "__MACOSX" or part.startswith(".") for part in Path(info.filename).parts)
                if info.is_dir() or (hidden and ".." not in Path(info.filename).parts):
                    continue
                target = inside(folder, info.filename)
                if target.is_file() and target.stat().st_size == info.file_size:
                    continue
                with written_whole(target) as temporary, packed.open(info) as data, open(temporary, "wb") as out:
                    shutil.copyfileobj(data, out, CHUNK_BYTES)
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({error}); delete it and start again") from error
