"""A drawn clip -> an mp4 like any other, with sound where eSpeak NG is installed.

Shapes: T frames, H x W pixels, N samples at 16 kHz.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lipread.data.heads import DrawnClip
from lipread.values import FRAME_RATE_HZ, SAMPLE_RATE_HZ, Array, Word

WORDS_PER_MINUTE = 220
VOICES = tuple(f"en-gb+{voice}" for voice in ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "f1", "f2", "f3", "f4", "f5"))
PITCHES = (30, 75)  # of 0..99
QUIET = 0.01  # what eSpeak NG leaves before and after a word is quieter
LONGEST_WORD_S = 30


def write_video(path: str | os.PathLike[str], clip: DrawnClip, *, sound: bool = True, crf: int = 20) -> bool:
    """Write a drawn clip as H.264 mp4 at 25 Hz, whole or not at all.

    Args:
        path: mp4 to write.
        sound: speak the text too, where eSpeak NG is installed.
        crf: x264 quality; more is a poorer camera.
    Returns: whether the video has sound.
    Raises: OutputError: the file cannot be written.
    """
    import av

    from lipread.container import FilmPictures, written_film

    samples = espeak(clip.words, len(clip.frames), clip.seed) if sound else None
    with written_film(path) as film:
        pictures = FilmPictures(film, crf=crf)
        voice = film.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono") if samples is not None else None
        for frame in clip.frames:
            pictures.add(frame)
        pictures.end()
        if voice is not None and samples is not None:
            block = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            block.sample_rate = SAMPLE_RATE_HZ
            film.mux(voice.encode(block))
            film.mux(voice.encode(None))
    return samples is not None


def espeak(words: Sequence[Word], frames: int, seed: int) -> Array | None:
    """Words spoken by eSpeak NG, each at its time.

    Args:
        words: with their times.
        frames: of the clip; later words are cut off.
        seed: of the person, who has a voice of their own.
    Returns: float32 (N,) in -1..1; None where eSpeak NG is absent or fails.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        return None
    rng = np.random.default_rng([seed, 4])
    voice = ["-v", VOICES[rng.integers(len(VOICES))], "-p", str(rng.integers(*PITCHES))]
    out = np.zeros(frames * SAMPLE_RATE_HZ // FRAME_RATE_HZ, np.float32)
    with tempfile.TemporaryDirectory() as folder:
        for number, word in enumerate(words):
            spoken = _spoken([program, *voice], word.text, Path(folder) / f"{number}.wav")
            if spoken is None:
                return None
            wanted = max(1, int((word.end_s - word.start_s) * SAMPLE_RATE_HZ))
            spoken = np.interp(np.linspace(0, len(spoken) - 1, wanted), np.arange(len(spoken)), spoken)
            first = int(word.start_s * SAMPLE_RATE_HZ)
            out[first : first + wanted] += spoken[: max(0, len(out) - first)].astype(np.float32)
    return 0.8 * out


def _spoken(program: list[str], word: str, file: Path) -> Array | None:
    """One word as samples (N,) without the silence around it, None where it cannot be had."""
    import av

    text = word.lstrip("-")  # else it would be an option
    command = [*program, "-s", str(WORDS_PER_MINUTE), "-w", str(file), text]
    try:
        subprocess.run(command, capture_output=True, check=True, timeout=LONGEST_WORD_S)
        with av.open(str(file)) as container:
            resampler = av.AudioResampler("flt", "mono", SAMPLE_RATE_HZ)
            pieces = [*container.decode(audio=0), None]
            parts = [part.to_ndarray()[0] for piece in pieces for part in resampler.resample(piece)]
    except (subprocess.SubprocessError, OSError, av.error.FFmpegError, IndexError):
        return None
    samples: Array = np.concatenate(parts) if parts else np.zeros(1, np.float32)
    loud = np.flatnonzero(np.abs(samples) > QUIET)
    return samples[loud[0] : loud[-1] + 1] if len(loud) else samples
