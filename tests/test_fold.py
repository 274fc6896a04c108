"""Folded networks give the numbers of the ones they were made of, and leave these alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lipread.config import PRESETS
from lipread.model.fold import fold_batchnorm
from lipread.model.network import LipNetwork
from lipread.model.norm import BatchNorm


def used_network(seed: int = 0) -> LipNetwork:
    """A network whose BatchNorms have seen something."""
    torch.manual_seed(seed)
    network = LipNetwork(PRESETS["tiny"])
    for module in network.modules():
        if isinstance(module, BatchNorm):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.2, 3.0)
    return network.eval()


def test_a_folded_network_says_the_same_in_a_batch_with_padding() -> None:
    network = used_network()
    folded = fold_batchnorm(network)
    assert not any(isinstance(module, BatchNorm) for module in folded.modules())
    side = network.config.frontend.crop_side_px
    crops = torch.randint(0, 256, (2, 20, side, side), dtype=torch.uint8)
    points, lengths = torch.randn(2, 20, 9, 2), torch.tensor([20, 13])
    points[0, 4:7] = torch.nan
    with torch.inference_mode():
        wanted, _ = network(crops, points, lengths)
        found, _ = folded(crops, points, lengths)
    torch.testing.assert_close(found[0], wanted[0], atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(found[1, :13], wanted[1, :13], atol=2e-4, rtol=1e-4)


def test_the_network_itself_stays_as_it_was() -> None:
    network = used_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    fold_batchnorm(network.train())
    assert network.training
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("bias", [False, True])
def test_by_the_formula(bias: bool) -> None:
    pair = nn.Sequential(nn.Linear(1, 1, bias=bias), BatchNorm(1, eps=0.0))
    with torch.no_grad():
        pair[0].weight.fill_(3.0)
        if bias:
            pair[0].bias.fill_(1.0)
        pair[1].weight.fill_(2.0)
        pair[1].bias.fill_(0.5)
        pair[1].running_mean.fill_(4.0)
        pair[1].running_var.fill_(16.0)
    folded = fold_batchnorm(pair)
    assert folded[0].weight.item() == pytest.approx(3.0 * 2.0 / 4.0)
    assert folded[0].bias.item() == pytest.approx((bias - 4.0) * 2.0 / 4.0 + 0.5)
