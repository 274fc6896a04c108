"""Lip-geometry front-end: features by hand, what must not matter, frames without a face."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lipread.model.geometry_frontend import (
    DISPLACEMENT_SCALE,
    VELOCITY_SCALE,
    GeometryFrontend,
    geometry_features,
)
from lipread.model.masks import Frames, valid_frames
from networks import TINY, clips_of, padded, stirred

POINTS = 9


def features(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One unpadded clip (T, P, 2) -> displacements (T, P, 2), velocities (T, P, 2), seen (T,)."""
    out = geometry_features(points[None], torch.ones(1, len(points), dtype=torch.bool))[0]
    split = 2 * points.shape[1]
    assert out.shape == (len(points), 2 * split + 1)
    return out[:, :split].view_as(points), out[:, split:-1].view_as(points), out[:, -1]


def random_points(frames: int = 6, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(frames, POINTS, 2, generator=torch.Generator().manual_seed(seed))


def test_by_hand() -> None:
    points = torch.tensor([[[0.0, 0.1]], [[0.1, 0.1]], [[0.2, 0.4]]])  # one point over three frames
    displacement, velocity, seen = features(points)
    assert torch.allclose(displacement[:, 0], torch.tensor([[-0.1, -0.1], [0.0, -0.1], [0.1, 0.2]]) / 0.1, atol=1e-6)
    assert torch.allclose(velocity[:, 0], torch.tensor([[0.0, 0.0], [0.1, 0.0], [0.1, 0.3]]) / 0.05, atol=1e-6)
    assert seen.tolist() == [1, 1, 1]
    assert (DISPLACEMENT_SCALE, VELOCITY_SCALE) == (0.1, 0.05)


@settings(max_examples=30)
@given(st.floats(-2, 2), st.floats(-2, 2), st.integers(1, 8))
def test_where_the_mouth_sits_in_the_face_does_not_matter(right: float, down: float, frames: int) -> None:
    points = random_points(frames)
    for got, wanted in zip(features(points + torch.tensor([right, down])), features(points), strict=True):
        assert torch.allclose(got, wanted, atol=1e-4)


def test_nor_does_the_shape_of_the_lips_at_rest() -> None:
    points = random_points()
    other_lips = points + torch.randn(1, POINTS, 2)
    for got, wanted in zip(features(other_lips), features(points), strict=True):
        assert torch.allclose(got, wanted, atol=1e-4)


def test_a_mirrored_face_moves_mirrored() -> None:
    points = random_points()
    mirror = torch.tensor([-1.0, 1.0])
    displacement, velocity, seen = features(points)
    mirrored = features(points * mirror)
    assert torch.allclose(mirrored[0], displacement * mirror, atol=1e-6)
    assert torch.allclose(mirrored[1], velocity * mirror, atol=1e-6)
    assert torch.equal(mirrored[2], seen)


def test_a_clip_backwards_has_opposite_velocities() -> None:
    points = random_points(5)
    forwards, backwards = features(points)[1], features(points.flip(0))[1]
    assert torch.allclose(backwards[1:], -forwards[1:].flip(0), atol=1e-6)


@pytest.mark.parametrize("nothing", [torch.nan, torch.inf, -torch.inf])
def test_frames_without_a_face(nothing: float) -> None:
    points = random_points(7)
    with_gap = points.clone()
    with_gap[3] = nothing
    with_gap[5, 4, 1] = nothing  # one missing number spoils its frame
    displacement, velocity, seen = features(with_gap)
    assert seen.tolist() == [1, 1, 1, 0, 1, 0, 1]
    kept = points[[0, 1, 2, 4, 6]]
    assert torch.allclose(displacement[[0, 1, 2, 4, 6]], (kept - kept.mean(0)) / 0.1, atol=1e-5)  # mean of seen frames
    assert displacement[[3, 5]].abs().max() == 0
    assert velocity[[0, 3, 4, 5, 6]].abs().max() == 0  # no movement across a gap
    assert torch.allclose(velocity[2], (points[2] - points[1]) / 0.05, atol=1e-5)


def test_never_a_face() -> None:
    out = geometry_features(torch.full((1, 4, POINTS, 2), torch.nan), torch.ones(1, 4, dtype=torch.bool))
    assert out.abs().max() == 0


def test_wild_points_are_bounded() -> None:
    points = random_points()
    points[2, 3] = torch.tensor([1e6, -1e6])
    assert geometry_features(points[None], torch.ones(1, 6, dtype=torch.bool)).abs().max() == 8


def test_padding_is_no_part_of_the_mean() -> None:
    clips = clips_of(6, 3, 1)
    _, points, lengths = padded(clips)
    valid = valid_frames(lengths, 6)
    together = geometry_features(points, valid)
    for row, clip in enumerate(clips):
        length = len(clip.points)
        alone = geometry_features(clip.points[None], torch.ones(1, length, dtype=torch.bool))[0]
        assert torch.allclose(together[row, :length], alone, atol=1e-6)
        assert together[row, length:].abs().sum() == 0


def test_front_end_gives_zero_on_padding_and_the_same_as_alone() -> None:
    torch.manual_seed(0)
    frontend = stirred(GeometryFrontend(TINY.geometry))
    clips = clips_of(7, 4, 1)
    _, points, lengths = padded(clips)
    out = frontend(points, Frames.of(valid_frames(lengths, 7)))
    assert out.shape == (3, 7, TINY.geometry.width)
    for row, clip in enumerate(clips):
        length = len(clip.points)
        alone = frontend(clip.points[None], Frames.of(torch.ones(1, length, dtype=torch.bool)))[0]
        assert torch.allclose(out[row, :length], alone, atol=1e-5)
        assert out[row, length:].abs().sum() == 0
        assert alone.std() > 0.01


def test_gradients_are_finite_where_faces_are_missing() -> None:
    frontend = GeometryFrontend(TINY.geometry).train()
    _, points, lengths = padded(clips_of(7, 4))
    frontend(points, Frames.of(valid_frames(lengths, 7))).square().sum().backward()
    gradients = [p.grad for p in frontend.parameters()]
    assert all(g is not None and bool(torch.isfinite(g).all()) for g in gradients)


def test_no_clips() -> None:
    nothing = Frames.of(torch.zeros(0, 5, dtype=torch.bool))
    out = GeometryFrontend(TINY.geometry).train()(torch.zeros(0, 5, POINTS, 2), nothing)
    assert out.shape == (0, 5, TINY.geometry.width)
