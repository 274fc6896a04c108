"""CTC log-probabilities -> the best texts by prefix beam search, with a lexicon and an n-gram language model if wanted.

decoder = BeamDecoder(alphabet, lexicon=read_lexicon("words.txt", alphabet), lm="words.arpa")
decoder.decode(log_probs)[0].text

The beam holds prefixes: sequences of symbols, each with the probability of all paths that wrote it so far. What it
leaves in the end is summed up exactly, over all paths of each text: scores do not depend on what the beam dropped.

torchaudio's decoder (flashlight) is not used. With a lexicon it needs a silence symbol at the end of each word; without
one a word's last symbol can last a single frame only, and our words end so: a word whose symbol has the probability
0.98 in both of two frames gets 0.02 there, and should get 0.96. Without a lexicon it keeps all that it tried in every
frame, 3 GB in ten minutes, and its n-grams cannot read symbols for whole words. The tests compare with it elsewhere.

Shapes: T frames, V symbols (0 = blank), B prefixes in the beam.
Source: Hannun et al. 2014, arXiv:1408.2873, for prefix beam search with a language model.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from lipread.alphabet import BLANK, Alphabet
from lipread.decoding.beam_prefix import Prefix, Writer
from lipread.decoding.greedy import check_log_probs, greedy_decode
from lipread.decoding.lexicon import Lexicon, read_lexicon
from lipread.decoding.lm import Unit
from lipread.decoding.ngram_binary import Ngrams, load_ngrams
from lipread.decoding.text_probability import TextGraph
from lipread.errors import ConfigError, DataError
from lipread.files import PathLike
from lipread.values import LOWEST_LOG_PROB, Array, Hypothesis

__all__ = ["BeamDecoder", "read_lexicon"]

Floats = npt.NDArray[np.float64]
MOST_EXACT = 10_000_000  # frames x arcs that are summed up exactly: about half a second


class BeamDecoder:
    """Finds the texts that fit log-probabilities best.

    Args:
        alphabet: of the log-probabilities.
        beam_size: prefixes that are kept from frame to frame.
        nbest: length of the list; at most `beam_size` texts can be found.
        lexicon: the only words that may be written; None: any.
        lm: n-gram of words or characters: an ARPA file (also gzipped), a binary file of KenLM, or one that was loaded.
        lm_unit: "word" or "char"; None: the file shows it.
        lm_weight: of the language model's natural-log score.
        word_score: added per word.
    Raises:
        ConfigError: an option cannot work.
        DataError: a word cannot be spelled, or the language model is damaged or knows nothing that can be written.
        MissingDependencyError: the language model is binary, and flashlight-text is absent.
    """

    def __init__(
        self,
        alphabet: Alphabet,
        *,
        beam_size: int = 50,
        nbest: int = 10,
        lexicon: Sequence[str] | None = None,
        lm: PathLike | Ngrams | None = None,
        lm_unit: Unit | None = None,
        lm_weight: float = 0.5,
        word_score: float = 0.0,
    ) -> None:
        for name, value in (("beam_size", beam_size), ("nbest", nbest)):
            if value < 1:
                raise ConfigError(f"{name}={value} must be at least 1")
        if not 0 <= lm_weight < math.inf:
            raise ConfigError(f"lm_weight={lm_weight} must be a number from 0 on")
        if not math.isfinite(word_score):
            raise ConfigError(f"word_score={word_score} must be a finite number")
        if lm_unit not in (None, "word", "char"):
            raise ConfigError(f"lm_unit={lm_unit!r} is neither 'word' nor 'char'")
        self.alphabet, self.beam_size, self.nbest = alphabet, beam_size, nbest
        self.lexicon = None if lexicon is None else Lexicon(lexicon, alphabet)
        self.lm: Ngrams | None = None
        if isinstance(lm, (str, os.PathLike)):
            letters = [symbol for symbol in alphabet.symbols[1:] if len(symbol) == 1]
            self.lm = load_ngrams(lm, lm_unit, self.lexicon.words if self.lexicon else None, letters)
        elif lm is not None:
            self.lm = lm
        if self.lm is not None:
            check_knows(self.lm, str(lm) if isinstance(lm, (str, os.PathLike)) else "lm", alphabet, self.lexicon)
        self.lm_weight = lm_weight if self.lm is not None else 0.0
        self.word_score = word_score
        self._writer = Writer(alphabet, self.lm)
        self._rows: dict[tuple[str, bool, bool], int] = {}  # situation -> row of `_allowed`
        self._allowed = np.zeros((0, alphabet.size - 1), dtype=bool)

    def decode(self, log_probs: Array) -> tuple[Hypothesis, ...]:
        """Find the best texts.

        Args:
            log_probs: natural-log probabilities, float, shape (T, V); below `LOWEST_LOG_PROB` counts as that.
        Returns: distinct texts, best first, one at least. acoustic_score is log P(text | frames), over all paths that
            write the text (past `MOST_EXACT`, over those that the beam kept); lm_score is the language model's natural
            log of the text with its end; score is acoustic_score + lm_weight x lm_score + word_score x words. Without
            a lexicon the text of the greedy decoder is always among the candidates.
        Raises: ConfigError: the log-probabilities do not fit the alphabet.
        """
        check_log_probs(log_probs, self.alphabet)
        kept: dict[str, float] = {}  # text -> log-probability of its paths in the beam
        ranks: dict[str, float] = {}
        for prefix, acoustic in self._ends(self._search(log_probs)):
            text = " ".join(self.alphabet.decode(prefix.symbols()).split())
            kept[text] = np.logaddexp(kept.get(text, -np.inf), acoustic)
            ranks[text] = kept[text] + self._bonus(self._writer.end(prefix))
        texts = sorted(ranks, key=lambda text: -ranks[text])[: self.nbest]
        greedy = greedy_decode(log_probs, self.alphabet)
        if self.lexicon is None or self.lexicon.allows(greedy.text):
            kept[greedy.text] = max(greedy.acoustic_score, kept.get(greedy.text, -np.inf))
            texts = list(dict.fromkeys([*texts, greedy.text]))
        acoustic_scores = self._acoustic_scores(log_probs, texts, kept)
        lm_scores = [0.0] * len(texts) if self.lm is None else self.lm.scores(texts)
        found = [
            Hypothesis(text, acoustic + self._bonus((lm_score, len(text.split()))), acoustic, lm_score)
            for text, acoustic, lm_score in zip(texts, acoustic_scores, lm_scores, strict=True)
        ]
        return tuple(sorted(found, key=lambda each: -each.score)[: min(self.nbest, self.beam_size)])

    def _acoustic_scores(self, log_probs: Array, texts: Sequence[str], kept: dict[str, float]) -> list[float]:
        if len(log_probs) * 2 * sum(len(text) + 1 for text in texts) > MOST_EXACT:
            return [float(kept[text]) for text in texts]
        return [float(score) for score in TextGraph(texts, self.alphabet).log_probabilities(log_probs)]

    def _bonus(self, written: tuple[float, int]) -> float:
        lm_score, words = written
        return self.lm_weight * lm_score + self.word_score * words

    def _ends(self, beam: Sequence[tuple[Prefix, float]]) -> Iterator[tuple[Prefix, float]]:
        """What may be the end; where all words are unfinished, what is before them."""
        if self.lexicon is None:
            yield from beam
            return
        whole = [(prefix, score) for prefix, score in beam if not prefix.word or prefix.word in self.lexicon.words]
        for prefix, score in whole or beam:
            while prefix.word and prefix.word not in self.lexicon.words and prefix.before is not None:
                prefix = prefix.before
            yield prefix, score

    def _search(self, log_probs: Array) -> list[tuple[Prefix, float]]:
        """The beam after the last frame, with the log-probability of each prefix."""
        guided = self.lm is not None or self.word_score != 0
        most = self.beam_size * (2 if guided else 1)  # candidates that are looked at closely
        beam = [self._writer.start]
        blank, symbol = np.zeros(1), np.full(1, -np.inf)  # (B,), (B,) the last frame is a blank, or the last symbol
        last, bonus = np.zeros(1, dtype=np.int64), np.zeros(1)  # (B,), (B,)
        for frame in np.maximum(log_probs.astype(np.float64), LOWEST_LOG_PROB):  # (V,)
            size = len(beam)
            total = np.logaddexp(blank, symbol)
            stay_blank, stay_symbol = total + frame[BLANK], symbol + frame[last]
            longer = total[:, None] + frame[1:]  # (B, V - 1)
            written = np.flatnonzero(last)
            longer[written, last[written] - 1] = blank[written] + frame[last[written]]  # a blank between equal symbols
            if self.lexicon is not None:
                longer[~self._allowed_next(beam)] = -np.inf
            self._merge(beam, last, longer, stay_symbol)
            ranks = np.concatenate([np.logaddexp(stay_blank, stay_symbol) + bonus, (longer + bonus[:, None]).ravel()])
            chosen = _best(ranks, most)
            stays, extended = chosen[chosen < size], chosen[chosen >= size] - size
            parents, symbols = extended // longer.shape[1], extended % longer.shape[1] + 1
            children = [
                self._writer.extend(beam[parent], number)
                for parent, number in zip(parents.tolist(), symbols.tolist(), strict=True)
            ]
            new_bonus = [self._bonus((child.lm_score, child.words)) for child in children] if guided else 0.0
            beam = [beam[place] for place in stays.tolist()] + children
            blank = np.concatenate([stay_blank[stays], np.full(len(children), -np.inf)])
            symbol = np.concatenate([stay_symbol[stays], longer[parents, symbols - 1]])
            last = np.concatenate([last[stays], symbols])
            bonus = np.concatenate([bonus[stays], np.zeros(len(children)) + new_bonus])
            if len(beam) > self.beam_size:
                chosen = _best(np.logaddexp(blank, symbol) + bonus, self.beam_size)
                beam = [beam[place] for place in chosen.tolist()]
                blank, symbol, last, bonus = blank[chosen], symbol[chosen], last[chosen], bonus[chosen]
        return list(zip(beam, np.logaddexp(blank, symbol).tolist(), strict=True))

    @staticmethod
    def _merge(beam: Sequence[Prefix], last: npt.NDArray[np.int64], longer: Floats, stay_symbol: Floats) -> None:
        """Where a prefix of the beam is another one and a symbol more, its extension goes there."""
        places = {prefix.key: place for place, prefix in enumerate(beam)}
        pairs = [(places.get(prefix.before_key, -1), place) for place, prefix in enumerate(beam)]
        known = np.array([pair for pair in pairs if pair[0] >= 0], dtype=np.int64).reshape(-1, 2)
        parents, places_of = known[:, 0], known[:, 1]
        columns = last[places_of] - 1
        stay_symbol[places_of] = np.logaddexp(stay_symbol[places_of], longer[parents, columns])
        longer[parents, columns] = -np.inf

    def _allowed_next(self, beam: Sequence[Prefix]) -> npt.NDArray[np.bool_]:
        """Symbols that the lexicon lets follow each prefix, (B, V - 1)."""
        assert self.lexicon is not None
        places = []
        for prefix in beam:
            situation = (prefix.word, prefix.whole, prefix.before is not None)
            if situation not in self._rows:
                row = self.lexicon.may_follow(prefix.word, whole=prefix.whole, begun=prefix.before is not None)
                self._rows[situation] = len(self._rows)
                if len(self._rows) > len(self._allowed):  # room for twice as many
                    more = np.zeros((max(64, len(self._allowed)), self._allowed.shape[1]), dtype=bool)
                    self._allowed = np.concatenate([self._allowed, more])
                self._allowed[self._rows[situation]] = row
            places.append(self._rows[situation])
        return self._allowed[places]


def _best(ranks: Floats, most: int) -> npt.NDArray[np.int64]:
    """Places of the highest ranks, at most so many; none that is impossible."""
    places = np.argpartition(-ranks, most - 1)[:most] if len(ranks) > most else np.arange(len(ranks))
    possible: npt.NDArray[np.int64] = places[ranks[places] > -np.inf]
    return possible


def check_knows(lm: Ngrams, name: str, alphabet: Alphabet, lexicon: Lexicon | None = None) -> None:
    """Raises: DataError: the language model knows nothing that can be written."""
    letters = {symbol for symbol in alphabet.symbols if len(symbol) == 1} - {" "}
    if lm.unit == "char":
        if lm.vocabulary.isdisjoint(letters) and lm.vocabulary.isdisjoint(map(str.upper, letters)):
            shown = "".join(sorted(letters))
            raise DataError(f"{name}: is a language model of characters, and knows none of {shown!r}; give another one")
    elif lexicon is not None:
        if not any(lm.vocabulary.intersection(lm.tokens(word)) for word in lexicon.words):
            shown = ", ".join(map(repr, sorted(lexicon.words)[:3]))
            raise DataError(
                f"{name}: is a language model of words, and knows none of the lexicon's ({shown}, ...); "
                "give one of the same language and unit"
            )
    elif not any(letters.issuperset(word.lower()) or f" {word.lower()}" in alphabet.symbols for word in lm.vocabulary):
        shown = ", ".join(map(repr, sorted(lm.vocabulary)[:3])) or "none"
        raise DataError(f"{name}: the alphabet can spell none of its words ({shown}, ...); give another one")
