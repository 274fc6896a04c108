"""`lipread sync` and `lipread noise`: how sound and lips go together, and what each is worth among noise."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipread.cli_options import Device, Model, Quiet, load_reader
from lipread.errors import ConfigError


def sync_command(
    videos: Annotated[list[str], typer.Argument(help="Videos that show who speaks, or folders of them.")],
    model: Model = "small",
    device: Device = "auto",
) -> None:
    """Tell how early or late the sound of a video is against the lips, and how sure that is."""
    from lipread.errors import LipreadError
    from lipread.files import printable
    from lipread.inputs import collect, require_jobs
    from lipread.remote import at_hand
    from lipread.sync import sync_of

    jobs, failures = collect(videos)
    require_jobs(jobs, failures)
    reader, problems = load_reader(model, device), [failure.message for failure in failures]
    for job in jobs:
        try:
            with at_hand(job.source) as video:
                found = sync_of(reader, video)
        except LipreadError as error:
            problems.append(str(error))
        else:
            typer.echo(printable(f"{job.source}: {found.sentence}"))
    for problem in problems:
        typer.echo(printable(f"lipread: error: {problem}"), err=True)
    raise typer.Exit(1 if problems else 0)


def noise_command(
    manifest: Annotated[Path, typer.Argument(help="A manifest.tsv (clip, speaker, split, text) or its folder.")],
    split: Annotated[str, typer.Option(help="Which split to read.")] = "test",
    kind: Annotated[str, typer.Option(help="babble (of clips of other speakers), white, pink, music, speech-shaped.")]
    = "babble",
    snr: Annotated[str, typer.Option(help="Comma list of ratios in decibels; clean is none.")]
    = "-10,-5,0,5,10,20,clean",
    clips: Annotated[Path | None, typer.Option(help="Folder of the videos; else `clips` beside the manifest.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many clips.")] = None,
    model: Model = "small",
    device: Device = "auto",
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write everything to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the curve, a .png.")] = None,
    quiet: Quiet = False,
) -> None:
    """Read clips whose words are known from the lips, the sound and both, among more and more noise."""
    import json

    from lipread.evaluate import read_manifest
    from lipread.files import require_writable, write_text
    from lipread.in_noise import measure_in_noise, ratios_of
    from lipread.noise import KINDS
    from lipread.terminal import ClipDisplay, show_noise

    if kind not in KINDS:
        raise ConfigError(f"noise {kind!r} is not known; choose from {', '.join(KINDS)}")
    ratios = ratios_of(snr)
    if json_file is not None:
        require_writable(json_file, ".json")
    if plot is not None:
        from lipread.plots import new_figure

        new_figure()  # before the work starts
        require_writable(plot, ".png")
    chosen = read_manifest(manifest, split=split, clips=clips, limit=limit)
    others = read_manifest(manifest, split="train", clips=clips) if kind == "babble" else []
    reader = load_reader(model, device)
    with ClipDisplay(len(chosen), quiet=quiet) as display:
        found = measure_in_noise(reader, chosen, others, kind, ratios, finished=display.read)
    show_noise(found, kind, left_out=len(chosen) - found[0].clips)
    if json_file is not None:
        told = {
            "model": reader.checkpoint.name, "kind": kind, "clips": found[0].clips,
            "left_out": len(chosen) - found[0].clips, "ratios": [each.to_json() for each in found],
        }
        write_text(json_file, json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    if plot is not None:
        from lipread.plots import write_noise_curve

        write_noise_curve(plot, found, kind)
    if found[0].clips < len(chosen):
        raise typer.Exit(1)
