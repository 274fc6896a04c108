"""Make docs/screenshot.png again: start the app, read a drawn clip in headless Chromium, take a picture.

Run: python tools/screenshot.py [-o FILE] [--dark] [--width 1280]. Needs Playwright and Chromium (LIPREAD_CHROMIUM).
Only drawn people are shown: clips of real ones stay out of the repository.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
MOST_BYTES = 300_000
WAIT_MS = 120_000


def main() -> int:
    """Take the picture -> exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "screenshot.png")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--example", type=int, default=0, help="which drawn clip")
    given = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        return 1
    command = [sys.executable, str(ROOT / "app.py"), "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            picture = photographed(address_of(server), chromium, given.width, given.dark, given.example)
        finally:
            server.terminate()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_bytes(small_png(picture))
    print(f"{given.output}  {given.output.stat().st_size / 1000:.0f} KB")
    return 0


def find_chromium() -> str | None:
    """Where Chromium is; None, after a word about it, where there is none."""
    found = os.environ.get("LIPREAD_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        print("no Chromium: install the package chromium, or name it by LIPREAD_CHROMIUM", file=sys.stderr)
    return found


def browser_arguments() -> list[str]:
    """For a Chromium without a screen that asks nobody for anything."""
    return ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def address_of(server: subprocess.Popen[str]) -> str:
    """The address that the app prints when it is ready."""
    assert server.stdout is not None
    for line in server.stdout:
        if "http://" in line:
            return "http://" + line.split("http://")[1].split()[0]
    raise SystemExit("the app did not start; run python app.py to see why")


def photographed(address: str, chromium: str, width: int, dark: bool, example: int) -> bytes:
    """The page after an example was read, png."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=browser_arguments())
        scheme: Any = "dark" if dark else "light"
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.set_default_timeout(WAIT_MS)
        page.goto(address)
        page.locator(".gallery-item").nth(example).click()
        page.wait_for_selector("#lr-input video")
        page.click("#lr-read")
        page.wait_for_selector("#lr-file-film:not([disabled])")
        page.locator(".lr-word").nth(1).click()  # a moment with a caption
        time.sleep(0.3)
        page.evaluate("document.querySelector('#lr-film video').pause()")
        page.mouse.move(2, 2)
        time.sleep(1.5)
        picture = page.screenshot(full_page=True)
        browser.close()
    return bytes(picture)


def small_png(picture: bytes) -> bytes:
    """The same picture in as many colours as the size allows."""
    from PIL import Image

    image = Image.open(io.BytesIO(picture)).convert("RGB")
    for colours in (None, 256, 128, 64, 32):
        out = io.BytesIO()
        fewer = image if colours is None else image.quantize(colours, dither=Image.Dither.NONE)
        fewer.save(out, "png", optimize=True)
        if out.tell() <= MOST_BYTES:
            break
    return out.getvalue()


if __name__ == "__main__":
    sys.exit(main())
