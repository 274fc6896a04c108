"""`lipread transcribe`: what is printed and written, what is left out, and lists, plans, watching and Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lipread import cli, cli_transcribe, engines, watching
from lipread.run_record import RECORD_NAME
from lipread.watching import Watch
from shell import command, one_line, outputs_of, record_of, run, talking, tiny_checkpoint, wall
from test_batch import PretendReader, files, names
from test_cli import run_unheard


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> PretendReader:
    """In this process: with --workers 0."""
    pretend = PretendReader()
    monkeypatch.setattr(cli_transcribe, "load_reader", lambda *_: pretend)
    return pretend


def transcribe(*arguments: str | Path) -> int:
    return cli.main(["transcribe", *map(str, arguments), "--workers", "0"])


def counts(printed: str) -> list[str]:
    """The cells of the table at the end: done, empty, failed, skipped, hours, factor."""
    (row,) = [line for line in printed.splitlines() if line.startswith("│")]
    return [cell.strip() for cell in row.strip("│").split("│")]


def test_transcribe_prints_text_and_writes_files(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = files(tmp_path / "in", a_mp4="fine", b_mp4="fine")
    assert transcribe(source, "-o", tmp_path / "out", "-f", "txt,json") == 0
    printed = capsys.readouterr()
    assert f"{source}/a.mp4: bin\n" in printed.out
    assert counts(printed.out)[:5] == ["2", "0", "0", "0", "0.001"]
    assert str(tmp_path / "out") in printed.out
    assert names(tmp_path / "out") == ["a.json", "a.txt", "b.json", "b.txt", RECORD_NAME]


def test_failures_are_told_at_the_end_and_in_the_exit_code(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = files(tmp_path / "in", a_mp4="bad", b_mp4="fine", c_mp4="wall")
    code = transcribe(source, tmp_path / "gone.mov", "-o", tmp_path / "out", "-f", "txt")
    printed = capsys.readouterr()
    assert code == 1
    assert counts(printed.out)[:4] == ["1", "1", "2", "0"]
    errors = [line for line in printed.err.splitlines() if line.startswith("lipread: error:")]
    found = [re.search(r"(gone\.mov|a\.mp4)", line) for line in errors]
    assert [match and match[0] for match in found] == ["gone.mov", "a.mp4"]


def test_where_no_face_is_seen_is_told_and_counts_as_empty_each_time(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = files(tmp_path / "in", b_mp4="fine", c_mp4="wall")
    for expected in (["1", "1", "0", "0"], ["0", "0", "0", "2"]):
        assert transcribe(source, "-o", tmp_path / "out", "-f", "txt") == 0
        printed = capsys.readouterr()
        assert counts(printed.out)[:4] == expected
        warned = f"lipread: warning: {source}/c.mp4: no face was found" in printed.err
        assert warned == (expected[1] == "1")
        assert "failed" not in printed.err


def test_names_that_begin_with_a_dash(
    reader: PretendReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-o.mp4").write_text("fine")
    assert transcribe("-o.mp4") == 2
    assert "begins with - needs ./ before it" in one_line(capsys.readouterr().err)
    assert transcribe("./-o.mp4", "-f", "txt") == 0
    assert (tmp_path / "-o.txt").exists()


def test_live_also_writes_while_it_reads_and_quiet_does_not_print(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = files(tmp_path / "in", a_mp4="torn", b_mp4="fine")
    assert transcribe(source, "-o", tmp_path / "out", "-f", "txt", "--live") == 1
    assert f"{source}/a.mp4:     0.00 s  bin" in capsys.readouterr().out
    assert names(tmp_path / "out") == ["a.live", "b.txt", RECORD_NAME]
    assert transcribe(source, "-o", tmp_path / "quiet", "-f", "txt", "--live", "-q") == 1
    assert capsys.readouterr().out == ""
    assert names(tmp_path / "quiet") == ["a.live", "b.txt", RECORD_NAME]
    assert transcribe(source, "-o", tmp_path / "none", "-f", "txt") == 1
    assert names(tmp_path / "none") == ["b.txt", RECORD_NAME]


class QuickWatch:
    """A watch that waits for nothing; `at_poll` is called whenever there is nothing to read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at_poll: Callable[[int], None], limit: int = 50) -> None:
        self.polls, self._at_poll, self._limit = 0, at_poll, limit
        monkeypatch.setitem(Watch.__init__.__kwdefaults__, "steady_s", 0.0)
        monkeypatch.setattr(watching, "LOOK_EVERY_S", 0.0)
        monkeypatch.setattr(watching, "LOOK_SHARE", 1.0)
        monkeypatch.setattr(engines, "time", SimpleNamespace(sleep=self.sleep, monotonic=time.monotonic))

    def sleep(self, _: float) -> None:
        self._at_poll(self.polls)
        self.polls += 1
        if self.polls > self._limit:
            raise KeyboardInterrupt


