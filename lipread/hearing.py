"""The sound beside the pictures: in step with them, brought to the lips' time, and listened to where it helps.

Shapes: T frames at 25 Hz, N = 640 T samples, D features, V symbols, K offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lipread.errors import ConfigError
from lipread.pieces import PAUSE_SPREAD
from lipread.turns import Look
from lipread.values import FRAME_RATE_HZ, SAMPLES_PER_FRAME, Array, MouthTrack

if TYPE_CHECKING:
    from torch import Tensor

    from lipread.model.fusion import Streams
    from lipread.model.network import LipNetwork

Modality = Literal["auto", "video", "audio", "both"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
KEPT_FRAMES = 60 * FRAME_RATE_HZ  # of sound that may still be asked for
SILENT_LEVEL = 1e-3  # root mean square of samples, 60 dB below full scale: nothing is recorded
LEAST_HEARD_FRAMES = FRAME_RATE_HZ  # of sound in a piece, or all of it: less says too little about whose it is
AROUND_FRAMES = FRAME_RATE_HZ // 2  # sound within so many frames of one may be of a word that is said there
# Lips and sound are compared by what the encoder makes of either alone. Measured on clips of `val`, of other speakers
# of `train` and of drawn people (docs/training-log.md, runs 18 and 23): likeness falls with noise, and so does how
# surely sound is read.
SYNC_LAYER = -2  # of the encoder's states
REACH_FRAMES = 15  # offsets of up to 0.6 s either way
SHARPNESS = 0.6  # likeness of a frame, as evidence for an offset, nats
LEAST_FIT = 0.8  # of lips and sound that belong together, see `Sync.fit`; low: to miss the own sound costs more
LEAST_SURE = 0.3  # how surely sound with speech in it is read at least: tones 0, most white and pink noise 0.2 (run 23)
AS_ASKED = "as was asked for"
PAUSE_DB = 8.0  # above the quietest of some seconds: still a pause
SURE = 0.85  # probability of an offset, together with those beside it, that is taken as known


def check_modality(modality: str) -> None:
    """Raises: ConfigError: it is none of `MODALITIES`."""
    if modality not in MODALITIES:
        raise ConfigError(f"modality {modality!r} is not known; use {', '.join(MODALITIES)}")


class SoundStream:
    """Sound by frame numbers, decoded as it is asked for; the last minute is kept.

    Args:
        blocks: samples at 16 kHz from the recording's beginning on, in blocks of any size.
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
        surplus = min(end, self._end) - self._first - KEPT_FRAMES * SAMPLES_PER_FRAME  # a block may be all the sound
        if surplus > KEPT_FRAMES * SAMPLES_PER_FRAME // 2:  # not for every block
            self._kept = [np.concatenate(self._kept)[surplus:].copy()]
            self._first += surplus


@dataclass(frozen=True)
class Choice:
    """What a piece is read from, video, audio or both, and why."""

    modality: str
    why: str


def likeness_of(lips: Tensor, sound: Tensor, heard: Array | None = None) -> Array:
    """How alike what the encoder makes of lips and of sound is at each offset between them.

    Args:
        lips, sound: hidden states of one stretch, each read alone, (T, D).
        heard: which frames of the sound count, bool (T,); silence is like any lips or like none. None: all.
    Returns: mean cosine of the frames that meet, less their mean over the stretch, at offsets from -REACH_FRAMES (the
        sound is early by so many frames) to REACH_FRAMES (late), float64 (K,).
    """
    cosines = _cosines(lips, sound, heard)
    reach = range(-REACH_FRAMES, REACH_FRAMES + 1)
    means = [float(cosines.diagonal(k).nanmean()) if abs(k) < len(cosines) else 0.0 for k in reach]
    return np.nan_to_num(means)  # where no frame meets one that counts


def _cosines(lips: Tensor, sound: Tensor, heard: Array | None = None) -> Tensor:
    """Of every frame of lips with every one of sound, means taken out, (T, T), NaN where the sound does not count;
    arguments as `likeness_of`."""
    import torch
    import torch.nn.functional as F

    counts = torch.ones(len(sound), dtype=torch.bool) if heard is None else torch.from_numpy(heard)
    counts = counts.to(sound.device)
    lips, sound = (F.normalize(each.double() - each.double()[counts].mean(0), dim=-1) for each in (lips, sound))
    return (lips @ sound.T).masked_fill(~counts, torch.nan)


