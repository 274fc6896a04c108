"""Batch normalisation against torch's own, alone and over two processes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from lipread.model.norm import BatchNorm, freeze_batchnorm


def pair(axes: int, momentum: float = 0.1) -> tuple[BatchNorm, nn.BatchNorm1d | nn.BatchNorm2d]:
    """Ours and torch's with the same random weights."""
    torch.manual_seed(0)
    ours = BatchNorm(5, momentum=momentum)
    theirs: nn.BatchNorm1d | nn.BatchNorm2d = (nn.BatchNorm1d if axes == 2 else nn.BatchNorm2d)(5, momentum=momentum)
    for name in ("weight", "bias", "running_mean", "running_var"):
        value = torch.rand(5) + 0.5
        getattr(ours, name).data.copy_(value)
        getattr(theirs, name).data.copy_(value)
    return ours, theirs


@pytest.mark.parametrize("axes", [2, 4])
@pytest.mark.parametrize("momentum", [0.1, 0.7])
def test_training_equals_torch(axes: int, momentum: float) -> None:
    ours, theirs = pair(axes, momentum)
    for step in range(3):
        x = torch.randn(7 + step, 5, *[3] * (axes - 2)) * 2 + 1
        mine, other = x.clone().requires_grad_(), x.clone().requires_grad_()
        out, wanted = ours(mine), theirs(other)
        out.square().sum().backward()
        wanted.square().sum().backward()
        assert torch.allclose(out, wanted, atol=1e-6)
        assert mine.grad is not None
        assert other.grad is not None
        assert torch.allclose(mine.grad, other.grad, atol=1e-5)
        assert torch.allclose(ours.running_mean, theirs.running_mean)
        assert torch.allclose(ours.running_var, theirs.running_var)
    assert torch.allclose(ours.weight.grad, theirs.weight.grad, rtol=1e-4)
    assert torch.allclose(ours.bias.grad, theirs.bias.grad, rtol=1e-4)


def test_momentum_by_hand() -> None:
    norm = BatchNorm(1, momentum=0.25)
    norm.train()(torch.tensor([[2.0], [6.0]]))  # mean 4, unbiased variance 8
    assert norm.running_mean.item() == pytest.approx(0.75 * 0 + 0.25 * 4)
    assert norm.running_var.item() == pytest.approx(0.75 * 1 + 0.25 * 8)


@pytest.mark.parametrize("axes", [2, 4])
def test_eval_equals_torch_and_moves_nothing(axes: int) -> None:
    ours, theirs = pair(axes)
    before = ours.running_mean.clone(), ours.running_var.clone()
    x = torch.randn(6, 5, *[3] * (axes - 2))
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), atol=1e-6)
    assert torch.equal(ours.running_mean, before[0])
    assert torch.equal(ours.running_var, before[1])


def test_frozen_training_is_eval_but_weights_learn() -> None:
    ours, theirs = pair(2)
    network = nn.Sequential(nn.Linear(4, 5), ours)
    freeze_batchnorm(network)
    network.train()
    before = ours.running_mean.clone()
    x = torch.randn(8, 5)
    out = ours(x)
    assert torch.allclose(out, theirs.eval()(x), atol=1e-6)
    assert torch.equal(ours.running_mean, before)
    out.square().sum().backward()
    assert ours.weight.grad is not None
    assert ours.weight.grad.abs().min() > 0
    freeze_batchnorm(network, False)
    ours(x)
    assert not torch.equal(ours.running_mean, before)


def test_freezing_is_not_undone_by_train() -> None:
    norm = BatchNorm(3)
    freeze_batchnorm(norm)
    norm.eval().train()
    norm(torch.randn(4, 3) + 9)
    assert norm.running_mean.abs().max() == 0


def test_one_value_has_no_variance_and_uses_the_running_statistics() -> None:
    ours, theirs = pair(2)
    before = ours.running_var.clone()
    x = torch.randn(1, 5)
    assert torch.allclose(ours.train()(x), theirs.eval()(x), atol=1e-6)
    assert torch.equal(ours.running_var, before)


