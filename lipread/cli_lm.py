"""`lipread lm`: texts -> language models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

lm_app = typer.Typer(help="Make language models from text.")


@lm_app.command("ngram")
def ngram_command(
    texts: Annotated[list[Path], typer.Argument(help="Text files in UTF-8, one sentence a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ARPA file to write; .arpa.gz compresses it.")],
    order: Annotated[int, typer.Option(help="Longest n-gram, 1 to 5.")] = 3,
    unit: Annotated[str, typer.Option(help="What is counted: word or char.")] = "word",
    check: Annotated[Path | None, typer.Option(help="Text file to measure the perplexity on.")] = None,
) -> None:
    """Estimate an n-gram by modified Kneser-Ney and write it as ARPA."""
    raise NotImplementedError


@lm_app.callback()
def _root() -> None:
    """Make language models from text."""