@dataclass(frozen=True)
class Sync:
    """How late the sound is against the lips, from all stretches so far.

    Attributes:
        evidence: for each offset, nats, (K,).
        frames: so many of them.
        likeness: summed over frames, (K,).
        surely: how surely the sound alone was read, 0..1, summed over frames.
    """

    evidence: Array = field(default_factory=lambda: np.zeros(2 * REACH_FRAMES + 1))
    frames: int = 0
    likeness: Array = field(default_factory=lambda: np.zeros(2 * REACH_FRAMES + 1))
    surely: float = 0.0

    @classmethod
    def of(cls, likeness: Array, frames: int, surely: float) -> Sync:
        """Of one stretch, from `likeness_of` and `sureness`."""
        return cls(SHARPNESS * frames * likeness, frames, frames * likeness, frames * surely)

    def __add__(self, other: Sync) -> Sync:
        """Of both stretches."""
        return Sync(
            self.evidence + other.evidence, self.frames + other.frames, self.likeness + other.likeness,
            self.surely + other.surely,
        )

    @property
    def offset_frames(self) -> int:
        """The likeliest: above 0 the sound is late."""
        return int(self.evidence.argmax()) - REACH_FRAMES if self.frames else 0

    @property
    def at_the_edge(self) -> bool:
        """Whether the likeliest offset is the last one that is looked at: the right one may lie beyond."""
        return abs(self.offset_frames) == REACH_FRAMES

    @property
    def certainty(self) -> float:
        """Probability of this offset and those beside it, 0..1, if the sound belongs to the lips at all; 0 at the
        edge, where more is not known."""
        if not self.frames or self.at_the_edge:
            return 0.0
        likely = np.exp(self.evidence - self.evidence.max())
        best = int(self.evidence.argmax())
        return float(likely[max(0, best - 1) : best + 2].sum() / likely.sum())

    @property
    def fit(self) -> float:
        """How alike they are at the best offset, over how surely the sound alone is read: 1 and more for the speaker's
        own sound, clear or among noise, less where lips are hard to read; about 0.8 for another GRID sentence by the
        same person, 0.65 for one by somebody else."""
        return float(self.likeness.max() / max(self.surely, 1e-6)) if self.frames else 0.0


class Ears:
    """Listens beside one reading of lips, or alone.

    Args:
        network: that hears.
        sound: of the file.
        modality: "auto", "both", or "audio" to listen alone.
        why: for "audio", why it is read from that.
    Attributes:
        sync: how late the sound is.
        speechless: in how many stretches no speech was recognised in it.
    """

    def __init__(
        self, network: LipNetwork, sound: SoundStream, modality: Modality, why: str = AS_ASKED
    ) -> None:
        self.network, self.sound, self.modality, self.why = network, sound, modality, why
        self.sync, self.speechless = Sync(), 0

    @property
    def still(self) -> Callable[[list[Look]], Array] | None:
        """Where to cut, for `Pieces`."""
        return quietness if self.modality == "audio" else None

    def streams(self, lips: Streams, first: int, frames: int) -> tuple[Streams, Choice]:
        """The features of the lips in frames first .. first + frames - 1 -> those of what is read there, and why."""
        now = HeardSound(self.network, self.sound.frames(first, first + frames))
        if self.modality == "audio":
            return now.streams(), Choice("audio", self.why)
        here, against, little = None, "", now.too_little
        if not little:
            against, here = self._compared(lips, now)
        if self.modality == "auto" and (little or against):  # and the offset is not learned from somebody else's sound
            return lips, Choice("video", little or against)
        if here is None:
            self.speechless += 1
        else:
            self.sync = self.sync + here
        late = self.sync.offset_frames if self.sync.certainty >= SURE else 0
        if late:
            now = HeardSound(self.network, self.sound.frames(first + late, first + late + frames))
        moved = f", brought forward by {late / FRAME_RATE_HZ:.2f} s" if late > 0 else ""
        moved = f", put back by {-late / FRAME_RATE_HZ:.2f} s" if late < 0 else moved
        asked = self.why if self.modality == "both" else "the sound goes with the lips"
        return {**lips, **now.streams()}, Choice("both", asked + moved + (f"; {little}" if little else ""))

    def _compared(self, lips: Streams, sound: HeardSound) -> tuple[str, Sync | None]:
        """What speaks against their belonging together, "" for nothing, and the comparison; None without speech."""
        import torch

        heard = sound.heard
        lengths = torch.tensor([len(heard)], device=self.network.device)
        seen = self.network.encode_streams(lips, lengths, len(heard))[SYNC_LAYER][0, 1:]
        said, surely = sound.said()
        if surely < LEAST_SURE:
            return "no speech is recognised in the sound here", None
        here = Sync.of(likeness_of(seen, said, heard), int(heard.sum()), surely)
        if here.fit < LEAST_FIT:
            return f"the sound does not go with the lips (fit {here.fit:.2f})", here
        if here.at_the_edge:
            return f"the sound does not go with the lips within {REACH_FRAMES / FRAME_RATE_HZ} s", here
        return "", here


