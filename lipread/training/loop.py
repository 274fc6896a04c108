"""The training, read straight down: batches -> losses -> steps -> evaluations -> checkpoints.

Shapes: B clips, T frames, V symbols, D features.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lipread.alphabet import Alphabet
from lipread.checkpoint import load_checkpoint, load_weights, save_checkpoint
from lipread.config import TrainConfig
from lipread.errors import DataError, TrainingError
from lipread.model.ctc import ctc_loss
from lipread.model.network import LipNetwork
from lipread.model.norm import freeze_batchnorm
from lipread.training import distributed
from lipread.training.batches import Batch
from lipread.training.dataset import Clip, TrainingBatches, load_clips, training_vocabulary
from lipread.training.evaluation import Evaluation, evaluate
from lipread.training.report import Report
from lipread.training.schedule import WeightAverage, learning_rate, parameter_groups


class FrameWords(nn.Module):
    """Names the word of each frame, from the joined streams and from the encoder's last layer; only in training."""

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.early, self.late = nn.Linear(width, words + 1), nn.Linear(width, words + 1)

    def forward(self, states: list[Tensor], labels: Tensor) -> Tensor:
        """Hidden states (B, 1 + T, D), word numbers (B, T) with -100 not counted -> summed cross-entropy per clip (B,)."""
        count = (labels >= 0).sum(1).clamp_min(1)
        total = torch.zeros(len(labels), device=labels.device)
        for head, state in ((self.early, states[0]), (self.late, states[-1])):
            logits = head(state[:, 1:]).float().transpose(1, 2)  # (B, words, T)
            total = total + F.cross_entropy(logits, labels, ignore_index=-100, reduction="none").sum(1) / count
        return total / 2


@dataclass
class State:
    """Everything that an interrupted training needs to go on as if nothing had happened."""

    network: LipNetwork
    frame_words: FrameWords
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: WeightAverage
    step: int = 0
    best: float = math.inf


def train(config: TrainConfig, *, show: bool = True) -> Path:
    """Train a network.

    Args:
        config: all of it; `config.out` is the run's folder. A run found there goes on where it stopped.
        show: progress bar and lines on the terminal.
    Returns: the checkpoint of the averaged weights that was best on `val` and held-out speakers
        (of the last step where there is nothing to choose on).
    Raises: DataError, TrainingError.
    """
    rank, world_size = distributed.join()
    device = pick_device(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    clips = [clip for folder in config.data for clip in load_clips(folder)]
    training = [c for c in clips if c.split == "train" and c.speaker not in config.held_out_speakers]
    choosing = {
        "val": [c for c in clips if c.split == "val"],
        "held-out": [c for c in clips if c.split == "train" and c.speaker in config.held_out_speakers and c.crops_path],
    }
    vocabulary = training_vocabulary(training)
    alphabet = choose_alphabet(config, training)
    network = config.network_config.model_copy(update={"alphabet_size": alphabet.size})
    config = config.model_copy(update={"network": network})
    state = prepare_state(config, len(vocabulary), device)
    batches = TrainingBatches(
        training, config, alphabet, vocabulary,
        crop_side_px=state.network.config.frontend.crop_side_px, rank=rank, world_size=world_size,
    )
    latest, best = config.out / "latest.pt", config.out / "best.safetensors"
    if latest.exists():
        load_state(state, latest, device)
    report = Report(config, alphabet, active=rank == 0, show=show)
    first = state.step * config.accumulate
    try:
        for numbered in report.steps(_loader(batches, first, config.workers), state.step):
            loss = training_step(state, numbered, config, device)
            state.step += 1
            report.step(state.step, loss, clips=sum(len(b.names) for b in numbered) * world_size)
            last = state.step == config.steps
            if rank == 0 and (state.step % config.evaluate_every == 0 or last):
                figures = choose(state, choosing, alphabet, device, config)
                report.evaluation(state.step, figures)
                score = mean_error(figures)
                if score <= state.best or not figures:
                    state.best = score
                    record = {**report.record(state.step, training), "chosen_on": {k: v.as_dict() for k, v in figures.items()}}
                    save_checkpoint(best, state.network, alphabet, record, weights=state.average.state)
            if rank == 0 and (state.step % config.save_every == 0 or last):
                save_state(state, latest)
    finally:
        report.close()
    distributed.leave()
    return best


def training_step(state: State, batches: list[Batch], config: TrainConfig, device: torch.device) -> float:
    """One step over its micro-batches -> mean loss of all processes' clips.

    Raises: TrainingError: the loss is not finite; names the clips.
    """
    network = state.network.train()
    freeze_batchnorm(network, config.freeze_batchnorm)
    rate = learning_rate(
        state.step, steps=config.steps, warmup_steps=config.warmup_steps,
        peak=config.learning_rate, final=config.final_learning_rate,
    )
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    clips = distributed.sum_over_processes(torch.tensor(float(sum(len(b.names) for b in batches)), device=device))
    total = torch.zeros((), device=device)
    for batch in batches:
        losses = clip_losses(state, batch.to(device), config)
        if not bool(torch.isfinite(losses).all()):
            bad = [name for name, fine in zip(batch.names, torch.isfinite(losses).tolist(), strict=True) if not fine]
            raise TrainingError(f"step {state.step + 1}: the loss of {', '.join(bad)} is not finite; look at those clips, or lower learning_rate={config.learning_rate}")
        loss = losses.sum() / clips
        state.scaler.scale(loss).backward()
        total += loss.detach()
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    distributed.sum_gradients(parameters)
    state.scaler.unscale_(state.optimizer)
    nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.average.update(network)
    return float(distributed.sum_over_processes(total))


def clip_losses(state: State, batch: Batch, config: TrainConfig) -> Tensor:
    """CTC loss per character plus the weighted word-per-frame loss, (B,)."""
    with autocast(config.precision, batch.points.device):
        states = state.network.encode(
            batch.crops, batch.points, batch.lengths, use_pixels=batch.use_pixels, use_points=batch.use_points
        )
        log_probs = state.network.ctc(states[-1][:, 1:])
        losses = ctc_loss(log_probs, batch.lengths, batch.targets, batch.target_lengths)
        if config.frame_loss:
            losses = losses + config.frame_loss * state.frame_words(states, batch.frame_labels)
    return losses


def choose(
    state: State, choosing: dict[str, list[Clip]], alphabet: Alphabet, device: torch.device, config: TrainConfig
) -> dict[str, Evaluation]:
    """Figures of the averaged weights on the clips that choose, with both streams."""
    kept = {key: value.clone() for key, value in state.network.state_dict().items()}
    state.network.load_state_dict(state.average.state)
    state.network.eval()
    with autocast(config.precision, device):
        figures = {
            name: evaluate(state.network, clips, alphabet, device, use_pixels=config.batch_pixels > 0)
            for name, clips in choosing.items()
            if clips
        }
    state.network.load_state_dict(kept)
    return figures


def choose_alphabet(config: TrainConfig, clips: list[Clip]) -> Alphabet:
    """The alphabet of `config.init`, or English characters and the most frequent words of the training texts."""
    if config.init:
        return load_checkpoint(config.init).alphabet
    return Alphabet.english().with_words(
        training_vocabulary(clips, config.word_symbols, least_count=config.word_symbol_count)
    )


def mean_error(figures: dict[str, Evaluation]) -> float:
    """What checkpoints are chosen by: the mean of the WERs plus a little CER (it moves first)."""
    if not figures:
        return math.inf
    return sum(f.score.wer + 0.1 * f.score.cer for f in figures.values()) / len(figures)


def prepare_state(config: TrainConfig, words: int, device: torch.device) -> State:
    """Network, optimizer and average at step 0, from `config.init` or from random weights of `config.seed`."""
    torch.manual_seed(config.seed)
    network = LipNetwork(config.network_config)
    if config.init:
        load_weights(network, load_checkpoint(config.init).network.state_dict(), origin=str(config.init))
    network.to(device)
    if config.freeze_frontend:
        network.frontend.requires_grad_(False)
    frame_words = FrameWords(config.network_config.encoder.hidden_size, words).to(device)
    groups = parameter_groups(nn.ModuleList([network, frame_words]), config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))
    scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16" and device.type == "cuda")
    return State(network, frame_words, optimizer, scaler, WeightAverage(network, config.ema_decay))


