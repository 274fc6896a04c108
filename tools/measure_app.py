"""Measure the app: seconds from the end of an upload to the first text, and memory while many requests are answered.

Run: python tools/measure_app.py [VIDEO] [--runs 5] [--requests 200]. Needs Playwright and Chromium (LIPREAD_CHROMIUM).
Without a video, a drawn head of three seconds is read. A time is that of the page: a click on "Read the lips" right
after the upload, until the words stand there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from screenshot import ROOT, WAIT_MS, address_of, browser_arguments, find_chromium

AT_ONCE = 4  # requests side by side
STEPS = 8  # how often memory is looked at


def main() -> int:
    """Print the figures -> exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("video", type=Path, nargs="?")
    parser.add_argument("--runs", type=int, default=5, help="readings whose time is taken (5)")
    parser.add_argument("--requests", type=int, default=200, help="over which memory is watched; 0: not (200)")
    given = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        return 1
    with tempfile.TemporaryDirectory() as folder:
        video = given.video or drawn(Path(folder))
        command = [sys.executable, str(ROOT / "app.py"), "--port", "0"]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
            try:
                address = address_of(server)
                wait_until_warm(address)
                times = first_texts(address, chromium, video, given.runs)
                if times:
                    print(f"first text after the upload of {video.name}: {statistics.median(times):.2f} s (median of "
                          f"{len(times)}, {min(times):.2f} to {max(times):.2f})", flush=True)
                for count, memory in memory_over(address, server.pid, video, given.requests):
                    print(f"after {count} requests of the API: {memory:.0f} MB", flush=True)
            finally:
                server.terminate()
    return 0


def drawn(folder: Path) -> Path:
    """A drawn head that speaks."""
    from lipread.drawn import draw_video, sentence

    path = folder / "drawn.mp4"
    draw_video(path, sentence(0), 0)
    return path


def wait_until_warm(address: str) -> None:
    """Until the model has read its first video."""
    while True:
        with urllib.request.urlopen(address.rstrip("/") + "/health") as answer:
            if json.load(answer)["warm"]:
                return
        time.sleep(0.2)


def first_texts(address: str, chromium: str, video: Path, runs: int) -> list[float]:
    """Seconds from the end of the upload to the text, each on a page of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=browser_arguments())
        times = [first_text(browser, address, video) for _ in range(runs)]
        browser.close()
    return times


def first_text(browser: Any, address: str, video: Path) -> float:
    """Seconds from the end of one upload to the text."""
    page = browser.new_page()
    page.set_default_timeout(WAIT_MS)
    page.goto(address)
    page.wait_for_selector("#lr-read")
    page.set_input_files("#lr-input input[type=file]", str(video))
    page.wait_for_selector("#lr-input video", state="attached")
    began_s = time.monotonic()
    page.click("#lr-read")
    page.wait_for_selector(".lr-word, .lr-reason, .lr-failed", state="attached")
    seconds = time.monotonic() - began_s
    if not page.locator(".lr-word").count():
        raise SystemExit(f"{video}: {page.inner_text('#lr-notes')}")
    page.close()
    return seconds


def memory_over(address: str, pid: int, video: Path, requests: int) -> Iterator[tuple[int, float]]:
    """Send so many requests, each as a visitor of its own -> now and then (requests so far, the server's megabytes)."""
    from gradio_client import Client, handle_file

    def send(_: int) -> None:
        Client(address, verbose=False).predict(handle_file(str(video)), api_name="/transcribe")

    for step in range(STEPS if requests else 0):
        numbers = range(step * requests // STEPS, (step + 1) * requests // STEPS)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(send, numbers))
        yield numbers.stop, rss_mb(pid)


def rss_mb(pid: int) -> float:
    """Memory of a process, MB (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


if __name__ == "__main__":
    sys.exit(main())
