"""Preparing clips: real ones and broken ones, side by side and one by one, broken off and started again."""

from __future__ import annotations

import csv
import dataclasses
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import Mock

import av
import numpy as np
import pytest

from lipread.audio import read_audio
from lipread.data import grid, prepare
from lipread.data.grid import prepare_grid
from lipread.data.prepare import ClipJob, Outcome, PrepareReport, Record, Seen, described, is_done
from lipread.errors import DataError, OutputError
from lipread.landmarks import FaceMesh
from lipread.mouth import MouthCropper, read_crops
from lipread.training.clips import load_clips
from lipread.workers import WorkerDied
from media import Array, write_video

REAL = ("s1_bbaf2n", "s2_bbaf1n", "s1_lrae3s")  # the last has 74 frames
BROKEN = ("blank", "gone", "half", "mismatch", "novideo", "short", "silent", "wall")


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def pictures(path: Path) -> list[Array]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def wall(frames: int) -> list[Array]:
    rng = np.random.default_rng(0)
    return [np.repeat(np.repeat(rng.integers(0, 255, (36, 45, 3), np.uint8), 8, 0), 8, 1) for _ in range(frames)]


@pytest.fixture(scope="module")
def source(grid_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus: three real clips, and one of every fault."""
    root = tmp_path_factory.mktemp("source")
    clips = root / "clips"
    clips.mkdir()
    known = {row["clip"]: row for row in rows(grid_dir / "manifest.tsv")}
    face = pictures(grid_dir / "clips" / "s1_bbaf2n.mp4")
    lines = []
    for name in REAL:
        shutil.copyfile(grid_dir / "clips" / f"{name}.mp4", clips / f"{name}.mp4")
        lines.append(f"{name}\t{known[name]['speaker']}\t{known[name]['split']}\t75\t{known[name]['text']}")
    (clips / "novideo.mp4").write_bytes(b"this is not a video" * 100)
    write_video(clips / "wall.mkv", wall(30))
    write_video(clips / "blank.mp4", [np.full((288, 360, 3), 90, np.uint8)] * 40)
    write_video(clips / "half.mp4", face[:20] + wall(40))
    write_video(clips / "short.mp4", face[:6])
    write_video(clips / "mismatch.mp4", face[:40])
    write_video(clips / "silent.mp4", face[:30])
    texts = {"mismatch": "set red", "silent": " "}
    lines += [f"{name}\tx\ttrain\t\t{texts.get(name, 'bin blue at f two now')}" for name in BROKEN]
    (root / "manifest.tsv").write_text("\n".join(["clip\tspeaker\tsplit\tframes\ttext", *lines, ""]))
    words = ["\t".join(row.values()) for row in rows(grid_dir / "words.tsv") if row["clip"] in REAL]
    words += ["mismatch\t0.1\t0.5\tset", "mismatch\t0.5\t1.0\tblue"]
    (root / "words.tsv").write_text("\n".join(["clip\tstart_s\tend_s\tword", *words, ""]))
    return root


@pytest.fixture(scope="module")
def prepared(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareReport]:
    """The corpus prepared by two workers."""
    out = tmp_path_factory.mktemp("prepared") / "deep" / "grid"
    return out, prepare_grid(source, out, processes=2, show=False)


def test_counts_and_manifest(prepared: tuple[Path, PrepareReport]) -> None:
    out, report = prepared
    assert (report.prepared, report.kept, report.left_out) == (4, 0, 7)
    assert report.seconds > 0
    table = {row["clip"]: row for row in rows(out / "manifest.tsv")}
    assert sorted(table) == sorted([*REAL, "mismatch"])
    assert table["s2_bbaf1n"] == {
        "clip": "s2_bbaf1n", "speaker": "s2", "split": "unseen", "source": "real", "streams": "crops,points,sound",
        "frames": "75", "text": "bin blue at f one now",
    }
    assert table["s1_lrae3s"]["frames"] == "74"
    assert table["mismatch"]["streams"] == "crops,points"


def test_report_says_why(prepared: tuple[Path, PrepareReport]) -> None:
    left: dict[str, str] = {}
    doubtful: dict[str, str] = {}
    for row in rows(prepared[0] / "report.tsv"):
        (left if row["kept"] == "no" else doubtful)[row["clip"]] = row["reason"]
    wanted = {
        "novideo": "unreadable", "wall": "no face", "blank": "grey or black picture in 40 of 40", "gone": "not there",
        "half": "of 60 frames", "short": "too short: 6 frames for 6 words", "silent": "no text",
    }
    assert sorted(left) == sorted(wanted)
    for clip, reason in wanted.items():
        assert reason in left[clip], clip
    assert "words do not match the text: 'set blue', 'set red'" in doubtful["mismatch"]
    assert "74, 75 expected" in doubtful["s1_lrae3s"]
    assert sorted(doubtful) == ["mismatch", "s1_lrae3s"]


def test_nothing_lies_around(prepared: tuple[Path, PrepareReport]) -> None:
    files = {str(path.relative_to(prepared[0])) for path in prepared[0].rglob("*") if path.is_file()}
    names = (*REAL, "mismatch")
    wanted = {f"crops/{name}.mp4" for name in names} | {f"points/{name}.npy" for name in names}
    wanted |= {f"sound/{name}.m4a" for name in REAL} | {"manifest.tsv", "words.tsv", "report.tsv", ".lock"}
    assert {file for file in files if not file.startswith("records")} == wanted


@pytest.mark.parametrize("name", REAL)
def test_streams_are_what_the_video_shows(name: str, source: Path, prepared: tuple[Path, PrepareReport]) -> None:
    """Against a plain loop over the decoded pictures."""
    out, _ = prepared
    cropper = MouthCropper()
    with FaceMesh(1) as mesh:
        for picture in pictures(source / "clips" / f"{name}.mp4"):
            found = mesh.detect(picture)
            cropper.push(picture, found[0] if len(found) else None)
    track = cropper.finish()
    points, crops = np.load(out / "points" / f"{name}.npy"), read_crops(out / "crops" / f"{name}.mp4")
    assert points.dtype == np.float32
    np.testing.assert_array_equal(points, track.points)
    assert crops.shape == track.crops.shape
    assert np.abs(crops.astype(int) - track.crops).mean() < 2.5
    assert (out / "crops" / f"{name}.mp4").stat().st_size <= 60_000


@pytest.mark.parametrize("name", REAL[:2])
def test_sound_is_in_step(name: str, source: Path, prepared: tuple[Path, PrepareReport]) -> None:
    frames = 75
    before = read_audio(source / "clips" / f"{name}.mp4", frames=frames)
    after = read_audio(prepared[0] / "sound" / f"{name}.m4a", frames=frames)
    assert before is not None and after is not None and before.shape == after.shape == (frames * 640,)
    spectrum = np.fft.rfft(before, 2**18).conj() * np.fft.rfft(after, 2**18)
    shift = int(np.argmax(np.fft.irfft(spectrum)))
    assert min(shift, 2**18 - shift) <= 32  # 2 ms
    assert np.corrcoef(before, after)[0, 1] > 0.9


def test_words_are_the_sources(source: Path, prepared: tuple[Path, PrepareReport]) -> None:
    def key(row: dict[str, str]) -> tuple[str, float]:
        return row["clip"], float(row["start_s"])

    wanted = [row for row in rows(source / "words.tsv") if row["clip"] in REAL]
    assert sorted(rows(prepared[0] / "words.tsv"), key=key) == sorted(wanted, key=key)


def test_training_reads_it(prepared: tuple[Path, PrepareReport]) -> None:
    clips = {clip.name: clip for clip in load_clips(prepared[0])}
    assert clips["s1_bbaf2n"].points.shape == (75, 9, 2)
    assert " ".join(word.text for word in clips["s1_bbaf2n"].words) == clips["s1_bbaf2n"].text
    assert clips["mismatch"].words == ()


def test_serial_equals_parallel(source: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path) -> None:
    prepare_grid(source, tmp_path, processes=0, speakers=["s1"], show=False)
    parallel = {row["clip"]: row for row in rows(prepared[0] / "manifest.tsv")}
    table = rows(tmp_path / "manifest.tsv")
    assert len(table) == 2
    for row in table:
        assert row == parallel[row["clip"]]
        one, two = (np.load(out / "points" / f"{row['clip']}.npy") for out in (tmp_path, prepared[0]))
        np.testing.assert_array_equal(one, two)
        first, second = ((out / "crops" / f"{row['clip']}.mp4").read_bytes() for out in (tmp_path, prepared[0]))
        assert first == second


def copy_of(prepared: tuple[Path, PrepareReport], target: Path) -> Path:
    return Path(shutil.copytree(prepared[0], target))


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_done_clips_are_kept(source: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path) -> None:
    out = copy_of(prepared, tmp_path / "out")
    tables = {name: (out / name).read_bytes() for name in ("manifest.tsv", "words.tsv", "report.tsv")}
    crops, sound = stamps(out / "crops"), stamps(out / "sound")
    (out / "points" / "s2_bbaf1n.npy").unlink()
    (out / "manifest.tsv").unlink()
    report = prepare_grid(source, out, processes=0, show=False)
    assert (report.prepared, report.kept, report.left_out) == (1, 3, 7)
    assert {name: (out / name).read_bytes() for name in tables} == tables
    now = stamps(out / "crops")
    assert now.pop("s2_bbaf1n.mp4") > crops.pop("s2_bbaf1n.mp4")
    assert now == crops
    assert stamps(out / "sound").keys() == sound.keys()


def test_labels_follow_the_source(source: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path) -> None:
    """A clip that moves to another split must not stay in training because it was prepared before."""
    out, other = copy_of(prepared, tmp_path / "out"), tmp_path / "source"
    shutil.copytree(source, other)
    text = (other / "manifest.tsv").read_text().replace("s1_lrae3s\ts1\ttrain", "s1_lrae3s\ts1\tval")
    (other / "manifest.tsv").write_text(text)
    crops = stamps(out / "crops")
    report = prepare_grid(other, out, processes=0, speakers=["s1"], splits=["test"], show=False)  # not asked for it
    assert (report.prepared, report.kept) == (0, 1)
    assert {row["clip"]: row["split"] for row in rows(out / "manifest.tsv")}["s1_lrae3s"] == "val"
    assert stamps(out / "crops") == crops


def without_videos(source: Path, target: Path) -> Path:
    """The tables of a corpus alone."""
    (target / "clips").mkdir(parents=True)
    for table in source.glob("*.tsv"):
        shutil.copyfile(table, target / table.name)
    return target


def reasons(out: Path) -> dict[str, set[str]]:
    """What the report says of each of the real clips that is kept."""
    table = rows(out / "report.tsv")
    return {name: {row["reason"] for row in table if (row["clip"], row["kept"]) == (name, "yes")} for name in REAL}


def test_a_clip_is_kept_where_its_video_is_gone(
    source: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path
) -> None:
    out, bare = copy_of(prepared, tmp_path / "out"), without_videos(source, tmp_path / "bare")
    tables = {name: (out / name).read_bytes() for name in ("manifest.tsv", "words.tsv", "report.tsv")}
    report = prepare_grid(bare, out, processes=0, show=False)
    assert (report.prepared, report.kept, report.left_out) == (0, 4, 7)
    assert {name: (out / name).read_bytes() for name in ("manifest.tsv", "words.tsv")} == {
        name: tables[name] for name in ("manifest.tsv", "words.tsv")
    }
    said = "its video is not there; kept as it was prepared before"
    assert all(said in why for why in reasons(out).values())
    assert prepare_grid(source, out, processes=0, show=False).kept == 4  # it is back
    assert {name: (out / name).read_bytes() for name in tables} == tables


def test_a_clip_is_not_kept_without_its_files(
    source: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path
) -> None:
    out, bare = copy_of(prepared, tmp_path / "out"), without_videos(source, tmp_path / "bare")
    (out / "sound" / "s1_bbaf2n.m4a").unlink()
    (bare / "manifest.tsv").write_text((bare / "manifest.tsv").read_text().replace("s1\ttrain", "s1\tval"))
    assert prepare_grid(bare, out, processes=0, speakers=["s1"], show=False).left_out == 1
    split = {row["clip"]: row["split"] for row in rows(out / "manifest.tsv")}
    assert "s1_bbaf2n" not in split and split["s1_lrae3s"] == "val"  # the labels of what is kept follow the source


@pytest.mark.parametrize("fault", ["unreadable", "ours", "death"])
def test_a_clip_is_kept_where_its_video_cannot_be_read_any_more(
    fault: str, source: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = copy_of(prepared, tmp_path / "out"), without_videos(source, tmp_path / "other")
    (other / "clips" / "s2_bbaf1n.mp4").write_bytes(b"no video")
    if fault == "ours":
        monkeypatch.setattr(prepare, "read_frames", lambda path: 1 / 0)
    if fault == "death":
        monkeypatch.setattr(grid, "in_processes", lambda work, jobs, _: ((job, WorkerDied("died")) for job in jobs))
    report = prepare_grid(other, out, processes=0, speakers=["s2"], show=False)
    assert (report.prepared, report.kept, report.left_out) == (0, 1, 0)
    (why,) = reasons(out)["s2_bbaf1n"]
    assert why.startswith({"ours": "unexpected Zero", "death": "died"}.get(fault, fault)) and "prepared before" in why
    assert {clip.name for clip in load_clips(out)} == {*REAL, "mismatch"}


def test_files_that_a_broken_run_mixed_are_not_believed(
    source: Path, prepared: tuple[Path, PrepareReport], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip whose video changed, and whose run ended between its files, is not done, nor kept without its video."""
    out, other = copy_of(prepared, tmp_path / "out"), without_videos(source, tmp_path / "other")
    shutil.copyfile(source / "clips" / "s1_bbaf2n.mp4", other / "clips" / "s2_bbaf1n.mp4")
    monkeypatch.setattr(prepare, "write_points", lambda path, points: 1 / 0)
    assert prepare_grid(other, out, processes=0, speakers=["s2"], show=False).left_out == 1
    assert "s2_bbaf1n" not in {row["clip"] for row in rows(out / "manifest.tsv")}


RUN = "import sys; from lipread.cli import main; sys.exit(main(['prepare', 'grid', *sys.argv[1:]]))"


@pytest.fixture
def started(source: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run of its own that has finished its first clip."""
    out = tmp_path / "out"
    command = [sys.executable, "-c", RUN, str(source), str(out), "--processes", "1", "--speakers", "s1,s2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        give_up = time.monotonic() + 60
        while not list((out / "records").glob("*.json")) and time.monotonic() < give_up and process.poll() is None:
            time.sleep(0.02)
        yield process, out
        if process.poll() is None:
            process.kill()


def test_killed_and_started_again(source: Path, started: tuple[subprocess.Popen[str], Path]) -> None:
    process, out = started
    process.kill()
    process.wait(10)
    first = stamps(out / "records")
    assert first
    (out / "crops" / ".s1_lrae3s.mp4.77.part").write_bytes(b"half a film")
    time.sleep(0.3)  # its worker ends with it
    report = prepare_grid(source, out, processes=0, speakers=["s1", "s2"], show=False)
    assert report.kept >= len(first) and report.kept + report.prepared == 3
    assert sorted(row["clip"] for row in rows(out / "manifest.tsv")) == sorted(REAL)
    assert not list(out.rglob("*.part"))


@pytest.mark.parametrize(("send", "what"), [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM)])
def test_interrupted(
    send: Callable[[int, int], None], what: signal.Signals, started: tuple[subprocess.Popen[str], Path]
) -> None:
    """Ctrl-C goes to every process of the terminal."""
    process, out = started
    send(process.pid, what)
    _, shown = process.communicate(timeout=30)
    done = {path.stem for path in (out / "records").glob("*.json")}
    assert {row["clip"] for row in rows(out / "manifest.tsv")} == done
    assert process.returncode in (0, 130)  # 0 where it was done before the signal came
    assert "Traceback" not in shown


def test_a_death_is_reported(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deadly(work: object, jobs: list[tuple[ClipJob, Path]], processes: int) -> Iterator[tuple[object, object]]:
        for job in jobs:
            yield job, WorkerDied("the worker process was killed twice") if job[0].name == "wall" else Outcome.PREPARED

    monkeypatch.setattr(grid, "in_processes", deadly)
    report = prepare_grid(source, tmp_path, show=False)
    assert (report.prepared, report.left_out) == (10, 1)
    (row,) = rows(tmp_path / "report.tsv")
    assert row == {"clip": "wall", "reason": "the worker process was killed twice", "kept": "no"}


def test_a_fault_of_ours_costs_one_clip(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "read_frames", lambda path: 1 / 0)
    report = prepare_grid(source, tmp_path, processes=0, speakers=["s2"], show=False)
    assert (report.prepared, report.left_out) == (0, 1)
    assert "unexpected ZeroDivisionError" in rows(tmp_path / "report.tsv")[0]["reason"]


def test_a_full_disk_ends_the_run(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, points: Array) -> None:
        raise OutputError(f"{path} cannot be written (No space left on device)")

    monkeypatch.setattr(prepare, "write_points", full)
    with pytest.raises(OutputError, match="No space left"):
        prepare_grid(source, tmp_path, processes=0, speakers=["s1", "s2"], show=False)
    assert rows(tmp_path / "manifest.tsv") == []
    assert not list((tmp_path / "records").iterdir())


def test_one_run_at_a_time(source: Path, tmp_path: Path) -> None:
    with prepare.only_run(tmp_path), pytest.raises(DataError, match="another run"):
        (tmp_path / ".film.mp4.1.part").touch()  # which the other run is writing
        prepare_grid(source, tmp_path, processes=0, show=False)
    assert (tmp_path / ".film.mp4.1.part").exists()


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", Mock(side_effect=OSError(errno.ENOLCK, "No locks available")))
    with prepare.only_run(tmp_path), prepare.only_run(tmp_path):
        pass


def test_a_folder_prepared_in_another_way_is_not_touched(source: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.tsv").write_text("clip\n")
    with pytest.raises(DataError, match="another way"):
        prepare_grid(source, tmp_path, show=False)
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.tsv"]


def test_a_file_in_place_of_the_folder(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(OutputError, match="choose another folder"):
        prepare_grid(source, tmp_path / "out", show=False)


def test_busy_crops_are_made_smaller(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    crops = (rng.normal(128, 25, (75, 24, 24))).clip(0, 255).astype(np.uint8).repeat(4, 1).repeat(4, 2)
    prepare.write_crops_mp4(tmp_path / "plain.mp4", crops)
    prepare.write_small_crops(tmp_path / "small.mp4", crops)
    assert (tmp_path / "small.mp4").stat().st_size < (tmp_path / "plain.mp4").stat().st_size
    assert len(read_crops(tmp_path / "small.mp4")) == 75


def test_described() -> None:
    job = ClipJob("a", "x", "train", "Bin  BLUE", None, ((0.0, 0.4, "bin"), (0.4, 3.5, "blue")), 75)
    record = described(job, Seen(1, 75, "crops,points"))
    assert record.clips[0]["text"] == "bin blue"
    assert [reason for _, reason, _ in record.report] == ["the last word ends at 3.50 s, the picture at 3.00 s"]
    foreign = described(dataclasses.replace(job, text="bin 2"), Seen(1, 75, "crops,points"))
    assert foreign.clips == [] and "cannot write: 2" in foreign.report[0][1]


def test_records_of_another_kind_are_not_believed(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    job = ClipJob("a", "x", "train", "bin", tmp_path)
    for text in ("", "[]", "{}", '{"clips": [{}], "seen": {"size": 1}}', '{"strange": 1}'):
        (tmp_path / "records" / "a.json").write_text(text)
        assert not is_done(job, tmp_path)
    assert Record.read(tmp_path / "records" / "b.json") is None


@pytest.mark.parametrize(("frames", "words", "good"), [(75, 6, True), (12, 6, True), (11, 6, False), (9, 1, False)])
def test_length(frames: int, words: int, good: bool) -> None:
    assert (prepare.length_problem(frames, words) == "") is good
