"""The whole network: padding, absent streams, positions, precision, hooks, and processes in step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from lipread.config import EncoderConfig, NetworkConfig
from lipread.model.network import SEGMENT_AUDIO, SEGMENT_BOTH, SEGMENT_VIDEO, LipNetwork, segments_of
from lipread.values import SAMPLES_PER_FRAME
from networks import TINY, clips_of, padded, still, stirred, tiny_network
from test_norm import run_two

STREAMS = {"pixels": (True, False), "points": (False, True), "both": (True, True)}


def read(network: LipNetwork, crops: Tensor, points: Tensor, lengths: Tensor, streams: str) -> Tensor:
    with_pixels, with_points = STREAMS[streams]
    out, out_lengths = network(crops if with_pixels else None, points if with_points else None, lengths)
    assert torch.equal(out_lengths, lengths)
    return out


@pytest.mark.parametrize("streams", STREAMS)
def test_padding_never_changes_a_real_frame(streams: str) -> None:
    network = tiny_network()
    clips = clips_of(9, 5, 1, 7)
    together = read(network, *padded(clips, 12), streams)
    assert together.shape == (4, 12, 29)
    for row, clip in enumerate(clips):
        alone = read(network, *padded([clip]), streams)[0]
        assert torch.allclose(together[row, : len(clip.crops)], alone, atol=2e-5)
    assert together[0, :9].std(dim=0).max() > 0.05  # the network does say different things


def test_log_probs_are_normalised() -> None:
    out = read(tiny_network(), *padded(clips_of(4)), "both")
    assert torch.allclose(out.exp().sum(-1), torch.ones(1, 4), atol=1e-5)


def test_both_streams_are_read() -> None:
    network = tiny_network()
    first, second = clips_of(6, 6)
    out = read(network, *padded([first]), "both")
    assert not torch.allclose(out, read(network, *padded([first._replace(crops=second.crops)]), "both"), atol=1e-2)
    assert not torch.allclose(out, read(network, *padded([first._replace(points=second.points)]), "both"), atol=1e-2)


def test_streams_absent_per_clip_equal_the_network_given_one_stream() -> None:
    network = tiny_network()
    clips = clips_of(8, 5, 6, 3)
    crops, points, lengths = padded(clips)
    mixed, _ = network(
        crops, points, lengths,
        use_pixels=torch.tensor([True, False, True, False]), use_points=torch.tensor([False, True, True, False]),
    )
    for row, streams in enumerate(("pixels", "points", "both")):
        alone = read(network, *padded([clips[row]]), streams)[0]
        assert torch.allclose(mixed[row, : lengths[row]], alone, atol=2e-5), streams
    assert bool(torch.isfinite(mixed[3]).all())  # neither: says nothing useful, but breaks nothing


@pytest.mark.parametrize("stream", ["pixels", "points"])
def test_a_network_looks_only_at_its_streams(stream: str) -> None:
    both = tiny_network()
    one = tiny_network(TINY.model_copy(update={"streams": (stream,)}))
    clip = padded(clips_of(6))
    assert torch.equal(read(one, *clip, "both"), read(both, *clip, stream))


def test_a_stream_that_no_clip_uses_is_the_same_as_none() -> None:
    network = tiny_network()
    crops, points, lengths = padded(clips_of(5, 4))
    no_one = torch.zeros(2, dtype=torch.bool)
    for streams, absent in (("points", {"use_pixels": no_one}), ("pixels", {"use_points": no_one})):
        assert torch.equal(network(crops, points, lengths, **absent)[0], read(network, crops, points, lengths, streams))


def test_training_statistics_see_no_absent_clip() -> None:
    network, reference = tiny_network(still()).train(), tiny_network(still()).train()
    clips = clips_of(6, 6)
    crops, points, lengths = padded(clips)
    network(crops, points, lengths, use_pixels=torch.tensor([True, False]))
    reference(crops[:1], points[:1], lengths[:1])
    moved, wanted = network.frontend.stem_norm, reference.frontend.stem_norm
    assert torch.allclose(moved.running_mean, wanted.running_mean, atol=1e-5)
    assert torch.allclose(moved.running_var, wanted.running_var, atol=1e-5)


# -- [CLS], segments, positions ---------------------------------------------------------------------------------------


def positions_used(network: LipNetwork, frames: int) -> Tensor:
    caught: list[Tensor] = []
    handle = network.encoder.embeddings.position_embeddings.register_forward_pre_hook(
        lambda _module, inputs: caught.append(inputs[0])
    )
    network(None, *padded(clips_of(*[frames] * 8))[1:])
    handle.remove()
    return caught[0]


def test_positions_do_not_jump_when_reading() -> None:
    used = positions_used(tiny_network(), 6)
    assert used.tolist() == [[0, 1, 2, 3, 4, 5, 6]] * 8


def test_positions_jump_only_in_training_and_stay_inside() -> None:
    network = tiny_network(TINY.model_copy(update={"position_jitter": 5})).train()
    used = torch.cat([positions_used(network, 6) for _ in range(20)])
    assert used[:, 0].abs().max() == 0  # [CLS] stays
    assert torch.equal(used[:, 2:] - used[:, 1:-1], torch.ones(160, 5, dtype=torch.long))
    assert sorted(set(used[:, 1].tolist())) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("frames", "most"), [(5, 3), (7, 1)])
def test_positions_of_long_clips_jump_less(frames: int, most: int) -> None:
    short = TINY.encoder.model_copy(update={"max_position_embeddings": 8})
    network = tiny_network(TINY.model_copy(update={"encoder": short})).train()
    assert network.max_frames == 7
    used = torch.cat([positions_used(network, frames) for _ in range(20)])
    assert set(used[:, 1].tolist()) == set(range(1, most + 1))
    assert used.max() == 7


def test_states_are_cls_then_frames_after_every_layer() -> None:
    network = tiny_network()
    states = network.encode(*padded(clips_of(5, 3)))
    assert [tuple(state.shape) for state in states] == [(2, 6, 32)] * 3
    log_probs, _ = network(*padded(clips_of(5, 3)))
    assert torch.allclose(network.ctc(states[-1][:, 1:]), log_probs, atol=1e-6)
    with torch.no_grad():
        network.cls.add_(torch.randn(32))
    assert not torch.allclose(network.encode(*padded(clips_of(5, 3)))[0][:, 0], states[0][:, 0], atol=1e-2)


HEARING = TINY.model_copy(update={"streams": ("pixels", "points", "sound")})


@pytest.mark.parametrize(
    ("lips", "sound", "segment"),
    [(True, False, SEGMENT_VIDEO), (False, True, SEGMENT_AUDIO), (True, True, SEGMENT_BOTH)],
)
def test_the_segment_says_what_is_read(lips: bool, sound: bool, segment: int) -> None:
    network = tiny_network(HEARING)
    crops, points, lengths = padded(clips_of(4))
    samples = 0.1 * torch.randn(1, 4 * SAMPLES_PER_FRAME, generator=torch.Generator().manual_seed(0))
    streams = (crops if lips else None, points if lips else None, lengths, samples if sound else None)
    before, table = network(*streams)[0], network.encoder.embeddings.token_type_embeddings.weight
    others = [k for k in range(len(table)) if k != segment]
    with torch.no_grad():
        table[others] = 100
    assert torch.equal(network(*streams)[0], before)
    with torch.no_grad():
        table[segment] += torch.linspace(-1, 1, table.shape[1])
    assert not torch.allclose(network(*streams)[0], before, atol=1e-2)


def test_the_segment_of_each_clip_is_its_own() -> None:
    network = tiny_network(HEARING)
    crops, points, lengths = padded(clips_of(4, 4, 4))
    sound = 0.1 * torch.randn(3, 4 * SAMPLES_PER_FRAME, generator=torch.Generator().manual_seed(0))
    lips, heard = torch.tensor([True, False, True]), torch.tensor([False, True, True])
    streams = network.front_ends(crops, points, lengths, sound, use_pixels=lips, use_points=lips, use_sound=heard)
    assert segments_of(streams, lengths).tolist() == [SEGMENT_VIDEO, SEGMENT_AUDIO, SEGMENT_BOTH]


# -- refusals ---------------------------------------------------------------------------------------------------------

LENGTHS = torch.tensor([4])
CROPS, POINTS = torch.zeros(1, 4, 88, 88), torch.zeros(1, 4, 9, 2)


@pytest.mark.parametrize(
    ("crops", "points", "shown"),
    [
        (None, None, "all None"),
        (torch.zeros(1, 256, 88, 88), None, "a clip of 256 frames is longer than the 255 positions; use windows"),
        (None, torch.zeros(1, 256, 9, 2), "256 frames is longer than the 255"),
        (torch.zeros(1, 4, 96, 96), None, r"\(1, 4, 96, 96\); wanted \(B, T, 88, 88\)"),
        (CROPS[0], None, r"crops are \(4, 88, 88\)"),
        (None, torch.zeros(1, 4, 8, 2), r"\(1, 4, 8, 2\); wanted \(B, T, 9, 2\)"),
        (CROPS, POINTS[:, :3], "must be the same"),
        (CROPS, POINTS.expand(2, -1, -1, -1), "must be the same"),
    ],
)
def test_what_cannot_be_read_is_refused(crops: Tensor | None, points: Tensor | None, shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        tiny_network()(crops, points, LENGTHS)


def test_the_longest_clip_can_be_read_and_learned_from() -> None:
    points = torch.zeros(1, 255, 9, 2)
    for network in (tiny_network(), tiny_network().train()):
        assert network(None, points, torch.tensor([255]))[0].shape == (1, 255, 29)


# -- devices, precision, hooks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize(("dtype", "near"), [(torch.float16, 0.03), (torch.bfloat16, 0.3), (torch.float64, 1e-3)])
def test_other_precisions_read_the_same(dtype: torch.dtype, near: float, streams: str) -> None:
    network = tiny_network()
    batch = padded(clips_of(8, 5))
    wanted = read(network, *batch, streams)
    got = read(network.to(dtype), *batch, streams)
    assert got.dtype is torch.float32
    for row, length in enumerate(batch[2].tolist()):
        assert (got - wanted)[row, :length].abs().max() < near


@pytest.mark.parametrize("streams", STREAMS)
def test_autocast_learns(streams: str) -> None:
    network = tiny_network().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = read(network, *padded(clips_of(8, 5)), streams)
    out.sum().backward()
    assert out.dtype is torch.float32
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters() if p.grad is not None)


def test_everything_moves_with_the_network() -> None:
    network = LipNetwork(TINY).to("meta")
    assert {value.device.type for value in network.state_dict().values()} == {"meta"}
    assert {value.dtype for value in network.half().state_dict().values()} == {torch.float16}


def test_state_dict_carries_over() -> None:
    one, other = tiny_network(seed=1), tiny_network(seed=2)
    batch = padded(clips_of(5))
    assert not torch.allclose(read(one, *batch, "both"), read(other, *batch, "both"), atol=1e-3)
    other.load_state_dict(one.state_dict())
    assert torch.equal(read(one, *batch, "both"), read(other, *batch, "both"))


def test_hooks_catch_activations() -> None:
    network = tiny_network()
    caught: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: caught.update({name: output})

    names = ["frontend", "frontend.stem", "frontend.trunk.3", "geometry", "fusion", "encoder.encoder.layer.1", "ctc"]
    handles = [network.get_submodule(name).register_forward_hook(keep(name)) for name in names]
    out = read(network, *padded(clips_of(5, 3)), "both")
    assert {name: tuple(caught[name].shape) for name in names} == {
        "frontend": (8, 32),  # 5 + 3 real frames
        "frontend.stem": (8, 4, 16, 16),
        "frontend.trunk.3": (8, 32, 1, 1),
        "geometry": (2, 5, 16),
        "fusion": (2, 5, 32),
        "encoder.encoder.layer.1": (2, 6, 32),
        "ctc": (2, 5, 29),
    }
    assert torch.equal(caught["ctc"], out)
    for handle in handles:
        handle.remove()


def test_every_parameter_but_the_pooler_learns() -> None:
    network = tiny_network(still()).train()
    crops, points, lengths = padded(clips_of(7, 5, 6, 4))
    out, _ = network(
        crops, points, lengths,
        use_pixels=torch.tensor([True, True, False, True]), use_points=torch.tensor([True, False, True, True]),
    )
    (out * torch.randn(out.shape)).sum().backward()
    idle = {name for name, p in network.named_parameters() if p.grad is None or p.grad.abs().max() == 0}
    assert idle == {"encoder.pooler.dense.weight", "encoder.pooler.dense.bias"}


# -- several processes ------------------------------------------------------------------------------------------------

# which clips have (pixels, points); the first two are the first process's, which then has no pixels at all
ROUNDS = [
    [(False, True), (False, True), (True, True), (True, False)],
    [(False, True), (False, True), (False, True), (False, True)],  # no pixels anywhere
    [(True, False), (True, True), (False, True), (True, False)],
]


def one_round(network: LipNetwork, number: int, rows: slice) -> Tensor:
    """Outputs of some clips, in training mode; gradients of a sum over all clips and frames are left behind."""
    crops, points, lengths = padded(clips_of(6, 4, 5, 6, seed=number))
    used = torch.tensor(ROUNDS[number])
    some_pixels, some_points = bool(used[rows, 0].any()), bool(used[rows, 1].any())
    out, _ = network(
        crops[rows] if some_pixels else None, points[rows] if some_points else None, lengths[rows],
        use_pixels=used[rows, 0], use_points=used[rows, 1],
    )
    weight = torch.randn(4, 6, 29, generator=torch.Generator().manual_seed(number))
    real = torch.arange(6) < lengths[:, None]
    (out * (weight * real[..., None])[rows]).sum().backward()
    return out.detach()


def all_rounds(rows: slice) -> dict[str, Tensor]:
    network = tiny_network(still()).double().train()  # in double precision, differences cannot hide behind rounding
    results = {f"out{number}": one_round(network, number, rows) for number in range(len(ROUNDS))}
    results |= {f"grad {name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
    return results | {f"buffer {name}": value for name, value in network.named_buffers()}


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(all_rounds(slice(0, 2) if rank == 0 else slice(2, 4)), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_processes_stay_in_step_when_one_lacks_a_stream(tmp_path: Path) -> None:
    parts = run_two(one_of_two, tmp_path)
    wanted = all_rounds(slice(0, 4))
    real = torch.arange(6) < torch.tensor([6, 4, 5, 6])[:, None]
    for number in range(len(ROUNDS)):
        joined = torch.cat([part[f"out{number}"] for part in parts])
        assert torch.allclose(joined[real], wanted[f"out{number}"][real], atol=1e-5), number
    for name, value in wanted.items():
        if name.startswith("buffer "):
            assert torch.allclose(parts[0][name], value, rtol=1e-9), name
            assert torch.equal(parts[0][name], parts[1][name]), name
        elif name.startswith("grad "):
            total = sum(part.get(name, torch.zeros_like(value)) for part in parts)
            assert torch.allclose(total, value, rtol=1e-5, atol=1e-5), name


def test_the_network_is_the_sum_of_its_config() -> None:
    config = NetworkConfig(
        frontend=TINY.frontend, geometry=TINY.geometry, alphabet_size=7, fusion_layers=0,
        encoder=EncoderConfig(hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40),
    )
    network = stirred(LipNetwork(config))
    assert isinstance(network, LipNetwork)
    assert read(network, *padded(clips_of(4)), "both").shape == (1, 4, 7)
    assert (len(network.fusion.layers), len(network.encoder.encoder.layer)) == (0, 3)
