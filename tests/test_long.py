"""Long videos: nothing is cut or doubled at the seams, and memory is flat.

LIPREAD_LONG_MINUTES=10,60 measures these two lengths instead of the short ones.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import tracemalloc
from fractions import Fraction
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pysubs2
import pytest

import joined as joined_tool
import media
from lipread.audio import read_audio
from lipread.errors import VideoError
from lipread.evaluate import read_manifest
from lipread.metrics import score
from lipread.pipeline import load_model
from lipread.turns import Turns
from lipread.values import SAMPLE_RATE_HZ, Array, Mouth, Segment, Transcript, Word
from lipread.watch import Clock
from shell import command
from test_pipeline import passers_by, segments_of, teller

KILOBYTES_PER_FRAME = 0.5  # a crop alone has 9
KILOBYTES_PER_PERSON = 8  # for their words; it was 15 as long as everyone's reading stayed open
PEAK_MB = 1500


def test_words_go_to_the_clip_in_which_they_are_said() -> None:
    words = tuple(Word(text, s, s + 0.4, 1.0) for text, s in (("bin", 0.5), ("now", 2.9), ("set", 3.4), ("red", 9.0)))
    said = Transcript("", (Segment(0.5, 10.0, "", words, 1.0),), 9.0, 1.0, 1.0)
    assert joined_tool.words_by_clip(said, [3.0, 3.0, 3.0]) == ["bin", "now set", "red"]


def test_clips_are_joined_picture_by_picture(tmp_path: Path) -> None:
    parts = [media.write_video(tmp_path / f"{first}.mp4", [media.numbered(first + k) for k in range(10)])
             for first in (0, 10, 20)]
    film = joined_tool.join_videos(parts, tmp_path / "film.mp4", times=2)
    from lipread.video import read_frames

    with read_frames(film) as frames:
        assert [media.number_in(frame.image) for frame in frames] == 2 * list(range(30))
    odd = media.write_video(tmp_path / "odd.mp4", [media.numbered(0, width=256)])
    with pytest.raises(VideoError, match=r"odd\.mp4 was encoded in another way"):
        joined_tool.join_videos([parts[0], odd], tmp_path / "film.mp4")


def read_on(frames: int) -> int:
    """Read a person who talks on and on for so many frames, the pictures made up -> peak of the memory, bytes."""
    turns, reading, noise = Turns(), teller().reading(Clock()), np.random.default_rng(0)
    tracemalloc.start()
    for number in range(frames):
        points = np.zeros((9, 2), np.float32)
        points[3, 1], points[1, 0] = 0.2 * np.sin(0.9 * number), 1.0
        crop = np.zeros((96, 96), np.uint8)
        crop[:] = noise.integers(1, 5) if number % 100 < 60 else 0  # words, and pauses of more than a second
        mouths = {0: Mouth(crop, points, 25.0, np.array([(10, 10), (80, 90)], np.float32))}
        for look in turns.push(mouths):
            for _ in reading.push(look):
                pass
    reading.segments.clear()  # the text itself may grow
    reading.utterances.clear()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_longer_talk_takes_no_more_memory() -> None:
    read_on(300)  # whatever is made once
    short, long = read_on(600), read_on(1800)
    assert (long - short) / 1200 < 1000 * KILOBYTES_PER_FRAME


def read_passers_by(people: int, patch: pytest.MonkeyPatch) -> int:
    """Read so many people, who come and go beside one who stays -> peak of the memory, bytes."""
    tracemalloc.start()
    assert sum(segment.text == "red" for segment in segments_of(passers_by(people), patch, teller())) == people
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_people_who_come_and_go_take_no_more_memory_than_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    read_passers_by(10, monkeypatch)  # whatever is made once
    few, many = read_passers_by(30, monkeypatch), read_passers_by(110, monkeypatch)
    assert (many - few) / 80 < 1000 * KILOBYTES_PER_PERSON


def with_sound(film: Path, sound: Array, path: Path) -> Path:
    """The film, its packets as they are, with a sound that is said again and again until the film's end."""
    with av.open(str(film)) as silent, av.open(str(path), "w") as both:
        pictures = both.add_stream_from_template(silent.streams.video[0])
        voice = both.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
        block = (np.clip(sound, -1, 1) * 32767).astype(np.int16)[None]
        samples = 0
        for packet in silent.demux(silent.streams.video[0]):
            if packet.dts is None or packet.pts is None:
                continue
            while samples < packet.dts * packet.time_base * SAMPLE_RATE_HZ:
                frame = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, samples, Fraction(1, SAMPLE_RATE_HZ)
                both.mux(voice.encode(frame))
                samples += block.shape[1]
            packet.stream = pictures
            both.mux(packet)
        both.mux(voice.encode(None))
    return path


