"""A read mouth track -> what the network looked at: symbols over time, attention, pixels that mattered, lip curves.

Shapes: T frames looked at, V symbols (blank = 0), H x W pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lipread.errors import ConfigError
from lipread.piece_reader import blanks
from lipread.pieces import WINDOW_FRAMES
from lipread.pipeline import LipReader
from lipread.speaking import AROUND_FRAMES, SETTLE_FRAMES, moving_frames, why_nothing_is_said
from lipread.values import FRAME_RATE_HZ, Array, MouthTrack, Transcript, Word

if TYPE_CHECKING:
    from torch import Tensor

    from lipread.alphabet import Alphabet

LEAD_FRAMES = FRAME_RATE_HZ // 2  # a long video is looked at from so long before its first word
BLUR_PX = 2.5  # standard deviation; single pixels' gradients are noise, patches of the size of a lip are not
FULL_SHARE = 0.995  # this share of a clip's blurred effects lies below saliency 1


@dataclass(frozen=True)
class Insight:
    """What the network looked at in one window of a track.

    Attributes:
        start_s: time of the first frame looked at, seconds.
        first: its number in the track.
        frames: T.
        log_probs: natural-log probabilities of symbols, float32 (T, V), as `LipReader.moving_log_probs`.
        attention: how much each frame (row) attends to each frame (column), float32 (T, T); rows sum to 1. The share
            that goes to [CLS], the place before the first frame, is taken out and stands in `attention_cls`.
        attention_cls: each frame's attention to [CLS], 0..1, float32 (T,).
        saliency: how much each moving pixel does for or against the words, 0..1, float32 (T, 96, 96), laid over the
            crops (`saliency_map`); 0 where there are no pixels, no words, or a network that reads points alone.
        opening, width: gap of the inner lips, distance of the mouth corners, eye distances, (T,), NaN without a face.
        words: the words that fall into the window, with their times in the video.
        layer: number of the attention layer, from 0.
        head: number of the head, from 0; None for the mean of all.
    """

    start_s: float
    first: int
    frames: int
    log_probs: Array
    attention: Array
    attention_cls: Array
    saliency: Array
    opening: Array
    width: Array
    words: tuple[Word, ...]
    layer: int
    head: int | None

    @property
    def end_s(self) -> float:
        """Where the last frame looked at ends, seconds."""
        return self.start_s + self.frames / FRAME_RATE_HZ


def look(
    reader: LipReader,
    track: MouthTrack,
    transcript: Transcript,
    *,
    layer: int = -1,
    head: int | None = None,
    start_s: float | None = None,
) -> Insight:
    """Run the network once more over a track and note what it looks at.

    At most `WINDOW_FRAMES` frames are looked at, read in one piece, so that memory stays bounded: a track no longer
    than that whole, of a longer one the window at `start_s`. (There, log_probs near the window's ends may differ a
    little from those of the reading, which joins overlapping windows.) The network is left as it was found: no hooks,
    no gradients, the same mode. Looks wait for one another; readings meanwhile are not disturbed.

    Args:
        reader: what read the track.
        track: crops and points.
        transcript: what was read; saliency is that of its words.
        layer: attention layer, from 0, or from the last as -1, -2, ...
        head: attention head, from 0; None for the mean of all.
        start_s: time at which the window begins, in a track longer than one; by default shortly before the first word.
    Raises: ConfigError: there is no such layer or head, or start_s is not a number.
        DataError: the words have characters that the reader's alphabet cannot write.
    """
    import torch

    from lipread.mouth import centre_crop
    from lipread.tracing import trace

    layer, head = _checked(reader, layer, head)
    first, frames = chosen_window(track, transcript, start_s)
    part = part_of(track, first, frames)
    words = words_between(transcript.words, part.start_s, part.start_s + frames / FRAME_RATE_HZ)
    opening, width = lip_curves(part.points)
    side_px = track.crops.shape[-1]
    insight = Insight(
        start_s=part.start_s, first=first, frames=frames, log_probs=blanks(frames, reader.alphabet.size),
        attention=np.zeros((frames, frames), np.float32), attention_cls=np.zeros(frames, np.float32),
        saliency=np.zeros((frames, side_px, side_px), np.float32), opening=opening, width=width,
        words=words, layer=layer, head=head,
    )
    if not frames:
        return insight
    network = reader.checkpoint.network
    device = network.device
    crops = np.ascontiguousarray(centre_crop(part.crops, network.config.frontend.crop_side_px))
    goal_frames = word_symbols(words, reader.alphabet, part.start_s, frames)
    traces = trace(
        network, torch.from_numpy(crops).to(device), torch.from_numpy(part.points).to(device),
        layer, lambda log_probs: words_log_odds(log_probs, goal_frames),
    )
    moving = _moving(track, transcript, first, frames)
    insight.log_probs[moving] = traces.log_probs[moving]
    attention, attention_cls = attention_of_frames(traces.attention, head)
    with_pixels = part.present & part.crops.any(axis=(1, 2))
    saliency = insight.saliency
    if traces.gradient is not None:
        saliency = saliency_map(traces.gradient, crops, with_pixels, side_px)
    return replace(insight, attention=attention, attention_cls=attention_cls, saliency=saliency)


def layers_and_heads(reader: LipReader) -> tuple[int, int]:
    """How many attention layers, and heads in each, a reader's network has."""
    encoder = reader.checkpoint.network.config.encoder
    return encoder.num_hidden_layers, encoder.num_attention_heads


