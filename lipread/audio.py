"""A media file -> mono sound at 16 kHz, in step with the pictures; and mono sound -> a small m4a file.

Shapes: N samples, C channels. Sample 0 is heard when picture 0 is shown: sound from before it is cut away, sound that
starts later has silence in front, and pauses in the file's times are silence, so 640 samples go with each picture.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any, cast

import av
import av.error
import numpy as np
import numpy.typing as npt

from lipread.container import (
    Clock,
    beginning_s,
    decoded_sound,
    moment_of,
    open_container,
    sound_stream,
    trusted_length_s,
)
from lipread.errors import ConfigError, DataError
from lipread.files import PathLike, written_whole
from lipread.values import SAMPLE_RATE_HZ, SAMPLES_PER_FRAME

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.filter import Graph

Samples = npt.NDArray[np.float32]

MIN_RATE_HZ, MAX_RATE_HZ = 1000, 768_000  # others are damage
MAX_DRIFT_SAMPLES = SAMPLE_RATE_HZ * 30 // 1000  # 30 ms: containers round times, so smaller differences are ignored
AAC_BIT_RATE = 32_000  # ample for 16 kHz mono speech
_PACKET_SAMPLES = 1024  # per AAC packet
CANCELLED = 0.01  # power of the channels' mean over that of the loudest: below it, 20 dB, they take each other away
_MIX_SAMPLES = SAMPLE_RATE_HZ // 4  # over about which that is judged


def read_audio(path: PathLike, *, frames: int | None = None, warnings: list[str] | None = None) -> Samples | None:
    """Read the sound that goes with the pictures.

    Args:
        path: any file that FFmpeg reads, with or without pictures.
        frames: number of 25 Hz pictures; the sound is cut or filled with silence to exactly frames * 640 samples.
        warnings: receives sentences about a broken tail, jumping times or samples that are no numbers.
    Returns: float32 in about -1..1, finite, shape (N,); None where the file has no sound that can be decoded.
    Raises: VideoError: the file cannot be opened. ConfigError: frames is negative.
    """
    if frames is not None and frames < 0:
        raise ConfigError(f"frames={frames} is negative; give the number of pictures, or None for all the sound")
    wanted = None if frames is None else frames * SAMPLES_PER_FRAME
    blocks: list[Samples] = []
    count, heard = 0, False
    for block in read_audio_blocks(path, warnings=warnings):
        heard = True
        blocks.append(block)
        count += len(block)
        if wanted is not None and count >= wanted:
            break
    if not heard:
        return None
    samples = np.concatenate(blocks)
    if wanted is None:
        return samples
    return np.pad(samples[:wanted], (0, max(0, wanted - count)))


def read_audio_blocks(path: PathLike, *, warnings: list[str] | None = None) -> Iterator[Samples]:
    """The sound of `read_audio` block by block: memory does not grow with the length of the file.

    Yields: float32, shape (N,), N varying (also 0); nothing at all where the file has no sound that can be
        decoded.
    Raises: VideoError: the file cannot be opened.
    """
    warnings = [] if warnings is None else warnings
    with open_container(path) as container:
        stream = sound_stream(container)
        if stream is None:
            return
        origin = beginning_s(path) if container.streams.video else None
        clock = Clock(warnings, "sound", origin, trusted_s=trusted_length_s(container))
        track = _Track(warnings, slack_blocks=2 if container.format.name == "avi" else 0)
        try:
            for frame in decoded_sound(container, stream, warnings):
                if frame.samples and MIN_RATE_HZ <= frame.sample_rate <= MAX_RATE_HZ and frame.layout.nb_channels:
                    time_s = clock.place(moment_of(frame), Fraction(frame.samples, frame.sample_rate))
                    yield from track.push(frame, time_s)
            yield from track.flush()
        except (av.error.FFmpegError, ValueError) as error:
            warnings.append(f"The sound breaks off: it cannot be brought to {SAMPLE_RATE_HZ} Hz ({error}).")


class _Track:
    """Decoded sound of any kind -> mono samples at 16 kHz, each put where its time says.

    Args:
        warnings: receives a sentence where samples are not finite.
        slack_blocks: times that are off by no more blocks than that are ignored, as where a container counts blocks.
    """

    def __init__(self, warnings: list[str], *, slack_blocks: int = 0) -> None:
        self._warnings, self._finite, self._slack_blocks = warnings, True, slack_blocks
        self._graph: Graph | None = None
        self._mix = _Mix(1)
        self._kind: tuple[object, ...] = ()  # format, layout and rate that the graph was built for
        self._start = 0  # position of the graph's first sample on the 16 kHz grid; may be negative
        self._fed_s = Fraction(0)  # length of what the graph was given
        self._next = 0  # position of the graph's next sample
        self._done = 0  # samples given out so far: the position of the next one

    def push(self, frame: AudioFrame, time_s: Fraction) -> Iterator[Samples]:
        """Add a block that is heard at `time_s`; yields what is ready, each of shape (N,)."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        start = round(time_s * SAMPLE_RATE_HZ)
        due = self._start + round(self._fed_s * SAMPLE_RATE_HZ)  # where the block lies if it follows at once
        slack = max(MAX_DRIFT_SAMPLES, self._slack_blocks * frame.samples * SAMPLE_RATE_HZ // frame.sample_rate)
        apart = self._graph is None or abs(start - due) > slack
        if self._graph is None or apart or kind != self._kind:
            yield from self.flush()
            self._graph, self._kind, self._fed_s = _even_graph(frame), kind, Fraction(0)
            self._mix = _Mix(frame.layout.nb_channels)
            self._start = self._next = start if apart else due
        self._fed_s += Fraction(frame.samples, frame.sample_rate)
        frame.pts = None  # positions are counted here
        yield from self._placed(_pushed(self._graph, frame))

    def flush(self) -> Iterator[Samples]:
        """What the graph still holds."""
        if self._graph is not None:
            yield from self._placed(_pushed(self._graph, None))

    def _placed(self, frames: Iterator[AudioFrame]) -> Iterator[Samples]:
        """Cut what lies before the next position, and put silence where nothing lies."""
        for frame in frames:
            packed = np.asarray(frame.to_ndarray(), np.float32).reshape(-1, self._mix.channels)
            samples = self._mix.push(self._finite_only(packed.T))
            begin, self._next = self._next, self._next + len(samples)
            while begin > self._done:
                silent = min(begin - self._done, SAMPLE_RATE_HZ)  # a long pause need not be in memory at once
                yield np.zeros(silent, np.float32)
                self._done += silent
            samples = samples[self._done - begin :]
            self._done += len(samples)
            yield samples

    def _finite_only(self, channels: Samples) -> Samples:
        """With silence for what is not finite."""
        if np.isfinite(channels).all():
            return channels
        if self._finite:
            self._warnings.append("Samples of the sound are not finite (NaN or infinite); there it counts as silent.")
            self._finite = False
        return np.asarray(np.nan_to_num(channels, nan=0.0, posinf=0.0, neginf=0.0))


class _Mix:
    """Channels (C, N), block by block -> their mean (N,); where that is next to nothing beside them, as where one is
    the other upside down, the loudest of them.

    FFmpeg's mix to mono is not used: it raises the level by up to 15 dB, and refuses channels without a stated place.
    The mean keeps the level and takes any number of channels.
    """

    def __init__(self, channels: int) -> None:
        self.channels = channels
        self._powers, self._of_mean = np.zeros(channels), 0.0  # summed over the last `_MIX_SAMPLES` or so
        self._chosen: int | None = None  # kept: a change between channels could be heard

    def push(self, channels: Samples) -> Samples:
        """The next block."""
        mean, kept = np.asarray(channels.mean(0, np.float64), np.float32), math.exp(-channels.shape[1] / _MIX_SAMPLES)
        self._powers = kept * self._powers + np.square(channels, dtype=np.float64).sum(1)
        self._of_mean = kept * self._of_mean + float(np.square(mean, dtype=np.float64).sum())
        if self._of_mean >= CANCELLED * self._powers.max():
            return mean
        if self._chosen is None:
            self._chosen = int(self._powers.argmax())
        return np.asarray(channels[self._chosen])


def _even_graph(frame: AudioFrame) -> Graph:
    """FFmpeg filters that bring the rate to 16 kHz and samples to float32, packed: PyAV gives eight planes at most."""
    from av.filter import Graph

    graph = Graph()
    source = graph.add(
        "abuffer",
        sample_rate=str(frame.sample_rate),
        sample_fmt=frame.format.name,
        channel_layout=frame.layout.name,
        time_base=f"1/{frame.sample_rate}",
    )
    even = graph.add("aformat", sample_rates=str(SAMPLE_RATE_HZ), sample_fmts="flt")
    graph.link_nodes(source, even, graph.add("abuffersink")).configure()
    return graph


def _pushed(graph: Graph, frame: AudioFrame | None) -> Iterator[AudioFrame]:
    graph.push(frame)
    while True:
        try:
            yield cast("AudioFrame", graph.pull())
        except (av.error.BlockingIOError, av.error.EOFError):  # wants more sound, or is empty
            return


def write_audio(path: PathLike, samples: npt.NDArray[np.floating[Any]]) -> None:
    """Write 16 kHz mono sound as AAC in an m4a file, whole or not at all.

    Args:
        path: the file to write; an older one is replaced.
        samples: float in -1..1 (louder is clipped, what is not finite becomes 0), shape (N,), N > 0.
    Raises: DataError: there are no samples, or not one row of them. OutputError: the file cannot be written.
    """
    if samples.ndim != 1 or not len(samples):
        raise DataError(
            f"{os.fspath(path)}: sound of shape {samples.shape} cannot be written; give one row of samples"
        )
    clean = np.clip(np.nan_to_num(samples, nan=0.0, posinf=0.0, neginf=0.0), -1, 1).astype(np.float32)
    with written_whole(path) as temporary:
        temporary.write_bytes(_encoded(clean))


def _encoded(samples: Samples) -> bytes:
    """An m4a file in memory: 32 kbit/s, so an hour is 14 MB."""
    file = io.BytesIO()
    with av.open(file, "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=SAMPLE_RATE_HZ)
        stream.codec_context.layout = "mono"
        stream.bit_rate = AAC_BIT_RATE
        for begin in range(0, len(samples), _PACKET_SAMPLES):
            block = np.ascontiguousarray(samples[None, begin : begin + _PACKET_SAMPLES])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, begin, Fraction(1, SAMPLE_RATE_HZ)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
