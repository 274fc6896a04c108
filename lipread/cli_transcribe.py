"""`lipread transcribe`: what is asked for on the command line -> many videos read, and what became of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lipread.cli_options import (
    Device,
    ModalityOption,
    Model,
    Quiet,
    load_reader,
    parse_modality,
    parse_speaker,
    with_search,
)
from lipread.config import SearchConfig
from lipread.errors import ConfigError, OutputError

if TYPE_CHECKING:
    from lipread.batch import Engine, Recipe
    from lipread.inputs import Failure, Job
    from lipread.run_record import RunRecord


@with_search
def transcribe_command(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Videos, folders that are searched in depth, quoted patterns such as 'in/**/*.mp4', and URLs of these."
        ),
    ] = None,
    listed: Annotated[
        str | None, typer.Option("--from", help="Also read the paths in this file, one a line; - is standard input.")
    ] = None,
    output_dir: Annotated[
        str, typer.Option("--output-dir", "-o", help="Where to write; may be a URL. Files of that name are replaced.")
    ] = ".",
    output_format: Annotated[
        str, typer.Option("--output-format", "-f", help="Comma list of txt, srt, vtt, tsv, json (all), changes.")
    ] = "all",
    model: Model = "small",
    device: Device = "auto",
    speaker: Annotated[
        str,
        typer.Option(
            "--speaker",
            "--speakers",
            help="Whom to read: auto (whom one hears, or whose lips move most), largest, all (each with a label), or "
            "0, 1 .. from left.",
        ),
    ] = "auto",
    modality: ModalityOption = "auto",
    captioned: Annotated[bool, typer.Option("--captioned", help="Also write an mp4 with the words drawn in.")] = False,
    skip_existing: Annotated[
        bool | None,
        typer.Option(
            "--skip-existing/--no-skip-existing",
            help="Leave out videos whose files are all there, whoever made them; or read everything again. (default: "
            "leave out what lipread-run.jsonl in the output folder says was made from this very video, model, options)",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that read side by side; 0: this one. (default: the cores, or the videos)"),
    ] = None,
    engine: Annotated[
        str,
        typer.Option(help="local, or ray: on the cluster that RAY_ADDRESS names, else on a small one of this machine."),
    ] = "local",
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, help="Seconds that one video may take; 0: no limit. (default: 120, and 10 per second of video)"
        ),
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on with videos that appear or change, until Ctrl-C.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be read and written.")] = False,
    live: Annotated[
        bool | None,
        typer.Option(
            "--live/--no-live",
            help="Print what is said as it is read, and append it to NAME.live in the output folder (no URL), which "
            "goes away when NAME's files are there. (default: only print, of one, on a terminal)",
        ),
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show words with times and confidence.")] = False,
    quiet: Quiet = False,
    *,
    search: SearchConfig,
) -> None:
    """Write down what is said in videos, one set of files per video, named and ordered in folders as the videos are.

    lipread-run.jsonl in the output folder says what became of each; a command that is given again goes on from there.
    """
    from lipread.batch import BatchReport, Recipe, transcribe_files
    from lipread.inputs import require_jobs
    from lipread.outputs import chosen_formats
    from lipread.remote import is_url, record_in
    from lipread.terminal import BatchDisplay, show_report

    if not paths and listed is None:
        raise ConfigError(
            "no video was given; give files, folders or quoted patterns, or a list with --from; a name that begins "
            "with - needs ./ before it"
        )
    if workers == 0 and timeout:
        raise ConfigError("a time limit needs a worker process that can be ended; leave out --timeout or --workers 0")
    if engine not in ("local", "ray"):
        raise ConfigError(f"engine {engine!r} is not known; use local or ray")
    if engine == "ray" and (watch or live or workers == 0):
        raise ConfigError(
            "a cluster takes a list that has an end, has workers, and tells of whole videos; leave out --watch, "
            "--workers 0 and --live"
        )
    folder = output_dir if is_url(output_dir) else Path(output_dir)
    recipe = Recipe(
        folder, chosen_formats(output_format), captioned, parse_speaker(speaker), parse_modality(modality), bool(live)
    )
    options = search.model_dump(mode="json", exclude_unset=True)
    with record_in(folder, read_only=True) as record:  # before anything is made: is there something to do?
        inputs = _Inputs(paths or [], listed, record)
        jobs = inputs.find()
    if not (watch and inputs.may_grow):
        require_jobs(jobs, inputs.failures)
    recipe.require_inputs_kept(jobs)
    settings, left_live = _settings(model, recipe, options), recipe.live_file("NAME")
    if dry_run:
        _show_plan(jobs, inputs.failures, recipe, record, settings, skip_existing)
        raise typer.Exit(1 if inputs.failures else 0)
    if watch:
        inputs.show_new_failures(quiet=quiet)

    asked = _Asked(model, device, search, workers, timeout, engine == "ray")
    report = BatchReport()
    with (
        record_in(folder) as record,
        _engine(asked, recipe, None if watch else len(jobs)) as way,
        BatchDisplay(None if watch else jobs, live=live, verbose=verbose, quiet=quiet) as display,
    ):
        inputs.record = record
        todo, finished = _followed(inputs, display.finished, quiet) if watch else (iter(jobs), display.finished)
        try:
            transcribe_files(
                way, todo, recipe, record, settings=settings, skip_existing=skip_existing,
                progress=display.progress_of, finished=finished, report=report,
            )  # fmt: skip
        except OutputError:  # the record cannot be written: what could not be read, and why, is told all the same
            show_report(report, len(inputs.names) if watch else len(jobs), folder, live=left_live, quiet=quiet)
            raise
    recipe.sweep(inputs.names.values())
    if watch:  # Ctrl-C is how it ends
        report.interrupted = False
    report.failures[:0] = [each for each in inputs.failures if not (watch and each.may_come)]
    show_report(report, len(inputs.names) if watch else len(jobs), folder, live=left_live, quiet=quiet)
    raise typer.Exit(report.exit_code)


@dataclass(frozen=True)
class _Asked:
    """How to read, as the command line says."""

    model: str
    device: str
    search: SearchConfig
    workers: int | None
    timeout_s: float | None
    on_cluster: bool


class _Inputs:
    """What was named on the command line, looked up as often as one likes; every video keeps its name."""

    def __init__(self, paths: list[str], listed: str | None, record: RunRecord) -> None:
        from lipread.inputs import read_list

        self._paths, self.record = paths, record
        self._list = read_list(listed) if listed is not None else []
        self.names: dict[str, str] = {}
        self.failures: list[Failure] = []  # of the last look
        self._shown: set[Failure] = set()

    def find(self) -> list[Job]:
        from lipread.inputs import collect

        jobs, self.failures = collect(self._paths, listed=self._list, known=self.record.names | self.names)
        self.names |= {job.key: job.name for job in jobs}
        return jobs

    @property
    def may_grow(self) -> bool:
        """Whether there is a folder or a pattern that has no video yet."""
        return any(each.may_come for each in self.failures)

    def show_new_failures(self, *, quiet: bool) -> None:
        """Show each failure once, when it is first seen."""
        from lipread.terminal import show_failure

        for failure in self.failures:
            if failure not in self._shown and not (quiet and failure.may_come):
                show_failure(failure, waited_for=failure.may_come)
            self._shown.add(failure)


def _settings(model: str, recipe: Recipe, search: dict[str, Any]) -> dict[str, Any]:
    """Model and options as the record has them."""
    from lipread.run_record import model_identity

    return {"model": model_identity(model), "options": recipe.options(search)}


@contextlib.contextmanager
def _engine(asked: _Asked, recipe: Recipe, videos: int | None) -> Iterator[Engine]:
    """What reads so many videos; None: any number may come."""
    from lipread.engines import HereEngine, Preparation, WorkerEngine, sensible_workers, shared, usable_cores

    options = asked.search.model_dump(exclude_unset=True)
    if asked.on_cluster:
        from lipread.ray_engine import RayEngine, preparation_for_cluster

        preparation = Preparation(asked.model, asked.device, recipe, options, 1, asked.timeout_s)
        yield RayEngine(preparation_for_cluster(preparation), asked.workers)
        return
    workers = sensible_workers(videos) if asked.workers is None else asked.workers
    if workers == 0:
        yield HereEngine(load_reader(asked.model, asked.device, asked.search), recipe)
        return
    threads = max(1, usable_cores() // workers)
    preparation = Preparation(asked.model, asked.device, recipe, options, threads, asked.timeout_s)
    with shared(preparation, workers) as together, WorkerEngine(together, workers) as engine:
        yield engine


def _followed(inputs: _Inputs, show: Callable[..., None], quiet: bool) -> tuple[Iterator[Any], Callable[..., None]]:
    """Endless jobs of a folder that grows, and what to call when one has ended."""
    from lipread.watching import Watch

    def find() -> list[Job]:
        jobs = inputs.find()
        inputs.show_new_failures(quiet=quiet)
        return jobs

    watch = Watch(find)

    def finished(job: Job, outcome: Any) -> None:
        watch.release(job)
        show(job, outcome)

    return watch.jobs(), finished


def _show_plan(
    jobs: Iterable[Job], failures: Iterable[Failure], recipe: Recipe, record: RunRecord, settings: dict[str, Any],
    skip_existing: bool | None,
) -> None:
    """What would be done, one line a video."""
    from lipread.batch import is_done
    from lipread.files import printable
    from lipread.remote import state_of

    for job in jobs:
        done = is_done(job, state_of(job.source), recipe, record, settings, skip_existing)
        first, *more = recipe.outputs(job.name)
        plan = "done already" if done else ", ".join([str(first), *(os.path.basename(path) for path in more)])
        typer.echo(printable(f"{job.source} -> {plan}"))
    for failure in failures:
        typer.echo(f"lipread: error: {printable(failure.message)}", err=True)
