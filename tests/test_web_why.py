"""What the page shows of what the network looked at: pictures first, then the film over all windows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio", reason="the app's packages are absent: pip install 'lipread[app]'")

from lipread.video import read_frames
from lipread.web import why
from lipread.web.handlers import Handlers
from lipread.web.service import Service
from looked_at import moving_track, no_face_track, said, tiny_reader


def reading(frames: int) -> Any:
    """A made-up reading of a moving mouth."""
    words = said(("bin", 0.2, 0.6), ("blue", 5.0, 5.4), duration_s=frames / 25)
    return SimpleNamespace(reader=tiny_reader(), track=moving_track(frames), transcript=words, name="talk")


@pytest.mark.parametrize(("frames", "firsts"), [(30, [0]), (100, [0]), (130, [0, 30]), (250, [0, 100, 150]), (0, [])])
def test_windows_reach_from_the_first_frame_to_the_last(frames: int, firsts: list[int]) -> None:
    found = list(why.looks(reading(frames)))
    assert [each.first for each in found] == firsts
    assert not found or found[-1].first + found[-1].frames == frames


def test_of_a_long_video_the_film_shows_the_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(why, "SALIENT_S", 4)
    assert [each.first for each in why.looks(reading(250))] == [0]


def test_pictures_come_before_the_film_which_shows_every_frame(tmp_path: Path) -> None:
    service = Service(tiny_reader())
    key = service.remember("ann", reading(130))
    work = Handlers(service).why(key, 1, "all", False, 800)
    *pictures, crops, film, note = next(work)
    assert "Made after each reading" in note and "sound" not in note
    assert all(picture.ndim == 3 for picture in pictures)
    assert frames_in(crops) == 130 and film is None
    *_, film, _ = next(work)
    assert frames_in(film) == 130
    assert list(work) == [] and not Path(film).exists()


def test_a_reading_that_was_forgotten_has_no_pictures() -> None:
    ((*pictures, note),) = Handlers(Service(tiny_reader())).why("key", 1, "all", False, 800)
    assert pictures == [None] * 7 and "Made after each reading" in note


NO_MOUTH = [(None, "the sound alone was read"), (no_face_track(9), "no face was seen")]


@pytest.mark.parametrize(("track", "said"), NO_MOUTH)
def test_what_has_no_mouth_has_no_pictures_but_a_sentence(track: Any, said: str) -> None:
    service, made = Service(tiny_reader()), reading(30)
    made.track = track
    key = service.remember("ann", made)
    ((*pictures, note),) = Handlers(service).why(key, 1, "all", False, 800)
    assert pictures == [None] * 7 and said in note
    assert Handlers(service).attention(key, 1, "all", False, 800) is None
    assert list(why.looks(made)) == []


def test_pictures_of_what_was_heard_too_say_that_they_show_the_lips() -> None:
    made = reading(30)
    made.transcript = replace(
        made.transcript, segments=tuple(replace(each, modality="both") for each in made.transcript.segments)
    )
    assert "the sound has no part in them" in why.remark(made)


def frames_in(path: str) -> int:
    with read_frames(path) as film:
        return sum(1 for _ in film)
