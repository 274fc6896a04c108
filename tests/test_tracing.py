"""The network run with hooks, against its own outputs, a softmax by hand, finite differences; nothing stays behind."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lipread.model.network import LipNetwork
from lipread.tracing import attention_weights, trace
from networks import TINY, clips_of, tiny_network


def total(log_probs: Tensor) -> Tensor:
    """A goal that depends on all frames and symbols, unevenly."""
    weights = torch.arange(log_probs.numel(), dtype=log_probs.dtype).view_as(log_probs).sin()
    return (log_probs * weights).sum()


def hooks_of(network: nn.Module) -> int:
    """How many hooks hang in a network."""
    return sum(
        len(module._forward_hooks) + len(module._forward_pre_hooks) + len(module._backward_hooks)
        for module in network.modules()
    )


def test_outputs_are_the_networks_own() -> None:
    network, (clip,) = tiny_network(), clips_of(12)
    with torch.inference_mode():
        wanted, _ = network(clip.crops[None], clip.points[None], torch.tensor([12]))
    np.testing.assert_allclose(trace(network, *clip, 0, total).log_probs, wanted[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("layer", [0, 1])
def test_attention_is_the_softmax_by_hand(layer: int) -> None:
    network, (clip,) = tiny_network(), clips_of(10)
    attention = trace(network, *clip, layer, total).attention
    with torch.inference_mode():
        states = network.encode(clip.crops[None], clip.points[None], torch.tensor([10]))
    block = network.encoder.encoder.layer[layer].attention.self  # type: ignore[union-attr]
    x = states[layer][0].numpy().astype(np.float64)  # (11, D)
    for head in range(2):
        columns = slice(16 * head, 16 * head + 16)
        q, k = (
            x @ part.weight.detach().numpy().astype(np.float64).T[:, columns] + part.bias.detach().numpy()[columns]
            for part in (block.query, block.key)  # type: ignore[union-attr]
        )
        energy = np.array([[float(row @ column) / 4 for column in k] for row in q])  # 4 = sqrt(16)
        wanted = np.exp(energy) / np.exp(energy).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(attention[head], wanted, atol=1e-5)
    np.testing.assert_allclose(attention.sum(axis=-1), 1, atol=1e-5)


def test_attention_is_what_the_layer_mixes_with() -> None:
    """attention x values is the output of the network's own fused attention."""
    network, (clip,) = tiny_network(), clips_of(9)
    block = network.encoder.encoder.layer[1].attention.self  # type: ignore[union-attr]
    kept: dict[str, Tensor] = {}
    handles = [
        block.register_forward_hook(lambda _, __, out: kept.update(mixed=out)),  # type: ignore[union-attr]
        block.value.register_forward_hook(lambda _, __, out: kept.update(value=out)),  # type: ignore[union-attr]
    ]
    attention = trace(network, *clip, 1, total).attention
    for handle in handles:
        handle.remove()
    value = kept["value"].detach()[0].unflatten(-1, (2, 16)).numpy()  # (10, heads, 16)
    mixed = np.einsum("hts,shd->thd", attention, value).reshape(10, 32)
    np.testing.assert_allclose(mixed, kept["mixed"].detach()[0].numpy(), atol=1e-5)


def test_attention_weights_of_a_known_case() -> None:
    query = torch.tensor([[[2.0, 0.0], [0.0, 0.0]]])
    key = torch.tensor([[[float(np.log(3.0)) / 2, 5.0], [0.0, -5.0]]])
    attention = attention_weights(query, key, 2)  # two heads of one number each
    np.testing.assert_allclose(attention[0, 0], [[0.75, 0.25], [0.5, 0.5]], atol=1e-6)
    np.testing.assert_allclose(attention[0, 1], [[0.5, 0.5], [0.5, 0.5]])


