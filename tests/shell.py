"""The command as tests run it: in a process of its own, with a random tiny model, on small drawn clips."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

import media
from lipread.alphabet import Alphabet
from lipread.checkpoint import save_checkpoint
from lipread.config import PRESETS
from lipread.data.heads import draw_clip
from lipread.model.network import LipNetwork
from lipread.run_record import RECORD_NAME


def run(*arguments: str | Path, stdin: str | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=300, input=stdin, errors="surrogateescape", cwd=cwd
    )


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "lipread", *map(str, arguments)]


def one_line(text: str) -> str:
    """The error, which must be one line."""
    (line,) = [line for line in text.splitlines() if line.startswith("lipread: error: ")]
    assert "Traceback" not in text
    return line


def tiny_checkpoint(folder: Path) -> Path:
    """Random weights: what is read is nonsense, but always the same."""
    torch.manual_seed(0)
    save_checkpoint(path := folder / "tiny.safetensors", LipNetwork(PRESETS["tiny"]), Alphabet.english(), {})
    return path


def wall(path: Path, frames: int = 5) -> Path:
    """A film without a face."""
    return media.write_video(path, [np.full((48, 64, 3), 90, np.uint8)] * frames)


@functools.cache
def head_pictures() -> media.Array:
    """A drawn head that talks for a second, RGB uint8, shape (25, 96, 120, 3)."""
    return draw_clip("bin blue", 3, width=120, height=96, frames=25).frames


def talking(path: Path, first: int = 0, frames: int = 12, **options: Any) -> Path:
    """A clip of a drawn head, some frames of a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return media.write_video(path, head_pictures()[first : first + frames], **options)


def record_of(out: Path) -> list[dict[str, Any]]:
    """The lines of a run's record, without those that a kill cut off."""
    lines = []
    for line in (out / RECORD_NAME).read_bytes().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            continue
    return lines


def outputs_of(out: Path) -> dict[str, str]:
    """Every file of an output folder with its content, without the record and without what a clock measured."""
    found = {}
    for path in sorted(each for each in out.rglob("*") if each.is_file() and each.name != RECORD_NAME):
        content = path.read_text()
        if path.suffix == ".json":
            content = json.dumps({key: value for key, value in json.loads(content).items() if key != "stage_seconds"})
        found[str(path.relative_to(out))] = content
    return found
