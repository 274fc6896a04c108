"""Tones and clicks at known moments: what comes out is compared with sines and sample positions."""

from __future__ import annotations

import gc
import tracemalloc
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from lipread.audio import read_audio, read_audio_blocks, write_audio
from lipread.errors import ConfigError, DataError, OutputError, VideoError
from lipread.values import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME, Array
from lipread.video import read_frames
from media import STORED, click, number_in, numbered, tone, truncate, write_sound, write_video

MARGIN = 400  # samples at each end that a filter or a codec may colour


def heard(path: Path, **options: int | None) -> Array:
    samples = read_audio(path, **options)
    assert samples is not None
    assert samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all()
    return samples


def click_s(samples: Array) -> float:
    """When the burst of `media.click` starts: where half its loudness is first reached."""
    return float(np.argmax(np.abs(samples) > 0.3 * np.abs(samples).max())) / SAMPLE_RATE_HZ


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
def test_every_rate_keeps_phase_and_length(tmp_path: Path, rate_hz: int) -> None:
    path = write_sound(tmp_path / "a.wav", tone(1000, 1.0, rate_hz), rate_hz=rate_hz, codec="pcm_f32le")
    samples = heard(path)
    expected = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(len(samples)) / SAMPLE_RATE_HZ)
    assert len(samples) == SAMPLE_RATE_HZ
    assert np.abs(samples - expected)[MARGIN:-MARGIN].max() < 1e-3


@pytest.mark.parametrize(
    ("layout", "channels", "suffix", "codec"),
    [
        ("mono", 1, "wav", "pcm_s16le"),
        ("stereo", 2, "wav", "pcm_s16le"),
        ("3 channels", 3, "wav", "pcm_s16le"),  # no stated places
        ("5.1", 6, "flac", "flac"),
        ("7.1", 8, "wv", "wavpack"),  # planar
        ("hexadecagonal", 16, "wv", "wavpack"),
        ("24 channels", 24, "wav", "pcm_s16le"),
    ],
)
def test_channels_are_averaged(tmp_path: Path, layout: str, channels: int, suffix: str, codec: str) -> None:
    loudness = np.linspace(0.1, 0.9, channels)[:, None]
    sound = (loudness * tone(500, 0.5, 48_000, loudness=1.0)).astype(np.float32)
    samples = heard(write_sound(tmp_path / f"a.{suffix}", sound, rate_hz=48_000, codec=codec, layout=layout))
    expected = loudness.mean() * np.sin(2 * np.pi * 500 * np.arange(len(samples)) / SAMPLE_RATE_HZ)
    assert len(samples) == SAMPLE_RATE_HZ // 2
    assert np.abs(samples - expected)[MARGIN:-MARGIN].max() < 2e-3


@pytest.mark.parametrize(
    ("suffix", "codec", "video_codec"),
    [
        ("mp4", "aac", "libx264"),
        ("mkv", "pcm_s16le", "libx264"),
        ("ts", "aac", "libx264"),
        ("webm", "libopus", "libvpx"),
    ],
)
@pytest.mark.parametrize(("picture_start_s", "sound_start_s"), [(0.0, 0.0), (0.0, 0.3), (0.4, 0.0), (1.0, 1.0)])
def test_a_click_stays_with_its_picture(
    tmp_path: Path, suffix: str, codec: str, video_codec: str, picture_start_s: float, sound_start_s: float
) -> None:
    path = write_video(
        tmp_path / f"a.{suffix}",
        (numbered(index) for index in range(50)),
        codec=video_codec,
        start_s=picture_start_s,
        sound=click(0.8, 1.6, 48_000),
        sound_rate_hz=48_000,
        sound_start_s=sound_start_s,
        sound_codec=codec,
    )
    samples = heard(path, frames=50)
    assert len(samples) == 50 * SAMPLES_PER_FRAME
    slack_s = 0.006 if picture_start_s <= sound_start_s else 0.022  # an encoder's first samples, which are no sound yet
    assert click_s(samples) == pytest.approx(sound_start_s + 0.8 - min(picture_start_s, sound_start_s), abs=slack_s)
    with read_frames(path) as frames:
        shown = [number_in(frame.image) for frame in frames]
    assert shown.index(20) / 25 - click_s(samples) == pytest.approx(picture_start_s - sound_start_s, abs=0.025)
    late = round((sound_start_s - picture_start_s) * SAMPLE_RATE_HZ)
    if late > 0:
        assert np.abs(samples[: late - MARGIN]).max() < 1e-3  # silence until the sound starts


