"""Decoded crops and sounds in memory that processes share."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lipread.audio import write_audio
from lipread.errors import DataError
from lipread.mouth import read_crops
from lipread.prepared import read_sound
from lipread.training.clips import Clip, load_clips
from lipread.training.decoded import Decoded
from lipread.values import SAMPLES_PER_FRAME
from prepared import prepare


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    folder = prepare(tmp_path_factory.mktemp("decoded"), speakers=("a", "b"), clips=2)
    heard = []
    for number, clip in enumerate(clip for clip in load_clips(folder) if clip.crops_path):
        path = folder / f"{clip.name}.m4a"
        samples = np.random.default_rng(number).normal(0, 0.1, clip.frames * SAMPLES_PER_FRAME)
        write_audio(path, samples.astype(np.float32))
        heard.append(replace(clip, sound_path=path))
    return heard


def test_the_same_as_the_files_hold(clips: list[Clip]) -> None:
    decoded = Decoded(clips, sound=True)
    for _ in range(2):
        for clip in clips:
            assert clip.crops_path and clip.sound_path
            assert np.array_equal(decoded.crops(clip), read_crops(clip.crops_path))
            assert np.array_equal(decoded.sound(clip), read_sound(clip.sound_path, clip.frames))
    assert decoded.kept == 2 * len(clips)


def test_what_is_kept_is_not_read_again_and_not_written_to(clips: list[Clip], tmp_path: Path) -> None:
    moved = tmp_path / "crops.mp4"
    assert clips[0].crops_path is not None
    moved.write_bytes(clips[0].crops_path.read_bytes())
    clip = replace(clips[0], crops_path=moved)
    decoded = Decoded([clip], sound=False)
    first = decoded.crops(clip)
    moved.unlink()
    assert np.array_equal(decoded.crops(clip), first)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that are forked")
def test_a_forked_process_leaves_what_it_decoded_to_the_others(clips: list[Clip]) -> None:
    decoded = Decoded(clips, sound=True)
    child = multiprocessing.get_context("fork").Process(target=lambda: decoded.crops(clips[1]))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert decoded.kept == 1
    gone = replace(clips[1], sound_path=None)
    assert gone.crops_path is not None
    assert np.array_equal(decoded.crops(gone), read_crops(gone.crops_path))
    assert decoded.kept == 1


def test_memory_is_bounded(clips: list[Clip]) -> None:
    size = clips[0].frames * 96 * 96
    decoded = Decoded(clips, sound=False, limit_bytes=2 * size + 200)
    for clip in clips:
        assert np.array_equal(decoded.crops(clip), decoded.crops(clip))
    assert decoded.kept == 2


def test_a_film_of_another_length_is_told(clips: list[Clip]) -> None:
    longer = replace(clips[0], frames=clips[0].frames + 1)
    with pytest.raises(DataError, match=r"crops.*manifest says"):
        Decoded([longer], sound=False).crops(longer)
