"""GRID's transcripts.tsv -> a text file for language models, without any sentence that is measured on.

    python -m lipread.data.transcripts FOLDER OUT.txt     FOLDER has transcripts.tsv and manifest.tsv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lipread.data.corpus import TRAIN, read_corpus
from lipread.data.grid import reserved_of
from lipread.data.lip_points import sentence_key
from lipread.errors import DataError, LipreadError
from lipread.files import PathLike, write_text
from lipread.prepared import table_rows


@dataclass(frozen=True)
class TrainText:
    """What became of the lines of transcripts.tsv.

    Attributes:
        sentences: that may be trained on, in lower case with single spaces.
        left_out: lines whose text, whoever says it, is said in a clip that is not for training, or that have none.
        held_texts: different texts of the clips that are not for training.
    """

    sentences: tuple[str, ...]
    left_out: int
    held_texts: int


def train_text(source: PathLike) -> TrainText:
    """Sentences of transcripts.tsv for language models: without those that val, test and unseen clips say.

    A sentence is left out whoever says it, also in capitals or spaced otherwise, so that no text that is measured on
    has been seen.

    Args:
        source: folder with transcripts.tsv (speaker, clip, text) and a manifest that says the split of each clip.
    Raises: DataError: a table is absent or damaged, or nothing remains.
    """
    root = Path(source)
    corpus = read_corpus(root)
    reserved, _ = reserved_of(corpus)
    held = {_plain(job.text) for job in corpus if job.split != TRAIN}
    texts = []
    for _, row in table_rows(root / "transcripts.tsv", ("speaker", "clip", "text")):
        texts.append(_plain(row["text"]))
        if sentence_key(row["speaker"], row["clip"]) in reserved:
            held.add(texts[-1])
    sentences = tuple(text for text in texts if text and text not in held)
    if not sentences:
        raise DataError(f"{root / 'transcripts.tsv'}: every sentence is left out; give transcripts of other sentences")
    return TrainText(sentences, len(texts) - len(sentences), len(held - {""}))


def write_train_text(source: PathLike, out: PathLike) -> TrainText:
    """Write what `train_text` gives, one sentence a line.

    Raises: DataError: as `train_text`. OutputError: `out` cannot be written.
    """
    found = train_text(source)
    write_text(out, "".join(f"{text}\n" for text in found.sentences))
    return found


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; what a user can cause becomes one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m lipread.data.transcripts", description="Text of the GRID corpus.")
    parser.add_argument("folder", type=Path, help="folder with transcripts.tsv and manifest.tsv")
    parser.add_argument("out", type=Path, help="text file to write, one sentence a line")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    try:
        found = write_train_text(chosen.folder, chosen.out)
    except LipreadError as error:
        print(f"lipread: error: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"{chosen.out}: {len(found.sentences)} sentences; {found.left_out} left out, "
        f"because their text is one of {found.held_texts} of val, test and unseen"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
