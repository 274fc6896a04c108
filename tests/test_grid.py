"""The whole way from a corpus to a prepared folder for real clips, what is refused, and the command."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np
import pytest

from conftest import ROOT
from file_server import breaks_after, serving
from lipread import cli
from lipread.audio import read_audio
from lipread.config import TrainConfig, load_toml, make_config
from lipread.data import grid
from lipread.data.grid import prepare_grid
from lipread.errors import ConfigError, DataError
from lipread.model.network import LipNetwork
from lipread.mouth import read_crops
from media import rows, touch, write_video

CLIPS = (("s1", "bbaf2n"), ("s2", "bbaf1n"))


def align(words: list[dict[str, str]]) -> str:
    ticks = [[round(float(word[key]) * 25_000) for key in ("start_s", "end_s")] for word in words]
    return "".join(f"{start} {end} {word['word']}\n" for (start, end), word in zip(ticks, words, strict=True))


@pytest.fixture(scope="module")
def official(grid_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two real clips as the corpus gives them out: MPEG-1 with sound, one speaker of each way to lay out."""
    root = tmp_path_factory.mktemp("GRID")
    words = rows(grid_dir / "words.tsv")
    for speaker, name in CLIPS:
        clip = grid_dir / "clips" / f"{speaker}_{name}.mp4"
        video = root / speaker / ("video" if speaker == "s2" else "") / f"{name}.mpg"
        video.parent.mkdir(parents=True)
        with av.open(str(clip)) as container:
            pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        sound = read_audio(clip, frames=len(pictures))
        assert sound is not None
        write_video(
            video, pictures, codec="mpeg1video", ticks_hz=25, options={"b": "2000000", "g": "12"},
            sound=np.repeat(sound, 2)[None], sound_rate_hz=32_000, sound_codec="mp2",
        )
        own = [row for row in words if row["clip"] == f"{speaker}_{name}"]
        place = root / "s1" / "align" if speaker == "s1" else root / "alignments" / "s2"
        touch(place / f"{name}.align", align(own))
    return root


def test_official_layout(official: Path, grid_dir: Path, tmp_path: Path) -> None:
    report = prepare_grid(official, tmp_path, processes=0, show=False)
    assert (report.prepared, report.left_out) == (2, 0)
    table = {row["clip"]: row for row in rows(tmp_path / "manifest.tsv")}
    known = {row["clip"]: row for row in rows(grid_dir / "manifest.tsv")}
    assert sorted(table) == ["s1_bbaf2n", "s2_bbaf1n"]
    for name, row in table.items():
        assert row["text"] == known[name]["text"] and row["speaker"] == known[name]["speaker"]
        assert row["frames"] == "75" and row["streams"] == "crops,points,sound"
        assert read_crops(tmp_path / "crops" / f"{name}.mp4").shape == (75, 96, 96)
        assert np.isfinite(np.load(tmp_path / "points" / f"{name}.npy")).all()
    wanted = [row for row in rows(grid_dir / "words.tsv") if row["clip"] in table]
    found = rows(tmp_path / "words.tsv")
    assert [(row["clip"], row["word"]) for row in found] == [(row["clip"], row["word"]) for row in wanted]
    times = [[float(row["start_s"]) - float(other["start_s"]) for row, other in zip(found, wanted, strict=True)]]
    assert np.abs(times).max() < 0.001