@pytest.mark.slow
def test_the_same_peak_for_any_length(grid_dir: Path, tmp_path: Path) -> None:
    """720p, in processes of their own, so that the peak is the whole one."""
    import cv2

    minutes = [float(each) for each in os.environ.get("LIPREAD_LONG_MINUTES", "0.3,0.9").split(",")]
    large = [cv2.resize(image, (900, 720)) for image in media.frames_of(grid_dir, "s1_bbaf2n")]
    large = [cv2.copyMakeBorder(image, 0, 0, 190, 190, cv2.BORDER_REPLICATE) for image in large]
    clip = media.write_video(tmp_path / "clip.mp4", large, options={"preset": "ultrafast"})
    sound = read_audio(grid_dir / "clips" / "s1_bbaf2n.mp4", frames=len(large))
    assert sound is not None
    program = textwrap.dedent(r"""
        import json, re, sys
        from lipread.pipeline import load_model
        said = load_model("small", "cpu").transcribe(sys.argv[1])
        status = open("/proc/self/status").read()  # ru_maxrss would count what the test that forks had
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status).group(1)) / 1024
        print(json.dumps({"s": said.duration_s, "words": len(said.words), "peak": peak,
                          "heard": sum(each.modality == "both" for each in said.segments)}))
    """)
    peaks = []
    for length in minutes:
        times = round(length * 20)
        silent = joined_tool.join_videos([clip], tmp_path / "silent.mp4", times=times)
        film = with_sound(silent, sound, tmp_path / "film.mov")
        done = subprocess.run([sys.executable, "-c", program, str(film)], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        said = f"{found['words']} words, {found['heard']} segments with sound"
        print(f"{found['s'] / 60:.1f} min of 720p: {said}, peak {found['peak']:.0f} MB")
        assert found["s"] == pytest.approx(60 * length, abs=3.0)
        assert found["heard"] > 0.9 * times  # the whole way, with the sound
        peaks.append(found["peak"])
    assert max(peaks) < PEAK_MB
    assert peaks[-1] - peaks[0] < 0.1 * peaks[0]


@pytest.mark.slow
def test_the_command_prints_what_is_said_while_it_reads(grid_dir: Path, tmp_path: Path) -> None:
    videos = [clip.video for clip in read_manifest(grid_dir, split="val", limit=8) if clip.video]
    film = joined_tool.join_videos(videos, tmp_path / "film.mp4")
    options = ["--live", "-o", tmp_path / "out", "-f", "srt", "--device", "cpu", "--workers", "1"]
    with subprocess.Popen(command("transcribe", film, *options), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert not (tmp_path / "out" / "film.srt").exists()  # it is still being read
        rest = process.stdout.readlines()
    said = [line for line in (first, *rest) if re.match(r" +[0-9.]+ s  \w", line)]
    subtitles = pysubs2.load(str(tmp_path / "out" / "film.srt"))
    assert [line.split(" s  ")[1].strip() for line in said] == [each.plaintext for each in subtitles]
    assert len(said) >= len(videos) - 2


@pytest.mark.slow
def test_joined_clips_are_read_as_single_ones_are(grid_dir: Path, tmp_path: Path) -> None:
    clips = read_manifest(grid_dir, split="val", limit=20)
    videos = [clip.video for clip in clips if clip.video]
    reader = load_model("small", "cpu")
    single = [reader.transcribe(video) for video in videos]
    said, lengths_s = [clip.text for clip in clips], [each.duration_s for each in single]
    sound = joined_tool.join_sounds(videos, lengths_s)
    joined = reader.transcribe(joined_tool.join_videos(videos, tmp_path / "film.mp4"), sound=sound)
    parts = joined_tool.words_by_clip(joined, lengths_s)
    alone, together = score(said, [each.text for each in single]).wer, score(said, parts).wer
    assert together <= alone + 0.025  # three words of 120; all of them are measured by tools/joined.py
    ends = list(accumulate(lengths_s))
    assert all(any(start < end_s for end_s in ends) for start in (word.start_s for word in joined.words))
    assert len(joined.segments) >= len(clips) - 2
    assert all(len(segment.text) <= 84 and segment.end_s - segment.start_s <= 7.0 for segment in joined.segments)
