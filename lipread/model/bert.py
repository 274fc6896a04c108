"""Word ids -> what stands at masked places, and whether one text follows another.

Shapes: B sequences, L positions, D features, V pieces of the vocabulary, M masked places.
Names of parameters are those of the published checkpoints: bert.*, cls.predictions.*, cls.seq_relationship.*.
Source: Devlin et al. 2018, arXiv:1810.04805.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.config import EncoderConfig
from lipread.model.encoder import BertEncoder, BertLayer

FOLLOWS = 0  # the class "is the next one" of the next-sentence head; 1 is "comes from elsewhere"


class BertTransform(nn.Module):
    """Linear, GELU, LayerNorm."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(F.gelu(self.dense(x)))
        return out


class BertPredictions(nn.Module):
    """Masked-LM head; its output weights are the word embeddings, handed in."""

    def __init__(self, config: EncoderConfig, words: int) -> None:
        super().__init__()
        self.transform = BertTransform(config)
        self.bias = nn.Parameter(torch.zeros(words))

    def forward(self, x: Tensor, embeddings: Tensor) -> Tensor:
        return F.linear(self.transform(x), embeddings, self.bias)


class BertHeads(nn.Module):
    """Both heads, or the first alone."""

    def __init__(self, config: EncoderConfig, words: int, next_sentence: bool) -> None:
        super().__init__()
        self.predictions = BertPredictions(config, words)
        if next_sentence:
            self.seq_relationship = nn.Linear(config.hidden_size, 2)


class BertLanguageModel(nn.Module):
    """BERT with the heads it is trained with.

    Attributes:
        next_sentence: whether it has a next-sentence head. Without one the pooler is of no use and stays as it was
            made.
    """

    def __init__(self, config: EncoderConfig, *, next_sentence: bool = True) -> None:
        """Make it with random weights.

        Raises: ValueError: `config.vocab_size` is not set, or a next-sentence head with fewer than two segments.
        """
        super().__init__()
        if config.vocab_size is None:
            raise ValueError("vocab_size=None: a language model needs the size of its vocabulary")
        if next_sentence and config.type_vocab_size < 2:
            raise ValueError(f"type_vocab_size={config.type_vocab_size}: pairs of sentences need 2 segments")
        self.config = config
        self.next_sentence = next_sentence
        self.bert = BertEncoder(config)
        self.cls = BertHeads(config, config.vocab_size, next_sentence)
        for module in self.cls.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def states(self, ids: Tensor, valid: Tensor, segments: Tensor | None = None) -> Tensor:
        """Last hidden states.

        Args:
            ids: word ids (B, L).
            valid: bool (B, L), False on padding.
            segments: 0 or 1 (B, L); zeros by default.
        Returns: (B, L, D).
        Raises: ValueError: more positions than the model has.
        """
        last: Tensor = self.bert(ids, valid, segments)[-1]
        return last

    def states_at(self, ids: Tensor, valid: Tensor, places: Tensor) -> Tensor:
        """Last hidden state of one place (B,) of each sequence, (B, D): the last layer is computed there alone.

        In evaluation mode it equals `states` at these places; segments are zeros.
        """
        zeros = torch.zeros(1, 1, dtype=torch.long, device=ids.device)
        x = self.bert.embeddings(ids, zeros, torch.arange(ids.shape[1], device=ids.device)[None])
        *layers, last = self.bert.encoder.layer
        for layer in layers:
            x = layer(x, valid)
        assert isinstance(last, BertLayer)
        return _layer_at(last, x, valid, places)

    def word_logits(self, states: Tensor) -> Tensor:
        """Masked-LM head: states (..., D) -> logits of the words (..., V)."""
        logits: Tensor = self.cls.predictions(states, self.bert.embeddings.word_embeddings.weight)
        return logits

    def next_logits(self, states: Tensor) -> Tensor:
        """Next-sentence head: states (B, L, D) -> logits (B, 2) of "follows" and "comes from elsewhere".

        Raises: ValueError: the model has no such head.
        """
        if not self.next_sentence:
            raise ValueError("this model was made without a next-sentence head")
        logits: Tensor = self.cls.seq_relationship(self.bert.pooler(states))
        return logits

    def forward(
        self, ids: Tensor, valid: Tensor, segments: Tensor | None = None, masked: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Run model and heads.

        Args:
            ids, valid, segments: as `states`.
            masked: bool (B, L), where the words are asked for; everywhere by default.
        Returns: logits of the words (B, L, V), or (M, V) with `masked`; logits (B, 2) as `next_logits`, or None.
        """
        states = self.states(ids, valid, segments)
        words = self.word_logits(states if masked is None else states[masked])
        return words, self.next_logits(states) if self.next_sentence else None


def _layer_at(layer: BertLayer, x: Tensor, valid: Tensor, places: Tensor) -> Tensor:
    """Output (B, D) of a layer at one place of each sequence, without dropout."""
    attention, heads = layer.attention.self, layer.attention.self.heads
    here = x[torch.arange(len(x), device=x.device), places][:, None]  # (B, 1, D)
    q, k, v = (
        part(given).unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, 1 or L, D / heads)
        for part, given in ((attention.query, here), (attention.key, x), (attention.value, x))
    )
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None, :])
    attended = layer.attention.output(mixed.transpose(1, 2).flatten(2), here)
    out: Tensor = layer.output(layer.intermediate(attended), attended)[:, 0]
    return out
