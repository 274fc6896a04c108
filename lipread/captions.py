"""A video + its transcript -> an mp4 with the words drawn in, the current word in colour.

Shapes: H x W pixels.
The picture is written at 25 Hz as the reader saw it (upright, at most 1280 pixels); the sound is copied, or turned
into AAC where mp4 cannot hold it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from lipread.container import (
    Clock,
    FilmPictures,
    beginning_s,
    decoded_sound,
    first_sound_s,
    moment_of,
    open_container,
    packets_of,
    sound_stream,
    trusted_length_s,
    written_film,
)
from lipread.errors import NoPictureError, OutputError
from lipread.files import PathLike, are_one
from lipread.values import FRAME_RATE_HZ, Array, Segment, Transcript
from lipread.video import read_frames

if TYPE_CHECKING:
    from av.container import OutputContainer

TEXT_SHARE = 0.06  # height of a line of text in the height of the picture
LINE_SHARE = 0.92  # width of the text in the width of the picture
HOLD_S = 0.5  # a caption stays for so long after its last word
WORD_RGB, CURRENT_RGB = (255, 255, 255), (255, 214, 64)
BLACK_HEIGHT_PX = 360
BOX_SHADE = 0.35  # how much of the picture shows through behind the text
SOUND_IN_MP4 = frozenset({"aac", "ac3", "eac3", "alac", "opus", "flac"})
AAC_RATES_HZ = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000)


def write_captioned_video(source: PathLike, transcript: Transcript, out: PathLike) -> None:
    """Write SOURCE with its words drawn in to the mp4 file OUT; sound alone gets a black picture.

    Raises: VideoError: the source cannot be read. OutputError: the film cannot be written, or would replace its source.
    """
    if are_one(source, out):
        raise OutputError(f"{os.fspath(out)} is the video itself; choose another folder for the captioned one")
    with written_film(out) as film:
        _write(film, source, transcript)


def _write(film: OutputContainer, source: PathLike, transcript: Transcript) -> None:
    sound = _sound_packets(film, source)
    painter = CaptionPainter(transcript.segments)
    pictures = FilmPictures(film, crf=21)
    pending = next(sound, None)  # the first packet settles the sound stream before the file's head is written
    end_s = 0.0
    for image, time_s in _pictures(source, transcript):
        pictures.add(painter.paint(image, time_s))
        while pending is not None and _packet_s(pending) <= time_s:
            film.mux(pending)
            pending = next(sound, None)
        end_s = time_s + 1 / FRAME_RATE_HZ
    pictures.end()
    while pending is not None and _packet_s(pending) < end_s:
        film.mux(pending)
        pending = next(sound, None)


def _pictures(source: PathLike, transcript: Transcript) -> Iterator[tuple[Array, float]]:
    """RGB pictures (H, W, 3) with their times; black ones where the file is sound alone."""
    try:
        frames = read_frames(source)
    except NoPictureError:
        black = np.zeros((BLACK_HEIGHT_PX, BLACK_HEIGHT_PX * 16 // 9, 3), np.uint8)
        for number in range(max(1, round(transcript.duration_s * FRAME_RATE_HZ))):
            yield black, number / FRAME_RATE_HZ
        return
    with frames:
        for frame in frames:
            yield frame.image, frame.time_s


def _packet_s(packet: Any) -> float:
    return float(packet.pts * packet.time_base)


def _sound_packets(film: OutputContainer, source: PathLike) -> Iterator[Any]:
    """Sound packets for the film, with times from the recording's beginning on; none where there is no sound."""
    import av.error

    container = open_container(source)
    stream = sound_stream(container)
    if stream is None:
        container.close()
        return iter(())
    start_s = beginning_s(source)
    start_s = first_sound_s(source) if start_s is None else start_s
    clock = Clock([], "sound", start_s, trusted_s=trusted_length_s(container))
    if stream.codec_context.codec.canonical_name in SOUND_IN_MP4:
        made = _copied(container, stream, film.add_stream_from_template(stream), clock)
    else:
        target = aac_stream(film, stream)
        made = _as_aac(container, stream, target, clock)

    def until_broken() -> Iterator[Any]:
        latest: Fraction | None = None
        with container:
            try:
                for packet in made:
                    stored = packet.dts * packet.time_base
                    if latest is None or stored > latest:  # mp4 cannot go back in time
                        yield packet
                        latest = stored
            except av.error.FFmpegError:
                return  # a broken tail: what could be read is there

    return until_broken()


def aac_stream(film: OutputContainer, sound: Any) -> Any:
    """A stream of the film for another file's sound as AAC, mono or stereo, at the nearest rate that AAC has."""
    rate_hz = min(AAC_RATES_HZ, key=lambda each: abs(each - sound.rate))
    return film.add_stream("aac", rate=rate_hz, layout="stereo" if sound.channels > 1 else "mono")


