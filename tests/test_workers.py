"""Worker processes: all results arrive, deaths are pinned on the job that caused them, errors come through."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from lipread.data.workers import WorkerDied, in_processes


def square(number: int) -> tuple[int, int]:
    return number * number, os.getpid()


def die_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    return number


def die_once(marker: str) -> str:
    if marker and not Path(marker).exists():
        Path(marker).touch()
        os._exit(1)
    return "done"


def refuse(number: int) -> int:
    raise ValueError(f"not {number}")


def test_all_jobs_are_done_elsewhere() -> None:
    results = dict(in_processes(square, range(7), 2))
    assert {job: result[0] for job, result in results.items()} == {n: n * n for n in range(7)}
    assert os.getpid() not in {pid for _, pid in results.values()}


def test_no_processes_means_here() -> None:
    assert list(in_processes(square, [3], 0)) == [(3, (9, os.getpid()))]


def test_no_jobs() -> None:
    assert list(in_processes(square, [], 2)) == []


def test_a_death_costs_its_own_job_only() -> None:
    results = dict(in_processes(die_at_three, range(6), 2))
    assert isinstance(results.pop(3), WorkerDied)
    assert results == {n: n for n in (0, 1, 2, 4, 5)}


def test_a_job_gets_a_second_chance(tmp_path: Path) -> None:
    """Memory may have been short because of its neighbour."""
    results = dict(in_processes(die_once, [str(tmp_path / "died"), ""], 1))
    assert set(results.values()) == {"done"}


def test_errors_of_the_work_come_through() -> None:
    with pytest.raises(ValueError, match="not 1"):
        list(in_processes(refuse, [1], 1))
