"""Device names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from lipread.devices import choose_device
from lipread.errors import ConfigError


def test_known_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device().type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["toaster", "cuda:99", "cpu:x", "abacus"])
def test_devices_that_are_not_there_are_named(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' cannot be used here"):
        choose_device(name)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_freed_memory_is_kept() -> None:
    """In a process of its own: large tensors, made again and again, cost no new pages."""
    program = """
import resource, torch
from lipread.devices import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(20_000_000).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
before = faults()
print(before, keep_freed_memory(), faults() * 0 + faults())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    before, kept, after = done.stdout.split()
    if kept == "False":
        pytest.skip("the C library is not glibc")
    assert int(before) > 10_000 and int(after) < int(before) / 10
