"""Texts -> natural-log probabilities: the form that all language models share, and n-grams in ARPA format.

An ARPA file is text (it may be gzipped): a header with the number of n-grams of each order, then a section per order
with log10 probability, words and log10 backoff weight, then \\end\\. An n-gram that is not there has the probability of
the one without its first word times the backoff weight of its history.
Source: the format page ngram-format(5) of SRILM; the readings of its gaps are those of KenLM (Heafield 2011).
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, Literal, Protocol, cast

from lipread.errors import ConfigError, DataError
from lipread.files import PathLike

Unit = Literal["word", "char"]

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
CAPITAL_UNKNOWN = "<UNK>"  # as some files have it
SPACE = "|"  # stands for the space where characters are counted
UNKNOWN_LOG10 = -100.0  # of unknown words where a file has no <unk>, as KenLM has it
KENLM_MAGIC = b"mmap lm http://kheafield.com/code"  # of its binary files
_GZIP_MAGIC = b"\x1f\x8b"
_COUNT = re.compile(r"ngram\s+([0-9]{1,2})\s*=\s*([0-9]{1,12})")
_LN_10 = math.log(10)


class SentenceScorer(Protocol):
    """A language model, as rescoring sees it."""

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Natural-log probability (or pseudo-log-likelihood) of each text."""
        ...


def split_sentence(text: str, unit: Unit, fold: Callable[[str], str] = str.lower) -> list[str]:
    """A text -> what is counted: its words, or its characters with "|" for the spaces; both in lower case."""
    words = fold(text).split()
    return words if unit == "word" else list(SPACE.join(words))


class NgramModel:
    """An n-gram language model with backoff; a `SentenceScorer`.

    Attributes:
        order: of the longest n-gram that is there.
        unit: what the model counts, "word" or "char".
        vocabulary: its words or characters, without <s>, </s> and <unk>.
        counts: n-grams of order 1, 2, ... in the file.
    """

    def __init__(
        self, counts: Sequence[int], log10: dict[str, float], backoff: dict[str, float], unit: Unit | None = None
    ) -> None:
        """Make it of the tables that `read_arpa` returns; without `unit` the vocabulary shows it."""
        self._log10 = {UNKNOWN: UNKNOWN_LOG10} | log10
        self._backoff = backoff
        self.counts = tuple(counts)
        self.order = max(order for order, count in enumerate(self.counts, 1) if count)
        self.vocabulary = frozenset(key for key in log10 if " " not in key) - {BEGIN, END, UNKNOWN}
        self.unit: Unit = unit or ("char" if _are_characters(self.vocabulary) else "word")
        # in a text case does not count: some published files are in capitals; of "May" and "may" the latter is meant
        self._spelling = {token.lower(): token for token in sorted(self.vocabulary, key=lambda t: (t.islower(), t))}

    @classmethod
    def load(cls, path: PathLike, *, unit: Unit | None = None) -> NgramModel:
        """Read an ARPA file, also gzipped.

        Args:
            path: the file.
            unit: "word" or "char"; else "char" where every token is one character and one of them is "|".
        Raises: DataError: it is not a whole ARPA file.
        """
        return cls(*read_arpa(path), unit)

    def scores(self, texts: Sequence[str]) -> list[float]:
        """Natural-log probability of each text, the end of the sentence included; unknown words count as <unk>."""
        return [sum(self.token_scores(text)) for text in texts]

    def token_scores(self, text: str) -> list[float]:
        """Natural-log probability of each word (or character) of a text, and of its end as the last."""
        said = [BEGIN]
        found = []
        for token in [*self.tokens(text), END]:
            found.append(self.log_probability(said, token))
            said.append(token)
        return found

    def tokens(self, text: str) -> list[str]:
        """The words or characters of a text as the model knows them; the others are <unk>."""
        return [self._spelling.get(token, UNKNOWN) for token in split_sentence(text, self.unit)]

    def log_probability(self, history: Sequence[str], token: str) -> float:
        """Natural-log probability of a token after others (<s> first, where the sentence begins)."""
        context = list(history[max(0, len(history) - self.order + 1) :])
        log10 = 0.0
        while (key := " ".join([*context, token])) not in self._log10:
            if not context:
                key = UNKNOWN
                break
            log10 += self._backoff.get(" ".join(context), 0.0)
            del context[0]
        return (log10 + self._log10[key]) * _LN_10

    def perplexity(self, texts: Sequence[str]) -> float:
        """Perplexity per token, the ends of the sentences included.

        Raises: ConfigError: there is no text.
        """
        scores = [score for text in texts for score in self.token_scores(text)]
        if not scores:
            raise ConfigError("there is no text to measure the perplexity on; give at least one sentence")
        return math.exp(-math.fsum(scores) / len(scores))


def _are_characters(vocabulary: frozenset[str]) -> bool:
    return SPACE in vocabulary and all(len(token) == 1 for token in vocabulary)


