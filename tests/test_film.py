"""Drawn clips as mp4 files: pictures that come back, a voice from a stand-in for eSpeak NG, and what can go wrong."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lipread.audio import read_audio
from lipread.data.film import espeak, write_video
from lipread.data.heads import DrawnClip, draw_clip
from lipread.errors import OutputError
from lipread.values import FRAME_RATE_HZ, SAMPLE_RATE_HZ
from lipread.video import probe, read_frames

SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FRAME_RATE_HZ
# Takes the options of espeak-ng; says every word as 0.4 s of a 440 Hz tone between silences, at eSpeak NG's own rate.
SPEAKER = """#!{python}
import math, struct, sys, wave
assert sys.argv[1:8:2] == ["-v", "-p", "-s", "-w"] and len(sys.argv) == 10, sys.argv
with open({log!r}, "a") as log:
    log.write(sys.argv[9] + "\\n")
{fault}
rate = 22050
tone = [0] * 2000 + [int(12000 * math.sin(2 * math.pi * 440 * n / rate)) for n in range(int(0.4 * rate))] + [0] * 3000
with wave.open(sys.argv[8], "wb") as file:
    file.setnchannels(1); file.setsampwidth(2); file.setframerate(rate)
    file.writeframes(struct.pack(f"<{{len(tone)}}h", *tone))
