"""Convolutions over time, against a sum written out."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lipread.model.masks import valid_frames
from lipread.model.temporal import LessClipMean, TemporalConv, spread
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
    out = layer(x, valid_frames(lengths, 7))
    for row, length in enumerate(lengths.tolist()):
        assert torch.allclose(out[row, :length], by_hand(layer, x[row, :length]), atol=1e-5)


def test_padding_stays_as_it_was() -> None:
    layer = stirred(TemporalConv(6))
    x = torch.randn(1, 5, 6)
    out = layer(x, valid_frames(torch.tensor([3]), 5))
    assert torch.equal(out[:, 3:], x[:, 3:])


def test_padding_takes_no_part_in_training_statistics() -> None:
    torch.manual_seed(0)
    alone, with_padding = TemporalConv(6, dropout=0.0).train(), TemporalConv(6, dropout=0.0).train()
    with_padding.load_state_dict(alone.state_dict())
    x = torch.randn(2, 4, 6)
    long = torch.cat([x, torch.full((2, 3, 6), 99.0)], dim=1)
    out = alone(x, valid_frames(torch.tensor([4, 4]), 4))
    assert torch.allclose(with_padding(long, valid_frames(torch.tensor([4, 4]), 7))[:, :4], out, atol=1e-5)
    assert torch.allclose(with_padding.norm.running_mean, alone.norm.running_mean, atol=1e-6)
    assert torch.allclose(with_padding.norm.running_var, alone.norm.running_var, atol=1e-6)


def test_a_frame_reaches_two_frames_each_way() -> None:
    layer = stirred(TemporalConv(6, kernel=5))
    valid = torch.ones(1, 11, dtype=torch.bool)
    x = torch.randn(1, 11, 6)
    changed = x.clone()
    changed[0, 5] += 1
    moved = (layer(changed, valid) - layer(x, valid)).abs().amax(dim=(0, 2)) > 1e-6
    assert moved.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


def test_spread_is_the_inverse_of_picking() -> None:
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(3, 8, generator=generator) < 0.5
    frames = torch.randn(int(valid.sum()), 4, 2, generator=generator)
    out = spread(frames, valid)
    assert out.shape == (3, 8, 4, 2)
    assert torch.equal(out[valid], frames)
    assert out[~valid].abs().max() == 0


def test_spread_of_nothing() -> None:
    assert torch.equal(spread(torch.zeros(0, 4), torch.zeros(2, 3, dtype=torch.bool)), torch.zeros(2, 3, 4))


def test_spread_hands_gradients_back_to_each_frame() -> None:
    valid = torch.tensor([[True, False, True]])
    frames = torch.zeros(2, 1, requires_grad=True)
    (spread(frames, valid) * torch.tensor([[[3.0], [5.0], [7.0]]])).sum().backward()
    assert frames.grad is not None
    assert frames.grad.flatten().tolist() == [3.0, 7.0]


def test_the_mean_of_each_clip_is_taken_out() -> None:
    valid = torch.tensor([[True, True, True], [True, False, False]])
    features = torch.tensor([[1.0, 4.0], [2.0, 4.0], [6.0, 4.0], [5.0, 7.0]])
    out = LessClipMean()(features, valid)
    assert torch.equal(out, torch.tensor([[-2.0, 0.0], [-1.0, 0.0], [3.0, 0.0], [0.0, 0.0]]))
    assert LessClipMean()(torch.zeros(0, 2), torch.zeros(0, 3, dtype=torch.bool)).shape == (0, 2)