@pytest.mark.parametrize(("name", "codec", "options"), STORED)
def test_a_click_stays_with_its_picture_where_the_order_of_storage_is_stated(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_video(
        tmp_path / name, (numbered(index) for index in range(50)), codec=codec, options=options, ticks_hz=25,
        sound=click(0.8, 2.0, 48_000), sound_rate_hz=48_000, sound_codec="pcm_s16le",
    )
    with read_frames(path) as stream:
        assert next(number_in(frame.image) for frame in stream if frame.time_s == 0.8) == 20
    assert click_s(heard(path)) == pytest.approx(0.8, abs=0.001)


def test_a_block_that_avi_counts_twice_is_no_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's encoder may leave out a number; PyAV does not, so it is played."""
    path = write_sound(tmp_path / "a.avi", click(3.0, 4.0, 16_000), rate_hz=16_000, codec="aac")
    plain_s = click_s(heard(path))
    for left_out, pause_s in ((1, 0.0), (10, 0.64)):  # a pause is one still
        monkeypatch.setattr(
            "lipread.audio.moment_of",
            lambda frame, left_out=left_out: (frame.pts + left_out * (frame.pts > 20)) * Fraction(1024, 16_000),
        )
        assert click_s(heard(path)) == pytest.approx(plain_s + pause_s, abs=0.01)


def test_first_picture_is_where_decoding_starts(tmp_path: Path) -> None:
    """A transport stream cut inside a group of pictures starts with pictures that nothing can show."""
    path = write_video(
        tmp_path / "a.ts",
        (numbered(index) for index in range(75)),
        options={"g": "25", "bf": "0"},
        sound=click(2.0, 3.0, 16_000),
    )
    data = path.read_bytes()
    tables, cut = data[: 188 * 3], len(data) * 2 // 5 // 188 * 188
    path.write_bytes(tables + data[cut:])
    with read_frames(path) as stream:
        shown = [number_in(frame.image) for frame in stream]
    assert 0 < shown[0] < 50
    assert shown.count(shown[0]) > 10  # it is held: the sound begins before it
    assert click_s(heard(path)) == pytest.approx(shown.index(50) / 25, abs=0.045)


@pytest.mark.parametrize("frames", [0, 1, 10, 24, 25, 26, 100])
def test_cut_or_filled_to_the_pictures(tmp_path: Path, frames: int) -> None:
    path = write_sound(tmp_path / "a.wav", tone(440, 1.0, 16_000), rate_hz=16_000, codec="pcm_s16le")
    whole, samples = heard(path), heard(path, frames=frames)
    assert len(samples) == frames * SAMPLES_PER_FRAME
    shared = min(len(whole), len(samples))
    assert np.array_equal(samples[:shared], whole[:shared])
    assert not samples[shared:].any()


@pytest.mark.parametrize("pause_s", [1, 30])
def test_a_pause_in_the_times_is_silence(tmp_path: Path, pause_s: int) -> None:
    """Sound that stops for a while: Matroska keeps only times, and the gap must not close."""
    path = tmp_path / "a.mka"
    with av.open(str(path), "w") as container:
        voice = container.add_stream("pcm_s16le", rate=16_000)
        voice.codec_context.layout = "mono"
        again = (1 + pause_s) * 16_000
        for begin in [*range(0, 16_000, 1600), *range(again, again + 16_000, 1600)]:
            frame = av.AudioFrame.from_ndarray(np.full((1, 1600), 8192, np.int16), format="s16", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, begin, Fraction(1, 16_000)
            container.mux(voice.encode(frame))
        container.mux(voice.encode(None))
    samples = heard(path)
    assert len(samples) == again + 16_000
    assert np.allclose(samples[:16_000], 0.25) and np.allclose(samples[again:], 0.25)
    assert not samples[16_000:again].any()
    assert max(map(len, read_audio_blocks(path))) <= SAMPLE_RATE_HZ  # silence is not in memory at once


@pytest.mark.parametrize(
    ("container", "early_s"),
    [("mkv", 0.4), ("mkv", 2.0), ("mkv", 30.0), ("mp4", 0.4), ("mp4", 30.0), ("ts", 2.0), ("ts", 30.0), ("mov", 2.0),
     ("flv", 2.0)],
)
def test_sound_before_the_first_picture_is_read_and_that_picture_held(
    tmp_path: Path, container: str, early_s: float
) -> None:
    """Times are those of a player, which counts from the sound's beginning here."""
    path, warnings, held = tmp_path / f"a.{container}", list[str](), round(early_s * 25)
    sound = click(0.2, early_s + 1.6, 44_100) + click(early_s + 0.8, early_s + 1.6, 44_100)
    write_video(path, (numbered(index) for index in range(40)), start_s=early_s, sound=sound, sound_rate_hz=44_100)
    with read_frames(path) as frames:
        shown = [number_in(frame.image) for frame in frames]
        warnings += frames.warnings
    assert shown[: held + 20] == pytest.approx([0] * held + list(range(20)), abs=1)
    assert shown == sorted(shown) and len(shown) == pytest.approx(held + 40, abs=1)
    samples = read_audio(path, frames=held + 40, warnings=warnings)
    assert samples is not None and not warnings
    assert click_s(samples[: held * 640]) == pytest.approx(0.2, abs=0.03)
    assert click_s(samples[held * 640 :]) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("container", ["ts", "mkv"])
def test_sound_that_begins_long_after_the_first_picture(tmp_path: Path, container: str) -> None:
    path, warnings = tmp_path / f"a.{container}", list[str]()
    write_video(path, (numbered(index) for index in range(30)), fps=1, sound=click(0.8, 2.0, 16_000), sound_start_s=25)
    samples = read_audio(path, warnings=warnings)
    assert samples is not None and not warnings
    assert click_s(samples) == pytest.approx(25.8, abs=0.03)


def part(path: Path, number: int, *, start_s: float = 0.0, sound_s: float = 2.0, codec: str = "libx264") -> bytes:
    """A stream of 2 s to be joined to others: picture 100 * number + 20 is shown when a click is heard, after 0.8 s."""
    return write_video(
        path, (numbered(100 * number + index) for index in range(50)), codec=codec, start_s=start_s,
        ticks_hz=25, sound=click(0.8, sound_s, 48_000), sound_rate_hz=48_000, sound_start_s=start_s, sound_codec="mp2",
    ).read_bytes()  # fmt: skip


def out_of_step_s(path: Path, parts: int) -> list[float]:
    """How much later than its picture the click of each `part` is heard."""
    samples = heard(path)
    with read_frames(path) as frames:
        shown = [number_in(frame.image) for frame in frames]
    late_s = []
    for number in range(parts):
        begin = shown.index(100 * number + 20) * SAMPLES_PER_FRAME - SAMPLE_RATE_HZ // 2
        late_s.append(click_s(samples[begin : begin + SAMPLE_RATE_HZ]) - 0.5)
    return late_s


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "libx264"), ("mpg", "mpeg2video")])
@pytest.mark.parametrize("starts_s", [(0, 0, 0, 0), (0, 30, 60_000, 0)])
@pytest.mark.parametrize("sound_s", [1.6, 2.0, 2.4])
def test_joined_streams_stay_in_step(
    tmp_path: Path, suffix: str, codec: str, starts_s: tuple[int, ...], sound_s: float
) -> None:
    """Picture and sound are of unlike length, so they come to a join at unlike times."""
    path = tmp_path / f"a.{suffix}"
    joined = [
        part(path, number, start_s=start_s, sound_s=sound_s, codec=codec) for number, start_s in enumerate(starts_s)
    ]
    path.write_bytes(b"".join(joined))
    assert out_of_step_s(path, len(joined)) == pytest.approx([0] * len(joined), abs=0.045)


