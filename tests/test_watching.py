"""A folder that is watched: files are given when they are whole, again when they change, and not when they vanish."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lipread import watching
from lipread.inputs import Job, collect
from lipread.watching import LOOK_EVERY_S, LOOK_SHARE, STEADY_S, Watch
from lipread.workers import Later
from test_batch import files


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=made.monotonic))
    return made


class Watched:
    """What a watch gives, look by look."""

    def __init__(self, clock: Clock, find: Callable[[], list[Job]]) -> None:
        self.watch, self.clock = Watch(find), clock
        self.jobs = self.watch.jobs()

    def after(self, seconds: float, *, release: bool = True) -> list[str]:
        """Names of the jobs that are given until then."""
        end_s, names = self.clock.now_s + seconds, list[str]()
        while self.clock.now_s < end_s:
            job = next(self.jobs)
            if isinstance(job, Later):
                self.clock.now_s += 0.5
            else:
                names.append(job.name)
                if release:
                    self.watch.release(job)
        return names


def watched(clock: Clock, *paths: Path | str) -> Watched:
    return Watched(clock, lambda: collect(paths)[0])


def test_a_file_is_given_once_when_it_has_not_changed_for_a_while(clock: Clock, tmp_path: Path) -> None:
    watch = watched(clock, files(tmp_path, a_mp4="fine"))
    assert watch.after(STEADY_S - 1) == []
    assert watch.after(2 * LOOK_EVERY_S + 1) == ["a"]
    files(tmp_path, b_mp4="fine")
    assert watch.after(20) == ["b"]


def test_a_file_that_grows_is_given_when_it_is_whole(clock: Clock, tmp_path: Path) -> None:
    watch = watched(clock, files(tmp_path, a_mp4="f"))
    for _ in range(10):
        assert watch.after(STEADY_S - 1) == []
        with open(tmp_path / "a.mp4", "a") as file:
            file.write("more")
    assert watch.after(20) == ["a"]


def test_a_file_that_changes_is_given_again_but_not_while_it_is_read(clock: Clock, tmp_path: Path) -> None:
    watch = watched(clock, files(tmp_path, a_mp4="fine"))
    assert watch.after(20, release=False) == ["a"]
    (tmp_path / "a.mp4").write_text("changed")
    assert watch.after(20) == []  # it is still under way
    watch.watch.release(Job(tmp_path / "a.mp4", "a"))
    assert watch.after(20) == ["a"]
    os.utime(tmp_path / "a.mp4", (1, 1))  # same size
    assert watch.after(20) == ["a"]
    assert watch.after(20) == []


def test_a_file_that_vanishes_is_not_given_and_waits_anew_when_it_is_back(clock: Clock, tmp_path: Path) -> None:
    watch = watched(clock, files(tmp_path, a_mp4="fine"))
    os.utime(tmp_path / "a.mp4", (1, 1))
    assert watch.after(2) == []
    (tmp_path / "a.mp4").unlink()
    assert watch.after(20) == []
    files(tmp_path, a_mp4="fine")
    os.utime(tmp_path / "a.mp4", (1, 1))
    assert watch.after(STEADY_S - 1) == []
    assert watch.after(20) == ["a"]


def test_a_file_that_vanishes_between_look_and_state_is_passed_over(clock: Clock, tmp_path: Path) -> None:
    watch = Watched(clock, lambda: [Job(tmp_path / "gone.mp4", "gone")])
    assert watch.after(20) == []


def test_urls_are_watched_as_files_are(clock: Clock, memory: Any, tmp_path: Path) -> None:
    memory.pipe_file("/in/a.mp4", b"fine")
    files(tmp_path, b_mp4="fine")
    watch = watched(clock, "memory://in", f"file://{tmp_path}")
    assert watch.after(STEADY_S - 1) == []
    memory.pipe_file("/in/a.mp4", b"fine, longer")
    assert watch.after(STEADY_S - 1) == ["b"]
    assert watch.after(20) == ["a"]
    memory.pipe_file("/in/c.mp4", b"fine")
    memory.pipe_file("/in/a.mp4", b"changed")
    assert watch.after(20) == ["a", "c"]


@pytest.mark.parametrize("took_s", [0.0, 0.01, 1.0, 30.0])
def test_a_large_tree_is_looked_at_less_often(took_s: float, clock: Clock) -> None:
    looks = []

    def find() -> list[Job]:
        looks.append(clock.now_s)
        clock.now_s += took_s
        return []

    Watched(clock, find).after(2000)
    period_s = max(LOOK_EVERY_S, took_s / LOOK_SHARE)
    between_s = [after - before for before, after in itertools.pairwise(looks)]
    assert between_s == [pytest.approx(period_s, abs=0.5)] * len(between_s)
    assert len(looks) > 1


def test_the_time_that_reading_takes_is_no_time_of_looking(clock: Clock, tmp_path: Path) -> None:
    watch = watched(clock, files(tmp_path, a_mp4="fine", b_mp4="fine"))
    given = 0
    while given < 2:
        if isinstance(next(watch.jobs), Later):
            clock.now_s += 0.5
        else:
            given += 1
            clock.now_s += 600  # until there is a worker for the next one
    files(tmp_path, c_mp4="fine")
    assert watch.after(STEADY_S + 2 * LOOK_EVERY_S + 1) == ["c"]
