"""Mouths of a piece, and its sound -> log-probabilities of symbols: all that the network is asked.

Shapes: B pieces, T frames at 25 Hz, V symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lipread.hearing import Choice, Ears
from lipread.pieces import Piece
from lipread.values import LIP_POINTS, LOWEST_LOG_PROB, Array, MouthTrack

if TYPE_CHECKING:
    from torch import Tensor

    from lipread.model.dropout import DropoutPasses
    from lipread.model.fusion import Streams
    from lipread.model.network import LipNetwork

AT_ONCE = {"cpu": 1}  # pieces that go through the network together, by device; elsewhere:
AT_ONCE_ELSEWHERE = 8


class Found(NamedTuple):
    """What is read in some frames.

    Attributes:
        log_probs: natural-log probabilities, (T, V).
        under_dropout: the same of the mean probability of several passes with dropout; None without passes.
    """

    log_probs: Array
    under_dropout: Array | None = None

    def within(self, piece: Piece) -> Found:
        """Of the frames of a piece's track those that count, with certain blanks where nothing can be said."""
        dropped = None if self.under_dropout is None else _within(self.under_dropout, piece)
        return Found(_within(self.log_probs, piece), dropped)


class PieceReader:
    """Reads pieces with one network, or with one for the lips alone and another where there is sound.

    Args:
        network: in eval mode.
        symbols: V.
        listener: reads what has sound; None: the same.
        passes: so many with dropout beside, for `Found.under_dropout`; 0: none.
    Attributes:
        at_once: how many pieces go through the network together.
    """

    def __init__(
        self, network: LipNetwork, symbols: int, listener: LipNetwork | None = None, *, passes: int = 0
    ) -> None:
        self._network, self._symbols, self._listener = network, symbols, listener or network
        self._dropping: dict[LipNetwork, DropoutPasses] = {}
        if passes:
            from lipread.model.dropout import DropoutPasses

            self._dropping = {each: DropoutPasses(each, passes) for each in {self._network, self._listener}}
        self._device = network.device
        self.at_once = AT_ONCE.get(self._device.type, AT_ONCE_ELSEWHERE)

    def seen(self, pieces: list[Piece]) -> list[Found]:
        """What the lips say in the frames of each piece that count, with blanks where nothing can be said."""
        found = [self._nothing(piece) for piece in pieces]
        read = [number for number, piece in enumerate(pieces) if piece.moving.any()]
        if read:
            for number, values in zip(read, self._of_tracks([pieces[number].track for number in read]), strict=True):
                found[number] = values.within(pieces[number])
        return found

    def heard(self, piece: Piece, ears: Ears) -> tuple[Found, Choice]:
        """As `seen`, of one piece and its sound, and what was made use of."""
        import torch

        frames = len(piece.track.present)
        if not piece.moving.any():
            return self._nothing(piece), Choice("video", "")
        with torch.inference_mode():
            crops, points, lengths = self._tensors([piece.track])
            lips = {} if ears.modality == "audio" else self._listener.front_ends(crops, points, lengths)
            streams, choice = ears.streams(lips, piece.first - piece.start, frames)
            if "sound" not in streams and self._listener is not self._network:
                found = self._of_tracks([piece.track])[0]
            else:
                found = self._of_streams(self._listener, streams, lengths, frames)[0]
        return found.within(piece), choice

    def _nothing(self, piece: Piece) -> Found:
        nothing = blanks(len(piece.moving), self._symbols)
        return Found(nothing, nothing if self._dropping else None)

    def _of_tracks(self, tracks: list[MouthTrack]) -> list[Found]:
        """What is read in every frame of some short tracks."""
        import torch

        crops, points, lengths = self._tensors(tracks)
        with torch.inference_mode():
            if self._dropping:
                streams = self._network.front_ends(crops, points, lengths)
                return self._of_streams(self._network, streams, lengths, crops.shape[1])
            out, _ = self._network(crops, points, lengths)
        return [Found(values) for values in _unpadded(out, lengths)]

    def _of_streams(self, network: LipNetwork, streams: Streams, lengths: Tensor, frames: int) -> list[Found]:
        """The same of what the front-ends gave."""
        states = network.encode_streams(streams, lengths, frames)
        found = _unpadded(network.ctc(states[-1][:, 1:]), lengths)
        if not self._dropping:
            return [Found(values) for values in found]
        dropped = _unpadded(self._dropping[network].log_probs(streams, lengths, frames), lengths)
        return [Found(*both) for both in zip(found, dropped, strict=True)]

    def _tensors(self, tracks: list[MouthTrack]) -> tuple[Tensor, Tensor, Tensor]:
        """Crops (B, T, 88, 88), points (B, T, 9, 2) and lengths (B,) of some short tracks."""
        import torch

        from lipread.mouth import centre_crop

        side_px, counts = self._network.config.frontend.crop_side_px, [len(track.present) for track in tracks]
        crops = np.zeros((len(tracks), max(counts), side_px, side_px), np.uint8)  # (B, T, 88, 88)
        points = np.full((len(tracks), max(counts), len(LIP_POINTS), 2), np.nan, np.float32)  # (B, T, 9, 2)
        for row, track in enumerate(tracks):
            crops[row, : counts[row]], points[row, : counts[row]] = centre_crop(track.crops, side_px), track.points
        tensors = torch.from_numpy(crops), torch.from_numpy(points), torch.tensor(counts)
        return tensors[0].to(self._device), tensors[1].to(self._device), tensors[2].to(self._device)


def _unpadded(log_probs: Tensor, lengths: Tensor) -> list[Array]:
    """(B, T, V) -> float32, each of its own length."""
    return [values[:count] for values, count in zip(log_probs.float().cpu().numpy(), lengths.tolist(), strict=True)]


def _within(log_probs: Array, piece: Piece) -> Array:
    found = blanks(len(piece.moving), log_probs.shape[1])
    found[piece.moving] = log_probs[piece.start : piece.end][piece.moving]
    return found


def blanks(frames: int, symbols: int) -> Array:
    """Log-probabilities (frames, symbols) that say blank with certainty."""
    certain = np.full((frames, symbols), LOWEST_LOG_PROB, np.float32)
    certain[:, 0] = 0.0
    return certain
