"""Jobs -> results from worker processes, of which any may die or hang without taking the others' work along.

The pool of the standard library ends as a whole when one worker is killed (by a fault in native code, or for lack of
memory) and does not say over which job; it cannot end a job that hangs either. Here every worker has a pipe of its own:
a death or a passed time limit is pinned on the job that the worker had.
"""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, TypeVar

from lipread.errors import LipreadError

Job = TypeVar("Job")
Result = TypeVar("Result")
Tell = Callable[[Any], None]  # sends a message about the job under way to whoever runs the pool

POLL_S = 0.5  # how often jobs are asked for that were not there yet
LONGEST_WAIT_S = 10.0  # at a time, so that it shows when one took
STOPPED_S = 2.0  # longer than it should by so much: this process and its workers were stopped meanwhile (Ctrl-Z)
FRESH_BEFORE_RETRY = 10  # so many jobs are begun at most before those whose worker died are done again
START_LIMIT_S = 600.0  # for a worker's imports and its preparation, on the slowest machine
STILLBORN = 3  # workers in a row that end before they are ready: then none will


class Later:
    """Yielded among jobs: there is none now, ask again."""


LATER = Later()


class WorkerDied(LipreadError):
    """The process that worked on a job ended without a word."""


class TookTooLong(LipreadError):
    """The job passed its time limit, and its process was ended."""


@dataclass(frozen=True)
class TimeLimit:
    """Told by the work about its job: it may take so many seconds, counted from its start."""

    seconds: float


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
    with WorkerPool[Job, Result](functools.partial(_without_messages, work), processes) as pool:
        for job, result in pool.run(jobs):
            assert not isinstance(result, TookTooLong)  # nobody set a limit
            yield job, result


class WorkerPool(Generic[Job, Result]):
    """Workers that are prepared once and do many jobs.

    Args:
        prepare: is called once in each worker and returns what does a job there, given the job and a `Tell`; must be
            picklable. What it raises is raised by `run`.
        processes: how many workers, at most; each starts when there is a job for it.
    """

    def __init__(self, prepare: Callable[[], Callable[[Job, Tell], Result]], processes: int) -> None:
        self._prepare, self._processes = prepare, processes
        self._workers: list[_Worker[Job]] = []
        self._stillborn = 0
        self._fresh = 0  # jobs that were begun since one waits to be done again

    def __enter__(self) -> WorkerPool[Job, Result]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self, jobs: Iterable[Job | Later], told: Callable[[Job, Any], None] | None = None
    ) -> Iterator[tuple[Job, Result | WorkerDied | TookTooLong]]:
        """Do jobs; may be called again when it has come to its end.

        A job whose worker died is done again a little later, alone, because memory may have been short for its
        neighbours' sake; when it kills its worker again, it is named. A job that passed its time limit is not tried
        again.

        Args:
            jobs: any number; they are taken as they are needed. `LATER` among them: there may be more in a while.
            told: takes what the work tells about its job.
        Yields: each job with its result, or with what became of it, as they become ready.
        Raises: what the work raises. WorkerDied: no worker comes to life.
        """
        fresh, again = iter(jobs), deque[Job]()
        while True:
            more_later = self._hand_out(fresh, again)
            busy = [worker for worker in self._workers if worker.busy]
            if not busy and not more_later:
                return
            patience_s = min([worker.deadline_s - time.monotonic() for worker in busy], default=math.inf)
            patience_s = max(0.0, min(patience_s, POLL_S if more_later else LONGEST_WAIT_S))
            if not busy:
                time.sleep(patience_s)
                continue
            began_s = time.monotonic()
            ready = wait([worker.pipe for worker in busy], patience_s)
            waited_s = time.monotonic() - began_s
            for worker in busy if waited_s > patience_s + STOPPED_S else ():
                worker.deadline_s += waited_s
            for worker in busy:
                if worker.pipe in ready:
                    yield from self._hear(worker, told, again)
                elif worker.deadline_s <= time.monotonic() and not worker.pipe.poll():  # it may have ended just now,
                    yield from self._overdue(worker, again)  # ... or while whoever takes the results was busy

    def close(self, *, kill: bool = False) -> None:
        """End the workers: what is under way is finished first, unless it is to be killed."""
        for worker in self._workers:
            if kill:
                worker.process.kill()
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join()
        self._workers.clear()

    def _hand_out(self, fresh: Iterator[Job | Later], again: deque[Job]) -> bool:
        """Give jobs to workers that have none -> whether there may be more in a while."""
        idle = [worker for worker in self._workers if not worker.busy]
        while len(self._workers) - len(idle) < self._processes:
            wait_for_retry = bool(again) and self._fresh >= FRESH_BEFORE_RETRY
            job = _NO_JOB if wait_for_retry else next(fresh, _NO_JOB)
            if later := isinstance(job, Later):
                job = _NO_JOB
            second = job is _NO_JOB and bool(again) and len(idle) == len(self._workers)
            if second:
                job = again.popleft()
            if job is _NO_JOB:
                return later
            self._fresh = self._fresh + 1 if again and not second else 0
            if not idle:
                self._workers.append(_Worker(self._prepare))
            (idle.pop() if idle else self._workers[-1]).take(job, second)
            if second:
                return later
        return False

    def _hear(
        self, worker: _Worker[Job], told: Callable[[Job, Any], None] | None, again: deque[Job]
    ) -> Iterator[tuple[Job, Result | WorkerDied]]:
        try:
            kind, content = worker.pipe.recv()
        except (EOFError, OSError, pickle.UnpicklingError):  # it may die in the middle of a message
            yield from self._lost(worker, again)
            return
        if kind == "ready":
            self._stillborn = 0
            worker.begin()
        elif kind == "told" and isinstance(content, TimeLimit):
            worker.deadline_s = worker.began_s + content.seconds
        elif kind == "told":
            if told is not None:
                told(worker.job, content)
        elif kind == "error":
            worker.end_job()
            raise content
        else:
            yield worker.end_job(), content

    def _lost(self, worker: _Worker[Job], again: deque[Job]) -> Iterator[tuple[Job, WorkerDied]]:
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        how = _how_it_ended(worker.process.exitcode)
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                raise WorkerDied(f"no worker process comes to life: each {how} while it starts; free some memory")
        if worker.second and worker.ready:
            yield worker.job, WorkerDied(f"the worker process {how}, twice")
        else:
            again.append(worker.job)

    def _overdue(self, worker: _Worker[Job], again: deque[Job]) -> Iterator[tuple[Job, WorkerDied | TookTooLong]]:
        worker.process.kill()
        if not worker.ready:
            yield from self._lost(worker, again)
            return
        took_s = time.monotonic() - worker.began_s
        self._workers.remove(worker)
        worker.pipe.close()
        worker.process.join()
        yield worker.job, TookTooLong(f"it was given up after {took_s:.1f} s")