def test_sound_that_only_some_of_the_joined_streams_have(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    silent = write_video(path, (numbered(3) for _ in range(50))).read_bytes()
    path.write_bytes(part(path, 0, sound_s=4) + silent + part(path, 1))
    assert out_of_step_s(path, 2) == pytest.approx([0, 0], abs=0.045)


def test_one_wild_time_among_joined_streams(tmp_path: Path) -> None:
    """The sound goes on, so the pictures after it are where they were before."""
    path = tmp_path / "a.ts"
    wild = write_video(path, [numbered(3)], start_s=1000).read_bytes()
    path.write_bytes(part(path, 0) + wild + part(path, 1, start_s=2))
    assert out_of_step_s(path, 2) == pytest.approx([0, 0], abs=0.045)
    assert len(heard(path)) == pytest.approx(4 * SAMPLE_RATE_HZ, abs=2 * 1152)


def test_pictures_that_stop_for_long_while_the_sound_goes_on(tmp_path: Path) -> None:
    """A pause, not a jump: the sound tells how long it is."""
    path, near = tmp_path / "a.ts", [index / 25 for index in range(25)]
    write_video(
        path, (numbered(index) for index in range(50)), times_s=near + [30 + time_s for time_s in near],
        sound=click(30.4, 31.0, 16_000), container_options={"max_interleave_delta": "0"},
    )  # fmt: skip
    with read_frames(path) as frames:
        shown = [number_in(frame.image) for frame in frames]
        assert not frames.warnings
    assert shown.index(35) / 25 == pytest.approx(30.4, abs=0.045)
    assert click_s(heard(path)) == pytest.approx(30.4, abs=0.03)


def test_sound_that_begins_hardly_earlier_begins_with_the_picture(tmp_path: Path) -> None:
    """As where an encoder's first samples are no sound yet."""
    path = tmp_path / "a.mkv"
    write_video(path, (numbered(index) for index in range(5)), start_s=0.09, sound=tone(440, 0.3, 16_000),
                sound_codec="pcm_s16le")
    with read_frames(path) as frames:
        assert [number_in(frame.image) for frame in frames] == list(range(5))


def test_sound_that_begins_unbelievably_early_does_not_count(tmp_path: Path) -> None:
    path, warnings = tmp_path / "a.ts", list[str]()
    write_video(path, (numbered(index) for index in range(5)), start_s=700, sound=tone(440, 1.0, 16_000))
    with read_frames(path) as frames:
        assert [number_in(frame.image) for frame in frames] == list(range(5))
    read_audio(path, warnings=warnings)
    assert len(warnings) == 1 and "The times of the sound jump" in warnings[0]


def test_a_jump_in_the_times_does_not_fill_memory(tmp_path: Path) -> None:
    sound = tone(440, 1.0, 16_000)
    first = write_sound(tmp_path / "a.ts", sound, rate_hz=16_000, codec="aac").read_bytes()
    second = write_sound(tmp_path / "b.ts", sound, rate_hz=16_000, codec="aac", start_s=50_000).read_bytes()
    (tmp_path / "c.ts").write_bytes(first + second)
    warnings: list[str] = []
    samples = read_audio(tmp_path / "c.ts", warnings=warnings)
    assert samples is not None
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE_HZ, abs=3 * 1024)
    assert any("jump" in warning for warning in warnings)


