"""Many files: one failure stops nothing, what is done is left out, and the record says what became of each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lipread import __version__, language_models
from lipread.batch import BatchReport, Done, Recipe, transcribe_files
from lipread.engines import HereEngine
from lipread.errors import OutputError, VideoError
from lipread.inputs import Failure, Job, collect
from lipread.run_record import RECORD_NAME, FileState, RunRecord
from lipread.values import Segment, Transcript, Word

WORDS = (Segment(0, 1, "bin", (Word("bin", 0, 1, 0.9),), 0.9),)
SAID = Transcript("bin", WORDS, 1.0, 1.0, 0.9, stage_s={"network": 0.25})
NO_FACE = replace(SAID, text="", segments=(), face_share=0.0, reason="no face was found in any of the 25 frames")


class PretendReader:
    """Reads a file's first word instead of lips: "bad", "fault", "wall", "stop", "torn" or anything else."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.device = "cpu"

    def transcribe(self, path: Path, *, heard: Callable[[Segment], None] | None = None, **_: object) -> Transcript:
        self.seen.append(path.name)
        kind = path.read_text()
        if heard and kind in ("fine", "torn", "stop"):
            heard(WORDS[0])
        if kind == "torn":
            raise VideoError(f"{path} ends too early")
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
    reader: PretendReader, jobs: list[Job], out: Path, *, formats: tuple[str, ...] = ("txt",), live: bool = False,
    **more: Any,
) -> BatchReport:
    recipe = Recipe(out, formats, live=live)
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
    assert messages[2] == f"{source}/g.mp4: the disk is full"
    assert len(messages) == 3
    assert (report.done, report.empty, report.failed, report.skipped, report.exit_code) == (2, 1, 3, 0, 1)
    assert report.video_s == 3.0


