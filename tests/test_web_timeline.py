"""Transcripts as HTML: escaped, with names and times, and honest about what is missing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lipread.values import Hypothesis, Segment, Transcript, Utterance, Word
from lipread.web import timeline
from lipread.web.many import DONE, FAILED, Row


class Tags(HTMLParser):
    """Notes elements and text; checks that elements close in order."""

    VOID = frozenset({"br", "img", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def transcript(*words: tuple[str, float, float, float], raw: str | None = None, search: str = "greedy") -> Transcript:
    said = tuple(Word(*word) for word in words)
    text = " ".join(word.text for word in said)
    segments = (Segment(said[0].start_s, said[-1].end_s, text, said, 0.5),) if said else ()
    best = Hypothesis(text, -1.5, -2.0, 0.25, 0.125)
    utterances = (Utterance(0.0, 3.0, text, text if raw is None else raw, (best, Hypothesis("other", -3, -3))),)
    return Transcript(
        text=text, segments=segments, duration_s=3.0, face_share=1.0, confidence=0.5 if said else 0.0,
        utterances=utterances if said else (), reason=None if said else "the lips hardly move", model="m",
        search=search, stage_s={"video": 0.5, "network": 0.25},
    )


def test_each_word_is_a_button_with_its_time_and_a_name() -> None:
    html = timeline.timeline_html(transcript(("bin", 0.4, 0.8, 0.91), ("blue", 0.8, 1.2, 0.5), ("at", 1.2, 1.4, 0.1)))
    page = Tags(html)
    buttons = page.named("button")
    assert [button["data-start"] for button in buttons] == ["0.400", "0.800", "1.200"]
    assert [button["data-end"] for button in buttons] == ["0.800", "1.200", "1.400"]
    assert buttons[0]["aria-label"] == "bin, at 0.40 s, 91% sure, play from here"
    levels = [re.findall(r"lr-(sure|fairly|unsure)", str(button["class"])) for button in buttons]
    assert levels == [["sure"], ["fairly"], ["unsure"]]
    bars = [each["style"] for each in page.named("span") if "lr-bar" in str(each.get("class"))]
    assert bars == ["left:0.00%;width:40.00%", "left:40.00%;width:40.00%", "left:80.00%;width:20.00%"]
    assert timeline.timeline_html(transcript()) == ""
    part = timeline.timeline_html(transcript(("bin", 0.4, 0.8, 0.91)), 1.5)
    assert 'data-from="1.500"' in part and 'data-start="0.400"' in part


@given(st.text(max_size=40), st.floats(0, 1), st.floats(0, 4000))
def test_whatever_a_word_is_it_stays_text(text: str, confidence: float, start_s: float) -> None:
    word = (f"<script>{text}\"'&", start_s, start_s + 0.5, confidence)
    said = transcript(word, raw="<b>raw", search="beam <x>")
    for html in (
        timeline.timeline_html(said), timeline.changes_html(said), timeline.nbest_html(said),
        timeline.text_html(said.text), timeline.summary_html(said), timeline.notes_html(said, (text, "<i>")),
        timeline.failure_html(text),
    ):
        assert not {name for name, _ in Tags(html).elements} & {"script", "b", "i", "x"}


def test_text_is_there_to_copy() -> None:
    page = Tags(timeline.text_html('say "a" & b'))
    (said,) = [each for each in page.named("p") if each.get("id") == "lr-said"]
    assert said["data-text"] == 'say "a" & b'
    assert 'say "a" & b' in "".join(page.texts)
    assert Tags(timeline.text_html("")).named("p")[-1]["data-text"] == ""


def test_a_batch_ends_with_a_sentence() -> None:
    good, bad = Row("a.mp4", None, DONE), Row("b.mp4", None, FAILED)
    for rows, said in (
        ([good], "The video was read"), ([good, good], "All 2 videos were read"),
        ([good, bad], "1 of 2 videos were read, 1 failed"),
    ):
        assert Tags(timeline.finished_html(rows)).texts == [f"{said}; the zip is ready."]


def test_changes_show_both_texts() -> None:
    words = [(text, i / 2, i / 2 + 0.4, 0.9) for i, text in enumerate(["place", "white", "at", "two", "now"])]
    page = Tags(timeline.changes_html(transcript(*words, raw="place blue at four two", search="beam + lm")))
    names = [name for name, _ in page.elements]
    assert names.count("del") == 3  # one in the explanation
    assert names.count("ins") == 3
    assert [text for text in page.texts if text in ("blue", "white", "four", "now")] == ["blue", "white", "four", "now"]
    same = transcript(*words, search="beam")
    assert "changed nothing" in timeline.changes_html(same)
    assert timeline.changes_html(transcript(*words)) == ""  # greedy


def test_candidates_with_the_parts_of_their_scores() -> None:
    page = Tags(timeline.nbest_html(transcript(("bin", 0.4, 0.8, 0.9))))
    assert [text for text in page.texts if re.fullmatch(r"[-–\d.%]+", text)] == (
        ["1", "-1.50", "-2.00", "0.25", "12.5%", "2", "-3.00", "-3.00", "0.00", "–"]
    )
    assert "nothing was read" in timeline.nbest_html(transcript())


def test_notes_say_why_and_what_to_do_once() -> None:
    html = timeline.notes_html(transcript(), ("Come closer.", "Come closer."))
    assert html.count("Come closer.") == 1
    assert "the lips hardly move" in html
    assert timeline.notes_html(transcript(("bin", 0.4, 0.8, 0.9)), ()) == ""


def test_that_a_part_was_read_is_no_difficulty() -> None:
    part = replace(transcript(("bin", 0.4, 0.8, 0.9)), warnings=("Only a part.",))
    assert "Hard to read" in timeline.notes_html(part, ())
    alone = timeline.notes_html(part, (), "Only a part.")
    assert alone == '<div class="lr-notes"><p>Only a part.</p></div>'
    both = timeline.notes_html(part, ("Come closer.",), "Only a part.")
    assert "because:</strong></p><ul><li>Come closer.</li></ul>" in both and both.count("Only a part.") == 1


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0.00 s"), (1.239, "1.24 s"), (60, "1:00.0"), (3599.96, "60:00.0")])
def test_times(seconds: float, shown: str) -> None:
    assert timeline.clock(seconds) == shown


@pytest.mark.parametrize(
    ("confidence", "level"),
    [(1.0, "sure"), (0.8, "sure"), (0.79, "fairly"), (0.5, "fairly"), (0.49, "unsure"), (0, "unsure")],
)
def test_levels(confidence: float, level: str) -> None:
    assert timeline.level_of(confidence) == level


def heard(*choices: tuple[str, str], late_s: float | None = None) -> Transcript:
    """Segments of one word, read from what and why."""
    one = transcript(("bin", 0.0, 0.5, 0.9)).segments[0]
    segments = tuple(replace(one, modality=modality, why=why) for modality, why in choices)
    return replace(transcript(("bin", 0.0, 0.5, 0.9)), segments=segments, sound_late_s=late_s)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (heard(("video", "")), ""),
        (heard(("video", ""), late_s=0.0), ""),
        (heard(("video", "the sound is silent <here>")), "read from the lips (the sound is silent &lt;here&gt;)"),
        (heard(("audio", "no face is seen")), "read from the sound (no face is seen)"),
        (heard(("both", "fits"), ("both", "fits"), late_s=0.12),
         "read from lips and sound (fits) · the sound is 0.12 s late"),
        (heard(("both", "fits"), ("video", "silent"), late_s=-0.2),
         "read from lips and sound, the lips: see the words · the sound is 0.20 s early"),
    ],
)
def test_what_it_was_read_from_is_said_with_the_reason(said: Transcript, line: str) -> None:
    html = timeline.summary_html(said)
    Tags(html)
    assert f"sure on average{' · ' if line else ''}{line} · model" in html


def test_stretches_say_it_where_they_differ() -> None:
    assert "lr-source" not in timeline.timeline_html(heard(("both", "fits"), ("both", "fits")))
    html = timeline.timeline_html(heard(("both", "fits"), ("video", "silent here")))
    Tags(html)
    assert "read from lips and sound (fits)" in html and "read from the lips (silent here)" in html


def test_nobody_looked_for_a_face_where_only_sound_was_read() -> None:
    said = replace(heard(("audio", "as was asked for")), face_share=0.0)
    assert "face in 0%" in timeline.summary_html(said) and "face" not in timeline.summary_html(said, looked=False)


def test_changes_name_what_was_read() -> None:
    said = replace(heard(("both", "fits")), search="beam")
    assert "read from lips and sound alone" in timeline.changes_html(said)
    assert "<th>network</th>" in timeline.nbest_html(said)
    assert "<th>lips</th>" in timeline.nbest_html(heard(("video", "")))
