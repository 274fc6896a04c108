"""One file holds a whole model: weights, configuration, alphabet and training record, in safetensors.

Nothing in such a file is executed when it is opened. Keys, sizes and alphabet are checked strictly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from lipread.alphabet import Alphabet
from lipread.config import NetworkConfig, make_config
from lipread.errors import CheckpointError, ConfigError
from lipread.files import WEIGHTS, PathLike, partner_weights, written_whole
from lipread.model.network import LipNetwork

FORMAT = "lipread-1"


@dataclass(frozen=True)
class Checkpoint:
    """A model read from a file.

    Attributes:
        network: in eval mode, float32, on the device asked for.
        alphabet: symbols of the CTC outputs.
        record: training record (data, steps, figures, date, ...).
        name: file name without suffix.
        with_sound: what is read by where there is sound, a model of the same alphabet; None: by this one.
    """

    network: LipNetwork
    alphabet: Alphabet
    record: Mapping[str, Any]
    name: str
    with_sound: Checkpoint | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classes of the network's `classifier` are called; () without one."""
        return tuple(self.record.get("classes", ()))

    @property
    def temperature(self) -> float:
        """What makes word confidences agree with how often words are right; 1 until `lipread calibrate` fitted it."""
        return _temperature_of(self.record)

    @property
    def task(self) -> str:
        """What it was trained for: sentences, or words, phrases or frames, whose training leaves CTC untaught."""
        return _task_of(self.record)


def _task_of(record: Mapping[str, Any]) -> str:
    return str(record.get("config", {}).get("task", "words" if record.get("classes") else "sentences"))


def _temperature_of(record: Mapping[str, Any]) -> float:
    return float(record.get("calibration", {}).get("temperature", 1.0))


def bundled_models() -> dict[str, Path]:
    """Names and files of the checkpoints that ship with the package."""
    return {path.stem: path for path in sorted(WEIGHTS.glob("*.safetensors"))}


