"""A manifest of spoken clips -> error rates of a reader over the complete way from the video file.

A prepared folder (crops, points and sound instead of videos) is read from these; the report says so.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lipread.errors import ConfigError, DataError, LipreadError
from lipread.inputs import VIDEO_SUFFIXES
from lipread.metrics import (
    Calibration,
    Confusion,
    Score,
    calibration,
    confusions,
    right_words,
    score,
    score_groups,
    told_apart,
)
from lipread.prepared import read_track, stream_path, table_rows
from lipread.values import MouthTrack, Transcript

if TYPE_CHECKING:
    from lipread.files import PathLike
    from lipread.hearing import Modality
    from lipread.pipeline import LipReader

NEEDED_COLUMNS = ("clip", "text")
ALL_SPLITS, TRAIN = "all", "train"
REPORTED_SPLITS = ("test", "unseen")  # nothing is chosen on these


@dataclass(frozen=True)
class EvalClip:
    """One clip whose words are known.

    Attributes:
        clip, speaker, text: from the manifest.
        video: the video file; None for prepared crops.
        prepared: the prepared folder; None for videos.
    """

    clip: str
    speaker: str
    text: str
    video: Path | None = None
    prepared: Path | None = None

    @property
    def sound_file(self) -> Path:
        """Where its sound is, if it has any."""
        if self.video is not None:
            return self.video
        assert self.prepared is not None
        return stream_path(self.prepared, "sound", self.clip)


@dataclass(frozen=True)
class ClipResult:
    """What was said in a clip and what was read; `problem` says why nothing was, `failed` that it could not be."""

    clip: str
    speaker: str
    reference: str
    hypothesis: str
    confidence: float
    duration_s: float
    problem: str | None = None
    words: tuple[tuple[float, bool], ...] = ()  # confidence of each word that was read, and whether it is right
    doubted_words: tuple[tuple[float, bool], ...] = ()  # the same with confidences under dropout, if there are any
    failed: bool = False


@dataclass(frozen=True)
class Evaluation:
    """Figures over all clips; a clip that could not be read counts as read empty."""

    model: str
    search: str  # "greedy", "grammar grid", ...: figures of a closed grammar are not those of open reading
    way: str
    score: Score
    speakers: Mapping[str, Score]
    confusions: tuple[Confusion, ...]
    clips: tuple[ClipResult, ...]
    duration_s: float
    stage_s: Mapping[str, float]
    calibration: Calibration | None = None  # None where no word was read

    @property
    def told_apart(self) -> dict[str, float]:
        """By the names of the words' numbers, how well each tells right words from wrong ones, where it can be said."""
        words = {"confidence": [word for each in self.clips for word in each.words]}
        words["confidence under dropout"] = [word for each in self.clips for word in each.doubted_words]
        shares = {name: told_apart(some) for name, some in words.items()}
        return {name: share for name, share in shares.items() if share is not None}

    @property
    def real_time_factor(self) -> float:
        """Seconds of work per second of video."""
        return sum(self.stage_s.values()) / max(1e-9, self.duration_s)

    def to_json(self) -> dict[str, Any]:
        """Everything in plain values."""
        factors = {stage: seconds / max(1e-9, self.duration_s) for stage, seconds in self.stage_s.items()}
        return {
            "model": self.model,
            "search": self.search,
            "way": self.way,
            "score": asdict(self.score),
            "speakers": {speaker: asdict(each) for speaker, each in self.speakers.items()},
            "confusions": [asdict(each) for each in self.confusions],
            "duration_s": self.duration_s,
            "real_time_factor": {"all": self.real_time_factor, **factors},
            "calibration": None if self.calibration is None else asdict(self.calibration),
            "told_apart": self.told_apart,
            "clips": [asdict(each) for each in self.clips],
        }


