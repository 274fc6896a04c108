"""Step -> learning rate, and the moving average of the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def learning_rate(step: int, *, steps: int, warmup_steps: int, peak: float, final: float) -> float:
    """Linear warm-up to `peak`, then a cosine down to `final` at `steps`."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return final + (peak - final) * 0.5 * (1 + math.cos(math.pi * progress))


class WeightAverage:
    """Exponential moving average of a network's weights and buffers.

    The decay starts small and grows to `decay`, so that early averages are not held back by the initial weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take in the network's present weights."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 10))
        now = network.state_dict()
        moving = [key for key, value in now.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.state[key] for key in moving], [now[key] for key in moving], 1 - decay)
        for key in now.keys() - set(moving):
            self.state[key].copy_(now[key])

    def state_dict(self) -> dict[str, Tensor | int]:
        """For checkpoints."""
        return {"updates": self.updates, **self.state}

    def load_state_dict(self, state: dict[str, Tensor | int]) -> None:
        """Go on from `state_dict`."""
        self.updates = int(state["updates"])
        for key in self.state:
            self.state[key].copy_(torch.as_tensor(state[key]))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """AdamW groups: no weight decay on biases, normalisation and other vectors."""
    decayed = [p for p in network.parameters() if p.requires_grad and p.dim() > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.dim() <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": plain, "weight_decay": 0.0}]
