"""Video file -> transcript: the whole way, from top to bottom.

Shapes: T frames at 25 Hz, V symbols.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lipread.decoding.align import align_words, segment_words
from lipread.decoding.search import Search
from lipread.devices import choose_device
from lipread.errors import ConfigError, DataError, NoFaceError, missing_libraries_named
from lipread.files import PathLike
from lipread.speaking import (
    SeenFace,
    check_speaker,
    choose_speaker,
    join_tracks,
    left_to_right,
    moving_frames,
    track_warnings,
    why_nothing_is_said,
)
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, LIP_POINTS, Array, MouthTrack, Transcript, Word

if TYPE_CHECKING:
    from lipread.checkpoint import Checkpoint

DEFAULT_MODEL = "small"
WEIGHTS_SUFFIX = ".safetensors"
WINDOW_FRAMES = 100  # the network was trained on clips of about 75 frames; up to so many are read in one piece
OVERLAP_FRAMES = 40  # of neighbouring windows of a longer video, joined at the middle
WINDOWS_AT_ONCE = 8
IMPOSSIBLE = -1e4  # log-probability that stands for log 0

Progress = Callable[[str, float], None]  # (stage, share of it that is done, 0..1)


class Clock:
    """Adds up the seconds spent per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(("video", "landmarks", "mouth", "network", "decoding"), 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


@dataclass(frozen=True)
class Watched:
    """The first half of the way: whose mouth is read, and what was odd about the video.

    Attributes:
        portraits: where there are several faces, a picture of each, from left to right, RGB uint8 (h, w, 3).
        chosen: number of the face that is read, from the left, from 0.
    """

    track: MouthTrack
    faces: int
    warnings: tuple[str, ...]
    portraits: tuple[Array, ...] = ()
    chosen: int = 0


class LipReader:
    """Reads lips with one checkpoint.

    Args:
        checkpoint: a network with its alphabet, as `load_checkpoint` gives it.
        search: finds the text in the log-probabilities; greedy without one.
        max_faces: how many faces to look for in each picture.
    """

    def __init__(self, checkpoint: Checkpoint, *, search: Search | None = None, max_faces: int = 4) -> None:
        self.checkpoint = checkpoint
        self.alphabet = checkpoint.alphabet
        self.search = search or Search(checkpoint.alphabet)
        self.max_faces = max_faces

    def transcribe(
        self, path: PathLike, *, speaker: str | int = "auto", progress: Progress | None = None
    ) -> Transcript:
        """Read a video file.

        Args:
            path: any container that FFmpeg reads.
            speaker: whom to read where there are several faces: "auto" (whose lips move most), "largest", or a number
                from 0, counted from left to right.
            progress: is told how far each stage is.
        Returns: the transcript; where no words are seen its text is empty and `reason` says why.
        Raises: VideoError: the file cannot be read as a video. NoFaceError: there is no face of that number.
        """
        clock = Clock()
        watched = watch_mouth(path, speaker=speaker, max_faces=self.max_faces, clock=clock, progress=progress)
        transcript = self.read_track(watched.track, clock=clock, progress=progress)
        return replace(transcript, warnings=watched.warnings + transcript.warnings, source=os.fspath(path))

    def read_track(
        self, track: MouthTrack, *, clock: Clock | None = None, progress: Progress | None = None
    ) -> Transcript:
        """Read mouth crops and lip points that are already there: the second half of the way."""
        clock = clock or Clock()
        reason = why_nothing_is_said(track)
        log_probs = self.moving_log_probs(track, clock=clock, progress=progress)
        with clock.stage("decoding"):
            utterances = self.search.utterances(log_probs, start_s=track.start_s) if reason is None else ()
            words: list[Word] = []
            for each in utterances:
                part = slice(*(round((s - track.start_s) * FRAME_RATE_HZ) for s in (each.start_s, each.end_s)))
                try:
                    words += align_words(
                        log_probs[part], each.text, self.alphabet,
                        start_s=each.start_s, temperature=self.checkpoint.temperature,
                    )
                except DataError:  # whole-word symbols ran together into a text longer than any speech
                    reason = f"what was read, {len(each.text)} letters, is too much for {part.stop - part.start} frames"
                    utterances = tuple(other for other in utterances if other is not each)
        if words:
            reason = None
        elif reason is None:
            reason = "the lips move, but no word was recognised in their movement"
        return Transcript(
            text=" ".join(each.text for each in utterances if each.text),
            segments=segment_words(words),
            duration_s=len(track.present) / FRAME_RATE_HZ,
            face_share=track.face_share,
            confidence=float(np.mean([word.confidence for word in words])) if words else 0.0,
            utterances=utterances,
            warnings=track_warnings(track),
            reason=reason,
            model=self.checkpoint.name,
            search=self.search.name,
            stage_s=dict(clock.seconds),
        )

    def moving_log_probs(
        self, track: MouthTrack, *, clock: Clock | None = None, progress: Progress | None = None
    ) -> Array:
        """Natural-log probabilities (T, V); certain blanks where the lips are still or there is no face."""
        log_probs = blanks(len(track.present), self.alphabet.size)
        if why_nothing_is_said(track) is None:
            with (clock or Clock()).stage("network"):
                moving = moving_frames(track)
                log_probs[moving] = self.log_probs(track, progress=progress)[moving]
        return log_probs

    def log_probs(self, track: MouthTrack, *, progress: Progress | None = None) -> Array:
        """Natural-log probabilities of every frame, float32, shape (T, V), joined from overlapping windows."""
        import torch

        from lipread.mouth import centre_crop

        network = self.checkpoint.network.eval()
        device = next(network.parameters()).device
        side_px = network.config.frontend.crop_side_px
        spans = windows(len(track.present))
        joined = blanks(len(track.present), self.alphabet.size)
        for first in range(0, len(spans), WINDOWS_AT_ONCE):
            batch = spans[first : first + WINDOWS_AT_ONCE]  # all of one length
            crops = np.stack([centre_crop(track.crops[w.start : w.end], side_px) for w in batch])  # (B, T, 88, 88)
            points = np.stack([track.points[w.start : w.end] for w in batch])  # (B, T, 9, 2)
            lengths = torch.tensor([w.end - w.start for w in batch], device=device)
            with torch.inference_mode():
                out, _ = network(torch.from_numpy(crops).to(device), torch.from_numpy(points).to(device), lengths)
            for window, values in zip(batch, out.float().cpu().numpy(), strict=True):
                kept = values[window.keep_from - window.start : window.keep_to - window.start]
                joined[window.keep_from : window.keep_to] = kept
            if progress:
                progress("network", (first + len(batch)) / len(spans))
        return joined


def watch_mouth(
    path: PathLike,
    *,
    speaker: str | int = "auto",
    max_faces: int = 4,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Watched:
    """Video file -> the mouth of the speaker: frames, landmarks, crops. Arguments as `LipReader.transcribe`.

    Raises: VideoError: the file cannot be read as a video. NoFaceError: there is no face of the number asked for.
        MissingDependencyError: a system library is absent.
    """
    check_speaker(speaker)
    with missing_libraries_named():
        from lipread.landmarks import FaceMesh, FaceTracker
        from lipread.mouth import MouthCropper
        from lipread.video import read_frames

    clock = clock or Clock()
    tracker = FaceTracker()
    croppers: dict[int, MouthCropper] = {}
    faces: dict[int, SeenFace] = {}
    frames = 0
    with read_frames(path) as stream, FaceMesh(max_faces=max_faces) as mesh:
        expected = (stream.info.duration_s or 0.0) * FRAME_RATE_HZ
        while True:
            with clock.stage("video"):
                frame = next(stream, None)
            if frame is None:
                break
            with clock.stage("landmarks"):
                found = tracker.update(mesh.detect(frame.image))
            with clock.stage("mouth"):
                for identity, points in found.items():
                    if identity not in croppers:
                        croppers[identity], faces[identity] = MouthCropper(start_frame=frames), SeenFace()
                    faces[identity].see(points, frame.image)
                for identity, cropper in croppers.items():
                    cropper.push(frame.image, found.get(identity))
            frames += 1
            if progress:  # without a stated length too, so that whoever listens can cancel
                progress("video", min(1.0, frames / expected) if expected else 0.0)
        warnings = list(stream.warnings)
    with clock.stage("mouth"):
        ordered = left_to_right(faces)
        tracks = [croppers[identity].finish(frames) for identity in ordered]
    if not tracks:
        if isinstance(speaker, int):
            raise NoFaceError(f"{os.fspath(path)}: no face was found, so there is no face {speaker} to read")
        return Watched(no_face_track(frames), 0, tuple(warnings))
    if len(tracks) > 1 and speaker == "auto" and (joined := join_tracks(tracks)) is not None:
        return Watched(joined, 1, tuple(warnings))
    try:
        chosen = choose_speaker(speaker, tracks, [faces[identity].height_px for identity in ordered])
    except NoFaceError as error:
        raise NoFaceError(f"{os.fspath(path)}: {error}") from error
    if len(tracks) > 1:
        warnings.append(
            f"{len(tracks)} faces were seen; number {chosen} from the left (counted from 0) was read. "
            "Choose another with the speaker option."
        )
    portraits = [portrait for identity in ordered if (portrait := faces[identity].portrait) is not None]
    several = tuple(portraits) if len(portraits) == len(tracks) > 1 else ()
    return Watched(tracks[chosen], len(tracks), tuple(warnings), several, chosen)


@dataclass(frozen=True)
class Window:
    """Frames start..end are read together, and of these keep_from..keep_to are kept."""

    start: int
    end: int
    keep_from: int
    keep_to: int


def windows(frames: int) -> list[Window]:
    """Cut T frames into windows of one length that overlap by `OVERLAP_FRAMES` or more; kept parts tile 0..T."""
    if frames == 0:
        return []
    length = min(frames, WINDOW_FRAMES)
    starts = [*range(0, frames - length, WINDOW_FRAMES - OVERLAP_FRAMES), frames - length]
    middles = [(left + length + right) // 2 for left, right in pairwise(starts)]
    bounds = [0, *middles, frames]
    return [
        Window(start, start + length, keep_from, keep_to)
        for start, (keep_from, keep_to) in zip(starts, pairwise(bounds), strict=True)
    ]


def blanks(frames: int, symbols: int) -> Array:
    """Log-probabilities (frames, symbols) that say blank with certainty."""
    certain = np.full((frames, symbols), IMPOSSIBLE, np.float32)
    certain[:, 0] = 0.0
    return certain


def no_face_track(frames: int) -> MouthTrack:
    """A track in which no face was seen."""
    return MouthTrack(
        crops=np.zeros((frames, CROP_SIDE_PX, CROP_SIDE_PX), np.uint8),
        points=np.full((frames, len(LIP_POINTS), 2), np.nan, np.float32),
        present=np.zeros(frames, dtype=bool),
    )


def load_model(
    name_or_path: PathLike = DEFAULT_MODEL, device: str = "auto", **search: Any
) -> LipReader:
    """Load a checkpoint once, to read many videos with it.

    Args:
        name_or_path: a bundled name or the path of a .safetensors file.
        device: "auto" (CUDA, else MPS, else CPU) or a torch device such as "cpu" or "cuda:1".
        search: how the text is found, the fields of `SearchConfig`: decoder="beam", lm="grid-ngram", nbest=5, ...
    Raises: ConfigError: the name is unknown, the device is not there, or an option makes no sense.
        CheckpointError: not a lipread checkpoint. DataError: a grammar, lexicon or language model cannot be read.
    """
    from lipread.checkpoint import load_checkpoint
    from lipread.config import SearchConfig, make_config
    from lipread.language_models import make_search

    config = make_config(SearchConfig, search, origin="search options")
    checkpoint = load_checkpoint(checkpoint_path(name_or_path), choose_device(device))
    return LipReader(checkpoint, search=make_search(config, checkpoint.alphabet))


def checkpoint_path(name_or_path: PathLike) -> Path:
    """The file of a bundled name, or the path itself.

    Raises: ConfigError: neither a bundled name nor a path.
    """
    from lipread.checkpoint import bundled_models

    name = os.fspath(name_or_path)
    bundled = bundled_models()
    if name in bundled:
        return bundled[name]
    if name.endswith(WEIGHTS_SUFFIX) or Path(name).exists():
        return Path(name)
    known = ", ".join(bundled) or "none in this installation"
    raise ConfigError(f"model {name!r} is not known; bundled: {known}; or give the path of a {WEIGHTS_SUFFIX} file")