def test_all_well_is_zero(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine")])
    report = read(PretendReader(), jobs, tmp_path / "out", formats=Recipe(tmp_path).formats)
    assert report.exit_code == BatchReport().exit_code == 0
    assert names(tmp_path / "out") == ["a.json", "a.srt", "a.tsv", "a.txt", "a.vtt", RECORD_NAME]


def test_where_no_face_is_seen_nothing_is_said_and_nothing_failed(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine", d_mp4="wall")])
    report = read(PretendReader(), jobs, tmp_path / "out")
    assert (report.done, report.empty, report.failed, report.exit_code) == (1, 1, 0, 0)
    assert [each.message for each in report.faceless] == [f"{jobs[1].source}: {NO_FACE.reason}"]
    assert [line["result"] for line in lines(tmp_path / "out")] == ["done", "empty"]
    again = read(PretendReader(), jobs, tmp_path / "out")
    assert (again.skipped, again.failed, again.exit_code) == (2, 0, 0)


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
    for each in (bad, fine, wall):
        assert 0.0 <= each["took_s"] < 10.0
        assert (each["lipread"], each["device"]) == (__version__, "cpu")
    with RunRecord(tmp_path / "out") as record:  # a new version does not mean that all is read again
        assert record.says_done(fine["key"], "b", FileState.of(source / "b.mp4"), {"model": "small 12"})


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


def test_a_video_is_never_replaced_by_its_text(tmp_path: Path) -> None:
    source = files(tmp_path, a_txt="a film with an odd name", b_mp4="fine")
    jobs, _ = collect([source / "a.txt", source / "b.mp4"])
    reader = PretendReader()
    report = read(reader, jobs, source)
    assert "a.txt is the video itself and would be replaced" in report.failures[0].message
    assert (reader.seen, report.done, report.exit_code) == (["b.mp4"], 1, 1)
    assert (source / "a.txt").read_text() == "a film with an odd name"


def test_a_video_is_not_taken_for_what_a_live_run_left(tmp_path: Path) -> None:
    source = files(tmp_path, talk_live="a film with an odd name")
    jobs, _ = collect([source / "talk.live"])
    report = read(PretendReader(), jobs, source, live=True)
    assert "talk.live is the video itself and would be replaced" in report.failures[0].message
    assert (source / "talk.live").read_text() == "a film with an odd name"


def test_no_input_is_replaced_by_the_output_of_another(tmp_path: Path) -> None:
    source = files(tmp_path, a_mp4="fine", a_captioned_mp4="fine too")
    jobs, _ = collect([source / "a.mp4", source / "a.captioned.mp4"])
    with pytest.raises(OutputError, match=r"a\.captioned\.mp4 is to be read, and would be replaced .* of .*a\.mp4"):
        Recipe(source, ("txt",), captioned=True).require_inputs_kept(jobs)
    Recipe(source, ("txt",)).require_inputs_kept(jobs)
    Recipe(tmp_path / "out", ("txt",), captioned=True).require_inputs_kept(jobs)
    jobs, _ = collect([source / "a.mp4", files(tmp_path, sub__a_live="a film") / "*" / "*.live"])
    with pytest.raises(OutputError, match=r"a\.live is to be read"):
        Recipe(tmp_path / "sub", ("txt",), live=True).require_inputs_kept(jobs)


def test_a_video_that_is_read_again_counts_once(tmp_path: Path) -> None:
    report, growing, other = BatchReport(), Job(tmp_path / "a.mp4", "a"), Job(tmp_path / "b.mp4", "b")
    report.take(other, Failure(str(other.source), "no video"))
    for outcome in (Failure(str(growing.source), "cut off"), Failure(str(growing.source), "cut off again")):
        report.take(growing, outcome)
        assert (report.failed, report.failures[-1]) == (2, outcome)
    for said, counts in ((NO_FACE, (0, 1, 1)), (SAID, (1, 0, 1)), (SAID, (1, 0, 1))):
        report.take(growing, Done(growing, said, ()))
        assert (report.done, report.empty, report.failed) == counts
    assert not report.faceless


def test_reasons_are_told_where_the_record_cannot_be_written(tmp_path: Path) -> None:
    class FullDisk(RunRecord):
        def append(self, line: Any) -> None:
            if line["name"] == "b":
                raise OutputError("the record cannot be written")
            super().append(line)

    jobs, _ = collect([files(tmp_path / "in", a_mp4="bad", b_mp4="bad", c_mp4="fine")])
    recipe, report = Recipe(tmp_path / "out", ("txt",)), BatchReport()
    with FullDisk(tmp_path / "out") as record, pytest.raises(OutputError, match="record"):
        transcribe_files(HereEngine(PretendReader(), recipe), jobs, recipe, record, report=report)  # type: ignore[arg-type]
    assert [each.source for each in report.failures] == [str(job.source) for job in jobs[:2]]


@pytest.mark.parametrize("live", [False, True])
def test_a_link_that_leads_out_is_named_before_anything_is_read(live: bool, tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a__b_mp4="fine", c_mp4="fine")])
    out = files(tmp_path / "out", c_json="")
    (tmp_path / "elsewhere").mkdir()
    (out / "a").symlink_to(tmp_path / "elsewhere")
    reader = PretendReader()
    report = read(reader, jobs, out, live=live)
    (failed,) = report.failures
    assert f"{out}/a/b.txt: a link" in failed.message and "remove the link or choose another" in failed.message
    assert (reader.seen, report.done, list((tmp_path / "elsewhere").iterdir())) == (["c.mp4"], 1, [])


def test_what_is_said_is_in_a_file_until_the_outputs_are_there(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a__b_mp4="fine", c_mp4="torn", d_mp4="bad", z__e_mp4="stop")])
    out = files(tmp_path / "out", c_live="of a run that was killed")
    grown: list[tuple[str, bool]] = []

    def told(job: Job, said: object, _: float) -> None:
        if isinstance(said, Segment):
            grown.append(((out / f"{job.name}.live").read_text(), (out / f"{job.name}.txt").exists()))

    report = read(PretendReader(), jobs, out, live=True, progress=told)
    line = "    0.00 s  bin\n"
    assert grown == [(line, False)] * 3
    assert (report.done, report.failed, report.interrupted) == (1, 2, True)
    assert names(out) == ["a/b.txt", "c.live", RECORD_NAME, "z/e.live"]  # where reading broke off it is all there is
    assert (out / "c.live").read_text() == line


def test_live_files_are_made_only_where_they_are_asked_for_and_can_be(tmp_path: Path) -> None:
    assert Recipe(tmp_path).live_file("a") is None
    assert Recipe("memory://out", live=True).live_file("a") is None
    jobs, _ = collect([files(tmp_path / "in", a_mp4="torn", b_mp4="fine")])
    (tmp_path / "out" / "b.live").mkdir(parents=True)
    read(PretendReader(), jobs, tmp_path / "out", progress=lambda *_: None)
    assert names(tmp_path / "out") == ["b.txt", RECORD_NAME]
    report = read(PretendReader(), jobs[1:], tmp_path / "out", live=True, skip_existing=False)
    assert "b.live cannot be written" in report.failures[0].message and "--live" in report.failures[0].message


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here to stand for a full disk")
def test_on_a_full_disk_no_empty_live_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open

    def full(path: Any, mode: str = "r", **more: Any) -> Any:
        real(path, mode, **more).close()  # a name takes no room
        return real("/dev/full" if str(path).endswith(".live") else path, mode, **more)

    monkeypatch.setattr("builtins.open", full)
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine")])
    report = read(PretendReader(), jobs, tmp_path / "out", live=True)
    assert "a.live cannot be written (No space left on device); free some space" in report.failures[0].message
    assert names(tmp_path / "out") == [RECORD_NAME]


