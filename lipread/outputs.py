"""Transcripts -> txt, srt, vtt, tsv and json files.

The forms are those of the whisper command: TSV has integer milliseconds (a decimal comma cannot break it), JSON has
text, segments and words. Where several people are read, every line says who speaks. Every file is written whole or not
at all.
"""

from __future__ import annotations

import difflib
import html
import json
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lipread.decoding.align import LINE_CHARACTERS
from lipread.errors import ConfigError
from lipread.files import PathLike, inside, require_apart, write_text
from lipread.values import Hypothesis, Segment, Transcript, Utterance, Word


class TranscriptWriter(ABC):
    """One form of a transcript; subclasses say what its text is."""

    suffix: ClassVar[str]

    @abstractmethod
    def render(self, transcript: Transcript) -> str:
        """The whole content of the file."""

    def write(self, transcript: Transcript, path: PathLike) -> None:
        """Write the file whole or not at all.

        Raises: OutputError: it cannot be written.
        """
        write_text(path, self.render(transcript))


class TextWriter(TranscriptWriter):
    """One line per segment; an empty file where nothing was said."""

    suffix = "txt"

    def render(self, transcript: Transcript) -> str:
        return "".join(f"{labelled(segment)}\n" for segment in transcript.segments)


class SubtitleWriter(TranscriptWriter):
    """Subtitles through pysubs2, which names the form as we do."""

    def render(self, transcript: Transcript) -> str:
        import pysubs2

        subtitles = pysubs2.SSAFile()
        for segment in transcript.segments:
            event = pysubs2.SSAEvent(start=milliseconds(segment.start_s), end=milliseconds(segment.end_s))
            event.plaintext = self.lines(segment)
            subtitles.append(event)
        return str(subtitles.to_string(self.suffix))

    def lines(self, segment: Segment) -> str:
        """What stands in one subtitle."""
        return "\n".join(textwrap.wrap(labelled(segment), LINE_CHARACTERS))


class SrtWriter(SubtitleWriter):
    """SubRip subtitles."""

    suffix = "srt"


class VttWriter(SubtitleWriter):
    """WebVTT subtitles; who speaks stands in a voice tag."""

    suffix = "vtt"

    def lines(self, segment: Segment) -> str:
        """As `SubtitleWriter.lines`."""
        text = html.escape("\n".join(textwrap.wrap(segment.text, LINE_CHARACTERS)), quote=False)
        return text if segment.speaker is None else f"<v {segment.speaker}>{text}"


class TsvWriter(TranscriptWriter):
    """Tab-separated start, end and text of each segment, times in integer milliseconds; a fourth column for labels."""

    suffix = "tsv"

    def render(self, transcript: Transcript) -> str:
        several = any(segment.speaker is not None for segment in transcript.segments)
        lines = ["start\tend\ttext\tspeaker" if several else "start\tend\ttext"]
        for segment in transcript.segments:
            text = " ".join(segment.text.split())  # a tab or line break inside would break the table
            who = f"\t{segment.speaker or ''}" if several else ""
            lines.append(f"{milliseconds(segment.start_s)}\t{milliseconds(segment.end_s)}\t{text}{who}")
        return "\n".join(lines) + "\n"