def _checked(reader: LipReader, layer: int, head: int | None) -> tuple[int, int | None]:
    """Layer and head counted from 0."""
    layers, heads = layers_and_heads(reader)
    if isinstance(layer, bool) or not isinstance(layer, int) or not -layers <= layer < layers:
        raise ConfigError(f"layer={layer!r} is not in this network; choose from 0 to {layers - 1}, or -1 for the last")
    if head is not None and (isinstance(head, bool) or not isinstance(head, int) or not 0 <= head < heads):
        raise ConfigError(f"head={head!r} is not in this network; choose from 0 to {heads - 1}, or None for the mean")
    return layer % layers, head


def chosen_window(track: MouthTrack, transcript: Transcript, start_s: float | None = None) -> tuple[int, int]:
    """(first frame, frames) of the part that is looked at: all of a short track, else `WINDOW_FRAMES` of it.

    Raises: ConfigError: start_s is not a number.
    """
    if start_s is not None and not math.isfinite(start_s):
        raise ConfigError(f"start_s={start_s} is not a time; give seconds from the start of the video")
    total = len(track.present)
    frames = min(total, WINDOW_FRAMES)
    if start_s is not None:
        wanted = round((start_s - track.start_s) * FRAME_RATE_HZ)
    else:
        words = transcript.words
        wanted = round((words[0].start_s - track.start_s) * FRAME_RATE_HZ) - LEAD_FRAMES if words else 0
    return max(0, min(wanted, total - frames)), frames


def part_of(track: MouthTrack, first: int, frames: int) -> MouthTrack:
    """Frames first..first+frames of a track, as a track."""
    cut = slice(first, first + frames)
    start_s = track.start_s + first / FRAME_RATE_HZ
    return replace(track, crops=track.crops[cut], points=track.points[cut], present=track.present[cut], start_s=start_s)


def words_between(words: tuple[Word, ...], start_s: float, end_s: float) -> tuple[Word, ...]:
    """The words of which at least half lies between two times."""
    return tuple(word for word in words if start_s <= (word.start_s + word.end_s) / 2 < end_s)


def lip_curves(points: Array) -> tuple[Array, Array]:
    """Lip points (T, 9, 2) in eye distances -> opening of the inner lips, mouth width, (T,); NaN without a face."""
    opening = np.linalg.norm(points[:, 3] - points[:, 2], axis=1)
    width = np.linalg.norm(points[:, 1] - points[:, 0], axis=1)
    return opening, width


def _moving(track: MouthTrack, transcript: Transcript, first: int, frames: int) -> Array:
    """`moving_frames` of the window, from the window and as much around it as they depend on."""
    if not transcript.words and why_nothing_is_said(track) is not None:
        return np.zeros(frames, dtype=bool)
    before = min(first, AROUND_FRAMES + 2 * SETTLE_FRAMES)
    wide = part_of(track, first - before, before + frames + AROUND_FRAMES)
    return moving_frames(wide)[before : before + frames]


