"""One network that many ask: its own numbers, together where they come together, errors to whom they belong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lipread import engines, shared_network
from lipread.batch import Done, Failure, Outcome, Recipe
from lipread.checkpoint import load_with_partner
from lipread.devices import may_be_accelerated
from lipread.engines import HereEngine, Preparation, WorkerEngine, shared
from lipread.errors import ConfigError
from lipread.inputs import Job
from lipread.model.network import LipNetwork
from lipread.pipeline import checkpoint_path, load_model, reading_networks
from lipread.shared_network import Line, NetworkServer, networks_away
from networks import TINY, tiny_network

HEARING = TINY.model_copy(update={"streams": ("pixels", "points", "sound")})


@pytest.fixture
def networks(one_thread: None) -> tuple[LipNetwork, LipNetwork]:
    return tiny_network(HEARING), tiny_network(HEARING, seed=1)


@pytest.fixture
def server(networks: tuple[LipNetwork, LipNetwork]) -> Iterator[NetworkServer]:
    with NetworkServer(networks) as made:
        yield made


def asked(network: LipNetwork, clips: int, frames: int, streams: str, seed: int) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities and states of random clips of different lengths, with the streams of these initials."""
    rng = np.random.default_rng(seed)
    lengths = torch.from_numpy(rng.integers(1, frames + 1, clips))
    lengths[-1] = frames
    crops = torch.from_numpy(rng.integers(0, 256, (clips, frames, 88, 88)).astype(np.uint8)) if "c" in streams else None
    points = torch.from_numpy(rng.normal(size=(clips, frames, 9, 2)).astype(np.float32)) if "p" in streams else None
    if points is not None:
        points[:, ::3] = torch.nan  # no face there
    sound = torch.from_numpy(rng.normal(size=(clips, frames * 640)).astype(np.float32)) if "s" in streams else None
    use = torch.from_numpy(rng.integers(0, 2, clips).astype(bool)) if clips > 1 and points is not None else None
    with torch.inference_mode():
        states = network.encode(crops, points, lengths, sound, use_points=use)
        log_probs, _ = network(crops, points, lengths, sound, use_points=use)
    real = torch.arange(frames)[None] < lengths[:, None]
    return log_probs[real], [layer[:, 1:][real] for layer in states]


def until_asked(server: NetworkServer, waiting: int) -> None:
    """Wait until so many calls wait, beside the one that was taken."""
    end_s = time.monotonic() + 30
    while server._calls.qsize() < waiting and time.monotonic() < end_s:
        time.sleep(0.01)


@pytest.mark.parametrize("streams", ["cp", "p", "s", "cps", "c"])
def test_it_gives_the_network_s_own_numbers(
    networks: tuple[LipNetwork, LipNetwork], server: NetworkServer, streams: str
) -> None:
    for own, away in zip(networks, networks_away(server.address, networks), strict=True):
        for clips in (1, 3):
            log_probs, states = asked(own, clips, 11, streams, clips)
            from_away, states_away = asked(away, clips, 11, streams, clips)
            torch.testing.assert_close(from_away, log_probs, atol=2e-4, rtol=1e-4)
            for layer, there in zip(states, states_away, strict=True):
                torch.testing.assert_close(there, layer, atol=2e-4, rtol=1e-4)


