"""A real server, spoken to by gradio's own client and by plain HTTP: results, limits, secrets, many at once."""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import media
from conftest import ROOT
from lipread.alphabet import Alphabet
from lipread.checkpoint import save_checkpoint
from lipread.config import PRESETS
from lipread.model.network import LipNetwork
from lipread.video import read_frames
from lipread.web.limits import Limits
from lipread.web.service import TRIM_EVERY_S
from web_server import Server, running

gradio_client = pytest.importorskip("gradio_client", reason="the app's packages are absent: pip install 'lipread[app]'")
handle_file = gradio_client.handle_file


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short drawn clip."""
    from lipread.drawn import draw_video

    path = tmp_path_factory.mktemp("drawn") / "drawn.mp4"
    draw_video(path, "bin blue now", 0)
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    return gradio_client.Client(server.url, verbose=False)


def get(url: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers, without following anything or tidying the path."""
    host, _, path = url.removeprefix("http://").partition("/")
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("GET", "/" + path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode("utf-8", "replace"), {k.lower(): v for k, v in answer.getheaders()}
    connection.close()
    return found


def test_health(server: Server) -> None:
    assert server.health().items() >= {"status": "ok", "model": "small"}.items()


def test_transcribe(client: Any, drawn: Path) -> None:
    text, details = client.predict(handle_file(str(drawn)), api_name="/transcribe")
    assert details["text"] == text
    assert (details["source"], details["model"], details["search"]) == ("drawn.mp4", "small", "greedy")
    assert details["face_share"] == 1.0
    words = [word["word"] for segment in details["segments"] for word in segment["words"]]
    assert " ".join(words) == text
    assert set(details["stage_seconds"]) == {"video", "landmarks", "mouth", "network", "decoding"}
    again, grammar = client.predict(
        video=handle_file(str(drawn)), decoder="grammar", nbest=3, start=0, end=1.0, api_name="/transcribe"
    )
    assert (grammar["search"], grammar["duration"]) == ("grammar grid", 1.0)
    assert all(len(each["nbest"]) <= 3 for each in grammar["utterances"])
    assert again == grammar["text"]


def test_the_same_words_from_the_api_the_batch_and_python(client: Any, drawn: Path) -> None:
    import lipread

    text, details = client.predict(handle_file(str(drawn)), lm="grid-ngram", api_name="/transcribe")
    table, packed = client.predict([handle_file(str(drawn))], lm="grid-ngram", api_name="/batch")
    assert [row[2] for row in table["rows"]] == [text or details["reason"]]
    direct = lipread.load_model("small", "cpu", lm="grid-ngram").transcribe(drawn)
    assert (direct.text, direct.raw_text) == (text, details["raw_text"])
    with zipfile.ZipFile(packed) as bundle:
        assert json.loads(bundle.read("drawn.json"))["text"] == text
        assert " ".join(bundle.read("drawn.txt").decode().split()) == text


def test_batch_of_good_and_bad(client: Any, drawn: Path, tmp_path: Path) -> None:
    text_file = media.touch(tmp_path / "notes.mp4", "not a video")
    bundle = tmp_path / "more.zip"
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.write(drawn, "../../up/drawn.mp4")
    table, packed = client.predict([handle_file(str(each)) for each in (drawn, text_file, bundle)], api_name="/batch")
    assert [(row[0], row[1] == "failed") for row in table["rows"]] == (
        [("drawn.mp4", False), ("notes.mp4", True), ("up/drawn.mp4", False)]
    )
    with zipfile.ZipFile(packed) as results:
        names = set(results.namelist())
        rows = list(csv.reader(io.StringIO(results.read("results.tsv").decode()), delimiter="\t"))
    assert {"drawn.srt", "up/drawn.srt", "results.tsv"} <= names
    assert rows[0] == table["headers"]
    assert rows[1:] == table["rows"]


def test_errors_are_sentences_without_paths(client: Any, drawn: Path, tmp_path: Path, server: Server) -> None:
    for arguments, said in (
        ((handle_file(str(media.touch(tmp_path / "notes.mp4", "not a video"))),), "notes.mp4"),
        ((handle_file(str(drawn)), "7"), "there is no face 7"),
        ((handle_file(str(drawn)), "loudest"), "'loudest' is not known here; use auto, largest, or a number from 0"),
        ((handle_file(str(drawn)), "all"), "'all' is not known here"),
        ((handle_file(str(drawn)), "auto", 5.0, 4.0), "the end, 4 s, must be"),
    ):
        with pytest.raises(Exception, match=said) as error:
            client.predict(*arguments, api_name="/transcribe")
        assert str(server.temporary) not in str(error.value)
    with pytest.raises(Exception, match=r"secret|choices"):
        client.predict(handle_file(str(drawn)), lm="secret/lm", api_name="/transcribe")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"start": "abc"}, "Start (seconds): 'abc' is not a number"),
        ({"start": 1e308}, "times are numbers from 0 to 1000000"),
        ({"beam_size": 0}, "Beam size: 0 is not a number from 1 to 200"),
        ({"nbest": "many"}, "Other readings to keep: 'many' is not a whole number"),
        ({"decoder": ["beam"]}, "Decoder: ['beam'] is not one of automatic, greedy, beam, grammar"),
        ({"speaker": {"face": 1}}, "Speaker: {'face': 1} is not text or a number"),
        ({"video": "talk.mp4"}, "Video: 'talk.mp4' is not an uploaded file; in Python: handle_file(\"talk.mp4\")"),
        ({"video": [1, 2]}, "Video: [1, 2] is not an uploaded file"),
    ],
)
def test_values_of_a_wrong_kind_are_refused_in_words(
    given: dict[str, Any], said: str, client: Any, drawn: Path
) -> None:
    with pytest.raises(Exception) as error:
        client.predict(**({"video": handle_file(str(drawn))} | given), api_name="/transcribe")
    assert said in str(error.value)


