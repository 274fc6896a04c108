"""`lipread features`: videos -> files of encoder states for other programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from lipread.cli_options import Device, Model, Quiet, Speaker, load_reader, parse_speaker
from lipread.errors import ConfigError, LipreadError

if TYPE_CHECKING:
    from lipread.features import FeatureModality


def features_command(
    videos: Annotated[list[str], typer.Argument(help="Videos, folders that are searched in depth, quoted patterns.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Where to write.")] = Path("."),
    layer: Annotated[
        int | None, typer.Option(help="0: the embeddings; 1, 2 ..: after that layer. (default: the last)")
    ] = None,
    half: Annotated[bool, typer.Option("--half", help="States as float16, half the size.")] = False,
    model: Model = "small",
    device: Device = "auto",
    speaker: Speaker = "auto",
    modality: Annotated[str, typer.Option(help="video (the lips), audio, or both.")] = "video",
    quiet: Quiet = False,
) -> None:
    """Write what the encoder makes of the lips, of the sound or of both, frame by frame, as NAME.features.safetensors.

    Tensors: states (T, D) of the chosen layer, times (T,) in seconds at 25 Hz, present (T,): whether a face was there.
    """
    from lipread.features import SUFFIX, check_feature_modality, chosen_layer, video_features, write_features
    from lipread.files import inside, printable
    from lipread.inputs import collect, require_jobs
    from lipread.remote import at_hand
    from lipread.terminal import ClipDisplay

    whom = parse_speaker(speaker)
    if whom == "all":
        raise ConfigError("speaker 'all' has more than one mouth; choose auto, largest, or a number from 0")
    jobs, failures = collect(videos)
    require_jobs(jobs, failures)
    reader = load_reader(model, device)
    layer = chosen_layer(reader.network, layer)
    check_feature_modality(reader, modality)
    problems = [failure.message for failure in failures]
    with ClipDisplay(len(jobs), quiet=quiet) as display:
        for job in jobs:
            try:
                target = inside(output_dir, job.name + SUFFIX)
                with at_hand(job.source) as video:
                    found = video_features(
                        reader, video, layer=layer, speaker=whom, modality=cast("FeatureModality", modality),
                        progress=display.progress,
                    )
                write_features(target, replace(found, source=str(job.source)), half=half)
            except LipreadError as error:
                problems.append(str(error))
            else:
                for warning in found.warnings:
                    typer.echo(printable(f"lipread: warning: {job.source}: {warning}"), err=True)
                if not quiet:
                    typer.echo(printable(str(target)))
            display.end_one()
    for problem in problems:
        typer.echo(printable(f"lipread: error: {problem}"), err=True)
    raise typer.Exit(1 if problems else 0)