_NO_JOB: Any = object()


class _Worker(Generic[Job]):
    """One process as its parent sees it."""

    def __init__(self, prepare: Callable[[], Any]) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, prepare))
        with _ctrl_c_held():  # until it says itself that it leaves it to its parent
            self.process.start()
        theirs.close()
        self.job: Job = _NO_JOB
        self.second = self.ready = False
        self.began_s = 0.0
        self.deadline_s = time.monotonic() + START_LIMIT_S

    @property
    def busy(self) -> bool:
        return self.job is not _NO_JOB

    def take(self, job: Job, second: bool) -> None:
        """Take a job; it begins when the worker is ready."""
        self.job, self.second = job, second
        if self.ready:
            self.begin()

    def begin(self) -> None:
        self.ready, self.began_s, self.deadline_s = True, time.monotonic(), math.inf
        with contextlib.suppress(OSError):  # it died just now: its pipe will say so
            self.pipe.send(self.job)

    def end_job(self) -> Job:
        job, self.job, self.deadline_s = self.job, _NO_JOB, math.inf
        return job


@contextlib.contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Ctrl-C reaches this thread after the block, and no process that is started in it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would let Ctrl-C through as it starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how_it_ended(code: int | None) -> str:
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        return f"was killed ({name}), most likely for lack of memory" if -code == 9 else f"crashed ({name})"
    return f"ended with code {code}"


def _serve(pipe: Connection, prepare: Callable[[], Callable[[Any, Tell], Any]]) -> None:
    """What a worker process does."""
    _settle_in()
    try:
        work = prepare()
    except Exception as error:
        pipe.send(("error", sendable(error)))
        return
    with contextlib.suppress(EOFError, OSError):  # the parent has no more jobs, or is gone
        pipe.send(("ready", None))
        while True:
            job = pipe.recv()
            try:
                answer = ("result", work(job, lambda message: pipe.send(("told", message))))
            except Exception as error:
                answer = ("error", sendable(error))
            pipe.send(answer)


def _settle_in() -> None:
    """Leave Ctrl-C to the parent, end when the parent is gone, and be the one to go where memory is short."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(OSError):  # Linux only
        Path("/proc/self/oom_score_adj").write_text("500")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def sendable(error: Exception) -> Exception:
    """An error that another process can be sent: the same, or one that says the same."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _without_messages(work: Callable[[Job], Result]) -> Callable[[Job, Tell], Result]:
    return lambda job, tell: work(job)