class JsonWriter(TranscriptWriter):
    """Everything that is known, in the fields of whisper's JSON and some more."""

    suffix = "json"

    def render(self, transcript: Transcript) -> str:
        return json.dumps(as_json(transcript), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


class ChangesWriter(TranscriptWriter):
    """One line per utterance, in which the search's changes to what the network says are marked."""

    suffix = "changes"

    def render(self, transcript: Transcript) -> str:
        return "".join(f"{marked_changes(each.raw_text, each.text)}\n" for each in transcript.utterances)


_USUAL: tuple[type[TranscriptWriter], ...] = (TextWriter, SrtWriter, VttWriter, TsvWriter, JsonWriter)
_ALL: tuple[type[TranscriptWriter], ...] = (*_USUAL, ChangesWriter)
WRITERS: dict[str, TranscriptWriter] = {writer.suffix: writer() for writer in _ALL}
USUAL_FORMATS = tuple(writer.suffix for writer in _USUAL)  # what "all" means


def chosen_formats(text: str) -> tuple[str, ...]:
    """The forms named by a comma list, in their usual order; "all" is every usual one.

    Raises: ConfigError: a name is not a form.
    """
    names = [name.strip().lower().lstrip(".") for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in WRITERS and name != "all"]
    if unknown or not names:
        shown = ", ".join(unknown) or "nothing"
        raise ConfigError(f"output format {shown!r} is not known; choose from {', '.join(WRITERS)} or all")
    return tuple(name for name in WRITERS if name in names or ("all" in names and name in USUAL_FORMATS))


def write_outputs(
    transcript: Transcript, folder: PathLike, name: str, formats: Iterable[str] = USUAL_FORMATS
) -> tuple[Path, ...]:
    """Write a transcript as FOLDER/NAME.txt, .srt and so on.

    Args:
        transcript: what to write.
        folder: made if it is not there.
        name: file name without suffix; may have sub-folders, but never leads out of the folder.
        formats: keys of `WRITERS`.
    Returns: the paths that were written.
    Raises: OutputError: a file cannot be written, would replace the video, or the name leads out of the folder.
        ConfigError: a format is not known.
    """
    formats = [formats] if isinstance(formats, str) else list(formats)
    paths = output_paths(transcript.source, folder, name, formats)
    for form, path in zip(formats, paths, strict=True):
        WRITERS[form].write(transcript, path)
    return paths


def output_paths(
    video: PathLike, folder: PathLike, name: str, formats: Sequence[str] = USUAL_FORMATS
) -> tuple[Path, ...]:
    """What `write_outputs` would write of a video.

    Raises: OutputError: one of these is the video, or the name leads out of the folder.
        ConfigError: a format is not known.
    """
    if unknown := [form for form in formats if form not in WRITERS]:
        raise ConfigError(f"output format {unknown[0]!r} is not known; choose from {', '.join(WRITERS)}")
    paths = tuple(inside(folder, f"{name}.{WRITERS[form].suffix}") for form in formats)
    for path in paths:
        require_apart(path, video)
    return paths


def as_json(transcript: Transcript) -> dict[str, Any]:
    """A transcript in plain values, as the JSON file has it; times in seconds."""
    return {
        "text": transcript.text,
        "segments": [_segment_json(number, segment) for number, segment in enumerate(transcript.segments)],
        "duration": round(transcript.duration_s, 3),
        "face_share": round(transcript.face_share, 4),
        "confidence": round(transcript.confidence, 4),
        "reason": transcript.reason,
        "warnings": list(transcript.warnings),
        "raw_text": transcript.raw_text,
        "changed": transcript.changed,
        "utterances": [_utterance_json(each) for each in transcript.utterances],
        "nbest": [_hypothesis_json(each) for each in transcript.nbest],
        "model": transcript.model,
        "search": transcript.search,
        "modality": transcript.modality,
        "sound_late": None if transcript.sound_late_s is None else round(transcript.sound_late_s, 3),
        "source": transcript.source,
        "stage_seconds": {stage: round(seconds, 4) for stage, seconds in transcript.stage_s.items()},
    }


def _segment_json(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": number,
        "start": round(segment.start_s, 3),
        "end": round(segment.end_s, 3),
        "text": segment.text,
        "speaker": segment.speaker,
        "modality": segment.modality,
        "why": segment.why,
        "confidence": round(segment.confidence, 4),
        "words": [_word_json(word) for word in segment.words],
    }


def _word_json(word: Word) -> dict[str, Any]:
    plain = {
        "word": word.text,
        "start": round(word.start_s, 3),
        "end": round(word.end_s, 3),
        "probability": round(word.confidence, 4),
    }
    if word.dropout_confidence is not None:
        plain["dropout_probability"] = round(word.dropout_confidence, 4)
    return plain


def _utterance_json(utterance: Utterance) -> dict[str, Any]:
    return {
        "start": round(utterance.start_s, 3),
        "end": round(utterance.end_s, 3),
        "text": utterance.text,
        "speaker": utterance.speaker,
        "raw_text": utterance.raw_text,
        "changed": utterance.changed,
        "without_lm": utterance.without_lm,
        "changed_by_lm": utterance.changed_by_lm,
        "nbest": [_hypothesis_json(each) for each in utterance.nbest],
    }


def _hypothesis_json(hypothesis: Hypothesis) -> dict[str, Any]:
    return {
        "text": hypothesis.text,
        "score": round(hypothesis.score, 4),
        "acoustic_score": round(hypothesis.acoustic_score, 4),
        "lm_score": round(hypothesis.lm_score, 4),
        "next_score": round(hypothesis.next_score, 4),
        "posterior": None if hypothesis.posterior is None else round(hypothesis.posterior, 6),
    }


def labelled(segment: Segment) -> str:
    """The text, after a label where several people are read: "Speaker 1: bin blue"."""
    return segment.text if segment.speaker is None else f"{segment.speaker}: {segment.text}"


def marked_changes(raw: str, text: str) -> str:
    """Raw and chosen words as one line: "place [blue→white] at f two [→now]"; words that went away as "[now→]"."""
    before, after = raw.split(), text.split()
    parts = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        parts.append(" ".join(before[a:b]) if kind == "equal" else f"[{' '.join(before[a:b])}→{' '.join(after[c:d])}]")
    return " ".join(parts)


def milliseconds(seconds: float) -> int:
    """Seconds -> whole milliseconds, never negative."""
    return max(0, round(1000 * seconds))
