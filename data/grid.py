"""The GRID corpus, or any folder of clips with known words -> prepared clips.

    python -m lipread.data.grid download FOLDER --speakers s1,s2     the corpus itself, from its public record
    python -m lipread.data.grid split-list FOLDER                    the published list of `overlapped`
    python -m lipread.data.grid prepare FOLDER PREPARED              the same as `lipread prepare grid`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from lipread.data.corpus import TRAIN, listed, read_corpus
from lipread.data.lip_points import prepare_lip_points, sentence_key
from lipread.data.prepare import (
    ClipJob,
    Outcome,
    PrepareReport,
    give_up,
    is_done,
    only_run,
    open_folder,
    prepare_clip,
    write_tables,
)
from lipread.data.protocols import PROTOCOLS, fetch_overlapped
from lipread.data.record import RECORD, download_grid
from lipread.errors import ConfigError, DataError, LipreadError
from lipread.files import PathLike
from lipread.workers import WorkerDied, in_processes

UNSEEN = "unseen"  # the split of people of whom nothing may be trained on


def prepare_grid(
    source: PathLike,
    out: PathLike,
    *,
    speakers: Collection[str] | None = None,
    splits: Collection[str] | None = None,
    processes: int = 2,
    limit: int | None = None,
    landmarks: bool = True,
    protocol: str = "unseen",
    show: bool = True,
) -> PrepareReport:
    """Prepare a corpus for training; what is prepared already is kept, so a run can be broken off and started again.

    Args:
        source: GRID in its own layout, or any folder with manifest.tsv (clip, text) and clips/.
        out: prepared folder to write, or to go on with.
        speakers, splits: only these.
        processes: clips worked on side by side; 0 works in this process.
        limit: at most so many clips, and so many sentences of landmarks/.
        landmarks: also take the lip points of landmarks/*.npz, where the source has them and train is wanted.
        protocol: published split of the official layout, "unseen" or "overlapped".
        show: progress bar on stderr.
    Returns: what was done in this run.
    Raises:
        DataError: the source has neither layout, or nothing that is asked for, or another run is at work in `out`.
        ConfigError: limit or processes is negative, protocol unknown, `out` is `source`.
        OutputError: `out` cannot be written.
    """
    if processes < 0 or (limit is not None and limit < 0):
        raise ConfigError(f"processes={processes}, limit={limit}: neither may be negative; leave them out")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol={protocol!r} is not known; choose {' or '.join(PROTOCOLS)}")
    began, root, folder = time.monotonic(), Path(source), Path(out)
    if folder.resolve() == root.resolve():
        raise ConfigError(f"{folder}: is the corpus itself, whose tables would be written over; name another folder")
    corpus = read_corpus(root, protocol=protocol)
    files = sorted((root / "landmarks").glob("*.npz")) if landmarks and _within(TRAIN, splits) else []
    _check_known("speaker", speakers, {job.speaker for job in corpus} | {file.stem for file in files}, root)
    _check_known("split", splits, {job.split for job in corpus} | ({TRAIN} if files else set()), root)
    jobs = [job for job in corpus if _within(job.speaker, speakers) and _within(job.split, splits)][:limit]
    files = [file for file in files if _within(file.stem, speakers)]
    if not jobs and not files:
        raise DataError(f"{root}: no clip of speakers {listed(speakers)} is in splits {listed(splits)}")
    open_folder(folder)
    count: Counter[Outcome] = Counter()
    with only_run(folder), _bar(len(jobs) + len(files), show) as advance:
        try:
            done = {job.name for job in corpus if is_done(job, folder)}  # also brings all splits up to date
            todo = [(job, folder) for job in jobs if job.name not in done]
            count[Outcome.KEPT] = len(jobs) - len(todo)
            advance(len(jobs) - len(todo))
            with closing(_prepared(todo, processes)) as outcomes:  # after Ctrl-C the workers end before the tables
                for outcome in outcomes:
                    count[outcome] += 1
                    advance(1)
            reserved, strangers = reserved_of(corpus)
            room = limit
            for file in files:
                new, old, bad = prepare_lip_points(file, folder, reserved, strangers, room)
                count.update({Outcome.PREPARED: new, Outcome.KEPT: old, Outcome.LEFT_OUT: bad})
                room = None if room is None else max(0, room - new - old)
                advance(1)
        finally:
            write_tables(folder)
    numbers = (count[outcome] for outcome in (Outcome.PREPARED, Outcome.KEPT, Outcome.LEFT_OUT))
    return PrepareReport(*numbers, time.monotonic() - began)


def _prepared(todo: list[tuple[ClipJob, Path]], processes: int) -> Generator[Outcome]:
    """Prepare clips; yields what became of each."""
    for (job, folder), result in in_processes(prepare_clip, todo, min(processes, len(todo))):
        yield give_up(job, folder, str(result)) if isinstance(result, WorkerDied) else result


def reserved_of(corpus: Iterable[ClipJob]) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """What must not be trained on: sentence keys -> split, and speakers who are to stay unseen -> split."""
    held = [job for job in corpus if job.split != TRAIN]
    return (
        {sentence_key(job.speaker, job.name): job.split for job in held},
        {job.speaker.lower(): job.split for job in held if job.split == UNSEEN},
    )


def _check_known(what: str, wanted: Collection[str] | None, there: set[str], root: Path) -> None:
    for each in wanted or ():
        if not any(_within(one, [each]) for one in there):
            raise DataError(f"{root}: has no {what} {each!r}; it has {listed(there)}")


def _within(value: str, wanted: Collection[str] | None) -> bool:
    return wanted is None or value.lower() in {each.strip().lower() for each in wanted}


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Callable[[int], None]]:
    """A progress bar on stderr; gives the function that moves it on by so many."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lipread.terminal import err

    columns = (TextColumn("preparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not (show and err.is_terminal)) as progress:
        task = progress.add_task("preparing", total=total)
        yield lambda steps: progress.advance(task, steps)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `python -m lipread.data.grid` and return its exit code; what a user can cause becomes one line on stderr."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["prepare"]:
        from lipread import cli

        return cli.main(["prepare", "grid", *given[1:]])
    parser = argparse.ArgumentParser(prog="python -m lipread.data.grid", description="The GRID corpus, CC BY 4.0.")
    commands = parser.add_subparsers(dest="command", required=True)
    download = commands.add_parser("download", help="fetch the corpus; what is there already is kept")
    download.add_argument("folder", type=Path, help="where s1 to s34 are to lie")
    download.add_argument("--speakers", help="only these: a comma list such as s1,s2; each is about 0.5 GB")
    download.add_argument("--address", default=RECORD, help="description of the record (default: %(default)s)")
    download.add_argument("--remove-archives", action="store_true", help="delete each archive once it is unpacked")
    split_list = commands.add_parser("split-list", help="fetch the published list of `overlapped`")
    split_list.add_argument("folder", type=Path, help="the corpus")
    commands.add_parser("prepare", help="the same as `lipread prepare grid`")
    chosen = parser.parse_args(given)
    try:
        if chosen.command == "split-list":
            print(fetch_overlapped(chosen.folder))
            return 0
        speakers = None if chosen.speakers is None else chosen.speakers.split(",")
        report = download_grid(
            chosen.folder, speakers=speakers, address=chosen.address, keep_archives=not chosen.remove_archives
        )
    except LipreadError as error:
        print(f"lipread: error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("lipread: error: interrupted; start again to go on where this ended", file=sys.stderr)
        return 130
    print(f"{chosen.folder}: {report.fetched} files fetched, {report.kept} kept in {report.seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
