"""Dropout that goes on in reading."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from lipread.config import PRESETS
from lipread.model.dropout import DropoutPasses
from lipread.model.fold import fold_batchnorm
from lipread.model.network import LipNetwork
from networks import TINY, clips_of, padded, still, tiny_network


def under_dropout(network: LipNetwork, passes: int) -> Tensor:
    """(2, 12, V)"""
    crops, points, lengths = padded(clips_of(12, 7))
    with torch.inference_mode():
        streams = network.front_ends(crops, points, lengths)
        return DropoutPasses(network, passes).log_probs(streams, lengths, 12)


def plain(network: LipNetwork) -> Tensor:
    with torch.inference_mode():
        log_probs: Tensor = network(*padded(clips_of(12, 7)))[0]
        return log_probs


def test_without_dropout_all_passes_are_the_reading_itself() -> None:
    network = tiny_network(still(TINY))
    found, wanted = under_dropout(network, 3), plain(network)
    torch.testing.assert_close(found[0], wanted[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(found[1, :7], wanted[1, :7], atol=1e-5, rtol=0)


def test_passes_differ_and_their_mean_is_a_distribution() -> None:
    network = tiny_network()
    one, many, more = (under_dropout(network, passes).exp() for passes in (1, 400, 800))
    for each in (one, many, more):
        torch.testing.assert_close(each.sum(-1), torch.ones(2, 12), atol=1e-4, rtol=0)
    spread = (one - more)[0].abs().mean()
    assert spread > 0.01
    # the mean of n independent passes is off by a spread over the root of n: two of 400 and 800 by a twentieth or so
    assert (many - more)[0].abs().mean() < spread / 8


def test_what_is_dropped_is_what_is_dropped_in_training() -> None:
    """The mean over passes is that of a network in training, with the features of its front-ends as in reading."""
    network = tiny_network(still(TINY).model_copy(update={"encoder": TINY.encoder}))
    found = under_dropout(network, 2000).exp()
    crops, points, lengths = padded(clips_of(12, 7))
    with torch.inference_mode():
        streams = network.front_ends(crops, points, lengths)
        network.train()
        for module in network.modules():
            if hasattr(module, "frozen"):
                module.frozen = True
        torch.manual_seed(7)
        trained = torch.stack([
            network.ctc(network.encode_streams(streams, lengths, 12)[-1][:, 1:]).exp() for _ in range(2000)
        ]).mean(0)
    torch.testing.assert_close(found[0], trained[0], atol=0.03, rtol=0)


def test_the_network_stays_as_it_is_and_shares_its_weights() -> None:
    network = fold_batchnorm(LipNetwork(PRESETS["tiny"]))
    passes = DropoutPasses(network, 2)
    assert not any(module.training for module in network.modules() if isinstance(module, nn.Dropout))
    assert network.encoder.training is False
    for (name, theirs), ours in zip(passes.network.named_parameters(), network.parameters(), strict=True):
        assert theirs.data_ptr() == ours.data_ptr(), name


def test_the_same_clips_give_the_same_and_the_callers_random_numbers_go_on() -> None:
    network = tiny_network()
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first = under_dropout(network, 2)
    assert torch.equal(torch.rand(3), wanted)
    assert torch.equal(first, under_dropout(network, 2))
    with ThreadPoolExecutor(4) as threads:  # they share one generator
        found = list(threads.map(lambda _: under_dropout(network, 2), range(12)))
    assert all(torch.equal(each, first) for each in found)