def evaluate(
    reader: LipReader,
    clips: Sequence[EvalClip],
    *,
    modality: Modality = "auto",
    seed: int = 0,
    adapt: int = 0,
    adapt_steps: int = 0,
    finished: Callable[[ClipResult], None] | None = None,
) -> Evaluation:
    """Read every clip and compare.

    Args:
        reader: what is judged.
        clips: as `read_manifest` gives them.
        modality: as `LipReader.transcribe`.
        seed: of the bootstrap.
        adapt: fit the model to so many clips of one speaker, without their words, before these are read; 0: never.
        adapt_steps: as `training.adapt.adapted` takes them.
        finished: is told each result as it comes.
    Raises: DataError: no clip, or a text outside the reader's alphabet. ConfigError: what reads sound is not fitted.
    """
    if adapt and modality != "video" and reader.checkpoint.with_sound:
        raise ConfigError(
            f"adapt={adapt} fits what reads the lips, and {reader.checkpoint.name!r} has another network for sound; "
            "give modality video"
        )
    results: list[ClipResult] = []
    stage_s: Counter[str] = Counter()
    references = [reader.alphabet.normalise(clip.text) for clip in clips]  # before the work starts
    readers = _adapted_readers(reader, clips, adapt, adapt_steps) if adapt else iter([reader] * len(clips))
    for clip, reference, own in zip(clips, references, readers, strict=True):
        try:
            transcript: Transcript | None = _read(own, clip, modality)
            problem = transcript.reason if transcript else None
        except LipreadError as error:
            transcript, problem = None, str(error)
        if transcript:
            stage_s.update(transcript.stage_s)
        words = judged_words(transcript, reference) if transcript else ()
        result = ClipResult(
            clip=clip.clip,
            speaker=clip.speaker,
            reference=reference,
            hypothesis=transcript.text if transcript else "",
            confidence=transcript.confidence if transcript else 0.0,
            duration_s=transcript.duration_s if transcript else 0.0,
            problem=problem,
            words=words,
            doubted_words=doubted_words(transcript, words) if transcript else (),
            failed=transcript is None,
        )
        results.append(result)
        if finished:
            finished(result)
    return summarise(
        results, model=reader.checkpoint.name, search=reader.search.name, way=_way(clips, modality),
        stage_s=dict(stage_s), seed=seed,
    )


def judged_words(transcript: Transcript, reference: str) -> tuple[tuple[float, bool], ...]:
    """The confidence of each word that was read, and whether it is right."""
    right = right_words(reference, " ".join(word.text for word in transcript.words))
    return tuple((word.confidence, good) for word, good in zip(transcript.words, right, strict=True))


def doubted_words(
    transcript: Transcript, judged: tuple[tuple[float, bool], ...]
) -> tuple[tuple[float, bool], ...]:
    """What `judged_words` gives, with the confidence under dropout of each word that has one."""
    pairs = zip(transcript.words, judged, strict=True)
    return tuple((word.dropout_confidence, good) for word, (_, good) in pairs if word.dropout_confidence is not None)


def summarise(
    results: Sequence[ClipResult], *, model: str, search: str, way: str, stage_s: Mapping[str, float], seed: int = 0
) -> Evaluation:
    """Figures from single results. Raises: DataError: there are none."""
    said, read = [each.reference for each in results], [each.hypothesis for each in results]
    return Evaluation(
        model=model,
        search=search,
        way=way,
        score=score(said, read, seed=seed),
        speakers=score_groups([each.speaker for each in results], said, read, seed=seed),
        confusions=confusions(said, read),
        clips=tuple(results),
        duration_s=sum(each.duration_s for each in results),
        stage_s=stage_s,
        calibration=calibration([word for each in results for word in each.words]),
    )


def read_manifest(
    path: PathLike, *, split: str = ALL_SPLITS, clips: PathLike | None = None, limit: int | None = None,
    to_choose: bool = False,
) -> list[EvalClip]:
    """Find the clips to judge by.

    Args:
        path: a manifest.tsv with the columns clip, text and, if wanted, speaker (without it, every clip is a person of
            its own) and split (without it, `train`); or the folder it lies in.
        split: only clips of this split; "all" for every one.
        clips: folder of the videos; by default `clips` beside the manifest, else a prepared folder's `crops`.
        limit: at most so many clips, spread evenly over the list so that every speaker has a chance.
        to_choose: something is to be fitted or chosen on them.
    Raises: DataError: no manifest, a column is missing, no clip is left, or a clip has no file.
        ConfigError: clips of a reported split, to choose on.
    """
    manifest = Path(path) / "manifest.tsv" if Path(path).is_dir() else Path(path)
    listed = [_completed(place, row) for place, row in table_rows(manifest, NEEDED_COLUMNS)]
    rows = [row for row in listed if split in (ALL_SPLITS, row["split"])]
    if not rows:
        known = ", ".join(sorted({row["split"] for row in listed}))
        raise DataError(
            f"{manifest}: no clip of split {split!r}; it has: "
            + (f"{known}; --split {ALL_SPLITS} takes them all" if known else "no clips at all")
        )
    twice = [name for name, count in Counter(row["clip"] for row in rows).items() if count > 1]
    if twice:
        raise DataError(f"{manifest}: clip {twice[0]} is listed twice; delete one of the lines")
    if to_choose and any(row["split"] in REPORTED_SPLITS for row in rows):
        raise ConfigError(
            f"split {split!r}: clips of {' and '.join(REPORTED_SPLITS)} are for reporting, and figures on them mean "
            "nothing once something was chosen on them; choose on another split, such as val"
        )
    base = manifest.parent
    folder = Path(clips) if clips is not None else base / "clips"
    prepared = clips is None and not folder.is_dir() and (base / "crops").is_dir()
    if prepared and not (rows := [row for row in rows if _has_crops(row)]):
        raise DataError(f"{manifest}: no clip of split {split!r} has mouth crops, only lip points; choose another")
    if limit is not None and limit < len(rows):
        rows = [rows[index] for index in np.linspace(0, len(rows) - 1, max(1, limit)).round().astype(int)]
    if prepared:
        return [EvalClip(row["clip"], row["speaker"], row["text"], prepared=base) for row in rows]
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder of clips; name it with --clips")
    videos = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in VIDEO_SUFFIXES}
    missing = [row["clip"] for row in rows if row["clip"] not in videos]
    if missing:
        raise DataError(
            f"{folder}: {len(missing)} of {len(rows)} clips of {manifest.name} have no video there, "
            f"{missing[0]} first; name the folder of the clips with --clips"
        )
    return [EvalClip(row["clip"], row["speaker"], row["text"], video=videos[row["clip"]]) for row in rows]


