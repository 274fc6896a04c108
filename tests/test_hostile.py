"""The command over files that a video reader should not trust: each ends in a transcript or one clear sentence."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hostile import make_corpus
from lipread.run_record import RECORD_NAME
from shell import command, record_of, tiny_checkpoint

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links, pipes, sockets and devices")

TIMEOUT_S = 60  # for one file; all but a few take less than a second
RUN_LIMIT_S = 3600
MAX_MEMORY_KB = 3_000_000  # of each process; a good clip takes 1,000,000
SAMPLE = 9  # every so many is read by the quick test
NO_JOBS = ("folder.mp4", "gone/x.mp4", "x" * 300 + ".mp4", "below-a-file.mp4")  # refused before anything is read


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


def read(paths: list[Path], folder: Path) -> Ended:
    """Read a list of files in a process whose working folder is empty and stays so."""
    model, here = tiny_checkpoint(folder), folder / "here"
    here.mkdir()
    (folder / "list").write_bytes(b"\0".join(map(os.fsencode, paths)))
    options = ["--from", folder / "list", "-o", folder / "out", "-f", "txt,json", "--model", model, "--device", "cpu"]
    with open(folder / "printed", "wb") as printed, open(folder / "errors", "wb") as errors:
        process = subprocess.Popen(
            command("transcribe", *options, "--workers", "1", "--timeout", str(TIMEOUT_S)),
            cwd=here, stdin=subprocess.DEVNULL, stdout=printed, stderr=errors,
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
        if line["result"] == "failed":
            assert name in line["error"], name
            assert 20 < len(line["error"]) - line["error"].count(name) * len(name) < 400, line["error"]
            assert line["error"].rstrip(".").count(". ") == 0, line["error"]
        else:
            assert {path.suffix for path in (folder / "out").glob(f"{_escaped(line['name'])}.*")} >= {".txt", ".json"}
    failed = sum(line["result"] == "failed" or line["error"] is not None for line in ended.lines.values())
    told = [line for line in ended.errors if line.startswith("lipread: error: ")]
    assert len(paths) - len(jobs) < len(told) <= failed + len(paths) - len(jobs)
    assert ended.memory_kb < MAX_MEMORY_KB
    assert sorted(map(os.fsencode, paths[0].parent.parent.rglob("*"))) == before  # nothing was written beside them
    made = {path.name for path in folder.iterdir()}
    assert made == {"tiny.safetensors", "list", "printed", "errors", "here", "out"}
    assert (folder / "out" / RECORD_NAME).is_file()


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "[*?" else char for char in name)


def test_the_corpus_is_large(corpus: list[Path]) -> None:
    assert len(corpus) >= 300
    assert len(set(corpus)) == len(corpus)


def test_a_sample_of_it(corpus: list[Path], tmp_path: Path) -> None:
    check([path for path in corpus[::SAMPLE] if "fps" not in path.name], tmp_path)


@pytest.mark.slow
def test_every_file_ends_in_a_transcript_or_one_clear_sentence(corpus: list[Path], tmp_path: Path) -> None:
    check(corpus, tmp_path)
