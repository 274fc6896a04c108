"""Samples: proportions counted over many draws, whole words together, true neighbours, and texts of every shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.errors import DataError
from lipread.training.samples import (
    BLOCK_SENTENCES,
    ELSEWHERE,
    IGNORED,
    NEXT,
    Corpus,
    Sample,
    SampleMaker,
    hold_out,
    read_documents,
)
from lipread.wordpiece import SPECIAL, WordPiece

# the sentence d0s1 is the three words d0 s1 d0s1; the last one has three pieces, so whole words can be seen
PIECES = [*SPECIAL, *(f"d{n}" for n in range(8)), *(f"s{n}" for n in range(9)), *(f"##s{n}" for n in range(9)), "##x"]
WORDPIECE = WordPiece(PIECES)
DOCUMENTS = [[f"d{d} s{s} d{d}s{s}x" for s in range(3 + d)] for d in range(6)]
CORPUS = Corpus.encode(DOCUMENTS, WORDPIECE, 20)
BEGIN, END, MASK = WORDPIECE.begin, WORDPIECE.end, WORDPIECE.mask


def maker(most: int = 32, *, next_sentence: bool = True) -> SampleMaker:
    return SampleMaker(CORPUS, WORDPIECE, most=most, next_sentence=next_sentence)


def draws(count: int, **options: int | bool) -> list[Sample]:
    made, rng = maker(**options), np.random.default_rng(0)  # type: ignore[arg-type]
    return [made.sample(rng) for _ in range(count)]


def truth(sample: Sample) -> list[str]:
    """The pieces that were there."""
    return [PIECES[each] for each in np.where(sample.labels != IGNORED, sample.labels, sample.ids)]


def words_of(pieces: list[str]) -> list[list[int]]:
    """Places of the pieces of each word, from the marks alone."""
    words: list[list[int]] = []
    for place, piece in enumerate(pieces):
        if piece in SPECIAL:
            continue
        if piece.startswith("##") and words and words[-1][-1] == place - 1:
            words[-1].append(place)
        else:
            words.append([place])
    return words


def test_the_corpus_holds_every_sentence() -> None:
    texts = [text for document in DOCUMENTS for text in document]
    assert len(CORPUS.sentences) == len(texts) + 1
    for number, text in enumerate(texts):
        part = slice(*CORPUS.sentences[number : number + 2])
        assert CORPUS.pieces[part].tolist() == WORDPIECE.split(text)[0]
        assert CORPUS.begins[part].tolist() == [True, True, True, False, False]
    assert np.diff(CORPUS.documents).tolist() == [len(document) for document in DOCUMENTS]


def test_proportions_of_masking() -> None:
    words = chosen = masked = kept = pieces = 0
    made = maker(next_sentence=False)
    rng = np.random.default_rng(1)
    for _ in range(800):
        ids = np.array([BEGIN, *CORPUS.pieces, END])
        numbers = np.array([-1, *(np.cumsum(CORPUS.begins) - 1), -1])
        shown, labels = made.mask(ids, numbers, rng)
        for word in words_of([PIECES[each] for each in ids]):
            words += 1
            pieces += len(word)
            assert len(set((labels[word] == IGNORED).tolist())) == 1  # all of a word, or nothing
            if labels[word[0]] == IGNORED:
                assert (shown[word] == ids[word]).all()
                continue
            chosen += 1
            assert (labels[word] == ids[word]).all()
            assert (shown[word] == MASK).all() or not (shown[word] == MASK).any()
            masked += bool((shown[word] == MASK).all())
            kept += bool((shown[word] == ids[word]).all())
    assert chosen / words == pytest.approx(0.15, abs=0.003)
    assert masked / chosen == pytest.approx(0.8, abs=0.01)
    by_chance = 0.1 / (len(PIECES) - 5)  # a random piece that is the one that was there
    assert kept / chosen == pytest.approx(0.1 + by_chance, abs=0.01)


def test_random_words_are_any_but_special_ones() -> None:
    made, rng = maker(), np.random.default_rng(2)
    ids, numbers = np.array([BEGIN, 5, END]), np.array([-1, 0, -1])
    seen: dict[int, int] = {}
    for _ in range(10_000):
        shown, labels = made.mask(ids, numbers, rng)
        assert labels.tolist() == [IGNORED, 5, IGNORED]  # at least one word
        assert shown[[0, 2]].tolist() == [BEGIN, END]
        seen[int(shown[1])] = seen.get(int(shown[1]), 0) + 1
    assert set(seen) == {MASK, *range(5, len(PIECES))}
    others = [count for piece, count in seen.items() if piece not in (MASK, 5)]
    assert np.mean(others) == pytest.approx(0.1 * 10_000 / (len(PIECES) - 5), rel=0.1)
    assert max(others) < 2 * min(others)


def test_samples_are_well_formed_and_what_they_say() -> None:
    texts = {text: (d, s) for d, document in enumerate(DOCUMENTS) for s, text in enumerate(document)}
    counts = {NEXT: 0, ELSEWHERE: 0, IGNORED: 0}
    for sample in draws(3000, most=64):  # so long that little is cut
        counts[sample.follows] += 1
        pieces = truth(sample)
        assert len(pieces) <= 64 and pieces[0] == "[CLS]" and pieces[-1] == "[SEP]"
        first = pieces.index("[SEP]")
        assert sample.segments.tolist() == [0] * (first + 1) + [1] * (len(pieces) - first - 1)
        assert pieces.count("[SEP]") == (1 if sample.follows == IGNORED else 2)
        parts = [run(pieces[1:first]), run(pieces[first + 1 : -1])]
        found = [[texts[text] for text in part] for part in parts]
        for part in found:
            assert [(d, s) for d, s in part] == [(part[0][0], part[0][1] + n) for n in range(len(part))]
        if sample.follows == NEXT:
            assert found[1][0] == (found[0][-1][0], found[0][-1][1] + 1)
        if sample.follows == ELSEWHERE:
            assert found[0][0][0] != found[1][0][0]  # another document
    assert counts[IGNORED] / 3000 == pytest.approx(0.5, abs=0.04)
    assert counts[NEXT] / (counts[NEXT] + counts[ELSEWHERE]) == pytest.approx(0.5, abs=0.05)


def run(pieces: list[str]) -> list[str]:
    """Pieces of a run of whole sentences -> their texts."""
    joined = [" ".join(pieces[at : at + 5]).replace(" ##", "") for at in range(0, len(pieces), 5)]
    return joined


def test_every_sentence_is_drawn_in_all_roles() -> None:
    made, rng = maker(most=64), np.random.default_rng(4)
    bounds = CORPUS.sentences.tolist()
    begun: dict[int, set[int]] = {NEXT: set(), ELSEWHERE: set()}
    lengths = set()
    for _ in range(4000):
        first, second, follows = made.pair(rng)
        begun[follows].add(bounds.index(second.start))
        lengths.add((second.stop - second.start + first.stop - first.start) // 5)
    every, firsts = set(range(len(bounds) - 1)), set(CORPUS.documents[:-1].tolist())
    assert begun == {NEXT: every - firsts, ELSEWHERE: every}
    assert {2, 3, 4, 5, 6} <= lengths  # short pairs, as rescoring has them, and longer ones


@pytest.mark.parametrize("most", [8, 9, 13, 20])
def test_long_samples_are_cut_around_where_they_meet(most: int) -> None:
    made, rng = maker(most), np.random.default_rng(5)
    full = 0
    for _ in range(500):
        first, second, follows = made.pair(rng)
        a, b = first.stop - first.start, second.stop - second.start
        assert a > 0 and b > 0 and a + b <= most - 3
        assert first.stop in CORPUS.sentences and second.start in CORPUS.sentences
        assert follows == ELSEWHERE or first.stop == second.start
        full += a + b == most - 3
        sample = made.sample(rng)
        assert 3 <= len(sample.ids) <= most and (sample.labels != IGNORED).any()
    assert full > 10


def test_without_pairs() -> None:
    samples = draws(300, next_sentence=False)
    assert {sample.follows for sample in samples} == {IGNORED}
    assert not any(sample.segments.any() for sample in samples)
    assert sum(len(sample.ids) == 7 for sample in samples) > 120  # one sentence alone, as rescoring has it
    assert max(len(sample.ids) for sample in samples) == 32  # and so many that every position is learnt


def test_batches_are_padded_and_repeatable() -> None:
    made = maker()
    batch, again = (made.batch(9, np.random.default_rng(6)) for _ in range(2))
    assert batch.ids.equal(again.ids) and batch.labels.equal(again.labels)
    assert not batch.ids.equal(made.batch(9, np.random.default_rng(7)).ids[:, : batch.ids.shape[1]])
    rng = np.random.default_rng(6)
    samples = [made.sample(rng) for _ in range(9)]
    assert batch.follows.tolist() == [sample.follows for sample in samples]
    for row, sample in enumerate(samples):
        length = len(sample.ids)
        assert batch.valid[row].tolist() == [True] * length + [False] * (batch.ids.shape[1] - length)
        assert batch.ids[row, :length].tolist() == sample.ids.tolist()
        assert batch.labels[row, :length].tolist() == sample.labels.tolist()
        assert (batch.ids[row, length:] == WORDPIECE.pad).all() and (batch.labels[row, length:] == IGNORED).all()


@given(st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4), min_size=2, max_size=4), st.integers(8, 16))
@settings(max_examples=60, deadline=None)
def test_any_documents_give_samples_that_fit(lengths: list[list[int]], most: int) -> None:
    documents = [[" ".join(["d1s2x"] * length) for length in document] for document in lengths]
    corpus = Corpus.encode(documents, WORDPIECE, most - 3)
    assert len(corpus.pieces) == 3 * sum(map(sum, lengths)) == corpus.sentences[-1]
    assert np.diff(corpus.sentences).max() <= most - 3 and np.diff(corpus.sentences).min() >= 1
    assert corpus.begins[corpus.sentences[:-1]].all()  # cut between words
    try:
        made = SampleMaker(corpus, WORDPIECE, most=most)
    except DataError as error:
        assert "at least two documents" in str(error) and max(np.diff(corpus.documents)) == 1
        return
    rng = np.random.default_rng(0)
    assert all(3 <= len(made.sample(rng).ids) <= most for _ in range(20))


def write(folder: Path, **files: str) -> list[Path]:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def test_documents_stand_between_empty_lines(tmp_path: Path) -> None:
    paths = write(tmp_path, a="\n\none\n two \r\n\r\n \nthree\n", b="four\rfive")
    assert read_documents(paths) == [["one", "two"], ["three"], ["four", "five"]]


def test_each_file_is_a_document_without_them(tmp_path: Path) -> None:
    assert read_documents(write(tmp_path, a="one\ntwo\n", b="\ufeffthree\n")) == [["one", "two"], ["three"]]


def test_a_single_document_is_cut_into_blocks(tmp_path: Path) -> None:
    lines = [f"line {number}" for number in range(3 * BLOCK_SENTENCES + 5)]
    documents = read_documents(write(tmp_path, a="\n".join(lines)))
    assert [len(document) for document in documents] == [BLOCK_SENTENCES] * 3 + [5]
    assert [line for document in documents for line in document] == lines
    assert [len(each) for each in read_documents(write(tmp_path, a="1\n2\n3\n4\n5\n6"))] == [3, 3]


def test_what_is_held_out_is_not_trained_on() -> None:
    rng = np.random.default_rng(0)
    documents = [[f"{d} {s}" for s in range(5)] for d in range(40)]
    training, held = hold_out(documents, 0.1, rng)
    assert len(held) == 4 and sorted(training + held) == sorted(documents)
    few = [[f"{d} {s}" for s in range(40)] for d in range(3)] + [["short"]]
    training, held = hold_out(few, 0.1, rng)
    assert held == [document[-4:] for document in few[:3]]
    assert training == [*(document[:-4] for document in few[:3]), ["short"]]
    assert hold_out(few, 0, rng) == (few, [])
    with pytest.raises(DataError, match="3 lines, too few"):
        hold_out([["a", "b"], ["c"]], 0.1, rng)


@pytest.mark.parametrize(("content", "said"), [
    (b"", "a.txt: is empty"),
    (b" \n\t\n", "a.txt: has no words"),
    (b"fine\n\xff\xfe\n", "a.txt, line 2: is not UTF-8"),
    (b"fine\n\nx\x00y", "a.txt, line 3: has a zero byte"),
    (None, "a.txt: cannot be read"),
])
def test_bad_files_are_one_sentence(tmp_path: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=said) as caught:
        read_documents([tmp_path / "a.txt"])
    assert "\n" not in str(caught.value)


def test_texts_without_pairs_say_so() -> None:
    for documents in ([["d1", "d2"]], [["d1"], ["d2"]]):
        corpus = Corpus.encode(documents, WORDPIECE, 9)
        with pytest.raises(DataError, match="--no-next-sentence"):
            SampleMaker(corpus, WORDPIECE, most=12)
        assert SampleMaker(corpus, WORDPIECE, most=12, next_sentence=False).sample(np.random.default_rng(0)).ids[0] == 2
    with pytest.raises(DataError, match="has no words"):
        Corpus.encode([["\x07"], ["\t"]], WORDPIECE, 9)
