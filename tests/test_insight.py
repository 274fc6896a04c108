"""What the network looked at, against formulas written another way, finite differences and hand-made distances."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import process_time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipread.alphabet import Alphabet
from lipread.errors import ConfigError, DataError
from lipread.insight import (
    Insight,
    attention_of_frames,
    chosen_window,
    layers_and_heads,
    lip_curves,
    look,
    part_of,
    saliency_map,
    word_frames,
    word_symbols,
    words_between,
    words_log_odds,
)
from lipread.pieces import WINDOW_FRAMES
from lipread.pipeline import LipReader, watch_mouth
from lipread.speaking import moving_frames, why_nothing_is_said
from lipread.values import MouthTrack, Transcript, Word
from looked_at import moving_track, no_face_track, said, tiny_reader
from networks import TINY

ENGLISH = Alphabet.english()
HELLO = said(("hi", 0.12, 0.4), ("you", 0.4, 0.76))


# --- the whole


@pytest.fixture(scope="module")
def seen() -> Insight:
    return look(tiny_reader(), moving_track(), HELLO)


def test_shapes_and_ranges(seen: Insight) -> None:
    assert seen.frames == 20 and seen.first == 0 and seen.start_s == 0.0 and seen.end_s == 0.8
    assert seen.log_probs.shape == (20, ENGLISH.size) and seen.log_probs.dtype == np.float32
    assert seen.attention.shape == (20, 20) and seen.attention_cls.shape == (20,)
    assert seen.saliency.shape == (20, 96, 96) and seen.saliency.dtype == np.float32
    assert seen.saliency.min() == 0 and seen.saliency.max() == 1
    assert seen.words == HELLO.words and (seen.layer, seen.head) == (1, None)


def test_log_probs_are_those_of_the_reading(seen: Insight) -> None:
    np.testing.assert_allclose(seen.log_probs, tiny_reader().moving_log_probs(moving_track()), atol=2e-5)


def test_attention_rows_sum_to_one(seen: Insight) -> None:
    np.testing.assert_allclose(seen.attention.sum(axis=1), 1, atol=1e-5)
    assert (seen.attention >= 0).all() and ((seen.attention_cls > 0) & (seen.attention_cls < 1)).all()


def test_heads_differ_and_their_mean_is_the_default(seen: Insight) -> None:
    reader, track = tiny_reader(), moving_track()
    first, second = (look(reader, track, HELLO, head=head) for head in (0, 1))
    assert abs(first.attention - second.attention).max() > 0.01
    np.testing.assert_allclose((first.attention_cls + second.attention_cls) / 2, seen.attention_cls, atol=1e-6)
    with_cls = [each.attention * (1 - each.attention_cls[:, None]) for each in (first, second)]
    mean = (with_cls[0] + with_cls[1]) / 2
    np.testing.assert_allclose(mean / mean.sum(axis=1, keepdims=True), seen.attention, atol=1e-6)


def test_layers_are_counted_from_either_end() -> None:
    reader, track = tiny_reader(), moving_track()
    assert layers_and_heads(reader) == (2, 2)
    last, same, other = (look(reader, track, HELLO, layer=layer) for layer in (-1, 1, 0))
    assert (last.layer, same.layer, other.layer) == (1, 1, 0)
    assert (last.attention == same.attention).all() and abs(last.attention - other.attention).max() > 0.01


@pytest.mark.parametrize("wrong", [{"layer": 2}, {"layer": -3}, {"layer": 1.0}, {"layer": True}])
def test_unknown_layers(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"layer=.* is not in this network; choose from 0 to 1"):
        look(tiny_reader(), moving_track(), HELLO, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("head", [2, -1, "0", False])
def test_unknown_heads(head: object) -> None:
    with pytest.raises(ConfigError, match=r"head=.* is not in this network; choose from 0 to 1"):
        look(tiny_reader(), moving_track(), HELLO, head=head)  # type: ignore[arg-type]


def test_foreign_words_are_refused() -> None:
    with pytest.raises(DataError, match="cannot write"):
        look(tiny_reader(), moving_track(), said(("привет", 0.1, 0.4)))


# --- what is there to see


def test_without_words_no_pixel_is_blamed() -> None:
    seen = look(tiny_reader(), moving_track(), said())
    assert seen.words == () and not seen.saliency.any() and seen.attention.any()


def test_frames_without_a_face_have_no_saliency() -> None:
    track = moving_track()
    track.present[5:8] = False
    track.points[5:8] = np.nan
    track.crops[11] = 0  # a black picture shows nothing either
    seen = look(tiny_reader(), track, HELLO)
    assert not seen.saliency[[5, 6, 7, 11]].any() and seen.saliency[[4, 8, 10, 12]].any()
    assert np.isnan(seen.opening[5:8]).all() and np.isfinite(seen.opening[8:]).all()


def test_a_network_of_points_alone_has_no_saliency() -> None:
    reader = tiny_reader(TINY.model_copy(update={"streams": ("points",)}))
    seen = look(reader, moving_track(), HELLO)
    assert not seen.saliency.any()
    np.testing.assert_allclose(seen.attention.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("frames", [0, 1, 2, 30])
def test_no_face_at_all(frames: int) -> None:
    track = no_face_track(frames)
    seen = look(tiny_reader(), track, said())
    assert seen.frames == frames and not seen.saliency.any() and np.isnan(seen.opening).all()
    assert (seen.log_probs[:, 0] == 0).all()


@pytest.mark.parametrize(("rows", "columns"), [((8, 40), (8, 40)), ((50, 85), (20, 30)), ((60, 80), (60, 80))])
def test_saliency_lies_where_the_network_looks(rows: tuple[int, int], columns: tuple[int, int]) -> None:
    """Everything but one region of the crop is hidden from the network; so nothing else may light up."""
    reader = tiny_reader()
    window = torch.zeros(88, 88)
    window[rows[0] - 4 : rows[1] - 4, columns[0] - 4 : columns[1] - 4] = 1
    stem = reader.checkpoint.network.frontend
    reduce = stem._reduce
    stem._reduce = lambda crops: reduce(crops.float() * window)  # type: ignore[method-assign]
    saliency = look(reader, moving_track(), HELLO).saliency.sum(axis=0)
    inside = saliency[slice(*rows), slice(*columns)].sum()
    assert inside > 0.7 * saliency.sum()  # what is left is the blur
    near = np.zeros((96, 96), bool)
    near[max(0, rows[0] - 11) : rows[1] + 11, max(0, columns[0] - 11) : columns[1] + 11] = True
    assert saliency[~near].max() < 1e-3 * saliency.max()


def test_saliency_lies_where_something_moves() -> None:
    track = moving_track()
    still = track.crops.copy()
    still[:] = still[0]
    still[:, 30:50, 40:60] = track.crops[:, 30:50, 40:60]
    saliency = look(tiny_reader(), replace(track, crops=still), HELLO).saliency.sum(axis=0)
    assert saliency[30:50, 40:60].sum() > 0.7 * saliency.sum()
    assert not saliency[70:].any() and not saliency[:, :25].any()


def test_saliency_lies_where_the_words_are() -> None:
    """The tiny front-end sees +-2 frames, the encoder all: still, a word's own frames matter most."""
    track = moving_track(60)
    early, late = (look(tiny_reader(), track, said(("hi", at, at + 0.2))).saliency for at in (0.2, 2.0))
    assert early[:15].mean() > early[45:].mean() and late[45:].mean() > late[:15].mean()


