"""Train a network on prepared folders.

    python train.py --data prepared/grid                         everything else has a default
    python train.py --config recipe.toml --steps 5000            settings from a file, one of them changed
    torchrun --nproc-per-node 2 train.py --data prepared/grid    two processes that act as one

Nested settings have dotted names: --augment.flip 0 --network.encoder.num_hidden_layers 4. A run that was interrupted
goes on when it is started again with the same --out.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pydantic_settings import BaseSettings, CliSettingsSource, SettingsError

from lipread.config import TrainConfig, load_toml, make_config
from lipread.errors import ConfigError, LipreadError


def parse(arguments: list[str]) -> TrainConfig:
    """Settings of the TOML file after --config, overridden by the other arguments.

    Raises: ConfigError: a setting is unknown or has a value that cannot work.
    """
    values: dict[str, object] = {}
    if "--config" in arguments:
        place = arguments.index("--config")
        if place + 1 >= len(arguments):
            raise ConfigError("--config needs the path of a TOML file after it")
        values = load_toml(arguments[place + 1])
        arguments = arguments[:place] + arguments[place + 2 :]
    return make_config(TrainConfig, merge(values, command_line(arguments)), origin="settings")


def command_line(arguments: list[str]) -> dict[str, object]:
    """Arguments -> nested values; --help prints every setting with its default and ends the program."""

    class Arguments(TrainConfig, BaseSettings):  # type: ignore[misc]
        """Train a network on prepared folders. --config FILE.toml gives settings, the rest here overrides them."""

    arguments = [a.replace("-", "_").replace("__", "--", 1) if a.startswith("--") and "=" not in a else a for a in arguments]
    source: CliSettingsSource[Arguments] = CliSettingsSource(
        Arguments, cli_prog_name="train.py", cli_implicit_flags=True, cli_parse_args=arguments, cli_hide_none_type=True
    )
    try:
        return dict(source())
    except SettingsError as error:
        raise ConfigError(f"command line: {error}; see train.py --help") from error


def merge(base: dict[str, object], over: dict[str, object]) -> dict[str, object]:
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
                raise ConfigError("no prepared folder: give --data FOLDER, or make one under prepared/ with `lipread prepare`")
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