def save_checkpoint(
    path: PathLike, network: LipNetwork, alphabet: Alphabet, record: Mapping[str, Any],
    *, weights: Mapping[str, Tensor] | None = None, half: bool = False,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: file to write, .safetensors.
        network: gives the configuration, and the weights unless `weights` are given.
        alphabet: symbols of the CTC outputs.
        record: JSON-able training record; `classes` in it names those of the network's `classifier`.
        weights: other weights for the same network, for example an average.
        half: store as float16 (half the size).
    Raises: CheckpointError: alphabet, weights and network do not fit. OutputError: the file cannot be written.
    """
    _check_alphabet(str(path), alphabet, network.config)
    _check_classes(str(path), record, network.config)
    chosen = network.state_dict() if weights is None else weights
    _check_weights(str(path), network, chosen)
    state = {
        key: (value.half() if half and value.is_floating_point() else value).contiguous().cpu()
        for key, value in chosen.items()
    }
    metadata = {
        "format": FORMAT,
        "config": network.config.model_dump_json(),
        "alphabet": json.dumps(list(alphabet.symbols)),
        "record": json.dumps(dict(record), default=str),
    }
    with written_whole(path) as temporary:
        temporary.write_bytes(save(state, metadata=metadata))  # its own way to write a file hides it from other users


def load_checkpoint(path: PathLike, device: str | torch.device = "cpu") -> Checkpoint:
    """Read a checkpoint.

    Raises: CheckpointError: absent, damaged, of another kind, or keys or sizes that differ; the message shows how.
    """
    file = Path(path)
    if not file.is_file():
        bundled = ", ".join(bundled_models()) or "none bundled"
        raise CheckpointError(f"{file}: no such checkpoint; give a .safetensors file or one of: {bundled}")
    try:
        with safe_open(file, framework="pt") as handle:
            metadata = handle.metadata() or {}
            state = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file}: not a readable safetensors file ({error}); it may be cut short or of another kind, get it again"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{file}: a checkpoint of another kind (format {metadata.get('format')!r}, wanted {FORMAT!r}); "
            "train or convert it with this version of lipread"
        )
    try:
        config = make_config(NetworkConfig, json.loads(metadata["config"]), origin=str(file))
        alphabet = Alphabet.from_list(json.loads(metadata["alphabet"]))
        record = json.loads(metadata["record"])
        _check_record(record)
    except (  # ConfigError and bad JSON are ValueErrors
        AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError,
    ) as error:
        raise CheckpointError(f"{file}: its description is damaged ({error}); get the file again") from error
    _check_alphabet(str(file), alphabet, config)
    _check_classes(str(file), record, config)
    network = LipNetwork(config)
    load_weights(network, state, origin=str(file))
    spoilt = [key for key, value in network.state_dict().items() if not value.sum().isfinite()]  # a sum keeps them
    if spoilt:
        raise CheckpointError(f"{file}: {spoilt[0]} has values that are not finite; get the file again")
    return Checkpoint(network.to(device).eval(), alphabet, record, file.stem)


def load_with_partner(path: PathLike, device: str | torch.device = "cpu") -> Checkpoint:
    """As `load_checkpoint`, with the model that its record names under `with_sound`, if any: a file beside it, or a
    bundled model. Raises: CheckpointError: also where that is not to be found, or has another alphabet.
    """
    checkpoint = load_checkpoint(path, device)
    name = str(checkpoint.record.get("with_sound", ""))
    if not name:
        return checkpoint
    file = partner_weights(path, name)
    listener = load_checkpoint(file, device)
    if listener.alphabet.symbols != checkpoint.alphabet.symbols or not listener.network.hears:
        raise CheckpointError(f"{file}: does not fit {path}, which it is to listen for; get both files again")
    return replace(checkpoint, with_sound=listener)


def require_partner(path: PathLike, record: Mapping[str, Any]) -> None:
    """Look before long work whether a checkpoint, written there, would find the model that listens for it.

    Raises: ConfigError: it has that model's name, or that model lies elsewhere.
    """
    name = str(record.get("with_sound", ""))
    if name and Path(path).stem == name:
        raise ConfigError(f"{path}: {name} is the model that listens beside it; choose another name")
    if name and not partner_weights(path, name).is_file():
        raise ConfigError(
            f"{path}: {name}{Path(path).suffix}, which listens beside it, does not lie in that folder; write to the "
            "folder where it lies, or copy it there"
        )


def average(checkpoints: Sequence[Checkpoint]) -> Checkpoint:
    """The mean of the weights and statistics of checkpoints from one training; the record is that of the first.

    Raises: CheckpointError: fewer than two, or of other networks or alphabets.
    """
    if len(checkpoints) < 2:
        raise CheckpointError("one checkpoint is its own average; give two or more")
    first, *others = checkpoints
    for other in others:
        if other.alphabet.symbols != first.alphabet.symbols or other.network.config != first.network.config:
            raise CheckpointError(
                f"{other.name}: of another network or alphabet than {first.name}; give checkpoints of one training"
            )
    states = [each.network.state_dict() for each in checkpoints]
    mean = {key: torch.stack([state[key].double() for state in states]).mean(0) for key in states[0]}
    network = LipNetwork(first.network.config)
    load_weights(network, mean, origin="average")
    record = {key: value for key, value in first.record.items() if key not in ("calibration", "chosen_on")}
    record["average_of"] = [{"name": each.name, "steps": each.record.get("steps")} for each in checkpoints]
    return Checkpoint(network.eval(), first.alphabet, record, "average")


def load_weights(network: LipNetwork, state: Mapping[str, Tensor], *, origin: str) -> None:
    """Put weights into a network, strictly. Raises: CheckpointError: shows keys and sizes that differ."""
    _check_weights(origin, network, state)
    wanted = network.state_dict()
    network.load_state_dict({key: value.to(wanted[key].dtype) for key, value in state.items()})


def _check_weights(origin: str, network: LipNetwork, state: Mapping[str, Tensor]) -> None:
    if shown := differences(state, network.state_dict()):
        raise CheckpointError(f"{origin}: does not fit this network: {shown}; use the preset it was trained with")


def differences(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Keys and sizes of weights that are not as wanted, the first five; empty where all are."""
    problems = [f"missing {key}" for key in wanted if key not in state]
    problems += [f"unknown {key}" for key in state if key not in wanted]
    problems += [
        f"{key} is {tuple(state[key].shape)}, wanted {tuple(wanted[key].shape)}"
        for key in wanted
        if key in state and state[key].shape != wanted[key].shape
    ]
    return "; ".join(problems[:5]) + (f" and {len(problems) - 5} more" if len(problems) > 5 else "")


def _check_alphabet(origin: str, alphabet: Alphabet, config: NetworkConfig) -> None:
    if alphabet.size != config.alphabet_size:
        raise CheckpointError(
            f"{origin}: the alphabet has {alphabet.size} symbols, the network's head {config.alphabet_size}; "
            "they must be the same"
        )


def _check_record(record: Any) -> None:
    if not isinstance(record, dict):
        raise TypeError("the record is no table of values")
    if not isinstance(name := record.get("with_sound", ""), str):
        raise TypeError(f"with_sound={name!r}")
    if not 0 < (temperature := _temperature_of(record)) < math.inf:
        raise ValueError(f"temperature={temperature}")
    _task_of(record)


def _check_classes(origin: str, record: Mapping[str, Any], config: NetworkConfig) -> None:
    names = record.get("classes", ())
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise CheckpointError(
            f"{origin}: the record's classes are no list of names, the network's head has {config.classes}; "
            "give each a name"
        )
    if (count := len(set(names))) != config.classes:
        raise CheckpointError(
            f"{origin}: the record names {count} classes, the network's head has {config.classes}; "
            "they must be the same"
        )