# --- what the saliency is made of


def test_saliency_map_by_hand() -> None:
    """One pixel with an effect becomes a Gaussian of 2.5 pixels, 4 pixels further in; a flat corner sets the scale."""
    gradient, crops = np.zeros((3, 88, 88), np.float32), np.full((3, 88, 88), 100, np.uint8)
    gradient[:, 50, 60] = (-2, 1, 5)
    crops[:, 50, 60] = (130, 70, 100)  # mean 100: effects 60, 30, 0
    gradient[:, :30, :30] = 1
    crops[0, :30, :30], crops[1, :30, :30] = 200, 0  # effects 100, 100, 0
    made = saliency_map(gradient, crops, np.ones(3, bool), 96)
    assert made.shape == (3, 96, 96) and not made[2].any()
    np.testing.assert_allclose(made[:2, 5:20, 5:20], 1, rtol=1e-5)
    rows, columns = np.mgrid[-4:5, -4:5]
    gaussian = np.exp(-(rows**2 + columns**2) / (2 * 2.5**2)) / (2 * np.pi * 2.5**2)
    for frame, effect in ((0, 60), (1, 30)):
        np.testing.assert_allclose(made[frame, 50:59, 60:69], effect / 100 * gaussian, rtol=0.02)
    assert not made[:, :4].any() and not made[:, :, -4:].any()


