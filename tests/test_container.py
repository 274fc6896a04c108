"""The clock against hand-made times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from lipread.container import Clock, first_picture_s, open_container
from lipread.errors import VideoError
from media import numbered, tone, write_sound, write_video

STEP = Fraction(1, 25)


def placed(moments: list[Fraction | float | None], origin: float | None = None) -> tuple[list[float], list[str]]:
    warnings: list[str] = []
    clock = Clock(warnings, "picture", None if origin is None else Fraction(origin))
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


def test_first_picture(tmp_path: Path) -> None:
    late = write_video(tmp_path / "a.mkv", [numbered(0)] * 3, start_s=2.5)
    assert first_picture_s(late) == Fraction(5, 2)
    assert first_picture_s(write_sound(tmp_path / "a.wav", tone(440, 1, 8000), rate_hz=8000, codec="pcm_s16le")) is None


def test_opening_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"absent\.mp4 does not exist"):
        open_container(tmp_path / "absent.mp4")
