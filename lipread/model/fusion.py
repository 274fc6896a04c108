"""Streams -> one sequence for the encoder.

Shapes: B clips, T frames, N real frames, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lipread.model.masks import Frames
from lipread.model.temporal import TemporalConv

Streams = dict[str, tuple[Tensor, Frames]]  # name -> features (n, width) of its frames, and where they belong


class Fusion(nn.Module):
    """Adds up what each stream says; a learned vector stands in for a stream that is absent.

    Args:
        stream_widths: name -> feature width of each stream.
        width: D.
        layers: temporal convolutions over the sum.
    """

    def __init__(self, stream_widths: dict[str, int], width: int, *, layers: int, dropout: float) -> None:
        super().__init__()
        self.project = nn.ModuleDict({name: nn.Linear(size, width) for name, size in stream_widths.items()})
        self.absent = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name in stream_widths})
        self.norm = nn.LayerNorm(width)
        self.layers = nn.ModuleList(TemporalConv(width, dropout=dropout) for _ in range(layers))

    def forward(self, streams: Streams, real: Frames) -> Tensor:
        """What each stream says, and which frames are real -> (B, T, D)."""
        x: Tensor = self.norm(self.sum(streams, real))
        for layer in self.layers:
            x = layer(x, real)
        return x

    def sum(self, streams: Streams, real: Frames) -> Tensor:
        """Arguments and result of `forward`, before the convolutions."""
        total = torch.zeros((), device=real.valid.device)
        for name, absent in self.absent.items():
            here = absent.expand(*real.valid.shape, -1)  # (B, T, D)
            if name in streams:
                features, where = streams[name]
                projected = self.project[name](features)
                here = torch.where(where.valid[..., None], where.spread(projected), here.to(projected.dtype))
            total = total + here
        return total
