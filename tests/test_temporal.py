"""Convolutions over time, against a sum written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lipread.model.masks import Frames, valid_frames
from lipread.model.temporal import LessClipMean, TemporalConv
from networks import stirred


def by_hand(layer: TemporalConv, x: Tensor) -> Tensor:
    """One unpadded clip (T, D) through the layer in eval mode."""
    weight = layer.conv.weight  # (D', D, K)
    middle = weight.shape[2] // 2
    norm = layer.norm
    rows = []
    for t in range(len(x)):
        total = torch.zeros(x.shape[1])
        for k in range(weight.shape[2]):
            if 0 <= t + k - middle < len(x):
                total = total + weight[:, :, k] @ x[t + k - middle]
        y = (total - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
        rows.append(x[t] + y * 0.5 * (1 + torch.erf(y / math.sqrt(2))))
    return torch.stack(rows)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_formula_with_padding_full_of_nonsense(kernel: int) -> None:
    torch.manual_seed(0)
    layer = stirred(TemporalConv(6, kernel=kernel))
    assert isinstance(layer, TemporalConv)
    lengths = torch.tensor([7, 4, 1])
    x = torch.randn(3, 7, 6)
    x[1, 4:], x[2, 1:] = 1e3, -1e3
    out = layer(x, Frames.of(valid_frames(lengths, 7)))
    for row, length in enumerate(lengths.tolist()):
        assert torch.allclose(out[row, :length], by_hand(layer, x[row, :length]), atol=1e-5)


def test_padding_stays_as_it_was() -> None:
    layer = stirred(TemporalConv(6))
    x = torch.randn(1, 5, 6)
    out = layer(x, Frames.of(valid_frames(torch.tensor([3]), 5)))
    assert torch.equal(out[:, 3:], x[:, 3:])


def test_padding_takes_no_part_in_training_statistics() -> None:
    torch.manual_seed(0)
    alone, with_padding = TemporalConv(6, dropout=0.0).train(), TemporalConv(6, dropout=0.0).train()
    with_padding.load_state_dict(alone.state_dict())
    x = torch.randn(2, 4, 6)
    long = torch.cat([x, torch.full((2, 3, 6), 99.0)], dim=1)
    out = alone(x, Frames.of(valid_frames(torch.tensor([4, 4]), 4)))
    assert torch.allclose(with_padding(long, Frames.of(valid_frames(torch.tensor([4, 4]), 7)))[:, :4], out, atol=1e-5)
    assert torch.allclose(with_padding.norm.running_mean, alone.norm.running_mean, atol=1e-6)
    assert torch.allclose(with_padding.norm.running_var, alone.norm.running_var, atol=1e-6)


def test_a_frame_reaches_two_frames_each_way() -> None:
    layer = stirred(TemporalConv(6, kernel=5))
    real = Frames.of(torch.ones(1, 11, dtype=torch.bool))
    x = torch.randn(1, 11, 6)
    changed = x.clone()
    changed[0, 5] += 1
    moved = (layer(changed, real) - layer(x, real)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


def test_the_mean_of_each_clip_is_taken_out() -> None:
    real = Frames.of(torch.tensor([[True, True, True], [True, False, False]]))
    features = torch.tensor([[1.0, 4.0], [2.0, 4.0], [6.0, 4.0], [5.0, 7.0]])
    out = LessClipMean()(features, real)
    assert torch.equal(out, torch.tensor([[-2.0, 0.0], [-1.0, 0.0], [3.0, 0.0], [0.0, 0.0]]))
    assert LessClipMean()(torch.zeros(0, 2), Frames.of(torch.zeros(0, 3, dtype=torch.bool))).shape == (0, 2)
