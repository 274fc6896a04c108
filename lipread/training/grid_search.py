"""Settings to try, every combination or named variants -> their word error rates by k-fold cross-validation, as a table
and a plot.

Trials lie in an SQLite store in the run's folder, so that a search goes on where it was stopped, and so that several
processes started with the same folder share the work. A finished fold is a small file; a fold that was interrupted goes
on from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import shutil
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock
from rich.console import Console
from rich.table import Table

from lipread.config import GridConfig, TrainConfig, make_config
from lipread.errors import ConfigError, DataError, MissingDependencyError, OutputError, TrainingError
from lipread.files import IN_THE_WAY, write_text, written_whole
from lipread.metrics import Score, score
from lipread.training.loop import measure, train

if TYPE_CHECKING:
    import optuna

Combination = dict[str, Any]  # dotted setting -> value, or "variant" -> its name
FIXED = ("out", "folds", "fold", "evaluate_every")  # settings that the search itself sets

HEARTBEAT_S = 15
DEAD_AFTER_S = 60  # without a heartbeat


@dataclass(frozen=True)
class Trial:
    """One combination: its score over the clips of all measured folds, the word error rate of each fold, and the score
    over the held-out speakers, read by the network of every fold."""

    values: Combination
    score: Score
    wers: tuple[float, ...]
    held_out: Score | None = None


def grid_search(config: TrainConfig, grid: GridConfig, *, note: Callable[[str], None] = print) -> list[Trial]:
    """Train every combination on every fold; best first.

    Args:
        config: settings that all have in common; `config.out` is the folder of the search, which goes on where it is.
        note: is told what goes on.
    Returns: all trials, which also lie in `config.out`/search.tsv, drawn in search.png.
    Raises: ConfigError: a combination cannot work, the store holds another search, or the task has no error rate.
        DataError: nothing to choose on. OutputError: `config.out` cannot be written to.
        TrainingError: some combinations could not be trained; the others lie there all the same.
        MissingDependencyError: optuna is absent. And whatever else the training raises.
    """
    library = _optuna()
    combinations = _combinations(config, grid)
    with _store_told(config.out / "search.db"):
        with _locked(config.out / "search.lock"):  # tables that two processes make at once clash
            _check_same(config, grid)
            study = _study(library, config.out / "search.db", grid)
        broken = _run_trials(library, study, config, grid, combinations, note)
    finished = [each for each in combinations if _key(each) not in broken]
    trials = sorted((trial_of(config, grid, each) for each in finished), key=lambda each: each.score.wer)
    if trials:
        write_table(config.out / "search.tsv", trials)
        write_plot(config.out / "search.png", trials)
    if broken:
        if trials:
            note(f"table and plot of the others: {config.out / 'search.tsv'}, {config.out / 'search.png'}")
        first = next(iter(broken.values()))
        raise TrainingError(f"{len(broken)} of {len(combinations)} combinations could not be trained; {first}")
    return trials


def _study(library: Any, path: Path, grid: GridConfig) -> optuna.Study:
    """The trials in a store, which is made where there is none."""
    storage = library.storages.RDBStorage(
        f"sqlite:///{path}", heartbeat_interval=HEARTBEAT_S, grace_period=DEAD_AFTER_S,
        engine_kwargs={"connect_args": {"timeout": 60}},
    )
    study: optuna.Study = library.create_study(
        study_name="grid", storage=storage, load_if_exists=True,
        sampler=library.samplers.GridSampler({name: list(values) for name, values in grid.choices.items()}, seed=0),
    )
    return study


def _run_trials(
    library: Any, study: optuna.Study, config: TrainConfig, grid: GridConfig, combinations: list[Combination],
    note: Callable[[str], None],
) -> dict[str, str]:
    """Run, or wait for, all combinations -> those that could not be trained here nor elsewhere, by key, and why."""
    broken: dict[str, str] = {}

    def objective(trial: optuna.Trial) -> float:
        values = {name: trial.suggest_categorical(name, list(choices)) for name, choices in grid.choices.items()}
        if _key(values) in broken:  # the sampler may hand one out again
            raise TrainingError(broken[_key(values)])
        note(f"trial {trial.number} of {len(combinations)}: {_shown(values)}")
        try:
            return trial_of(config, grid, values).score.wer
        except TrainingError as error:
            broken[_key(values)] = f"{_shown(values)}: {error}"
            note(broken[_key(values)])
            raise

    waiting = False
    while True:
        library.storages.fail_stale_trials(study)
        states = _states(study)
        done = {*(key for key, state in states.items() if state in ("COMPLETE", "RUNNING")), *broken}
        open_ones = [each for each in combinations if _key(each) not in done]
        if open_ones:
            failed = [each for each in open_ones if _key(each) in states]
            if len(failed) == len(open_ones):  # the sampler takes a failed trial for a finished one
                study.enqueue_trial(failed[0])
            study.optimize(objective, n_trials=1, catch=(TrainingError,))
        elif "RUNNING" in states.values():
            if not waiting:
                note("other processes run the rest; waiting for them")
            waiting = True
            time.sleep(HEARTBEAT_S / 3)
        else:
            return {key: why for key, why in broken.items() if states.get(key) != "COMPLETE"}


@contextlib.contextmanager
def _store_told(path: Path) -> Iterator[None]:
    """Raises: OutputError, in place of whatever is raised about a store that cannot be read or written."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError) as error:
        cause: BaseException = error
        while cause.__cause__:  # SQLite's own sentence is the shortest
            cause = cause.__cause__
        raise OutputError(f"{path} cannot be used ({str(cause).splitlines()[0]}); choose another --out") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes out, in a folder that is made if need be. Raises: OutputError: it cannot be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = FileLock(path).acquire()
    except OSError as error:
        why = IN_THE_WAY.get(error.errno or 0, error.strerror or str(error))
        raise OutputError(f"{path} cannot be written ({why}); choose another --out") from error
    with held:
        yield


