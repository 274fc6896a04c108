"""Grammar files: the rules as read, and every mistake a user can make. What rules mean is in test_grammar.py."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.decoding.grammar_format import (
    MOST_NESTING,
    Choice,
    Reference,
    Repeat,
    Sequence,
    Word,
    read_rules,
)
from lipread.errors import DataError


def rule(text: str) -> object:
    return read_rules(f"s = {text}", "here")[0]["s"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("yes", Word("yes")),
        ("Yes | O\u2019Clock", Choice((Word("yes"), Word("o'clock")))),
        ("((yes))", Word("yes")),
        ("a b | c", Choice((Sequence((Word("a"), Word("b"))), Word("c")))),
        ("a b+", Sequence((Word("a"), Repeat(Word("b"), 1, None)))),
        ("(a b)*", Repeat(Sequence((Word("a"), Word("b"))), 0, None)),
        ("[a]b", Sequence((Repeat(Word("a"), 0, 1), Word("b")))),
        ("a{2}", Repeat(Word("a"), 2, 2)),
        ("a { 0 , 3 }", Repeat(Word("a"), 0, 3)),
        ("a+{2}", Repeat(Repeat(Word("a"), 1, None), 2, 2)),
    ],
)
def test_expressions(text: str, wanted: object) -> None:
    assert rule(text) == wanted


def test_lines_comments_and_references() -> None:
    text = "# greetings\n\nstart = hello <who> # <nobody>\n\t| hello\r\n| bye\n  who-2 = world\nWho = <who-2>\n"
    rules, lines = read_rules(text, "here")
    assert list(rules) == ["start", "who-2", "who"]
    assert rules["who"] == Reference("who-2", 7)
    assert rules["start"] == Choice((Sequence((Word("hello"), Reference("who", 3))), Word("hello"), Word("bye")))
    assert lines == {"hello": 3, "bye": 5, "world": 6}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("s = a <b>", 1, "<b> is not defined.*add a line b = "),
        ("s = <a>\na = x\n\na = y", 4, "'a' is already defined in line 2.*join"),
        ("s = x | <s>", 1, "'s' contains itself.*repeat"),
        ("s = <a>\na = x\n  | <b>\nb = (<c>)+\nc = [y] <a>", 5, "'a' contains itself"),
        ("s = x\nunused = <unused>", 2, "contains itself"),
        ("s = a (b | c\nt = d", 1, r"'\(' is not closed \(the rule ends.*add '\)'"),
        ("s = a\n  | [b | (c] d", 2, r"'\(' is not closed \('\]' stands"),
        ("s = a ] b", 1, "'\\]' closes no bracket"),
        ("s = a | | b", 1, "alternative is empty"),
        ("s = a\n  | b |", 2, r"alternative is empty.*\[ \.\.\. \]"),
        ("s =\nt = a", 1, "alternative is empty"),
        ("s = a ()", 1, "alternative is empty"),
        ("s = [ ]", 1, "alternative is empty"),
        ("s = + a", 1, r"'\+' repeats nothing"),
        ("s = a | {2} b", 1, "repeats nothing"),
        ("s = a{0}", 1, "no number of times"),
        ("s = a{3,2}", 1, "no number of times"),
        ("s = a{1,101}", 1, "at most 100"),
        ("s = a{two}", 1, "no number of times"),
        ("s = a{2", 1, "no number of times"),
        ("s = twenty-five", 1, "'twenty-five' is not a word"),
        ("s = ''", 1, "not a word"),
        ("s = a = b", 1, "'=' is not a word"),
        ("s = <a", 1, "'<' names no rule"),
        ("s = <>", 1, "names no rule"),
        ("s = a > b", 1, "'>' is not a word"),
        ("\nyes | no", 2, "has no =.*indent"),
        ("s = yes\nno", 2, "'no' has no ="),
        ("  | yes", 1, "has no ="),
        ("<s> = yes", 1, "'<s>' cannot name a rule"),
        ("= yes", 1, "'' cannot name a rule"),
        ("s = " + "(" * 99 + "a" + ")" * 99, 1, f"more than {MOST_NESTING} brackets"),
        ("\n".join(f"r{n} = <r{n + 1}>" for n in range(99)) + "\nr99 = a", MOST_NESTING, "rules within rules"),
    ],
)
def test_mistakes_name_file_line_and_remedy(text: str, line: int, says: str) -> None:
    with pytest.raises(DataError, match=rf"^my\.txt, line {line}: .*{says}"):
        read_rules(text, "my.txt")


@pytest.mark.parametrize("text", ["", "\n \n", "# only words about it\n"])
def test_empty_file(text: str) -> None:
    with pytest.raises(DataError, match="^here: the grammar is empty; write at least one rule"):
        read_rules(text, "here")


def test_a_rule_may_be_used_twice_side_by_side() -> None:
    rules, _ = read_rules("s = <a> <b> <a>\na = x <c>\nb = <c> | <a>\nc = y", "here")
    assert len(rules) == 4


def test_the_second_reference_of_a_rule_is_checked_too() -> None:
    with pytest.raises(DataError, match="line 3: the rule 's' contains itself"):
        read_rules("s = <a> <b>\na = x\nb = y <s>", "here")


@settings(deadline=None)
@given(st.text(alphabet="s=ab<>()[]{}|+*,12#' \n\t-\u00e9\x00", max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        rules, lines = read_rules(text, "here")
    except DataError as error:
        assert re.match(r"here(, line \d+)?: .*; \w", str(error), re.DOTALL)
    else:
        assert rules
        assert all(1 <= line <= len(text.splitlines()) for line in lines.values())
