"""`lipread lm`: texts -> language models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lipread.cli_options import Device, Model, Quiet, counted, load_reader

lm_app = typer.Typer(help="Make language models from text.")


@lm_app.callback()
def _root() -> None:
    """Make language models from text."""


@lm_app.command("ngram")
def ngram_command(
    texts: Annotated[list[Path], typer.Argument(help="Text files in UTF-8, one sentence a line.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="ARPA file to write; .arpa.gz compresses it.")],
    order: Annotated[int, typer.Option(help="Longest n-gram, 1 to 5.")] = 3,
    unit: Annotated[str, typer.Option(help="What is counted: word or char.")] = "word",
    check: Annotated[Path | None, typer.Option(help="Text file to measure the perplexity on.")] = None,
) -> None:
    """Estimate an n-gram by modified Kneser-Ney and write it as ARPA."""
    import time

    from lipread.decoding.lm import NgramModel
    from lipread.errors import ConfigError
    from lipread.training.ngram import FALLBACK_DISCOUNTS, check_choice, estimate_ngrams, read_sentences

    began = time.monotonic()
    counted = check_choice(order, unit)
    for text in [*texts, *([check] if check else [])]:
        if text.resolve() == output.resolve():
            raise ConfigError(f"--output {output} is also a text to read, and would be lost; choose another name")
    checked = read_sentences([check]) if check else []
    ngrams = estimate_ngrams(read_sentences(texts), order=order, unit=counted)
    ngrams.write(output)
    _forget_tuned(output)
    typer.echo(
        f"{output}: order {len(ngrams.orders)}, unit {unit}, of {ngrams.sentences:,} sentences "
        f"in {time.monotonic() - began:.1f} s"
    )
    if len(ngrams.orders) < order:
        typer.echo(f"  no sentence is long enough for order {order}")
    for length, level in enumerate(ngrams.orders, 1):
        d1, d2, d3 = level.discounts
        why = "  (fallback: too few n-grams of low count)" if level.discounts == FALLBACK_DISCOUNTS else ""
        typer.echo(f"  {length}-grams {len(level.word):>12,}  discounts {d1:.3f} {d2:.3f} {d3:.3f}{why}")
    if check:
        model = NgramModel.load(output, unit=counted)
        tokens = [token for text in checked for token in model.tokens(text)]
        unknown = sum(token not in model.vocabulary for token in tokens) / max(1, len(tokens))
        typer.echo(
            f"  perplexity {model.perplexity(checked):.4f} on {check} "
            f"({len(checked):,} sentences, {100 * unknown:.2f} % of the tokens unknown)"
        )


@lm_app.command("tune")
def tune_command(
    lm: Annotated[str, typer.Argument(help="Bundled name, ARPA file, or folder; its weights are stored beside it.")],
    manifest: Annotated[Path, typer.Argument(help="A manifest.tsv (clip, speaker, split, text) or its folder.")],
    split: Annotated[str, typer.Option(help="Which split to choose on; never one that is reported.")] = "val",
    clips: Annotated[Path | None, typer.Option(help="Folder of the videos; else `clips` beside the manifest.")] = None,
    model: Model = "small",
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Find the weight of a language model, and the score per word, that suit it best, and store them with it."""
    from lipread.compare import read_clips
    from lipread.config import SearchConfig
    from lipread.errors import ConfigError
    from lipread.evaluate import read_manifest
    from lipread.files import require_writable, write_text
    from lipread.language_models import find_language_model, load_checked, tuned_path
    from lipread.terminal import ClipDisplay, show_trials
    from lipread.tuning import those_read, tune_weights, tuned

    found = find_language_model(lm)
    if found.path is None:
        raise ConfigError(f"lm {lm!r} is not on this machine, so nothing can be stored beside it; give its folder")
    require_writable(tuned_path(found.path), ".json")
    chosen = read_manifest(manifest, split=split, clips=clips, to_choose=True)
    reader = load_reader(model, device, SearchConfig())
    loaded = load_checked(found, reader.alphabet)
    with ClipDisplay(len(chosen), quiet=quiet) as display:
        readings = those_read(read_clips(reader, chosen, finished=display.read))
    trials = tune_weights(readings, found, loaded, reader.alphabet)
    show_trials(trials[:5])
    best = tuned(trials, tuned_on=f"{counted(len(readings), 'clip')} of {split}, model {reader.checkpoint.name}")
    write_text(tuned_path(found.path), best.model_dump_json(indent=1) + "\n")
    typer.echo(f"{tuned_path(found.path)}: weight {best.weight}, word score {best.word_score}; {best.tuned_on}")
    if len(readings) < len(chosen):
        raise typer.Exit(1)


@lm_app.command("bert")
def bert_command(
    texts: Annotated[
        list[Path], typer.Argument(help="Text files in UTF-8, one sentence a line, empty lines between documents.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; a run found there goes on.")],
    layers: Annotated[int, typer.Option(help="Layers.")] = 4,
    width: Annotated[int, typer.Option(help="Features of each position.")] = 256,
    heads: Annotated[int, typer.Option(help="Attention heads.")] = 4,
    steps: Annotated[int, typer.Option(help="Training steps.")] = 2000,
    batch: Annotated[int, typer.Option(help="Samples in a step.")] = 64,
    vocab: Annotated[int, typer.Option(help="Most pieces of the vocabulary.")] = 8000,
    max_length: Annotated[int, typer.Option(help="Longest sample, in pieces; the model takes no longer ones.")] = 64,
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 5e-4,
    next_sentence: Annotated[bool, typer.Option(help="Also learn which line follows which.")] = True,
    held_out: Annotated[float, typer.Option(help="Share of the text to measure on; 0 for nothing.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Of weights and samples.")] = 0,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Train a BERT on text and write a folder that --lm takes, and transformers too."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lipread.config import make_config
    from lipread.devices import choose_device
    from lipread.terminal import err
    from lipread.training.language import LanguageConfig, train_language_model

    values = {
        "layers": layers, "width": width, "heads": heads, "steps": steps, "batch": batch, "vocab": vocab,
        "max_length": max_length, "learning_rate": learning_rate, "next_sentence": next_sentence,
        "held_out": held_out, "seed": seed,
    }
    config = make_config(LanguageConfig, values, origin="lipread lm bert")
    columns = TextColumn("loss {task.fields[loss]:.3f}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=err, transient=True, disable=quiet or not err.is_terminal) as bar:
        task = bar.add_task("training", total=steps, loss=float("nan"))
        report = train_language_model(
            texts, output, config, device=choose_device(device),
            progress=lambda step, loss: bar.update(task, completed=step, loss=loss),
        )
    _forget_tuned(output)
    typer.echo(
        f"{output}: {layers} layers, {width} wide, {report.weights:,} weights, {report.pieces:,} pieces, of "
        f"{report.sentences:,} lines in {report.documents:,} documents, {report.steps:,} steps "
        f"in {report.seconds:.1f} s"
    )
    for when, found in (("before", report.before), ("after", report.after)):
        if found is None:
            continue
        pairs = "" if found.next_right is None else f", next line told right {100 * found.next_right:.1f} %"
        typer.echo(
            f"  held out, {when:6}: loss {found.loss:.4f} per masked piece, {100 * found.right:.1f} % right{pairs}"
        )


def _forget_tuned(output: Path) -> None:
    """What was tuned for the model that this one takes the place of does not suit it."""
    from lipread.language_models import forget_tuned, tuned_path

    if forget_tuned(output):
        typer.echo(f"{tuned_path(output)}: removed; it was for the model before (`lipread lm tune` makes another)")
