"""Video file -> transcript: the whole way, from top to bottom, in a stream: memory is flat however long the video is.

    `Watch`    pictures -> meshes -> faces that keep their names -> mouths -> looks at whoever is to be read
    `Reading`  looks -> pieces, cut where the lips pause -> log-probabilities -> utterances -> words -> segments

Shapes: T frames at 25 Hz, V symbols.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lipread.decoding.search import Search
from lipread.devices import choose_device
from lipread.errors import ConfigError
from lipread.files import PathLike
from lipread.pieces import Piece, Pieces
from lipread.reading import Reading, Seen
from lipread.speaking import SETTLE_FRAMES, reason_for_silence, sight_warnings
from lipread.turns import looks_at
from lipread.values import CROP_SIDE_PX, FRAME_RATE_HZ, LIP_POINTS, Array, MouthTrack, Segment, Transcript
from lipread.watch import Clock as Clock
from lipread.watch import Progress as Progress
from lipread.watch import Watch
from lipread.watch import Watched as Watched
from lipread.watch import watch_mouth as watch_mouth

if TYPE_CHECKING:
    from lipread.checkpoint import Checkpoint

DEFAULT_MODEL = "small"
WEIGHTS_SUFFIX = ".safetensors"
IMPOSSIBLE = -1e4  # log-probability that stands for log 0


class LipReader:
    """Reads lips with one checkpoint.

    Args:
        checkpoint: a network with its alphabet, as `load_checkpoint` gives it; changed later, it is not seen here.
        search: finds the text in the log-probabilities; greedy without one.
        max_faces: how many faces to look for in each picture.
    """

    def __init__(self, checkpoint: Checkpoint, *, search: Search | None = None, max_faces: int = 4) -> None:
        from lipread.model.fold import fold_batchnorm

        self.checkpoint = checkpoint
        self.network = fold_batchnorm(checkpoint.network)  # what reads
        self.alphabet = checkpoint.alphabet
        self.search = search or Search(checkpoint.alphabet)
        self.max_faces = max_faces

    def transcribe(
        self,
        path: PathLike,
        *,
        speaker: str | int = "auto",
        progress: Progress | None = None,
        heard: Callable[[Segment], None] | None = None,
    ) -> Transcript:
        """Read a video file.

        Args:
            path: any container that FFmpeg reads.
            speaker: whom to read where there are several faces: "auto" (at every moment whose lips move most),
                "largest", a number from 0, counted from left to right, or "all" (everyone, with a label).
            progress: is told how far each stage is.
            heard: is told each segment as soon as it is over, while the video is still being read.
        Returns: the transcript; where no words are seen its text is empty and `reason` says why.
        Raises: VideoError: the file cannot be read as a video. NoFaceError: there is no face of that number.
        """
        segments = self.segments(path, speaker=speaker, progress=progress)
        while True:
            try:
                segment = next(segments)
            except StopIteration as end:
                transcript: Transcript = end.value
                return transcript
            if heard:
                heard(segment)

    def segments(
        self, path: PathLike, *, speaker: str | int = "auto", progress: Progress | None = None
    ) -> Generator[Segment, None, Transcript]:
        """As `transcribe`, segment by segment as they are said; the transcript is the generator's return value."""
        clock = Clock()
        watch = Watch(path, speaker=speaker, max_faces=self.max_faces, clock=clock, progress=progress)
        readings: dict[int | None, Reading] = {}
        seen = Seen()
        for look in watch:
            seen.add(look)
            whose = look.face if speaker == "all" else None  # one reading of whoever is chosen, or one of each face
            if whose is not None and watch.faces[whose].frames <= 2 * SETTLE_FRAMES:
                continue  # seen for a moment only
            if whose not in readings:
                label = f"Speaker {len(readings) + 1}" if speaker == "all" else None
                readings[whose] = Reading(self, clock, speaker=label)
            yield from readings[whose].push(look)
        for reading in readings.values():
            yield from reading.end()
        if progress:
            progress("network", 1.0)
        transcript = self._transcript(list(readings.values()), seen, clock)
        return replace(transcript, warnings=watch.warnings + transcript.warnings, source=os.fspath(path))

    def read_track(
        self, track: MouthTrack, *, clock: Clock | None = None, progress: Progress | None = None
    ) -> Transcript:
        """Read mouth crops and lip points that are already there: the second half of the way."""
        reading, seen = Reading(self, clock or Clock(), start_s=track.start_s), Seen(start_s=track.start_s)
        for look in looks_at(track):
            seen.add(look)
            for _ in reading.push(look):
                pass
            if progress:
                progress("network", (look.frame + 1) / len(track.present))
        for _ in reading.end():
            pass
        return self._transcript([reading], seen, reading.clock)

    def moving_log_probs(
        self, track: MouthTrack, *, clock: Clock | None = None, progress: Progress | None = None
    ) -> Array:
        """Natural-log probabilities (T, V); certain blanks where the lips are still or there is no face."""
        pieces = Pieces()
        found = blanks(len(track.present), self.alphabet.size)
        cut = [piece for look in looks_at(track) for piece in pieces.push(look)]
        with (clock or Clock()).stage("network"):
            for piece in [*cut, *pieces.end()]:
                end = piece.first + len(piece.moving)
                found[piece.first : end] = self.piece_log_probs([piece])[0]
                if progress:
                    progress("network", end / len(found))
        return found

    def piece_log_probs(self, pieces: list[Piece]) -> list[Array]:
        """Log-probabilities (T, V) of the frames of each piece that count, with blanks where nothing can be said."""
        found = [blanks(len(piece.moving), self.alphabet.size) for piece in pieces]
        read = [number for number, piece in enumerate(pieces) if piece.moving.any()]
        if read:
            for number, values in zip(read, self._network([pieces[number].track for number in read]), strict=True):
                piece = pieces[number]
                found[number][piece.moving] = values[piece.start : piece.end][piece.moving]
        return found

    def _network(self, tracks: list[MouthTrack]) -> list[Array]:
        """Natural-log probabilities of every frame of some short tracks, float32, each (T, V)."""
        import torch

        from lipread.mouth import centre_crop

        network, device = self.network, next(self.network.parameters()).device
        side_px, counts = network.config.frontend.crop_side_px, [len(track.present) for track in tracks]
        crops = np.zeros((len(tracks), max(counts), side_px, side_px), np.uint8)  # (B, T, 88, 88)
        points = np.full((len(tracks), max(counts), len(LIP_POINTS), 2), np.nan, np.float32)  # (B, T, 9, 2)
        for row, track in enumerate(tracks):
            crops[row, : counts[row]], points[row, : counts[row]] = centre_crop(track.crops, side_px), track.points
        with torch.inference_mode():
            out, _ = network(
                torch.from_numpy(crops).to(device), torch.from_numpy(points).to(device),
                torch.tensor(counts, device=device),
            )
        return [values[:count] for values, count in zip(out.float().cpu().numpy(), counts, strict=True)]

    def _transcript(self, readings: list[Reading], seen: Seen, clock: Clock) -> Transcript:
        segments = sorted((each for one in readings for each in one.segments), key=lambda each: each.start_s)
        utterances = sorted((each for one in readings for each in one.utterances), key=lambda each: each.start_s)
        words = [word for segment in segments for word in segment.words]
        present = seen.present
        reason = None
        if not words:
            problems = [one.problem for one in readings if one.problem]
            reason = reason_for_silence(present, seen.spread) or (
                problems[-1] if problems else "the lips move, but no word was recognised in their movement"
            )
        return Transcript(
            text=" ".join(each.text for each in utterances if each.text),
            segments=tuple(segments),
            duration_s=len(present) / FRAME_RATE_HZ,
            face_share=float(present.mean()) if len(present) else 0.0,
            confidence=float(np.mean([word.confidence for word in words])) if words else 0.0,
            utterances=tuple(utterances),
            warnings=sight_warnings(present, seen.eye_px, start_s=seen.start_s),
            reason=reason,
            model=self.checkpoint.name,
            search=self.search.name,
            stage_s=dict(clock.seconds),
        )


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
