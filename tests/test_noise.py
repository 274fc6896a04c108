"""Noise at a stated ratio: 0 dB is 0 dB, and each kind has its spectrum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lipread.errors import ConfigError
from lipread.noise import KINDS, Kind, babble, make_noise, mixed

SECONDS = 4
N = 16_000 * SECONDS


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def sound() -> Any:
    return (0.1 * np.sin(np.arange(N) / 20)).astype(np.float32)


def voice(draw: np.random.Generator) -> Any:
    return draw.standard_normal(20_000).astype(np.float32) * 3


def power_db(samples: Any) -> float:
    return 10 * math.log10(float(np.mean(samples.astype(np.float64) ** 2)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 20.0])
def test_the_ratio_is_what_was_asked_for(kind: Kind, snr_db: float) -> None:
    noise = make_noise(kind, N, rng(), voice)
    added = mixed(sound(), noise, snr_db).astype(np.float64) - sound()
    assert power_db(sound()) - power_db(added) == pytest.approx(snr_db, abs=0.02)


def test_no_noise_and_no_power_leave_the_sound() -> None:
    assert np.array_equal(mixed(sound(), np.ones(N, np.float32), math.inf), sound())
    assert np.array_equal(mixed(sound(), np.zeros(N, np.float32), 0.0), sound())
    assert not mixed(np.zeros(N, np.float32), np.ones(N, np.float32), 0.0).any()


def slope_db_per_octave(noise: Any) -> float:
    power = np.abs(np.fft.rfft(noise)) ** 2
    hz = np.fft.rfftfreq(len(noise), 1 / 16_000)
    bands = [power[(hz >= low) & (hz < 2 * low)].mean() for low in (125, 250, 500, 1000, 2000, 4000)]
    return float(np.polyfit(range(len(bands)), 10 * np.log10(bands), 1)[0])


def test_spectra() -> None:
    assert slope_db_per_octave(make_noise("white", N, rng())) == pytest.approx(0.0, abs=0.3)
    assert slope_db_per_octave(make_noise("pink", N, rng())) == pytest.approx(-3.0, abs=0.3)
    assert slope_db_per_octave(make_noise("speech-shaped", N, rng())) < -4
    music = np.abs(np.fft.rfft(make_noise("music", N, rng()))) ** 2
    assert np.sort(music)[-200:].sum() > 0.5 * music.sum()  # tones: most of the power in few frequencies


@pytest.mark.parametrize("kind", KINDS)
def test_deterministic_by_seed(kind: Kind) -> None:
    first, again, other = (make_noise(kind, 5000, rng(seed), voice) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert first.dtype == np.float32 and first.shape == (5000,) and np.isfinite(first).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("samples", [0, 1, 2])
def test_next_to_nothing(kind: Kind, samples: int) -> None:
    noise = make_noise(kind, samples, rng(), voice)
    assert noise.shape == (samples,) and noise.dtype == np.float32
    assert mixed(np.zeros(samples, np.float32), noise, 0.0).shape == (samples,)


def test_babble_has_equally_loud_voices() -> None:
    quiet, loud = np.full(100, 0.01, np.float32), np.full(100, 5.0, np.float32)
    assert babble([quiet, loud, np.zeros(0, np.float32)], 50, rng()) == pytest.approx(np.full(50, 2.0))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: make_noise("babble", 10, rng()), "other people"),
        (lambda: make_noise("rain", 10, rng()), "'rain' is not known"),  # type: ignore[arg-type]
        (lambda: mixed(np.zeros(3, np.float32), np.zeros(4, np.float32), 0.0), "as much of one"),
        (lambda: mixed(np.zeros(3, np.float32), np.zeros(3, np.float32), math.nan), "snr_db=nan"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        call()
