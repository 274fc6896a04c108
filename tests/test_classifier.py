"""The head on the pooled [CLS], against its formula, and in a network that has it or not."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lipread.model.classifier import ClassHead
from lipread.model.network import LipNetwork
from networks import TINY, clips_of, padded, tiny_network

WITH_CLASSES = TINY.model_copy(update={"classes": 5})


def test_scores_by_hand() -> None:
    torch.manual_seed(0)
    head, pooled = ClassHead(4, 3, dropout=0.5).eval(), torch.randn(2, 4)
    assert torch.allclose(head(pooled), pooled @ head.linear.weight.T + head.linear.bias)
    assert head.to(torch.bfloat16)(pooled.bfloat16()).dtype == torch.float32


def test_dropout_works_in_training_alone() -> None:
    torch.manual_seed(0)
    head, pooled = ClassHead(50, 3, dropout=0.5), torch.ones(1, 50)
    assert not torch.equal(head(pooled), head(pooled))
    head.eval()
    assert torch.equal(head(pooled), head(pooled))


def test_a_network_scores_classes_from_cls_of_the_last_layer() -> None:
    network = tiny_network(WITH_CLASSES)
    states = network.encode(*padded(clips_of(6, 4)))
    last, dense = states[-1][:, 0], network.encoder.pooler.dense
    wanted = F.linear(torch.tanh(dense(last)), network.classifier.linear.weight, network.classifier.linear.bias)
    scores = network.class_scores(states)
    assert scores.shape == (2, 5)
    assert torch.allclose(scores, wanted, atol=1e-6)


def test_padding_never_changes_a_class() -> None:
    network, (short, long) = tiny_network(WITH_CLASSES), clips_of(4, 9)
    alone = network.class_scores(network.encode(*padded([short])))
    together = network.class_scores(network.encode(*padded([short, long])))
    assert torch.allclose(alone[0], together[0], atol=1e-5)


def test_without_classes_everything_is_as_it_was() -> None:
    torch.manual_seed(0)
    plain = LipNetwork(TINY)
    torch.manual_seed(0)
    more = LipNetwork(WITH_CLASSES)
    assert not hasattr(plain, "classifier")
    added = set(more.state_dict()) - set(plain.state_dict())
    assert added == {"classifier.linear.weight", "classifier.linear.bias"}
    assert all(torch.equal(more.state_dict()[key], value) for key, value in plain.state_dict().items())


def test_head_pooler_and_encoder_learn_from_classes() -> None:
    network = tiny_network(WITH_CLASSES).train()
    scores = network.class_scores(network.encode(*padded(clips_of(6, 4))))
    F.cross_entropy(scores, torch.tensor([1, 4])).backward()
    silent = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert {name.split(".")[0] for name in silent} == {"ctc"}
