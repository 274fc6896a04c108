"""Text files -> samples that a BERT learns from: masked words, and pairs of which one part may follow the other.

A document is what stands between empty lines, or a file where no file has any. A single document is cut into blocks of
`BLOCK_SENTENCES` lines, which then count as documents: "from elsewhere" means another block. A sentence is a line.

Shapes: P pieces of all text, S sentences, D documents, L positions of a sample, B samples.
Source: Devlin et al. 2018, arXiv:1810.04805, and the whole-word masking that its authors published later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lipread.errors import DataError
from lipread.files import PathLike, read_text
from lipread.wordpiece import NO_WORD, SPECIAL, WordPiece, fitting

BLOCK_SENTENCES = 64
MASK_SHARE = 0.15  # of the words
MASKED, KEPT = 0.8, 0.1  # of those words; the others become random pieces
REAL_SHARE = 0.5  # of the pairs
SHORT_SHARE = 0.5  # of samples with one sentence per part, as rescoring has them; the others are longer
SINGLE_SHARE = 0.5  # of samples without a second part, as rescoring has them, where there are pairs at all
IGNORED = -100  # label where nothing is asked, as cross_entropy has it
NEXT, ELSEWHERE = 0, 1

Ints = npt.NDArray[np.int64]
Document = list[str]


def read_documents(paths: Sequence[PathLike]) -> list[Document]:
    """Text files in UTF-8 -> documents, each a list of lines with something on them.

    Raises: DataError: a file cannot be read, is not UTF-8 text, or has no words.
    """
    files = [_read_blocks(path) for path in paths]
    documents = [block for blocks in files for block in blocks]
    if all(len(blocks) == 1 for blocks in files) and len(documents) == 1:
        lines = documents[0]
        size = min(BLOCK_SENTENCES, max(2, len(lines) // 2))
        documents = [lines[first : first + size] for first in range(0, len(lines), size)]
    return documents


def _read_blocks(path: PathLike) -> list[Document]:
    """What stands between empty lines in a file."""
    blocks: list[Document] = [[]]
    for line in read_text(path).split("\n"):
        if line.strip():
            blocks[-1].append(line.strip())
        elif blocks[-1]:
            blocks.append([])
    return [block for block in blocks if block]


def hold_out(
    documents: Sequence[Document], share: float, rng: np.random.Generator
) -> tuple[list[Document], list[Document]]:
    """Documents to train on, and those to measure on: whole ones, or the ends of all where there are few.

    Args:
        share: of the documents (or of the lines of each) that is held out; 0 for nothing.
    Raises: DataError: the text is too short to hold anything out.
    """
    if not share:
        return list(documents), []
    if (count := round(share * len(documents))) >= 2:
        chosen = set(rng.choice(len(documents), count, replace=False).tolist())
        kept = [each for number, each in enumerate(documents) if number not in chosen]
        return kept, [documents[number] for number in sorted(chosen)]
    ends = [max(2, round(share * len(each))) if len(each) >= 4 else 0 for each in documents]
    held = [each[len(each) - end :] for each, end in zip(documents, ends, strict=True) if end]
    if len(held) < 2:
        lines = sum(map(len, documents))
        raise DataError(f"the text has {lines} lines, too few to hold out a share of {share}; give more, or share 0")
    return [each[: len(each) - end] for each, end in zip(documents, ends, strict=True)], held


@dataclass(frozen=True)
class Corpus:
    """Documents as piece ids.

    Attributes:
        pieces: (P,) ids.
        begins: (P,) bool, whether a piece is the first of its word.
        sentences: (S + 1,) where each sentence begins in `pieces`, then P.
        documents: (D + 1,) where each document begins in `sentences`, then S.
    """

    pieces: Ints
    begins: npt.NDArray[np.bool_]
    sentences: Ints
    documents: Ints

    @classmethod
    def encode(cls, documents: Sequence[Document], wordpiece: WordPiece, longest: int) -> Corpus:
        """Split documents into pieces; a line of more than `longest` pieces becomes several, cut between words.

        Raises: DataError: there is nothing in them.
        """
        pieces: list[int] = []
        begins: list[bool] = []
        sentences, ends = [0], [0]
        for document in documents:
            for ids, words in wordpiece.split_all(document):
                first = [number == 0 or word != words[number - 1] for number, word in enumerate(words)]
                start = 0
                while start < len(ids):
                    stop = start + longest
                    if stop < len(ids):
                        stop = next((at for at in range(stop, start, -1) if first[at]), stop)
                    pieces += ids[start:stop]
                    begins += first[start:stop]
                    sentences.append(len(pieces))
                    start = stop
            if len(sentences) - 1 > ends[-1]:
                ends.append(len(sentences) - 1)
        if not pieces:
            raise DataError("the text has no words; write one sentence a line")
        return cls(np.array(pieces), np.array(begins), np.array(sentences), np.array(ends))


@dataclass(frozen=True)
class Sample:
    """One sequence to learn from.

    Attributes:
        ids: (L,) what the model sees.
        segments: (L,) 0, or 1 for the second part.
        labels: (L,) the piece that was there, where the model is asked; `IGNORED` elsewhere.
        follows: `NEXT` or `ELSEWHERE`; `IGNORED` where there is one part.
    """

    ids: Ints
    segments: Ints
    labels: Ints
    follows: int


@dataclass(frozen=True)
class SampleBatch:
    """Samples with padding: (B, L), `valid` bool, `labels` as in `Sample`; follows (B,)."""

    ids: Tensor
    segments: Tensor
    valid: Tensor
    labels: Tensor
    follows: Tensor


class SampleMaker:
    """Draws samples from a corpus."""

    def __init__(self, corpus: Corpus, wordpiece: WordPiece, *, most: int, next_sentence: bool = True) -> None:
        """Take what samples are drawn from.

        Args:
            most: longest sample, with [CLS] and [SEP].
            next_sentence: draw pairs, too.
        Raises: DataError: pairs are wanted, but no document has two sentences, or there is only one document.
        """
        self.corpus, self.wordpiece, self.most, self.next_sentence = corpus, wordpiece, most, next_sentence
        special = {wordpiece.pieces.index(piece) for piece in SPECIAL}
        self._ordinary = np.array([row for row in range(len(wordpiece.pieces)) if row not in special])
        every = np.arange(len(corpus.sentences) - 1)
        self._followed = np.setdiff1d(every, corpus.documents[1:] - 1)  # sentences with another after them
        if next_sentence and (len(corpus.documents) < 3 or not len(self._followed)):
            raise DataError(
                "pairs of sentences need at least two documents, one of them with two lines; put empty lines between "
                "documents, give more text, or train with --no-next-sentence"
            )

    def batch(self, size: int, rng: np.random.Generator) -> SampleBatch:
        """Draw samples and pad them to the longest."""
        samples = [self.sample(rng) for _ in range(size)]
        longest = max(len(each.ids) for each in samples)

        def padded(rows: Sequence[Ints], value: int) -> Tensor:
            return torch.from_numpy(
                np.stack([np.pad(row, (0, longest - len(row)), constant_values=value) for row in rows])
            )

        return SampleBatch(
            padded([each.ids for each in samples], self.wordpiece.pad),
            padded([each.segments for each in samples], 0),
            padded([np.ones_like(each.ids) for each in samples], 0).bool(),
            padded([each.labels for each in samples], IGNORED),
            torch.tensor([each.follows for each in samples]),
        )

    def sample(self, rng: np.random.Generator) -> Sample:
        """Draw one."""
        if self.next_sentence and rng.random() >= SINGLE_SHARE:
            first, second, follows = self.pair(rng)
            parts = [first, second]
        else:
            parts, follows = [self._single(rng)], IGNORED
        ids, words, segments = [np.array([self.wordpiece.begin])], [np.array([NO_WORD])], [np.array([0])]
        count = 0
        for segment, part in enumerate(parts):
            numbers = _words(self.corpus.begins[part]) + count
            count = int(numbers[-1]) + 1
            ids += [self.corpus.pieces[part], np.array([self.wordpiece.end])]
            words += [numbers, np.array([NO_WORD])]
            segments.append(np.full(len(numbers) + 1, segment))
        shown, labels = self.mask(np.concatenate(ids), np.concatenate(words), rng)
        return Sample(shown, np.concatenate(segments), labels, follows)

    def mask(self, ids: Ints, words: Ints, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Mask `MASK_SHARE` of the words, at least one; all pieces of a word meet the same fate.

        Args:
            ids: (L,) pieces.
            words: (L,) number of the word of each, 0, 1, 2, ...; `NO_WORD` for special pieces.
        Returns: what the model sees (L,), and labels (L,).
        """
        count = int(words.max()) + 1
        wanted = MASK_SHARE * count
        chosen = rng.choice(count, max(1, int(wanted) + (rng.random() < wanted % 1)), replace=False)
        fates = np.full(count + 1, 2.0)  # the last one is for special pieces
        fates[chosen] = rng.random(len(chosen))
        fate = fates[words]  # (L,)
        shown = np.where(fate < MASKED, self.wordpiece.mask, ids)
        random = (fate >= MASKED + KEPT) & (fate < 1)
        shown[random] = rng.choice(self._ordinary, int(random.sum()))
        return shown, np.where(fate < 1, ids, IGNORED)

    def _single(self, rng: np.random.Generator) -> slice:
        """A run of sentences of one document, cut at its end."""
        room = self.most - 2
        start = int(rng.integers(len(self.corpus.sentences) - 1))
        begin = self.corpus.sentences[start]
        return slice(begin, min(begin + room, self.corpus.sentences[self._run(start, 1, _target(room, rng))]))

    def pair(self, rng: np.random.Generator) -> tuple[slice, slice, int]:
        """Two runs of sentences as slices of the pieces, and `NEXT` or `ELSEWHERE`; they fit together into a sample.

        The first run is cut at its beginning and the second at its end, from the longer one.
        """
        bounds, room = self.corpus.sentences, self.most - 3
        start = int(rng.choice(self._followed))
        target = _target(room, rng)
        stop = self._run(start, 2, target)
        middle = int(rng.integers(start + 1, stop))
        follows, begin, end = NEXT, middle, stop
        if rng.random() >= REAL_SHARE:
            low, high = self._document(start)
            begin = int(rng.integers(len(bounds) - 1 - (high - low)))
            begin += high - low if begin >= low else 0  # any sentence of another document
            follows, end = ELSEWHERE, self._run(begin, 1, target - int(bounds[middle] - bounds[start]))
        first, second = fitting(int(bounds[middle] - bounds[start]), int(bounds[end] - bounds[begin]), room)
        return slice(bounds[middle] - first, bounds[middle]), slice(bounds[begin], bounds[begin] + second), follows

    def _run(self, start: int, least: int, target: int) -> int:
        """Where a run of sentences ends: `target` pieces are reached, or the document ends; `least` sentences."""
        reached = int(np.searchsorted(self.corpus.sentences, self.corpus.sentences[start] + target))
        return min(max(reached, start + least), self._document(start)[1])

    def _document(self, sentence: int) -> tuple[int, int]:
        """First sentence of the document of a sentence, and the one after its last."""
        number = int(np.searchsorted(self.corpus.documents, sentence, side="right"))
        return int(self.corpus.documents[number - 1]), int(self.corpus.documents[number])


def _target(room: int, rng: np.random.Generator) -> int:
    """Pieces that a sample should have: as few as possible, or any number up to what fits."""
    return 0 if rng.random() < SHORT_SHARE else int(rng.integers(1, room + 1))


def _words(begins: npt.NDArray[np.bool_]) -> Ints:
    """Numbers of the words 0, 1, 2, ...; what a cut left of a word is one, too."""
    numbers: Ints = np.cumsum(begins) - int(begins[0])
    return numbers
