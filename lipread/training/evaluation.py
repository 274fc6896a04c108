"""Network + prepared clips -> greedy texts and error rates, for choosing; reported ones come from `lipread evaluate`.

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
from lipread.mouth import centre_crop, read_crops
from lipread.training.batches import Batch, Example, collate
from lipread.training.dataset import Clip, read_sound

EVALUATION_BATCH = 10


@dataclass(frozen=True)
class Evaluation:
    """Error rates with the texts they come from."""

    score: Score
    references: tuple[str, ...]
    hypotheses: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """For the training record."""
        return {"wer": round(self.score.wer, 4), "cer": round(self.score.cer, 4), "clips": len(self.references)}


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


def whole_clips(
    clips: Sequence[Clip], side_px: int, *, use_pixels: bool = True, use_sound: bool = False
) -> Batch:
    """Clips as they are, centre-cropped, in one batch."""
    examples = [
        Example(
            clip.name, clip.text,
            centre_crop(read_crops(clip.crops_path), side_px) if use_pixels and clip.crops_path else None,
            clip.points, clip.words, use_points=bool(np.isfinite(clip.points).any()),
            sound=read_sound(clip) if use_sound and clip.sound_path else None,
        )
        for clip in clips
    ]
    return collate(examples, side_px)
