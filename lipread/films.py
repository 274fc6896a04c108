"""Mouth crops and saliency -> small films that browsers play.

Shapes: T frames, S x S pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from lipread.errors import OutputError
from lipread.insight import Insight
from lipread.insight_plots import crops_looked_at, fitting_font, heated
from lipread.outputs import PathLike, written_whole
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, Array, MouthTrack, Word

ENLARGE = 3  # a crop of 96 pixels is shown as 288
CAPTION_PX = 48  # below the picture


def crops_film(track: MouthTrack, path: PathLike) -> None:
    """Write the mouth crops as H.264 mp4 at 25 Hz.

    Raises: OutputError: there are no crops, or the film cannot be written.
    """
    _write_film(path, (enlarged(np.repeat(crop[..., None], 3, axis=2)) for crop in track.crops), len(track.crops))


def saliency_film(insight: Insight, track: MouthTrack, path: PathLike) -> None:
    """Write the crops that were looked at, with what mattered in colour and the words below, as H.264 mp4 at 25 Hz.

    Args:
        track: the one that was looked at.
    Raises: ConfigError: it is shorter. OutputError: there are no crops, or the film cannot be written.
    """
    crops = crops_looked_at(insight, track)
    pictures = (
        captioned(
            enlarged(heated(crop, saliency)),
            word_at(insight.words, insight.start_s + (number + 0.5) / FRAME_RATE_HZ),
        )
        for number, (crop, saliency) in enumerate(zip(crops, insight.saliency, strict=True))
    )
    _write_film(path, pictures, len(crops))


def word_at(words: tuple[Word, ...], time_s: float) -> str:
    """The word that is said at a time, or nothing."""
    return next((word.text for word in words if word.start_s <= time_s < word.end_s), "")


def enlarged(picture: Array) -> Array:
    """RGB uint8 (S, S, 3) -> `ENLARGE` times as large, smoothly."""
    import cv2

    return np.asarray(cv2.resize(picture, None, fx=ENLARGE, fy=ENLARGE, interpolation=cv2.INTER_CUBIC))


def captioned(picture: Array, text: str) -> Array:
    """A picture, RGB uint8 (H, W, 3), with `CAPTION_PX` rows of black below it and the text in them, white."""
    from PIL import Image, ImageDraw

    box = Image.new("RGB", (picture.shape[1], CAPTION_PX))
    font = fitting_font(text, 0.95 * picture.shape[1], CAPTION_PX // 2)
    middle = (picture.shape[1] / 2, CAPTION_PX / 2)
    ImageDraw.Draw(box).text(middle, text, font=font, fill=(255, 255, 255), anchor="mm")
    return np.concatenate([picture, np.asarray(box)])


def _write_film(path: PathLike, pictures: Iterable[Array], count: int) -> None:
    """Write RGB pictures of one even size, whole or not at all."""
    import av
    import av.error

    if not count:
        raise OutputError(f"{os.fspath(path)}: there are no crops to write; was the video empty?")
    try:
        with written_whole(path) as temporary, av.open(
            str(temporary), "w", format="mp4", options={"movflags": "+faststart"}
        ) as film:
            stream = film.add_stream("libx264", rate=FRAME_RATE_HZ, options={"crf": "20", "preset": "veryfast"})
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            for number, picture in enumerate(pictures):
                if not number:
                    stream.height, stream.width = picture.shape[:2]
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, FRAME_RATE_HZ)
                film.mux(stream.encode(frame))
            film.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError) as error:
        raise OutputError(f"{os.fspath(path)}: the film cannot be written ({error})") from error


assert ENLARGE * CROP_SIDE_PX % 2 == 0 and CAPTION_PX % 2 == 0  # yuv420p halves both sides
