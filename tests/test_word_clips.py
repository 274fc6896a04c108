"""Parts of clips that are one class each: where they are cut, what they hold, how often each class is drawn."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lipread.alphabet import Alphabet
from lipread.config import AugmentConfig, TrainConfig
from lipread.mouth import centre_crop, read_crops
from lipread.training.batches import Example, WordSpan
from lipread.training.clips import Clip, load_clips
from lipread.training.dataset import TrainingBatches
from lipread.training.word_clips import Cut, Cutter, cuts_of, cuts_of_all, fits, part_of
from networks import TINY
from prepared import GAP, SILENCE, VOCABULARY, WORD, prepare

WORDS = tuple(sorted(VOCABULARY))
AS_IT_IS = AugmentConfig(
    flip=0, shift_px=0, scale=0, rotate_deg=0, light=0, blur=0, noise=0, speed=0, time_mask_frames=0, point_noise=0,
    point_warp=0,
)


def made_up(*spans: tuple[int, int, str], frames: int = 75) -> Clip:
    words = tuple(WordSpan(*span) for span in spans)
    text = " ".join(word.text for word in words)
    return Clip("c", "s", "train", "real", text, frames, words, np.zeros((frames, 9, 2), np.float32), None)


def task(name: str = "words", **values: Any) -> TrainConfig:
    return TrainConfig(task=name, **values)  # type: ignore[arg-type]


# -- where clips are cut ----------------------------------------------------------------------------------------------


def test_a_word_is_in_the_middle_of_29_frames() -> None:
    clip = made_up((20, 27, "bin"), (27, 35, "blue"), (60, 63, "at"))
    assert [cut[1:] for cut in cuts_of(clip, task())] == [(9, 38, "bin"), (17, 45, "blue"), (48, 75, "at")]


def test_at_the_ends_of_a_clip_margins_shrink_on_both_sides() -> None:
    clip = made_up((0, 6, "bin"), (6, 12, "blue"), (26, 31, "soon"), frames=33)
    assert [cut[1:] for cut in cuts_of(clip, task())] == [(0, 6, "bin"), (0, 18, "blue"), (24, 33, "soon")]


@given(start=st.integers(0, 60), length=st.integers(1, 40), after=st.integers(0, 40), most=st.integers(1, 40))
def test_cuts_are_inside_hold_the_word_and_are_even(start: int, length: int, after: int, most: int) -> None:
    clip = made_up((start, start + length, "bin"), frames=start + length + after)
    (cut,) = cuts_of(clip, task(word_frames=most))
    assert 0 <= cut.start <= start < start + length <= cut.end <= clip.frames
    assert start - cut.start == cut.end - start - length
    assert cut.end - cut.start <= max(most, length)


def test_other_tasks() -> None:
    clip = made_up((20, 27, "bin"), (27, 35, "blue"))
    assert cuts_of(clip, task("sentences")) == []
    assert cuts_of(clip, task("phrases")) == [Cut(clip, 0, 75, "bin blue")]
    silent = replace(clip, text="", words=())
    assert cuts_of(silent, task("phrases")) == cuts_of(silent, task()) == []


def test_without_word_times_only_a_single_word_is_a_class() -> None:
    clip = replace(made_up((3, 9, "about"), frames=29), words=())
    assert cuts_of(clip, task()) == [Cut(clip, 0, 29, "about")]
    assert cuts_of(replace(clip, text="about us"), task()) == []


def test_what_goes_through_the_network_at_once_must_fit() -> None:
    narrow = TINY.model_copy(update={"encoder": TINY.encoder.model_copy(update={"max_position_embeddings": 30})})
    clip = made_up((20, 27, "bin"))
    fitting = [name for name in ("words", "phrases", "sentences") if fits(clip, task(name, network=narrow))]
    assert fitting == ["words"]
    assert not fits(made_up((20, 50, "supercalifragilistic")), task(network=narrow))


# -- what they hold ---------------------------------------------------------------------------------------------------


def test_a_part_has_its_frames_samples_and_words() -> None:
    clip = made_up((20, 27, "bin"), (27, 35, "blue"), (60, 63, "at"))
    crops = np.broadcast_to(np.arange(75, dtype=np.uint8)[:, None, None], (75, 96, 96))
    points = np.broadcast_to(np.arange(75, dtype=np.float32)[:, None, None], (75, 9, 2))
    whole = Example("c", clip.text, crops, points, clip.words, sound=np.repeat(np.arange(75, dtype=np.float32), 640))
    part = part_of(whole, Cut(clip, 24, 30, "blue"))
    assert part.crops is not None and part.sound is not None
    for found in (part.crops[:, 0, 0], part.points[:, 0, 0], part.sound[::640]):
        assert found.tolist() == [24, 25, 26, 27, 28, 29]
    assert len(part.sound) == 6 * 640
    assert part.words == (WordSpan(0, 3, "bin"), WordSpan(3, 6, "blue"))
    assert part.text == "blue"
    bare = part_of(replace(whole, crops=None, sound=None), Cut(clip, 24, 30, "blue"))
    assert bare.crops is bare.sound is None


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Clip]:
    return load_clips(prepare(tmp_path_factory.mktemp("data") / "made_up", splits=("train",)))


def batches(clips: list[Clip], **values: Any) -> TrainingBatches:
    settings: dict[str, Any] = {
        "network": TINY, "steps": 40, "batch_pixels": 3, "batch_points": 2, "word_frames": 12, "augment": AS_IT_IS,
        "drop_pixels": 0, "drop_points": 0,
    }
    config = TrainConfig(**{"task": "words"} | settings | values)
    classes = tuple(sorted({cut.label for cut in cuts_of_all(clips, config)}))
    return TrainingBatches(clips, config, Alphabet.english(), WORDS, crop_side_px=88, classes=classes)


def test_batches_hold_cut_words_and_their_classes(clips: list[Clip]) -> None:
    by_name = {clip.name: clip for clip in clips}
    made, seen = batches(clips), Counter[str]()
    classes = list(made.class_ids)
    for number in range(12):
        batch = made[number].shown(88)
        assert batch.target_lengths.tolist() == [1] * 5
        for row, (name, word) in enumerate(zip(batch.names, batch.texts, strict=True)):
            assert classes[batch.targets[row]] == word
            clip, length = by_name[name], int(batch.lengths[row])
            (cut, *_) = [
                cut for cut in cuts_of(clip, made.config) if cut.label == word and cut.end - cut.start == length
                and np.allclose(clip.displacements[cut.start : cut.end], batch.shape[row, :length], atol=1e-6)
            ]
            seen[clip.source] += 1
            if clip.source == "real" and batch.use_pixels[row]:
                assert batch.crops is not None and clip.crops_path is not None
                wanted = centre_crop(read_crops(clip.crops_path)[cut.start : cut.end], 88)
                got = batch.crops[row, :length].numpy()
                assert np.abs(got.astype(int) - wanted).mean() < 12  # the place in the 96 x 96 crop is random
            inside = [made.word_ids[word]] * WORD
            assert batch.frame_labels[row, (length - WORD) // 2 :][:WORD].tolist() == inside
    assert seen["real"] and seen["points"]
    assert {cut.end - cut.start for cut in cuts_of_all(clips[:1], made.config)} == {WORD + 2 * 3}
    assert SILENCE >= 3 > GAP


def test_batches_repeat_and_whole_clips_are_classes_too(clips: list[Clip]) -> None:
    one, two = batches(clips, augment=AugmentConfig())[7], batches(clips, augment=AugmentConfig())[7]
    assert one.names == two.names and torch.equal(one.targets, two.targets)
    assert one.raw is not None and two.raw is not None
    assert torch.equal(one.raw.frames, two.raw.frames) and torch.equal(one.raw.back, two.raw.back)
    whole = batches(clips, task="phrases")[0]
    texts = {clip.name: clip.text for clip in clips}
    assert [texts[name] for name in whole.names] == list(whole.texts)
    assert max(whole.lengths.tolist()) == max(clip.frames for clip in clips if clip.name in whole.names)


def test_making_batches_leaves_the_clips_alone(clips: list[Clip]) -> None:
    before = [clip.points.copy() for clip in clips]
    made = batches(clips, augment=AugmentConfig())
    kept = {clip.name: read_crops(clip.crops_path) for clip in clips if clip.crops_path}
    for number in range(10):
        made[number]
    assert all(np.array_equal(clip.points, points) for clip, points in zip(clips, before, strict=True))
    for clip in clips:
        if clip.crops_path:
            assert np.array_equal(made.decoded.crops(clip), kept[clip.name])


def test_rare_classes_are_drawn_as_often_as_frequent_ones() -> None:
    letters = "abcdefghij"
    clips = [made_up((10, 20, "bin"), (30, 33, letter)) for letter in letters]
    cutter, rng = Cutter(clips, task()), np.random.default_rng(0)
    drawn = Counter(cutter.draw(clips[n % 10], rng).label for n in range(5500))
    assert set(drawn) == {"bin", *letters}
    assert all(abs(count - 500) < 120 for count in drawn.values()), drawn
