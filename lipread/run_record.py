"""The record of a run: one JSON line for every video that was read, appended to lipread-run.jsonl in the output folder.

Each line has the input, its size and time, model, options, version, device, result, seconds and error. It is written
when all outputs of the video are there, so what it says is true whenever the run is killed; a line that was being
written then is passed over. A run that is started again leaves out what the record says is done.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from safetensors import SafetensorError, safe_open

from lipread.errors import OutputError
from lipread.files import PathLike, bundled_weights, partner_weights

try:
    import fcntl
except ImportError:  # Windows: two runs in one folder are not kept apart
    fcntl = None  # type: ignore[assignment]

RECORD_NAME = "lipread-run.jsonl"
DONE, EMPTY, FAILED = "done", "empty", "failed"  # empty: it was read, but nothing is said in it


@dataclass(frozen=True)
class FileState:
    """What tells whether a file is still the one that was read."""

    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: PathLike) -> FileState | None:
        """The state of a file now; None where it cannot be reached."""
        try:
            found = os.stat(path)
        except (OSError, ValueError):
            return None
        return cls(found.st_size, found.st_mtime_ns)


class RunRecord:
    """The record in an output folder, read once and then appended to; nobody else may write there meanwhile.

    Args:
        folder: the output folder; made if it is not there.
        read_only: only look; nothing is made, nobody is kept out.
    Raises: OutputError: it cannot be written, or another run is writing to the folder.
    """

    def __init__(self, folder: PathLike, *, read_only: bool = False) -> None:
        self.folder, self.path = Path(folder), Path(folder) / RECORD_NAME
        self._file: int | None = None
        self.lines: dict[str, dict[str, Any]] = {}  # key of the input -> what was said of it last
        if not read_only:
            self._open()
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        self._read(content)
        if content and not content.endswith(b"\n") and self._file is not None:
            os.write(self._file, b"\n")  # what a killed run left unfinished stays alone on its line

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            if not os.fstat(self._file).st_size:  # nothing was read
                self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None

    def _open(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # goes with the process, however it ends
        except BlockingIOError as error:
            os.close(self._file)
            raise OutputError(
                f"another lipread is writing to {self.folder}; wait for its end or choose another output folder"
            ) from error
        except OSError:  # a file system without locks
            pass

    def _read(self, content: bytes) -> None:
        for raw in content.splitlines():
            try:
                line = json.loads(raw)
                self.lines[line["key"]] = line
            except (ValueError, KeyError, TypeError):  # cut off by a kill, or by other hands
                continue

    @property
    def names(self) -> dict[str, str]:
        """Output names by input, as they were given."""
        return {key: line["name"] for key, line in self.lines.items() if isinstance(line.get("name"), str)}

    def says_done(self, key: str, name: str, state: FileState | None, settings: Mapping[str, Any]) -> bool:
        """Whether this very input was read with these settings, under this name."""
        line = self.lines.get(key, {})
        return (
            state is not None
            and line.get("result") in (DONE, EMPTY)
            and line.get("name") == name
            and (line.get("size"), line.get("mtime_ns")) == (state.size, state.mtime_ns)
            and {part: line.get(part) for part in settings} == dict(settings)
        )

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line; it is on the disk when this returns.

        Raises: OutputError: the disk is full, or the like.
        """
        assert self._file is not None, "the record is only looked at"
        coded = (json.dumps(line, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        try:
            while coded:
                coded = coded[os.write(self._file, coded) :]
            os.fsync(self._file)
        except OSError as error:
            raise OutputError(f"{self.path} cannot be written ({error.strerror or error}); free some space") from error
        self.lines[line["key"]] = dict(line)


def model_identity(name_or_path: PathLike) -> str:
    """What tells one model from another: its name, and a digest of its file where there is one; and of the file of the
    model that it brings for sound."""
    bundled = bundled_weights(os.fspath(name_or_path))
    path = bundled if bundled.is_file() else Path(name_or_path)
    try:
        digest = _digest(path)
    except OSError:  # loading it will say why
        return os.fspath(name_or_path)
    try:
        with safe_open(path, framework="np") as file:
            partner = json.loads((file.metadata() or {}).get("record", "{}")).get("with_sound")
        heard = f" {partner} {_digest(partner_weights(path, partner))}" if partner else ""
    except (SafetensorError, OSError, ValueError, AttributeError):  # loading it will say why
        heard = ""
    return f"{path.stem} {digest}{heard}"


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def language_model_identity(name_or_path: str) -> str:
    """As `model_identity`, of a language model: its files and what was tuned for it count."""
    from lipread.language_models import bundled_language_models, tuned_path

    path = bundled_language_models().get(name_or_path, Path(name_or_path))
    files = sorted(path.rglob("*")) if path.is_dir() else [path, tuned_path(path)]
    digest = hashlib.sha256()
    for file in files:
        with contextlib.suppress(OSError), open(file, "rb") as content:  # loading it will say why
            digest.update(file.name.encode(errors="surrogateescape") + hashlib.file_digest(content, "sha256").digest())
    return f"{name_or_path} {digest.hexdigest()[:16]}" if path.exists() else name_or_path


def option_identity(value: Any) -> Any:
    """An option as the record has it; a file among the options counts with its size and time."""
    if isinstance(value, str | os.PathLike):
        state = FileState.of(value) if os.path.isfile(value) else None
        return os.fspath(value) + (f" ({state.size} bytes, {state.mtime_ns})" if state else "")
    return value


def _cannot_write(path: Path, error: OSError) -> OutputError:
    return OutputError(f"{path} cannot be written ({error.strerror or error}); choose another output folder")
