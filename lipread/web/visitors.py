"""What comes from visitors: values of a wrong kind are refused in words, and files are traced to who has them.

Gradio keeps uploads and results under their content's hash, so two visitors may have one file: it goes with the last.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from lipread.web.limits import quoted

FILE_EXAMPLE = 'in Python: handle_file("talk.mp4")'


class Page(gr.Blocks):
    """Gradio's page, which checks what events are sent, above all their files, and notes whose files they carry.

    Attributes:
        belongings: of the visitors; None notes nothing.
    """

    belongings: Belongings | None = None

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *others: Any, **named: Any) -> list[Any]:
        """As gradio's. Raises: gr.Error: values are too few or too many, one is of a kind that its field does not take,
        or a file is no upload."""
        check_count(block_fn, inputs)
        for component, value in zip(block_fn.inputs, inputs, strict=True):
            check_value(component, value)
        check_uploads(inputs, Path(self.GRADIO_CACHE))
        processed: list[Any] = await super().preprocess_data(block_fn, inputs, *others, **named)
        return processed

    async def process_api(self, block_fn: Any, inputs: list[Any], *others: Any, **named: Any) -> dict[str, Any]:
        """As gradio's."""
        session = named.get("session_hash")
        if self.belongings and session:
            self.belongings.note(session, inputs, here=named.get("iterator") is None)
        answer: dict[str, Any] = await super().process_api(block_fn, inputs, *others, **named)
        if self.belongings and session:
            self.belongings.note(session, answer.get("data"))
        return answer

    def shared_files(self) -> set[str]:
        """Files of the page itself, such as examples: they stay, whoever used them."""
        return {path for block in self.blocks.values() for path in getattr(block, "keep_in_cache", ())}


def check_count(block_fn: Any, values: list[Any]) -> None:
    """Look at how many values an event was sent. Raises: gr.Error: not as many as it takes, or it takes none at all."""
    if block_fn.fn is None:
        raise gr.Error("this event does nothing on the server; call /transcribe or /batch", print_exception=False)
    if len(values) != (count := len(block_fn.inputs)):
        names = ", ".join(list(inspect.signature(block_fn.fn).parameters)[:count])
        given = f"{len(values)} {'was' if len(values) == 1 else 'were'} given"
        takes = f"takes {count} values ({names})" if count else "takes no values"
        raise gr.Error(f"{block_fn.api_name or 'this event'} {takes}, {given}", print_exception=False)


def check_value(component: Any, value: Any) -> None:
    """Look at what a field was sent, before gradio does. Raises: gr.Error: it is of another kind, in words."""
    wanted = ""
    if isinstance(component, (gr.Number, gr.Slider)):
        whole = isinstance(component, gr.Slider) and component.step == 1
        if not (value is None and isinstance(component, gr.Number)) and not is_number(value, whole=whole):
            wanted = f"a {'whole ' if whole else ''}number"
        elif value is not None:
            least, most = bounds(component)
            wanted = "" if least <= value <= most else f"a number from {least:.12g} to {most:.12g}"
    elif isinstance(component, gr.Checkbox):
        wanted = "" if value is None or isinstance(value, bool) else "true or false"
    elif isinstance(component, (gr.Radio, gr.Dropdown)) and not getattr(component, "allow_custom_value", False):
        known = [choice for _, choice in component.choices]
        wanted = "" if value is None or value in known else f"one of {', '.join(map(str, known))}"
    elif isinstance(component, (gr.Textbox, gr.Dropdown)):
        wanted = "" if value is None or isinstance(value, (str, int, float)) else "text or a number"
    elif isinstance(component, gr.Video):
        wanted = "" if value is None or is_file(value) else f"an uploaded file; {FILE_EXAMPLE}"
    elif isinstance(component, gr.File):
        listed = value is None or (isinstance(value, list) and all(map(is_file, value)))
        wanted = "" if listed else f"a list of uploaded files; {FILE_EXAMPLE} for each"
    if wanted:
        raise gr.Error(f"{component.label}: {quoted(value)} is not {wanted}", print_exception=False)