def test_gradient_equals_finite_differences() -> None:
    """In double precision but for the pixels; the goal is written again, on the encoder's last states."""
    network, (clip,) = tiny_network(), clips_of(6)
    network.double()
    points = clip.points.double()

    def goal_of(crops: Tensor) -> float:
        with torch.no_grad():
            state = network.encode(crops[None], points[None], torch.tensor([6]))[-1][0, 1:]
            return float(total(network.ctc.linear(state).log_softmax(-1)))

    gradient = trace(network, clip.crops, points, 0, total).gradient
    assert gradient is not None and gradient.shape == (6, 88, 88)
    generator = np.random.default_rng(0)
    steepest = np.argsort(-abs(gradient).ravel())[:200]
    for flat in generator.choice(steepest, 8, replace=False):
        place = np.unravel_index(flat, gradient.shape)
        up, down = clip.crops.float(), clip.crops.float()
        up[place] += 0.05
        down[place] -= 0.05
        slope = (goal_of(up) - goal_of(down)) / float(up[place] - down[place])
        assert slope == pytest.approx(gradient[place], rel=0.03)


def test_no_gradient_where_nothing_is_asked_or_seen() -> None:
    (clip,) = clips_of(5)
    assert trace(tiny_network(), *clip, 0, lambda _: None).gradient is None
    points_only = tiny_network(TINY.model_copy(update={"streams": ("points",)}))
    assert trace(points_only, *clip, 0, total).gradient is None


@pytest.mark.parametrize("training", [False, True])
def test_the_network_is_left_as_it_was(training: bool) -> None:
    network, (clip,) = tiny_network(), clips_of(8)
    network.train(training)
    network.ctc.eval()  # modes may differ within a network
    frozen = network.cls.requires_grad_(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trace(network, *clip, 1, total)
    assert network.training is training and network.frontend.training is training and not network.ctc.training
    assert hooks_of(network) == 0
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not frozen.requires_grad and network.ctc.linear.weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_network_is_left_as_it_was_after_a_failure() -> None:
    network, (clip,) = tiny_network(), clips_of(8)
    network.train()
    with pytest.raises(ValueError, match="positions"):
        trace(network, clip.crops.repeat(40, 1, 1), clip.points.repeat(40, 1, 1), 0, total)
    with pytest.raises(ZeroDivisionError):
        trace(network, *clip, 0, lambda log_probs: log_probs.sum() * (1 // 0))
    assert hooks_of(network) == 0 and network.training
    assert trace(network, *clip, 0, total).gradient is not None  # the lock was given back


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_callers_without_gradients_get_them_all_the_same(mode: type) -> None:
    network, (clip,) = tiny_network(), clips_of(5)
    wanted = trace(network, *clip, 0, total).gradient
    with mode():
        crops, points = clip.crops.clone(), clip.points.clone()  # inference tensors, in inference mode
        gradient = trace(network, crops, points, 0, total).gradient
        assert not torch.is_grad_enabled()
    assert gradient is not None and wanted is not None
    np.testing.assert_allclose(gradient, wanted, rtol=1e-4, atol=1e-7)


def test_readings_at_the_same_time_neither_disturb_nor_are_disturbed() -> None:
    """One thread traces, another reads other clips with the same network; both get what they get alone."""
    network: LipNetwork = tiny_network()
    clip, other = clips_of(12)[0], clips_of(12, seed=1)[0]

    def read() -> Tensor:
        with torch.inference_mode():
            out: Tensor = network(other.crops[None], other.points[None], torch.tensor([12]))[0]
            return out

    alone, read_alone = trace(network, *clip, 0, total), read()
    differences: list[float] = []
    stop = threading.Event()

    def keep_reading() -> None:
        while not stop.is_set():
            differences.append(float((read() - read_alone).abs().max()))

    thread = threading.Thread(target=keep_reading)
    thread.start()
    try:
        traces = [trace(network, *clip, 0, total) for _ in range(8)]
    finally:
        stop.set()
        thread.join()
    assert differences and max(differences) < 1e-5
    for each in traces:
        np.testing.assert_allclose(each.attention, alone.attention, atol=1e-6)
        np.testing.assert_allclose(each.gradient, alone.gradient, rtol=1e-3, atol=1e-6)  # type: ignore[arg-type]