def test_only_what_a_live_run_left_goes_when_the_outputs_are_there(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", **{f"{name}_mp4": "fine" for name in "abcdef"}, g_mp4="torn")])
    ours = "    0.00 s  bin\n12345.50 s  Speaker 1: blue\n"
    own = {"b_live": f"{ours}my note\n", "c_live": "a film with an odd name", "d_live": ""}
    out = files(tmp_path / "out", a_live=ours, g_live=ours, **own)
    (out / "e.live").symlink_to(files(tmp_path, kept_txt=ours) / "kept.txt")
    (out / "f.live").mkdir()
    read(PretendReader(), jobs, out)
    left = ["b.live", "c.live", "d.live", "e.live", "g.live"]
    assert [each for each in names(out) if each.endswith(".live")] == left and (out / "f.live").is_dir()
    (out / "a.live").write_text(ours)
    report = read(PretendReader(), jobs, out)
    assert report.skipped == 6 and not (out / "a.live").exists()  # of a video that is left out, too
    (out / "a.live").write_text(ours)
    assert read(PretendReader(), [Job(out / "a.live", "a")], out, skip_existing=True).skipped == 1
    assert (out / "a.live").exists()  # what is to be read


def test_a_folder_that_is_called_as_an_output_is_named_before_anything_is_read(tmp_path: Path) -> None:
    jobs, _ = collect([files(tmp_path / "in", a_mp4="fine")])
    (tmp_path / "out" / "a.srt").mkdir(parents=True)
    reader = PretendReader()
    report = read(reader, jobs, tmp_path / "out", formats=("txt", "srt"))
    assert f"{tmp_path}/out/a.srt is a folder" in report.failures[0].message
    assert (reader.seen, names(tmp_path / "out")) == ([], [RECORD_NAME])


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "b.mp4").symlink_to("b.mp4")
    report = read(PretendReader(), collect([tmp_path])[0], tmp_path / "out")
    for name, to in (("a", f"{tmp_path}/gone.mp4"), ("b", "b.mp4")):
        message = f"{tmp_path}/{name}.mp4 is a link that leads nowhere: no file is at {to}; mend or leave it out"
        assert message in [each.message for each in report.failures]


def test_options_that_change_the_outputs_are_in_the_record(tmp_path: Path) -> None:
    lexicon = files(tmp_path, words_txt="bin") / "words.txt"
    options = Recipe(tmp_path, ("txt",)).options({"lexicon": str(lexicon), "nbest": 5})
    assert (options["nbest"], options["formats"], options["captioned"]) == (5, ["txt"], False)
    lexicon.write_text("blue")
    assert Recipe(tmp_path, ("txt",)).options({"lexicon": str(lexicon), "nbest": 5}) != options


def test_a_bundled_language_model_that_was_tuned_anew_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ngram = files(tmp_path, tuned_arpa="") / "tuned.arpa"
    monkeypatch.setattr(language_models, "BUNDLED_FOLDER", tmp_path)
    before = Recipe(tmp_path).options({"lm": "tuned"})
    ngram.with_name("tuned.arpa.tuned.json").write_text('{"weight": 1}')
    assert Recipe(tmp_path).options({"lm": "tuned"}) != before
    assert Recipe(tmp_path).options({"lm": None})["lm"] is None


def test_a_video_that_is_read_well_the_next_time_has_not_failed(tmp_path: Path) -> None:
    """With --watch a file may be seen half-copied, fail, and be whole a moment later."""
    (path := files(tmp_path / "in", a_mp4="bad", b_mp4="bad") / "a.mp4")

    def found() -> Iterator[Job]:
        yield from collect([tmp_path / "in"])[0]
        path.write_text("fine")
        yield Job(path, "a")

    report = read(PretendReader(), found(), tmp_path / "out")  # type: ignore[arg-type]
    assert (report.done, [Path(each.source).name for each in report.failures]) == (1, ["b.mp4"])
    assert report.exit_code == 1
