"""What the tools that read a split of real clips share: their options, and one sentence where something is wrong."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lipread.errors import LipreadError
from lipread.evaluate import EvalClip, read_manifest
from lipread.pipeline import LipReader, load_model


def measured(
    measure: Callable[[LipReader, list[EvalClip], argparse.Namespace], None],
    description: str | None,
    arguments: Sequence[str] | None,
    *,
    more: Callable[[argparse.ArgumentParser], object] | None = None,
) -> int:
    """Read a manifest and a model by the options, and measure -> exit code.

    Args:
        measure: prints what was found, of the reader, the clips and all options.
        description: the tool's docstring, for `--help`.
        arguments: None for those of the command.
        more: adds options of the tool's own.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="a manifest.tsv or its folder")
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, help="only so many clips, spread over the manifest")
    parser.add_argument("--model", default="small")
    if more:
        more(parser)
    asked = parser.parse_args(arguments)
    try:
        clips = read_manifest(asked.manifest, split=asked.split, limit=asked.limit)
        measure(load_model(asked.model, "cpu"), clips, asked)
    except LipreadError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return error.exit_code
    return 0
