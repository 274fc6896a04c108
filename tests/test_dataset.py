"""Training batches: which clips are drawn, batches that repeat, what is refused."""

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
from lipread.audio import write_audio
from lipread.config import PRESETS, AugmentConfig, TrainConfig
from lipread.errors import ConfigError, DataError
from lipread.noise import KINDS, make_noise
from lipread.training.augment import augment
from lipread.training.batches import Batch
from lipread.training.clips import Clip, load_clips
from lipread.training.dataset import Pool, TrainingBatches
from lipread.values import SAMPLES_PER_FRAME
from prepared import VOCABULARY, WORD, prepare

WORDS = tuple(sorted(VOCABULARY))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("data") / "made_up", splits=("train", "val", "test"))


class SeenBatches(TrainingBatches):
    """The same with the changes of their pixels done."""

    def __getitem__(self, number: int) -> Batch:
        return super().__getitem__(number).shown(88)


def batches(clips: list[Clip], **changes: Any) -> TrainingBatches:
    rank, world_size = changes.pop("rank", 0), changes.pop("world_size", 1)
    values: dict[str, Any] = {
        "network": PRESETS["tiny"], "steps": 50, "batch_pixels": 3, "batch_points": 3, "curriculum_steps": 0,
    }
    config = TrainConfig(**values | changes)
    return SeenBatches(clips, config, Alphabet.english(), WORDS, crop_side_px=88, rank=rank, world_size=world_size)


def same(one: Batch, two: Batch) -> bool:
    pairs = ((getattr(one, name), getattr(two, name)) for name in ("crops", "points", "targets", "frame_labels"))
    return one.names == two.names and all(
        a is b is None or (a is not None and b is not None and torch.equal(a.nan_to_num(), b.nan_to_num()))
        for a, b in pairs
    )


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


@pytest.mark.parametrize(("stream", "absent"), [("pixels", "points"), ("points", "pixels")])
def test_a_stream_that_is_not_looked_at_is_never_all_that_there_is(stream: Any, absent: str, folder: Path) -> None:
    network = PRESETS["tiny"].model_copy(update={"streams": (stream,)})
    some = batches(training(folder), network=network, drop_pixels=0.5, drop_points=0.5)
    for number in range(5):
        assert getattr(some[number], f"use_{stream}").all()
        assert not getattr(some[number], f"use_{absent}").any()
    nothing = [replace(clip, points=np.full_like(clip.points, np.nan)) for clip in training(folder)]
    if stream == "points":
        with pytest.raises(DataError, match="no clip of the split `train` with points"):
            batches(nothing, network=network)


def test_a_network_that_only_hears_is_given_sound(folder: Path, tmp_path: Path) -> None:
    network = PRESETS["tiny"].model_copy(update={"streams": ("sound",)})
    heard = with_sound(training(folder), tmp_path)
    some = batches([*heard, *(replace(clip, sound_path=None) for clip in heard)], network=network, drop_sound=0.5)
    for number in range(5):
        batch = some[number]
        assert batch.use_sound.all() and not (batch.use_pixels.any() or batch.use_points.any())
        assert batch.crops is None and batch.raw is None


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


def test_clips_without_word_times_have_targets(folder: Path) -> None:
    clips = [replace(clip, words=()) for clip in training(folder)]
    batch = batches(clips)[0]
    assert (batch.target_lengths > 0).all()
    assert (batch.frame_labels == -100).all()  # nobody knows where they are said: not "nowhere"
    silent = batches([replace(clip, text="") for clip in clips])[0]
    assert set(silent.frame_labels[0, : silent.lengths[0]].tolist()) == {0}


def test_words_outside_the_vocabulary_do_not_count(folder: Path) -> None:
    config = TrainConfig(network=PRESETS["tiny"], steps=1, batch_pixels=2, batch_points=2, curriculum_steps=0)
    some = TrainingBatches(training(folder), config, Alphabet.english(), ("bin",), crop_side_px=88)
    assert set(some[0].frame_labels.unique().tolist()) <= {-100, 0, 1}


def test_folders_may_use_the_same_names(tmp_path: Path) -> None:
    one = prepare(tmp_path / "one", speakers=("a",), splits=("train",), clips=1, points_only=0, seed=1)
    two = prepare(tmp_path / "two", speakers=("a",), splits=("train",), clips=1, points_only=0, seed=2)
    clips = load_clips(one) + load_clips(two)
    some = batches(clips)
    first, second = (some.decoded.crops(clip) for clip in clips)
    assert not np.array_equal(first, second)


