"""Text files -> a BERT language model: vocabulary, samples, masked-LM and next-sentence losses, steps, folder.

Shapes: B samples, L positions, M masked places, V pieces.
Source: Devlin et al. 2018, arXiv:1810.04805.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from lipread.bert_folder import WEIGHTS, save_bert
from lipread.config import Config, EncoderConfig, make_config
from lipread.errors import ConfigError, TrainingError
from lipread.files import PathLike, require_writable, write_text
from lipread.model.bert import BertLanguageModel
from lipread.training.samples import IGNORED, Corpus, SampleBatch, SampleMaker, hold_out, read_documents
from lipread.training.schedule import parameter_groups
from lipread.training.state import damage_told, write_state
from lipread.wordpiece import WordPiece

STATE, RECORD = "training.pt", "training.json"  # in the folder: to go on (while it trains), and what was done
MEASURED = 512  # held-out samples that are measured on, always the same
_MEASURED_BATCH = 64
_TRAINED, _HELD_OUT, _SPLIT = 0, 1, 2  # what random numbers are for


class LanguageConfig(Config):
    """One training of a BERT language model."""

    layers: int = Field(4, ge=1)
    width: int = Field(256, ge=4)
    heads: int = Field(4, ge=1)
    vocab: int = Field(8000, ge=6)  # most pieces
    max_length: int = Field(64, ge=8)  # positions of a sample, and of the model
    dropout: float = Field(0.1, ge=0, lt=1)
    next_sentence: bool = True
    steps: int = Field(2000, ge=1)
    batch: int = Field(64, ge=1)
    learning_rate: float = Field(5e-4, gt=0, le=1)
    warmup_share: float = Field(0.1, ge=0, le=1)  # of the steps
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    held_out: float = Field(0.05, ge=0, le=0.5)  # share of the text that is measured on and not trained on
    save_every: int = Field(500, ge=1)
    seed: int = Field(0, ge=0, lt=2**63)

    def encoder(self, words: int) -> EncoderConfig:
        """The encoder, for a vocabulary of so many pieces. Raises: ConfigError: heads do not divide the width."""
        values = {
            "hidden_size": self.width, "num_hidden_layers": self.layers, "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.width, "hidden_dropout_prob": self.dropout,
            "attention_probs_dropout_prob": self.dropout, "max_position_embeddings": self.max_length,
            "type_vocab_size": 2, "vocab_size": words,
        }
        return make_config(EncoderConfig, values, origin="language model")


@dataclass(frozen=True)
class Measured:
    """How well a model knows held-out samples.

    Attributes:
        loss: mean -log probability of a masked piece, natural logarithm.
        right: share of masked pieces that are likeliest.
        next_loss, next_right: the same for pairs; None without pairs.
    """

    loss: float
    right: float
    next_loss: float | None
    next_right: float | None


@dataclass(frozen=True)
class LanguageReport:
    """What a training did: pieces of the vocabulary, weights of the model, and figures of held-out text if any."""

    pieces: int
    weights: int
    documents: int
    sentences: int
    steps: int
    seconds: float
    before: Measured | None
    after: Measured | None


@dataclass
class _Run:
    """Everything that an interrupted training needs to go on."""

    model: BertLanguageModel
    optimizer: torch.optim.Optimizer
    fingerprint: str
    step: int = 0


def train_language_model(
    texts: Sequence[PathLike], out: PathLike, config: LanguageConfig, *, device: torch.device | str = "cpu",
    progress: Callable[[int, float], None] | None = None,
) -> LanguageReport:
    """Train a BERT on text files and write its folder; what was interrupted there goes on where it was saved.

    Args:
        texts: UTF-8, one sentence a line, documents between empty lines (see `lipread.training.samples`).
        out: folder that `load_bert` reads.
        progress: called with the step and its loss.
    Raises: DataError, ConfigError, OutputError, MissingDependencyError.
        TrainingError: loss or gradient is not finite.
    """
    began, out = time.monotonic(), Path(out)
    config.encoder(config.vocab)  # complains before the work begins
    training, held = hold_out(read_documents(texts), config.held_out, _rng(config, _SPLIT))
    wordpiece = WordPiece.train([line for document in training for line in document], config.vocab)
    corpus = Corpus.encode(training, wordpiece, config.max_length - 3)
    maker = SampleMaker(corpus, wordpiece, most=config.max_length, next_sentence=config.next_sentence)
    measuring = _measuring(held, wordpiece, config)
    run = _begin(config, wordpiece, corpus, out, torch.device(device))
    before = measure(run.model, measuring) if run.step == 0 else None

    while run.step < config.steps:
        rate = linear_rate(run.step, steps=config.steps, warmup_steps=round(config.warmup_share * config.steps))
        for group in run.optimizer.param_groups:
            group["lr"] = config.learning_rate * rate
        loss = train_step(run.model, run.optimizer, maker, config, run.step)
        run.step += 1
        if progress:
            progress(run.step, loss)
        if run.step % config.save_every == 0 and run.step < config.steps:
            _save(run, out / STATE)

    report = LanguageReport(
        len(wordpiece.pieces), sum(each.numel() for each in run.model.parameters()), len(training),
        sum(map(len, training)), run.step, time.monotonic() - began, before, measure(run.model, measuring),
    )
    save_bert(out, run.model, wordpiece)
    record = {"config": config.model_dump(), "texts": [Path(each).name for each in texts], **asdict(report)}
    write_text(out / RECORD, json.dumps(record, indent=2) + "\n")
    with suppress(OSError):
        (out / STATE).unlink(missing_ok=True)
    return report


def train_step(
    model: BertLanguageModel, optimizer: torch.optim.Optimizer, maker: SampleMaker, config: LanguageConfig, step: int
) -> float:
    """One step; its samples and dropout depend on seed and step alone. Returns: its loss.

    Raises: TrainingError: loss or gradient is not finite.
    """
    torch.manual_seed(int(np.random.SeedSequence([config.seed, _TRAINED, step]).generate_state(1)[0]))
    batch = maker.batch(config.batch, _rng(config, _TRAINED, step))
    model.train()
    words, follows = losses(model, batch)
    loss = words if follows is None else words + follows
    advice = f"lower learning_rate={config.learning_rate}, or look at the text"
    if not bool(torch.isfinite(loss)):
        raise TrainingError(f"step {step + 1}: the loss is not finite; {advice}")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
    if not bool(torch.isfinite(norm)):
        raise TrainingError(f"step {step + 1}: the gradient is not finite; {advice}")
    optimizer.step()
    return float(loss.detach())


def losses(model: BertLanguageModel, batch: SampleBatch) -> tuple[Tensor, Tensor | None]:
    """Mean masked-LM loss over masked pieces, and mean next-sentence loss over pairs (None where there are none)."""
    words, labels, follows, pairs = _asked(model, batch)
    next_loss = None if follows is None or not len(pairs) else F.cross_entropy(follows, pairs)
    return F.cross_entropy(words, labels), next_loss


def _asked(model: BertLanguageModel, batch: SampleBatch) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    """Logits (M, V) and labels (M,) of masked pieces, logits (pairs, 2) and labels (pairs,) of pairs."""
    device = next(model.parameters()).device
    labels, follows = batch.labels.to(device), batch.follows.to(device)
    masked, paired = labels != IGNORED, follows != IGNORED
    words, said = model(batch.ids.to(device), batch.valid.to(device), batch.segments.to(device), masked)
    return words, labels[masked], None if said is None else said[paired], follows[paired]


@torch.inference_mode()
def measure(model: BertLanguageModel, batches: Sequence[SampleBatch]) -> Measured | None:
    """Figures of a model on samples, in evaluation mode; None without samples."""
    if not batches:
        return None
    model.eval()
    totals, pair_totals = np.zeros(3), np.zeros(3)  # loss, right, asked
    for batch in batches:
        words, labels, follows, pairs = _asked(model, batch)
        totals += _totals(words, labels)
        if follows is not None:
            pair_totals += _totals(follows, pairs)
    loss, right = totals[:2] / totals[2]
    next_loss, next_right = pair_totals[:2] / pair_totals[2] if pair_totals[2] else (None, None)
    return Measured(
        float(loss), float(right), None if next_loss is None else float(next_loss),
        None if next_right is None else float(next_right),
    )


def _totals(logits: Tensor, labels: Tensor) -> list[float]:
    loss = F.cross_entropy(logits, labels, reduction="sum")
    return [float(loss), float((logits.argmax(-1) == labels).sum()), len(labels)]


def linear_rate(step: int, *, steps: int, warmup_steps: int) -> float:
    """Factor of the learning rate: linear up to 1 at the end of the warm-up, then linear down to 0 after the last."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return (steps - step) / max(1, steps - warmup_steps)


