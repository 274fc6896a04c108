"""The command over files that a video reader should not trust: each ends in a transcript or one clear sentence."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from hostile import is_whole, make_corpus
from lipread.alphabet import Alphabet
from lipread.checkpoint import save_checkpoint
from lipread.config import PRESETS
from lipread.model.network import LipNetwork
from lipread.run_record import DONE, EMPTY, FAILED, RECORD_NAME
from shell import command, record_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, pipes, sockets and devices")

TIMEOUT_S = 60  # for one file; all but a few take less than a second
RUN_LIMIT_S = 3600
MAX_MEMORY_KB = 3_000_000  # of each process; a good clip takes 1,000,000
SAMPLE = 9  # every so many is read by the quick test
MAX_TOOK_S = 20  # of one file where two cores are busy with other things
NO_JOBS = ("folder.mp4", "gone/x.mp4", "x" * 300 + ".mp4", "below-a-file.mp4", "too-deep.mp4")  # refused unread
BAD_ENDS = ("it was given up", "the worker process")  # of what hangs, crashes or eats all memory
FACELESS = {  # what is whole but shows no face, or none that is found in one picture
    "16x16.mkv", "7680x4320.mp4", "4320x7680.mp4", "one.gif", "many.mkv", "down.flv", "sound.mp3",
    "sound.wav", "sound.mp4",
}  # fmt: skip
EXCUSED: dict[str, str] = {}  # file that may end so -> why
_DROP_FROM_BOUNDING_SET, _READ_ANYTHING = 24, (1, 2)  # of Linux' prctl; CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    code: int
    lines: dict[str, dict[str, Any]]  # of the record, by input
    errors: list[str]
    memory_kb: int


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_corpus(tmp_path_factory.mktemp("hostile"))


def hearing_checkpoint(folder: Path) -> Path:
    """Random weights that look and listen."""
    torch.manual_seed(0)
    config = PRESETS["tiny"].model_copy(update={"streams": ("pixels", "points", "sound")})
    save_checkpoint(path := folder / "tiny.safetensors", LipNetwork(config), Alphabet.english(), {})
    return path


def as_any_user() -> None:
    """In a child, before it runs: root gives up its right to read what nobody may read.

    The interpreter may lie where another user cannot go, so the child stays root.
    """
    if sys.platform == "linux" and os.geteuid() == 0:
        for right in _READ_ANYTHING:
            ctypes.CDLL(None).prctl(_DROP_FROM_BOUNDING_SET, right, 0, 0, 0)


def read(paths: list[Path], folder: Path) -> Ended:
    """Read a list of files in a process whose working folder is empty and stays so."""
    model, here = hearing_checkpoint(folder), folder / "here"
    here.mkdir()
    (folder / "list").write_bytes(b"\0".join(map(os.fsencode, paths)))
    options = ["--from", folder / "list", "-o", folder / "out", "-f", "txt,json", "--model", model, "--device", "cpu"]
    with open(folder / "printed", "wb") as printed, open(folder / "errors", "wb") as errors:
        process = subprocess.Popen(
            command("transcribe", *options, "--workers", "1", "--timeout", str(TIMEOUT_S)),
            cwd=here, stdin=subprocess.DEVNULL, stdout=printed, stderr=errors, preexec_fn=as_any_user,
        )
        end_s = time.monotonic() + RUN_LIMIT_S
        while (ended := os.wait4(process.pid, os.WNOHANG))[0] == 0:
            assert time.monotonic() < end_s, "it hangs"
            time.sleep(0.1)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    assert list(here.iterdir()) == []
    lines = {line["input"]: line for line in record_of(folder / "out")}
    text = (folder / "errors").read_text(errors="surrogateescape")
    return Ended(process.returncode, lines, text.splitlines(), ended[2].ru_maxrss)


def check(paths: list[Path], folder: Path) -> None:
    """Read them and look at what became of each."""
    before = sorted(map(os.fsencode, paths[0].parent.parent.rglob("*")))
    ended = read(paths, folder)
    assert ended.code == 1
    assert not [line for line in ended.errors if not line.startswith(("lipread: ", "/"))]
    jobs = [path for path in paths if not str(path).endswith(NO_JOBS)]
    assert set(ended.lines) == set(map(str, jobs))
    for name, line in ended.lines.items():
        assert "unexpected" not in (line["error"] or ""), name  # a fault of ours
        check_end(Path(name), line)
        if line["result"] == FAILED:
            assert name in line["error"], name
            assert 20 < len(line["error"]) - line["error"].count(name) * len(name) < 400, line["error"]
            assert line["error"].rstrip(".").count(". ") == 0, line["error"]
        else:
            assert {path.suffix for path in (folder / "out").glob(f"{_escaped(line['name'])}.*")} >= {".txt", ".json"}
    failed = sum(line["result"] == FAILED or line["error"] is not None for line in ended.lines.values())
    told = [line for line in ended.errors if line.startswith("lipread: error: ")]
    assert len(paths) - len(jobs) < len(told) <= failed + len(paths) - len(jobs)
    assert ended.memory_kb < MAX_MEMORY_KB
    assert sorted(map(os.fsencode, paths[0].parent.parent.rglob("*"))) == before  # nothing was written beside them
    made = {path.name for path in folder.iterdir()}
    assert made == {"tiny.safetensors", "list", "printed", "errors", "here", "out"}
    assert (folder / "out" / RECORD_NAME).is_file()


def check_end(path: Path, line: dict[str, Any]) -> None:
    """What is whole was read to its end; nothing hung, crashed, or took long."""
    if not (path.name in EXCUSED and line["result"] == FAILED):
        assert not any(phrase in (line["error"] or "") for phrase in BAD_ENDS), line["error"]
        assert line["took_s"] < MAX_TOOK_S, path
    if is_whole(path):
        assert line["result"] in (DONE, EMPTY), line["error"]
        assert line["video_s"] > 0, path
        assert path.name in FACELESS or "no face" not in (line["error"] or ""), path


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "[*?" else char for char in name)


def test_the_corpus_is_large(corpus: list[Path]) -> None:
    assert len(corpus) >= 400
    assert len(set(corpus)) == len(corpus)


def test_what_is_whole_is_told_from_what_is_damaged(corpus: list[Path]) -> None:
    whole = {"/".join(path.parts[-2:]) for path in corpus if is_whole(path)}
    assert 150 <= len(whole) <= len(corpus) / 2
    assert whole >= {
        "whole/a.mp4", "names/-o.mp4", "odd_pictures/turned90.mp4", "odd_pictures/ten-bit.mp4", "odd_pictures/hdr.mp4",
        "odd_pictures/alpha.webm", "odd_pictures/aspect16-11.mp4", "odd_times/negative.ts", "odd_sounds/nan.wav",
    }  # fmt: skip
    assert not [each for each in whole if each.startswith(("cut/", "flipped/", "sizes_changed/", "texts/"))]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("whole/a.mp4", {"result": FAILED, "error": "a.mp4 cannot be read", "took_s": 0.1}),
        ("whole/a.mp4", {"result": EMPTY, "error": "nothing was read", "took_s": 0.1, "video_s": 0.0}),
        ("whole/a.mp4", {"result": EMPTY, "error": "no face was found", "took_s": 0.1, "video_s": 1.0}),
        ("cut/a.mp4", {"result": FAILED, "error": "it was given up after 60.0 s", "took_s": None}),
        ("cut/a.mp4", {"result": FAILED, "error": "the worker process crashed (SIGSEGV), twice", "took_s": None}),
        ("cut/a.mp4", {"result": DONE, "error": None, "took_s": MAX_TOOK_S, "video_s": 1.0}),
    ],
)
def test_a_bad_end_is_seen(name: str, line: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        check_end(Path("hostile") / name, line)


def test_a_good_end_is_none() -> None:
    still = {"result": EMPTY, "error": "the lips hardly move", "took_s": 1.0, "video_s": 1.0}
    check_end(Path("hostile/whole/a.mp4"), still)
    check_end(Path("hostile/cut/a.mp4"), {"result": FAILED, "error": "a.mp4 is damaged", "took_s": 0.1})


def test_times_are_as_odd_as_they_are_said_to_be(corpus: list[Path]) -> None:
    found = {path.name: path for path in corpus if path.parent.name in ("odd_times", "odd_sounds")}
    for name in ("negative.ts", "negative.mpg"):
        assert next(times_of(found[name], "video")) == pytest.approx(-3.0)
    assert not list(times_of(found["negative.mkv"], "video"))  # mkv knows no such times
    assert next(times_of(found["negative.flv"], "video")) > 2_000_000
    for name in ("back.flv", "down.flv", "far-back.flv", "down.mkv", "backwards.ts"):
        times = list(times_of(found[name], "video"))
        assert len(times) == 12 and times != sorted(times), name
    picture, sound = (list(times_of(found["longer.mp4"], kind)) for kind in ("video", "audio"))
    assert max(sound) > 19 > 1 > max(picture)


def times_of(path: Path, kind: str) -> Iterator[float]:
    """The times that a file states, seconds."""
    with av.open(str(path)) as container:
        for packet in container.demux(**{kind: 0}):
            if packet.pts is not None:
                yield float(packet.pts * packet.time_base)


def test_a_folder_that_links_to_itself_is_read_once(corpus: list[Path], tmp_path: Path) -> None:
    (circle,) = {path.parent for path in corpus if path.parts[-4:-1] == ("back", "up", "circle")}
    circle = circle.resolve()
    assert (circle / "back" / "back" / "up" / "circle" / "talk.mp4").is_file()
    ended = read([circle], tmp_path)
    assert (ended.code, list(ended.lines)) == (0, [str(circle / "talk.mp4")])


def test_what_may_not_be_read(corpus: list[Path], tmp_path: Path) -> None:
    """A file without rights, one in a folder without rights, and one that may be read."""
    (closed,) = [path for path in corpus if path.name == "closed.mp4"]
    look = [sys.executable, "-c", "import sys; open(sys.argv[1])", str(closed)]
    if b"PermissionError" not in subprocess.run(look, capture_output=True, preexec_fn=as_any_user).stderr:
        pytest.skip("this user reads whatever there is and cannot give that up")
    shut = tmp_path / "shut"
    shut.mkdir()
    good = shut / "talk.mp4"
    good.write_bytes(corpus[0].read_bytes())
    shut.chmod(0)
    (tmp_path / "run").mkdir()
    try:
        ended = read([closed, good, corpus[0]], tmp_path / "run")
    finally:
        shut.chmod(0o700)
    assert ended.code == 1
    assert ended.lines[str(corpus[0])]["result"] in (DONE, EMPTY)
    assert ended.lines[str(closed)]["error"] == (
        f"{closed} may not be read by this user; give yourself read permission (chmod u+r)"
    )
    (told,) = [line for line in ended.errors if str(good) in line]
    assert told.endswith("cannot be reached (Permission denied); check the path and its permissions")


def test_lists_open_nothing(corpus: list[Path], tmp_path: Path) -> None:
    """What they name is a pipe on which one waits for ever, or they themselves."""
    names = ("pipes.mp4", "pipes.m3u8", "endless.idx", "endless%d.png", "itself.mp4")
    lists = [path for path in corpus if path.name in names]
    ended = read(lists, tmp_path)
    assert (len(lists), len(ended.lines)) == (5, 5)
    for path, line in ended.lines.items():
        check_end(Path(path), line)
        assert path.endswith(".png") or "is a text or a list of other files" in line["error"]


def test_sound_is_listened_to(corpus: list[Path], tmp_path: Path) -> None:
    """Else damaged sound would not come to light. With a picture it is read, found to be no speech, and left out."""
    sounds = [path for path in corpus if path.name in ("whole-aac.m4a", "8channels.wav", "longer.mp4", "nan.wav")]
    ended = read(sounds, tmp_path)
    assert (ended.code, len(ended.lines)) == (0, 4)
    for name, line in ended.lines.items():
        said = json.loads((tmp_path / "out" / f"{line['name']}.json").read_text())
        assert said["modality"] == ("video" if name.endswith(".mp4") else "audio"), name
        assert {each["why"] for each in said["segments"]} == (
            {"no speech is recognised in the sound here"} if name.endswith(".mp4") else {"there is no picture"}
        )
        check_end(Path(name), line)
        told = " ".join(line["warnings"])
        assert ("not finite" in told) == ("nan" in name)
        assert ("sound goes on" in told) == ("longer" in name)


def test_a_sample_of_it(corpus: list[Path], tmp_path: Path) -> None:
    check([path for path in corpus[::SAMPLE] if "fps" not in path.name], tmp_path)


@pytest.mark.slow
def test_every_file_ends_in_a_transcript_or_one_clear_sentence(corpus: list[Path], tmp_path: Path) -> None:
    check(corpus, tmp_path)
