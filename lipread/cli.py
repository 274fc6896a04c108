"""The `lipread` command: transcribe, crop, prepare, evaluate, demo, bench.

Commands import what they need when they run, so that `lipread --help` is quick. An error that a user can cause is one
line on stderr and an exit code: 1 when something failed, 2 when the command was called wrongly, 130 after Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lipread import __version__
from lipread.errors import ConfigError, LipreadError

app = typer.Typer(
    name="lipread",
    help="Read what people say in videos from their lips.",
    epilog="A failed run says why in one line; add --debug to any command to see where.",
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Model = Annotated[str, typer.Option(help="Bundled name, or path of a .safetensors file.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Speaker = Annotated[
    str, typer.Option(help="Whom to read: auto (whose lips move most), largest, or a number from 0, left to right.")
]
ALL_CORES = os.cpu_count() or 1
Processes = Annotated[int, typer.Option(min=1, help="How many clips to work on side by side.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Write files and errors only.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False) -> None:
    if version:
        typer.echo(f"lipread {__version__}")
        raise typer.Exit


@app.command()
def transcribe(
    paths: Annotated[list[Path], typer.Argument(help="Video files, or folders that are searched in depth.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Where to write.")] = Path("."),
    output_format: Annotated[
        str, typer.Option("--output-format", "-f", help="Comma list of txt, srt, vtt, tsv, json; or all.")
    ] = "all",
    model: Model = "small",
    device: Device = "auto",
    speaker: Speaker = "auto",
    captioned: Annotated[bool, typer.Option("--captioned", help="Also write an mp4 with the words drawn in.")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="Leave out what is written already.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show words with times and confidence.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write down what is said in videos, one set of files per video."""
    from lipread.batch import collect, require_jobs, transcribe_files
    from lipread.outputs import chosen_formats
    from lipread.terminal import BatchDisplay, show_report

    formats = chosen_formats(output_format)
    who = parse_speaker(speaker)
    jobs, failures = collect(paths)
    require_jobs(jobs, failures)
    reader = load_reader(model, device)
    with BatchDisplay(len(jobs), verbose=verbose, quiet=quiet) as display:
        report = transcribe_files(
            reader,
            jobs,
            output_dir,
            formats=formats,
            captioned=captioned,
            speaker=who,
            skip_existing=skip_existing,
            progress=display.progress,
            finished=display.finished,
        )
    report.failures[:0] = failures
    show_report(report, len(jobs), output_dir, quiet=quiet)
    raise typer.Exit(report.exit_code)


@app.command()
def crop(
    video: Annotated[Path, typer.Argument(help="Video file.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Where to write.")] = Path("."),
    strip: Annotated[bool, typer.Option(help="Write NAME.strip.png, the crops side by side.")] = True,
    film: Annotated[bool, typer.Option(help="Write NAME.crops.mp4.")] = True,
    words: Annotated[bool, typer.Option("--words", help="Read the words and write them under the strip.")] = False,
    model: Model = "small",
    device: Device = "auto",
    speaker: Speaker = "auto",
) -> None:
    """Show what the model sees: the mouth, cut out and straightened."""
    from lipread.errors import NoFaceError
    from lipread.outputs import inside
    from lipread.pipeline import watch_mouth

    watched = watch_mouth(video, speaker=parse_speaker(speaker))
    if not watched.faces:
        raise NoFaceError(f"{video}: no face was found, so there is no mouth to show; use a video that shows a face")
    said = load_reader(model, device).read_track(watched.track).words if words else ()
    from lipread.mouth import crop_strip, write_crops_mp4
    from lipread.terminal import write_png

    output_dir.mkdir(parents=True, exist_ok=True)
    if strip:
        write_png(target := inside(output_dir, f"{video.stem}.strip.png"), crop_strip(watched.track.crops, said))
        typer.echo(target)
    if film:
        write_crops_mp4(target := inside(output_dir, f"{video.stem}.crops.mp4"), watched.track.crops)
        typer.echo(target)
    for warning in watched.warnings:
        typer.echo(f"lipread: warning: {warning}", err=True)


prepare_app = typer.Typer(help="Make prepared folders (mouth crops, lip points, sound) to train on.")
app.add_typer(prepare_app, name="prepare")


