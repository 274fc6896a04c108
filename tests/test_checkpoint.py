"""Checkpoints: round trips, refusals that show the difference, files whole or not at all."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lipread.alphabet import BLANK_SYMBOL, Alphabet
from lipread.checkpoint import (
    FORMAT,
    bundled_models,
    load_checkpoint,
    load_weights,
    load_with_partner,
    require_partner,
    save_checkpoint,
)
from lipread.cli import main
from lipread.config import NetworkConfig
from lipread.errors import CheckpointError, ConfigError, OutputError
from lipread.model.network import LipNetwork
from networks import TINY, clips_of, padded, tiny_network

ENGLISH = Alphabet.english()
RECORD = {"steps": 7, "data": ["grid"], "wer": {"val": 0.25}, "text": 'ünï "quoted"'}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, tiny_network(), ENGLISH, RECORD)
    return path


def contents(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and metadata, read without our code."""
    with safe_open(path, framework="pt") as handle:
        return {key: handle.get_tensor(key) for key in handle.keys()}, handle.metadata()  # noqa: SIM118


def rewritten(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], None]) -> Path:
    """The file with something changed."""
    state, metadata = contents(path)
    change(state, metadata)
    save_file(state, path, metadata=metadata)
    return path


# -- round trips ------------------------------------------------------------------------------------------------------


def test_float32_round_trip_is_exact(saved: Path) -> None:
    network = tiny_network()
    loaded = load_checkpoint(saved)
    assert loaded.name == "tiny"
    assert loaded.record == RECORD
    assert loaded.alphabet == ENGLISH
    assert loaded.network.config == TINY
    assert not loaded.network.training
    state = loaded.network.state_dict()
    assert list(state) == list(network.state_dict())
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())
    batch = padded(clips_of(5, 3))
    assert torch.equal(loaded.network(*batch)[0], network(*batch)[0])


def test_half_is_half_the_size_and_near(tmp_path: Path, saved: Path) -> None:
    network, path = tiny_network(), tmp_path / "half.safetensors"
    save_checkpoint(path, network, ENGLISH, RECORD, half=True)
    assert path.stat().st_size < 0.65 * saved.stat().st_size  # the header stays
    assert {value.dtype for value in contents(path)[0].values()} == {torch.float16}
    loaded = load_checkpoint(path).network
    assert {value.dtype for value in loaded.state_dict().values()} == {torch.float32}
    batch = padded(clips_of(5))
    assert (loaded(*batch)[0] - network(*batch)[0]).abs().max() < 0.05
    assert next(iter(network.parameters())).dtype is torch.float32  # the saved network is left as it was


def test_other_weights_of_the_same_network(tmp_path: Path) -> None:
    average = tiny_network(seed=5)
    save_checkpoint(tmp_path / "a.safetensors", tiny_network(), ENGLISH, {}, weights=average.state_dict())
    state = load_checkpoint(tmp_path / "a.safetensors").network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in average.state_dict().items())


