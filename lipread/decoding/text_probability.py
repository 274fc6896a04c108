"""CTC log-probabilities + texts -> the exact log-probability of each text.

A text can be written in many ways: with a symbol for a whole word or spelled, with more spaces than one between words
or around them. Its probability is the sum over all of them and over all their alignments. The ways of one text are the
paths of a small deterministic graph, whose nodes are places in the text and whose arcs are symbols.

Shapes: T frames, V symbols (0 = blank), N places, A arcs of all texts together.
Source: Graves et al. 2006, "Connectionist temporal classification", the forward variables; here over a graph.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lipread.alphabet import BLANK, Alphabet
from lipread.values import LOWEST_LOG_PROB, Array

_Arc = tuple[int, int, int]  # from place, symbol, to place


class TextGraph:
    """All ways to write some texts.

    Args:
        texts: lower case, single spaces, none at the ends.
        alphabet: of the log-probabilities.
    """

    def __init__(self, texts: Sequence[str], alphabet: Alphabet) -> None:
        numbers = {symbol: number for number, symbol in enumerate(alphabet.symbols) if number != BLANK}
        longest = max((len(symbol) for symbol in numbers), default=1)
        arcs: list[_Arc] = []
        starts, ends = [], []
        places = 0
        for text in texts:
            arcs += _ways(text, numbers, longest, places)
            starts.append(places)
            places += len(text) + 1
            ends.append(places - 1)
        self._places, self._starts, self._ends = places, np.array(starts, np.int64), np.array(ends, np.int64)
        table = np.array(arcs, dtype=np.int64).reshape(-1, 3)
        self._source, self._symbol = table[:, 0], table[:, 1]  # (A,), (A,)
        into: defaultdict[int, list[int]] = defaultdict(list)
        for number, (_, _, target) in enumerate(arcs):
            into[target].append(number)
        self._into = _rounds([into[place] for place in range(places)])  # places, and an arc that leads to each
        self._before = _rounds(  # arcs, and what may stand right before each: between equal symbols must be a blank
            [[other for other in into[source] if arcs[other][1] != symbol] for source, symbol, _ in arcs]
        )

    @property
    def size(self) -> int:
        """Arcs: the work per frame."""
        return len(self._symbol)

    def log_probabilities(self, log_probs: Array) -> npt.NDArray[np.float64]:
        """Log-probability of each text, (texts,).

        Args:
            log_probs: natural-log probabilities, float, shape (T, V); below `LOWEST_LOG_PROB` counts as that.
        """
        scores = np.maximum(log_probs.astype(np.float64), LOWEST_LOG_PROB)
        of_arcs = scores[:, self._symbol]  # (T, A)
        blank = np.full(self._places, -np.inf)  # (N,) the last frame is a blank at that place
        blank[self._starts] = 0.0
        arc = np.full(self.size, -np.inf)  # (A,) the last frame is the symbol of that arc
        for frame in range(len(scores)):
            enter = blank[self._source]
            for arcs, before in self._before:
                enter[arcs] = np.logaddexp(enter[arcs], arc[before])
            self._collect(blank, arc)
            blank += scores[frame, BLANK]
            arc = np.logaddexp(arc, enter) + of_arcs[frame]
        self._collect(blank, arc)
        found: npt.NDArray[np.float64] = blank[self._ends]
        return found

    def _collect(self, blank: npt.NDArray[np.float64], arc: npt.NDArray[np.float64]) -> None:
        """Add to each place what arrives there by arcs."""
        for places, arcs in self._into:
            blank[places] = np.logaddexp(blank[places], arc[arcs])


def _ways(text: str, numbers: dict[str, int], longest: int, offset: int) -> list[_Arc]:
    """The arcs of one text; place i is where i of its characters are written."""
    arcs: list[_Arc] = []
    for place in range(len(text) + 1):
        at_edge = place in (0, len(text)) or text[place - 1] == " "  # further spaces change nothing here
        rest = text[place : place + longest]
        if at_edge and " " in numbers:
            arcs.append((place, numbers[" "], place))
        if rest[:1] in numbers:
            arcs.append((place, numbers[rest[0]], place + 1))
        if not place or text[place - 1] == " ":  # the space of a whole word is written already, or is the first one
            rest, written = f" {rest}", 1
        else:
            written = 0
        if rest[0:1] == " ":
            for length in range(2, len(rest) + 1):
                if (number := numbers.get(rest[:length])) is not None:
                    arcs.append((place, number, place + length - written))
    return [(source + offset, symbol, target + offset) for source, symbol, target in arcs]


def _rounds(rows: Sequence[Sequence[int]]) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Lists of different lengths -> for each position in them, the lists that reach it and what they have there."""
    rounds = []
    for position in range(max(map(len, rows), default=0)):
        reaching = [number for number, row in enumerate(rows) if len(row) > position]
        rounds.append((np.array(reaching), np.array([rows[number][position] for number in reaching])))
    return rounds
