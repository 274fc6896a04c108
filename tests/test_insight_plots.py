"""Figures: rows, words and colours against what they were drawn from, contrast by WCAG's formula, odd input."""

from __future__ import annotations

import itertools
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from lipread.alphabet import Alphabet
from lipread.errors import ConfigError, MissingDependencyError
from lipread.insight import Insight
from lipread.insight_plots import (
    DARK,
    LIGHT,
    ROWS,
    STRIP_CAPTION_PX,
    Look,
    attention_figure,
    curves_figure,
    posteriorgram_figure,
    rendered,
    saliency_figure,
    strip_picture,
    symbol_label,
    symbols_shown,
    telling_frame,
    word_lines,
)
from lipread.values import Array, Word
from looked_at import moving_track, no_face_track, said

ALPHABET = Alphabet.english().with_words(["blue", "now"])
BLUE, NOW = ALPHABET.size - 2, ALPHABET.size - 1
WORDS = (Word("blue", 2.0, 2.4, 0.9), Word("now", 2.4, 2.8, 0.5))


def made_up(frames: int = 25, words: tuple[Word, ...] = WORDS, start_s: float = 2.0) -> Insight:
    """Frame 3 says "blue", frame 15 "now", all others blank; each frame attends to the one before."""
    log_probs = np.full((frames, ALPHABET.size), np.log(0.001), np.float32)
    log_probs[:, 0] = np.log(0.97)
    for frame, symbol in ((3, BLUE), (15, NOW)):
        if frame < frames:
            log_probs[frame, symbol], log_probs[frame, 0] = np.log(0.9), np.log(0.07)
    saliency = np.zeros((frames, 96, 96), np.float32)
    saliency[4:5, 40:50, 40:50] = 1
    opening = np.linspace(0.1, 0.4, frames)
    opening[5:8] = np.nan
    return Insight(
        start_s=start_s, first=0, frames=frames, log_probs=log_probs,
        attention=np.roll(np.eye(frames, dtype=np.float32), -1, axis=1), attention_cls=np.zeros(frames, np.float32),
        saliency=saliency, opening=opening, width=opening + 1, words=words, layer=1, head=None,
    )


def figures_of(insight: Insight, dark: bool) -> list[Figure]:
    """All four."""
    return [
        posteriorgram_figure(insight, ALPHABET, dark=dark),
        attention_figure(insight, dark=dark),
        curves_figure(insight, dark=dark),
        saliency_figure(insight, moving_track(insight.frames), dark=dark),
    ]


def luminance(colour: str) -> float:
    """Relative luminance as WCAG defines it."""
    parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio as WCAG defines it, 1..21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


# --- colours


def test_contrast_of_black_and_white() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21) and contrast("#767676", "#ffffff") >= 4.5


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_text_and_lines_can_be_read(look: Look) -> None:
    assert contrast(look.text, look.face) >= 7 and contrast(look.text, look.word) >= 4.5
    assert contrast(look.curve, look.face) >= 4.5 and contrast(look.curve, look.word) >= 3


@pytest.mark.parametrize("look", [LIGHT, DARK])
def test_lightness_alone_carries_values(look: Look) -> None:
    import matplotlib

    colours = [matplotlib.colormaps[look.map](share)[:3] for share in np.linspace(0, 1, 65)]
    light = [luminance(to_hex(colour)) for colour in colours]
    steps = np.diff(light) * (1 if look is DARK else -1)
    assert (steps > -1e-3).all() and abs(light[-1] - light[0]) > 0.5
    assert abs(light[0] - luminance(look.face)) < 0.15  # nothing looks like the page


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_of_every_figure_has_the_pages_colour(dark: bool) -> None:
    look = DARK if dark else LIGHT
    for figure in figures_of(made_up(), dark):
        assert figure.get_facecolor()[:3] == pytest.approx(to_rgb(look.face))
        rendered(figure)  # sets the tick labels
        texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
        assert texts and all(to_rgb(text.get_color()) == pytest.approx(to_rgb(look.text)) for text in texts)
        assert all(text.get_fontsize() >= 11 for text in texts)  # 19 pixels of 800


@pytest.mark.parametrize("most", [0.27, 0.5, 0.83, 1.0])
def test_the_key_to_the_colours_ends_where_they_do(most: float) -> None:
    insight = replace(made_up(), attention=np.full((25, 25), most, np.float32))
    figure = attention_figure(insight)
    rendered(figure)
    (bar,) = (axes for axes in figure.findobj(Axes) if axes.get_ylabel() == "share of attention")
    labels = [float(label.get_text()) for label in bar.get_yticklabels() if label.get_text()]
    assert labels == sorted(set(labels)) and labels[0] == 0 and most / 2 < labels[-1] <= most + 1e-6
    places = [label.get_window_extent() for label in bar.get_yticklabels() if label.get_text()]
    assert all(low.y1 <= high.y0 for low, high in itertools.pairwise(places))  # none over another


