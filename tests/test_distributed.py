"""Several gloo processes against one: losses, gradients, running statistics and weights of whole training steps."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from lipread.alphabet import Alphabet
from lipread.config import TrainConfig
from lipread.errors import ConfigError
from lipread.training import distributed
from lipread.training.clips import load_clips
from lipread.training.dataset import TrainingBatches
from lipread.training.loop import dry_run, measure, train, training_step
from lipread.training.schedule import WeightAverage
from lipread.training.state import prepare_state
from networks import TINY, still
from prepared import VOCABULARY, prepare

CPU = torch.device("cpu")
WORDS = tuple(sorted(VOCABULARY))
STEPS = 3


def settings(folder: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "data": (folder / "data",), "network": still(TINY), "batch_pixels": 3, "batch_points": 4, "warmup_steps": 0,
        "learning_rate": 1e-2, "curriculum_steps": 0, "clip_norm": 0.5, "steps": STEPS, "device": "cpu",
    }
    return TrainConfig(**values | changes)


CASES: dict[str, dict[str, Any]] = {
    "synchronised": {},
    "accumulated": {"accumulate": 3, "freeze_batchnorm": True},  # with its statistics over micro-batches it differs
    "one without pixels": {"batch_pixels": 1, "batch_points": 1, "drop_pixels": 0.0},
    "two views": {"consistency": 0.5, "batch_pixels": 4},
    "front-end first, one without pixels": {
        "frontend_steps": 2, "batch_pixels": 1, "batch_points": 3, "drop_pixels": 0.0,
    },
    "pixels alone": {"batch_pixels": 3, "batch_points": 0, "drop_pixels": 0.0, "drop_points": 1.0},
    "frames shared": {"context_processes": 2},
    "frames shared, accumulated": {"context_processes": 2, "accumulate": 3, "freeze_batchnorm": True},
    "frames shared, two views": {"context_processes": 2, "consistency": 0.5, "batch_pixels": 4, "middle_ctc": 0.3},
    "frames shared, front-end first": {"context_processes": 2, "frontend_steps": 2, "batch_pixels": 1},
    "frames shared, no pixels": {"context_processes": 2, "batch_pixels": 0},
}


def trained(config: TrainConfig, place: distributed.Place) -> dict[str, Tensor]:
    """Losses, first gradient, weights and average after some steps."""
    clips = [clip for clip in load_clips(config.data[0]) if clip.split == "train"]
    state = prepare_state(config, Alphabet.english(), WORDS, CPU)
    state.network.context = place.context
    for module in (state.network, state.frame_words, state.pixel_words, state.lip_shape):
        module.double()  # in float32, rounding moves maxima of the pooling to other pixels
    state.average = WeightAverage(state.network, config.ema_decay)
    batches = TrainingBatches(
        clips, config, Alphabet.english(), WORDS, crop_side_px=88, rank=place.data_rank, world_size=place.data_size
    )
    for group in state.optimizer.param_groups:
        group["eps"] = 1e-2  # Adam would make whole steps out of gradients that are nothing but rounding
    parts: dict[str, Tensor] = {}
    for step in range(STEPS):
        micro = [batches[step * config.accumulate + k] for k in range(config.accumulate)]
        parts[f"loss{step}"] = training_step(state, micro, config, CPU)
        state.step += 1
        if not step:
            parts |= {
                f"gradient {name}": torch.zeros_like(p) if p.grad is None else p.grad.clone()
                for name, p in nn.ModuleList(
                    [state.network, state.frame_words, state.pixel_words, state.lip_shape]
                ).named_parameters()
            }
    parts |= {f"weight {key}": value for key, value in state.network.state_dict().items()}
    return parts | {f"average {key}": value for key, value in state.average.state.items()}


def flat(parts: dict[str, Tensor], kind: str) -> Tensor:
    """All of one kind in one vector."""
    return torch.cat([value.flatten() for key, value in parts.items() if key.startswith(kind)])


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    assert distributed.join(CPU) == distributed.Place(rank, 2, CPU)
    results = {}
    for case, changes in CASES.items():
        config = settings(Path(folder), **changes)
        results[case] = trained(config, distributed.join(CPU, config.context_processes))
    results["sum"] = {"value": distributed.sum_over_processes(torch.tensor([1.0 + rank, 10.0]))}
    with_gradient, without, idle = (nn.Parameter(torch.zeros(size)) for size in ((2, 3), (4,), (5,)))
    frozen = nn.Parameter(torch.zeros(1), requires_grad=False)
    with_gradient.grad = torch.full((2, 3), 1.0 + rank)
    if rank:
        without.grad = torch.arange(4.0)
    distributed.sum_gradients([with_gradient, without, idle, frozen])
    assert with_gradient.grad is not None
    assert without.grad is not None
    assert frozen.grad is None
    assert idle.grad is None  # nobody has one: the optimizer is to leave it alone
    results["sum"] |= {"with": with_gradient.grad, "without": without.grad}
    torch.save(results, f"{folder}/{rank}.pt")
    dist.barrier()
    distributed.leave()
    assert not dist.is_initialized()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, dict[str, Tensor]]]]:
    """The folder with the data, and what the two processes found."""
    folder = tmp_path_factory.mktemp("two")
    prepare(folder / "data", splits=("train",))
    context = mp.start_processes(one_of_two, args=(str(folder),), nprocs=2, join=False, start_method="spawn")
    deadline = time.monotonic() + 600
    while not context.join(timeout=5):
        if time.monotonic() > deadline:
            for process in context.processes:
                process.kill()
            pytest.fail("the two processes wait for each other")
    return folder, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(case: str, two: tuple[Path, list[dict[str, dict[str, Tensor]]]]) -> None:
    folder, found = two
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = trained(settings(folder, **CASES[case]), distributed.Place(0, 1, CPU))
    torch.set_num_threads(threads)
    start = prepare_state(settings(folder, **CASES[case]), Alphabet.english(), WORDS, CPU).network.state_dict()
    norm = torch.cat([value.flatten() for key, value in one.items() if key.startswith("gradient")]).norm()
    assert norm == pytest.approx(0.5, rel=1e-3)  # clipped, by the norm of both processes' sum
    for part in (found[0][case], found[1][case]):
        assert part.keys() == one.keys()
        for key, value in one.items():
            if key.startswith("gradient"):
                assert (part[key] - value).norm() <= 1e-4 * norm, key
            elif key.startswith("loss"):
                assert part[key].item() == pytest.approx(value.item(), rel=1e-5), key
        if "frames shared" in case:  # frames that both have count twice, which moves an unbiased variance a little
            for key in [key for key in one if key.endswith("running_var")]:
                torch.testing.assert_close(part[key], one[key], rtol=0.01, atol=0)
                part[key] = one[key]
        for kind in ("weight", "average"):
            moved = flat(one, kind) - flat({f"{kind} {key}": value for key, value in start.items()}, kind)
            assert moved.abs().max() > 1e-2
            assert (flat(part, kind) - flat(one, kind)).norm() < 1e-3 * moved.norm()
    assert all(torch.equal(found[0][case][key], found[1][case][key]) for key in one if "running" not in key)


def test_sums(two: tuple[Path, list[dict[str, dict[str, Tensor]]]]) -> None:
    for found in two[1]:
        assert found["sum"]["value"].tolist() == [3.0, 20.0]
        assert found["sum"]["with"].tolist() == [[3.0] * 3] * 2
        assert found["sum"]["without"].tolist() == [0.0, 1.0, 2.0, 3.0]  # absent in one process: zero there


def test_one_process_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert distributed.join(CPU) == distributed.Place(0, 1, CPU)
    value = torch.tensor([2.0])
    assert distributed.sum_over_processes(value).tolist() == [2.0]
    parameter = nn.Parameter(torch.zeros(1))
    distributed.sum_gradients([parameter])
    assert parameter.grad is None
    distributed.leave()


@pytest.mark.usefixtures("one_thread")
def test_processes_meet_once_for_all_stages(tmp_path: Path) -> None:
    """Those that part and meet again find the addresses of before, and now and then wait there for ever."""
    prepare(tmp_path / "data", clips=1)
    config = settings(tmp_path, steps=1, batch_pixels=1, batch_points=1, workers=0, out=tmp_path / "run")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    group = dist.group.WORLD
    try:
        best = train(config, show=False)
        dry_run(config)
        measure(config.model_copy(update={"init": best}))
        assert dist.group.WORLD is group is not None
    finally:
        distributed.leave()
    assert not dist.is_initialized()


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    began: list[str] = []
    chosen: list[int] = []
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(dist, "init_process_group", began.append)
    assert distributed.join(torch.device("cuda")).device == torch.device("cuda", 1)
    assert distributed.join(CPU).device == CPU
    assert (began, chosen) == (["nccl", "gloo"], [1])
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="process 3 of this machine has no GPU, there are 2; start 2"):
        distributed.join(torch.device("cuda"))
    with pytest.raises(ConfigError, match="cannot share device 'cuda:0'"):
        distributed.join(torch.device("cuda", 0))
    with pytest.raises(ConfigError, match="cannot train on device 'mps'"):
        distributed.join(torch.device("mps"))
