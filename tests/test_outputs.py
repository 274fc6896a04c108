"""Writers read back by other readers; atomic writing; names that try to leave the folder."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pysubs2
import pytest

from lipread.errors import ConfigError, OutputError
from lipread.outputs import WRITERS, chosen_formats, marked_changes, milliseconds, write_outputs
from lipread.values import Hypothesis, Segment, Transcript, Utterance, Word

WORDS = (Word("bin", 0.5, 0.75, 0.9), Word("blue", 0.75, 1.2345, 0.8), Word("now", 3.0, 3.5, 0.4))
TALK = Transcript(
    text="bin blue now",
    segments=(
        Segment(0.5, 1.2345, "bin blue", WORDS[:2], 0.85),
        Segment(3.0, 3.5, "now", WORDS[2:], 0.4),
    ),
    duration_s=4.0,
    face_share=0.97531,
    confidence=0.7,
    utterances=(
        Utterance(0.0, 4.0, "bin blue now", "bin blew", (
            Hypothesis("bin blue now", -3.5, -3.0, -1.0, 0.75), Hypothesis("bin blew", -4.0, -2.0, -4.0),
        )),
    ),
    warnings=("No face was found from 2.00 to 2.90 s.",),
    source="talk.mp4",
    model="small",
    stage_s={"video": 0.1},
)
NOTHING = Transcript("", (), 2.0, 0.0, 0.0, reason="no face was found in any of the 50 frames")


def test_text_has_a_line_per_segment() -> None:
    assert WRITERS["txt"].render(TALK) == "bin blue\nnow\n"
    assert WRITERS["txt"].render(NOTHING) == ""


def test_tsv_by_hand() -> None:
    assert WRITERS["tsv"].render(TALK) == "start\tend\ttext\n500\t1234\tbin blue\n3000\t3500\tnow\n"
    assert WRITERS["tsv"].render(NOTHING) == "start\tend\ttext\n"


def test_tsv_survives_tabs_in_words() -> None:
    odd = Transcript("a", (Segment(0, 1, "a\tb\nc", (), 1.0),), 1.0, 1.0, 1.0)
    assert WRITERS["tsv"].render(odd).splitlines()[1] == "0\t1000\ta b c"


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles_read_back(form: str) -> None:
    events = list(pysubs2.SSAFile.from_string(WRITERS[form].render(TALK), form))
    assert [(event.start, event.end, event.plaintext) for event in events] == [
        (500, 1234, "bin blue"),
        (3000, 3500, "now"),
    ]
    assert list(pysubs2.SSAFile.from_string(WRITERS[form].render(NOTHING), form)) == []


def test_vtt_and_srt_have_their_own_marks() -> None:
    assert WRITERS["vtt"].render(NOTHING).startswith("WEBVTT")
    assert "00:00:00,500 --> 00:00:01,234" in WRITERS["srt"].render(TALK)
    assert "00:00:00.500 --> 00:00:01.234" in WRITERS["vtt"].render(TALK)


def test_every_line_says_who_speaks_where_several_people_are_read() -> None:
    said = (replace(TALK.segments[0], speaker="Speaker 2"), replace(TALK.segments[1], speaker="Speaker 1"))
    two = replace(TALK, segments=said, utterances=(replace(TALK.utterances[0], speaker="Speaker 2"),))
    assert WRITERS["txt"].render(two) == "Speaker 2: bin blue\nSpeaker 1: now\n"
    assert WRITERS["tsv"].render(two).splitlines() == [
        "start\tend\ttext\tspeaker", "500\t1234\tbin blue\tSpeaker 2", "3000\t3500\tnow\tSpeaker 1"
    ]
    srt = pysubs2.SSAFile.from_string(WRITERS["srt"].render(two), "srt")
    assert [event.plaintext for event in srt] == ["Speaker 2: bin blue", "Speaker 1: now"]
    assert "\n<v Speaker 2>bin blue\n" in WRITERS["vtt"].render(two)
    read = json.loads(WRITERS["json"].render(two))
    assert [segment["speaker"] for segment in read["segments"]] == ["Speaker 2", "Speaker 1"]
    assert read["utterances"][0]["speaker"] == "Speaker 2"
    assert json.loads(WRITERS["json"].render(TALK))["segments"][0]["speaker"] is None


def test_long_subtitles_have_two_lines() -> None:
    text = " ".join(["please"] * 12)
    long = Transcript(text, (Segment(0, 6, text, (), 1.0),), 6.0, 1.0, 1.0)
    lines = WRITERS["srt"].render(long).strip().splitlines()[2:]
    assert len(lines) == 2
    assert max(map(len, lines)) <= 42


def test_json_has_whispers_fields_and_ours() -> None:
    read = json.loads(WRITERS["json"].render(TALK))
    assert read["text"] == "bin blue now"
    assert [segment["id"] for segment in read["segments"]] == [0, 1]
    assert read["segments"][0]["words"][1] == {"word": "blue", "start": 0.75, "end": 1.234, "probability": 0.8}
    assert {key: read[key] for key in ("duration", "face_share", "reason", "model", "source")} == {
        "duration": 4.0, "face_share": 0.9753, "reason": None, "model": "small", "source": "talk.mp4",
    }
    assert read["warnings"] == list(TALK.warnings)
    assert json.loads(WRITERS["json"].render(NOTHING))["reason"].startswith("no face")


def test_json_never_holds_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        WRITERS["json"].render(replace(TALK, confidence=math.nan))


def test_formats() -> None:
    assert chosen_formats("all") == ("txt", "srt", "vtt", "tsv", "json")
    assert chosen_formats(" JSON, .txt ") == ("txt", "json")
    with pytest.raises(ConfigError, match="'doc'.*txt, srt"):
        chosen_formats("txt,doc")
    with pytest.raises(ConfigError, match="nothing"):
        chosen_formats(" , ")


def test_write_outputs_keeps_dots_and_makes_folders(tmp_path: Path) -> None:
    paths = write_outputs(TALK, tmp_path / "new", "day 1/my.talk", ("txt", "json"))
    assert paths == (tmp_path / "new/day 1/my.talk.txt", tmp_path / "new/day 1/my.talk.json")
    assert paths[0].read_text() == "bin blue\nnow\n"
    assert sorted(file.name for file in paths[0].parent.iterdir()) == ["my.talk.json", "my.talk.txt"]
    assert write_outputs(TALK, tmp_path, "a", iter(("srt", "vtt"))) == (tmp_path / "a.srt", tmp_path / "a.vtt")
    assert write_outputs(TALK, tmp_path, "b", "srt") == (tmp_path / "b.srt",)
    with pytest.raises(ConfigError, match="'mp3' is not known; choose from txt, srt"):
        write_outputs(TALK, tmp_path, "c", ["txt", "mp3"])
    assert not (tmp_path / "c.txt").exists()


@pytest.mark.parametrize("name", ["../talk", "a/../../talk", "/tmp/talk", "sub/../../../x"])
def test_names_never_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="leads out of"):
        write_outputs(TALK, tmp_path / "out", name, ("txt",))
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="choose another folder"):
        write_outputs(TALK, tmp_path / "out", "talk", ("txt",))


def test_the_video_itself_is_never_replaced(tmp_path: Path) -> None:
    (film := tmp_path / "talk.json").write_text("a film with an odd name")
    with pytest.raises(OutputError, match=r"talk\.json is the video itself and would be replaced"):
        write_outputs(replace(TALK, source=str(film)), tmp_path, "talk")
    assert [path.name for path in tmp_path.iterdir()] == ["talk.json"]
    assert film.read_text() == "a film with an odd name"


def test_milliseconds() -> None:
    assert [milliseconds(seconds) for seconds in (-0.1, 0.0, 1.2345, 3599.9996)] == [0, 0, 1234, 3600000]


def test_json_keeps_what_the_lips_said_and_every_candidate() -> None:
    read = json.loads(WRITERS["json"].render(TALK))
    assert (read["text"], read["raw_text"], read["changed"]) == ("bin blue now", "bin blew", True)
    assert read["nbest"] == read["utterances"][0]["nbest"] == [
        {"text": "bin blue now", "score": -3.5, "acoustic_score": -3.0, "lm_score": -1.0, "next_score": 0.0,
         "posterior": 0.75},
        {"text": "bin blew", "score": -4.0, "acoustic_score": -2.0, "lm_score": -4.0, "next_score": 0.0,
         "posterior": None},
    ]
    assert json.loads(WRITERS["json"].render(NOTHING))["utterances"] == []


@pytest.mark.parametrize(
    ("raw", "text", "marked"),
    [
        ("place blue at f", "place blue at f", "place blue at f"),
        ("place blue at f", "place white at f", "place [blue→white] at f"),
        ("place at f two", "place at f two now", "place at f two [→now]"),
        ("lay lay red", "lay red", "[lay→] lay red"),
        ("", "bin", "[→bin]"),
        ("", "", ""),
    ],
)
def test_changes_are_marked(raw: str, text: str, marked: str) -> None:
    assert marked_changes(raw, text) == marked


def test_changes_have_a_line_per_utterance_and_are_written_only_when_asked_for() -> None:
    assert WRITERS["changes"].render(TALK) == "bin [blew→blue now]\n"
    assert WRITERS["changes"].render(NOTHING) == ""
    assert chosen_formats("changes,txt") == ("txt", "changes")
