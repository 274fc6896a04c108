"""The page in headless Chromium, as people use it. Nothing may be fetched from anywhere but the server."""

from __future__ import annotations

import os
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pysubs2
import pytest

import media
from lipread.video import read_frames
from lipread.web.limits import Limits
from web_server import Server, running

sync_api = pytest.importorskip("playwright.sync_api", reason="no Playwright: pip install playwright")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHROMIUM = os.environ.get("LIPREAD_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
)
WAIT_MS = 60_000
DONE = ".lr-word, .lr-reason, .lr-failed"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn clip."""
    from lipread.drawn import draw_video

    path = tmp_path_factory.mktemp("drawn") / "drawn head.mp4"
    draw_video(path, "place blue now", 0)
    return path


@pytest.fixture(scope="module")
def server(drawn: Path) -> Iterator[Server]:
    with running(examples=[drawn] * 3) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install the package chromium, or name it by LIPREAD_CHROMIUM")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=ARGUMENTS.split())
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any, server: Server) -> Iterator[Callable[..., Any]]:
    """Opens pages, after the script `before`; in the end nothing was asked of another address, and no script failed."""
    contexts, elsewhere, failures = [], [], []

    def note(request: Any) -> None:
        if not request.url.startswith((server.url, "data:", "blob:")):
            elsewhere.append(request.url)

    def opened(width: int = 1280, height: int = 900, *, before: str = "", **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True, **options)
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        page = context.new_page()
        page.failures = failures
        page.add_init_script(before)
        page.on("request", note)
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.goto(server.url)
        page.wait_for_selector("#lr-read")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert elsewhere == []
    assert failures == []


def upload(page: Any, video: Path) -> None:
    if page.locator("#lr-input video").count():
        page.locator("#lr-input").get_by_role("button", name="Clear").click()
    page.set_input_files("#lr-input input[type=file]", str(video))
    page.wait_for_selector("#lr-input video", state="attached")


def read(page: Any, video: Path) -> str:
    """Upload, read, and wait for the text."""
    upload(page, video)
    page.click("#lr-read")
    page.wait_for_selector(DONE)
    return text_of(page)


def text_of(page: Any) -> str:
    return str(page.get_attribute("#lr-said", "data-text"))


def overflow_px(page: Any) -> int:
    """How much wider the page is than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


AUDIT = (Path(__file__).parent / "audit.js").read_text(encoding="utf-8")


def audited(page: Any) -> None:
    """Every control has a name, every text the contrast of WCAG AA, and nothing sticks out."""
    for _ in range(10):  # what has just changed may still be fading in
        found = page.evaluate(AUDIT)
        if not found["contrast"]:
            break
        page.wait_for_timeout(300)
    assert found["nameless"] == []
    assert found["contrast"] == []
    assert overflow_px(page) <= 0


STILL = ["lr-input", "lr-examples", "lr-read", "lr-cancel", "lr-text"]
PLACES = "ids => ids.map(id => Math.round(document.getElementById(id).getBoundingClientRect().top + scrollY))"


