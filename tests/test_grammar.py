"""Grammars against sentences listed by hand and by an independent enumeration."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.alphabet import BLANK_SYMBOL, Alphabet
from lipread.decoding.grammar import Grammar, load_grammar, shipped_grammars, spell
from lipread.errors import ConfigError, DataError

LONGEST = 4  # words of the sentences that are listed
Sentences = frozenset[tuple[str, ...]]


def joined(left: Sentences, right: Sentences) -> Sentences:
    return frozenset(one + two for one in left for two in right if len(one + two) <= LONGEST)


def repeated(part: Sentences, least: int, most: int) -> Sentences:
    power: Sentences = frozenset([()])
    found: Sentences = frozenset()
    for times in range(most + 1):
        found |= power if times >= least else frozenset()
        power = joined(power, part)
    return found


def grammars(words: str) -> st.SearchStrategy[tuple[str, Sentences]]:
    """Expressions with the sentences they mean, up to `LONGEST` words."""
    leaves = st.sampled_from(words.split()).map(lambda word: (word, frozenset([(word,)])))

    def larger(inner: st.SearchStrategy[tuple[str, Sentences]]) -> st.SearchStrategy[tuple[str, Sentences]]:
        pairs = st.tuples(inner, inner)
        return st.one_of(
            pairs.map(lambda p: (f"{p[0][0]} ({p[1][0]})", joined(p[0][1], p[1][1])) if "|" not in p[0][0] else p[0]),
            pairs.map(lambda p: (f"({p[0][0]} | {p[1][0]})", p[0][1] | p[1][1])),
            inner.map(lambda p: (f"[{p[0]}]", p[1] | {()})),
            inner.map(lambda p: (f"({p[0]})*", repeated(p[1], 0, LONGEST))),
            inner.map(lambda p: (f"({p[0]})+", repeated(p[1], 1, LONGEST + 1))),
            inner.map(lambda p: (f"({p[0]}){{1,2}}", repeated(p[1], 1, 2))),
        )

    return st.recursive(leaves, larger, max_leaves=6)


@settings(deadline=None)
@given(grammars("a b"))
def test_random_grammars_admit_what_they_mean(case: tuple[str, Sentences]) -> None:
    text, sentences = case
    grammar = Grammar.parse(f"s = <r>\nr = {text}")
    for length in range(LONGEST + 1):
        for sentence in itertools.product("ab", repeat=length):
            assert grammar.accepts(" ".join(sentence)) == (sentence in sentences), (text, sentence)
    if grammar.count is not None and "{" not in text and max(map(len, sentences)) < LONGEST:
        assert grammar.count == len(sentences)


def test_grid() -> None:
    grid = load_grammar("grid")
    assert grid.count == 4 * 4 * 4 * 25 * 10 * 4 == 64_000
    assert len(grid.lines) == 51
    assert [len(arcs) for arcs in grid.graph.arcs] == [4, 4, 4, 25, 10, 4, 0]
    assert grid.accepts("bin blue at f two now")
    for text in (
        "",
        "bin blue at w two now",
        "bin blue at f two",
        "blue bin at f two now",
        "bin blue at f two now now",
    ):
        assert not grid.accepts(text), text


def test_grid_holds_the_corpus(grid_dir: Path) -> None:
    grid = load_grammar("grid")
    rows = [line.split("\t") for line in (grid_dir / "manifest.tsv").read_text().splitlines()]
    texts = [row[rows[0].index("text")] for row in rows[1:]]
    assert len(texts) > 100
    assert [text for text in texts if not grid.accepts(text)] == []


def test_the_same_sentence_in_two_ways_counts_once() -> None:
    grammar = Grammar.parse("s = a b | [a] b | <x> b | (a | a)\nx = a")
    assert grammar.count == 3  # a b, b, a


def test_multi_word_alternatives_and_repeats() -> None:
    grammar = Grammar.parse("s = switch (on | off down){2} [now]")
    assert grammar.count == 8
    assert grammar.accepts("switch off down on now") and not grammar.accepts("switch off on now")
    assert Grammar.parse("s = go+").count is None
    assert Grammar.parse("s = ([a])*").accepts("")


def test_what_unfolds_without_measure_is_refused() -> None:
    with pytest.raises(DataError, match="mine: the grammar unfolds to more than"):
        Grammar.parse("s = ((a b){100}){100} ((a b){100}){100} ((a b){100}){100}", origin="mine")
    nested = "\n".join(f"r{n} = {'[ x ' * 40}<r{n + 1}>{' ]' * 40}" for n in range(45)) + "\nr45 = a"
    with pytest.raises(DataError, match="mine: .* too deep .*; join some rules"):
        Grammar.parse(nested, origin="mine")


def test_files(tmp_path: Path) -> None:
    assert "grid" in shipped_grammars()
    path = tmp_path / "mine.txt"
    path.write_bytes("\ufeffs = ja | né\r\n".encode())
    assert load_grammar(path).accepts("né") and load_grammar(str(path)).count == 2
    path.write_text("s = <t>")
    with pytest.raises(DataError, match=r"mine\.txt, line 1: <t> is not defined"):
        load_grammar(path)
    path.write_bytes(b"s = caf\xe9")
    with pytest.raises(DataError, match=r"mine\.txt is not a text in UTF-8 \(byte 7\); save"):
        load_grammar(path)
    with pytest.raises(DataError, match=f"{tmp_path} cannot be read .Is a directory.; give the path of a grammar file"):
        load_grammar(tmp_path)
    with pytest.raises(DataError, match=r"there is no grammar 'a{300}\.\.\.'; give the path"):
        load_grammar("a" * 5000)
    for missing in ("gird", "x\0y", tmp_path / "none.txt"):
        with pytest.raises(DataError, match=r"there is no grammar .*; give the path .* grid"):
            load_grammar(missing)


def test_spelling_takes_word_symbols_and_spaces() -> None:
    alphabet = Alphabet((BLANK_SYMBOL, " ", "a", "b", " ab"))
    graph = spell(Grammar.parse("s = (ab | ba)+"), alphabet)
    for text in ("ab", "ba", "ab ab", "ba ab ba", "ba ba"):
        assert graph.accepts(alphabet.encode(text)), text
    for ids in ([], [2, 3], [1, 3, 2], [3, 2, 3, 2], [4, 1]):
        assert not graph.accepts(ids), ids


def test_words_that_the_alphabet_cannot_spell() -> None:
    english = Alphabet.english()
    with pytest.raises(DataError, match=r"mine, line 2: the word 'né2' .* cannot write: é 2; spell it with 'abc"):
        spell(Grammar.parse("s = yes\n | né2", origin="mine"), english)
    with pytest.raises(ConfigError, match="no space"):
        spell(Grammar.parse("s = a"), Alphabet((BLANK_SYMBOL, "a")))


def test_words_that_the_alphabet_writes_alike_are_one() -> None:
    no_apostrophe = Alphabet((BLANK_SYMBOL, " ", "i", "t", "s"))
    grammar = Grammar.parse("s = it's | its")
    assert grammar.count == 2
    assert spell(grammar, no_apostrophe).count == 1
    assert spell(grammar, Alphabet.english()).count == 2
