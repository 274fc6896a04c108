"""Many files: what is found, how it is named, and that one failure stops nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from lipread.batch import BatchReport, Done, Failure, Job, collect, require_jobs, transcribe_files
from lipread.errors import DataError, OutputError, VideoError
from lipread.values import Segment, Transcript, Word

SAID = Transcript("bin", (Segment(0, 1, "bin", (Word("bin", 0, 1, 0.9),), 0.9),), 1.0, 1.0, 0.9)
NO_FACE = replace(SAID, text="", segments=(), face_share=0.0, reason="no face was found in any of the 25 frames")


class PretendReader:
    """Reads a file's first word instead of lips: "bad", "fault", "wall", "stop" or anything else."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def transcribe(self, path: Path, *, speaker: object = "auto", progress: object = None) -> Transcript:
        self.seen.append(path.name)
        kind = path.read_text()
        if kind == "bad":
            raise VideoError(f"{path} is not a video")
        if kind == "full":
            raise OutputError("the disk is full")
        if kind == "fault":
            raise ZeroDivisionError("ours")
        if kind == "stop":
            raise KeyboardInterrupt
        return replace(NO_FACE if kind == "wall" else SAID, source=str(path))


def files(folder: Path, **kinds: str) -> Path:
    for name, kind in kinds.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(kind)
    return folder


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_folders_are_searched_in_depth_and_mirrored(tmp_path: Path) -> None:
    files(tmp_path, b_MP4="", a__x_mov="", a__deep__y_webm="", notes_txt="", a__z_captioned_mp4="")
    (tmp_path / ".hidden").mkdir()
    files(tmp_path / ".hidden", c_mp4="")
    jobs, failures = collect([tmp_path])
    assert [job.name for job in jobs] == ["b", "a/x", "a/deep/y"]
    assert jobs[1].source == tmp_path / "a" / "x.mov"
    assert failures == []


def test_a_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    files(tmp_path, talk_bin="", my_talk_mp4="")
    jobs, _ = collect([tmp_path / "talk.bin", str(tmp_path / "my.talk.mp4")])
    assert [job.name for job in jobs] == ["talk", "my.talk"]


def test_names_never_meet(tmp_path: Path) -> None:
    files(tmp_path, a__x_mp4="", a__x_mov="", b__x_mp4="", b__y_mp4="")
    jobs, _ = collect([tmp_path / "a", tmp_path / "b", tmp_path / "b" / "x.mp4"])
    assert [job.name for job in jobs] == ["x.mov", "x.mp4", "x.mp4-2", "y", "x.mp4-3"]


def test_useless_paths_are_named(tmp_path: Path) -> None:
    files(tmp_path, empty__notes_txt="")
    jobs, failures = collect([tmp_path / "empty", tmp_path / "gone.mp4"])
    assert jobs == []
    assert "empty: the folder holds no video" in failures[0].message
    assert "gone.mp4: there is no such file" in failures[1].message
    with pytest.raises(DataError, match=r"holds no video.*gone\.mp4"):
        require_jobs(jobs, failures)
    with pytest.raises(DataError, match="no video was given"):
        require_jobs([], [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    files(tmp_path, open__x_mp4="", closed__y_mp4="")
    (tmp_path / "closed").chmod(0)
    try:
        jobs, failures = collect([tmp_path])
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert [job.name for job in jobs] == ["open/x"]
    assert "cannot be opened" in failures[0].message


def test_one_failure_stops_nothing(tmp_path: Path) -> None:
    kinds = {"a_mp4": "bad", "b_mp4": "fine", "c_mp4": "fault", "d_mp4": "wall", "e__f_mp4": "fine", "g_mp4": "full"}
    source = files(tmp_path / "in", **kinds)
    told: list[tuple[str, type]] = []
    jobs, _ = collect([source])
    report = transcribe_files(
        PretendReader(),  # type: ignore[arg-type]
        jobs,
        tmp_path / "out",
        formats=("txt", "json"),
        finished=lambda job, outcome: told.append((job.name, type(outcome))),
    )
    assert told == [("a", Failure), ("b", Done), ("c", Failure), ("d", Done), ("g", Failure), ("e/f", Done)]
    assert names(tmp_path / "out") == ["b.json", "b.txt", "d.json", "d.txt", "e/f.json", "e/f.txt"]
    messages = [failure.message for failure in report.failures]
    assert messages[0] == f"{source}/a.mp4 is not a video"
    assert "unexpected ZeroDivisionError: ours" in messages[1]
    assert messages[1].startswith(f"{source}/c.mp4")
    assert "no face was found" in messages[2]
    assert messages[3] == f"{source}/g.mp4: the disk is full"
    assert report.exit_code == 1
    assert report.done[0].written == (tmp_path / "out/b.txt", tmp_path / "out/b.json")


def test_all_well_is_zero(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine")])
    assert transcribe_files(PretendReader(), jobs, tmp_path / "out").exit_code == 0  # type: ignore[arg-type]
    assert names(tmp_path / "out") == ["a.json", "a.srt", "a.tsv", "a.txt", "a.vtt"]


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine", b_mp4="stop", c_mp4="fine")])
    reader = PretendReader()
    report = transcribe_files(reader, jobs, tmp_path / "out", formats=("txt",))  # type: ignore[arg-type]
    assert (report.interrupted, report.exit_code, len(report.done)) == (True, 130, 1)
    assert reader.seen == ["a.mp4", "b.mp4"]
    assert names(tmp_path / "out") == ["a.txt"]


def test_skip_existing_wants_every_file(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine", b_mp4="fine")])
    out = files(tmp_path / "out", a_txt="", a_json="", b_txt="")
    reader = PretendReader()
    report = transcribe_files(reader, jobs, out, formats=("txt", "json"), skip_existing=True)  # type: ignore[arg-type]
    assert reader.seen == ["b.mp4"]
    assert [job.name for job in report.skipped] == ["a"]
    assert (out / "a.txt").read_text() == ""


def test_names_that_lead_out_fail_alone(tmp_path: Path) -> None:
    source = files(tmp_path, a_mp4="fine")
    report = transcribe_files(
        PretendReader(), [Job(source / "a.mp4", "../a")], tmp_path / "out"  # type: ignore[arg-type]
    )
    assert "leads out of the folder" in report.failures[0].message
    assert BatchReport().exit_code == 0
