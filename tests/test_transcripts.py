"""GRID's text for language models: by hand, on the real tables, and what cannot work."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lipread.data import transcripts
from lipread.data.lip_points import sentence_key
from lipread.data.transcripts import TrainText, main, train_text, write_train_text
from lipread.errors import DataError

MANIFEST = "clip\tspeaker\tsplit\ttext\ns1_a\ts1\ttrain\tone\ns1_b\ts1\tval\ttwo x\ns2_c\ts2\tunseen\tthree\n"
ROWS = "speaker\tclip\ttext\ns1\ta\tone\ns9\tz\tTwo  X\ns1\tb\ttwo x\ns9\ty\tfour\ns3\tx\tthree\ns3\tw\tFour\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "manifest.tsv").write_text(MANIFEST)
    (tmp_path / "transcripts.tsv").write_text(ROWS)
    return tmp_path


def test_by_hand(folder: Path) -> None:
    """A held-out text is left out whoever says it, in capitals or with other spaces too."""
    found = write_train_text(folder, folder / "out.txt")
    assert found == TrainText(("one", "four", "four"), left_out=3, held_texts=2) == train_text(folder)
    assert (folder / "out.txt").read_text() == "one\nfour\nfour\n"


def test_a_held_out_recording_is_known_by_its_name(folder: Path) -> None:
    """What transcripts.tsv says of it counts as well where the manifest says something else."""
    (folder / "transcripts.tsv").write_text(f"{ROWS}S2\tc\tsix\ns9\tv\tSix\n")
    assert train_text(folder) == TrainText(("one", "four", "four"), left_out=5, held_texts=3)


def test_tables_are_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    for name in ("read_corpus", "table_rows"):
        function = getattr(transcripts, name)
        monkeypatch.setattr(transcripts, name, lambda *a, f=function, name=name: (read.append(name), f(*a))[1])
    write_train_text(folder, folder / "out.txt")
    assert read == ["read_corpus", "table_rows"]


def test_real_text_has_nothing_that_is_measured_on(
    grid_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if not (grid_dir / "transcripts.tsv").is_file():
        pytest.skip(f"no transcripts.tsv in {grid_dir}")
    out = tmp_path / "grid.txt"
    assert main([str(grid_dir), str(out)]) == 0
    with open(grid_dir / "manifest.tsv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    held = {row["text"] for row in rows if row["split"] in ("val", "test", "unseen")}
    with open(grid_dir / "transcripts.tsv", encoding="utf-8", newline="") as file:
        spoken = [row["text"] for row in csv.DictReader(file, delimiter="\t")]
    keys = {sentence_key(row["speaker"], row["clip"]) for row in rows if row["split"] != "train"}
    assert len(keys) == len([row for row in rows if row["split"] != "train"]) == 189
    lines = out.read_text().splitlines()
    assert held and held.isdisjoint(lines)
    assert lines == [text for text in spoken if text not in held]
    assert len(lines) > 30_000
    assert f"{len(lines)} sentences; {len(spoken) - len(lines)} left out" in capsys.readouterr().out


def test_what_cannot_work(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out.txt"
    (folder / "transcripts.tsv").write_text("speaker\tclip\ttext\ns9\tz\tTHREE\n")
    with pytest.raises(DataError, match="every sentence is left out"):
        write_train_text(folder, out)
    (folder / "transcripts.tsv").write_text("clip\ttext\nz\tthree\n")
    assert main([str(folder), str(out)]) == 1
    assert "has no column speaker" in capsys.readouterr().err
    (folder / "transcripts.tsv").unlink()
    assert main([str(folder), str(out)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("lipread: error: ") and "transcripts.tsv: cannot be read" in said and said.count("\n") == 1
    assert not out.exists()
