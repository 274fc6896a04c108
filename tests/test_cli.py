"""The command: exit codes, one-line errors, what is printed where, and how quickly it starts."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import media
from lipread import __version__, cli
from lipread.alphabet import Alphabet
from lipread.checkpoint import save_checkpoint
from lipread.config import PRESETS
from lipread.model.network import LipNetwork
from test_batch import PretendReader, files, names


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> PretendReader:
    pretend = PretendReader()
    monkeypatch.setattr(cli, "load_reader", lambda *_: pretend)
    return pretend


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_checkpoint(path, LipNetwork(PRESETS["tiny"]), Alphabet.english(), {})
    return path


def wall(path: Path, frames: int = 5) -> Path:
    """A film without a face."""
    return media.write_video(path, [np.full((48, 64, 3), 90, np.uint8)] * frames)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lipread", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def one_line(text: str) -> str:
    """The error, which must be one line."""
    (line,) = [line for line in text.splitlines() if line.startswith("lipread: error: ")]
    assert "Traceback" not in text
    return line


def test_importing_is_quick_and_heavy_parts_stay_out() -> None:
    script = "import sys, lipread; print(*(m for m in ('torch', 'cv2', 'mediapipe', 'typer') if m in sys.modules))"
    best = 9.0
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        best = min(best, time.perf_counter() - start)
    assert done.stdout.strip() == ""
    assert best <= 0.5


def test_help_is_quick_and_names_every_command() -> None:
    best = 9.0
    for _ in range(3):
        start = time.perf_counter()
        done = run("--help")
        best = min(best, time.perf_counter() - start)
    assert done.returncode == 0
    for command in ("transcribe", "crop", "prepare", "evaluate", "demo", "bench"):
        assert re.search(rf"\b{command}\b", done.stdout), command
    assert best <= 1.0


def test_lazy_names_of_the_package() -> None:
    import lipread

    for name in lipread.__all__:
        assert getattr(lipread, name) is not None
    assert set(lipread.__all__) <= set(dir(lipread))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lipread.nonsense


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"lipread {__version__}"


@pytest.mark.parametrize(
    ("arguments", "code", "shown"),
    [
        (["transcribe"], 2, "Missing argument"),
        (["transcribe", "x.mp4", "--fast"], 2, "--fast"),
        (["dance"], 2, "dance"),
        (["transcribe", "x.mp4", "-f", "doc"], 2, "'doc' is not known"),
        (["transcribe", "x.mp4", "--speaker", "-1"], 2, "negative"),
        (["transcribe", "x.mp4", "--speaker", "loud"], 2, "'loud'"),
        (["transcribe", "gone.mp4"], 1, "gone.mp4: there is no such file"),
        (["evaluate"], 2, "either a manifest or --drawn"),
        (["evaluate", "gone.tsv"], 1, "gone.tsv: cannot be read"),
        (["crop", "gone.mp4"], 1, "gone.mp4"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], code: int, shown: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == code
    assert shown in one_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_kind_and_an_unknown_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = wall(tmp_path / "wall.mp4")
    (tmp_path / "other.safetensors").write_bytes(b"not weights")
    assert cli.main(["transcribe", str(film), "--model", str(tmp_path / "other.safetensors")]) == 1
    assert "other.safetensors" in one_line(capsys.readouterr().err)
    assert cli.main(["transcribe", str(film), "--model", "huge"]) == 2
    assert "'huge' is not known" in one_line(capsys.readouterr().err)


def test_transcribe_prints_text_and_writes_files(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = files(tmp_path / "in", a_mp4="fine", b_mp4="fine")
    assert cli.main(["transcribe", str(source), "-o", str(tmp_path / "out"), "-f", "txt,json"]) == 0
    printed = capsys.readouterr()
    assert f"{source}/a.mp4: bin\n" in printed.out
    assert "2 of 2 videos read, 0 failed" in printed.out
    assert str(tmp_path / "out") in printed.out
    assert names(tmp_path / "out") == ["a.json", "a.txt", "b.json", "b.txt"]


def test_failures_are_told_at_the_end_and_in_the_exit_code(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = files(tmp_path / "in", a_mp4="bad", b_mp4="fine", c_mp4="wall")
    code = cli.main(["transcribe", str(source), str(tmp_path / "gone.mov"), "-o", str(tmp_path / "out"), "-f", "txt"])
    printed = capsys.readouterr()
    assert code == 1
    assert "2 of 3 videos read, 3 failed" in printed.out
    errors = [line for line in printed.err.splitlines() if line.startswith("lipread: error:")]
    assert [re.search(r"(gone\.mov|a\.mp4|c\.mp4)", line)[0] for line in errors] == ["gone.mov", "a.mp4", "c.mp4"]  # type: ignore[index]
    assert "no face was found" in errors[2]


def test_quiet_and_verbose(reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = files(tmp_path / "in", a_mp4="fine")
    assert cli.main(["transcribe", str(source), "-o", str(tmp_path / "out"), "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    assert cli.main(["transcribe", str(source), "-o", str(tmp_path / "out"), "-v"]) == 0
    assert "0.90" in capsys.readouterr().out  # the word's confidence


def test_ctrl_c_is_130_with_a_sentence(
    reader: PretendReader, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = files(tmp_path / "in", a_mp4="fine", b_mp4="stop")
    assert cli.main(["transcribe", str(source), "-o", str(tmp_path / "out"), "-f", "txt"]) == 130
    assert "interrupted: 1 of 2 videos are finished" in capsys.readouterr().err
    assert names(tmp_path / "out") == ["a.txt"]


def test_a_fault_of_ours_is_one_line_and_debug_shows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(cli, "load_reader", broken)
    film = wall(tmp_path / "wall.mp4")
    assert cli.main(["transcribe", str(film)]) == 1
    assert "unexpected ZeroDivisionError: ours" in one_line(capsys.readouterr().err)
    with pytest.raises(ZeroDivisionError):
        cli.main(["transcribe", str(film), "--debug"])


def test_no_face_end_to_end(tmp_path: Path, tiny: Path) -> None:
    film = wall(tmp_path / "wall.mp4")
    done = run("transcribe", film, "--model", tiny, "-o", tmp_path / "out", "--device", "cpu")
    assert done.returncode == 1
    assert "no face was found in any of the 5 frames" in one_line(done.stderr)
    assert json.loads((tmp_path / "out" / "wall.json").read_text())["reason"].startswith("no face")
    assert (tmp_path / "out" / "wall.txt").read_text() == ""


@pytest.mark.skipif(os.name != "posix", reason="signals are sent the POSIX way")
def test_ctrl_c_end_to_end_leaves_nothing_half_written(tmp_path: Path, tiny: Path) -> None:
    (tmp_path / "in").mkdir()
    films = [wall(tmp_path / "in" / f"{number:02d}.mp4", 100) for number in range(40)]
    process = subprocess.Popen(
        [sys.executable, "-m", "lipread", "transcribe", str(tmp_path / "in"), "--model", str(tiny), "-o",
         str(tmp_path / "out"), "--captioned"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    limit = time.monotonic() + 60
    while not (tmp_path / "out" / "00.json").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in errors
    assert "Traceback" not in errors
    written = names(tmp_path / "out")
    assert 5 <= len(written) < 6 * len(films)
    assert not [name for name in written if name.endswith(".part") or name.startswith(".")]


def test_a_reader_of_the_output_that_goes_away_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m lipread --help | true; exit ${{PIPESTATUS[0]}}",
        shell=True, executable="/bin/bash", capture_output=True, text=True,
    )
    assert done.returncode in (0, 1, 141)  # it ended before, or the command-line library or we noticed
    assert done.stderr == ""


def test_crop_and_evaluate_on_a_real_clip(
    grid_dir: Path, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2

    clip = sorted((grid_dir / "clips").glob("s1_*.mp4"))[0]
    assert cli.main(["crop", str(clip), "-o", str(tmp_path), "--words", "--model", str(tiny), "--device", "cpu"]) == 0
    assert names(tmp_path) == [f"{clip.stem}.crops.mp4", f"{clip.stem}.strip.png"]
    strip = cv2.imread(str(tmp_path / f"{clip.stem}.strip.png"))
    assert strip.shape[1] == 15 * 96
    capsys.readouterr()
    report = tmp_path / "report.json"
    assert cli.main(["evaluate", str(grid_dir), "--limit", "2", "--model", str(tiny), "--json", str(report)]) == 0
    printed = capsys.readouterr().out
    assert "WER %" in printed
    assert "real-time factor" in printed
    assert json.loads(report.read_text())["score"]["words"] == 12