def test_saliency_map_without_pixels() -> None:
    gradient = np.ones((4, 88, 88), np.float32)
    assert not saliency_map(gradient, np.ones((4, 88, 88)), np.zeros(4, bool), 96).any()
    assert not saliency_map(gradient, np.ones((4, 88, 88)), np.ones(4, bool), 96).any()  # nothing moves
    one = saliency_map(gradient[:1], np.random.default_rng(0).random((1, 88, 88)), np.ones(1, bool), 96)
    assert not one.any()  # nor does a single frame


@given(st.floats(-5, 5), st.floats(0, 3), st.integers(1, 100))
def test_a_word_has_a_frame_within_the_window(from_s: float, length_s: float, frames: int) -> None:
    first, end = word_frames(Word("a", from_s, from_s + length_s, 1.0), 0.0, frames)
    assert 0 <= first < end <= frames
    if 0 <= from_s < frames / 25:
        assert first / 25 <= from_s + 1e-6 and from_s < (first + 1) / 25 + 1e-6


def test_word_symbols_by_hand() -> None:
    words = (Word("hi", 1.0, 1.2, 0.5), Word("a", 1.2, 1.2, 0.5), Word("it's", 1.31, 9.0, 0.5))
    spans = word_symbols(words, ENGLISH, 1.0, 20)
    named = [(ENGLISH.symbols[s.symbol], s.first, s.end, s.weight) for s in spans]
    assert named[:3] == [("h", 0, 5, 0.5), ("i", 0, 5, 0.5), ("a", 5, 6, 1.0)]
    assert named[3:] == [(letter, 7, 20, 0.25) for letter in "it's"]


def test_whole_word_symbols_are_used() -> None:
    alphabet = ENGLISH.with_words(["blue"])
    (span,) = word_symbols((Word("blue", 0.0, 0.2, 0.5),), alphabet, 0.0, 10)
    assert alphabet.symbols[span.symbol] == " blue" and span.weight == 1


def test_log_odds_by_hand() -> None:
    probabilities = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
    alphabet = Alphabet(("<blank>", "a", "b"))
    spans = word_symbols((Word("ab", 0.0, 0.12, 0.5), Word("b", 0.0, 0.04, 0.5)), alphabet, 0.0, 3)
    wanted = (np.log(0.8 / 0.2) + np.log(0.6 / 0.4)) / 2 + np.log(0.3 / 0.7)
    assert words_log_odds(probabilities.log(), spans).item() == pytest.approx(wanted, abs=1e-6)  # type: ignore[union-attr]
    assert words_log_odds(probabilities.log(), ()) is None


def test_attention_of_frames_by_hand() -> None:
    one = np.array([[9, 9, 9], [0.5, 0.1, 0.4], [0.2, 0.6, 0.2]], np.float32)
    two = np.array([[9, 9, 9], [0.1, 0.9, 0.0], [0.0, 0.5, 0.5]], np.float32)
    frames, cls = attention_of_frames(np.stack([one, two]), 0)
    np.testing.assert_allclose(frames, [[0.2, 0.8], [0.75, 0.25]], atol=1e-6)
    np.testing.assert_allclose(cls, [0.5, 0.2])
    frames, cls = attention_of_frames(np.stack([one, two]), None)
    np.testing.assert_allclose(frames, [[1.0 / 1.4, 0.4 / 1.4], [1.1 / 1.8, 0.7 / 1.8]], atol=1e-6)
    np.testing.assert_allclose(cls, [0.3, 0.1], atol=1e-6)


def test_lip_curves_by_hand() -> None:
    points = np.zeros((3, 9, 2), np.float32)
    points[0, 0], points[0, 1] = (-0.5, 1.0), (0.7, 1.5)  # corners: 1.2 across, 0.5 down
    points[0, 2], points[0, 3] = (0.1, 1.1), (0.1, 1.4)  # inner lips
    points[2] = np.nan
    opening, width = lip_curves(points)
    assert opening[:2] == pytest.approx([0.3, 0.0]) and width[:2] == pytest.approx([1.3, 0.0])
    assert np.isnan(opening[2]) and np.isnan(width[2])


