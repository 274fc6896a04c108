"""`lipread prepare`: corpora and drawn heads -> prepared folders to train on."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from lipread.cli_options import ALL_CORES, Processes

prepare_app = typer.Typer(help="Make prepared folders (mouth crops, lip points, sound) to train on.")


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
    from lipread.errors import DataError

    with _ended_like_ctrl_c():
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
    if not report.prepared + report.kept:
        raise DataError(f"{source}: every clip is left out; {out / 'report.tsv'} says why")


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """SIGTERM, too, lets the tables be written while the block lasts."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@prepare_app.command("drawn")
def prepare_drawn_command(
    out: Annotated[Path, typer.Argument(help="Prepared folder to write, or to go on with.")],
    count: Annotated[int, typer.Option(min=1, help="How many heads to draw, a person each.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the first one; below 1,000,000.")] = 0,
    through_video: Annotated[
        bool, typer.Option("--through-video", help="Find faces with the mesh, as in a real video; half as fast.")
    ] = False,
    processes: Processes = ALL_CORES,
) -> None:
    """Draw talking heads and prepare their crops; what is there already is kept."""
    from lipread.data.synthetic import write_prepared

    report = write_prepared(out, count, first_seed=seed, processes=processes, through_video=through_video, show=True)
    typer.echo(f"{out}: {report}")