@pytest.mark.parametrize("kind", ["drawn", "real"])
def test_read_play_and_take_home(
    kind: str, open_page: Callable[..., Any], drawn: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    clip = drawn
    if kind == "real":
        clip = sorted((request.getfixturevalue("grid_dir") / "clips").glob("s1_*.mp4"))[0]
    page = open_page()
    text = read(page, clip)
    words = page.locator(".lr-word .lr-text").all_text_contents()
    assert text
    assert " ".join(words) == text == page.inner_text("#lr-said")
    page.wait_for_selector("#lr-file-film:not([disabled])")

    last = page.locator(".lr-word").last
    start_s = float(last.get_attribute("data-start"))
    last.click()
    page.wait_for_function(f"document.querySelector('#lr-film video').currentTime >= {start_s} - 0.05")
    assert page.evaluate("document.querySelector('#lr-film video').currentTime") < start_s + 1.5

    with page.expect_download() as download:
        page.click("#lr-file-srt")
    assert download.value.suggested_filename == f"{clip.stem}.srt"
    download.value.save_as(tmp_path / "said.srt")
    subtitles = pysubs2.load(str(tmp_path / "said.srt"))
    assert " ".join(event.plaintext for event in subtitles).split() == words
    assert subtitles[0].start == round(1000 * float(page.locator(".lr-word").first.get_attribute("data-start")))
    with page.expect_download() as download:
        page.click("#lr-file-film")
    download.value.save_as(tmp_path / "film.mp4")
    with read_frames(tmp_path / "film.mp4") as film, read_frames(clip) as source:
        assert film.info.duration_s == pytest.approx(source.info.duration_s, abs=0.05)

    page.click("#lr-why > button")
    for name in ("strip", "saliency", "curves", "posteriorgram", "attention"):
        picture = page.locator(f"#lr-{name} img")
        picture.scroll_into_view_if_needed()
        page.wait_for_function(f"document.querySelector('#lr-{name} img').naturalWidth > 300")
        assert picture.get_attribute("alt")
    audited(page)


def test_a_word_of_a_part_plays_from_there_in_the_upload_too(open_page: Callable[..., Any], drawn: Path) -> None:
    page = open_page()
    upload(page, drawn)
    page.click("#lr-part > button")
    page.get_by_label("Start (seconds)").first.fill("0.4")
    page.click("#lr-read")
    page.wait_for_selector(".lr-word")
    page.wait_for_selector("#lr-film video", state="attached")
    page.evaluate("document.querySelector('#lr-film video').remove()")  # as if it were still being written
    word = page.locator(".lr-word").last
    start_s = 0.4 + float(word.get_attribute("data-start"))
    word.click()
    page.wait_for_function(f"document.querySelector('#lr-input video').currentTime >= {start_s} - 0.05")


def test_attention_of_another_layer_and_head(open_page: Callable[..., Any], drawn: Path) -> None:
    page = open_page()
    read(page, drawn)
    page.click("#lr-why > button")
    page.wait_for_selector("#lr-salient video", state="attached")
    for field, choice in (("Attention layer", "1"), ("Attention head", "2"), ("Attention layer", "2")):
        picture = page.get_attribute("#lr-attention img", "src")
        page.get_by_label(field).click()
        page.get_by_role("option", name=choice, exact=True).click()
        page.wait_for_function("src => document.querySelector('#lr-attention img').src !== src", arg=picture)


def test_an_example_is_read_with_a_language_model(open_page: Callable[..., Any]) -> None:
    page = open_page()
    page.locator(".gallery button, .examples button, [data-testid='dataset'] button, .gallery-item").first.click()
    page.wait_for_selector("#lr-input video", state="attached")
    page.click("button.label-wrap:has-text('Advanced')")
    page.get_by_label("Language model", exact=True).click()
    page.get_by_role("option", name="grid-ngram").click()
    page.wait_for_selector("text=Weight of the language model")
    page.click("#lr-read")
    page.wait_for_selector(DONE)
    page.wait_for_selector("#lr-changes .lr-changes")
    page.click("button.label-wrap:has-text('Other readings')")
    page.wait_for_selector("#lr-nbest table", state="attached")
    tables, best = page.locator("#lr-nbest table"), []
    assert tables.count()
    for table in tables.all():  # one per utterance
        rows = table.locator("tbody tr")
        assert 2 <= rows.count() <= 5
        best.append(rows.first.locator("th").inner_text())
        scores = [float(text) for text in table.locator("tbody td:nth-child(3)").all_text_contents()]
        assert scores == sorted(scores, reverse=True)
    assert " ".join(best) == text_of(page)
    audited(page)


def test_cancel_half_way(open_page: Callable[..., Any], drawn: Path, tmp_path: Path, server: Server) -> None:
    with read_frames(drawn) as frames:
        images = [frame.image for frame in frames]
    long = media.write_video(tmp_path / "long.mp4", images * 20)
    page = open_page()
    upload(page, long)
    page.click("#lr-read")
    page.wait_for_selector("#lr-text >> text=/Following the lips/")
    assert server.folders()
    page.click("#lr-cancel")
    page.wait_for_selector("text=Cancelled")
    server.wait_until_idle(10)  # far less than reading it would take
    assert server.folders() == []
    assert text_of(page) == ""
    assert read(page, drawn)  # and it goes on
    upload(page, long)
    page.click("#lr-read")
    page.wait_for_selector("#lr-text >> text=/Following the lips/")
    page.wait_for_selector("#lr-words .lr-word", state="detached", timeout=3000)  # nothing of the other video
    assert page.locator("#lr-file-srt").is_disabled()
    page.click("#lr-cancel")
    page.wait_for_selector("text=Cancelled")
    server.wait_until_idle(30)
    assert server.folders() == []  # though the pictures of the one before were being made
    page.click("#lr-read")
    page.wait_for_selector("#lr-text >> text=/Following the lips/")
    page.close()  # who leaves keeps nobody waiting
    server.wait_until_idle(15)
    assert server.folders() == []


def test_cancel_in_the_queue(open_page: Callable[..., Any], drawn: Path, tmp_path: Path, server: Server) -> None:
    with read_frames(drawn) as frames:
        images = [frame.image for frame in frames]
    long = media.write_video(tmp_path / "long.mp4", images * 20)
    busy, waiting = [open_page() for _ in range(Limits().at_once)], open_page()
    for page in busy:
        upload(page, long)
        page.click("#lr-read")
        page.wait_for_selector("#lr-text >> text=/Following the lips/")
    upload(waiting, drawn)
    waiting.click("#lr-read")
    waiting.wait_for_selector("#lr-text .pending", state="attached")
    waiting.wait_for_timeout(1000)  # its turn does not come
    assert len(server.folders()) == len(busy)
    waiting.click("#lr-cancel")
    waiting.wait_for_selector("#lr-notes >> text=Cancelled")
    for page in busy:
        page.click("#lr-cancel")
    server.wait_until_idle(30)
    assert text_of(waiting) == ""
    waiting.click("#lr-cancel")
    assert read(waiting, drawn)  # and it goes on


def test_a_text_file_called_mp4(open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = open_page()
    assert read(page, media.touch(tmp_path / "notes.mp4", "hello " * 100)) == ""
    said = page.inner_text(".lr-failed")
    assert re.match(r"Not read: notes\.mp4", said)
    assert str(tmp_path) not in said
    assert page.locator("#lr-file-srt").is_disabled()


def test_a_video_without_a_face(open_page: Callable[..., Any], tmp_path: Path) -> None:
    page = open_page()
    wall = media.write_video(tmp_path / "wall.mp4", [np.full((240, 320, 3), 120, np.uint8)] * 25)
    assert read(page, wall) == ""
    said = page.inner_text("#lr-notes")
    assert "no face was found" in said
    assert "must be in the picture" in said
    audited(page)


def test_a_video_that_the_browser_cannot_play_is_read(
    open_page: Callable[..., Any], drawn: Path, tmp_path: Path
) -> None:
    with read_frames(drawn) as frames:
        old = media.write_video(tmp_path / "old.avi", (frame.image for frame in frames))
    page = open_page()
    text = read(page, old)
    assert "cannot play the file" in page.inner_text("#lr-input")
    audited(page)
    assert text
    page.wait_for_selector("#lr-file-film:not([disabled])")
    page.locator(".lr-word").last.click()
    page.wait_for_function("document.querySelector('#lr-film video').currentTime > 0.5")
    page.locator("#lr-input").get_by_role("button", name="Clear").click()
    page.wait_for_selector("#lr-input >> text=Drop Video Here")
    page.wait_for_selector(".lr-unplayable", state="detached")
    upload(page, drawn)
    page.wait_for_function("document.querySelector('#lr-input video').readyState > 0")
    assert page.locator(".lr-unplayable").count() == 0


def test_a_recording_is_read(open_page: Callable[..., Any]) -> None:
    page = open_page(permissions=["camera", "microphone"])
    page.get_by_role("button", name="Capture from camera").click()
    page.click("#lr-input >> text=Click to Access Webcam")
    record = page.get_by_role("button", name="start recording")
    record.wait_for()
    page.wait_for_timeout(1500)  # gradio shows the button before it has the camera
    record.click()
    page.wait_for_timeout(4000)
    page.get_by_role("button", name="stop recording").click()
    page.wait_for_function("document.querySelector('#lr-input video')?.duration < 60")  # Infinity, if it is not asked
    assert page.evaluate("document.querySelector('#lr-input video').duration") > 3  # however slow the encoder was
    page.wait_for_function("document.querySelector('#lr-input video').currentTime === 0")
    page.click("#lr-read")
    page.wait_for_selector("#lr-notes >> text=/No face was found. The whole face/")  # in a test picture that beeps
    page.get_by_role("radio", name="lips", exact=True).check()
    page.click("#lr-read")
    page.wait_for_selector("#lr-notes >> text=/no face was found in any of the \\d+ frames/")


NO_DEVICE = "navigator.mediaDevices.getUserMedia = async wanted => { (window.asked ??= []).push(wanted.audio); REST }"


def test_a_camera_that_may_not_be_used_is_told(open_page: Callable[..., Any], drawn: Path) -> None:
    page = open_page(before=NO_DEVICE.replace("REST", "throw new DOMException('no', 'NotAllowedError')"))
    page.get_by_role("button", name="Capture from camera").click()
    page.click("#lr-input >> text=Click to Access Webcam")
    page.wait_for_selector("#lr-input [role=status] >> text=/The camera is not allowed. .*upload a video/")
    assert page.evaluate("asked") == [True, False]  # a camera without a microphone would do
    audited(page)
    page.get_by_role("button", name="Upload file").click()
    page.wait_for_selector(".lr-camera", state="detached")
    page.failures.clear()  # gradio lets the refusal through to the browser's log
    upload(page, drawn)
    page = open_page(before="Object.defineProperty(navigator, 'mediaDevices', {value: undefined})")  # as over http
    page.get_by_role("button", name="Capture from camera").click()
    page.click("#lr-input >> text=Click to Access Webcam")
    page.wait_for_selector(".toast-body >> text=The camera works only over https")
    page.failures.clear()  # gradio asks for the camera all the same


CUT = """window.hearts = 0; const real = window.fetch;
window.fetch = (...request) => String(request[0].url ?? request[0]).includes('/heartbeat/') && !hearts++
  ? Promise.reject(new TypeError('cut')) : real(...request);"""
LOST = """document.body.insertAdjacentHTML('beforeend',
  '<p data-testid="toast-text">Connection to the server was lost. Attempting reconnection...</p>')"""
FULL = {"status": 507, "content_type": "application/json", "body": '{"detail":"it cannot be kept"}'}


def test_a_page_that_loses_its_server(open_page: Callable[..., Any], drawn: Path) -> None:
    page = open_page(before=CUT)
    page.wait_for_function("hearts === 2")  # the heartbeat is opened again
    text = read(page, drawn)
    page.wait_for_selector("#lr-film video", state="attached")
    page.evaluate("document.querySelector('#lr-film video').src = '/gradio_api/file=/gone.mp4'")
    page.wait_for_selector("#lr-film [role=status] >> text=The film is gone")
    page.evaluate(LOST)
    page.reload()  # as gradio does then
    page.wait_for_selector(f"#lr-notes >> text=/^The connection was lost.*drawn.head.mp4: “{text}”. Choose the video/")
    page.route("**/upload?*", lambda route: route.fulfill(**FULL))
    page.set_input_files("#lr-input input[type=file]", str(drawn))
    page.wait_for_selector("[data-testid=toast-text] >> text=/^it cannot be kept$/")
    page.unroute("**/upload?*")
    assert read(page, drawn) == text
    assert page.locator(".lr-anew").count() == 0
    page.route("**/app_id", lambda route: route.fulfill(json={"app_id": 1}))
    page.click("#lr-read")
    page.wait_for_selector(f"#lr-notes >> text=/^The program was started anew.*“{text}”/")


SHIFTS = """
window.moved = 0;
new PerformanceObserver(list => { for (const shift of list.getEntries()) window.moved += shift.value; })
  .observe({type: 'layout-shift', buffered: true});
"""


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_nothing_jumps_while_the_page_opens(open_page: Callable[..., Any], width: int, height: int) -> None:
    page = open_page(width, height, before=SHIFTS)
    page.wait_for_selector("#lr-examples button >> nth=2")
    page.wait_for_timeout(1500)
    assert page.locator("#lr-read").is_visible()
    assert page.evaluate("moved") < 0.05  # Chromium's measure: share of the window that moved, times how far


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (390, 844)])
def test_nothing_jumps(open_page: Callable[..., Any], drawn: Path, width: int, height: int) -> None:
    page = open_page(width, height)
    page.wait_for_selector("#lr-examples button >> nth=2")
    page.wait_for_timeout(500)
    before = page.evaluate(PLACES, STILL)
    upload(page, drawn)
    page.wait_for_function("document.querySelector('#lr-input video').readyState > 0")
    assert page.evaluate(PLACES, STILL) == before
    page.click("#lr-read")
    while not page.locator(DONE).count():
        assert page.evaluate(PLACES, STILL) == before
    page.wait_for_selector("#lr-words .lr-word")
    shown = [*STILL, "lr-words", "lr-film", "lr-files", "lr-why"]
    first = page.evaluate(PLACES, shown)
    assert first[: len(STILL)] == before
    page.wait_for_selector("#lr-file-film:not([disabled])")
    page.wait_for_selector("#lr-film video")
    assert page.evaluate(PLACES, shown) == first  # the film comes into a place that was kept for it


