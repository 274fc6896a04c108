"""A tiny reader, a mouth that moves, and words at hand-made times: what the tests of `lipread.insight` look at."""

from __future__ import annotations

import numpy as np

from lipread.alphabet import Alphabet
from lipread.checkpoint import Checkpoint
from lipread.config import NetworkConfig
from lipread.pipeline import LipReader
from lipread.values import CROP_SIDE_PX, LIP_POINTS, MouthTrack, Segment, Transcript, Word
from networks import TINY, tiny_network


def tiny_reader(config: NetworkConfig = TINY) -> LipReader:
    """A stirred tiny network that writes English letters."""
    return LipReader(Checkpoint(tiny_network(config), Alphabet.english(), {}, "tiny"))


def moving_track(frames: int = 20, *, start_s: float = 0.0, seed: int = 0) -> MouthTrack:
    """Noise for crops, lips that open and close at random; a face in every frame."""
    random = np.random.default_rng(seed)
    points = random.normal(0, 0.2, (frames, 9, 2)).astype(np.float32)
    crops = random.integers(0, 256, (frames, 96, 96), dtype=np.uint8)
    return MouthTrack(crops, points, np.ones(frames, dtype=bool), start_s, eye_px=30.0)


def said(*words: tuple[str, float, float], duration_s: float = 1.0) -> Transcript:
    """A transcript of (text, start_s, end_s)."""
    made = tuple(Word(*word, confidence=0.5) for word in words)
    text = " ".join(word.text for word in made)
    segments = (Segment(made[0].start_s, made[-1].end_s, text, made, 0.5),) if made else ()
    return Transcript(text, segments, duration_s, face_share=1.0, confidence=0.5)


def no_face_track(frames: int) -> MouthTrack:
    """A track in which no face was seen."""
    return MouthTrack(
        crops=np.zeros((frames, CROP_SIDE_PX, CROP_SIDE_PX), np.uint8),
        points=np.full((frames, len(LIP_POINTS), 2), np.nan, np.float32),
        present=np.zeros(frames, dtype=bool),
    )
