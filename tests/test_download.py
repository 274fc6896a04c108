"""Files from a server with faults, on this machine: gone on with, checked, whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
import time
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from file_server import FileServer, answers, breaks_after, sends, serving
from lipread.data import download
from lipread.data.download import ATTEMPTS, RemoteFile, checksum_of, fetch, part_path, read_record, unpack
from lipread.errors import DataError, OutputError

CONTENT = hashlib.shake_256(b"lips").digest(300_000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        running.files["/a.zip"] = CONTENT
        yield running


@pytest.fixture
def file(server: FileServer) -> RemoteFile:
    return RemoteFile("a.zip", len(CONTENT), f"md5:{hashlib.md5(CONTENT).hexdigest()}", f"{server.address}/a.zip")


def get(file: RemoteFile, folder: Path) -> tuple[bool, int]:
    """Fetch into a folder; returns whether it was fetched, and the sum of what the progress bar was told."""
    told: list[int] = []
    fetched = fetch(file, folder / file.name, advance=told.append, pause_s=0.001)
    return fetched, sum(told)


def offsets(server: FileServer) -> list[int]:
    return [int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0 for _, asked in server.asked]


def test_whole_and_then_kept(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert (tmp_path / "a.zip").read_bytes() == CONTENT
    assert get(file, tmp_path) == (False, len(CONTENT))
    assert len(server.asked) == 1 and os.listdir(tmp_path) == ["a.zip"]


def test_a_damaged_file_is_fetched_again(file: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(CONTENT[:-1] + b"?")
    assert get(file, tmp_path)[0]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_goes_on_after_breaks(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    """More breaks than attempts, as each brings something; each time only the rest is asked for."""
    breaks = ATTEMPTS + 3
    server.faults["/a.zip"] = [breaks_after(20_000) for _ in range(breaks)]
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert offsets(server) == [20_000 * number for number in range(breaks + 1)]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_goes_on_in_a_later_run(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    part_path(tmp_path / "a.zip").write_bytes(CONTENT[:123_456])
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert offsets(server) == [123_456]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_part_that_is_whole(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    part_path(tmp_path / "a.zip").write_bytes(CONTENT)
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert server.asked == []


@pytest.mark.parametrize("wrong", [b"older" * 20_000, CONTENT + b"more"])
def test_a_part_of_another_version(wrong: bytes, server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    part_path(tmp_path / "a.zip").write_bytes(wrong)
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert offsets(server)[-1] == 0 and (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_server_that_only_sends_all(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    server.ranges = False
    server.faults["/a.zip"] = [breaks_after(50_000)]
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert offsets(server) == [0, 50_000]
    assert (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_server_that_sends_another_part(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    part_path(tmp_path / "a.zip").write_bytes(CONTENT[:1000])
    server.faults["/a.zip"] = [answers(206, Content_Range="bytes 5-9/10")]
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert offsets(server) == [1000, 0]


def test_passing_faults(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    server.faults["/a.zip"] = [answers(503, Retry_After="0"), answers(429), answers(500), breaks_after(0)]
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert len(server.asked) == 5


def test_waits_as_long_as_it_is_asked_to(
    server: FileServer, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    server.faults["/a.zip"] = [answers(503, Retry_After="7"), answers(503), answers(503, Retry_After="9999")]
    fetch(file, tmp_path / "a.zip", pause_s=0.5)
    assert waits == [7.0, 1.0, download.LONGEST_PAUSE_S]


def test_a_part_that_goes_too_far(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    """The server's file is shorter than what is there, so there is nothing to go on with."""
    part_path(tmp_path / "a.zip").write_bytes(CONTENT[:-10])
    server.faults["/a.zip"] = [answers(416)]
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert offsets(server) == [len(CONTENT) - 10, 0]


