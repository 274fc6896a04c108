"""Lips and sound: the offset at which they go together, found among all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lipread.model.agreement import REACH_FRAMES, WIDTH, Agreement


@pytest.fixture
def agreement() -> Agreement:
    """Takes the features as they are."""
    module = Agreement(WIDTH, WIDTH)
    module.lips, module.sound = nn.Sequential(), nn.Sequential()
    return module.eval()


def talk(frames: int) -> Tensor:
    return torch.randn(1, frames, WIDTH, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("late", [-15, -4, 0, 1, 12])
def test_the_offset_is_found(agreement: Agreement, late: int) -> None:
    lips = talk(60)
    sound = torch.roll(lips, late, dims=1)
    scores = agreement(lips, sound, torch.ones(1, 60, dtype=torch.bool))
    assert scores.shape == (1, 2 * REACH_FRAMES + 1)
    assert int(scores.argmax()) - REACH_FRAMES == late


def test_scores_grow_with_the_number_of_frames(agreement: Agreement) -> None:
    short, long = (agreement(talk(n), talk(n), torch.ones(1, n, dtype=torch.bool)).max() for n in (30, 90))
    assert float(long.detach()) == pytest.approx(3 * float(short.detach()), rel=1e-4)


def test_padding_does_not_count(agreement: Agreement) -> None:
    lips, valid = talk(50), torch.ones(1, 50, dtype=torch.bool)
    valid[0, 40:] = False
    filled = lips.clone()
    filled[0, 40:] = 7.0
    alone = agreement(lips[:, :40], lips[:, :40], valid[:, :40])
    assert torch.allclose(agreement(filled, filled, valid), alone, atol=1e-4)


def test_nothing_in_common_is_all_the_same(agreement: Agreement) -> None:
    assert not agreement(talk(9), talk(9), torch.zeros(1, 9, dtype=torch.bool)).any()
