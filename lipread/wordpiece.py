"""Text -> WordPiece ids, by the `tokenizers` library.

Basic tokenisation first: white space, punctuation and Chinese characters stand apart; lower-casing takes accents away.
Then each word is the longest known piece, and the longest known "##piece" after it, and so on; a word for which that
fails is [UNK] as a whole.
Source: Devlin et al. 2018, arXiv:1810.04805; Wu et al. 2016, arXiv:1609.08144.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lipread.errors import ConfigError, DataError, MissingDependencyError
from lipread.files import PathLike, write_text

if TYPE_CHECKING:
    import tokenizers

PAD, UNKNOWN, BEGIN, END, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CONTINUED = "##"  # before a piece that is not the first of its word
MOST_CHARACTERS = 1000  # of a trained vocabulary, the most frequent ones; words with others are [UNK]
NO_WORD = -1  # in place of the word's number, for [CLS] and [SEP]


@dataclass(frozen=True)
class Encoded:
    """A text, or a pair of texts, as BERT takes it: [CLS] first [SEP] second [SEP].

    Attributes:
        ids: (L,) row of each piece in the vocabulary.
        segments: (L,) 0 up to the first [SEP], 1 after it.
        words: (L,) the same number for all pieces of a word: 0, 1, 2, ...; `NO_WORD` for [CLS] and [SEP].
    """

    ids: tuple[int, ...]
    segments: tuple[int, ...]
    words: tuple[int, ...]


class WordPiece:
    """A vocabulary of pieces, and how text is split before.

    Attributes:
        pieces: the vocabulary; the row of a piece is its id.
        pad, unknown, begin, end, mask: ids of [PAD], [UNK], [CLS], [SEP] and [MASK].
    """

    def __init__(
        self, pieces: Sequence[str], *, lower_case: bool = True, strip_accents: bool | None = None,
        split_chinese: bool = True, origin: str = "vocabulary",
    ) -> None:
        """Take a vocabulary.

        Args:
            pieces: each once.
            lower_case: make text lower case.
            strip_accents: take accents away; by default where text is made lower case.
            split_chinese: every Chinese character is a word.
            origin: of the vocabulary, for errors.
        Raises: DataError: a piece is there twice, or a special one is missing.
            MissingDependencyError: `tokenizers` is absent.
        """
        self.pieces = tuple(pieces)
        self.lower_case, self.strip_accents, self.split_chinese = lower_case, strip_accents, split_chinese
        row = {piece: index for index, piece in enumerate(self.pieces)}
        if len(row) < len(self.pieces):
            piece, count = Counter(self.pieces).most_common(1)[0]
            raise DataError(f"{origin}: the piece {piece!r} is there {count} times; leave it there once")
        if missing := [piece for piece in SPECIAL if piece not in row]:
            raise DataError(f"{origin}: has no {missing[0]}, so it is not the vocabulary of a BERT; give its vocab.txt")
        self.pad, self.unknown, self.begin, self.end, self.mask = (row[piece] for piece in SPECIAL)
        self._tokenizer = _tokenizer(row, lower_case, strip_accents, split_chinese)

    @classmethod
    def train(cls, texts: Sequence[str], size: int, *, least_count: int = 2) -> WordPiece:
        """Learn a vocabulary from text, the same one every time.

        Args:
            texts: what to learn from.
            size: most pieces, special ones included; there are fewer where the text has no more.
            least_count: pieces longer than a character occur at least so often.
        Raises: DataError: the text has no words. ConfigError: `size` is too small for the text's characters.
            MissingDependencyError: `tokenizers` is absent.
        """
        learner = _tokenizer({}, True, None, True)
        from tokenizers import trainers

        counts: Counter[str] = Counter()
        for text in texts:
            split = learner.pre_tokenizer.pre_tokenize_str(learner.normalizer.normalize_str(text))
            counts.update(word for word, _ in split)
        if not counts:
            raise DataError("the text has no words to make a vocabulary of; write one sentence a line")
        characters: Counter[str] = Counter()
        for word, count in counts.items():
            for character in word:
                characters[character] += count
        kept = set(sorted(characters, key=lambda each: (-characters[each], each))[:MOST_CHARACTERS])
        continued = sorted({CONTINUED + each for word in counts for each in word[1:] if each in kept})
        if (least := len(SPECIAL) + len(kept) + len(continued)) > size:
            raise ConfigError(
                f"vocab={size} is too small for the {len(kept)} characters of the text, which need {least} pieces; "
                f"give at least {least}"
            )
        trainer = trainers.WordPieceTrainer(
            vocab_size=size, min_frequency=least_count, show_progress=False, initial_alphabet=sorted(kept),
            limit_alphabet=len(kept),
            special_tokens=[*SPECIAL, *continued],  # in this order; left to the trainer, it would differ between runs
        )
        learner.train_from_iterator(texts, trainer)
        rows = learner.get_vocab()
        return cls(sorted(rows, key=lambda piece: rows[piece]))

    @classmethod
    def load(
        cls, path: PathLike, *, lower_case: bool = True, strip_accents: bool | None = None, split_chinese: bool = True
    ) -> WordPiece:
        """Read a vocab.txt, one piece a line.

        Raises: DataError: it cannot be read, or is no vocabulary of a BERT. MissingDependencyError: as above.
        """
        try:
            text = Path(path).read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: is not UTF-8 text ({error.reason}); give the vocab.txt of a BERT") from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error}); give a vocab.txt") from error
        pieces = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
        return cls(
            pieces, lower_case=lower_case, strip_accents=strip_accents, split_chinese=split_chinese, origin=str(path)
        )

    def save(self, path: PathLike) -> None:
        """Write a vocab.txt. Raises: OutputError: it cannot be written."""
        write_text(path, "".join(f"{piece}\n" for piece in self.pieces))

    def split(self, text: str) -> tuple[list[int], list[int]]:
        """Ids of the pieces of a text, and the number of the word of each: 0, 1, 2, ..."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        return found.ids, _word_numbers(found)

    def split_all(self, texts: Sequence[str]) -> list[tuple[list[int], list[int]]]:
        """As `split`, of many texts at once."""
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [(each.ids, _word_numbers(each)) for each in found]

    def encode(self, text: str, second: str | None = None, *, most: int | None = None) -> Encoded:
        """A text, or a pair, with [CLS] and [SEP].

        Args:
            most: longest result; a single text loses its end. Of a pair, what is far from where they meet goes: the
                beginning of the first, the end of the second, from the longer one until they are equally long.
        """
        ids, words = self.split(text)
        if second is None:
            kept = len(ids) if most is None else max(0, min(len(ids), most - 2))
            ids, words = ids[:kept], words[:kept]
            return Encoded(
                (self.begin, *ids, self.end), (0,) * (kept + 2), (NO_WORD, *words, NO_WORD)
            )
        other, other_words = self.split(second)
        keep, keep_other = fitting(len(ids), len(other), len(ids) + len(other) if most is None else most - 3)
        ids, words = ids[len(ids) - keep :], words[len(words) - keep :]
        after = words[-1] + 1 if words else 0
        first = words[0] if words else 0
        return Encoded(
            (self.begin, *ids, self.end, *other[:keep_other], self.end),
            (0,) * (keep + 2) + (1,) * (keep_other + 1),
            (NO_WORD, *(word - first for word in words), NO_WORD,
             *(after - first + word for word in other_words[:keep_other]), NO_WORD),
        )


def fitting(first: int, second: int, room: int) -> tuple[int, int]:
    """How much of two lengths is kept so that their sum is at most `room`: the longer one gives way."""
    half = max(0, room) // 2
    if first + second <= room:
        return first, second
    if first <= half:
        return first, room - first
    if second <= half:
        return room - second, second
    return max(0, room) - half, half


def _word_numbers(found: tokenizers.Encoding) -> list[int]:
    return [0 if number is None else number for number in found.word_ids]  # None: only of special pieces


def _tokenizer(
    rows: dict[str, int], lower_case: bool, strip_accents: bool | None, split_chinese: bool
) -> tokenizers.Tokenizer:
    try:
        from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    except ImportError as error:
        raise MissingDependencyError(
            "a BERT language model needs the package tokenizers; pip install tokenizers"
        ) from error
    made = Tokenizer(models.WordPiece(rows, unk_token=UNKNOWN, continuing_subword_prefix=CONTINUED))
    made.normalizer = normalizers.BertNormalizer(
        lowercase=lower_case, strip_accents=strip_accents, handle_chinese_chars=split_chinese, clean_text=True
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return made
