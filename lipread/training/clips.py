"""Prepared folders -> clips with their words, lip points and files; which of them train and which choose.

Shapes: T frames, P lip points.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from lipread.alphabet import Alphabet
from lipread.config import TrainConfig
from lipread.errors import DataError
from lipread.prepared import (
    MANIFEST_COLUMNS,
    SILENCES,
    STREAM_SUFFIXES,
    WORD_COLUMNS,
    read_points,
    stream_path,
    table_rows,
)
from lipread.training.batches import WordSpan
from lipread.values import FRAME_RATE_HZ, LIP_POINTS, SPLITS, Array

ENGLISH = Alphabet.english()  # what `lipread prepare` writes texts in


@dataclass(frozen=True)
class Clip:
    """One prepared clip: `words` are frame spans without silences, none where the word times do not fit into it;
    `points` may be all NaN."""

    name: str
    speaker: str
    split: str
    source: str
    text: str
    frames: int
    words: tuple[WordSpan, ...]
    points: Array
    crops_path: Path | None
    sound_path: Path | None = None
    times_fit: bool = True

    @cached_property
    def displacements(self) -> Array:
        """Lip points with the mean of the speaking frames taken out, (T, P, 2)."""
        spoken = np.zeros(self.frames, bool)
        for word in self.words:
            spoken[word.start : word.end] = True
        chosen = self.points[spoken] if spoken.any() else self.points
        seen = chosen[np.isfinite(chosen).all(axis=(1, 2))]
        return self.points - seen.mean(axis=0) if len(seen) else self.points


def load_clips(folder: Path) -> list[Clip]:
    """Read a prepared folder's manifest, word times and lip points.

    Raises: DataError: not a prepared folder, a line that makes no sense, or a file it names is absent or damaged.
    """
    manifest = folder / "manifest.tsv"
    if not manifest.is_file():
        raise DataError(f"{folder}: no manifest.tsv there; make one with `lipread prepare`")
    times: dict[str, list[tuple[float, float, str]]] = {}
    if (folder / "words.tsv").is_file():
        for place, row in table_rows(folder / "words.tsv", WORD_COLUMNS):
            start_s, end_s = (_number(row, key, place) for key in ("start_s", "end_s"))
            times.setdefault(row["clip"], []).append((start_s, end_s, _plain(row["word"], place)))
    clips: dict[str, Clip] = {}
    for place, row in table_rows(manifest, MANIFEST_COLUMNS):
        if row["clip"] in clips:
            raise DataError(f"{place}: clip {row['clip']} is listed twice; delete one of the lines")
        clips[row["clip"]] = _clip(folder, row, times.get(row["clip"], []), place)
    if not clips:
        raise DataError(f"{manifest}: lists no clip; prepare the corpus again")
    return list(clips.values())


def _clip(folder: Path, row: dict[str, str], times: Sequence[tuple[float, float, str]], place: str) -> Clip:
    """The clip of a line of the manifest."""
    name, streams, text = row["clip"], row["streams"].split(","), _plain(row["text"], place)
    frames = _number(row, "frames", place)
    if frames < 1 or frames % 1:
        raise DataError(
            f"{place}: clip {name} has frames={row['frames']}, which must be a whole number above 0; prepare it again, "
            "or delete the line"
        )
    if row["split"] not in SPLITS:
        raise DataError(f"{place}: split={row['split']!r} is not known; it must be one of {', '.join(SPLITS)}")
    if unknown := set(streams) - set(STREAM_SUFFIXES):
        raise DataError(f"{place}: no stream is called {min(unknown)!r}; streams are {','.join(STREAM_SUFFIXES)}")
    said = " ".join(word for _, _, word in times if word not in SILENCES)
    if times and said != text:
        raise DataError(
            f"{place}: the text of clip {name} is {text!r}, its words in words.tsv are {said!r}; correct one of them, "
            "or delete its lines in words.tsv"
        )
    points = np.full((int(frames), len(LIP_POINTS), 2), np.nan, np.float32)
    if "points" in streams:
        points = read_points(folder, name, int(frames))
    crops = stream_path(folder, "crops", name) if "crops" in streams else None
    if crops and not crops.is_file():
        raise DataError(f"{crops}: absent, but {place} names it; prepare that clip again")
    words = word_spans(times, int(frames))
    return Clip(
        name, row["speaker"], row["split"], row["source"], text, int(frames), words, points, crops_path=crops,
        sound_path=stream_path(folder, "sound", name) if "sound" in streams else None,
        times_fit=bool(words) or not said,
    )


def check_apart(folders: Iterable[tuple[Path, Iterable[Clip]]]) -> None:
    """Refuse prepared folders of which one is, or was copied from, another: a clip that is trained on and chosen on.

    Args:
        folders: each with its clips. Points without pixels are not looked at.
    Raises: DataError: two are the same place, or have a clip of the same name, source, text and number of frames.
    """
    places: dict[Path, Path] = {}
    owners: dict[tuple[str, str, str, int], Path] = {}
    for folder, clips in folders:
        place = folder.resolve()
        if place in places:
            raise DataError(f"{folder}: the same folder as {places[place]}; name it once in --data")
        places[place] = folder
        for clip in clips:
            key = clip.name, clip.source, clip.text, clip.frames
            if clip.crops_path and (other := owners.setdefault(key, folder)) != folder:
                raise DataError(
                    f"{folder}: clip {clip.name} is in {other} as well, and might be trained on here and chosen on "
                    "there; leave one of the two out of --data"
                )


def divide_clips(clips: Sequence[Clip], config: TrainConfig) -> tuple[list[Clip], dict[str, list[Clip]]]:
    """What is trained on, and what chooses, by name.

    With `config.folds`, the clips of `val` and those of `train` from the same kind of source are dealt out anew, but
    not of people who are held out; points without pixels and drawn heads stay in training beside real clips, except
    points of a sentence that the same person says in the clips that choose, for it may be the same recording.
    """
    usable = [clip for clip in clips if clip.split in ("train", "val")]
    strangers = [clip for clip in usable if clip.split == "train" and clip.speaker in config.held_out_speakers]
    held = config.held_out_speakers
    usable = [clip for clip in usable if clip.speaker not in held or (clip.split == "val" and not config.folds)]
    val = [clip for clip in usable if clip.split == "val"]
    if config.folds:
        sources = {clip.source for clip in val or usable}
        dealt = sorted((clip for clip in usable if clip.source in sources), key=lambda clip: clip.name)
        order = np.random.default_rng(config.seed).permutation(len(dealt))
        val = [dealt[place] for place in sorted(order[config.fold :: config.folds].tolist())]
    chosen = {id(clip) for clip in val}
    training = [clip for clip in usable if id(clip) not in chosen]
    if config.folds:
        training = _without_points_of(val, training)
    training = less_of(training, config)
    # where no pixels are looked at, points are enough to be read
    lips_alone = not config.batch_pixels or "pixels" not in config.network_config.streams
    return training, {"val": val, "held-out": [clip for clip in strangers if clip.crops_path or lips_alone]}


def less_of(clips: list[Clip], config: TrainConfig) -> list[Clip]:
    """At most `config.most_clips` real clips with pixels, and points of at most `config.most_people` without pixels.

    What a smaller number leaves is part of what a larger one leaves. Points of a sentence that the same person says in
    a clip that is left out go with it, for they may be of the same recording.
    """
    rng = np.random.default_rng(config.seed)
    real = sorted((clip for clip in clips if clip.crops_path and clip.source != "drawn"), key=lambda clip: clip.name)
    people = sorted({clip.speaker for clip in clips if not clip.crops_path})
    left_out = {id(real[place]) for place in rng.permutation(len(real))[_all_after(config.most_clips)]}
    strangers = {people[place] for place in rng.permutation(len(people))[_all_after(config.most_people)]}
    clips = _without_points_of([clip for clip in clips if id(clip) in left_out], clips)
    return [clip for clip in clips if id(clip) not in left_out and (clip.crops_path or clip.speaker not in strangers)]


def _without_points_of(recordings: Sequence[Clip], clips: Sequence[Clip]) -> list[Clip]:
    """Clips less the points without pixels of what the same people say in some recordings."""
    said = {(clip.speaker, clip.text) for clip in recordings}
    return [clip for clip in clips if clip.crops_path or (clip.speaker, clip.text) not in said]


def _all_after(most: int | None) -> slice:
    return slice(0, 0) if most is None else slice(most, None)


def word_spans(times: Sequence[tuple[float, float, str]], frames: int) -> tuple[WordSpan, ...]:
    """Start and end in seconds and word -> frames without the silences.

    Each word has a frame at least, and none that is another's; () where that does not fit into the clip, or a word
    ends before it starts.
    """
    spans: list[WordSpan] = []
    free = 0
    for start_s, end_s, word in times:
        if word not in SILENCES:
            if end_s < start_s:
                return ()
            start = max(round(start_s * FRAME_RATE_HZ), free)
            free = max(min(round(end_s * FRAME_RATE_HZ), frames), start + 1)
            spans.append(WordSpan(start, free, word))
    return tuple(spans) if free <= frames else ()


def _plain(text: str, place: str) -> str:
    try:
        return ENGLISH.normalise(text)
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def _number(row: dict[str, str], column: str, place: str) -> float:
    try:
        number = float(row[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place}: {column}={row[column]!r} is not a number; correct it or prepare that clip again")
    return number


def training_vocabulary(clips: list[Clip], most: int = 2000, *, least_count: int = 1) -> tuple[str, ...]:
    """The most frequent words of the clips' texts, sorted."""
    counts = Counter(word for clip in clips for word in clip.text.split())
    return tuple(sorted(word for word, count in counts.most_common(most) if count >= least_count))
