"""Train a network on prepared folders.

    python train.py --data prepared/grid                         everything else has a default
    python train.py --config recipe.toml --steps 5000            settings from a file, one of them changed
    torchrun --nproc-per-node 2 train.py --data prepared/grid    two processes that act as one
    torchrun --nproc-per-node 2 train.py --context_processes 2   two that share the frames of long clips
    python train.py --config recipe.toml --dry-run               a few steps, and how long all of it would take
    python train.py --search grid.toml --out runs/search         settings to try, cross-validated
    python train.py --task words --init small.safetensors        words as classes, cut by their times, as in LRW
    python train.py --task frames --out runs/before              without words, to start from with --init
    python train.py --task words --init words.safetensors --evaluate-only       its accuracy on the split `val`

Nested settings have dotted names: --augment.flip 0 --network.encoder.num_hidden_layers 4. A run that was interrupted
goes on when it is started again with the same --out and settings; only --steps may be more, and what says nothing of
the weights may be another (--workers, --device ...). A search goes on, too; started several times, its processes
share the work (without torchrun). Its file lists the values to try:

    folds = 5
    [grid]                                   # every combination
    "network.encoder.hidden_dropout_prob" = [0.0, 0.1, 0.3]
    "augment.flip" = [0.0, 0.5]

or changes that have names, each made alone (data/recipes/ablations.toml):

    folds = 5
    measured_folds = 1
    [variants.recipe]
    [variants."without splicing"]
    "augment.splice" = 0.0

A recipe may have stages, trained one after the other into --out/1, --out/2 and so on; each goes on from the best
weights of the one before, with all its settings but those that it changes:

    steps = 3000
    [[stages]]
    augment.splice = 0.0                     # nothing is spliced at first
    [[stages]]
    steps = 1000
    learning_rate = 4e-4
    augment.splice = 0.5
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic_settings import BaseSettings, CliSettingsSource, SettingsError

from lipread.config import PRESETS, Config, GridConfig, TrainConfig, load_toml, make_config
from lipread.devices import keep_freed_memory
from lipread.errors import ConfigError, LipreadError

DRY_RUN = "--dry_run"
EVALUATE_ONLY = "--evaluate_only"


def parse(arguments: list[str]) -> list[TrainConfig]:
    """Settings of the TOML file after --config, overridden by the other arguments: a training, or the stages of one.

    Settings of `network` change the network of the preset. A stage has the settings of the one before it but for what
    it changes, begins where that one ended, and draws other batches.

    Raises: ConfigError: a setting is unknown or has a value that cannot work.
    """
    arguments = list(_spelled(arguments))
    values: dict[str, Any] = {}
    if file := take_file(arguments, "--config"):
        values = load_toml(file)
    stages = values.pop("stages", None)
    over = command_line(arguments)
    if stages is None:
        return [_config(merge(values, over), origin="settings")]
    if not isinstance(stages, list) or not stages or not all(isinstance(stage, dict) for stage in stages):
        raise ConfigError(f"{file}: stages are tables; write [[stages]] above the settings of each")
    configs: list[TrainConfig] = []
    for number, stage in enumerate(stages, 1):
        if set_apart := {"out", "init", "stage"} & set(stage):
            raise ConfigError(
                f"{file}: stage {number} sets {min(set_apart)!r}, which follows from its place among the stages; "
                "leave it out"
            )
        values = merge(values, stage)
        config = _config(merge(values, over), origin=f"stage {number}")
        changes: dict[str, Any] = {"out": config.out / str(number), "stage": number - 1}
        if configs:
            changes["init"] = configs[-1].out
        configs.append(config.model_copy(update=changes))
    return configs


def _config(values: dict[str, Any], *, origin: str) -> TrainConfig:
    """Nested settings -> those of a training. Raises: ConfigError."""
    preset = PRESETS.get(str(values.get("preset", TrainConfig().preset)))
    if preset and isinstance(values.get("network"), dict):
        values = {**values, "network": merge(preset.model_dump(), values["network"])}
    return make_config(TrainConfig, values, origin=origin)


def take_file(arguments: list[str], option: str) -> str | None:
    """The path after an option, which are both taken out. Raises: ConfigError: there is none after it."""
    if option not in arguments:
        return None
    place = arguments.index(option)
    if place + 1 >= len(arguments):
        raise ConfigError(f"{option} needs the path of a TOML file after it")
    file = arguments[place + 1]
    del arguments[place : place + 2]
    return file


def parse_grid(path: str) -> GridConfig:
    """The settings to try in a TOML file; names with dots may be quoted or not. Raises: ConfigError."""
    values = load_toml(path)
    if isinstance(values.get("grid"), dict):
        values["grid"] = dict(_dotted(values["grid"]))
    for name, changes in values["variants"].items() if isinstance(values.get("variants"), dict) else ():
        values["variants"][name] = dict(_dotted(changes)) if isinstance(changes, dict) else changes
    return make_config(GridConfig, values, origin=path)


def _dotted(table: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested tables -> dotted names with their values."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _dotted(value, f"{before}{name}.")
        else:
            yield before + name, value


def command_line(arguments: list[str]) -> dict[str, Any]:
    """Arguments -> nested values; --help prints every setting with its default and ends the program.

    Raises: ConfigError: an argument is not a setting, or lacks its value.
    """

    class Arguments(TrainConfig, BaseSettings):  # type: ignore[misc]
        """Train a network on prepared folders. --config FILE.toml gives settings, the rest here overrides them;
        --search FILE.toml tries the values or the changes listed there; --dry-run takes a few steps and writes
        nothing; --evaluate-only measures the checkpoint of --init on the split `val`."""

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
        if name in ("--config", "--search") and sign:
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


def run(arguments: list[str]) -> None:
    """Do what the command line says. Raises: LipreadError."""
    arguments = list(_spelled(arguments))
    dry, only_evaluate = DRY_RUN in arguments, EVALUATE_ONLY in arguments
    arguments = [argument for argument in arguments if argument not in (DRY_RUN, EVALUATE_ONLY)]
    grid = parse_grid(file) if (file := take_file(arguments, "--search")) else None
    stages = [_with_data(config) for config in parse(arguments)]
    keep_freed_memory()
    if grid and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("--search shares its work by being started several times; start it without torchrun")
    if only_evaluate and (grid or dry):
        other = "--search" if grid else "--dry-run"
        raise ConfigError(f"{other} trains, and --evaluate-only does not; give one of them")
    if len(stages) > 1 and (grid or only_evaluate):
        raise ConfigError("--search and --evaluate-only are for recipes without [[stages]]; leave them out of this one")
    if dry:
        from lipread.training.grid_search import planned
        from lipread.training.loop import dry_run

        if grid:
            stages[0], plan = planned(stages[0], grid)
            say(plan)
        for number, config in enumerate(stages, 1):
            if len(stages) > 1:
                say(f"stage {number}:")
            say(dry_run(config.model_copy(update={"init": None}) if number > 1 else config))
    elif only_evaluate:
        from lipread.training.loop import measure

        for name, figure in measure(stages[0]).items():
            say(f"{name}: {figure}")
    elif grid:
        from lipread.training.grid_search import grid_search, show_trials

        show_trials(grid_search(stages[0], grid))
        print(f"table and plot: {stages[0].out / 'search.tsv'}, {stages[0].out / 'search.png'}")
    else:
        from lipread.training.loop import train

        for config in stages:
            say(f"checkpoint: {train(config)}")
    from lipread.training.distributed import leave

    leave()


def say(line: str) -> None:
    """Print a line, once for all processes of a torchrun."""
    if os.environ.get("RANK", "0") == "0":
        print(line, flush=True)


def _with_data(config: TrainConfig) -> TrainConfig:
    """The same with all prepared folders, where none is named. Raises: ConfigError: there are none."""
    if config.data:
        return config
    found = sorted(path.parent for path in Path("prepared").glob("*/manifest.tsv"))
    if not found:
        raise ConfigError("no prepared folder: give --data FOLDER, or fill prepared/ with `lipread prepare`")
    return config.model_copy(update={"data": tuple(found)})


def main() -> int:
    """Run a training or a search; errors are one line."""
    try:
        run(sys.argv[1:])
    except LipreadError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("train.py: stopped; start it again with the same --out to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
