"""Learning without words: clusters against a search by hand, what is hidden is gone, and it is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lipread.checkpoint import load_checkpoint
from lipread.config import AugmentConfig, TrainConfig, make_config
from lipread.errors import ConfigError, DataError
from lipread.model.geometry_frontend import geometry_features
from lipread.model.masks import valid_frames
from lipread.training import loop
from lipread.training.clips import load_clips
from lipread.training.hidden_frames import (
    SPAN_FRAMES,
    UNKNOWN,
    clusters_of,
    exchange_halves,
    hide,
    k_means,
    nearest,
    spans,
)
from lipread.training.loop import clip_losses, train, training_step
from lipread.training.ready import make_ready
from networks import TINY
from prepared import prepare

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("data") / "made_up", clips=6)


def settings(data: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "task": "frames", "data": (data,), "preset": "tiny", "network": TINY, "device": "cpu", "batch_pixels": 4,
        "batch_points": 2, "workers": 0, "warmup_steps": 0, "learning_rate": 3e-3, "clusters": 12,
    }
    return TrainConfig(**values | changes)


def kept(losses: list[float], loss: Tensor) -> Tensor:
    losses.append(float(loss))
    return loss


def test_clusters_are_found_again() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = 5 * torch.randn(4, 6, generator=generator)
    frames = centres.repeat(200, 1) + 0.1 * torch.randn(800, 6, generator=generator)
    found = min(
        (k_means(frames, 4, torch.Generator().manual_seed(seed)) for seed in range(8)),
        key=lambda each: float((frames - each[nearest(frames, each)]).square().sum()),
    )
    apart = torch.cdist(centres, found)
    assert sorted(apart.argmin(1).tolist()) == [0, 1, 2, 3] and float(apart.min(1).values.max()) < 0.05


def test_the_nearest_is_the_one_that_a_search_finds() -> None:
    frames, centres = torch.randn(3, 5, 6), torch.randn(7, 6)
    wanted = (frames[:, :, None] - centres).square().sum(-1).argmin(-1)
    assert torch.equal(nearest(frames, centres), wanted)


def test_too_few_points_for_so_many_clusters(data: Path) -> None:
    with pytest.raises(DataError, match="make no 100000 clusters"):
        clusters_of(load_clips(data), 100_000, 0)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.8])
def test_as_many_frames_are_hidden_as_was_asked_for_and_in_spans(share: float) -> None:
    torch.manual_seed(0)
    lengths = torch.full((200,), 100)
    hidden = spans(lengths, 120, share)
    assert not hidden[:, 100:].any()
    assert hidden[:, :100].float().mean().item() == pytest.approx(share, abs=0.03)
    inner = hidden[0, 20:80].int().diff()  # between the first and the last change every span is whole
    starts, ends = (inner == 1).nonzero()[:, 0].tolist(), (inner == -1).nonzero()[:, 0].tolist()
    assert all(min((end for end in ends if end > start), default=99) - start >= SPAN_FRAMES for start in starts)


def test_what_is_hidden_is_gone_and_its_clusters_are_asked_for(data: Path) -> None:
    made = make_ready(settings(data))
    state, batch = made.state, made.batches[0].shown(88)
    assert state.hidden_frames is not None and batch.crops is not None
    hidden = torch.zeros(len(batch.names), batch.points.shape[1], dtype=torch.bool)
    hidden[0, 5:12] = True
    targets, left = state.hidden_frames.targets(batch, hidden), hide(batch, hidden)
    seen = geometry_features(batch.shape, valid_frames(batch.lengths, hidden.shape[1]))
    apart = torch.cdist(seen[0, 5:12, :-1], state.hidden_frames.centres)
    assert targets[0, 5:12].tolist() == apart.argmin(1).tolist()
    targets[0, 5:12] = UNKNOWN
    assert (targets == UNKNOWN).all()
    assert left.points[0, 5:12].isnan().all()
    assert torch.equal(left.points[1:].nan_to_num(9), batch.points[1:].nan_to_num(9))
    assert left.crops is not None
    assert left.crops[0, 5:12].unique().numel() == 1
    assert torch.equal(left.crops[0, 12:], batch.crops[0, 12:]) and torch.equal(left.crops[1:], batch.crops[1:])


def test_half_of_the_clips_have_another_ones_second_half(data: Path) -> None:
    """Against a loop over clips: first frames as they were, then those of one single other clip, to its end."""
    network = TINY.model_copy(update={"streams": ("pixels", "points", "sound")})
    made = make_ready(settings(data, network=network, batch_pixels=7, batch_points=4, drop_pixels=0.3, drop_points=0.3))
    batch = made.batches[0].shown(88)
    torch.manual_seed(0)
    changed, own = exchange_halves(batch)
    assert batch.crops is not None and changed.crops is not None
    kinds = list(zip(batch.use_pixels.tolist(), batch.use_points.tolist(), batch.use_sound.tolist(), strict=True))
    for kind in set(kinds):
        some = [row for row, each in enumerate(kinds) if each == kind]
        assert own[some].sum() == (len(some) // 2 if len(some) > 1 else 1)
    for row in range(len(own)):
        cut, length = int(batch.lengths[row]) // 2, int(changed.lengths[row])
        others = [other for other, kind in enumerate(kinds) if other != row and kind == kinds[row]]
        begins = {other: int(batch.lengths[other]) // 2 for other in ([row] if own[row] else others)}
        more = length - cut
        fitting = [
            other for other, begin in begins.items()
            if more == int(batch.lengths[other]) - begin
            and all(
                torch.equal(now[row, cut:length].nan_to_num(9), before[other, begin : begin + more].nan_to_num(9))
                for now, before in (
                    (changed.points, batch.points), (changed.crops, batch.crops),
                    (changed.frame_labels, batch.frame_labels),
                )
            )
        ]
        assert fitting, row
        assert torch.equal(changed.crops[row, :cut], batch.crops[row, :cut])
        assert torch.equal(changed.shape[row, :cut].nan_to_num(9), batch.shape[row, :cut].nan_to_num(9))
        assert changed.points[row, length:].isnan().all() and not changed.crops[row, length:].any()
        assert (changed.frame_labels[row, length:] == UNKNOWN).all()
        if batch.sound is not None and changed.sound is not None:
            samples = changed.sound[row, cut * 640 : length * 640]
            begin = begins[fitting[0]] * 640
            assert torch.equal(samples, batch.sound[fitting[0], begin : begin + len(samples)])


def test_what_follows_is_told(data: Path, tmp_path: Path) -> None:
    still = AugmentConfig(
        shift_px=0, scale=0, rotate_deg=0, light=0, blur=0, noise=0, time_mask_frames=0, flip=0, speed=0, point_noise=0,
        point_warp=0, trim=0, splice=0,
    )
    config = settings(
        data, steps=150, out=tmp_path / "run", augment=still, shape_loss=0, batch_pixels=0, batch_points=12,
        learning_rate=5e-3, next_clip_loss=1.0, hidden_share=0.05,
    )
    made = make_ready(config)
    state, told = made.state, list[float]()
    assert state.hidden_frames is not None
    for step in range(config.steps):
        training_step(state, [made.batches[step]], config, CPU)
        state.step += 1
    network = state.network.eval()
    for number in range(10):
        changed, own = exchange_halves(made.batches[number])
        with torch.no_grad():
            pooled = network.encoder.pooler(network.encode(**changed.streams)[-1])
            told += (state.hidden_frames.follows(pooled).argmax(1) == own).tolist()
    assert np.mean(told) > 0.7
    with pytest.raises(ConfigError, match="next_clip_loss=1.0 is for task='frames'"):
        make_config(TrainConfig, {"next_clip_loss": 1.0})


def test_no_word_is_looked_at(data: Path) -> None:
    made = make_ready(settings(data))
    batch = made.batches[0].shown(88)
    other = batch.__class__(**vars(batch) | {
        "targets": torch.zeros_like(batch.targets), "frame_labels": torch.zeros_like(batch.frame_labels),
    })
    made.state.network.eval()
    losses = []
    for each in (batch, other):
        torch.manual_seed(0)
        losses.append(clip_losses(made.state, each, made.config))
    assert torch.equal(losses[0], losses[1]) and (losses[0] > 0).all()
    with pytest.raises(ConfigError, match="is for task='sentences'"):
        from train import parse

        parse(["--task", "frames", "--middle_ctc", "0.3"])


def test_it_is_learned_and_words_are_learned_from_there(data: Path, tmp_path: Path) -> None:
    still = AugmentConfig(shift_px=0, scale=0, rotate_deg=0, light=0, blur=0, noise=0, time_mask_frames=0)
    config = settings(
        data, steps=100, out=tmp_path / "before", augment=still, shape_loss=0, batch_pixels=6, batch_points=6,
        learning_rate=5e-3,
    )
    losses: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "training_step", lambda *args: kept(losses, training_step(*args)))
        train(config, show=False)
        best = train(config.model_copy(update={"steps": 200}), show=False)  # goes on where it stopped
    assert len(losses) == 200 and np.mean(losses[-40:]) < 0.8 * np.mean(losses[:40])
    network = dict(load_checkpoint(best).network.state_dict())
    assert not any("centres" in name for name in network)
    with pytest.raises(DataError, match="trained with another task: frames"):
        train(config.model_copy(update={"task": "sentences"}), show=False)
    words = make_ready(config.model_copy(update={"task": "sentences", "init": best, "out": tmp_path / "after"}))
    assert torch.equal(words.state.network.encoder.pooler.dense.weight, network["encoder.pooler.dense.weight"])
    assert words.state.hidden_frames is None
