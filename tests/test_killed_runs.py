"""Runs that are killed at random moments and started again end with exactly the outputs of an unbroken run."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from lipread import cli
from lipread.run_record import RECORD_NAME
from shell import command, outputs_of, record_of, talking, tiny_checkpoint, wall

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX")

KILLS = 20
CLIPS = 24
SEED = 6


class Process(Protocol):
    """What both kinds of processes can do."""

    def kill(self) -> None: ...


def folder_of_clips(folder: Path) -> Path:
    """Clips of different length in several folders, one without a face, one that is no video."""
    for number in range(CLIPS):
        talking(folder / f"{number % 3}" / f"{number:02d}.mp4", number % 10, 5 + number % 6)
    wall(folder / "1" / "wall.mp4")
    (folder / "2" / "torn.mp4").write_text("no video")
    return folder


def kill_again_and_again(
    start: Callable[[], Process], ended: Callable[[Process], bool], out: Path, kills: int = KILLS
) -> None:
    """Kill each run after one or two videos or none, at any moment between them, or while it starts."""
    rng = random.Random(SEED)
    for number in range(kills):
        before, more = lines(out), rng.randrange(3) if number else 0
        process = start()
        while lines(out) < before + more and not ended(process):
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.3 if more else 3))
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
def test_a_run_killed_twenty_times_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    """The process that reads is killed; a server that has the libraries loaded forks it, to save time."""
    model, source = tiny_checkpoint(tmp_path), folder_of_clips(tmp_path / "in")
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["lipread.cli", "lipread.pipeline", "lipread.terminal", "mediapipe"])

    def start(out: Path) -> multiprocessing.Process:
        options = ["-o", str(out), "-f", "txt,json", "--model", str(model), "--device", "cpu", "-q", "--workers", "0"]
        process = forks.Process(target=cli.main, args=(["transcribe", str(source), *options],))
        process.start()
        return process  # type: ignore[return-value]

    out, unbroken = tmp_path / "out", tmp_path / "unbroken"
    start(unbroken).join()
    kill_again_and_again(lambda: start(out), lambda process: process.exitcode is not None, out)  # type: ignore[attr-defined]
    start(out).join()
    check(out, unbroken)


@pytest.mark.slow
def test_a_run_with_workers_killed_five_times_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    """The command is killed; its workers end with it. Each start loads all libraries anew: hence fewer kills."""
    model, source = tiny_checkpoint(tmp_path), folder_of_clips(tmp_path / "in")

    def start(out: Path) -> subprocess.Popen[bytes]:
        options = ["-o", out, "-f", "txt,json", "--model", model, "--device", "cpu", "-q", "--workers", "2"]
        return subprocess.Popen(command("transcribe", source, *options), stderr=subprocess.DEVNULL)

    out, unbroken = tmp_path / "out", tmp_path / "unbroken"
    start(unbroken).wait()
    kill_again_and_again(lambda: start(out), lambda process: process.poll() is not None, out, 5)  # type: ignore[attr-defined]
    start(out).wait()
    check(out, unbroken)
