"""Grammar -> word graph: all sentences that a corpus or a task admits. `grammar_format.py` shows the file format.

grammar = load_grammar("grid")            # or the path of a file
grammar.count                             # 64000
grammar.accepts("bin blue at f two now")  # True
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from lipread.alphabet import Alphabet
from lipread.decoding.grammar_format import Choice, Expression, Reference, Repeat, Sequence, Word, read_rules
from lipread.decoding.word_graph import Graph, Sketch
from lipread.errors import ConfigError, DataError

MOST_SHOWN = 300  # letters of a name that is none
SHIPPED = Path(__file__).parent / "grammars"


@dataclass(frozen=True)
class Grammar:
    """A closed set of sentences.

    Attributes:
        origin: file or name, for messages.
        graph: the sentences as a graph of lower-case words.
        lines: each word -> the line where it first stands.
    """

    origin: str
    graph: Graph[str]
    lines: dict[str, int]

    @classmethod
    def parse(cls, text: str, *, origin: str = "grammar") -> Grammar:
        """Read a grammar in the format that `decoding.grammar_format` describes.

        Raises: DataError: a mistake in the text; the message names `origin`, the line and what to write.
        """
        rules, lines = read_rules(text, origin)
        sketch: Sketch[str] = Sketch(origin)
        try:
            end = _draw(sketch, next(iter(rules.values())), 0, rules)
        except RecursionError:
            raise DataError(f"{origin}: brackets and rules lie too deep within one another; join some rules") from None
        return cls(origin, sketch.determinise([end]), lines)

    @property
    def count(self) -> int | None:
        """How many sentences there are; None where repeats make them endless."""
        return self.graph.count

    def accepts(self, text: str) -> bool:
        """Whether a text of lower-case words is a sentence of the grammar."""
        return self.graph.accepts(text.split())


def shipped_grammars() -> list[str]:
    """Names that `load_grammar` knows."""
    return sorted(path.stem for path in SHIPPED.glob("*.txt"))


def load_grammar(name_or_path: str | Path) -> Grammar:
    """Read a shipped grammar by its name, or a file. A shipped name goes before a file called the same.

    Raises: DataError: neither a shipped name nor a readable UTF-8 file, or a mistake in the file.
    """
    shipped = str(name_or_path) in shipped_grammars()
    path = SHIPPED / f"{name_or_path}.txt" if shipped else Path(name_or_path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, ValueError) as error:  # ValueError: also a path with a zero byte
        if isinstance(error, UnicodeDecodeError):
            raise DataError(f"{path} is not a text in UTF-8 (byte {error.start}); save the grammar as UTF-8") from None
        if isinstance(error, OSError) and os.path.exists(path):
            raise DataError(f"{path} cannot be read ({error.strerror}); give the path of a grammar file") from None
        raise DataError(
            f"there is no grammar {_short(str(name_or_path))!r}; give the path of a grammar file, or one of the "
            f"shipped names: {', '.join(shipped_grammars())}"
        ) from None
    return Grammar.parse(text, origin=str(name_or_path))


def _short(name: str) -> str:
    return name if len(name) <= MOST_SHOWN else name[:MOST_SHOWN] + "..."


def spell(grammar: Grammar, alphabet: Alphabet) -> Graph[int]:
    """The grammar's graph over symbol numbers instead of words.

    Raises: DataError: a word cannot be spelled. ConfigError: the alphabet has no space.
    """
    if " " not in alphabet.symbols:
        raise ConfigError("the alphabet has no space, so it cannot write the sentences of a grammar; add ' '")
    first: dict[str, list[int]] = {}
    later: dict[str, list[int]] = {}
    for word, line in grammar.lines.items():
        try:
            first[word], later[word] = alphabet.encode_words(f"{word} {word}")
        except DataError:
            signs = " ".join(dict.fromkeys(sign for sign in word if sign not in alphabet.symbols))
            raise DataError(
                f"{grammar.origin}, line {line}: the word {word!r} has characters that the alphabet cannot write: "
                f"{signs}; spell it with {''.join(sign for sign in alphabet.symbols if len(sign) == 1).strip()}"
            ) from None
    graph = grammar.graph
    sketch: Sketch[int] = Sketch(grammar.origin)
    nodes = [sketch.node() for _ in graph.arcs]
    for word, target in graph.arcs[graph.start].items():
        sketch.chain(0, first[word], nodes[target])
    for node, arcs in zip(nodes, graph.arcs, strict=True):
        for word, target in arcs.items():
            sketch.chain(node, later[word], nodes[target])
    return sketch.determinise([nodes[node] for node in graph.final] + [0] * (graph.start in graph.final))


def _draw(sketch: Sketch[str], expression: Expression, start: int, rules: dict[str, Expression]) -> int:
    """Draw an expression from a node on; returns the node where it ends."""
    match expression:
        case Word(text=text):
            return sketch.chain(start, [text])
        case Reference(name=name):
            return _draw(sketch, rules[name], start, rules)
        case Sequence(parts=parts):
            for part in parts:
                start = _draw(sketch, part, start, rules)
            return start
        case Choice(options=options):
            ends = [_draw(sketch, option, start, rules) for option in options]
            end = sketch.node()
            for each in ends:
                sketch.empty[each].append(end)
            return end
        case Repeat(part=part, least=least, most=most):
            for _ in range(least):
                start = _draw(sketch, part, start, rules)
            end = sketch.node()
            sketch.empty[start].append(end)
            if most is None:
                loop = sketch.node()
                sketch.empty[start].append(loop)
                last = _draw(sketch, part, loop, rules)
                sketch.empty[last] += [loop, end]
            for _ in range(least, most or 0):
                start = _draw(sketch, part, start, rules)
                sketch.empty[start].append(end)
            return end
