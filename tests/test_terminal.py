"""What the terminal shows: tables, reports, pictures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lipread.errors import OutputError
from lipread.evaluate import ClipResult, summarise
from lipread.inputs import Job
from lipread.terminal import BatchDisplay, out, show_evaluation, show_transcript, write_png
from test_outputs import NOTHING, TALK


def test_transcript_on_stdout_and_warnings_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show_transcript(TALK, words=True)
    shown = capsys.readouterr()
    assert shown.out.startswith("talk.mp4: bin blue now\n")
    assert "1.23" in shown.out
    assert shown.err == "lipread: warning: talk.mp4: No face was found from 2.00 to 2.90 s.\n"
    show_transcript(NOTHING, words=True)
    assert capsys.readouterr().out == ": (nothing: no face was found in any of the 50 frames)\n"


def test_brackets_in_names_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

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
    with BatchDisplay(2) as display:
        display.progress("video", 0.5)
        display.progress("network", 1.0)
        display.end_one()


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
        monkeypatch.setattr(out, "_force_terminal", terminal)
        with BatchDisplay(videos, quiet=quiet) as display:
            display.progress_of(job, segment, 0.0)
        live = terminal and videos == 1 and not quiet
        assert ("    0.50 s  bin blue" in capsys.readouterr().out) == live


def test_of_many_or_into_a_file_it_is_shown_where_that_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    job, segment = Job(Path("a/talk.mp4"), "talk"), TALK.segments[0]
    expected = {1: "    0.50 s  bin blue\n", 2: "a/talk.mp4:     0.50 s  bin blue\n"}
    for videos, live, quiet in ((1, True, False), (2, True, False), (1, False, False), (2, True, True)):
        with BatchDisplay(videos, live=live, quiet=quiet) as display:
            display.progress_of(job, segment, 0.0)
        assert capsys.readouterr().out == (expected[videos] if live and not quiet else "")
