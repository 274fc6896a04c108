"""A real server in a process of its own for the tests of the app, and the clips that are sent to it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import ROOT

START_S = 120


@dataclass(frozen=True)
class Server:
    """Attributes:
        url: ends with a slash.
        temporary: where the server was told to put temporary files.
        lines: what it printed after its address.
    """

    url: str
    process: subprocess.Popen[str]
    temporary: Path
    lines: queue.Queue[str]

    def health(self) -> dict[str, Any]:
        with urllib.request.urlopen(self.url + "health", timeout=30) as answer:
            return dict(json.load(answer))

    def folders(self) -> list[str]:
        """Folders of requests that were not deleted."""
        return sorted(path.name for path in self.temporary.glob("lipread-app-*/requests/*"))

    def uploads(self) -> list[Path]:
        """Files that visitors sent or got and that were not deleted."""
        return [path for path in self.temporary.glob("lipread-app-*/gradio/**/*") if path.is_file()]

    def rss_mb(self) -> float:
        """Memory of the server, MB (Linux)."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def wait_until_idle(self, timeout_s: float = 30) -> None:
        """Until no request has a folder any more."""
        end = time.monotonic() + timeout_s
        while self.folders() and time.monotonic() < end:
            time.sleep(0.1)


@contextmanager
def running(
    *arguments: str, examples: Sequence[Path] | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Start app.py on a free port, wait until it is warm, and end it.

    Args:
        arguments: more of the command line.
        examples: clips to offer as the drawn ones; None offers none.
    """
    from lipread.drawn import sentence

    with tempfile.TemporaryDirectory(prefix="test-app-") as folder:
        cache, temporary = Path(folder) / "cache", Path(folder) / "tmp"
        (cache / "lipread" / "examples").mkdir(parents=True)
        temporary.mkdir()
        for number, clip in enumerate(examples or ()):
            name = f"drawn-{number}-{sentence(number).replace(' ', '-')}.mp4"
            (cache / "lipread" / "examples" / name).write_bytes(clip.read_bytes())
        none = [] if examples else ["--no-examples"]
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "app.py"), "--port", "0", "--device", "cpu", *none, *arguments],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=os.environ | {"XDG_CACHE_HOME": str(cache), "TMPDIR": str(temporary)} | dict(environment or {}),
        )
        lines: queue.Queue[str] = queue.Queue()
        try:
            yield Server(_address(process, lines), process, temporary, lines)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(process: subprocess.Popen[str], lines: queue.Queue[str]) -> str:
    """The address that the server prints; then its output is read on, so that it never blocks."""
    assert process.stdout is not None
    threading.Thread(target=lambda: [lines.put(line) for line in process.stdout], daemon=True).start()  # type: ignore
    seen, end = [], time.monotonic() + START_S
    while time.monotonic() < end:
        try:
            seen.append(lines.get(timeout=0.2))
        except queue.Empty:
            if process.poll() is not None:
                break
            continue
        if "http://" in seen[-1]:
            return "http://" + seen[-1].split("http://")[1].split()[0].rstrip("/") + "/"
    raise AssertionError(f"the server did not start: {''.join(seen)}")
