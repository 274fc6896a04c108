"""A folder that grows -> its videos, each as soon as it is whole, for as long as one likes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from lipread.inputs import Job
from lipread.remote import state_of
from lipread.run_record import FileState
from lipread.workers import LATER, Later

STEADY_S = 3.0  # a file of which size and time did not change for so long is taken to be whole
LOOK_EVERY_S = 1.0
LOOK_SHARE = 0.1  # of the time may go into looking: a large tree is looked at less often


class Watch:
    """Jobs as their files come to rest; a file that changes later is given again.

    Args:
        find: looks for videos, as often as it is asked.
        steady_s: for how long a file must not change before it is read.
    """

    def __init__(self, find: Callable[[], list[Job]], *, steady_s: float = STEADY_S) -> None:
        self._find, self._steady_s = find, steady_s
        self._seen: dict[str, tuple[FileState, float]] = {}  # key -> its state and since when it is known
        self._given: dict[str, FileState] = {}
        self._under_way: set[str] = set()

    def jobs(self) -> Iterator[Job | Later]:
        """Endless: the next file that is whole, or `LATER` where there is none now."""
        while True:
            began_s, away_s = time.monotonic(), 0.0
            found = self._find()
            there = {job.key for job in found}
            self._seen = {key: known for key, known in self._seen.items() if key in there}
            for job in found:
                if self._is_whole(job):
                    self._given[job.key] = self._seen.pop(job.key)[0]
                    self._under_way.add(job.key)
                    left_s = time.monotonic()
                    yield job
                    away_s += time.monotonic() - left_s
            looking_s = time.monotonic() - began_s - away_s
            yield LATER
            while time.monotonic() - began_s < max(LOOK_EVERY_S, looking_s / LOOK_SHARE):
                yield LATER

    def release(self, job: Job) -> None:
        """Take that a job has ended; only then it is given again."""
        self._under_way.discard(job.key)

    def _is_whole(self, job: Job) -> bool:
        state = state_of(job.source)
        if state is None or job.key in self._under_way or self._given.get(job.key) == state:
            return False
        seen, since_s = self._seen.get(job.key, (None, 0.0))
        if seen != state:
            self._seen[job.key] = (state, time.monotonic())
            return False
        return time.monotonic() - since_s >= self._steady_s
