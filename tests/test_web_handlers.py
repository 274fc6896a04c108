"""What the buttons give back where something goes wrong after the text stands there."""

from __future__ import annotations

from pathlib import Path

import pytest

import media
from lipread.web.handlers import DOWNLOADS, FILM, NOTES, Result, speaker_of
from lipread.web.limits import Limits
from lipread.web.reading import Reading, read_video
from lipread.web.service import Service
from test_pipeline import teller


@pytest.fixture
def reading(tmp_path: Path) -> Reading:
    path = media.write_video(tmp_path / "talk.mp4", (media.numbered(n) for n in range(30)))
    return read_video(teller(), path, tmp_path / "work", limits=Limits())


def test_the_film_comes_after_the_text_and_touches_nothing_else(reading: Reading, tmp_path: Path) -> None:
    values = Result.film_only(reading, tmp_path / "out")
    assert Path(values[FILM]).is_file()
    assert values[-1]["value"] == values[FILM] and values[-1]["interactive"]
    assert [place for place, value in enumerate(values) if not is_skipped(value)] == [FILM, len(values) - 1]


def test_a_film_that_cannot_be_written_leaves_the_text(reading: Reading, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    values = Result.film_only(reading, tmp_path / "file")
    assert "cannot be written" in values[NOTES]
    assert [place for place, value in enumerate(values) if not is_skipped(value)] == [NOTES]


def is_skipped(value: object) -> bool:
    return isinstance(value, dict) and value == {"__type__": "update"}


def test_an_empty_result_empties_everything() -> None:
    values = Result().values()
    assert values[FILM] is None and values[NOTES] == ""
    assert all(not each["interactive"] and each["value"] is None for each in values[-DOWNLOADS:])


@pytest.mark.parametrize(
    ("text", "speaker"),
    [("auto", "auto"), (" largest ", "largest"), ("", "auto"), ("2", 2), (3, 3), ("-1", -1), ("--5", "--5")],
)
def test_speakers_as_the_api_names_them(text: str | int, speaker: str | int) -> None:
    assert speaker_of(text) == speaker


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
