"""Lengths -> masks, and the places of real frames."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lipread.model.masks import Frames, valid_frames


def test_by_hand() -> None:
    got = valid_frames(torch.tensor([2, 0, 3]), 3)
    assert got.dtype is torch.bool
    assert got.tolist() == [[True, True, False], [False, False, False], [True, True, True]]


@given(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.integers(1, 12))
def test_counts_and_order(lengths: list[int], frames: int) -> None:
    got = valid_frames(torch.tensor(lengths), frames)
    assert got.shape == (len(lengths), frames)
    assert got.sum(1).tolist() == [min(length, frames) for length in lengths]
    assert bool((got[:, :-1] >= got[:, 1:]).all())  # real frames come first


def test_stays_on_the_device_of_the_lengths() -> None:
    assert valid_frames(torch.ones(2, dtype=torch.long, device="meta"), 4).device.type == "meta"


def some() -> Tensor:
    return torch.rand(3, 8, generator=torch.Generator().manual_seed(0)) < 0.5


def test_real_frames_are_those_a_mask_picks_in_their_order() -> None:
    valid, padded = some(), torch.arange(24 * 2).view(3, 8, 2)
    real = Frames.of(valid)
    assert torch.equal(real.take(padded), padded[valid])
    assert [real.clip.tolist(), real.time.tolist()] == [each.tolist() for each in valid.nonzero(as_tuple=True)]


def test_spread_is_the_inverse_of_taking() -> None:
    valid = some()
    frames = torch.randn(int(valid.sum()), 4, 2)
    out = Frames.of(valid).spread(frames)
    assert out.shape == (3, 8, 4, 2)
    assert torch.equal(out[valid], frames)
    assert out[~valid].abs().max() == 0


def test_frames_of_several_steps() -> None:
    valid = some()
    finer, wanted = Frames.of(valid).finer(4), Frames.of(valid.repeat_interleave(4, dim=1))
    assert torch.equal(finer.valid, wanted.valid) and torch.equal(finer.place, wanted.place)


@pytest.mark.parametrize(("clips", "frames"), [(2, 3), (0, 3), (2, 0)])
def test_nothing_is_real(clips: int, frames: int) -> None:
    real = Frames.of(torch.zeros(clips, frames, dtype=torch.bool))
    assert torch.equal(real.spread(torch.zeros(0, 4)), torch.zeros(clips, frames, 4))
    assert real.take(torch.zeros(clips, frames, 4)).shape == (0, 4)
    assert len(real.clip) == len(real.time) == 0


def test_gradients_go_back_to_each_frame() -> None:
    real = Frames.of(torch.tensor([[True, False, True]]))
    frames, padded = torch.zeros(2, 1, requires_grad=True), torch.zeros(1, 3, requires_grad=True)
    (real.spread(frames) * torch.tensor([[[3.0], [5.0], [7.0]]])).sum().backward()
    (real.take(padded) * torch.tensor([3.0, 7.0])).sum().backward()
    assert frames.grad is not None and padded.grad is not None
    assert frames.grad.flatten().tolist() == [3.0, 7.0]
    assert padded.grad.flatten().tolist() == [3.0, 0.0, 7.0]
