"""CTC log-probabilities + grammar -> its likeliest sentences, exactly, with their exact posteriors.

Shapes: T frames, V symbols (0 = blank), A arcs and N nodes of the grammar's graph over symbols, K prefixes.
A sentence counts with the sum of all its alignments, not with its best path.

1. Backward over T, all arcs at once: the log mass of everything that can follow an arc (from the start this is the
   posterior's denominator), and a bound on the mass of the best single thing that can follow. The bound takes the
   maximum over arcs at each branching in each frame, and the sum over time everywhere else: it can only be too high,
   where different sentences win at different times.
2. Best-first over prefixes (A*): the priority of a prefix is its exact forward mass joined with that bound, so the
   first whole sentence that comes up is the best, the second the next. Many unsure words in one sentence loosen the
   bound; after `max_expansions` prefixes a beam finishes, and the result says how much of it is proven.

Source: Graves et al. 2006, "Connectionist temporal classification", for the sums over alignments; Hart, Nilsson &
Raphael 1968, "A formal basis for the heuristic determination of minimum cost paths", for the search.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lipread.alphabet import BLANK, Alphabet
from lipread.decoding.grammar import Grammar, spell
from lipread.decoding.greedy import check_log_probs
from lipread.errors import ConfigError, DataError
from lipread.values import LOWEST_LOG_PROB, Array, Hypothesis

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

MAX_EXPANSIONS = 20_000
BATCH = 8  # prefixes that are extended together: numpy costs per call
LARGEST_BATCH = 128  # once a search turns out to be long
BATCH_NUMBERS = 2**18  # children x frames at a time, 2 MiB: what a processor's cache holds
MOST_NUMBERS = 2**22  # prefixes x frames of a whole search: seconds, and at most 64 MiB
FINISHING_BEAM = 32


@dataclass(frozen=True)
class GrammarResult:
    """What a search found.

    Attributes:
        hypotheses: candidates, best first, each with its exact score and posterior; at least one.
        proven: so many of the first ones are certainly the best in this order; all, unless the search was cut short.
        expansions: prefixes that were extended.
    """

    hypotheses: tuple[Hypothesis, ...]
    proven: int
    expansions: int

    @property
    def exact(self) -> bool:
        """Whether the whole list is certainly the best."""
        return self.proven == len(self.hypotheses)


class _Prefix(NamedTuple):
    """An entry of the heap: smallest first."""

    cost: float  # minus the bound; of a whole sentence, minus its score
    depth: int  # minus the number of `symbols`: among equals the longest first
    order: int  # makes entries unequal
    arc: int  # of the last symbol; -1 for a whole sentence
    ready: Floats  # (T,) log mass of the symbols before it, done before frame t
    symbols: tuple[Any, ...]  # that `ready` is the mass of: (symbols before, last one), nested; all of a whole sentence


@dataclass
class _Agenda:
    """The open prefixes, and whole sentences that wait for their turn."""

    heap: list[_Prefix] = field(default_factory=list)
    orders: count[int] = field(default_factory=count)

    def push(self, bound: float, arc: int, ready: Floats, symbols: tuple[Any, ...], length: int) -> None:
        """Add what can have mass at all."""
        if bound > -np.inf:
            heapq.heappush(self.heap, _Prefix(-bound, -length, next(self.orders), arc, ready, symbols))


class GrammarDecoder:
    """Finds the sentences of a grammar that fit log-probabilities best.

    Args:
        grammar: from `load_grammar`.
        alphabet: of the log-probabilities; it must spell every word of the grammar.
        nbest: length of the list.
        max_expansions: prefixes to extend before the search goes on as a beam (`GrammarResult.proven`); fewer where
            T is large, `MOST_NUMBERS` / T.
    Raises:
        DataError: a word cannot be spelled.
        ConfigError: `nbest` or `max_expansions` is less than 1, or the alphabet has no space.
    """

    def __init__(
        self, grammar: Grammar, alphabet: Alphabet, *, nbest: int = 10, max_expansions: int = MAX_EXPANSIONS
    ) -> None:
        for name, value in (("nbest", nbest), ("max_expansions", max_expansions)):
            if value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        self.grammar, self.alphabet, self.nbest, self.max_expansions = grammar, alphabet, nbest, max_expansions
        graph = spell(grammar, alphabet)
        self.start = graph.start
        self.final = np.array([node in graph.final for node in range(len(graph.arcs))])  # (N,)
        rows = [(node, symbol, target) for node, arcs in enumerate(graph.arcs) for symbol, target in arcs.items()]
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        self.symbol, self.target = table[:, 1], table[:, 2]  # (A,), (A,); arcs lie in the order of their source
        self.first = np.searchsorted(table[:, 0], np.arange(len(graph.arcs) + 1))  # arcs of node n: first[n]:first[n+1]
        self._group_arcs()
        self.least_frames = self._least_frames()

    def decode(self, log_probs: Array) -> tuple[Hypothesis, ...]:
        """The best sentences, best first; see `search`."""
        return self.search(log_probs).hypotheses

    def search(self, log_probs: Array) -> GrammarResult:
        """Find the best sentences.

        Args:
            log_probs: natural-log probabilities, float, shape (T, V); below `LOWEST_LOG_PROB` counts as that.
        Returns: at most `nbest` sentences; score and acoustic_score are log P(sentence | frames) summed over all
            alignments, posterior is that against the sum over all sentences of the grammar.
        Raises:
            ConfigError: the log-probabilities do not fit the alphabet.
            DataError: there are too few frames for any sentence.
        """
        check_log_probs(log_probs, self.alphabet)
        if len(log_probs) < self.least_frames:
            raise DataError(
                f"the clip has {len(log_probs)} frames, and the shortest sentence of {self.grammar.origin} needs "
                f"{self.least_frames}; give a longer clip, or use an open decoder (beam or greedy)"
            )
        if not len(log_probs):  # only an empty sentence fits
            return GrammarResult((Hypothesis("", 0.0, 0.0, posterior=1.0),), proven=1, expansions=0)
        scores = np.maximum(log_probs.T.astype(np.float64, order="C"), LOWEST_LOG_PROB)  # (V, T)
        total, bound = self._backward(scores)
        agenda = _Agenda()
        done: list[_Prefix] = []
        room = _Room(self, scores, bound + scores[self.symbol])
        room.begin(agenda)
        expansions = 0
        most_expansions = min(self.max_expansions, MOST_NUMBERS // len(log_probs))
        while agenda.heap and len(done) < self.nbest and expansions < most_expansions:
            batch: list[_Prefix] = []
            most = min(room.largest_batch, BATCH if expansions < 64 * BATCH else LARGEST_BATCH)
            while agenda.heap and len(batch) < most and agenda.heap[0].arc >= 0:
                batch.append(heapq.heappop(agenda.heap))
            if batch:
                room.extend(batch, agenda)
                expansions += len(batch)
            else:
                done.append(heapq.heappop(agenda.heap))
        proven = len(done)
        if proven < self.nbest and agenda.heap:
            done += room.finish(agenda)[: self.nbest - proven]
        hypotheses = tuple(self._hypothesis(sentence, total) for sentence in done)
        return GrammarResult(hypotheses, proven, expansions)

    def _hypothesis(self, sentence: _Prefix, total: float) -> Hypothesis:
        symbols: list[int] = []
        rest = sentence.symbols
        while rest:
            rest, symbol = rest
            symbols.append(symbol)
        score = -sentence.cost
        text = self.alphabet.decode(reversed(symbols))
        return Hypothesis(text, score, score, posterior=min(1.0, float(np.exp(score - total))))

    def _group_arcs(self) -> None:
        """What may follow: a group for each node (all its arcs), and one for each arc that can be followed by its own
        symbol (all but that: between equal symbols there must be a blank). Each ends with arc A, which has no mass."""
        nodes = len(self.first) - 1
        groups = [np.arange(self.first[node], self.first[node + 1]) for node in range(nodes)]
        self.after = self.target.copy()  # (A,) group of what may follow an arc without a blank between
        for arc, (symbol, target) in enumerate(zip(self.symbol, self.target, strict=True)):
            if (self.symbol[groups[target]] == symbol).any():
                self.after[arc] = len(groups)
                groups.append(groups[target][self.symbol[groups[target]] != symbol])
        ended = [np.append(group, len(self.symbol)) for group in groups]
        self.members = np.concatenate(ended)
        self.bounds = np.cumsum([0, *(len(group) for group in ended[:-1])])

    def _least_frames(self) -> int:
        """Frames of the shortest sentence: one per symbol and one between equal ones."""
        nodes = len(self.final)
        ending = np.where(self.final, 0.0, np.inf)  # (N,)
        needs = np.full(len(self.symbol) + 1, np.inf)  # (A + 1,) from an arc's first frame on; the last is `no arc`
        while True:
            follow = np.minimum.reduceat(needs[self.members], self.bounds)
            onward = np.minimum(ending, follow[:nodes])  # (N,)
            at_once = np.minimum(ending[self.target], follow[self.after])
            new = 1.0 + np.minimum(at_once, 1.0 + onward[self.target])
            if np.array_equal(new, needs[:-1]):
                return int(onward[self.start])
            needs[:-1] = new

    def _backward(self, scores: Floats) -> tuple[float, Floats]:
        """Log mass of all sentences, and for each arc and frame in which its symbol stands a bound on the log mass of
        the best completion from the next frame on, (A, T)."""
        frames = scores.shape[1]
        nodes, arcs = len(self.final), len(self.symbol)
        ending = np.where(self.final, 0.0, -np.inf)  # (N,)
        blank = np.stack([ending, ending])  # (2, N) the last frame was a blank at that node; row 0 sums, row 1 bounds
        onward = blank[:, self.target]  # (2, A) the last frame was the symbol of that arc
        stays = np.full((2, arcs + 1), -np.inf)  # (2, A + 1) the symbol stands in the next frame
        bound = np.empty((frames, arcs))
        groups = len(self.bounds)
        follow = np.empty((2, groups))
        by_frame = np.ascontiguousarray(scores[self.symbol].T)  # (T, A)
        for frame in reversed(range(frames)):
            bound[frame] = onward[1]
            np.add(onward, by_frame[frame], out=stays[:, :-1])
            choices = stays[:, self.members]
            np.logaddexp.reduceat(choices[0], self.bounds, out=follow[0])
            np.maximum.reduceat(choices[1], self.bounds, out=follow[1])
            blank += scores[BLANK, frame]
            onward = np.logaddexp(stays[:, :-1], np.logaddexp(blank[:, self.target], follow[:, self.after]))
            blank = np.logaddexp(blank, follow[:, :nodes])
        return float(blank[0, self.start]), np.ascontiguousarray(bound.T)


class _Room:
    """What the extension of prefixes shares within one clip."""

    def __init__(self, decoder: GrammarDecoder, scores: Floats, toll: Floats) -> None:
        self.decoder, self.scores, self.toll = decoder, scores, toll  # (V, T), (A, T) bound from a symbol's frame on
        children = int(np.diff(decoder.first).max())
        self.largest_batch = max(1, min(LARGEST_BATCH, BATCH_NUMBERS // (children * scores.shape[1])))
        self.running = np.cumsum(scores, axis=1)  # (V, T) log-probability of a symbol in frames 0..t

    def begin(self, agenda: _Agenda) -> None:
        """Put the first symbols on the agenda."""
        blanks = self.running[BLANK]
        ready = np.concatenate([[0.0], blanks[:-1]])[None]
        start = np.array([self.decoder.start])
        self._push(agenda, [((), 0)], start, ready, ready, np.array([-1]), blanks[-1:])

    def extend(self, batch: Sequence[_Prefix], agenda: _Agenda) -> None:
        """Put all that is one symbol longer on the agenda, and the prefixes that are sentences themselves."""
        arcs = np.array([prefix.arc for prefix in batch])  # (K,)
        last = self.decoder.symbol[arcs]
        running, blanks = self.running[last], self.running[BLANK]  # (K, T), (T,)
        entered = np.stack([prefix.ready for prefix in batch]) + self.scores[last]  # the symbol's first frame is t
        stands = running + np.logaddexp.accumulate(entered - running, axis=1)  # (K, T) frame t holds the symbol
        ready_blank = np.full_like(stands, -np.inf)  # (K, T) frame t-1 holds a blank after it
        ready_blank[:, 2:] = blanks[1:-1] + np.logaddexp.accumulate(stands[:, :-2] - blanks[:-2], axis=1)
        ready = ready_blank.copy()  # (K, T) frame t-1 holds it or a blank after it
        ready[:, 1:] = np.logaddexp(ready[:, 1:], stands[:, :-1])
        whole = np.logaddexp(stands[:, -1], self.scores[BLANK, -1] + ready[:, -1])  # (K,)
        spelled = [
            ((prefix.symbols, symbol), 1 - prefix.depth) for prefix, symbol in zip(batch, last.tolist(), strict=True)
        ]
        self._push(agenda, spelled, self.decoder.target[arcs], ready, ready_blank, last, whole)

    def _push(
        self, agenda: _Agenda, spelled: Sequence[tuple[tuple[Any, ...], int]], nodes: Integers, ready: Floats,
        ready_blank: Floats, last: Integers, whole: Floats,
    ) -> None:  # fmt: skip
        decoder = self.decoder
        for row in np.flatnonzero(decoder.final[nodes]).tolist():
            agenda.push(float(whole[row]), -1, ready[row], *spelled[row])
        first, end = decoder.first[nodes], decoder.first[nodes + 1]
        rows = np.repeat(np.arange(len(nodes)), end - first)  # (children,) the prefix of each child
        if not len(rows):
            return
        arcs = np.concatenate([np.arange(*span) for span in zip(first, end, strict=True)])
        again = decoder.symbol[arcs] == last[rows]
        masses = ready[rows] + self.toll[arcs]  # (children, T)
        masses[again] = ready_blank[rows[again]] + self.toll[arcs[again]]
        bounds = np.logaddexp.reduce(masses, axis=1)
        for bound, row, arc, same in zip(bounds.tolist(), rows.tolist(), arcs.tolist(), again.tolist(), strict=True):
            agenda.push(bound, arc, (ready_blank if same else ready)[row], *spelled[row])

    def finish(self, agenda: _Agenda) -> list[_Prefix]:
        """Go on as a beam over prefixes of equal length; whole sentences, best first."""
        whole = [entry for entry in agenda.heap if entry.arc < 0]
        heap = [entry for entry in agenda.heap if entry.arc >= 0]
        while heap:
            level = _Agenda()
            best = heapq.nsmallest(max(FINISHING_BEAM, self.decoder.nbest), heap)
            for first in range(0, len(best), self.largest_batch):
                self.extend(best[first : first + self.largest_batch], level)
            whole += [entry for entry in level.heap if entry.arc < 0]
            heap = [entry for entry in level.heap if entry.arc >= 0]
        return sorted(whole)
