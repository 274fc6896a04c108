"""Fitting a model to new mouths: statistics and entropy by independent formulas, the command on a real face."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import media
from lipread.alphabet import Alphabet
from lipread.checkpoint import Checkpoint, load_checkpoint
from lipread.data.heads import draw_clip
from lipread.errors import ConfigError, DataError
from lipread.evaluate import EvalClip, evaluate
from lipread.model.norm import BatchNorm
from lipread.mouth import write_crops_mp4
from lipread.pipeline import LipReader
from lipread.prepared import read_track
from lipread.training.adapt import adapted, entropy, pieces_of, pieces_of_track
from lipread.values import MouthTrack, Transcript
from networks import TINY, tiny_network
from shell import one_line, run, tiny_checkpoint, wall
from test_pipeline import spelling_track


@pytest.fixture
def checkpoint() -> Checkpoint:
    network = tiny_network(TINY.model_copy(update={"alphabet_size": Alphabet.english().size}))
    return Checkpoint(network, Alphabet.english(), {"steps": 3}, "tiny")


def tracks(count: int = 3, frames: int = 12) -> list[MouthTrack]:
    random = np.random.default_rng(0)
    return [
        MouthTrack(
            crops=random.integers(0, 255, (frames, 96, 96), dtype=np.uint8),
            points=random.normal(size=(frames, 9, 2)).astype(np.float32),
            present=np.ones(frames, dtype=bool),
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def speech() -> media.Array:
    """A drawn head that says three words, RGB uint8, shape (45, 144, 180, 3)."""
    return draw_clip("bin blue at", 3, width=180, height=144, frames=45).frames


def moved(before: Checkpoint, after: Checkpoint) -> set[str]:
    """Names of the weights that differ."""
    there = after.network.state_dict()
    return {key for key, value in before.network.state_dict().items() if not torch.equal(value, there[key])}


def test_statistics_go_part_of_the_way(checkpoint: Checkpoint) -> None:
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: inputs[0]}))
        for name, module in checkpoint.network.named_modules() if isinstance(module, BatchNorm)
    ]
    untouched = {key: value.clone() for key, value in checkpoint.network.state_dict().items()}
    after = adapted(checkpoint, tracks(), share=0.25)
    for hook in hooks:
        hook.remove()
    first = next(iter(seen))  # what comes before it does not change
    came = seen[first].transpose(0, 1).flatten(1)  # (C, N)
    new = after.network.get_submodule(first)
    old_mean, old_var = untouched[f"{first}.running_mean"], untouched[f"{first}.running_var"]
    assert torch.allclose(new.running_mean, 0.75 * old_mean + 0.25 * came.mean(1), atol=1e-4)  # type: ignore
    assert torch.allclose(new.running_var, 0.75 * old_var + 0.25 * came.var(1), rtol=1e-3)  # type: ignore
    assert all(torch.equal(value, untouched[key]) for key, value in checkpoint.network.state_dict().items())
    assert all("running" in key for key in moved(checkpoint, after)) and len(moved(checkpoint, after)) >= 2 * len(seen)
    assert not any(module.training for module in after.network.modules())
    assert {norm.momentum for norm in after.network.modules() if isinstance(norm, BatchNorm)} == {0.1}
    assert after.record["adapted"] == {"pieces": 3, "share": 0.25, "steps": 0} and after.record["steps"] == 3


def test_no_share_and_no_step_change_nothing(checkpoint: Checkpoint) -> None:
    assert not moved(checkpoint, adapted(checkpoint, tracks(), share=0.0))


def test_entropy_by_hand() -> None:
    probabilities = torch.tensor([[[0.5, 0.5, 0.0], [0.97, 0.02, 0.01], [0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]])
    log_probs = probabilities.clamp_min(1e-30).log()
    wanted = (-2 * 0.5 * np.log(0.5) - 0.2 * np.log(0.2) - 0.3 * np.log(0.3) - 0.5 * np.log(0.5)) / 2
    assert entropy(log_probs, torch.tensor([3])).item() == pytest.approx(wanted, rel=1e-4)  # padding does not count
    assert entropy(log_probs[:, 1:2], torch.tensor([1])).item() == 0.0


def test_steps_make_readings_surer_by_normalisations_alone(checkpoint: Checkpoint) -> None:
    some = tracks(7)

    def unsure(fitted: Checkpoint) -> float:
        with torch.no_grad():
            log_probs, lengths = fitted.network(
                torch.from_numpy(np.stack([track.crops[:, 4:92, 4:92] for track in some])),
                torch.from_numpy(np.stack([track.points for track in some])), torch.full((7,), 12),
            )
        return float(entropy(log_probs, lengths))

    after = adapted(checkpoint, some, share=0.0, steps=5, learning_rate=1e-2)
    assert unsure(after) < 0.95 * unsure(checkpoint)
    norms = {
        f"{name}.{part}" for name, module in checkpoint.network.named_modules() for part in ("weight", "bias")
        if isinstance(module, BatchNorm | torch.nn.LayerNorm)
    }
    assert moved(checkpoint, after) <= norms
    assert all(parameter.requires_grad for parameter in after.network.parameters())


def test_only_moving_lips_are_taken() -> None:
    assert len(pieces_of_track(spelling_track("bin", frames_each=12))) == 1
    still = MouthTrack(
        np.zeros((60, 96, 96), np.uint8), np.ones((60, 9, 2), np.float32), np.ones(60, dtype=bool)
    )
    assert pieces_of_track(still) == []


def test_videos_share_the_pieces_and_bad_ones_are_named(tmp_path: Path, speech: media.Array) -> None:
    for name in ("a.mp4", "b.mp4"):
        media.write_video(tmp_path / name, speech)
    (tmp_path / "c.mp4").write_text("no video")
    videos = [tmp_path / name for name in ("a.mp4", "c.mp4", "b.mp4")]
    pieces, problems = pieces_of(videos)
    assert len(pieces) == 2 and all(track.present.any() for track in pieces)
    assert len(problems) == 1 and "c.mp4" in problems[0]
    assert len(pieces_of(videos, most=1)[0]) == 1
    with pytest.raises(DataError, match=r"c\.mp4"):
        pieces_of([tmp_path / "c.mp4"])
    wall(tmp_path / "wall.mp4")
    with pytest.raises(DataError, match="lips move in none of these videos"):
        pieces_of([tmp_path / "wall.mp4"])


def test_the_command_writes_a_model_that_reads(tmp_path: Path, speech: media.Array) -> None:
    (tmp_path / "in").mkdir()
    media.write_video(tmp_path / "in" / "a.mp4", speech)
    (tmp_path / "in" / "b.mp4").write_text("no video")
    model = tiny_checkpoint(tmp_path)
    before = load_checkpoint(model)
    done = run("adapt", tmp_path / "in", "-o", tmp_path / "mine.safetensors", "--model", model)
    assert done.returncode == 1, done.stderr  # for b.mp4; the model is written all the same
    assert "fitted to 1 piece of 1 video;" in done.stdout
    assert "b.mp4" in done.stderr
    after = load_checkpoint(tmp_path / "mine.safetensors")
    assert after.record["adapted"]["pieces"] == 1
    assert any("running_mean" in key for key in moved(before, after))
    again = run("transcribe", tmp_path / "in" / "a.mp4", "-o", tmp_path, "--model", tmp_path / "mine.safetensors")
    assert again.returncode == 0, again.stderr


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("a.mp4", (), "a.mp4 is no name for what is written there; give one that ends in .safetensors"),
        ("mine.safetensors", ("--speaker", "all"), "a model is fitted to one person"),
        ("a.mp4/mine.safetensors", (), "choose a file in a folder that you may write to"),
    ],
)
def test_nothing_is_overwritten_and_no_work_is_done_in_vain(
    tmp_path: Path, name: str, options: tuple[str, ...], said: str
) -> None:
    video = media.touch(tmp_path / "a.mp4", "not looked at")
    done = run("adapt", video, "-o", tmp_path / name, *options)
    assert done.returncode != 0 and said in done.stderr and one_line(done.stderr)
    assert video.read_text() == "not looked at" and [each.name for each in tmp_path.iterdir()] == ["a.mp4"]


def test_nothing_to_adapt_to_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wall(tmp_path / "wall.mp4")
    model = tiny_checkpoint(tmp_path)
    for video in (tmp_path / "empty", tmp_path / "gone.mp4", tmp_path / "wall.mp4"):
        done = run("adapt", video, "-o", tmp_path / "mine.safetensors", "--model", model)
        assert done.returncode == 1
        assert one_line(done.stderr)
        assert not (tmp_path / "mine.safetensors").exists()


def test_evaluation_fits_to_groups_of_a_speakers_clips(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crops").mkdir()
    (tmp_path / "points").mkdir()
    words = {"a1": "bin", "b1": "red", "a2": "lay", "a3": "set"}
    for name, word in words.items():
        track = spelling_track(word, frames_each=12)
        write_crops_mp4(tmp_path / "crops" / f"{name}.mp4", track.crops, crf=0)
        np.save(tmp_path / "points" / f"{name}.npy", track.points)
    clips = [EvalClip(name, name[0], word, prepared=tmp_path) for name, word in words.items()]
    fitted: list[Checkpoint] = []
    read: list[tuple[str, int]] = []  # what reads each clip, as the number of its fit

    def fit(*arguments: Any, **options: Any) -> Checkpoint:
        fitted.append(adapted(*arguments, **options))
        return fitted[-1]

    def note(reader: LipReader, clip: EvalClip, _modality: str) -> Transcript:
        read.append((clip.clip, fitted.index(reader.checkpoint)))
        return Transcript(clip.text, (), 1.0, 1.0, 1.0)

    monkeypatch.setattr("lipread.training.adapt.adapted", fit)
    monkeypatch.setattr("lipread.evaluate._read", note)
    evaluate(LipReader(checkpoint), clips, adapt=2, adapt_steps=1)
    assert read == [("a1", 0), ("b1", 1), ("a2", 0), ("a3", 2)]
    assert [each.record["adapted"]["pieces"] for each in fitted] == [2, 1, 1]
    with pytest.raises(ConfigError, match="adapt=2 fits what reads the lips, and .* give modality video"):
        evaluate(LipReader(replace(checkpoint, with_sound=checkpoint)), clips, adapt=2)
    alone = adapted(checkpoint, pieces_of_track(read_track(tmp_path, "a3")), steps=1)
    assert not moved(alone, fitted[2])
