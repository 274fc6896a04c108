"""Lip points without pixels: made-up files with known numbers, damaged ones, and the corpus's own."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipread.data.grid import prepare_grid, read_corpus, reserved_of
from lipread.data.lip_points import prepare_lip_points, read_lip_sentences, sentence_key
from lipread.data.prepare import Record, open_folder, write_tables
from lipread.errors import DataError
from lipread.training.clips import load_clips


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def arrays(**other: Any) -> dict[str, Any]:
    """Three sentences of 12, 14 and 10 frames; point values count up, the eyes are 32 px apart."""
    offset = np.array([0, 12, 26, 36], np.int32)
    segment = [(0, 0, 5), (0, 1, 7), (1, 0, 4), (1, -1, 3), (1, 1, 7), (2, 0, 10)]
    values = {
        "clip": np.array(["aaa", "bbb", "ccc"]), "text": np.array(["bin blue", "lay red", "set"]), "offset": offset,
        "segment": np.array(segment, np.int32), "point": np.arange(36 * 18, dtype=np.int16).reshape(36, 9, 2),
        "eye_px": np.full(36, 32, np.float16),
    }
    return {**values, **other}


def saved(path: Path, **other: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{name: value for name, value in arrays(**other).items() if value is not None})
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    open_folder(tmp_path / "out")
    return tmp_path / "out"


def test_numbers(tmp_path: Path) -> None:
    first, second, third = read_lip_sentences(saved(tmp_path / "s1.npz"))
    assert first.points.shape == (12, 9, 2) and first.points.dtype == np.float32
    assert first.points[1, 2, 1] == (18 + 5) / 128 / 32
    assert second.points[0, 0, 0] == 12 * 18 / 4096
    assert second.words == ((0.0, 0.16, "lay"), (0.16, 0.28, "sp"), (0.28, 0.56, "red"))
    assert (third.clip, third.text, third.problem) == ("ccc", "set", "")


def test_unknown_eye_distance_is_no_face(tmp_path: Path) -> None:
    eyes = np.full(36, 32, np.float16)
    eyes[3], eyes[26:] = 0, np.nan
    first, _, third = read_lip_sentences(saved(tmp_path / "s1.npz", eye_px=eyes))
    assert np.isnan(first.points[3]).all() and np.isfinite(np.delete(first.points, 3, 0)).all()
    assert first.problem == "" and "no face" in third.problem


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        ({"eye_px": None}, "has no array eye_px"),
        ({"offset": np.array([0, 12, 26])}, "do not fit"),
        ({"offset": np.array([0, 26, 12, 36])}, "do not fit"),
        ({"offset": np.array([0, 12, 26, 99])}, "do not fit"),
        ({"point": np.zeros((36, 8, 2), np.int16)}, "do not fit"),
        ({"clip": np.array([{}, {}, {}], object)}, "cannot be read"),
    ],
)
def test_damaged_files(other: dict[str, Any], shown: str, tmp_path: Path, out: Path) -> None:
    path = saved(tmp_path / "s7.npz", **other)
    with pytest.raises(DataError, match=f"s7.npz.*{shown}"):
        list(read_lip_sentences(path))
    assert prepare_lip_points(path, out, {}, {}, None) == (0, 0, 1)
    write_tables(out)
    (row,) = rows(out / "report.tsv")
    assert row["clip"] == "landmarks/s7.npz" and shown in row["reason"] and row["kept"] == "no"


def test_a_file_that_cannot_be_read_any_more(tmp_path: Path, out: Path) -> None:
    """What was prepared from it is kept, except what must not be trained on since."""
    path = saved(tmp_path / "s7.npz")
    assert prepare_lip_points(path, out, {}, {}, None) == (3, 0, 0)
    whole = path.read_bytes()
    path.write_bytes(b"PK\x03\x04 and no more")
    assert prepare_lip_points(path, out, {("s7", "bbb"): "test"}, {}, None) == (0, 2, 0)
    write_tables(out)
    assert [clip.name for clip in load_clips(out)] == ["s7_aaa_p", "s7_ccc_p"]
    (row,) = rows(out / "report.tsv")
    assert row["kept"] == "yes" and row["reason"].endswith("its 2 sentences are kept as they were prepared before")
    path.write_bytes(whole)
    assert prepare_lip_points(path, out, {}, {}, None) == (1, 2, 0)
    path.write_bytes(b"")
    assert prepare_lip_points(path, out, {}, {"s7": "unseen"}, None) == (0, 0, 1)


def test_names_that_lead_elsewhere(tmp_path: Path, out: Path) -> None:
    path = saved(tmp_path / "s1.npz", clip=np.array(["aaa", "/../../../bbb", "c  c"]))
    (tmp_path / "bbb_p.npy").touch()
    assert prepare_lip_points(path, out, {("s1", "bbb"): "test"}, {}, None) == (1, 0, 2)
    assert (tmp_path / "bbb_p.npy").exists()
    write_tables(out)
    assert [clip.name for clip in load_clips(out)] == ["s1_aaa_p"]


def test_not_an_archive(tmp_path: Path) -> None:
    (tmp_path / "s1.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(DataError, match="cannot be read"):
        list(read_lip_sentences(tmp_path / "s1.npz"))


@pytest.mark.parametrize("text", ["bin", "bin blue now"])
def test_words_that_do_not_match(text: str, tmp_path: Path, out: Path) -> None:
    path = saved(tmp_path / "s1.npz", text=np.array([text, "lay red", "set"]))
    assert prepare_lip_points(path, out, {}, {}, None) == (2, 0, 1)
    write_tables(out)
    assert [row["clip"] for row in rows(out / "manifest.tsv")] == ["s1_bbb_p", "s1_ccc_p"]


def test_what_is_written(tmp_path: Path, out: Path) -> None:
    path = saved(tmp_path / "s1.npz")
    assert prepare_lip_points(path, out, {}, {}, None) == (3, 0, 0)
    write_tables(out)
    first, second, third = load_clips(out)
    assert (first.name, first.speaker, first.split, first.source) == ("s1_aaa_p", "s1", "train", "points")
    assert first.crops_path is None
    assert [(word.start, word.end, word.text) for word in second.words] == [(0, 4, "lay"), (7, 14, "red")]
    np.testing.assert_array_equal(third.points, list(read_lip_sentences(path))[2].points)


def test_again_and_further(tmp_path: Path, out: Path) -> None:
    path = saved(tmp_path / "s1.npz")
    assert prepare_lip_points(path, out, {}, {}, 1) == (1, 0, 0)
    before = (out / "points" / "s1_aaa_p.npy").stat().st_mtime_ns
    assert prepare_lip_points(path, out, {}, {}, None) == (2, 1, 0)
    assert (out / "points" / "s1_aaa_p.npy").stat().st_mtime_ns == before
    (out / "points" / "s1_bbb_p.npy").unlink()
    assert prepare_lip_points(path, out, {}, {}, 1) == (0, 2, 0)  # a smaller limit takes nothing away
    assert prepare_lip_points(path, out, {}, {}, None) == (1, 2, 0)


def test_what_must_not_be_trained_on_leaves(tmp_path: Path, out: Path) -> None:
    """Also when it had been prepared before the manifest named it."""
    path = saved(tmp_path / "s1.npz")
    prepare_lip_points(path, out, {}, {}, None)
    assert prepare_lip_points(path, out, {("s1", "bbb"): "test"}, {}, None) == (0, 2, 1)
    write_tables(out)
    assert [row["clip"] for row in rows(out / "manifest.tsv")] == ["s1_aaa_p", "s1_ccc_p"]
    assert rows(out / "report.tsv")[0]["reason"] == "of the split test, not to be trained on"
    assert not (out / "points" / "s1_bbb_p.npy").exists()
    assert prepare_lip_points(path, out, {}, {"s1": "unseen"}, None) == (0, 0, 3)


@pytest.mark.parametrize(
    ("speaker", "clip"),
    [("s1", "bbaf2n"), ("s1", "s1_bbaf2n"), ("S1", "S1_BBAF2N"), ("s1", "s1-bbaf2n"), ("s1", "s1/bbaf2n.mpg"),
     ("s1", "s1_bbaf2n_p"), (" s1 ", "bbaf2n ")],
)
def test_names_of_one_sentence(speaker: str, clip: str) -> None:
    assert sentence_key(speaker, clip) == ("s1", "bbaf2n")


def test_other_speakers_are_others() -> None:
    assert sentence_key("s11", "s11_bbaf2n") == ("s11", "bbaf2n")
    assert sentence_key("s1", "s11_bbaf2n") != sentence_key("s11", "s11_bbaf2n")


def test_through_the_whole_way(tmp_path: Path) -> None:
    """A corpus of lip points alone, with names spelled differently in its manifest."""
    source = tmp_path / "source"
    saved(source / "landmarks" / "s1.npz")
    saved(source / "landmarks" / "s2.npz")
    (source / "manifest.tsv").write_text(
        "clip\tspeaker\tsplit\ttext\nBBB\tS1\ttest\tlay red\ns2_zzz\ts2\tunseen\tset\ns3_q\ts3\tval\tset\n"
    )
    report = prepare_grid(source, tmp_path / "out", splits=["train"], processes=0, show=False)
    assert (report.prepared, report.left_out) == (2, 4)
    assert [row["clip"] for row in rows(tmp_path / "out" / "manifest.tsv")] == ["s1_aaa_p", "s1_ccc_p"]
    limited = prepare_grid(source, tmp_path / "few", splits=["train"], processes=0, limit=1, show=False)
    assert limited.prepared == 1


def test_the_corpus(grid_dir: Path, out: Path) -> None:
    """Nothing measured on is among it, its numbers are plausible, and all of it takes less than a minute."""
    files = sorted((grid_dir / "landmarks").glob("*.npz"))
    if not files:
        pytest.skip(f"no landmarks in {grid_dir}")
    reserved, strangers = reserved_of(read_corpus(grid_dir))
    assert not {file.stem for file in files} & set(strangers)
    start, counts = time.perf_counter(), np.zeros(3, int)
    for file in files[:2]:
        counts += prepare_lip_points(file, out, reserved, strangers, None)
    per_sentence_s = (time.perf_counter() - start) / counts.sum()
    assert per_sentence_s * 21_527 < 60
    record = Record.read(out / "records" / f"landmarks-{files[0].stem}.json")
    assert record is not None
    assert not {sentence_key(row["speaker"], row["clip"]) for row in record.clips} & set(reserved)
    mouth = np.concatenate([np.load(path) for path in sorted((out / "points").iterdir())[::20]])
    assert np.isfinite(mouth).all()
    width = mouth[:, 1, 0] - mouth[:, 0, 0]
    assert 0.8 < np.median(width) < 2.5 and (mouth[:, 4, 1] > mouth[:, 3, 1]).mean() > 0.99  # chin below the lips
