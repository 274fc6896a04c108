"""Worker processes: results arrive, deaths and hangs are pinned on the job that caused them, errors come through."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import media
from lipread import workers
from lipread.engines import BASE_LIMIT_S, LIMIT_PER_S, time_limit_s
from lipread.workers import Tell, TimeLimit, TookTooLong, WorkerDied, WorkerPool, in_processes


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


def at_work(job: str, tell: Tell) -> str | int:
    """What a job of these tests asks for: "hang", "die", "die at once", "leave", or to be told."""
    tell(TimeLimit(0.5 if job == "hang" else 60.0))
    tell(f"began {job}")
    if job == "hang":
        time.sleep(60)
    if job == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "leave":
        os._exit(7)
    return os.getpid() if job.startswith("who") else job.upper()


def patient() -> object:
    def work(job: str, tell: Tell) -> str:
        tell(TimeLimit(1e8))
        return job.upper()

    return work


def brief() -> object:
    def work(job: str, tell: Tell) -> str:
        tell(TimeLimit(2.0 if job == "a while" else 4.0))
        tell(f"began {job}")
        time.sleep({"a while": 1.0, "some time": 2.0}.get(job, 0.2))
        return job.upper()

    return work


def ready_at_once() -> object:
    return at_work


def never_ready() -> object:
    raise ValueError("no such model")


def dead_at_birth() -> object:
    os._exit(3)


def test_a_hang_is_ended_at_its_limit_and_costs_itself_only() -> None:
    heard: list[tuple[str, object]] = []
    with WorkerPool[str, object](ready_at_once, 2) as pool:  # type: ignore[arg-type]
        results = dict(pool.run(["a", "hang", "b", "c"], lambda job, message: heard.append((job, message))))
        assert (results["a"], results["b"], results["c"]) == ("A", "B", "C")
        assert isinstance(results["hang"], TookTooLong)
        assert str(results["hang"]) in ("it was given up after 0.5 s", "it was given up after 0.6 s")
        assert ("hang", "began hang") in heard
        assert dict(pool.run(["d"])) == {"d": "D"}  # the pool goes on


def test_workers_are_kept_from_job_to_job_and_from_run_to_run() -> None:
    with WorkerPool[str, object](ready_at_once, 1) as pool:  # type: ignore[arg-type]
        pids = {result for _, result in [*pool.run(["who1", "who2"]), *pool.run(["who3"])]}
    assert len(pids) == 1


def test_how_a_worker_ended_is_told() -> None:
    with WorkerPool[str, object](ready_at_once, 2) as pool:  # type: ignore[arg-type]
        results = dict(pool.run(["die", "a", "leave", "b"]))
    assert str(results["die"]) == "the worker process crashed (SIGSEGV), twice"
    assert str(results["leave"]) == "the worker process ended with code 7, twice"
    assert (results["a"], results["b"]) == ("A", "B")


def test_what_preparation_raises_comes_through() -> None:
    with WorkerPool[str, object](never_ready, 2) as pool, pytest.raises(ValueError, match="no such model"):  # type: ignore[arg-type]
        list(pool.run(["a", "b"]))


def test_workers_that_die_as_they_start_end_the_work() -> None:
    with (
        WorkerPool[str, object](dead_at_birth, 1) as pool,  # type: ignore[arg-type]
        pytest.raises(WorkerDied, match="no worker process comes to life: each ended with code 3"),
    ):
        list(pool.run(["a", "b"]))


def test_killing_the_pool_waits_for_nothing() -> None:
    pool = WorkerPool[str, object](ready_at_once, 1)  # type: ignore[arg-type]
    running = pool.run(["a", "hang"])
    assert next(running) == ("a", "A")
    start = time.monotonic()
    pool.close(kill=True)
    assert time.monotonic() - start < 10


def test_limits_of_months_are_no_hindrance() -> None:
    with WorkerPool[str, object](patient, 1) as pool:  # type: ignore[arg-type]
        assert list(pool.run(["a"])) == [("a", "A")]


def test_what_ended_in_time_counts_though_nobody_looked(tmp_path: Path) -> None:
    """Whoever takes the first result is busy until long after the limit of the second job, which ended before it."""
    with WorkerPool[str, object](brief, 2) as pool:  # type: ignore[arg-type]
        results = pool.run(["a", "a while"])
        assert next(results) == ("a", "A")
        time.sleep(3.0)
        assert next(results) == ("a while", "A WHILE")


def test_who_was_stopped_gets_its_time_back() -> None:
    """As by Ctrl-Z and fg: the pool and its worker stand still for longer than the job may take."""
    script = (
        "from test_workers import *\n"
        "with WorkerPool(brief, 1) as pool:\n"
        "    for job, result in pool.run(['some time'], lambda job, message: print(message, flush=True)):\n"
        "        print(result)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "began some time\n"
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(8.0)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == "SOME TIME\n"


def test_a_job_whose_worker_died_is_not_left_to_the_end() -> None:
    with WorkerPool[str, object](ready_at_once, 1) as pool:  # type: ignore[arg-type]
        told = [job for job, _ in pool.run(["die", *(f"job {number}" for number in range(60))])]
    assert len(told) == 61
    assert told.index("die") == workers.FRESH_BEFORE_RETRY


def test_ctrl_c_reaches_no_worker_that_starts() -> None:
    """It is sent as soon as the process is there, long before Python runs in it."""
    worker = workers._Worker[str](ready_at_once)
    assert worker.process.pid is not None
    os.kill(worker.process.pid, signal.SIGINT)
    worker.take("a", second=False)
    kind, _ = worker.pipe.recv()
    worker.begin()
    assert kind == "ready"
    assert [worker.pipe.recv() for _ in range(3)][-1] == ("result", "A")
    worker.pipe.close()
    worker.process.join()


def test_an_hour_of_sound_beside_a_single_picture_has_time_enough(tmp_path: Path) -> None:
    picture, sound = np.full((48, 64, 3), 90, np.uint8), media.tone(300, 30.0, 16_000)
    film = media.write_video(tmp_path / "cover.mp4", [picture], sound=sound)
    assert time_limit_s(film) == pytest.approx(BASE_LIMIT_S + LIMIT_PER_S * 30, abs=LIMIT_PER_S)
