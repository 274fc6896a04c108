"""Prepared folders of drawn heads: what lies in them, restarts, processes, reserved seeds, and faults."""

from __future__ import annotations

import csv
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipread import cli
from lipread.data import synthetic
from lipread.data.heads import Head, draw_crops
from lipread.data.prepare import only_run
from lipread.data.synthetic import (
    FIRST_RESERVED_SEED,
    GRAMMAR,
    DrawnReport,
    clip_name,
    grid_sentence,
    main,
    sentence_of,
    through_mesh,
    write_prepared,
)
from lipread.drawn import reserved_seed, sentence
from lipread.errors import ConfigError, DataError, OutputError
from lipread.mouth import read_crops
from lipread.training.clips import load_clips
from lipread.values import FRAME_RATE_HZ, Array, MouthTrack, Word

SEEDS = (300, 301)  # whose grain is coarse and fine


def table(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, but for the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two heads, drawn in this process."""
    folder = tmp_path_factory.mktemp("prepared") / "drawn"
    assert write_prepared(folder, 2, first_seed=SEEDS[0]).clips == 2
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Drawing that costs nothing; the list says which seeds were drawn."""
    drawn: list[int] = []

    def blank(head: Head) -> tuple[Array, Array]:
        drawn.append(head.seed)
        frames = len(head)
        return np.full((frames, 96, 96), head.seed % 200, np.uint8), np.full((frames, 9, 2), head.seed, np.float32)

    monkeypatch.setattr(synthetic, "draw_crops", blank)
    yield drawn


# --- sentences


def test_sentences_have_the_grammar_of_grid() -> None:
    for seed in range(100):
        words = sentence_of(seed).split()
        assert len(words) == 6
        assert all(word in choices for word, choices in zip(words, GRAMMAR, strict=True))
        assert sentence_of(seed) == " ".join(words) == grid_sentence(np.random.default_rng([seed, 3]))
    assert [len(choices) for choices in GRAMMAR] == [4, 4, 4, 25, 10, 4]
    assert "w" not in GRAMMAR[3]  # the only letter with several syllables is not said in GRID
    said = {word for seed in range(600) for word in sentence_of(seed).split()}
    assert said == {word for choices in GRAMMAR for word in choices}


def test_reserved_heads_say_their_seeds_sentence() -> None:
    assert [sentence(number) for number in range(5)] == [sentence_of(reserved_seed(number)) for number in range(5)]


# --- what is in a prepared folder


def test_manifest_and_words(prepared: Path) -> None:
    rows = table(prepared / "manifest.tsv")
    assert list(rows[0]) == ["clip", "speaker", "split", "source", "streams", "frames", "text"]
    words = table(prepared / "words.tsv")
    for row, seed in zip(rows, SEEDS, strict=True):
        head = Head(sentence_of(seed), seed)
        assert row["clip"] == row["speaker"] == clip_name(seed) == f"drawn{seed:06d}"
        streams = "crops,points,sound" if shutil.which("espeak-ng") else "crops,points"
        assert (row["split"], row["source"], row["streams"]) == ("train", "drawn", streams)
        assert (row["text"], int(row["frames"])) == (head.text, len(head))
        mine = [word for word in words if word["clip"] == row["clip"]]
        assert [word["word"] for word in mine] == head.text.split()
        for word, known in zip(mine, head.words, strict=True):
            assert float(word["start_s"]) == pytest.approx(known.start_s, abs=6e-4)
            assert float(word["end_s"]) == pytest.approx(known.end_s, abs=6e-4)
    assert table(prepared / "report.tsv") == []
    assert sorted(path.name for path in prepared.iterdir() if path.is_file()) == [
        ".lock", "manifest.tsv", "report.tsv", "words.tsv"
    ]  # fmt: skip


def test_streams_are_those_of_the_heads_and_small(prepared: Path) -> None:
    for seed in SEEDS:
        crops, points = draw_crops(Head(sentence_of(seed), seed))
        film = prepared / "crops" / f"{clip_name(seed)}.mp4"
        kept = read_crops(film)
        assert kept.shape == crops.shape
        assert np.abs(kept.astype(int) - crops).mean() < 6  # the grain goes, the mouth stays
        assert film.stat().st_size <= 60_000 * len(crops) / (3 * FRAME_RATE_HZ)
        stored = np.load(prepared / "points" / f"{clip_name(seed)}.npy")
        assert (stored.shape, stored.dtype) == ((len(crops), 9, 2), np.float32)
        np.testing.assert_array_equal(stored, points)


def test_training_reads_it(prepared: Path) -> None:
    clips = load_clips(prepared)
    assert [clip.name for clip in clips] == [clip_name(seed) for seed in SEEDS]
    for clip in clips:
        assert clip.source == "drawn" and clip.crops_path is not None and clip.crops_path.is_file()
        assert " ".join(word.text for word in clip.words) == clip.text
        assert 0 < clip.words[0].start < clip.words[-1].end <= clip.frames
        assert np.isfinite(clip.displacements).all()
        spoken = clip.displacements[clip.words[0].start : clip.words[-1].end]
        assert spoken[:, 3, 1].std() > 0.02  # the lower lip moves


def test_two_processes_write_what_one_does(prepared: Path, tmp_path: Path) -> None:
    assert write_prepared(tmp_path / "two", 2, first_seed=SEEDS[0], processes=2).clips == 2
    one, two = contents(prepared), contents(tmp_path / "two")
    assert len([name for name in one if name.endswith(".mp4")]) == 2
    assert one == two


# --- restarts


def test_a_restart_keeps_what_is_done(tmp_path: Path, quick: list[int]) -> None:
    assert write_prepared(tmp_path, 3, first_seed=10).clips == 3
    before = contents(tmp_path)
    assert write_prepared(tmp_path, 3, first_seed=10).clips == 3
    assert quick == [10, 11, 12]
    assert contents(tmp_path) == before
    assert write_prepared(tmp_path, 5, first_seed=10).clips == 5  # goes on
    assert quick == [10, 11, 12, 13, 14]
    assert write_prepared(tmp_path, 1, first_seed=2).clips == 6
    assert [row["clip"] for row in table(tmp_path / "manifest.tsv")] == [clip_name(n) for n in (2, *range(10, 15))]


@pytest.mark.parametrize("lost", ["crops/drawn000011.mp4", "points/drawn000011.npy", "records/drawn000011.json"])
def test_a_lost_file_is_made_again(lost: str, tmp_path: Path, quick: list[int]) -> None:
    write_prepared(tmp_path, 3, first_seed=10)
    before = contents(tmp_path)
    (tmp_path / lost).unlink()
    (tmp_path / "crops" / ".half.part").write_bytes(b"left by a killed run")
    quick.clear()
    assert write_prepared(tmp_path, 3, first_seed=10).clips == 3
    assert quick == [11]
    assert contents(tmp_path) == before


def hum(words: Sequence[Word], frames: int, seed: int) -> Array:
    return np.full(frames * 640, 0.1, np.float32)


def test_a_lost_voice_is_made_again(tmp_path: Path, quick: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "espeak", hum)
    assert write_prepared(tmp_path, 2, first_seed=10) == DrawnReport(2, 0)
    before = contents(tmp_path)
    (tmp_path / "sound" / "drawn000011.m4a").unlink()
    assert write_prepared(tmp_path, 2, first_seed=10) == DrawnReport(2, 0)
    assert quick == [10, 11, 11]
    assert contents(tmp_path).keys() == before.keys()


def test_heads_without_a_voice_are_told(tmp_path: Path, quick: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "espeak", hum)
    assert str(write_prepared(tmp_path, 1)) == "1 clips"
    monkeypatch.setattr(synthetic, "espeak", lambda *_: None)
    report = write_prepared(tmp_path, 3)
    assert report == DrawnReport(3, 2) and quick == [0, 1, 2]
    for found, why in ((None, "is not there"), ("/bin/espeak-ng", "failed, or was not there when they were drawn")):
        monkeypatch.setattr("shutil.which", lambda _, found=found: found)
        assert str(report).startswith(f"3 clips, 2 of them without a voice, because eSpeak NG {why}; ")


def test_a_killed_run_can_be_started_again(tmp_path: Path, quick: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    write = synthetic.write_points

    def stop_at_second(path: Path, points: Array) -> None:
        if "drawn000011" in path.name:
            raise KeyboardInterrupt
        write(path, points)

    monkeypatch.setattr(synthetic, "write_points", stop_at_second)
    with pytest.raises(KeyboardInterrupt):
        write_prepared(tmp_path, 3, first_seed=10)
    monkeypatch.setattr(synthetic, "write_points", write)
    assert write_prepared(tmp_path, 3, first_seed=10).clips == 3
    assert quick == [10, 11, 11, 12]
    assert [clip.frames for clip in load_clips(tmp_path)] == [len(Head(sentence_of(n), n)) for n in (10, 11, 12)]


# --- through the mesh


def test_through_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthetic, "sentence_of", lambda seed: "bin at")
    assert write_prepared(tmp_path / "mesh", 1, first_seed=3, through_video=True).clips == 1
    assert write_prepared(tmp_path / "known", 1, first_seed=3).clips == 1
    (found,), (known,) = load_clips(tmp_path / "mesh"), load_clips(tmp_path / "known")
    assert (found.text, found.words, found.frames) == (known.text, known.words, known.frames)
    assert found.crops_path is not None and known.crops_path is not None
    crops = [read_crops(clip.crops_path).astype(int) for clip in (found, known) if clip.crops_path]
    assert np.abs(crops[0] - crops[1]).mean() < 8
    assert not np.array_equal(found.points, known.points)
    assert np.abs(found.points - known.points).mean() < 0.15


@pytest.mark.parametrize(("share", "kept"), [(0.0, "no"), (0.7, "yes")])
def test_heads_that_the_mesh_does_not_find_are_reported(
    share: float, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(head: Head) -> MouthTrack:
        present = np.arange(len(head)) < share * len(head)
        points = np.where(present[:, None, None], 0.5, np.nan).astype(np.float32) * np.ones((1, 9, 2), np.float32)
        return MouthTrack(np.zeros((len(head), 96, 96), np.uint8), points, present)

    monkeypatch.setattr(synthetic, "through_mesh", watched)
    assert write_prepared(tmp_path, 1, first_seed=3, through_video=True).clips == (kept == "yes")
    (row,) = table(tmp_path / "report.tsv")
    assert (row["clip"], row["kept"]) == ("drawn000003", kept)
    assert row["reason"].startswith("no face in ")


def test_through_mesh_gives_every_frame() -> None:
    head = Head("bin", 1, frames=15)
    track = through_mesh(head)
    assert (track.crops.shape, track.points.shape, track.face_share) == ((15, 96, 96), (15, 9, 2), 1.0)


# --- refusals and faults


@pytest.mark.parametrize(("first", "count"), [(FIRST_RESERVED_SEED, 1), (FIRST_RESERVED_SEED - 3, 4), (2_000_000, 1)])
def test_reserved_seeds_are_refused(first: int, count: int, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="reserved"):
        write_prepared(tmp_path / "new", count, first_seed=first)
    assert not (tmp_path / "new").exists()


def test_the_last_free_seed_is_not_refused(tmp_path: Path, quick: list[int]) -> None:
    assert write_prepared(tmp_path, 1, first_seed=FIRST_RESERVED_SEED - 1).clips == 1
    assert quick == [FIRST_RESERVED_SEED - 1]


@pytest.mark.parametrize("wrong", [{"count": -1}, {"first_seed": -5}, {"processes": -1}])
def test_negative_numbers(wrong: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="negative"):
        write_prepared(tmp_path, **{"count": 1, **wrong})


def test_another_run_in_the_folder(tmp_path: Path, quick: list[int]) -> None:
    write_prepared(tmp_path, 1)
    with only_run(tmp_path), pytest.raises(DataError, match="another run"):
        write_prepared(tmp_path, 2)


def test_a_folder_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "manifest.tsv").write_text("clip\n")
    with pytest.raises(DataError, match="choose another folder"):
        write_prepared(tmp_path, 1)


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="choose another folder"):
        write_prepared(tmp_path / "taken", 1)


