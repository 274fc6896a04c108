"""CTC head and loss, against sums over every path."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ctc_by_hand import frames_needed
from lipread.model.ctc import CtcHead, ctc_loss


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    """Merge repeats, then drop blanks."""
    return tuple(symbol for symbol, _ in itertools.groupby(path) if symbol != 0)


def probability(log_probs: Tensor, text: tuple[int, ...]) -> float:
    """Sum over all paths (T,) that collapse to the text; log_probs (T, V)."""
    frames, symbols = log_probs.shape
    return sum(
        math.exp(sum(float(log_probs[t, s]) for t, s in enumerate(path)))
        for path in itertools.product(range(symbols), repeat=frames)
        if collapse(path) == text
    )


def random_log_probs(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, generator=generator)).log_softmax(-1)


@pytest.mark.parametrize("text", [(1,), (1, 2), (1, 1), (2, 1, 2), (1, 2, 2), (2, 2, 2)])
@pytest.mark.parametrize("frames", [1, 3, 5])
def test_loss_is_the_sum_over_all_paths(text: tuple[int, ...], frames: int) -> None:
    log_probs = random_log_probs(1, frames, 3, seed=frames)
    got = ctc_loss(log_probs, torch.tensor([frames]), torch.tensor(text), torch.tensor([len(text)]))
    wanted = probability(log_probs[0], text)
    assert float(got) == pytest.approx(-math.log(wanted) / len(text) if wanted else 0.0, abs=1e-5)


def test_each_clip_of_a_batch_by_itself() -> None:
    log_probs = random_log_probs(3, 5, 3)
    log_probs[1, 3:] = torch.tensor([-50.0, 0.0, -50.0])  # padding, which must not count
    texts = [(1, 2), (2,), (1, 1, 2)]
    got = ctc_loss(
        log_probs, torch.tensor([5, 3, 4]), torch.tensor([s for text in texts for s in text]), torch.tensor([2, 1, 3])
    )
    for row, (text, frames) in enumerate(zip(texts, (5, 3, 4), strict=True)):
        assert float(got[row]) == pytest.approx(
            -math.log(probability(log_probs[row, :frames], text)) / len(text), abs=1e-5
        )


def test_all_texts_together_have_probability_one() -> None:
    log_probs = random_log_probs(1, 4, 3)
    total = 0.0
    for length in range(5):
        for text in itertools.product((1, 2), repeat=length):
            if frames_needed(text) > 4:
                continue
            loss = ctc_loss(log_probs, torch.tensor([4]), torch.tensor(text, dtype=torch.long), torch.tensor([length]))
            total += math.exp(-float(loss) * max(length, 1))
    assert total == pytest.approx(1, abs=1e-5)


def test_no_text_is_all_blanks() -> None:
    log_probs = random_log_probs(1, 4, 3)
    got = ctc_loss(log_probs, torch.tensor([4]), torch.zeros(0, dtype=torch.long), torch.tensor([0]))
    assert float(got) == pytest.approx(-float(log_probs[0, :, 0].sum()), abs=1e-5)


def test_an_impossible_text_costs_nothing_and_moves_nothing() -> None:
    logits = torch.randn(2, 3, 4, requires_grad=True)
    losses = ctc_loss(logits.log_softmax(-1), torch.tensor([3, 3]), torch.tensor([1, 1, 1, 2]), torch.tensor([3, 1]))
    assert losses[0] == 0
    losses.sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert logits.grad[0].abs().max() == 0
    assert logits.grad[1].abs().max() > 0


@settings(max_examples=40)
@given(st.lists(st.integers(1, 3), max_size=5))
def test_frames_needed_is_the_shortest_path(text: list[int]) -> None:
    shortest = next(
        frames
        for frames in range(12)
        if any(collapse(path) == tuple(text) for path in itertools.product((0, *set(text)), repeat=frames))
    )
    assert frames_needed(text) == shortest


def test_head_gives_float32_log_probabilities_from_half() -> None:
    torch.manual_seed(0)
    head = CtcHead(8, 5, dropout=0.0).to(torch.bfloat16)
    out = head(torch.randn(2, 3, 8, dtype=torch.bfloat16))
    assert (out.shape, out.dtype) == ((2, 3, 5), torch.float32)
    assert torch.allclose(out.exp().sum(-1), torch.ones(2, 3), atol=1e-5)


def test_head_formula_and_dropout() -> None:
    torch.manual_seed(0)
    head = CtcHead(8, 5, dropout=0.5)
    x = torch.randn(2, 3, 8)
    logits = x @ head.linear.weight.T + head.linear.bias
    wanted = logits - logits.exp().sum(-1, keepdim=True).log()
    assert torch.allclose(head.eval()(x), wanted, atol=1e-6)
    assert not torch.allclose(head.train()(x), wanted, atol=1e-2)