# ---- what a word's saliency is the gradient of


@dataclass(frozen=True)
class SymbolSpan:
    """A symbol of a word, to be found in frames first..end; `weight` is 1 / symbols of the word."""

    symbol: int
    first: int
    end: int
    weight: float


def word_frames(word: Word, start_s: float, frames: int) -> tuple[int, int]:
    """Frames first..end, of those that begin at start_s, that a word touches; at least one."""
    first = math.floor((word.start_s - start_s) * FRAME_RATE_HZ + 1e-6)
    end = math.ceil((word.end_s - start_s) * FRAME_RATE_HZ - 1e-6)
    first = min(max(0, first), frames - 1)
    return first, max(first + 1, min(frames, end))


def word_symbols(words: tuple[Word, ...], alphabet: Alphabet, start_s: float, frames: int) -> tuple[SymbolSpan, ...]:
    """Where each symbol of each word is to be found. Raises: DataError: characters outside the alphabet."""
    spans = []
    for word in words:
        first, end = word_frames(word, start_s, frames)
        symbols = alphabet.encode(word.text)
        spans += [SymbolSpan(symbol, first, end, 1 / len(symbols)) for symbol in symbols]
    return tuple(spans)


def words_log_odds(log_probs: Tensor, spans: tuple[SymbolSpan, ...]) -> Tensor | None:
    """Sum over words of the mean log-odds of their symbols, each at its most probable frame; None without words.

    Log-odds, log(p / (1 - p)), because the gradient of log p vanishes where the network is sure.

    Args:
        log_probs: (T, V).
    """
    import torch

    total: Tensor | None = None
    for span in spans:
        frame = span.first + int(log_probs[span.first : span.end, span.symbol].argmax())
        row = log_probs[frame]
        others = torch.cat([row[: span.symbol], row[span.symbol + 1 :]])
        odds = span.weight * (row[span.symbol] - others.logsumexp(0))
        total = odds if total is None else total + odds
    return total


# ---- tensors -> pictures


def attention_of_frames(attention: Array, head: int | None) -> tuple[Array, Array]:
    """Attention with [CLS] first, (heads, 1 + T, 1 + T) -> between frames (T, T), rows sum to 1; to [CLS], (T,)."""
    chosen = attention.mean(axis=0) if head is None else attention[head]
    frames = chosen[1:, 1:]
    return frames / np.maximum(frames.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny), chosen[1:, 0]


def saliency_map(gradient: Array, crops: Array, with_pixels: Array, side_px: int) -> Array:
    """How much each pixel did: |gradient x (pixel - its mean over the clip)|, blurred, as 0..1.

    To first order this is by how much the words' log-odds would change if the pixel did not move. The bare gradient
    shows the network's strides instead: it is large on the grid of pixels that all strided convolutions hit. The scale
    is one for the whole clip, so that frames can be compared.

    Args:
        gradient: (T, H, W).
        crops: the pixels, grey, (T, H, W).
        with_pixels: bool (T,); other frames become 0.
    Returns: float32 (T, side_px, side_px); the pixels lie in the middle, 0 around them.
    """
    import cv2

    out = np.zeros((len(gradient), side_px, side_px), np.float32)
    if not with_pixels.any():
        return out
    margin = (side_px - gradient.shape[-1]) // 2
    inner = out[:, margin : margin + gradient.shape[1], margin : margin + gradient.shape[2]]
    mean = crops[with_pixels].mean(axis=0)
    for frame in np.flatnonzero(with_pixels):
        effect = np.abs(gradient[frame] * (crops[frame] - mean)).astype(np.float32)
        inner[frame] = cv2.GaussianBlur(effect, (0, 0), BLUR_PX)
    full = float(np.quantile(inner[with_pixels], FULL_SHARE))
    if not full > 0:  # only a few pixels of a few frames matter, or none
        full = float(out.max())
    if full > 0:
        np.clip(out / full, 0, 1, out=out)
    return out
