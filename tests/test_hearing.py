"""Sound in step with the pictures: what is kept, how late it is, when it is listened to."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lipread.errors import ConfigError
from lipread.hearing import (
    KEPT_FRAMES,
    REACH_FRAMES,
    Ears,
    SoundStream,
    Sync,
    WhoIsHeard,
    check_modality,
    level,
    likeness_of,
    looks_at_sound,
    quietness,
)
from lipread.pieces import PAUSE_SPREAD, Pieces
from lipread.values import SAMPLES_PER_FRAME, MouthTrack


def counting(frames: int, block: int = 1000) -> Iterator[Any]:
    """Samples that say which frame they belong to, in blocks that fit no frame."""
    samples = np.repeat(np.arange(frames, dtype=np.float32), SAMPLES_PER_FRAME)
    for start in range(0, len(samples), block):
        yield samples[start : start + block]


def frames_of(samples: Any) -> list[float]:
    rows = samples.reshape(-1, SAMPLES_PER_FRAME)
    assert (rows == rows[:, :1]).all()
    return list(rows[:, 0])


def test_frames_are_given_where_they_lie() -> None:
    stream = SoundStream(counting(10))
    assert frames_of(stream.frames(2, 5)) == [2, 3, 4]
    assert frames_of(stream.frames(0, 2)) == [0, 1]
    assert frames_of(stream.frames(8, 12)) == [8, 9, 0, 0]  # silence after the end
    assert frames_of(stream.frames(-2, 2)) == [0, 0, 0, 1]  # and before the start
    assert not stream.ended_before(9) and stream.ended_before(10)


def test_no_sound_is_none() -> None:
    assert not SoundStream(iter([])).any
    assert SoundStream(counting(1)).any
    assert not SoundStream(iter([])).frames(0, 3).any()


def test_an_hour_takes_the_memory_of_a_minute() -> None:
    stream = SoundStream(counting_forever())
    tracemalloc.start()
    for first in range(0, 20 * KEPT_FRAMES, 75):
        stream.frames(first, first + 75)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5 * KEPT_FRAMES * SAMPLES_PER_FRAME * 4
    assert frames_of(stream.frames(20 * KEPT_FRAMES - 75 - KEPT_FRAMES // 2, 20 * KEPT_FRAMES - 75))[0] == 1


def counting_forever() -> Iterator[Any]:
    while True:
        yield np.ones(4096, np.float32)


def alike(late: int, height: float) -> Any:
    """Likeness that is `height` higher at one offset than at all others."""
    found = np.zeros(2 * REACH_FRAMES + 1)
    found[REACH_FRAMES + late] = height
    return found


@pytest.mark.parametrize("late", [-15, -4, 0, 1, 12])
def test_the_offset_is_found(late: int) -> None:
    states = torch.randn(60, 16, generator=torch.Generator().manual_seed(3))
    found = likeness_of(states, torch.roll(states, late, dims=0))
    assert found.shape == (2 * REACH_FRAMES + 1,)
    assert int(found.argmax()) - REACH_FRAMES == late and found.max() == pytest.approx(1.0)
    assert likeness_of(states[:8], states[:8])[:REACH_FRAMES - 7].tolist() == [0.0] * (REACH_FRAMES - 7)  # never meet


def test_evidence_of_stretches_adds_up() -> None:
    sync = Sync()
    assert (sync.offset_frames, sync.certainty, sync.fit) == (0, 0.0, 0.0)
    one = sync + Sync.of(alike(4, 0.05), 75, 0.8)
    several = one
    for _ in range(3):
        several = several + Sync.of(alike(4, 0.05), 75, 0.8)
    assert one.offset_frames == several.offset_frames == 4
    assert one.certainty < 0.5 < 0.95 < several.certainty
    assert one.fit == pytest.approx(several.fit) == pytest.approx(0.05 / 0.8)


def test_certainty_is_the_share_of_three_offsets() -> None:
    flat = Sync.of(alike(-REACH_FRAMES + 1, 1e-9), 10, 1.0)
    assert flat.certainty == pytest.approx(3 / 31)
    assert Sync.of(alike(REACH_FRAMES, 1.0), 75, 1.0).certainty == 0.0  # the right offset may lie beyond
    assert Sync.of(alike(-3, 1.0), 75, 1.0).certainty == pytest.approx(1.0)


class Agreeing:
    """A network whose encoder makes the same of lips and sound at one offset, the more alike the less noise."""

    def __init__(self, late: int, noise: float = 0.0) -> None:
        self.late, self.noise = late, noise
        self.heard: list[Any] = []

    def parameters(self) -> Iterator[Any]:
        return iter([torch.zeros(1)])

    def front_ends(self, _crops: None, _points: None, _lengths: Any, sound: Any) -> dict[str, Any]:
        self.heard.append(sound[0].numpy())
        return {"sound": (sound, None)}

    def encode_streams(self, streams: Any, _lengths: Any, frames: int) -> list[Any]:
        draw = torch.Generator().manual_seed(5)
        states = torch.randn(frames, 32, generator=draw)
        if "sound" in streams:
            states = states.roll(self.late, dims=0) + self.noise * torch.randn(frames, 32, generator=draw)
        return [torch.cat([torch.zeros(1, 32), states])[None]] * 2

    def ctc(self, states: Any) -> Any:
        """Everything is read surely."""
        return torch.tensor([0.1, 0.9]).log().expand(1, states.shape[1], 2)


LIPS: Any = {"pixels": ("features", "where")}


def loud(frames: int) -> SoundStream:
    return SoundStream([np.repeat(np.arange(1, frames + 1, dtype=np.float32), SAMPLES_PER_FRAME)])


def test_sound_that_is_late_is_brought_forward() -> None:
    network: Any = Agreeing(late=3)
    ears = Ears(network, loud(100), "auto")
    streams, choice = ears.streams(LIPS, 10, 20)
    assert streams.keys() == {"pixels", "sound"}
    assert choice.modality == "both" and "brought forward by 0.12 s" in choice.why
    assert frames_of(network.heard[-1]) == list(range(14, 34))  # frame 13 is heard with the lips of frame 10


def test_sound_of_someone_else_is_not_listened_to() -> None:
    network: Any = Agreeing(late=2, noise=5.0)
    ears = Ears(network, loud(100), "auto")
    streams, choice = ears.streams(LIPS, 0, 20)
    assert streams is LIPS and choice.modality == "video" and "does not go with the lips" in choice.why
    assert ears.sync.frames == 0  # and says nothing about the offset
    assert Ears(network, loud(100), "both").streams(LIPS, 0, 20)[1].modality == "both"  # unless it was asked for


def test_silent_sound_is_not_listened_to() -> None:
    network: Any = Agreeing(late=0)
    silent = SoundStream([np.full(100 * SAMPLES_PER_FRAME, 1e-4, np.float32)])
    streams, choice = Ears(network, silent, "auto").streams(LIPS, 0, 20)
    assert streams is LIPS and choice == type(choice)("video", "the sound is silent here")


def test_sound_without_speech_is_not_listened_to() -> None:
    network: Any = Agreeing(late=2)
    network.ctc = lambda states: torch.tensor([0.9, 0.1]).log().expand(1, states.shape[1], 2)  # hardly anything is read
    ears = Ears(network, loud(100), "auto")
    streams, choice = ears.streams(LIPS, 0, 20)
    assert streams is LIPS and choice == type(choice)("video", "no speech is recognised in the sound here")
    asked = Ears(network, loud(100), "both")
    assert asked.streams(LIPS, 0, 20)[1] == type(choice)("both", "as was asked for")
    assert (asked.sync.frames, asked.speechless) == (0, 1)


def test_an_offset_at_the_edge_is_not_known() -> None:
    network: Any = Agreeing(late=REACH_FRAMES)
    ears = Ears(network, loud(200), "auto")
    streams, choice = ears.streams(LIPS, 40, 60)
    assert streams is LIPS and choice.why == "the sound does not go with the lips within 0.6 s"
    asked = Ears(network, loud(200), "both")
    assert asked.streams(LIPS, 40, 60)[1].why == "as was asked for"  # and the sound is not moved
    assert asked.sync.certainty == 0.0


class TwoPeople(Agreeing):
    """The sound goes with the lips whose points are 1."""

    max_frames = 150

    def front_ends(self, _crops: None, points: Any, _lengths: Any, sound: Any = None) -> dict[str, Any]:
        return {"points": (points, None)} if sound is None else super().front_ends(None, None, None, sound)

    def encode_streams(self, streams: Any, _lengths: Any, frames: int) -> list[Any]:
        if "sound" in streams:
            return super().encode_streams(streams, _lengths, frames)
        own = super().encode_streams({}, _lengths, frames)[0]
        other = torch.randn(frames + 1, 32, generator=torch.Generator().manual_seed(9))
        states = torch.stack([own[0] if points[0, 0, 0] == 1 else other for points in streams["points"][0]])
        return [states] * 2


def still(value: float, frames: int) -> MouthTrack:
    points = np.full((frames, 9, 2), value, np.float32)
    return MouthTrack(np.zeros((frames, 96, 96), np.uint8), points, np.ones(frames, bool))


@pytest.mark.parametrize("late", [-9, 0, 4])
def test_of_two_people_the_sound_goes_with_one(late: int) -> None:
    who = WhoIsHeard(TwoPeople(late), loud(200))  # type: ignore[arg-type]
    found = who(30, {5: still(0.0, 100), 3: still(1.0, 100)})
    assert set(found) == {3, 5} and {len(each) for each in found.values()} == {100}
    assert found[3].min() > 0.95 > 0.3 > np.abs(found[5]).max()
    np.testing.assert_array_equal(who.network.heard[0][:: SAMPLES_PER_FRAME], np.arange(31, 131))  # type: ignore


def test_nobody_is_chosen_by_sound_that_goes_with_nobody() -> None:
    people = {0: still(0.0, 100), 1: still(0.0, 100)}
    assert WhoIsHeard(TwoPeople(0), loud(200))(0, people) == {}  # type: ignore[arg-type]
    long = {0: still(0.0, 151), 1: still(1.0, 151)}  # more than the network reads at once
    assert WhoIsHeard(TwoPeople(0), loud(200))(0, long) == {}  # type: ignore[arg-type]
    people[1] = still(1.0, 100)
    assert WhoIsHeard(TwoPeople(0), SoundStream([np.zeros(64_000, np.float32)]))(0, people) == {}  # type: ignore


def test_sound_alone() -> None:
    network: Any = Agreeing(late=9)
    streams, choice = Ears(network, loud(100), "audio", "no face is seen").streams({}, 0, 20)
    assert streams.keys() == {"sound"} and (choice.modality, choice.why) == ("audio", "no face is seen")
    assert frames_of(network.heard[-1])[:2] == [1, 2]  # no lips that it could be late against


def test_looks_at_sound_say_where_something_is_recorded() -> None:
    samples = np.zeros(200 * SAMPLES_PER_FRAME, np.float32)
    samples[80 * SAMPLES_PER_FRAME : 100 * SAMPLES_PER_FRAME] = 0.1
    looks = list(looks_at_sound(SoundStream([samples])))
    assert [look.frame for look in looks] == list(range(200))
    moving = [look.frame for look in looks if look.moving]
    assert moving == list(range(68, 112))  # and half a second around it
    assert looks[90].spread == pytest.approx(-20.0, abs=0.1) and looks[90].mouth is None


def test_sound_is_cut_where_it_is_quiet() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 200 * SAMPLES_PER_FRAME).astype(np.float32)
    samples[70 * SAMPLES_PER_FRAME : 84 * SAMPLES_PER_FRAME] *= 0.01
    pieces = Pieces(quietness)
    cut = [piece for look in looks_at_sound(SoundStream([samples])) for piece in pieces.push(look)] + pieces.end()
    assert 72 <= cut[1].first <= 82
    assert [piece.first for piece in cut[1:]] == [p.first + len(p.moving) for p in cut[:-1]]
    looks = list(looks_at_sound(SoundStream([samples])))
    still = quietness(looks)
    assert still[77] <= PAUSE_SPREAD < still[40]


def test_level_is_the_root_mean_square() -> None:
    assert level(np.array([3.0, -4.0])) == pytest.approx(12.5**0.5)
    assert level(np.zeros(0)) == 0.0


def test_unknown_modality_is_refused() -> None:
    with pytest.raises(ConfigError, match="modality 'lips' is not known; use auto, video, audio, both"):
        check_modality("lips")