def test_an_average_is_the_mean_of_every_weight(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.safetensors" for name in "ab"]
    for seed, path in enumerate(paths):
        save_checkpoint(path, tiny_network(seed=seed), ENGLISH, {"steps": 10 + seed, "calibration": {"temperature": 2}})
    made = tmp_path / "mean.safetensors"
    assert main(["average", *map(str, paths), "-o", str(made)]) == 0
    mean, one, other = (load_checkpoint(path) for path in (made, *paths))
    for key, value in mean.network.state_dict().items():
        wanted = (one.network.state_dict()[key] + other.network.state_dict()[key]) / 2
        assert torch.allclose(value, wanted, rtol=1e-3, atol=1e-3), key  # half precision
    assert mean.record["average_of"] == [{"name": "a", "steps": 10}, {"name": "b", "steps": 11}]
    assert mean.temperature == 1.0


def test_bundled_names_are_taken_for_an_average(tmp_path: Path) -> None:
    assert main(["average", "small", "small", "-o", str(tmp_path / "same.safetensors")]) == 0
    paths = (bundled_models()["small"], tmp_path / "same.safetensors")
    ours, same = (load_checkpoint(path).network.state_dict() for path in paths)
    assert all(torch.allclose(ours[key].float(), same[key].float(), atol=1e-6) for key in ours)


def test_what_cannot_be_averaged(tmp_path: Path, saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, tiny_network(TINY.model_copy(update={"classes": 3})), ENGLISH, {"classes": list("abc")})
    made = tmp_path / "mean.safetensors"
    for paths, said, code in (
        ([saved], "give two or more", 1), ([saved, other], "of another network", 1),
        ([saved, tmp_path / "no"], "is not known; bundled: small-sound, small", 2),
        ([saved, tmp_path / "no.safetensors"], "no such checkpoint", 1),
    ):
        assert main(["average", *map(str, paths), "-o", str(made)]) == code
        assert said in capsys.readouterr().err
    assert not made.exists()


def test_a_record_with_paths_and_dates_is_kept_as_text(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.safetensors", tiny_network(), ENGLISH, {"data": Path("prepared")})
    assert load_checkpoint(tmp_path / "a.safetensors").record == {"data": "prepared"}


def test_what_a_person_finds_inside(saved: Path) -> None:
    _, metadata = contents(saved)
    assert metadata["format"] == FORMAT
    assert NetworkConfig.model_validate_json(metadata["config"]) == TINY
    assert json.loads(metadata["alphabet"])[:3] == [BLANK_SYMBOL, " ", "'"]
    assert json.loads(metadata["record"]) == RECORD


def test_saving_again_replaces_and_makes_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "model.safetensors"
    for seed in (1, 2):
        save_checkpoint(path, tiny_network(seed=seed), ENGLISH, {"seed": seed})
    assert load_checkpoint(path).record == {"seed": 2}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_tensors_that_are_views_can_be_saved(tmp_path: Path) -> None:
    network = tiny_network()
    weights = {k: v.mT.contiguous().mT if v.dim() > 1 else v for k, v in network.state_dict().items()}
    save_checkpoint(tmp_path / "a.safetensors", network, ENGLISH, {}, weights=weights)
    state = load_checkpoint(tmp_path / "a.safetensors").network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def test_bundled_models_are_all_there(tmp_path: Path) -> None:
    for name, path in bundled_models().items():
        assert path.is_file()
        assert load_checkpoint(path).name == name


# -- refusals ---------------------------------------------------------------------------------------------------------


def refusal(path: Path) -> str:
    """The sentence that loading ends with; it always names the file and is one line."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def test_missing_unknown_and_resized_keys_are_shown(saved: Path) -> None:
    def change(state: dict[str, Tensor], _metadata: dict[str, str]) -> None:
        state["ctc.straight.weight"] = state.pop("ctc.linear.weight")
        state["cls"] = torch.zeros(31)

    message = refusal(rewritten(saved, change))
    assert "missing ctc.linear.weight" in message
    assert "unknown ctc.straight.weight" in message
    assert "cls is (31,), wanted (32,)" in message


def test_many_differences_are_counted(saved: Path) -> None:
    def change(state: dict[str, Tensor], _metadata: dict[str, str]) -> None:
        for key in [key for key in state if key.startswith("frontend")]:
            del state[key]

    count = sum(key.startswith("frontend") for key in tiny_network().state_dict())
    message = refusal(rewritten(saved, change))
    assert message.count("missing") == 5
    assert f"and {count - 5} more" in message


def edited(key: str, value: Any) -> Callable[[dict[str, Tensor], dict[str, str]], None]:
    return lambda _state, metadata: metadata.update({key: value})


def test_another_alphabet_is_refused(saved: Path) -> None:
    symbols = json.dumps([BLANK_SYMBOL, " ", "a"])
    assert "the alphabet has 3 symbols, the network's head 29" in refusal(rewritten(saved, edited("alphabet", symbols)))


def test_classes_have_names(tmp_path: Path) -> None:
    network = tiny_network(TINY.model_copy(update={"classes": 3}))
    path = tmp_path / "words.safetensors"
    save_checkpoint(path, network, ENGLISH, {"classes": ["bin", "lay", "red"]})
    loaded = load_checkpoint(path)
    assert loaded.classes == ("bin", "lay", "red")
    states = network.encode(*padded(clips_of(5)))
    assert torch.equal(loaded.network.class_scores(states), network.class_scores(states))


def test_a_checkpoint_without_classes_is_as_before(saved: Path) -> None:
    assert load_checkpoint(saved).classes == ()
    assert not any(key.startswith("classifier") for key in contents(saved)[0])
    config = TINY.model_dump(exclude={"classes"})  # as it was written before there were any
    assert load_checkpoint(rewritten(saved, edited("config", json.dumps(config)))).network.config == TINY


@pytest.mark.parametrize(
    ("record", "classes", "task"),
    [
        ({}, 0, "sentences"),  # as it was written before there was anything else
        ({"config": {"task": "sentences"}}, 0, "sentences"),
        ({"classes": ["bin", "lay", "red"]}, 3, "words"),
        ({"config": {"task": "phrases"}, "classes": ["bin", "lay", "red"]}, 3, "phrases"),
        ({"config": {"task": "frames"}}, 0, "frames"),
    ],
)
def test_a_checkpoint_says_what_it_was_trained_for(
    record: dict[str, Any], classes: int, task: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, tiny_network(TINY.model_copy(update={"classes": classes})), ENGLISH, record)
    assert load_checkpoint(path).task == task


@pytest.mark.parametrize("names", [[], ["bin"], ["bin", "bin", "red"], "bin", 3, None, [1, 2, 3], [["a"], "b", "c"]])
def test_classes_that_do_not_fit_the_head_are_refused(names: Any, tmp_path: Path) -> None:
    network = tiny_network(TINY.model_copy(update={"classes": 3}))
    path = tmp_path / "words.safetensors"
    with pytest.raises(CheckpointError, match=r"the record.* (names [012]|no list).*, the network's head has 3"):
        save_checkpoint(path, network, ENGLISH, {"classes": names})
    save_checkpoint(path, network, ENGLISH, {"classes": ["bin", "lay", "red"]})
    assert "the network's head has 3" in refusal(rewritten(path, edited("record", json.dumps({"classes": names}))))


def test_another_network_in_the_configuration_is_refused(saved: Path) -> None:
    config = TINY.model_dump()
    config["geometry"]["width"] = 20
    message = refusal(rewritten(saved, edited("config", json.dumps(config))))
    assert "geometry.project.weight is (16, 37), wanted (20, 37)" in message


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("config", "{", "damaged"),
        ("config", "[]", "damaged"),
        ("config", '{"colour": 3}', "colour is not a setting"),
        ("config", '{"alphabet_size": "x"}', "alphabet_size='x'"),
        ("alphabet", "null", "damaged"),
        ("alphabet", '"abc"', "list of strings"),
        ("alphabet", '["a", "b"]', "symbol 0 must be"),
        ("alphabet", '["<blank>", ["a"]]', "list of strings"),
        ("alphabet", '["<blank>", 5]', "list of strings"),
        ("record", "5", "damaged"),
        ("record", "no json", "damaged"),
        ("record", "[]", "damaged"),
        ("record", "[" * 100_000, "damaged"),
        ("record", '{"classes": 5}', "no list of names"),
        ("record", '{"with_sound": 5}', "with_sound=5"),
        ("record", '{"config": 5}', "damaged"),
        ("record", f'{{"calibration": {{"temperature": {10**400}}}}}', "damaged"),
        ("config", "[" * 100_000, "damaged"),
        ("record", '{"calibration": null}', "damaged"),
        ("record", '{"calibration": {"temperature": "abc"}}', "damaged"),
        ("record", '{"calibration": {"temperature": 0}}', "damaged"),
    ],
)
def test_damaged_descriptions_are_refused(saved: Path, key: str, value: str, shown: str) -> None:
    assert shown in refusal(rewritten(saved, edited(key, value)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(saved: Path, value: float) -> None:
    def change(state: dict[str, Tensor], _metadata: dict[str, str]) -> None:
        state["ctc.linear.bias"][3] = value

    assert "ctc.linear.bias has values that are not finite" in refusal(rewritten(saved, change))


@pytest.mark.parametrize("key", ["config", "alphabet", "record"])
def test_missing_descriptions_are_refused(saved: Path, key: str) -> None:
    assert key in refusal(rewritten(saved, lambda _state, metadata: metadata.pop(key) and None))


@pytest.mark.parametrize("form", ["lipread-0", None])
def test_other_kinds_of_safetensors_are_refused(saved: Path, form: str | None) -> None:
    def change(_state: dict[str, Tensor], metadata: dict[str, str]) -> None:
        metadata.pop("format")
        if form:
            metadata["format"] = form

    assert f"format {form!r}, wanted {FORMAT!r}" in refusal(rewritten(saved, change))


def test_a_file_of_weights_alone_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    assert "another kind" in refusal(path)


@pytest.mark.parametrize("kept", [0, 4, 100, 5_000, -1])
def test_cut_files_are_refused(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    assert "not a readable safetensors file" in refusal(saved)


def test_files_that_are_no_safetensors_are_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    torch.save(tiny_network().state_dict(), path)  # a pickle
    assert "not a readable safetensors file" in refusal(path)
    path.write_text("words")
    assert "not a readable safetensors file" in refusal(path)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    assert "no such checkpoint" in refusal(tmp_path / "absent.safetensors")
    assert "no such checkpoint" in refusal(tmp_path)


def test_load_weights_names_its_origin_and_leaves_the_network_alone() -> None:
    network = tiny_network()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    other = dict(tiny_network(seed=3).state_dict(), cls=torch.zeros(2))
    with pytest.raises(CheckpointError, match=r"start\.safetensors: .*cls is \(2,\), wanted \(32,\)"):
        load_weights(network, other, origin="start.safetensors")
    assert all(torch.equal(network.state_dict()[key], value) for key, value in before.items())


# -- writing: whole or not at all -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alphabet", "weights", "shown"),
    [
        (Alphabet((BLANK_SYMBOL, "a")), None, "2 symbols, the network's head 29"),
        (ENGLISH, {}, "missing cls"),
        (ENGLISH, {"cls": torch.zeros(3)}, r"missing .*"),
    ],
)
def test_what_could_never_be_loaded_is_not_written(
    tmp_path: Path, alphabet: Alphabet, weights: Mapping[str, Tensor] | None, shown: str
) -> None:
    with pytest.raises(CheckpointError, match=shown):
        save_checkpoint(tmp_path / "a.safetensors", tiny_network(), alphabet, {}, weights=weights)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(OutputError, match=r"a\.safetensors cannot be written .*choose another folder"):
        save_checkpoint(tmp_path / "file" / "a.safetensors", tiny_network(), ENGLISH, {})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_target_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(tmp_path / "a.safetensors", tiny_network(), ENGLISH, {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow beyond 50 kB: writing fails as on a full disk, for root too."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, previous)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, full_disk: None) -> None:
    with pytest.raises(OutputError, match=r"a\.safetensors cannot be written .*free some space"):
        save_checkpoint(tmp_path / "a.safetensors", tiny_network(), ENGLISH, {})
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_checkpoint(saved: Path, request: pytest.FixtureRequest) -> None:
    before = saved.read_bytes()
    request.getfixturevalue("full_disk")
    with pytest.raises(OutputError):
        save_checkpoint(saved, tiny_network(seed=9), ENGLISH, {})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_an_interrupted_save_leaves_the_old_checkpoint(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(path: Path, _content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(b"half of it")
        raise KeyboardInterrupt

    before = saved.read_bytes()
    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(saved, tiny_network(), ENGLISH, {})
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_others_may_read_it_where_they_may_read_files(saved: Path) -> None:
    plain = saved.with_name("plain.txt")
    plain.write_text("x")
    assert saved.stat().st_mode == plain.stat().st_mode


def test_the_network_may_be_training_and_stays_so(tmp_path: Path) -> None:
    network = LipNetwork(TINY).train()
    save_checkpoint(tmp_path / "a.safetensors", network, ENGLISH, {})
    assert network.training


# -- a second model for what has sound --------------------------------------------------------------------------------

HEARING = TINY.model_copy(update={"streams": ("pixels", "points", "sound")})


def test_the_model_that_listens_is_found_beside_the_file_or_among_the_bundled(tmp_path: Path) -> None:
    lips, ears = tmp_path / "lips.safetensors", tmp_path / "ears.safetensors"
    save_checkpoint(lips, tiny_network(), ENGLISH, {"with_sound": "ears"})
    save_checkpoint(ears, tiny_network(HEARING), ENGLISH, {"steps": 3})
    both = load_with_partner(lips)
    assert (both.name, both.with_sound and both.with_sound.name) == ("lips", "ears")
    assert load_with_partner(ears).with_sound is None
    assert load_checkpoint(lips).with_sound is None
    copied = load_checkpoint(bundled_models()["small"])
    save_checkpoint(lips, copied.network, copied.alphabet, copied.record)
    found = load_with_partner(lips).with_sound
    assert found is not None and found.name == copied.record["with_sound"]


def test_what_listens_must_be_beside_what_is_to_be_written(tmp_path: Path) -> None:
    (tmp_path / "ears.safetensors").touch()
    record = {"with_sound": "ears"}
    require_partner(tmp_path / "me.safetensors", record)
    require_partner(tmp_path / "far" / "me.safetensors", {})
    require_partner(tmp_path / "far" / "me.safetensors", {"with_sound": "small-sound"})  # which is bundled
    with pytest.raises(ConfigError, match=r"me\.safetensors: ears\.safetensors, which listens .* does not lie in"):
        require_partner(tmp_path / "far" / "me.safetensors", record)
    with pytest.raises(ConfigError, match=r"ears\.safetensors: ears is the model that listens"):
        require_partner(tmp_path / "ears.safetensors", record)


def test_commands_look_for_what_listens_before_they_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, small = str(tmp_path / "small-sound.safetensors"), str(bundled_models()["small"])
    assert main(["average", small, small, "-o", out]) == 2
    assert "choose another name" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("alphabet", "config", "said"),
    [
        (None, TINY, "ears.safetensors: no such checkpoint"),
        (Alphabet.from_list([*ENGLISH.symbols[:-1], "ß"]), HEARING, "does not fit .*lips.safetensors"),
        (ENGLISH, TINY, "does not fit .*lips.safetensors"),  # it does not hear
    ],
)
def test_a_model_that_cannot_listen_is_refused(
    alphabet: Alphabet | None, config: NetworkConfig, said: str, tmp_path: Path
) -> None:
    lips = tmp_path / "lips.safetensors"
    save_checkpoint(lips, tiny_network(), ENGLISH, {"with_sound": "ears"})
    if alphabet:
        save_checkpoint(tmp_path / "ears.safetensors", tiny_network(config), alphabet, {})
    with pytest.raises(CheckpointError, match=said):
        load_with_partner(lips)
