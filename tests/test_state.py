"""What a training is made of: made from a seed, saved whole, loaded or refused."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from torch.amp.grad_scaler import GradScaler

from lipread.alphabet import Alphabet
from lipread.checkpoint import save_checkpoint
from lipread.config import PRESETS, TrainConfig
from lipread.errors import CheckpointError, DataError, OutputError
from lipread.training.state import State, load_state, prepare_state, save_state
from lipread.training.teachers import FrameWords
from networks import TINY, tiny_network

CPU = torch.device("cpu")
VOCABULARY = ("bin", "blue")


def make(*, vocabulary: tuple[str, ...] = VOCABULARY, classes: tuple[str, ...] = (), **changes: Any) -> State:
    values: dict[str, Any] = {"preset": "tiny", "ema_decay": 0.5}
    if classes:
        values |= {"task": "words", "network": TINY.model_copy(update={"classes": len(classes)})}
    return prepare_state(TrainConfig(**values | changes), Alphabet.english(), vocabulary, CPU, classes=classes)


def moved(state: State, steps: int = 2) -> State:
    """After some steps of the optimizer on made-up gradients."""
    torch.manual_seed(1)
    for _ in range(steps):
        for group in state.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.randn_like(parameter)
        state.optimizer.step()
        state.average.update(state.network)
        state.step += 1
    state.best = 0.25
    return state


def contents(state: State) -> dict[str, torch.Tensor]:
    whole: dict[str, torch.Tensor] = {f"n.{k}": v for k, v in state.network.state_dict().items()}
    whole |= {f"w.{k}": v for k, v in state.frame_words.state_dict().items()}
    whole |= {f"a.{k}": torch.as_tensor(v) for k, v in state.average.state_dict().items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        whole |= {f"o.{number}.{k}": torch.as_tensor(v) for k, v in moments.items()}
    return whole


def same(one: State, two: State) -> bool:
    left, right = contents(one), contents(two)
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def test_frame_words_by_hand() -> None:
    torch.manual_seed(0)
    head = FrameWords(4, 2)
    states = [torch.randn(2, 4, 4), torch.randn(2, 4, 4), torch.randn(2, 4, 4)]  # [CLS] and three frames
    labels = torch.tensor([[0, 2, 1], [1, -100, -100]])
    losses = head(states, labels)
    for row, frames in enumerate(([0, 1, 2], [0])):
        wanted = 0.0
        for linear, state in ((head.early, states[0]), (head.late, states[-1])):
            for frame in frames:
                logits = linear(state[row, 1 + frame])
                wanted -= F.log_softmax(logits, 0)[labels[row, frame]].item() / len(frames) / 2
        assert losses[row].item() == pytest.approx(wanted, rel=1e-5)


def test_frame_words_without_a_frame_that_counts_are_zero() -> None:
    assert FrameWords(4, 2)([torch.randn(1, 3, 4)], torch.full((1, 2), -100)).tolist() == [0.0]


def test_the_seed_makes_the_weights() -> None:
    assert same(make(), make())
    assert not same(make(), make(seed=1))


def test_word_symbols_know_their_words() -> None:
    alphabet = Alphabet(("<blank>", " ", "a", " red", " a"))
    network = PRESETS["tiny"].model_copy(update={"alphabet_size": alphabet.size})
    state = prepare_state(TrainConfig(network=network), alphabet, ("a", "blue", "red"), torch.device("cpu"))
    assert state.word_of_symbol.tolist() == [0, 0, 0, 3, 1]


def test_a_round_trip_is_exact(tmp_path: Path) -> None:
    state = moved(make())
    save_state(state, tmp_path / "latest.pt")
    other = moved(make(seed=3), steps=1)
    load_state(other, tmp_path / "latest.pt", CPU)
    assert same(state, other)
    assert (other.step, other.best) == (2, 0.25)
    assert same(moved(state), moved(other))  # and they go on alike
    assert [path.name for path in tmp_path.iterdir()] == ["latest.pt"]


def test_another_precision_may_go_on(tmp_path: Path) -> None:
    """What scales losses has a state with fp16 on a GPU alone."""
    state, scaled = moved(make()), make()
    scaled.scaler = GradScaler("cpu", enabled=True)
    fresh = scaled.scaler.state_dict()
    save_state(state, tmp_path / "plain.pt")
    load_state(scaled, tmp_path / "plain.pt", CPU)
    assert same(state, scaled)
    assert scaled.scaler.state_dict() == fresh
    scaled.scaler.load_state_dict(fresh | {"scale": 128.0})
    save_state(scaled, tmp_path / "scaled.pt")
    again = make()
    load_state(again, tmp_path / "scaled.pt", CPU)
    assert same(state, again)
    again.scaler = GradScaler("cpu", enabled=True)
    load_state(again, tmp_path / "scaled.pt", CPU)
    assert again.scaler.state_dict()["scale"] == 128.0


def test_nothing_chosen_yet_is_kept_too(tmp_path: Path) -> None:
    save_state(make(), tmp_path / "latest.pt")
    state = make()
    load_state(state, tmp_path / "latest.pt", CPU)
    assert state.best == math.inf


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"vocabulary": ("bin", "green")}, "it was trained on other texts"),
        ({"vocabulary": ("bin",)}, "it was trained on other texts"),
        ({"classes": ("bin", "blue")}, "it was trained for another task, or for other classes"),
        ({"network": PRESETS["tiny"].model_copy(update={"fusion_layers": 2})}, "Error(s) in loading state_dict"),
    ],
)
def test_another_training_is_refused(other: dict[str, Any], said: str, tmp_path: Path) -> None:
    save_state(make(), tmp_path / "latest.pt")
    with pytest.raises(DataError) as caught:
        load_state(make(**other), tmp_path / "latest.pt", CPU)
    assert said in str(caught.value)
    assert "latest.pt: this run cannot go on" in str(caught.value)
    assert "choose another --out or delete the file" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_states_of_before_the_symbols_were_kept_still_load(tmp_path: Path) -> None:
    state = moved(make())
    save_state(state, tmp_path / "latest.pt")
    whole = torch.load(tmp_path / "latest.pt", weights_only=True)
    del whole["symbols"], whole["classes"]
    torch.save(whole | {"rng": torch.get_rng_state()}, tmp_path / "latest.pt")
    other = make()
    load_state(other, tmp_path / "latest.pt", CPU)
    assert same(state, other)


@pytest.mark.parametrize("content", [b"", b"not a state", b"PK\x03\x04 cut short", None, {"step": 3}, [1, 2]])
def test_damaged_states_are_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "latest.pt"
    if content is None:  # cut short
        save_state(make(), path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(DataError, match="latest.pt: this run cannot go on"):
        load_state(make(), path, CPU)


def test_whatever_torch_raises_about_a_damaged_state_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 1,500 states of which a byte was changed one raised the first of these."""
    (tmp_path / "latest.pt").touch()
    for error in (AssertionError(), TypeError("no iterable\nat all"), struct.error(), OverflowError(), MemoryError()):
        monkeypatch.setattr(torch, "load", Mock(side_effect=error))
        said = rf"this run cannot go on \(({type(error).__name__}|no iterable)\); choose another --out"
        with pytest.raises(DataError, match=said):
            load_state(make(), tmp_path / "latest.pt", CPU)
    monkeypatch.setattr(torch, "load", Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        load_state(make(), tmp_path / "latest.pt", CPU)


def test_states_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"step": Evil()}, tmp_path / "latest.pt")
    with pytest.raises(DataError):
        load_state(make(), tmp_path / "latest.pt", CPU)
    assert not (tmp_path / "touched").exists()


