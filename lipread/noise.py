"""Clean sound -> the same among noise, at a stated ratio: to train with, and to measure with.

Shapes: N samples at 16 kHz.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from lipread.errors import ConfigError
from lipread.values import SAMPLE_RATE_HZ

Samples = npt.NDArray[np.float32]
Kind = Literal["babble", "white", "pink", "music", "speech-shaped"]
KINDS: tuple[Kind, ...] = get_args(Kind)
BABBLE_TALKERS = 6
SPEECH_SHAPE_HZ = ((50, -20.0), (120, -3.0), (500, 0.0), (1000, -9.0), (2000, -16.0), (4000, -23.0), (8000, -30.0))


def mixed(sound: Samples, noise: Samples, snr_db: float) -> Samples:
    """Add noise so that the sound's power over the noise's is `snr_db` decibels; both over all N samples.

    Args:
        sound, noise: float32, shape (N,). A sound or a noise without power is left as it is.
        snr_db: 0 is as much noise as sound, infinity none.
    Returns: float32, shape (N,); louder than the sound, never clipped.
    Raises: ConfigError: of different lengths, or the ratio is not a number.
    """
    if sound.shape != noise.shape:
        raise ConfigError(f"sound has {sound.shape} samples, noise {noise.shape}; give as much of one as of the other")
    if math.isnan(snr_db) or snr_db == -math.inf:
        raise ConfigError(f"snr_db={snr_db} is no ratio; give decibels, or infinity for no noise")
    powers = [float(np.mean(np.square(each, dtype=np.float64))) if len(each) else 0.0 for each in (sound, noise)]
    if min(powers) <= 0 or snr_db == math.inf:
        return sound.astype(np.float32)
    gain = math.sqrt(powers[0] / powers[1]) * 10 ** (-snr_db / 20)
    return (sound + gain * noise).astype(np.float32)


def make_noise(
    kind: Kind, samples: int, rng: np.random.Generator, voices: Callable[[np.random.Generator], Samples] | None = None
) -> Samples:
    """Noise of any loudness, float32, shape (samples,).

    Args:
        kind: one of `KINDS`.
        voices: gives the sound of one clip at a time, of other people than the one that is listened to; for babble.
    Raises: ConfigError: the kind is unknown, or babble has no voices.
    """
    if kind == "babble":
        if voices is None:
            raise ConfigError("babble is made from other people's clips, and there are none; choose another noise")
        return babble([voices(rng) for _ in range(BABBLE_TALKERS)], samples, rng)
    if kind == "music":
        return music(samples, rng)
    if kind not in KINDS:
        raise ConfigError(f"noise {kind!r} is not known; choose from {', '.join(KINDS)}")
    return shaped(kind, samples, rng)


def shaped(kind: str, samples: int, rng: np.random.Generator) -> Samples:
    """White noise; pink: 3 dB less for each octave up; speech-shaped: the long-term spectrum of speech."""
    if not samples:
        return np.zeros(0, np.float32)
    spectrum = np.fft.rfft(rng.standard_normal(samples))
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    if kind == "pink":
        spectrum /= np.sqrt(np.maximum(hz, 20.0))
    elif kind == "speech-shaped":
        known_hz, known_db = zip(*SPEECH_SHAPE_HZ, strict=True)
        spectrum *= 10 ** (np.interp(np.log(np.maximum(hz, 1.0)), np.log(known_hz), known_db) / 20)
    return np.asarray(np.fft.irfft(spectrum, samples), np.float32)


def music(samples: int, rng: np.random.Generator) -> Samples:
    """Chords of a few decaying tones with overtones, a new one every quarter of a second or slower, and a beat."""
    found = np.zeros(samples, np.float32)
    step = int(SAMPLE_RATE_HZ * rng.uniform(0.25, 0.7))
    root_hz = rng.uniform(80, 240)
    for start in range(-int(rng.integers(step)), samples, step):
        first, last = max(0, start), min(samples, start + 2 * step)
        time_s = np.arange(first - start, last - start, dtype=np.float32) / SAMPLE_RATE_HZ
        envelope = np.exp(-time_s * rng.uniform(2, 8)) * np.minimum(1, time_s * 200)
        for semitones in rng.choice([0, 2, 4, 5, 7, 9, 11, 12, 16, 19], 4, replace=False):
            tone_hz = root_hz * 2 ** (semitones / 12)
            for overtone in range(1, 6):
                phase = rng.uniform(0, 2 * np.pi)
                found[first:last] += (
                    envelope / overtone * np.sin(2 * np.pi * tone_hz * overtone * time_s + phase)
                ).astype(np.float32)
        beat = rng.standard_normal(last - first) * np.exp(-time_s * 40)
        found[first:last] += (0.7 * beat).astype(np.float32)
    return found


def babble(voices: Sequence[Samples], samples: int, rng: np.random.Generator) -> Samples:
    """Several voices at once, equally loud, each from a random moment of its clip on and again from its start."""
    found = np.zeros(samples, np.float32)
    for voice in voices:
        power = float(np.mean(np.square(voice, dtype=np.float64))) if len(voice) else 0.0
        if power > 0:
            place = (np.arange(samples) + int(rng.integers(len(voice)))) % len(voice)
            found += voice[place] / np.float32(math.sqrt(power))
    return found
