"""Network + prepared clips -> greedy texts and error rates, or classes and accuracy, for choosing.

What is reported of texts comes from `lipread evaluate`.

Shapes: B clips, T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lipread.alphabet import Alphabet
from lipread.decoding.greedy import greedy_decode
from lipread.metrics import Score, score
from lipread.model.network import LipNetwork
from lipread.mouth import centre_crop
from lipread.prepared import read_sound, whole_crops
from lipread.training.batches import Batch, Example, collate
from lipread.training.clips import Clip
from lipread.training.word_clips import Cut, part_of

EVALUATION_BATCH = 10
CUTS_AT_ONCE = 24  # of a second each


@dataclass(frozen=True)
class Evaluation:
    """Error rates with the texts they come from.

    Attributes:
        error: what checkpoints are chosen by: WER plus a little CER (it moves first).
        rates: by the names of their curves.
    """

    score: Score
    references: tuple[str, ...]
    hypotheses: tuple[str, ...]

    def __str__(self) -> str:
        return f"WER {self.score.wer:.1%}, CER {self.score.cer:.1%}"

    @property
    def error(self) -> float:
        return self.score.wer + 0.1 * self.score.cer

    @property
    def rates(self) -> dict[str, float]:
        return {"wer": self.score.wer, "cer": self.score.cer}

    def as_dict(self) -> dict[str, Any]:
        """For the training record."""
        return {**{name: round(rate, 4) for name, rate in self.rates.items()}, "clips": len(self.references)}


class Classification(Evaluation):
    """The same of classes; their error is the share of clips that were taken for another class."""

    def __str__(self) -> str:
        return f"top-1 accuracy {self.accuracy:.1%} of {len(self.references)}"

    @property
    def accuracy(self) -> float:
        """Share of the clips whose class was told."""
        pairs = zip(self.references, self.hypotheses, strict=True)
        return sum(said == told for said, told in pairs) / max(1, len(self.references))

    @property
    def error(self) -> float:
        return 1 - self.accuracy

    @property
    def rates(self) -> dict[str, float]:
        return {"accuracy": self.accuracy, **super().rates}


@torch.no_grad()
def evaluate(
    network: LipNetwork, clips: Sequence[Clip], alphabet: Alphabet, device: torch.device,
    *, use_pixels: bool = True, use_points: bool = True, use_sound: bool = False,
) -> Evaluation:
    """Read prepared clips greedily with a network in eval mode; a network that does not hear needs no sound."""
    hypotheses: list[str] = []
    for first in range(0, len(clips), EVALUATION_BATCH):
        some, side_px = clips[first : first + EVALUATION_BATCH], network.config.frontend.crop_side_px
        batch = whole_clips(some, side_px, use_pixels=use_pixels, use_sound=use_sound).to(device)
        log_probs, lengths = network(
            batch.crops, batch.points if use_points else None, batch.lengths, batch.sound,
            use_pixels=batch.use_pixels, use_points=batch.use_points, use_sound=batch.use_sound,
        )
        for row, length in zip(log_probs.float().cpu().numpy(), lengths.tolist(), strict=True):
            hypotheses.append(greedy_decode(row[:length], alphabet).text)
    references = [clip.text for clip in clips]
    return Evaluation(score(references, hypotheses), tuple(references), tuple(hypotheses))


@torch.no_grad()
def classify(
    network: LipNetwork, cuts: Sequence[Cut], classes: Sequence[str], device: torch.device,
    *, use_pixels: bool = True, use_points: bool = True, use_sound: bool = False,
) -> Classification:
    """Tell the classes of parts of prepared clips with a network in eval mode."""
    hypotheses: list[str] = []
    side_px = network.config.frontend.crop_side_px
    for first in range(0, len(cuts), CUTS_AT_ONCE):
        some = cuts[first : first + CUTS_AT_ONCE]
        clips = list({id(cut.clip): cut.clip for cut in some}.values())
        examples = examples_of(clips, side_px, use_pixels=use_pixels, use_sound=use_sound)
        wholes = {id(clip): example for clip, example in zip(clips, examples, strict=True)}
        batch = collate([part_of(wholes[id(cut.clip)], cut) for cut in some], side_px).to(device)
        states = network.encode(
            batch.crops, batch.points if use_points else None, batch.lengths, batch.sound,
            use_pixels=batch.use_pixels, use_points=batch.use_points, use_sound=batch.use_sound,
        )
        hypotheses += [classes[number] for number in network.class_scores(states).argmax(1).tolist()]
    references = [cut.label for cut in cuts]
    return Classification(score(references, hypotheses), tuple(references), tuple(hypotheses))


def whole_clips(
    clips: Sequence[Clip], side_px: int, *, use_pixels: bool = True, use_sound: bool = False
) -> Batch:
    """Clips as they are, centre-cropped, in one batch."""
    return collate(examples_of(clips, side_px, use_pixels=use_pixels, use_sound=use_sound), side_px)


def examples_of(
    clips: Sequence[Clip], side_px: int, *, use_pixels: bool = True, use_sound: bool = False
) -> list[Example]:
    """Clips as they are, centre-cropped. Raises: DataError: crops or sound are absent, damaged or too short."""
    return [
        Example(
            clip.name, clip.text,
            centre_crop(whole_crops(clip.crops_path, clip.frames), side_px) if use_pixels and clip.crops_path else None,
            clip.points, clip.words, use_points=bool(np.isfinite(clip.points).any()),
            sound=read_sound(clip.sound_path, clip.frames) if use_sound and clip.sound_path else None,
        )
        for clip in clips
    ]
