"""What the network looked at -> figures and pictures, for light and dark pages.

Shapes: T frames, V symbols, H x W pixels.
Figures are plain matplotlib `Figure` objects (no pyplot, no state shared between threads), 800 pixels wide at their own
resolution, with letters large enough to be read when a phone shows them half as wide. Lightness carries every value,
so no colour has to be told from another.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lipread.alphabet import Alphabet
from lipread.errors import ConfigError
from lipread.films import crops_looked_at, fitting_font, heated
from lipread.insight import Insight, chosen_window, part_of, word_frames
from lipread.plots import new_figure
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, Array, MouthTrack, Transcript, Word

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN, DPI = 6.4, 125  # 800 pixels
TEXT_PT = 12
SMALL_PT = 11
ROWS = 16  # symbols in a posteriorgram, beside the blank
LEAST_PROBABILITY = 0.05  # a symbol that never gets so probable is left out
LETTER_SHARE = 0.021  # width of a letter over that of the time axis
WORD_LINES = 3  # words that would run into one another are written in so many lines
STRIP_CAPTION_PX, STRIP_TEXT_PX = 26, 18
_one_rendering = threading.Lock()  # matplotlib's fonts are shared by all figures


@dataclass(frozen=True)
class Look:
    """Colours of a page. Text on face, and on `word`, has a contrast of 4.5 or more (WCAG AA)."""

    face: str
    text: str
    faint: str  # lines
    word: str  # behind words
    curve: str
    map: str  # matplotlib colour map; its lowest value is near the face, and its lightness runs one way


LIGHT = Look(face="#ffffff", text="#1f2937", faint="#9ca3af", word="#d6e6f5", curve="#0b5394", map="Blues")
DARK = Look(face="#0f172a", text="#e5e7eb", faint="#64748b", word="#1e3a5f", curve="#fbbf24", map="cividis")


def posteriorgram_figure(insight: Insight, alphabet: Alphabet, *, dark: bool = False) -> Figure:
    """Probability of each symbol in each frame (colour by its square root), with the words over it at their times.

    Rows are the symbols that get most probable (at most `ROWS`), in the order in which they do, and the blank.
    """
    look = DARK if dark else LIGHT
    probabilities = np.exp(insight.log_probs)  # (T, V)
    rows = symbols_shown(probabilities)
    figure, axes = _figure_with_words(insight, look, height_in=1.5 + 0.27 * len(rows))
    if insight.frames:
        image = axes.imshow(
            probabilities[:, rows].T, aspect="auto", interpolation="nearest", cmap=look.map, norm=_by_root(1.0),
            extent=(insight.start_s, insight.end_s, len(rows) - 0.5, -0.5),
        )
        _colour_bar(figure, image, look, "probability")
    axes.set_yticks(range(len(rows)), [symbol_label(alphabet, row) for row in rows])
    axes.set_ylabel("symbol")
    axes.set_xlabel("time (s)")
    return figure


def symbols_shown(probabilities: Array) -> list[int]:
    """Symbols of a posteriorgram from probabilities (T, V): the likeliest ones by the time of their peak, the blank."""
    if not len(probabilities):
        return [0]
    peaks = probabilities[:, 1:].max(axis=0)
    likeliest = np.argsort(-peaks, kind="stable")[:ROWS]
    chosen = [int(row) + 1 for row in likeliest if peaks[row] >= LEAST_PROBABILITY]
    return [*sorted(chosen, key=lambda row: int(probabilities[:, row].argmax())), 0]


def symbol_label(alphabet: Alphabet, number: int) -> str:
    """What stands beside a symbol's row."""
    if number == alphabet.blank:
        return "(blank)"
    symbol = alphabet.symbols[number]
    return "(space)" if symbol == " " else symbol.strip()


def attention_figure(insight: Insight, *, dark: bool = False) -> Figure:
    """Which frames (across) each frame (down) attends to, with the words over it; colours end at the 99.5th percent."""
    look = DARK if dark else LIGHT
    figure, axes = _figure_with_words(insight, look, height_in=6.2)
    if insight.frames:
        image = axes.imshow(
            insight.attention, aspect="auto", interpolation="nearest", cmap=look.map,
            norm=_by_root(max(float(np.quantile(insight.attention, 0.995)), 1e-9)),
            extent=(insight.start_s, insight.end_s, insight.end_s, insight.start_s),
        )
        _colour_bar(figure, image, look, "share of attention")
    for word in insight.words:
        for line in (axes.axhline, axes.axvline):
            line(word.start_s, color=look.faint, linewidth=0.6, alpha=0.7)
    heads = "mean of all heads" if insight.head is None else f"head {insight.head + 1}"
    axes.set(xlabel=f"looks at (s) · layer {insight.layer + 1}, {heads}", ylabel="frame at (s)")
    return figure


