"""Sound in step with the pictures: what is kept, how late it is, when it is listened to."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import media
from lipread.audio import read_audio, read_audio_blocks
from lipread.config import PRESETS
from lipread.errors import ConfigError
from lipread.hearing import (
    KEPT_FRAMES,
    LEAST_HEARD_FRAMES,
    REACH_FRAMES,
    Ears,
    HeardSound,
    SoundStream,
    Sync,
    WhoIsHeard,
    check_modality,
    heard_in,
    level,
    likeness_of,
    looks_at_sound,
    quietness,
)
from lipread.model.network import LipNetwork
from lipread.pieces import PAUSE_SPREAD, Pieces
from lipread.pipeline import load_model, watch_mouth
from lipread.sync import sync_of_looks
from lipread.turns import looks_at
from lipread.values import SAMPLES_PER_FRAME, MouthTrack
from networks import tiny_network


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


def test_sound_that_comes_as_one_block_is_there_from_its_start() -> None:
    frames = 5 * KEPT_FRAMES
    stream = SoundStream([np.repeat(np.arange(frames, dtype=np.float32), SAMPLES_PER_FRAME)])
    for first in range(0, frames, 100):
        assert frames_of(stream.frames(first, first + 100)) == list(range(first, first + 100))


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


@pytest.mark.parametrize("late", [-8, 0, 5])
def test_frames_that_do_not_count_say_nothing(late: int) -> None:
    states = torch.randn(60, 16, generator=torch.Generator().manual_seed(3))
    heard = np.arange(60) < 30
    sound = torch.where(torch.from_numpy(heard)[:, None], torch.roll(states, late, dims=0), 50.0)
    found = likeness_of(states, sound, heard)
    assert int(found.argmax()) - REACH_FRAMES == late and found.max() > 0.9
    assert likeness_of(states, sound).max() < 0.7
    assert likeness_of(states, sound, np.ones(60, bool)) == pytest.approx(likeness_of(states, sound))
    assert likeness_of(states, sound, np.arange(60) == 59)[0] == 0.0  # no frame meets it


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

    device = torch.device("cpu")

    def __init__(self, late: int, noise: float = 0.0) -> None:
        self.late, self.noise = late, noise
        self.heard: list[Any] = []

    def front_ends(self, _crops: None, _points: None, _lengths: Any, sound: Any) -> dict[str, Any]:
        self.heard.append(sound[0].numpy())
        return {"sound": (torch.zeros(sound.shape[1] // SAMPLES_PER_FRAME, 1), None)}

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


@pytest.mark.parametrize(
    ("level_of_the_rest", "frames", "says"),
    [
        (0.0, 0, "the sound is silent here"),
        (1e-4, 1, "there is too little sound here to compare it with the lips"),
        (0.0, LEAST_HEARD_FRAMES - 1, "there is too little sound here to compare it with the lips"),
    ],
)
def test_too_little_sound_is_no_evidence(level_of_the_rest: float, frames: int, says: str) -> None:
    network: Any = Agreeing(late=0)
    samples = np.full(100 * SAMPLES_PER_FRAME, level_of_the_rest, np.float32)
    samples[: frames * SAMPLES_PER_FRAME] = 1
    streams, choice = Ears(network, SoundStream([samples]), "auto").streams(LIPS, 0, 60)
    assert streams is LIPS and choice == type(choice)("video", says)
    asked = Ears(network, SoundStream([samples]), "both")
    streams, choice = asked.streams(LIPS, 0, 60)
    assert choice == type(choice)("both", f"as was asked for; {says}")
    assert ("sound" in streams) == (frames > 0) and asked.sync.frames == 0
    short = Ears(network, SoundStream([samples]), "auto").streams(LIPS, 0, max(1, frames))[1]  # but it is all there is
    assert short.modality == ("both" if frames > 1 else "video")


def test_what_is_heard_is_given_and_silence_is_not() -> None:
    network: Any = tiny_network(PRESETS["tiny"].model_copy(update={"streams": ("pixels", "points", "sound")}))
    sound = np.random.default_rng(0).normal(0, 0.1, 30 * SAMPLES_PER_FRAME).astype(np.float32)
    silent = [*range(8), 15, 16, *range(25, 30)]
    sound.reshape(30, -1)[silent] = 0
    heard = heard_in(sound)
    assert np.flatnonzero(~heard).tolist() == silent
    features, where = HeardSound(network, sound).streams()["sound"]
    assert where.valid.tolist() == [heard.tolist()]
    between = torch.from_numpy(sound[8 * SAMPLES_PER_FRAME : 25 * SAMPLES_PER_FRAME])[None]
    alone = network.front_ends(None, None, torch.tensor([17]), between)["sound"][0]
    assert torch.equal(features, alone[torch.from_numpy(heard[8:25])])
    assert HeardSound(network, 0 * sound).streams() == {}
    assert isinstance(network, LipNetwork) and len(network.encode_streams({}, torch.tensor([30]), 30)[0][0]) == 31


@pytest.mark.parametrize("name", ["s1_bwag4n", "s1_bbbs4n"])
@pytest.mark.parametrize("kept", [slice(0, 37), slice(37, 75)])
def test_the_own_sound_of_half_a_clip_is_not_rejected(grid_dir: Path, name: str, kept: slice) -> None:
    """A real clip, the shipped model: silence says nothing against the lips, and nothing in place of words."""
    film, reader = grid_dir / "clips" / f"{name}.mp4", load_model("small", "cpu")
    track, sound = watch_mouth(film).track, read_audio(film, frames=75)
    assert sound is not None
    half = np.zeros_like(sound).reshape(75, -1)
    half[kept] = sound.reshape(75, -1)[kept]
    said = reader.read_track(track, sound=SoundStream([half.reshape(-1)]))
    assert {(each.modality, each.why[:28]) for each in said.segments} == {("both", "the sound goes with the lips")}
    assert said.text == reader.read_track(track, sound=SoundStream([sound]), modality="both").text
    offset = sync_of_looks(reader, looks_at(track), SoundStream([half.reshape(-1)]))
    assert offset is not None and abs(offset.late_s) <= 0.08 and "does not go" not in offset.sentence


@pytest.fixture(scope="module")
def clear(grid_dir: Path) -> tuple[MouthTrack, Any]:
    """Mouth and sound of a real clip that is read well."""
    film = grid_dir / "clips" / "s1_bwag4n.mp4"
    return watch_mouth(film).track, read_audio(film, frames=75)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "damaged"),
    [(8_000, 1, 0), (192_000, 1, 0), (16_000, 8, 0), (48_000, 2, 0), (16_000, 1, 60)],
)
def test_the_sound_of_other_files_reads_the_same(
    clear: tuple[MouthTrack, Any], tmp_path: Path, rate_hz: int, channels: int, damaged: int
) -> None:
    """Other rates, more channels, samples that are no numbers: the shipped model reads what it reads in the clip."""
    from torchaudio.functional import resample

    (track, sound), reader = clear, load_model("small", "cpu")
    other = resample(torch.from_numpy(sound)[None], 16_000, rate_hz) * torch.linspace(1, 0.3, channels)[:, None]
    samples = other.numpy()
    places = np.random.default_rng(0).integers(0, samples.shape[1], damaged)
    samples[:, places] = np.resize([np.nan, np.inf, -np.inf], damaged)
    layout = {1: "mono", 2: "stereo", 8: "7.1"}[channels]
    path = media.write_sound(tmp_path / "a.wav", samples, rate_hz=rate_hz, codec="pcm_f32le", layout=layout)

    def read(heard: SoundStream) -> str:
        return reader.read_track(track, sound=heard, modality="both").text

    assert read(SoundStream(read_audio_blocks(path))) == read(SoundStream([sound])) != ""
    if rate_hz > 8_000:  # an s without what lies above 4 kHz is often another letter
        clean = reader.transcribe(path, modality="audio", sound=SoundStream([sound]))
        said = reader.transcribe(path, modality="audio")
        assert said.text == clean.text != ""
        assert bool(damaged) == any("not finite" in warning for warning in said.warnings)


def test_the_sound_of_half_of_another_clip_is_rejected(grid_dir: Path) -> None:
    reader, clips = load_model("small", "cpu"), grid_dir / "clips"
    track = watch_mouth(clips / "s1_bwag4n.mp4").track
    rejected = 0
    for other in ("s1_lbad8p", "s1_lgamzp", "s3_bbal5s", "s4_srah4a", "s5_bbal3s", "s26_lrbi7p"):
        sound = read_audio(clips / f"{other}.mp4", frames=75)
        assert sound is not None
        sound[len(sound) // 2 :] = 0
        rejected += reader.read_track(track, sound=SoundStream([sound])).modality == "video"
    assert rejected >= 3  # of whole clips of other sentences, two in three are


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


def test_where_only_a_part_is_heard_the_rest_goes_to_the_same_person() -> None:
    samples = np.zeros(150 * SAMPLES_PER_FRAME, np.float32)
    samples[: 60 * SAMPLES_PER_FRAME] = 0.1
    people = {5: still(0.0, 150), 3: still(1.0, 150)}
    found = WhoIsHeard(TwoPeople(0), SoundStream([samples]))(0, people)  # type: ignore[arg-type]
    assert set(found) == {3, 5} and found[3].min() > 0.5 > 0.3 > np.abs(found[5]).max()
    assert found[3][-1] == pytest.approx(found[3][-30])  # nothing is known there
    few = SoundStream([samples[: 10 * SAMPLES_PER_FRAME]])
    assert WhoIsHeard(TwoPeople(0), few)(0, people) == {}  # type: ignore[arg-type]


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
