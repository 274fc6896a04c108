"""Clips with known words -> one long video -> what is read there against what is read in each alone.

    python tools/joined.py ../shared/grid --split test          # 100 clips, five minutes of video
    python tools/joined.py ../shared/grid --split test --modality video          # from the lips alone

The clips are joined without decoding them, so that the long video shows exactly their pictures; the sound is joined
decoded, each clip's as long as its pictures.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

import av
import numpy as np

from lipread.audio import read_audio
from lipread.errors import VideoError
from lipread.evaluate import EvalClip
from lipread.hearing import MODALITIES, SoundStream
from lipread.metrics import score
from lipread.pipeline import LipReader
from lipread.values import FRAME_RATE_HZ, SAMPLES_PER_FRAME, Transcript
from measuring import measured


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both word error rates -> exit code."""
    return measured(measure, __doc__, arguments, more=lambda parser: parser.add_argument(
        "--modality", default="auto", choices=MODALITIES
    ))


def measure(reader: LipReader, clips: list[EvalClip], asked: argparse.Namespace) -> None:
    """Print both word error rates."""
    videos = [clip.video for clip in clips if clip.video]
    said = [reader.alphabet.normalise(clip.text) for clip in clips]
    single = [reader.transcribe(video, modality=asked.modality) for video in videos]
    lengths_s = [each.duration_s for each in single]
    with tempfile.TemporaryDirectory(prefix="lipread-") as scratch:
        film, sound = join_videos(videos, Path(scratch) / "joined.mp4"), join_sounds(videos, lengths_s)
        joined = reader.transcribe(film, modality=asked.modality, sound=sound)
    parts = words_by_clip(joined, lengths_s)
    alone, together = score(said, [each.text for each in single]), score(said, parts)
    print(f"{len(clips)} clips of {asked.split}, {joined.duration_s:.0f} s, modality {asked.modality}: WER "
          f"{100 * alone.wer:.1f} % singly, {100 * together.wer:.1f} % joined into one video "
          f"({len(joined.segments)} segments)")


def join_videos(videos: Sequence[Path], out: Path, *, times: int = 1) -> Path:
    """Write the pictures of some files of one encoder and size one after the other, all of it so many times.

    Raises: VideoError: there are none, or they are not alike.
    """
    with av.open(str(out), "w") as film:
        target, shift, kind = None, 0, None
        for video in list(videos) * times:
            with av.open(str(video)) as clip:
                stream = clip.streams.video[0]
                own = (stream.codec_context.extradata, stream.time_base, stream.width, stream.height)
                kind = kind or own
                if own != kind:
                    raise VideoError(f"{video} was encoded in another way than {videos[0]}; they cannot be joined")
                target = target or film.add_stream_from_template(stream)
                end = shift
                for packet in clip.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, target
                    end = max(end, packet.pts + (packet.duration or 0))
                    film.mux(packet)
                shift = end
    if kind is None:
        raise VideoError("there is no video to join; name some")
    return out


def join_sounds(videos: Sequence[Path], lengths_s: Sequence[float]) -> SoundStream:
    """The sound of some files one after the other, each as long as its pictures."""
    frames = [round(length_s * FRAME_RATE_HZ) for length_s in lengths_s]
    return SoundStream(
        sound if (sound := read_audio(video, frames=count)) is not None else np.zeros(count * SAMPLES_PER_FRAME)
        for video, count in zip(videos, frames, strict=True)
    )


def words_by_clip(transcript: Transcript, lengths_s: Sequence[float]) -> list[str]:
    """The words of a joined video, each given to the clip in which its middle lies."""
    ends = list(accumulate(lengths_s))
    words: list[list[str]] = [[] for _ in ends]
    for word in transcript.words:
        middle_s = (word.start_s + word.end_s) / 2
        words[next((at for at, end_s in enumerate(ends) if middle_s < end_s), len(ends) - 1)].append(word.text)
    return [" ".join(each) for each in words]


if __name__ == "__main__":
    sys.exit(main())
