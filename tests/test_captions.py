"""Captioned films: the picture keeps its length, the words are in it at their time, the sound stays in step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

import media
from lipread.audio import read_audio
from lipread.captions import CURRENT_RGB, CaptionPainter, draw_words, write_captioned_video
from lipread.errors import OutputError, VideoError
from lipread.values import Array, Segment, Transcript, Word
from lipread.video import read_frames

WORDS = (Word("bin", 0.4, 0.6, 0.9), Word("blue", 0.6, 0.8, 0.9))
SEGMENT = Segment(0.4, 0.8, "bin blue", WORDS, 0.9)
TALK = Transcript("bin blue", (SEGMENT,), 2.0, 1.0, 0.9)
GREEN = np.zeros((120, 200, 3), np.uint8) + np.array([0, 128, 0], np.uint8)


def yellow(image: Array) -> int:
    """Columns' centre of pixels near the current word's colour; -1 where there are none."""
    near = (np.abs(image.astype(int) - CURRENT_RGB) < 70).all(axis=-1)
    return int(np.nonzero(near)[1].mean()) if near.sum() > 5 else -1


def test_painter_shows_the_current_word_and_lets_go_after_the_last() -> None:
    painter = CaptionPainter((SEGMENT,))
    assert painter.paint(GREEN, 0.2) is GREEN
    first, second = painter.paint(GREEN, 0.5), painter.paint(GREEN, 0.7)
    assert 0 < yellow(first) < 100 < yellow(second)
    lingering = painter.paint(GREEN, 1.1)
    assert yellow(lingering) == -1
    assert (lingering != GREEN).any()
    assert painter.paint(GREEN, 1.4) is GREEN
    assert (GREEN == (0, 128, 0)).all()  # the picture that came in is as it was
    assert (first[:60] == GREEN[:60]).all()  # the upper half is free


def test_who_goes_on_talking_while_another_says_a_word_keeps_the_caption() -> None:
    long = tuple(Word(f"word{n}", n, n + 0.9, 0.9) for n in range(7))
    first = Segment(0.0, 7.0, " ".join(word.text for word in long), long, 0.9, "Speaker 1")
    second = Segment(1.2, 1.8, "yes", (Word("yes", 1.2, 1.8, 0.9),), 0.9, "Speaker 2")
    painter = CaptionPainter((first, second))
    shown = {time_s: painter.paint(GREEN, time_s) for time_s in (0.5, 1.5, 1.95, 4.5, 6.5, 7.3)}
    assert all((picture != GREEN).any() for picture in shown.values())
    assert not (shown[1.5] == shown[0.5]).all() and not (shown[1.5] == shown[4.5]).all()
    assert (shown[7.3] == painter.paint(GREEN, 7.1)).all()  # no word is coloured any more
    assert painter.paint(GREEN, 7.6) is GREEN


def test_drawn_captions_say_who_speaks() -> None:
    segments = SEGMENT, replace(SEGMENT, speaker="Speaker 1")
    plain, labelled = (CaptionPainter((each,)).paint(GREEN, 0.5) for each in segments)
    columns = [np.nonzero((picture != GREEN).any(axis=(0, 2)))[0] for picture in (plain, labelled)]
    assert np.ptp(columns[1]) > 1.5 * np.ptp(columns[0])
    assert yellow(labelled) > yellow(plain) > 0  # the current word stands after the label


@pytest.mark.parametrize(("width", "height"), [(200, 120), (64, 32), (1280, 720), (20, 300)])
def test_captions_never_grow_beyond_the_picture(width: int, height: int) -> None:
    overlay = draw_words(["please"] * 12, 3, width, height)
    assert overlay.shape[0] <= height
    assert overlay.shape[1] <= width


@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz"),
    [
        ("avi", "libmp3lame", 44_100),
        ("mkv", "pcm_s16le", 50_000),
        ("mkv", "pcm_s16le", 192_000),
        ("mkv", "pcm_s16le", 6000),
    ],
)
def test_sound_that_mp4_does_not_take_as_it_is(tmp_path: Path, suffix: str, codec: str, rate_hz: int) -> None:
    sound = media.click(1.0, 2.0, rate_hz)
    source = media.write_video(
        tmp_path / f"talk.{suffix}", [GREEN] * 50, codec="mpeg4", sound=sound, sound_rate_hz=rate_hz, sound_codec=codec,
        ticks_hz=25,
    )
    write_captioned_video(source, TALK, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as film:
        pieces = [frame.to_ndarray()[0] for frame in film.decode(audio=0)]
        film_rate_hz = film.streams.audio[0].rate
    assert np.abs(np.concatenate(pieces)).argmax() / film_rate_hz == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("codec", ["aac", "pcm_s16le"])
def test_film_has_all_frames_words_and_sound(tmp_path: Path, codec: str) -> None:
    sound = media.click(1.0, 2.0, 16_000)
    large = np.repeat(np.repeat(GREEN, 4, axis=0), 4, axis=1)  # colours of thin strokes do not survive compression
    source = media.write_video(
        tmp_path / "talk.mkv", [large] * 50, start_s=0.5, sound=sound, sound_start_s=0.5, sound_codec=codec
    )
    write_captioned_video(source, TALK, tmp_path / "out.mp4")
    with read_frames(tmp_path / "out.mp4") as frames:
        images = [frame.image for frame in frames]
    assert len(images) == 50
    assert yellow(images[2]) == -1
    assert 0 < yellow(images[12]) < 400 < yellow(images[17])
    with av.open(str(tmp_path / "out.mp4")) as film:
        pieces = [frame.to_ndarray().ravel() for frame in film.decode(audio=0)]
        assert film.streams.audio[0].codec_context.name == "aac"
    loudest = np.abs(np.concatenate(pieces)).argmax() / 16_000
    assert loudest == pytest.approx(1.0, abs=0.08)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "talk.mkv"]


def sound_of(film: Path) -> Array:
    """Mono sound at 16 kHz that goes with the pictures of a film."""
    sound = read_audio(film)
    assert sound is not None
    return np.abs(sound)


@pytest.mark.parametrize("codec", ["aac", "mp2"])
def test_joined_recordings(tmp_path: Path, codec: str) -> None:
    """The times start anew in the middle: the sound follows the pictures, be it copied or turned into AAC."""
    part = media.write_video(
        tmp_path / "part.ts", [GREEN] * 25 + [GREEN // 4] * 35, sound=media.click(1.0, 2.0, 16_000), sound_codec=codec
    )
    (tmp_path / "joined.ts").write_bytes(2 * part.read_bytes())
    write_captioned_video(tmp_path / "joined.ts", TALK, tmp_path / "out.mp4")
    sound = sound_of(tmp_path / "out.mp4")
    assert len(sound) == pytest.approx((2.4 + 2.0) * 16_000, abs=3000)
    with read_frames(tmp_path / "out.mp4") as frames:
        dark = np.array([frame.image[:20].mean() < GREEN.mean() / 2 for frame in frames])
    first, second = np.flatnonzero(dark[1:] & ~dark[:-1]) + 1
    assert sound[:32_000].argmax() / 16_000 == pytest.approx(first / 25, abs=0.08)
    assert sound[32_000:].argmax() / 16_000 + 2 == pytest.approx(second / 25, abs=0.08)


def test_sound_that_begins_before_the_pictures_is_kept(tmp_path: Path) -> None:
    """The film has the times of the source, so the same subtitles fit both."""
    source = media.write_video(
        tmp_path / "talk.mkv", [GREEN] * 50, start_s=1.0, sound=media.click(0.4, 3.0, 16_000)
    )
    write_captioned_video(source, TALK, tmp_path / "out.mp4")
    assert sound_of(tmp_path / "out.mp4").argmax() / 16_000 == pytest.approx(0.4, abs=0.08)
    with read_frames(tmp_path / "out.mp4") as frames:
        assert len(list(frames)) == pytest.approx(75, abs=1)


@pytest.mark.parametrize(("suffix", "codec"), [("ts", "aac"), ("mka", "aac"), ("mkv", "pcm_s16le")])
def test_sound_alone_that_does_not_begin_at_0(tmp_path: Path, suffix: str, codec: str) -> None:
    source = media.write_sound(
        tmp_path / f"talk.{suffix}", media.click(1.0, 2.0, 16_000), rate_hz=16_000, codec=codec, start_s=5.0
    )
    write_captioned_video(source, TALK, tmp_path / "out.mp4")
    assert sound_of(tmp_path / "out.mp4").argmax() / 16_000 == pytest.approx(1.0, abs=0.08)


def test_aac_in_latm_is_not_copied(tmp_path: Path) -> None:
    source = media.write_video(
        tmp_path / "talk.ts", [GREEN] * 50, sound=media.click(1.0, 2.0, 16_000),
        container_options={"mpegts_flags": "latm"},
    )
    with av.open(str(source)) as film:
        assert film.streams.audio[0].codec_context.name == "aac_latm"
    write_captioned_video(source, TALK, tmp_path / "out.mp4")
    assert sound_of(tmp_path / "out.mp4").argmax() / 16_000 == pytest.approx(1.0, abs=0.08)


def test_sound_goes_on_after_a_damaged_place(tmp_path: Path) -> None:
    sound = media.click(1.5, 2.0, 16_000) + media.tone(300, 2.0, 16_000, loudness=0.1)
    source = media.write_video(tmp_path / "talk.mkv", [GREEN] * 50, sound=sound, sound_codec="mp2")
    data = source.read_bytes()
    with av.open(str(source)) as film:
        packet = list(film.demux(film.streams.audio[0]))[10]
    source.write_bytes(data.replace(bytes(packet), b"U" * packet.size, 1))
    write_captioned_video(source, TALK, tmp_path / "out.mp4")
    assert sound_of(tmp_path / "out.mp4").argmax() / 16_000 == pytest.approx(1.5, abs=0.08)


def test_silent_video_with_odd_size(tmp_path: Path) -> None:
    source = media.write_video(tmp_path / "talk.mkv", [GREEN[:119, :199]] * 10, codec="ffv1", pix_fmt="bgr0")
    write_captioned_video(source, TALK, tmp_path / "out.mp4")
    with read_frames(tmp_path / "out.mp4") as frames:
        assert (frames.info.width, frames.info.height, frames.info.has_audio) == (198, 118, False)
        assert len(list(frames)) == 10


def test_sound_alone_gets_a_black_picture(tmp_path: Path) -> None:
    source = media.write_sound(tmp_path / "talk.wav", media.tone(300, 2.0, 16_000), rate_hz=16_000, codec="pcm_s16le")
    write_captioned_video(source, TALK, tmp_path / "out.mp4")
    with read_frames(tmp_path / "out.mp4") as frames:
        images = [frame.image for frame in frames]
    assert len(images) == 50 and images[0].max() < 20
    assert yellow(images[12]) > 0 and images[17].max() > 200


def test_refusals_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("not a video")
    with pytest.raises(VideoError, match=r"notes\.mp4"):
        write_captioned_video(tmp_path / "notes.mp4", TALK, tmp_path / "out.mp4")
    source = media.write_video(tmp_path / "talk.mp4", [GREEN] * 5)
    before = source.read_bytes()
    with pytest.raises(OutputError, match="is the video itself"):
        write_captioned_video(source, TALK, tmp_path / "." / "talk.mp4")
    (tmp_path / "blocked").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_captioned_video(source, TALK, tmp_path / "blocked" / "out.mp4")
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blocked", "notes.mp4", "talk.mp4"]