def planned(config: TrainConfig, grid: GridConfig) -> tuple[TrainConfig, str]:
    """The first training of a search, and what the search would be. Raises: ConfigError: a combination cannot work."""
    combinations, folds = _combinations(config, grid), grid.measured_folds or grid.folds
    first = with_values(config, grid.settings(combinations[0])).model_copy(update={"folds": grid.folds, "fold": 0})
    return first, (
        f"search: {len(combinations)} combinations on {folds} of {grid.folds} folds, {len(combinations) * folds} "
        f"trainings; the first one, {_shown(combinations[0])}:"
    )


def _combinations(config: TrainConfig, grid: GridConfig) -> list[Combination]:
    """All that are tried. Raises: ConfigError: one cannot work, or the task has no error rate."""
    if config.task == "frames":
        raise ConfigError("task='frames' learns without words and has no error rate to search by; choose another task")
    combinations = [dict(zip(grid.choices, each, strict=True)) for each in itertools.product(*grid.choices.values())]
    for values in combinations:
        with_values(config, grid.settings(values))
    return combinations


def with_values(config: TrainConfig, values: Combination) -> TrainConfig:
    """The configuration with some settings, named by dots, replaced. Raises: ConfigError."""
    if fixed := sorted(set(values) & set(FIXED)):
        raise ConfigError(f"grid: {fixed[0]} is set by the search itself; leave it out")
    if "preset" in values and (config.network or any(name.startswith("network.") for name in values)):
        raise ConfigError("grid: a preset changes nothing beside settings of network; try either")
    plain = config.model_dump()
    if any(name.startswith("network.") for name in values):
        plain["network"] = config.network_config.model_dump()
    for name, value in values.items():
        *path, last = name.split(".")
        place = plain
        for part in path:
            if not isinstance(place.get(part), dict):
                raise ConfigError(f"grid: {name} is not a setting; train.py --help lists every setting")
            place = place[part]
        place[last] = value
    return make_config(TrainConfig, plain, origin=f"grid, {_shown(values)}")


def trial_of(config: TrainConfig, grid: GridConfig, values: Combination) -> Trial:
    """Train one combination on every measured fold, or go on with it, or look up what came of it."""
    folds = range(grid.measured_folds or grid.folds)
    texts = [measure_fold(config, grid.settings(values), fold, grid.folds) for fold in folds]
    wers = tuple(score(each["said"], each["read"]).wer for each in texts)
    strangers = _score_of(texts, "held-out said", "held-out read") if config.held_out_speakers else None
    return Trial(values, _score_of(texts, "said", "read"), wers, strangers)


def _score_of(texts: Sequence[dict[str, list[str]]], said: str, read: str) -> Score:
    return score([text for each in texts for text in each[said]], [text for each in texts for text in each[read]])


def measure_fold(config: TrainConfig, settings: Combination, fold: int, folds: int) -> dict[str, list[str]]:
    """Train one fold, or go on with it, or look up what came of it -> after its last step, what was said and read, on
    the fold's clips and on those of held-out speakers."""
    run = config.out / "trials" / _key(settings) / f"fold{fold}"
    result = run.with_suffix(".json")
    with _locked(run.with_suffix(".lock")):  # the sampler may hand one combination to two processes
        if not result.exists():
            chosen = with_values(config, settings)
            chosen = chosen.model_copy(
                update={"out": run, "folds": folds, "fold": fold, "evaluate_every": chosen.steps}
            )
            figures = measure(chosen.model_copy(update={"init": train(chosen, show=False)}))
            texts: dict[str, list[str]] = {}
            measured = {"val": ""} | ({"held-out": "held-out "} if config.held_out_speakers else {})
            for name, prefix in measured.items():
                figure = figures.get(name) or figures.get(f"{name}, sound")
                if not figure:
                    raise DataError(f"there is no {prefix}clip with words to choose on; prepare data with a text first")
                texts |= {f"{prefix}said": list(figure.references), f"{prefix}read": list(figure.hypotheses)}
            write_text(result, json.dumps({"settings": settings, **texts}, indent=1) + "\n")
            shutil.rmtree(run, ignore_errors=True)  # its checkpoints would fill the disk
    found: dict[str, list[str]] = json.loads(result.read_text(encoding="utf-8"))
    return found


