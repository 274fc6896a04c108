"""Settings -> all that a training needs before its first step: clips, alphabet, network, batches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from lipread.alphabet import Alphabet
from lipread.checkpoint import load_checkpoint
from lipread.config import TrainConfig
from lipread.devices import choose_device
from lipread.errors import ConfigError, DataError, LipreadError
from lipread.training import distributed
from lipread.training.batches import Batch
from lipread.training.clips import Clip, check_apart, divide_clips, load_clips, training_vocabulary
from lipread.training.dataset import TrainingBatches
from lipread.training.hidden_frames import clusters_of
from lipread.training.state import State, prepare_state
from lipread.training.word_clips import cuts_of_all, fits, with_classes

# Settings that may be others when a run goes on. The lists of clips, which are compared, follow from some of them.
MAY_CHANGE = {
    "data", "out", "preset", "steps", "accumulate", "precision", "evaluate_every", "save_every", "workers",
    "threads", "device", "context_processes",
}  # fmt: skip


@dataclass(frozen=True)
class Ready:
    """All that a training needs before its first step; `left_out` clips were too long for the network, and the word
    times of `untimed` ones do not fit into them."""

    config: TrainConfig
    state: State
    vocabulary: tuple[str, ...]
    training: list[Clip]
    choosing: dict[str, list[Clip]]
    alphabet: Alphabet
    place: distributed.Place
    left_out: int
    untimed: int

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return self.place.device

    @cached_property
    def batches(self) -> TrainingBatches:
        """What is trained on. Raises: DataError, ConfigError: there is nothing, or too little for so many processes."""
        if self.config.task == "sentences" and self.training and not any(clip.text for clip in self.training):
            raise DataError(
                "no clip of the training has a text to learn; prepare the corpus with its texts, or learn without them "
                "by --task frames"
            )
        return TrainingBatches(
            self.training, self.config, self.alphabet, self.vocabulary,
            crop_side_px=self.state.network.config.frontend.crop_side_px, classes=self.state.classes,
            rank=self.place.data_rank, world_size=self.place.data_size,
        )


def make_ready(config: TrainConfig) -> Ready:
    """Load the clips, choose the alphabet, make the network; nothing is written. Raises: as `train`."""
    place = distributed.join(choose_device(config.device), config.context_processes)
    if config.threads:
        torch.set_num_threads(config.threads)
    network = config.network_config
    folders = [(folder, load_clips(folder)) for folder in config.data]
    check_apart(folders)
    clips = [clip for _, clips in folders for clip in clips]
    untimed = sum(not clip.times_fit for clip in clips)
    if config.classifies:
        clips = with_classes(clips, config)
    if unknown := set(config.held_out_speakers) - {clip.speaker for clip in clips}:
        raise ConfigError(f"held_out_speakers: nobody in the data is called {', '.join(sorted(unknown))}; check --data")
    fitting = [clip for clip in clips if fits(clip, config)]
    if clips and not fitting:
        raise DataError(
            f"all {len(clips)} clips are longer than the {network.encoder.max_position_embeddings - 1} frames that the "
            "network reads; cut them, or raise network.encoder.max_position_embeddings"
        )
    training, choosing = divide_clips(fitting, config)
    held = config.held_out_speakers if config.task != "frames" else ()  # which has nothing to choose by
    if held and not choosing["held-out"] and not any(clip.speaker in held for clip in choosing["val"]):
        raise ConfigError(
            f"held_out_speakers: there is no clip of {', '.join(held)} to choose on, which is of the split `train` and "
            "has pixels, or lip points where nothing else is looked at; hold out other people"
        )
    if config.folds and not choosing["val"]:
        raise ConfigError(f"fold={config.fold} of folds={config.folds} holds no clip; deal them into fewer folds")
    vocabulary = training_vocabulary(training)
    alphabet = choose_alphabet(config, training)
    classes = choose_classes(config, training)
    sizes = {"alphabet_size": alphabet.size, "classes": len(classes)}
    asked_for = config.batch_pixels > 0 or "points" not in network.streams
    pixels = asked_for and "pixels" in network.streams and any(clip.crops_path for clip in training)
    config = config.model_copy(update={
        "network": network.model_copy(update=sizes),
        "frontend_steps": config.frontend_steps if pixels else 0,  # of a front-end that has nothing to look at
    })
    state = prepare_state(config, alphabet, vocabulary, place.device, classes=classes)
    state.network.context = place.context
    if state.hidden_frames:
        state.hidden_frames.centres.copy_(clusters_of(training, config.clusters, config.seed))
    state.settings = kept_settings(config, training, choosing)
    return Ready(
        config, state, vocabulary, training, choosing, alphabet, place, len(clips) - len(fitting), untimed
    )


def kept_settings(config: TrainConfig, training: list[Clip], choosing: dict[str, list[Clip]]) -> dict[str, Any]:
    """What must stay as it was when a run goes on: else its weights are not what its record says, and what is measured
    may have been trained on. Clips and checkpoints count by what they are, wherever they lie."""
    settings = config.model_dump(mode="json", exclude=MAY_CHANGE)
    for follows in ("alphabet_size", "classes"):  # from the clips
        del settings["network"][follows]
    files = {"init": [config.init_checkpoint] if config.init_checkpoint else [], "teachers": config.teachers}
    for name, paths in files.items():
        settings[name] = " ".join(hashlib.sha256(path.read_bytes()).hexdigest()[:12] for path in paths)
    for name, clips in (("training", training), *choosing.items()):
        listed = "\n".join(sorted(f"{clip.source} {clip.name}" for clip in clips))
        settings[f"list of {name} clips"] = f"{len(clips)} ({hashlib.sha256(listed.encode()).hexdigest()[:12]})"
    return settings


def choose_alphabet(config: TrainConfig, clips: list[Clip]) -> Alphabet:
    """The alphabet of `config.init`, or English characters and the most frequent words of the training texts."""
    if config.init_checkpoint:
        return load_checkpoint(config.init_checkpoint).alphabet
    return Alphabet.english().with_words(
        training_vocabulary(clips, config.word_symbols, least_count=config.word_symbol_count)
    )


def choose_classes(config: TrainConfig, clips: list[Clip]) -> tuple[str, ...]:
    """What is told apart: the classes of `config.init` where all of the training's are among them, or these; () where
    nothing is classified."""
    if not config.classifies:
        return ()
    labels = {cut.label for cut in cuts_of_all(clips, config)}
    known = load_checkpoint(config.init_checkpoint).classes if config.init_checkpoint else ()
    return known if labels <= set(known) else tuple(sorted(labels))


class _Errors(Dataset[Batch | LipreadError]):
    """Hands errors on as items: raised in a worker process they would arrive with its traceback as their text."""

    def __init__(self, batches: TrainingBatches) -> None:
        self.batches = batches

    def __getitem__(self, number: int) -> Batch | LipreadError:
        try:
            return self.batches[number]
        except LipreadError as error:
            return error


def in_steps(batches: TrainingBatches, first: int, workers: int) -> Iterator[list[Batch]]:
    """The batches from number `first` on, grouped into steps."""
    loader = DataLoader(
        _Errors(batches), batch_size=None, sampler=range(first, len(batches)), num_workers=workers,
        prefetch_factor=4 if workers else None, persistent_workers=bool(workers),
        multiprocessing_context="fork" if workers else None, pin_memory=torch.cuda.is_available(),
        generator=torch.Generator(),  # it draws a number when it starts, which must not come out of ours
    )
    group: list[Batch] = []
    for batch in loader:
        if isinstance(batch, LipreadError):
            raise batch
        group.append(batch)
        if len(group) == batches.config.accumulate:
            yield group
            group = []
