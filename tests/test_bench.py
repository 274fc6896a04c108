"""The bench prints every stage with its real-time factor."""

from __future__ import annotations

from pathlib import Path

import pytest

from lipread.bench import example_video, show_stages, subprocess_s
from test_pipeline import teller


def test_stages_of_a_real_clip(
    grid_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LIPREAD_GRID_DIR", str(grid_dir))
    clip = example_video(Path("unused"))
    assert clip.parent == grid_dir / "clips"
    show_stages(teller(), clip, 1)
    shown = capsys.readouterr().out
    for stage in ("video", "landmarks", "mouth", "network", "decoding", "video file to text"):
        assert stage in shown


def test_without_grid_a_head_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIPREAD_GRID_DIR", str(tmp_path / "nowhere"))
    assert example_video(tmp_path).parent == tmp_path


def test_subprocess_seconds_are_wall_clock() -> None:
    assert 0.2 <= subprocess_s(["-c", "import time; time.sleep(0.2)"], 1) < 5
