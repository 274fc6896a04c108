"""A name -> the torch device to run on; and how its memory is kept."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING

from lipread.errors import ConfigError

if TYPE_CHECKING:
    import torch


MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # parameters of mallopt in glibc's malloc.h
LARGEST_C_INT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for its next tensors. For programs that train on the processor.

    glibc gives every large block back to the system at once, and the next step pays for getting it anew, page by page:
    on two cores a training step took 4.0 s before and 1.8 s after (docs/training-log.md, run 17).

    Returns: whether it could be set; False where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST_C_INT)) and bool(mallopt(TRIM_THRESHOLD, LARGEST_C_INT))


def most_memory_used(device: torch.device) -> int:
    """The most memory that this process has held so far, bytes: of the GPU, or of the machine; 0 where nobody tells."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def may_be_accelerated(name: str) -> bool:
    """Whether `choose_device` may find more than the processor; told without loading torch, which takes seconds."""
    if name != "auto" or sys.platform == "darwin":
        return name != "cpu"
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:  # there is no driver
        return False
    return True


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA, then MPS, then the processor.

    Raises: ConfigError: there is no such device here.
    """
    import torch

    if name == "auto":
        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(found)
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used here ({reason}); give auto, cpu, cuda or mps") from error
    return device
