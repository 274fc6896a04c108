"""The command: exit codes, one-line errors, what is printed where, and how quickly it starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lipread import __version__, cli, cli_transcribe
from shell import command, one_line, run, tiny_checkpoint, wall
from test_batch import names


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("weights"))


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
    for name in ("transcribe", "crop", "prepare", "evaluate", "demo", "bench"):
        assert re.search(rf"\b{name}\b", done.stdout), name
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
        (["transcribe"], 2, "no video was given"),
        (["transcribe", "x.mp4", "--fast"], 2, "--fast"),
        (["dance"], 2, "dance"),
        (["transcribe", "x.mp4", "-f", "doc"], 2, "'doc' is not known"),
        (["transcribe", "x.mp4", "--speaker", "-1"], 2, "negative"),
        (["transcribe", "x.mp4", "--speaker", "loud"], 2, "'loud'"),
        (["transcribe", "gone.mp4"], 1, "gone.mp4: there is no such file"),
        (["evaluate"], 2, "either a manifest or --drawn"),
        (["evaluate", "gone.tsv"], 1, "gone.tsv: cannot be read"),
        (["evaluate", "gone.tsv", "--json", "out.txt"], 2, "give one that ends in .json"),
        (["evaluate", "gone.tsv", "--modality", "lips"], 2, "modality 'lips' is not known"),
        (["compare", "gone.tsv", "--splits", "", "--drawn", "0"], 2, "nothing to read"),
        (["calibrate", "gone.tsv", "-o", "talk.mp4"], 2, "give one that ends in .safetensors"),
        (["noise", "gone.tsv", "--snr=-inf"], 2, "-100 to 100 decibels"),
        (["crop", "gone.mp4"], 1, "gone.mp4"),
        (["crop", "gone.mp4", "--no-strip", "--no-film"], 2, "nothing to write"),
        (["crop", "gone.mp4", "--no-strip", "--words"], 2, "--words are written under the strip"),
        (["crop", "gone.mp4", "--model", "nomodel"], 2, "model 'nomodel' is not known"),
        (["crop", "gone.mp4", "--words", "--model", "gone.safetensors"], 1, "gone.safetensors: no such checkpoint"),
        (["transcribe", ""], 2, "an empty path was given"),
        (["transcribe", "gone.mp4", ""], 2, "an empty path was given"),
        (["transcribe", "--captioned", ""], 2, "an empty path was given"),
        (["transcribe", "gone.mp4", "-o", ""], 2, "an empty path was given"),
        (["crop", "gone.mp4", "--output-dir="], 2, "an empty path was given"),
        (["demo", "--output-dir", "", "--seed", "1"], 2, "an empty path was given"),
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


def test_a_fault_of_ours_is_one_line_and_debug_shows_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr(cli_transcribe, "load_reader", broken)
    film = wall(tmp_path / "wall.mp4")
    assert cli.main(["transcribe", str(film), "--workers", "0"]) == 1
    assert "unexpected ZeroDivisionError: ours" in one_line(capsys.readouterr().err)
    with pytest.raises(ZeroDivisionError):
        cli.main(["transcribe", str(film), "--workers", "0", "--debug"])


def run_unheard(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """As `run`, but nobody reads what is printed."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        return subprocess.run(command(*arguments), stdout=writing, stderr=subprocess.PIPE, text=True, timeout=300)
    finally:
        os.close(writing)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["transcribe", "WALL", "--dry-run"], ["evaluate", "--drawn", "1"]]
)
def test_a_reader_of_the_output_that_goes_away_is_no_error(arguments: list[str], tiny: Path, tmp_path: Path) -> None:
    film = wall(tmp_path / "wall.mp4")
    given = [str(film) if each == "WALL" else each for each in arguments]
    if arguments[0] == "evaluate":
        given += ["--model", str(tiny), "--device", "cpu"]
    done = run_unheard(*given)
    assert (done.returncode, done.stderr) == (141, "")


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


@pytest.mark.parametrize("option", ["--model", "--lm", "--grammar", "--lexicon"])
def test_names_that_no_file_can_have_are_one_line(
    option: str, grid_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = next((grid_dir / "clips").glob("s1_*.mp4"))
    assert cli.main(["transcribe", str(clip), "-o", str(tmp_path), option, "a" * 300]) in (1, 2)
    said = capsys.readouterr().err
    assert one_line(said) and "a" * 300 in said and "unexpected" not in said


def test_crops_need_a_folder_that_can_be_made(
    grid_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = next((grid_dir / "clips").glob("s1_*.mp4"))
    (tmp_path / "file").touch()
    assert cli.main(["crop", str(clip), "-o", str(tmp_path / "file")]) == 1
    said = capsys.readouterr().err
    assert one_line(said) and "cannot be written" in said


def test_names_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    from lipread.terminal import out

    out.print("a:100:b.mp4", markup=False)
    assert capsys.readouterr().out == "a:100:b.mp4\n"


def test_help_shows_the_defaults_that_are_said_in_words() -> None:
    shown = " ".join(run("transcribe", "--help").stdout.replace("│", " ").split())
    for default in ("greedy; beam where --lm is given", "120, and 10 per second of video", "the cores, or the videos"):
        assert f"(default: {default})" in shown
