"""A video -> how early or late its sound is against the lips."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lipread.errors import ConfigError, NoFaceError, NoSoundError
from lipread.files import PathLike
from lipread.hearing import LEAST_FIT, REACH_FRAMES, SURE, Ears, SoundStream
from lipread.values import FRAME_RATE_HZ

if TYPE_CHECKING:
    from lipread.pipeline import LipReader
    from lipread.turns import Look


@dataclass(frozen=True)
class Offset:
    """How lips and sound of a video go together.

    Attributes:
        late_s: how late the sound is, seconds, a multiple of 0.04; below 0 it is early.
        certainty: probability that this is right within a frame, 0..1, if the sound is the speaker's.
        fit: how well they go together there, `Sync.fit`; near 0 for someone else's sound.
    """

    late_s: float
    certainty: float
    fit: float

    @property
    def sentence(self) -> str:
        """For people."""
        if self.fit < LEAST_FIT:
            return f"the sound does not go with the lips (fit {self.fit:.2f}, {LEAST_FIT} or more is wanted)"
        if abs(self.late_s) == REACH_FRAMES / FRAME_RATE_HZ:
            return f"unsure: the sound is {_way(self.late_s)} by {abs(self.late_s):.2f} s or more, too far to compare"
        if self.certainty < SURE:
            return f"unsure: {_lateness(self.late_s)} with a certainty of {self.certainty:.0%}"
        return f"{_lateness(self.late_s)} (certainty {self.certainty:.0%}, fit {self.fit:.2f})"


def _lateness(late_s: float) -> str:
    if not late_s:
        return "sound and lips are in step, offset 0.00 s"
    return f"the sound is {_way(late_s)} by {abs(late_s):.2f} s, offset {late_s:+.2f} s"


def _way(late_s: float) -> str:
    return "late" if late_s > 0 else "early"


def sync_of(reader: LipReader, path: PathLike) -> Offset:
    """Compare the lips of whoever speaks with the sound, over the whole video; offsets of up to 0.6 s are known.

    Raises: ConfigError: the model does not hear. NoSoundError, NoFaceError, VideoError: nothing to compare.
    """
    from lipread.audio import read_audio_blocks
    from lipread.watch import Watch

    name = os.fspath(path)
    if not reader.hears:
        raise ConfigError(f"model {reader.checkpoint.name!r} reads lips only and cannot compare them with sound")
    sound = SoundStream(read_audio_blocks(path))
    watch = Watch(path, max_faces=reader.max_faces, agreement=reader.agreement(sound))
    if not sound.any:
        raise NoSoundError(f"{name} has no sound that can be decoded, so there is nothing to compare the lips with")
    try:
        offset = sync_of_looks(reader, watch, sound)
    except NoSoundError as error:
        raise NoSoundError(f"{name}: {error}") from error
    if not watch.faces:
        raise NoFaceError(f"{name}: no face was found, so there are no lips to compare the sound with")
    if offset is None:
        raise NoFaceError(f"{name}: the lips hardly move, so there is nothing to compare the sound with")
    return offset


def sync_of_looks(reader: LipReader, looks: Iterable[Look], sound: SoundStream) -> Offset | None:
    """The same for one person who is looked at; None where their lips hardly move.

    Raises: NoSoundError: no speech is recognised in the sound, or too little is heard.
    """
    from lipread.watch import Clock

    ears = Ears(reader.listener, sound, "both")
    reading = reader.reading(Clock(), ears=ears)
    for look in looks:
        for _ in reading.push(look):
            pass
    for _ in reading.end():
        pass
    if not ears.sync.frames and ears.speechless:
        raise NoSoundError("no speech is recognised in the sound, or too little to compare the lips with")
    if not ears.sync.frames:
        return None
    return Offset(ears.sync.offset_frames / FRAME_RATE_HZ, ears.sync.certainty, ears.sync.fit)
