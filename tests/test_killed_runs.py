"""Runs that are killed at random moments and started again end with exactly the outputs of an unbroken run."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from lipread import cli
from lipread.run_record import RECORD_NAME
from shell import command, outputs_of, record_of, run, talking, tiny_checkpoint, wall

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")

KILLS = 20  # of the command as it usually runs
KILLS_ALONE = 10  # of one process that reads by itself
CLIPS = 48  # more than all the kills let through
SEED = 6


class Process(Protocol):
    """What both kinds of processes can do."""

    def kill(self) -> None: ...


@dataclass(frozen=True)
class Work:
    """A folder of clips, a model, and what an unbroken run makes of them."""

    source: Path
    model: Path
    unbroken: Path

    def options(self, out: Path, workers: int) -> list[str]:
        """The command's arguments."""
        model = ["--model", str(self.model), "--device", "cpu", "--workers", str(workers)]
        return ["transcribe", str(self.source), "-o", str(out), "-f", "txt,json", "-q", *model]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Clips of different length in several folders, one without a face, one that is no video."""
    folder = tmp_path_factory.mktemp("work")
    made = Work(folder / "in", tiny_checkpoint(folder), folder / "unbroken")
    for number in range(CLIPS):
        talking(made.source / f"{number % 3}" / f"{number:02d}.mp4", number % 10, 5 + number % 6)
    wall(made.source / "1" / "wall.mp4")
    (made.source / "2" / "torn.mp4").write_text("no video")
    assert run(*made.options(made.unbroken, 1)).returncode == 1
    return made


def kill_again_and_again(
    start: Callable[[], Process], ended: Callable[[Process], bool], out: Path, kills: int
) -> None:
    """Kill each run after one or two videos or none, at any moment between them, or while it starts."""
    rng = random.Random(SEED)
    for number in range(kills):
        before, more = lines(out), rng.randrange(3) if number else 0
        process = start()
        while lines(out) < before + more and not ended(process):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.15 if more else 3))
        assert not ended(process), f"all was done after {number} kills"
        process.kill()
        while not ended(process):
            time.sleep(0.005)


def lines(out: Path) -> int:
    """Lines in the record."""
    path = out / RECORD_NAME
    return path.read_bytes().count(b"\n") if path.exists() else 0


def check(out: Path, unbroken: Path) -> None:
    """Same outputs, nothing else, each video read once."""
    assert outputs_of(out) == outputs_of(unbroken)
    read = [line["name"] for line in record_of(out) if line["result"] != "failed"]
    assert sorted(read) == sorted(line["name"] for line in record_of(unbroken) if line["result"] != "failed")
    assert len(read) == CLIPS + 1


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_as_an_unbroken_one(work: Work, tmp_path: Path) -> None:
    """The command is killed, and its two workers end with it, perhaps after the next one has begun."""

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command(*work.options(out, 2)), stderr=subprocess.DEVNULL)

    out = tmp_path / "out"
    kill_again_and_again(start, lambda process: process.poll() is not None, out, KILLS)  # type: ignore[attr-defined]
    assert start().wait() == 1  # one is no video
    check(out, work.unbroken)


@pytest.mark.slow
def test_a_run_without_workers_that_is_killed_ends_as_an_unbroken_one(work: Work, tmp_path: Path) -> None:
    """The process that reads is killed; a server that has the libraries loaded forks it, to save time."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["lipread.cli", "lipread.pipeline", "lipread.terminal", "mediapipe"])

    def start() -> multiprocessing.Process:
        process = forks.Process(target=cli.main, args=(work.options(out, 0),))
        process.start()
        return process  # type: ignore[return-value]

    out = tmp_path / "out"
    kill_again_and_again(start, lambda process: process.exitcode is not None, out, KILLS_ALONE)  # type: ignore[attr-defined]
    start().join()
    check(out, work.unbroken)
