"""Train a network on prepared folders.

    python train.py --data prepared/grid                         everything else has a default
    python train.py --config recipe.toml --steps 5000            settings from a file, one of them changed
    torchrun --nproc-per-node 2 train.py --data prepared/grid    two processes that act as one

Nested settings have dotted names: --augment.flip 0 --network.encoder.num_hidden_layers 4. A run that was interrupted
goes on when it is started again with the same --out.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic_settings import BaseSettings, CliSettingsSource, SettingsError

from lipread.config import PRESETS, Config, TrainConfig, load_toml, make_config
from lipread.errors import ConfigError, LipreadError


def parse(arguments: list[str]) -> TrainConfig:
    """Settings of the TOML file after --config, overridden by the other arguments.

    Settings of `network` change the network of the preset.

    Raises: ConfigError: a setting is unknown or has a value that cannot work.
    """
    arguments = list(_spelled(arguments))
    values: dict[str, Any] = {}
    if "--config" in arguments:
        place = arguments.index("--config")
        if place + 1 >= len(arguments):
            raise ConfigError("--config needs the path of a TOML file after it")
        values = load_toml(arguments[place + 1])
        arguments = arguments[:place] + arguments[place + 2 :]
    values = merge(values, command_line(arguments))
    preset = PRESETS.get(str(values.get("preset", TrainConfig().preset)))
    if preset and isinstance(values.get("network"), dict):
        values["network"] = merge(preset.model_dump(), values["network"])
    return make_config(TrainConfig, values, origin="settings")


def command_line(arguments: list[str]) -> dict[str, Any]:
    """Arguments -> nested values; --help prints every setting with its default and ends the program.

    Raises: ConfigError: an argument is not a setting, or lacks its value.
    """

    class Arguments(TrainConfig, BaseSettings):  # type: ignore[misc]
        """Train a network on prepared folders. --config FILE.toml gives settings, the rest here overrides them."""

    try:
        source: CliSettingsSource[Any] = CliSettingsSource(
            Arguments, cli_prog_name="train.py", cli_implicit_flags=True, cli_parse_args=arguments,
            cli_hide_none_type=True, cli_exit_on_error=False,
        )
        return dict(source())
    except SettingsError as error:
        said = str(error).removeprefix("error parsing CLI: ")
        if said.startswith("unrecognized arguments: "):
            said = said.replace("unrecognized arguments", "not known") + _meant(said)
        raise ConfigError(f"command line: {said}; train.py --help lists every setting") from error


def _spelled(arguments: list[str]) -> Iterator[str]:
    """--batch-pixels=3 -> --batch_pixels=3."""
    for argument in arguments:
        name, sign, value = argument.partition("=")
        if name == "--config" and sign:
            yield from (name, value)
        elif name.startswith("--no-"):
            yield "--no-" + name[5:].replace("-", "_")
        elif name.startswith("--"):
            yield "--" + name[2:].replace("-", "_") + sign + value
        else:
            yield argument


def _meant(said: str) -> str:
    """A hint for the first setting in a sentence that is nearly one of ours."""
    wrong = next((word[2:].partition("=")[0] for word in said.split() if word.startswith("--")), "")
    close = difflib.get_close_matches(wrong, _names(TrainConfig), n=1)
    return f" (did you mean --{close[0]}?)" if close else ""


def _names(kind: type[Config], before: str = "") -> Iterator[str]:
    """Dotted names of all settings."""
    for name, field in kind.model_fields.items():
        yield before + name
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, Config):
                yield from _names(part, f"{before}{name}.")


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries joined; `over` wins."""
    joined = dict(base)
    for key, value in over.items():
        old = joined.get(key)
        joined[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return joined


def main() -> int:
    """Run a training; errors are one line."""
    try:
        config = parse(sys.argv[1:])
        if not config.data:
            found = sorted(path.parent for path in Path("prepared").glob("*/manifest.tsv"))
            if not found:
                raise ConfigError("no prepared folder: give --data FOLDER, or fill prepared/ with `lipread prepare`")
            config = config.model_copy(update={"data": tuple(found)})
        from lipread.training.loop import train

        print(f"checkpoint: {train(config)}")
    except LipreadError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("train.py: stopped; start it again with the same --out to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
