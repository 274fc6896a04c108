"""A BERT encoder, for video features or for words.

Shapes: B sequences, T positions, D = hidden_size.
Source: Devlin et al. 2018, arXiv:1810.04805. Parameter names are those of the published PyTorch checkpoints, so that
their state dicts load as they are; activations follow them too (GELU by the error function, LayerNorm after residuals).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.config import EncoderConfig
from lipread.model.context import Context


class BertEmbeddings(nn.Module):
    """Input + position + segment, LayerNorm, Dropout."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        if config.vocab_size is not None:
            self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, inputs: Tensor, segments: Tensor, positions: Tensor) -> Tensor:
        """Features (B, T, D) or word ids (B, T); segments and positions (B, T) or (1, T) -> (B, T, D)."""
        x = inputs if inputs.is_floating_point() else self.word_embeddings(inputs)
        x = x + self.token_type_embeddings(segments) + self.position_embeddings(positions)
        out: Tensor = self.dropout(self.LayerNorm(x))
        return out


class BertSelfAttention(nn.Module):
    """Masked multi-head self-attention with its own dropout."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(config.hidden_size, config.hidden_size)
        self.value = nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = config.attention_probs_dropout_prob

    def forward(self, x: Tensor, valid: Tensor, context: Context | None = None) -> Tensor:
        q, k, v = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, T, D / heads)
            for part in (self.query, self.key, self.value)
        )
        if context:
            k, v = (context.gathered(part, 2, valid.shape[1]) for part in (k, v))
        mixed = F.scaled_dot_product_attention(
            q, k, v, attn_mask=valid[:, None, None, :], dropout_p=self.dropout if self.training else 0.0
        )
        return mixed.transpose(1, 2).flatten(2)  # (B, T, D)


class BertResidual(nn.Module):
    """Linear, Dropout, residual, LayerNorm."""

    def __init__(self, width_in: int, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(width_in, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(self.dropout(self.dense(x)) + residual)
        return out


class BertAttention(nn.Module):
    """Self-attention and its output; the attribute is called `self` as in the published checkpoints."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.self = BertSelfAttention(config)
        self.output = BertResidual(config.hidden_size, config)

    def forward(self, x: Tensor, valid: Tensor, context: Context | None = None) -> Tensor:
        out: Tensor = self.output(self.self(x, valid, context), x)
        return out


class BertIntermediate(nn.Module):
    """Linear and GELU."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class BertLayer(nn.Module):
    """Attention and feed-forward."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = BertAttention(config)
        self.intermediate = BertIntermediate(config)
        self.output = BertResidual(config.intermediate_size, config)

    def forward(self, x: Tensor, valid: Tensor, context: Context | None = None) -> Tensor:
        x = self.attention(x, valid, context)
        out: Tensor = self.output(self.intermediate(x), x)
        return out


class BertLayers(nn.Module):
    """The stack."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(BertLayer(config) for _ in range(config.num_hidden_layers))

    def forward(self, x: Tensor, valid: Tensor, context: Context | None = None) -> list[Tensor]:
        states = [x]
        for layer in self.layer:
            states.append(layer(states[-1], valid, context))
        return states


class BertPooler(nn.Module):
    """Tanh of a projection of the first position, [CLS]."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.dense(x[:, 0]))


class BertEncoder(nn.Module):
    """Embeddings, layers and pooler of a BERT.

    Loads the state dict of a published `BertModel` with `load_state_dict` (for video, without its word embeddings).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = BertEmbeddings(config)
        self.encoder = BertLayers(config)
        self.pooler = BertPooler(config)
        self.apply(_init_bert)

    def forward(
        self, inputs: Tensor, valid: Tensor, segments: Tensor | None = None, positions: Tensor | None = None,
        *, context: Context | None = None,
    ) -> list[Tensor]:
        """Run the encoder.

        Args:
            inputs: features (B, T, D) or word ids (B, T).
            valid: bool (B, T), False on padding.
            segments: segment ids (B, T); zeros by default.
            positions: position ids (B, T); 0, 1, 2, ... by default.
            context: processes that were given the same, and share the work.
        Returns: hidden states (B, T, D): the embeddings, then after each layer. `pooler` takes the last of them.
        Raises: ValueError: more positions than the encoder has.
        """
        frames = inputs.shape[1]
        if frames > self.config.max_position_embeddings:
            raise ValueError(f"{frames} positions are more than max_position_embeddings="
                             f"{self.config.max_position_embeddings}; cut the sequence")
        if positions is None:
            positions = torch.arange(frames, device=inputs.device)[None]
        if segments is None:
            segments = torch.zeros(1, frames, dtype=torch.long, device=inputs.device)
        if context is None:
            states: list[Tensor] = self.encoder(self.embeddings(inputs, segments, positions), valid)
            return states
        with context.own_dropout(inputs.device):
            own = [context.own(each, 1) for each in (inputs, segments, positions)]
            return [context.gathered(each, 1, frames) for each in self.encoder(self.embeddings(*own), valid, context)]


def _init_bert(module: nn.Module) -> None:
    """BERT's initialisation: normal with standard deviation 0.02, zero biases, zero for the padding word."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        nn.init.zeros_(module.weight[module.padding_idx])
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