def test_what_comes_while_it_is_busy_goes_through_together(
    networks: tuple[LipNetwork, LipNetwork], server: NetworkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven ask at once, for clips of other lengths and with other streams: each gets what it would get alone."""
    together, answer = list[int](), shared_network.answers_to
    begun, asked_by_all = threading.Event(), threading.Event()

    def counted(network: LipNetwork, calls: list[shared_network.Call]) -> list[object]:
        begun.set()
        asked_by_all.wait(30)
        together.append(len(calls))
        return answer(network, calls)

    monkeypatch.setattr(shared_network, "answers_to", counted)
    kinds = [(1, 9, "cp"), (2, 14, "s"), (1, 5, "cps"), (3, 12, "p"), (1, 20, "c"), (1, 7, "s"), (2, 3, "cp")]
    lines = [networks_away(server.address, networks)[0] for _ in kinds]  # as of seven processes
    with ThreadPoolExecutor(len(kinds)) as pool:
        found = [pool.submit(asked, lines[0], *kinds[0], 0)]
        begun.wait(30)  # with the first alone
        found += [pool.submit(asked, lines[seed], *kind, seed) for seed, kind in enumerate(kinds) if seed]
        until_asked(server, len(kinds) - 1)
        asked_by_all.set()
        for seed, (kind, answered) in enumerate(zip(kinds, found, strict=True)):
            torch.testing.assert_close(answered.result()[0], asked(networks[0], *kind, seed)[0], atol=2e-4, rtol=1e-4)
    assert max(together) >= 6  # all but the first, which had nobody to wait for
    assert sum(together) == 4 * len(kinds)  # features and states, for `encode` and once more for the whole


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), ValueError("an odd batch")])
def test_a_batch_that_fails_is_asked_again_in_parts(
    networks: tuple[LipNetwork, LipNetwork], server: NetworkServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    begun, asked_by_all, answer = threading.Event(), threading.Event(), shared_network.answers_to

    def narrow(network: LipNetwork, calls: list[shared_network.Call]) -> list[object]:
        begun.set()
        asked_by_all.wait(30)
        if len(calls) > 1 or calls[0].frames == 13:
            raise error
        return answer(network, calls)

    monkeypatch.setattr(shared_network, "answers_to", narrow)
    lines = [networks_away(server.address, networks)[0] for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:
        found = [pool.submit(asked, lines[0], 1, 10, "cp", 0)]
        begun.wait(30)  # with the first alone
        found += [pool.submit(asked, lines[number], 1, 10 + number, "cp", number) for number in range(1, 5)]
        until_asked(server, 4)
        asked_by_all.set()
        told = ConfigError if isinstance(error, torch.OutOfMemoryError) else type(error)
        with pytest.raises(told, match=str(error)):  # nobody else's error
            found.pop(3).result()
        for answered in found:
            assert torch.isfinite(answered.result()[0]).all()
    assert asked(lines[3], 1, 4, "p", 0)[0].shape == (4, HEARING.alphabet_size)  # the line goes on


def test_calls_that_are_too_many_for_one_batch_are_several() -> None:
    def call(clips: int, frames: int, number: int = 0) -> shared_network._Asked:
        return shared_network.Call(number, "features", np.full(clips, frames), frames, {}), None  # type: ignore[return-value]

    calls = [call(1, 100), call(1, 100, 1), call(60, 250), call(4, 250), call(1, 10), call(100, 250)]
    groups = [[(len(each.lengths), each.frames) for each, _ in group] for group in shared_network._groups(calls)]
    assert groups == [[(1, 100), (60, 250)], [(4, 250), (1, 10)], [(100, 250)], [(1, 100)]]


def points_of_nobody() -> tuple[shared_network.Array, shared_network.Array]:
    return np.zeros((1, 3, 9, 2), np.float32), np.ones(1, bool)


def test_strangers_are_turned_away_and_a_killed_process_stops_nobody(
    networks: tuple[LipNetwork, LipNetwork], server: NetworkServer
) -> None:
    from multiprocessing.connection import Client
    from multiprocessing.context import AuthenticationError

    with pytest.raises(AuthenticationError):
        Client(server.address, authkey=b"somebody else's")
    gone = Line(server.address)
    gone._pipe.send(shared_network.Call(0, "features", np.full(1, 3), 3, {"points": points_of_nobody()}))
    gone._pipe.close()
    away = networks_away(server.address, networks)[0]
    assert asked(away, 1, 4, "p", 0)[0].shape == (4, HEARING.alphabet_size)


def test_it_ends_though_nobody_asked() -> None:
    with NetworkServer([tiny_network()]):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name == "lipread-network"]


def test_a_line_that_is_broken_ends_its_process(
    networks: tuple[LipNetwork, LipNetwork], server: NetworkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = networks_away(server.address, networks)[0]
    assert isinstance(away, shared_network.AwayNetwork)
    away._line._pipe.close()
    with pytest.raises(SystemExit, match="the line to the networks is broken"):
        asked(away, 1, 4, "p", 0)


def test_a_long_name_of_the_temporary_folder_is_no_hindrance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (long := tmp_path / ("x" * 120)).mkdir()
    script = (
        "from lipread.shared_network import Line, NetworkServer\n"
        "with NetworkServer([]) as server: Line(server.address); print(type(server.address).__name__)\n"
    )
    environment = {**os.environ, "TMPDIR": str(long)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout == "tuple\n", done.stderr


def outcomes(way: object, jobs: list[Job]) -> dict[str, Outcome]:
    return {job.name: outcome for job, outcome in way.run(jobs, lambda *_: None)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("modality", ["video", "auto"])
def test_workers_that_share_write_what_one_reader_writes(tmp_path: Path, grid_dir: Path, modality: str) -> None:
    """Real clips and a broken file, lips alone, and both models with their sound."""
    clips = sorted(grid_dir.glob("clips/s1_*.mp4"))[:5]
    (tmp_path / "torn.mp4").write_bytes(clips[0].read_bytes()[:3000])
    jobs = [Job(path, path.stem) for path in (*clips, tmp_path / "torn.mp4")]
    here = Recipe(tmp_path / "here", ("txt", "srt", "json"), modality=modality)  # type: ignore[arg-type]
    there = replace(here, folder=tmp_path / "there")
    expected = outcomes(HereEngine(load_model("small", "cpu"), here), jobs)
    networks = reading_networks(load_with_partner(checkpoint_path("small"), "cpu"))
    with NetworkServer(networks) as server:
        preparation = Preparation("small", "meta", there, networks=server.address)
        with WorkerEngine(preparation, 2) as engine:
            found = outcomes(engine, jobs)
    assert found.keys() == expected.keys()
    for name, outcome in expected.items():
        other = found[name]
        if isinstance(outcome, Failure):
            assert isinstance(other, Failure)
            assert other.message == outcome.message
            continue
        assert isinstance(other, Done)
        assert other.device == "meta"  # as it was told: where the server has its networks
        for suffix in ("txt", "srt"):
            texts = {(tmp_path / side / f"{name}.{suffix}").read_text() for side in ("here", "there")}
            assert len(texts) == 1
        one, two = (json.loads((tmp_path / side / f"{name}.json").read_text()) for side in ("here", "there"))
        assert one["confidence"] == pytest.approx(two["confidence"], abs=2e-3)
        assert [each["why"] for each in one["segments"]] == [each["why"] for each in two["segments"]]
    assert isinstance(expected["torn"], Failure)


def test_processor_cores_have_networks_of_their_own(tmp_path: Path) -> None:
    preparation = Preparation("small", "cpu", Recipe(tmp_path))
    for workers in (1, 2):
        with shared(preparation, workers) as same:
            assert same is preparation


def test_on_an_accelerator_workers_ask_the_networks_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none here: the processor stands for it."""
    monkeypatch.setattr(engines, "choose_device", torch.device)
    monkeypatch.setattr("lipread.checkpoint.load_with_partner", lambda path, _: load_with_partner(path, "cpu"))
    preparation = Preparation("small", "cuda:1", Recipe(tmp_path))
    with shared(preparation, 1) as alone:
        assert alone is preparation  # a single worker may have the GPU
    with shared(preparation, 2) as together:
        assert (together.device, together.model) == ("cuda:1", "small")
        assert together.networks is not None
        own = reading_networks(load_with_partner(checkpoint_path("small"), "cpu"))
        for network, away in zip(own, networks_away(together.networks, own), strict=True):
            found, expected = (asked(each, 1, 6, "p", 0)[0] for each in (away, network))
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_an_accelerator_is_looked_for_only_where_one_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    def driver(found: bool) -> Callable[[str], object]:
        def load(name: str) -> object:
            if not found:
                raise OSError(f"{name}: cannot open shared object file")
            return object()

        return load

    monkeypatch.setattr("sys.platform", "linux")
    for found in (True, False):
        monkeypatch.setattr("ctypes.CDLL", driver(found))
        assert may_be_accelerated("auto") is found
        assert may_be_accelerated("cuda:1")
        assert not may_be_accelerated("cpu")