def test_two_people(open_page: Callable[..., Any], drawn: Path, tmp_path: Path) -> None:
    with read_frames(drawn) as frames:
        images = [frame.image for frame in frames]
    still = np.concatenate([images[0], images[0]], axis=1)
    pair = [np.concatenate([images[0], image], axis=1) for image in images]
    page = open_page()
    text = read(page, media.write_video(tmp_path / "pair.mp4", [still, *pair]))
    page.wait_for_selector("#lr-faces img >> nth=1")
    assert "Face 2 (read)" in page.inner_text("#lr-faces")
    page.locator("#lr-faces button:has(img)").first.click()
    page.wait_for_selector(".lr-reason >> text=/hardly move/")
    assert "Face 1 (read)" in page.inner_text("#lr-faces")
    assert text_of(page) == ""
    assert text
    audited(page)


def test_many_videos(open_page: Callable[..., Any], drawn: Path, tmp_path: Path) -> None:
    page = open_page()
    page.click("button[role=tab]:has-text('Many videos')")
    files = [str(drawn), str(media.touch(tmp_path / "notes.mp4", "hello"))]
    page.wait_for_timeout(500)
    still = ["lr-many-files", "lr-many-read", "lr-many-cancel", "lr-table"]
    before = page.evaluate(PLACES, still)
    page.set_input_files("#lr-many-files input[type=file]", files)
    page.wait_for_selector("#lr-many-files >> text=notes")
    assert page.evaluate(PLACES, still) == before
    page.click("#lr-many-read")
    while not page.locator("#lr-zip a[download]").count():
        assert page.evaluate(PLACES, still) == before
    states = page.locator("#lr-table tbody td:nth-child(2)").all_text_contents()
    assert states == ["read", "failed"]
    heard = page.locator("#lr-many-notes [aria-live=polite]")
    assert heard.inner_text() == "1 of 2 videos were read, 1 failed; the zip is ready."
    assert "notes.mp4" in page.inner_text("#lr-table")
    audited(page)
    page.set_viewport_size({"width": 390, "height": 844})
    audited(page)
    for cell in page.locator("#lr-table tbody td:nth-child(3)").all():  # nothing has to be scrolled to
        box = cell.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 390
    page.click("button[role=tab]:has-text('About')")
    page.wait_for_selector("text=Model card")
    audited(page)


