"""GRID's transcripts.tsv -> a text file for language models, without any sentence that is measured on.

    python -m lipread.data.transcripts FOLDER OUT.txt     FOLDER has transcripts.tsv and manifest.tsv
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lipread.data.corpus import TRAIN, read_corpus, table_rows
from lipread.data.grid import train_text
from lipread.errors import DataError, LipreadError
from lipread.files import PathLike, write_text


@dataclass(frozen=True)
class TextReport:
    """What became of the lines of transcripts.tsv.

    Attributes:
        written: sentences in the text file.
        left_out: lines whose text, whoever says it, is said in a clip that is not for training, or that have none.
        held_texts: different texts of the clips that are not for training.
    """

    written: int
    left_out: int
    held_texts: int


def write_train_text(source: PathLike, out: PathLike) -> TextReport:
    """Write the sentences that a language model may be trained on: one a line, lower case, single spaces.

    Args:
        source: folder with transcripts.tsv (speaker, clip, text) and a manifest that says the split of each clip.
        out: text file to write.
    Raises: DataError: a table is absent or damaged, or nothing remains. OutputError: `out` cannot be written.
    """
    root = Path(source)
    held = {_plain(job.text) for job in read_corpus(root) if job.split != TRAIN} - {""}
    sentences = [_plain(text) for text in train_text(root)]
    sentences = [text for text in sentences if text not in held]  # also where it is in capitals, or spaced otherwise
    if not sentences:
        raise DataError(f"{root / 'transcripts.tsv'}: every sentence is left out; give transcripts of other sentences")
    rows = sum(1 for _ in table_rows(root / "transcripts.tsv", ("text",)))
    write_text(out, "".join(f"{text}\n" for text in sentences))
    return TextReport(len(sentences), rows - len(sentences), len(held))


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; what a user can cause becomes one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m lipread.data.transcripts", description="Text of the GRID corpus.")
    parser.add_argument("folder", type=Path, help="folder with transcripts.tsv and manifest.tsv")
    parser.add_argument("out", type=Path, help="text file to write, one sentence a line")
    chosen = parser.parse_args(None if arguments is None else list(arguments))
    try:
        report = write_train_text(chosen.folder, chosen.out)
    except LipreadError as error:
        print(f"lipread: error: {error}", file=sys.stderr)
        return error.exit_code
    print(
        f"{chosen.out}: {report.written} sentences; {report.left_out} left out, "
        f"because their text is one of {report.held_texts} of val, test and unseen"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
