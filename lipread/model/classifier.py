"""The pooled [CLS] -> scores of classes: the words of a list, or whole sentences.

Shapes: B clips, D features, M classes.
Source: Devlin et al. 2018, arXiv:1810.04805 (classification); Chung & Zisserman 2016 (words of LRW as classes).
"""

from __future__ import annotations

from torch import Tensor, nn


class ClassHead(nn.Module):
    """Dropout and a linear layer; (B, D) -> scores before softmax (B, M) in float32."""

    def __init__(self, width: int, classes: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(width, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        scores: Tensor = self.linear(self.dropout(pooled)).float()
        return scores
