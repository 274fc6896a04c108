"""GRID's own layout and folders with tables: what is read, what is refused, and the whole way for real clips."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import numpy as np
import pytest

from lipread import cli
from lipread.audio import read_audio
from lipread.data import grid
from lipread.data.grid import prepare_grid, read_alignment, read_corpus, sentence_of_name, train_text
from lipread.data.lip_points import sentence_key
from lipread.errors import ConfigError, DataError
from lipread.mouth import read_crops
from media import write_video

CLIPS = (("s1", "bbaf2n"), ("s2", "bbaf1n"))


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def touch(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


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


def test_command(official: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["prepare", "grid", str(official), str(tmp_path)]
    assert cli.main([*arguments, "--speakers", "s2", "--limit", "1", "--processes", "1"]) == 0
    assert "1 clips prepared, 0 kept, 0 left out" in capsys.readouterr().out
    assert cli.main([*arguments, "--speakers", "s2", "--no-landmarks"]) == 0
    assert "0 clips prepared, 1 kept" in capsys.readouterr().out
    assert cli.main([*arguments, "--speakers", "s3"]) == 1
    assert "has no speaker 's3'; it has s1, s2" in capsys.readouterr().err


def test_alignment_times(tmp_path: Path) -> None:
    path = touch(tmp_path / "a.align", "0 23750 sil\n23750 29500 BIN\n\n29500 34000 sp\n34000 74500 blue\n")
    assert read_alignment(path) == ((0, 0.95, "sil"), (0.95, 1.18, "bin"), (1.18, 1.36, "sp"), (1.36, 2.98, "blue"))


@pytest.mark.parametrize("line", ["bin 0 100", "0 100", "100 0 bin", "-5 100 bin", "0.1 0.2 bin"])
def test_damaged_alignment(line: str, tmp_path: Path) -> None:
    path = touch(tmp_path / "a.align", f"0 0 sil\n{line}\n")
    with pytest.raises(DataError, match="a.align, line 2"):
        read_alignment(path)


def test_layouts_are_found(tmp_path: Path) -> None:
    """The alignments of each speaker in another place; names differ in case; other folders are passed by."""
    touch(tmp_path / "s1" / "bbaf2n.mpg")
    touch(tmp_path / "s1" / "align" / "bbaf2n.align", "0 5 bin\n")
    touch(tmp_path / "S2" / "video" / "mpg_6000" / "bbaf2n.MPG")
    touch(tmp_path / "alignments" / "S2" / "bbaf2n.align", "0 5 blue\n")
    touch(tmp_path / "s34" / "bbaf2n.mpg")
    touch(tmp_path / "align" / "s34" / "bbaf2n.align", "0 5 at\n")
    touch(tmp_path / "s35" / "bbaf2n.mpg")
    touch(tmp_path / "s1" / "._bbaf2n.mpg")
    touch(tmp_path / "s1" / "notes.txt")
    jobs = {job.name: job for job in read_corpus(tmp_path)}
    assert {name: job.text for name, job in jobs.items()} == {
        "s1_bbaf2n": "bin", "s2_bbaf2n": "blue", "s34_bbaf2n": "at"
    }
    assert jobs["s2_bbaf2n"].video == tmp_path / "S2" / "video" / "mpg_6000" / "bbaf2n.MPG"
    assert jobs["s1_bbaf2n"].frames == 75


def test_alignments_of_a_single_speaker(tmp_path: Path) -> None:
    touch(tmp_path / "s1" / "bbaf2n.mpg")
    touch(tmp_path / "align" / "bbaf2n.align", "0 5 bin\n")
    assert read_corpus(tmp_path)[0].text == "bin"
    touch(tmp_path / "s2" / "bbaf2n.mpg")  # whose is it now?
    assert {job.text for job in read_corpus(tmp_path)} == {"bin blue at f two now"}


def test_missing_and_doubtful_parts(tmp_path: Path) -> None:
    for name in ("bbaf2n", "bbaf3s", "holiday"):
        touch(tmp_path / "s1" / f"{name}.mpg")
    touch(tmp_path / "s1" / "align" / "bbaf2n.align", "0 5 bin\n5 9 red\n")
    touch(tmp_path / "s1" / "align" / "lwbz1a.align", "0 5 lay\n")
    touch(tmp_path / "s1" / "align" / "bbaf3s.align", "what is this\n")
    jobs = {job.name: job for job in read_corpus(tmp_path)}
    assert jobs["s1_lwbz1a"].video is None
    assert jobs["s1_holiday"].text == ""
    assert jobs["s1_bbaf3s"].text == "bin blue at f three soon" and jobs["s1_bbaf3s"].words == ()
    assert "line 1" in jobs["s1_bbaf3s"].doubts[0]
    assert jobs["s1_bbaf2n"].text == "bin red"
    assert jobs["s1_bbaf2n"].doubts == ("its alignment says 'bin red', its name 'bin blue at f two now'",)


def test_names_say_their_sentence(grid_dir: Path) -> None:
    for row in rows(grid_dir / "manifest.tsv"):
        assert sentence_of_name(row["clip"].split("_")[1]) == row["text"]
    for name in ("", "bbaf2", "bbaw2n", "xbaf2n", "bbaf0n", "bbaf2nn"):
        assert sentence_of_name(name) is None


def test_split_lists_are_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def published(speaker: str, name: str, protocol: str) -> str:
        return "test" if (speaker, protocol) == ("s1", "unseen") else "train"

    monkeypatch.setattr(grid, "published_split", published)
    for speaker in ("s1", "s2"):
        touch(tmp_path / speaker / "bbaf2n.mpg")
    assert [job.split for job in read_corpus(tmp_path, protocol="unseen")] == ["test", "train"]
    assert [job.split for job in read_corpus(tmp_path)] == ["train", "train"]


def test_own_folder(tmp_path: Path) -> None:
    """Only clip and text are needed, the videos may be of any kind, and each person is a stranger."""
    touch(tmp_path / "clips" / "me.webm")
    touch(tmp_path / "clips" / "you.MOV")
    touch(tmp_path / "manifest.tsv", 'text\tclip\thello "world"\tme\n'.replace("\thello", "\nhello") + "bye\tyou\n")
    me, you = read_corpus(tmp_path)
    assert (me.name, me.speaker, me.split, me.text, me.frames) == ("me", "me", "train", 'hello "world"', None)
    assert me.video == tmp_path / "clips" / "me.webm" and you.video == tmp_path / "clips" / "you.MOV"


@pytest.mark.parametrize(
    ("table", "shown"),
    [
        ("clip\tsplit\na\ttrain\n", "no column text"),
        ("clip,text\na,b\n", "separated by tabs"),
        ("clip\ttext\n../a\tb\n", "line 2: clip='../a' is no plain file name"),
        ("clip\ttext\n\tb\n", "line 2: clip=''"),
        ("clip\ttext\na\tb\na\tc\n", "line 3: clip='a' is there twice"),
        ("clip\ttext\n", "lists no clip"),
        ("", "no column clip, text"),
    ],
)
def test_bad_manifest(table: str, shown: str, tmp_path: Path) -> None:
    touch(tmp_path / "manifest.tsv", table)
    with pytest.raises(DataError, match=shown):
        read_corpus(tmp_path)


def test_bad_tables(tmp_path: Path) -> None:
    touch(tmp_path / "manifest.tsv", "clip\ttext\na\tb\n")
    touch(tmp_path / "words.tsv", "clip\tstart_s\tend_s\tword\na\tnow\t1\tb\n")
    with pytest.raises(DataError, match="words.tsv, line 2: a time is not a number"):
        read_corpus(tmp_path)
    (tmp_path / "manifest.tsv").write_bytes(b"clip\ttext\na\t\xff\xfe\n")
    (tmp_path / "words.tsv").unlink()
    with pytest.raises(DataError, match="UTF-8"):
        read_corpus(tmp_path)


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


def test_train_text_by_hand(tmp_path: Path) -> None:
    listed = "clip speaker split text", "s1_a s1 test one", "s1_b s1 train two", "s2_c s2 unseen six"
    said = "speaker clip text", "s1 a one", "s1 b two", "s2 c six", "s9 z one", "s9 y ten", "s9 x six"
    touch(tmp_path / "manifest.tsv", "\n".join(listed).replace(" ", "\t"))
    touch(tmp_path / "transcripts.tsv", "\n".join(said).replace(" ", "\t"))
    assert train_text(tmp_path) == ["two", "ten"]


def test_train_text_of_the_corpus(grid_dir: Path) -> None:
    held = [row for row in rows(grid_dir / "manifest.tsv") if row["split"] != "train"]
    sentences = train_text(grid_dir)
    assert not set(sentences) & {row["text"] for row in held}
    assert len(sentences) > 30_000
    keys = {sentence_key(row["speaker"], row["clip"]) for row in held}
    assert len(keys) == len(held) == 189


def test_train_text_without_transcripts(tmp_path: Path) -> None:
    touch(tmp_path / "manifest.tsv", "clip\ttext\na\tb\n")
    with pytest.raises(DataError, match="transcripts.tsv: cannot be read"):
        train_text(tmp_path)


def test_recipes_carry_no_media() -> None:
    folder = Path(grid.__file__).parent
    suffixes = {path.suffix for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert suffixes <= {".py", ".md", ".tsv", ".txt", ".json", ""}
