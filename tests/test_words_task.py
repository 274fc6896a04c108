"""`train.py --task words`: a loss against its formula, whole runs that learn, go on, and are measured again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import prepared
from lipread.alphabet import Alphabet
from lipread.checkpoint import load_checkpoint
from lipread.config import AugmentConfig, TrainConfig
from lipread.errors import ConfigError, DataError
from lipread.training import loop
from lipread.training.clips import load_clips
from lipread.training.dataset import TrainingBatches
from lipread.training.evaluation import Classification
from lipread.training.loop import clip_losses, dry_run, measure, train
from lipread.training.ready import choose_classes
from lipread.training.state import prepare_state
from lipread.training.word_clips import with_classes
from networks import TINY, still
from prepared import prepare
from test_loop import check_interrupted, saved
from test_train import run_main

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
FOUR = ("ah", "bin", "blue", "soon")
AS_IT_IS = AugmentConfig(
    flip=0, shift_px=0, scale=0, rotate_deg=0, light=0, blur=0, noise=0, speed=0, time_mask_frames=0, point_noise=0,
    point_warp=0,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Clips of four words, as many to choose on as to train on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepared, "VOCABULARY", {word: prepared.VOCABULARY[word] for word in FOUR})
        yield prepare(tmp_path_factory.mktemp("data") / "four", speakers=("anna",), clips=4, points_only=0)


def settings(data: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "task": "words", "word_frames": 10, "data": (data,), "preset": "tiny", "device": "cpu", "batch_pixels": 2,
        "batch_points": 2, "workers": 0, "warmup_steps": 0, "learning_rate": 1e-3, "word_symbols": 0,
    }
    return TrainConfig(**values | changes)


# -- one step ---------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_cross_entropy_of_the_class_and_the_helping_losses_stay(data: Path) -> None:
    network = still(TINY).model_copy(update={"classes": 4})
    config = settings(data, network=network, frame_loss=0, shape_loss=0, pixel_word_loss=0)
    state = prepare_state(config, Alphabet.english(), FOUR, CPU, classes=FOUR)
    clips = [clip for clip in load_clips(data) if clip.split == "train"]
    batch = TrainingBatches(clips, config, Alphabet.english(), FOUR, crop_side_px=88, classes=FOUR)[0].shown(88)
    state.network.eval()
    states = state.network.encode(
        batch.crops, batch.points, batch.lengths, use_pixels=batch.use_pixels, use_points=batch.use_points
    )
    scores = state.network.class_scores(states).log_softmax(1)
    losses = clip_losses(state, batch, config)
    for row, word in enumerate(batch.texts):
        assert losses[row].item() == pytest.approx(-scores[row, FOUR.index(word)].item(), rel=1e-5)
    helped = clip_losses(state, batch, config.model_copy(update={"frame_loss": 0.7}))
    named = state.frame_words(states, batch.frame_labels)
    assert torch.allclose(helped, losses + 0.7 * named, rtol=1e-5)
    assert F.cross_entropy(scores, batch.targets, reduction="none").allclose(losses, rtol=1e-5)


# -- whole runs -------------------------------------------------------------------------------------------------------


def test_a_tiny_network_learns_four_words_and_is_measured_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(
        data, network=still(TINY), batch_pixels=4, batch_points=8, warmup_steps=5, learning_rate=3e-3, steps=240,
        evaluate_every=40, ema_decay=0.8, augment=AS_IT_IS, frame_loss=0, shape_loss=0, pixel_word_loss=0, out=tmp_path,
    )
    best = train(config)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("step 40: val: top-1 accuracy ")
    assert any(line.endswith("val: top-1 accuracy 100.0% of 12") for line in printed)
    checkpoint = load_checkpoint(best)
    assert checkpoint.classes == FOUR
    assert checkpoint.network.config.classes == 4
    assert checkpoint.record["chosen_on"]["val"] == {"accuracy": 1.0, "wer": 0.0, "cer": 0.0, "clips": 12}
    assert checkpoint.record["config"]["task"] == "words"
    before = sorted(tmp_path.rglob("*"))
    measured = measure(config.model_copy(update={"init": best}))["val"]
    assert isinstance(measured, Classification)
    assert measured.accuracy == 1.0
    arguments = ["--task=words", "--word-frames=10", f"--data={data}", "--preset=tiny", "--device=cpu"]
    assert run_main(monkeypatch, *arguments, f"--init={best}", "--evaluate-only") == 0
    assert capsys.readouterr().out.splitlines() == ["val: top-1 accuracy 100.0% of 12"]
    assert sorted(tmp_path.rglob("*")) == before  # nothing is written
    few = load_checkpoint(best)  # with the words' places mixed up, the figure falls: it is not always 100 %
    with torch.no_grad():
        few.network.classifier.linear.weight.copy_(few.network.classifier.linear.weight.roll(1, 0))
        few.network.classifier.linear.bias.copy_(few.network.classifier.linear.bias.roll(1, 0))
    loop.save_checkpoint(tmp_path / "mixed.safetensors", few.network, few.alphabet, few.record)
    mixed = measure(config.model_copy(update={"init": tmp_path / "mixed.safetensors"}))["val"]
    assert isinstance(mixed, Classification) and mixed.accuracy == 0.0


class Stop(Exception):
    """The power goes off."""


@pytest.mark.parametrize(("workers", "task"), [(0, "phrases"), (1, "words")])
def test_an_interrupted_run_equals_an_unbroken_one(
    workers: int, task: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(data, task=task, steps=7, save_every=2, evaluate_every=3, warmup_steps=2, accumulate=2)
    broken = check_interrupted(config, workers, tmp_path, monkeypatch)
    one = load_checkpoint(broken.out / "best.safetensors")
    average = saved(broken.out)["average"]  # has the head, too, and is what is kept
    assert torch.equal(average["classifier.linear.weight"], one.network.classifier.linear.weight)
    with pytest.raises(DataError, match="it was trained with another task: "):
        train(broken.model_copy(update={"task": "sentences", "steps": 9}), show=False)


def test_from_reading_to_words_and_back(data: Path, tmp_path: Path) -> None:
    reads = train(settings(data, task="sentences", steps=1, out=tmp_path / "reads"), show=False)
    words = train(settings(data, steps=1, init=reads, out=tmp_path / "words"), show=False)
    again = train(settings(data, task="sentences", steps=1, init=words, out=tmp_path / "again"), show=False)
    assert [load_checkpoint(path).classes for path in (reads, words, again)] == [(), FOUR, ()]
    assert load_checkpoint(again).network.config == load_checkpoint(reads).network.config
    before, after = (load_checkpoint(path).network for path in (reads, words))
    assert torch.equal(before.ctc.linear.weight, after.ctc.linear.weight)  # nothing taught it here


# -- classes ----------------------------------------------------------------------------------------------------------


def test_which_classes(data: Path, tmp_path: Path) -> None:
    clips = load_clips(data)
    assert choose_classes(settings(data), clips) == FOUR
    assert choose_classes(settings(data, task="sentences"), clips) == ()
    assert choose_classes(settings(data, task="phrases"), clips) == tuple(sorted({clip.text for clip in clips}))
    words = train(settings(data, steps=1, out=tmp_path), show=False)
    few = [clip for clip in clips if "ah" not in clip.text]
    assert few
    assert choose_classes(settings(data), few) != FOUR
    assert choose_classes(settings(data, init=words), few) == FOUR  # the head knows them, and more
    assert choose_classes(settings(data, task="phrases", init=words), clips) == choose_classes(
        settings(data, task="phrases"), clips
    )


def test_a_dry_run_names_the_classes(data: Path) -> None:
    assert "parameters, 4 classes\n" in dry_run(settings(data, steps=3))


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_clips_without_word_times_are_one_sentence(data: Path, tmp_path: Path) -> None:
    bare = prepare(tmp_path / "bare", clips=1)
    (bare / "words.tsv").unlink()
    with pytest.raises(DataError, match="no clip of the split `train` has what --task words needs: word times"):
        train(settings(bare, steps=1, out=tmp_path / "run"), show=False)
    assert not (tmp_path / "run").exists()
    timed = load_clips(data)
    assert with_classes([*load_clips(bare), *timed], settings(data)) == timed


def test_what_cannot_be_measured_is_one_sentence(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    reads = train(settings(data, task="sentences", steps=1, out=tmp_path / "reads"), show=False)
    assert measure(settings(data, task="sentences", init=reads))["val"].score.words == 12
    with pytest.raises(ConfigError, match=r"does not tell these 4 classes apart; .* trained with --task words"):
        measure(settings(data, init=reads))
    only_train = prepare(tmp_path / "train", splits=("train",), clips=1)
    with pytest.raises(ConfigError, match="no clip of the split `val`"):
        measure(settings(only_train, task="sentences", init=reads))
    capsys.readouterr()
    assert run_main(monkeypatch, f"--data={data}", "--preset=tiny", "--evaluate-only") == 2
    assert capsys.readouterr().err == (
        "train.py: error: only a trained checkpoint can be measured; name it with --init FILE.safetensors\n"
    )
