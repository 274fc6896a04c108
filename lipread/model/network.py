"""Mouth crops, lip points and sound -> log-probabilities of symbols at 25 Hz.

Shapes: B clips, T frames, H x W pixels, P points, N = 640 T samples, V symbols (blank = 0), D features, K offsets,
M classes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lipread.config import NetworkConfig
from lipread.model.audio_frontend import AudioFrontend
from lipread.model.classifier import ClassHead
from lipread.model.context import Context
from lipread.model.ctc import CtcHead
from lipread.model.encoder import BertEncoder
from lipread.model.frontend import PixelFrontend
from lipread.model.fusion import Fusion, Streams
from lipread.model.geometry_frontend import GeometryFrontend
from lipread.model.masks import Frames, valid_frames
from lipread.model.norm import several_processes
from lipread.model.temporal import LessClipMean
from lipread.values import SAMPLES_PER_FRAME

SEGMENT_VIDEO, SEGMENT_AUDIO, SEGMENT_BOTH = 0, 1, 2


class LipNetwork(nn.Module):
    """Front-ends, fusion, BERT encoder, CTC head. Reads pixels, lip geometry, sound, or any of them together.

    A network whose `streams` have no sound has no audio front-end: its state dict is that of lips alone. One with
    `classes` also tells from the pooled [CLS] which of them a clip is.

    Attributes:
        context: processes that train on the same clips, and share the frames of each; None: this one has them all.
    """

    context: Context | None = None

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width = config.encoder.hidden_size
        self.frontend = PixelFrontend(config.frontend)
        self.centre = LessClipMean()
        self.geometry = GeometryFrontend(config.geometry)
        widths = {"pixels": self.frontend.features, "points": self.geometry.features}
        if self.hears:
            self.audio = AudioFrontend(config.audio)
            widths["sound"] = self.audio.features
        self.fusion = Fusion(widths, width, layers=config.fusion_layers, dropout=config.encoder.hidden_dropout_prob)
        self.cls = nn.Parameter(torch.zeros(width))
        self.encoder = BertEncoder(config.encoder)
        self.ctc = CtcHead(width, config.alphabet_size, dropout=config.encoder.hidden_dropout_prob)
        if config.classes:
            self.classifier = ClassHead(width, config.classes, dropout=config.encoder.hidden_dropout_prob)

    @property
    def hears(self) -> bool:
        """Whether sound is one of its streams."""
        return "sound" in self.config.streams

    @property
    def device(self) -> torch.device:
        """Where its inputs must be."""
        return self.cls.device

    @property
    def max_frames(self) -> int:
        """Longest clip, frames: positions less [CLS]."""
        return self.config.encoder.max_position_embeddings - 1

    def forward(
        self, crops: Tensor | None, points: Tensor | None, lengths: Tensor, sound: Tensor | None = None,
        *, use_pixels: Tensor | None = None, use_points: Tensor | None = None, use_sound: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Read clips.

        Args:
            crops: grey 0..255, uint8 or float, (B, T, H, W), centre-cropped; None without pixels.
            points: lip points in eye distances, NaN where no face, (B, T, P, 2); None without geometry.
            lengths: frames of each clip, (B,).
            sound: samples at 16 kHz in step with the frames, of any loudness, (B, 640 T); None without sound.
            use_pixels, use_points, use_sound: bool (B,); False where that stream of a clip is absent.
        Returns: log-probabilities (B, T, V), lengths (B,).
        Raises: ValueError: all streams None, of different lengths or of wrong sizes, longer than `max_frames`, or
            sound for a network that does not hear.
        """
        states = self.encode(
            crops, points, lengths, sound, use_pixels=use_pixels, use_points=use_points, use_sound=use_sound
        )
        return self.ctc(states[-1][:, 1:]), lengths

    def encode(
        self, crops: Tensor | None, points: Tensor | None, lengths: Tensor, sound: Tensor | None = None,
        *, use_pixels: Tensor | None = None, use_points: Tensor | None = None, use_sound: Tensor | None = None,
    ) -> list[Tensor]:
        """Hidden states (B, 1 + T, D), [CLS] first: the embeddings, then after each layer. Arguments as `forward`."""
        streams = self.front_ends(
            crops, points, lengths, sound, use_pixels=use_pixels, use_points=use_points, use_sound=use_sound
        )
        return self.encode_streams(streams, lengths, self._frames(crops, points, sound))

    def encode_streams(self, streams: Streams, lengths: Tensor, frames: int) -> list[Tensor]:
        """What `front_ends` gave, of clips that were padded to so many frames -> hidden states as those of `encode`."""
        valid = valid_frames(lengths, frames)
        x = self.fusion(streams, Frames.of(valid))  # (B, T, D)
        x = torch.cat([self.cls.to(x.dtype).expand(len(x), 1, -1), x], dim=1)  # (B, 1 + T, D)
        positions = self._positions(len(x), frames, x.device)
        with_cls = torch.cat([torch.ones_like(valid[:, :1]), valid], dim=1)
        segments = segments_of(streams, lengths)[:, None].expand_as(positions)
        states: list[Tensor] = self.encoder(x, with_cls, segments, positions, context=self._shared)
        return states

    def class_scores(self, states: list[Tensor]) -> Tensor:
        """Hidden states, as `encode` gives them -> scores of the classes before softmax, (B, M)."""
        scores: Tensor = self.classifier(self.encoder.pooler(states[-1]))
        return scores

    def front_ends(
        self, crops: Tensor | None, points: Tensor | None, lengths: Tensor, sound: Tensor | None = None,
        *, use_pixels: Tensor | None = None, use_points: Tensor | None = None, use_sound: Tensor | None = None,
    ) -> Streams:
        """The features of every stream that is there. Arguments as `forward`."""
        frames, looked_at = self._frames(crops, points, sound), self.config.streams
        valid = valid_frames(lengths, frames)
        crops = crops if "pixels" in looked_at else None  # a stream that was not trained is not looked at
        points = points if "points" in looked_at else None
        with_pixels, with_points = _owners(crops, use_pixels, lengths), _owners(points, use_points, lengths)
        with_sound = _owners(sound, use_sound, lengths)
        in_step = self.training and several_processes()  # BatchNorm adds up over processes: all run all front-ends
        streams: Streams = {}
        rows = with_pixels.nonzero()[:, 0]
        looked, seen, heard = (
            Frames.of(each)
            for each in (valid[rows], valid & with_points[:, None], valid & with_sound[:, None])
        )
        if in_step or len(rows):
            side = self.config.frontend.crop_side_px
            shown = valid.new_zeros(0, frames, side, side) if crops is None else crops[rows]
            where = Frames(valid & with_pixels[:, None], rows[looked.clip] * frames + looked.time)
            streams["pixels"] = (self.pixel_features(shown, looked), where)
        if in_step or len(seen.place):  # in rows without points nothing is valid, and nothing is read
            points = self.cls.new_zeros(*valid.shape, self.config.geometry.points, 2) if points is None else points
            streams["points"] = (seen.take(self.geometry(points, seen)), seen)
        if self.hears and (in_step or len(heard.place)):
            sound = self.cls.new_zeros(len(valid), frames * SAMPLES_PER_FRAME) if sound is None else sound
            streams["sound"] = (heard.take(self.audio(sound, heard)), heard)
        return streams

    def pixel_features(self, crops: Tensor, real: Frames) -> Tensor:
        """Crops (B, T, H, W) -> features of the real frames in order, (N, D)."""
        features: Tensor = self.centre(self.frontend(crops, real, self._shared), real)
        return features

    @property
    def _shared(self) -> Context | None:
        """With whom frames are shared: in training only, as one process alone chooses checkpoints."""
        return self.context if self.training else None

    def _frames(self, crops: Tensor | None, points: Tensor | None, sound: Tensor | None) -> int:
        """Frames T of the streams, checked against one another and the configuration."""
        side, count = self.config.frontend.crop_side_px, self.config.geometry.points
        if crops is None and points is None and sound is None:
            raise ValueError("crops, points and sound are all None; give at least one stream")
        if crops is not None and (crops.dim() != 4 or crops.shape[2:] != (side, side)):
            raise ValueError(f"crops are {tuple(crops.shape)}; wanted (B, T, {side}, {side}): cut out the centre")
        if points is not None and (points.dim() != 4 or points.shape[2:] != (count, 2)):
            raise ValueError(f"points are {tuple(points.shape)}; wanted (B, T, {count}, 2)")
        if sound is not None and not self.hears:
            raise ValueError("this network has no stream 'sound': it cannot hear; give None")
        if sound is not None and (sound.dim() != 2 or sound.shape[1] % SAMPLES_PER_FRAME):
            raise ValueError(f"sound is {tuple(sound.shape)}; wanted (B, {SAMPLES_PER_FRAME} T)")
        sizes = {
            name: (len(stream), stream.shape[1] // (SAMPLES_PER_FRAME if name == "sound" else 1))
            for name, stream in (("crops", crops), ("points", points), ("sound", sound))
            if stream is not None
        }
        if len(set(sizes.values())) > 1:
            said = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise ValueError(f"clips and frames must be the same: {said}")
        frames = next(iter(sizes.values()))[1]
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


def segments_of(streams: Streams, lengths: Tensor) -> Tensor:
    """Which segment embedding each clip has by the streams that are there, (B,)."""
    nowhere = torch.zeros_like(lengths, dtype=torch.bool)
    there = {name: where.valid.any(1) for name, (_, where) in streams.items()}
    sound = there.get("sound", nowhere)
    lips = there.get("pixels", nowhere) | there.get("points", nowhere)
    alone = torch.where(sound, SEGMENT_AUDIO, SEGMENT_VIDEO)
    return torch.where(sound & lips, SEGMENT_BOTH, alone)


def _owners(stream: Tensor | None, use: Tensor | None, lengths: Tensor) -> Tensor:
    """Which clips have a stream: bool (B,)."""
    if stream is None or use is None:
        return torch.full_like(lengths, stream is not None, dtype=torch.bool)
    return use
