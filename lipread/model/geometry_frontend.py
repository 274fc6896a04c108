"""Lip points -> feature vectors.

Shapes: B clips, T frames, P points, D features.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.config import GeometryConfig
from lipread.model.masks import Frames
from lipread.model.norm import BatchNorm
from lipread.model.temporal import TemporalConv

DISPLACEMENT_SCALE = 0.1  # eye distances; a typical displacement becomes about 1
VELOCITY_SCALE = 0.05


class GeometryFrontend(nn.Module):
    """Displacements from the person's mean and velocities through temporal convolutions."""

    def __init__(self, config: GeometryConfig) -> None:
        super().__init__()
        self.project = nn.Linear(4 * config.points + 1, config.width)
        self.norm = BatchNorm(config.width)
        self.layers = nn.ModuleList(
            TemporalConv(config.width, dropout=config.dropout) for _ in range(config.layers)
        )
        self.features = config.width

    def forward(self, points: Tensor, real: Frames) -> Tensor:
        """Points in eye distances, NaN where no face, (B, T, P, 2) -> (B, T, D), zero on padding."""
        features = real.take(geometry_features(points.float(), real.valid))
        x: Tensor = real.spread(F.gelu(self.norm(self.project(features.to(self.project.weight.dtype)))))
        for layer in self.layers:
            x = layer(x, real)
        return x


def geometry_features(points: Tensor, valid: Tensor) -> Tensor:
    """(B, T, P, 2) -> (B, T, 4 P + 1): displacements, velocities, and whether a face was there."""
    seen = torch.isfinite(points).all(dim=(2, 3)) & valid  # (B, T)
    x = torch.where(seen[..., None, None], points, torch.zeros_like(points))
    count = seen.sum(1).clamp_min(1)[:, None, None, None]
    x = (x - x.sum(1, keepdim=True) / count) * seen[..., None, None]
    both = (seen[:, 1:] & seen[:, :-1])[..., None, None]
    velocity = F.pad((x[:, 1:] - x[:, :-1]) * both, (0, 0, 0, 0, 1, 0))
    return torch.cat(
        [(x / DISPLACEMENT_SCALE).flatten(2), (velocity / VELOCITY_SCALE).flatten(2), seen[..., None].to(x.dtype)],
        dim=-1,
    ).clamp(-8, 8)