def tiny_model(folder: Path, *streams: str) -> str:
    """A checkpoint with random weights that reads these streams."""
    import torch

    torch.manual_seed(0)
    network = LipNetwork(PRESETS["tiny"].model_copy(update={"streams": streams}))
    save_checkpoint(folder / "tiny.safetensors", network, Alphabet.english(), {"steps": 0})
    return str(folder / "tiny.safetensors")


def test_a_page_that_reads_lips_only_offers_no_sound(drawn: Path, tmp_path: Path) -> None:
    with running("--model", tiny_model(tmp_path, "pixels", "points")) as server:
        client = gradio_client.Client(server.url, verbose=False)
        for endpoint, given in (("/transcribe", handle_file(str(drawn))), ("/batch", [handle_file(str(drawn))])):
            with pytest.raises(Exception, match=r"Read from: 'ears' is not one of auto, video, audio, both"):
                client.predict(given, modality="ears", api_name=endpoint)
        with pytest.raises(Exception, match="reads lips only, so modality 'audio' cannot be"):
            client.predict(handle_file(str(drawn)), modality="audio", api_name="/transcribe")
        _, details = client.predict(handle_file(str(drawn)), api_name="/transcribe")
        assert {each["modality"] for each in details["segments"]} == {"video"}
        assert {each["why"] for each in details["segments"]} == {"the model does not hear"}
        assert radio(server)["props"]["visible"] is False
        assert "from the lips alone, without sound" in get(server.url)[1]


def test_a_model_that_hears_is_asked_for_lips_sound_or_both(drawn: Path, tmp_path: Path) -> None:
    hiss = np.random.default_rng(0).normal(0, 0.2, (1, 32_000)).astype(np.float32)
    with read_frames(drawn) as frames:
        images = [frame.image for frame in frames][:50]
    noisy = media.write_video(tmp_path / "noisy.mp4", images, sound=hiss)
    silent = media.write_video(tmp_path / "silent.mp4", images)
    with running("--model", tiny_model(tmp_path, "pixels", "points", "sound")) as server:
        client = gradio_client.Client(server.url, verbose=False)
        for modality, source in (("video", "video"), ("audio", "audio"), ("both", "both")):
            _, details = client.predict(handle_file(str(noisy)), modality=modality, api_name="/transcribe")
            assert {each["modality"] for each in details["segments"]} <= {source}
            assert {each["why"][:16] for each in details["segments"]} <= {"as was asked for"}
            assert details["segments"] or details["reason"]
        with pytest.raises(Exception, match=r"silent\.mp4 has no sound that can be decoded"):
            client.predict(handle_file(str(silent)), modality="both", api_name="/transcribe")
        files = [handle_file(str(each)) for each in (noisy, silent)]
        table, _ = client.predict(files, modality="audio", api_name="/batch")
        assert [row[1] == "failed" for row in table["rows"]] == [False, True]
        assert "has no sound" in table["rows"][1][2]
        assert radio(server)["props"]["visible"] is True
        assert "from the lips, and from the sound where it goes with them" in get(server.url)[1]


