"""Where the errors are: the tables and the plot of docs/accuracy.md, from what `lipread evaluate --json` wrote.

Run: python tools/accuracy.py NAME=FILE.json ... [-o docs/accuracy.png]. Prints Markdown: by speaker, by place in the
sentence, and by pair of visemes, each word error rate in percent with its 95 % interval over clips.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lipread.data.visemes import phones
from lipread.errors import LipreadError
from lipread.files import written_whole
from lipread.metrics import Score, aligned_words, score, score_groups
from lipread.plots import new_figure

# Phones that look alike, after Jeffers & Barley 1971 (Speechreading), with the vowels by opening, spread and rounding.
VISEMES = {
    "p b m": ("P", "B", "M"),
    "f v": ("F", "V"),
    "th": ("TH", "DH"),
    "t d n l s z": ("T", "D", "N", "L", "S", "Z"),
    "sh ch j": ("SH", "ZH", "CH", "JH"),
    "k g h": ("K", "G", "NG", "HH"),
    "w r": ("W", "R"),
    "ee y": ("IY", "IH", "Y"),
    "e a": ("EH", "AE", "EY"),
    "ah": ("AA", "AH", "AY", "ER"),
    "oh": ("AO", "OW", "OY", "AW"),
    "oo": ("UW", "UH"),
}
CLASS_OF = {phone: name for name, members in VISEMES.items() for phone in members}
NOTHING = "-"
MOST_PAIRS = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables, write the plot -> exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", metavar="NAME=FILE.json", help="what `lipread evaluate --json` wrote")
    parser.add_argument("-o", "--output", type=Path, help="also draw the errors by place, speaker and viseme, a .png")
    given = parser.parse_args(arguments)
    try:
        clips = {name: read(Path(file)) for name, _, file in (each.rpartition("=") for each in given.files)}
        report(clips, given.output)
    except (LipreadError, OSError, ValueError, KeyError, TypeError) as error:
        print(f"accuracy.py: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def report(clips: dict[str, list[dict[str, Any]]], picture: Path | None) -> None:
    """Print every table, and draw the errors by place, speaker and viseme."""
    places = {name: by_place(some) for name, some in clips.items()}
    for name, some in clips.items():
        said, read_as = [each["reference"] for each in some], [each["hypothesis"] for each in some]
        print(f"### {name}\n\n{len(some)} clips, WER {shown(score(said, read_as))}\n")
        speakers = [each["speaker"] for each in some]
        counts = Counter(speakers)
        if 1 < len(counts) < len(some):
            print(table("speaker", "clips", {
                speaker: (counts[speaker], value) for speaker, value in score_groups(speakers, said, read_as).items()
            }))
        print(table("word", "errors", {
            f"{place + 1}": (value.substitutions + value.deletions, value) for place, value in enumerate(places[name])
        }))
        inserted = sum(score([one], [other]).insertions for one, other in zip(said, read_as, strict=True))
        print(f"Words too many: {inserted}.\n")
        pairs = viseme_pairs(some)
        alike = sum(count for (one, other), count in pairs.items() if one == other)
        print("| said | read | times |\n|---|---|---|")
        for (one, other), count in pairs.most_common(MOST_PAIRS):
            print(f"| {one} | {other} | {count} |")
        print(f"\nOf {sum(pairs.values())} phones read as others, {alike} look like the one that was said.\n")
    if picture is not None:
        draw(picture, clips, places)


def read(path: Path) -> list[dict[str, Any]]:
    """The clips of an evaluation."""
    clips: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["clips"]
    return clips


def shown(value: Score) -> str:
    """A word error rate with its interval."""
    low, high = value.wer_interval
    return f"{100 * value.wer:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def table(first: str, second: str, rows: dict[str, tuple[int, Score]]) -> str:
    """A Markdown table of word error rates."""
    lines = [f"| {first} | {second} | WER |", "|---|---|---|"]
    lines += [f"| {name} | {count} | {shown(value)} |" for name, (count, value) in rows.items()]
    return "\n".join(lines) + "\n"


def by_place(clips: Sequence[dict[str, Any]]) -> list[Score]:
    """The error rate of each word of the sentence: wrong or left out; words too many belong to no place."""
    pairs = [aligned(clip["reference"], clip["hypothesis"]) for clip in clips]
    longest = max(len(each) for each in pairs)
    return [
        score(*zip(*(each[place] for each in pairs if len(each) > place), strict=True)) for place in range(longest)
    ]


def aligned(said: str, read_as: str) -> list[tuple[str, str]]:
    """Each word that was said with what was read for it, "" where it was left out."""
    return [pair for pair in aligned_words(said, read_as) if pair[0]]


def viseme_pairs(clips: Sequence[dict[str, Any]]) -> Counter[tuple[str, str]]:
    """How often a phone of one viseme was read as another phone, of whichever viseme, in words that were confused."""
    pairs: Counter[tuple[str, str]] = Counter()
    for clip in clips:
        for word, other in aligned(clip["reference"], clip["hypothesis"]):
            if other and word != other:
                for one, two in aligned(" ".join(phones(word)), " ".join(phones(other))):
                    if one != two:
                        pairs[CLASS_OF[one], CLASS_OF.get(two, NOTHING)] += 1
    return pairs


def of_visemes(clips: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The share of the phones of each viseme that were read as another one or left out; only what was said counts."""
    said, wrong = Counter[str](), Counter[str]()
    for clip in clips:
        for word, other in aligned(clip["reference"], clip["hypothesis"]):
            read_as = " ".join(phones(other)) if other else ""
            for one, two in aligned(" ".join(phones(word)), read_as):
                said[CLASS_OF[one]] += 1
                wrong[CLASS_OF[one]] += one != two
    return {name: wrong[name] / said[name] for name in VISEMES if said[name]}


