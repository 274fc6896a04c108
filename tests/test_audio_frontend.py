"""Sound -> features: in step with the frames, whatever the loudness, not reached by padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lipread.config import AudioConfig
from lipread.model.audio_frontend import AudioFrontend
from lipread.model.masks import Frames, valid_frames
from lipread.values import SAMPLES_PER_FRAME

FRAMES = 12


@pytest.fixture
def frontend() -> AudioFrontend:
    torch.manual_seed(0)
    return AudioFrontend(AudioConfig(width=16, layers=1)).eval()


def noise(clips: int = 1, frames: int = FRAMES) -> Tensor:
    return torch.randn(clips, frames * SAMPLES_PER_FRAME, generator=torch.Generator().manual_seed(1))


def everywhere(clips: int = 1, frames: int = FRAMES) -> Frames:
    return Frames.of(torch.ones(clips, frames, dtype=torch.bool))


def bands_by_hand(sound: np.ndarray, step: int) -> np.ndarray:
    """Window, Fourier transform, triangles equally wide on the mel scale; sound of a mean power of 1."""
    window = np.zeros(512)
    window[56:456] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(sound[160 * step - 256 : 160 * step + 256] * window)) ** 2
    mels = np.linspace(2595 * np.log10(1 + 20 / 700), 2595 * np.log10(1 + 8000 / 700), 82)
    edges, hz = 700 * (10 ** (mels / 2595) - 1), np.linspace(0, 8000, 257)
    triangles = [
        np.clip(np.minimum((hz - low) / (middle - low), (high - hz) / (high - middle)), 0, None)
        for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False)
    ]
    return np.log(np.stack(triangles) @ power / 400 + 1e-4) / 3


def test_log_mel_is_that_of_an_independent_formula(frontend: AudioFrontend) -> None:
    sound = noise()[0].numpy().astype(np.float64)
    found = frontend.log_mel(noise(), everywhere().valid)[0].numpy()
    assert found.shape == (4 * FRAMES, 80)
    assert np.abs(found.mean(0)).max() < 1e-5  # the mean over the clip is taken out
    first, second = (bands_by_hand(sound / np.sqrt(np.mean(sound**2)), step) for step in (20, 33))
    assert np.allclose(found[33] - found[20], second - first, atol=1e-3)


def test_loudness_changes_nothing(frontend: AudioFrontend) -> None:
    quiet, loud = (frontend(noise() * gain, everywhere()) for gain in (1e-3, 50.0))
    assert torch.allclose(quiet, loud, atol=1e-4)


def test_silence_is_finite(frontend: AudioFrontend) -> None:
    assert torch.isfinite(frontend(torch.zeros(1, FRAMES * SAMPLES_PER_FRAME), everywhere())).all()


def test_padding_changes_no_real_frame(frontend: AudioFrontend) -> None:
    sound, real = noise(2), Frames.of(valid_frames(torch.tensor([FRAMES, 7]), FRAMES))
    sound[1, 7 * SAMPLES_PER_FRAME :] = 9.0  # what lies in padding is not heard
    alone = frontend(sound[1:, : 7 * SAMPLES_PER_FRAME], everywhere(1, 7))
    assert torch.allclose(frontend(sound, real)[1, :7], alone[0], atol=1e-5)
    assert not frontend(sound, real)[1, 7:].any()


def test_a_click_is_felt_at_its_own_frame(frontend: AudioFrontend) -> None:
    def moved(frame: int) -> int:
        sound = 0.01 * noise()
        clicked = sound.clone()
        clicked[0, frame * SAMPLES_PER_FRAME : (frame + 1) * SAMPLES_PER_FRAME] += noise(1, 1)[0]
        change = (frontend(clicked, everywhere()) - frontend(sound, everywhere())).abs().sum(-1)[0]
        return int(change.argmax())

    assert all(abs(moved(frame) - frame) <= 1 for frame in (3, 6, 9))


def test_buffers_are_not_in_checkpoints(frontend: AudioFrontend) -> None:
    assert not {"mel", "window"} & frontend.state_dict().keys()