@pytest.mark.parametrize(("protocol", "left"), [("unseen", {"s3", "s4"}), ("overlapped", {"s1", "s3"})])
def test_the_recipe_starts_on_the_official_layout(
    protocol: str, left: set[str], official: Path, tmp_path: Path
) -> None:
    """`train.py --dry-run` on three speakers laid out as the corpus is; one clip or speaker is held out."""
    for speaker in ("s1", "s3", "s4"):
        shutil.copytree(official / "s1", tmp_path / "GRID" / speaker)
    touch(tmp_path / "GRID" / "overlapped.txt", "s4/video/mpg_6000/bbaf2n\n")
    arguments = ["prepare", "grid", str(tmp_path / "GRID"), str(tmp_path / "prepared"), "--protocol", protocol]
    assert cli.main([*arguments, "--processes", "1"]) == 0
    train = {row["speaker"] for row in rows(tmp_path / "prepared" / "manifest.tsv") if row["split"] == "train"}
    assert train == left
    run = subprocess.run(
        [
            sys.executable, "train.py", "--config", "data/recipes/grid.toml", "--dry-run", "--data",
            f'["{tmp_path / "prepared"}"]', "--batch-pixels", "4", "--workers", "0", "--network.frontend.width", "4",
            "--network.encoder.hidden_size", "32", "--out", str(tmp_path / "run"),
        ],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "training: 2 clips of 2 speakers, 2 of them with pixels; 0 too long" in run.stdout
    assert "3750 steps of" in run.stdout
    assert not (tmp_path / "run").exists()


def test_the_recipe_fits_the_network() -> None:
    recipe = ROOT / "data" / "recipes" / "grid.toml"
    config = make_config(TrainConfig, load_toml(recipe), origin=str(recipe))
    names = [name for name, _ in LipNetwork(config.network_config).named_parameters()]
    assert all(any(name.startswith(start) for name in names) for start in config.learn)


@pytest.mark.parametrize("recipe", sorted((ROOT / "data" / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_recipes_name_files_that_are_there(recipe: Path) -> None:
    commands = [each for each in recipe.read_text("utf-8").splitlines() if each.startswith("#     python train.py")]
    named = [word for command in commands for word in command.split() if word.endswith(".toml")]
    assert f"data/recipes/{recipe.name}" in named
    assert all((ROOT / each).is_file() for each in named)


def test_command(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prepare", "grid", str(official), str(tmp_path), "--protocol", "unseen"]
    assert cli.main([*arguments, "--speakers", "s2", "--limit", "1", "--processes", "1"]) == 0
    assert "1 clips prepared, 0 kept, 0 left out" in capsys.readouterr().out
    assert cli.main([*arguments, "--speakers", "s2", "--no-landmarks"]) == 0
    assert "0 clips prepared, 1 kept" in capsys.readouterr().out
    assert cli.main([*arguments, "--speakers", "s3"]) == 1
    assert "has no speaker 's3'; it has s1, s2" in capsys.readouterr().err
    assert cli.main([*arguments, "--protocol", "overlapped"]) == 1
    assert "the published list of held-out clips is not there" in capsys.readouterr().err


def test_a_run_that_leaves_out_everything_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    touch(tmp_path / "in" / "manifest.tsv", "clip\ttext\na\tb\n")
    assert cli.main(["prepare", "grid", str(tmp_path / "in"), str(tmp_path / "out"), "--processes", "1"]) == 1
    shown = capsys.readouterr()
    assert "0 clips prepared, 0 kept, 1 left out" in shown.out
    assert f"in: every clip is left out; {tmp_path / 'out' / 'report.tsv'} says why" in shown.err


def test_a_corpus_is_not_prepared_into_itself(official: Path, tmp_path: Path) -> None:
    """Its own manifest would be taken for a listing of clips in the next run."""
    (tmp_path / "link").symlink_to(official)
    before = sorted(official.rglob("*"))
    for out in (official, official / "s1" / "..", tmp_path / "link"):
        with pytest.raises(ConfigError, match="is the corpus itself.*name another folder"):
            prepare_grid(official, out, show=False)
    assert sorted(official.rglob("*")) == before


def test_neither_layout(tmp_path: Path) -> None:
    touch(tmp_path / "holiday" / "beach.mp4")
    (tmp_path / "s1").mkdir()
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(DataError, match="neither a folder of the GRID corpus"):
            prepare_grid(folder, tmp_path / "out", show=False)
    assert not (tmp_path / "out").exists()


def test_nothing_chosen(tmp_path: Path) -> None:
    touch(tmp_path / "manifest.tsv", "clip\tspeaker\tsplit\ttext\na\tx\tval\tb\nb\ty\ttest\tb\n")
    for choice, shown in (
        ({"speakers": ["z"]}, "no speaker 'z'; it has x, y"),
        ({"splits": ["train"]}, "no split 'train'"),
        ({"speakers": ["x"], "splits": ["test"]}, "no clip of speakers x is in splits test"),
    ):
        with pytest.raises(DataError, match=shown):
            prepare_grid(tmp_path, tmp_path / "out", show=False, **choice)
    for bad in ({"limit": -1}, {"processes": -1}, {"protocol": "easy-1"}):
        with pytest.raises(ConfigError, match="-1"):
            prepare_grid(tmp_path, tmp_path / "out", show=False, **bad)


def test_recipes_carry_no_media() -> None:
    folder = Path(grid.__file__).parent
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert suffixes <= {".py", ".md", ".toml", ".tsv", ".txt", ".json", ""}


def test_program(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert grid.main(["prepare", str(official), str(tmp_path), "--protocol", "unseen", "--speakers", "s9"]) == 1
    assert "has no speaker 's9'" in capsys.readouterr().err
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        address = server.describe("/record", {"s1.zip": b"no zip"})
        assert grid.main(["download", str(tmp_path), "--address", address, "--speakers", "s2"]) == 1
        assert "the record has no video of speaker 's2'; it has s1" in capsys.readouterr().err
        assert grid.main(["download", str(tmp_path), "--address", address]) == 1
    assert "cannot be unpacked" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        grid.main(["fly"])


def test_downloaded_and_prepared(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A record with two speakers on this machine, through both commands; the splits are the published ones."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    parts = {"s1": b"", "s2": b"", "alignments": b""}
    for name in parts:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            for path in sorted((official / name).rglob("*.*")):
                archive.write(path, path.relative_to(official))
        parts[name] = data.getvalue()
    corpus = tmp_path / "GRID"
    with serving() as server:
        address = server.describe("/record", {f"{name}.zip": content for name, content in parts.items()})
        server.faults["/files/s1.zip"] = [breaks_after(5000)]
        assert grid.main(["download", str(corpus), "--address", address]) == 0
    assert "3 files fetched, 0 kept" in capsys.readouterr().out
    options = "--protocol", "unseen", "--limit", "1", "--processes", "1"
    assert grid.main(["prepare", str(corpus), str(tmp_path / "out"), *options]) == 0
    row, = rows(tmp_path / "out" / "manifest.tsv")
    assert (row["clip"], row["split"], row["streams"]) == ("s1_bbaf2n", "unseen", "crops,points,sound")
    assert len(rows(tmp_path / "out" / "words.tsv")) >= 6


def test_split_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(grid, "fetch_overlapped", lambda root: root / "overlapped.txt")
    assert grid.main(["split-list", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "overlapped.txt")
