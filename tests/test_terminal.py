"""What the terminal shows: tables, reports, pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from lipread.batch import Done
from lipread.errors import OutputError
from lipread.evaluate import ClipResult, summarise
from lipread.inputs import Failure, Job
from lipread.terminal import BatchDisplay, ClipDisplay, show_evaluation, show_transcript, told, write_png
from lipread.values import Segment
from test_outputs import NOTHING, TALK


def test_transcript_on_stdout_and_warnings_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_transcript(TALK, words=True)
    shown = capsys.readouterr()
    assert shown.out.startswith("talk.mp4: bin blue now\n")
    assert "1.23" in shown.out
    assert shown.err == "lipread: warning: talk.mp4: No face was found from 2.00 to 2.90 s.\n"
    show_transcript(NOTHING, words=True)
    assert capsys.readouterr().out == ": (nothing: no face was found in any of the 50 frames)\n"


def test_what_was_read_from_what_and_why_is_said_with_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    word = TALK.segments[0].words[0]
    told = [("both", "it goes with the lips")] * 2 + [("video", "the sound is silent here")]
    segments = tuple(
        Segment(start, start + 1.0, "bin", (word,), 0.9, modality=modality, why=why)
        for start, (modality, why) in enumerate(told)
    )
    show_transcript(replace(TALK, segments=segments, warnings=()), words=True)
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if "read from" in line] == [
        "  0.00-2.00 s read from both: it goes with the lips",
        "  2.00-3.00 s read from the lips: the sound is silent here",
    ]
    show_transcript(replace(TALK, segments=segments, warnings=()))
    assert "read from" not in capsys.readouterr().out


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    show_transcript(replace(TALK, source="[red]talk[/red].mp4", warnings=()))
    assert capsys.readouterr().out.startswith("[red]talk[/red].mp4: ")


def test_evaluation_shows_rates_intervals_and_confusions(capsys: pytest.CaptureFixture[str]) -> None:
    results = [
        ClipResult("a", "s1", "bin blue at f", "bin blue at s", 0.9, 3.0),
        ClipResult("b", "s2", "set red", "", 0.0, 3.0, "the lips hardly move"),
    ]
    stage_s = {"video": 0.6, "network": 1.2}
    show_evaluation(summarise(results, model="small", search="beam", way="video file to text", stage_s=stage_s))
    shown = capsys.readouterr().out
    for part in ("small, beam, video file to text", "25.0", "100.0", "50.0", "f→s 1", "1 of 2 clips gave", "tor 0.300"):
        assert part in shown, part


def test_display_takes_any_progress_without_a_terminal() -> None:
    with ClipDisplay(2) as display:
        display.progress("video", 0.5)
        display.progress("network", 1.0)
        display.end_one()


def jobs_of(folder: Path, **sizes: int) -> list[Job]:
    for name, size in sizes.items():
        (folder / f"{name}.mp4").write_bytes(bytes(size))
    return [Job(folder / f"{name}.mp4", name) for name in sizes]


def done(job: Job) -> Done:
    return Done(job, TALK, ())


def test_a_large_video_has_more_room_in_the_bar_and_a_skipped_one_has_none(tmp_path: Path) -> None:
    small, large, skipped = jobs_of(tmp_path, small=10, large=990, skipped=5000)
    with BatchDisplay([small, large, skipped], quiet=True) as display:
        assert display.share == 0.0
        display.finished(skipped, None)
        assert display.share == 0.0
        display.finished(small, done(small))
        assert display.share == pytest.approx(0.01)
        display.progress_of(large, "video", 0.5)
        assert display.share == pytest.approx(0.01 + 0.99 * 0.45)
        display.progress_of(large, "network", 1.0)
        assert display.share == pytest.approx(1.0)
        display.finished(large, Failure("large.mp4", "it is torn"))
        assert display.share == pytest.approx(1.0)


def test_the_bar_goes_on_from_its_speed_when_one_is_skipped(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, a=100, b=100, c=100, d=100)
    with BatchDisplay(jobs) as display:
        (task,) = display._bar.tasks
        now_s = 0.0
        display._bar.get_time = lambda: now_s
        display._bar.start_task(task.id)
        for part in range(1, 6):
            now_s += 1.0
            display.progress_of(jobs[0], "network", part / 5)
        before = task.time_remaining
        display.finished(jobs[1], None)
        display.finished(jobs[2], None)
        assert before and task.time_remaining
        assert task.time_remaining == pytest.approx(before / 3, abs=1.0)


def test_videos_behind_urls_and_videos_that_come_as_they_like_have_room_too(tmp_path: Path) -> None:
    a, b = jobs_of(tmp_path, a=100, b=300)
    far, empty = Job("s3://bucket/far.mp4", "far"), jobs_of(tmp_path, empty=0)[0]
    with BatchDisplay([a, b, far], quiet=True) as display:
        display.finished(far, done(far))
        assert display.share == pytest.approx(1 / 3)  # as much as the others on average
    with BatchDisplay([far, empty], quiet=True) as display:
        display.finished(far, done(far))
        display.finished(empty, done(empty))
        assert display.share == 1.0
    with BatchDisplay(None, quiet=True) as display:
        display.progress_of(a, "network", 1.0)
        display.progress_of(b, "video", 0.0)
        assert display.share == pytest.approx(0.25)
        display.finished(a, done(a))
        display.finished(b, done(b))
        display.finished(a, None)  # it changed, but not really
        assert display.share == 1.0


def test_png_round_trip_and_refusal(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    write_png(tmp_path / "strip.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "strip.png"))[..., ::-1], image)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"strip\.png cannot be written"):
        write_png(tmp_path / "file" / "strip.png", image)


def test_of_one_video_the_text_is_shown_as_it_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job, segment = Job(Path("talk.mp4"), "talk"), TALK.segments[0]
    for terminal, videos, quiet in ((True, 1, False), (False, 1, False), (True, 2, False), (True, 1, True)):
        monkeypatch.setattr(told, "_force_terminal", terminal)
        with BatchDisplay([job, *[Job(Path("b.mp4"), "b")] * (videos - 1)], quiet=quiet) as display:
            display.progress_of(job, segment, 0.0)
        live = terminal and videos == 1 and not quiet
        assert ("    0.50 s  bin blue" in capsys.readouterr().out) == live


def test_of_many_or_into_a_file_it_is_shown_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    job, segment = Job(Path("a/talk.mp4"), "talk"), TALK.segments[0]
    expected = {1: "    0.50 s  bin blue\n", 2: "a/talk.mp4:     0.50 s  bin blue\n"}
    for videos, live, quiet in ((1, True, False), (2, True, False), (1, False, False), (2, True, True)):
        with BatchDisplay([job, *[Job(Path("b.mp4"), "b")] * (videos - 1)], live=live, quiet=quiet) as display:
            display.progress_of(job, segment, 0.0)
        assert capsys.readouterr().out == (expected[videos] if live and not quiet else "")