def test_no_frames() -> None:
    assert BatchNorm(3).train()(torch.zeros(0, 3)).shape == (0, 3)


def test_state_dict_is_torchs_without_the_counter() -> None:
    assert [*BatchNorm(3).state_dict(), "num_batches_tracked"] == list(nn.BatchNorm1d(3).state_dict())


# -- two processes ----------------------------------------------------------------------------------------------------

SHARES = ((7, 4), (5, 0), (0, 0), (1, 2))  # frames of the two processes in steps one after the other


def frames_of(step: int) -> Tensor:
    return torch.randn(sum(SHARES[step]), 3, 2, 2, generator=torch.Generator().manual_seed(step)) * 2 + 1


def towards(step: int) -> Tensor:
    """Something different for each frame to multiply outputs with: a loss that BatchNorm does not make constant."""
    return torch.randn(sum(SHARES[step]), 3, 2, 2, generator=torch.Generator().manual_seed(100 + step))


def steps(norm: BatchNorm, rank: int | None) -> dict[str, Tensor]:
    """All steps in training mode; `rank` None is the one process with everything."""
    results: dict[str, Tensor] = {}
    for step, (first, second) in enumerate(SHARES):
        mine = slice(None) if rank is None else slice(0, first) if rank == 0 else slice(first, first + second)
        if rank is None and not first + second:
            continue  # a single process simply has no such step
        x = frames_of(step)[mine].requires_grad_()
        out = norm(x)
        (out * towards(step)[mine]).sum().backward()
        assert x.grad is not None
        results |= {f"out{step}": out.detach(), f"grad{step}": x.grad}
        results |= {f"mean{step}": norm.running_mean.clone(), f"var{step}": norm.running_var.clone()}
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    return results | {"weight": norm.weight.grad, "bias": norm.bias.grad}


def new_norm() -> BatchNorm:
    norm = BatchNorm(3, momentum=0.3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        norm.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    return norm.train()


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    norm = new_norm()
    results = steps(norm, rank)
    freeze_batchnorm(norm)
    if rank == 0:  # frozen, and in eval mode, no process waits for another
        results["frozen"] = norm(frames_of(0)).detach()
        results["eval"] = norm.eval()(frames_of(0)).detach()
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def run_two(target: object, folder: Path) -> list[dict[str, Tensor]]:
    """Two processes that meet through a file (no port to be taken by another) -> what each one saved."""
    context = mp.start_processes(target, args=(str(folder),), nprocs=2, join=False, start_method="spawn")
    deadline = time.monotonic() + 120
    while not context.join(timeout=5):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            pytest.fail("the two processes wait for each other")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_equal_one_with_the_whole_batch(tmp_path: Path) -> None:
    parts = run_two(one_of_two, tmp_path)
    norm = new_norm()
    wanted = steps(norm, None)
    for step, frames in enumerate(SHARES):
        if not sum(frames):
            assert torch.equal(parts[0][f"mean{step}"], parts[0][f"mean{step - 1}"])  # nothing seen, nothing moved
            assert torch.equal(parts[1][f"var{step}"], parts[1][f"var{step - 1}"])
            continue
        for name in ("out", "grad"):
            joined = torch.cat([part[f"{name}{step}"] for part in parts])
            assert torch.allclose(joined, wanted[f"{name}{step}"], atol=1e-5), (name, step)
        for part in parts:
            assert torch.allclose(part[f"mean{step}"], wanted[f"mean{step}"], atol=1e-6)
            assert torch.allclose(part[f"var{step}"], wanted[f"var{step}"], atol=1e-5)
    assert torch.allclose(parts[0]["weight"] + parts[1]["weight"], wanted["weight"], atol=1e-4)
    assert torch.allclose(parts[0]["bias"] + parts[1]["bias"], wanted["bias"], atol=1e-4)
    assert torch.allclose(parts[0]["frozen"], parts[0]["eval"])
    assert torch.allclose(parts[0]["eval"], norm.eval()(frames_of(0)), atol=1e-5)
