"""Batches: archives that lie, names that meet, files that fail."""

from __future__ import annotations

import json
import struct
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

import media
from lipread.errors import DataError
from lipread.web.limits import Cancelled, Limits
from lipread.web.many import DONE, EMPTY, FAILED, HEADERS, WAITING, Row, pack, read_many, unpack
from lipread.web.timeline import table_html
from test_pipeline import teller

LIMITS = Limits(files=5, unpacked_mb=1)


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return path


def wall(path: Path, frames: int = 5) -> Path:
    return media.write_video(path, [np.full((48, 64, 3), 90, np.uint8)] * frames)


def test_archives_cannot_lead_out_of_their_folder(tmp_path: Path) -> None:
    names = {"../../evil.mp4": b"1", "/etc/cron.mp4": b"2", "C:\\x\\..\\win.mp4": b"3", "ok/talk.MOV": b"4"}
    folder = tmp_path / "in" / "deep"
    rows = unpack([archive(tmp_path / "a.zip", names)], folder, LIMITS)
    assert [row.name for row in rows] == ["evil.mp4", "etc/cron.mp4", "x/win.mp4", "ok/talk.MOV"]
    assert [row.path.read_bytes() for row in rows if row.path] == [b"1", b"2", b"3", b"4"]
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and folder not in path.parents]
    assert outside == [tmp_path / "a.zip"]


def test_members_are_shown_by_names_that_files_can_have(tmp_path: Path) -> None:
    names = ("2026-11-25 10:30:12.mp4", "d:\\a:b\\talk.mp4", "//root/talk.mp4", f"{'ä' * 300}/{'€' * 300}.mp4")
    rows = unpack([archive(tmp_path / "a.zip", dict.fromkeys(names, b"x"))], tmp_path / "in", LIMITS)
    long = f"{'ä' * 100}/{'€' * 66}.mp4"  # 200 and 198 bytes, and the suffix
    assert [row.name for row in rows] == ["2026-11-25 10-30-12.mp4", "a-b/talk.mp4", "root/talk.mp4", long]


def test_only_videos_are_unpacked(tmp_path: Path) -> None:
    names = ("notes.txt", "__MACOSX/._talk.mp4", ".hidden.mp4", "talk.captioned.mp4", "d/")
    members = dict.fromkeys(names, b"x")
    none = archive(tmp_path / "a.zip", members)
    one = archive(tmp_path / "b.zip", members | {"talk.mp4": b"y"})
    empty, talk = unpack([none, one], tmp_path / "in", LIMITS)
    assert (empty.name, empty.path, empty.state) == ("a.zip", None, FAILED)
    assert "a.zip holds no video" in empty.text
    assert (talk.name, talk.state) == ("talk.mp4", WAITING)


def test_an_archive_that_unpacks_without_end_is_stopped(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "bomb.zip", {"a.mp4": bytes(3 << 20)})
    assert bomb.stat().st_size < 10_000
    talk = media.touch(tmp_path / "talk.mp4")
    half = [archive(tmp_path / f"{n}.zip", {f"{n}.mp4": bytes(600_000)}) for n in (1, 2)]
    rows = unpack([bomb, half[0], talk, half[1]], tmp_path / "in", LIMITS)  # the limit is for all together
    assert [(row.name, row.state) for row in rows] == [
        ("bomb.zip", FAILED), ("1.mp4", WAITING), ("talk.mp4", WAITING), ("2.zip", FAILED)
    ]
    assert rows[0].text == "bomb.zip unpacks to more than the 1 MB that are taken; send fewer videos"
    kept = [path.stat().st_size for path in (tmp_path / "in").rglob("*") if path.is_file()]
    assert kept == [600_000]


def test_an_archive_that_cannot_be_written_fails_alone(tmp_path: Path) -> None:
    media.touch(tmp_path / "in" / "0")  # where its folder would be
    bundle, talk = archive(tmp_path / "a.zip", {"a.mp4": b"1"}), media.touch(tmp_path / "talk.mp4")
    failed, good = unpack([bundle, talk], tmp_path / "in", LIMITS)
    assert (failed.name, failed.path, failed.state) == ("a.zip", None, FAILED)
    assert failed.text.startswith("a.zip cannot be unpacked (") and good.path == talk


