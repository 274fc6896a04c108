"""Bugs that were found in other lip-reading systems, one test each, which shows that this one is free of it.

The systems: AA auto_avsr, ML Visual_Speech_Recognition_for_Multiple_Languages, CHA Chaplin, LNK LipNet-Keras, LNP
LipNet-PyTorch. Drawn heads, a small network with random weights.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch

import media
from conftest import ROOT
from lipread.batch import Recipe
from lipread.checkpoint import load_checkpoint, load_weights
from lipread.cli_options import parse_speaker
from lipread.config import PRESETS, AugmentConfig, SearchConfig, TrainConfig, make_config
from lipread.data.heads import draw_clip
from lipread.devices import choose_device
from lipread.engines import Preparation
from lipread.errors import CheckpointError, ConfigError
from lipread.in_noise import ratios_of
from lipread.landmarks import FaceMesh
from lipread.model.network import LipNetwork
from lipread.noise import mixed
from lipread.outputs import WRITERS
from lipread.pipeline import LipReader, load_model, watch_mouth
from lipread.speaking import lip_gap_and_width
from lipread.values import Array, Hypothesis, MouthTrack, Transcript, Utterance
from lipread.video import Frame
from shell import tiny_checkpoint

LOSSLESS = {"codec": "ffv1", "pix_fmt": "bgr0", "ticks_hz": 1000}
FRAMES = 40


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> LipReader:
    return LipReader(load_checkpoint(tiny_checkpoint(tmp_path_factory.mktemp("weights"))))


@functools.cache
def pictures() -> Array:
    """A drawn head that talks, RGB uint8, shape (40, 128, 160, 3)."""
    return draw_clip("bin blue at f", 3, width=160, height=128, frames=FRAMES).frames


def film(path: Path, images: Array | list[Array], fps: float = 25) -> Path:
    return media.write_video(path, images, fps=fps, **LOSSLESS)  # type: ignore[arg-type]


def close(one: MouthTrack, other: MouthTrack) -> float:
    """Mean difference of the crops of two tracks, grey levels."""
    both = one.present & other.present
    return float(np.abs(one.crops[both].astype(int) - other.crops[both]).mean())


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_largest_face_is_the_largest_whatever_the_order(mirrored: bool, tmp_path: Path) -> None:
    """AA, ML: the maximum is reset inside the loop, so the last face that was detected always wins."""
    large = np.stack([cv2.resize(image, (320, 256))[:, 64:256] for image in pictures()[:12]])
    small = np.full_like(large[:, :, :96], 90)
    small[:, 64:192] = pictures()[0][:, 32:128]  # keeps still
    both = np.concatenate([small, large] if mirrored else [large, small], axis=2)
    alone = watch_mouth(film(tmp_path / "alone.mkv", large))
    for speaker in ("largest", "auto"):
        watched = watch_mouth(film(tmp_path / "both.mkv", both), speaker=speaker)
        assert watched.faces == 2
        assert watched.track.eye_px == pytest.approx(alone.track.eye_px, rel=0.05)


def test_every_device_that_is_named_is_tried_and_no_other() -> None:
    """AA: `gpu_type != "cuda" or "mps"` is always true, so preparation refuses to run at all."""
    assert choose_device("cpu").type == "cpu"
    for name, there in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available())):
        if there:
            assert choose_device(name).type == name
        else:
            with pytest.raises(ConfigError, match=f"device '{name}' cannot be used here"):
                choose_device(name)
    with pytest.raises(ConfigError, match="give auto, cpu, cuda or mps"):
        choose_device("tpu-or-mps")


def test_a_zero_is_a_value_and_not_an_absent_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """AA: `snr if snr else random` takes 0 dB for "none given". Noise is mixed at 0 dB; other options may be 0 too."""
    from lipread import engines

    noise, sound = np.random.default_rng(0).normal(0, (0.1, 0.3), (1000, 2)).astype(np.float32).T
    added = mixed(sound, noise, 0.0) - sound
    assert np.mean(np.square(added)) == pytest.approx(np.mean(np.square(sound)), rel=1e-4)
    assert ratios_of("0") == (0.0,)
    assert TrainConfig(augment=AugmentConfig(snr_db=(0.0, 0.0))).augment.snr_db == (0.0, 0.0)
    assert parse_speaker("0") == 0
    assert Recipe(Path(), speaker=0).options({})["speaker"] == 0
    search = make_config(SearchConfig, {"lm": "grid-ngram", "lm_weight": 0.0, "word_score": 0.0})
    assert search.model_dump(exclude_unset=True) == {"lm": "grid-ngram", "lm_weight": 0.0, "word_score": 0.0}
    assert TrainConfig(seed=0, drop_pixels=0.0, drop_points=0.0).drop_pixels == 0.0
    assert Preparation("small", "cpu", Recipe(Path()), timeout_s=0).timeout_s == 0
    limits: list[object] = []
    monkeypatch.setattr(engines, "read_one", lambda *_: "read")
    engines._read(None, Recipe(Path()), 0, None, limits.append)  # type: ignore[arg-type]
    assert limits == []  # 0 seconds: no limit, and not the usual one


def test_training_starts_without_a_cluster_and_every_name_is_known() -> None:
    """AA: training wants SLURM_JOB_ID and an account at W&B; `random` is used without import; text and code differ."""
    bare = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "SYSTEMROOT", "TMPDIR")}
    command = [sys.executable, "train.py", "--help"]
    shown = subprocess.run(command, cwd=ROOT, env=bare, capture_output=True, text=True, timeout=300, check=True)
    for name in ("learning_rate", "weight_decay", "clip_norm"):
        default = TrainConfig.model_fields[name].default
        assert re.search(rf"^ *--{name} float\s+\(default: {default}\)$", shown.stdout, re.MULTILINE)
    for path in [ROOT / "train.py", *(ROOT / "lipread").rglob("*.py")]:
        text = path.read_text()
        assert "SLURM" not in text, path
        assert "wandb" not in text, path
    undefined = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821,F811"]
    subprocess.run([*undefined, "lipread", "data", "train.py", "app.py"], cwd=ROOT, check=True, capture_output=True)


def test_the_face_finder_is_given_the_colours_that_it_expects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AA: one detector is told that RGB pictures are BGR. MediaPipe wants RGB."""
    seen: list[Array] = []
    with FaceMesh(max_faces=1) as mesh:
        finder = mesh._mesh  # the library itself

        def look(image: Array) -> SimpleNamespace:
            seen.append(image.copy())
            return SimpleNamespace(multi_face_landmarks=None)

        monkeypatch.setattr(finder, "process", look)
        for image in pictures_of(film(tmp_path / "quarters.mkv", [media.quarters(64, 64)] * 2)):
            mesh.detect(image)
    assert [media.colour_names(image) for image in seen[:1]] == [["red", "green", "blue", "white"]]


