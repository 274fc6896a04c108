"""How quick the reader is: seconds to start, and the real-time factor of every stage."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from lipread.errors import missing_libraries_named
from lipread.terminal import out

if TYPE_CHECKING:
    from lipread.pipeline import LipReader

IMPORT_GOAL_S, HELP_GOAL_S, FACTOR_GOAL = 0.5, 1.0, 0.35  # on two processor cores


def run_bench(video: Path | None, *, model: str, device: str, repeats: int) -> None:
    """Measure and print; the median of `repeats` counts.

    Args:
        video: what to read; None takes a GRID clip where there is one, else a head drawn now.
        model, device: as `load_model`.
    Raises: VideoError, ConfigError, CheckpointError: as reading a video.
    """
    from lipread.pipeline import load_model

    table = Table("measured", "seconds", "goal", title=f"start (median of {repeats}, {os.cpu_count()} cores)")
    table.add_row("import lipread", f"{subprocess_s(['-c', 'import lipread'], repeats):.2f}", f"<= {IMPORT_GOAL_S}")
    table.add_row("lipread --help", f"{subprocess_s(['-m', 'lipread', '--help'], repeats):.2f}", f"<= {HELP_GOAL_S}")
    start = time.perf_counter()
    with missing_libraries_named():
        reader = load_model(model, device)
    table.add_row(f"load model {reader.checkpoint.name}", f"{time.perf_counter() - start:.2f}", "")
    out.print(table)
    with tempfile.TemporaryDirectory(prefix="lipread-") as scratch:
        show_stages(reader, video or example_video(Path(scratch)), repeats)


def show_stages(reader: LipReader, video: Path, repeats: int) -> None:
    """Print the real-time factor of every stage; the first reading warms up and does not count."""
    runs = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        transcript = reader.transcribe(video)
        runs.append((time.perf_counter() - start, transcript))
    counted = runs[1:]
    duration_s = counted[0][1].duration_s
    table = Table("stage", "seconds", "real-time factor", title=f"{video.name}, {duration_s:.2f} s of video")
    for stage in counted[0][1].stage_s:
        seconds = statistics.median(transcript.stage_s[stage] for _, transcript in counted)
        table.add_row(stage, f"{seconds:.3f}", f"{seconds / duration_s:.3f}")
    whole = statistics.median(seconds for seconds, _ in counted)
    table.add_section()
    table.add_row("video file to text", f"{whole:.3f}", f"{whole / duration_s:.3f} (goal <= {FACTOR_GOAL})")
    out.print(table)


def subprocess_s(arguments: list[str], repeats: int) -> float:
    """Median wall-clock seconds of a Python process with these arguments."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def example_video(scratch: Path) -> Path:
    """The first GRID clip at hand (LIPREAD_GRID_DIR, else ../shared/grid), else a head drawn into `scratch`."""
    clips = Path(os.environ.get("LIPREAD_GRID_DIR", "../shared/grid")) / "clips"
    found = sorted(clips.glob("*.mp4")) if clips.is_dir() else []
    if found:
        return found[0]
    from lipread.drawn import draw_clips

    drawn = draw_clips(1, scratch)[0].video
    assert drawn is not None
    return drawn
