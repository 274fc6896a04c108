"""Video file -> transcript: the whole way, from top to bottom, in a stream: memory is flat however long the video is.

    `Watch`    pictures -> meshes -> faces that keep their names -> mouths -> looks at whoever is to be read
    `Ears`     sound -> in step with the lips, where it goes with them
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
from lipread.errors import CheckpointError, ConfigError, NoPictureError, NoSoundError
from lipread.files import PathLike
from lipread.hearing import (
    AS_ASKED,
    Ears,
    Modality,
    SoundStream,
    WhoIsHeard,
    check_modality,
    looks_at_sound,
)
from lipread.piece_reader import PieceReader, blanks
from lipread.pieces import Pieces
from lipread.reading import Reading, Seen
from lipread.readings import Readings, Said
from lipread.speaking import MAX_FACES, reason_for_silence, sight_warnings
from lipread.turns import Agreement, looks_at
from lipread.values import FRAME_RATE_HZ, Array, MouthTrack, Segment, Transcript
from lipread.watch import Clock as Clock
from lipread.watch import Progress as Progress
from lipread.watch import Watch
from lipread.watch import Watched as Watched
from lipread.watch import watch_mouth as watch_mouth

if TYPE_CHECKING:
    from lipread.checkpoint import Checkpoint
    from lipread.model.network import LipNetwork

DEFAULT_MODEL = "small"
WEIGHTS_SUFFIX = ".safetensors"


class LipReader:
    """Reads lips with one checkpoint, and with the one that belongs to it where there is sound.

    Args:
        checkpoint: a network with its alphabet, as `load_with_partner` gives it; changed later, it is not seen here.
        search: finds the text in the log-probabilities; greedy without one.
        max_faces: how many faces to look for in each picture.
        dropout_passes: so many more readings with dropout give each word its `dropout_confidence`; 0: none.
    """

    def __init__(
        self, checkpoint: Checkpoint, *, search: Search | None = None, max_faces: int = MAX_FACES,
        dropout_passes: int = 0,
    ) -> None:
        if not isinstance(dropout_passes, int) or dropout_passes < 0:
            raise ConfigError(f"dropout_passes={dropout_passes!r} must be a whole number, 0 for none")
        self.checkpoint, self.alphabet = checkpoint, checkpoint.alphabet
        self.search = search or Search(checkpoint.alphabet)
        self.max_faces, self.dropout_passes = max_faces, dropout_passes
        self.ask(reading_networks(checkpoint))

    def ask(self, networks: tuple[LipNetwork, LipNetwork], *, device: str | None = None) -> None:
        """Read with these networks from now on: what reads lips alone, and with sound or sound alone.

        Args:
            networks: the checkpoint's, as `reading_networks` gives them, or what stands for them in another process.
            device: where they run, to be told to people; None: where they are.
        """
        self.network, self.listener = networks
        self.device = device or str(self.network.device)
        self._pieces = PieceReader(self.network, self.alphabet.size, self.listener, passes=self.dropout_passes)

    def transcribe(
        self,
        path: PathLike,
        *,
        speaker: str | int = "auto",
        modality: Modality = "auto",
        sound: SoundStream | None = None,
        progress: Progress | None = None,
        heard: Callable[[Segment], None] | None = None,
    ) -> Transcript:
        """Read a video file.

        Args:
            path: any container that FFmpeg reads.
            speaker: whom to read where there are several faces: "auto" (at every moment whose lips go with the sound,
                or without sound move most), "largest", a number from 0, counted from left to right, or "all"
                (everyone, with a label).
            modality: "video" (the lips alone), "audio", "both", or "auto": both where the model hears and the sound
                goes with the lips, sound alone where no face is seen at all.
            sound: instead of the file's own.
            progress: is told how far each stage is.
            heard: is told each segment as soon as it is over, while the video is still being read.
        Returns: the transcript; where no words are seen its text is empty and `reason` says why.
        Raises: VideoError: the file cannot be read as a video. NoFaceError: there is no face of that number.
            NoSoundError: sound was asked for, and there is none. ConfigError: the model does not hear.
            CheckpointError: as `require_text`.
        """
        segments = self.segments(path, speaker=speaker, modality=modality, sound=sound, progress=progress)
        while True:
            try:
                segment = next(segments)
            except StopIteration as end:
                transcript: Transcript = end.value
                return transcript
            if heard:
                heard(segment)

    def segments(
        self, path: PathLike, *, speaker: str | int = "auto", modality: Modality = "auto",
        sound: SoundStream | None = None, progress: Progress | None = None,
    ) -> Generator[Segment, None, Transcript]:
        """As `transcribe`, segment by segment as they are said; the transcript is the generator's return value."""
        self.require_text()
        clock, warnings = Clock(), list[str]()
        sound = self._sound(path, modality, sound, warnings)
        if modality == "audio" and sound:
            return (yield from self._listened(path, sound, clock, warnings))
        try:
            watch = Watch(
                path, speaker=speaker, max_faces=self.max_faces, agreement=self.agreement(sound), clock=clock,
                progress=progress,
            )
        except NoPictureError:
            if modality != "auto" or sound is None:
                raise
            return (yield from self._listened(path, sound, clock, warnings, "there is no picture"))

        def begin(label: str | None) -> Reading:
            ears = Ears(self.listener, sound, modality) if sound else None
            return self.reading(clock, speaker=label, ears=ears, why=self._why_lips_alone(modality))

        readings, seen = Readings(begin, watch, of_each=speaker == "all"), Seen()
        for look in watch:
            seen.add(look)
            yield from readings.push(look)
        yield from readings.end()
        if progress:
            progress("network", 1.0)
        if modality == "auto" and sound and not seen.present.any():  # so nothing was listened to yet
            warnings[:0] = watch.warnings
            heard_only = yield from self._listened(path, sound, clock, warnings, "no face is seen")
            return replace(heard_only, heard_alone=False)
        if sound and not sound.ended_before(len(seen.present) + FRAME_RATE_HZ):
            warnings.append("The sound goes on after the picture's end; that part is read with modality audio only.")
        transcript = self._transcript(readings.said, seen, clock)
        told = watch.warnings + transcript.warnings + tuple(warnings)
        return replace(transcript, warnings=told, source=os.fspath(path))

    def reading(
        self, clock: Clock, *, speaker: str | None = None, start_s: float = 0.0, ears: Ears | None = None,
        why: str = "",
    ) -> Reading:
        """What reads one person. Arguments as `Reading`."""
        listener = self.checkpoint.with_sound or self.checkpoint
        return Reading(
            self._pieces, self.search, clock, temperature=(self.checkpoint.temperature, listener.temperature),
            speaker=speaker, start_s=start_s, ears=ears, why=why,
        )

    @property
    def hears(self) -> bool:
        """Whether it can read from sound too."""
        return self.listener.hears

    def require_text(self) -> None:
        """Raises: CheckpointError: the model, or the one for sound, was trained for something else than sentences."""
        for each in filter(None, (self.checkpoint, self.checkpoint.with_sound)):
            if each.task != "sentences":
                measure = f", or measure it with `train.py --task {each.task} --init FILE --evaluate-only`"
                raise CheckpointError(
                    f"model {each.name!r} was trained for --task {each.task} and cannot read sentences; train on from "
                    f"it with `train.py --init FILE`{measure if each.task != 'frames' else ''}"
                )

    def _why_lips_alone(self, modality: Modality) -> str:
        """Where nothing is listened to."""
        if not self.hears:
            return "the model does not hear"
        return AS_ASKED if modality == "video" else "there is no sound"

    def _sound(
        self, path: PathLike, modality: Modality, given: SoundStream | None, warnings: list[str]
    ) -> SoundStream | None:
        """What to listen to; None: nothing. Raises: as `transcribe`."""
        self._check_modality(modality)
        if modality == "video" or not self.hears:
            return None
        if given is None:
            from lipread.audio import read_audio_blocks

            given = SoundStream(read_audio_blocks(path, warnings=warnings))
        if given.any:
            return given
        if modality == "auto":
            return None
        raise NoSoundError(
            f"{os.fspath(path)} has no sound that can be decoded, which modality {modality!r} needs; use video or auto"
        )

    def _check_modality(self, modality: str) -> None:
        check_modality(modality)
        if not self.hears and modality in ("audio", "both"):
            raise ConfigError(
                f"model {self.checkpoint.name!r} reads lips only, so modality {modality!r} cannot be; use video or auto"
            )

    def agreement(self, sound: SoundStream | None) -> Agreement | None:
        """What tells, of several people whose lips move, whose the sound is; None where nothing can."""
        reads = self.hears and "points" in self.listener.config.streams
        return WhoIsHeard(self.listener, sound) if reads and sound and sound.any else None

    def _listened(
        self, path: PathLike, sound: SoundStream, clock: Clock, warnings: list[str], why: str = AS_ASKED
    ) -> Generator[Segment, None, Transcript]:
        """Read from sound alone; `warnings` grow while it is read."""
        reading, seen = self.reading(clock, ears=Ears(self.listener, sound, "audio", why)), Seen()
        for look in looks_at_sound(sound):
            seen.add(look)
            yield from reading.push(look)
        yield from reading.end()
        transcript = self._transcript(Said().add(reading), seen, clock, heard_alone=True)
        return replace(transcript, warnings=tuple(warnings) + transcript.warnings, source=os.fspath(path))

    def read_track(
        self, track: MouthTrack, *, sound: SoundStream | None = None, modality: Modality = "auto",
        clock: Clock | None = None, progress: Progress | None = None,
    ) -> Transcript:
        """Read mouth crops and lip points that are already there, with the sound that goes with them if it is given:
        the second half of the way; modality "auto" or "both".

        Raises: ConfigError: modality "both" of a model that does not hear. CheckpointError: as `require_text`.
        """
        self.require_text()
        self._check_modality(modality)
        ears = Ears(self.listener, sound, modality) if sound and self.hears else None
        reading = self.reading(clock or Clock(), start_s=track.start_s, ears=ears, why=self._why_lips_alone(modality))
        seen = Seen(start_s=track.start_s)
        for look in looks_at(track):
            seen.add(look)
            for _ in reading.push(look):
                pass
            if progress:
                progress("network", (look.frame + 1) / len(track.present))
        for _ in reading.end():
            pass
        return self._transcript(Said().add(reading), seen, reading.clock)

    def moving_log_probs(
        self, track: MouthTrack, *, sound: SoundStream | None = None, clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> Array:
        """Natural-log probabilities (T, V), of lips alone or of lips and sound; certain blanks where the lips are still
        (and the sound with them) or there is no face.

        Raises: ConfigError: there is sound, and the model does not hear. CheckpointError: as `require_text`.
        """
        self.require_text()
        self._check_modality("both" if sound else "video")
        ears = Ears(self.listener, sound, "both") if sound else None
        pieces = Pieces(ears.still if ears else None)
        found = blanks(len(track.present), self.alphabet.size)
        cut = [piece for look in looks_at(track) for piece in pieces.push(look)]
        with (clock or Clock()).stage("network"):
            for piece in [*cut, *pieces.end()]:
                end = piece.first + len(piece.moving)
                read = self._pieces.heard(piece, ears)[0] if ears else self._pieces.seen([piece])[0]
                found[piece.first : end] = read.log_probs
                if progress:
                    progress("network", end / len(found))
        return found

    def _transcript(self, said: Said, seen: Seen, clock: Clock, *, heard_alone: bool = False) -> Transcript:
        segments = sorted(said.segments, key=lambda each: each.start_s)
        utterances = sorted(said.utterances, key=lambda each: each.start_s)
        words = [word for segment in segments for word in segment.words]
        present = seen.present
        reason = None
        if not words:
            nothing = "the lips move, but no word was recognised in their movement"
            if any(each.raw_text for each in utterances):
                reason = "none of the texts that may be written fits; without the search's limits something was read"
            elif heard_alone:
                reason = said.problem or "no word was recognised in the sound"
            else:
                reason = reason_for_silence(present, seen.spread) or said.problem or nothing
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
            heard_alone=heard_alone,
            sound_late_s=None if said.sync is None else said.sync.offset_frames / FRAME_RATE_HZ,
            stage_s=dict(clock.seconds),
        )