# --- windows


def test_a_long_video_is_looked_at_in_one_window() -> None:
    reader, track = tiny_reader(), moving_track(260, start_s=2.0)
    words = said(("hi", 7.0, 7.3), ("you", 7.3, 7.6), ("too", 11.0, 11.5))
    seen = look(reader, track, words)
    assert (seen.first, seen.frames, seen.start_s) == (113, WINDOW_FRAMES, 2 + 113 / 25)  # half a second before "hi"
    assert [word.text for word in seen.words] == ["hi", "you"]
    late = look(reader, track, words, start_s=11.0)
    assert (late.first, late.frames) == (160, WINDOW_FRAMES) and [word.text for word in late.words] == ["too"]
    alone = look(reader, part_of(track, 160, WINDOW_FRAMES), words)
    np.testing.assert_allclose(late.attention, alone.attention, atol=1e-6)
    np.testing.assert_allclose(late.saliency, alone.saliency, atol=1e-4)
    np.testing.assert_array_equal(late.opening, lip_curves(track.points[160:])[0])


@pytest.mark.parametrize("start_s", [float("nan"), float("inf")])
def test_windows_begin_at_a_number(start_s: float) -> None:
    with pytest.raises(ConfigError, match="start_s="):
        look(tiny_reader(), moving_track(), HELLO, start_s=start_s)


@given(st.integers(0, 400), st.floats(-50, 50), st.floats(-100, 100) | st.none())
def test_windows_lie_within_the_track(frames: int, track_s: float, start_s: float | None) -> None:
    track = replace(no_face_track(frames), start_s=track_s)
    first, length = chosen_window(track, HELLO, start_s)
    assert 0 <= first <= first + length <= frames and length == min(frames, WINDOW_FRAMES)


def test_still_lips_outside_the_window_are_known() -> None:
    """Where the lips keep still, blanks are certain, as in the reading; a window's ends look beyond it."""
    track = moving_track(300)
    track.points[100:200] = track.points[100]
    words = said(("hi", 4.5, 5.0))
    reader = tiny_reader()
    moving = moving_frames(track)
    assert why_nothing_is_said(track) is None
    for start_s in (0.0, 2.9, 4.0, 5.5, 8.0):
        seen = look(reader, track, words, start_s=start_s)
        certain = (seen.log_probs[:, 0] == 0) & (seen.log_probs[:, 1:] <= -1e4).all(axis=1)
        np.testing.assert_array_equal(certain, ~moving[seen.first : seen.first + seen.frames])


def test_words_belong_where_their_middle_is() -> None:
    words = (Word("a", 0.0, 1.0, 1.0), Word("b", 0.4, 1.8, 1.0), Word("c", 1.5, 2.6, 1.0))
    assert [word.text for word in words_between(words, 0.6, 2.05)] == ["b"]
    assert [word.text for word in words_between(words, 0.5, 2.06)] == ["a", "b", "c"]


# --- the shipped model


def test_a_real_clip(grid_dir: Path) -> None:
    """The shipped model looks at the mouth, rather than at the rest of the crop."""
    from lipread.pipeline import load_model

    reader = load_model(device="cpu")
    track = watch_mouth(grid_dir / "clips" / "s1_bbaf2n.mp4").track
    transcript = reader.read_track(track)
    seen = look(reader, track, transcript)
    np.testing.assert_allclose(seen.log_probs, reader.moving_log_probs(track), atol=1e-3)
    assert transcript.words and seen.words == transcript.words
    mean = seen.saliency.mean(axis=0)
    mouth = mean[36:64, 24:72].sum() / mean.sum()
    assert mouth > 28 * 48 / 96**2 * 2  # twice its share of the crop's area
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them would be counted while they wait
    try:
        assert min(_seconds_to_look(reader, track, transcript) for _ in range(3)) < 1.5
    finally:
        torch.set_num_threads(threads)


def _seconds_to_look(reader: LipReader, track: MouthTrack, transcript: Transcript) -> float:
    """Processor time, which does not depend on what else runs."""
    start = process_time()
    look(reader, track, transcript)
    return process_time() - start
