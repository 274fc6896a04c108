"""Figures drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lipread.errors import MissingDependencyError
from lipread.files import PathLike, written_whole
from lipread.metrics import Calibration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from lipread.in_noise import InNoise


def new_figure(**options: Any) -> Figure:
    """An empty figure; options as `matplotlib.figure.Figure` takes them.

    Raises: MissingDependencyError: matplotlib is absent.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("plots need the package matplotlib; pip install 'lipread[plots]'") from error
    return Figure(layout="constrained", **options)


def write_reliability(path: PathLike, calibration: Calibration) -> None:
    """Draw confidence against the share of words that are right, with the number of words per bin, as png.

    Raises: MissingDependencyError: matplotlib is absent. OutputError: the file cannot be written.
    """
    figure = new_figure(figsize=(5, 5))
    axes = figure.add_subplot()
    means, shares, _ = zip(*calibration.bins, strict=True)
    axes.plot([0, 1], [0, 1], "--", color="grey", label="as sure as right")
    axes.plot(means, shares, "o-", label="words read")
    for mean, share, count in calibration.bins:
        axes.annotate(str(count), (mean, share), textcoords="offset points", xytext=(5, -12), fontsize=8)
    axes.set(xlabel="confidence", ylabel="share that is right", xlim=(0, 1), ylim=(0, 1))
    axes.set_title(f"expected calibration error {calibration.error:.3f}, {calibration.words} words")
    axes.legend()
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def write_noise_curve(path: PathLike, found: Sequence[InNoise], kind: str) -> None:
    """Draw word error rates over the ratio of sound to noise, with their intervals, as png; the last place is clean.

    Raises: as `write_reliability`.
    """
    ordered = sorted(found, key=lambda each: each.snr_db)
    places = list(range(len(ordered)))
    figure = new_figure(figsize=(6, 4))
    axes = figure.add_subplot()
    for way in ordered[0].scores:
        scores = [each.scores[way] for each in ordered]
        line = axes.plot(places, [100 * each.wer for each in scores], "o-", label=way)[0]
        low, high = ([100 * each.wer_interval[end] for each in scores] for end in (0, 1))
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15)
    names = ["clean" if math.isinf(each.snr_db) else f"{each.snr_db:g}" for each in ordered]
    axes.set_xticks(places, names)
    axes.set(xlabel=f"sound to noise ({kind}), dB", ylabel="word error rate, %")
    axes.set_ylim(bottom=0)
    axes.legend()
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
