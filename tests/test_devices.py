"""Device names."""

from __future__ import annotations

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
