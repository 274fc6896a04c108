"""Padding and joining of examples."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from lipread.training.batches import Batch, Example, WordSpan, collate


def example(frames: int, *, crops: bool, targets: tuple[int, ...], name: str = "x", use_points: bool = True) -> Example:
    rng = np.random.default_rng(frames)
    return Example(
        name, "ah", rng.integers(1, 256, (frames, 8, 8), dtype=np.uint8) if crops else None,
        rng.normal(size=(frames, 9, 2)).astype(np.float32), (WordSpan(0, frames, "ah"),), use_points,
    ).with_targets(targets, np.arange(frames))


EXAMPLES = [
    example(3, crops=True, targets=(4, 5), name="a"),
    example(5, crops=False, targets=(), name="b"),
    example(2, crops=True, targets=(6,), name="c", use_points=False),
]


def test_padding() -> None:
    batch = collate(EXAMPLES, 8)
    assert batch.crops is not None
    assert (batch.crops.shape, batch.crops.dtype) == ((3, 5, 8, 8), torch.uint8)
    assert (batch.points.shape, batch.points.dtype) == ((3, 5, 9, 2), torch.float32)
    assert batch.lengths.tolist() == [3, 5, 2]
    assert batch.names == ("a", "b", "c")
    assert batch.texts == ("ah", "ah", "ah")
    for row, one in enumerate(EXAMPLES):
        length = len(one.points)
        assert np.array_equal(batch.points[row, :length].numpy(), one.points)
        assert batch.points[row, length:].isnan().all()
        assert batch.frame_labels[row].tolist() == [*range(length), *[-100] * (5 - length)]
        if one.crops is not None:
            assert np.array_equal(batch.crops[row, :length].numpy(), one.crops)
            assert not batch.crops[row, length:].any()
    assert not batch.crops[1].any()


def test_streams_and_targets() -> None:
    batch = collate(EXAMPLES, 8)
    assert batch.use_pixels.tolist() == [True, False, True]
    assert batch.use_points.tolist() == [True, True, False]
    assert batch.targets.tolist() == [4, 5, 6]
    assert batch.target_lengths.tolist() == [2, 0, 1]
    assert batch.targets.dtype == batch.target_lengths.dtype == batch.lengths.dtype == torch.long


def test_points_alone_have_no_crops() -> None:
    batch = collate([EXAMPLES[1]], 8)
    assert batch.crops is None
    assert batch.use_pixels.tolist() == [False]


def test_targets_without_symbols_are_whole_numbers_still() -> None:
    assert collate([EXAMPLES[1]], 8).targets.dtype == torch.long


def test_without_labels_no_frame_counts() -> None:
    bare = Example("x", "ah", None, np.zeros((4, 9, 2), np.float32), ())
    assert (collate([bare], 8).frame_labels == -100).all()


@pytest.mark.parametrize("crops", [True, False])
def test_every_tensor_moves(crops: bool) -> None:
    batch = collate([example(3, crops=crops, targets=(1,))], 8)
    moved = batch.to(torch.device("meta"))
    assert isinstance(moved, Batch)
    for field in fields(Batch):
        before, after = getattr(batch, field.name), getattr(moved, field.name)
        if isinstance(before, Tensor):
            assert after.device.type == "meta"
            assert after.shape == before.shape
        else:
            assert after == before


def test_padding_is_of_no_clip() -> None:
    batch = collate(EXAMPLES, 8)
    padded = batch.padded(4, 100)
    assert padded.crops is not None and batch.crops is not None
    assert padded.points.shape[1] == padded.shape.shape[1] == padded.frame_labels.shape[1] == padded.crops.shape[1] == 8
    assert torch.equal(padded.crops[:, :5], batch.crops) and not padded.crops[:, 5:].any()
    assert torch.equal(padded.points[:, :5].nan_to_num(9), batch.points.nan_to_num(9))
    assert padded.points[:, 5:].isnan().all() and (padded.frame_labels[:, 5:] == -100).all()
    assert torch.equal(padded.lengths, batch.lengths)
