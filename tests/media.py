"""Small media files for tests: pictures that carry their own number, at any times, turned, combed, damaged.

A numbered picture shows its index as twelve bars, white for 1 and black for 0, so that any compression keeps it.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BITS = 12
B_FRAMES = {"bf": "3", "x264-params": "b-adapt=0:scenecut=0"}  # numbers are so unlike that x264 would use none
STORED = [  # name, codec, options: containers that state when a picture is stored, not when it is shown
    ("a.avi", "libx264", {"bf": "0"}),
    ("a.avi", "libx264", B_FRAMES),
    ("a.avi", "mpeg4", {"bf": "2"}),
    ("a.asf", "libx264", {"bf": "0"}),
    ("a.asf", "libx264", B_FRAMES),
    ("a.mxf", "libx264", B_FRAMES | {"profile": "high", "level": "41"}),
    ("a.mxf", "mpeg2video", {"bf": "2"}),
]
TICKS_HZ = 90_000  # time base of the files: every usual frame rate comes out even


def numbered(index: int, width: int = 192, height: int = 32) -> Array:
    """RGB picture that shows `index` in binary, lowest bit at the left."""
    bits = (index >> np.arange(BITS)) & 1
    row = np.repeat(bits, -(-width // BITS))[:width] * 255
    return np.broadcast_to(row[None, :, None], (height, width, 3)).astype(np.uint8)


def number_in(image: Array) -> int:
    """The index shown in a numbered picture of any size."""
    middle = image[image.shape[0] // 2].mean(axis=1)
    centres = ((np.arange(BITS) + 0.5) * image.shape[1] / BITS).astype(int)
    return int(((middle[centres] > 127) << np.arange(BITS)).sum())


def quarters(width: int, height: int) -> Array:
    """Red top left, green top right, blue bottom left, white bottom right."""
    image = np.zeros((height, width, 3), np.uint8)
    image[: height // 2, : width // 2] = (255, 0, 0)
    image[: height // 2, width // 2 :] = (0, 255, 0)
    image[height // 2 :, : width // 2] = (0, 0, 255)
    image[height // 2 :, width // 2 :] = 255
    return image


def colour_names(image: Array) -> list[str]:
    """Colours of the four quarters: top left, top right, bottom left, bottom right."""
    height, width = image.shape[:2]
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 1): "white", (0, 0, 0): "black"}
    spots = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return [names.get(tuple(int(value > 127) for value in image[spot]), "?") for spot in spots]


def write_video(
    path: Path,
    images: Iterable[Array],
    *,
    fps: Fraction | float = 25,
    times_s: Sequence[Fraction | float] | None = None,
    start_s: float = 0.0,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation_deg: float | None = None,
    matrix: Sequence[int] | None = None,
    pixel_aspect: Fraction | None = None,
    sound: Array | None = None,
    sound_rate_hz: int = 16_000,
    sound_start_s: float = 0.0,
    sound_codec: str = "aac",
    sound_layout: str = "mono",
    container_options: dict[str, str] | None = None,
    ticks_hz: Fraction | int = TICKS_HZ,
    flags: int = 0,
) -> Path:
    """Write pictures (RGB uint8) and perhaps sound (float32, shape (channels, N)) and return the path.

    `times_s` places every picture; without it they follow at `fps` from `start_s`. Old codecs want ticks_hz=fps.
    """
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.pix_fmt, started = pix_fmt, False
        voice = container.add_stream(sound_codec, rate=sound_rate_hz) if sound is not None else None
        if voice is not None:
            voice.codec_context.layout = sound_layout
        for index, image in enumerate(images):
            if not started:
                stream.height, stream.width = image.shape[:2]
                stream.codec_context.time_base = stream.time_base = 1 / Fraction(ticks_hz)
                stream.codec_context.flags |= flags
                if pixel_aspect is not None:
                    stream.codec_context.sample_aspect_ratio = pixel_aspect
                if rotation_deg is not None:
                    stream.set_display_rotation(rotation_deg)
                if matrix is not None:
                    stream.set_display_matrix(matrix)
                started = True
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            time_s = times_s[index] if times_s is not None else start_s + index / rate
            frame.pts, frame.time_base = round(time_s * ticks_hz), 1 / Fraction(ticks_hz)
            frame = frame.reformat(format=pix_fmt, threads=1)  # slices leave wrong rows in 10-bit pictures
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if voice is not None and sound is not None:
            _write_sound(container, voice, sound, sound_rate_hz, sound_start_s, sound_layout)
    return path


def write_sound(
    path: Path, sound: Array, *, rate_hz: int, codec: str, layout: str = "mono", start_s: float = 0.0
) -> Path:
    """Write a file with sound alone; `sound` is float32, shape (channels, N)."""
    with av.open(str(path), "w") as container:
        voice = container.add_stream(codec, rate=rate_hz)
        voice.codec_context.layout = layout
        _write_sound(container, voice, sound, rate_hz, start_s, layout)
    return path


def _write_sound(
    container: av.container.OutputContainer, voice: Any, sound: Array, rate_hz: int, start_s: float, layout: str
) -> None:
    if voice.codec_context.name == "wavpack":
        voice.codec_context.format = "s16p"  # its first choice is 8 bits
    step = voice.codec_context.frame_size or 1024
    packed = voice.codec_context.format.packed.name
    scale = {"s16": 32767, "flt": 1, "s32": 2**31 - 128}[packed]
    kind = {"s16": np.int16, "flt": np.float32, "s32": np.int32}[packed]
    convert = av.AudioResampler(format=voice.codec_context.format.name, layout=layout, rate=rate_hz)
    for begin in range(0, sound.shape[1], step):
        values = sound[:, begin : begin + step].T.reshape(1, -1)
        if kind is not np.float32:
            values = np.clip(values, -1, 1) * scale
        block = np.ascontiguousarray(values.astype(kind))
        frame = av.AudioFrame.from_ndarray(block, format=packed, layout=layout)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = round(start_s * rate_hz) + begin
        for ready in convert.resample(frame):
            container.mux(voice.encode(ready))
    container.mux(voice.encode(None))


def tone(frequency_hz: float, seconds: float, rate_hz: int, *, loudness: float = 0.5) -> Array:
    """A sine that starts at phase 0, float32, shape (1, N)."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    return (loudness * np.sin(2 * np.pi * frequency_hz * times)).astype(np.float32)[None]


def click(at_s: float, seconds: float, rate_hz: int) -> Array:
    """Silence with a 5 ms burst of 2 kHz that starts at `at_s`, float32, shape (1, N)."""
    samples = np.zeros((1, round(seconds * rate_hz)), np.float32)
    begin, length = round(at_s * rate_hz), round(0.005 * rate_hz)
    samples[0, begin : begin + length] = tone(2000, length / rate_hz, rate_hz, loudness=0.8)[0, :length]
    return samples


def truncate(path: Path, share: float) -> Path:
    """Cut the file off after a share of its bytes."""
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def frames_of(grid_dir: Path, clip: str) -> list[Array]:
    """RGB pictures of a GRID clip."""
    capture = cv2.VideoCapture(str(grid_dir / "clips" / f"{clip}.mp4"))
    images = []
    while (read := capture.read())[0]:
        images.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    assert images, f"{clip}.mp4 has no frames"
    return images


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table with tabs."""
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def touch(path: Path, text: str = "x") -> Path:
    """A small file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
