"""Settings: sizes of the presets, refusals in one sentence, JSON and TOML both ways."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from lipread.config import (
    PRESETS,
    Config,
    EncoderConfig,
    FrontendConfig,
    NetworkConfig,
    TrainConfig,
    load_toml,
    make_config,
)
from lipread.errors import ConfigError
from lipread.model.network import LipNetwork


def parameters(config: NetworkConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in LipNetwork(config).parameters())


@pytest.mark.parametrize(
    ("preset", "least", "most"),
    [("tiny", 10_000, 300_000), ("small", 7_000_000, 8_000_000), ("base", 28_000_000, 32_000_000)],
)
def test_preset_sizes(preset: str, least: int, most: int) -> None:
    assert least <= parameters(PRESETS[preset]) <= most


def test_large_is_bert_base() -> None:
    encoder = PRESETS["large"].encoder
    assert (encoder.hidden_size, encoder.num_hidden_layers, encoder.intermediate_size) == (768, 12, 3072)
    per_layer = 12 * 768 * 768 + 13 * 768  # the published model's arithmetic: 4 D D + 8 D D, biases, two LayerNorms
    with torch.device("meta"):
        layers = sum(p.numel() for p in LipNetwork(PRESETS["large"]).encoder.encoder.parameters())
    assert layers == 12 * per_layer


def test_small_is_the_default() -> None:
    assert TrainConfig().network_config == PRESETS["small"] == NetworkConfig()


def test_alphabets_fit_the_shipped_one() -> None:
    assert {config.alphabet_size for config in PRESETS.values()} == {29}


def test_a_network_replaces_the_preset() -> None:
    own = NetworkConfig(fusion_layers=3)
    assert TrainConfig(preset="base").network_config is PRESETS["base"]
    assert TrainConfig(preset="base", network=own).network_config == own


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        TrainConfig().steps = 3  # type: ignore[misc]


@pytest.mark.parametrize("kind", [NetworkConfig, TrainConfig])
def test_json_round_trip_of_defaults(kind: type[Config]) -> None:
    assert kind.model_validate_json(kind().model_dump_json()) == kind()


@pytest.mark.parametrize("preset", PRESETS)
def test_json_round_trip_of_presets(preset: str) -> None:
    assert NetworkConfig.model_validate_json(PRESETS[preset].model_dump_json()) == PRESETS[preset]


@given(
    heads=st.integers(1, 16), per_head=st.integers(4, 64), dropout=st.floats(0, 1, exclude_max=True),
    blocks=st.tuples(*[st.integers(0, 5)] * 4), vocabulary=st.none() | st.integers(2, 40_000),
    folders=st.lists(st.text("abcä /", min_size=1).map(Path), max_size=3),
)
def test_json_round_trip_of_anything(
    heads: int, per_head: int, dropout: float, blocks: tuple[int, int, int, int], vocabulary: int | None,
    folders: list[Path],
) -> None:
    network = NetworkConfig(
        frontend=FrontendConfig(blocks=blocks, dropout=dropout),
        encoder=EncoderConfig(
            hidden_size=heads * per_head, num_attention_heads=heads, hidden_dropout_prob=dropout, vocab_size=vocabulary
        ),
    )
    config = TrainConfig(data=tuple(folders), network=network)
    assert TrainConfig.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize(
    ("values", "field", "got", "wanted"),
    [
        ({"encoder": {"hidden_size": 2}}, "encoder.hidden_size", "=2", "greater than or equal to 4"),
        ({"frontend": {"dropout": 1.0}}, "frontend.dropout", "=1.0", "less than 1"),
        ({"frontend": {"dropout": math.nan}}, "frontend.dropout", "=nan", "finite"),
        ({"encoder": {"layer_norm_eps": 0}}, "encoder.layer_norm_eps", "=0", "greater than 0"),
        ({"frontend": {"blocks": [2, 2, -1, 2]}}, "frontend.blocks.2", "=-1", "greater than or equal to 0"),
        ({"frontend": {"blocks": [2, 2]}}, "frontend.blocks", "", ""),
        ({"alphabet_size": "many"}, "alphabet_size", "='many'", "integer"),
        ({"geometry": [1, 2]}, "geometry", "=[1, 2]", "dictionary"),
        ({"geometry": {"points": 0}}, "geometry.points", "=0", "greater than or equal to 1"),
    ],
)
def test_a_bad_value_is_told_with_field_value_and_bound(
    values: dict[str, Any], field: str, got: str, wanted: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(NetworkConfig, values, origin="recipe.toml")
    message = str(caught.value)
    assert message.startswith(f"recipe.toml: {field}{got}")
    assert wanted in message
    assert "\n" not in message


def test_a_misspelt_field_is_told_with_the_right_one() -> None:
    with pytest.raises(ConfigError, match=r"network\.encoder\.hiden_size is not a setting; did you mean hidden_size\?"):
        make_config(TrainConfig, {"network": {"encoder": {"hiden_size": 64}}})


def test_a_field_of_nowhere_is_told_with_all_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"geometry\.zzz is not a setting; known are points, width, layers, dropout"):
        make_config(NetworkConfig, {"geometry": {"zzz": 1}})


def test_long_values_are_shortened() -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(TrainConfig, {"device": ["cpu"] * 1000})
    assert len(str(caught.value)) < 200


@given(width=st.integers(4, 400), heads=st.integers(1, 40))
def test_heads_divide_the_width_or_a_width_is_offered_that_they_divide(width: int, heads: int) -> None:
    values = {"hidden_size": width, "num_attention_heads": heads}
    if width % heads == 0:
        assert make_config(EncoderConfig, values).hidden_size == width
        return
    with pytest.raises(ConfigError, match=f"hidden_size={width} .*num_attention_heads={heads}; try") as caught:
        make_config(EncoderConfig, values)
    offered = re.search(r"try (\d+)", str(caught.value))
    assert offered is not None
    assert int(offered[1]) > 0
    assert int(offered[1]) % heads == 0


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"batch_pixels": 0, "batch_points": 0}, "batch_pixels=0 and batch_points=0"),
        ({"drop_pixels": 0.6, "drop_points": 0.5}, "drop_pixels=0.6 and drop_points=0.5"),
        ({"task": "words", "consistency": 0.2}, "consistency=0.2 is for task='sentences', .* not for 'words'"),
        ({"task": "letters"}, "task='letters'.*'sentences', 'words', 'phrases' or 'frames'"),
        ({"preset": "huge"}, "preset='huge'.*'tiny', 'small', 'base' or 'large'"),
        ({"learning_rate": math.inf}, "learning_rate=inf"),
        ({"threads": 0}, "threads=0"),
        ({"seed": 2**63}, "seed=9223372036854775808"),
        ({"augment": {"snr_db": [20, -5]}}, r"snr_db=\[20.0, -5.0\] has the most first"),
        ({"augment": {"snr_db": [-1e4, 0]}}, "greater than or equal to -100"),
        ({"network": {"geometry": {"points": 5}}}, "geometry.points=5: prepared clips have 9; leave it out"),
        (
            {"network": {"streams": ["points", "sound"], "encoder": {"type_vocab_size": 2}}},
            "type_vocab_size=2 is too few segments",
        ),
        ({"frontend_steps": 5, "shape_loss": 0, "pixel_word_loss": 0}, "frontend_steps=5: .* nothing teaches"),
        ({"frontend_steps": 5, "shape_loss": 0, "task": "frames"}, "frontend_steps=5: .* nothing teaches"),
    ],
)
def test_trainings_that_cannot_work(values: dict[str, Any], shown: str) -> None:
    with pytest.raises(ConfigError, match=shown):
        make_config(TrainConfig, values)


def test_config_errors_end_programs_with_code_2() -> None:
    assert ConfigError.exit_code == 2


def test_toml_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('data = ["a", "b"]\nsteps = 7\n[network.encoder]\nhidden_size = 64\n[augment]\nflip = 0\n')
    config = make_config(TrainConfig, load_toml(file), origin=str(file))
    assert (config.steps, config.data, config.augment.flip) == (7, (Path("a"), Path("b")), 0)
    assert config.network_config.encoder == EncoderConfig(hidden_size=64)
    assert config.learning_rate == TrainConfig().learning_rate  # what the file does not say stays


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"steps = = 3", "not valid TOML .*line 1"),
        (b"\xff\xfe\x00\x01", "not a text file"),
        (b"a=1\na=2", "not valid TOML"),
    ],
)
def test_files_that_are_not_toml(tmp_path: Path, content: bytes, shown: str) -> None:
    file = tmp_path / "recipe.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=shown) as caught:
        load_toml(file)
    assert str(file) in str(caught.value)


def test_toml_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot be read \(No such file"):
        load_toml(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="directory"):
        load_toml(tmp_path)
