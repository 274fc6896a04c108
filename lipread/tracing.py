"""One run of the network with hooks: its attention, and the gradient of a goal at its pixels.

Shapes: B clips, T frames, V symbols, H x W pixels, P points, D features.
Source: Simonyan et al. 2013, arXiv:1312.6034, for saliency as the gradient at the pixels; Vaswani et al. 2017,
arXiv:1706.03762, for attention.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lipread.model.encoder import BertLayer
from lipread.model.network import LipNetwork
from lipread.values import Array

_one_run = threading.Lock()  # hooks and modes belong to the network: one traced run at a time


@dataclass(frozen=True)
class Traces:
    """One run of the network.

    Attributes:
        log_probs: float32 (T, V).
        attention: of each head of the layer, [CLS] first, float32 (heads, 1 + T, 1 + T).
        gradient: of the goal at the pixels of the front-end's input, per grey level, float32 (T, H, W); None where the
            network read no pixels or the goal is None.
    """

    log_probs: Array
    attention: Array
    gradient: Array | None


def trace(
    network: LipNetwork, crops: Tensor, points: Tensor, layer: int, goal: Callable[[Tensor], Tensor | None]
) -> Traces:
    """Run the network forward with hooks, and backward from a goal to the pixels; it is left as it was found.

    Args:
        network: in any mode; it is run in eval mode.
        crops: grey uint8, centre-cropped, (T, H, W).
        points: (T, P, 2), NaN where no face.
        layer: number of the attention layer, from 0.
        goal: log-probabilities (T, V) -> a number, or None where there is nothing to explain.
    """
    lengths = torch.tensor([len(crops)], device=crops.device)
    caught: dict[str, Tensor] = {}
    with _one_run, torch.inference_mode(False), torch.enable_grad(), _resting(network):
        with _hooked(network, layer, caught):
            log_probs, _ = network(crops[None], points[None], lengths)
        wanted = goal(log_probs[0])
        gradient = None
        if wanted is not None and "pixels" in caught:
            (found,) = torch.autograd.grad(wanted, [caught["pixels"]])  # leaves every .grad alone
            gradient = found[0].float().cpu().numpy()
        heads = network.config.encoder.num_attention_heads
        attention = attention_weights(caught["query"].detach(), caught["key"].detach(), heads)[0]
    return Traces(log_probs[0].detach().float().cpu().numpy(), attention.float().cpu().numpy(), gradient)


def attention_weights(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """Projected queries and keys (B, T, D), no padding -> softmax(Q K' / sqrt(d)) of each head, (B, heads, T, T)."""
    q, k = (part.reshape(*part.shape[:2], heads, -1).transpose(1, 2) for part in (query, key))  # (B, heads, T, D/heads)
    return torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), dim=-1)


@contextmanager
def _resting(network: nn.Module) -> Iterator[None]:
    """Eval mode within the block; every module's mode as before after it."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def _hooked(network: LipNetwork, layer: int, caught: dict[str, Tensor]) -> Iterator[None]:
    """Catch the front-end's pixels (as a leaf with gradient) and a layer's queries and keys, of this thread's runs."""
    thread = threading.get_ident()  # another thread may be reading with the same network

    def catch_pixels(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if threading.get_ident() != thread:
            return None
        caught["pixels"] = inputs[0].detach().float().requires_grad_()
        return (caught["pixels"], *inputs[1:])

    def catcher(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def catch(_: nn.Module, __: Any, output: Tensor) -> None:
            if threading.get_ident() == thread:
                caught[name] = output

        return catch

    block = network.encoder.encoder.layer[layer]
    assert isinstance(block, BertLayer)
    attention = block.attention.self
    handles = [
        network.frontend.register_forward_pre_hook(catch_pixels),
        attention.query.register_forward_hook(catcher("query")),
        attention.key.register_forward_hook(catcher("key")),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
