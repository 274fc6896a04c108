"""Ways to read many videos: in this process, or in workers, where a crash, a hang or lack of memory costs one file."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipread.batch import Outcome, Recipe, Tell, failure, read_one
from lipread.devices import choose_device, may_be_accelerated
from lipread.errors import NoPictureError, VideoError, missing_libraries_named
from lipread.inputs import Job
from lipread.remote import is_url, keep_scratch_apart, state_of, sweep_scratch
from lipread.workers import POLL_S, Later, TimeLimit, TookTooLong, WorkerDied, WorkerPool
from lipread.workers import Tell as Send

if TYPE_CHECKING:
    from lipread.pipeline import LipReader
    from lipread.shared_network import Address

BASE_LIMIT_S = 120.0  # for any video, however short
LIMIT_PER_S = 10.0  # of video; a usual machine takes 0.2 s, with all its cores busy 1 s
SPARSE_BYTES_PER_S = 8_000  # a video that does not state its length is taken to have no fewer
TELL_EVERY_S = 0.2


class HereEngine:
    """Reads one video after the other in this process, where a crash is a crash."""

    def __init__(self, reader: LipReader, recipe: Recipe) -> None:
        self._reader, self._recipe = reader, recipe

    def run(self, jobs: Iterable[Job | Later], tell: Tell) -> Iterator[tuple[Job, Outcome]]:
        """As `Engine`."""
        for job in jobs:
            if isinstance(job, Later):
                time.sleep(POLL_S)
            else:
                yield job, read_one(
                    self._reader, job, self._recipe, functools.partial(tell, job),
                    lambda segment, job=job: tell(job, segment, 0.0),  # type: ignore[misc]
                )


class WorkerEngine:
    """Reads in worker processes; use it in a `with` statement, which ends them.

    Args:
        preparation: what each worker starts with.
        workers: how many, at most.
    """

    def __init__(self, preparation: Preparation, workers: int) -> None:
        self._pool: WorkerPool[Job, Outcome] = WorkerPool(preparation, workers)
        sweep_scratch()  # of a run that was killed as a whole

    def __enter__(self) -> WorkerEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close(kill=True)  # nothing is under way, unless this is the end after Ctrl-C
        sweep_scratch()

    def run(self, jobs: Iterable[Job | Later], tell: Tell) -> Iterator[tuple[Job, Outcome]]:
        """As `Engine`. Raises: what loading the model raises; WorkerDied: no worker comes to life."""
        for job, result in self._pool.run(jobs, lambda job, message: tell(job, *message)):
            if isinstance(result, WorkerDied):
                yield job, failure(job, f"{result}; convert the video to mp4 with another program")
            elif isinstance(result, TookTooLong):
                yield job, failure(job, f"{result}; give it longer with --timeout, or convert it to mp4")
            else:
                yield job, result


@dataclass(frozen=True)
class Preparation:
    """How a worker gets ready to read.

    Attributes:
        model, device, search: as `load_model`.
        networks: of a `NetworkServer` that has this model on this device; None: each worker has its own.
        recipe: what is made of every video.
        threads: for each worker's network, decoder and picture work, so that all of them together have one per core.
        timeout_s: how long one video may take; None: as `time_limit_s` says; 0: as long as it likes.
    """

    model: str
    device: str
    recipe: Recipe
    search: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    timeout_s: float | None = None
    networks: Address | None = None

    def __call__(self) -> functools.partial[Outcome]:
        """Load everything and give the function that reads one video."""
        keep_scratch_apart()
        with missing_libraries_named():
            import cv2
            import torch

            from lipread import video
            from lipread.pipeline import load_model

            for use_threads in (torch.set_num_threads, cv2.setNumThreads, video.use_threads):
                use_threads(self.threads)
            reader = load_model(self.model, "cpu" if self.networks else self.device, **self.search)
            reader.require_text()
            if self.networks:
                from lipread.shared_network import networks_away

                reader.ask(networks_away(self.networks, (reader.network, reader.listener)), device=self.device)
        return functools.partial(_read, reader, self.recipe, self.timeout_s)


@contextlib.contextmanager
def shared(preparation: Preparation, workers: int) -> Iterator[Preparation]:
    """The same for workers that share their networks, where these run on a GPU; on processor cores each has its own, as
    it has where dropout goes on in reading.

    Raises: what loading the model raises.
    """
    if workers < 2 or preparation.search.get("dropout_passes") or not may_be_accelerated(preparation.device):
        yield preparation
        return
    with missing_libraries_named():
        from lipread.checkpoint import load_with_partner
        from lipread.pipeline import checkpoint_path, reading_networks
        from lipread.shared_network import NetworkServer

        device = choose_device(preparation.device)
        if device.type == "cpu":
            yield preparation
            return
        networks = reading_networks(load_with_partner(checkpoint_path(preparation.model), device))
    with NetworkServer(networks) as server:
        yield replace(preparation, device=str(device), networks=server.address)


def _read(reader: LipReader, recipe: Recipe, timeout_s: float | None, job: Job, send: Send) -> Outcome:
    """What a worker does with a video."""
    if timeout_s is None:
        send(TimeLimit(BASE_LIMIT_S))  # for looking at its length
        timeout_s = time_limit_s(job.source)
    if timeout_s > 0:
        send(TimeLimit(timeout_s))
    told_s = 0.0

    def progress(stage: str, share: float) -> None:
        nonlocal told_s
        if time.monotonic() - told_s >= TELL_EVERY_S:
            told_s = time.monotonic()
            send((stage, share))

    return read_one(reader, job, recipe, progress, lambda segment: send((segment, 0.0)))


def time_limit_s(path: Path | str) -> float:
    """How long a video may take to read, by its length, or by its size where it states no length."""
    from lipread.container import stated_length_s
    from lipread.video import probe

    if is_url(path):
        state = state_of(path)
        return BASE_LIMIT_S + LIMIT_PER_S * (state.size / SPARSE_BYTES_PER_S if state else 0.0)
    try:
        length_s = stated_length_s(path) or 0.0
        with contextlib.suppress(NoPictureError):  # sound alone
            length_s = max(length_s, probe(path).duration_s or 0.0)  # an hour of sound may have a single picture
    except VideoError:  # reading it will say why
        return BASE_LIMIT_S
    try:
        length_s = length_s or os.path.getsize(path) / SPARSE_BYTES_PER_S
    except OSError:
        length_s = 0.0
    return BASE_LIMIT_S + LIMIT_PER_S * length_s


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sensible_workers(videos: int | None) -> int:
    """One worker per core, but no more than videos; None: any number of videos may come."""
    return usable_cores() if videos is None else max(1, min(usable_cores(), videos))