def pictures_of(path: Path) -> list[Array]:
    from lipread.video import read_frames

    frames: list[Frame] = list(read_frames(path))
    return [frame.image for frame in frames]


@pytest.mark.parametrize("fps", [50, 100])
def test_the_frame_rate_changes_nothing(fps: float, tmp_path: Path, reader: LipReader) -> None:
    """AA, ML: the rate is thrown away, and every picture is taken for 1/25 s. Users get gibberish."""
    usual = film(tmp_path / "25.mkv", pictures())
    other = film(tmp_path / "other.mkv", np.repeat(pictures(), int(fps / 25), axis=0), fps)
    expected, found = reader.transcribe(usual), reader.transcribe(other)
    assert found.duration_s == pytest.approx(expected.duration_s, abs=0.05)
    assert [replace(word, confidence=0) for word in found.words] == [  # the very same pictures are chosen
        replace(word, confidence=0) for word in expected.words
    ]


def test_half_the_frame_rate_shows_each_picture_for_twice_as_long(tmp_path: Path) -> None:
    """AA, ML: as above, the other way round: the lips would move twice as fast."""
    usual = watch_mouth(film(tmp_path / "25.mkv", pictures())).track
    slow = watch_mouth(film(tmp_path / "12.mkv", pictures()[::2], 12.5)).track
    assert slow.crops.shape == usual.crops.shape == (FRAMES, 96, 96)
    held = replace(usual, crops=np.repeat(usual.crops[::2], 2, axis=0))
    late = replace(usual, crops=np.roll(held.crops, 2, axis=0))
    fast = replace(usual, crops=np.concatenate([usual.crops[::2], usual.crops[::2]]))
    assert close(held, slow) < 0.4 * min(close(late, slow), close(fast, slow))