@pytest.mark.parametrize("code", [401, 403, 404, 410])
def test_lasting_refusals(code: int, server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    server.faults["/a.zip"] = [answers(code)]
    with pytest.raises(DataError, match=f"a.zip: the server answers {code} .*; check the address"):
        get(file, tmp_path)
    assert len(server.asked) == 1 and os.listdir(tmp_path) == []


def test_gives_up_and_keeps_what_arrived(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    server.faults["/a.zip"] = [breaks_after(30_000), *[breaks_after(0)] * ATTEMPTS]
    with pytest.raises(DataError, match=r"ended after 30000 of 300000 bytes; check the network .* is kept"):
        get(file, tmp_path)
    assert part_path(tmp_path / "a.zip").read_bytes() == CONTENT[:30_000]
    assert get(file, tmp_path) == (True, len(CONTENT))


@pytest.mark.parametrize("arrived", [0, 30_000])
def test_a_line_that_falls_silent(
    arrived: int, server: FileServer, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection stays open and nothing comes: it is given up, and what came before is gone on with."""
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    over = threading.Event()

    def falls_silent(handler: BaseHTTPRequestHandler) -> None:
        breaks_after(arrived)(handler)
        handler.wfile.flush()
        over.wait(10)

    server.faults["/a.zip"] = [falls_silent]
    try:
        assert get(file, tmp_path) == (True, len(CONTENT))
    finally:
        over.set()
    assert offsets(server) == [0, arrived] and (tmp_path / "a.zip").read_bytes() == CONTENT


def test_a_slow_line(server: FileServer, file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slower than the limit in all, yet never silent for so long."""
    monkeypatch.setattr(download, "TIMEOUT_S", 0.3)

    def slowly(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        for start in range(0, len(CONTENT), 30_000):
            handler.wfile.write(CONTENT[start : start + 30_000])
            time.sleep(0.06)

    server.faults["/a.zip"] = [slowly]
    began = time.monotonic()
    assert get(file, tmp_path) == (True, len(CONTENT))
    assert time.monotonic() - began > 0.3 and offsets(server) == [0]


def test_nobody_answers(tmp_path: Path) -> None:
    with serving() as gone:
        address = gone.address
    with pytest.raises(DataError, match=r"Connection refused.*check the network connection"):
        fetch(RemoteFile("a", 5, "md5:0", address), tmp_path / "a", pause_s=0.001)


def test_wrong_checksum(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    server.files["/a.zip"] = b"?" + CONTENT[1:]
    found = hashlib.md5(server.files["/a.zip"]).hexdigest()
    with pytest.raises(DataError, match=f"the checksum md5:{found}, and {file.checksum} is promised"):
        get(file, tmp_path)
    assert os.listdir(tmp_path) == [] and len(server.asked) == 2


def test_more_than_promised(server: FileServer, file: RemoteFile, tmp_path: Path) -> None:
    server.files["/a.zip"] = CONTENT * 20
    with pytest.raises(DataError, match="is promised"):
        get(file, tmp_path)
    assert os.listdir(tmp_path) == []


def test_empty_file(server: FileServer, tmp_path: Path) -> None:
    server.files["/empty"] = b""
    file = RemoteFile("empty", 0, f"sha256:{hashlib.sha256().hexdigest()}", f"{server.address}/empty")
    assert get(file, tmp_path) == (True, 0) and (tmp_path / "empty").read_bytes() == b""


def test_full_disk(file: RemoteFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "open", full, raising=False)
    with pytest.raises(OutputError, match="No space left on device.*what has arrived is kept"):
        get(file, tmp_path)


def test_checksums(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert checksum_of(tmp_path / "a", "md5:") == "md5:900150983cd24fb0d6963f7d28e17f72"  # RFC 1321
    with pytest.raises(DataError, match="'crc9:12' is of no known kind"):
        checksum_of(tmp_path / "a", "crc9:12")


def test_description(server: FileServer) -> None:
    address = server.describe("/record", {"s1.zip": b"one", "s2.zip": b"three"})
    server.faults["/record"] = [answers(503), breaks_after(10)]
    assert read_record(address, pause_s=0.001) == [
        RemoteFile("s1.zip", 3, f"md5:{hashlib.md5(b'one').hexdigest()}", f"{server.address}/files/s1.zip"),
        RemoteFile("s2.zip", 5, f"md5:{hashlib.md5(b'three').hexdigest()}", f"{server.address}/files/s2.zip"),
    ]


@pytest.mark.parametrize(
    "text",
    ["<html>", "[]", "{}", '{"files": 3}', '{"files": [{"key": "a"}]}', '{"files": [{"key": "a", "size": "x"}]}'],
)
def test_another_page(text: str, server: FileServer) -> None:
    server.faults["/record"] = [sends(text.encode())]
    with pytest.raises(DataError, match="is not the description of a record .*; check the address"):
        read_record(f"{server.address}/record")


@pytest.mark.parametrize("name", ["../s1.zip", "a/b", "a\\b", ".hidden", ""])
def test_names_that_lead_elsewhere(name: str, server: FileServer) -> None:
    address = server.describe("/record", {name: b""})
    with pytest.raises(DataError, match="lead out of the folder"):
        read_record(address)


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "record"])
def test_only_the_web(address: str) -> None:
    with pytest.raises(DataError, match="no address that starts with https"):
        read_record(address)


def packed(**members: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return data.getvalue()


def test_unpack(tmp_path: Path) -> None:
    archive = tmp_path / "s1.zip"
    members = {"s1__a.mpg": b"video", "s1__b.mpg": b"", "s1__.hidden": b"x", "MACOSX__s1__a": b"kept"}
    archive.write_bytes(packed(**members))
    (tmp_path / "out" / "s1").mkdir(parents=True)
    (tmp_path / "out" / "s1" / "a.mpg").write_bytes(b"vid")  # broken off
    unpack(archive, tmp_path / "out")
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert found == {"s1/a.mpg", "s1/b.mpg", "MACOSX/s1/a"}
    assert (tmp_path / "out" / "s1" / "a.mpg").read_bytes() == b"video"
    before = (tmp_path / "out" / "s1" / "a.mpg").stat().st_mtime_ns
    unpack(archive, tmp_path / "out")
    assert (tmp_path / "out" / "s1" / "a.mpg").stat().st_mtime_ns == before


def test_unpack_stays_inside(tmp_path: Path) -> None:
    (tmp_path / "s1.zip").write_bytes(packed(**{"..__..__evil": b"x"}))
    with pytest.raises(OutputError, match="leads out of the folder"):
        unpack(tmp_path / "s1.zip", tmp_path / "out")
    assert sorted(os.listdir(tmp_path)) == ["s1.zip"]


@pytest.mark.parametrize("damage", [b"no zip", packed(a=b"x" * 1000)[:500]])
def test_unpack_damaged(damage: bytes, tmp_path: Path) -> None:
    (tmp_path / "s1.zip").write_bytes(damage)
    with pytest.raises(DataError, match="s1.zip: cannot be unpacked .*; delete it and start again"):
        unpack(tmp_path / "s1.zip", tmp_path / "out")


def test_unpack_a_flipped_byte(tmp_path: Path) -> None:
    data = packed(a=b"x" * 1000)
    (tmp_path / "s1.zip").write_bytes(data[:200] + b"y" + data[201:])
    with pytest.raises(DataError, match="Bad CRC-32"):
        unpack(tmp_path / "s1.zip", tmp_path / "out")
    assert os.listdir(tmp_path / "out") == []
