"""What a training is made of at one moment: made at step 0, saved, and loaded to go on.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from lipread.alphabet import Alphabet
from lipread.checkpoint import load_checkpoint, load_weights
from lipread.config import TrainConfig
from lipread.errors import ConfigError, DataError
from lipread.files import written_whole
from lipread.model.network import LipNetwork
from lipread.training.hidden_frames import HiddenFrames
from lipread.training.schedule import WeightAverage, parameter_groups
from lipread.training.teachers import FrameWords, LipShape, PixelWords

SOUND_PARTS = ("audio.", "fusion.project.sound.", "fusion.absent.sound")


@dataclass
class State:
    """Everything that an interrupted training needs to go on as if nothing had happened."""

    network: LipNetwork
    frame_words: FrameWords
    pixel_words: PixelWords
    lip_shape: LipShape
    optimizer: torch.optim.Optimizer
    scaler: GradScaler
    average: WeightAverage
    symbols: tuple[str, ...]  # of the alphabet, then the words of the per-frame loss
    classes: tuple[str, ...] = ()  # that the network tells apart, by name
    hidden_frames: HiddenFrames | None = None  # of the task `frames`
    teachers: tuple[LipNetwork, ...] = ()  # that are not trained
    settings: dict[str, Any] = field(default_factory=dict)  # what a run that goes on must share with its beginning
    step: int = 0
    best: float = math.inf

    @cached_property
    def word_of_symbol(self) -> Tensor:
        """The word of the per-frame loss that each symbol of the alphabet stands for, 0 for none, (V,)."""
        size = self.network.config.alphabet_size
        numbers = {word: number for number, word in enumerate(self.symbols[size:], 1)}
        return torch.tensor([numbers.get(symbol[1:], 0) if symbol[:1] == " " else 0 for symbol in self.symbols[:size]])


def prepare_state(
    config: TrainConfig, alphabet: Alphabet, vocabulary: tuple[str, ...], device: torch.device,
    *, classes: tuple[str, ...] = (),
) -> State:
    """Network, optimizer and average at step 0, from `config.init` or from random weights of `config.seed`."""
    torch.manual_seed(config.seed)
    network = LipNetwork(config.network_config)
    if config.init_checkpoint:
        begun = load_checkpoint(config.init_checkpoint)
        weights = grown(begun.network, network, same_classes=begun.classes == classes)
        load_weights(network, weights, origin=str(config.init_checkpoint))
    network.to(device)
    if config.freeze_frontend:
        network.frontend.requires_grad_(False)
    if config.learn:
        keep_all_but(network, config.learn)
    encoder = config.network_config.encoder
    frame_words = FrameWords(encoder.hidden_size, len(vocabulary)).to(device)
    pixel_words = PixelWords(
        network.frontend.features, encoder.hidden_size, len(vocabulary), dropout=encoder.hidden_dropout_prob
    ).to(device)
    lip_shape = LipShape(network.frontend.features, config.network_config.geometry.points).to(device)
    learners: list[nn.Module] = [network, frame_words, pixel_words, lip_shape]
    hidden_frames = None
    if config.task == "frames":
        hidden_frames = HiddenFrames(
            encoder.hidden_size, config.clusters, config.network_config.geometry.points,
            next_clip=config.next_clip_loss > 0,
        )
        learners.append(hidden_frames.to(device))
    groups = parameter_groups(nn.ModuleList(learners), config.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=device.type == "cuda")
    scaler = GradScaler(device.type, enabled=config.precision == "fp16" and device.type == "cuda")
    average = WeightAverage(network, config.ema_decay)
    state = State(
        network, frame_words, pixel_words, lip_shape, optimizer, scaler, average, (*alphabet.symbols, *vocabulary),
        classes, hidden_frames, tuple(_teacher(path, network, alphabet, device) for path in config.teachers),
    )
    if config.init and config.init.is_dir():
        take_helpers(state, config.init / "latest.pt", device)
    return state


def _teacher(path: Path, pupil: LipNetwork, alphabet: Alphabet, device: torch.device) -> LipNetwork:
    """A trained network that reads all that the pupil is given. Raises: CheckpointError, ConfigError."""
    trained = load_checkpoint(path, device)
    if trained.alphabet.symbols != alphabet.symbols:
        raise ConfigError(f"teachers: {path} writes other symbols than are trained here; start from it with --init")
    if missing := set(pupil.config.streams) - set(trained.network.config.streams):
        said = ", ".join(sorted(missing))
        raise ConfigError(f"teachers: {path} does not know the stream {said}, which is trained here")
    theirs, ours = trained.network.config.frontend.crop_side_px, pupil.config.frontend.crop_side_px
    if theirs != ours:
        raise ConfigError(f"teachers: {path} looks at crops of {theirs} pixels, and {ours} are trained here")
    if (most := trained.network.max_frames) < pupil.max_frames:
        raise ConfigError(
            f"teachers: {path} reads {most} frames at most, and {pupil.max_frames} are trained here; "
            f"give network.encoder.max_position_embeddings={most + 1}"
        )
    return trained.network.requires_grad_(False)


def grown(trained: LipNetwork, network: LipNetwork, *, same_classes: bool = True) -> dict[str, Tensor]:
    """The weights of a trained network for one that has more to do.

    Where it hears as well, what belongs to sound starts anew, and the segments with sound start as the one without.
    Where it tells other classes apart, or none, their head starts anew, or goes.
    """
    weights = trained.state_dict()
    if not same_classes:
        head = {key: value for key, value in network.state_dict().items() if key.startswith("classifier.")}
        weights = {key: value for key, value in weights.items() if not key.startswith("classifier.")} | head
    if network.hears and not trained.hears:
        new = network.state_dict()
        weights |= {key: value for key, value in new.items() if key.startswith(SOUND_PARTS) and key not in weights}
        segments = weights["encoder.embeddings.token_type_embeddings.weight"].clone()
        segments[1:] = segments[0]
        weights["encoder.embeddings.token_type_embeddings.weight"] = segments
    return weights


def keep_all_but(network: LipNetwork, learn: tuple[str, ...]) -> None:
    """Let only the weights learn whose names begin so. Raises: ConfigError: a beginning that no weight has."""
    names = [name for name, _ in network.named_parameters()]
    if unknown := [start for start in learn if not any(name.startswith(start) for name in names)]:
        parts = ", ".join(name for name, _ in network.named_children())
        raise ConfigError(f"learn: no weight's name begins with {', '.join(unknown)}; the parts are {parts}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(learn))


def save_state(state: State, path: Path) -> None:
    """Write everything that a resumed run needs, whole or not at all. Raises: OutputError."""
    whole: dict[str, Any] = {
        "network": state.network.state_dict(),
        "frame_words": state.frame_words.state_dict(),
        "pixel_words": state.pixel_words.state_dict(),
        "lip_shape": state.lip_shape.state_dict(),
        "hidden_frames": state.hidden_frames.state_dict() if state.hidden_frames else None,
        "optimizer": state.optimizer.state_dict(),
        "scaler": state.scaler.state_dict(),
        "average": state.average.state_dict(),
        "symbols": list(state.symbols),
        "classes": list(state.classes),
        "settings": state.settings,
        "step": state.step,
        "best": state.best,
    }
    write_state(path, whole)


def write_state(path: Path, whole: dict[str, Any]) -> None:
    """Write tensors and numbers by name, whole or not at all. Raises: OutputError: it cannot be written."""
    with written_whole(path) as temporary:
        try:
            torch.save(whole, temporary)
        except RuntimeError as error:  # how torch says that the disk is full
            raise OSError("the disk may be full") from error


def load_state(state: State, path: Path, device: torch.device) -> None:
    """Go on from `save_state`. Raises: DataError: the file is damaged, or of another network, data or settings."""
    with damage_told(path, "this run cannot go on", "choose another --out or delete the file"):
        whole = torch.load(path, map_location=device, weights_only=True)
        if changed := _first_change(whole.get("settings", {}), state.settings):
            raise ValueError(f"it was trained with another {changed}")
        if whole.get("symbols", list(state.symbols)) != list(state.symbols):
            raise ValueError("it was trained on other texts")
        if whole.get("classes", []) != list(state.classes):
            raise ValueError("it was trained for another task, or for other classes")
        if bool(whole.get("hidden_frames")) != bool(state.hidden_frames):
            raise ValueError("it was trained for another task")
        state.network.load_state_dict(whole["network"])
        _load_helpers(state, whole)
        if state.hidden_frames:
            state.hidden_frames.load_state_dict(whole["hidden_frames"])
        state.optimizer.load_state_dict(whole["optimizer"])
        if whole["scaler"]:  # empty in a run without one, of another precision
            state.scaler.load_state_dict(whole["scaler"])
        state.average.load_state_dict(whole["average"])
        state.step, state.best = whole["step"], whole["best"]


def _first_change(theirs: dict[str, Any], ours: dict[str, Any], within: str = "") -> str:
    """What the first setting that differs was and is now, "" where all are the same, or they were not kept."""
    for name, value in theirs.items():
        now = ours.get(name)
        if isinstance(value, dict) and isinstance(now, dict):
            if changed := _first_change(value, now, f"{within}{name}."):
                return changed
        elif now != value:
            return f"{within}{name}: {value}, now {now}"
    return ""


def take_helpers(state: State, path: Path, device: torch.device) -> None:
    """Let the heads of the helping losses begin as another run left them; they start anew where its texts were others.

    Raises: DataError: the file is not there, damaged, or of another network.
    """
    with damage_told(path, "nothing can start from this run", "name its best.safetensors instead"):
        whole = torch.load(path, map_location=device, weights_only=True)
        if whole["symbols"] == list(state.symbols):
            _load_helpers(state, whole)


def _load_helpers(state: State, whole: dict[str, Any]) -> None:
    state.frame_words.load_state_dict(whole["frame_words"])
    state.pixel_words.load_state_dict(whole["pixel_words"])
    state.lip_shape.load_state_dict(whole["lip_shape"])


@contextlib.contextmanager
def damage_told(path: Path, what: str, advice: str) -> Iterator[None]:
    """Raises: DataError, in place of whatever torch raises about a saved state that does not fit, or is damaged."""
    try:
        yield
    except Exception as error:  # any bytes may have changed: no list was ever whole
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(f"{path}: {what} ({said}); {advice}") from error
