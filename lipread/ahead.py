"""An iterator -> the same items, made ahead of their use in a thread of its own: stages that work side by side."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

LOOK_S = 0.1  # how often a thread that cannot go on looks whether it is still wanted


class _End:
    """Nothing more comes; `error` says why where that is one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def ahead(items: Generator[T], *, size: int) -> Generator[T]:
    """Make items in a thread, at most `size` ahead; an exception there is raised here, in its place.

    Closing this generator closes the other one, in its thread, and waits for that.
    """
    ready: queue.Queue[T | _End] = queue.Queue(size)
    unwanted = threading.Event()

    def give(item: T | _End) -> None:
        while not unwanted.is_set():
            try:
                ready.put(item, timeout=LOOK_S)
                return
            except queue.Full:
                continue

    def work() -> None:
        end = _End()
        try:
            for item in items:
                give(item)
                if unwanted.is_set():
                    break
        except BaseException as error:  # whatever it is: raised in the thread that waits
            end = _End(error)
        finally:
            items.close()
        give(end)

    thread = threading.Thread(target=work, name="lipread-ahead", daemon=True)
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        unwanted.set()
        thread.join()
