"""Prepared folders: what is read, what is refused in one sentence, which clips are drawn, batches that repeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lipread.alphabet import Alphabet
from lipread.config import PRESETS, AugmentConfig, TrainConfig
from lipread.errors import ConfigError, DataError
from lipread.training import dataset
from lipread.training.batches import Batch, WordSpan
from lipread.training.clips import COLUMNS, Clip, load_clips, training_vocabulary, word_spans
from lipread.training.dataset import Pool, TrainingBatches
from prepared import VOCABULARY, WORD, prepare, speak

WORDS = tuple(sorted(VOCABULARY))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("data") / "made_up", splits=("train", "val", "test"))


def batches(clips: list[Clip], **changes: Any) -> TrainingBatches:
    rank, world_size = changes.pop("rank", 0), changes.pop("world_size", 1)
    values: dict[str, Any] = {
        "network": PRESETS["tiny"], "steps": 50, "batch_pixels": 3, "batch_points": 3, "curriculum_steps": 0,
    }
    config = TrainConfig(**values | changes)
    return TrainingBatches(
        clips, config, Alphabet.english(), WORDS, crop_side_px=88, rank=rank, world_size=world_size
    )


def same(one: Batch, two: Batch) -> bool:
    pairs = ((getattr(one, name), getattr(two, name)) for name in ("crops", "points", "targets", "frame_labels"))
    return one.names == two.names and all(
        a is b is None or (a is not None and b is not None and torch.equal(a.nan_to_num(), b.nan_to_num()))
        for a, b in pairs
    )


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_as_it_was_written(folder: Path) -> None:
    clips = {clip.name: clip for clip in load_clips(folder)}
    assert Counter(clip.split for clip in clips.values()) == {"train": 6, "val": 4, "test": 4}
    whole, points = clips["anna_train0"], clips["ben_points0"]
    spoken = speak(whole.text.split(), seed=1)
    assert (whole.speaker, whole.source, whole.frames) == ("anna", "real", len(spoken.points))
    assert np.array_equal(whole.points, spoken.points)
    assert whole.crops_path == folder / "crops" / "anna_train0.mp4"
    starts = [8, 16, 24]
    assert whole.words == tuple(
        WordSpan(start, start + WORD, word) for start, word in zip(starts, whole.text.split(), strict=True)
    )
    assert (points.source, points.crops_path, points.words[0].start, points.words[-1].end) == ("points", None, 0, 18)


def test_displacements_are_from_the_mean_of_speaking() -> None:
    points = np.zeros((6, 9, 2), np.float32)
    points[:, :, 0] = np.array([100, 1, 2, np.nan, 6, 100])[:, None]
    points[:, :, 1] = points[:, :, 0]
    clip = Clip("x", "s", "train", "real", "a b", 6, (WordSpan(1, 3, "a"), WordSpan(3, 5, "b")), points, None)
    assert np.array_equal(clip.displacements[:, 0, 0], [97, -2, -1, np.nan, 3, 97], equal_nan=True)
    wordless = replace(clip, words=())
    assert wordless.displacements[0, 0, 0] == pytest.approx(100 - 209 / 5)
    lost = replace(clip, points=np.full_like(points, np.nan))
    assert np.isnan(lost.displacements).all()


@pytest.mark.parametrize(
    ("times", "frames", "wanted"),
    [
        ([(0.0, 0.4, "sil"), (0.4, 0.8, "a"), (0.8, 1.0, "sp"), (1.0, 1.2, "b")], 30, [(10, 20, "a"), (25, 30, "b")]),
        ([(0.0, 0.01, "a"), (0.01, 0.2, "b")], 10, [(0, 1, "a"), (1, 5, "b")]),  # a word of no frame takes one
        ([(0.0, 0.1, "a"), (0.1, 0.11, "b"), (0.11, 0.12, "c")], 9, [(0, 2, "a"), (2, 3, "b"), (3, 4, "c")]),
        ([(0.0, 0.5, "a")], 10, [(0, 10, "a")]),  # the corpus says a little more than there is
        ([(0.0, 0.4, "a"), (0.4, 0.44, "b")], 10, []),  # b has no frame
        ([(0.2, 0.1, "a")], 10, [(5, 6, "a")]),
        ([(-0.1, 0.1, "a")], 10, [(0, 2, "a")]),
        ([], 10, []),
    ],
)
def test_word_times_to_frames(
    times: list[tuple[float, float, str]], frames: int, wanted: list[tuple[int, int, str]]
) -> None:
    assert word_spans(times, frames) == tuple(WordSpan(*span) for span in wanted)


def test_word_times_of_another_text_are_left_out(folder: Path, tmp_path: Path) -> None:
    copy = prepare(tmp_path / "copy", splits=("train",))
    text = (copy / "manifest.tsv").read_text()
    lines = text.splitlines(keepends=True)
    lines[1] = lines[1].rsplit("\t", 1)[0] + "\tno no no no\n"
    (copy / "manifest.tsv").write_text("".join(lines))
    first, second, *_ = load_clips(copy)
    assert (first.words, first.text) == ((), "no no no no")
    assert second.words


def test_word_times_are_not_needed(tmp_path: Path) -> None:
    copy = prepare(tmp_path / "copy", splits=("train",))
    (copy / "words.tsv").unlink()
    clips = load_clips(copy)
    assert not any(clip.words for clip in clips)
    batch = batches(clips)[0]
    assert (batch.target_lengths > 0).all()


def replace_in(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "manifest.tsv").unlink(), "no manifest.tsv there; make one with `lipread prepare`"),
        (lambda f: (f / "manifest.tsv").write_bytes(b"\xff\xfe\x00"), "manifest.tsv: cannot be read"),
        (lambda f: (f / "manifest.tsv").write_text(""), "manifest.tsv: has no column clip, frames,"),
        (replace_in("manifest.tsv", "speaker", "talker"), "manifest.tsv: has no column speaker; make it again"),
        (lambda f: (f / "manifest.tsv").write_text("\t".join(COLUMNS) + "\n"), "lists no clip"),
        (replace_in("manifest.tsv", "\t38\t", "\tmany\t"), "manifest.tsv, line 2: frames='many' is not a number"),
        (replace_in("manifest.tsv", "\t38\t", "\t0\t"), "manifest.tsv, line 2: clip anna_train0 has frames=0"),
        (replace_in("manifest.tsv", "\t38\t", "\t39\t"), "anna_train0.npy: lip points of shape (38, 9, 2), wanted (39"),
        (replace_in("manifest.tsv", "\ttrain\treal", ""), "manifest.tsv, line 2: fewer columns than in the heading"),
        (replace_in("words.tsv", "start_s", "begin"), "words.tsv: has no column start_s"),
        (replace_in("words.tsv", "0.000", "zero"), "words.tsv, line 2: start_s='zero' is not a number"),
        (replace_in("words.tsv", "0.000", "nan"), "words.tsv, line 2: start_s='nan' is not a number"),
        (lambda f: (f / "points" / "anna_train0.npy").unlink(), "anna_train0.npy: lip points cannot be read"),
        (lambda f: (f / "points" / "anna_train0.npy").write_bytes(b"?"), "anna_train0.npy: lip points cannot be read"),
        (lambda f: (f / "crops" / "ben_train1.mp4").unlink(), "ben_train1.mp4: absent, but"),
    ],
)
def test_damaged_folders_are_one_sentence(damage: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    copy = prepare(tmp_path / "copy", splits=("train",))
    damage(copy)
    with pytest.raises(DataError) as caught:
        load_clips(copy)
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:300]), "crops"),
        (lambda path: path.write_bytes(b""), "not a film of 96x96 mouth crops"),
        (lambda path: path.write_bytes((path.parent / "other.mp4").read_bytes()), "30 frames, the manifest says 38"),
    ],
)
def test_damaged_crops_name_the_film(damage: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    copy = prepare(tmp_path / "copy", speakers=("anna",), splits=("train",), clips=1, points_only=0)
    shorter = prepare(tmp_path / "shorter", speakers=("a",), splits=("train",), clips=1, points_only=0, words=2)
    (copy / "crops" / "other.mp4").write_bytes((shorter / "crops" / "a_train0.mp4").read_bytes())
    damage(copy / "crops" / "anna_train0.mp4")
    with pytest.raises(DataError, match="anna_train0.mp4") as caught:
        batches(load_clips(copy), drop_pixels=0.0)[0]
    assert said in str(caught.value)
    assert "again" in str(caught.value)


# -- drawing ----------------------------------------------------------------------------------------------------------


def bare(name: str, speaker: str, **changes: Any) -> Clip:
    points = np.zeros((20, 9, 2), np.float32)
    return replace(Clip(name, speaker, "train", "points", "ah", 20, (), points, None), **changes)


def test_speakers_with_many_clips_do_not_drown_the_others() -> None:
    pool = Pool([bare(f"a{n}", "a") for n in range(16)] + [bare(f"b{n}", "b") for n in range(4)] + [bare("c", "c")])
    rng = np.random.default_rng(0)
    drawn = [pool.draw(rng) for _ in range(7000)]
    by_speaker = Counter(clip.speaker for clip in drawn)
    shares = {"a": 8 / 11.83, "b": 2.83 / 11.83, "c": 1 / 11.83}  # 16, 4 and 1 to the power of 0.75
    for speaker, share in shares.items():
        assert by_speaker[speaker] / 7000 == pytest.approx(share, abs=0.02)
    assert len({clip.name for clip in drawn}) == 21


def test_an_empty_pool_is_false() -> None:
    assert not Pool([])
    assert Pool([bare("a", "a")])


def test_vocabulary_is_the_most_frequent_words_in_order() -> None:
    clips = [bare("x", "s", text=text) for text in ("b a c", "b a", "b d")]
    assert training_vocabulary(clips) == ("a", "b", "c", "d")
    assert training_vocabulary(clips, 2) == ("a", "b")
    assert training_vocabulary(clips, least_count=3) == ("b",)


# -- batches ----------------------------------------------------------------------------------------------------------


def training(folder: Path) -> list[Clip]:
    return [clip for clip in load_clips(folder) if clip.split == "train"]


def test_a_batch_depends_on_its_number_and_the_seed_alone(folder: Path) -> None:
    clips = training(folder)
    forwards, backwards = batches(clips), batches(clips)
    late = [backwards[number] for number in (7, 3, 0)][::-1]
    early = [forwards[number] for number in (0, 3, 7)]
    assert all(same(a, b) for a, b in zip(early, late, strict=True))
    assert not same(early[0], early[1])
    assert not same(early[0], batches(clips, seed=1)[0])
    assert len(forwards) == 50


def test_batches_hold_pixels_first_then_points(folder: Path) -> None:
    some = batches(training(folder), drop_pixels=0.0, batch_pixels=2, batch_points=4)
    for number in range(5):
        batch = some[number]
        assert batch.use_pixels.tolist() == [True, True, False, False, False, False]
        assert batch.use_points[2:].all()
        assert batch.crops is not None
        assert batch.crops.shape[2:] == (88, 88)
        assert all(not name.endswith("points0") for name in batch.names[:2])
        assert (batch.lengths >= batch.target_lengths).all()


@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (1, 3), (2, 3), (3, 2)])
def test_processes_and_micro_batches_share_the_same_clips(folder: Path, world_size: int, accumulate: int) -> None:
    clips = training(folder)
    whole = batches(clips)[4]
    parts = [
        batches(clips, rank=rank, world_size=world_size, accumulate=accumulate)[4 * accumulate + micro]
        for rank in range(world_size) for micro in range(accumulate)
    ]
    assert sum(len(part.names) for part in parts) == 6
    assert sorted(name for part in parts for name in part.names) == sorted(whole.names)
    assert sum(int(part.lengths.sum()) for part in parts) == int(whole.lengths.sum())
    totals = [part.points.nan_to_num().sum() for part in parts]
    assert sum(totals) == pytest.approx(float(whole.points.nan_to_num().sum()), rel=1e-3)


def test_two_views_of_a_sentence(folder: Path) -> None:
    some = batches(training(folder), consistency=0.2, batch_pixels=5, batch_points=2, drop_pixels=0.0, drop_points=0.4)
    alone = set()
    for number in range(8):
        batch = some[number]
        assert batch.twin.tolist() == [1, 0, 3, 2, 4, 5, 6]
        assert batch.crops is not None
        for one, other in ((0, 1), (2, 3)):
            assert (batch.names[one], batch.texts[one]) == (batch.names[other], batch.texts[other])
            assert batch.lengths[one] == batch.lengths[other]
            assert torch.equal(batch.frame_labels[one], batch.frame_labels[other])
            assert not torch.equal(batch.crops[one], batch.crops[other])
            alone.add(tuple(batch.use_points[[one, other]].tolist()))
        assert same(batch, some[number])
    assert len(alone) > 1  # which stream is dropped is decided for each view


@pytest.mark.parametrize(("world_size", "accumulate"), [(2, 1), (2, 2), (1, 4)])
def test_both_views_come_in_one_micro_batch(folder: Path, world_size: int, accumulate: int) -> None:
    parts = [
        batches(
            training(folder), rank=rank, world_size=world_size, accumulate=accumulate,
            consistency=0.2, batch_pixels=6, batch_points=1,
        )[accumulate + micro]
        for rank in range(world_size) for micro in range(accumulate)
    ]
    assert sum(len(part.names) for part in parts) == 7
    assert sum(int((part.twin != torch.arange(len(part.names))).sum()) for part in parts) == 6
    assert all(part.names[row] == part.names[twin] for part in parts for row, twin in enumerate(part.twin.tolist()))
    with pytest.raises(ConfigError, match="batch_pixels=6 in pairs and batch_points=1 are too few .* make them 8 or"):
        batches(training(folder), accumulate=5, consistency=0.2, batch_pixels=6, batch_points=1)


def test_more_shares_than_clips_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"accumulate=3 in 3 process\(es\); make them 9 or more together"):
        batches(training(folder), accumulate=3, world_size=3)


def test_no_training_clip_is_refused() -> None:
    with pytest.raises(DataError, match="no clip of the split `train`"):
        batches([])


def test_streams_are_dropped_as_often_as_asked_for(folder: Path) -> None:
    some = batches(training(folder), batch_pixels=10, batch_points=0, drop_pixels=0.3, drop_points=0.2)
    uses = Counter(
        (pixels, points)
        for number in range(40)
        for pixels, points in zip(some[number].use_pixels.tolist(), some[number].use_points.tolist(), strict=True)
    )
    assert uses[False, False] == 0
    assert uses[False, True] / 400 == pytest.approx(0.3, abs=0.08)
    assert uses[True, False] / 400 == pytest.approx(0.2, abs=0.08)


def test_a_stream_that_a_clip_lacks_is_not_asked_for(folder: Path) -> None:
    pixels_alone = [
        replace(clip, points=np.full_like(clip.points, np.nan)) for clip in training(folder) if clip.crops_path
    ]
    some = batches(pixels_alone, drop_pixels=0.9, drop_points=0.0)
    for number in range(3):
        assert some[number].use_pixels.all()  # also in the places meant for points
        assert not some[number].use_points.any()
    points_alone = [clip for clip in training(folder) if not clip.crops_path]
    batch = batches(points_alone, drop_points=0.9, drop_pixels=0.0)[0]
    assert batch.crops is None
    assert batch.use_points.all()
    assert not batch.use_pixels.any()


def test_drawn_heads_have_their_share(folder: Path, tmp_path: Path) -> None:
    drawn = prepare(tmp_path / "drawn", speakers=("doll",), splits=("train",), source="drawn", points_only=0)
    clips = training(folder) + load_clips(drawn)
    for share in (0.0, 0.4, 1.0):
        some = batches(clips, drawn_share=share, batch_pixels=10, batch_points=0)
        names = [name for number in range(20) for name in some[number].names]
        assert sum(name.startswith("doll") for name in names) / 200 == pytest.approx(share, abs=0.1)
    alone = batches(load_clips(drawn), drawn_share=0.0)[0]
    assert all(name.startswith("doll") for name in alone.names)


def test_targets_and_labels_say_what_is_seen(folder: Path) -> None:
    alphabet = Alphabet.english()
    calm = AugmentConfig(speed=0.0, splice=0.5, sub_sentence=0.5)
    some = batches(training(folder), augment=calm)
    for number in range(5):
        batch = some[number]
        places = np.cumsum([0, *batch.target_lengths.tolist()])
        for row, text in enumerate(batch.texts):
            assert alphabet.decode(batch.targets[places[row] : places[row + 1]].tolist()) == text
            labels = batch.frame_labels[row, : batch.lengths[row]]
            said = [WORDS.index(word) + 1 for word in text.split()]
            assert labels[labels > 0].tolist() == [word for word in said for _ in range(WORD)]
            assert (batch.frame_labels[row, batch.lengths[row] :] == -100).all()


def test_words_outside_the_vocabulary_do_not_count(folder: Path) -> None:
    config = TrainConfig(network=PRESETS["tiny"], steps=1, batch_pixels=2, batch_points=2, curriculum_steps=0)
    some = TrainingBatches(training(folder), config, Alphabet.english(), ("bin",), crop_side_px=88)
    assert set(some[0].frame_labels.unique().tolist()) <= {-100, 0, 1}


def test_folders_may_use_the_same_names(tmp_path: Path) -> None:
    one = prepare(tmp_path / "one", speakers=("a",), splits=("train",), clips=1, points_only=0, seed=1)
    two = prepare(tmp_path / "two", speakers=("a",), splits=("train",), clips=1, points_only=0, seed=2)
    clips = load_clips(one) + load_clips(two)
    some = batches(clips)
    first, second = (some._crops(clip) for clip in clips)
    assert not np.array_equal(first, second)
    assert some._crops(clips[0]) is first  # kept


def test_the_memory_for_crops_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [clip for clip in training(folder) if clip.crops_path]
    monkeypatch.setattr(dataset, "CACHE_BYTES", 2 * 38 * 96 * 96 * 2 + 100)
    some = batches(clips, workers=2)  # each worker has half
    for clip in clips:
        assert np.array_equal(some._crops(clip), some._crops(clip))
    assert len(some._cache) == 2


def test_long_clips_at_slow_speed_fit_the_network(folder: Path) -> None:
    config = PRESETS["tiny"]
    short = config.model_copy(update={"encoder": config.encoder.model_copy(update={"max_position_embeddings": 41})})
    some = batches(training(folder), network=short, augment=AugmentConfig(speed=0.8))
    lengths = torch.cat([some[number].lengths for number in range(20)])
    assert lengths.max() == 40