def test_sixteen_pictures_a_second_are_not_played_faster(tmp_path: Path) -> None:
    """CHA: it films 16 pictures a second and reads them as 25, so speech runs 1.56 times too fast."""
    times_s = np.arange(0, FRAMES / 25, 1 / 16)
    shown = [pictures()[int(time_s * 25)] for time_s in times_s]
    slow = watch_mouth(film(tmp_path / "16.mkv", shown, 16)).track
    usual = watch_mouth(film(tmp_path / "25.mkv", pictures())).track
    assert len(slow.present) == pytest.approx(FRAMES, abs=1)
    gap, expected = (lip_gap_and_width(track.points)[0][: FRAMES - 1] for track in (slow, usual))
    too_fast = np.interp(np.arange(FRAMES - 1) * 25 / 16, np.arange(FRAMES - 1), expected)
    likeness = np.corrcoef(gap, expected)[0, 1]  # the lips open at the same times
    assert likeness > 0.6 > np.corrcoef(gap, too_fast)[0, 1]


def test_coarse_jpeg_pictures_are_read_as_clean_ones(tmp_path: Path) -> None:
    """CHA: its pictures are 213 pixels wide and packed with JPEG at quality 25, and nothing tells what that costs."""
    said = "bin blue at f two now"
    images = [cv2.resize(image, (213, 160), interpolation=cv2.INTER_AREA) for image in draw_clip(said, 8).frames]
    coarse = motion_jpeg(tmp_path / "coarse.avi", images, quality=25)
    clean = film(tmp_path / "clean.mkv", images)
    assert coarse.stat().st_size < clean.stat().st_size / 5
    assert watch_mouth(coarse).track.present.all()
    shipped = load_model("small", "cpu")
    expected, found = shipped.transcribe(clean), shipped.transcribe(coarse)
    assert found.text == expected.text == said
    for word, other in zip(found.words, expected.words, strict=True):
        assert (word.start_s, word.end_s) == pytest.approx((other.start_s, other.end_s), abs=0.1)


def motion_jpeg(path: Path, images: list[Array], *, quality: int) -> Path:
    """A film whose pictures are JPEG files of that quality."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuvj420p"
        for index, image in enumerate(images):
            _, code = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
            packet = av.Packet(code.tobytes())
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, index, index, Fraction(1, 25)
            packet.is_keyframe = True
            container.mux(packet)
    return path


def test_what_a_language_model_changed_is_shown() -> None:
    """CHA: a language model's rewriting is typed as if it had been seen."""
    better = Hypothesis("bin blue", -1.0, -2.0, 1.0)
    changed = Utterance(0.0, 1.0, "bin blue", "bin blew", (better, Hypothesis("bin blew", -1.5, -1.5)), "bin blew")
    transcript = Transcript("bin blue", (), 1.0, 1.0, 0.9, utterances=(changed,))
    assert changed.changed_by_lm
    assert transcript.raw_text == "bin blew"
    marked = WRITERS["changes"].render(transcript)
    assert "blew" in marked
    assert "blue" in marked
    assert '"raw_text": "bin blew"' in WRITERS["json"].render(transcript)