def _completed(place: str, row: Mapping[str, str]) -> dict[str, str]:
    if absent := [name for name in NEEDED_COLUMNS if not row[name]]:
        raise DataError(f"{place}: no {absent[0]} there; complete the line or delete it")
    return {**row, "speaker": row.get("speaker") or row["clip"], "split": row.get("split") or TRAIN}


def _has_crops(row: Mapping[str, str]) -> bool:
    return "crops" in (row.get("streams") or "crops").split(",")


def _way(clips: Sequence[EvalClip], modality: Modality) -> str:
    way = "prepared crops" if clips and clips[0].prepared else "video file to text"
    return f"{way}, modality {modality}"


def _adapted_readers(
    reader: LipReader, clips: Sequence[EvalClip], count: int, steps: int
) -> Iterator[LipReader]:
    """For each clip in turn a reader that was fitted to `count` clips of its speaker, of which it is one.

    The last clips of a speaker, where fewer are left, have one of their own.
    """
    members: dict[str, list[int]] = {}
    for index, clip in enumerate(clips):
        members.setdefault(clip.speaker, []).append(index)
    groups = [some[first : first + count] for some in members.values() for first in range(0, len(some), count)]
    group_of = {index: group for group in groups for index in group}
    ready: dict[int, LipReader] = {}  # first clip of a group -> its reader, until its last clip
    for index in range(len(clips)):
        group = group_of[index]
        if index == group[0]:
            ready[index] = _adapted_reader(reader, [clips[each] for each in group], steps)
        yield ready[group[0]] if index != group[-1] else ready.pop(group[0])


def _adapted_reader(reader: LipReader, clips: Sequence[EvalClip], steps: int) -> LipReader:
    from lipread.pipeline import LipReader
    from lipread.training.adapt import adapted, pieces_of_track

    pieces: list[MouthTrack] = []
    for clip in clips:
        with contextlib.suppress(LipreadError):  # reading it will say why
            pieces += pieces_of_track(mouth_track(clip))
    if not pieces:
        return reader
    checkpoint = adapted(reader.checkpoint, pieces, steps=steps)
    return LipReader(
        checkpoint, search=reader.search, max_faces=reader.max_faces, dropout_passes=reader.dropout_passes
    )


def _read(reader: LipReader, clip: EvalClip, modality: Modality) -> Transcript:
    if clip.video is not None:
        return reader.transcribe(clip.video, modality=modality)
    from lipread.audio import read_audio_blocks
    from lipread.hearing import SoundStream

    if modality == "audio":
        return reader.transcribe(clip.sound_file, modality="audio")
    sound = None
    if modality == "both" or (modality == "auto" and clip.sound_file.is_file()):
        sound = SoundStream(read_audio_blocks(clip.sound_file))
    return reader.read_track(mouth_track(clip), sound=sound, modality=modality)


def mouth_track(clip: EvalClip) -> MouthTrack:
    """The mouth of one clip, from its video or its prepared crops.

    Raises: VideoError, DataError: it cannot be read.
    """
    if clip.video is not None:
        from lipread.pipeline import watch_mouth

        return watch_mouth(clip.video).track
    assert clip.prepared is not None
    return read_track(clip.prepared, clip.clip)