def test_what_is_not_finite_becomes_silence(tmp_path: Path) -> None:
    sound = tone(440, 1.0, 16_000)
    sound[0, 4000:4010] = np.nan
    sound[0, 8000] = np.inf
    sound[0, 9000] = -np.inf
    path, warnings = write_sound(tmp_path / "a.wav", sound, rate_hz=16_000, codec="pcm_f32le"), list[str]()
    samples = read_audio(path, warnings=warnings)
    assert samples is not None and np.isfinite(samples).all()
    assert warnings == ["Samples of the sound are not finite (NaN or infinite); there it counts as silent."]
    assert not samples[4000:4010].any() and samples[8000] == 0 and samples[9000] == 0
    assert np.allclose(samples[10_000:], sound[0, 10_000:], atol=1e-5)
    two = np.concatenate([np.full_like(sound, np.nan), np.nan_to_num(sound, posinf=0, neginf=0)])
    path = write_sound(tmp_path / "b.wav", two, rate_hz=16_000, codec="pcm_f32le", layout="stereo")
    assert np.allclose(heard(path), two[1] / 2, atol=1e-5)  # a broken channel leaves the other


def test_channels_that_take_each_other_away(tmp_path: Path) -> None:
    """One channel upside down: their mean is silent, so one is taken, and it stays the same one."""
    sound = tone(500, 2.0, 48_000)
    expected = 0.5 * np.sin(2 * np.pi * 500 * np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ)
    upside_down = np.concatenate([0.98 * sound, -sound])
    path = write_sound(tmp_path / "a.wav", upside_down, rate_hz=48_000, codec="pcm_s16le", layout="stereo")
    assert np.abs(heard(path) + expected)[MARGIN:-MARGIN].max() < 2e-3
    coded = heard(write_sound(tmp_path / "a.m4a", upside_down, rate_hz=48_000, codec="aac", layout="stereo"))
    assert 0.3 < float(np.std(coded[2000:30_000])) < 0.4
    beside = np.concatenate([sound, 0 * sound])  # silence takes nothing away
    path = write_sound(tmp_path / "b.wav", beside, rate_hz=48_000, codec="pcm_s16le", layout="stereo")
    assert np.abs(heard(path) - expected / 2)[MARGIN:-MARGIN].max() < 2e-3