def curves_figure(insight: Insight, *, dark: bool = False) -> Figure:
    """Opening and width of the mouth over time, in eye distances, with the words over them; gaps where no face was."""
    look = DARK if dark else LIGHT
    figure, upper = _figure_with_words(insight, look, height_in=4.6, plots=2)
    lower = figure.axes[-1]
    times = insight.start_s + (np.arange(insight.frames) + 0.5) / FRAME_RATE_HZ
    for axes, values, name in ((upper, insight.opening, "opening"), (lower, insight.width, "width")):
        for word in insight.words:
            axes.axvspan(word.start_s, word.end_s, color=look.word, alpha=0.6, linewidth=0)
        axes.plot(times, values, color=look.curve, linewidth=2)
        axes.set_ylabel(name)
        axes.grid(axis="y", color=look.faint, alpha=0.35, linewidth=0.6)
        axes.margins(y=0.15)
    lower.set_xlabel("time (s) · heights in distances of the inner eye corners")
    return figure


def saliency_figure(insight: Insight, track: MouthTrack, *, dark: bool = False) -> Figure:
    """For each word the mouth at the frame that mattered most to it, with what mattered in colour.

    Args:
        track: the one that was looked at.
    Raises: ConfigError: it is shorter. MissingDependencyError: matplotlib is absent.
    """
    look = DARK if dark else LIGHT
    crops = crops_looked_at(insight, track)
    columns = min(4, max(1, len(insight.words)))
    rows = max(1, -(-len(insight.words) // columns))
    figure = _figure(look, height_in=rows * (WIDTH_IN / max(columns, 3) + 0.45))
    grid = figure.subplots(rows, columns, squeeze=False).flat
    for axes, word in zip(grid, insight.words, strict=False):
        frame = telling_frame(insight, word)
        axes.imshow(heated(crops[frame], insight.saliency[frame]), interpolation="bilinear")
        axes.set_title(word.text, color=look.text, fontsize=TEXT_PT + 2)
        axes.set_xlabel(f"{insight.start_s + (frame + 0.5) / FRAME_RATE_HZ:.2f} s", color=look.text, fontsize=SMALL_PT)
    for axes in figure.axes:
        axes.set(xticks=(), yticks=(), facecolor=look.face)
        axes.spines[:].set_visible(False)
    if not insight.words:
        figure.axes[0].text(0.5, 0.5, "no word was read here", color=look.text, fontsize=TEXT_PT, ha="center")
    return figure


def telling_frame(insight: Insight, word: Word) -> int:
    """The frame (from the window's first) of a word whose saliency is the greatest in sum; its middle where none is."""
    first, end = word_frames(word, insight.start_s, insight.frames)
    sums = insight.saliency[first:end].sum(axis=(1, 2))
    return first + (int(sums.argmax()) if sums.any() else (end - first) // 2)


def strip_picture(
    track: MouthTrack, transcript: Transcript, *, columns: int = 8, start_s: float | None = None, dark: bool = False
) -> Array:
    """The mouth crops that `look` looks at, in rows, with their words under them.

    Args:
        columns: crops in a row; a word's letters are 18 pixels high whatever their number.
        start_s: as in `look`.
    Returns: RGB uint8 picture, 96 pixels per column wide.
    Raises: ConfigError: columns < 1.
    """
    if columns < 1:
        raise ConfigError(f"columns={columns} leaves no room for a crop; use 1 or more")
    from PIL import Image, ImageDraw

    look = DARK if dark else LIGHT
    part = part_of(track, *chosen_window(track, transcript, start_s))
    frames, row_px = len(part.crops), CROP_SIDE_PX + STRIP_CAPTION_PX
    picture = Image.new("RGB", (columns * CROP_SIDE_PX, max(1, -(-frames // columns)) * row_px), look.face)
    pen = ImageDraw.Draw(picture)
    for index, crop in enumerate(part.crops):
        picture.paste(Image.fromarray(crop), (index % columns * CROP_SIDE_PX, index // columns * row_px))
    times = part.start_s + (np.arange(frames) + 0.5) / FRAME_RATE_HZ
    for word in transcript.words:
        said = np.flatnonzero((word.start_s <= times) & (times < word.end_s))
        for row in sorted(set(said // columns)):  # once in each row that it reaches into
            inside = said[said // columns == row] % columns
            left, right = int(inside[0]) * CROP_SIDE_PX, (int(inside[-1]) + 1) * CROP_SIDE_PX
            top = int(row) * row_px + CROP_SIDE_PX
            pen.rectangle((left + 1, top + 1, right - 2, top + STRIP_CAPTION_PX - 2), look.word)
            middle = ((left + right) / 2, top + STRIP_CAPTION_PX / 2)
            font = fitting_font(word.text, right - left - 6, STRIP_TEXT_PX)
            pen.text(middle, word.text, font=font, fill=look.text, anchor="mm")
    return np.asarray(picture)


def rendered(figure: Figure) -> Array:
    """A figure as RGB uint8 picture, 800 pixels wide."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with _one_rendering:
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()


# ---- what the figures share


def _figure(look: Look, *, height_in: float) -> Figure:
    return new_figure(figsize=(WIDTH_IN, height_in), dpi=DPI, facecolor=look.face)


def _figure_with_words(insight: Insight, look: Look, *, height_in: float, plots: int = 1) -> tuple[Figure, Axes]:
    """A figure with a band of words above its plots, which share its time axis; the first plot."""
    lines = word_lines(insight)
    band_in = 0.26 * max(1, max(lines, default=0) + 1)
    figure = _figure(look, height_in=height_in + band_in)
    ratios = [band_in] + [(height_in - 0.6) / plots] * plots
    band, *rest = figure.subplots(1 + plots, 1, sharex=True, height_ratios=ratios)
    _draw_words(band, insight, lines, look)
    for axes in rest:
        axes.set_facecolor(look.face)
        axes.tick_params(colors=look.text, labelsize=SMALL_PT)
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set(color=look.text, fontsize=TEXT_PT)
        for spine in axes.spines.values():
            spine.set_color(look.faint)
    rest[0].set_xlim(insight.start_s, max(insight.end_s, insight.start_s + 1 / FRAME_RATE_HZ))
    return figure, rest[0]


def word_lines(insight: Insight) -> list[int]:
    """In which line of the band each word is written, so that none runs into another: the first that is free."""
    letter_s = LETTER_SHARE * max(insight.frames, 1) / FRAME_RATE_HZ
    free = [-np.inf] * WORD_LINES
    lines = []
    for word in insight.words:
        middle, half = (word.start_s + word.end_s) / 2, letter_s * (len(word.text) + 1) / 2
        line = next((line for line in range(WORD_LINES) if free[line] <= middle - half), int(np.argmin(free)))
        free[line] = middle + half
        lines.append(line)
    return lines


def _draw_words(band: Axes, insight: Insight, lines: list[int], look: Look) -> None:
    band.set_facecolor(look.face)
    band.set_ylim(max(lines, default=0) + 1, 0)
    band.set_axis_off()
    for word, line in zip(insight.words, lines, strict=True):
        band.barh(line + 0.5, word.end_s - word.start_s, 0.92, word.start_s, color=look.word, edgecolor=look.face)
        band.text(
            (word.start_s + word.end_s) / 2, line + 0.5, word.text,
            color=look.text, fontsize=TEXT_PT, ha="center", va="center_baseline",
        )


def _by_root(most: float) -> Any:
    """Colours by the square root, so that small shares can be seen."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0, vmax=most, clip=True)


def _colour_bar(figure: Figure, image: Any, look: Look, label: str) -> None:
    """The key to the colours, beside the plot; the band of words keeps the plot's width."""
    _, axes = figure.axes
    bar = figure.colorbar(image, cax=axes.inset_axes((1.02, 0, 0.03, 1)))
    bar.set_ticks([tick for tick in bar.get_ticks() if tick <= image.norm.vmax])  # others lie on its top
    bar.set_label(label, color=look.text, fontsize=SMALL_PT)
    bar.ax.tick_params(colors=look.text, labelsize=SMALL_PT)
    bar.outline.set_edgecolor(look.faint)