# --- pictures


@pytest.mark.parametrize("dark", [False, True])
def test_pictures_are_800_wide_and_nothing_is_cut_off(dark: bool) -> None:
    look = DARK if dark else LIGHT
    face = np.round(255 * np.array(to_rgb(look.face)))
    for figure in figures_of(made_up(), dark):
        picture = rendered(figure)
        assert picture.shape[1:] == (800, 3) and picture.dtype == np.uint8
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (abs(border - face) <= 2).all()  # no ink runs over the edge


def test_figures_are_drawn_in_threads_without_pyplot() -> None:
    pyplot = sys.modules.get("matplotlib.pyplot")
    open_before = pyplot.get_fignums() if pyplot else []
    with ThreadPoolExecutor(4) as pool:
        pictures = list(pool.map(lambda _: rendered(curves_figure(made_up())), range(8)))
    assert all((picture == pictures[0]).all() for picture in pictures)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert (pyplot.get_fignums() if pyplot else []) == open_before


@pytest.mark.parametrize(("frames", "words"), [(0, ()), (1, ()), (2, (Word("a", 2.0, 2.08, 0.1),)), (100, WORDS)])
def test_odd_lengths(frames: int, words: tuple[Word, ...]) -> None:
    for figure in figures_of(made_up(frames, words), dark=False):
        assert rendered(figure).std() > 0


def test_no_face_at_all() -> None:
    empty = made_up()
    nothing = np.full(25, np.nan)
    for figure in figures_of(replace(empty, opening=nothing, width=nothing, words=()), dark=True):
        rendered(figure)


