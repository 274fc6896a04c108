"""Learning rate and weight average by hand, AdamW groups by name."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lipread.training.schedule import WeightAverage, learning_rate, parameter_groups
from networks import tiny_network


def rate(step: int, *, steps: int = 110, warmup_steps: int = 10, peak: float = 1.0, final: float = 0.1) -> float:
    return learning_rate(step, steps=steps, warmup_steps=warmup_steps, peak=peak, final=final)


@pytest.mark.parametrize(
    ("step", "wanted"),
    [
        (0, 0.1), (4, 0.5), (9, 1.0),  # warm-up: never zero
        (10, 1.0), (60, 0.55), (35, 0.1 + 0.9 * (1 + math.sqrt(0.5)) / 2), (110, 0.1), (500, 0.1),
    ],
)
def test_warm_up_and_cosine(step: int, wanted: float) -> None:
    assert rate(step) == pytest.approx(wanted)


def test_it_rises_then_falls() -> None:
    rates = [rate(step) for step in range(110)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert min(rates[10:]) > 0.1


def test_odd_schedules() -> None:
    assert rate(0, warmup_steps=0) == 1.0
    assert rate(3, steps=5, warmup_steps=10) == pytest.approx(0.4)  # a training shorter than its warm-up
    assert rate(12, steps=5, warmup_steps=10) == pytest.approx(0.1)


def scalar(value: float) -> nn.Module:
    module = nn.Module()
    module.weight = nn.Parameter(torch.tensor([value]))
    module.register_buffer("count", torch.tensor(int(value)))
    return module


def test_average_by_hand() -> None:
    average = WeightAverage(scalar(1.0), 0.2)
    average.update(scalar(3.0))  # first decay 1/11
    assert average.state["weight"].item() == pytest.approx(1 / 11 + 3 * 10 / 11)
    average.update(scalar(5.0))  # second 2/12, still below 0.2
    second = (1 / 11 + 3 * 10 / 11) * 2 / 12 + 5 * 10 / 12
    assert average.state["weight"].item() == pytest.approx(second)
    average.update(scalar(7.0))  # third would be 3/13: held at 0.2
    assert average.state["weight"].item() == pytest.approx(second * 0.2 + 7 * 0.8)
    assert average.state["count"].item() == 7  # whole numbers are taken over


def test_average_is_its_own_copy_and_needs_no_gradient() -> None:
    module = scalar(1.0)
    average = WeightAverage(module, 0.9)
    with torch.no_grad():
        module.weight.fill_(9.0)  # type: ignore[operator,union-attr]
    assert average.state["weight"].item() == 1.0
    average.update(module)
    assert not average.state["weight"].requires_grad


def test_without_decay_the_average_is_the_last() -> None:
    average = WeightAverage(scalar(1.0), 0.0)
    average.update(scalar(4.0))
    assert average.state["weight"].item() == 4.0


def test_average_goes_on_from_its_state() -> None:
    whole, first = WeightAverage(scalar(1.0), 0.99), WeightAverage(scalar(1.0), 0.99)
    for value in (2.0, 5.0):
        whole.update(scalar(value))
    first.update(scalar(2.0))
    second = WeightAverage(scalar(8.0), 0.99)
    second.load_state_dict(first.state_dict())
    second.update(scalar(5.0))
    assert torch.equal(second.state["weight"], whole.state["weight"])
    assert second.updates == 2


def test_average_has_the_network_s_keys() -> None:
    network = tiny_network()
    assert WeightAverage(network, 0.9).state.keys() == network.state_dict().keys()


def test_weight_decay_is_for_matrices() -> None:
    network = tiny_network()
    network.frontend.requires_grad_(False)
    decayed, plain = parameter_groups(network, 0.05)
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.05, 0.0)
    assert all(p.dim() > 1 for p in decayed["params"])  # type: ignore[attr-defined]
    assert all(p.dim() == 1 for p in plain["params"])  # type: ignore[attr-defined]
    together = {id(p) for group in (decayed, plain) for p in group["params"]}  # type: ignore[attr-defined]
    assert together == {id(p) for p in network.parameters() if p.requires_grad}
    assert len(together) < len(list(network.parameters()))  # frozen weights are left out
