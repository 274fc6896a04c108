"""Text of a grammar file -> its rules, checked. The file is for people:

    # a comment; the first rule is the sentence
    sentence = [ please ] <action> the <thing>+ now
    action   = switch on | switch ( off | down )
    thing    = lamp{1,2} | radio            # also lamp{2}, <thing>*, ( lamp | radio )+
             | washing machine              # an indented line goes on with the rule above it

`<name>` stands for a rule, `|` parts alternatives, `( )` groups, `[ ]` is optional; `+` (once or more), `*` (any number
of times), `{n}` and `{m,n}` repeat what stands before them. A rule must not contain itself.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from lipread.errors import DataError

MOST_REPEATS = 100  # of {m,n}: each is a copy in the graph
MOST_NESTING = 50  # brackets within brackets, rules within rules

_TOKEN = re.compile(r"\s*(<[^<>|()\[\]]*>|\{[^{}]*\}|[\[\]()|+*]|[^\s<>\[\](){}|+*]+|.)")
_NAME = re.compile(r"[^\W_](?:[\w-]*[^\W_])?")
_COUNTS = re.compile(r"\{\s*(\d{1,6})\s*(?:,\s*(\d{1,6})\s*)?\}")
_CLOSING = {"(": ")", "[": "]"}


@dataclass(frozen=True)
class Word:
    text: str


@dataclass(frozen=True)
class Reference:
    name: str
    line: int


@dataclass(frozen=True)
class Sequence:
    parts: tuple[Expression, ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[Expression, ...]


@dataclass(frozen=True)
class Repeat:
    part: Expression
    least: int
    most: int | None  # None: without end


Expression = Word | Reference | Sequence | Choice | Repeat


@dataclass(frozen=True)
class _Line:
    """Where a piece of the text stands, for messages."""

    origin: str
    number: int

    def wrong(self, what: str) -> DataError:
        return DataError(f"{self.origin}, line {self.number}: {what}")


def read_rules(text: str, origin: str) -> tuple[dict[str, Expression], dict[str, int]]:
    """The rules by name, the first one first, and for each word the line where it first stands.

    Raises: DataError: a mistake in the text; the message names `origin`, the line and what to write.
    """
    tokens: dict[str, list[tuple[str, _Line]]] = {}
    heads: dict[str, _Line] = {}
    current: str | None = None
    normal = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    for number, line in enumerate(normal.splitlines(), start=1):
        place = _Line(origin, number)
        body = line.split("#")[0].rstrip()
        if not body:
            continue
        name, equals, expression = body.partition("=")
        if equals:
            current = name.strip()
            if not _NAME.fullmatch(current):
                raise place.wrong(
                    f"{current!r} cannot name a rule; write letters, digits, - or _, then = (colour = red)"
                )
            if current in heads:
                raise place.wrong(
                    f"the rule {current!r} is already defined in line {heads[current].number}; give one another name "
                    "or join their alternatives with |"
                )
            heads[current], tokens[current] = place, []
        elif current is None or not (body[0].isspace() or body[0] == "|"):
            raise place.wrong(
                f"{body.strip()!r} has no =; write name = words, or indent it to go on with the rule above"
            )
        else:
            expression = body
        tokens[current] += [(token, place) for token in _TOKEN.findall(expression)]
    if not tokens:
        raise DataError(f"{origin}: the grammar is empty; write at least one rule, such as: sentence = yes | no")
    lines: dict[str, int] = {}
    rules = {name: _Reader(tokens[name], heads[name], lines).read() for name in tokens}
    _check_references(rules, origin)
    return rules, lines


class _Reader:
    """Reads the tokens of one rule by recursive descent; notes the line of each word in `lines`."""

    def __init__(self, tokens: list[tuple[str, _Line]], head: _Line, lines: dict[str, int]) -> None:
        self.tokens, self.place, self.lines = tokens, head, lines
        self.next = 0
        self.opened: list[tuple[str, _Line]] = []

    def read(self) -> Expression:
        expression = self.choice()
        if self.next < len(self.tokens):  # only a closing bracket stops a choice early
            token, place = self.tokens[self.next]
            raise place.wrong(f"{token!r} closes no bracket; remove it or open one before it")
        return expression

    def peek(self) -> str:
        return self.tokens[self.next][0] if self.next < len(self.tokens) else ""

    def take(self) -> str:
        token, self.place = self.tokens[self.next]
        self.next += 1
        return token

    def choice(self) -> Expression:
        options = [self.sequence()]
        while self.peek() == "|":
            self.take()
            options.append(self.sequence())
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self) -> Expression:
        parts: list[Expression] = []
        while (token := self.peek()) and token not in "|)]":
            part = self.part()
            while self.peek() and self.peek()[0] in "+*{":
                part = self.repeated(part)
            parts.append(part)
        if not parts:
            raise self.place.wrong("an alternative is empty; write words there, or [ ... ] around what may be left out")
        return parts[0] if len(parts) == 1 else Sequence(tuple(parts))

    def part(self) -> Expression:
        token = self.take()
        if token in _CLOSING:
            return self.bracket(token)
        if token[0] == "<":
            if not _NAME.fullmatch(token[1:-1].strip()):
                raise self.place.wrong(f"{token!r} names no rule; write a name between < and >, such as <colour>")
            return Reference(token[1:-1].strip(), self.place.number)
        if token[0] in "+*{":
            raise self.place.wrong(f"{token!r} repeats nothing; put it after a word, <name> or bracket")
        foreign = [sign for sign in token if unicodedata.category(sign)[0] not in "LMN" and sign != "'"]
        if foreign or not token.strip("'"):
            raise self.place.wrong(f"{token!r} is not a word; write words of letters, digits and ' with spaces between")
        self.lines.setdefault(token, self.place.number)
        return Word(token)

    def bracket(self, opening: str) -> Expression:
        opened = self.place
        self.opened.append((opening, opened))
        if len(self.opened) > MOST_NESTING:
            raise opened.wrong(
                f"more than {MOST_NESTING} brackets within brackets; give the inner ones a rule of their own"
            )
        inner = self.choice()
        if self.peek() != _CLOSING[opening]:
            found = f"{self.peek()!r} stands where it should close" if self.peek() else "the rule ends before it closes"
            raise opened.wrong(f"the bracket {opening!r} is not closed ({found}); add {_CLOSING[opening]!r}")
        self.take()
        self.opened.pop()
        return Repeat(inner, 0, 1) if opening == "[" else inner

    def repeated(self, part: Expression) -> Expression:
        token = self.take()
        if token in "+*":
            return Repeat(part, int(token == "+"), None)
        counts = _COUNTS.fullmatch(token)
        least, most = (int(counts[1]), int(counts[2] or counts[1])) if counts else (0, 0)
        if not (least <= most and 1 <= most <= MOST_REPEATS):
            raise self.place.wrong(f"{token!r} is no number of times; write {{2}} or {{1,3}}, at most {MOST_REPEATS}")
        return Repeat(part, least, most)


def _references(expression: Expression) -> list[Reference]:
    match expression:
        case Reference():
            return [expression]
        case Sequence(parts=inner) | Choice(options=inner):
            return [reference for each in inner for reference in _references(each)]
        case Repeat(part=part):
            return _references(part)
        case Word():
            return []


def _check_references(rules: dict[str, Expression], origin: str) -> None:
    """Every <name> has a rule, and no rule contains itself."""
    uses = {name: _references(rule) for name, rule in rules.items()}
    for reference in (each for used in uses.values() for each in used):
        if reference.name not in rules:
            raise _Line(origin, reference.line).wrong(
                f"<{reference.name}> is not defined; add a line {reference.name} = ..., or use one of: "
                + ", ".join(rules)
            )
    closed: set[str] = set()  # rules known to come to an end
    for first in rules:
        path = [(first, iter(uses[first]))]
        while path:
            name, rest = path[-1]
            inner = next((each for each in rest if each.name not in closed), None)
            if inner is None:
                closed.add(name)
                path.pop()
                continue
            if inner.name in (above for above, _ in path):
                raise _Line(origin, inner.line).wrong(
                    f"the rule {inner.name!r} contains itself; use a repeat such as ( ... )+ instead"
                )
            path.append((inner.name, iter(uses[inner.name])))
            if len(path) > MOST_NESTING:
                raise _Line(origin, inner.line).wrong(f"more than {MOST_NESTING} rules within rules; join some")
