"""Modified Kneser-Ney: numbers by hand, an implementation over dicts, sums to one, and KenLM on what was written."""

from __future__ import annotations

import gzip
import itertools
import math
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kenlm_reader import kenlm_scores
from lipread.data.transcripts import write_train_text
from lipread.decoding.lm import NgramModel, Unit, read_arpa, split_sentence
from lipread.errors import ConfigError, DataError, OutputError
from lipread.training.ngram import FALLBACK_DISCOUNTS, estimate_ngrams, kneser_ney_discounts, read_sentences

Probability = Callable[[tuple[str, ...], str], float]


def made(sentences: Sequence[str], order: int, unit: Unit = "word") -> NgramModel:
    """Estimated, written and read again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.arpa"
        estimate_ngrams(sentences, order=order, unit=unit).write(path)
        return NgramModel.load(path, unit=unit)


def by_dicts(sentences: Sequence[str], order: int, unit: Unit = "word") -> Probability:
    """The formula of Chen & Goodman as it stands in their paper, with no arrays and no backoff weights."""
    split = [tokens for text in sentences if (tokens := split_sentence(text, unit))]
    grams: dict[int, Counter[tuple[str, ...]]] = {}
    for n in range(1, order + 1):
        padded = [("<s>", *tokens, "</s>") for tokens in split]
        grams[n] = Counter(each[i : i + n] for each in padded for i in range(len(each) - n + 1))
    top = max(n for n in grams if grams[n])
    words = {word for tokens in split for word in tokens} | {"</s>", "<unk>"} | ({"|"} if unit == "char" else set())
    amounts: dict[tuple[str, ...], int] = {}
    for n in range(1, top + 1):
        for gram, count in grams[n].items():
            if n == top or gram[0] == "<s>":
                amounts[gram] = count
            else:
                amounts[gram] = len({longer[0] for longer in grams[n + 1] if longer[1:] == gram})
    amounts.pop(("<s>",))
    discounts = {}
    for n in range(1, top + 1):
        of = Counter(amount for gram, amount in amounts.items() if len(gram) == n)
        try:
            y = of[1] / (of[1] + 2 * of[2])
            found = [0, *(k - (k + 1) * y * of[k + 1] / of[k] for k in (1, 2, 3))]
        except ZeroDivisionError:
            found = [0, -1]
        good = all(0 < found[k] <= k for k in range(1, len(found))) and of[1] and of[2] and of[3]
        discounts[n] = found if good else [0, 0.5, 1, 1.5]

    def probability(history: tuple[str, ...], word: str) -> float:
        history = history[-(top - 1) :] if top > 1 else ()
        n = len(history) + 1
        lower = probability(history[1:], word) if history else 1 / len(words)
        seen = [amount for gram, amount in amounts.items() if len(gram) == n and gram[:-1] == history]
        if not seen:
            return lower
        taken = sum(discounts[n][min(amount, 3)] for amount in seen)
        amount = amounts.get((*history, word), 0)
        return (amount - discounts[n][min(amount, 3)] + taken * lower) / sum(seen)

    return probability


def largest_gap_from_one(model: NgramModel) -> float:
    """Over every history of the model, the empty one, and unknown ones, of the sum over all words, </s> and <unk>."""
    words = [*model.vocabulary, "</s>", "<unk>"]
    histories = {tuple(key.split(" ")) for key in model._log10} | {(), ("<unk>",), ("<s>", "<unk>"), ("never", "seen")}
    histories = {each for each in histories if "</s>" not in each and len(each) < max(model.order, 2)}
    return max(
        abs(math.fsum(math.exp(model.log_probability(history, word)) for word in words) - 1) for history in histories
    )


def test_bigrams_by_hand() -> None:
    """Counts: <s> a 2, a b 1, a c 1, b </s> 1, c </s> 1, so a, b, c follow one word each and </s> two; 5 in all.

    No count is 3, so the discounts are 0.5 and 1; the even chance is 1/5 (a, b, c, </s>, <unk>).
    """
    model = made(["a b", "A  c", ""], 2)

    def chance(*history: str, word: str) -> float:
        return math.exp(model.log_probability(history, word))

    weight = (3 * 0.5 + 1 * 1.0) / 5
    assert chance(word="a") == pytest.approx(0.5 / 5 + weight / 5, rel=1e-6) == pytest.approx(0.2, rel=1e-6)
    assert chance(word="</s>") == pytest.approx(0.3, rel=1e-6)
    assert chance(word="<unk>") == pytest.approx(0.1, rel=1e-6)
    assert chance("<s>", word="a") == pytest.approx((2 - 1) / 2 + 1 / 2 * 0.2, rel=1e-6)
    assert chance("a", word="b") == pytest.approx((1 - 0.5) / 2 + (0.5 + 0.5) / 2 * 0.2, rel=1e-6)
    assert chance("b", word="</s>") == pytest.approx(0.5 + 0.5 * 0.3, rel=1e-6)
    assert chance("b", word="a") == pytest.approx(0.5 * 0.2, rel=1e-6)
    assert model.scores(["a b"]) == pytest.approx([math.log(0.6 * 0.35 * 0.65)], rel=1e-6)


def test_discounts_by_hand() -> None:
    amounts = np.array([1] * 8 + [2] * 4 + [3] * 2 + [4] * 1 + [9, 0, 0])
    # Y = 8 / (8 + 2 * 4) = 0.5
    assert kneser_ney_discounts(amounts) == pytest.approx((1 - 0.5 * 8 / 8, 2 - 1.5 * 2 / 4, 3 - 2 * 1 / 2))
    for degenerate in ([], [1, 1, 1], [5, 6, 7], [1, 2, 2, 4], [1, 2, 3, 3, 3, 3, 3, 3, 3], [2, 3, 4]):
        assert kneser_ney_discounts(np.array(degenerate, dtype=np.int64)) == FALLBACK_DISCOUNTS


def skewed(seed: int, sentences: int, words: int) -> list[str]:
    """Sentences in which few words are frequent and many rare, as in real text, so that discounts can be estimated."""
    rng = random.Random(seed)
    known = [f"w{number}" for number in range(words)]
    weights = [1 / (1 + number) for number in range(words)]
    return [" ".join(rng.choices(known, weights, k=rng.randrange(1, 9))) for _ in range(sentences)]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_equals_the_formula_over_dicts(order: int) -> None:
    sentences = skewed(order, 200, 12)
    found = [level.discounts for level in estimate_ngrams(sentences, order=order).orders[1:]]
    assert FALLBACK_DISCOUNTS not in found  # so this tests the formula itself
    model, want = made(sentences, order), by_dicts(sentences, order)
    for text in [*sentences[:15], "w0 w1 w11 w3", "w2 w2 w2 other w1"]:
        tokens = ["<s>", *model.tokens(text), "</s>"]
        for place in range(1, len(tokens)):
            got = model.log_probability(tokens[:place], tokens[place])
            assert got == pytest.approx(math.log(want(tuple(tokens[:place]), tokens[place])), abs=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("abß 中\n", max_size=9), min_size=1, max_size=8).filter(lambda them: "".join(them).strip()),
    st.integers(1, 5),
    st.sampled_from(["word", "char"]),
)
def test_any_small_corpus_sums_to_one_and_equals_the_formula(sentences: list[str], order: int, unit: Unit) -> None:
    model = made(sentences, order, unit)
    assert largest_gap_from_one(model) < 1e-6
    want = by_dicts(sentences, order, unit)
    tokens = ["<s>", *model.tokens(sentences[-1]), "<unk>", "</s>"]
    for place in range(1, len(tokens)):
        chance = want(tuple(tokens[:place]), tokens[place])
        assert model.log_probability(tokens[:place], tokens[place]) == pytest.approx(math.log(chance), abs=1e-5)


@pytest.mark.parametrize(("order", "unit"), list(itertools.product([1, 3, 5], ["word", "char"])))
def test_every_history_of_a_larger_text_sums_to_one(order: int, unit: Unit) -> None:
    assert largest_gap_from_one(made(skewed(7, 150, 30), order, unit)) < 1e-6


def test_a_closed_vocabulary_of_equal_words() -> None:
    """17 words, each as frequent as its neighbours: no counts of 1, 2 or 3, yet sums are one and nothing is absent."""
    slots = [["bin", "lay"], ["blue", "red", "green"], ["at", "by"], list("abcdefghij"), ["now", "soon"]]
    sentences = [" ".join(words) for words in itertools.product(*slots)] * 10
    ngrams = estimate_ngrams(sentences, order=2)
    assert all(np.isfinite(level.log10).all() and np.isfinite(level.backoff).all() for level in ngrams.orders)
    model = made(sentences, 2)
    assert largest_gap_from_one(model) < 1e-6
    assert model.perplexity(sentences) == pytest.approx(math.exp(math.log(2 * 3 * 2 * 10 * 2) / 6), rel=0.01)


def test_orders_that_no_sentence_reaches_are_not_written(tmp_path: Path) -> None:
    ngrams = estimate_ngrams(["a", "b"], order=5)
    ngrams.write(tmp_path / "short.arpa")
    assert ngrams.counts == (5, 4, 2) == NgramModel.load(tmp_path / "short.arpa").counts


def test_written_and_read_again(tmp_path: Path) -> None:
    ngrams = estimate_ngrams(skewed(3, 40, 20), order=3)
    plain, packed = tmp_path / "deep" / "a.arpa", tmp_path / "a.arpa.gz"
    ngrams.write(plain)
    ngrams.write(packed)
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert packed.read_bytes()[4:8] == b"\0\0\0\0"  # no time in it: the same text gives the same bytes
    assert estimate_ngrams(reversed(skewed(3, 40, 20)), order=3).counts == ngrams.counts
    counts, log10, backoff = read_arpa(plain)
    assert tuple(counts) == ngrams.counts
    names = list(ngrams.vocabulary)
    first, second = ngrams.orders[:2]
    for row in range(len(second.word)):
        key = f"{names[second.history[row]]} {names[second.word[row]]}"
        assert log10[key] == pytest.approx(second.log10[row], abs=1e-7)
        assert backoff.get(key, 0) == pytest.approx(second.backoff[row], abs=1e-7)
    assert log10["<s>"] == -99 and first.word[1] == 1


@pytest.mark.parametrize(("order", "unit"), list(itertools.product([1, 2, 3, 5], ["word", "char"])))
def test_kenlm_reads_it_and_finds_the_same_perplexity(tmp_path: Path, order: int, unit: Unit) -> None:
    path = tmp_path / "a.arpa"
    estimate_ngrams(skewed(order, 200, 60), order=order, unit=unit).write(path)
    model = NgramModel.load(path)
    texts = [*skewed(99, 30, 80), "unheard of"]
    split = [model.tokens(text) for text in texts]
    log10 = sum(kenlm_scores(path, split))
    tokens = sum(len(each) + 1 for each in split)
    assert model.order == order
    assert model.perplexity(texts) == pytest.approx(10 ** (-log10 / tokens), rel=1e-4)


def test_grid_equals_kenlm_and_sums_to_one(grid_dir: Path, tmp_path: Path) -> None:
    if not (grid_dir / "transcripts.tsv").is_file():
        pytest.skip(f"no transcripts.tsv in {grid_dir}")
    write_train_text(grid_dir, tmp_path / "grid.txt")
    path = tmp_path / "grid.arpa"
    estimate_ngrams(read_sentences([tmp_path / "grid.txt"]), order=3).write(path)
    model = NgramModel.load(path)
    assert len(model.vocabulary) == 51
    assert largest_gap_from_one(model) < 1e-6
    text = "place white with z nine soon"
    (log10,) = kenlm_scores(path, [text.split()])
    assert log10 * math.log(10) == pytest.approx(model.scores([text])[0], rel=1e-5)
    assert model.perplexity([text]) < 6  # 64,000 sentences of 7 tokens: at best 4.9


@pytest.mark.parametrize("order", [0, 6, -1])
def test_order_out_of_range(order: int) -> None:
    with pytest.raises(ConfigError, match=f"order={order} is not within 1 to 5"):
        estimate_ngrams(["a b"], order=order)


def test_texts_that_make_no_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unit='phone' is not known; choose word or char"):
        estimate_ngrams(["a"], unit="phone")  # type: ignore[arg-type]
    for sentences in ([], ["", " \t"]):
        with pytest.raises(DataError, match="no words"):
            estimate_ngrams(sentences)
    for mark in ("<s>", "</S>", "<UNK>"):
        with pytest.raises(DataError, match=f"sentence 2.*{mark.lower()}"):
            estimate_ngrams(["a", f"b {mark}"])
    with pytest.raises(DataError, match="sentence 1.*stands for the space"):
        estimate_ngrams(["a|b"], unit="char")
    assert "a|b" in estimate_ngrams(["a|b"]).vocabulary
    with pytest.raises(OutputError, match="cannot be written"):
        estimate_ngrams(["a"]).write(tmp_path)


def test_reading_sentences(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffeins zwei\r\n\r\ndrei\u2028vier\rfünf".encode())
    assert read_sentences([path, path]) == ["eins zwei", "drei\u2028vier", "fünf"] * 2
    for content, said in (
        (b"", "is empty"),
        (b" \n\t\n", "has no words"),
        (b"a\nb\n\xe4 c\n", "line 3: is not UTF-8"),
        ("a".encode("utf-16"), "line 1: is not UTF-8"),
        (b"a\nb\0c", "line 2: has a zero byte"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=said):
            read_sentences([path])
    with pytest.raises(DataError, match="absent.txt: cannot be read"):
        read_sentences([tmp_path / "absent.txt"])