def save_state(state: State, path: Path) -> None:
    """Write everything that a resumed run needs, whole or not at all."""
    temporary = path.with_suffix(".part")
    whole: dict[str, Any] = {
        "network": state.network.state_dict(),
        "frame_words": state.frame_words.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "average": state.average.state_dict(),
        "step": state.step,
        "best": state.best,
        "rng": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        whole["cuda_rng"] = torch.cuda.get_rng_state_all()
    torch.save(whole, temporary)
    temporary.replace(path)


def load_state(state: State, path: Path, device: torch.device) -> None:
    """Go on from `save_state`. Raises: DataError: the file is damaged or of another network."""
    try:
        whole = torch.load(path, map_location=device, weights_only=True)
        state.network.load_state_dict(whole["network"])
        state.frame_words.load_state_dict(whole["frame_words"])
        state.optimizer.load_state_dict(whole["optimizer"])
        state.scaler.load_state_dict(whole["scaler"])
        state.average.load_state_dict(whole["average"])
        state.step, state.best = whole["step"], whole["best"]
        torch.set_rng_state(whole["rng"].cpu())
        if "cuda_rng" in whole and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([s.cpu() for s in whole["cuda_rng"]])
    except (RuntimeError, KeyError, EOFError, OSError, ValueError) as error:
        raise DataError(f"{path}: this run cannot go on ({str(error).splitlines()[0]}); choose another --out or delete the file") from error


def pick_device(name: str) -> torch.device:
    """`auto` is CUDA, then MPS, then the processor."""
    if name != "auto":
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision; float32 keeps everything as it is."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)


def _loader(batches: TrainingBatches, first: int, workers: int) -> Iterator[list[Batch]]:
    """The batches from number `first` on, grouped into steps."""
    loader = DataLoader(
        batches, batch_size=None, sampler=range(first, len(batches)), num_workers=workers,
        prefetch_factor=4 if workers else None, persistent_workers=bool(workers), multiprocessing_context="fork" if workers else None,
    )
    group: list[Batch] = []
    for batch in loader:
        group.append(batch)
        if len(group) == batches.config.accumulate:
            yield group
            group = []


def clips_per_second(batches: TrainingBatches, count: int = 10) -> float:
    """Speed of the data loader alone, one process: clips decoded, composed and augmented per second."""
    start = time.perf_counter()
    clips = sum(len(batches[number].names) for number in range(min(count, len(batches))))
    return clips / (time.perf_counter() - start)
