"""The GRID corpus in its own layout, or a folder with manifest.tsv -> what clips there are, and what is said in them.

Corpus: Cooke, Barker, Cunningham & Shao 2006, "An audio-visual corpus for speech perception and automatic speech
recognition", J. Acoust. Soc. Am. 120, 2421; distributed by its authors under CC BY 4.0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lipread.data.prepare import ClipJob, Times, name_problem
from lipread.data.protocols import Protocol, load_protocol
from lipread.errors import DataError
from lipread.files import PathLike
from lipread.inputs import VIDEO_SUFFIXES
from lipread.prepared import SILENCES, WORD_COLUMNS, table_rows
from lipread.values import SPLITS

TICKS_HZ = 25_000  # of the corpus's alignments
CORPUS_FRAMES = 75  # of every GRID clip that is whole
TRAIN = "train"
LEAST_COMMON = 10  # names, so that a folder of another speaker may be taken for this one's
SPEAKER_FOLDER = re.compile(r"s([1-9]|[12][0-9]|3[0-4])", re.IGNORECASE)
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
CODES: tuple[dict[str, str], ...] = (  # letter or digit in a clip's name -> word, by its place in the sentence
    {"b": "bin", "l": "lay", "p": "place", "s": "set"},
    {"b": "blue", "g": "green", "r": "red", "w": "white"},
    {"a": "at", "b": "by", "i": "in", "w": "with"},
    {letter: letter for letter in "abcdefghijklmnopqrstuvxyz"},
    dict(zip("z123456789", _DIGITS, strict=True)),
    {"a": "again", "n": "now", "p": "please", "s": "soon"},
)


def read_corpus(source: PathLike, *, protocol: str = "unseen") -> list[ClipJob]:
    """What a corpus holds, by its layout, ordered by name.

    Args:
        source: a folder with manifest.tsv, or with GRID's folders s1 to s34 in it.
        protocol: published split for the latter, "unseen" or "overlapped".
    Raises: DataError: it is neither, its tables are not as they should be, or the list of the protocol is not there.
    """
    root = Path(source)
    if (root / "manifest.tsv").is_file():
        return _read_listed(root)
    folders = {folder.name.lower(): folder for folder in _folders(root) if SPEAKER_FOLDER.fullmatch(folder.name)}
    jobs: list[ClipJob] = []
    if folders:
        held, aligned = load_protocol(protocol, root), _alignment_folders(root, alone=len(folders) == 1)
        for name, folder in sorted(folders.items()):
            jobs += _read_speaker(name, folder, held, aligned)
    if not jobs:
        raise DataError(
            f"{root}: neither a folder of the GRID corpus (s1 to s34 with NAME.mpg in them) nor one with manifest.tsv "
            "and clips/; data/README.md shows both"
        )
    for job in jobs:
        if problem := name_problem(job.name):
            raise DataError(f"{job.video or root}: clip={job.name!r} {problem}; rename it")
    return jobs


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _read_speaker(
    speaker: str, folder: Path, held: Protocol, alignments: list[tuple[str, dict[str, Path]]]
) -> Iterator[ClipJob]:
    """Clips of one folder of the official layout: videos in it or below, alignments below it or in alignments/."""
    videos = {path.stem: path for path in sorted(folder.rglob("*"), reverse=True) if _is_video(path)}
    aligned = _aligned(folder.rglob("*.align")) or _fitting(speaker, set(videos), alignments)
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
        yield ClipJob(f"{speaker}_{name}", speaker, held.split_of(speaker, name), text or named or "",
                      videos.get(name), words, CORPUS_FRAMES, tuple(doubts))


def _aligned(paths: Iterable[Path]) -> dict[str, Path]:
    return {path.stem: path for path in paths if not path.name.startswith(".")}


def _alignment_folders(root: Path, *, alone: bool) -> list[tuple[str, dict[str, Path]]]:
    """Alignments outside the speakers' folders, by the name of their folder; "" is anybody's, if there is but one."""
    found = []
    for base in (root / "alignments", root / "align"):
        found += [("", _aligned(base.glob("*.align")))] if alone else []
        for folder in _folders(base):
            found.append((folder.name.lower(), _aligned([*folder.glob("*.align"), *folder.glob("align/*.align")])))
    return [(name, files) for name, files in found if files]


def _fitting(speaker: str, videos: set[str], alignments: list[tuple[str, dict[str, Path]]]) -> dict[str, Path]:
    """The alignments of a speaker: the folder of that name, or another whose file names are those of the videos.

    The public record is said to have some speakers' alignments in other speakers' folders (lhotse/recipes/grid.py has
    a table of them). Of 1000 sentences of two people about 16 are the same: those would get the other's times.
    """
    own = [files for name, files in alignments if name in (speaker, "")]
    others = [files for name, files in alignments if name not in (speaker, "")]
    for files in sorted(own, key=lambda files: -len(videos & files.keys())):
        if not videos or 2 * len(videos & files.keys()) >= min(len(videos), len(files)):
            return files
    best = max(others, key=lambda files: len(videos & files.keys()), default={})
    common = len(videos & best.keys())
    return best if common >= LEAST_COMMON and 2 * common >= min(len(videos), len(best)) else {}


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES and not path.name.startswith(".") and path.is_file()


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
    if len(name) != len(CODES) or any(letter not in codes for letter, codes in zip(name, CODES, strict=True)):
        return None
    return " ".join(codes[letter] for letter, codes in zip(name, CODES, strict=True))


def _read_listed(root: Path) -> list[ClipJob]:
    """Clips of a folder with manifest.tsv, and perhaps words.tsv; videos are clips/CLIP.*, or lie in the folder."""
    words: dict[str, list[tuple[float, float, str]]] = {}
    if (root / "words.tsv").is_file():
        for line, row in table_rows(root / "words.tsv", WORD_COLUMNS):
            try:
                start, end = float(row["start_s"]), float(row["end_s"])
            except ValueError as error:
                raise DataError(f"{line}: a time is not a number ({error})") from error
            if not 0 <= start <= end < math.inf:
                raise DataError(
                    f"{line}: start_s={start} and end_s={end} must be finite, 0 or more, and in that order; "
                    "correct them"
                )
            words.setdefault(row["clip"], []).append((start, end, row["word"].lower()))
    place = root / "clips" if (root / "clips").is_dir() else root
    videos = {path.stem: path for path in sorted(place.iterdir(), reverse=True) if _is_video(path)}
    jobs: dict[str, ClipJob] = {}
    for line, row in table_rows(root / "manifest.tsv", ("clip", "text")):
        name, split, frames = row["clip"], row.get("split") or TRAIN, row.get("frames", "")
        if problem := name_problem(name):
            raise DataError(f"{line}: clip={name!r} {problem}; rename it")
        if name in jobs:
            raise DataError(f"{line}: clip={name!r} is there twice; leave one out")
        if split not in SPLITS:
            raise DataError(f"{line}: split={split!r} is not known; it must be one of {', '.join(SPLITS)}")
        jobs[name] = ClipJob(
            name, row.get("speaker") or name, split, row["text"], videos.get(name),
            tuple(sorted(words.get(name, ()))), int(frames) if frames.isdecimal() and len(frames) < 10 else None,
        )
    if not jobs:
        raise DataError(f"{root / 'manifest.tsv'}: lists no clip")
    return list(jobs.values())


def listed(values: Iterable[str] | None) -> str:
    """Values for a sentence: "all" where any will do."""
    return "all" if values is None else ", ".join(sorted(values)) or "none"
