"""What many tests share: the folder of real GRID clips, which is never part of the repository.

LIPREAD_GRID_DIR names it; without that it is ../shared/grid, seen from the repository's root.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

ROOT = Path(__file__).resolve().parent.parent

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background; programs inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def grid_dir() -> Path:
    """Folder with manifest.tsv and clips/ of real GRID videos; the test skips where it is absent."""
    folder = Path(os.environ.get("LIPREAD_GRID_DIR") or ROOT.parent / "shared" / "grid")
    if not (folder / "manifest.tsv").is_file():
        pytest.skip(f"no GRID clips in {folder}: set LIPREAD_GRID_DIR to the folder that holds manifest.tsv")
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Torch's threads would only wait for one another on tiny networks."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def memory() -> Iterator[Any]:
    """An empty file system of fsspec, whose addresses begin with memory://."""
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()
