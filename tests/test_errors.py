"""Errors a user can cause: one base, an exit code each, and they survive the way between processes."""

from __future__ import annotations

import inspect
import pickle

import pytest

from lipread import errors
from lipread.errors import (
    ConfigError,
    LipreadError,
    MissingDependencyError,
    NoPictureError,
    VideoError,
    missing_libraries_named,
)

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


def test_there_are_errors():
    assert {kind.__name__ for kind in KINDS} >= {
        "LipreadError", "VideoError", "NoFaceError", "ConfigError", "DataError",
        "CheckpointError", "OutputError", "TrainingError", "MissingDependencyError",
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_lipread_error_with_an_exit_code(kind: type[LipreadError]):
    assert issubclass(kind, LipreadError)
    assert 0 < kind.exit_code < 126  # 0 is success; a shell uses 126 and above itself
    assert kind.__doc__ and kind.__doc__.strip().endswith(".")


@pytest.mark.parametrize("kind", KINDS)
def test_the_message_is_the_sentence_and_survives_pickling(kind: type[LipreadError]):
    """Batch work and data loaders hand errors from one process to another."""
    sentence = "films/mouth ü.mp4: not a video; give another file"
    again = pickle.loads(pickle.dumps(kind(sentence)))
    assert type(again) is kind
    assert str(again) == sentence
    assert again.exit_code == kind.exit_code


def test_a_file_without_a_picture_is_no_video():
    assert issubclass(NoPictureError, VideoError)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in (LipreadError, NoPictureError)])
def test_no_kind_hides_another(kind: type[LipreadError]):
    """`except VideoError` must not swallow a missing checkpoint."""
    assert [other for other in KINDS if issubclass(kind, other)] == sorted(
        (LipreadError, kind), key=lambda other: KINDS.index(other)
    )


def test_a_wrong_setting_is_a_usage_error_and_a_value_error():
    """2 is what shells and typer use for wrong options; pydantic turns a ValueError into a field's error."""
    assert ConfigError.exit_code == 2 != LipreadError.exit_code
    assert issubclass(ConfigError, ValueError)
    assert not any(issubclass(kind, ValueError) for kind in KINDS if kind is not ConfigError)


def test_nothing_else_is_caught():
    """A bug of ours is not a user's error."""
    for bug in (AssertionError, TypeError, RuntimeError, OSError, KeyboardInterrupt, MemoryError):
        assert not issubclass(bug, LipreadError) and not any(issubclass(kind, bug) for kind in KINDS)


def test_a_missing_system_library_is_named() -> None:
    with pytest.raises(MissingDependencyError, match="apt-get install libgl1"), missing_libraries_named():
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    with pytest.raises(MissingDependencyError, match="pip install lipread"), missing_libraries_named():
        raise ModuleNotFoundError("No module named 'cv2'")