def radio(server: Server) -> dict[str, Any]:
    """The page's choice of lips, sound or both."""
    config = json.loads(get(server.url + "config")[1])
    (found,) = (each for each in config["components"] if each["props"].get("elem_id") == "lr-modality")
    return dict(found)


@pytest.mark.parametrize("values", [[], [None]])
def test_too_few_values_are_told_in_a_sentence(server: Server, values: list[Any]) -> None:
    kind, data = answer(server, "transcribe", values)
    assert kind == "error"
    said = "transcribe takes 11 values (video, speaker, start, end, decoder, grammar, lm, lm_weight, beam_size, nbest, "
    assert said + f"modality), {len(values)} w" in data
    events = json.loads(get(server.url + "config")[1])["dependencies"]
    for event in (event for event in events if not event["backend_fn"] or event["api_visibility"] == "private"):
        body = json.dumps({"data": [], "fn_index": event["id"], "session_hash": "nobody"}).encode()
        asked = urllib.request.Request(
            server.url + "gradio_api/queue/join", data=body, headers={"Content-Type": "application/json"}
        )
        urllib.request.urlopen(asked, timeout=30).close()
    server.wait_until_idle()
    time.sleep(1)
    assert not any("Traceback" in line for line in server.lines.queue)


def sent(server: Server, content: bytes, name: str) -> http.client.HTTPConnection:
    """Upload a file."""
    part = f'--x\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
    connection = http.client.HTTPConnection(server.url.removeprefix("http://").strip("/"), timeout=60)
    body = part.encode() + content + b"\r\n--x--\r\n"
    connection.request("POST", "/gradio_api/upload", body, {"Content-Type": "multipart/form-data; boundary=x"})
    return connection


def parts(server: Server) -> list[Path]:
    """What came of uploads that are not over."""
    return list(server.temporary.glob("lipread-app-*/gradio/upload-*"))


def wait_for(what: Callable[[], object], timeout_s: float = 30) -> bool:
    """Until something is so -> whether it is."""
    end = time.monotonic() + timeout_s
    while not what() and time.monotonic() < end:
        time.sleep(0.1)
    return bool(what())


def test_an_upload_that_breaks_off_leaves_nothing(server: Server) -> None:
    host, port = server.url.removeprefix("http://").strip("/").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        head = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        part = '--x\r\nContent-Disposition: form-data; name="files"; filename="broken.mp4"\r\n\r\n'
        client.sendall((head + part).encode() + bytes(3 << 20))
        assert wait_for(lambda: parts(server))
    assert wait_for(lambda: not parts(server))
    assert not any("Traceback" in line for line in server.lines.queue)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs Linux")
def test_a_full_disk_is_told_and_nothing_is_left_on_it(server: Server) -> None:
    process = server.process.pid
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (1 << 20, before[1]))  # as if the disk ended there
    try:
        answer = sent(server, bytes(3 << 20), "large.mp4").getresponse()
        said = "the file cannot be kept (File too large); send a smaller one, or try again later"
        assert (answer.status, json.load(answer)["detail"]) == (507, said)
        assert parts(server) == []
        opened = [path for path in Path(f"/proc/{process}/fd").iterdir() if "/upload-" in os.readlink(path)]
        assert sum(path.stat().st_size for path in opened) == 0
        (small,) = json.load(sent(server, b"small", "small.mp4").getresponse())
        assert Path(small).read_bytes() == b"small"
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, before)
    assert not any("Traceback" in line for line in server.lines.queue)


