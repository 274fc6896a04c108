"""A reading -> pictures and films of what the network looked at, in the colours of the page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lipread.films import crops_film, saliency_film
from lipread.inputs import CROPS_SUFFIX
from lipread.insight import Insight, look
from lipread.insight_plots import (
    attention_figure,
    curves_figure,
    posteriorgram_figure,
    rendered,
    saliency_figure,
    strip_picture,
)
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, Array, MouthTrack
from lipread.web.reading import Reading

MADE = (
    "Made after each reading. Of a long video, the first film shows all, the second one its first minute, the pictures "
    "four seconds from the first word on."
)
SALIENT_S = 60  # so much of a long video is in the film: a second takes about a tenth of one, and others wait


def remark(reading: Reading | None) -> str:
    """What stands above the pictures of a reading: what they show, or why there are none."""
    if reading is None:
        return MADE
    if reading.track is None:
        return "There are no pictures of this reading: the sound alone was read, and nobody looked at the mouth."
    if not reading.track.present.any():
        return "There are no pictures of this reading: no face was seen."
    alone = {"audio", "both"} & {segment.modality for segment in reading.transcript.segments}
    return MADE + (" They show what the model sees in the lips; the sound has no part in them." if alone else "")


def looked_at(reading: Reading) -> MouthTrack | None:
    """The mouth, where there is one to look at."""
    return reading.track if reading.track is not None and reading.track.present.any() else None


@dataclass(frozen=True)
class Why:
    """Pictures are RGB uint8, films are paths of mp4 files."""

    strip: Array
    posteriorgram: Array
    attention: Array
    curves: Array
    saliency: Array
    crops_film: Path


def explain(
    reading: Reading, folder: Path, *, layer: int, head: int | None, dark: bool, width_px: int = 800
) -> Why | None:
    """All pictures of a reading, and its crops; None where no face was seen.

    Args:
        folder: where the film is written.
        layer, head: of the attention, from 0; head None is the mean of all.
        dark: for a dark page.
        width_px: of the visitor's window.
    Raises: ConfigError: there is no such layer or head. OutputError: the film cannot be written.
    """
    track, transcript = looked_at(reading), reading.transcript
    if track is None:
        return None
    insight = look(reading.reader, track, transcript, layer=layer, head=head)
    crops = folder / f"{reading.name}{CROPS_SUFFIX}"
    crops_film(track, crops)
    return Why(
        strip=strip_picture(track, transcript, columns=columns_for(width_px), dark=dark),
        posteriorgram=rendered(posteriorgram_figure(insight, reading.reader.alphabet, dark=dark)),
        attention=attention_picture(insight, dark=dark),
        curves=rendered(curves_figure(insight, dark=dark)),
        saliency=rendered(saliency_figure(insight, track, dark=dark)),
        crops_film=crops,
    )


def explain_moving(reading: Reading, folder: Path) -> Path:
    """Write the saliency film of the first `SALIENT_S` of a reading. Raises: OutputError: it cannot be written."""
    film = folder / f"{reading.name}.saliency.mp4"
    assert reading.track is not None  # `explain` found pictures
    saliency_film(looks(reading), reading.track, film)
    return film


def looks(reading: Reading) -> Iterator[Insight]:
    """Window after window of the first `SALIENT_S`; the last one goes back as far as it must."""
    track, done = looked_at(reading), 0
    while track is not None and done < min(len(track.present), SALIENT_S * FRAME_RATE_HZ):
        insight = look(reading.reader, track, reading.transcript, start_s=track.start_s + done / FRAME_RATE_HZ)
        yield insight
        done = insight.first + insight.frames


def attention_of(reading: Reading, *, layer: int, head: int | None, dark: bool) -> Array | None:
    """The attention of another layer or head; None where no face was seen. Raises: ConfigError."""
    track = looked_at(reading)
    if track is None:
        return None
    insight = look(reading.reader, track, reading.transcript, layer=layer, head=head)
    return attention_picture(insight, dark=dark)


def attention_picture(insight: Insight, *, dark: bool) -> Array:
    """RGB uint8."""
    return rendered(attention_figure(insight, dark=dark))


def columns_for(width_px: int) -> int:
    """How many mouths stand side by side in a window: as many as fit, without shrinking words below legibility."""
    return max(6, min(15, (width_px - 80) // CROP_SIDE_PX))
