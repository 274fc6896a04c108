"""Prepared folders: what is read, what is refused in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lipread.config import NetworkConfig, TrainConfig
from lipread.errors import DataError
from lipread.prepared import MANIFEST_COLUMNS
from lipread.training.batches import WordSpan
from lipread.training.clips import (
    Clip,
    check_apart,
    divide_clips,
    load_clips,
    training_vocabulary,
    word_spans,
)
from prepared import WORD, prepare, speak


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare(tmp_path_factory.mktemp("data") / "made_up", splits=("train", "val", "test"))


def test_a_folder_as_it_was_written(folder: Path) -> None:
    clips = {clip.name: clip for clip in load_clips(folder)}
    assert Counter(clip.split for clip in clips.values()) == {"train": 6, "val": 4, "test": 4}
    whole, points = clips["anna_train0"], clips["ben_points0"]
    spoken = speak(whole.text.split(), seed=1)
    assert (whole.speaker, whole.source, whole.frames) == ("anna", "real", len(spoken.points))
    assert np.array_equal(whole.points, spoken.points)
    assert whole.crops_path == folder / "crops" / "anna_train0.mp4"
    starts = [8, 16, 24]
    assert whole.words == tuple(
        WordSpan(start, start + WORD, word) for start, word in zip(starts, whole.text.split(), strict=True)
    )
    assert (points.source, points.crops_path, points.words[0].start, points.words[-1].end) == ("points", None, 0, 18)


def test_displacements_are_from_the_mean_of_speaking() -> None:
    points = np.zeros((6, 9, 2), np.float32)
    points[:, :, 0] = np.array([100, 1, 2, np.nan, 6, 100])[:, None]
    points[:, :, 1] = points[:, :, 0]
    clip = Clip("x", "s", "train", "real", "a b", 6, (WordSpan(1, 3, "a"), WordSpan(3, 5, "b")), points, None)
    assert np.array_equal(clip.displacements[:, 0, 0], [97, -2, -1, np.nan, 3, 97], equal_nan=True)
    wordless = replace(clip, words=())
    assert wordless.displacements[0, 0, 0] == pytest.approx(100 - 209 / 5)
    lost = replace(clip, points=np.full_like(points, np.nan))
    assert np.isnan(lost.displacements).all()


@pytest.mark.parametrize(
    ("times", "frames", "wanted"),
    [
        ([(0.0, 0.4, "sil"), (0.4, 0.8, "a"), (0.8, 1.0, "sp"), (1.0, 1.2, "b")], 30, [(10, 20, "a"), (25, 30, "b")]),
        ([(0.0, 0.01, "a"), (0.01, 0.2, "b")], 10, [(0, 1, "a"), (1, 5, "b")]),  # a word of no frame takes one
        ([(0.0, 0.1, "a"), (0.1, 0.11, "b"), (0.11, 0.12, "c")], 9, [(0, 2, "a"), (2, 3, "b"), (3, 4, "c")]),
        ([(0.0, 0.5, "a")], 10, [(0, 10, "a")]),  # the corpus says a little more than there is
        ([(0.0, 0.4, "a"), (0.4, 0.44, "b")], 10, []),  # b has no frame
        ([(0.2, 0.1, "a")], 10, []),  # it ends before it starts
        ([(-0.1, 0.1, "a")], 10, [(0, 2, "a")]),
        ([], 10, []),
    ],
)
def test_word_times_to_frames(
    times: list[tuple[float, float, str]], frames: int, wanted: list[tuple[int, int, str]]
) -> None:
    assert word_spans(times, frames) == tuple(WordSpan(*span) for span in wanted)


def test_a_manifest_that_was_edited(tmp_path: Path) -> None:
    """A byte order mark, spaces and capitals change nothing; quotes are letters."""
    copy = prepare(tmp_path / "copy", splits=("train",))
    before = load_clips(copy)
    for name in ("manifest.tsv", "words.tsv"):
        heading, *lines = (copy / name).read_text().splitlines()
        lines = [line.replace("\tanna\t", '\t"Ann" A\t').replace("\tben\t", '\t"Ben\t') for line in lines]
        parted = [line.rpartition("\t") for line in lines]
        lines = [f"{rest}{tab}{words.upper()} " for rest, tab, words in parted]
        (copy / name).write_text("\n".join([heading, *lines, ""]), encoding="utf-8-sig")
    after = load_clips(copy)
    assert [(clip.name, clip.text, clip.words) for clip in after] == [(c.name, c.text, c.words) for c in before]
    assert all(clip.words for clip in after)
    assert {clip.speaker for clip in after} == {'"Ann" A', '"Ben'}


def test_word_times_are_not_needed(tmp_path: Path) -> None:
    copy = prepare(tmp_path / "copy", splits=("train",))
    (copy / "words.tsv").unlink()
    clips = load_clips(copy)
    assert not any(clip.words for clip in clips)
    assert all(clip.text for clip in clips)


def test_word_times_that_do_not_fit_are_told(tmp_path: Path) -> None:
    copy = prepare(tmp_path / "copy", splits=("train",))
    lines = [line.split("\t") for line in (copy / "words.tsv").read_text().splitlines()]
    for line in lines[1:]:
        if line[0] == "anna_train0":  # as of another part of the recording
            line[1], line[2] = (f"{float(each) + 100:.3f}" for each in line[1:3])
        elif line[0] == "ben_train1":
            line[1], line[2] = line[2], line[1]
    (copy / "words.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    clips = {clip.name: clip for clip in load_clips(copy)}
    assert {name for name, clip in clips.items() if not clip.times_fit} == {"anna_train0", "ben_train1"}
    assert {name for name, clip in clips.items() if not clip.words} == {"anna_train0", "ben_train1"}
    (copy / "words.tsv").unlink()
    assert all(clip.times_fit for clip in load_clips(copy))


def replace_in(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "manifest.tsv").unlink(), "no manifest.tsv there; make one with `lipread prepare`"),
        (lambda f: (f / "manifest.tsv").write_bytes(b"\xff\xfe\x00"), "manifest.tsv: cannot be read"),
        (lambda f: (f / "manifest.tsv").write_text(""), "manifest.tsv: has no column clip, speaker, split,"),
        (replace_in("manifest.tsv", "speaker", "talker"), "manifest.tsv: has no column speaker; it must"),
        (lambda f: (f / "manifest.tsv").write_text("\t".join(MANIFEST_COLUMNS) + "\n"), "lists no clip"),
        (replace_in("manifest.tsv", "\t38\t", "\tmany\t"), "manifest.tsv, line 2: frames='many' is not a number"),
        (replace_in("manifest.tsv", "\t38\t", "\t0\t"), "manifest.tsv, line 2: clip anna_train0 has frames=0"),
        (replace_in("manifest.tsv", "\t38\t", "\t38.5\t"), "line 2: clip anna_train0 has frames=38.5, which must be a"),
        (replace_in("manifest.tsv", "\ttrain\t", "\tTrain\t"), "line 2: split='Train' is not known; it must be one of"),
        (replace_in("manifest.tsv", "crops,points", "crops,point"), "line 2: no stream is called 'point'; streams are"),
        (replace_in("manifest.tsv", "anna_train1", "anna_train0"), "line 3: clip anna_train0 is listed twice; delete"),
        (replace_in("manifest.tsv", "\t38\t", "\t38\tno "), "line 2: the text of clip anna_train0 is 'no "),
        (replace_in("words.tsv", "\tsil\n", "\t7\n"), "words.tsv, line 2: the text '7' has characters that"),
        (replace_in("manifest.tsv", "\t38\t", "\t39\t"), "anna_train0.npy: lip points of shape (38, 9, 2), wanted (39"),
        (replace_in("manifest.tsv", "\ttrain\treal", ""), "manifest.tsv, line 2: fewer cells than in the heading"),
        (replace_in("words.tsv", "start_s", "begin"), "words.tsv: has no column start_s"),
        (replace_in("words.tsv", "0.000", "zero"), "words.tsv, line 2: start_s='zero' is not a number"),
        (replace_in("words.tsv", "0.000", "nan"), "words.tsv, line 2: start_s='nan' is not a number"),
        (lambda f: (f / "points" / "anna_train0.npy").unlink(), "anna_train0.npy: lip points cannot be read"),
        (lambda f: (f / "points" / "anna_train0.npy").write_bytes(b"?"), "anna_train0.npy: lip points cannot be read"),
        (lambda f: (f / "crops" / "ben_train1.mp4").unlink(), "ben_train1.mp4: absent, but"),
    ],
)
def test_damaged_folders_are_one_sentence(damage: Callable[[Path], object], said: str, tmp_path: Path) -> None:
    copy = prepare(tmp_path / "copy", splits=("train",))
    damage(copy)
    with pytest.raises(DataError) as caught:
        load_clips(copy)
    assert said in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_copied_folders_are_refused(tmp_path: Path) -> None:
    one, drawn = tmp_path / "one", tmp_path / "drawn"
    clips = load_clips(prepare(one))
    others = [replace(clip, name=f"other_{clip.name}") for clip in clips]
    points = [replace(clip, crops_path=None) for clip in clips]
    changed = [replace(clip, text="no") for clip in clips]
    check_apart([(one, clips), (drawn, others), (tmp_path / "points", points), (tmp_path / "changed", changed)])
    with pytest.raises(DataError, match="drawn: clip anna_val0 is in .*one as well") as caught:
        check_apart([(one, clips), (drawn, [*others, replace(clips[2], split="train")])])
    assert "\n" not in str(caught.value)


def test_one_place_is_named_once(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    for again in (tmp_path, tmp_path / "link"):
        with pytest.raises(DataError, match="the same folder as .*; name it once in --data"):
            check_apart([(tmp_path, []), (again, [])])


def test_vocabulary_is_the_most_frequent_words_in_order() -> None:
    points = np.zeros((1, 9, 2), np.float32)
    texts = ("b a c", "b a", "b d")
    clips = [Clip("x", "s", "train", "real", text, 1, (), points, None) for text in texts]
    assert training_vocabulary(clips) == ("a", "b", "c", "d")
    assert training_vocabulary(clips, 2) == ("a", "b")
    assert training_vocabulary(clips, least_count=3) == ("b",)


def test_folds_tile_train_and_val(tmp_path: Path) -> None:
    real = load_clips(prepare(tmp_path / "real", clips=4, points_only=0))
    drawn = load_clips(prepare(tmp_path / "drawn", source="drawn", splits=("train",), points_only=0))
    chosen: list[str] = []
    for fold in range(3):
        training, choosing = divide_clips(real + drawn, TrainConfig(folds=3, fold=fold))
        val = choosing["val"]
        assert len(val) in (len(real) // 3, len(real) // 3 + 1)
        assert {id(clip) for clip in training} | {id(clip) for clip in val} == {id(clip) for clip in real + drawn}
        assert len(training) + len(val) == len(real) + len(drawn)
        assert all(clip.source == "real" for clip in val)
        chosen += [clip.name for clip in val]
    assert sorted(chosen) == sorted(clip.name for clip in real)
    training, choosing = divide_clips(real, TrainConfig())
    assert {clip.split for clip in training} == {"train"} and {clip.split for clip in choosing["val"]} == {"val"}


def test_folds_leave_people_out_who_are_held_out(tmp_path: Path) -> None:
    real = load_clips(prepare(tmp_path / "real", speakers=("anna", "ben", "cleo"), clips=3, points_only=1))
    for fold in range(2):
        training, choosing = divide_clips(real, TrainConfig(folds=2, fold=fold, held_out_speakers=("ben",)))
        assert {clip.speaker for clip in (*training, *choosing["val"])} == {"anna", "cleo"}
        assert {clip.speaker for clip in choosing["held-out"]} == {"ben"}


def test_folds_train_on_no_points_of_a_sentence_that_they_measure(tmp_path: Path) -> None:
    points = load_clips(prepare(tmp_path / "data", clips=3))
    real = [clip for clip in points if clip.crops_path]
    twins = [replace(clip, name=f"{clip.name}_p", split="train", source="points", crops_path=None) for clip in real]
    cleo = [replace(clip, name=f"cleo_{clip.name}", speaker="cleo") for clip in twins]  # the same words, another person
    for fold in range(2):
        training, choosing = divide_clips(points + twins + cleo, TrainConfig(folds=2, fold=fold))
        val, names = choosing["val"], {clip.name for clip in training}
        assert {clip.name for clip in twins} - names == {f"{clip.name}_p" for clip in val}
        assert {clip.name for clip in cleo} <= names
    training, _ = divide_clips(points + twins + cleo, TrainConfig(most_clips=2))
    names = {clip.name for clip in training}
    kept = {clip.name for clip in training if clip.crops_path}
    assert len(kept) == 2 and {clip.name for clip in cleo} <= names
    assert {clip.name for clip in twins if clip.name in names} == {
        f"{clip.name}_p" for clip in real if clip.name in kept or clip.split == "val"
    }


def test_fewer_clips_and_people_are_part_of_more(tmp_path: Path) -> None:
    real = load_clips(prepare(tmp_path / "real", speakers=("anna", "bert", "cleo"), clips=4, points_only=2))
    drawn = load_clips(prepare(tmp_path / "drawn", source="drawn", splits=("train",)))

    def left(**changes: int) -> set[str]:
        return {clip.name for clip in divide_clips(real + drawn, TrainConfig(**changes))[0]}

    kinds = {clip.name: "drawn" if clip.source == "drawn" else "pixels" if clip.crops_path else "points"
             for clip in real + drawn}
    whole = left()
    for few, more in ((left(most_clips=2), left(most_clips=5)), (left(most_people=1), left(most_people=2))):
        assert few < more < whole
    assert sum(kinds[name] == "pixels" for name in left(most_clips=2)) == 2
    assert {name for name in whole if kinds[name] != "pixels"} <= left(most_clips=2)  # but for twins, as below
    points = [clip for clip in real if clip.name in left(most_people=1) and not clip.crops_path]
    assert len({clip.speaker for clip in points}) == 1
    assert {name for name in whole if kinds[name] != "points"} <= left(most_people=1)


def test_held_out_people_choose_by_what_is_trained(folder: Path) -> None:
    clips = load_clips(folder)
    for pixels, wanted in ((2, {"real"}), (0, {"real", "points"})):
        training, choosing = divide_clips(clips, TrainConfig(held_out_speakers=("ben",), batch_pixels=pixels))
        assert {clip.speaker for clip in training} == {"anna"}
        assert {clip.source for clip in choosing["held-out"]} == wanted
        assert {clip.speaker for clip in choosing["held-out"]} == {"ben"}
    blind = NetworkConfig(streams=("points",))  # looks at no pixels, though clips with pixels are among its own
    _, choosing = divide_clips(clips, TrainConfig(held_out_speakers=("ben",), batch_pixels=2, network=blind))
    assert {clip.source for clip in choosing["held-out"]} == {"real", "points"}