def test_only_two_endpoints_are_shown_and_typed(client: Any) -> None:
    api = client.view_api(return_format="dict", print_info=False)
    assert set(api["named_endpoints"]) == {"/transcribe", "/batch"}
    assert api["unnamed_endpoints"] == {}
    parameters = {each["parameter_name"]: each for each in api["named_endpoints"]["/transcribe"]["parameters"]}
    assert list(parameters)[:4] == ["video", "speaker", "start", "end"]
    assert list(parameters)[-1] == "modality" and parameters["modality"]["parameter_default"] == "auto"
    assert parameters["video"]["python_type"]["type"] == "filepath"
    assert "grammar" in parameters["decoder"]["python_type"]["type"]
    assert parameters["decoder"]["parameter_default"] == "automatic"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2Fetc%2Fpasswd", "pyproject.toml",
        str(ROOT / "pyproject.toml"), str(ROOT / "lipread" / "weights" / "small.md"), "http://127.0.0.1:1/x",
        "https://example.com/x.mp4", "//example.com/x", "file:///etc/passwd", "/proc/self/environ",
    ],
)
def test_no_path_outside_is_readable(server: Server, path: str) -> None:
    status, text, _ = get(f"{server.url}gradio_api/file={path}")
    assert status in (403, 404), text[:200]
    assert "root:" not in text


def test_requests_cannot_name_files_or_addresses(server: Server, client: Any, tmp_path: Path) -> None:
    secret = media.touch(tmp_path / "secret.mp4", "secret")
    kind = {"_type": "gradio.FileData"}
    for path in (str(secret), "/etc/passwd", "http://127.0.0.1:1/x.mp4", server.url + "health"):
        with pytest.raises(Exception) as error:
            client.predict({"path": path, "meta": kind}, api_name="/transcribe")
        assert "root:" not in str(error.value)
        assert "status" not in str(error.value)


