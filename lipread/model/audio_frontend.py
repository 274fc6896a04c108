"""Sound -> feature vectors in step with the video frames.

Shapes: B clips, T frames, N samples = 640 T, M mel bands, D features.
Source: log-mel bands at 100 Hz as in speech recognition everywhere; four of their steps go with each video frame.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.config import AudioConfig
from lipread.model.masks import Frames
from lipread.model.norm import BatchNorm
from lipread.model.temporal import TemporalConv
from lipread.values import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME

HOP_SAMPLES = SAMPLE_RATE_HZ // 100
STEPS_PER_FRAME = SAMPLES_PER_FRAME // HOP_SAMPLES  # 4
WINDOW_SAMPLES = 25 * SAMPLE_RATE_HZ // 1000
FFT_SAMPLES = 512
FLOOR = 1e-4  # added to the power of a band, of sound that was brought to a mean power of 1
LOG_SCALE = 3.0  # typical spread of the natural log of a band's power


class AudioFrontend(nn.Module):
    """Log-mel bands through convolutions from 100 Hz to 25 Hz, then over neighbouring frames."""

    mel: Tensor
    window: Tensor

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        from torchaudio.functional import melscale_fbanks

        mel = melscale_fbanks(FFT_SAMPLES // 2 + 1, 20.0, SAMPLE_RATE_HZ / 2, config.bands, SAMPLE_RATE_HZ)
        self.register_buffer("mel", mel, persistent=False)  # (FFT / 2 + 1, M)
        self.register_buffer("window", torch.hann_window(WINDOW_SAMPLES), persistent=False)
        self.stem = MaskedConv(config.bands, config.width, kernel=5)
        self.halve = nn.ModuleList(MaskedConv(config.width, config.width, kernel=3, stride=2) for _ in range(2))
        self.layers = nn.ModuleList(TemporalConv(config.width, dropout=config.dropout) for _ in range(config.layers))
        self.dropout = nn.Dropout(config.dropout)
        self.features = config.width

    def forward(self, sound: Tensor, real: Frames) -> Tensor:
        """Samples at 16 kHz (B, 640 T) of any loudness -> (B, T, D), zero on padding."""
        x = self.log_mel(sound, real.valid).to(self.stem.conv.weight.dtype)  # (B, 4 T, M)
        x = self.stem(x, real.finer(STEPS_PER_FRAME))
        for layer, steps in zip(self.halve, (STEPS_PER_FRAME // 2, 1), strict=True):
            x = layer(x, real.finer(steps))  # (B, 2 T, D), then (B, T, D)
        x = real.spread(self.dropout(real.take(x)))
        for layer in self.layers:
            x = layer(x, real)
        return x

    def log_mel(self, sound: Tensor, valid: Tensor) -> Tensor:
        """As `forward` -> log-mel bands without their mean over the clip (microphone, loudness), (B, 4 T, M)."""
        heard = valid.repeat_interleave(SAMPLES_PER_FRAME, dim=1)
        steps = valid.repeat_interleave(STEPS_PER_FRAME, dim=1)[..., None]
        with torch.autocast(sound.device.type, enabled=False):
            sound = torch.where(heard, sound.float(), 0.0)
            power = (sound.square().sum(1) / heard.sum(1).clamp_min(1)).clamp_min(1e-10)
            sound = F.pad(sound / power.sqrt()[:, None], (0, FFT_SAMPLES))  # the last windows reach past the end
            spectrum = torch.stft(
                sound, FFT_SAMPLES, HOP_SAMPLES, WINDOW_SAMPLES, self.window, center=True, pad_mode="constant",
                return_complex=True,
            ).abs().square()[..., : steps.shape[1]]  # (B, FFT / 2 + 1, 4 T)
            bands = torch.log(spectrum.transpose(1, 2) @ self.mel / WINDOW_SAMPLES + FLOOR) / LOG_SCALE
            mean = (bands * steps).sum(1, keepdim=True) / steps.sum(1, keepdim=True).clamp_min(1)
            return (bands - mean) * steps


class MaskedConv(nn.Module):
    """Conv1d -> BatchNorm -> GELU over time, to which padding is silence."""

    def __init__(self, channels_in: int, channels: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels_in, channels, kernel, stride, kernel // 2, bias=False)
        self.norm = BatchNorm(channels)

    def forward(self, x: Tensor, real: Frames) -> Tensor:
        """(B, T, C), zero on padding, and which frames of the result are real -> (B, T / stride, D)."""
        y = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return real.spread(F.gelu(self.norm(real.take(y))))