def test_too_many_or_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no video was given"):
        unpack([], tmp_path, LIMITS)
    with pytest.raises(DataError, match="6 files are more than the 5"):
        unpack([archive(tmp_path / "a.zip", {f"{n}.mp4": b"x" for n in range(9)})], tmp_path / "in", LIMITS)
    with pytest.raises(DataError, match="7 files are more than the 6"):
        unpack([media.touch(tmp_path / f"{n}.mp4") for n in range(7)], tmp_path / "in", Limits(files=6))


def test_damaged_and_locked_archives(tmp_path: Path) -> None:
    good = archive(tmp_path / "a.zip", {"one.mp4": bytes(range(256)) * 40, "two.mp4": b"2"})
    data = bytearray(good.read_bytes())
    data[60:80] = b"\xff" * 20  # inside the first member
    good.write_bytes(data)
    damaged, good_one = unpack([good], tmp_path / "in", LIMITS)
    assert (damaged.path, damaged.state) == (None, FAILED)
    assert "one.mp4 is damaged" in damaged.text
    assert good_one.path is not None
    assert good_one.path.read_bytes() == b"2"
    good.write_bytes(good.read_bytes()[:-30])
    (cut_off,) = unpack([good], tmp_path / "in", LIMITS)
    assert (cut_off.path, cut_off.state) == (None, FAILED)
    assert "a.zip is no zip archive, or a damaged one" in cut_off.text
    listed = archive(tmp_path / "c.zip", {"one.mp4": b"1"})
    data = bytearray(listed.read_bytes())
    data[data.index(b"PK\x01\x02")] = 0  # the list of members
    listed.write_bytes(data)
    (listless,) = unpack([listed], tmp_path / "in", LIMITS)
    assert (listless.path, listless.state) == (None, FAILED)
    assert "c.zip cannot be unpacked" in listless.text
    locked = archive(tmp_path / "b.zip", {"one.mp4": b"1"})
    data = bytearray(locked.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8 : at + 10] = struct.pack("<H", 1)  # the flag of encryption
    data[6:8] = struct.pack("<H", 1)
    locked.write_bytes(data)
    (row,) = unpack([locked], tmp_path / "in2", LIMITS)
    assert (row.path, row.state) == (None, FAILED)
    assert "password" in row.text