def show_trials(trials: Sequence[Trial]) -> None:
    """Print them as a table."""
    names = list(trials[0].values)
    columns = ["WER %", "95 % interval", "CER %"]
    table = Table(*names, *columns, *(f"held-out {column}" for column in columns if trials[0].held_out))
    for each in trials:
        row = [str(each.values[name]) for name in names]
        for figure in filter(None, (each.score, each.held_out)):
            low, high = figure.wer_interval
            row += [f"{100 * figure.wer:.1f}", f"{100 * low:.1f}-{100 * high:.1f}", f"{100 * figure.cer:.1f}"]
        table.add_row(*row)
    Console().print(table)


def write_table(path: Path, trials: Sequence[Trial]) -> None:
    """One line per combination, best first: settings, WER with its 95 % interval, CER, clips, WER of every fold; the
    same of held-out speakers, where there are any."""
    names = list(trials[0].values)
    columns = ["wer", "wer_low", "wer_high", "cer", "clips"]
    strangers = [f"held_out_{column}" for column in columns if trials[0].held_out]
    lines = ["\t".join([*names, *columns, "fold_wers", *strangers])]
    for each in trials:
        row = [*(str(each.values[name]) for name in names), *_figures(each.score)]
        row.append(",".join(f"{wer:.4f}" for wer in each.wers))
        lines.append("\t".join(row + (_figures(each.held_out) if each.held_out else [])))
    write_text(path, "\n".join(lines) + "\n")


def _figures(figure: Score) -> list[str]:
    return [*(f"{x:.4f}" for x in (figure.wer, *figure.wer_interval, figure.cer)), str(figure.clips)]


def write_plot(path: Path, trials: Sequence[Trial]) -> None:
    """A panel per setting: every combination as a point, with the mean of those that share a value.

    Raises: MissingDependencyError: matplotlib is absent. OutputError: the file cannot be written.
    """
    from lipread.plots import new_figure

    names = list(trials[0].values)
    wers = [100 * each.score.wer for each in trials]
    reach = np.abs(100 * np.array([each.score.wer_interval for each in trials]).T - wers)  # (2, trials) below and above
    figure = new_figure(figsize=(max(4 * len(names), 1.2 * len(trials) if names == ["variant"] else 0), 4))
    for name, axes in zip(names, figure.subplots(1, len(names), squeeze=False, sharey=True)[0], strict=True):
        choices = sorted({each.values[name] for each in trials}, key=lambda value: (isinstance(value, str), value))
        places = {value: place for place, value in enumerate(choices)}
        axes.errorbar(
            [places[each.values[name]] for each in trials], wers, reach, fmt="o", alpha=0.5, capsize=3,
            label="combination",
        )
        if name != "variant":
            means = [
                statistics.fmean(wer for each, wer in zip(trials, wers, strict=True) if each.values[name] == value)
                for value in choices
            ]
            axes.plot(range(len(choices)), means, "-", color="black", label="mean")
            axes.legend()
        axes.set_xticks(range(len(choices)), [str(value).replace(" ", "\n") for value in choices])
        axes.set(xlabel=name)
    figure.axes[0].set(ylabel=f"WER % of {trials[0].score.clips} clips, 95 % interval")
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120, bbox_inches="tight")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise MissingDependencyError("--search needs the package optuna; pip install 'lipread[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the heartbeats, in every process
    return optuna


def _check_same(config: TrainConfig, grid: GridConfig) -> None:
    """Keep what is searched beside the store; figures of other settings must not be mixed with these."""
    path = config.out / "search.json"
    ours = {"settings": config.model_dump(mode="json"), "search": grid.model_dump(mode="json")}
    for name in ("out", "device", "threads", "workers"):
        del ours["settings"][name]
    if not path.exists():
        write_text(path, json.dumps(ours, indent=1) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        theirs = {part: dict(found[part]) for part in ours}
    except (ValueError, TypeError, LookupError) as error:
        raise ConfigError(f"{path}: is damaged, so what was searched is not known; choose another --out") from error
    for part in ours:
        for name, value in ours[part].items():
            if theirs[part].get(name) != value:
                raise ConfigError(f"{config.out}: holds a search with another {name}; choose another --out")


def _states(study: optuna.Study) -> dict[str, str]:
    """State of every combination that was begun: the best of its trials counts."""
    order = ("FAIL", "WAITING", "RUNNING", "COMPLETE")
    states: dict[str, str] = {}
    for trial in study.get_trials(deepcopy=False):
        values = trial.params or trial.system_attrs.get("fixed_params", {})
        key, state = _key(values), trial.state.name
        if state in order and order.index(state) >= order.index(states.get(key, "FAIL")):
            states[key] = state
    return states


def _key(values: Combination) -> str:
    """A short name that only this combination has."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def _shown(values: Combination) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())
