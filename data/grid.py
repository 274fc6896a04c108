"""The GRID corpus, in its own layout or as a folder with manifest.tsv -> prepared clips.

Corpus: Cooke, Barker, Cunningham & Shao 2006, "An audio-visual corpus for speech perception and automatic speech
recognition", J. Acoust. Soc. Am. 120, 2421; distributed by its authors under CC BY 4.0.
"""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from lipread.batch import VIDEO_SUFFIXES
from lipread.data.lip_points import prepare_lip_points, sentence_key
from lipread.data.prepare import (
    SILENCES,
    ClipJob,
    PrepareReport,
    Record,
    Times,
    is_done,
    only_run,
    open_folder,
    prepare_clip,
    record_path,
    write_tables,
)
from lipread.data.workers import WorkerDied, in_processes
from lipread.errors import ConfigError, DataError
from lipread.outputs import PathLike

TICKS_HZ = 25_000  # of the corpus's alignments
CORPUS_FRAMES = 75  # of every GRID clip that is whole
PROTOCOLS = ("overlapped", "unseen")  # published splits
TRAIN, UNSEEN = "train", "unseen"
SPEAKER_FOLDER = re.compile(r"s([1-9]|[12][0-9]|3[0-4])", re.IGNORECASE)
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_CODES: tuple[dict[str, str], ...] = (
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("z123456789", _DIGITS, strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


def prepare_grid(
    source: PathLike,
    out: PathLike,
    *,
    speakers: Collection[str] | None = None,
    splits: Collection[str] | None = None,
    processes: int = 2,
    limit: int | None = None,
    landmarks: bool = True,
    protocol: str = "overlapped",
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
        protocol: published split of the official layout, "overlapped" or "unseen".
        show: progress bar on stderr.
    Returns: what was done in this run.
    Raises:
        DataError: the source has neither layout, or nothing that is asked for, or another run is at work in `out`.
        ConfigError: limit or processes is negative, protocol unknown. OutputError: `out` cannot be written.
    """
    if processes < 0 or (limit is not None and limit < 0):
        raise ConfigError(f"processes={processes}, limit={limit}: neither may be negative; leave them out")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol={protocol!r} is not known; choose {' or '.join(PROTOCOLS)}")
    began, root, folder = time.monotonic(), Path(source), Path(out)
    corpus = read_corpus(root, protocol=protocol)
    files = sorted((root / "landmarks").glob("*.npz")) if landmarks and _within(TRAIN, splits) else []
    _check_known("speaker", speakers, {job.speaker for job in corpus} | {file.stem for file in files}, root)
    _check_known("split", splits, {job.split for job in corpus} | ({TRAIN} if files else set()), root)
    jobs = [job for job in corpus if _within(job.speaker, speakers) and _within(job.split, splits)][:limit]
    files = [file for file in files if _within(file.stem, speakers)]
    if not jobs and not files:
        raise DataError(f"{root}: no clip of speakers {_listed(speakers)} is in splits {_listed(splits)}")
    open_folder(folder)
    prepared, kept, left_out = 0, 0, 0
    with only_run(folder), _bar(len(jobs) + len(files), show) as advance:
        try:
            done = {job.name for job in corpus if is_done(job, folder)}  # also brings all splits up to date
            todo = [(job, folder) for job in jobs if job.name not in done]
            for _ in range(len(jobs) - len(todo)):
                kept += 1
                advance()
            with closing(_prepared(todo, processes)) as results:  # after Ctrl-C the workers end before the tables
                for good in results:
                    prepared, left_out = prepared + good, left_out + (not good)
                    advance()
            reserved, strangers = reserved_of(corpus)
            room = limit
            for file in files:
                new, old, bad = prepare_lip_points(file, folder, reserved, strangers, room)
                prepared, kept, left_out = prepared + new, kept + old, left_out + bad
                room = None if room is None else max(0, room - new - old)
                advance()
        finally:
            write_tables(folder)
    return PrepareReport(prepared, kept, left_out, time.monotonic() - began)


def _prepared(todo: list[tuple[ClipJob, Path]], processes: int) -> Generator[bool]:
    """Prepare clips; yields for each whether it was kept."""
    for (job, folder), result in in_processes(prepare_clip, todo, min(processes, len(todo))):
        if isinstance(result, WorkerDied):
            Record([], [(job.name, str(result), "no")]).write(record_path(folder, job.name))
        yield result is True


def reserved_of(corpus: Iterable[ClipJob]) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """What must not be trained on: sentence keys -> split, and speakers who are to stay unseen -> split."""
    held = [job for job in corpus if job.split != TRAIN]
    return (
        {sentence_key(job.speaker, job.name): job.split for job in held},
        {job.speaker.lower(): job.split for job in held if job.split == UNSEEN},
    )


def read_corpus(source: PathLike, *, protocol: str = "overlapped") -> list[ClipJob]:
    """What a corpus holds, by its layout, ordered by name.

    Args:
        source: a folder with manifest.tsv, or with GRID's folders s1 to s34 in it.
        protocol: published split for the latter.
    Raises: DataError: it is neither, or its tables are not as they should be.
    """
    root = Path(source)
    if (root / "manifest.tsv").is_file():
        return _read_listed(root)
    folders = {folder.name.lower(): folder for folder in _folders(root) if SPEAKER_FOLDER.fullmatch(folder.name)}
    jobs = [job for name, folder in sorted(folders.items()) for job in _read_speaker(root, folder, protocol)]
    if not jobs:
        raise DataError(
            f"{root}: neither a folder of the GRID corpus (s1 to s34 with NAME.mpg in them) nor one with manifest.tsv "
            "and clips/; data/README.md shows both"
        )
    return jobs


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _read_speaker(root: Path, folder: Path, protocol: str) -> Iterator[ClipJob]:
    """Clips of one folder of the official layout: videos in it or below, alignments below it or in alignments/."""
    speaker = folder.name.lower()
    videos = {path.stem: path for path in sorted(folder.rglob("*"), reverse=True) if _is_video(path)}
    places = (root / "align", root / "alignments", root / "alignments" / folder.name / "align",
              root / "alignments" / folder.name, root / "align" / folder.name)
    aligned: dict[str, Path] = {}
    for place in places if _only_speaker(root) else places[2:]:
        aligned |= {path.stem: path for path in place.glob("*.align")}
    aligned |= {path.stem: path for path in folder.rglob("*.align") if not path.name.startswith(".")}
    for name in sorted(videos.keys() | aligned.keys()):
        doubts, words = [], ()
        try:
            words = read_alignment(aligned[name]) if name in aligned else ()
            doubts += [] if words else ["no alignment: its text is taken from its name"]
        except DataError as error:
            doubts.append(f"{error}: its text is taken from its name")
        named, text = sentence_of_name(name), text_of(words)
        if text and named and text != named:
            doubts.append(f"its alignment says {text!r}, its name {named!r}")
        yield ClipJob(f"{speaker}_{name}", speaker, published_split(speaker, name, protocol), text or named or "",
                      videos.get(name), words, CORPUS_FRAMES, tuple(doubts))


def _only_speaker(root: Path) -> bool:
    return sum(bool(SPEAKER_FOLDER.fullmatch(folder.name)) for folder in _folders(root)) == 1


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


def published_split(speaker: str, name: str, protocol: str) -> str:
    """Split of a clip in a published protocol; `train` where there is no list."""
    try:
        from lipread.data.splits import split_of
    except ImportError:
        return TRAIN
    return str(split_of(f"{speaker}_{name}", speaker, protocol))


def read_alignment(path: Path) -> Times:
    """Word times of a GRID .align file: a line per word with start and end in 1/25000 s.

    Raises: DataError: the file cannot be read, or a line of it is not of that form.
    """
    words = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    for number, line in enumerate(lines, 1):
        parts = line.split()
        if not parts:
            continue
        try:
            start, end, word = int(parts[0]) / TICKS_HZ, int(parts[1]) / TICKS_HZ, parts[2].lower()
        except (ValueError, IndexError) as error:
            raise DataError(f"{path}, line {number}: {line!r} is not `start end word`") from error
        if not 0 <= start <= end or (words and start < words[-1][1]):
            raise DataError(f"{path}, line {number}: {line!r} goes back in time")
        words.append((start, end, word))
    return tuple(words)


def text_of(words: Times) -> str:
    """The words without the silences."""
    return " ".join(word for _, _, word in words if word not in SILENCES)


def sentence_of_name(name: str) -> str | None:
    """GRID names say their sentence: bbaf2n -> bin blue at f two now. None for other names."""
    if len(name) != len(_CODES) or any(letter not in codes for letter, codes in zip(name, _CODES, strict=True)):
        return None
    return " ".join(codes[letter] for letter, codes in zip(name, _CODES, strict=True))


def _read_listed(root: Path) -> list[ClipJob]:
    """Clips of a folder with manifest.tsv, and perhaps words.tsv; videos are clips/CLIP.*, or lie in the folder."""
    words: dict[str, list[tuple[float, float, str]]] = {}
    if (root / "words.tsv").is_file():
        for number, row in _rows(root / "words.tsv", ("clip", "start_s", "end_s", "word")):
            try:
                times = float(row["start_s"]), float(row["end_s"])
                words.setdefault(row["clip"], []).append((*times, row["word"].lower()))
            except ValueError as error:
                raise DataError(f"{root / 'words.tsv'}, line {number}: a time is not a number ({error})") from error
    place = root / "clips" if (root / "clips").is_dir() else root
    videos = {path.stem: path for path in sorted(place.iterdir(), reverse=True) if _is_video(path)}
    jobs: dict[str, ClipJob] = {}
    for number, row in _rows(root / "manifest.tsv", ("clip", "text")):
        name, frames = row["clip"], row.get("frames", "")
        if not name or name.startswith(".") or set(name) & set("/\\"):
            raise DataError(f"{root / 'manifest.tsv'}, line {number}: clip={name!r} is no plain file name; rename it")
        if name in jobs:
            raise DataError(f"{root / 'manifest.tsv'}, line {number}: clip={name!r} is there twice; leave one out")
        jobs[name] = ClipJob(
            name, row.get("speaker") or name, row.get("split") or TRAIN, row["text"], videos.get(name),
            tuple(sorted(words.get(name, ()))), int(frames) if frames.isdecimal() else None,
        )
    if not jobs:
        raise DataError(f"{root / 'manifest.tsv'}: lists no clip")
    return list(jobs.values())


def _rows(path: Path, columns: Collection[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a table with their line numbers. Raises: DataError: a column is absent, or it is not text."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
            if missing := set(columns) - set(reader.fieldnames or ()):
                raise DataError(f"{path}: has no column {_listed(missing)}; its columns must be separated by tabs")
            for row in reader:
                yield reader.line_num, {key: value.strip() for key, value in row.items() if isinstance(value, str)}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); save it as UTF-8 text") from error


def train_text(source: PathLike) -> list[str]:
    """Sentences of transcripts.tsv for language models: without those that val, test and unseen clips say.

    A sentence is left out whoever says it, so that no text that is measured on has been seen.

    Raises: DataError: there is no transcripts.tsv, or the manifest that says what to leave out is absent.
    """
    root = Path(source)
    corpus = read_corpus(root)
    reserved, _ = reserved_of(corpus)
    held = {" ".join(job.text.split()) for job in corpus if job.split != TRAIN}
    rows = [row for _, row in _rows(root / "transcripts.tsv", ("speaker", "clip", "text"))]
    held |= {row["text"] for row in rows if sentence_key(row["speaker"], row["clip"]) in reserved}
    return [row["text"] for row in rows if row["text"] and row["text"] not in held]


def _check_known(what: str, wanted: Collection[str] | None, there: set[str], root: Path) -> None:
    for each in wanted or ():
        if not any(_within(one, [each]) for one in there):
            raise DataError(f"{root}: has no {what} {each!r}; it has {_listed(there)}")


def _within(value: str, wanted: Collection[str] | None) -> bool:
    return wanted is None or value.lower() in {each.strip().lower() for each in wanted}


def _listed(values: Iterable[str] | None) -> str:
    return "all" if values is None else ", ".join(sorted(values)) or "none"


@contextmanager
def _bar(total: int, show: bool) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr; gives the function that moves it on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lipread.terminal import err

    columns = (TextColumn("preparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not (show and err.is_terminal)) as progress:
        task = progress.add_task("preparing", total=total)
        yield lambda: progress.advance(task)