def _copied(container: Any, stream: Any, target: Any, clock: Clock) -> Iterator[Any]:
    for packet in packets_of(container, stream, [], "sound"):
        if not packet.size:
            continue
        moment = None if packet.pts is None else packet.pts * packet.time_base
        time_s = clock.place(moment, (packet.duration or 0) * packet.time_base)
        if time_s >= 0:
            packet.pts = packet.dts = round(time_s / packet.time_base)
            packet.stream = target
            yield packet


def _as_aac(container: Any, stream: Any, target: Any, clock: Clock) -> Iterator[Any]:
    import av

    resampler = av.AudioResampler(format="fltp", layout=target.layout, rate=target.rate)
    for frame in decoded_sound(container, stream, []):
        time_s = clock.place(moment_of(frame), Fraction(frame.samples, frame.sample_rate))
        if time_s >= 0:
            frame.pts = round(time_s * frame.sample_rate)  # some files count in steps longer than AAC's
            frame.time_base = Fraction(1, frame.sample_rate)
            for resampled in resampler.resample(frame):
                yield from _timed(target.encode(resampled))
    yield from _timed(target.encode(None))


def _timed(packets: Any) -> Iterator[Any]:
    return (packet for packet in packets if packet.pts is not None)


class CaptionPainter:
    """Draws the words of a transcript into pictures; each drawn caption is kept while it is shown."""

    def __init__(self, segments: tuple[Segment, ...]) -> None:
        self._segments = segments
        self._key: tuple[object, ...] = ()
        self._overlay: Array = np.zeros((0, 0, 4), np.uint8)

    def paint(self, image: Array, time_s: float) -> Array:
        """A copy of a picture, RGB uint8 (H, W, 3), with the caption of this time; the picture itself where none is."""
        number = self._shown(time_s)
        if number is None:
            return image
        segment = self._segments[number]
        label = [] if segment.speaker is None else [f"{segment.speaker}:"]
        said = (i for i, word in enumerate(segment.words, len(label)) if word.start_s <= time_s < word.end_s)
        current = next(said, None)
        key = (number, current, image.shape)
        if key != self._key:
            texts = label + [word.text for word in segment.words]
            self._key, self._overlay = key, draw_words(texts, current, image.shape[1], image.shape[0])
        return _blend(image, self._overlay)

    def _shown(self, time_s: float) -> int | None:
        """The segment to show: of those being said the one that began last, else the last one for `HOLD_S` more."""
        shown = [n for n, segment in enumerate(self._segments) if segment.start_s <= time_s < segment.end_s + HOLD_S]
        said = [n for n in shown if time_s < self._segments[n].end_s]
        return said[-1] if said else max(shown, key=lambda n: self._segments[n].end_s, default=None)


def draw_words(words: Sequence[str], current: int | None, width_px: int, height_px: int) -> Array:
    """Words in centred lines on a dark box, one of them coloured, RGBA uint8 (h, w, 4), no larger than the picture."""
    from PIL import Image, ImageDraw, ImageFont

    size_px = max(8, round(TEXT_SHARE * height_px))
    font = ImageFont.load_default(size_px)
    space = font.getlength(" ")
    lines: list[list[int]] = [[]]
    used = 0.0
    for index, word in enumerate(words):
        length = font.getlength(word)
        if lines[-1] and used + length > LINE_SHARE * width_px:
            lines.append([])
            used = 0.0
        lines[-1].append(index)
        used += length + space
    lengths = [sum(font.getlength(words[i]) + space for i in line) - space for line in lines]
    line_px, margin = round(1.3 * size_px), size_px // 2
    box = round(max(lengths)) + 2 * margin, line_px * len(lines) + margin
    overlay = Image.new("RGBA", box, (0, 0, 0, round(255 * (1 - BOX_SHADE))))
    pen = ImageDraw.Draw(overlay)
    for row, (line, length) in enumerate(zip(lines, lengths, strict=True)):
        left = (box[0] - length) / 2
        for index in line:
            colour = CURRENT_RGB if index == current else WORD_RGB
            pen.text((left, margin // 2 + row * line_px), words[index], font=font, fill=(*colour, 255))
            left += font.getlength(words[index]) + space
    return np.asarray(overlay)[:height_px, :width_px]


def _blend(image: Array, overlay: Array) -> Array:
    """Lay an RGBA overlay over the lower middle of a picture."""
    height, width = overlay.shape[:2]
    left = (image.shape[1] - width) // 2
    top = max(0, image.shape[0] - height - round(0.04 * image.shape[0]))
    painted = np.array(image)
    place = painted[top : top + height, left : left + width]
    alpha = overlay[..., 3:].astype(np.uint16)
    place[...] = (overlay[..., :3] * alpha + place * (255 - alpha)) // 255
    return painted