def test_a_cancelled_batch_gives_what_was_finished(
    open_page: Callable[..., Any], drawn: Path, tmp_path: Path, server: Server
) -> None:
    files = [str(shutil.copy(drawn, tmp_path / f"talk-{number}.mp4")) for number in range(9)]
    page = open_page()
    page.click("button[role=tab]:has-text('Many videos')")
    page.set_input_files("#lr-many-files input[type=file]", files)
    page.wait_for_selector("#lr-many-files >> text=talk-8")
    page.click("#lr-many-read")
    page.wait_for_selector("#lr-table tr.lr-good >> nth=0")
    page.click("#lr-many-cancel")
    page.wait_for_selector("#lr-many-notes >> text=/of 9 videos were finished/")
    finished = page.locator("#lr-table tbody tr").count()
    assert 1 <= finished < 9
    assert page.locator("#lr-table tr.lr-good").count() == finished
    with page.expect_download() as download:
        page.click("#lr-zip a[download]")
    download.value.save_as(tmp_path / "results.zip")
    with zipfile.ZipFile(tmp_path / "results.zip") as bundle:
        assert {f"talk-{number}.srt" for number in range(finished)} | {"results.tsv"} <= set(bundle.namelist())
        assert f"talk-{finished}.srt" not in bundle.namelist()
    audited(page)
    page.click("#lr-many-cancel")  # nothing is running any more: nothing goes
    page.wait_for_timeout(1000)
    assert page.locator("#lr-zip a[download]").count() == 1
    server.wait_until_idle()
    assert server.folders() == []