def test_names_that_meet_get_numbers(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        media.touch(tmp_path / folder / "talk.mp4")
    media.touch(tmp_path / "d" / "talk.mov")
    rows = unpack(sorted(tmp_path.glob("*/talk.*")), tmp_path / "in", LIMITS)
    assert [row.name for row in rows] == ["talk.mp4", "talk-2.mp4", "talk-3.mp4", "talk-4.mov"]


def test_no_video_takes_the_place_of_the_table(tmp_path: Path) -> None:
    rows = unpack([wall(tmp_path / "results.mp4")], tmp_path / "in", LIMITS)
    list(read_many(teller(), rows, tmp_path / "work", limits=LIMITS))
    with zipfile.ZipFile(pack(tmp_path / "work", rows)) as bundle:
        assert len(set(bundle.namelist())) == len(bundle.namelist())
        assert {"results.tsv", "results-2.tsv"} <= set(bundle.namelist())


def test_uploads_that_were_deleted_meanwhile(tmp_path: Path) -> None:
    talk, more = media.touch(tmp_path / "talk.mp4"), archive(tmp_path / "more.zip", {"a.mp4": b"x"})
    early = unpack([talk, more], tmp_path / "in", LIMITS)
    talk.unlink()
    more.unlink()
    late = unpack([talk, more], tmp_path / "in", LIMITS)
    list(read_many(teller(), early, tmp_path / "work", limits=LIMITS))
    for row in (early[0], *late):
        said = f"{row.name} was deleted, since uploads are kept for 30 minutes, and less when the page is left; choose"
        assert (row.state, row.text[: len(said)]) == (FAILED, said)


def test_what_comes_from_an_archive_is_told_by_its_name_there(tmp_path: Path) -> None:
    content = wall(tmp_path / "wall.mp4").read_bytes()
    names = ("a/b/c.mp4", "d" * 300 + ".mp4", "/".join(["e" * 200] * 30) + ".mp4")
    rows = unpack([archive(tmp_path / "a.zip", dict.fromkeys(names, content))], tmp_path / "in", LIMITS)
    list(read_many(teller(), rows, tmp_path / "work", limits=LIMITS, captioned=True))
    assert [row.state for row in rows] == [EMPTY, EMPTY, FAILED]
    assert json.loads((tmp_path / "work" / "out" / "a" / "b" / "c.json").read_text())["source"] == "a/b/c.mp4"
    assert str(tmp_path) not in rows[2].text and "cannot be written" in rows[2].text


def test_one_row_after_the_other_whatever_becomes_of_it(tmp_path: Path) -> None:
    rows = [
        Row("sub/wall.mp4", wall(tmp_path / "wall.mp4")),
        Row("text.mp4", media.touch(tmp_path / "text.mp4", "not a video")),
        Row("locked.mp4", None, FAILED, "password"),
    ]
    told: list[tuple[float, str]] = []
    seen = [
        (row.name, row.state)
        for row in read_many(
            teller(), rows, tmp_path / "work", limits=LIMITS, captioned=True,
            tell=lambda share, what: told.append((share, what)),
        )
    ]
    assert seen == [
        ("sub/wall.mp4", "reading …"), ("sub/wall.mp4", EMPTY), ("text.mp4", "reading …"), ("text.mp4", FAILED),
        ("locked.mp4", FAILED),
    ]
    assert rows[0].text == "no face was found in any of the 5 frames"
    assert rows[0].cells() == ["sub/wall.mp4", EMPTY, rows[0].text, "", "0.2", ""]
    assert str(tmp_path) not in rows[1].text
    assert told[0][1].startswith("1 of 3, sub/wall.mp4: ")
    with zipfile.ZipFile(pack(tmp_path / "work", rows)) as bundle:
        assert bundle.testzip() is None
        forms = ("captioned.mp4", "txt", "srt", "vtt", "tsv", "json")
        assert set(bundle.namelist()) == {"results.tsv", *(f"sub/wall.{form}" for form in forms)}
        table = bundle.read("results.tsv").decode().splitlines()
        assert table[0].split("\t") == list(HEADERS)
        assert [line.split("\t")[1] for line in table[1:]] == [EMPTY, FAILED, FAILED]
    assert not list((tmp_path / "work").glob("work-*"))


def test_what_made_a_video_hard_to_read_is_noted(tmp_path: Path) -> None:
    whole, cut = (media.write_video(tmp_path / name, map(media.numbered, range(75))) for name in ("a.mkv", "b.mkv"))
    rows = [Row("whole.mkv", whole), Row("cut.mkv", media.truncate(cut, 0.6))]
    list(read_many(teller(), rows, tmp_path / "work", limits=LIMITS))
    assert rows[0].notes == ""
    assert "could be read" in rows[1].notes and rows[1].cells()[-1] == rows[1].notes
    assert rows[1].notes in table_html(rows)
    with zipfile.ZipFile(pack(tmp_path / "work", rows)) as bundle:
        table = [line.split("\t") for line in bundle.read("results.tsv").decode().splitlines()]
    assert [line[-1] for line in table] == ["notes", "", rows[1].notes]


def test_a_reading_is_kept_under_its_name(tmp_path: Path, grid_dir: Path) -> None:
    clip = sorted((grid_dir / "clips").glob("s1_*.mp4"))[0]
    rows = [Row("a/clip.mp4", clip)]
    list(read_many(teller(), rows, tmp_path, limits=LIMITS))
    assert rows[0].state in (DONE, EMPTY)
    assert (tmp_path / "out" / "a" / "clip.srt").exists()


def test_cancelled_in_the_middle(tmp_path: Path) -> None:
    stop = threading.Event()
    rows = [Row(f"{n}.mp4", wall(tmp_path / f"{n}.mp4")) for n in range(3)]
    work = read_many(teller(), rows, tmp_path / "work", limits=LIMITS, stop=stop)
    assert [next(work).state for _ in range(2)] == ["reading …", EMPTY]
    stop.set()
    with pytest.raises(Cancelled):
        list(work)
    assert not list((tmp_path / "work").glob("work-*"))