def read_arpa(path: PathLike) -> tuple[list[int], dict[str, float], dict[str, float]]:
    """Read the tables of an ARPA file.

    Returns: number of n-grams of each order; log10 probability by n-gram (its words with single spaces); log10 backoff
        weight by n-gram, where it is not 0.
    Raises: DataError: the file cannot be read, is not ARPA, is cut off, or a line of it is not as it should be.
    """
    lines = _lines(path)
    counts, number, line = _read_header(path, lines)
    log10: dict[str, float] = {}
    backoff: dict[str, float] = {}
    vocabulary: set[str] = set()
    for order, count in enumerate(counts, 1):
        if line != f"\\{order}-grams:":
            raise DataError(f"{path}, line {number}: {line[:60]!r} where \\{order}-grams: should be; make it anew")
        begun = len(log10)
        for number, line in lines:
            if line[0] == "\\":
                break
            key, probability, weight = _read_entry(path, number, line, order)
            if key in log10:
                raise DataError(f"{path}, line {number}: the n-gram {key!r} is there twice; leave one out")
            if order == 1:
                vocabulary.add(key)
            elif not vocabulary.issuperset(key.split(" ")):
                raise DataError(f"{path}, line {number}: a word of {key!r} is not among the 1-grams; make it anew")
            log10[key] = probability
            if weight:
                backoff[key] = weight
        else:
            raise _cut_off(path, number, f"among the {order}-grams")
        if len(log10) - begun != count:
            raise DataError(
                f"{path}, line {number}: {len(log10) - begun} {order}-grams end here, but the header says {count}; "
                "the file is damaged, make it anew"
            )
    if line != "\\end\\":
        raise DataError(f"{path}, line {number}: {line[:60]!r} where \\end\\ should be; make it anew")
    if missing := [word for word in (BEGIN, END) if word not in vocabulary]:
        raise DataError(f"{path}: has no 1-gram {missing[0]}, so it cannot score sentences; make it of whole sentences")
    return counts, log10, backoff


def _read_header(path: PathLike, lines: Iterator[tuple[int, str]]) -> tuple[list[int], int, str]:
    """Counts of the header, and the line after it."""
    number, line = next(((number, line) for number, line in lines if line[0] != "#"), (0, ""))
    if not line:
        raise DataError(f"{path}: is empty; make it with `lipread lm ngram`")
    if line != "\\data\\":
        raise DataError(
            f"{path}, line {number}: begins with {line[:40]!r} and not with \\data\\, so this is no ARPA file; "
            "make one with `lipread lm ngram`"
        )
    counts: list[int] = []
    for number, line in lines:
        if line[0] == "\\" and counts:
            return counts, number, line
        match = _COUNT.fullmatch(line)
        if match is None or int(match[1]) != len(counts) + 1:
            raise DataError(f"{path}, line {number}: {line[:60]!r} where `ngram {len(counts) + 1}=COUNT` should be")
        counts.append(int(match[2]))
    raise _cut_off(path, number, "in its header")


def _read_entry(path: PathLike, number: int, line: str, order: int) -> tuple[str, float, float]:
    """N-gram, log10 probability and log10 backoff weight of a line."""
    parts = line.split("\t")
    if len(parts) not in (2, 3) or parts[1].count(" ") != order - 1:  # some writers have spaces for the tabs
        fields = re.split(r"[ \t]+", line)
        parts = [fields[0], " ".join(fields[1 : order + 1]), *fields[order + 1 :]]
        if not order + 1 <= len(fields) <= order + 2:
            raise DataError(
                f"{path}, line {number}: {line[:60]!r} is not `log10 probability, {order} words, backoff weight`; "
                "the file is damaged, make it anew"
            )
    try:
        probability, weight = float(parts[0]), float(parts[2]) if len(parts) == 3 else 0.0
    except ValueError as error:
        raise DataError(f"{path}, line {number}: {line[:60]!r} has something that is not a number ({error})") from error
    if not -math.inf < probability <= 0 or not math.isfinite(weight):
        raise DataError(
            f"{path}, line {number}: {line[:60]!r} has no log10 probability up to 0 and finite backoff weight; "
            "make it anew"
        )
    key = parts[1]
    if CAPITAL_UNKNOWN in key:
        key = " ".join(UNKNOWN if token == CAPITAL_UNKNOWN else token for token in key.split(" "))
    return key, probability, weight


def _lines(path: PathLike) -> Iterator[tuple[int, str]]:
    """Lines with something on them, and their numbers. Raises: DataError: the file cannot be read as text."""
    number = 0
    try:
        with open(path, "rb") as plain:
            begin = plain.read(len(KENLM_MAGIC))
            if begin == KENLM_MAGIC:
                raise DataError(f"{path}: is a binary file of KenLM; give the ARPA file it was made of")
            packed = begin.startswith(_GZIP_MAGIC)
            plain.seek(0)
            file = gzip.GzipFile(fileobj=plain) if packed else plain
            for number, raw in enumerate(cast(IO[bytes], file), 1):
                if line := raw.decode("utf-8-sig" if number == 1 else "utf-8").strip(" \t\r\n"):
                    yield number, line
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {number}: is not UTF-8 text, so this is no ARPA file") from error
    except (EOFError, zlib.error) as error:
        raise _cut_off(path, number, "inside its gzip") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); give a readable ARPA file") from error


def _cut_off(path: PathLike, number: int, where: str) -> DataError:
    return DataError(f"{path}, line {number}: is cut off {where}; copy or make it again")