class WhoIsHeard:
    """Tells whose lips the sound goes with, an `Agreement`: the lip points of each face, read alone, against the sound.

    Args:
        network: that hears.
        sound: of the file.
    """

    def __init__(self, network: LipNetwork, sound: SoundStream) -> None:
        self.network, self.sound = network, sound

    def __call__(self, first: int, tracks: dict[int, MouthTrack]) -> dict[int, Array]:
        """As `Agreement`: the cosine at the offset that fits best, over a second to each side, (T,)."""
        import torch

        frames, device = len(next(iter(tracks.values())).points), self.network.device
        sound = HeardSound(self.network, self.sound.frames(first, first + frames))
        if frames > self.network.max_frames or sound.too_little:
            return {}
        heard = sound.heard
        points = torch.from_numpy(np.stack([track.points for track in tracks.values()])).to(device)
        lengths = torch.full((len(points),), frames, device=device)
        with torch.inference_mode():
            lips = self.network.front_ends(None, points, lengths)
            seen = self.network.encode_streams(lips, lengths, frames)[SYNC_LAYER]
            said, surely = sound.said()
            alike = [likeness_of(each[1:], said, heard) for each in seen]
            cosines = [_cosines(each[1:], said, heard) for each in seen]
        best = max(range(len(alike)), key=lambda number: alike[number].max())
        there = Sync.of(alike[best], int(heard.sum()), surely)
        if surely < LEAST_SURE or there.fit < LEAST_FIT or there.at_the_edge:
            return {}
        late = there.offset_frames
        return {
            identity: _around(each.diagonal(late).cpu().numpy(), frames, max(0, -late))
            for identity, each in zip(tracks, cosines, strict=True)
        }


def _around(cosines: Array, frames: int, first: int) -> Array:
    """The mean of what is known within a second of each frame, or else of all, (T,); `cosines` are those of the frames
    from `first`, NaN where nothing is known."""
    found = np.full(frames, np.nan)
    found[first : first + len(cosines)] = cosines
    known, box = np.isfinite(found), np.ones(2 * FRAME_RATE_HZ + 1)
    count, total = (
        np.convolve(each, box)[FRAME_RATE_HZ : FRAME_RATE_HZ + frames] for each in (known, np.nan_to_num(found))
    )
    return np.where(count > 0.5, total / np.maximum(1.0, count), found[known].mean())


class HeardSound:
    """A stretch of sound in step with frames, and what a network that hears makes of it.

    Long silence before, after or between words is read badly where it is given to the network as sound. So it is given
    nothing of the silence before the first and after the last frame in which anything is recorded.

    Args:
        network: that hears.
        sound: (N,), N = 640 T.
    Attributes:
        heard: in which frames anything is recorded, bool (T,).
    """

    def __init__(self, network: LipNetwork, sound: Array) -> None:
        self.heard = heard_in(sound)
        self._network, self._sound = network, sound
        self._first = int(self.heard.argmax()) if self.heard.any() else 0
        self._end = len(self.heard) - int(self.heard[::-1].argmax()) if self.heard.any() else 0

    @property
    def too_little(self) -> str:
        """Why it cannot be compared with lips, "" where it can."""
        if not self.heard.any():
            return "the sound is silent here"
        enough = self.heard.sum() >= min(LEAST_HEARD_FRAMES, len(self.heard))
        return "" if enough else "there is too little sound here to compare it with the lips"

    def streams(self) -> Streams:
        """The features of the frames in which anything is recorded; without any there is no such stream."""
        import torch

        from lipread.model.masks import Frames

        if not self.heard.any():
            return {}
        features, _ = self._features["sound"]
        where = torch.from_numpy(self.heard).to(features.device)
        return {"sound": (features[where[self._first : self._end]], Frames.of(where[None]))}

    def said(self) -> tuple[Tensor, float]:
        """What the encoder makes of it alone, (T, D), and how surely it is read; states of the silence around are 0."""
        import torch

        frames = self._end - self._first
        lengths = torch.tensor([frames], device=self._network.device)
        states = self._network.encode_streams(self._features, lengths, frames)
        said = states[SYNC_LAYER][0, 1:]
        around = (0, 0, self._first, len(self.heard) - self._end)
        return torch.nn.functional.pad(said, around), sureness(self._network, states[-1])

    @cached_property
    def _features(self) -> Streams:
        """Of all frames from the first to the last in which anything is recorded."""
        import torch

        device = self._network.device
        samples = self._sound[self._first * SAMPLES_PER_FRAME : self._end * SAMPLES_PER_FRAME]
        lengths = torch.tensor([self._end - self._first], device=device)
        return self._network.front_ends(None, None, lengths, torch.from_numpy(samples)[None].to(device))


def heard_in(sound: Array) -> Array:
    """In which frames of sound (N,) anything is recorded, bool (T,)."""
    return np.array([level(frame) >= SILENT_LEVEL for frame in sound.reshape(-1, SAMPLES_PER_FRAME)], bool)


def sureness(network: LipNetwork, states: Tensor) -> float:
    """How surely something is read in the last states (1, T + 1, D) of the encoder, 0..1; 0 where nothing is."""
    said = network.ctc(states[:, 1:])[0].exp()[:, 1:]  # (T, V - 1), without the blank
    best = said.max(1).values[said.sum(1) > 0.5]
    return float(best.mean()) if len(best) else 0.0


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