def test_long_clips_at_slow_speed_fit_the_network(folder: Path) -> None:
    config = PRESETS["tiny"]
    short = config.model_copy(update={"encoder": config.encoder.model_copy(update={"max_position_embeddings": 41})})
    some = batches(training(folder), network=short, augment=AugmentConfig(speed=0.8))
    lengths = torch.cat([some[number].lengths for number in range(20)])
    assert lengths.max() == 40


# -- sound ------------------------------------------------------------------------------------------------------------

HEARING = PRESETS["tiny"].model_copy(update={"streams": ("pixels", "points", "sound")})


def with_sound(clips: list[Clip], out: Path) -> list[Clip]:
    """Those of the clips that have pixels, each with noise for sound."""
    heard = []
    for number, clip in enumerate(clip for clip in clips if clip.crops_path):
        samples = np.random.default_rng(number).normal(0, 0.1, clip.frames * SAMPLES_PER_FRAME)
        write_audio(out / f"{clip.name}.m4a", samples.astype(np.float32))
        heard.append(replace(clip, sound_path=out / f"{clip.name}.m4a"))
    return heard


def test_lips_and_sound_are_dropped_as_often_as_asked_for(folder: Path, tmp_path: Path) -> None:
    some = batches(
        with_sound(training(folder), tmp_path), network=HEARING, batch_pixels=10, batch_points=0,
        drop_pixels=0.2, drop_points=0.3, drop_sound=0.3, drop_lips=0.2,
    )
    seen: Counter[tuple[bool, bool, bool]] = Counter()
    for number in range(40):
        batch = some[number]
        uses = (batch.use_pixels.tolist(), batch.use_points.tolist(), batch.use_sound.tolist())
        seen.update(zip(*uses, strict=True))
    shares = {uses: count / 400 for uses, count in seen.items()}
    assert (False, False, False) not in shares
    without_sound = sum(share for (_, _, sound), share in shares.items() if not sound)
    assert without_sound == pytest.approx(0.3, abs=0.07)  # three standard deviations of 400 draws
    assert shares[False, False, True] == pytest.approx(0.2, abs=0.06)
    for sound, share in ((False, 0.3), (True, 0.5)):  # which lips are dropped does not depend on the sound
        assert shares[False, True, sound] == pytest.approx(0.2 * share, abs=0.05)
        assert shares[True, False, sound] == pytest.approx(0.3 * share, abs=0.06)
        assert shares[True, True, sound] == pytest.approx(0.5 * share, abs=0.075)


def test_babble_is_never_of_the_own_speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three = prepare(tmp_path / "three", speakers=("anna", "ben", "cleo"), splits=("train",), points_only=0)
    clips = with_sound(load_clips(three), tmp_path)
    some = batches(clips, network=HEARING, batch_pixels=6, batch_points=0)
    numbers = {"anna": 1.0, "ben": 2.0, "cleo": 3.0}
    monkeypatch.setattr(
        some.decoded, "sound", lambda clip: np.full(clip.frames * SAMPLES_PER_FRAME, numbers[clip.speaker], np.float32)
    )
    heard: dict[str, set[float]] = {}

    def listen(example: Any, rng: np.random.Generator, *arguments: Any, voices: Any, **options: Any) -> Any:
        own = heard.setdefault(example.name.split("_")[0], set())
        own.update(float(voices(rng)[0]) for _ in range(20))
        return augment(example, rng, *arguments, voices=voices, **options)

    monkeypatch.setattr("lipread.training.dataset.augment", listen)
    for number in range(10):
        some[number]
    everyone = set(numbers.values())
    assert heard == {speaker: everyone - {number} for speaker, number in numbers.items()}


def test_who_is_alone_hears_no_babble(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [clip for clip in with_sound(training(folder), tmp_path) if clip.speaker == "anna"]
    some = batches(alone, network=HEARING, batch_points=0, augment=AugmentConfig(sound_noise=1.0), drop_sound=0.0)
    asked = list[str]()

    def make(kind: Any, samples: int, rng: np.random.Generator, voices: Any = None) -> Any:
        asked.append(kind)
        return make_noise(kind, samples, rng, voices)

    monkeypatch.setattr("lipread.training.augment.make_noise", make)
    for number in range(10):
        some[number]
    assert set(asked) == set(KINDS) - {"babble"}
