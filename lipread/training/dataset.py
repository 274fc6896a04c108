"""Prepared folders -> training batches.

Shapes: B clips, T frames, S = 96 pixels, P lip points, N = 640 T samples.

Batch number n is a function of the seed and n alone, so that a resumed training sees exactly what an unbroken one
would, and so that any number of worker processes gives the same batches.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from torch.utils.data import Dataset

from lipread.alphabet import Alphabet
from lipread.config import TrainConfig
from lipread.errors import ConfigError, DataError, LipreadError
from lipread.mouth import read_crops
from lipread.training.augment import augment, random_speed
from lipread.training.batches import Batch, Example, WordSpan, collate
from lipread.training.compose import Composer
from lipread.training.word_clips import Cutter, part_of
from lipread.values import FRAME_RATE_HZ, Array

SILENCES = frozenset({"sil", "sp", ""})
CACHE_BYTES = 6_000_000_000  # decoded crops kept by all workers of a process together
SPEAKER_WEIGHT = 0.75  # 1: every clip as often as another; 0: every speaker
COLUMNS = ("clip", "speaker", "split", "source", "streams", "frames", "text")
WORD_COLUMNS = ("clip", "start_s", "end_s", "word")


@dataclass(frozen=True)
class Clip:
    """One prepared clip: `words` are frame spans without silences; `points` may be all NaN."""

    name: str
    speaker: str
    split: str
    source: str
    text: str
    frames: int
    words: tuple[WordSpan, ...]
    points: Array
    crops_path: Path | None
    sound_path: Path | None = None

    @cached_property
    def displacements(self) -> Array:
        """Lip points with the mean of the speaking frames taken out, (T, P, 2)."""
        spoken = np.zeros(self.frames, bool)
        for word in self.words:
            spoken[word.start : word.end] = True
        chosen = self.points[spoken] if spoken.any() else self.points
        seen = chosen[np.isfinite(chosen).all(axis=(1, 2))]
        return self.points - seen.mean(axis=0) if len(seen) else self.points


def load_clips(folder: Path) -> list[Clip]:
    """Read a prepared folder's manifest, word times and lip points.

    Raises: DataError: not a prepared folder, a line that makes no sense, or a file it names is absent or damaged.
    """
    manifest = folder / "manifest.tsv"
    if not manifest.is_file():
        raise DataError(f"{folder}: no manifest.tsv there; make one with `lipread prepare`")
    times: dict[str, list[tuple[float, float, str]]] = {}
    if (folder / "words.tsv").is_file():
        for place, row in _rows(folder / "words.tsv", WORD_COLUMNS):
            start_s, end_s = (_number(row, key, place) for key in ("start_s", "end_s"))
            times.setdefault(row["clip"], []).append((start_s, end_s, row["word"]))
    clips = []
    for place, row in _rows(manifest, COLUMNS):
        frames = int(_number(row, "frames", place))
        if frames < 1:
            raise DataError(f"{place}: clip {row['clip']} has frames={frames}; prepare it again, or delete the line")
        streams = row["streams"].split(",")
        points = np.full((frames, 9, 2), np.nan, np.float32)
        if "points" in streams:
            points = _load_points(folder / "points" / f"{row['clip']}.npy", frames)
        crops = folder / "crops" / f"{row['clip']}.mp4" if "crops" in streams else None
        if crops and not crops.is_file():
            raise DataError(f"{crops}: absent, but {place} names it; prepare that clip again")
        sound = folder / "sound" / f"{row['clip']}.m4a" if "sound" in streams else None
        spans = word_spans(times.get(row["clip"], []), frames)
        if " ".join(span.text for span in spans) != row["text"]:
            spans = ()  # word times of another text are no use
        clips.append(
            Clip(
                row["clip"], row["speaker"], row["split"], row["source"], row["text"], frames, spans, points,
                crops_path=crops, sound_path=sound,
            )
        )
    if not clips:
        raise DataError(f"{manifest}: lists no clip; prepare the corpus again")
    return clips


def divide_clips(clips: Sequence[Clip], config: TrainConfig) -> tuple[list[Clip], dict[str, list[Clip]]]:
    """What is trained on, and what chooses, by name.

    With `config.folds`, the clips of `val` and those of `train` from the same kind of source are dealt out anew; points
    without pixels and drawn heads stay in training beside real clips.
    """
    usable = [clip for clip in clips if clip.split in ("train", "val")]
    strangers = [clip for clip in usable if clip.split == "train" and clip.speaker in config.held_out_speakers]
    usable = [clip for clip in usable if clip.speaker not in config.held_out_speakers or clip.split == "val"]
    val = [clip for clip in usable if clip.split == "val"]
    if config.folds:
        sources = {clip.source for clip in val or usable}
        dealt = sorted((clip for clip in usable if clip.source in sources), key=lambda clip: clip.name)
        order = np.random.default_rng(config.seed).permutation(len(dealt))
        val = [dealt[place] for place in sorted(order[config.fold :: config.folds].tolist())]
    chosen = {id(clip) for clip in val}
    training = less_of([clip for clip in usable if id(clip) not in chosen], config)
    return training, {"val": val, "held-out": [clip for clip in strangers if clip.crops_path]}


def less_of(clips: list[Clip], config: TrainConfig) -> list[Clip]:
    """At most `config.most_clips` real clips with pixels, and points of at most `config.most_people` without pixels.

    What a smaller number leaves is part of what a larger one leaves.
    """
    rng = np.random.default_rng(config.seed)
    real = sorted((clip for clip in clips if clip.crops_path and clip.source != "drawn"), key=lambda clip: clip.name)
    people = sorted({clip.speaker for clip in clips if not clip.crops_path})
    left_out = {id(real[place]) for place in rng.permutation(len(real))[_all_after(config.most_clips)]}
    strangers = {people[place] for place in rng.permutation(len(people))[_all_after(config.most_people)]}
    return [clip for clip in clips if id(clip) not in left_out and (clip.crops_path or clip.speaker not in strangers)]


def _all_after(most: int | None) -> slice:
    return slice(0, 0) if most is None else slice(most, None)


def word_spans(times: Sequence[tuple[float, float, str]], frames: int) -> tuple[WordSpan, ...]:
    """Start and end in seconds and word -> frames without the silences.

    Each word has a frame at least, and none that is another's; () where that does not fit into the clip.
    """
    spans: list[WordSpan] = []
    free = 0
    for start_s, end_s, word in times:
        if word not in SILENCES:
            start = max(round(start_s * FRAME_RATE_HZ), free)
            free = max(min(round(end_s * FRAME_RATE_HZ), frames), start + 1)
            spans.append(WordSpan(start, free, word))
    return tuple(spans) if free <= frames else ()


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Lines of a table, each with its place for error sentences."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t")
            if missing := set(columns) - set(reader.fieldnames or ()):
                raise DataError(
                    f"{path}: has no column {', '.join(sorted(missing))}; make it again with `lipread prepare`"
                )
            for row in reader:
                place = f"{path}, line {reader.line_num}"
                if any(row[column] is None for column in columns):
                    raise DataError(f"{place}: fewer columns than in the heading; prepare that clip again")
                yield place, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read ({error}); make it again with `lipread prepare`") from error


def _number(row: dict[str, str], column: str, place: str) -> float:
    try:
        number = float(row[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place}: {column}={row[column]!r} is not a number; correct it or prepare that clip again")
    return number


def _load_points(path: Path, frames: int) -> Array:
    try:
        points = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: lip points cannot be read ({error}); prepare that clip again") from error
    if points.shape != (frames, 9, 2):
        raise DataError(
            f"{path}: lip points of shape {points.shape}, wanted {(frames, 9, 2)}; prepare that clip again"
        )
    return np.asarray(points, np.float32)


class Pool:
    """Clips to draw from: a speaker with a chance that grows as clips ** SPEAKER_WEIGHT, then one of the clips, so that
    a person with many clips does not drown the others."""

    def __init__(self, clips: list[Clip]) -> None:
        by_speaker: dict[str, list[Clip]] = {}
        for clip in clips:
            by_speaker.setdefault(clip.speaker, []).append(clip)
        self._groups = list(by_speaker.values())
        weights = np.array([len(group) for group in self._groups]) ** SPEAKER_WEIGHT
        self._bounds = np.cumsum(weights) / max(weights.sum(), 1e-9)

    def __bool__(self) -> bool:
        return bool(self._groups)

    def draw(self, rng: np.random.Generator) -> Clip:
        """One clip."""
        number = int(np.searchsorted(self._bounds, rng.random(), side="right"))
        group = self._groups[min(number, len(self._groups) - 1)]
        return group[rng.integers(len(group))]


class TrainingBatches(Dataset[Batch]):
    """Item n is the n-th micro-batch of the training.

    Args:
        clips: training clips of all sources.
        config: batch sizes, shares, augmentation, seed.
        alphabet: to write the targets.
        vocabulary: words that the per-frame loss names, without silence (silence is 0).
        classes: what is to be told apart, where clips are classified; every clip has a part that is one of them.
        crop_side_px: side of the crops given out.
        rank, world_size: this process's share of every batch.
    """

    def __init__(
        self, clips: list[Clip], config: TrainConfig, alphabet: Alphabet, vocabulary: tuple[str, ...],
        *, crop_side_px: int, classes: tuple[str, ...] = (), rank: int = 0, world_size: int = 1,
    ) -> None:
        self.config, self.alphabet, self.crop_side_px = config, alphabet, crop_side_px
        self.word_ids = {word: number + 1 for number, word in enumerate(vocabulary)}
        self.class_ids = {label: number for number, label in enumerate(classes)}
        self.rank, self.world_size = rank, world_size
        self.real = Pool([c for c in clips if c.crops_path and c.source != "drawn"])
        self.drawn = Pool([c for c in clips if c.crops_path and c.source == "drawn"])
        self.points = Pool([c for c in clips if np.isfinite(c.points).any()])
        max_frames = config.network_config.encoder.max_position_embeddings - 1
        self._hears = "sound" in config.network_config.streams
        self._voices = [clip for clip in clips if clip.sound_path] if self._hears else []
        self._sounds: dict[Path, Array] = {}
        self.composer = Composer(
            clips, self._crops, max_frames=max_frames, listen=self._sound if self._hears else None
        )
        self._cutter = Cutter(clips, config) if classes else None
        self._max_frames = max_frames
        self._cache: dict[Path, Array] = {}
        self._cached_bytes = 0
        if not (self.real or self.drawn or self.points):
            raise DataError("the prepared folders hold no clip of the split `train`; prepare some, or check --data")
        self._pairs = config.batch_pixels // 2 if config.consistency else 0
        units = config.batch_pixels - self._pairs + config.batch_points
        if units < (shares := config.accumulate * world_size):
            raise ConfigError(
                f"batch_pixels={config.batch_pixels}{' in pairs' if self._pairs else ''} and batch_points="
                f"{config.batch_points} are too few clips for accumulate={config.accumulate} in {world_size} "
                f"process(es); make them {shares + self._pairs} or more together"
            )

    def __len__(self) -> int:
        return self.config.steps * self.config.accumulate

    def __getitem__(self, number: int) -> Batch:
        config = self.config
        step, micro = divmod(number, config.accumulate)
        slots = config.batch_pixels + config.batch_points
        mine = [slot for slot in range(slots) if self._place(slot) == (micro, self.rank)]
        examples = [self._example(step, slot) for slot in mine]
        return collate(examples, self.crop_side_px)

    def _place(self, slot: int) -> tuple[int, int]:
        """Micro-batch and process of a slot; both views of a pair have the same."""
        pair = self._pair(slot)
        unit = slot - self._pairs if pair is None else pair
        return unit % self.config.accumulate, unit // self.config.accumulate % self.world_size

    def _pair(self, slot: int) -> int | None:
        """The number of the pair that a slot with pixels belongs to, where sentences are seen twice."""
        return slot // 2 if slot < 2 * self._pairs else None

    def _example(self, step: int, slot: int) -> Example:
        pair = self._pair(slot)
        rng = np.random.default_rng([self.config.seed, step, slot if pair is None else 2 * pair])
        wants_pixels = bool(self.real or self.drawn) and (slot < self.config.batch_pixels or not self.points)
        if wants_pixels:
            drawn = self.drawn and (not self.real or rng.random() < self.config.drawn_share)
            pool = self.drawn if drawn else self.real
        else:
            pool = self.points
        clip = pool.draw(rng)
        if self._cutter:
            example = part_of(self._whole(clip, pixels=wants_pixels), self._cutter.draw(clip, rng))
        else:
            example = self.composer.example(clip, rng, self.config, step, pixels=wants_pixels)
        speed = random_speed(rng, self.config.augment)
        if pair is not None:  # one sentence, changed in two ways
            rng = np.random.default_rng([self.config.seed, step, slot, 1])
        has_points = bool(np.isfinite(example.points).any())
        draw = rng.random()
        use_pixels = wants_pixels and (draw >= self.config.drop_pixels or not has_points)
        use_points = has_points and (not use_pixels or draw < 1 - self.config.drop_points)
        if example.sound is not None:
            draw = rng.random()
            if draw < self.config.drop_sound:
                example = replace(example, sound=None)
            elif draw >= 1 - self.config.drop_lips:
                use_pixels = use_points = False
        example = augment(
            example, rng, self.config.augment, self.crop_side_px,
            use_pixels=use_pixels, use_points=use_points, max_frames=self._max_frames, speed=speed,
            voices=self._other_voices(clip),
        )
        labels = np.zeros(len(example.points), np.int64)
        for word in example.words:
            labels[word.start : word.end] = self.word_ids.get(word.text, -100)
        targets = [self.class_ids[example.text]] if self._cutter else self.alphabet.encode(example.text)
        return replace(example.with_targets(targets, labels), pair=pair)

    def _whole(self, clip: Clip, *, pixels: bool) -> Example:
        """A clip as it is."""
        crops = self._crops(clip) if pixels and clip.crops_path else None
        sound = self._sound(clip) if self._hears and clip.sound_path else None
        return Example(clip.name, clip.text, crops, clip.displacements, clip.words, sound=sound)

    def _other_voices(self, clip: Clip) -> Callable[[np.random.Generator], Array] | None:
        """What gives the sound of clips of other speakers, one at a time; None where there are none."""
        if not any(voice.speaker != clip.speaker for voice in self._voices):
            return None

        def draw(rng: np.random.Generator) -> Array:
            while (voice := self._voices[rng.integers(len(self._voices))]).speaker == clip.speaker:
                continue
            return self._sound(voice)

        return draw

    def _sound(self, clip: Clip) -> Array:
        """Decoded sound of a clip, kept in memory (0.2 MB each)."""
        assert clip.sound_path is not None
        if clip.sound_path not in self._sounds:
            self._sounds[clip.sound_path] = read_sound(clip)
        return self._sounds[clip.sound_path]

    def _crops(self, clip: Clip) -> Array:
        """Decoded crops of a clip, kept in memory while there is room."""
        assert clip.crops_path is not None
        kept = self._cache.get(clip.crops_path)
        if kept is not None:
            return kept
        crops = read_crops(clip.crops_path)
        if len(crops) != clip.frames:
            raise DataError(
                f"{clip.crops_path}: {len(crops)} frames, the manifest says {clip.frames}; prepare that clip again"
            )
        if self._cached_bytes + crops.nbytes <= CACHE_BYTES // max(1, self.config.workers):
            self._cache[clip.crops_path] = crops
            self._cached_bytes += crops.nbytes
        return crops


def read_sound(clip: Clip) -> Array:
    """The sound of a prepared clip in step with its frames, (N,). Raises: DataError: absent or damaged."""
    from lipread.audio import read_audio

    try:
        sound = read_audio(clip.sound_path, frames=clip.frames) if clip.sound_path else None
    except LipreadError as error:
        raise DataError(f"{clip.sound_path}: {error}; prepare that clip again") from error
    if sound is None:
        raise DataError(f"{clip.sound_path}: no sound in it; prepare that clip again")
    return sound


def training_vocabulary(clips: list[Clip], most: int = 2000, *, least_count: int = 1) -> tuple[str, ...]:
    """The most frequent words of the clips' texts, sorted."""
    counts = Counter(word for clip in clips for word in clip.text.split())
    return tuple(sorted(word for word, count in counts.most_common(most) if count >= least_count))
