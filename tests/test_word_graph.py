"""The subset construction against the sentences that the sketch itself can walk."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.decoding.word_graph import MOST_STATES, Sketch
from lipread.errors import DataError

NODES = 5
node_numbers = st.integers(0, NODES - 1)


def walks(sketch: Sketch[str], final: set[int], sentence: tuple[str, ...]) -> bool:
    """Whether some walk spells the sentence: all nodes at once, no subset construction."""

    def closed(nodes: set[int]) -> set[int]:
        while True:
            more = nodes | {target for node in nodes for target in sketch.empty[node]}
            if more == nodes:
                return nodes
            nodes = more

    nodes = closed({0})
    for label in sentence:
        nodes = closed({target for node in nodes for each, target in sketch.arcs[node] if each == label})
    return bool(nodes & final)


@settings(deadline=None)
@given(
    st.lists(st.tuples(node_numbers, st.sampled_from("ab"), node_numbers), max_size=8),
    st.lists(st.tuples(node_numbers, node_numbers), max_size=4),
    st.sets(node_numbers, min_size=1),
)
def test_the_same_sentences(arcs: list[tuple[int, str, int]], empty: list[tuple[int, int]], final: set[int]) -> None:
    sketch: Sketch[str] = Sketch("here")
    for _ in range(NODES - 1):
        sketch.node()
    for source, label, target in arcs:
        sketch.arcs[source].append((label, target))
    for source, target in empty:
        sketch.empty[source].append(target)
    graph = sketch.determinise(final)
    for length in range(6):
        for sentence in itertools.product("ab", repeat=length):
            assert graph.accepts(sentence) == walks(sketch, final, sentence), sentence


@settings(deadline=None)
@given(st.sets(st.text(alphabet="abc", max_size=4), min_size=1, max_size=12))
def test_lists_of_sentences_become_the_smallest_graph(sentences: set[str]) -> None:
    sketch: Sketch[str] = Sketch("here")
    graph = sketch.determinise([sketch.chain(0, sentence) for sentence in sorted(sentences)])
    assert graph.count == len(sentences)
    assert all(target > node for node, arcs in enumerate(graph.arcs) for target in arcs.values())
    prefixes = {sentence[:length] for sentence in sentences for length in range(len(sentence) + 1)}
    futures = {frozenset(each[len(prefix) :] for each in sentences if each.startswith(prefix)) for prefix in prefixes}
    assert len(graph.arcs) == len(futures)  # Myhill & Nerode: a node for each different future


def test_loops_have_no_count() -> None:
    sketch: Sketch[str] = Sketch("here")
    sketch.chain(0, "ab", end=0)
    graph = sketch.determinise([0])
    assert graph.count is None
    assert graph.accepts("abab") and graph.accepts("") and not graph.accepts("aba")


def test_what_explodes_is_refused() -> None:
    sketch: Sketch[str] = Sketch("my.txt")  # (a|b)* a (a|b){20}: a million sets of nodes
    sketch.arcs[0] += [("a", 0), ("b", 0)]
    place = sketch.chain(0, "a")
    for _ in range(20):
        onward = sketch.node()
        sketch.arcs[place] += [("a", onward), ("b", onward)]
        place = onward
    with pytest.raises(DataError, match=f"my.txt: .* more than {MOST_STATES} states; use fewer repeats"):
        sketch.determinise([place])
    with pytest.raises(DataError, match="my.txt"):
        sketch.chain(0, "a" * (MOST_STATES + 1))
