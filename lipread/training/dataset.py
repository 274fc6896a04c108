"""Clips -> training batches.

Shapes: B clips, T frames, S = 96 pixels, P lip points, N = 640 T samples.

Batch number n is a function of the seed and n alone, so that a resumed training sees exactly what an unbroken one
would, and so that any number of worker processes gives the same batches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from lipread.alphabet import Alphabet
from lipread.config import TrainConfig
from lipread.errors import ConfigError, DataError
from lipread.training.augment import augment, random_speed
from lipread.training.batches import Batch, Example, collate
from lipread.training.clips import Clip
from lipread.training.compose import Composer
from lipread.training.decoded import Decoded
from lipread.training.word_clips import Cutter, part_of
from lipread.values import Array

SPEAKER_WEIGHT = 0.75  # 1: every clip as often as another; 0: every speaker


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
        streams = config.network_config.streams
        self._sees, self._feels, self._hears = (name in streams for name in ("pixels", "points", "sound"))
        clips = [clip for clip in clips if self._gives(clip)]
        self.real = Pool([c for c in clips if c.crops_path and c.source != "drawn"])
        self.drawn = Pool([c for c in clips if c.crops_path and c.source == "drawn"])
        self.points = Pool([c for c in clips if self._has_points(c)])
        max_frames = config.network_config.encoder.max_position_embeddings - 1
        self._voices = [clip for clip in clips if clip.sound_path] if self._hears else []
        self._speakers = {voice.speaker for voice in self._voices}
        self.decoded = Decoded(clips, sound=self._hears)
        self.composer = Composer(
            clips, self.decoded.crops, max_frames=max_frames, listen=self.decoded.sound if self._hears else None
        )
        self._cutter = Cutter(clips, config) if classes else None
        self._max_frames = max_frames
        if not (self.real or self.drawn or self.points):
            raise DataError(
                f"the prepared folders hold no clip of the split `train` with {' or '.join(streams)}; prepare some, or "
                "check --data"
            )
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

    def _gives(self, clip: Clip) -> bool:
        """Whether a clip has any of what the network looks at or listens to."""
        return self._sees or self._has_points(clip) or (self._hears and clip.sound_path is not None)

    def _has_points(self, clip: Clip) -> bool:
        return self._feels and bool(np.isfinite(clip.points).any())

    def _example(self, step: int, slot: int) -> Example:
        pair = self._pair(slot)
        rng = np.random.default_rng([self.config.draw_seed, step, slot if pair is None else 2 * pair])
        wants_pixels = bool(self.real or self.drawn) and (slot < self.config.batch_pixels or not self.points)
        if wants_pixels:
            drawn = self.drawn and (not self.real or rng.random() < self.config.drawn_share)
            pool = self.drawn if drawn else self.real
        else:
            pool = self.points
        sees = wants_pixels and self._sees
        clip = pool.draw(rng)
        if self._cutter:
            example = part_of(self._whole(clip, pixels=sees), self._cutter.draw(clip, rng))
        elif self.config.task == "frames":
            example = self._whole(clip, pixels=sees)
        else:
            example = self.composer.example(clip, rng, self.config, step, pixels=sees)
        speed = random_speed(rng, self.config.augment)
        if pair is not None:  # one sentence, changed in two ways
            rng = np.random.default_rng([self.config.draw_seed, step, slot, 1])
        has_points = self._feels and bool(np.isfinite(example.points).any())
        draw = rng.random()
        use_pixels = sees and (draw >= self.config.drop_pixels or not has_points)
        use_points = has_points and (not use_pixels or draw < 1 - self.config.drop_points)
        if example.sound is not None:
            draw = rng.random()
            if not (use_pixels or use_points):
                pass  # it is all that there is
            elif draw < self.config.drop_sound:
                example = replace(example, sound=None)
            elif draw >= 1 - self.config.drop_lips:
                use_pixels = use_points = False
        example = augment(
            example, rng, self.config.augment, self.crop_side_px,
            use_pixels=use_pixels, use_points=use_points, max_frames=self._max_frames, speed=speed,
            voices=self._other_voices(clip),
        )
        known = example.words or not example.text  # without word times, a frame may be of any word
        labels = np.full(len(example.points), 0 if known else -100, np.int64)
        for word in example.words:
            labels[word.start : word.end] = self.word_ids.get(word.text, -100)
        targets = [self.class_ids[example.text]] if self._cutter else self.alphabet.encode(example.text)
        return replace(example.with_targets(targets, labels), pair=pair)

    def _whole(self, clip: Clip, *, pixels: bool) -> Example:
        """A clip as it is."""
        crops = self.decoded.crops(clip) if pixels and clip.crops_path else None
        sound = self.decoded.sound(clip) if self._hears and clip.sound_path else None
        return Example(clip.name, clip.text, crops, clip.displacements, clip.words, sound=sound)

    def _other_voices(self, clip: Clip) -> Callable[[np.random.Generator], Array] | None:
        """What gives the sound of clips of other speakers, one at a time; None where there are none."""
        if not self._speakers - {clip.speaker}:
            return None

        def draw(rng: np.random.Generator) -> Array:
            while (voice := self._voices[rng.integers(len(self._voices))]).speaker == clip.speaker:
                continue
            return self.decoded.sound(voice)

        return draw