def choose_many(page: Any, files: list[str]) -> None:
    """Have files read in the second tab."""
    page.click("button[role=tab]:has-text('Many videos')")
    page.set_input_files("#lr-many-files input[type=file]", files)
    page.wait_for_selector(f"#lr-many-files >> text={Path(files[-1]).stem}")
    page.click("#lr-many-read")


def test_a_batch_cancelled_in_the_queue_is_told_so(
    open_page: Callable[..., Any], drawn: Path, tmp_path: Path, server: Server
) -> None:
    busy, waiting = open_page(), open_page()
    choose_many(waiting, [str(drawn)])
    waiting.wait_for_selector("#lr-zip a[download]")
    choose_many(busy, [str(shutil.copy(drawn, tmp_path / f"talk-{number}.mp4")) for number in range(9)])
    busy.wait_for_selector("#lr-table tr.lr-good")
    waiting.click("#lr-many-read")
    waiting.wait_for_timeout(1000)  # its turn does not come
    waiting.click("#lr-many-cancel")
    waiting.wait_for_selector("#lr-many-notes >> text=Cancelled. Nothing was read of this batch.")
    waiting.wait_for_selector("#lr-zip a[download]", state="detached")  # of the batch before
    assert waiting.locator("#lr-table tbody tr").count() == 0
    busy.click("#lr-many-cancel")
    server.wait_until_idle(30)
    assert server.folders() == []


