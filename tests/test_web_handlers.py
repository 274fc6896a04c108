"""What the buttons give back where something goes wrong after the text stands there."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from filelock import FileLock

import media
from lipread.errors import ConfigError, VideoError
from lipread.web.handlers import DOWNLOADS, FILM, NOTES, Handlers, Result, plain_errors, shown, speaker_of
from lipread.web.limits import Limits
from lipread.web.many import FAILED, unpack
from lipread.web.reading import Reading, read_video
from lipread.web.server import ALIVE, PREFIX, sweep
from lipread.web.service import Options, Service
from test_pipeline import teller


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    path = media.write_video(tmp_path / "talk.mp4", (media.numbered(n) for n in range(30)))
    return read_video(teller(), path, tmp_path / "work", limits=Limits())


BUTTONS = list(range(len(Result().values()) - DOWNLOADS, len(Result().values())))


def test_the_film_comes_after_the_text_and_touches_nothing_but_the_buttons(reading: Reading, tmp_path: Path) -> None:
    result = Result(files=("a.txt", "a.srt"))
    values = result.with_film(reading, tmp_path / "out")
    assert Path(values[FILM]).is_file()
    assert values[-1]["value"] == values[FILM] and values[-1]["interactive"]
    assert [place for place, value in enumerate(values) if not is_skipped(value)] == [FILM, *BUTTONS]
    assert values[BUTTONS[0] : -1] == result.values()[BUTTONS[0] : -1]  # in a slow browser what came before may be late


def test_a_film_that_cannot_be_written_leaves_the_text(reading: Reading, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    values = Result().with_film(reading, tmp_path / "file")
    assert "cannot be written" in values[NOTES]
    assert [place for place, value in enumerate(values) if not is_skipped(value)] == [NOTES, *BUTTONS]


def is_skipped(value: object) -> bool:
    return isinstance(value, dict) and value == {"__type__": "update"}


def test_an_empty_result_empties_everything() -> None:
    values = Result().values()
    assert values[FILM] is None and values[NOTES] == ""
    assert all(not each["interactive"] and each["value"] is None for each in values[-DOWNLOADS:])


@pytest.mark.parametrize(
    ("text", "speaker"),
    [("auto", "auto"), (" largest ", "largest"), ("", "auto"), ("2", 2), (3, 3), (None, "auto")],
)
def test_speakers_as_the_api_names_them(text: str | int | None, speaker: str | int) -> None:
    assert speaker_of(text) == speaker


@pytest.mark.parametrize("text", ["bob", "all", "-1", "1.5", "9" * 5000, "x" * 5000])
def test_speakers_that_this_page_does_not_know(text: str) -> None:
    known = r"is not known here; use auto, largest, or a number from 0 \(left to right\)$"
    with pytest.raises(ConfigError, match=known) as error:
        speaker_of(text)
    assert len(str(error.value)) < 200


def test_a_second_reading_takes_the_place_of_the_first_and_of_nothing_else() -> None:
    service = Service(teller())
    batch, first = service.begin("ann"), service.begin("ann", alone=True)
    other = service.begin("bob", alone=True)
    second = service.begin("ann", alone=True)
    assert first.is_set() and not any(each.is_set() for each in (batch, second, other))
    service.end("ann", first)
    assert service.cancel("ann") and batch.is_set() and second.is_set() and not other.is_set()
    service.end("ann", batch)
    service.end("ann", second)
    assert not service.cancel("ann")


def test_freed_memory_is_given_back_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, given = [100.0], []
    monkeypatch.setattr("lipread.web.service.time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr("lipread.web.service.give_back_memory", lambda: given.append(clock[0]))
    service = Service(teller(), _trimmed_s=100.0)
    for clock[0] in (101.0, 106.0, 107.0, 112.0):
        service.end("ann", service.begin("ann"))
    assert given == [106.0, 112.0]


def test_a_part_is_named_and_told_by_its_times(tmp_path: Path) -> None:
    path = media.write_video(tmp_path / "talk.mp4", (media.numbered(n) for n in range(50)))
    (tmp_path / "work").mkdir()
    part = read_video(teller(), path, tmp_path / "work", limits=Limits(), start_s=0.52, end_s=1.4)
    assert (part.name, part.from_s) == ("talk 0.52-1.4s", 0.52)
    assert part.transcript.duration_s == pytest.approx(0.88)
    assert any("times count from its beginning, 0.52 s into talk.mp4" in each for each in part.transcript.warnings)
    assert part.remark in part.transcript.warnings and part.remark in shown(part).notes
    assert "Hard to read, because:</strong></p><ul><li>Only" not in shown(part).notes
    first = read_video(teller(), path, tmp_path / "work", limits=Limits(), end_s=1)
    assert first.name == "talk 0-1s" and not any("times count" in each for each in first.transcript.warnings)


def test_a_fault_of_ours_is_a_sentence_and_the_log_tells_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a fault")

    monkeypatch.setattr("lipread.web.handlers.read_video", broken)
    visitor = SimpleNamespace(session_hash="ann")
    service = Service(teller())
    *_, last = Handlers(service).read(
        "talk.mp4", 0, 0, "greedy", "grid", "none", "tuned", 50, 5, "auto", visitor, lambda *_: None,  # type: ignore[arg-type]
    )
    assert "unexpected KeyError; please report" in last[NOTES]
    assert "KeyError: 'a fault'" in capsys.readouterr().err
    assert not service.cancel("ann")
    with pytest.raises(gr.Error, match="unexpected KeyError"), plain_errors():
        broken()
    with pytest.raises(gr.Error, match="no face"), plain_errors():
        raise VideoError("no face")


@pytest.mark.parametrize("size", [float("nan"), 0, 201, 1e9])
def test_numbers_out_of_bounds_are_refused(size: float) -> None:
    with pytest.raises(ConfigError, match="beam size .* is out of bounds; choose from 1 to 200"):
        Options(decoder="beam", beam_size=size).config()


def test_a_damaged_archive_fails_alone(tmp_path: Path) -> None:
    good, bad = tmp_path / "talk.mp4", tmp_path / "more.zip"
    good.write_bytes(b"video")
    bad.write_bytes(b"PK no archive")
    talk, more = unpack([good, bad], tmp_path, Limits())
    assert talk.path == good
    assert (more.path, more.state) == (None, FAILED) and "more.zip is no zip archive" in more.text


def test_folders_of_killed_servers_are_swept_and_those_of_running_ones_are_not(tmp_path: Path) -> None:
    killed, running, young, other = (
        tmp_path / name for name in (PREFIX + "killed", PREFIX + "running", PREFIX + "young", "somebody-else")
    )
    for folder in (killed, running, young, other):
        (folder / "requests").mkdir(parents=True)
        (folder / ALIVE).touch()
    for folder in (killed, running, other):
        os.utime(folder, (1e9, 1e9))
    with FileLock(running / ALIVE):
        sweep(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {running.name, young.name, other.name}


def films(folder: Path, count: int) -> list[str]:
    """Videos without a face."""
    return [
        str(media.write_video(folder / f"{number}.mp4", (media.numbered(n) for n in range(10))))
        for number in range(count)
    ]


def begin_batch(do: Handlers, files: list[str], visitor: Any) -> Iterator[tuple[Any, ...]]:
    return do.read_many(files, False, "greedy", "grid", "none", "tuned", 50, 5, "auto", visitor, lambda *_: None)  # type: ignore


@pytest.mark.parametrize("by", ["stop", "close"])  # gradio lets the thread come to an end, or closes the generator
def test_a_cancelled_batch_gives_what_was_finished(by: str, tmp_path: Path) -> None:
    do, visitor = Handlers(Service(teller())), SimpleNamespace(session_hash="ann")
    work = begin_batch(do, films(tmp_path, 3), visitor)
    for _ in range(4):  # the empty table, all waiting, the first is read, the first was read
        next(work)
    table, zipped, said = do.cancel_many(True, visitor)  # type: ignore[arg-type]
    assert "What was finished follows" in said and is_skipped(table) and is_skipped(zipped)
    list(work) if by == "stop" else work.close()  # type: ignore[attr-defined]
    answer = do.finished(visitor)  # type: ignore[arg-type]
    table, zipped, said = next(answer)
    assert "1 of 3 videos were finished" in said
    assert "0.mp4" in table and "1.mp4" not in table
    with zipfile.ZipFile(zipped) as bundle:
        assert {"results.tsv", "0.json"} <= set(bundle.namelist()) and "1.json" not in bundle.namelist()
    assert list(answer) == [] and not Path(zipped).exists()  # gradio has its copy by then


def test_a_batch_cancelled_before_anything_was_finished(tmp_path: Path) -> None:
    do, visitor = Handlers(Service(teller())), SimpleNamespace(session_hash="ann")
    work = begin_batch(do, films(tmp_path, 1), visitor)
    next(work)
    next(work)
    do.cancel_many(False, visitor)  # type: ignore[arg-type]
    list(work)
    ((_, zipped, said),) = do.finished(visitor)  # type: ignore[arg-type]
    assert zipped is None and "No video was finished" in said


def test_cancelling_nothing_takes_nothing_away(tmp_path: Path) -> None:
    do, visitor = Handlers(Service(teller())), SimpleNamespace(session_hash="ann")
    *_, (_, zipped, said) = begin_batch(do, films(tmp_path, 1), visitor)
    assert zipped and "The video was read; the zip is ready." in said
    assert is_skipped(do.cancel(False, visitor))  # type: ignore[arg-type]
    assert all(map(is_skipped, do.cancel_many(False, visitor)))  # type: ignore[arg-type]
    ((table, zipped, said),) = do.finished(visitor)  # type: ignore[arg-type]
    assert is_skipped(table) and is_skipped(zipped) and is_skipped(said)


def test_who_waits_for_a_turn_and_cancels_is_told(tmp_path: Path) -> None:
    do, visitor = Handlers(Service(teller())), SimpleNamespace(session_hash="ann")
    assert "Cancelled" in do.cancel(True, visitor)  # type: ignore[arg-type]
    list(begin_batch(do, films(tmp_path, 1), visitor))  # its result stands there while the next batch waits
    table, zipped, said = do.cancel_many(True, visitor)  # type: ignore[arg-type]
    assert "Cancelled. Nothing was read of this batch." in said
    assert zipped is None and "0.mp4" not in table
    assert all(map(is_skipped, *do.finished(visitor)))  # type: ignore[arg-type]


def test_a_batch_of_who_has_left_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    do, visitor = Handlers(Service(teller())), SimpleNamespace(session_hash="ann")
    work = begin_batch(do, films(tmp_path, 3), visitor)
    for _ in range(4):
        next(work)
    do.leave(visitor)  # type: ignore[arg-type]
    list(work)
    assert list((tmp_path / "temporary").iterdir()) == []
