"""Encoder states -> log-probabilities of symbols; the CTC loss.

Shapes: B clips, T frames, V symbols (blank = 0), D features.
Source: Graves et al. 2006 (ICML), connectionist temporal classification.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

BLANK = 0


class CtcHead(nn.Module):
    """Dropout and a linear layer; (B, T, D) -> log-probabilities (B, T, V) in float32."""

    def __init__(self, width: int, symbols: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, symbols)

    def forward(self, x: Tensor) -> Tensor:
        return F.log_softmax(self.linear(self.dropout(x)).float(), dim=-1)


def ctc_loss(log_probs: Tensor, lengths: Tensor, targets: Tensor, target_lengths: Tensor) -> Tensor:
    """Negative log-likelihood of each clip's text, divided by its length.

    Args:
        log_probs: (B, T, V).
        lengths: frames, (B,).
        targets: symbols of all clips one after the other, (sum of target_lengths,).
        target_lengths: (B,).
    Returns: (B,); a text too long for its frames gives 0, so that one odd clip cannot end a training.
    """
    losses = F.ctc_loss(
        log_probs.transpose(0, 1), targets, lengths, target_lengths, blank=BLANK, reduction="none", zero_infinity=True
    )
    return losses / target_lengths.clamp_min(1).to(losses.dtype)
