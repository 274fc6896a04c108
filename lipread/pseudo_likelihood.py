"""Texts -> pseudo-log-likelihoods: each piece is masked in turn, and what a BERT thinks of it there is added up.

Source: Salazar et al. 2020, arXiv:1910.14659.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F

from lipread.bert_folder import load_bert
from lipread.errors import ConfigError
from lipread.files import PathLike
from lipread.model.bert import FOLLOWS, BertLanguageModel
from lipread.wordpiece import WordPiece

BATCH_POSITIONS = 1024  # of a batch, padding included: it stays in the processor's cache

Copy = tuple[int, ...]  # ids of a sequence, one of them [MASK]


class BertScorer:
    """Scores texts with a BERT; a `SentenceScorer`.

    The score is natural-log and not normalised: longer texts score lower, and an empty one scores 0. An unknown word
    counts as [UNK]. A text that is longer than the model's positions is scored in parts that fit.
    """

    def __init__(self, model: BertLanguageModel, wordpiece: WordPiece) -> None:
        """Take the model, which goes to evaluation mode."""
        self.model, self.wordpiece = model.eval(), wordpiece
        self._device = next(model.parameters()).device

    def knows(self, text: str) -> bool:
        """Whether any part of a text is in the vocabulary."""
        return not set(self.wordpiece.split(text)[0]) <= {self.wordpiece.unknown}

    @torch.inference_mode()
    def scores(self, texts: Sequence[str]) -> list[float]:
        """Pseudo-log-likelihood of each text; copies that several texts have in common are computed once."""
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        asked: defaultdict[Copy, list[tuple[int, int]]] = defaultdict(list)  # copy -> (id that was there, row of text)
        for text, row in rows.items():
            for copy, masked in self._copies(text):
                asked[copy].append((masked, row))
        totals = [0.0] * len(rows)
        for batch in _batches(sorted(asked, key=len)):
            wanted = [(number, *each) for number, copy in enumerate(batch) for each in asked[copy]]
            numbers, words, owners = zip(*wanted, strict=True)
            found = self._log_probs(batch)[list(numbers), list(words)].tolist()
            for owner, log_prob in zip(owners, found, strict=True):
                totals[owner] += log_prob
        return [totals[rows[text]] for text in texts]

    @property
    def can_follow(self) -> bool:
        """Whether it can tell which text follows another."""
        return self.model.next_sentence

    @torch.inference_mode()
    def next_score(self, previous: str, text: str) -> float:
        """Natural-log probability that a text follows the previous one, by the next-sentence head.

        Raises: ConfigError: the model has none.
        """
        if not self.model.next_sentence:
            raise ConfigError("next_weight: this BERT has no next-sentence head; set it to 0 or choose another model")
        pair = self.wordpiece.encode(previous, text, most=self.model.config.max_position_embeddings)
        ids, segments = (torch.tensor([each], device=self._device) for each in (pair.ids, pair.segments))
        logits = self.model.next_logits(self.model.states(ids, torch.ones_like(ids, dtype=torch.bool), segments))
        return float(F.log_softmax(logits[0], dim=-1)[FOLLOWS])

    def _copies(self, text: str) -> Iterator[tuple[Copy, int]]:
        """The sequence(s) of a text with each piece masked in turn, and the piece that was there."""
        ids, _ = self.wordpiece.split(text)
        room = self.model.config.max_position_embeddings - 2
        for first in range(0, len(ids), room):
            part = ids[first : first + room]
            for place, masked in enumerate(part):
                before, after = part[:place], part[place + 1 :]
                yield (self.wordpiece.begin, *before, self.wordpiece.mask, *after, self.wordpiece.end), masked

    def _log_probs(self, copies: Sequence[Copy]) -> torch.Tensor:
        """Log-probabilities of the words at the mask of each copy, (B, V)."""
        longest = max(map(len, copies))
        padded = [[*copy, *[self.wordpiece.pad] * (longest - len(copy))] for copy in copies]
        ids = torch.tensor(padded, device=self._device)  # (B, L)
        lengths = torch.tensor([len(copy) for copy in copies], device=self._device)
        valid = torch.arange(longest, device=self._device)[None] < lengths[:, None]
        places = torch.tensor([copy.index(self.wordpiece.mask) for copy in copies], device=self._device)
        return F.log_softmax(self.model.word_logits(self.model.states_at(ids, valid, places)), dim=-1)


def _batches(copies: Sequence[Copy]) -> Iterator[Sequence[Copy]]:
    """Copies in ascending length -> batches of at most `BATCH_POSITIONS` positions (or one copy)."""
    first = 0
    for end in range(1, len(copies) + 1):
        if end == len(copies) or (end + 1 - first) * len(copies[end]) > BATCH_POSITIONS:
            yield copies[first:end]
            first = end


def load_scorer(folder: PathLike) -> BertScorer:
    """Read a folder as `load_bert` does."""
    return BertScorer(*load_bert(folder))
