"""Search over the utterances of a video: where pauses cut, what is kept of the lips, what a grammar may not invent."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipread.alphabet import Alphabet
from lipread.decoding.greedy import greedy_decode
from lipread.decoding.search import (
    MAX_JOINED_FRAMES,
    MAX_UTTERANCE_FRAMES,
    PAUSE_FRAMES,
    Listener,
    Search,
    next_cut,
)
from lipread.errors import ConfigError, DataError
from lipread.values import Array, Hypothesis

ENGLISH = Alphabet.english()


def said(text: str, *, sure: float = 0.99) -> Array:
    """Log-probabilities (T, V) of a text in which each character has a frame, then a blank one; "_" is a blank."""
    rows = []
    for character in text:
        numbers = [0] if character == "_" else [ENGLISH.encode(character)[0] if character != " " else 1, 0]
        for number in numbers:
            row = np.full(ENGLISH.size, (1 - sure) / (ENGLISH.size - 1))
            row[number] = sure
            rows.append(row)
    return np.log(np.array(rows, dtype=np.float32)).reshape(-1, ENGLISH.size)


class Changes:
    """A decoder that puts a text before the greedy one."""

    def __init__(self, text: str) -> None:
        self.text = text

    def decode(self, log_probs: Array) -> tuple[Hypothesis, ...]:
        greedy = greedy_decode(log_probs, ENGLISH)
        return (Hypothesis(self.text, -1.0, -1.0), greedy)


PAUSE = "_" * PAUSE_FRAMES


def spans_of(log_probs: Array) -> list[tuple[int, int]]:
    """Frames cut at every `next_cut`: (first, one past the last) of each part."""
    blank, bounds = log_probs.argmax(axis=1) == 0, [0]
    while (cut := next_cut(blank[bounds[-1] :])) is not None:
        bounds.append(bounds[-1] + cut)
    return [(first, end) for first, end in pairwise([*bounds, len(blank)]) if end > first]


def test_one_utterance_without_pauses() -> None:
    (only,) = Search(ENGLISH).utterances(said("bin blue"), start_s=2.0)
    assert (only.text, only.raw_text, only.changed) == ("bin blue", "bin blue", False)
    assert (only.start_s, only.end_s) == (2.0, 2.0 + 16 / 25)


def test_pauses_part_utterances_and_shorter_ones_do_not() -> None:
    found = Search(ENGLISH).utterances(said(f"bin{PAUSE}lay{'_' * (PAUSE_FRAMES // 2)}red"))
    assert [each.text for each in found] == ["bin", "layred"]
    assert found[0].end_s == found[1].start_s  # nothing lies between them


def test_what_the_lips_say_stays_beside_what_was_made_of_it() -> None:
    (only,) = Search(ENGLISH, Changes("pin blue")).utterances(said("bin blue"))
    assert (only.text, only.raw_text, only.changed) == ("pin blue", "bin blue", True)
    assert [each.text for each in only.nbest] == ["pin blue", "bin blue"]


def test_what_a_language_model_changed_is_told_apart_from_what_the_search_changed() -> None:
    def likes(text: str) -> Callable[[Sequence[Hypothesis], str], tuple[Hypothesis, ...]]:
        def rescored(candidates: Sequence[Hypothesis], previous: str) -> tuple[Hypothesis, ...]:
            scored = [replace(each, lm_score=-1.0 if each.text == text else -9.0) for each in candidates]
            return tuple(sorted(scored, key=lambda each: -each.lm_score))

        return rescored

    (without,) = Search(ENGLISH, Changes("pin blue")).utterances(said("bin blue"))
    assert (without.without_lm, without.changed, without.changed_by_lm) == (None, True, False)
    for text, changed in (("pin blue", True), ("bin blue", False)):  # greedy has the better acoustic score
        (found,) = Search(ENGLISH, Changes("pin blue"), likes(text)).utterances(said("bin blue"))
        assert (found.text, found.without_lm, found.changed_by_lm) == (text, "bin blue", changed)


def test_where_the_lips_say_nothing_no_search_makes_words_up() -> None:
    assert Search(ENGLISH, Changes("bin blue")).utterances(said("_" * 75)) == ()
    assert Search(ENGLISH, Changes("bin blue")).utterances(said("")) == ()
    assert [each.raw_text for each in Search(ENGLISH, Changes("x")).utterances(said(f"{PAUSE}go{PAUSE}"))] == ["go"]


def test_too_few_frames_for_the_decoder_leave_what_the_lips_say() -> None:
    class Refuses:
        def decode(self, log_probs: Array) -> tuple[Hypothesis, ...]:
            raise DataError("needs 12 frames")

    (only,) = Search(ENGLISH, Refuses()).utterances(said("go"))
    assert (only.text, only.changed) == ("go", False)


def test_rescoring_sees_the_text_before_and_may_reorder() -> None:
    seen: list[str] = []

    def last_first(candidates: object, previous: str) -> tuple[Hypothesis, ...]:
        seen.append(previous)
        assert isinstance(candidates, tuple)
        return tuple(reversed(candidates))

    found = Search(ENGLISH, Changes("other"), last_first).utterances(said(f"bin{PAUSE}lay"))
    assert [each.text for each in found] == ["bin", "lay"]
    assert seen == ["", "bin"]


class Scored:
    """A decoder that says what was heard, at a price per utterance, and refuses too few frames."""

    def __init__(self, price: float, least: int = 1) -> None:
        self.price, self.least = price, least

    def decode(self, log_probs: Array) -> tuple[Hypothesis, ...]:
        if len(log_probs) < self.least:
            raise DataError("too few frames")
        greedy = greedy_decode(log_probs, ENGLISH)
        return (Hypothesis(greedy.text, greedy.score - self.price, greedy.score),)


@pytest.mark.parametrize(
    ("price", "sentences", "texts"),
    [(5.0, True, ["binlaygo"]), (5.0, False, ["bin", "lay", "go"]), (0.0, True, ["bin", "lay", "go"])],
)
def test_what_a_pause_parted_is_joined_where_one_sentence_scores_better(
    price: float, sentences: bool, texts: list[str]
) -> None:
    log_probs = np.concatenate([said(f"bin{PAUSE}lay"), said(PAUSE, sure=0.8), said(f"{PAUSE}go")])
    found = Search(ENGLISH, Scored(price), sentences=sentences).utterances(log_probs)
    assert [each.text for each in found] == texts
    assert [found[0].start_s, found[-1].end_s] == [0.0, len(log_probs) / 25]


def test_what_is_joined_stays_short_and_comes_soon() -> None:
    """A search that would join everything keeps no more than some seconds."""
    listener = Listener(Search(ENGLISH, Scored(1e6), sentences=True))
    pieces = [said(f"bin{PAUSE}lay{PAUSE}") for _ in range(40)]  # 180 s
    early = [each for piece in pieces[:20] for each in listener.push(piece)]
    heard = early + [each for piece in pieces[20:] for each in listener.push(piece)] + listener.end()
    assert len(early) >= 2 and early[-1].utterance.end_s > 30
    assert "".join(each.utterance.text for each in heard) == "binlay" * 40
    assert max(len(each.log_probs) for each in heard) <= MAX_JOINED_FRAMES


def test_what_is_too_short_for_a_sentence_joins_its_neighbour() -> None:
    log_probs = said(f"a{PAUSE}{'lay' * 4}")
    assert len(spans_of(log_probs)) == 2
    (only,) = Search(ENGLISH, Scored(0.0, least=20), sentences=True).utterances(log_probs)
    assert only.text == "alaylaylaylay"


def test_no_more_candidates_than_asked_for() -> None:
    (only,) = Search(ENGLISH, Changes("other"), nbest=1).utterances(said("bin"))
    assert [each.text for each in only.nbest] == ["other"]


def test_log_probs_of_another_alphabet_are_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        Search(ENGLISH).utterances(np.zeros((3, 7), np.float32))


@given(st.text("ab _", max_size=160))
def test_spans_tile_the_video_and_cut_only_in_pauses(text: str) -> None:
    log_probs = said(text)
    spans = spans_of(log_probs)
    assert [frame for first, end in spans for frame in range(first, end)] == list(range(len(log_probs)))
    for _, cut in spans[:-1]:
        around = log_probs[cut - PAUSE_FRAMES // 2 : cut + PAUSE_FRAMES // 2]
        assert (around.argmax(axis=1) == 0).all()


# --- log-probabilities that come piece by piece ---


@given(st.text("ab _", max_size=120), st.lists(st.integers(1, 60), max_size=8), st.booleans(), st.integers(0, 3))
def test_pieces_give_what_the_whole_gives(text: str, pauses: list[int], sentences: bool, price: int) -> None:
    """Random texts with random pauses between their characters, cut into random pieces."""
    log_probs = said("".join(each + "_" * (pauses[n % len(pauses)] if pauses else 0) for n, each in enumerate(text)))
    search = Search(ENGLISH, Scored(float(price)), sentences=sentences)
    whole = search.utterances(log_probs, start_s=1.0)
    rng = np.random.default_rng(len(text))
    cuts = np.sort(rng.integers(0, len(log_probs) + 1, 10)).tolist()
    listener = Listener(search, start_s=1.0)
    heard = [each for a, b in pairwise([0, *cuts, len(log_probs)]) for each in listener.push(log_probs[a:b])]
    heard += listener.end()
    assert tuple(each.utterance for each in heard) == whole
    for each in heard:  # each with its own frames
        first = round((each.utterance.start_s - 1) * 25)
        np.testing.assert_array_equal(each.log_probs, log_probs[first : first + len(each.log_probs)])
        assert each.utterance.end_s == pytest.approx(each.utterance.start_s + len(each.log_probs) / 25)


@pytest.mark.parametrize("sentences", [False, True])
def test_an_utterance_is_given_out_when_a_pause_follows_not_at_the_end(sentences: bool) -> None:
    listener = Listener(Search(ENGLISH, sentences=sentences))
    assert listener.push(said("bin")) == []
    heard = listener.push(said(PAUSE * 4))
    assert [each.utterance.text for each in heard] == ["bin"]
    assert heard[0].utterance.end_s <= 3 * 2 / 25 + 1
    assert listener.push(said("lay")) == []
    (last,) = listener.end()
    assert (last.utterance.text, last.utterance.end_s) == ("lay", (6 + 100 + 6) / 25)
    assert 1.0 <= (106 / 25 - last.utterance.start_s) <= 2.0  # begins in the pause, not at the end of the one before


def test_an_hour_of_silence_takes_no_memory() -> None:
    listener = Listener(Search(ENGLISH))
    quiet = said("_" * 250)
    tracemalloc.start()
    try:
        for _ in range(360):
            assert listener.push(quiet) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * quiet.nbytes
    listener.push(said("go"))
    (only,) = listener.end()
    assert (only.utterance.text, only.utterance.end_s) == ("go", 3600 + 4 / 25)
    assert len(only.log_probs) <= 2 * PAUSE_FRAMES + 4


def test_who_never_pauses_is_cut_off_in_the_longest_silence() -> None:
    blank = np.zeros(3 * MAX_UTTERANCE_FRAMES, bool)
    blank[1000:1010] = blank[1200:1220] = blank[MAX_UTTERANCE_FRAMES + 5 :][:30] = True
    assert next_cut(blank) == 1210
    assert next_cut(blank[: MAX_UTTERANCE_FRAMES - 1]) is None  # a pause may yet come
    assert next_cut(np.zeros(2 * MAX_UTTERANCE_FRAMES, bool)) == MAX_UTTERANCE_FRAMES
    assert next_cut(np.zeros(0, bool)) is None