EDGES = """() => [...document.querySelectorAll('button, input, .lr-track')].filter(each => each.checkVisibility()
  && !each.matches('[type=checkbox], [type=radio], [type=range], [type=file]')
  && parseFloat(getComputedStyle(each).borderBottomWidth) < 1).map(each => each.outerHTML.slice(0, 80))"""


def test_with_the_colours_of_the_reader_everything_has_an_edge(open_page: Callable[..., Any], drawn: Path) -> None:
    page = open_page(forced_colors="active")
    read(page, drawn)
    page.click("button.label-wrap:has-text('Advanced')")
    assert page.evaluate(EDGES) == []
    colour = "selector => getComputedStyle(document.querySelector(selector)).backgroundColor"
    assert page.evaluate(colour, ".lr-bar") != page.evaluate(colour, "body")


def test_a_thumb_hits_what_is_to_be_taken_home(open_page: Callable[..., Any], drawn: Path) -> None:
    page = open_page(390, 844)
    read(page, drawn)
    page.wait_for_selector("#lr-file-film:not([disabled])")
    boxes = [button.bounding_box() for button in page.locator("#lr-files button").all()]
    assert len(boxes) == 7 and min(box["height"] for box in boxes) >= 44


def test_files_go_with_their_visitor(
    open_page: Callable[..., Any], drawn: Path, tmp_path: Path, server: Server
) -> None:
    name = "leaving.mp4"
    page = open_page()
    read(page, Path(shutil.copy(drawn, tmp_path / name)))
    page.wait_for_selector("#lr-file-film:not([disabled])")
    page.click("#lr-why > button")
    page.wait_for_selector("#lr-salient video", state="attached")
    kept = {path.name for path in server.uploads() if path.stem.startswith("leaving")}
    assert {name, "leaving.srt", "leaving.captioned.mp4", "leaving.saliency.mp4"} <= kept
    page.close()
    end = time.monotonic() + Limits().left_s + 60
    while (left := [path for path in server.uploads() if path.stem.startswith("leaving")]) and time.monotonic() < end:
        time.sleep(1)
    assert left == []


