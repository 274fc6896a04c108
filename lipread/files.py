"""Files written whole or not at all, texts that are read, names that cannot lead out of a folder or spoil a line."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import socket
from collections.abc import Iterable, Iterator
from importlib import resources
from pathlib import Path

from lipread.errors import ConfigError, DataError, OutputError

PathLike = str | os.PathLike[str]

PART_SUFFIX = ".part"
IN_THE_WAY = {
    errno.EEXIST: "a file has the name of its folder", errno.ENOTDIR: "a file has the name of its folder",
    errno.EISDIR: "a folder has its name",
}  # fmt: skip
WEIGHTS = Path(str(resources.files("lipread"))) / "weights"  # the bundled checkpoints

_PART = f".lipread-{socket.gethostname()}-"  # machines may share a folder, and each counts its own processes
_counter = itertools.count()


@contextlib.contextmanager
def written_whole(path: PathLike) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well and goes away when it does not.

    Raises: OutputError: the folder cannot be made, or the file cannot be written (full disk, no permission).
    """
    target = Path(path)
    temporary = target.parent / f"{_PART}{os.getpid()}-{next(_counter)}{PART_SUFFIX}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, target)
    except OSError as error:
        full = error.errno is None or is_full(error)
        why = IN_THE_WAY.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(
            f"{target} cannot be written ({why}); {'free some space or ' if full else ''}choose another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def is_full(error: OSError) -> bool:
    """Whether a file could not be written because there is no room for it."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def require_path(given: PathLike) -> None:
    """Refuse "", which the methods of Path take for the current folder. Raises: ConfigError."""
    if not os.fspath(given):
        raise ConfigError("an empty path was given, as by a variable that is not set; give one, or . for this folder")


def require_writable(path: PathLike, suffix: str) -> None:
    """Look before long work whether a file can be written there.

    Raises: ConfigError: its name has another suffix. OutputError: it cannot.
    """
    target = Path(path)
    if target.suffix.lower() != suffix:
        raise ConfigError(f"{target} is no name for what is written there; give one that ends in {suffix}")
    folder = next((each for each in target.absolute().parents if each.exists()), target.absolute().parent)
    if target.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{target} cannot be written; choose a file in a folder that you may write to")


def bundled_weights(name: str) -> Path:
    """Where a bundled checkpoint of this name lies, if there is one."""
    return WEIGHTS / f"{name}.safetensors"


def partner_weights(path: PathLike, name: str) -> Path:
    """The checkpoint that another one names in its record: beside it, or else bundled."""
    beside, bundled = Path(path).parent / f"{name}.safetensors", bundled_weights(name)
    return beside if beside.is_file() or not bundled.is_file() else bundled


def part_owner(path: Path) -> int | None:
    """The process of this machine that writes, or wrote, a temporary file of `written_whole`; None where none did."""
    match = re.fullmatch(rf"{re.escape(_PART)}(\d+)-\d+{re.escape(PART_SUFFIX)}", path.name)
    return int(match[1]) if match else None


def sweep_parts(folders: Iterable[Path]) -> None:
    """Delete half-written files whose writers are gone."""
    for folder in folders:
        for part in folder.glob(f".lipread-*{PART_SUFFIX}"):
            owner = part_owner(part)
            if owner is not None and not process_runs(owner):
                with contextlib.suppress(OSError):
                    part.unlink()


def process_runs(pid: int) -> bool:
    """Whether there is such a process on this machine; on Windows, where asking would be Ctrl-C, each counts as one."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def write_text(path: PathLike, text: str) -> None:
    """Write UTF-8 text whole or not at all; bytes of file names that are no text become escapes such as \\udcff.

    Raises: OutputError: as `written_whole`.
    """
    with written_whole(path) as temporary, open(
        temporary, "w", encoding="utf-8", errors="backslashreplace", newline="\n"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # a full disk may only show here


def read_text(path: PathLike) -> str:
    """A text file in UTF-8, with line ends as in Unix.

    Raises: DataError: it cannot be read, is not UTF-8 text, or has no words.
    """
    try:
        content = Path(path).read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}, line {number}: is not UTF-8 ({error.reason}); save it as UTF-8 text") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); give a text file") from error
    if (at := text.find("\0")) >= 0:
        raise DataError(f"{path}, line {text.count(chr(10), 0, at) + 1}: has a zero byte; give a text file")
    if not text.strip():
        raise DataError(f"{path}: {'has no words' if content else 'is empty'}; write one sentence a line")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def inside(folder: PathLike, name: str) -> Path:
    """FOLDER/NAME, or an error if that lies outside the folder (through "..", a root, or a link).

    Raises: OutputError: it lies outside.
    """
    path = Path(folder) / name
    if not path.resolve().is_relative_to(Path(folder).resolve()) or path.resolve() == Path(folder).resolve():
        raise OutputError(f"the output name {name!r} leads out of the folder {folder}; give a plain name")
    return path


def are_one(path: PathLike, other: PathLike) -> bool:
    """Whether both are names of one file that is there."""
    return os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other)


def require_apart(path: PathLike, video: PathLike) -> None:
    """Look whether a file that would be written is the video that it is made of. Raises: OutputError."""
    if are_one(path, video):
        raise OutputError(f"{os.fspath(path)} is the video itself and would be replaced; choose another output folder")


def printable(text: str) -> str:
    """One line for a terminal: line breaks, control characters and bytes that are no text become escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
