"""Drawn clips that make the page useful at once and offline: drawn on the first start, then kept in the cache."""

from __future__ import annotations

import os
from pathlib import Path

from lipread.errors import OutputError

COUNT = 3


def examples_folder() -> Path:
    """Where drawn clips are kept: the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lipread" / "examples"


def make_examples(count: int = COUNT, folder: Path | None = None, fallback: Path | None = None) -> list[Path]:
    """Drawn heads of reserved seeds, each saying a sentence of its own; those that are there already are kept.

    Args:
        fallback: where to draw when the folder cannot be written.
    Raises: OutputError: they can be written nowhere.
    """
    from lipread.drawn import draw_video, sentence

    place = folder or examples_folder()
    try:
        clips = []
        for number in range(count):
            text = sentence(number)
            clip = place / f"drawn-{number}-{text.replace(' ', '-')}.mp4"
            if not clip.is_file():
                draw_video(clip, text, number)
            clips.append(clip)
        return clips
    except (OutputError, OSError):
        if fallback is None:
            raise
        return make_examples(count, fallback)