@pytest.mark.parametrize(("width", "height", "scheme"), [(320, 640, "dark"), (1920, 1080, "light"), (768, 800, "dark")])
def test_every_window(open_page: Callable[..., Any], drawn: Path, width: int, height: int, scheme: str) -> None:
    page = open_page(width, height, color_scheme=scheme)
    assert page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")
    assert page.get_by_role("tab").count() == 3  # none in a menu
    audited(page)
    read(page, drawn)
    for label in ("Advanced", "Only a part", "Other readings", "Why"):
        page.click(f"button.label-wrap:has-text('{label}')")
    page.wait_for_selector("#lr-attention img", state="attached")
    audited(page)
    if width < 500:
        page.click("#lr-read")
        page.wait_for_function("document.querySelector('#lr-text').getBoundingClientRect().top < innerHeight")


def test_keyboard_alone(open_page: Callable[..., Any], drawn: Path) -> None:
    page = open_page(locale="de-DE")
    assert page.evaluate("document.documentElement.lang") == "en"
    reach(page, "#lr-input .upload-container")
    assert "Drop Video Here" in page.inner_text("#lr-input")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(str(drawn))
    page.wait_for_function("document.activeElement.id === 'lr-read'")  # what was focused is gone
    reach(page, "#lr-modality input")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="lips", exact=True).is_checked()
    reach(page, "#lr-advanced > button[aria-expanded=false]")
    page.keyboard.press("Enter")
    page.wait_for_selector("#lr-advanced > button[aria-expanded=true]")
    page.focus("#lr-read")
    page.keyboard.press("Enter")
    page.wait_for_selector(".lr-word")
    page.wait_for_selector("#lr-film video", state="attached")
    reach(page, ".lr-word")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    start_s = float(page.evaluate("document.activeElement.dataset.start"))
    page.keyboard.press("Space")
    page.wait_for_function(f"document.querySelector('#lr-film video').currentTime >= {start_s} - 0.05")
    reach(page, "#lr-film progress")
    film = "document.querySelector('#lr-film video')"
    page.evaluate(f"{film}.pause(); {film}.currentTime = 0")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(f"{film}.currentTime") == 1
    page.focus("#lr-film [role=button]")
    before = page.evaluate("scrollY")
    page.keyboard.press("Space")
    page.wait_for_function(f"!{film}.paused")
    page.wait_for_timeout(300)
    assert page.evaluate("scrollY") == before
    reach(page, "#lr-file-srt")
    reach(page, "#lr-why > button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#lr-attention", state="visible")


def reach(page: Any, selector: str) -> None:
    """Tab on until an element is focused."""
    for _ in range(120):
        if page.evaluate("selector => !!document.activeElement?.matches(selector)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{selector} cannot be reached with Tab")
