"""Options that several commands share, and what they are turned into."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from pydantic import Field

from lipread.config import SearchConfig, make_config
from lipread.errors import missing_libraries_named
from lipread.speaking import MAX_FACES

if TYPE_CHECKING:
    from lipread.hearing import Modality

Model = Annotated[str, typer.Option(help="Bundled name, or path of a .safetensors file.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Speaker = Annotated[
    str,
    typer.Option(help="Whom to look at: auto (whose lips move most), largest, or 0, 1 .. from left."),
]
ModalityOption = Annotated[
    str,
    typer.Option(
        "--modality",
        help="Read from: video (the lips alone), audio, both, or auto (both where the sound goes with the lips, sound "
        "alone where no face is seen).",
    ),
]
ALL_CORES = os.cpu_count() or 1
MOST_PASSES = 1000
Processes = Annotated[int, typer.Option(min=1, help="How many clips to work on side by side.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Write files and errors only.")]


class ReadConfig(SearchConfig):
    """How the videos of a command are read: how the text is searched, how many faces are looked for, and how often all
    is read with dropout."""

    max_faces: int = Field(MAX_FACES, ge=1)
    dropout_passes: int = Field(0, ge=0, le=MOST_PASSES)


SEARCH_OPTIONS: dict[str, Any] = {  # fields of ReadConfig; what is not given keeps its default there
    "decoder": Annotated[
        str | None, typer.Option(help="greedy, beam or grammar. (default: greedy; beam where --lm is given)")
    ],
    "grammar": Annotated[
        str | None, typer.Option(help="Closed grammar, bundled name (grid) or file; implies --decoder grammar.")
    ],
    "lexicon": Annotated[Path | None, typer.Option(help="Words that the beam may write, a file with one a line.")],
    "lm": Annotated[
        str | None,
        typer.Option(help="Language model: bundled name, ARPA file, or folder of a BERT or Hugging Face model."),
    ],
    "lm_weight": Annotated[
        float | None, typer.Option(help="Weight of the language model. (default: what was tuned for it)")
    ],
    "word_score": Annotated[
        float | None, typer.Option(help="Added to the score per word. (default: what was tuned for the language model)")
    ],
    "next_weight": Annotated[
        float | None, typer.Option(help="Weight of a BERT's score that a sentence follows the one before. (default: 0)")
    ],
    "beam_size": Annotated[int | None, typer.Option(help="Hypotheses kept in the beam. (default: 50)")],
    "nbest": Annotated[int | None, typer.Option(help="Candidates that beam or grammar keep. (default: 10)")],
    "max_faces": Annotated[
        int | None, typer.Option(min=1, help=f"Faces that are followed at once, at most. (default: {MAX_FACES})")
    ],
    "dropout_passes": Annotated[
        int | None,
        typer.Option(
            min=0, max=MOST_PASSES,
            help="Read so many times more, with dropout, for a second confidence of each word. (default: 0)",
        ),
    ],
}


def with_search(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command all `SEARCH_OPTIONS`; it gets them as one checked `ReadConfig` named `search`.

    Raises (when run): ConfigError: the options do not fit one another.
    """
    parameters = inspect.signature(command, eval_str=True).parameters
    own = [each for name, each in parameters.items() if name != "search"]
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, kind, default=None, annotation=each) for name, each in SEARCH_OPTIONS.items()]

    @functools.wraps(command)
    def run(**values: Any) -> None:
        given = {name: value for name in SEARCH_OPTIONS if (value := values.pop(name)) is not None}
        command(**values, search=make_config(ReadConfig, given, origin="search options"))

    everything = [each.replace(kind=kind) for each in own] + added
    run.__signature__ = inspect.Signature(everything)  # type: ignore[attr-defined]  # what typer looks at
    run.__annotations__ = {each.name: each.annotation for each in everything}
    return run


def parse_speaker(text: str) -> str | int:
    """The value of --speaker. Raises: ConfigError: it is neither auto, largest, all nor a number from 0."""
    from lipread.speaking import check_speaker

    speaker = int(text) if text.lstrip("-").isdecimal() else text
    check_speaker(speaker)
    return speaker


def parse_modality(text: str) -> Modality:
    """The value of --modality. Raises: ConfigError: it is none of them."""
    from lipread.hearing import check_modality

    check_modality(text)
    return cast("Modality", text)


def counted(count: int, thing: str) -> str:
    """1 clip, 2 clips."""
    return f"{count} {thing}" + ("s" if count != 1 else "")


def load_reader(model: str, device: str, search: SearchConfig | None = None) -> Any:
    """`load_model`, with a missing system library named.

    Args:
        search: how the text is searched; None where none may be wanted, so that any model will do.
    Raises: as `load_model`; with `search` also as `LipReader.require_text`.
    """
    from lipread.pipeline import load_model

    options = search.model_dump(exclude_unset=True) if search else {}
    with missing_libraries_named():
        reader = load_model(model, device, **options)
    if search is not None:
        reader.require_text()
    return reader
