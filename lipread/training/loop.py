"""The training, read straight down: batches -> losses -> steps -> evaluations -> checkpoints.

Shapes: B clips, T frames, V symbols, D features.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.alphabet import Alphabet
from lipread.checkpoint import load_checkpoint, save_checkpoint
from lipread.config import TrainConfig
from lipread.devices import most_memory_used
from lipread.errors import ConfigError, TrainingError
from lipread.files import sweep_parts
from lipread.model.ctc import ctc_loss
from lipread.model.masks import Frames, valid_frames
from lipread.model.norm import freeze_batchnorm, freeze_kept_batchnorm
from lipread.training import distributed
from lipread.training.batches import Batch
from lipread.training.clips import Clip
from lipread.training.evaluation import Evaluation, classify, evaluate
from lipread.training.hidden_frames import exchange_halves, hide, spans
from lipread.training.ready import in_steps, make_ready
from lipread.training.report import Report
from lipread.training.schedule import learning_rate
from lipread.training.state import State, load_state, save_state
from lipread.training.teachers import Call, captured, consistency_loss, kept_in_words, taught_loss
from lipread.training.word_clips import cuts_of_all

DRY_STEPS = 3
PADDED_FRAMES = 32  # on a GPU, clips are padded to multiples of this, for the reason that `model.frontend` gives


def dry_run(config: TrainConfig) -> str:
    """Take a few steps without writing anything -> what the training would be and how long it would take.

    Raises: as `train`.
    """
    ready = make_ready(config)
    config, state = ready.config, ready.state
    began_s = time.monotonic()
    for numbered in itertools.islice(in_steps(ready.batches, 0, config.workers), DRY_STEPS + 1):
        seed_step(config.draw_seed, state.step, ready.place.data_rank)
        loss = training_step(state, numbered, config, ready.device)
        state.step += 1
        if state.step == 1 < config.steps:  # the first one warms up
            began_s = time.monotonic()
    step_s = (time.monotonic() - began_s) / max(1, state.step - 1)
    distributed.wait()
    with_pixels = [clip for clip in ready.training if clip.crops_path]
    chosen_on = [f"{name} {len(clips)}" for name, clips in ready.choosing.items() if clips]
    return "\n".join([
        f"training: {len(ready.training)} clips of {len({clip.speaker for clip in ready.training})} speakers, "
        f"{len(with_pixels)} of them with pixels; {ready.left_out} too long"
        + (f", {ready.untimed} with word times that do not fit" if ready.untimed else ""),
        "choosing: " + (", ".join(chosen_on) or "nothing"),
        f"network: {sum(p.numel() for p in state.network.parameters()):,} parameters, "
        + (f"{len(state.classes)} classes" if state.classes else f"{ready.alphabet.size} symbols"),
        f"{config.steps} steps of {step_s:.1f} s on {ready.device}, {ready.place.world_size} process(es): about "
        f"{config.steps * step_s / 3600:.1f} hours; loss {loss:.2f} after {state.step} steps",
        f"a process needs {most_memory_used(ready.device) / 1e9:.1f} GB of memory, or more where longer clips come",
    ])


def train(config: TrainConfig, *, show: bool = True) -> Path:
    """Train a network.

    Args:
        config: all of it; `config.out` is the run's folder. A run found there goes on where it stopped, if it has the
            same settings (`ready.kept_settings`).
        show: progress bar and lines on the terminal.
    Returns: the checkpoint of the averaged weights that was best on `val` and held-out speakers
        (of the last step where there is nothing to choose on).
    Raises: ConfigError, DataError, CheckpointError, OutputError, TrainingError.
    """
    ready = make_ready(config)
    config, state, batches, device, place = ready.config, ready.state, ready.batches, ready.device, ready.place
    latest, best = config.out / "latest.pt", config.out / "best.safetensors"
    if latest.exists():
        load_state(state, latest, device)
    if state.step > config.steps:
        raise ConfigError(
            f"steps={config.steps}: {config.out} has done {state.step} already; give more, or choose another --out"
        )
    if place.rank == 0:
        sweep_parts([config.out])  # a run that was killed while it saved leaves one
    report = Report(config, active=place.rank == 0, show=show, first=state.step)
    first = state.step * config.accumulate
    if ready.left_out:
        longest = state.network.max_frames
        report.note(f"{ready.left_out} clips are longer than {longest} frames and left out")
    if ready.untimed:
        report.note(f"the word times of {ready.untimed} clips do not fit into them and are not used")
    if state.step:
        report.note(f"{config.out}: goes on after step {state.step} of {config.steps}")
    try:
        for numbered in report.steps(in_steps(batches, first, config.workers), state.step):
            seed_step(config.draw_seed, state.step, place.data_rank)
            loss = training_step(state, numbered, config, device)
            state.step += 1
            report.step(state.step, loss, clips=sum(len(b.names) for b in numbered) * place.data_size)
            last = state.step == config.steps
            if place.rank == 0 and (state.step % config.evaluate_every == 0 or last):
                figures = choose(state, ready.choosing, ready.alphabet, device, config)
                report.evaluation(state.step, figures)
                score = mean_error(figures)
                if score <= state.best or not figures:
                    state.best = score
                    record = report.record(state.step, ready.training)
                    record["chosen_on"] = {name: figure.as_dict() for name, figure in figures.items()}
                    if state.classes:
                        record["classes"] = list(state.classes)
                    save_checkpoint(best, state.network, ready.alphabet, record, weights=state.average.state)
            if place.rank == 0 and (state.step % config.save_every == 0 or last):
                save_state(state, latest)
    finally:
        report.close()
    distributed.wait()
    return best


def measure(config: TrainConfig) -> dict[str, Evaluation]:
    """Figures of the checkpoint `config.init` on the clips that choose; nothing is trained or written.

    Raises: as `train`. ConfigError: there is no such checkpoint, it has no head for the task, or there are no clips.
    """
    if config.init_checkpoint is None:
        raise ConfigError("only a trained checkpoint can be measured; name it with --init FILE.safetensors")
    if config.task == "frames":
        raise ConfigError(
            "--task frames has no error rate, as nothing is read; go on from it with --init and another task"
        )
    ready = make_ready(config)
    if ready.state.classes and ready.state.classes != load_checkpoint(config.init_checkpoint).classes:
        raise ConfigError(
            f"init={str(config.init)!r} does not tell these {len(ready.state.classes)} classes apart; give a "
            f"checkpoint that was trained with --task {config.task} on them"
        )
    figures = choose(ready.state, ready.choosing, ready.alphabet, ready.device, ready.config)
    distributed.wait()
    if not figures:
        raise ConfigError("there is no clip of the split `val` with a text to measure on; check --data")
    return figures


def training_step(state: State, batches: list[Batch], config: TrainConfig, device: torch.device) -> Tensor:
    """One step over its micro-batches -> mean loss of all processes' clips, a number on the device.

    The processor waits for a GPU as seldom as can be: for the numbers of frames, and once before the weights change.

    Raises: TrainingError: the loss is not finite; names the clips.
    """
    network = state.network.train()
    for module in (network, state.pixel_words):
        freeze_batchnorm(module, config.freeze_batchnorm)
    freeze_kept_batchnorm(network)
    rate = learning_rate(
        state.step, steps=config.steps, warmup_steps=config.warmup_steps,
        peak=config.learning_rate, final=config.final_learning_rate,
    )
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.optimizer.zero_grad(set_to_none=True)
    clips = distributed.sum_over_processes(torch.tensor(float(sum(len(b.names) for b in batches)), device=device))
    total, told = torch.zeros((), device=device), []
    for batch in batches:
        batch = batch.to(device).shown(network.config.frontend.crop_side_px)
        if device.type == "cuda":
            batch = batch.padded(PADDED_FRAMES, network.max_frames)
        losses = clip_losses(state, batch, config)
        told.append(losses.detach())
        loss = losses.sum() / clips
        state.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    distributed.sum_gradients(parameters)
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(parameters, config.clip_norm)
    if not bool(torch.isfinite(norm + total)):
        _check_losses(state, batches, told, config)
        if not state.scaler.is_enabled():  # with a scaler, such a step is left out
            raise TrainingError(_not_finite("gradient", state, [name for b in batches for name in b.names], config))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.average.update(network)
    return distributed.sum_over_processes(total)


def _check_losses(state: State, batches: list[Batch], losses: list[Tensor], config: TrainConfig) -> None:
    """Raises: TrainingError: the loss of some clips is not finite."""
    told = [
        (name, fine)
        for batch, each in zip(batches, losses, strict=True)
        for name, fine in zip(batch.names, torch.isfinite(each).tolist(), strict=True)
    ]
    if bad := [name for name, fine in told if not fine]:
        raise TrainingError(_not_finite("loss", state, bad, config))


def _not_finite(what: str, state: State, names: list[str], config: TrainConfig) -> str:
    return (
        f"step {state.step + 1}: the {what} of {', '.join(names)} is not finite; look at those clips, or lower "
        f"learning_rate={config.learning_rate}"
    )


def seed_step(seed: int, step: int, rank: int) -> None:
    """Dropout and position jitter of a step depend on these numbers alone, so that a resumed training repeats them."""
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def clip_losses(state: State, batch: Batch, config: TrainConfig) -> Tensor:
    """CTC loss per symbol, or cross-entropy of the class or of what the lips do in hidden frames, plus the weighted
    helping losses, (B,); at first those of the pixels alone."""
    network, hidden_frames, rows = state.network, state.hidden_frames, batch.use_pixels.nonzero()[:, 0]
    with autocast(config.precision, batch.points.device), captured(network.centre) as centred:
        if state.step < config.frontend_steps:
            valid, side_px = valid_frames(batch.lengths, batch.points.shape[1]), network.config.frontend.crop_side_px
            none = valid.new_zeros(0, batch.points.shape[1], side_px, side_px)  # other processes have some
            network.pixel_features(none if batch.crops is None else batch.crops[rows], Frames.of(valid[rows]))
            losses = batch.points.new_zeros(len(batch.names))
        else:
            own = None
            if hidden_frames and config.next_clip_loss:
                batch, own = exchange_halves(batch)
            if hidden_frames:
                hidden = spans(batch.lengths, batch.points.shape[1], config.hidden_share)
                clusters, batch = hidden_frames.targets(batch, hidden), hide(batch, hidden)
            states = network.encode(**batch.streams)
            if hidden_frames:
                losses = hidden_frames(states[-1], clusters)
                if own is not None:
                    pooled = network.encoder.pooler(states[-1])
                    losses = losses + config.next_clip_loss * hidden_frames.next_clip_loss(pooled, own)
            elif state.classes:
                losses = F.cross_entropy(network.class_scores(states), batch.targets, reduction="none")
            else:
                losses = _text_losses(state, states, batch, config)
            if config.frame_loss and not hidden_frames:
                losses = losses + config.frame_loss * state.frame_words(states, batch.frame_labels)
        if centred and (config.shape_loss or config.pixel_word_loss):
            taught = _pixel_losses(state, centred[0], rows, batch, config)
            losses = losses.index_add(0, rows, taught.to(losses.dtype))
    return losses


def _text_losses(state: State, states: list[Tensor], batch: Batch, config: TrainConfig) -> Tensor:
    """CTC loss per symbol, (B,)."""
    words = state.word_of_symbol.to(batch.lengths.device)

    def text_loss(log_probs: Tensor) -> Tensor:
        if config.symbols_in_words:
            log_probs = kept_in_words(log_probs, batch.frame_labels, words)
        return ctc_loss(log_probs, batch.lengths, batch.targets, batch.target_lengths)

    log_probs = state.network.ctc(states[-1][:, 1:])
    losses = text_loss(log_probs)
    if config.middle_ctc:
        losses = losses + config.middle_ctc * text_loss(state.network.ctc(states[len(states) // 2][:, 1:]))
    if config.consistency:
        agree = consistency_loss(log_probs, batch.lengths, batch.twin)
        losses = losses + config.consistency * agree / batch.target_lengths.clamp_min(1)
    if state.teachers:
        with torch.no_grad():
            taught = [teacher(**batch.streams)[0] for teacher in state.teachers]
        apart = taught_loss(log_probs, batch.lengths, taught)
        losses = losses + config.teacher_loss * apart / batch.target_lengths.clamp_min(1)
    return losses


def _pixel_losses(state: State, centred: Call, rows: Tensor, batch: Batch, config: TrainConfig) -> Tensor:
    """Weighted losses of the pixel front-end's own teachers, one for each row of the batch that has pixels."""
    features, real = centred.output, centred.inputs[1]
    total = torch.zeros(len(rows), device=features.device)
    if config.shape_loss:
        total = total + config.shape_loss * state.lip_shape(features, real, batch.shape[rows])
    if config.pixel_word_loss and not state.hidden_frames:
        total = total + config.pixel_word_loss * state.pixel_words(features, real, batch.frame_labels[rows])
    return total


