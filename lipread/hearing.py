"""The sound beside the pictures: in step with them, brought to the lips' time, and listened to where it helps.

Shapes: T frames at 25 Hz, N = 640 T samples, V symbols, K offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lipread.errors import ConfigError
from lipread.pieces import PAUSE_SPREAD
from lipread.turns import Look
from lipread.values import FRAME_RATE_HZ, SAMPLES_PER_FRAME, Array

if TYPE_CHECKING:
    from lipread.model.network import LipNetwork, Streams

Modality = Literal["auto", "video", "audio", "both"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
KEPT_FRAMES = 60 * FRAME_RATE_HZ  # of sound that may still be asked for
SILENT_LEVEL = 1e-3  # root mean square of samples, 60 dB below full scale: nothing is recorded
AROUND_FRAMES = FRAME_RATE_HZ // 2  # sound within so many frames of one may be of a word that is said there
LEAST_FIT = 0.25  # of lips and sound that belong together, see `Sync.fit`; measured in docs/training-log.md
PAUSE_DB = 8.0  # above the quietest of some seconds: still a pause
SURE = 0.9  # probability of an offset, together with those beside it, that is taken as known


def check_modality(modality: str) -> None:
    """Raises: ConfigError: it is none of `MODALITIES`."""
    if modality not in MODALITIES:
        raise ConfigError(f"modality {modality!r} is not known; use {', '.join(MODALITIES)}")


class SoundStream:
    """Sound by frame numbers, decoded as it is asked for; the last minute is kept.

    Args:
        blocks: samples at 16 kHz from the first picture on, in blocks of any size.
    """

    def __init__(self, blocks: Iterable[Array]) -> None:
        self._blocks = iter(blocks)
        self._kept = [np.zeros(0, np.float32)]
        self._first = 0  # position of the first kept sample
        self._end = 0  # of the next one to come
        self._over = False

    @property
    def any(self) -> bool:
        """Whether there is any sound at all."""
        if not self._end and not self._over:
            self._read(1)
        return self._end > 0

    def frames(self, first: int, end: int) -> Array:
        """The samples that go with frames first .. end - 1, float32 (N,); silence before the start and after the end.

        What is asked for must not lie more than a minute before what was asked for earlier.
        """
        wanted = np.zeros((end - first) * SAMPLES_PER_FRAME, np.float32)
        self._read(end * SAMPLES_PER_FRAME)
        low, high = max(first * SAMPLES_PER_FRAME, self._first), min(end * SAMPLES_PER_FRAME, self._end)
        if low < high:
            if len(self._kept) > 1:
                self._kept = [np.concatenate(self._kept)]
            place = low - first * SAMPLES_PER_FRAME
            wanted[place : place + high - low] = self._kept[0][low - self._first : high - self._first]
        return wanted

    def ended_before(self, frame: int) -> bool:
        """Whether there is no sound from this frame on."""
        self._read(frame * SAMPLES_PER_FRAME + 1)
        return self._end <= frame * SAMPLES_PER_FRAME

    def _read(self, end: int) -> None:
        while self._end < end and not self._over:
            block = next(self._blocks, None)
            if block is None:
                self._over = True
            else:
                self._kept.append(block)
                self._end += len(block)
        surplus = self._end - self._first - KEPT_FRAMES * SAMPLES_PER_FRAME
        if surplus > KEPT_FRAMES * SAMPLES_PER_FRAME // 2:  # not for every block
            self._kept = [np.concatenate(self._kept)[surplus:].copy()]
            self._first += surplus


@dataclass(frozen=True)
class Choice:
    """What a piece is read from, video, audio or both, and why."""

    modality: str
    why: str


@dataclass
class Sync:
    """How late the sound is against the lips, from all pieces so far."""

    scores: Array = field(default_factory=lambda: np.zeros(0))  # of each offset, (K,)
    frames: int = 0

    def add(self, scores: Array, frames: int) -> None:
        """Take the scores of another piece, as `LipNetwork.agreement_scores` gives them."""
        self.scores = self.scores + scores if len(self.scores) else scores.copy()
        self.frames += frames

    @property
    def offset_frames(self) -> int:
        """The likeliest: above 0 the sound is late."""
        return int(self.scores.argmax()) - len(self.scores) // 2 if len(self.scores) else 0

    @property
    def certainty(self) -> float:
        """Probability of this offset and those beside it, 0..1, if the sound belongs to the lips at all."""
        if not len(self.scores):
            return 0.0
        likely = np.exp(self.scores - self.scores.max())
        best = int(self.scores.argmax())
        return float(likely[max(0, best - 1) : best + 2].sum() / likely.sum())

    @property
    def fit(self) -> float:
        """How much better the best offset fits than an average one, per frame; near 0 for someone else's sound."""
        if not self.frames:
            return 0.0
        return float((self.scores.max() - self.scores.mean()) / self.frames)


