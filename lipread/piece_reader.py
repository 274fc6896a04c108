"""Mouths of a piece, and its sound -> log-probabilities of symbols: all that the network is asked.

Shapes: B pieces, T frames at 25 Hz, V symbols.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lipread.hearing import Choice, Ears
from lipread.pieces import Piece
from lipread.values import LIP_POINTS, Array, MouthTrack

if TYPE_CHECKING:
    from torch import Tensor

    from lipread.model.network import LipNetwork

AT_ONCE = {"cpu": 1}  # pieces that go through the network together, by device; elsewhere:
AT_ONCE_ELSEWHERE = 8
IMPOSSIBLE = -1e4  # log-probability that stands for log 0


class PieceReader:
    """Reads pieces with one network, or with one for the lips alone and another where there is sound.

    Args:
        network: in eval mode.
        symbols: V.
        listener: reads what has sound; None: the same.
    Attributes:
        at_once: how many pieces go through the network together.
    """

    def __init__(self, network: LipNetwork, symbols: int, listener: LipNetwork | None = None) -> None:
        self._network, self._symbols, self._listener = network, symbols, listener or network
        self._device = network.device
        self.at_once = AT_ONCE.get(self._device.type, AT_ONCE_ELSEWHERE)

    def log_probs(self, pieces: list[Piece]) -> list[Array]:
        """Log-probabilities (T, V) of the frames of each piece that count, with blanks where nothing can be said."""
        found = [blanks(len(piece.moving), self._symbols) for piece in pieces]
        read = [number for number, piece in enumerate(pieces) if piece.moving.any()]
        if read:
            for number, values in zip(read, self._of_tracks([pieces[number].track for number in read]), strict=True):
                piece = pieces[number]
                found[number][piece.moving] = values[piece.start : piece.end][piece.moving]
        return found

    def heard(self, piece: Piece, ears: Ears) -> tuple[Array, Choice]:
        """As `log_probs`, of one piece and its sound, and what was made use of."""
        import torch

        found, frames = blanks(len(piece.moving), self._symbols), len(piece.track.present)
        if not piece.moving.any():
            return found, Choice("video", "")
        with torch.inference_mode():
            crops, points, lengths = self._tensors([piece.track])
            lips = {} if ears.modality == "audio" else self._listener.front_ends(crops, points, lengths)
            streams, choice = ears.streams(lips, piece.first - piece.start, frames)
            if "sound" not in streams and self._listener is not self._network:
                values = self._of_tracks([piece.track])[0]
            else:
                states = self._listener.encode_streams(streams, lengths, frames)
                values = self._listener.ctc(states[-1][:, 1:])[0].float().cpu().numpy()
        found[piece.moving] = values[piece.start : piece.end][piece.moving]
        return found, choice

    def _of_tracks(self, tracks: list[MouthTrack]) -> list[Array]:
        """Log-probabilities of every frame of some short tracks, float32, each (T, V)."""
        import torch

        crops, points, lengths = self._tensors(tracks)
        with torch.inference_mode():
            out, _ = self._network(crops, points, lengths)
        return [values[:count] for values, count in zip(out.float().cpu().numpy(), lengths.tolist(), strict=True)]

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


def blanks(frames: int, symbols: int) -> Array:
    """Log-probabilities (frames, symbols) that say blank with certainty."""
    certain = np.full((frames, symbols), IMPOSSIBLE, np.float32)
    certain[:, 0] = 0.0
    return certain
