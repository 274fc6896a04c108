"""One upload from file to reading: limits, parts, names that visitors know, cancelling, advice."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

import media
from lipread.errors import ConfigError, NoPictureError, NoSoundError, OutputError, VideoError
from lipread.hearing import Modality
from lipread.pipeline import LipReader
from lipread.values import MouthTrack, Transcript
from lipread.video import VideoInfo, probe, read_frames
from lipread.web.advice import advice_for
from lipread.web.limits import Cancelled, Limits, check_duration, check_video, make_limits
from lipread.web.reading import read_video, write_files, write_film
from lipread.web.trim import cut_video, part_wanted
from test_pipeline import hearing, teller, with_sound
from test_web_timeline import transcript

__all__ = ["hearing", "with_sound"]  # fixtures


def film(path: Path, frames: int = 100, **options: object) -> Path:
    return media.write_video(path, (media.numbered(n) for n in range(frames)), **options)  # type: ignore[arg-type]


def numbers(path: Path) -> list[int]:
    with read_frames(path) as frames:
        return [media.number_in(frame.image) for frame in frames]


@pytest.mark.parametrize(
    ("start_s", "end_s", "first", "last"),
    [(1.0, 2.0, 25, 49), (0.0, 0.4, 0, 9), (3.0, None, 75, 99), (0.5, 99.0, 13, 99), (2.0, 2.01, 50, 50)],
)
def test_a_part_is_exact_to_the_frame(
    tmp_path: Path, start_s: float, end_s: float | None, first: int, last: int
) -> None:
    cut_video(film(tmp_path / "in.mp4"), tmp_path / "out.mp4", start_s, end_s)
    assert numbers(tmp_path / "out.mp4") == list(range(first, last + 1))


@pytest.mark.parametrize("early_s", [0.0, 1.0])
def test_a_part_keeps_its_sound_in_step(tmp_path: Path, early_s: float) -> None:
    source = film(tmp_path / "in.mp4", start_s=early_s, sound=media.click(2.5, 4.0, 16_000))
    cut_video(source, tmp_path / "out.mp4", 2.0, 3.5)
    with av.open(str(tmp_path / "out.mp4")) as container:
        pieces = [
            (float(frame.pts * frame.time_base) + np.arange(frame.samples) / frame.sample_rate, frame.to_ndarray()[0])
            for frame in container.decode(audio=0)
        ]
    times, sound = (np.concatenate(each) for each in zip(*pieces, strict=True))
    assert times[np.abs(sound).argmax()] == pytest.approx(0.5, abs=0.05)
    assert times[-1] == pytest.approx(1.5, abs=0.15)


def test_parts_that_make_no_sense(tmp_path: Path) -> None:
    assert part_wanted(0, 0) is part_wanted(None, None) is None
    assert part_wanted(1, 0) == (1.0, None)
    assert part_wanted(None, 2) == (0.0, 2.0)
    for start_s, end_s in ((2, 1), (1, 1.1), (-1, 0), (1e308, 0), (0, float("nan")), (float("inf"), 0)):
        with pytest.raises(ConfigError, match=r"start|end"):
            part_wanted(start_s, end_s)
    with pytest.raises(VideoError, match="ends before 9 s"):
        cut_video(film(tmp_path / "in.mp4", 30), tmp_path / "out.mp4", 9.0, None)
    assert not (tmp_path / "out.mp4").exists()


def test_limits_are_told_with_what_to_do(tmp_path: Path) -> None:
    path = film(tmp_path / "long.mp4")
    assert check_video(path, Limits(duration_s=4), "long.mp4").duration_s == 4.0
    with pytest.raises(VideoError, match=r"my\.mp4 is 4 s long, and this page reads up to 2 s; choose a part"):
        check_video(path, Limits(duration_s=2), "my.mp4")
    with pytest.raises(VideoError, match=r"^text\.mp4"):
        check_video(media.touch(tmp_path / "text.mp4"), Limits(), "text.mp4")
    check_duration(2.4, Limits(duration_s=2), "x")
    assert (make_limits(5, 60).upload_mb, make_limits(5, 60).duration_s) == (5, 60)
    for megabytes, seconds in ((0, 60), (5, 0), (5, float("nan"))):
        with pytest.raises(ConfigError, match="choose"):
            make_limits(megabytes, seconds)


def test_a_length_that_the_file_does_not_state_is_noticed_while_reading(tmp_path: Path) -> None:
    path = film(tmp_path / "raw.h264", 100)  # no container: no length
    assert probe(path).duration_s is None
    with pytest.raises(VideoError, match=r"raw\.h264 is 3 s long, and this page reads up to 2 s"):
        read_video(teller(), path, tmp_path, limits=Limits(duration_s=2))


def test_a_part_of_a_video_that_is_too_long_is_read(tmp_path: Path) -> None:
    path = film(tmp_path / "long.mp4")
    told: list[tuple[float, str]] = []
    reading = read_video(
        teller(), path, tmp_path / "work", limits=Limits(duration_s=2), start_s=1.0, end_s=2.0,
        tell=lambda share, what: told.append((share, what)),
    )
    assert reading.transcript.duration_s == 1.0
    assert reading.name == "long 1-2s"
    assert "Cutting" in told[0][1]


@pytest.mark.parametrize("end_s", [3.5, 0.0, 99.0])
def test_a_part_that_is_too_long_is_told_so_before_it_is_cut(tmp_path: Path, end_s: float) -> None:
    path, told = film(tmp_path / "long.mp4"), list[str]()
    said = r"^the part of long\.mp4 from 0\.5 s on is longer than the 2 s that this page reads; set the end to 2\.5 s"
    with pytest.raises(VideoError, match=said):
        read_video(
            teller(), path, tmp_path / "work", limits=Limits(duration_s=2), start_s=0.5, end_s=end_s,
            tell=lambda _, what: told.append(what),
        )
    assert told == []
    last = read_video(teller(), path, tmp_path / "work", limits=Limits(duration_s=2), start_s=2.0, end_s=end_s and 99)
    assert last.transcript.duration_s == 2.0
    raw = film(tmp_path / "long.h264")  # it does not state its length
    with pytest.raises(VideoError, match=said.replace("mp4", "h264")):
        read_video(teller(), raw, tmp_path / "work", limits=Limits(duration_s=2), start_s=0.5, end_s=0.0)


def test_an_upload_that_was_deleted_meanwhile(tmp_path: Path) -> None:
    said = r"^talk\.mp4 was deleted, since uploads are kept for 10 minutes, and less when the page is left; choose it"
    for end_s in (0.0, 1.0):
        with pytest.raises(VideoError, match=said):
            read_video(teller(), tmp_path / "talk.mp4", tmp_path, limits=Limits(keep_s=600), end_s=end_s)


def test_files_bear_the_name_of_the_upload_and_no_path(tmp_path: Path) -> None:
    (tmp_path / "secret-folder").mkdir()
    path = film(tmp_path / "secret-folder" / "My talk.mp4", 30)
    reading = read_video(teller(), path, tmp_path / "work", limits=Limits())
    written = write_files(reading, tmp_path / "out")
    assert [path.name for path in written] == [f"My talk.{suffix}" for suffix in ("txt", "srt", "vtt", "tsv", "json")]
    assert "secret-folder" not in (tmp_path / "out" / "My talk.json").read_text()
    assert probe(write_film(reading, tmp_path / "out")).duration_s == pytest.approx(1.2)
    with pytest.raises(VideoError) as error:
        read_video(teller(), media.touch(tmp_path / "secret-folder" / "t.mp4"), tmp_path / "work", limits=Limits())
    assert "secret-folder" not in str(error.value)


def test_cancelled_at_the_next_frame(tmp_path: Path) -> None:
    stop, heard = threading.Event(), []

    def tell(share: float, what: str) -> None:
        heard.append(share)
        stop.set()

    with pytest.raises(Cancelled):
        read_video(teller(), film(tmp_path / "in.mp4"), tmp_path, limits=Limits(), tell=tell, stop=stop)
    assert len(heard) == 1
    assert heard[0] < 0.5


# ---- sound


@pytest.mark.parametrize("modality", ["auto", "video", "audio", "both"])
def test_what_is_read_from_lips_or_sound_is_what_python_reads(
    modality: Modality, hearing: LipReader, with_sound: Path, tmp_path: Path
) -> None:
    reading = read_video(hearing, with_sound, tmp_path, limits=Limits(), modality=modality)
    direct = hearing.transcribe(with_sound, modality=modality)
    assert (reading.transcript.text, reading.transcript.modality) == (direct.text, direct.modality)
    assert reading.transcript.sound_late_s == direct.sound_late_s
    assert (reading.track is None) == (modality == "audio")
    if modality != "auto":
        assert {segment.why[:16] for segment in reading.transcript.segments} <= {"as was asked for"}
    assert modality != "audio" or not any("face" in sentence for sentence in reading.advice)


def test_where_no_face_or_no_sound_is_the_other_is_read(
    hearing: LipReader, with_sound: Path, tmp_path: Path
) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.2, (1, 64_000)).astype(np.float32)
    faceless = read_video(hearing, film(tmp_path / "wall.mp4", sound=hiss), tmp_path, limits=Limits())
    assert {(each.modality, each.why) for each in faceless.transcript.segments} == {("audio", "no face is seen")}
    assert faceless.track is not None and not faceless.track.present.any()
    with read_frames(with_sound) as frames:
        silent = media.write_video(tmp_path / "silent.mp4", [frame.image for frame in frames])
    reading = read_video(hearing, silent, tmp_path, limits=Limits())
    assert {each.why for each in reading.transcript.segments} <= {"there is no sound"}
    for modality in ("audio", "both"):
        with pytest.raises(NoSoundError, match=r"^silent\.mp4 has no sound that can be decoded, which modality"):
            read_video(hearing, silent, tmp_path, limits=Limits(), modality=modality)  # type: ignore[arg-type]


def test_a_file_of_sound_alone_is_read_by_ear(hearing: LipReader, tmp_path: Path) -> None:
    song = media.write_sound(tmp_path / "song.m4a", media.tone(300, 2.0, 48_000), rate_hz=48_000, codec="aac")
    reading = read_video(hearing, song, tmp_path, limits=Limits())
    assert {(each.modality, each.why) for each in reading.transcript.segments} == {("audio", "there is no picture")}
    assert reading.info is reading.track is None
    with pytest.raises(OutputError, match=r"song\.m4a has no picture"):
        write_film(reading, tmp_path)
    assert not any("face" in sentence or "picture" in sentence for sentence in reading.advice)
    for modality in ("video", "both"):
        with pytest.raises(NoPictureError, match=r"^song\.m4a has no picture"):
            read_video(hearing, song, tmp_path, limits=Limits(), modality=modality)  # type: ignore[arg-type]
    with pytest.raises(NoPictureError, match=r"^song\.m4a has no picture"):
        read_video(teller(), song, tmp_path, limits=Limits())
    with pytest.raises(NoPictureError, match=r"^song\.m4a has no picture, and a part can be read of a video only"):
        read_video(hearing, song, tmp_path, limits=Limits(), start_s=0.5)
    with pytest.raises(VideoError, match=r"song\.m4a is \d s long, and this page reads up to 1 s"):
        read_video(hearing, song, tmp_path, limits=Limits(duration_s=1))


def test_sound_is_asked_of_a_model_that_reads_lips_only(with_sound: Path, tmp_path: Path) -> None:
    for modality, said in (("audio", "reads lips only"), ("both", "reads lips only"), ("ears", "'ears' is not known")):
        with pytest.raises(ConfigError, match=said):
            read_video(teller(), with_sound, tmp_path, limits=Limits(), modality=modality)  # type: ignore[arg-type]


def test_listening_is_told_bounded_and_cancelled(hearing: LipReader, with_sound: Path, tmp_path: Path) -> None:
    stop, told = threading.Event(), list[str]()

    def tell(share: float, what: str) -> None:
        told.append(what)
        stop.set()

    with pytest.raises(Cancelled):
        read_video(hearing, with_sound, tmp_path, limits=Limits(), modality="audio", tell=tell, stop=stop)
    assert told == ["Listening to the sound"]
    hiss = np.random.default_rng(0).normal(0, 0.2, (1, 16_000 * 6)).astype(np.float32)
    longer = film(tmp_path / "longer.mp4", 50, sound=hiss)
    with pytest.raises(VideoError, match=r"longer\.mp4 is \d s long, and this page reads up to 2 s"):
        read_video(hearing, longer, tmp_path, limits=Limits(duration_s=2), modality="audio")


# ---- advice


def track(level: float = 120, spread: float = 30, *, present: float = 1.0, eye_px: float = 35.0) -> MouthTrack:
    rng = np.random.default_rng(0)
    crops = np.clip(rng.normal(level, spread, (100, 96, 96)), 0, 255).astype(np.uint8)
    return MouthTrack(crops, np.zeros((100, 9, 2), np.float32), np.arange(100) < 100 * present, eye_px=eye_px)


GOOD = VideoInfo("talk.mp4", 640, 480, 4.0, 25.0, False)
SURE = replace(transcript(("bin", 0.0, 0.5, 0.9)), confidence=0.9)


def test_a_video_like_the_training_gets_no_advice() -> None:
    assert advice_for(SURE, track(), GOOD) == ()


@pytest.mark.parametrize(
    ("said", "seen", "info", "word"),
    [
        (SURE, track(20, 5), GOOD, "dark"),
        (SURE, track(245, 5), GOOD, "overexposed"),
        (SURE, track(120, 3), GOOD, "contrast"),
        (SURE, track(eye_px=14), GOOD, "rather small"),
        (SURE, track(present=0.5), GOOD, "only 50%"),
        (SURE, track(), replace(GOOD, frame_rate_hz=15.0), "15 pictures per second"),
        (replace(SURE, confidence=0.3), track(), GOOD, "unsure"),
        (SURE, track(present=0.0), GOOD, "No face was found"),
        (replace(SURE, confidence=0.3), None, replace(GOOD, frame_rate_hz=15.0), "unsure"),
    ],
)
def test_what_is_odd_is_named(said: Transcript, seen: MouthTrack | None, info: VideoInfo, word: str) -> None:
    (sentence,) = advice_for(said, seen, info)
    assert word in sentence
    assert sentence.endswith(".")


def test_phones_and_films_get_no_advice_about_their_rate() -> None:
    for rate in (None, 23.976, 24.0, 29.97, 30.0, 60.0):
        assert advice_for(SURE, track(), replace(GOOD, frame_rate_hz=rate)) == ()


def test_real_and_drawn_light_is_good_light(grid_dir: Path, tmp_path: Path) -> None:
    from lipread.pipeline import watch_mouth

    clip = sorted((grid_dir / "clips").glob("s1_*.mp4"))[0]
    assert advice_for(SURE, watch_mouth(clip).track, probe(clip)) == ()



@pytest.mark.parametrize("rate_hz", [192_000, 37_800, 15_000])
def test_a_part_keeps_sound_of_a_rate_that_mp4_does_not_take(tmp_path: Path, rate_hz: int) -> None:
    video = media.write_video(
        tmp_path / "talk.mkv", [np.full((48, 64, 3), 90, np.uint8)] * 75, codec="mpeg4", ticks_hz=25,
        sound=media.click(2.0, 3.0, rate_hz), sound_rate_hz=rate_hz, sound_codec="pcm_s16le",
    )
    cut_video(video, tmp_path / "part.mp4", 1.0, 3.0)
    with av.open(str(tmp_path / "part.mp4")) as film:
        pieces = [frame.to_ndarray()[0] for frame in film.decode(audio=0)]
        film_rate_hz = film.streams.audio[0].rate
    assert np.abs(np.concatenate(pieces)).argmax() / film_rate_hz == pytest.approx(1.0, abs=0.08)
