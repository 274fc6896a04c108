"""Mouth crops and saliency -> small films that browsers play.

Shapes: T frames, S x S pixels.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np

from lipread.errors import ConfigError, OutputError
from lipread.files import PathLike
from lipread.insight import Insight
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, Array, MouthTrack, Word

ENLARGE = 3  # a crop of 96 pixels is shown as 288
CAPTION_PX = 48  # below the picture


def crops_film(track: MouthTrack, path: PathLike) -> None:
    """Write the mouth crops as H.264 mp4 at 25 Hz.

    Raises: OutputError: there are no crops, or the film cannot be written.
    """
    _write_film(path, (enlarged(np.repeat(crop[..., None], 3, axis=2)) for crop in track.crops))


def saliency_film(insights: Iterable[Insight], track: MouthTrack, path: PathLike) -> None:
    """Write the crops that were looked at, with what mattered in colour and the words below, as H.264 mp4 at 25 Hz.

    Args:
        insights: of one window after another; the first to show a frame is the one that is seen.
        track: the one that was looked at.
    Raises: ConfigError: it is shorter. OutputError: there are no crops, or the film cannot be written.
    """
    _write_film(path, _salient_pictures(insights, track))


def _salient_pictures(insights: Iterable[Insight], track: MouthTrack) -> Iterator[Array]:
    """Crops with saliency over them and the word below, RGB uint8."""
    shown = 0  # frames of the track before this one were shown
    for insight in insights:
        crops = crops_looked_at(insight, track)
        for number in range(max(0, shown - insight.first), insight.frames):
            word = word_at(insight.words, insight.start_s + (number + 0.5) / FRAME_RATE_HZ)
            yield captioned(enlarged(heated(crops[number], insight.saliency[number])), word)
        shown = insight.first + insight.frames


def word_at(words: tuple[Word, ...], time_s: float) -> str:
    """The word that is said at a time, or nothing."""
    return next((word.text for word in words if word.start_s <= time_s < word.end_s), "")


def crops_looked_at(insight: Insight, track: MouthTrack) -> Array:
    """The crops (T, 96, 96) that an insight is about. Raises: ConfigError: the track is too short to be its own."""
    crops = track.crops[insight.first : insight.first + insight.frames]
    if len(crops) != insight.frames:
        raise ConfigError(
            f"the track has {len(track.crops)} frames, and frames up to {insight.first + insight.frames} were looked "
            "at; give the track that was looked at"
        )
    return crops


def heated(crop: Array, saliency: Array) -> Array:
    """A crop, grey uint8 (S, S), with saliency 0..1 (S, S) laid over it in colour -> RGB uint8 (S, S, 3)."""
    import cv2

    colours = cv2.applyColorMap(np.round(255 * saliency).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    share = np.minimum(2 * saliency, 0.75)[..., None]
    blended: Array = np.round((1 - share) * crop[..., None] + share * colours).astype(np.uint8)
    return blended


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


def fitting_font(text: str, width_px: float, size_px: int) -> Any:
    """Pillow's own font in this size, or in the largest smaller one in which the text is no wider."""
    from PIL import ImageFont

    length = ImageFont.load_default(size_px).getlength(text)
    return ImageFont.load_default(size_px if length <= width_px else max(8, int(size_px * width_px / length)))


def _write_film(path: PathLike, pictures: Iterator[Array]) -> None:
    """Write RGB pictures of one even size, whole or not at all."""
    from lipread.container import FilmPictures, written_film

    first = next(pictures, None)
    if first is None:
        raise OutputError(f"{os.fspath(path)}: there are no crops to write; was the video empty?")
    with written_film(path) as film:
        shown = FilmPictures(film, crf=20, one_thread=True)
        for picture in chain([first], pictures):
            shown.add(picture)
        shown.end()


assert ENLARGE * CROP_SIDE_PX % 2 == 0 and CAPTION_PX % 2 == 0  # yuv420p halves both sides