@prepare_app.command("grid")
def prepare_grid_command(
    source: Annotated[Path, typer.Argument(help="Folder of the GRID corpus, in its own layout or with manifest.tsv.")],
    out: Annotated[Path, typer.Argument(help="Prepared folder to write, or to go on with.")],
    speakers: Annotated[str | None, typer.Option(help="Only these: a comma list such as s1,s2.")] = None,
    splits: Annotated[str | None, typer.Option(help="Only these: a comma list such as train,val.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many clips, and points-only sentences.")] = None,
    landmarks: Annotated[bool, typer.Option(help="Take landmarks/*.npz too, lip points without pixels.")] = True,
    protocol: Annotated[str, typer.Option(help="Published split of GRID: overlapped or unseen.")] = "unseen",
    processes: Processes = ALL_CORES,
) -> None:
    """Prepare the clips and lip points of the GRID corpus; what is there already is kept."""
    from lipread.data.grid import prepare_grid

    report = prepare_grid(
        source,
        out,
        speakers=None if speakers is None else speakers.split(","),
        splits=None if splits is None else splits.split(","),
        processes=processes,
        limit=limit,
        landmarks=landmarks,
        protocol=protocol,
    )
    typer.echo(
        f"{out}: {report.prepared} clips prepared, {report.kept} kept, {report.left_out} left out "
        f"in {report.seconds:.0f} s; {out / 'report.tsv'} says which and why"
    )


@prepare_app.command("drawn")
def prepare_drawn_command(
    out: Annotated[Path, typer.Argument(help="Prepared folder to write, or to go on with.")],
    count: Annotated[int, typer.Option(min=1, help="How many heads to draw, a person each.")] = 1000,
    processes: Processes = ALL_CORES,
) -> None:
    """Draw talking heads and prepare their crops; what is there already is kept."""
    from lipread.data.synthetic import write_prepared

    typer.echo(f"{out}: {write_prepared(out, count, processes=processes)} clips")


@app.command("evaluate")
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
    quiet: Quiet = False,
) -> None:
    """Measure word and character error rates, with intervals, over clips whose words are known."""
    import json
    import tempfile

    from lipread.evaluate import evaluate, read_manifest
    from lipread.outputs import write_text
    from lipread.terminal import ClipDisplay, show_evaluation

    if (manifest is None) == (drawn == 0):
        raise ConfigError("evaluate needs either a manifest or --drawn N, and not both")
    with tempfile.TemporaryDirectory(prefix="lipread-") as scratch:
        if manifest is not None:
            chosen = read_manifest(manifest, split=split, clips=clips, limit=limit)
        else:
            from lipread.drawn import draw_clips

            chosen = draw_clips(drawn, scratch)
        reader = load_reader(model, device)
        with ClipDisplay(len(chosen), quiet=quiet) as display:
            result = evaluate(reader, chosen, finished=display.finished)
    if json_file is not None:
        write_text(json_file, json.dumps(result.to_json(), indent=2, ensure_ascii=False) + "\n")
    show_evaluation(result)


@app.command()
def demo(
    video: Annotated[Path | None, typer.Argument(help="Video to read; without it a talking head is drawn.")] = None,
    named: Annotated[Path | None, typer.Option("--video", help="The same, as an option.")] = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Where to write.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(min=0, help="Which head to draw, which sentence it says.")] = 0,
    text: Annotated[str | None, typer.Option(help="What the drawn head says; else a sentence of the seed.")] = None,
    model: Model = "small",
    device: Device = "auto",
) -> None:
    """Draw a talking head that no training saw (or take a video), read its lips, and show the words."""
    from lipread.demo import run_demo

    run_demo(video or named, output_dir, seed=seed, text=text, reader=load_reader(model, device))


@app.command()
def bench(
    video: Annotated[Path | None, typer.Argument(help="Video to time; by default a GRID clip or a drawn head.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Times each measurement is taken; the median counts.")] = 5,
    model: Model = "small",
    device: Device = "auto",
) -> None:
    """Time every stage, and the start of the command."""
    from lipread.bench import run_bench

    run_bench(video, model=model, device=device, repeats=repeats)


def parse_speaker(text: str) -> str | int:
    """The value of --speaker. Raises: ConfigError: it is neither auto, largest nor a number from 0."""
    from lipread.speaking import check_speaker

    speaker = int(text) if text.lstrip("-").isdecimal() else text
    check_speaker(speaker)
    return speaker


def load_reader(model: str, device: str) -> Any:
    """`load_model`, with a missing system library named."""
    from lipread.pipeline import load_model, missing_libraries_named

    with missing_libraries_named():
        return load_model(model, device)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; what a user can cause becomes one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    try:
        code = app(given, prog_name="lipread", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except LipreadError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; files that were finished stay, nothing half-written does", 130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if debug:
            raise
        if hasattr(error, "format_message"):  # typer's own errors about how the command was called
            return _fail(f"{error.format_message()} See: lipread --help", getattr(error, "exit_code", 2))
        return _fail(f"unexpected {type(error).__name__}: {error}; run again with --debug and report it", 1)


def _fail(message: str, code: int) -> int:
    print(f"lipread: error: {' '.join(message.split())}", file=sys.stderr)
    return code
