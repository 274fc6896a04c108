"""Pictures of four colours: after turning, squaring and reducing, each corner must have the right one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags

from lipread.values import Array
from lipread.video import probe, read_frames
from media import colour_names, quarters, write_video

ONE = 1 << 16


@pytest.mark.parametrize(
    ("matrix", "colours"),  # a b u c d v x y w: pixel (x, y) goes to (a x + c y, b x + d y), y downwards
    [
        (None, ["red", "green", "blue", "white"]),
        ((0, ONE, 0, -ONE, 0, 0, 0, 0, 1 << 30), ["blue", "red", "white", "green"]),  # a quarter turn clockwise
        ((0, -ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), ["green", "white", "red", "blue"]),  # anticlockwise
        ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, 1 << 30), ["white", "blue", "green", "red"]),  # upside down
        ((-ONE, 0, 0, 0, ONE, 0, 0, 0, 1 << 30), ["green", "red", "white", "blue"]),  # mirrored
        ((0, ONE, 0, ONE, 0, 0, 0, 0, 1 << 30), ["red", "blue", "green", "white"]),  # rows and columns swapped
    ],
)
def test_the_display_matrix_is_applied(tmp_path: Path, matrix: tuple[int, ...] | None, colours: list[str]) -> None:
    path = write_video(tmp_path / "a.mp4", [quarters(64, 48)] * 2, matrix=matrix)
    with read_frames(path) as stream:
        image = next(stream).image
    turned = matrix is not None and matrix[0] == 0
    assert image.shape == ((64, 48, 3) if turned else (48, 64, 3))
    assert (stream.info.height, stream.info.width) == image.shape[:2]
    assert image.flags.c_contiguous
    assert colour_names(image) == colours


@pytest.mark.parametrize(("degrees", "top_left"), [(90, "green"), (180, "white"), (270, "blue"), (-90, "blue")])
def test_rotation_flag_turns_anticlockwise(tmp_path: Path, degrees: int, top_left: str) -> None:
    path = write_video(tmp_path / "a.mp4", [quarters(64, 48)], rotation_deg=degrees)
    with read_frames(path) as stream:
        assert colour_names(next(stream).image)[0] == top_left


@pytest.mark.parametrize(
    ("size", "aspect", "delivered"),
    [
        ((17, 19), None, (17, 19)),
        ((33, 101), None, (33, 101)),
        ((1920, 1080), None, (1280, 720)),
        ((200, 3000), None, (85, 1280)),
        ((720, 576), Fraction(16, 15), (768, 576)),
        ((64, 48), Fraction(1, 2), (64, 96)),
        ((1440, 1080), Fraction(4, 3), (1280, 720)),
        ((64, 48), Fraction(100), (64, 48)),  # absurd: ignored
    ],
)
def test_sizes(tmp_path: Path, size: tuple[int, int], aspect: Fraction | None, delivered: tuple[int, int]) -> None:
    path = write_video(
        tmp_path / "a.mov", [quarters(*size)], codec="png", pix_fmt="rgb24", pixel_aspect=aspect, ticks_hz=25
    )
    info = probe(path)
    with read_frames(path) as stream:
        image = next(stream).image
    assert (info.width, info.height) == delivered == image.shape[1::-1]
    assert colour_names(image) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("pix_fmt", ["bgr0", "yuv420p", "yuv444p10le"])
def test_large_pictures_are_reduced_by_area(tmp_path: Path, pix_fmt: str) -> None:
    fine = np.zeros((256, 256, 3), np.uint8)
    fine[:, ::2] = 255  # stripes of one pixel must become grey, not vanish
    path = write_video(tmp_path / "a.mkv", [fine], codec="ffv1", pix_fmt=pix_fmt)
    with read_frames(path, max_side_px=128) as stream:
        image = next(stream).image
    assert image.shape == (128, 128, 3)
    assert np.abs(image.astype(int) - 127).max() <= 3


@pytest.mark.parametrize("pix_fmt", ["bgr0", "yuv420p", "yuv420p10le", "yuv422p"])
def test_colours_stay_when_pictures_are_reduced(tmp_path: Path, pix_fmt: str) -> None:
    colour = np.array((200, 60, 90), np.uint8)
    path = write_video(tmp_path / "a.mkv", [np.full((150, 200, 3), colour)], codec="ffv1", pix_fmt=pix_fmt)
    with read_frames(path, max_side_px=131) as stream:
        image = next(stream).image
    assert image.shape == (98, 131, 3)
    assert np.abs(image.astype(int) - colour).max() <= 4  # levels: light and colour are rounded, twice


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("ffv1", "yuv420p10le", "mkv"),
        ("ffv1", "gbrp12le", "mkv"),
        ("ffv1", "yuva420p", "mkv"),
        ("png", "rgba", "mov"),
        ("rawvideo", "rgb555le", "avi"),
        ("rawvideo", "uyvy422", "avi"),
        ("mjpeg", "yuvj422p", "avi"),
        ("prores_ks", "yuva444p10le", "mov"),
    ],
)
def test_pixel_formats(tmp_path: Path, codec: str, pix_fmt: str, suffix: str) -> None:
    path = write_video(tmp_path / f"a.{suffix}", [quarters(64, 48)] * 2, codec=codec, pix_fmt=pix_fmt, ticks_hz=25)
    with read_frames(path) as stream:
        images = [frame.image for frame in stream]
    assert [colour_names(image) for image in images] == [["red", "green", "blue", "white"]] * 2


def test_palette(tmp_path: Path) -> None:
    indices = np.zeros((48, 64), np.uint8)
    indices[24:, 32:] = 1
    palette = np.zeros((256, 4), np.uint8)
    palette[:2] = [[255, 255, 0, 0], [255, 0, 255, 0]]  # alpha, red, green, blue
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("rawvideo", rate=25)
        stream.pix_fmt, stream.width, stream.height = "pal8", 64, 48
        frame = av.VideoFrame.from_ndarray((indices, palette), format="pal8")
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with read_frames(path) as reading:
        assert colour_names(next(reading).image) == ["red", "red", "red", "green"]


def comb(images: list[Array]) -> float:
    """Mean difference of neighbouring rows: large where two moments are interleaved."""
    return float(np.mean([np.abs(np.diff(image[..., 0].astype(int), axis=0)).mean() for image in images]))


def test_interlaced_pictures_are_turned_too(tmp_path: Path) -> None:
    options = {"x264-params": "tff=1:interlaced=1"}
    path = write_video(tmp_path / "a.mp4", [quarters(64, 64)[:48]] * 4, options=options, rotation_deg=180)
    with read_frames(path) as stream:
        images = [frame.image for frame in stream]
    assert [colour_names(image)[:2] for image in images] == [["white", "blue"]] * 4


@pytest.mark.parametrize("interlaced", [True, False])
def test_only_flagged_pictures_are_deinterlaced(tmp_path: Path, interlaced: bool) -> None:
    moving = []
    for index in range(12):  # a bar that moves between the two fields of each picture
        image = np.zeros((64, 96, 3), np.uint8)
        image[0::2, 8 + 4 * index : 24 + 4 * index] = 255
        image[1::2, 10 + 4 * index : 26 + 4 * index] = 255
        moving.append(image)
    flags = Flags.interlaced_dct | Flags.interlaced_me if interlaced else 0
    path = write_video(
        tmp_path / "a.mpg", moving, codec="mpeg2video", ticks_hz=25, flags=int(flags), options={"qscale": "2"}
    )
    with read_frames(path) as stream:
        images = [frame.image for frame in stream]
    assert len(images) == 12
    assert comb(images) < 1 if interlaced else comb(images) > 8


def test_changing_size_is_fitted_to_the_first(tmp_path: Path) -> None:
    first = write_video(tmp_path / "a.ts", [quarters(64, 48)] * 10).read_bytes()
    second = write_video(tmp_path / "b.ts", [quarters(48, 64)] * 10, start_s=0.4).read_bytes()
    (tmp_path / "c.ts").write_bytes(first + second)
    with read_frames(tmp_path / "c.ts") as stream:
        images = [frame.image for frame in stream]
    assert {image.shape for image in images} == {(48, 64, 3)}
    assert images[-1][:, :10].max() == 0 and colour_names(images[-1][:, 14:50]) == ["red", "green", "blue", "white"]
    assert any("size" in warning for warning in stream.warnings)