def test_a_picture_without_a_face_changes_neither_the_others_nor_their_number(tmp_path: Path) -> None:
    """LNK: one faceless picture gives all of them uncropped, then a crash. LNP: such pictures are dropped."""
    images = pictures().copy()
    images[11:13] = 90  # short: the mouth is taken to be between its neighbours
    images[20:40] = 90  # long: there is no face
    whole = watch_mouth(film(tmp_path / "whole.mkv", pictures())).track
    holed = watch_mouth(film(tmp_path / "holed.mkv", images)).track
    assert holed.crops.shape == whole.crops.shape == (FRAMES, 96, 96)
    assert holed.present[:19].all()
    assert not holed.present[22:].any()
    assert np.abs(holed.crops[3:11].astype(int) - whole.crops[3:11]).mean() < 4


@pytest.mark.parametrize(("degrees", "scale"), [(15, 1.0), (-20, 1.0), (0, 1.6)])
def test_heads_that_are_turned_or_near_give_the_same_crops(degrees: float, scale: float, tmp_path: Path) -> None:
    """LNK: the scale is that of the first picture for ever, and a turned head stays turned."""
    images = pictures()[:12]
    turn = about_the_middle(images[0], degrees, scale)
    changed = [warped(image, turn) for image in images]
    upright = watch_mouth(film(tmp_path / "upright.mkv", images)).track
    turned = watch_mouth(film(tmp_path / "turned.mkv", changed)).track
    assert turned.eye_px == pytest.approx(scale * upright.eye_px, rel=0.1)
    shifted = replace(upright, crops=np.roll(upright.crops, 8, axis=2))
    assert close(upright, turned) < 0.5 * close(upright, shifted)


def test_a_head_that_comes_nearer_keeps_its_size_in_the_crops(tmp_path: Path) -> None:
    """LNK: the scale is that of the first picture for ever, so the mouth grows in the crops as the head comes near."""
    images, scales = pictures()[:24], np.linspace(1, 1.6, 24)
    nearing = [warped(image, about_the_middle(image, 0, scale)) for image, scale in zip(images, scales, strict=True)]
    still = watch_mouth(film(tmp_path / "still.mkv", images)).track
    zoomed = watch_mouth(film(tmp_path / "zoomed.mkv", nearing)).track
    grown = [warped(crop, about_the_middle(crop, 0, scale)) for crop, scale in zip(still.crops, scales, strict=True)]
    scale_kept = replace(still, crops=np.stack(grown))
    for frames in (slice(None), slice(-6, None)):  # all, and the last ones, which such a reader shows largest
        wanted, found, feared = (
            replace(track, crops=track.crops[frames], points=track.points[frames], present=track.present[frames])
            for track in (still, zoomed, scale_kept)
        )
        assert close(wanted, found) < 0.4 * close(wanted, feared)


def about_the_middle(image: Array, degrees: float, scale: float) -> Array:
    """The matrix that turns a picture about its middle and makes it larger."""
    height, width = image.shape[:2]
    return cv2.getRotationMatrix2D((width / 2, height / 2), degrees, scale)


def warped(image: Array, matrix: Array) -> Array:
    """The picture after that, in a frame of the same size."""
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def test_weights_for_another_crop_are_refused(tmp_path: Path) -> None:
    """LNP's scripts cut 160x80, LNK's 100x50, and nothing says so when weights are loaded."""
    checkpoint = load_checkpoint(tiny_checkpoint(tmp_path))
    config = checkpoint.network.config
    assert config.frontend.crop_side_px == PRESETS["tiny"].frontend.crop_side_px  # it travels with the weights
    with pytest.raises(ConfigError, match="crop_side_px"):
        make_config(type(config.frontend), config.frontend.model_dump() | {"crop_side_px": 160})
    wider = config.model_copy(update={"frontend": config.frontend.model_copy(update={"width": 48})})
    with pytest.raises(CheckpointError, match="does not fit this network"):
        load_weights(LipNetwork(wider), checkpoint.network.state_dict(), origin="tiny")