def answer(server: Server, endpoint: str, values: list[Any], timeout_s: float = 60) -> tuple[str, str]:
    """What plain HTTP gets from an endpoint: how it ended, "complete" or "error", and the data of that, as text."""
    url, headers = f"{server.url}gradio_api/call/{endpoint}", {"Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps({"data": values}).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=timeout_s) as asked:
        event = json.load(asked)["event_id"]
    with urllib.request.urlopen(f"{url}/{event}", timeout=timeout_s) as told:
        kind, data = told.read().decode().strip().split("\n\n")[-1].split("\n", 1)
    return kind.removeprefix("event: "), data.removeprefix("data: ")


@pytest.mark.parametrize("endpoint", ["transcribe", "batch"])
def test_videos_that_nobody_uploaded_are_not_read(server: Server, endpoint: str, drawn: Path, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir()
    clip = private / "clip.mp4"
    clip.write_bytes(drawn.read_bytes())
    os.mkfifo(private / "pipe.mp4")
    (upload,) = (path for path in server.temporary.glob("lipread-app-*/gradio"))
    roundabout = f"{upload}/../../../../../../../../../../../..{clip}"
    search = ["automatic", "grid", "none", "tuned", 50, 5, "auto"]
    for path in (str(clip), roundabout, str(private / "pipe.mp4"), "/dev/zero", str(private / "absent.mp4"), "x\0.mp4"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        values = [file, "auto", 0, 0, *search] if endpoint == "transcribe" else [[file], True, *search]
        kind, data = answer(server, endpoint, values, timeout_s=20)
        assert (kind, "this file is not here (any more)" in data) == ("error", True), data
        assert "private" not in data
    assert not any("Traceback" in line for line in server.lines.queue)
    assert server.health()["status"] == "ok"


@pytest.mark.parametrize("door", ["run/transcribe", "api/transcribe", "run/batch"])
def test_nobody_passes_the_queue_by(server: Server, door: str) -> None:
    values = json.dumps({"data": [None, "auto", 0, 0, "automatic", "grid", "none", "tuned", 50, 5]}).encode()
    request = urllib.request.Request(
        f"{server.url}gradio_api/{door}", data=values, headers={"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 404
    assert "join the queue" in refused.value.read().decode()


def test_nothing_on_the_page_comes_from_elsewhere(server: Server) -> None:
    status, page, headers = get(server.url)
    assert status == 200
    assert "default-src 'self'" in headers["content-security-policy"]
    _, theme, _ = get(server.url + "theme.css")
    for text in (page, theme):
        for loader in ("fonts.googleapis", "fonts.gstatic", "cdnjs", "jsdelivr", "unpkg", "@import", "huggingface.co"):
            assert loader not in text.replace("https://huggingface.co/spaces", "")


def test_folders_of_requests_are_gone_whatever_happened(
    server: Server, client: Any, drawn: Path, tmp_path: Path
) -> None:
    client.predict(handle_file(str(drawn)), end=0.5, api_name="/transcribe")
    with pytest.raises(Exception, match="notes"):
        client.predict(handle_file(str(media.touch(tmp_path / "notes.mp4", "no"))), api_name="/transcribe")
    client.predict([handle_file(str(drawn))], api_name="/batch")
    server.wait_until_idle()
    assert server.folders() == []


def clips_of_many_lengths(drawn: Path, folder: Path, count: int) -> list[Path]:
    """The first 10, 13, 16, ... frames of a clip: each has a duration that no other has."""
    with read_frames(drawn) as frames:
        images = [frame.image for frame in frames]
    return [
        media.write_video(folder / f"person-{number}.mp4", images[: 10 + 3 * number]) for number in range(count)
    ]


def test_eight_at_once_each_get_their_own(server: Server, drawn: Path, tmp_path: Path) -> None:
    clips = clips_of_many_lengths(drawn, tmp_path, 8)
    barrier = threading.Barrier(8)

    def visit(clip: Path) -> tuple[str, dict[str, Any]]:
        own = gradio_client.Client(server.url, verbose=False)
        barrier.wait(60)
        answer: tuple[str, dict[str, Any]] = own.predict(handle_file(str(clip)), api_name="/transcribe")
        return answer

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(visit, clips))
    for number, (clip, (text, details)) in enumerate(zip(clips, answers, strict=True)):
        assert details["source"] == clip.name
        assert details["duration"] == pytest.approx((10 + 3 * number) / 25)
        assert details["text"] == text


@pytest.mark.slow
def test_who_comes_when_the_queue_is_full_is_told_so(server: Server, drawn: Path) -> None:
    clients = [gradio_client.Client(server.url, verbose=False) for _ in range(3)]  # each sends 40 at once at most
    sent = Limits().waiting + Limits().at_once + 10
    jobs = [
        clients[number % 3].submit(handle_file(str(drawn)), api_name="/transcribe") for number in range(sent)
    ]
    answers = [str(job.exception(timeout=300) or job.result()[0]) for job in jobs]
    refused = [answer for answer in answers if "Queue is full" in answer]
    assert 0 < len(refused) <= 10 + Limits().at_once
    assert len(set(answers) - set(refused)) == 1  # all others were read
    assert server.health()["status"] == "ok"


@pytest.mark.slow
def test_memory_is_flat(server: Server, drawn: Path, tmp_path: Path) -> None:
    (clip,) = clips_of_many_lengths(drawn, tmp_path, 1)
    requests = int(os.environ.get("LIPREAD_TEST_REQUESTS", "80"))

    def visit(_: int) -> None:
        gradio_client.Client(server.url, verbose=False).predict(handle_file(str(clip)), api_name="/transcribe")

    def send(count: int) -> float:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(visit, range(count - 1)))
        time.sleep(TRIM_EVERY_S)
        visit(0)  # after it, what was freed meanwhile has been given back
        return server.rss_mb()

    before = send(requests // 2)  # by then all threads have run and all visitors that are remembered are there
    after = send(requests - requests // 2)
    assert after - before < 80, f"{before:.0f} MB after half, {after:.0f} MB after all {requests}"


# ---- how it is started


def failing(*arguments: str, **environment: str) -> tuple[int, str]:
    run = subprocess.run(
        [sys.executable, str(ROOT / "app.py"), "--no-examples", *arguments], cwd=ROOT, capture_output=True, text=True,
        timeout=120, env=os.environ | environment, check=False,
    )
    return run.returncode, run.stderr


def test_wrong_starts_are_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, said = failing("--port", port)
        assert code == 2
        assert said.startswith(f"lipread: error: 127.0.0.1:{port} cannot be listened on (Address already in use)")
    code, said = failing("--port", "0", "--model", "huge")
    assert (code, said.count("\n")) == (2, 1)
    assert "model 'huge' is not known; bundled:" in said
    code, said = failing("--port", "0", LIPREAD_USER="anna", LIPREAD_PASSWORD="")
    assert code == 2
    assert "LIPREAD_USER is set and LIPREAD_PASSWORD is not" in said
    assert failing("--port", "99999")[0] == 2
    code, said = failing("--host", "nosuch.invalid")
    assert code == 2
    assert re.match(r"lipread: error: nosuch\.invalid:7860 cannot be listened on \([A-Z][^\[\]]+\); choose", said)
    assert failing("--port", "0", "--max-mb", "0")[0] == 2
    code, said = failing("--port", "0", "--root-path", "lips?x")
    assert (code, "root path 'lips?x' is no path" in said) == (2, True)


def test_password_root_path_limits_and_a_clean_end(drawn: Path, tmp_path: Path) -> None:
    secrets = {"LIPREAD_USER": "anna", "LIPREAD_PASSWORD": "correct horse"}
    options = ("--root-path", "/lips", "--max-mb", "1", "--max-seconds", "1")
    with running(*options, environment=secrets) as server:
        assert server.url.endswith("/lips/")
        bare = server.url.removesuffix("lips/")
        assert get(bare + "health")[0] == get(server.url + "health")[0] == 200  # proxies may strip the path or not
        for path in ("config", "gradio_api/info", "gradio_api/file=x"):
            assert get(server.url + path)[0] == 401
        for path in ("openapi.json", "docs", "redoc"):
            assert get(server.url + path)[0] == 404
        upload = urllib.request.Request(server.url + "gradio_api/upload", data=b"x", method="POST")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(upload, timeout=30)
        assert refused.value.code == 401
        status, page, _ = get(server.url, **{"X-Forwarded-Host": "example.org", "X-Forwarded-Proto": "https"})
        assert status == 200
        assert "lips" in page
        with pytest.raises(Exception, match=r"(?i)auth|login|credential|401"):
            gradio_client.Client(server.url, auth=("anna", "wrong"), verbose=False)
        client = gradio_client.Client(server.url, auth=("anna", "correct horse"), verbose=False)
        assert client.view_api(return_format="dict", print_info=False)["named_endpoints"]
        assert list(server.temporary.glob("lipread-app-*"))
        big = tmp_path / "big.mp4"
        big.write_bytes(bytes(3 << 20))
        with pytest.raises(Exception, match=r"(?i)413|too large|exceeds"):
            client.predict(handle_file(str(big)), api_name="/transcribe")
        with read_frames(drawn) as frames:
            length = media.write_video(tmp_path / "length.mp4", [frame.image for frame in frames][:50])
        with pytest.raises(Exception, match=r"length\.mp4 is 2 s long, and this page reads up to 1 s"):
            client.predict(handle_file(str(length)), api_name="/transcribe")
        assert client.predict(handle_file(str(length)), end=0.8, api_name="/transcribe")[1]["duration"] == 0.8
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert list(server.temporary.glob("lipread-app-*")) == []
        assert not any("Traceback" in line for line in server.lines.queue)  # the client's page was still open


@pytest.mark.parametrize("busy", [False, True])
def test_it_ends_within_seconds_without_complaint(busy: bool, drawn: Path, tmp_path: Path) -> None:
    with read_frames(drawn) as frames:
        long = media.write_video(tmp_path / "long.mp4", [frame.image for frame in frames] * 40)
    with running() as server:
        if busy:
            client = gradio_client.Client(server.url, verbose=False)
            client.submit(handle_file(str(long)), api_name="/transcribe")
            assert wait_for(server.folders)
        server.process.send_signal(signal.SIGTERM)  # else right after the address was printed
        began_s = time.monotonic()
        assert server.process.wait(60) == 0
        assert time.monotonic() - began_s < 20
        assert list(server.temporary.glob("lipread-app-*")) == []
        wait_for(lambda: server.lines.queue, 1)
        assert list(server.lines.queue) == []