def test_watching_a_mistyped_path_alone_is_an_error_at_once(
    reader: PretendReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    QuickWatch(monkeypatch, lambda _: None)
    assert transcribe(tmp_path / "gone", "--watch", "-o", tmp_path / "out") == 1
    assert "gone: there is no such file or folder" in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_wrong_while_watching_is_shown_when_it_is_first_seen(
    reader: PretendReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, shown = tmp_path / "in", dict[int, str]()
    source.mkdir()

    def at_poll(number: int) -> None:
        shown[number] = capsys.readouterr().err
        if number == 5:
            files(source, a_mp4="bad", b_mp4="fine")
        if number == 20:
            source.rename(tmp_path / "moved")

    QuickWatch(monkeypatch, at_poll)
    assert transcribe(source, tmp_path / "gone.mp4", "--watch", "-o", tmp_path / "out", "-f", "txt") == 1
    first = shown.pop(0)
    assert f"lipread: waiting for videos: {source}: the folder holds no video" in first
    assert "lipread: error: " in first and "gone.mp4: there is no such file" in first
    later = {number: text for number, text in shown.items() if text}
    assert all("gone.mp4" not in text and "waiting" not in text for text in later.values())
    read_at, moved_at = sorted(later)
    assert f"lipread: error: {source}/a.mp4 is not a video" in later[read_at]
    assert 5 < read_at < 20 < moved_at
    assert f"{source}: there is no such file or folder" in later[moved_at]
    at_the_end = capsys.readouterr().err
    assert all(part in at_the_end for part in ("gone.mp4", "a.mp4 is not a video", f"{source}: there is no such"))


def test_watching_an_empty_folder_or_url_is_no_failure(
    reader: PretendReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    QuickWatch(monkeypatch, lambda number: files(tmp_path, in__a_mp4="fine") if number == 5 else None)  # type: ignore
    (tmp_path / "in").mkdir()
    (tmp_path / "other").mkdir()
    url = f"file://{tmp_path}/in"
    assert transcribe(url, tmp_path / "other", "--watch", "-o", tmp_path / "out", "-f", "txt") == 0
    assert reader.seen == ["video.mp4"]  # fetched
    assert names(tmp_path / "out") == ["a.txt", RECORD_NAME]
    assert "error" not in capsys.readouterr().err
    assert transcribe(tmp_path / "other", "--watch", "-q", "-o", tmp_path / "out") == 0
    assert capsys.readouterr() == ("", "")


def test_quiet_and_verbose(reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = files(tmp_path / "in", a_mp4="fine")
    assert transcribe(source, "-o", tmp_path / "out", "-q") == 0
    assert capsys.readouterr() == ("", "")
    assert transcribe(source, "-o", tmp_path / "out2", "-v") == 0
    assert "0.90" in capsys.readouterr().out  # the word's confidence


def test_ctrl_c_is_130_with_a_sentence_and_the_same_command_goes_on(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = files(tmp_path / "in", a_mp4="fine", b_mp4="stop"), tmp_path / "out"
    assert transcribe(source, "-o", out, "-f", "txt") == 130
    told = capsys.readouterr().err
    assert "interrupted: 1 of 2 videos are finished" in told and "nothing half-written stays." in told
    assert names(out) == ["a.txt", RECORD_NAME]
    (source / "b.mp4").write_text("fine")
    assert transcribe(source, "-o", out, "-f", "txt") == 0
    assert reader.seen == ["a.mp4", "b.mp4", "b.mp4"]
    assert "a.mp4: done already" in capsys.readouterr().out


def test_what_a_live_run_leaves_after_ctrl_c_is_told_and_goes_when_the_video_is_read(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = files(tmp_path / "in", a_mp4="fine", b_mp4="stop"), tmp_path / "out"
    assert transcribe(source, "-o", out, "-f", "txt", "--live") == 130
    assert f"what was read of a video under way, in {out}/NAME.live. The same" in capsys.readouterr().err
    assert names(out) == ["a.txt", "b.live", RECORD_NAME]
    (source / "b.mp4").write_text("fine")
    assert transcribe(source, "-o", out, "-f", "txt") == 0
    assert names(out) == ["a.txt", "b.txt", RECORD_NAME]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = files(tmp_path / "in", a_mp4="fine", b__c_mov="fine"), tmp_path / "out"
    assert transcribe(source, "-o", out, "-f", "txt,srt", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{source}/a.mp4 -> {out}/a.txt, a.srt", f"{source}/b/c.mov -> {out}/b/c.txt, c.srt"
    ]
    assert (reader.seen, out.exists()) == ([], False)
    assert transcribe(source / "a.mp4", "-o", out, "-f", "txt,srt") == 0
    capsys.readouterr()
    assert transcribe(source, tmp_path / "gone.mp4", "-o", out, "-f", "txt,srt", "--dry-run") == 1
    printed = capsys.readouterr()
    assert f"{source}/a.mp4 -> done already" in printed.out
    assert "gone.mp4: there is no such file" in one_line(printed.err)
    assert transcribe(source, "-o", out, "-f", "txt", "--dry-run", "--no-skip-existing") == 0
    assert "done already" not in capsys.readouterr().out


def test_names_cannot_forge_lines_or_colours(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "a\nlipread: error: \x1b[31mred\udcff.mp4"
    odd.write_text("bad")
    good = tmp_path / "fine\n\udcff 🎬.mp4"
    good.write_text("fine")
    assert transcribe(odd, good, "-o", tmp_path / "out", "-f", "txt,json") == 1
    printed = capsys.readouterr()
    assert "red" in one_line(printed.err)
    assert "\x1b[31m" not in printed.err
    assert r"fine\n\udcff 🎬.mp4: bin" in printed.out
    assert json.loads((tmp_path / "out" / "fine\n\udcff 🎬.json").read_text())["source"] == str(good)


@pytest.mark.parametrize("option", ["--speaker", "--speakers"])
def test_everyone_is_read_under_either_spelling(option: str, reader: PretendReader, tmp_path: Path) -> None:
    source = files(tmp_path / "in", a_mp4="fine")
    assert transcribe(source, "-o", tmp_path / "out", "-f", "txt", option, "all") == 0
    assert record_of(tmp_path / "out")[0]["options"]["speaker"] == "all"


def test_options_that_do_not_fit_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = wall(tmp_path / "wall.mp4")
    assert transcribe(film, "--timeout", "5") == 2
    assert "--timeout" in one_line(capsys.readouterr().err)
    assert transcribe("--from", tmp_path / "gone.txt") == 1
    assert "gone.txt: the list cannot be read" in one_line(capsys.readouterr().err)


def test_no_face_end_to_end(tmp_path: Path, tiny: Path) -> None:
    film = wall(tmp_path / "wall.mp4")
    done = run("transcribe", film, "--model", tiny, "-o", tmp_path / "out", "--device", "cpu")
    assert (done.returncode, "error" in done.stderr) == (0, False)
    assert f"lipread: warning: {film}: no face was found in any of the 5 frames" in done.stderr
    assert json.loads((tmp_path / "out" / "wall.json").read_text())["reason"].startswith("no face")
    assert (tmp_path / "out" / "wall.txt").read_text() == ""
    assert record_of(tmp_path / "out")[0]["result"] == "empty"


def test_a_list_from_standard_input_and_a_pattern_end_to_end(tmp_path: Path, tiny: Path) -> None:
    clips = [talking(tmp_path / "in" / name) for name in ("a.mp4", "two words/b.mp4", "two words/deep/c.mp4")]
    listed = run(
        "transcribe", "--from", "-", "--model", tiny, "-o", tmp_path / "listed", "-f", "txt", "--workers", "2", "-q",
        stdin="".join(f"{clip.relative_to(tmp_path)}\n" for clip in clips), cwd=tmp_path,
    )
    assert (listed.returncode, listed.stderr) == (0, "")
    assert list(outputs_of(tmp_path / "listed")) == ["in/a.txt", "in/two words/b.txt", "in/two words/deep/c.txt"]
    pattern = run("transcribe", tmp_path / "in/*/**/*.mp4", "--model", tiny, "-o", tmp_path / "globbed", "-f", "txt")
    assert pattern.returncode == 0
    assert list(outputs_of(tmp_path / "globbed")) == ["two words/b.txt", "two words/deep/c.txt"]


@pytest.mark.parametrize("more", [["--workers", "0", "-v"], ["--workers", "2", "--live"]])
def test_the_files_are_written_where_nobody_reads_what_is_printed(more: list[str], tmp_path: Path, tiny: Path) -> None:
    clips = [talking(tmp_path / f"{name}.mp4") for name in ("a", "b")]
    given = ["transcribe", "--model", tiny, "-o", tmp_path / "out", "-f", "txt", *clips]
    done = run_unheard(*given, *more)
    assert done.returncode == 0 and "error" not in done.stderr
    assert names(tmp_path / "out") == ["a.txt", "b.txt", RECORD_NAME]
    done = run_unheard(*given, tmp_path / "gone.mp4")
    assert done.returncode == 1 and "gone.mp4" in one_line(done.stderr)


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_end_to_end_leaves_nothing_half_written(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "in").mkdir()
    films = [wall(tmp_path / "in" / f"{number:02d}.mp4", 100) for number in range(40)]
    process = subprocess.Popen(
        command("transcribe", tmp_path / "in", "--model", tiny, "-o", tmp_path / "out", "--captioned"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    wait_for(lambda: (tmp_path / "out" / "00.json").exists())
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    written = names(tmp_path / "out")
    assert 5 <= len(written) < 6 * len(films)
    assert not [name for name in written if name.endswith(".part") or name.startswith(".")]


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_watching_reads_what_comes_when_it_is_whole_until_ctrl_c(tmp_path: Path, tiny: Path) -> None:
    clip = talking(tmp_path / "clip.mp4", frames=25)
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    shutil.copy(clip, source / "first.mp4")
    process = subprocess.Popen(
        command("transcribe", source, "--watch", "--model", tiny, "-o", out, "-f", "txt", "--workers", "1"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    wait_for(lambda: (out / "first.txt").exists())
    content = clip.read_bytes()
    with open(source / "slow.mp4", "wb") as file:  # grows for longer than a file must be steady
        for part in range(10):
            file.write(content[part * len(content) // 10 : (part + 1) * len(content) // 10])
            file.flush()
            time.sleep(0.6)
    wait_for(lambda: len(record_of(out)) == 2)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=60)
    assert (process.returncode, "error" in errors) == (0, False)
    done, empty, failed, skipped = map(int, counts(printed)[:4])
    assert (done + empty, failed, skipped) == (2, 0, 0)
    assert [(line["name"], line["size"]) for line in record_of(out)] == [
        ("first", len(content)), ("slow", len(content))
    ]


def wait_for(there: object, limit_s: float = 120) -> None:
    end_s = time.monotonic() + limit_s
    while not there():  # type: ignore[operator]
        assert time.monotonic() < end_s, "it did not come"
        time.sleep(0.02)


def test_letters_that_a_terminal_lacks_stop_nothing(tmp_path: Path) -> None:
    model = tiny_checkpoint(tmp_path)
    for name in ("a 日本.mp4", "b.mp4"):
        (tmp_path / "in").mkdir(exist_ok=True)
        wall(tmp_path / "in" / name)
    done = subprocess.run(
        command("transcribe", tmp_path / "in", "-o", tmp_path / "out", "--model", model, "-f", "txt", "--workers", "0"),
        env={**os.environ, "PYTHONIOENCODING": "latin-1"}, capture_output=True, timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert names(tmp_path / "out") == ["a 日本.txt", "b.txt", RECORD_NAME]
    assert rb"\u65e5\u672c" in done.stdout + done.stderr