class Ears:
    """Listens beside one reading of lips, or alone.

    Args:
        network: that hears.
        sound: of the file.
        modality: "auto", "both", or "audio" to listen alone.
        why: for "audio", why it is read from that.
    Attributes:
        sync: how late the sound is.
    """

    def __init__(
        self, network: LipNetwork, sound: SoundStream, modality: Modality, why: str = "as was asked for"
    ) -> None:
        self.network, self.sound, self.modality, self.why = network, sound, modality, why
        self.sync = Sync()

    @property
    def still(self) -> Callable[[list[Look]], Array] | None:
        """Where to cut, for `Pieces`."""
        return quietness if self.modality == "audio" else None

    def streams(self, lips: Streams, first: int, frames: int) -> tuple[Streams, Choice]:
        """The features of the lips in frames first .. first + frames - 1 -> those of what is read there, and why."""
        import torch

        heard = self.sound.frames(first, first + frames)
        if self.modality == "audio":
            return hear(self.network, heard), Choice("audio", self.why)
        if self.modality == "auto" and level(heard) < SILENT_LEVEL:
            return lips, Choice("video", "the sound is silent here")
        lengths = torch.tensor([frames], device=next(self.network.parameters()).device)
        sound = hear(self.network, heard)
        scores = self.network.agreement_scores({**lips, **sound}, lengths, frames)[0].float().cpu().numpy()
        own = Sync()
        own.add(scores, frames)
        before, self.sync = self.sync, Sync(self.sync.scores, self.sync.frames)
        self.sync.add(scores, frames)
        if self.modality == "auto" and own.fit < LEAST_FIT:
            self.sync = before  # somebody else's sound says nothing about this one's
            return lips, Choice("video", f"the sound does not go with the lips (fit {own.fit:.2f})")
        late = self.sync.offset_frames if self.sync.certainty >= SURE else 0
        if late:
            sound = hear(self.network, self.sound.frames(first + late, first + late + frames))
        moved = f", brought forward by {late / FRAME_RATE_HZ:.2f} s" if late > 0 else ""
        moved = f", put back by {-late / FRAME_RATE_HZ:.2f} s" if late < 0 else moved
        asked = self.why if self.modality == "both" else "the sound goes with the lips"
        return {**lips, **sound}, Choice("both", asked + moved)


def hear(network: LipNetwork, sound: Array) -> Streams:
    """The features of sound (N,) alone."""
    import torch

    device = next(network.parameters()).device
    frames = len(sound) // SAMPLES_PER_FRAME
    return network.front_ends(
        None, None, torch.tensor([frames], device=device), torch.from_numpy(sound)[None].to(device)
    )


def level(sound: Array) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if len(sound) else 0.0


def looks_at_sound(sound: SoundStream) -> Iterator[Look]:
    """Frames of sound without pictures, as looks at nobody: `spread` is the level in decibels, and words may be said
    wherever anything is recorded nearby."""
    levels: list[float] = []
    frame = 0
    while not sound.ended_before(frame):
        levels.append(level(sound.frames(frame, frame + 1)))
        frame += 1
        if len(levels) > AROUND_FRAMES:
            yield _heard(levels, len(levels) - 1 - AROUND_FRAMES)
    for last in range(max(0, len(levels) - AROUND_FRAMES), len(levels)):
        yield _heard(levels, last)


def _heard(levels: list[float], frame: int) -> Look:
    around = levels[max(0, frame - AROUND_FRAMES) : frame + AROUND_FRAMES + 1]
    return Look(frame, 0, None, 20 * np.log10(max(levels[frame], 1e-6)), max(around) >= SILENT_LEVEL)


def quietness(looks: list[Look]) -> Array:
    """Where to cut sound: the level around each frame over the quietest, in shares of a pause's margin, (T,)."""
    box = np.ones(7) / 7
    levels = np.convolve([look.spread for look in looks], box, "same")
    inside = levels[3:-3] if len(levels) > 6 else levels
    return np.asarray((levels - inside.min(initial=0.0)) / PAUSE_DB * PAUSE_SPREAD)
