"""Clips whose words are known -> error rates of lips, sound and both, among more and more noise."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lipread.errors import ConfigError, DataError, LipreadError, NoSoundError
from lipread.evaluate import EvalClip, mouth_track
from lipread.hearing import Modality, SoundStream
from lipread.metrics import Score, score
from lipread.noise import Kind, make_noise, mixed
from lipread.values import Array

if TYPE_CHECKING:
    from lipread.pipeline import LipReader

WAYS: tuple[Modality, ...] = ("video", "audio", "both", "auto")
CLEAN = "clean"
MOST_DB = 100  # beyond it one of both is nothing


@dataclass(frozen=True)
class InNoise:
    """Error rates at one ratio of sound to noise, decibels, infinite without noise."""

    snr_db: float
    scores: dict[Modality, Score]

    @property
    def clips(self) -> int:
        """How many were read."""
        return next(iter(self.scores.values())).clips

    def to_json(self) -> dict[str, Any]:
        """Everything in plain values; JSON has no infinity, so without noise the ratio is "clean"."""
        ratio = CLEAN if math.isinf(self.snr_db) else self.snr_db
        return {"snr_db": ratio, "scores": {way: asdict(score) for way, score in self.scores.items()}}


def ratios_of(text: str) -> tuple[float, ...]:
    """A comma list of decibels, "clean" for no noise. Raises: ConfigError: something else stands there."""
    ratios = []
    for part in (each.strip() for each in text.split(",") if each.strip()):
        try:
            ratios.append(math.inf if part == CLEAN else float(part))
        except ValueError as error:
            raise ConfigError(f"snr {part!r} is no number of decibels; give a list such as -5,0,{CLEAN}") from error
    if not ratios or not all(abs(each) <= MOST_DB or each == math.inf for each in ratios):
        raise ConfigError(f"snr {text!r}: give a list of -{MOST_DB} to {MOST_DB} decibels, such as -5,0,{CLEAN}")
    return tuple(dict.fromkeys(ratios))


def measure_in_noise(
    reader: LipReader,
    clips: Sequence[EvalClip],
    others: Sequence[EvalClip],
    kind: Kind,
    ratios: Sequence[float],
    *,
    finished: Callable[[EvalClip, str | None], None] | None = None,
) -> list[InNoise]:
    """Read every clip in every way among every noise; faces are looked for only once.

    Args:
        reader: whose model hears.
        clips: to read.
        others: whose sound makes the babble; of each clip's own speaker nothing is taken.
        kind: of noise; the same for a clip at every ratio, made by its name.
        ratios: of sound to noise, decibels.
        finished: is told each clip as it is done, and why it could not be read; it is then left out.
    Raises: DataError: no clip could be read. ConfigError: the model does not hear, or a clip has no others for babble.
    """
    if not reader.hears:
        raise ConfigError(f"model {reader.checkpoint.name!r} reads lips only; noise makes no difference to it")
    if kind == "babble":
        for clip in clips:
            if all(other.speaker == clip.speaker for other in others):
                raise ConfigError(
                    f"babble is made of clips of other people, and beside {clip.speaker}, who speaks in {clip.clip}, "
                    "there is nobody; choose another noise"
                )
    texts_of = {clip.clip: reader.alphabet.normalise(clip.text) for clip in clips}  # before the work starts
    said: list[str] = []
    read: dict[float, dict[Modality, list[str]]] = {ratio: {way: [] for way in WAYS} for ratio in ratios}
    for clip in clips:
        try:
            track, sound = mouth_track(clip), sound_of(clip)
        except LipreadError as error:
            if finished:
                finished(clip, str(error))
            continue
        said.append(texts_of[clip.clip])
        rng = np.random.default_rng(zlib.crc32(clip.clip.encode()))
        strangers = [other for other in others if other.speaker != clip.speaker]
        noise = make_noise(kind, len(sound), rng, _voices(strangers) if strangers else None)
        lips = reader.read_track(track).text
        for ratio in ratios:
            heard = mixed(sound, noise, ratio)
            texts = read[ratio]
            texts["video"].append(lips)
            texts["audio"].append(reader.transcribe(clip.sound_file, modality="audio", sound=SoundStream([heard])).text)
            for way in ("both", "auto"):
                texts[way].append(reader.read_track(track, sound=SoundStream([heard]), modality=way).text)
        if finished:
            finished(clip, None)
    if not said:
        raise DataError("none of the clips could be read; choose clips with a face and with sound")
    return [InNoise(ratio, {way: score(said, read[ratio][way]) for way in WAYS}) for ratio in ratios]


def _voices(clips: Sequence[EvalClip]) -> Callable[[np.random.Generator], Array]:
    heard = list(clips)

    def voice(rng: np.random.Generator) -> Array:
        while heard:
            place = int(rng.integers(len(heard)))
            try:
                return sound_of(heard[place])
            except LipreadError:
                del heard[place]
        raise DataError("babble is made from other people's sound, and no clip of theirs has any; choose another noise")

    return voice


def sound_of(clip: EvalClip) -> Array:
    """The sound of a clip, (N,). Raises: NoSoundError: it has none."""
    from lipread.audio import read_audio

    sound = read_audio(clip.sound_file)
    if sound is None:
        raise NoSoundError(f"{clip.sound_file} has no sound that can be decoded; choose clips with sound")
    return sound
