"""Drawn heads for measuring: reserved seeds only, the same every time, and readable like any video."""

from __future__ import annotations

from pathlib import Path

import pytest

from lipread.drawn import draw_clips, draw_video, reserved_seed, sentence
from lipread.errors import DataError
from lipread.video import read_frames


def test_seeds_are_those_that_training_refuses(tmp_path: Path) -> None:
    from lipread.data.synthetic import write_prepared

    with pytest.raises(DataError, match="reserved"):
        write_prepared(tmp_path, 1, first_seed=reserved_seed(0))
    assert reserved_seed(5) == reserved_seed(0) + 5


def test_sentences_are_of_the_grammar_and_stay_the_same() -> None:
    said = [sentence(number) for number in range(50)]
    assert said == [sentence(number) for number in range(50)]
    assert len(set(said)) > 45
    assert all(len(text.split()) == 6 and text.split()[0] in ("bin", "lay", "place", "set") for text in said)


def test_clips_are_videos_with_known_words(tmp_path: Path) -> None:
    first, second = draw_clips(2, tmp_path / "heads")
    assert (first.speaker, first.text, second.text) == ("drawn", sentence(0), sentence(1))
    assert first.video is not None
    with read_frames(first.video) as frames:
        count = sum(1 for _ in frames)
    assert 40 <= count <= 150
    assert sorted(path.name for path in (tmp_path / "heads").iterdir()) == [f"{first.clip}.mp4", f"{second.clip}.mp4"]


def test_text_that_cannot_be_spoken(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        draw_video(tmp_path / "x.mp4", "", 0)