def choose(
    state: State, choosing: dict[str, list[Clip]], alphabet: Alphabet, device: torch.device, config: TrainConfig
) -> dict[str, Evaluation]:
    """Figures of the averaged weights on the clips that choose: from the lips, and what else the network knows."""
    kept = {key: value.clone() for key, value in state.network.state_dict().items()}
    state.network.load_state_dict(state.average.state)
    state.network.eval()

    known = state.network.config.streams
    lips = "pixels" in known or "points" in known
    by_pixels = "pixels" in known and (config.batch_pixels > 0 or "points" not in known)

    def figure(clips: list[Clip], **streams: bool) -> Evaluation:
        if state.classes:
            return classify(state.network, cuts_of_all(clips, config), state.classes, device, **streams)
        return evaluate(state.network, clips, alphabet, device, **streams)

    with autocast(config.precision, device):
        figures: dict[str, Evaluation] = {}
        for name, clips in choosing.items():
            if not any(clip.text for clip in clips) or state.hidden_frames:  # learned without words: nothing is read
                continue
            if lips:
                figures[name] = figure(clips, use_pixels=by_pixels)
            heard = [clip for clip in clips if clip.sound_path]
            if state.network.hears and heard:
                figures[f"{name}, sound"] = figure(heard, use_pixels=False, use_points=False, use_sound=True)
                if lips:
                    figures[f"{name}, both"] = figure(heard, use_pixels=by_pixels, use_sound=True)
    state.network.load_state_dict(kept)
    return figures


def mean_error(figures: dict[str, Evaluation]) -> float:
    """What checkpoints are chosen by."""
    if not figures:
        return math.inf
    return sum(figure.error for figure in figures.values()) / len(figures)


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision; float32 keeps everything as it is."""
    if precision == "fp32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16 if precision == "bf16" else torch.float16)