def draw(path: Path, clips: dict[str, list[dict[str, Any]]], places: dict[str, list[Score]]) -> None:
    """The errors of each place in the sentence, of each speaker and of each viseme."""
    figure = new_figure(figsize=(8, 9))
    above, middle, below = figure.subplots(3, 1)
    for number, (name, values) in enumerate(places.items()):
        at = beside([place + 1.0 for place in range(len(values))], number, len(places))
        bars(above, at, values, 0.8 / len(places), label=name)
    above.set(xlabel="word of the sentence", ylabel="wrong or left out, %")
    above.legend()
    people: dict[str, Score] = {}
    for name, some in clips.items():
        speakers = [each["speaker"] for each in some]
        if len(counts := Counter(speakers)) < len(some):  # each drawn head is a person of its own
            said, read_as = [each["reference"] for each in some], [each["hypothesis"] for each in some]
            for speaker, value in score_groups(speakers, said, read_as).items():
                people[f"{speaker}, {name}\n{counts[speaker]} clips"] = value
    bars(middle, [float(place) for place in range(len(people))], list(people.values()), 0.6)
    middle.set_xticks(range(len(people)), list(people))
    middle.set(ylabel="word error rate, %")
    for number, (name, some) in enumerate(clips.items()):
        shares = of_visemes(some)
        at = beside([float(list(VISEMES).index(each)) for each in shares], number, len(clips))
        below.bar(at, [100 * share for share in shares.values()], 0.8 / len(clips), label=name)
    below.set_xticks(range(len(VISEMES)), [each.replace(" ", "\n") for each in VISEMES])
    below.set(xlabel="phones that look alike", ylabel="read as others, %")
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=100)


def beside(places: list[float], number: int, groups: int) -> list[float]:
    """Where the bars of one group stand."""
    return [place + (number - (groups - 1) / 2) * 0.8 / groups for place in places]


def bars(axes: Any, at: list[float], values: Sequence[Score], width: float, label: str | None = None) -> None:
    """Word error rates with their intervals."""
    rates = [100 * each.wer for each in values]
    around = [
        [rate - 100 * each.wer_interval[0] for rate, each in zip(rates, values, strict=True)],
        [100 * each.wer_interval[1] - rate for rate, each in zip(rates, values, strict=True)],
    ]
    axes.bar(at, rates, width, yerr=around, capsize=2, label=label)


if __name__ == "__main__":
    sys.exit(main())
