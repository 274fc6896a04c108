"""Errors that a user can cause; each message is one sentence that names the thing and says what to do.

The command line prints the message and exits with `exit_code`; batch work records it per file and goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager


class LipreadError(Exception):
    """Base of all errors a user can cause. The message is a sentence for people, without the full stop."""

    exit_code: int = 1


class VideoError(LipreadError):
    """A file cannot be read as a video."""


class NoPictureError(VideoError):
    """A file has no picture; it may have sound."""


class NoSoundError(LipreadError):
    """Sound was asked for, and there is none."""


class NoFaceError(LipreadError):
    """No face, or not the face that was asked for, could be found."""


class ConfigError(LipreadError, ValueError):
    """A setting has a value that cannot work."""

    exit_code = 2


class DataError(LipreadError):
    """A corpus, manifest or prepared folder is not as it should be."""


class CheckpointError(LipreadError):
    """A checkpoint is damaged, of another kind, or does not fit the network."""


class OutputError(LipreadError):
    """A result could not be written (full disk, no permission)."""


class TrainingError(LipreadError):
    """Training cannot go on, for example because of a non-finite loss."""


class MissingDependencyError(LipreadError):
    """An optional package or system library is absent; the message says what to install."""


@contextmanager
def missing_libraries_named(cure: str = "pip install lipread") -> Iterator[None]:
    """Say what to install where OpenCV or mediapipe cannot be loaded.

    Args:
        cure: the command that helps where it is a Python package that is absent.
    Raises: MissingDependencyError.
    """
    try:
        yield
    except ImportError as error:
        if re.search(r"\.so\b", str(error)):  # libGL.so.1, but not mediapipe.python.solutions
            raise MissingDependencyError(
                f"a system library is absent ({error}); on Debian or Ubuntu run: "
                "apt-get install libgl1 libegl1 libgles2 libglib2.0-0"
            ) from error
        raise MissingDependencyError(f"{error}; run: {cure}") from error
