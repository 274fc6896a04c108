"""A checkpoint -> one that fits a new person or camera, from some of their videos, without a word of what is said.

BatchNorm's running statistics move towards those of the new mouths; then, if wanted, the scales and shifts of all
normalisations learn for a few steps, so that what is read becomes surer.

Sources: Schneider et al. 2020, arXiv:2006.16971 (statistics); Wang et al. 2021, arXiv:2006.10726 (entropy).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor, nn

from lipread.checkpoint import Checkpoint
from lipread.errors import DataError, LipreadError
from lipread.files import PathLike
from lipread.model.network import LipNetwork
from lipread.model.norm import BatchNorm
from lipread.mouth import centre_crop
from lipread.pieces import Pieces
from lipread.training.batches import Batch, Example, collate
from lipread.turns import Look, looks_at
from lipread.values import MouthTrack

PIECES = 20  # of some seconds each, from all videos together
STATISTICS_SHARE = 0.5  # of the new mouths in the statistics; chosen on drawn heads
LEARNING_RATE = 1e-3
SURE_BLANK = 0.95  # frames in which nothing is said teach nothing
AT_ONCE = 5  # pieces through the network with gradients


def pieces_of(
    videos: Sequence[PathLike], *, speaker: str | int = "auto", most: int = PIECES
) -> tuple[list[MouthTrack], list[str]]:
    """Stretches of some seconds in which lips move, equally many from the start of each video.

    Args:
        videos: files of one person.
        speaker: as `LipReader.transcribe`.
        most: how many pieces from all videos.
    Returns: the pieces, and a sentence for each video that could not be read.
    Raises: DataError: lips move in none of them.
    """
    found, problems = list[MouthTrack](), list[str]()
    for number, video in enumerate(videos):
        share = -(-(most - len(found)) // (len(videos) - number))
        try:
            found += _first_pieces(video, speaker, share)
        except LipreadError as error:
            problems.append(str(error))
    if not found:
        raise DataError("; ".join(problems) or "lips move in none of these videos; give videos of someone who talks")
    return found, problems


def pieces_of_track(track: MouthTrack) -> list[MouthTrack]:
    """The same of a mouth track."""
    return list(_pieces(looks_at(track)))


def _first_pieces(video: PathLike, speaker: str | int, most: int) -> list[MouthTrack]:
    from lipread.watch import Watch

    return list(islice(_pieces(Watch(video, speaker=speaker)), most))


def _pieces(looks: Iterable[Look]) -> Iterator[MouthTrack]:
    pieces = Pieces()
    for look in looks:
        yield from (piece.track for piece in pieces.push(look) if piece.moving.any())
    yield from (piece.track for piece in pieces.end() if piece.moving.any())


def adapted(
    checkpoint: Checkpoint,
    tracks: Iterable[MouthTrack],
    *,
    share: float = STATISTICS_SHARE,
    steps: int = 0,
    learning_rate: float = LEARNING_RATE,
) -> Checkpoint:
    """Fit a checkpoint to some mouths; the one that is given stays as it is.

    Args:
        checkpoint: to start from.
        tracks: mouths of one person, each short enough for the network.
        share: of their statistics in BatchNorm's running ones, 0..1.
        steps: of the entropy's descent, one after the other over all tracks.
        learning_rate: of these steps.
    """
    network = copy.deepcopy(checkpoint.network).eval()
    device = next(network.parameters()).device
    side_px = network.config.frontend.crop_side_px
    examples = [
        Example(f"piece {number}", "", centre_crop(track.crops, side_px), track.points, ())
        for number, track in enumerate(tracks)
    ]
    move_statistics(network, collate(examples, side_px).to(device), share)
    if steps:
        batches = [
            collate(examples[first : first + AT_ONCE], side_px).to(device) for first in range(0, len(examples), AT_ONCE)
        ]
        lower_entropy(network, batches, steps, learning_rate)
    record = {**checkpoint.record, "adapted": {"pieces": len(examples), "share": share, "steps": steps}}
    return replace(checkpoint, network=network, record=record)


@torch.no_grad()
def move_statistics(network: LipNetwork, batch: Batch, share: float) -> None:
    """Move the running statistics of every BatchNorm towards those of a batch, by this share of the way."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum, norm.training = share, True
    _read(network, batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum, norm.training = momentum, False


def lower_entropy(network: LipNetwork, batches: Sequence[Batch], steps: int, learning_rate: float) -> None:
    """Let the scales and shifts of the normalisations learn to be sure, over frames in which something may be said."""
    norms = [module for module in network.modules() if isinstance(module, BatchNorm | nn.LayerNorm)]
    learning = [parameter for norm in norms for parameter in norm.parameters()]
    frozen = {parameter: parameter.requires_grad for parameter in network.parameters()}
    network.requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(learning, lr=learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        for batch in batches:
            (entropy(_read(network, batch), batch.lengths) / len(batches)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for parameter, wanted in frozen.items():
        parameter.requires_grad_(wanted)


def entropy(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """Mean entropy in nats of log-probabilities (B, T, V) over real frames that are not surely blank; 0 without any."""
    real = torch.arange(log_probs.shape[1], device=log_probs.device) < lengths[:, None]
    rows = log_probs[real & (log_probs[..., 0].exp() < SURE_BLANK)]  # (N, V)
    return -(rows.exp() * rows).sum() / max(1, len(rows))


def _read(network: LipNetwork, batch: Batch) -> Tensor:
    log_probs, _ = network(
        batch.crops, batch.points, batch.lengths, use_pixels=batch.use_pixels, use_points=batch.use_points
    )
    found: Tensor = log_probs
    return found
