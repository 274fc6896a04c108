"""Pictures carry their own number, so what comes out is compared with arithmetic on presentation times."""

from __future__ import annotations

import gc
import os
import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipread.errors import ConfigError, VideoError
from lipread.values import FRAME_RATE_HZ, Array
from lipread.video import probe, read_frames, use_threads
from media import (
    B_FRAMES,
    STORED,
    number_in,
    numbered,
    quarters,
    tone,
    truncate,
    write_sound,
    write_video,
)


def pictures(count: int) -> list[Array]:
    return [numbered(index) for index in range(count)]


def numbers_of(path: Path) -> tuple[list[int], list[str]]:
    """Numbers shown at 0, 1/25, 2/25 ... s, and the warnings; times must lie on the grid."""
    with read_frames(path) as stream:
        frames = [(number_in(frame.image), frame.time_s) for frame in stream]
        assert [time for _, time in frames] == [index / FRAME_RATE_HZ for index in range(len(frames))]
        return [number for number, _ in frames], stream.warnings


@pytest.mark.parametrize("name", ["s1_bbal6n.mp4", "s3_bbaf2p.mp4", "s4_sbwu4a.mp4"])
def test_a_real_25_fps_clip_gives_exactly_its_own_pictures(grid_dir: Path, name: str) -> None:
    path = grid_dir / "clips" / name
    with av.open(str(path)) as container:
        plain = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with read_frames(path) as stream:
        ours = [frame.image for frame in stream]
    assert len(plain) == len(ours) == 75
    assert all(np.array_equal(a, b) for a, b in zip(plain, ours, strict=True))
    assert all(image.flags.c_contiguous and image.dtype == np.uint8 for image in ours)
    assert stream.warnings == []
    assert (stream.info.width, stream.info.height, stream.info.has_audio) == (360, 288, True)
    assert stream.info.duration_s == pytest.approx(3.0)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("fps", [10, 16, 24, 25, Fraction(30000, 1001), 30, 50, 60, 120])
