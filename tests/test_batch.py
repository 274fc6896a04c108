"""Many files: one failure stops nothing, what is done is left out, and the record says what became of each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from lipread.batch import BatchReport, Done, Recipe, transcribe_files
from lipread.engines import HereEngine
from lipread.errors import OutputError, VideoError
from lipread.inputs import Failure, Job, collect
from lipread.run_record import RECORD_NAME, RunRecord
from lipread.values import Segment, Transcript, Word

WORDS = (Segment(0, 1, "bin", (Word("bin", 0, 1, 0.9),), 0.9),)
SAID = Transcript("bin", WORDS, 1.0, 1.0, 0.9, stage_s={"network": 0.25})
NO_FACE = replace(SAID, text="", segments=(), face_share=0.0, reason="no face was found in any of the 25 frames")


class PretendReader:
    """Reads a file's first word instead of lips: "bad", "fault", "wall", "stop" or anything else."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def transcribe(self, path: Path, *, speaker: object = "auto", **_: object) -> Transcript:
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


def read(
    reader: PretendReader, jobs: list[Job], out: Path, *, formats: tuple[str, ...] = ("txt",), **more: Any
) -> BatchReport:
    recipe = Recipe(out, formats)
    with RunRecord(out) as record:
        return transcribe_files(HereEngine(reader, recipe), jobs, recipe, record, **more)  # type: ignore[arg-type]


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / RECORD_NAME).read_text().splitlines()]


def test_one_failure_stops_nothing(tmp_path: Path) -> None:
    kinds = {"a_mp4": "bad", "b_mp4": "fine", "c_mp4": "fault", "d_mp4": "wall", "e__f_mp4": "fine", "g_mp4": "full"}
    source, out = files(tmp_path / "in", **kinds), tmp_path / "out"
    told: list[tuple[str, type]] = []
    jobs, _ = collect([source])
    report = read(
        PretendReader(), jobs, out, formats=("txt", "json"),
        finished=lambda job, outcome: told.append((job.name, type(outcome))),
    )
    assert told == [("a", Failure), ("b", Done), ("c", Failure), ("d", Done), ("g", Failure), ("e/f", Done)]
    outputs = ["b.json", "b.txt", "d.json", "d.txt", "e/f.json", "e/f.txt"]
    assert names(out) == [*outputs, RECORD_NAME]
    messages = [failure.message for failure in report.failures]
    assert messages[0] == f"{source}/a.mp4 is not a video"
    assert "unexpected ZeroDivisionError: ours" in messages[1]
    assert messages[1].startswith(f"{source}/c.mp4")
    assert "no face was found" in messages[2]
    assert messages[3] == f"{source}/g.mp4: the disk is full"
    assert (report.done, report.empty, report.failed, report.skipped, report.exit_code) == (2, 1, 3, 0, 1)
    assert report.video_s == 3.0


def test_all_well_is_zero(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine")])
    report = read(PretendReader(), jobs, tmp_path / "out", formats=Recipe(tmp_path).formats)
    assert report.exit_code == BatchReport().exit_code == 0
    assert names(tmp_path / "out") == ["a.json", "a.srt", "a.tsv", "a.txt", "a.vtt", RECORD_NAME]


def test_the_record_has_a_line_for_every_video(tmp_path: Path) -> None:
    source = files(tmp_path / "in", a_mp4="bad", b_mp4="fine", d_mp4="wall")
    jobs, _ = collect([source])
    read(PretendReader(), jobs, tmp_path / "out", settings={"model": "small 12", "options": {"speaker": 1}})
    bad, fine, wall = lines(tmp_path / "out")
    assert (bad["result"], fine["result"], wall["result"]) == ("failed", "done", "empty")
    assert bad["error"] == f"{source}/a.mp4 is not a video"
    assert (fine["input"], fine["name"], fine["error"]) == (f"{source}/b.mp4", "b", None)
    assert (fine["size"], fine["mtime_ns"]) == (4, (source / "b.mp4").stat().st_mtime_ns)
    assert (fine["model"], fine["options"]) == ("small 12", {"speaker": 1})
    assert fine["video_s"] == 1.0
    assert fine["stage_seconds"] == {"network": 0.25}
    assert wall["error"].startswith("no face was found")


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine", b_mp4="stop", c_mp4="fine")])
    reader = PretendReader()
    report = read(reader, jobs, tmp_path / "out")
    assert (report.interrupted, report.exit_code, report.done) == (True, 130, 1)
    assert reader.seen == ["a.mp4", "b.mp4"]
    assert names(tmp_path / "out") == ["a.txt", RECORD_NAME]


def test_a_second_run_reads_only_what_changed_or_failed(tmp_path: Path) -> None:
    source = files(tmp_path / "in", a_mp4="fine", b_mp4="bad", c_mp4="fine", d_mp4="wall", e_mp4="fine")
    out = tmp_path / "out"
    jobs, _ = collect([source])
    read(PretendReader(), jobs, out, settings={"model": "small"})
    (source / "c.mp4").write_text("finer")
    (out / "e.txt").unlink()
    again = PretendReader()
    report = read(again, jobs, out, settings={"model": "small"})
    assert again.seen == ["b.mp4", "c.mp4", "e.mp4"]
    assert (report.done, report.skipped, report.failed, report.exit_code) == (2, 2, 1, 1)
    other_model = PretendReader()
    read(other_model, jobs, out, settings={"model": "large"})
    assert len(other_model.seen) == 5


def test_skip_existing_wants_every_file_and_no_skipping_reads_all(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine", b_mp4="fine")])
    out = files(tmp_path / "out", a_txt="", a_json="", b_txt="")
    by_record, by_files, everything = PretendReader(), PretendReader(), PretendReader()
    report = read(by_files, jobs, out, formats=("txt", "json"), skip_existing=True)
    assert (by_files.seen, report.skipped) == (["b.mp4"], 1)
    assert (out / "a.txt").read_text() == ""
    read(by_record, jobs, out, formats=("txt", "json"))
    assert by_record.seen == ["a.mp4"]  # nothing says where its files came from
    read(everything, jobs, out, formats=("txt", "json"), skip_existing=False)
    assert everything.seen == ["a.mp4", "b.mp4"]


def test_names_that_lead_out_fail_alone(tmp_path: Path) -> None:
    source = files(tmp_path, a_mp4="fine")
    report = read(PretendReader(), [Job(source / "a.mp4", "../a")], tmp_path / "out")
    assert "leads out of the folder" in report.failures[0].message
    assert not (tmp_path / "a.txt").exists()


def test_options_that_change_the_outputs_are_in_the_record(tmp_path: Path) -> None:
    lexicon = files(tmp_path, words_txt="bin") / "words.txt"
    options = Recipe(tmp_path, ("txt",)).options({"lexicon": str(lexicon), "nbest": 5})
    assert (options["nbest"], options["formats"], options["captioned"]) == (5, ["txt"], False)
    lexicon.write_text("blue")
    assert Recipe(tmp_path, ("txt",)).options({"lexicon": str(lexicon), "nbest": 5}) != options
