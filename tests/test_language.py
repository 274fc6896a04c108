"""Training a BERT: losses against their formulas, what is learnt, repeating, going on, and bad input."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from lipread.bert_folder import load_bert
from lipread.cli import main
from lipread.errors import ConfigError, DataError, OutputError, TrainingError
from lipread.model.bert import BertLanguageModel
from lipread.training import language
from lipread.training.language import LanguageConfig, linear_rate, losses, measure, train_language_model
from lipread.training.samples import IGNORED, Corpus, SampleMaker
from lipread.wordpiece import WordPiece

SUBJECTS = ("the cat sits on the mat", "a dog runs in the park", "my fish swims in the sea", "one bird flies over us")
TINY = LanguageConfig(
    layers=1, width=32, heads=2, vocab=120, max_length=24, steps=60, batch=16, learning_rate=5e-3, seed=3,
    held_out=0.2, dropout=0.0,
)


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Documents of one repeated sentence each: both which word is missing and what comes next can be known."""
    file = tmp_path / "text.txt"
    file.write_text("\n\n".join("\n".join([subject] * 10) for subject in SUBJECTS * 4))
    return file


@pytest.fixture
def maker(text: Path) -> SampleMaker:
    documents = [[subject] * 10 for subject in SUBJECTS]
    wordpiece = WordPiece.train([line for document in documents for line in document], 120)
    return SampleMaker(Corpus.encode(documents, wordpiece, 21), wordpiece, most=24)


def tiny_model(maker: SampleMaker, **options: bool) -> BertLanguageModel:
    torch.manual_seed(0)
    return BertLanguageModel(TINY.encoder(len(maker.wordpiece.pieces)), **options).eval()


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_bert(folder)[0].state_dict()


def test_losses_are_mean_log_probabilities(maker: SampleMaker) -> None:
    model, batch = tiny_model(maker), maker.batch(12, np.random.default_rng(0))
    with torch.no_grad():
        words, follows = model(batch.ids, batch.valid, batch.segments)
        word_loss, next_loss = losses(model, batch)
    wanted, wanted_next, right = [], [], []
    for row in range(12):
        for place, label in enumerate(batch.labels[row].tolist()):
            if label != IGNORED:
                wanted.append(-math.log(words[row, place].double().softmax(-1)[label]))
                right.append(int(words[row, place].argmax()) == label)
        if batch.follows[row] != IGNORED:
            wanted_next.append(-math.log(follows[row].double().softmax(-1)[batch.follows[row]]))
    assert 0 < len(wanted_next) < 12
    assert float(word_loss) == pytest.approx(np.mean(wanted), abs=1e-5)
    assert next_loss is not None and float(next_loss) == pytest.approx(np.mean(wanted_next), abs=1e-5)
    found = measure(model, [batch])
    assert found is not None and found.loss == pytest.approx(np.mean(wanted), abs=1e-5)
    assert found.right == pytest.approx(np.mean(right))
    assert measure(model, []) is None


def test_losses_without_pairs(maker: SampleMaker) -> None:
    batch = maker.batch(4, np.random.default_rng(0))
    assert losses(tiny_model(maker, next_sentence=False), batch)[1] is None
    alone = replace(batch, follows=torch.full((4,), IGNORED))
    assert losses(tiny_model(maker), alone)[1] is None
    found = measure(tiny_model(maker), [alone])
    assert found is not None and found.next_loss is None and found.next_right is None


def test_learning_rate_rises_and_falls_in_straight_lines() -> None:
    rates = [linear_rate(step, steps=10, warmup_steps=4) for step in range(10)]
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert linear_rate(0, steps=1, warmup_steps=0) == 1


def test_it_learns_words_and_what_follows(text: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, float]] = []
    config = TINY.model_copy(update={"steps": 300, "layers": 2, "width": 64, "batch": 32, "learning_rate": 3e-3})
    report = train_language_model(
        [text], tmp_path / "lm", config, progress=lambda step, loss: seen.append((step, loss))
    )
    assert [step for step, _ in seen] == list(range(1, 301))
    assert np.mean([loss for _, loss in seen[-10:]]) < 0.6 * np.mean([loss for _, loss in seen[:10]])
    before, after = report.before, report.after
    assert before is not None and after is not None
    assert before.loss == pytest.approx(math.log(report.pieces), rel=0.1)  # knows nothing
    assert after.loss < 0.6 * before.loss and after.right > before.right + 0.3
    assert after.next_right is not None and after.next_right > 0.75  # pairs of one subject
    record = json.loads((tmp_path / "lm" / "training.json").read_text())
    assert record["after"]["loss"] == after.loss and record["config"]["seed"] == 3 and record["texts"] == ["text.txt"]
    assert not (tmp_path / "lm" / "training.pt").exists()
    model, wordpiece = load_bert(tmp_path / "lm")
    assert model.config == config.encoder(len(wordpiece.pieces)) and model.next_sentence