def test_a_full_disk(tmp_path: Path, quick: list[int]) -> None:
    write_prepared(tmp_path, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, limits[1]))
    try:
        with pytest.raises(OutputError, match="free some space"):
            write_prepared(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.rglob("*.part")) == []
    assert write_prepared(tmp_path, 2).clips == 2  # with room again


# --- command line


def test_command_line(
    tmp_path: Path, quick: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "drawn")
    monkeypatch.setattr("sys.argv", ["synthetic", folder, "--count", "2", "--seed", "7", "--processes", "1"])
    main()
    assert capsys.readouterr().out.startswith(f"{folder}: 2 clips")
    assert quick == [7, 8]


def test_both_commands_show_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[bool] = []

    def noted(folder: Path, count: int, **options: Any) -> DrawnReport:
        shown.append(options["show"])
        return DrawnReport(count, 0)

    monkeypatch.setattr(synthetic, "write_prepared", noted)
    monkeypatch.setattr("sys.argv", ["synthetic", str(tmp_path)])
    main()
    assert cli.main(["prepare", "drawn", str(tmp_path)]) == 0
    assert shown == [True, True]


def test_command_line_refuses_in_one_line() -> None:
    command = [sys.executable, "-m", "lipread.data.synthetic", "nowhere", "--seed", str(FIRST_RESERVED_SEED)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: seeds from 1000000 on are reserved") and done.stderr.count("\n") == 1
    assert not Path("nowhere").exists()