def test_an_unwritable_place_keeps_the_state_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = make()
    save_state(state, tmp_path / "latest.pt")
    before = (tmp_path / "latest.pt").read_bytes()

    def full(whole: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match=r"latest.pt cannot be written \(the disk may be full\); free some space or"):
        save_state(moved(state), tmp_path / "latest.pt")
    assert (tmp_path / "latest.pt").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["latest.pt"]


def test_start_from_a_checkpoint(tmp_path: Path) -> None:
    network = tiny_network(seed=5)
    save_checkpoint(tmp_path / "before.safetensors", network, Alphabet.english(), {})
    state = make(init=tmp_path / "before.safetensors")
    for key, value in network.state_dict().items():
        assert torch.equal(state.network.state_dict()[key], value)
        assert torch.equal(state.average.state[key], value)


def test_classes_are_saved_and_their_names_count(tmp_path: Path) -> None:
    state = moved(make(classes=("bin", "blue", "red")))
    save_state(state, tmp_path / "latest.pt")
    other = make(classes=("bin", "blue", "red"), seed=4)
    load_state(other, tmp_path / "latest.pt", CPU)
    assert same(state, other)
    for classes in (("bin", "blue", "rot"), ("bin", "blue"), ()):
        with pytest.raises(DataError, match="for another task, or for other classes"):
            load_state(make(classes=classes), tmp_path / "latest.pt", CPU)


def classifier_of(state: State) -> torch.Tensor | None:
    return state.network.state_dict().get("classifier.linear.weight")


def test_the_head_starts_from_a_checkpoint_with_the_same_classes_alone(tmp_path: Path) -> None:
    classes = ("bin", "blue", "red")
    state = make(classes=classes, seed=5)
    path = tmp_path / "words.safetensors"
    save_checkpoint(path, state.network, Alphabet.english(), {"classes": list(classes)})
    before = classifier_of(state)
    again, others, none = (make(init=path, classes=c) for c in (classes, ("bin", "blue", "green", "now"), ()))
    assert before is not None and torch.equal(classifier_of(again), before)  # type: ignore[arg-type]
    fresh = classifier_of(others)
    assert fresh is not None and fresh.shape == (4, 32) and not torch.equal(fresh[:3], before)
    assert classifier_of(none) is None
    for begun in (again, others, none):
        assert torch.equal(begun.network.cls, state.network.cls)
        assert torch.equal(begun.network.encoder.pooler.dense.weight, state.network.encoder.pooler.dense.weight)
    save_checkpoint(path, none.network, Alphabet.english(), {})  # and from one that only reads
    assert classifier_of(make(init=path, classes=classes)) is not None


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "tiny.safetensors", tiny_network(), Alphabet.english(), {})
    network = PRESETS["tiny"].model_copy(update={"fusion_layers": 2})
    with pytest.raises(CheckpointError, match="does not fit this network"):
        make(init=tmp_path / "tiny.safetensors", network=network)


def test_a_frozen_front_end_is_not_in_the_optimizer() -> None:
    state = make(freeze_frontend=True)
    learned = {id(p) for group in state.optimizer.param_groups for p in group["params"]}
    assert not any(id(p) in learned for p in state.network.frontend.parameters())
    assert all(id(p) in learned for p in state.network.geometry.parameters())
    assert all(id(p) in learned for p in state.frame_words.parameters())
