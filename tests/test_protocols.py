"""Published splits: the list that is kept here, lists that are fetched, and damaged ones."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from file_server import serving
from lipread.data import protocols
from lipread.data.download import RemoteFile
from lipread.data.protocols import LISTS, OVERLAPPED, Protocol, fetch_overlapped, load_protocol, read_list
from lipread.errors import ConfigError, DataError


def test_unseen_is_that_of_lipnet(tmp_path: Path) -> None:
    protocol = load_protocol("unseen", tmp_path)
    assert protocol == Protocol(speakers=frozenset({"s1", "s2", "s20", "s22"}))
    assert [protocol.split_of(speaker, "bbaf2n") for speaker in ("s1", "S20", "s2", "s3", "s21", "s10")] == [
        "unseen", "unseen", "unseen", "train", "train", "train"
    ]


def test_a_list_of_clips(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("s3/video/mpg_6000/bbaf2n\n\nS4 lwbz1a\n s5/pgbx2s.mpg \n")
    protocol = read_list(tmp_path / "list.txt")
    assert protocol.clips == {("s3", "bbaf2n"), ("s4", "lwbz1a"), ("s5", "pgbx2s")}
    assert protocol.split_of("s3", "BBAF2N") == "test" and protocol.split_of("s4", "bbaf2n") == "train"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"s1 a\nvideo/a\n", "line 2: 'video/a' does not start with a speaker"),
        (b"<html>\n", "line 1"),
        (b"\n\n", "the list is empty"),
        (b"\xff\xfe", "cannot be read"),
    ],
)
def test_damaged_lists(content: bytes, shown: str, tmp_path: Path) -> None:
    (tmp_path / "overlapped.txt").write_bytes(content)
    with pytest.raises(DataError, match=re.escape(shown)):
        read_list(tmp_path / "overlapped.txt")


def test_a_list_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "LISTS", tmp_path / "none")
    with pytest.raises(DataError, match=r"overlapped.txt: the published list .* is not there; fetch it with"):
        load_protocol("overlapped", tmp_path)
    with pytest.raises(ConfigError, match="protocol='seen' is not known; choose unseen or overlapped"):
        load_protocol("seen", tmp_path)


def test_a_list_that_is_laid_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocols, "LISTS", tmp_path / "here")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "overlapped.txt").write_text("s1 a")
    (tmp_path / "overlapped.txt").write_text("s1 b")
    assert load_protocol("overlapped", tmp_path).clips == {("s1", "a")}


def test_fetching_the_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a server on this machine; a list that has changed is refused."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    content = b"s1/video/mpg_6000/bbaf2n\n"
    with serving() as server:
        server.files["/list"] = content
        checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
        source = RemoteFile("overlapped.txt", len(content), checksum, f"{server.address}/list")
        path = fetch_overlapped(tmp_path / "GRID", source=source, pause_s=0.001)
        assert path == tmp_path / "GRID" / "overlapped.txt" and path.read_bytes() == content
        server.files["/list"] = content.replace(b"2", b"3")
        with pytest.raises(DataError, match="is promised"):
            fetch_overlapped(tmp_path / "other", source=source, pause_s=0.001)
    assert not list((tmp_path / "other").iterdir())


def test_the_source_is_pinned() -> None:
    """One state of the list, named in full, and the same in the page that tells people of it."""
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", OVERLAPPED.checksum)
    commit = re.search(r"/([0-9a-f]{40})/", OVERLAPPED.address)
    assert commit and commit[1][:7] in (LISTS / "README.md").read_text(encoding="utf-8")
    if (LISTS / OVERLAPPED.name).is_file():
        assert len(read_list(LISTS / OVERLAPPED.name).clips) == protocols.OVERLAPPED_CLIPS
