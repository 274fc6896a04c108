"""The `lipread` command: crop and demo here, the other commands in the modules cli_*.py beside it.

Commands import what they need when they run, so that `lipread --help` is quick. An error that a user can cause is one
line on stderr and an exit code: 1 when something failed, 2 when the command was called wrongly, 130 after Ctrl-C, 141
where the reader of what is printed went away.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import typer

from lipread import __version__
from lipread.cli_features import features_command
from lipread.cli_lm import lm_app
from lipread.cli_measure import (
    adapt_command,
    average_command,
    bench_command,
    calibrate_command,
    compare_command,
    evaluate_command,
)
from lipread.cli_options import (
    Device,
    ModalityOption,
    Model,
    Speaker,
    load_reader,
    parse_modality,
    parse_speaker,
    with_search,
)
from lipread.cli_prepare import prepare_app
from lipread.cli_sound import noise_command, sync_command
from lipread.cli_transcribe import transcribe_command
from lipread.config import SearchConfig
from lipread.errors import ConfigError, LipreadError
from lipread.files import printable, require_path

UNUSABLE_PATH = (errno.ENAMETOOLONG, errno.EACCES, errno.ELOOP)

app = typer.Typer(
    name="lipread",
    help="Read what people say in videos from their lips.",
    epilog="A failed run says why in one line; add --debug to any command to see where.",
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.add_typer(prepare_app, name="prepare")
app.add_typer(lm_app, name="lm")
app.command("transcribe")(transcribe_command)
app.command("evaluate")(evaluate_command)
app.command("compare")(compare_command)
app.command("calibrate")(calibrate_command)
app.command("adapt")(adapt_command)
app.command("average")(average_command)
app.command("features")(features_command)
app.command("bench")(bench_command)
app.command("sync")(sync_command)
app.command("noise")(noise_command)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False) -> None:
    if version:
        typer.echo(f"lipread {__version__}")
        raise typer.Exit


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
    from lipread.files import inside
    from lipread.pipeline import checkpoint_path, watch_mouth

    if not (strip or film):
        raise ConfigError("there is nothing to write; leave out --no-strip or --no-film")
    if words and not strip:
        raise ConfigError("--words are written under the strip; leave out --no-strip, or --words")
    checkpoint_path(model)  # whoever names one wants to know, also where nothing is read
    reader = load_reader(model, device) if words else None
    watched = watch_mouth(video, speaker=parse_speaker(speaker))
    if not watched.faces:
        raise NoFaceError(f"{video}: no face was found, so there is no mouth to show; use a video that shows a face")
    said = reader.read_track(watched.track).words if reader else ()
    from lipread.inputs import CROPS_SUFFIX
    from lipread.mouth import crop_strip, write_crops_mp4
    from lipread.terminal import write_png

    if strip:
        write_png(target := inside(output_dir, f"{video.stem}.strip.png"), crop_strip(watched.track.crops, said))
        typer.echo(target)
    if film:
        write_crops_mp4(target := inside(output_dir, f"{video.stem}{CROPS_SUFFIX}"), watched.track.crops)
        typer.echo(target)
    for warning in watched.warnings:
        typer.echo(f"lipread: warning: {warning}", err=True)


@app.command()
@with_search
def demo(
    video: Annotated[Path | None, typer.Argument(help="Video to read; without it a talking head is drawn.")] = None,
    named: Annotated[Path | None, typer.Option("--video", help="The same, as an option.")] = None,
    output_dir: Annotated[Path, typer.Option("--output-dir", "-o", help="Where to write.")] = Path("demo-out"),
    seed: Annotated[
        int | None, typer.Option(min=0, help="Which head to draw, which sentence it says.", show_default="0")
    ] = None,
    text: Annotated[str | None, typer.Option(help="What the drawn head says; else a sentence of the seed.")] = None,
    model: Model = "small",
    device: Device = "auto",
    modality: ModalityOption = "auto",
    *,
    search: SearchConfig,
) -> None:
    """Draw a talking head that no training saw (or take a video), read its lips, and its voice if it has one (a drawn
    head has where eSpeak NG is installed), and show the words."""
    from lipread.demo import run_demo

    if video and named:
        raise ConfigError(f"give the video once: either {video} or --video {named}")
    if (given := video or named) and (seed is not None or text is not None):
        raise ConfigError(f"--seed and --text are for a head that is drawn, and {given} is read; leave them out")
    way, reader = parse_modality(modality), load_reader(model, device, search)
    run_demo(given, output_dir, seed=seed or 0, text=text, reader=reader, modality=way)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; what a user can cause becomes one line on stderr."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may have letters that a terminal lacks
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    try:
        _require_paths(given)
        code = app(given, prog_name="lipread", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except LipreadError as error:
        if debug:
            raise
        return _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; files that were finished stay, nothing half-written does", 130)
    except (BrokenPipeError, SystemExit) as error:  # the reader of our output, such as `head`, has gone
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise  # of the second kind is what typer and rich make of the first
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError) and error.errno in UNUSABLE_PATH and error.filename:
            return _fail(f"{error.filename}: {error.strerror}; check the path and its permissions", 1)
        if hasattr(error, "format_message"):  # typer's own errors about how the command was called
            return _fail(f"{error.format_message()} See: lipread --help", getattr(error, "exit_code", 2))
        return _fail(f"unexpected {type(error).__name__}: {error}; run again with --debug and report it", 1)


def _require_paths(given: Sequence[str]) -> None:
    """Refuse "" as an argument and after -o; after other options it may mean nothing of its kind."""
    for before, each in pairwise(["lipread", *given]):
        is_path = before in ("-o", "--output-dir") or not before.startswith("-")
        if each == "--output-dir=" or (is_path and not each):
            require_path("")


def _fail(message: str, code: int) -> int:
    print(f"lipread: error: {printable(' '.join(message.split()))}", file=sys.stderr)
    return code
