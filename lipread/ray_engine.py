"""Many videos on a Ray cluster: a Ray Data pipeline whose actors hold the model.

    videos -> [actor: fetch, read, write outputs] x many -> outcomes -> the record, here

Each actor reads in a worker process of its own, as the engine without Ray does, so a video that crashes FFmpeg or hangs
costs itself only and is named; an actor or a machine that is lost costs time: Ray starts another one and gives it the
video again. A video takes one way through one actor because its pictures are large and its outputs are small.

Every machine of the cluster needs lipread installed, and needs to reach inputs and outputs under the same names.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import socket
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from lipread.batch import Outcome, Tell
from lipread.engines import Preparation, WorkerEngine
from lipread.errors import ConfigError, missing_libraries_named
from lipread.inputs import Job
from lipread.remote import is_url
from lipread.workers import Later

CONNECT_S = 10
MAX_BLOCKS = 10_000  # pieces that the list of videos is cut into; a piece that is lost is read again


class RayEngine:
    """Reads on the cluster that RAY_ADDRESS names, or on one of this machine.

    Args:
        preparation: what each actor starts with.
        actors: how many, at most; None: one per core of the cluster.
    Raises: MissingDependencyError: Ray is not installed. ConfigError: no cluster answers at RAY_ADDRESS.
    """

    def __init__(self, preparation: Preparation, actors: int | None = None) -> None:
        with missing_libraries_named("pip install 'lipread[ray]'"):
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers that it runs
            import ray
            import ray.data
        self._ray: Any = ray
        self._preparation, self._actors = preparation, actors
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        if not ray.is_initialized():
            _start(ray)

    def run(self, jobs: Iterable[Job | Later], tell: Tell) -> Iterator[tuple[Job, Outcome]]:
        """As `Engine`. Raises: what loading the model raises."""
        todo = [job for job in jobs if isinstance(job, Job)]
        if not todo:
            return
        resources = self._ray.cluster_resources()
        cores, gpus = max(1, int(resources.get("CPU", 1))), resources.get("GPU", 0)
        most = max(1, min(self._actors or cores, len(todo)))
        data = self._ray.data
        data.DataContext.get_current().enable_progress_bars = False
        rows = data.from_items(
            [{"number": number, "job": pickle.dumps(job)} for number, job in enumerate(todo)],
            override_num_blocks=min(len(todo), MAX_BLOCKS),
        ).map(
            _Actor,
            fn_constructor_args=(self._preparation, os.getcwd()),
            compute=data.ActorPoolStrategy(min_size=1, max_size=most, max_tasks_in_flight_per_actor=2),
            num_cpus=1,
            num_gpus=gpu_share(gpus, most) or None,
        )
        for row in rows.iter_rows():
            outcome = pickle.loads(row["outcome"])
            if isinstance(outcome, Exception):
                raise outcome
            yield todo[row["number"]], outcome


def _start(ray: Any) -> None:
    """Begin with the cluster that RAY_ADDRESS names, or one of this machine.

    Raises: ConfigError: none answers there.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdecimal():  # Ray itself tries for many minutes
            socket.create_connection((host, int(port)), CONNECT_S).close()
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        if not address:
            raise
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"RAY_ADDRESS={address}: no Ray cluster answers there ({reason}); give HOST:PORT of its head node, or "
            "unset it for one of this machine"
        ) from error


class _Actor:
    """Reads one video after the other somewhere in the cluster, in a process that can be ended."""

    def __init__(self, preparation: Preparation, folder: str) -> None:
        if os.path.isdir(folder):  # relative paths mean there what they mean here
            os.chdir(folder)
        self._engine = WorkerEngine(preparation, 1)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        outcome: Outcome | Exception
        job = pickle.loads(row["job"])
        try:
            ((_, outcome),) = self._engine.run([job], lambda *_: None)
        except Exception as error:  # the model cannot be loaded: no video can be read
            outcome = error
        return {"number": row["number"], "outcome": pickle.dumps(outcome)}


def gpu_share(gpus: float, actors: int) -> float:
    """The part of a GPU that each actor asks for, so that all find room: one over a whole number, in Ray's steps."""
    return math.floor(10_000 / math.ceil(actors / gpus)) / 10_000 if gpus else 0.0


def preparation_for_cluster(preparation: Preparation) -> Preparation:
    """The same with absolute paths and a thread for each actor.

    Raises: ConfigError: the model is a file that is not here.
    """
    model, recipe = preparation.model, preparation.recipe
    if model.endswith(".safetensors"):
        if not os.path.isfile(model):
            raise ConfigError(f"{model}: no such checkpoint; give a file that every machine of the cluster reaches")
        model = os.path.abspath(model)
    folder = recipe.folder if is_url(recipe.folder) else recipe.folder.absolute()  # type: ignore[union-attr]
    return replace(preparation, model=model, recipe=replace(recipe, folder=folder), threads=1)
