"""The clock against hand-made times."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import av.error
import numpy as np
import pytest
from av.video.stream import VideoStream

from lipread.container import (
    Clock,
    FilmPictures,
    beginning_s,
    decoded_pictures,
    first_sound_s,
    open_container,
    trusted_length_s,
    written_film,
)
from lipread.errors import OutputError, VideoError
from media import number_in, numbered, tone, write_sound, write_video

STEP = Fraction(1, 25)


def placed(
    moments: list[Fraction | float | None], origin: float | None = None, *, trusted_s: float = 0.0
) -> tuple[list[float], list[str]]:
    warnings: list[str] = []
    clock = Clock(warnings, "picture", None if origin is None else Fraction(origin), trusted_s=Fraction(trusted_s))
    times = [clock.place(None if moment is None else Fraction(moment), STEP) for moment in moments]
    return [round(float(time), 6) for time in times], warnings


@pytest.mark.parametrize(
    ("moments", "times"),
    [
        ([5.0, 5.25, 5.5], [0.0, 0.25, 0.5]),  # the first one stated is 0
        ([-1.0, -0.5, 0.0], [0.0, 0.5, 1.0]),
        ([None, None, None], [0.0, 0.04, 0.08]),  # none stated: counted
        ([None, 7.0, 7.5], [0.0, 0.04, 0.54]),  # stated late: goes on from there
        ([0.0, None, 1.0, None], [0.0, 0.04, 1.0, 1.04]),
        ([3.0, 3.0, 3.0], [0.0, 0.04, 0.08]),  # all the same is as good as none
        ([0.0, 20.0, 40.0], [0.0, 20.0, 40.0]),  # the longest pause allowed
        ([0.0, 0.5, 0.25, 1.0], [0.0, 0.5, 0.25, 1.0]),  # slight disorder is left to the reader
    ],
)
def test_plain_times(moments: list[float | None], times: list[float]) -> None:
    assert placed(moments) == (times, [])


@pytest.mark.parametrize(
    ("moments", "times"),
    [
        ([0.0, 20.5, 21.0], [0.0, 0.04, 0.54]),  # forwards
        ([9.0, 9.5, 2.0, 2.5], [0.0, 0.5, 0.54, 1.04]),  # backwards
        ([0.0, 1e12, 0.5, 1.0], [0.0, 0.04, 0.08, 0.58]),  # one wild value
    ],
)
def test_jumps_are_closed_with_one_warning(moments: list[float], times: list[float]) -> None:
    result, warnings = placed(moments)
    assert result == times
    assert len(warnings) == 1 and "picture jump" in warnings[0]


def test_an_origin_keeps_sound_in_step() -> None:
    assert placed([1.5, 1.75], origin=1.0) == ([0.5, 0.75], [])
    assert placed([0.5, 0.75], origin=1.0) == ([-0.5, -0.25], [])
    times, warnings = placed([900.0, 900.5], origin=1.0)  # cannot belong to the same clock
    assert times == [0.0, 0.5] and len(warnings) == 1


def test_a_long_pause_within_the_stated_length_is_believed() -> None:
    assert placed([0.0, 30.0, 30.5], trusted_s=31.0) == ([0.0, 30.0, 30.5], [])
    assert placed([30.0, 30.5], origin=0.0, trusted_s=31.0) == ([30.0, 30.5], [])
    assert placed([0.0, 0.5], origin=30.0, trusted_s=31.0) == ([-30.0, -29.5], [])
    for moments, trusted_s in (([0.0, 30.0], 29.0), ([0.0, 4000.0], 5000.0)):  # beyond it; too long for any pause
        times, warnings = placed(moments, trusted_s=trusted_s)
        assert times == [0.0, 0.04] and len(warnings) == 1


def test_a_length_is_trusted_as_far_as_times_can_go_on(tmp_path: Path) -> None:
    for name, length_s in (("a.mp4", 1.0), ("a.mkv", 1.0), ("a.ts", 2**33 / 90_000)):  # or to where its clock wraps
        with open_container(write_video(tmp_path / name, [numbered(0)] * 25)) as container:
            assert float(trusted_length_s(container)) == pytest.approx(length_s, abs=0.05)


def test_first_sound(tmp_path: Path) -> None:
    sound = tone(440, 1, 8000)
    late = write_sound(tmp_path / "a.mka", sound, rate_hz=8000, codec="pcm_s16le", start_s=2.5)
    assert first_sound_s(late) == Fraction(5, 2)
    assert first_sound_s(write_video(tmp_path / "a.mkv", [numbered(0)] * 3)) is None


def test_empty_packets_in_ogg_show_the_picture_again(tmp_path: Path) -> None:
    """As Theora does where nothing moves; PyAV writes no such file, so it is played."""
    path = write_video(tmp_path / "a.mkv", [numbered(index) for index in range(5)], times_s=[0, 0.1, 0.2, 0.3, 0.4])
    with av.open(str(path)) as film:

        def demux(stream: VideoStream) -> Iterator[av.Packet]:
            for packet in film.demux(stream):
                yield packet
                if packet.size:
                    empty = av.Packet()
                    empty.pts = empty.dts = packet.pts + 40
                    yield empty

        played: Any = SimpleNamespace(format=SimpleNamespace(name="ogg", flags=0), demux=demux)
        shown = [
            (number_in(picture.to_ndarray(format="rgb24")), picture.pts)
            for picture in decoded_pictures(played, film.streams.video[0], [])
        ]
    assert shown == [(index, 100 * index + later) for index in range(5) for later in (0, 40)]


def test_what_mp4_does_not_take_is_not_for_want_of_space(tmp_path: Path) -> None:
    for error, advice in (
        (av.error.ArgumentError(22, "Invalid argument"), "convert the video to H.264 mp4 first"),
        (av.error.OSError(28, "No space left on device"), "free some space or choose another folder"),
    ):
        with (
            pytest.raises(OutputError, match=rf"out\.mp4 cannot be written \({error.strerror}\).*{advice}"),
            written_film(tmp_path / "out.mp4"),
        ):
            raise error
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("shape", "side"), [((48, 65, 3), (48, 64)), ((33, 32), (32, 32)), ((1, 2, 3), (2, 2))])
def test_pictures_of_any_size_become_a_film(shape: tuple[int, ...], side: tuple[int, int], tmp_path: Path) -> None:
    grey = [20, 120, 220]
    with written_film(tmp_path / "film.mp4") as film:
        pictures = FilmPictures(film, crf=10)
        for level in grey:
            pictures.add(np.full(shape, level, np.uint8))
        pictures.end()
        assert pictures.written == 3
    with av.open(str(tmp_path / "film.mp4")) as written:
        shown = [(frame.time, frame.to_ndarray(format="gray")) for frame in written.decode(video=0)]
    assert [time for time, _ in shown] == pytest.approx([0, 0.04, 0.08])
    for level, (_, image) in zip(grey, shown, strict=True):
        assert image.shape == side and np.abs(image.astype(int) - level).max() <= 24


def test_beginning(tmp_path: Path) -> None:
    late = write_video(tmp_path / "a.mkv", [numbered(0)] * 3, start_s=2.5)
    assert beginning_s(late) == Fraction(5, 2)
    assert beginning_s(write_sound(tmp_path / "a.wav", tone(440, 1, 8000), rate_hz=8000, codec="pcm_s16le")) is None


def test_opening_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"absent\.mp4 does not exist"):
        open_container(tmp_path / "absent.mp4")