def _measuring(held: Sequence[list[str]], wordpiece: WordPiece, config: LanguageConfig) -> list[SampleBatch]:
    """Batches of held-out samples, always the same ones for a seed."""
    if not held:
        return []
    corpus = Corpus.encode(held, wordpiece, config.max_length - 3)
    pairs = config.next_sentence and any(len(document) > 1 for document in held)
    maker = SampleMaker(corpus, wordpiece, most=config.max_length, next_sentence=pairs)
    rng = _rng(config, _HELD_OUT)
    return [maker.batch(_MEASURED_BATCH, rng) for _ in range(MEASURED // _MEASURED_BATCH)]


def _rng(config: LanguageConfig, *purpose: int) -> np.random.Generator:
    return np.random.default_rng([config.seed, *purpose])


def _begin(config: LanguageConfig, wordpiece: WordPiece, corpus: Corpus, out: Path, device: torch.device) -> _Run:
    """Model and optimizer at step 0, or as they were saved in the folder.

    Raises: DataError: what was saved there is damaged or of another training. ConfigError: `out` is a file.
        OutputError: nothing can be written there.
    """
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out}: is a file, but the model becomes a folder; choose another name")
    require_writable(out / WEIGHTS, ".safetensors")
    torch.manual_seed(config.seed)
    model = BertLanguageModel(config.encoder(len(wordpiece.pieces)), next_sentence=config.next_sentence).to(device)
    groups = parameter_groups(model, config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.999), eps=1e-6)
    about = repr((sorted(config.model_dump(exclude={"save_every"}).items()), wordpiece.pieces)).encode()
    whole = (about, *(each.tobytes() for each in (corpus.pieces, corpus.sentences, corpus.documents)))
    run = _Run(model, optimizer, hashlib.sha256(b"".join(whole)).hexdigest())
    if (out / STATE).exists():
        _load(run, out / STATE, device)
    return run


def _save(run: _Run, path: Path) -> None:
    whole: dict[str, Any] = {
        "model": run.model.state_dict(), "optimizer": run.optimizer.state_dict(), "fingerprint": run.fingerprint,
        "step": run.step,
    }
    write_state(path, whole)


def _load(run: _Run, path: Path, device: torch.device) -> None:
    with damage_told(path, "this training cannot go on", "delete it, or choose another folder"):
        whole = torch.load(path, map_location=device, weights_only=True)
        if whole["fingerprint"] != run.fingerprint:
            raise ValueError("it began with other settings or other text")
        run.model.load_state_dict(whole["model"])
        run.optimizer.load_state_dict(whole["optimizer"])
        run.step = whole["step"]
