"""What clips a folder holds: GRID's own layout, folders with tables, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lipread.data.corpus import SPLITS, read_alignment, read_corpus, sentence_of_name
from lipread.errors import DataError
from lipread.training import clips
from media import rows, touch


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
        ("clip\ttext\na\0b\tc\n", r"line 2: clip='a.x00b' is no plain file name"),
        ("clip\ttext\na  b\tc\n", "line 2: clip='a  b' has white space other than single spaces inside; rename it"),
        ("clip\ttext\na\u00a0b\tc\n", "line 2: clip='a.xa0b' has white space"),
        ("clip\ttext\na\u2028b\tc\n", "line 2: clip='a.u2028b' has white space"),
        (f"clip\ttext\n{'a' * 250}\tc\n{'é' * 126}\tc\n", "line 3: clip='é*' is longer than 250 bytes; rename it"),
        (f"clip\ttext\na\t{'b' * 200_000}\n", r"manifest.tsv: cannot be read \(field larger than field limit"),
        ("clip\ttext\na\tb\na\tc\n", "line 3: clip='a' is there twice"),
        ("clip\tsplit\ttext\na\tdev\tb\n", "line 2: split='dev' is not known; it must be one of train, val, test,"),
        ("clip\ttext\n", "lists no clip"),
        ("", "no column clip, text"),
    ],
)
def test_bad_manifest(table: str, shown: str, tmp_path: Path) -> None:
    touch(tmp_path / "manifest.tsv", table)
    with pytest.raises(DataError, match=shown):
        read_corpus(tmp_path)


def test_bad_names_in_the_official_layout(tmp_path: Path) -> None:
    touch(tmp_path / "s1" / "my  holiday.mpg")
    with pytest.raises(DataError, match="my  holiday.mpg: clip='s1_my  holiday' has white space .*; rename it"):
        read_corpus(tmp_path)


def test_a_number_of_frames_that_cannot_be_is_none(tmp_path: Path) -> None:
    touch(tmp_path / "manifest.tsv", f"clip\ttext\tframes\na\tb\t{'9' * 5000}\n")
    assert read_corpus(tmp_path)[0].frames is None


def test_the_splits_are_those_of_training() -> None:
    assert SPLITS == clips.SPLITS


@pytest.mark.parametrize("times", ["nan\t1", "0\tnan", "0\tinf", "-0.1\t1", "1\t0.9"])
def test_word_times_that_cannot_be(times: str, tmp_path: Path) -> None:
    touch(tmp_path / "manifest.tsv", "clip\ttext\na\tb\n")
    touch(tmp_path / "words.tsv", f"clip\tstart_s\tend_s\tword\na\t0\t0\tsil\na\t{times}\tb\n")
    with pytest.raises(DataError, match="words.tsv, line 3: start_s=.* must be finite, 0 or more, and in that order"):
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


NAMES = [f"bbaf{digit}{adverb}" for digit in "z123456789" for adverb in "anps"]


def test_alignments_in_another_speakers_folder(tmp_path: Path) -> None:
    """As in the public record: the names of the files say whose they are; a few names in common do not."""
    for name in NAMES[:20]:
        touch(tmp_path / "s5" / f"{name}.mpg")
        touch(tmp_path / "alignments" / "s6" / f"{name}.align", "0 5 five\n")
    for name in NAMES[18:]:
        touch(tmp_path / "s6" / f"{name}.mpg")
        touch(tmp_path / "alignments" / "s5" / f"{name}.align", "0 5 six\n")
    touch(tmp_path / "s7" / f"{NAMES[0]}.mpg")
    jobs = read_corpus(tmp_path)
    assert {(job.speaker, job.text) for job in jobs if job.speaker != "s7"} == {("s5", "five"), ("s6", "six")}
    assert [(job.words, job.doubts) for job in jobs if job.speaker == "s7"] == [
        ((), ("no alignment: its text is taken from its name",))
    ]


def test_a_subset_of_alignments(tmp_path: Path) -> None:
    """Few alignments for many videos, and many for few: the folder of the speaker's name is right."""
    for name in NAMES:
        touch(tmp_path / "s1" / f"{name}.mpg")
        touch(tmp_path / "alignments" / "s2" / f"{name}.align", "0 5 two\n")
    touch(tmp_path / "alignments" / "s1" / f"{NAMES[0]}.align", "0 5 one\n")
    touch(tmp_path / "s2" / f"{NAMES[0]}.mpg")
    jobs = {job.name: job for job in read_corpus(tmp_path)}
    assert jobs[f"s1_{NAMES[0]}"].text == "one" and jobs[f"s2_{NAMES[0]}"].text == "two"
    assert not jobs[f"s1_{NAMES[1]}"].words


def test_published_splits(tmp_path: Path) -> None:
    for speaker in ("s1", "S2", "s3", "s22"):
        touch(tmp_path / speaker / "bbaf2n.mpg")
    assert {job.speaker: job.split for job in read_corpus(tmp_path)} == {
        "s1": "unseen", "s2": "unseen", "s22": "unseen", "s3": "train"
    }
    with pytest.raises(DataError, match="split-list"):
        read_corpus(tmp_path, protocol="overlapped")
    touch(tmp_path / "overlapped.txt", "s3/video/mpg_6000/bbaf2n\ns1/video/mpg_6000/bbaf3s\n")
    assert {job.speaker: job.split for job in read_corpus(tmp_path, protocol="overlapped")} == {
        "s1": "train", "s2": "train", "s22": "train", "s3": "test"
    }
