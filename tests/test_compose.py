"""Composed sentences: every frame is traced back to the clip and the frame that it came from.

A clip's crops carry its number and the frame's number in two pixels; its lip points are random, so that a row of
points belongs to one frame only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipread.config import AugmentConfig, TrainConfig
from lipread.training import compose
from lipread.training.batches import UNSAID, Example, WordSpan
from lipread.training.clips import Clip
from lipread.training.compose import Composer
from lipread.values import Array

FRAMES = 40
SPOKEN = ["bin", "blue", "at", "f", "two", "now"]
STARTS = (8, 13, 17, 18, 22, 27, 33)  # 4 words without silence between, then 2 frames of silence before the last


def make_clip(number: int, speaker: str = "anna", source: str = "real", **changes: Any) -> Clip:
    """Words of 5, 4, 1, 4, 3 and 6 frames."""
    ends = (*STARTS[1:4], 22, 25, 33)
    texts = [f"{word}{number}" for word in SPOKEN]
    words = tuple(WordSpan(*span) for span in zip(STARTS[:6], ends, texts, strict=True))
    points = np.random.default_rng(number).normal(size=(FRAMES, 9, 2)).astype(np.float32)
    crops = Path("crops") / str(number) if source != "points" else None
    clip = Clip(str(number), speaker, "train", source, " ".join(texts), FRAMES, words, points, crops)
    return replace(clip, **changes)


def read(clip: Clip) -> Array:
    crops = np.full((clip.frames, 96, 96), 128, np.uint8)
    crops[:, 0, 0] = int(clip.name)
    crops[:, 0, 1] = np.arange(clip.frames)
    return crops


def never(clip: Clip) -> Array:
    raise AssertionError(f"{clip.name} was decoded")


def settings(
    *, sub_sentence: float = 0.0, splice: float = 0.0, trim: float = 0.0, curriculum_steps: int = 0
) -> TrainConfig:
    return TrainConfig(
        augment=AugmentConfig(sub_sentence=sub_sentence, splice=splice, trim=trim), curriculum_steps=curriculum_steps
    )


def examples(
    clips: list[Clip], config: TrainConfig, *, count: int = 200, step: int = 0, max_frames: int = 255,
    reader: Callable[[Clip], Array] = read, pixels: bool = True, of: int = 0,
) -> list[Example]:
    composer = Composer(clips, reader, max_frames=max_frames)
    return [
        composer.example(clips[of], np.random.default_rng(seed), config, step, pixels=pixels) for seed in range(count)
    ]


def origins(example: Example, clips: list[Clip]) -> list[tuple[int, int]]:
    """Clip and frame of every frame, from the points; the crops, if there are any, must say the same."""
    rows = np.nan_to_num(np.concatenate([clip.displacements for clip in clips]), nan=1e9)
    places = [(int(clip.name), frame) for clip in clips for frame in range(clip.frames)]
    found = []
    for frame, points in enumerate(example.points):
        distance = np.abs(rows - points).max(axis=(1, 2))
        assert distance.min() < 1e-6
        found.append(places[int(distance.argmin())])
        if example.crops is not None:
            assert tuple(example.crops[frame, 0, :2].tolist()) == found[-1]
    return found


@pytest.fixture
def hard_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compose, "_blend", lambda frames, joint: None)


def test_a_clip_as_it_is() -> None:
    clip = make_clip(0)
    (example,) = examples([clip], settings(), count=1)
    assert example.crops is not None
    assert np.array_equal(example.crops, read(clip))
    assert np.array_equal(example.points, clip.displacements)
    assert (example.words, example.text, example.name) == (clip.words, clip.text, "0")


def test_words_that_fill_a_clip_from_its_first_frame() -> None:
    words = (WordSpan(0, 1, "a"), WordSpan(1, 30, "long"), WordSpan(30, FRAMES, "one"))
    clip = make_clip(0, words=words, text="a long one")
    for example in examples([clip, clip], settings(splice=1.0), count=20):
        assert example.words == words
        assert [frame for _, frame in origins(example, [clip])] == list(range(FRAMES))


def test_a_clip_without_word_times_stays_whole() -> None:
    clip = make_clip(0, words=())
    for example in examples([clip, make_clip(1)], settings(sub_sentence=1.0, splice=1.0, curriculum_steps=9), count=9):
        assert (example.text, example.words, len(example.points)) == (clip.text, (), FRAMES)


def test_sub_sentences_are_whole_words_in_a_row() -> None:
    clip = make_clip(0)
    counts = set()
    for example in examples([clip], settings(sub_sentence=1.0)):
        frames = [frame for _, frame in origins(example, [clip])]
        assert frames == list(range(frames[0], frames[-1] + 1))
        said = [word for word in example.words if word.text != UNSAID]
        first = next(k for k, word in enumerate(clip.words) if word.text == said[0].text)
        assert example.text.split() == [word.text for word in said]
        assert [WordSpan(w.start + frames[0], w.end + frames[0], w.text) for w in said] == list(
            clip.words[first : first + len(said)]
        )
        counts.add(len(said))
    assert counts == {1, 2, 3, 4, 5, 6}


def test_sub_sentences_are_cut_out_around_rare_words() -> None:
    others = [make_clip(number) for number in range(1, 5)]
    same = [replace(c, words=tuple(w._replace(text=w.text[:-1] + "0") if place != 3 else w
                                   for place, w in enumerate(c.words))) for c in others]
    clips = [make_clip(0), *same]  # all words are said five times, but for the fourth, which each clip says alone
    found = examples(clips, settings(sub_sentence=1.0), count=600)
    seen = [sum(f"{word}0" in example.text.split() for example in found) / 600 for word in SPOKEN]
    drawn = [1 / 10] * 6  # the chance that a part is cut around each word: 5 in 10 for the fourth
    drawn[3] = 5 / 10

    def holds(word: int) -> float:
        chance = 0.0
        for count in range(1, 7):
            for centre in range(6):
                starts = range(max(0, centre - count + 1), min(centre, 6 - count) + 1)
                holding = [start for start in starts if start <= word < start + count]
                chance += drawn[centre] / 6 * len(holding) / len(starts)
        return chance

    assert seen == pytest.approx([holds(word) for word in range(6)], abs=0.06)
    assert seen[3] > max(seen[:3] + seen[4:]) + 0.05


def test_margins_of_sub_sentences() -> None:
    clip = make_clip(0)
    before, after, unsaid = set(), set(), set()
    for example in examples([clip], settings(sub_sentence=1.0), count=400):
        frames = {frame for _, frame in origins(example, [clip])}
        marked = {frame for word in example.words for frame in range(word.start, word.end)}
        assert len(marked) == sum(word.end - word.start for word in example.words)
        for word in clip.words:
            own = set(range(word.start, word.end))
            if word.text not in example.text.split():
                part = own & frames
                assert len(part) <= min(2, len(own) // 2)  # not to be read: never most of a word
                assert {frame - min(frames) for frame in part} <= marked  # and not called silence
                unsaid.add(len(part))
        said = [word for word in example.words if word.text != UNSAID]
        if clip.words[0].text not in example.text.split():
            before.add(said[0].start)
        if clip.words[-1].text not in example.text.split():
            after.add(len(example.points) - said[-1].end)
    assert unsaid == {0, 1, 2}
    assert max(before) <= compose.MARGIN_FRAMES
    assert max(after) <= compose.MARGIN_FRAMES
    assert {0, 2, 4} <= before | after  # 2 frames of silence and 2 of the word beyond them
    assert min(before) == 0


def test_the_first_and_last_word_keep_their_silences() -> None:
    clip = make_clip(0)
    for example in examples([clip], settings(sub_sentence=1.0), count=100):
        frames = [frame for _, frame in origins(example, [clip])]
        if clip.words[0].text in example.text.split():
            assert frames[0] == 0
        if clip.words[-1].text in example.text.split():
            assert frames[-1] == FRAMES - 1


@pytest.mark.parametrize("step", [0, 9, 24, 49, 58])
def test_the_curriculum_grows_from_one_word(step: int) -> None:
    counts = {
        len(example.text.split())
        for example in examples([make_clip(0)], settings(curriculum_steps=60), step=step, count=150)
    }
    longest = max(1, round(6 * (step + 1) / 60))
    assert counts == set(range(1, longest + 1))


def test_after_the_curriculum_sentences_are_whole() -> None:
    (example,) = examples([make_clip(0)], settings(curriculum_steps=60), step=60, count=1)
    assert len(example.text.split()) == 6


@pytest.mark.usefixtures("hard_cuts")
def test_spliced_words_are_the_speakers_own_at_the_same_place() -> None:
    shorter = make_clip(3, words=make_clip(3).words[:5], text=" ".join(make_clip(3).text.split()[:5]))
    clips = [
        make_clip(0), make_clip(1), make_clip(2), shorter, make_clip(4, speaker="ben"),
        make_clip(5, source="drawn"), make_clip(6, source="points"),
    ]
    sources, texts = set(), set()
    for example in examples(clips, settings(splice=1.0), count=100):
        traced = origins(example, clips)  # also: crops and points are of the same frames
        for place, word in enumerate(example.words):
            number, first = traced[word.start]
            theirs = clips[number].words[place]
            assert traced[word.start : word.end] == [(number, frame) for frame in range(theirs.start, theirs.end)]
            assert (first, word.text) == (theirs.start, theirs.text)
            sources.add(number)
        spoken = {frame for word in example.words for frame in range(word.start, word.end)}
        assert {traced[frame][0] for frame in range(len(traced)) if frame not in spoken} == {0}  # silences stay
        assert example.text.split() == [word.text for word in example.words]
        texts.add(example.text)
    assert sources == {0, 1, 2}
    assert len(texts) > 50


@pytest.mark.usefixtures("hard_cuts")
def test_splicing_and_cutting_together() -> None:
    clips = [make_clip(0), make_clip(1)]
    for example in examples(clips, settings(splice=1.0, sub_sentence=1.0), count=100):
        traced = origins(example, clips)
        for word in example.words:
            number, first = traced[word.start]
            assert traced[word.start : word.end] == [
                (number, first + k) for k in range(word.end - word.start)
            ]
            if word.text != UNSAID:
                assert WordSpan(first, first + word.end - word.start, word.text) in clips[number].words
        assert example.crops is not None
        assert len(example.crops) == len(example.points)


@pytest.mark.usefixtures("hard_cuts")
def test_silences_around_points_alone_are_real() -> None:
    lost = make_clip(3, points=np.where(np.arange(FRAMES)[:, None, None] == 20, np.nan, make_clip(3).points))
    clips = [make_clip(0, source="points"), make_clip(1), make_clip(2, speaker="ben"), lost]
    clips.append(make_clip(4, source="drawn"))
    whole = make_clip(0, source="points")
    lengths, donors = set(), set()
    for example in examples(clips, settings(), reader=never):
        assert example.crops is None
        assert example.text == whole.text
        traced = origins(example, clips)
        own = [frame for number, frame in traced if number == 0]
        assert own == list(range(FRAMES))
        start = traced.index((0, 0))
        for part, spoken in ((traced[:start], False), (traced[start + FRAMES :], True)):
            number = part[0][0]
            assert part == [(number, part[0][1] + k) for k in range(len(part))]
            edge = range(33, FRAMES) if part[0][1] >= 33 else range(0, 8)
            assert all(frame in edge for _, frame in part)  # outside the words of the real clip
            # next to the sentence is what was next to speech there
            assert part[0][1] == edge[0] if spoken else part[-1][1] == edge[-1]
            lengths.add(len(part))
            donors.add(number)
        assert example.words[0].start == start + 8
    assert donors == {1, 2}  # not of drawn heads, nor where a face was lost
    assert lengths == {6, 7, 8}  # there are 8 and 7 frames to be had


def test_without_real_clips_points_stay_as_they_are() -> None:
    clip = make_clip(0, source="points")
    (example,) = examples([clip], settings(), count=1, reader=never)
    assert np.array_equal(example.points, clip.displacements)


def test_short_silences_are_no_silences() -> None:
    words = (WordSpan(5, FRAMES - 5, "x"),)
    clips = [make_clip(0, source="points"), make_clip(1, words=words, text="x")]
    (example,) = examples(clips, settings(), count=1)
    assert len(example.points) == FRAMES


def test_crops_that_are_not_wanted_are_not_decoded() -> None:
    for example in examples([make_clip(0), make_clip(1)], settings(splice=1.0), count=20, reader=never, pixels=False):
        assert example.crops is None


@pytest.mark.usefixtures("hard_cuts")
def test_nothing_becomes_longer_than_the_network_reads() -> None:
    slow = make_clip(1, words=tuple(WordSpan(s, e, f"{t}s") for s, e, t in make_clip(1).words), frames=60,
                     points=np.random.default_rng(9).normal(size=(60, 9, 2)).astype(np.float32))
    slow = replace(slow, words=tuple(WordSpan(4 + 9 * k, 13 + 9 * k, w.text) for k, w in enumerate(slow.words)))
    clips = [make_clip(0), slow]
    free = examples(clips, settings(splice=1.0), count=60)
    assert max(len(example.points) for example in free) > 45
    held = examples(clips, settings(splice=1.0), count=60, max_frames=45)
    assert max(len(example.points) for example in held) <= 45
    whole = [example for example in held if example.text == clips[0].text]
    assert whole
    assert all(example.words == clips[0].words for example in whole)
    points = [make_clip(0, source="points"), make_clip(1)]
    assert {len(example.points) for example in examples(points, settings(), max_frames=FRAMES + 5, count=9)} == {FRAMES}


def test_clips_without_points_are_spliced_too() -> None:
    clips = [make_clip(n, points=np.full((FRAMES, 9, 2), np.nan, np.float32)) for n in range(2)]
    numbers = set()
    for example in examples(clips, settings(splice=1.0), count=20):
        assert np.isnan(example.points).all()
        assert example.crops is not None
        numbers |= set(example.crops[:, 0, 0].tolist())
    assert {0, 1} <= numbers


def test_cuts_are_softened_by_thirds() -> None:
    frames = np.array([[0.0], [3.0], [9.0], [12.0]], np.float32)
    compose._blend(frames, 2)
    assert frames.ravel().tolist() == [0.0, 5.0, 7.0, 12.0]
    crops = np.array([[10], [250]], np.uint8)
    compose._blend(crops, 1)
    assert crops.ravel().tolist() == [90, 170]


def test_a_lost_face_does_not_spread_over_a_cut() -> None:
    points = np.array([[1.0, 1.0], [np.nan, np.nan], [3.0, 3.0]])
    compose._blend(points, 1)
    assert points[0].tolist() == [1.0, 1.0]


def test_softening_leaves_the_clips_alone() -> None:
    kept = {name: read(make_clip(int(name))) for name in "01"}
    clips = [make_clip(0), make_clip(1)]
    before = [clip.displacements.copy() for clip in clips]
    rows = np.concatenate(before)
    softened = 0
    for example in examples(clips, settings(splice=1.0), count=30, reader=lambda clip: kept[clip.name]):
        assert example.crops is not None
        softened += sum(np.abs(rows - points).max(axis=(1, 2)).min() > 1e-3 for points in example.points)
    assert softened > 30
    assert all(np.array_equal(kept[name], read(make_clip(int(name)))) for name in kept)
    assert all(np.array_equal(clip.displacements, b) for clip, b in zip(clips, before, strict=True))


def test_the_same_seed_gives_the_same_example() -> None:
    clips = [make_clip(0), make_clip(1)]
    config = settings(splice=1.0, sub_sentence=0.5)
    for one, two in zip(examples(clips, config, count=9), examples(clips, config, count=9), strict=True):
        assert (one.text, one.words) == (two.text, two.words)
        assert np.array_equal(one.points, two.points)


def test_trimmed_clips_keep_their_words_and_a_little_silence() -> None:
    words = (WordSpan(20, 25, "bin"), WordSpan(25, 30, "blue"))
    clip = make_clip(0, words=words, text="bin blue")
    low, high = compose.TRIMMED_FRAMES
    for example in examples([clip], settings(trim=1.0), count=50):
        places = [frame for _, frame in origins(example, [clip])]
        assert places == list(range(places[0], places[-1] + 1))
        assert low <= 20 - places[0] < high and low <= places[-1] + 1 - 30 < high
        assert [places[w.start] for w in example.words] == [20, 25] and example.text == "bin blue"