def test_any_steady_rate_becomes_the_picture_shown_at_each_grid_point(
    tmp_path: Path, suffix: str, fps: Fraction
) -> None:
    count = int(fps * 2)
    numbers, warnings = numbers_of(write_video(tmp_path / f"a.{suffix}", pictures(count), fps=fps))
    ticks_hz = 1000 if suffix == "mkv" else 90_000  # Matroska rounds to milliseconds
    starts = np.round(np.arange(count) / float(fps) * ticks_hz) / ticks_hz
    for index, number in enumerate(numbers):
        assert number == np.sum(starts <= index / FRAME_RATE_HZ + 0.5 / ticks_hz) - 1
    assert len(numbers) == -(-count * FRAME_RATE_HZ // Fraction(fps))  # grid points before the last picture's end
    assert warnings == []


def test_variable_rate_follows_the_times_and_not_the_count(tmp_path: Path) -> None:
    steps = random.Random(5)
    times = [Fraction(0)]
    while len(times) < 90:
        times.append(times[-1] + Fraction(steps.choice([7, 11, 23, 33, 290]), 1000))
    numbers, _ = numbers_of(write_video(tmp_path / "phone.mp4", pictures(90), times_s=times, fps=30))
    for index, number in enumerate(numbers):
        assert number == sum(time <= Fraction(index, FRAME_RATE_HZ) for time in times) - 1


def test_trembling_25_fps_keeps_every_picture(tmp_path: Path) -> None:
    noise = random.Random(1)
    times = [max(0.0, index / 25 + noise.uniform(-0.008, 0.008)) for index in range(60)]
    numbers, warnings = numbers_of(write_video(tmp_path / "a.mkv", pictures(60), times_s=times))
    assert (numbers, warnings) == (list(range(60)), [])


@pytest.mark.parametrize(
    ("name", "codec", "ticks_hz"),
    [("a.avi", "mpeg4", 25), ("a.h264", "libx264", 90_000), ("a.flv", "libx264", 1000), ("a.webm", "libvpx", 1000)],
)
def test_other_containers_and_missing_times(tmp_path: Path, name: str, codec: str, ticks_hz: int) -> None:
    path = write_video(tmp_path / name, pictures(30), codec=codec, ticks_hz=ticks_hz)
    assert numbers_of(path) == (list(range(30)), [])
    if name == "a.h264":
        assert probe(path).duration_s is None


@pytest.mark.parametrize(("name", "codec", "options"), STORED)
@pytest.mark.parametrize("fps", [25, 50])
def test_containers_that_state_when_pictures_are_stored(
    tmp_path: Path, name: str, codec: str, options: dict[str, str], fps: int
) -> None:
    """Their pictures come in another order than the one in which they are shown."""
    path = write_video(tmp_path / name, pictures(90), codec=codec, options=options, fps=fps, ticks_hz=fps)
    assert numbers_of(path) == (list(range(0, 90, fps // 25)), [])


@pytest.mark.parametrize("options", [{"bf": "0"}, B_FRAMES])
def test_pictures_left_out_of_an_avi_are_held(tmp_path: Path, options: dict[str, str]) -> None:
    times = [index / 25 for index in range(75) if not 30 <= index < 55]
    path = write_video(tmp_path / "a.avi", pictures(50), times_s=times, ticks_hz=25, options=options)
    assert numbers_of(path) == ([*range(30), *[29] * 25, *range(30, 50)], [])


def test_start_times_do_not_matter(tmp_path: Path) -> None:
    assert numbers_of(write_video(tmp_path / "a.ts", pictures(20), start_s=5.0)) == (list(range(20)), [])
    assert numbers_of(write_video(tmp_path / "b.mp4", pictures(20), start_s=2.5)) == (list(range(20)), [])


def test_very_low_rates_repeat_pictures_and_warn(tmp_path: Path) -> None:
    numbers, warnings = numbers_of(write_video(tmp_path / "a.mp4", pictures(3), fps=Fraction(1, 10)))
    assert numbers == [0] * 250 + [1] * 250 + [2] * 250
    assert len(warnings) == 1 and "0.1 pictures per second" in warnings[0]


def test_high_rate(tmp_path: Path) -> None:
    numbers, warnings = numbers_of(write_video(tmp_path / "a.mp4", pictures(400), fps=1000))
    assert (numbers, warnings) == (list(range(0, 400, 40)), [])


def test_a_jump_in_time_is_closed_and_a_pause_is_held(tmp_path: Path) -> None:
    near = [index / 25 for index in range(10)]
    jump = write_video(tmp_path / "jump.mkv", pictures(20), times_s=near + [1e5 + time for time in near])
    numbers, warnings = numbers_of(jump)
    assert numbers == list(range(20))
    assert len(warnings) == 1 and "jump" in warnings[0]  # and nothing of an end that is missing
    pause = write_video(tmp_path / "pause.mkv", pictures(20), times_s=near + [5 + time for time in near])
    numbers, _ = numbers_of(pause)
    assert numbers == list(range(9)) + [9] * (125 - 9) + list(range(10, 20))


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_a_camera_that_is_off_for_long(tmp_path: Path, suffix: str) -> None:
    """The file states how long it is, so the pause is no jump; its end is not missing, and its rate is no lower."""
    near = [index / 25 for index in range(10)]
    path = write_video(tmp_path / f"a.{suffix}", pictures(20), times_s=near + [33 + time for time in near])
    assert numbers_of(path) == ([*range(9), *[9] * (33 * 25 - 9), *range(10, 20)], [])


def test_times_that_go_back_are_read_on(tmp_path: Path) -> None:
    """Two transport streams glued together: the clock starts again."""
    first = write_video(tmp_path / "a.ts", pictures(50), start_s=30.0).read_bytes()
    second = write_video(tmp_path / "b.ts", pictures(50), start_s=1.0).read_bytes()
    glued = tmp_path / "glued.ts"
    glued.write_bytes(first + second)
    numbers, warnings = numbers_of(glued)
    assert len(numbers) == pytest.approx(100, abs=3)
    assert numbers[:45] == list(range(45)) and numbers[-10:] == list(range(40, 50))
    assert any("jump" in warning for warning in warnings)


@pytest.mark.parametrize(("suffix", "told"), [("mp4", True), ("mkv", True), ("ts", False)])
def test_a_broken_tail_gives_what_could_be_read(tmp_path: Path, suffix: str, told: bool) -> None:
    path = write_video(
        tmp_path / f"a.{suffix}",
        pictures(100),
        options={"g": "10"},
        container_options={"movflags": "faststart"} if suffix == "mp4" else None,
    )
    numbers, warnings = numbers_of(truncate(path, 0.6))
    assert 20 < len(numbers) < 90
    assert numbers[:-1] == list(range(len(numbers) - 1))
    assert bool(warnings) or not told  # a transport stream states no length: nothing shows that more was meant


def test_damage_in_the_middle_keeps_time(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", pictures(100), options={"g": "5"})
    data = bytearray(path.read_bytes())
    middle = len(data) // 2 // 188 * 188
    data[middle : middle + 188 * 6] = bytes(188 * 6)
    path.write_bytes(bytes(data))
    numbers, _ = numbers_of(path)
    assert len(numbers) == 100
    assert numbers[:30] == list(range(30)) and numbers[-30:] == list(range(70, 100))


def test_one_picture(tmp_path: Path) -> None:
    for name, codec, pix_fmt in (("a.mp4", "libx264", "yuv420p"), ("a.png", "png", "rgb24")):
        numbers, warnings = numbers_of(write_video(tmp_path / name, pictures(1), codec=codec, pix_fmt=pix_fmt))
        assert numbers == [0]
        assert any("single picture" in warning for warning in warnings)


def test_a_cover_image_is_not_a_video(tmp_path: Path) -> None:
    from av.stream import Disposition

    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        voice = container.add_stream("aac", rate=16_000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        sound = av.AudioFrame.from_ndarray(tone(440, 0.064, 16_000), format="fltp", layout="mono")
        sound.sample_rate, sound.pts = 16_000, 0
        image = av.VideoFrame.from_ndarray(quarters(64, 48), format="rgb24").reformat(format="yuvj420p")
        image.pts = 0
        for packets in (cover.encode(image), cover.encode(None), voice.encode(sound), voice.encode(None)):
            container.mux(packets)
    with pytest.raises(VideoError, match=r"song\.mp4 has no picture .* cover image"):
        read_frames(path)


def _unreadable(path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Tests may run as root, who may read everything: the refusal is played."""

    def refuse(*_: object) -> object:
        raise PermissionError(13, "Permission denied")

    write_video(path, pictures(1))
    monkeypatch.setattr("builtins.open", refuse)
    return path


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda path, _: path, "does not exist; check"),
        (lambda path, _: path.parent, "is a directory"),
        (lambda path, _: path.touch() or path, r"is empty \(0 bytes\)"),
        (lambda path, _: path.write_text("not a video") and path, "cannot be read as a video"),
        (lambda path, _: path.write_bytes(random.Random(2).randbytes(9999)) and path, "cannot be read as a video"),
        (lambda path, _: truncate(write_video(path, pictures(99)), 0.7), "cannot be read as a video"),
        (
            lambda path, _: write_sound(path, tone(440, 1, 16_000), rate_hz=16_000, codec="aac"),
            "has no picture .*only sound",
        ),
        (lambda path, _: write_video(path, [numbered(0, 10_000, 10)]), "10000x10 .*too narrow"),
        (_unreadable, "may not be read"),
        (lambda *_: Path("/dev/null"), "a pipe or a device"),
    ],
)
def test_each_bad_input_has_its_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path, pytest.MonkeyPatch], Path], sentence: str
) -> None:
    path = make(tmp_path / "clip.mp4", monkeypatch)
    for function in (probe, read_frames):
        with pytest.raises(VideoError, match=sentence) as caught:
            function(path)
        assert str(path) in str(caught.value)
        assert not str(caught.value).endswith(".") and "; " in str(caught.value)  # what is wrong; what to do


def test_texts_and_lists_of_files_are_not_videos(tmp_path: Path) -> None:
    write_video(tmp_path / "secret.mp4", pictures(2))
    (tmp_path / "a.ffconcat").write_text("ffconcat version 1.0\nfile secret.mp4\n")
    (tmp_path / "a.txt").write_text("hello\n" * 50)
    for name in ("a.ffconcat", "a.txt"):
        with pytest.raises(VideoError, match=r"a text or a list|cannot be read as a video"):
            read_frames(tmp_path / name)


def test_a_stream_without_pictures(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", pictures(3))
    data = path.read_bytes()
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4  # the headers stay, the pictures go
    path.write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    with pytest.raises(VideoError, match="not one picture"):
        read_frames(path)


def test_max_side_must_be_sensible(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_side_px=2 "):
        read_frames(tmp_path / "a.mp4", max_side_px=2)


def test_names_that_ffmpeg_would_misread(tmp_path: Path) -> None:
    for name in ("http:a.mp4", "a%03d.mp4", "-i.mp4", "naïve 词.mp4", "pipe:0.mp4"):
        path = write_video(tmp_path / "plain.mp4", pictures(2)).rename(tmp_path / name)
        assert numbers_of(path)[0] == [0, 1]


def test_closing_early_and_twice(tmp_path: Path) -> None:
    with read_frames(write_video(tmp_path / "a.mp4", pictures(30))) as stream:
        next(stream)
    stream.close()
    assert list(stream) == []


def test_nothing_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = truncate(write_video(tmp_path / "a.ts", pictures(60)), 0.7)
    capfd.readouterr()  # the encoder may talk
    numbers_of(path)
    assert capfd.readouterr() == ("", "")


def test_damaged_bytes_never_escape_as_another_error(tmp_path: Path) -> None:
    chance = random.Random(7)
    sources = [
        write_video(tmp_path / f"a.{suffix}", pictures(20), sound=tone(440, 0.8, 16_000)).read_bytes()
        for suffix in ("mp4", "mkv", "ts")
    ]
    path, read = tmp_path / "damaged", 0
    for _ in range(90):
        data = bytearray(chance.choice(sources))
        for _ in range(chance.choice([1, 5, 50])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        path.write_bytes(bytes(data[: chance.choice([len(data), chance.randrange(len(data))])]))
        try:
            with read_frames(path) as stream:
                count = sum(1 for _ in stream)
        except VideoError as error:
            assert str(path) in str(error)
        else:
            read += 1
            assert 1 <= count <= 20 * 20 * FRAME_RATE_HZ  # 20 pictures, each held at most 20 s
    assert read > 20


def resident_bytes() -> int:
    pages = Path("/proc/self/statm")
    if not pages.exists():
        pytest.skip("this system does not tell a process's memory in /proc")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (4, 240, 320, 3), np.uint8)
    images = (noise[index % 4] for index in range(800))
    path = write_video(tmp_path / "long.avi", images, codec="mpeg4", ticks_hz=25, options={"qscale": "20"})
    with read_frames(path) as stream:
        for _ in range(150):
            next(stream)
        gc.collect()
        early = resident_bytes()
        count = 150 + sum(1 for _ in stream)
        late = resident_bytes()
    assert count == 800  # as a list, 650 more pictures would take 150 MB
    assert late - early < 15e6


def test_the_number_of_threads_changes_no_picture(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [numbered(index, 1280, 720) for index in range(30)])
    pictures = {}
    for threads in (1, 3, 0):
        use_threads(threads)  # ends with what it is at first
        with read_frames(path) as stream:
            pictures[threads] = np.stack([frame.image for frame in stream])
    assert [number_in(image) for image in pictures[0]] == list(range(30))
    assert all((pictures[threads] == pictures[0]).all() for threads in (1, 3))
