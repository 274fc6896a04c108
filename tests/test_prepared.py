"""The prepared folder's tables and files: what is written is read again, and damage is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lipread.errors import DataError
from lipread.mouth import write_crops_mp4
from lipread.prepared import read_points, read_sound, read_track, stream_path, table_rows, write_points, write_table


def test_tables_stay_tables(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    write_table(path, ("a", "b"), [("x\ty", "line\nbreak"), ('"q', "")])
    assert path.read_text() == 'a\tb\nx y\tline break\n"q\t\n'
    rows = [(f"{path}, line 2", {"a": "x y", "b": "line break"}), (f"{path}, line 3", {"a": '"q', "b": ""})]
    assert list(table_rows(path, ("a", "b"))) == rows


def test_only_the_needed_cells_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_bytes(b"\xef\xbb\xbfa\tb\tc\n 1 \t2\n1\t2\t3\t4\n")
    assert [row for _, row in table_rows(path, ("a", "b"))] == [{"a": "1", "b": "2"}, {"a": "1", "b": "2", "c": "3"}]
    with pytest.raises(DataError, match=r"t\.tsv, line 2: fewer cells than in the heading; complete the line"):
        list(table_rows(path, ("a", "c")))
    with pytest.raises(DataError, match=r"has no column d, e; it must have a, d, e, separated by tabs"):
        list(table_rows(path, ("a", "d", "e")))


@pytest.mark.parametrize(("content", "why"), [(None, "No such file"), (b"\xff\xfe\x00", "can't decode")])
def test_what_is_no_table(content: bytes | None, why: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "t.tsv").write_bytes(content)
    with pytest.raises(DataError, match=rf"t\.tsv: cannot be read \(.*{why}.*\); it must be UTF-8 text"):
        list(table_rows(tmp_path / "t.tsv", ("a",)))


def test_points_and_crops_come_back_as_a_track(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(6, 9, 2))
    points[2] = np.nan
    crops = np.repeat(np.arange(20, 212, 2, dtype=np.uint8)[None, None], 96, axis=1).repeat(6, axis=0)
    for stream in ("crops", "points"):
        (tmp_path / stream).mkdir()
    write_crops_mp4(stream_path(tmp_path, "crops", "a.b"), crops, crf=0)
    write_points(tmp_path / "points" / "a.b.npy", points)
    track = read_track(tmp_path, "a.b")
    np.testing.assert_array_equal(track.points, points.astype(np.float32))
    assert track.present.tolist() == [True, True, False, True, True, True] and track.crops.shape == crops.shape
    assert np.abs(track.crops.astype(int) - crops).max() <= 1
    with pytest.raises(DataError, match=r"a\.b\.npy: lip points of shape \(6, 9, 2\), wanted \(5, 9, 2\); prepare"):
        read_points(tmp_path, "a.b", 5)
    np.savez(tmp_path / "many.npz", points=points)
    np.save(tmp_path / "text.npy", np.array(["a"]))
    for damage in (b"no", b"", b"PK\3\4", (tmp_path / "many.npz").read_bytes(), (tmp_path / "text.npy").read_bytes()):
        (tmp_path / "points" / "a.b.npy").write_bytes(damage)
        with pytest.raises(DataError, match=r"a\.b\.npy: lip points cannot be read"):
            read_track(tmp_path, "a.b")
    stream_path(tmp_path, "crops", "a.b").write_bytes(b"no")
    with pytest.raises(DataError, match=r"a\.b\.mp4"):
        read_track(tmp_path, "a.b")


def test_a_lost_sound_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="spelling; prepare that clip again$"):
        read_sound(tmp_path / "x.m4a", 6)