def check_uploads(values: Any, folder: Path) -> None:
    """Look at where an event's files lie, before anything opens them: a request may name any path of the machine.

    Raises: gr.Error: one lies outside the folder of uploads.
    """
    if not all(lies_in(path, folder) for path in files_in(values)):
        raise gr.Error("this file is not here (any more): choose it again", print_exception=False)


def lies_in(path: str, folder: Path) -> bool:
    """Whether a path leads into a folder, links followed."""
    try:
        return folder.resolve() in Path(path).resolve().parents
    except (OSError, RuntimeError, ValueError):  # links that go round, or what no path can hold
        return False


def bounds(component: Any) -> tuple[float, float]:
    """Least and most that a field of numbers takes."""
    least, most = component.minimum, component.maximum
    return -math.inf if least is None else least, math.inf if most is None else most


def is_number(value: Any, *, whole: bool = False) -> bool:
    """Whether JSON's value is a finite number, and no more than that."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return number and (not whole or value == int(value))


def is_file(value: Any) -> bool:
    """Whether a value has the form in which gradio's clients name uploads."""
    meta = value.get("meta") if isinstance(value, dict) else None
    return isinstance(meta, dict) and meta.get("_type") == "gradio.FileData" and isinstance(value.get("path"), str)


def files_in(value: Any) -> Iterator[str]:
    """Paths of all files that an event's values name."""
    if isinstance(value, dict):
        if isinstance(path := value.get("path"), str):
            yield path
        for each in value.values():
            yield from files_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from files_in(each)


class Belongings:
    """Files by the visitors that sent or got them; they go soon after the last of these has left.

    Soon, not at once: a phone that sleeps loses its connection, and comes back.
    """

    def __init__(self, folder: Path, *, left_s: float, shared: Iterable[str] = ()) -> None:
        """`folder`: nothing outside it is touched; `left_s`: seconds from leaving; `shared`: files that stay."""
        self.folder, self.left_s, self.shared = folder, left_s, frozenset(shared)
        self._owners: dict[str, set[str]] = {}
        self._leaving: deque[tuple[float, str]] = deque()  # (when, session), in order
        self._lock = threading.Lock()

    def note(self, session: str, values: Any, *, here: bool = False) -> None:
        """Files that a visitor sends or gets; `here`: who had left is back."""
        found = [path for path in files_in(values) if self._ours(path)]
        with self._lock:
            if here:
                self._leaving = deque(each for each in self._leaving if each[1] != session)
            for path in found:
                self._owners.setdefault(path, set()).add(session)

    def leave(self, session: str) -> None:
        """A visitor has gone: delete what is theirs alone when `left_s` is over."""
        with self._lock:
            self._leaving.append((time.monotonic() + self.left_s, session))
            first = len(self._leaving) == 1
        if first:
            threading.Thread(target=self._wait, daemon=True, name="lipread-belongings").start()

    def _wait(self) -> None:
        while True:
            with self._lock:
                if not self._leaving:
                    return
                due, session = self._leaving[0]
                if due <= time.monotonic():
                    self._leaving.popleft()
                    gone = self._disowned(session)
                else:
                    gone = []
            for path in gone:
                with contextlib.suppress(OSError):  # swept by its age meanwhile
                    path.unlink()
                    path.parent.rmdir()
            time.sleep(0 if gone else min(1.0, self.left_s))

    def _disowned(self, session: str) -> Sequence[Path]:
        """Files that nobody has any more."""
        gone = []
        for path, owners in list(self._owners.items()):
            owners.discard(session)
            if not owners:
                del self._owners[path]
                gone.append(Path(path))
        return gone

    def _ours(self, path: str) -> bool:
        return path not in self.shared and lies_in(path, self.folder)