def test_matplotlib_is_optional(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for draw in (attention_figure, curves_figure):
        with pytest.raises(MissingDependencyError, match=r"pip install 'lipread\[plots\]'"):
            draw(made_up())


# --- posteriorgram


def axes_named(figure: Figure, label: str) -> Axes:
    """The plot whose vertical axis has this label."""
    return next(axes for axes in figure.axes if axes.get_ylabel() == label)


def test_rows_are_the_likely_symbols_by_time_and_the_blank() -> None:
    assert symbols_shown(np.exp(made_up().log_probs)) == [BLUE, NOW, 0]
    axes = axes_named(posteriorgram_figure(made_up(), ALPHABET), "symbol")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["blue", "now", "(blank)"]
    (image,) = axes.get_images()
    assert image.get_extent() == [2.0, 3.0, 2.5, -0.5]
    values = np.asarray(image.get_array())
    assert values.shape == (3, 25) and values[0, 3] == pytest.approx(0.9) and values[2, 0] == pytest.approx(0.97)


@given(st.integers(1, 12), st.integers(2, 60), st.integers(0, 2**32 - 1))
def test_rows_of_any_probabilities(frames: int, symbols: int, seed: int) -> None:
    probabilities = np.random.default_rng(seed).dirichlet(np.full(symbols, 0.2), frames)
    rows = symbols_shown(probabilities)
    assert rows[-1] == 0 and 0 not in rows[:-1] and len(set(rows)) == len(rows) <= ROWS + 1
    peaks = probabilities.max(axis=0)
    left_out = [peaks[row] for row in range(1, symbols) if row not in rows]
    shown = [peaks[row] for row in rows[:-1]]
    if len(shown) < ROWS:
        assert all(peak < 0.05 for peak in left_out)
    assert not shown or not left_out or max(left_out) <= min(shown)
    moments = [int(probabilities[:, row].argmax()) for row in rows[:-1]]
    assert moments == sorted(moments)


def test_symbol_labels() -> None:
    assert [symbol_label(ALPHABET, number) for number in (0, 1, 2, 3, BLUE)] == ["(blank)", "(space)", "'", "a", "blue"]


# --- words


def test_words_stand_at_their_times() -> None:
    figure = curves_figure(made_up())
    band = figure.axes[0]
    assert {text.get_text(): text.get_position()[0] for text in band.texts} == {
        "blue": pytest.approx(2.2), "now": pytest.approx(2.6),
    }
    spans = sorted((patch.get_x(), patch.get_width()) for patch in band.patches)  # type: ignore[attr-defined]
    assert spans == [(2.0, pytest.approx(0.4)), (2.4, pytest.approx(0.4))]
    assert band.get_xlim() == (2.0, 3.0)


def boxes(figure: Figure) -> list[Array]:
    """Where the words of the band are drawn: (left, right, bottom, top) pixels."""
    rendered(figure)
    found = []
    for text in figure.axes[0].texts:
        box = text.get_window_extent()
        found.append(np.array([box.x0, box.x1, box.y0, box.y1]))
    return found


@pytest.mark.parametrize("dark", [False, True])
def test_words_of_quick_speech_do_not_run_into_one_another(dark: bool) -> None:
    """Three seconds with a word every fifth of a second, as GRID's quickest speakers say them."""
    texts = ["place", "white", "by", "b", "two", "please", "now", "set", "green", "with", "h", "seven", "again", "soon"]
    words = tuple(Word(text, 0.1 + 0.2 * n, 0.3 + 0.2 * n, 0.5) for n, text in enumerate(texts))
    insight = made_up(75, words, start_s=0.0)
    for figure in (curves_figure(insight, dark=dark), posteriorgram_figure(insight, ALPHABET, dark=dark)):
        for one, other in itertools.combinations(boxes(figure), 2):
            apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
            assert apart


@settings(max_examples=50)
@given(st.lists(st.text("ab", min_size=1, max_size=9), max_size=8))
def test_every_word_has_a_line(texts: list[str]) -> None:
    words = tuple(Word(text, 2 + 0.1 * n, 2.1 + 0.1 * n, 0.5) for n, text in enumerate(texts))
    lines = word_lines(made_up(words=words))
    assert len(lines) == len(words) and all(0 <= line < 3 for line in lines)
    assert not lines or lines[0] == 0


# --- attention, curves, saliency


def test_attention_shows_rows_as_frames() -> None:
    figure = attention_figure(replace(made_up(), head=2))
    axes = axes_named(figure, "frame at (s)")
    (image,) = axes.get_images()
    assert np.asarray(image.get_array())[4].argmax() == 3  # each frame attends to the one before
    assert axes.get_xlabel() == "looks at (s) · layer 2, head 3"
    assert image.get_extent() == [2.0, 3.0, 3.0, 2.0]


def test_curves_have_gaps_where_no_face_was() -> None:
    axes = axes_named(curves_figure(made_up()), "opening")
    (line,) = axes.get_lines()
    times, values = line.get_data()
    assert times[0] == pytest.approx(2.02) and times[-1] == pytest.approx(2.98)  # middles of frames
    np.testing.assert_array_equal(np.asarray(values), made_up().opening)
    assert np.isnan(np.asarray(values)[5:8]).all()


def test_the_telling_frame_is_within_the_word() -> None:
    insight = made_up()
    assert telling_frame(insight, WORDS[0]) == 4
    assert telling_frame(insight, WORDS[1]) == 15  # nothing is salient there: the middle of 10 to 20
    for word in (Word("x", -5.0, -4.0, 1.0), Word("x", 50.0, 51.0, 1.0), Word("x", 2.0, 2.0, 1.0)):
        assert 0 <= telling_frame(insight, word) < 25


def test_saliency_needs_the_track_that_was_looked_at() -> None:
    with pytest.raises(ConfigError, match="the track has 10 frames, and frames up to 25"):
        saliency_figure(made_up(), moving_track(10))


# --- strip


@pytest.mark.parametrize("dark", [False, True])
def test_strip_shows_every_crop_in_its_place(dark: bool) -> None:
    track, row_px = moving_track(20), 96 + STRIP_CAPTION_PX
    picture = strip_picture(track, said(("hi", 0.12, 0.4)), columns=8, dark=dark)
    assert picture.shape == (3 * row_px, 8 * 96, 3) and picture.dtype == np.uint8
    for index, crop in enumerate(track.crops):
        top, left = index // 8 * row_px, index % 8 * 96
        assert (picture[top : top + 96, left : left + 96] == crop[..., None]).all()
    face = np.round(255 * np.array(to_rgb((DARK if dark else LIGHT).face)))
    word = np.round(255 * np.array(to_rgb((DARK if dark else LIGHT).word)))
    captions = [picture[96 + 3, 96 * column + 48] for column in range(8)]
    assert all((captions[column] == (word if column >= 3 else face)).all() for column in range(8))  # 0.12 s: frame 3
    assert (picture[2 * row_px :, 4 * 96 :] == face).all()  # no crops left


def test_strip_of_a_long_track_is_one_window() -> None:
    words = said(("hi", 8.0, 8.4))
    picture = strip_picture(moving_track(400), words, columns=10)
    assert picture.shape[0] == 10 * (96 + STRIP_CAPTION_PX)
    np.testing.assert_array_equal(picture[:96, :96, 0], moving_track(400).crops[188])  # 7.5 s
    other = strip_picture(moving_track(400), words, columns=10, start_s=0.0)
    np.testing.assert_array_equal(other[:96, :96, 0], moving_track(400).crops[0])


def test_odd_strips() -> None:
    assert strip_picture(no_face_track(0), said()).shape[1] == 8 * 96
    long = "a" * 60  # shrinks until it fits under one crop
    assert strip_picture(moving_track(4), said((long, 0.0, 0.04)), columns=1).shape[1] == 96
    with pytest.raises(ConfigError, match="columns=0"):
        strip_picture(moving_track(4), said(), columns=0)
