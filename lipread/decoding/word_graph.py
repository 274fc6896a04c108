"""Sketch of alternatives, options and loops -> a deterministic graph in which every sentence is exactly one path.

Labels are words while a grammar is read, and symbol numbers when it is searched. One path per sentence means that sums
over paths count no sentence twice.
Source: Hopcroft, Motwani & Ullman, "Introduction to automata theory", for the subset construction.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Generic, TypeVar

from lipread.errors import DataError

MOST_STATES = 50_000  # repeats within repeats multiply; more than this is a slip of the pen

Label = TypeVar("Label", bound=Hashable)


@dataclass(frozen=True)
class Graph(Generic[Label]):
    """A deterministic graph without empty arcs: each sentence it admits is exactly one path from `start`.

    Attributes:
        arcs: for each node, label -> next node. Without loops, every arc leads to a node of a higher number.
        final: nodes where a sentence may end.
    """

    arcs: tuple[dict[Label, int], ...]
    start: int
    final: frozenset[int]

    @cached_property
    def count(self) -> int | None:
        """How many sentences there are; None where loops make them endless."""
        ways = [0] * len(self.arcs)
        for node in reversed(range(len(self.arcs))):
            if any(target <= node for target in self.arcs[node].values()):
                return None
            ways[node] = (node in self.final) + sum(ways[target] for target in self.arcs[node].values())
        return ways[self.start]

    def accepts(self, labels: Iterable[Label]) -> bool:
        """Whether the labels are one of the sentences."""
        node = self.start
        for label in labels:
            if label not in self.arcs[node]:
                return False
            node = self.arcs[node][label]
        return node in self.final


@dataclass
class Sketch(Generic[Label]):
    """A graph under construction: empty arcs and equal labels at one node are allowed. Node 0 is the start."""

    origin: str  # for the error message
    arcs: list[list[tuple[Label, int]]] = field(default_factory=lambda: [[]])
    empty: list[list[int]] = field(default_factory=lambda: [[]])

    def node(self) -> int:
        if len(self.arcs) >= MOST_STATES:
            raise DataError(_too_large(self.origin))
        self.arcs.append([])
        self.empty.append([])
        return len(self.arcs) - 1

    def chain(self, start: int, labels: Iterable[Label], end: int | None = None) -> int:
        """Lead from `start` through the labels, to `end` where it is given; returns the last node."""
        steps = list(labels)
        for index, label in enumerate(steps):
            target = end if end is not None and index == len(steps) - 1 else self.node()
            self.arcs[start].append((label, target))
            start = target
        return start

    def determinise(self, final: Iterable[int]) -> Graph[Label]:
        """The subset construction, then nodes with the same future become one (all such nodes, without loops).

        Raises: DataError: the graph has more than `MOST_STATES` nodes.
        """
        ends = set(final)
        start = self._reach({0}, ends)
        found: dict[frozenset[int], dict[Label, frozenset[int]]] = {}
        waiting = [start]
        while waiting:
            subset = waiting.pop()
            if subset in found:
                continue
            if len(found) >= MOST_STATES:
                raise DataError(_too_large(self.origin))
            onward: dict[Label, set[int]] = {}
            for node in sorted(subset):
                for label, target in self.arcs[node]:
                    onward.setdefault(label, set()).add(target)
            found[subset] = {label: self._reach(targets, ends) for label, targets in onward.items()}
            waiting.extend(found[subset].values())
        return _merged(found, start, ends)

    def _reach(self, nodes: set[int], ends: set[int]) -> frozenset[int]:
        """Nodes reached by empty arcs; those that neither end nor lead on by a label don't tell sets apart."""
        reached = set(nodes)
        waiting = list(nodes)
        while waiting:
            for target in self.empty[waiting.pop()]:
                if target not in reached:
                    reached.add(target)
                    waiting.append(target)
        return frozenset(node for node in reached if self.arcs[node] or node in ends)


def _merged(
    found: dict[frozenset[int], dict[Label, frozenset[int]]], start: frozenset[int], ends: set[int]
) -> Graph[Label]:
    ordered: list[frozenset[int]] = []  # a node comes after all that it leads to, loops apart
    seen = {start}
    path = [(start, iter(found[start].values()))]
    while path:
        subset, targets = path[-1]
        target = next((each for each in targets if each not in seen), None)
        if target is None:
            ordered.append(subset)
            path.pop()
        else:
            seen.add(target)
            path.append((target, iter(found[target].values())))
    number: dict[frozenset[int], int] = {}
    kinds: dict[Hashable, int] = {}
    kept: list[frozenset[int]] = []
    for subset in ordered:
        future = frozenset((label, number.get(target, target)) for label, target in found[subset].items())
        kind = (bool(ends & subset), future)
        if kind not in kinds:
            kinds[kind] = len(kept)
            kept.append(subset)
        number[subset] = kinds[kind]
    last = len(kept) - 1
    return Graph(
        tuple({label: last - number[target] for label, target in found[subset].items()} for subset in reversed(kept)),
        start=last - number[start],
        final=frozenset(last - index for index, subset in enumerate(kept) if ends & subset),
    )


def _too_large(origin: str) -> str:
    return f"{origin}: the grammar unfolds to more than {MOST_STATES} states; use fewer repeats within repeats"