"""


@pytest.fixture(scope="module")
def clip() -> DrawnClip:
    return draw_clip("bin now", 2, width=96, height=80, frames=30)


@pytest.fixture
def silent_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A PATH of one folder, empty as yet."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install_speaker(folder: Path, fault: str = "") -> Path:
    """Put the stand-in there; returns the file in which it notes the words it was given."""
    program, log = folder / "espeak-ng", folder / "said.txt"
    program.write_text(SPEAKER.format(python=sys.executable, log=str(log), fault=fault))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return log


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- pictures


def test_the_film_shows_the_drawn_frames(clip: DrawnClip, tmp_path: Path, silent_path: Path) -> None:
    film = tmp_path / "out" / "head.mp4"
    assert write_video(film, clip, crf=12) is False
    info = probe(film)
    assert (info.width, info.height, info.has_audio) == (96, 80, False)
    assert info.frame_rate_hz == FRAME_RATE_HZ
    with read_frames(film) as stream:
        images = [frame.image for frame in stream]
    assert len(images) == 30
    for index, image in enumerate(images):
        differences = [np.abs(image.astype(int) - other).mean() for other in clip.frames[[index, index - 12]]]
        assert differences[0] < 6 and differences[0] < differences[1]
    assert files_in(film.parent) == ["head.mp4"]


def test_a_poorer_camera_takes_less_room(clip: DrawnClip, tmp_path: Path, silent_path: Path) -> None:
    write_video(tmp_path / "good.mp4", clip, crf=14)
    write_video(tmp_path / "poor.mp4", clip, crf=36)
    assert (tmp_path / "poor.mp4").stat().st_size < 0.5 * (tmp_path / "good.mp4").stat().st_size


def test_an_existing_film_is_replaced(clip: DrawnClip, tmp_path: Path, silent_path: Path) -> None:
    film = tmp_path / "head.mp4"
    film.write_bytes(b"old")
    write_video(film, clip)
    assert probe(film).width == 96


# --- sound


def test_no_espeak_no_sound(clip: DrawnClip, silent_path: Path) -> None:
    assert espeak(clip.words, len(clip.frames), clip.seed) is None


def test_each_word_sounds_at_its_time(clip: DrawnClip, silent_path: Path) -> None:
    log = install_speaker(silent_path)
    samples = espeak(clip.words, len(clip.frames), clip.seed)
    assert samples is not None
    assert (samples.shape, samples.dtype) == ((30 * SAMPLES_PER_FRAME,), np.float32)
    assert log.read_text().split() == ["bin", "now"]
    loud = np.zeros(len(samples), bool)
    for word in clip.words:
        first, last = (int(time * SAMPLE_RATE_HZ) for time in (word.start_s, word.end_s))
        loud[first:last] = True
        spoken = samples[first:last]
        assert 0.1 < np.abs(spoken).max() < 0.5
        assert np.abs(spoken[:200]).max() > 0.05 < np.abs(spoken[-200:]).max()  # the tone fills it from end to end
    assert np.abs(samples[~loud]).max() < 1e-3


def test_the_film_has_the_sound_in_step(clip: DrawnClip, tmp_path: Path, silent_path: Path) -> None:
    install_speaker(silent_path)
    film = tmp_path / "head.mp4"
    assert write_video(film, clip) is True
    sound = read_audio(film, frames=30)
    assert sound is not None and len(sound) == 30 * SAMPLES_PER_FRAME
    energy = np.abs(sound).reshape(30, -1).mean(axis=1)
    first, last = clip.words[0], clip.words[-1]
    speaking = slice(int(first.start_s * FRAME_RATE_HZ) + 1, int(last.end_s * FRAME_RATE_HZ) - 1)
    assert energy[speaking].max() > 0.05
    assert energy[: int(first.start_s * FRAME_RATE_HZ) - 1].max() < 0.01
    assert write_video(film, clip, sound=False) is False
    assert read_audio(film) is None


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="eSpeak NG is not installed")
def test_people_have_voices_of_their_own(clip: DrawnClip) -> None:
    heard = [espeak(clip.words, len(clip.frames), seed) for seed in (1, 1, 2)]
    assert all(samples is not None and np.abs(samples).max() > 0.05 for samples in heard)
    assert np.array_equal(heard[0], heard[1]) and not np.array_equal(heard[0], heard[2])


def test_words_are_never_options(clip: DrawnClip, silent_path: Path) -> None:
    log = install_speaker(silent_path)
    sly = replace(clip, words=(replace(clip.words[0], text="--load"), clip.words[1]))
    assert espeak(sly.words, len(sly.frames), sly.seed) is not None
    assert log.read_text().split() == ["load", "now"]


@pytest.mark.parametrize(
    "fault",
    ["sys.exit(3)", "sys.exit(0)", "open(sys.argv[8], 'wb').close(); sys.exit(0)",
     "open(sys.argv[8], 'wb').write(b'RIFFnot a sound'); sys.exit(0)"],
    ids=["fails", "writes nothing", "writes an empty file", "writes something else"],
)  # fmt: skip
def test_an_espeak_that_does_not_work_gives_no_sound(
    fault: str, clip: DrawnClip, tmp_path: Path, silent_path: Path
) -> None:
    install_speaker(silent_path, fault)
    assert write_video(tmp_path / "head.mp4", clip) is False
    assert not probe(tmp_path / "head.mp4").has_audio


def test_an_espeak_that_cannot_be_started(clip: DrawnClip, silent_path: Path) -> None:
    program = silent_path / "espeak-ng"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)
    assert espeak(clip.words, len(clip.frames), clip.seed) is None


# --- where it cannot be written


def test_a_folder_that_is_a_file(clip: DrawnClip, tmp_path: Path, silent_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="head.mp4 cannot be written"):
        write_video(tmp_path / "taken" / "head.mp4", clip)
    with pytest.raises(OutputError, match="choose another folder"):
        write_video(tmp_path / "programs", clip)  # a folder stands there
    assert files_in(tmp_path) == ["programs", "taken"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written(clip: DrawnClip, tmp_path: Path, silent_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_video(locked / "head.mp4", clip)


def test_a_full_disk_leaves_nothing(clip: DrawnClip, tmp_path: Path, silent_path: Path) -> None:
    film = tmp_path / "head.mp4"
    film.write_bytes(b"the film from before")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="free some space"):
            write_video(film, clip, crf=5)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert film.read_bytes() == b"the film from before"
    assert files_in(tmp_path) == ["head.mp4", "programs"]
