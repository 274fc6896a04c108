"""Sentences -> an n-gram language model in ARPA format, by interpolated modified Kneser-Ney smoothing.

Shapes: P positions in the text with <s> and </s>, K_n different n-grams of order n, W words (<unk>, <s>, </s>, others).

    p(w | h) = (c(h w) - D(c)) / c(h) + gamma(h) p(w | h without its first word)

c is the count for the longest n-grams and those that begin with <s>; for the others it is the number of different
words before them. D is D1, D2 or D3 for c = 1, 2 and more; gamma(h) is what was taken away, so that each history sums
to one. Below one word there is the even chance 1 / (W - 1) of every word, </s> and <unk>; nothing predicts <s>.
Source: Chen & Goodman 1998, "An empirical study of smoothing techniques for language modeling", Harvard TR-10-98.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lipread.decoding.lm import BEGIN, END, SPACE, UNKNOWN, Unit, split_sentence
from lipread.errors import ConfigError, DataError
from lipread.files import PathLike, read_text, written_whole

ORDERS = range(1, 6)
UNITS: tuple[Unit, ...] = ("word", "char")
FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)  # where an order's counts give none, as with few or equally frequent words
BEGIN_LOG10 = -99.0  # of <s>, which nothing predicts
_SPECIAL = (UNKNOWN, BEGIN, END)
_BEGIN_ROW = _SPECIAL.index(BEGIN)

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NgramOrder:
    """The n-grams of one length, ordered by history and word.

    Attributes:
        history: (K_n,) row of the words before the last, among the n-grams one shorter; 0 for single words.
        word: (K_n,) row of the last word in the vocabulary.
        log10: (K_n,) log10 probability of the word after its history.
        backoff: (K_n,) log10 weight of shorter histories, where a longer n-gram is not there.
        discounts: D1, D2, D3 that were used.
    """

    history: Rows
    word: Rows
    log10: Floats
    backoff: Floats
    discounts: tuple[float, float, float]


@dataclass(frozen=True)
class Ngrams:
    """An estimated model: its vocabulary and the n-grams of order 1, 2, ..."""

    vocabulary: tuple[str, ...]
    orders: tuple[NgramOrder, ...]
    sentences: int

    @property
    def counts(self) -> tuple[int, ...]:
        """How many n-grams there are of each order."""
        return tuple(len(each.word) for each in self.orders)

    def write(self, path: PathLike) -> None:
        """Write an ARPA file, gzipped where the name ends in .gz; whole or not at all.

        Raises: OutputError: it cannot be written.
        """
        with written_whole(path) as temporary, open(temporary, "wb") as plain:
            if str(path).endswith(".gz"):
                with gzip.GzipFile(filename="", mode="wb", fileobj=plain, mtime=0) as packed:  # same bytes every time
                    self._write_lines(packed)
            else:
                self._write_lines(plain)

    def _write_lines(self, file: io.BufferedWriter | gzip.GzipFile) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
        text.writelines(self._arpa_lines())
        text.flush()
        text.detach()  # the file is closed by who opened it

    def _arpa_lines(self) -> Iterator[str]:
        yield "\\data\\\n"
        yield from (f"ngram {order}={count}\n" for order, count in enumerate(self.counts, 1))
        yield from ["ngram 2=0\n"] * (len(self.orders) == 1)
        before: list[str] = []
        for order, level in enumerate(self.orders, 1):
            words = [self.vocabulary[row] for row in level.word.tolist()]
            if order > 1:
                words = [f"{before[row]} {word}" for row, word in zip(level.history.tolist(), words, strict=True)]
            yield f"\n\\{order}-grams:\n"
            values = zip(level.log10.tolist(), words, level.backoff.tolist(), strict=True)
            if order < len(self.orders):
                yield from (f"{log10:.7f}\t{text}\t{backoff:.7f}\n" for log10, text, backoff in values)
            else:
                yield from (f"{log10:.7f}\t{text}\n" for log10, text, _ in values)
            before = words
        yield from ["\n\\2-grams:\n"] * (len(self.orders) == 1)  # KenLM reads no model without pairs; none will do
        yield "\n\\end\\\n"


def estimate_ngrams(sentences: Iterable[str], *, order: int = 3, unit: Unit = "word") -> Ngrams:
    """Estimate an n-gram model.

    Args:
        sentences: one text each; lower-cased and split at white space, empty ones are passed over.
        order: longest n-gram, 1 to 5; where no sentence is so long, the model has a lower order.
        unit: "word", or "char" for characters with "|" for the space.
    Raises:
        ConfigError: order or unit has another value.
        DataError: there is no word, or one that means something else in an ARPA file.
    """
    check_choice(order, unit)
    vocabulary, ids, count = _encode(sentences, unit)
    counted = _count(ids, len(vocabulary), order)
    return Ngrams(vocabulary, tuple(_smooth(counted, len(vocabulary))), count)


def check_choice(order: int, unit: str) -> Unit:
    """The unit, if both are possible. Raises: ConfigError: order or unit has another value."""
    if order not in ORDERS:
        raise ConfigError(f"order={order} is not within {ORDERS[0]} to {ORDERS[-1]}; try 3")
    for known in UNITS:
        if unit == known:
            return known
    raise ConfigError(f"unit={unit!r} is not known; choose {' or '.join(UNITS)}")


def read_sentences(paths: Sequence[PathLike]) -> list[str]:
    """Lines with something on them, of text files in UTF-8.

    Raises: DataError: a file cannot be read, is not UTF-8 text, or has no words.
    """
    return [line for path in paths for line in read_text(path).split("\n") if line.strip()]


def _encode(sentences: Iterable[str], unit: Unit) -> tuple[tuple[str, ...], Rows, int]:
    """Sentences -> vocabulary (W), rows of all tokens with <s> and </s> (P,), number of sentences."""
    split = []
    for number, text in enumerate(sentences, 1):
        if unit == "char" and SPACE in text:
            raise DataError(f"sentence {number}: {text[:60]!r} has {SPACE!r}, which stands for the space; take it out")
        split.append(split_sentence(text, unit))
        if wrong := next((each for each in _SPECIAL if each in split[-1]), None):
            raise DataError(f"sentence {number}: {text[:60]!r} has {wrong}, a mark of ARPA files; take it out")
    split = [tokens for tokens in split if tokens]
    if not split:
        raise DataError("the text has no words; write one sentence a line")
    known = {token for tokens in split for token in tokens} | ({SPACE} if unit == "char" else set())
    vocabulary = (*_SPECIAL, *sorted(known))
    row = {token: index for index, token in enumerate(vocabulary)}
    flat = [row[token] for tokens in split for token in (BEGIN, *tokens, END)]
    return vocabulary, np.array(flat, dtype=np.int64), len(split)


@dataclass(frozen=True)
class _Counted:
    """N-grams of one length as they were found: (K_n,) each.

    Attributes:
        counts: how often.
        first: whether the first word is <s>.
        shorter: row of the n-gram without its first word.
    """

    history: Rows
    word: Rows
    counts: Rows
    first: npt.NDArray[np.bool_]
    shorter: Rows


def _count(ids: Rows, words: int, order: int) -> list[_Counted]:
    """Count the n-grams of every order that lie within sentences; a key is row of the history x W + word."""
    every = np.arange(words)
    levels = [_Counted(0 * every, every, np.bincount(ids, minlength=words), every == _BEGIN_ROW, 0 * every)]
    sentence = np.cumsum(ids == _BEGIN_ROW)  # (P,)
    rows = ids  # (P,) row of the n-gram that begins at each position
    for length in range(2, order + 1):
        starts = np.flatnonzero(sentence[: 1 - length] == sentence[length - 1 :])
        if not len(starts):
            break
        keys = rows[starts] * words + ids[starts + length - 1]
        keys, at, inverse, counts = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
        history, word = np.divmod(keys, words)
        levels.append(_Counted(history, word, counts, levels[-1].first[history], rows[starts[at] + 1]))
        rows = np.full(len(ids), -1)
        rows[starts] = inverse
    return levels


def _smooth(counted: Sequence[_Counted], words: int) -> Iterator[NgramOrder]:
    """Counts -> probabilities and backoff weights, from single words upwards."""
    amounts = []  # per order: c of the formula above
    for level, longer in zip(counted, [*counted[1:], None], strict=True):
        before = level.counts if longer is None else np.bincount(longer.shorter, minlength=len(level.word))
        amounts.append(np.where(level.first, level.counts, before))
    amounts[0][_BEGIN_ROW] = 0
    below: Floats = np.array([1 / (words - 1)])  # the even chance
    histories, previous = 1, None
    for level, amount in zip(counted, amounts, strict=True):
        discounts = kneser_ney_discounts(amount)
        taken = np.array([0.0, *discounts])[np.minimum(amount, 3)]
        total = np.bincount(level.history, weights=amount, minlength=histories)
        lost = np.bincount(level.history, weights=taken, minlength=histories)
        weight = np.divide(lost, total, out=np.ones(histories), where=total > 0)
        probability = (amount - taken) / total[level.history] + weight[level.history] * below[level.shorter]
        if previous is None:
            probability[_BEGIN_ROW] = 10.0**BEGIN_LOG10
        else:
            yield _order(*previous, weight)
        previous = level, probability, discounts
        below, histories = probability, len(level.word)
    assert previous is not None
    yield _order(*previous, np.ones(histories))


def _order(level: _Counted, probability: Floats, discounts: tuple[float, float, float], weight: Floats) -> NgramOrder:
    return NgramOrder(level.history, level.word, np.log10(probability), np.log10(weight), discounts)


def kneser_ney_discounts(amounts: Rows) -> tuple[float, float, float]:
    """D1, D2, D3 of an order from how many of its n-grams have count 1, 2, 3 and 4 (Chen & Goodman 1998, eq. 26).

    Where there are none with count 1, 2 or 3, or a discount is not within (0, count], they are
    `FALLBACK_DISCOUNTS`: with a closed vocabulary every word is frequent, and these hardly change anything.
    """
    n1, n2, n3, n4 = (int(np.count_nonzero(amounts == count)) for count in range(1, 5))
    if not (n1 and n2 and n3):
        return FALLBACK_DISCOUNTS
    share = n1 / (n1 + 2 * n2)
    found = (1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3)
    within = all(0 < discount <= count for count, discount in enumerate(found, 1))
    return found if within else FALLBACK_DISCOUNTS
