"""The small frozen values that stages hand to one another.

Shapes: T frames at 25 Hz, P lip points, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from lipread.errors import DataError

Array = npt.NDArray[Any]

FRAME_RATE_HZ = 25
SAMPLE_RATE_HZ = 16_000
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FRAME_RATE_HZ  # 640
CROP_SIDE_PX = 96
LOWEST_LOG_PROB = -1e4  # stands for log 0: with infinities sums over time would be lost, and paths become equal
SPLITS = ("train", "val", "test", "unseen")  # that a clip may belong to

# MediaPipe mesh indices of the nine lip points, in the order they are stored: mouth corners, inner lips
# middle (upper, lower), chin, upper inner lip (left of picture's right, ...), lower inner lip.
LIP_POINTS: tuple[int, ...] = (78, 308, 13, 14, 152, 311, 81, 402, 178)


@dataclass(frozen=True)
class Frame:
    """One picture of the even 25 Hz stream.

    Attributes:
        image: RGB uint8 in 0..255, shape (H, W, 3), upright (rotation applied).
        time_s: presentation time on the even grid, index / 25, seconds from the start of the video.
    """

    image: Array
    time_s: float


@dataclass(frozen=True)
class Mouth:
    """The mouth of one person in one frame.

    Attributes:
        crop: grey uint8, shape (96, 96).
        points: lip points as those of `MouthTrack`, float32, shape (9, 2).
        eye_px: distance of the inner eye corners in the picture, pixels.
        box: left upper and right lower corner of the face in the picture, pixels, shape (2, 2).
    """

    crop: Array
    points: Array
    eye_px: float
    box: Array


@dataclass(frozen=True)
class MouthTrack:
    """The mouth of one person over time: what the network sees.

    Attributes:
        crops: grey uint8 mouth crops, shape (T, 96, 96); zero where there was no face.
        points: lip points in the face's own coordinates, float32, shape (T, 9, 2): relative to the midpoint of
            the inner eye corners, divided by their distance, upright (x right, y down); NaN where there was no face.
        present: whether each frame has a face (seen or interpolated over a short gap), bool, shape (T,).
        start_s: time of frame 0, seconds.
        eye_px: median distance of the inner eye corners in the picture, pixels (how large the face was).
    """

    crops: Array
    points: Array
    present: Array
    start_s: float = 0.0
    eye_px: float = 0.0

    def __post_init__(self) -> None:
        """Raises: DataError: the arrays do not fit each other."""
        frames, side = len(self.present), (CROP_SIDE_PX, CROP_SIDE_PX)
        if self.crops.shape != (frames, *side) or self.points.shape != (frames, len(LIP_POINTS), 2):
            raise DataError(
                f"crops of shape {self.crops.shape} and points of shape {self.points.shape} are no mouth of {frames} "
                f"frames; give {(frames, *side)} and {(frames, len(LIP_POINTS), 2)}"
            )

    @classmethod
    def of(cls, mouths: Sequence[Mouth | None], *, start_s: float = 0.0) -> MouthTrack:
        """A track of the mouths of one person, frame by frame, None where there is no face."""
        crops = np.zeros((len(mouths), CROP_SIDE_PX, CROP_SIDE_PX), np.uint8)
        points = np.full((len(mouths), len(LIP_POINTS), 2), np.nan, np.float32)
        for index, mouth in enumerate(mouths):
            if mouth is not None:
                crops[index], points[index] = mouth.crop, mouth.points
        eyes_px = [mouth.eye_px for mouth in mouths if mouth is not None]
        present = np.isfinite(points).all(axis=(1, 2))
        return cls(crops, points, present, start_s, float(np.median(eyes_px)) if eyes_px else 0.0)

    @property
    def face_share(self) -> float:
        """Share of frames with a face, 0..1."""
        return float(np.mean(self.present)) if len(self.present) else 0.0


@dataclass(frozen=True)
class Word:
    """One word with its time in seconds and its confidence in 0..1.

    Attributes:
        dropout_confidence: what is left of it in the mean of several readings with dropout, 0..1; None without those.
    """

    text: str
    start_s: float
    end_s: float
    confidence: float
    dropout_confidence: float | None = None


@dataclass(frozen=True)
class Segment:
    """A subtitle-sized stretch of speech.

    Attributes:
        start_s, end_s: seconds.
        confidence: mean of the words', 0..1.
        speaker: a label where several people are read.
        modality: what it was read from: video, audio or both.
        why: why it was read from that.
    """

    start_s: float
    end_s: float
    text: str
    words: tuple[Word, ...]
    confidence: float
    speaker: str | None = None
    modality: str = "video"
    why: str = ""


@dataclass(frozen=True)
class Hypothesis:
    """One candidate text with the parts of its score (natural log).

    Attributes:
        score: what candidates are ordered by.
        acoustic_score: of the network alone, of what it saw and heard.
        lm_score: of the language model, without its weight; 0 without one.
        posterior: probability against all texts that the search admits, 0..1; None where that is not known.
        next_score: that it follows the utterance before, without its weight; 0 where that took no part.
    """

    text: str
    score: float
    acoustic_score: float
    lm_score: float = 0.0
    posterior: float | None = None
    next_score: float = 0.0


@dataclass(frozen=True)
class Utterance:
    """What was said between two pauses, and what else it could have been.

    Attributes:
        start_s, end_s: seconds.
        text: what was chosen.
        raw_text: what the network alone says, without lexicon, grammar or language model.
        nbest: candidates of the search, best first, each with the parts of its score; the first is `text`.
        without_lm: the candidate that the network likes best, without the language model; None where there is none.
        speaker: a label where several people are read.
    """

    start_s: float
    end_s: float
    text: str
    raw_text: str
    nbest: tuple[Hypothesis, ...]
    without_lm: str | None = None
    speaker: str | None = None

    @property
    def changed(self) -> bool:
        """Whether the search made something else of it than the network alone says."""
        return self.text != self.raw_text

    @property
    def changed_by_lm(self) -> bool:
        """Whether the language model preferred another candidate than the network does."""
        return self.without_lm is not None and self.text != self.without_lm


@dataclass(frozen=True)
class Transcript:
    """What was said in one video.

    Attributes:
        text: the words, empty where nothing was seen to be said; `reason` then says why.
        segments: stretches of speech with their words and times.
        duration_s: length of the picture, seconds.
        face_share: share of frames in which the speaker's face was found, 0..1.
        confidence: mean word confidence, 0..1; 0 where there are no words.
        utterances: stretches between pauses with their raw text and candidates.
        warnings: sentences about the input (broken tail, long stretches without a face, small face, ...).
        reason: why the text is empty; None where it is not.
        source: the file name as it was given.
        model: name of the checkpoint.
        search: how the text was found: "greedy", or decoder, grammar and language model by name.
        heard_alone: whether it was read without looking: a face is then not missed.
        sound_late_s: how late the sound is against the lips, seconds, below 0 early; None where it is not known.
        stage_s: seconds spent per stage ("video", "landmarks", "mouth", "network", "decoding").
    """

    text: str
    segments: tuple[Segment, ...]
    duration_s: float
    face_share: float
    confidence: float
    utterances: tuple[Utterance, ...] = ()
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    source: str = ""
    model: str = ""
    search: str = "greedy"
    heard_alone: bool = False
    sound_late_s: float | None = None
    stage_s: Mapping[str, float] = field(default_factory=dict)

    @property
    def words(self) -> tuple[Word, ...]:
        """All words of all segments in order."""
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def modality(self) -> str:
        """What it was read from: video, audio, both, or several of them, "video, both"; empty where nothing is said."""
        return ", ".join(dict.fromkeys(segment.modality for segment in self.segments))

    @property
    def raw_text(self) -> str:
        """What the network alone says, without lexicon, grammar or language model."""
        return " ".join(each.raw_text for each in self.utterances if each.raw_text)

    @property
    def changed(self) -> bool:
        """Whether the search made something else of it than the network alone says."""
        return any(each.changed for each in self.utterances)

    @property
    def nbest(self) -> tuple[Hypothesis, ...]:
        """Candidates of the whole, best first; where there were pauses, only the chosen one (see `utterances`)."""
        if len(self.utterances) == 1:
            return self.utterances[0].nbest
        chosen = [each.nbest[0] for each in self.utterances if each.nbest]
        if not chosen:
            return ()
        scores = ("score", "acoustic_score", "lm_score", "next_score")
        sums = {score: sum(getattr(each, score) for each in chosen) for score in scores}
        return (Hypothesis(" ".join(each.text for each in chosen if each.text), **sums),)
