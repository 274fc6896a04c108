"""Mouth crops and lip points -> log-probabilities of symbols at 25 Hz.

Shapes: B clips, T frames, H x W pixels, P points, V symbols (blank = 0), D features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lipread.config import NetworkConfig
from lipread.model.ctc import CtcHead
from lipread.model.encoder import BertEncoder
from lipread.model.frontend import PixelFrontend
from lipread.model.fusion import Fusion
from lipread.model.geometry_frontend import GeometryFrontend
from lipread.model.masks import valid_frames
from lipread.model.norm import several_processes
from lipread.model.temporal import LessClipMean

SEGMENT_VIDEO, SEGMENT_AUDIO, SEGMENT_BOTH = 0, 1, 2


class LipNetwork(nn.Module):
    """Front-ends, fusion, BERT encoder, CTC head. Reads pixels, lip geometry, or both."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.encoder.hidden_size
        self.frontend = PixelFrontend(config.frontend)
        self.centre = LessClipMean()
        self.geometry = GeometryFrontend(config.geometry)
        self.fusion = Fusion(
            {"pixels": self.frontend.features, "points": self.geometry.features},
            width, layers=config.fusion_layers, dropout=config.encoder.hidden_dropout_prob,
        )
        self.cls = nn.Parameter(torch.zeros(width))
        self.encoder = BertEncoder(config.encoder)
        self.ctc = CtcHead(width, config.alphabet_size, dropout=config.encoder.hidden_dropout_prob)

    @property
    def max_frames(self) -> int:
        """Longest clip, frames: positions less [CLS]."""
        return self.config.encoder.max_position_embeddings - 1

    def forward(
        self, crops: Tensor | None, points: Tensor | None, lengths: Tensor,
        *, use_pixels: Tensor | None = None, use_points: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read clips.

        Args:
            crops: grey 0..255, uint8 or float, (B, T, H, W), centre-cropped; None for geometry alone.
            points: lip points in eye distances, NaN where no face, (B, T, P, 2); None for pixels alone.
            lengths: frames of each clip, (B,).
            use_pixels, use_points: bool (B,); False where that stream of a clip is absent.
        Returns: log-probabilities (B, T, V), lengths (B,).
        Raises: ValueError: both streams None, of different lengths or of wrong sizes, or longer than `max_frames`.
        """
        states = self.encode(crops, points, lengths, use_pixels=use_pixels, use_points=use_points)
        return self.ctc(states[-1][:, 1:]), lengths

    def encode(
        self, crops: Tensor | None, points: Tensor | None, lengths: Tensor,
        *, use_pixels: Tensor | None = None, use_points: Tensor | None = None,
    ) -> list[Tensor]:
        """Hidden states (B, 1 + T, D), [CLS] first: the embeddings, then after each layer. Arguments as `forward`."""
        frames = self._frames(crops, points)
        valid = valid_frames(lengths, frames)
        crops = crops if "pixels" in self.config.streams else None  # a stream that was not trained is not looked at
        points = points if "points" in self.config.streams else None
        with_pixels, with_points = _owners(crops, use_pixels, lengths), _owners(points, use_points, lengths)
        in_step = self.training and several_processes()  # BatchNorm adds up over processes: all run all front-ends
        streams: dict[str, tuple[Tensor, Tensor]] = {}
        if in_step or bool(with_pixels.any()):
            side = self.config.frontend.crop_side_px
            seen = valid.new_zeros(0, frames, side, side) if crops is None else crops[with_pixels]
            features = self.pixel_features(seen, valid[with_pixels])
            streams["pixels"] = (features, valid & with_pixels[:, None])
        if in_step or bool(with_points.any()):
            count = self.config.geometry.points
            seen = self.cls.new_zeros(0, frames, count, 2) if points is None else points[with_points]
            features = self.geometry(seen, valid[with_points])[valid[with_points]]
            streams["points"] = (features, valid & with_points[:, None])
        x = self.fusion(streams, valid)  # (B, T, D)
        x = torch.cat([self.cls.to(x.dtype).expand(len(x), 1, -1), x], dim=1)  # (B, 1 + T, D)
        positions = self._positions(len(x), frames, x.device)
        with_cls = torch.cat([torch.ones_like(valid[:, :1]), valid], dim=1)
        states: list[Tensor] = self.encoder(x, with_cls, torch.full_like(positions, SEGMENT_VIDEO), positions)
        return states

    def pixel_features(self, crops: Tensor, valid: Tensor) -> Tensor:
        """Crops (B, T, H, W), bool (B, T) -> features of the real frames in order, (N, D)."""
        features: Tensor = self.centre(self.frontend(crops, valid), valid)
        return features

    def _frames(self, crops: Tensor | None, points: Tensor | None) -> int:
        """Frames T of the streams, checked against one another and the configuration."""
        side, count = self.config.frontend.crop_side_px, self.config.geometry.points
        if crops is None and points is None:
            raise ValueError("crops and points are both None; give at least one stream")
        if crops is not None and (crops.dim() != 4 or crops.shape[2:] != (side, side)):
            raise ValueError(f"crops are {tuple(crops.shape)}; wanted (B, T, {side}, {side}): cut out the centre")
        if points is not None and (points.dim() != 4 or points.shape[2:] != (count, 2)):
            raise ValueError(f"points are {tuple(points.shape)}; wanted (B, T, {count}, 2)")
        if crops is not None and points is not None and crops.shape[:2] != points.shape[:2]:
            raise ValueError(
                f"crops are {tuple(crops.shape)}, points {tuple(points.shape)}; clips and frames must be the same"
            )
        frames = (crops if crops is not None else points).shape[1]  # type: ignore[union-attr]
        if frames > self.max_frames:
            raise ValueError(f"a clip of {frames} frames is longer than the {self.max_frames} positions; use windows")
        return frames

    def _positions(self, clips: int, frames: int, device: torch.device) -> Tensor:
        """[CLS] at 0, frames at 1, 2, ...; in training from a random start, so that place in time teaches little."""
        jitter = min(self.config.position_jitter, self.max_frames - frames)
        start = torch.ones(clips, 1, dtype=torch.long, device=device)
        if self.training and jitter > 0:
            start = start + torch.randint(0, jitter + 1, (clips, 1), device=device)
        return torch.cat([torch.zeros_like(start), start + torch.arange(frames, device=device)], dim=1)


def _owners(stream: Tensor | None, use: Tensor | None, lengths: Tensor) -> Tensor:
    """Which clips have a stream: bool (B,)."""
    if stream is None or use is None:
        return torch.full_like(lengths, stream is not None, dtype=torch.bool)
    return use
