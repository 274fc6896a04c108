"""Lengths -> masks."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from lipread.model.masks import valid_frames


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