def reading_networks(checkpoint: Checkpoint) -> tuple[LipNetwork, LipNetwork]:
    """What reads lips alone, and what reads with sound or sound alone, BatchNorm folded."""
    from lipread.model.fold import fold_batchnorm

    lips, heard = fold_batchnorm(checkpoint.network), checkpoint.with_sound
    return lips, fold_batchnorm(heard.network) if heard else lips


def load_model(
    name_or_path: PathLike = DEFAULT_MODEL, device: str = "auto", *, max_faces: int = MAX_FACES,
    dropout_passes: int = 0, **search: Any,
) -> LipReader:
    """Load a checkpoint once, to read many videos with it.

    Args:
        name_or_path: a bundled name or the path of a .safetensors file.
        device: "auto" (CUDA, else MPS, else CPU) or a torch device such as "cpu" or "cuda:1".
        max_faces: how many faces to look for in each picture.
        dropout_passes: as `LipReader`.
        search: how the text is found, the fields of `SearchConfig`: decoder="beam", lm="grid-ngram", nbest=5, ...
    Raises: ConfigError: the name is unknown, the device is not there, or an option makes no sense.
        CheckpointError: not a lipread checkpoint. DataError: a grammar, lexicon or language model cannot be read.
    """
    from lipread.checkpoint import load_with_partner
    from lipread.config import SearchConfig, make_config
    from lipread.language_models import make_search

    config = make_config(SearchConfig, search, origin="search options")
    checkpoint = load_with_partner(checkpoint_path(name_or_path), choose_device(device))
    search_in = make_search(config, checkpoint.alphabet)
    return LipReader(checkpoint, search=search_in, max_faces=max_faces, dropout_passes=dropout_passes)


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
