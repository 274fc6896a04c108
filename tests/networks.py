"""Small random networks and clips for tests: nothing is left at a value (zero, one) that could hide a mistake."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lipread.config import PRESETS, NetworkConfig
from lipread.model.network import LipNetwork
from lipread.model.norm import BatchNorm

TINY = PRESETS["tiny"]


class Clip(NamedTuple):
    """crops uint8 (T, 88, 88), points (T, 9, 2) with NaN rows where there is no face."""

    crops: Tensor
    points: Tensor


def stirred(module: nn.Module, seed: int = 0) -> nn.Module:
    """The module in eval mode with random biases, running statistics and embeddings, and weights that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(parameter * (5 if "encoder" in name and parameter.dim() > 1 else 1) + 0.1 * noise)
        for part in module.modules():
            if isinstance(part, BatchNorm):
                part.running_mean.copy_(torch.randn(part.running_mean.shape, generator=generator) / 3)
                part.running_var.copy_(torch.rand(part.running_var.shape, generator=generator) + 0.5)
    return module.eval()


def tiny_network(config: NetworkConfig = TINY, seed: int = 0) -> LipNetwork:
    """A stirred tiny network, always the same one for a seed."""
    torch.manual_seed(seed)
    network = stirred(LipNetwork(config), seed)
    assert isinstance(network, LipNetwork)
    return network


def still(config: NetworkConfig = TINY) -> NetworkConfig:
    """The configuration without dropout and position jitter: training mode becomes deterministic."""
    return NetworkConfig(
        frontend=config.frontend.model_copy(update={"dropout": 0.0}),
        geometry=config.geometry.model_copy(update={"dropout": 0.0}),
        encoder=config.encoder.model_copy(update={"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}),
        alphabet_size=config.alphabet_size,
        fusion_layers=config.fusion_layers,
        position_jitter=0,
    )


def clips_of(*lengths: int, seed: int = 0) -> list[Clip]:
    """Random clips; every third frame from the second on has no face."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for length in lengths:
        points = 0.2 * torch.randn(length, 9, 2, generator=generator)
        points[1::3] = torch.nan
        crops = torch.randint(0, 256, (length, 88, 88), generator=generator, dtype=torch.uint8)
        crops[1::3] = 0
        made.append(Clip(crops, points))
    return made


def padded(clips: list[Clip], frames: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """One batch (crops, points, lengths) with nonsense in the padding, which must not matter."""
    lengths = [len(clip.crops) for clip in clips]
    frames = frames or max(lengths)
    crops = torch.full((len(clips), frames, 88, 88), 250, dtype=torch.uint8)
    points = torch.full((len(clips), frames, 9, 2), 77.0)
    points[:, 1::2] = torch.nan
    for row, clip in enumerate(clips):
        crops[row, : lengths[row]] = clip.crops
        points[row, : lengths[row]] = clip.points
    return crops, points, torch.tensor(lengths)
