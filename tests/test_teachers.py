"""Teachers against hand-made numbers; the word teacher is tested with the state that holds it (tests/test_state.py)."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lipread.model.geometry_frontend import geometry_features
from lipread.model.masks import Frames
from lipread.training.teachers import (
    ELSEWHERE_LOG_PROB,
    LipShape,
    PixelWords,
    captured,
    consistency_loss,
    frame_cross_entropy,
    kept_in_words,
    taught_loss,
)


def test_lip_shape_by_hand() -> None:
    torch.manual_seed(0)
    head = LipShape(6, 9)
    points, lengths = 0.1 * torch.randn(2, 5, 9, 2), torch.tensor([5, 3])
    points[0, 2] = float("nan")  # no face: does not count
    points[1, 3:] = float("nan")
    features = torch.randn(8, 6)
    valid = torch.arange(5)[None] < lengths[:, None]
    losses = head(features, Frames.of(valid), points)
    target = geometry_features(points, valid)[..., :-1]
    told = head.linear(features)
    first = [F.smooth_l1_loss(told[frame], target[0, frame]) for frame in (0, 1, 3, 4)]
    second = [F.smooth_l1_loss(told[5 + frame], target[1, frame]) for frame in range(3)]
    assert losses.tolist() == pytest.approx([float(sum(first).detach()) / 4, float(sum(second).detach()) / 3], rel=1e-5)


def test_what_is_taught_is_the_mean_of_the_teachers() -> None:
    torch.manual_seed(0)
    log_probs, *taught = torch.randn(3, 2, 5, 4).log_softmax(-1).unbind()
    found = taught_loss(log_probs, torch.tensor([5, 3]), taught)
    mean = (taught[0].exp() + taught[1].exp()) / 2
    wanted = [
        F.kl_div(log_probs[row, :frames], mean[row, :frames], reduction="sum").item()
        for row, frames in ((0, 5), (1, 3))
    ]
    assert found.tolist() == pytest.approx(wanted, rel=1e-4)
    assert taught_loss(mean.log(), torch.tensor([5, 3]), taught).abs().max() < 1e-4


def test_consistency_is_the_divergence_from_the_other_view_over_real_frames() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 4, requires_grad=True)
    log_probs = logits.log_softmax(-1)
    losses = consistency_loss(log_probs, torch.tensor([3, 3, 5]), torch.tensor([1, 0, 2]))
    p = log_probs.detach().exp()
    wanted = [float((p[b, :3] * (p[b, :3] / p[a, :3]).log()).sum()) for a, b in ((0, 1), (1, 0))]
    assert losses.tolist() == pytest.approx([*wanted, 0.0], abs=1e-5)
    losses[0].backward()
    assert logits.grad is not None
    assert logits.grad[0, :3].abs().min() > 0 and not logits.grad[0, 3:].any()
    assert not logits.grad[1].any()  # the other view is what is aimed at; it is not moved


def test_lip_shape_without_a_face_is_zero() -> None:
    head = LipShape(4, 9)
    real = Frames.of(torch.ones(1, 3, dtype=torch.bool))
    assert head(torch.randn(3, 4), real, torch.full((1, 3, 9, 2), float("nan"))).tolist() == [0.0]


def test_lip_shape_can_be_learned() -> None:
    torch.manual_seed(1)
    head, points = LipShape(37, 9), 0.1 * torch.randn(4, 20, 9, 2)
    real = Frames.of(torch.ones(4, 20, dtype=torch.bool))
    features = geometry_features(points, real.valid).flatten(0, 1)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    before = float(head(features, real, points).mean().detach())
    for _ in range(200):
        optimizer.zero_grad()
        head(features, real, points).mean().backward()
        optimizer.step()
    assert float(head(features, real, points).mean().detach()) < 0.1 * before


def test_outputs_are_captured_only_inside_the_block() -> None:
    module = nn.Linear(2, 3)
    with captured(module) as seen:
        out = module(torch.ones(1, 2))
    module(torch.ones(1, 2))
    assert len(seen) == 1 and seen[0].output is out and seen[0].inputs[0].shape == (1, 2)


def test_frame_cross_entropy_by_hand() -> None:
    logits = torch.randn(2, 3, 4)
    labels = torch.tensor([[0, 3, -100], [-100, -100, -100]])
    p = logits.softmax(-1)
    assert frame_cross_entropy(logits, labels).tolist() == pytest.approx(
        [-float((p[0, 0, 0].log() + p[0, 1, 3].log()) / 2), 0.0], rel=1e-5
    )


def test_pixel_words_learn_words_and_ignore_padding() -> None:
    torch.manual_seed(2)
    head = PixelWords(6, 8, 3)
    labels = torch.tensor([[0, 1, 2, 3, 1], [2, 2, 0, -100, -100]])
    valid = torch.arange(5)[None] < torch.tensor([[5], [3]])
    features, real = torch.nn.functional.one_hot(labels[valid], 6).float(), Frames.of(valid)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        head(features, real, labels).mean().backward()
        optimizer.step()
    head.eval()
    with torch.no_grad():
        assert head(features, real, labels).max() < 0.1
        alone = head(features[5:], Frames.of(valid[1:, :3]), labels[1:, :3])
        assert alone.item() == pytest.approx(head(features, real, labels)[1].item(), abs=1e-5)


def test_symbols_are_kept_near_their_words_and_spelling_in_any() -> None:
    words = torch.tensor([0, 1, 2, 0])  # blank, two words, a letter that spells
    labels = torch.tensor([[0, 0, 0, 0, 2, 2, 1, 1, 1, 1, -100, 0], [-100] * 12])
    log_probs = torch.randn(2, 12, 4).log_softmax(-1).requires_grad_()
    found = kept_in_words(log_probs, labels, words)
    allowed = torch.ones(2, 12, 4, dtype=torch.bool)
    allowed[0, :, 1] = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
    allowed[0, :, 2] = torch.tensor([0, 0, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0])
    allowed[0, :, 3] = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0])
    assert torch.equal(found == log_probs, allowed)
    assert (found[~allowed] == ELSEWHERE_LOG_PROB).all()
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert log_probs.grad is not None
    assert torch.equal(log_probs.grad != 0, allowed)