def test_the_seed_decides_everything(text: Path, tmp_path: Path) -> None:
    config = TINY.model_copy(update={"steps": 3, "dropout": 0.1})
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        train_language_model([text], tmp_path / name, config.model_copy(update={"seed": seed}))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert any(a[key].shape != c[key].shape or not torch.equal(a[key], c[key]) for key in a)


def test_an_interrupted_training_goes_on(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = TINY.model_copy(update={"steps": 9, "save_every": 4, "dropout": 0.1})
    train_language_model([text], tmp_path / "whole", config)

    def stop(step: int, _loss: float) -> None:
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_language_model([text], tmp_path / "cut", config, progress=stop)
    assert not (tmp_path / "cut" / "config.json").exists()
    with pytest.raises(DataError, match="training.pt: this training cannot go on .it began with other settings"):
        train_language_model([text], tmp_path / "cut", config.model_copy(update={"learning_rate": 1e-4}))
    steps: list[int] = []
    report = train_language_model([text], tmp_path / "cut", config, progress=lambda step, _: steps.append(step))
    assert steps == [5, 6, 7, 8, 9] and report.before is None
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(whole[key], cut[key]) for key in whole)
    (tmp_path / "cut" / "training.pt").write_bytes(b"junk")
    with pytest.raises(DataError, match="cannot go on"):
        train_language_model([text], tmp_path / "cut", config)
    monkeypatch.setattr(torch, "load", Mock(side_effect=AssertionError))  # which torch raises about some damage
    with pytest.raises(DataError, match="cannot go on .AssertionError.; delete it, or choose another folder"):
        train_language_model([text], tmp_path / "cut", config)


def test_no_weight_decay_on_biases_and_normalisation(maker: SampleMaker) -> None:
    model = tiny_model(maker)
    run = language._begin(TINY, maker.wordpiece, maker.corpus, Path("nowhere"), torch.device("cpu"))
    decay = {id(each): group["weight_decay"] for group in run.optimizer.param_groups for each in group["params"]}
    found = {name: decay[id(each)] for name, each in run.model.named_parameters()}
    assert set(found) == {name for name, _ in model.named_parameters()}
    for name, value in found.items():
        assert value == (0 if name.endswith("bias") or "LayerNorm" in name else TINY.weight_decay), name


def test_gradients_are_clipped(maker: SampleMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(maker)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = [each.detach().clone() for each in model.parameters()]
    config = TINY.model_copy(update={"clip_norm": 0.01, "batch": 4})
    language.train_step(model, optimizer, maker, config, 0)
    moved = sum(float((a - b).detach().square().sum()) for a, b in zip(model.parameters(), before, strict=True))
    assert math.sqrt(moved) == pytest.approx(0.01, rel=0.01)


def test_a_loss_that_is_not_finite_stops(maker: SampleMaker) -> None:
    model = tiny_model(maker)
    with torch.no_grad():
        model.cls.predictions.bias[3] = math.nan
    with pytest.raises(TrainingError, match="step 8: the loss is not finite; lower learning_rate"):
        language.train_step(model, torch.optim.SGD(model.parameters(), lr=0.1), maker, TINY, 7)


def test_the_command(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"layers": 1, "width": 16, "heads": 2, "steps": 2, "batch": 4, "vocab": 120, "max-length": 16}
    sizes = ["--device", "cpu", *(part for name, value in given.items() for part in (f"--{name}", str(value)))]
    out = tmp_path / "lm"
    assert main(["lm", "bert", str(text), "-o", str(out), *sizes, "--no-next-sentence", "--held-out", "0"]) == 0
    assert "1 layers, 16 wide" in capsys.readouterr().out
    assert not load_bert(out)[0].next_sentence
    assert main(["lm", "bert", str(text), "-o", str(out), *sizes, "--seed", "1"]) == 0
    assert "held out, after" in capsys.readouterr().out
    assert load_bert(out)[0].next_sentence


@pytest.mark.parametrize(("options", "said"), [
    (["--vocab", "20"], "vocab=20 is too small"),
    (["--heads", "3"], "hidden_size=256 is not a multiple of num_attention_heads=3"),
    (["--steps", "0"], "steps=0"),
    (["--held-out", "0.9"], "held_out=0.9"),
])
def test_bad_settings_are_one_line(
    text: Path, tmp_path: Path, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lm", "bert", str(text), "-o", str(tmp_path / "lm"), "--device", "cpu", *options]) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1 and not (tmp_path / "lm").exists()


def test_bad_text_and_bad_folder(tmp_path: Path, text: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(DataError, match="empty.txt: is empty"):
        train_language_model([tmp_path / "empty.txt"], tmp_path / "lm", TINY)
    (tmp_path / "short.txt").write_text("one line\nand another\n")
    with pytest.raises(DataError, match="2 lines, too few to hold out"):
        train_language_model([tmp_path / "short.txt"], tmp_path / "lm", TINY)
    with pytest.raises(ConfigError, match="text.txt: is a file"):
        train_language_model([text], text, TINY)
    steps: list[int] = []
    with pytest.raises(OutputError, match="cannot be written"):
        train_language_model([text], text / "lm", TINY, progress=lambda step, _: steps.append(step))
    assert not steps
