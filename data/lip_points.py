"""landmarks/SPEAKER.npz -> prepared clips of lip points without pixels, for training only.

Shapes: n sentences, N frames of all of them, P = 9 lip points.

The frames inside words are all that these files hold; training puts real silences around them
(lipread/training/compose.py).
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipread.data.prepare import (
    Record,
    Times,
    has_streams,
    length_problem,
    name_problem,
    record_path,
)
from lipread.errors import DataError
from lipread.prepared import stream_path, write_points
from lipread.values import FRAME_RATE_HZ, Array

UNITS_PER_PX = 128
SUFFIX = "_p"  # of the prepared names, so that a sentence can be there with its pixels too
PAUSE = "sp"
_ARRAYS = ("clip", "text", "offset", "segment", "point", "eye_px")


@dataclass(frozen=True)
class LipSentence:
    """One sentence: lip points relative to the middle of the inner eye corners in units of their distance.

    Attributes:
        points: float32 (T, 9, 2); NaN rows where the distance of the eyes is not known.
        words: start_s, end_s, word or pause.
        problem: why it cannot be used; empty where it can.
    """

    clip: str
    text: str
    points: Array
    words: Times
    problem: str = ""


def read_lip_sentences(path: Path) -> Iterator[LipSentence]:
    """Read one file of lip points.

    Raises: DataError: it is damaged, or its arrays do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if missing := set(_ARRAYS) - set(file.files):
                raise DataError(f"{path}: has no array {', '.join(sorted(missing))}; fetch the file again")
            clip, text, offset, segment, point, eye_px = (file[name] for name in _ARRAYS)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: lip points cannot be read ({error}); fetch the file again") from error
    shapes = len(offset) == len(clip) + 1 and len(text) == len(clip) and point.shape == (len(eye_px), 9, 2)
    if not shapes or segment.ndim != 2 or offset[0] != 0 or offset[-1] != len(point) or (np.diff(offset) < 0).any():
        raise DataError(f"{path}: its arrays do not fit each other; fetch the file again")
    size = eye_px.astype(np.float32)
    size[~(size > 0)] = np.nan
    points = point.astype(np.float32) / UNITS_PER_PX / size[:, None, None]  # (N, 9, 2)
    parts: dict[int, list[tuple[int, int]]] = {}
    for sentence, place, frames in segment.tolist():
        parts.setdefault(sentence, []).append((place, frames))
    for number, (name, said) in enumerate(zip(clip.tolist(), text.tolist(), strict=True)):
        own = points[offset[number] : offset[number + 1]]
        yield _sentence(str(name), str(said), own, parts.get(number, []))


def _sentence(clip: str, text: str, points: Array, parts: list[tuple[int, int]]) -> LipSentence:
    spoken, words, at = text.split(), [], 0
    places = [place for place, _ in parts if place >= 0]
    if places != list(range(len(spoken))) or sum(frames for _, frames in parts) != len(points):
        return LipSentence(clip, text, points, (), "words do not match the text or the frames")
    for place, frames in parts:
        words.append((at / FRAME_RATE_HZ, (at + frames) / FRAME_RATE_HZ, spoken[place] if place >= 0 else PAUSE))
        at += frames
    problem = length_problem(len(points), len(spoken))
    if not problem and np.isnan(points).any(axis=(1, 2)).mean() > 0.5:
        problem = "no face in more than half of its frames"
    return LipSentence(clip, text, points, tuple(words), problem)


def sentence_key(speaker: str, clip: str) -> tuple[str, str]:
    """Speaker and sentence, however a clip is named: bbaf2n, s1_bbaf2n, S1-bbaf2n, s1/bbaf2n.mpg, s1_bbaf2n_p."""
    who = speaker.strip().lower()
    name = clip.strip().lower().replace("\\", "/").rsplit("/", 1)[-1].split(".")[0].removesuffix(SUFFIX)
    for mark in "_-":
        name = name.removeprefix(f"{who}{mark}")
    return who, name


def prepare_lip_points(
    path: Path, out: Path, reserved: Mapping[tuple[str, str], str], strangers: Mapping[str, str], limit: int | None
) -> tuple[int, int, int]:
    """Prepare the sentences of one file; those that are there already are kept.

    Args:
        path: SPEAKER.npz.
        reserved: `sentence_key` of clips that must not be trained on -> their split.
        strangers: speakers (lower case) of whom nothing may be trained on -> the split that says so.
        limit: at most so many sentences.
    Returns: numbers of sentences prepared now, kept and left out.
    Raises: OutputError: `out` cannot be written.
    """

    def held(name: str) -> str | None:
        return strangers.get(speaker.lower()) or reserved.get(sentence_key(speaker, name))

    speaker, target = path.stem, record_path(out, f"landmarks-{path.stem}")
    size = path.stat().st_size
    before = Record.read(target) or Record()
    old = {row["clip"]: row for row in before.clips} if before.seen.get("size") == size else {}
    there = {entry.name for entry in os.scandir(out / "points")}
    rows, report, new = {}, [], 0
    try:
        sentences = list(read_lip_sentences(path))
    except DataError as error:
        kept = [row for row in before.clips if not held(row["clip"]) and has_streams(out, row["clip"], "points")]
        why = f"{error}; its {len(kept)} sentences are kept as they were prepared before" if kept else str(error)
        entry = (f"landmarks/{path.name}", why, "yes" if kept else "no")
        Record(kept, [entry], before.seen).write(target)
        return 0, len(kept), int(not kept)
    for sentence in sentences:
        name = f"{speaker}_{sentence.clip}{SUFFIX}"
        if unusable := name_problem(name):
            report.append((name, f"its name {unusable}", "no"))
            continue
        split = held(sentence.clip)
        problem = f"of the split {split}, not to be trained on" if split else sentence.problem
        past_limit = limit is not None and len(rows) >= limit
        file = stream_path(out, "points", name)
        if problem:
            report.append((name, problem, "no"))
            file.unlink(missing_ok=True)
        elif name in old and file.name in there:
            rows[name] = old[name]
        elif not past_limit:
            write_points(file, sentence.points)
            new += 1
            rows[name] = {"clip": name, "speaker": speaker, "split": "train", "source": "points", "streams": "points",
                          "frames": len(sentence.points), "text": sentence.text,
                          "words": [list(word) for word in sentence.words]}
    Record(list(rows.values()), report, {"size": size}).write(target)
    return new, len(rows) - new, len(report)
