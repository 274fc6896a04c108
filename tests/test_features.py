"""Encoder states of a video: windows against single passes, the file, and what goes wrong."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file

import media
from lipread import cli
from lipread.alphabet import Alphabet
from lipread.audio import read_audio_blocks
from lipread.checkpoint import Checkpoint
from lipread.config import PRESETS
from lipread.decoding.greedy import greedy_decode
from lipread.errors import ConfigError, NoFaceError, NoSoundError, OutputError, VideoError
from lipread.features import Features, chosen_layer, states_of, video_features, windows, write_features
from lipread.hearing import SoundStream
from lipread.metrics import score
from lipread.model.network import LipNetwork
from lipread.pieces import SHARED_FRAMES, WINDOW_FRAMES
from lipread.pipeline import LipReader, load_model, watch_mouth
from lipread.values import Array, MouthTrack
from networks import tiny_network
from shell import one_line, talking, tiny_checkpoint, wall


def random_track(frames: int, *, start_s: float = 0.0) -> MouthTrack:
    rng = np.random.default_rng(frames)
    points = rng.normal(0, 0.2, (frames, 9, 2)).astype(np.float32)
    points[1::3] = np.nan
    crops = rng.integers(0, 256, (frames, 96, 96), dtype=np.uint8)
    return MouthTrack(crops, points, np.isfinite(points).all(axis=(1, 2)), start_s)


def single_pass(network: LipNetwork, track: MouthTrack, first: int, last: int) -> list[Array]:
    """States of all layers for some frames that go through the network together."""
    crops = torch.from_numpy(track.crops[None, first:last, 4:92, 4:92].copy())
    points = torch.from_numpy(track.points[None, first:last])
    with torch.no_grad():
        states = network.encode(crops, points, torch.tensor([last - first]))
    return [state[0, 1:].numpy() for state in states]


def reader() -> LipReader:
    return LipReader(Checkpoint(tiny_network(), Alphabet.english(), {}, "tiny"))


# -- windows ----------------------------------------------------------------------------------------------------------


def test_windows_by_hand() -> None:
    assert [tuple(window) for window in windows(230, 100)] == [
        (0, 100, 0, 85), (70, 170, 85, 150), (130, 230, 150, 230)  # 15 of 30 shared frames, then 20 of 40
    ]
    assert [tuple(window) for window in windows(100, 100)] == [(0, 100, 0, 100)]
    assert [tuple(window) for window in windows(3, 1)] == [(0, 1, 0, 1), (1, 2, 1, 2), (2, 3, 2, 3)]
    assert windows(0, 100) == []


@given(frames=st.integers(0, 1000), longest=st.integers(1, 300))
def test_every_frame_counts_once_and_far_from_an_end_of_its_window(frames: int, longest: int) -> None:
    found = windows(frames, longest)
    assert [k for window in found for k in range(window.start, window.end)] == list(range(frames))
    for window in found:
        assert 0 <= window.first <= window.start < window.end <= window.last <= frames
        assert window.last - window.first == min(longest, frames)
        apart = min(SHARED_FRAMES, longest - 1) // 2  # what is seen on either side of each frame that counts
        assert window.start == 0 or window.start - window.first >= apart
        assert window.end == frames or window.last - window.end >= apart


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_short_track_is_a_single_pass(layer: int) -> None:
    network, track = tiny_network(), random_track(WINDOW_FRAMES)
    assert np.allclose(states_of(network, track, None, layer), single_pass(network, track, 0, 100)[layer], atol=1e-5)


def test_a_long_track_is_single_passes_joined_in_the_middle() -> None:
    network, track, told = tiny_network(), random_track(230), list[float]()
    states = states_of(network, track, None, 2, progress=lambda _, share: told.append(share))
    assert states.shape == (230, 32)
    assert states.dtype == np.float32
    for first, last, start, end in ((0, 100, 0, 85), (70, 170, 85, 150), (130, 230, 150, 230)):
        wanted = single_pass(network, track, first, last)[2][start - first : end - first]
        assert np.allclose(states[start:end], wanted, atol=1e-5)
    assert told == [85 / 230, 150 / 230, 1.0]


def test_a_window_is_never_longer_than_the_network_reads() -> None:
    config = tiny_network().config
    narrow = config.model_copy(update={"encoder": config.encoder.model_copy(update={"max_position_embeddings": 41})})
    network, track = tiny_network(narrow), random_track(70)
    states = states_of(network, track, None, 1)
    assert np.allclose(states[:25], single_pass(network, track, 0, 40)[1][:25], atol=1e-5)
    assert np.isfinite(states).all()
    assert states_of(network, random_track(0), None, 1).shape == (0, 32)


# -- videos -----------------------------------------------------------------------------------------------------------


def test_features_of_a_video(tmp_path: Path) -> None:
    clip = talking(tmp_path / "head.mp4")
    track = watch_mouth(clip).track
    for layer in (0, 1, 2, None):
        found = video_features(reader(), clip, layer=layer)
        assert found.layer == (2 if layer is None else layer)
        assert np.allclose(found.states, single_pass(tiny_network(), track, 0, 12)[found.layer], atol=1e-4)
    assert np.allclose(found.times, np.arange(12) / 25)
    assert np.array_equal(found.present, track.present)
    assert (found.model, found.source) == ("tiny", str(clip))


@pytest.mark.parametrize("layer", [-1, 3, 99])
def test_a_layer_that_is_not_there_is_one_sentence(layer: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        video_features(reader(), tmp_path / "never opened.mp4", layer=layer)
    assert str(caught.value) == (
        f"layer={layer} is not in this model; take 0 (the embeddings) to 2 (the last layer)"
    )
    assert chosen_layer(tiny_network(), None) == 2


def test_videos_that_are_no_use(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a film")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        video_features(reader(), tmp_path / "text.mp4")
    with pytest.raises(NoFaceError, match=r"wall\.mp4: no face was found, so there are no lips"):
        video_features(reader(), wall(tmp_path / "wall.mp4"))
    with pytest.raises(NoFaceError, match="no face 3"):
        video_features(reader(), talking(tmp_path / "head.mp4"), speaker=3)


@pytest.mark.parametrize("modality", ["audio", "both"])
def test_features_of_sound_are_what_the_network_hears(modality: Any, grid_dir: Path, tmp_path: Path) -> None:
    clip, shipped = grid_dir / "clips" / "s1_bbaf2n.mp4", load_model("small", "cpu")
    found = video_features(shipped, clip, layer=4, modality=modality)
    frames = len(found.states)
    assert frames == 75  # as the picture; the sound ends a little later
    sound = torch.from_numpy(SoundStream(read_audio_blocks(clip)).frames(0, frames))[None]
    track, lengths = watch_mouth(clip).track, torch.tensor([frames])
    crops, points = torch.from_numpy(track.crops[None, :, 4:92, 4:92].copy()), torch.from_numpy(track.points[None])
    lips = (crops, points) if modality == "both" else (None, None)
    with torch.no_grad():
        wanted = shipped.listener.encode(*lips, lengths, sound)[4][0, 1:]
    assert np.allclose(found.states, wanted.numpy(), atol=1e-3)
    assert (found.modality, found.present.any()) == (modality, modality == "both")
    write_features(path := tmp_path / "clip.safetensors", found)
    with safe_open(path, "np") as file:
        assert file.metadata()["modality"] == modality


def hearing() -> LipReader:
    network = tiny_network(PRESETS["tiny"].model_copy(update={"streams": ("pixels", "points", "sound")}))
    return LipReader(Checkpoint(network, Alphabet.english(), {}, "hearing"))


@pytest.mark.parametrize("seconds", [0.3, 1.0])
def test_features_of_sound_are_as_many_as_pictures(seconds: float, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, (1, round(16_000 * seconds))).astype(np.float32)
    grey = [np.full((96, 96, 3), 90, np.uint8)] * 15
    film = media.write_video(tmp_path / "grey.mkv", grey, sound=noise, sound_codec="pcm_s16le")
    found = video_features(hearing(), film, modality="audio")
    assert len(found.states) == len(found.times) == len(found.present) == 15
    alone = media.write_sound(tmp_path / "noise.wav", noise, rate_hz=16_000, codec="pcm_s16le")
    assert len(video_features(hearing(), alone, modality="audio").states) == -(-len(noise[0]) // 640)


def test_features_of_sound_of_more_than_a_minute() -> None:
    reader, sound = hearing(), np.random.default_rng(0).normal(0, 0.1, 100 * 16_000).astype(np.float32)
    states = states_of(reader.network, None, sound, 1)
    assert states.shape == (2500, 32)
    with torch.no_grad():
        first = reader.network.encode(None, None, torch.tensor([100]), torch.from_numpy(sound[None, :64_000]))[1]
    assert np.allclose(states[:80], first[0, 1:81].numpy(), atol=1e-4)


def test_sound_that_is_not_there(tmp_path: Path) -> None:
    head, shipped = talking(tmp_path / "head.mp4"), load_model("small", "cpu")
    for modality in ("audio", "both"):
        with pytest.raises(NoSoundError, match=r"head\.mp4 has no sound that can be decoded; use modality video"):
            video_features(shipped, head, modality=modality)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="model 'tiny' reads lips only, so there are no features of modality"):
            video_features(reader(), head, modality=modality)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="modality 'auto' is not known for features; use video, audio, both"):
        video_features(shipped, head, modality="auto")  # type: ignore[arg-type]


def test_a_real_clip_with_the_shipped_model(grid_dir: Path, tmp_path: Path) -> None:
    rows = [line.split("\t") for line in (grid_dir / "manifest.tsv").read_text().splitlines()]
    name, said = next((row[0], row[-1]) for row in rows if row[2] == "train")
    clip = grid_dir / "clips" / f"{name}.mp4"
    assert cli.main(["features", str(clip), "-o", str(tmp_path), "--device", "cpu"]) == 0
    found = load_file(tmp_path / f"{clip.stem}.features.safetensors")
    assert found["states"].shape == (75, 256)
    assert found["present"].all()
    assert found["times"][-1] == pytest.approx(74 / 25)
    reader = load_model("small", "cpu")
    with torch.no_grad():  # the words can be read from what was written
        log_probs = reader.network.ctc(torch.from_numpy(found["states"][None]))[0].numpy()
    assert score([said], [greedy_decode(log_probs, reader.alphabet).text]).wer <= 1 / 6


# -- files ------------------------------------------------------------------------------------------------------------

MADE_UP = Features(
    np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32), np.arange(7) / 25 + 1, np.arange(7) % 2 > 0,
    layer=1, model="tiny", source="clip.mp4",
)


@pytest.mark.parametrize("half", [False, True])
def test_the_file_holds_everything(half: bool, tmp_path: Path) -> None:
    write_features(path := tmp_path / "new" / "clip.features.safetensors", MADE_UP, half=half)
    found = load_file(path)
    assert set(found) == {"states", "times", "present"}
    assert found["states"].dtype == (np.float16 if half else np.float32)
    assert np.allclose(found["states"], MADE_UP.states, atol=1e-2 if half else 0)
    assert np.array_equal(found["times"], MADE_UP.times)
    assert found["present"].dtype == bool and np.array_equal(found["present"], MADE_UP.present)
    with safe_open(path, "np") as file:
        assert file.metadata() == {
            "format": "lipread-features-1", "model": "tiny", "layer": "1", "modality": "video", "source": "clip.mp4",
            "frame_rate_hz": "25",
        }


def test_a_source_whose_name_is_no_text(tmp_path: Path) -> None:
    write_features(path := tmp_path / "f.safetensors", replace(MADE_UP, source=os.fsdecode(b"caf\xe9.mp4")))
    with safe_open(path, "np") as file:
        assert file.metadata()["source"] == "caf\\udce9.mp4"


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OutputError, match=r"clip\.safetensors cannot be written \(No space left on device\)"):
        write_features(tmp_path / "clip.safetensors", MADE_UP)
    assert list(tmp_path.iterdir()) == []


def test_one_bad_video_does_not_stop_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    talking(folder / "a" / "head.mp4")
    wall(folder / "wall.mp4")
    (folder / "text.mp4").write_text("not a film")
    arguments = ["features", str(folder), "-o", str(out), "--model", str(tiny_checkpoint(tmp_path)), "--device", "cpu"]
    assert cli.main([*arguments, "--layer", "0", "--half"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [str(out / "a" / "head.features.safetensors")]
    errors = [line for line in captured.err.splitlines() if line.startswith("lipread: error: ")]
    assert len(errors) == 2
    assert "text.mp4" in errors[0] and "wall.mp4: no face" in errors[1]
    assert [path.relative_to(out).as_posix() for path in out.rglob("*.*")] == ["a/head.features.safetensors"]
    assert load_file(out / "a" / "head.features.safetensors")["states"].dtype == np.float16


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--layer", "7"], 2, "layer=7 is not in this model; take 0 (the embeddings) to 2 (the last layer)"),
        (["--speaker", "all"], 2, "speaker 'all' has more than one mouth"),
        (["--device", "toaster"], 2, "'toaster'"),
    ],
)
def test_wrong_calls_are_one_line_before_any_video(
    arguments: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (film := tmp_path / "film.mp4").write_text("not a film")
    tiny = tiny_checkpoint(tmp_path)
    assert cli.main(["features", str(film), "--model", str(tiny), "--device", "cpu", *arguments]) == code
    assert said in one_line(capsys.readouterr().err)


def test_no_video_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["features", str(tmp_path)]) == 1
    assert "holds no video" in one_line(capsys.readouterr().err)
