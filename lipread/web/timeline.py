"""A transcript -> HTML: words as a timeline of buttons, what the search changed, notes.

Every text that comes from outside is escaped. The buttons carry their times; page.js moves the player.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from html import escape

from lipread.values import Segment, Transcript, Word
from lipread.web.many import DONE, FAILED, HEADERS, Row

SOURCES = {"video": "the lips", "audio": "the sound", "both": "lips and sound"}
LEVELS = ((0.8, "sure"), (0.5, "fairly"), (0.0, "unsure"))  # from this confidence on; words, not colours alone

WAITING_TEXT = "The words will stand here, then the video with captions, files to take home, and what the model saw."
NO_TEXT = "No words."
WAITING_TABLE = "A line per video will stand here as it is read, and in the end one zip with all outputs."


def level_of(confidence: float) -> str:
    """A confidence 0..1 as a word."""
    return next(name for least, name in LEVELS if confidence >= least)


def clock(seconds: float) -> str:
    """Seconds as 1.23 s, or 1:02.3 from a minute on."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    tenths = round(10 * seconds)
    return f"{tenths // 600}:{tenths % 600 // 10:02d}.{tenths % 10}"


def text_html(text: str, otherwise: str = WAITING_TEXT) -> str:
    """The text, large, or what stands where there is none; screen readers hear it when it comes."""
    shown = escape(text) or f'<span class="lr-faint">{escape(otherwise)}</span>'
    return (
        '<section aria-label="What was said"><h2 class="lr-caption">What was said</h2>'
        f'<p class="lr-said" id="lr-said" aria-live="polite" data-text="{escape(text)}">{shown}</p></section>'
    )


def timeline_html(transcript: Transcript, from_s: float = 0.0) -> str:
    """The words in their order as buttons, one row per stretch of speech, each drawn to its time.

    Args:
        from_s: where in the upload the transcript's time 0 is, seconds.
    """
    if not transcript.words:
        return ""
    rows = "".join(_segment(segment, one_source(transcript)) for segment in transcript.segments)
    key = "".join(
        f'<span class="lr-key"><span class="lr-swatch lr-{name}" aria-hidden="true"></span>{label}</span>'
        for name, label in (("sure", "80 % sure or more"), ("fairly", "50 to 80 %"), ("unsure", "less"))
    )
    return (
        f'<div class="lr-timeline" data-from="{from_s:.3f}" role="group" '
        'aria-label="Words; press one to play the video from there">'
        f'{rows}</div><p class="lr-legend">{key}<span class="lr-key">Press a word to play from there.</span></p>'
    )


def one_source(transcript: Transcript) -> bool:
    """Whether all of it was read from the same, and for the same reason."""
    return len({(segment.modality, segment.why) for segment in transcript.segments}) <= 1


def source_of(segment: Segment) -> str:
    """What a stretch of speech was read from and why: "read from lips and sound (the sound goes with the lips)"."""
    return f"read from {SOURCES[segment.modality]}" + (f" ({segment.why})" if segment.why else "")


def _segment(segment: Segment, silent: bool) -> str:
    """A row; `silent` does not tell its source."""
    length = max(segment.end_s - segment.start_s, 1e-3)
    ticks = "".join(
        f'<span class="lr-bar lr-{level_of(word.confidence)}" '
        f'style="left:{100 * (word.start_s - segment.start_s) / length:.2f}%;'
        f'width:{100 * (word.end_s - word.start_s) / length:.2f}%"></span>'
        for word in segment.words
    )
    buttons = "".join(_word(word) for word in segment.words)
    source = "" if silent else f'<p class="lr-small lr-source">{escape(source_of(segment))}</p>'
    return (
        f'<div class="lr-row"><div class="lr-words">{buttons}</div>'
        f'<div class="lr-track" aria-hidden="true">{ticks}</div>'
        f'<div class="lr-ends" aria-hidden="true"><span>{clock(segment.start_s)}</span>'
        f"<span>{clock(segment.end_s)}</span></div>{source}</div>"
    )


def _word(word: Word) -> str:
    text = escape(word.text)
    percent = f"{word.confidence:.0%}"
    said = f"{text}, at {clock(word.start_s)}, {percent} sure, play from here"
    return (
        f'<button type="button" class="lr-word lr-{level_of(word.confidence)}" data-start="{word.start_s:.3f}" '
        f'data-end="{word.end_s:.3f}" aria-label="{said}" title="{clock(word.start_s)} · {percent}">'
        f'<span class="lr-text">{text}</span><span class="lr-percent">{percent}</span></button>'
    )


def changes_html(transcript: Transcript) -> str:
    """What the network alone says against what the search made of it; empty where greedy search was all."""
    if transcript.search == "greedy" or not transcript.utterances:
        return ""
    alone = f"{sources(transcript)} alone"
    if not transcript.changed:
        said = f"The search changed nothing: this is what was read from {alone}."
        return f'<p class="lr-changes">{said}</p>'
    lines = "".join(f"<p>{_changes(each.raw_text, each.text)}</p>" for each in transcript.utterances)
    return (
        f'<div class="lr-changes"><p class="lr-small">What “{escape(transcript.search)}” changed: '
        f"<del>{alone}</del> <ins>after the search</ins></p>{lines}</div>"
    )


def _changes(raw: str, text: str) -> str:
    before, after = raw.split(), text.split()
    parts = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = escape(" ".join(before[a:b])), escape(" ".join(after[c:d]))
        if kind == "equal":
            parts.append(new)
        else:
            parts += [f"<del>{old}</del>"] if old else []
            parts += [f"<ins>{new}</ins>"] if new else []
    return " ".join(parts)


