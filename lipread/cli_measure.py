"""`lipread evaluate`, `compare`, `calibrate`, `adapt`, `average`, `bench`: the figures, and what moves them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipread.cli_options import (
    Device,
    ModalityOption,
    Model,
    Quiet,
    Speaker,
    counted,
    load_reader,
    parse_modality,
    parse_speaker,
    with_search,
)
from lipread.config import SearchConfig
from lipread.errors import ConfigError


@with_search
def evaluate_command(
    manifest: Annotated[
        Path | None, typer.Argument(help="A manifest.tsv (clip, speaker, split, text) or the folder it lies in.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split to read; all for every one.")] = "test",
    clips: Annotated[Path | None, typer.Option(help="Folder of the videos; else `clips` beside the manifest.")] = None,
    drawn: Annotated[int, typer.Option(min=0, help="Instead: so many heads of reserved identities, drawn now.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many clips, spread over the manifest.")] = None,
    model: Model = "small",
    device: Device = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")] = None,
    adapt: Annotated[
        int,
        typer.Option(
            min=0,
            help="Fit what reads the lips to so many clips of a speaker at once, then read these; 0: never. With "
            "--modality video.",
        ),
    ] = 0,
    adapt_steps: Annotated[int, typer.Option(min=0, help="As the steps of `lipread adapt`.")] = 0,
    modality: ModalityOption = "auto",
    plot: Annotated[Path | None, typer.Option(help="Also draw how far confidences can be trusted, a .png.")] = None,
    quiet: Quiet = False,
    *,
    search: SearchConfig,
) -> None:
    """Measure word and character error rates, with intervals, over clips whose words are known."""
    import json
    import tempfile

    from lipread.evaluate import evaluate, read_manifest
    from lipread.files import require_writable, write_text
    from lipread.terminal import ClipDisplay, show_evaluation

    way = parse_modality(modality)
    if json_file is not None:
        require_writable(json_file, ".json")
    if plot is not None:
        from lipread.plots import new_figure

        require_writable(plot, ".png")
        new_figure()  # before the work starts
    if (manifest is None) == (drawn == 0):
        raise ConfigError("evaluate needs either a manifest or --drawn N, and not both")
    with tempfile.TemporaryDirectory(prefix="lipread-") as scratch:
        if manifest is not None:
            chosen = read_manifest(manifest, split=split, clips=clips, limit=limit)
        else:
            from lipread.drawn import draw_clips

            chosen = draw_clips(drawn, scratch)
        reader = load_reader(model, device, search)
        with ClipDisplay(len(chosen), quiet=quiet) as display:
            result = evaluate(
                reader, chosen, modality=way, adapt=adapt, adapt_steps=adapt_steps,
                finished=display.finished,
            )
    show_evaluation(result)
    if json_file is not None:
        write_text(json_file, json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n")
    if plot is not None and result.calibration is not None:
        from lipread.plots import write_reliability

        write_reliability(plot, result.calibration)
    elif plot is not None:
        typer.echo(f"lipread: warning: no word was read, so {plot} was not drawn", err=True)
    if any(each.failed for each in result.clips):
        raise typer.Exit(1)


def compare_command(
    manifest: Annotated[Path, typer.Argument(help="A manifest.tsv (clip, speaker, split, text) or its folder.")],
    splits: Annotated[str, typer.Option(help="Comma list of splits to read.")] = "test,unseen",
    clips: Annotated[Path | None, typer.Option(help="Folder of the videos; else `clips` beside the manifest.")] = None,
    drawn: Annotated[int, typer.Option(min=0, help="Also so many heads of reserved identities, drawn now.")] = 20,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many clips of a split.")] = None,
    model: Model = "small",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Compare all ways to search: greedy, beam, beam with each bundled language model, grammar."""
    import tempfile

    from lipread.compare import compare, make_searches, read_clips, usual_ways
    from lipread.evaluate import read_manifest
    from lipread.terminal import ClipDisplay, show_comparison

    names = [name.strip() for name in splits.split(",") if name.strip()]
    if not names and not drawn:
        raise ConfigError("compare has nothing to read: name a split with --splits, or give --drawn N")
    reader = load_reader(model, device, SearchConfig())
    searches = make_searches(reader, usual_ways())
    failed = False
    with tempfile.TemporaryDirectory(prefix="lipread-") as scratch:
        sets = {name: read_manifest(manifest, split=name, clips=clips, limit=limit) for name in names}
        if drawn:
            from lipread.drawn import draw_clips

            sets["drawn"] = draw_clips(drawn, scratch)
        for name, chosen in sets.items():
            with ClipDisplay(len(chosen), quiet=quiet) as display:
                readings = read_clips(reader, chosen, finished=display.read)
            show_comparison(name, compare(readings, searches))
            failed = failed or any(each.problem for each in readings)
    if failed:
        raise typer.Exit(1)


