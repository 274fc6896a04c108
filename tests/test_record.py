"""The corpus's record on a server of this machine: fetched, unpacked, broken off and started again."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from file_server import FileServer, answers, breaks_after, serving
from lipread.data import record
from lipread.data.prepare import only_run
from lipread.data.record import ARCHIVES, RECORD, download_grid
from lipread.errors import DataError, OutputError

VIDEO = os.urandom(20_000)


def packed(members: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return data.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as running:
        running.describe("/record", {
            "audio_25k.zip": b"never asked for",
            "s10.zip": packed({"s10/lwbz1a.mpg": VIDEO}),
            "s2.zip": packed({"s2/bbaf2n.mpg": VIDEO, "__MACOSX/s2/._bbaf2n.mpg": b"x"}),
            "alignments.zip": packed({"alignments/s2/bbaf2n.align": b"0 5 bin", "alignments/s10/a.align": b""}),
            "jasagrid.pdf": b"%PDF",
        })
        yield running


def get(server: FileServer, folder: Path, **options: object) -> tuple[int, int]:
    report = download_grid(folder, address=f"{server.address}/record", show=False, pause_s=0.001, **options)  # type: ignore[arg-type]
    return report.fetched, report.kept


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


CORPUS = {"s2/bbaf2n.mpg", "s10/lwbz1a.mpg", "alignments/s2/bbaf2n.align", "alignments/s10/a.align"}


def test_all_speakers(server: FileServer, tmp_path: Path) -> None:
    assert get(server, tmp_path) == (3, 0)
    assert {name for name in names(tmp_path) if not name.startswith(ARCHIVES)} == CORPUS
    assert (tmp_path / "s2" / "bbaf2n.mpg").read_bytes() == VIDEO
    asked = [path for path, _ in server.asked]
    assert asked == ["/record", "/files/alignments.zip", "/files/s2.zip", "/files/s10.zip"]
    assert get(server, tmp_path) == (0, 3) and len(server.asked) == 5


def test_some_speakers_and_then_more(server: FileServer, tmp_path: Path) -> None:
    assert get(server, tmp_path, speakers=[" S10", "s10"]) == (2, 0)
    assert not (tmp_path / "s2").exists()
    assert get(server, tmp_path, speakers=["s2", "s10"]) == (1, 2)


def test_archives_removed(server: FileServer, tmp_path: Path) -> None:
    """What was unpacked and removed is not fetched again."""
    assert get(server, tmp_path, keep_archives=False) == (3, 0)
    assert {path.suffix for path in (tmp_path / ARCHIVES).iterdir()} == {".done"}
    assert get(server, tmp_path, keep_archives=False) == (0, 3)


def test_a_new_version_of_a_file(server: FileServer, tmp_path: Path) -> None:
    get(server, tmp_path)
    server.describe("/record", {"s2.zip": packed({"s2/bbaf2n.mpg": VIDEO + b"more"})})
    assert get(server, tmp_path) == (1, 0)
    assert (tmp_path / "s2" / "bbaf2n.mpg").read_bytes() == VIDEO + b"more"


def test_broken_off_and_started_again(server: FileServer, tmp_path: Path) -> None:
    server.faults["/files/s2.zip"] = [breaks_after(7000), *[answers(500)] * 5]
    with pytest.raises(DataError, match="s2.zip: the server answers 500"):
        get(server, tmp_path)
    assert (tmp_path / ARCHIVES / "s2.zip.part").stat().st_size == 7000 and not (tmp_path / "s2").exists()
    server.asked.clear()
    assert get(server, tmp_path) == (2, 1)
    assert ("/files/s2.zip", "bytes=7000-") in server.asked
    assert (tmp_path / "s2" / "bbaf2n.mpg").read_bytes() == VIDEO


@pytest.mark.parametrize(("speaker", "shown"), [("s21", "'s21'; it has s2, s10"), ("", "''"), ("audio_25k", "'audio")])
def test_speakers_that_are_not_there(speaker: str, shown: str, server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"the record has no video of speaker {shown}"):
        get(server, tmp_path / "new", speakers=[speaker])
    assert not (tmp_path / "new").exists()


def test_no_room(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is needed for what is still to come and for what is unpacked, and nothing is fetched without it."""
    sizes = {name: len(server.files[f"/files/{name}"]) for name in ("s2.zip", "alignments.zip")}
    needed = 2 * sum(sizes.values()) - 5000
    (tmp_path / ARCHIVES).mkdir()
    (tmp_path / ARCHIVES / "s2.zip.part").write_bytes(server.files["/files/s2.zip"][:5000])
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed - 1))
    with pytest.raises(OutputError, match="GB are needed and .* are free; free some space"):
        get(server, tmp_path, speakers=["s2"])
    assert len(server.asked) == 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, needed))
    assert get(server, tmp_path, speakers=["s2"]) == (2, 0)


def test_two_runs(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    with only_run(tmp_path), pytest.raises(DataError, match="another run is at work there"):
        get(server, tmp_path)


def test_a_folder_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        get(server, tmp_path / "file")


def test_the_bar_reaches_its_end(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a part was there, and when one had to be thrown away."""
    told: list[int] = []
    monkeypatch.setattr(record, "_bar", lambda total, show: _Told(total, told))
    (tmp_path / ARCHIVES).mkdir()
    (tmp_path / ARCHIVES / "s2.zip.part").write_bytes(b"?" * 100)
    (tmp_path / ARCHIVES / "s10.zip.part").write_bytes(server.files["/files/s10.zip"][:100])
    get(server, tmp_path)
    assert sum(told[1:]) == told[0]


class _Told:
    def __init__(self, total: int, told: list[int]) -> None:
        told.append(total)
        self._told = told

    def __enter__(self) -> object:
        return self._told.append

    def __exit__(self, *_: object) -> None:
        pass


def test_the_record_is_grids() -> None:
    assert RECORD.startswith("https://") and RECORD.endswith("/3625687")
