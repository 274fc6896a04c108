"""A name -> the torch device to run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lipread.errors import ConfigError

if TYPE_CHECKING:
    import torch


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