def calibrate_command(
    manifest: Annotated[Path, typer.Argument(help="A manifest.tsv (clip, speaker, split, text) or its folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write.")],
    split: Annotated[str, typer.Option(help="Which split to fit on; never one that is reported.")] = "val",
    clips: Annotated[Path | None, typer.Option(help="Folder of the videos; else `clips` beside the manifest.")] = None,
    sound: Annotated[
        bool, typer.Option("--sound", help="Of what is read with sound, by the model that reads it.")
    ] = False,
    model: Model = "small",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Fit the temperature that makes word confidences agree with how often words are right."""
    from lipread.checkpoint import require_partner, save_checkpoint
    from lipread.compare import read_clips
    from lipread.evaluate import read_manifest
    from lipread.files import require_writable
    from lipread.pipeline import WEIGHTS_SUFFIX
    from lipread.terminal import ClipDisplay
    from lipread.tuning import fit_temperature, those_read

    require_writable(output, WEIGHTS_SUFFIX)
    chosen = read_manifest(manifest, split=split, clips=clips, to_choose=True)
    reader = load_reader(model, device, SearchConfig())
    checkpoint = reader.checkpoint
    if sound and checkpoint.with_sound:
        checkpoint = checkpoint.with_sound
    require_partner(output, checkpoint.record)
    with ClipDisplay(len(chosen), quiet=quiet) as display:
        readings = those_read(read_clips(reader, chosen, sound=sound, finished=display.read))
    temperature = round(fit_temperature(readings, reader.alphabet), 3)
    record = {**checkpoint.record, "calibration": {"temperature": temperature, "split": split, "clips": len(readings)}}
    save_checkpoint(output, checkpoint.network, checkpoint.alphabet, record, half=True)
    typer.echo(f"{output}: temperature {temperature}, fitted on {counted(len(readings), 'clip')} of {split}")
    if len(readings) < len(chosen):
        raise typer.Exit(1)


def adapt_command(
    videos: Annotated[list[Path], typer.Argument(help="Videos of one person, or folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write, a .safetensors file.")],
    steps: Annotated[
        int, typer.Option(min=0, help="Also make the readings surer in so many steps; helps rarely (docs/accuracy.md).")
    ] = 0,
    speaker: Speaker = "auto",
    model: Model = "small",
    device: Device = "auto",
) -> None:
    """Fit what reads the lips to a new person or camera, from a few of their videos, without words.

    What a model has for sound stays as it is.
    """
    from lipread.checkpoint import require_partner, save_checkpoint
    from lipread.files import require_writable
    from lipread.inputs import collect, require_jobs
    from lipread.pipeline import WEIGHTS_SUFFIX
    from lipread.training.adapt import adapted, pieces_of

    require_writable(output, WEIGHTS_SUFFIX)
    if (whom := parse_speaker(speaker)) == "all":
        raise ConfigError("a model is fitted to one person; choose auto, largest or a number from 0 instead of all")
    jobs, failures = collect(videos)
    require_jobs(jobs, failures)
    reader = load_reader(model, device)
    require_partner(output, reader.checkpoint.record)
    pieces, problems = pieces_of([job.source for job in jobs], speaker=whom)
    for problem in [failure.message for failure in failures] + problems:
        typer.echo(f"lipread: warning: {problem}", err=True)
    checkpoint = adapted(reader.checkpoint, pieces, steps=steps)
    save_checkpoint(output, checkpoint.network, checkpoint.alphabet, checkpoint.record, half=True)
    read = len(jobs) - len(problems)
    fitted = f"fitted to {counted(len(pieces), 'piece')} of {counted(read, 'video')}"
    lips_alone = " --modality video" if reader.checkpoint.with_sound else ""  # where there is sound, another reads
    typer.echo(f"{output}: {fitted}; use it with --model {output}{lips_alone}")
    if failures or problems:
        raise typer.Exit(1)


def average_command(
    checkpoints: Annotated[list[Path], typer.Argument(help="Checkpoints of one training, two or more.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Checkpoint to write, a .safetensors file.")],
) -> None:
    """Average the weights of checkpoints; measure the result before you use it."""
    from lipread.checkpoint import average, load_checkpoint, require_partner, save_checkpoint
    from lipread.files import require_writable
    from lipread.pipeline import WEIGHTS_SUFFIX, checkpoint_path

    require_writable(output, WEIGHTS_SUFFIX)
    mean = average([load_checkpoint(checkpoint_path(path)) for path in checkpoints])
    require_partner(output, mean.record)
    save_checkpoint(output, mean.network, mean.alphabet, mean.record, half=True)
    typer.echo(f"{output}: the mean of {len(checkpoints)} checkpoints")


def bench_command(
    video: Annotated[Path | None, typer.Argument(help="Video to time; by default a GRID clip or a drawn head.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Times each measurement is taken; the median counts.")] = 5,
    model: Model = "small",
    device: Device = "auto",
) -> None:
    """Time every stage, and the start of the command."""
    from lipread.bench import run_bench

    run_bench(video, model=model, device=device, repeats=repeats)