def test_channels_that_take_each_other_away_for_a_while(tmp_path: Path) -> None:
    sound = tone(500, 6.0, 16_000)
    turned = sound.copy()
    turned[:, 32_000:] *= -1  # after 2 s
    path = write_sound(
        tmp_path / "a.wav", np.concatenate([sound, turned]), rate_hz=16_000, codec="pcm_s16le", layout="stereo"
    )
    loud = heard(path).reshape(12, -1).std(axis=1)
    assert np.allclose(np.delete(loud, [4, 5, 6]), 0.5 / 2**0.5, atol=0.01)  # it takes a second to be noticed


def test_no_sound_is_none(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", [numbered(0)] * 5)
    assert read_audio(path) is None and read_audio(path, frames=5) is None
    assert list(read_audio_blocks(path)) == []


def test_sound_alone_and_sound_with_a_cover_are_read(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mp3", tone(440, 1.0, 16_000), rate_hz=16_000, codec="libmp3lame")
    assert len(heard(path)) == pytest.approx(SAMPLE_RATE_HZ, abs=2 * 1152)


@pytest.mark.parametrize("suffix", ["mkv", "ts", "wav"])
def test_a_broken_tail_keeps_what_could_be_read(tmp_path: Path, suffix: str) -> None:
    sound = tone(440, 2.0, 16_000)
    if suffix == "wav":
        path = write_sound(tmp_path / "a.wav", sound, rate_hz=16_000, codec="pcm_s16le")
    else:
        path = write_video(tmp_path / f"a.{suffix}", (numbered(index) for index in range(50)), sound=sound)
    before = heard(path)
    after = heard(truncate(path, 0.7))
    assert 0.2 * len(before) < len(after) < len(before)
    shared = len(after) - 2048
    assert np.allclose(after[:shared], before[:shared], atol=1e-3)


def test_bad_files_and_settings(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no sound here")
    with pytest.raises(VideoError, match=r"text\.mp4 cannot be read"):
        read_audio(tmp_path / "text.mp4")
    with pytest.raises(VideoError, match="does not exist"):
        read_audio(tmp_path / "absent.mp4")
    with pytest.raises(ConfigError, match="frames=-1"):
        read_audio(tmp_path / "absent.mp4", frames=-1)


def test_blocks_use_constant_memory(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(440, 180.0, 8000), rate_hz=8000, codec="pcm_s16le")
    tracemalloc.start()
    count = sum(len(block) for block in read_audio_blocks(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    gc.collect()
    assert count == 180 * SAMPLE_RATE_HZ  # 11.5 MB as one array
    assert peak < 1e6


def test_a_real_clip(grid_dir: Path) -> None:
    samples = heard(grid_dir / "clips" / "s1_bbal6n.mp4", frames=75)
    assert len(samples) == 75 * SAMPLES_PER_FRAME
    assert 0.005 < float(samples.std()) < 0.5


def test_written_sound_comes_back_in_step(tmp_path: Path) -> None:
    sound = (click(1.0, 3.0, 16_000) + tone(200, 3.0, 16_000, loudness=0.1))[0]
    path = tmp_path / "clip.m4a"
    write_audio(path, sound)
    samples = heard(path)
    assert abs(len(samples) - len(sound)) <= 1024
    assert click_s(samples) == pytest.approx(1.0, abs=0.002)
    assert np.corrcoef(samples[: len(sound)], sound[: len(samples)])[0, 1] > 0.9
    assert path.stat().st_size < 3 * 32_000 / 8 * 1.5
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.m4a"]


def test_writing_bad_values(tmp_path: Path) -> None:
    loud = np.full(4000, 9.0)
    loud[:100] = np.nan
    write_audio(tmp_path / "a.m4a", loud)
    assert np.abs(heard(tmp_path / "a.m4a")).max() < 2.0
    for wrong in (np.zeros(0), np.zeros((2, 100))):
        with pytest.raises(DataError, match="shape"):
            write_audio(tmp_path / "b.m4a", wrong)
    assert not (tmp_path / "b.m4a").exists()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.m4a"
    write_audio(path, np.zeros(1000))
    old = path.read_bytes()

    def full(target: Path, data: bytes) -> int:
        with open(target, "wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"clip\.m4a cannot be written \(No space left on device\)"):
        write_audio(path, tone(440, 1.0, 16_000)[0])
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.m4a"]
    monkeypatch.undo()
    with pytest.raises(OutputError, match="cannot be written"):
        write_audio(path / "clip.m4a", np.zeros(1000))
