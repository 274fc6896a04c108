"""Jobs -> results from worker processes, of which any may die without taking the others' work along.

The pool of the standard library ends as a whole when one worker is killed (by a fault in native code, or for lack of
memory) and does not say over which job. So only as many jobs as workers are under way at a time; after a death those
are done again one by one in a worker of their own, and the one that kills it again is named.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class WorkerDied(Exception):
    """The process that worked on a job ended without a word."""


def in_processes(
    work: Callable[[Job], Result], jobs: Iterable[Job], processes: int
) -> Iterator[tuple[Job, Result | WorkerDied]]:
    """Do jobs side by side.

    Args:
        work: a function of a module, so that a process can find it. What it raises is raised here.
        jobs: any number; they are taken as they are needed.
        processes: workers; 0 does everything in this process, where a crash is a crash.
    Yields: each job with its result, or with `WorkerDied`, as they become ready.
    """
    if processes <= 0:
        for job in jobs:
            yield job, work(job)
        return
    waiting, suspects = iter(jobs), deque[Job]()
    while True:
        yield from _until_death(work, waiting, processes, suspects)
        if not suspects:
            return
        while suspects:
            alone, dead = suspects.popleft(), deque[Job]()
            yield from _until_death(work, iter([alone]), 1, dead)
            if dead:
                yield alone, WorkerDied("the worker process was killed twice (a fault in native code, or no memory)")


def _until_death(
    work: Callable[[Job], Result], jobs: Iterator[Job], processes: int, suspects: deque[Job]
) -> Iterator[tuple[Job, Result]]:
    """Do jobs until they end, or a worker dies: what was under way then is added to `suspects`."""
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_start_worker)
    running: dict[Future[Any], Job] = {}
    try:
        while True:
            while len(running) < processes and (job := next(jobs, _NO_JOB)) is not _NO_JOB:
                try:
                    running[pool.submit(work, job)] = job  # type: ignore[arg-type]
                except BrokenProcessPool:
                    suspects.append(job)  # type: ignore[arg-type]
                    break
            if not running:
                return
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                job = running.pop(future)
                try:
                    result = future.result()
                except BrokenProcessPool:
                    suspects.append(job)
                else:
                    yield job, result
            if suspects:
                wait(running)  # they break as well, or had just ended
                for future, job in running.items():
                    if future.exception() is None:
                        yield job, future.result()
                    else:
                        suspects.append(job)
                return
    finally:  # also after Ctrl-C: what is under way is finished
        pool.shutdown(wait=True, cancel_futures=True)


_NO_JOB: Any = object()


def _start_worker() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
