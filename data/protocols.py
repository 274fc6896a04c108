"""Published splits of the GRID corpus: which of its clips are held out.

Source: Assael, Shillingford, Whiteson & de Freitas 2016, "LipNet: end-to-end sentence-level lipreading",
arXiv:1611.01599. `unseen` holds out four whole speakers; `overlapped` 255 sentences, drawn at random, of every speaker.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lipread.data.download import RemoteFile, fetch
from lipread.errors import ConfigError, DataError, OutputError

PROTOCOLS = ("unseen", "overlapped")
LISTS = Path(__file__).parent / "splits"
OVERLAPPED_CLIPS = 33 * 255  # in the list below
OVERLAPPED = RemoteFile(
    name="overlapped.txt",
    size=216_495,
    checksum="sha256:6ed464662eb802b127120fa3faf50ecc4f579a81cf70fef7ea327082dcfaaaf1",
    address="https://raw.githubusercontent.com/VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch/"
    "40209e09c49553c00c25c7d41faa3706aea3c625/data/overlap_val.txt",
)
_SPEAKER = re.compile(r"s[0-9]+")


@dataclass(frozen=True)
class Protocol:
    """What is held out: whole speakers, and single clips as (speaker, name)."""

    speakers: frozenset[str] = frozenset()
    clips: frozenset[tuple[str, str]] = frozenset()

    def split_of(self, speaker: str, name: str) -> str:
        """`unseen` for a clip of a speaker who is held out, `test` for a clip that is, else `train`."""
        if speaker.lower() in self.speakers:
            return "unseen"
        return "test" if (speaker.lower(), name.lower()) in self.clips else "train"


def load_protocol(name: str, root: Path) -> Protocol:
    """A published split.

    Args:
        name: "unseen" or "overlapped".
        root: the corpus; lists that are not in data/splits are looked for in it.
    Raises: ConfigError: there is no such split. DataError: its list is damaged, or not there.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f"protocol={name!r} is not known; choose {' or '.join(PROTOCOLS)}")
    for place in (LISTS, root):
        if (place / f"{name}.txt").is_file():
            return read_list(place / f"{name}.txt")
    raise DataError(
        f"{root / f'{name}.txt'}: the published list of held-out clips is not there; fetch it with "
        f"`python -m lipread.data.grid split-list {root}`, or choose --protocol unseen"
    )


def read_list(path: Path) -> Protocol:
    """Read a list: a line is a speaker, `s1`, or a clip of one, `s1 bbaf2n` or `s1/video/mpg_6000/bbaf2n`.

    Raises: DataError: a line is neither, or the list is empty or not text.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from error
    return _protocol(path, lines)


def _protocol(path: Path, lines: Iterable[str]) -> Protocol:
    speakers, clips = set(), set()
    for number, line in enumerate(lines, 1):
        parts = line.lower().replace("/", " ").split()
        if not parts:
            continue
        if not _SPEAKER.fullmatch(parts[0]):
            raise DataError(f"{path}, line {number}: {line!r} does not start with a speaker such as s1")
        if len(parts) == 1:
            speakers.add(parts[0])
        else:
            clips.add((parts[0], parts[-1].split(".")[0]))
    if not speakers and not clips:
        raise DataError(f"{path}: the list is empty; fetch it again")
    return Protocol(frozenset(speakers), frozenset(clips))


def fetch_overlapped(root: Path, *, source: RemoteFile = OVERLAPPED, pause_s: float = 1.0) -> Path:
    """Fetch the list of `overlapped` from where it is published, and check that it is the one known here.

    Raises: DataError: it cannot be had, or has changed. OutputError: it cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{root} cannot be written ({error.strerror}); choose another folder") from error
    fetch(source, root / source.name, pause_s=pause_s)
    return root / source.name
