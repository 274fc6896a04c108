"""A network -> the same one for reading, with every BatchNorm folded into the layer before it.

Shapes: C channels.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn

from lipread.model.norm import BatchNorm

Network = TypeVar("Network", bound=nn.Module)


def fold_batchnorm(network: Network) -> Network:
    """Copy a network for reading.

    In this package a BatchNorm is always made right after the convolution or projection whose output it takes. With its
    running statistics it is a factor and an offset for each channel, which that layer's weights and bias take over.

    Returns: a copy in eval mode that gives the same numbers, but for rounding; it cannot be trained further.
    """
    folded = copy.deepcopy(network).eval()
    for module in list(folded.modules()):
        for (_, layer), (name, norm) in pairwise(module.named_children()):
            if isinstance(norm, BatchNorm):
                assert isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear)
                _fold(layer, norm)
                setattr(module, name, nn.Identity())
    return folded


@torch.no_grad()
def _fold(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear, norm: BatchNorm) -> None:
    factor = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)  # (C,)
    bias = 0.0 if layer.bias is None else layer.bias.double()
    offset = norm.bias.double() + (bias - norm.running_mean.double()) * factor
    scaled = layer.weight.double() * factor.view(-1, *[1] * (layer.weight.dim() - 1))
    layer.weight = nn.Parameter(scaled.to(layer.weight.dtype), requires_grad=False)
    layer.bias = nn.Parameter(offset.to(layer.weight.dtype), requires_grad=False)
