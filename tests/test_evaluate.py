"""Evaluation: manifests, made-up readers with known errors, prepared folders, and a few real clips."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lipread.alphabet import Alphabet
from lipread.data.grid import prepare_grid
from lipread.errors import ConfigError, DataError, VideoError
from lipread.evaluate import EvalClip, evaluate, read_manifest
from lipread.metrics import score
from lipread.pipeline import load_model
from lipread.values import Transcript
from test_pipeline import spelling_track, teller

MANIFEST = """clip\tspeaker\tsplit\tframes\ttext
s1_a\ts1\ttest\t75\tbin blue at f two now
s1_b\ts1\ttrain\t75\tset red by m one soon
s2_c\ts2\ttest\t75\tPlace green in q four please
"""


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "manifest.tsv").write_text(MANIFEST)
    (tmp_path / "clips").mkdir()
    for clip in ("s1_a", "s1_b", "s2_c"):
        (tmp_path / "clips" / f"{clip}.mp4").touch()
    return tmp_path


class PretendReader:
    """Says what it was told to, by clip."""

    alphabet = Alphabet.english()
    checkpoint = SimpleNamespace(name="pretend")
    search = SimpleNamespace(name="greedy")

    def __init__(self, **texts: str) -> None:
        self.texts = texts

    def transcribe(self, path: Path, **_: object) -> Transcript:
        if path.stem not in self.texts:
            raise VideoError(f"{path} is not a video")
        said = Transcript(self.texts[path.stem], (), 3.0, 1.0, 0.5, stage_s={"video": 0.3, "network": 0.6})
        return said if said.text else replace(said, reason="the lips hardly move")


def test_manifest_by_split_and_folder(corpus: Path) -> None:
    assert [clip.clip for clip in read_manifest(corpus, split="test")] == ["s1_a", "s2_c"]
    assert [clip.clip for clip in read_manifest(corpus / "manifest.tsv")] == ["s1_a", "s1_b", "s2_c"]
    for split in ("test", "all"):
        with pytest.raises(ConfigError, match="are for reporting"):
            read_manifest(corpus, split=split, to_choose=True)
    (clip,) = read_manifest(corpus, split="train", to_choose=True)
    assert clip == EvalClip("s1_b", "s1", "set red by m one soon", video=corpus / "clips" / "s1_b.mp4")


def test_limit_spreads_over_the_manifest(corpus: Path) -> None:
    assert [clip.clip for clip in read_manifest(corpus, limit=2)] == ["s1_a", "s2_c"]
    assert len(read_manifest(corpus, limit=99)) == 3


def test_a_manifest_needs_no_speaker_and_no_split(corpus: Path) -> None:
    (corpus / "manifest.tsv").write_text("clip\ttext\ns1_a\tbin blue\ns1_b\tset red\n")
    assert [(clip.clip, clip.speaker) for clip in read_manifest(corpus)] == [("s1_a", "s1_a"), ("s1_b", "s1_b")]
    assert len(read_manifest(corpus, split="train")) == 2  # as data/README.md says
    with pytest.raises(DataError, match="no clip of split 'test'; it has: train; --split all takes them all"):
        read_manifest(corpus, split="test")


def test_a_manifest_as_a_spreadsheet_saves_it(corpus: Path) -> None:
    text = "clip\tspeaker\tsplit\ttext\n s1_a \ts1\ttest\tbin blue\n"
    (corpus / "manifest.tsv").write_text(text, encoding="utf-8-sig")
    assert [(clip.clip, clip.text) for clip in read_manifest(corpus, split="test")] == [("s1_a", "bin blue")]


def test_a_limit_counts_what_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "crops").mkdir()
    rows = [f"{clip}\ts1\ttrain\t{streams}\tbin\n" for clip, streams in
            [*((f"p{n}", "points") for n in range(9)), ("c1", "crops"), ("c2", "crops,points"), ("c3", "crops")]]
    (tmp_path / "manifest.tsv").write_text("clip\tspeaker\tsplit\tstreams\ttext\n" + "".join(rows))
    for limit, names in ((None, ["c1", "c2", "c3"]), (2, ["c1", "c3"]), (1, ["c1"])):
        assert [clip.clip for clip in read_manifest(tmp_path, limit=limit)] == names
    (tmp_path / "manifest.tsv").write_text("clip\tspeaker\tsplit\tstreams\ttext\n" + "".join(rows[:9]))
    with pytest.raises(DataError, match="no clip of split 'all' has mouth crops"):
        read_manifest(tmp_path)


def test_bad_manifests_are_named(corpus: Path) -> None:
    with pytest.raises(DataError, match="no clip of split 'val'; it has: test, train"):
        read_manifest(corpus, split="val")
    (corpus / "clips" / "s2_c.mp4").unlink()
    with pytest.raises(DataError, match="1 of 3 clips.*s2_c first.*--clips"):
        read_manifest(corpus)
    with pytest.raises(DataError, match="elsewhere: there is no such folder"):
        read_manifest(corpus, clips=corpus / "elsewhere")
    with pytest.raises(DataError, match=r"gone\.tsv: cannot be read"):
        read_manifest(corpus / "gone.tsv")
    (corpus / "manifest.tsv").write_text("clip\tspeaker\na\tb\n")
    with pytest.raises(DataError, match="has no column text; it must have clip, text, separated by tabs"):
        read_manifest(corpus)
    (corpus / "manifest.tsv").write_text("clip\tspeaker\ttext\na\ts1\n")
    with pytest.raises(DataError, match="line 2: fewer cells than in the heading"):
        read_manifest(corpus)
    (corpus / "manifest.tsv").write_text("clip\tspeaker\ttext\ns1_a\ts1\tbin\ns1_a\ts1\tbin\n")
    with pytest.raises(DataError, match="clip s1_a is listed twice"):
        read_manifest(corpus)
    (corpus / "manifest.tsv").write_text('clip\tspeaker\ttext\ns1_a\ts1\t"bin\ns1_b\ts1\tred"\n')
    assert [clip.text for clip in read_manifest(corpus)] == ['"bin', 'red"']  # no quote joins lines
    (corpus / "manifest.tsv").write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(DataError, match="cannot be read .*must be UTF-8"):
        read_manifest(corpus)


def test_figures_by_hand(corpus: Path) -> None:
    reader = PretendReader(s1_a="bin blue at s two now", s1_b="set red by m one", s2_c="")
    told: list[str] = []
    result = evaluate(
        reader, read_manifest(corpus), finished=lambda each: told.append(each.clip)  # type: ignore[arg-type]
    )
    assert told == ["s1_a", "s1_b", "s2_c"]
    assert result.score.wer == pytest.approx((1 + 1 + 6) / 18)
    assert result.speakers["s1"].wer == pytest.approx(2 / 12)
    assert result.speakers["s2"].wer == 1.0
    assert [(each.reference, each.hypothesis) for each in result.confusions] == [("f", "s")]
    assert result.clips[2].problem == "the lips hardly move"
    assert result.clips[2].reference == "place green in q four please"
    assert result.real_time_factor == pytest.approx(0.9 / 3)
    written = json.loads(json.dumps(result.to_json()))
    assert written["real_time_factor"] == pytest.approx({"all": 0.3, "video": 0.1, "network": 0.2})
    assert written["score"]["words"] == 18
    assert (written["way"], written["search"]) == ("video file to text, modality auto", "greedy")


def test_a_clip_that_cannot_be_read_counts_as_read_empty(corpus: Path) -> None:
    result = evaluate(PretendReader(s1_a="bin blue at f two now"), read_manifest(corpus, split="test"))  # type: ignore
    assert result.score.wer == pytest.approx(0.5)
    assert result.clips[1].problem is not None
    assert "is not a video" in result.clips[1].problem
    assert [each.failed for each in result.clips] == [False, True]
    assert result.duration_s == 3.0


def test_texts_outside_the_alphabet_are_refused_before_the_work(corpus: Path) -> None:
    clip = EvalClip("x", "s1", "bin 2", video=corpus / "x.mp4")
    with pytest.raises(DataError, match="2"):
        evaluate(PretendReader(), [clip])  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no word"):
        evaluate(PretendReader(), [])  # type: ignore[arg-type]


def test_prepared_folder_is_read_from_its_crops(tmp_path: Path) -> None:
    from lipread.mouth import write_crops_mp4

    track = spelling_track("bin", frames_each=6)
    (tmp_path / "crops").mkdir()
    (tmp_path / "points").mkdir()
    (tmp_path / "manifest.tsv").write_text(
        "clip\tspeaker\tsplit\tsource\tstreams\tframes\ttext\n"
        "d1\tdrawn\ttest\tdrawn\tcrops,points\t18\tbin\np1\ts9\ttest\tpoints\tpoints\t18\tbin\n"
    )
    write_crops_mp4(tmp_path / "crops" / "d1.mp4", track.crops, crf=0)
    np.save(tmp_path / "points" / "d1.npy", track.points)
    clips = read_manifest(tmp_path, split="test")
    assert [clip.clip for clip in clips] == ["d1"]  # the other has no pixels
    result = evaluate(teller(), clips)
    assert result.way == "prepared crops, modality auto"
    np.save(tmp_path / "points" / "d1.npy", track.points[:5])
    broken = evaluate(teller(), clips).clips[0]
    assert broken.failed and "d1.npy: lip points of shape (5, 9, 2), wanted (18, 9, 2)" in str(broken.problem)


def test_prepared_clips_are_read_from_their_sound_too(grid_dir: Path, tmp_path: Path) -> None:
    prepare_grid(grid_dir, tmp_path, processes=0, show=False, speakers=["s1"], splits=["val"], limit=2, landmarks=False)
    clips, reader = read_manifest(tmp_path, split="val"), load_model("small", "cpu")
    videos = {clip.clip: clip.video for clip in read_manifest(grid_dir, split="val")}
    for modality in ("audio", "both", "auto"):
        result = evaluate(reader, clips, modality=modality)
        assert result.way == f"prepared crops, modality {modality}"
        for found in result.clips:
            whole = reader.transcribe(videos[found.clip], modality=modality)  # type: ignore[arg-type]
            assert score([whole.text], [found.hypothesis]).wer <= 1 / 6  # crops and sound were encoded once more
    (tmp_path / "sound" / f"{clips[0].clip}.m4a").unlink()
    for modality in ("audio", "both"):
        lost = evaluate(reader, clips[:1], modality=modality).clips[0]  # type: ignore[arg-type]
        assert lost.problem is not None and f"{clips[0].clip}.m4a" in lost.problem and not lost.hypothesis
    with pytest.raises(ConfigError, match="reads lips only"):
        teller().read_track(spelling_track("bin", frames_each=6), modality="both")


def test_real_clips_go_the_whole_way(grid_dir: Path) -> None:
    result = evaluate(teller(), read_manifest(grid_dir, split="test", limit=2))
    assert [clip.duration_s for clip in result.clips] == [3.0, 3.0]
    assert result.score.words == 12
    assert result.stage_s["landmarks"] > 0