def sources(transcript: Transcript) -> str:
    """What it was read from: "the lips", or several, "the lips, lips and sound"."""
    return ", ".join(dict.fromkeys(SOURCES[segment.modality] for segment in transcript.segments)) or SOURCES["video"]


def nbest_html(transcript: Transcript) -> str:
    """The candidates of each utterance with the parts of their scores, as tables."""
    heard = "lips" if sources(transcript) == SOURCES["video"] else "network"
    tables = []
    for number, utterance in enumerate(transcript.utterances, 1):
        if not utterance.nbest:
            continue
        rows = "".join(
            f'<tr><td class="lr-number">{rank}</td><th scope="row">{escape(each.text) or "(nothing)"}</th>'
            f'<td class="lr-number">{each.score:.2f}</td><td class="lr-number">{each.acoustic_score:.2f}</td>'
            f'<td class="lr-number">{each.lm_score:.2f}</td>'
            f'<td class="lr-number">{"–" if each.posterior is None else f"{each.posterior:.1%}"}</td></tr>'
            for rank, each in enumerate(utterance.nbest, 1)
        )
        where = f"{clock(utterance.start_s)} to {clock(utterance.end_s)}"
        title = "Candidates" if len(transcript.utterances) == 1 else f"Utterance {number}, {where}"
        tables.append(
            f'<div class="lr-scroll" tabindex="0" role="region" aria-label="{title}"><table class="lr-table">'
            f"<caption>{title}</caption><thead><tr><th>#</th><th>text</th><th>score</th><th>{heard}</th>"
            f"<th>language model</th><th>probability</th></tr></thead><tbody>{rows}</tbody></table></div>"
        )
    if not tables:
        return '<p class="lr-small">No candidates: nothing was read.</p>'
    hint = (
        '<p class="lr-small">Natural logarithms; greater is better. Choose another decoder under “Advanced” '
        "for more candidates.</p>"
        if all(len(each.nbest) < 2 for each in transcript.utterances)
        else '<p class="lr-small">Scores are natural logarithms; greater is better.</p>'
    )
    return hint + "".join(tables)


def notes_html(transcript: Transcript, advice: tuple[str, ...], remark: str = "") -> str:
    """Why there is no text, warnings, and what to change; empty where all is well.

    Args:
        remark: the one of the warnings that is no difficulty.
    """
    parts = [f"<p>{escape(remark)}</p>"] if remark else []
    if transcript.reason:
        parts.append(f'<p class="lr-reason"><strong>Nothing was read:</strong> {escape(transcript.reason)}.</p>')
    notes = [note for note in dict.fromkeys((*advice, *transcript.warnings)) if note != remark]
    if notes:
        items = "".join(f"<li>{escape(note)}</li>" for note in notes)
        parts.append(f"<p><strong>Hard to read, because:</strong></p><ul>{items}</ul>")
    return f'<div class="lr-notes">{"".join(parts)}</div>' if parts else ""


def summary_html(transcript: Transcript, *, looked: bool = True) -> str:
    """One line about how it was read, and from what; `looked`: whether anybody looked for a face."""
    seconds = sum(transcript.stage_s.values())
    face = f" · face in {transcript.face_share:.0%} of it" if looked else ""
    sure = f" · {transcript.confidence:.0%} sure on average" if transcript.words else ""
    return (
        f'<p class="lr-small">{transcript.duration_s:.1f} s of video read in {seconds:.1f} s'
        f"{face}{sure}{_source(transcript)} · model {escape(transcript.model)}, {escape(transcript.search)}</p>"
    )


def _source(transcript: Transcript) -> str:
    """What it was read from, and how late the sound is; nothing where there was but the lips."""
    parts = []
    if any(segment.modality != "video" or segment.why for segment in transcript.segments):
        first = transcript.segments[0]
        parts.append(source_of(first) if one_source(transcript) else f"read from {sources(transcript)}: see the words")
    if late_s := transcript.sound_late_s:
        parts.append(f"the sound is {abs(late_s):.2f} s {'late' if late_s > 0 else 'early'}")
    return "".join(f" · {escape(part)}" for part in parts)


def small_html(text: str) -> str:
    """A remark."""
    return f'<p class="lr-small">{escape(text)}</p>'


def failure_html(message: str) -> str:
    """An error that the visitor caused, where the text would stand."""
    return f'<div class="lr-notes lr-failed"><p><strong>Not read:</strong> {escape(message)}</p></div>'


def cancelled_html(kept: str = "") -> str:
    """What stands there after Cancel."""
    return f'<div class="lr-notes"><p>Cancelled. {escape(kept)}</p></div>'


def finished_html(rows: Sequence[Row]) -> str:
    """What became of a batch that came to its end."""
    failed, count = sum(row.state == FAILED for row in rows), len(rows)
    if failed:
        said = f"{count - failed} of {count} videos were read, {failed} failed"
    else:
        said = "The video was read" if count == 1 else f"All {count} videos were read"
    return f'<div class="lr-notes"><p>{said}; the zip is ready.</p></div>'


def table_html(rows: Sequence[Row]) -> str:
    """The videos of a batch and what became of each."""
    if not rows:
        return small_html(WAITING_TABLE)
    cells = "".join(
        f'<tr class="lr-{_kind(row.state)}"><th scope="row">{escape(row.name)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row.cells()[1:])
        + "</tr>"
        for row in rows
    )
    heads = "".join(f'<th scope="col">{name}</th>' for name in HEADERS)
    return (
        '<div class="lr-scroll" tabindex="0" role="region" aria-label="Videos of this batch">'
        f'<table class="lr-table lr-batch"><thead><tr>{heads}</tr></thead><tbody>{cells}</tbody></table></div>'
    )


def _kind(state: str) -> str:
    return {FAILED: "bad", DONE: "good"}.get(state, "open")
