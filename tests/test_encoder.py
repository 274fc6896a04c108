"""The encoder against Hugging Face's BertModel with random weights, and its two kinds of dropout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lipread.config import EncoderConfig
from lipread.model.encoder import BertEncoder, BertSelfAttention
from lipread.model.masks import valid_frames
from networks import stirred

CONFIG = EncoderConfig(
    hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, max_position_embeddings=20,
    vocab_size=50,
)
LENGTHS = torch.tensor([9, 5, 1])
VALID = valid_frames(LENGTHS, 9)


@pytest.fixture(scope="module")
def published() -> Any:
    """A BertModel with random weights, biases included; nothing is downloaded."""
    transformers = pytest.importorskip("transformers", reason="pip install 'lipread[dev]' brings transformers")
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**CONFIG.model_dump(), hidden_act="gelu"))
    return stirred(model)


def loaded(published: Any, config: EncoderConfig = CONFIG) -> BertEncoder:
    encoder = BertEncoder(config)
    state = published.state_dict()
    if config.vocab_size is None:
        state = {key: value for key, value in state.items() if "word_embeddings" not in key}
    encoder.load_state_dict(state)  # strict: every name is the published one
    return encoder.eval()


def assert_same(states: list[Tensor], wanted: tuple[Tensor, ...]) -> None:
    assert len(states) == len(wanted) == CONFIG.num_hidden_layers + 1
    for got, theirs in zip(states, wanted, strict=True):
        assert theirs.std() > 0.1  # not a comparison of zeros
        assert (got - theirs)[VALID].abs().max() < 1e-5


def test_equals_bert_on_embeddings(published: Any) -> None:
    encoder = loaded(published, CONFIG.model_copy(update={"vocab_size": None}))
    x = torch.randn(3, 9, 32, generator=torch.Generator().manual_seed(1))
    segments = torch.arange(27).view(3, 9) % 3
    with torch.no_grad():
        theirs = published(
            inputs_embeds=x, attention_mask=VALID.long(), token_type_ids=segments, output_hidden_states=True
        )
        states = encoder(x, VALID, segments)
        assert_same(states, theirs.hidden_states)
        assert (encoder.pooler(states[-1]) - theirs.pooler_output).abs().max() < 1e-5


def test_equals_bert_on_words(published: Any) -> None:
    encoder = loaded(published)
    words = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        theirs = published(input_ids=words, attention_mask=VALID.long(), output_hidden_states=True)
        states = encoder(words, VALID)
        assert_same(states, theirs.hidden_states)
        assert (encoder.pooler(states[-1]) - theirs.pooler_output).abs().max() < 1e-5


def test_equals_bert_at_other_positions(published: Any) -> None:
    encoder = loaded(published)
    x = torch.randn(3, 9, 32, generator=torch.Generator().manual_seed(3))
    positions = torch.arange(9).expand(3, 9) + torch.tensor([[11], [0], [4]])
    with torch.no_grad():
        theirs = published(
            inputs_embeds=x, attention_mask=VALID.long(), position_ids=positions, output_hidden_states=True
        )
        assert_same(encoder(x, VALID, positions=positions), theirs.hidden_states)


def test_without_words_it_has_no_word_embeddings() -> None:
    with_words, without = BertEncoder(CONFIG), BertEncoder(CONFIG.model_copy(update={"vocab_size": None}))
    assert set(with_words.state_dict()) - set(without.state_dict()) == {"embeddings.word_embeddings.weight"}


def test_padding_changes_nothing() -> None:
    encoder = stirred(BertEncoder(CONFIG))
    x = torch.randn(3, 9, 32)
    x[~VALID] = 1e3
    together = encoder(x, VALID)[-1]
    for row, length in enumerate(LENGTHS.tolist()):
        alone = encoder(x[row : row + 1, :length], torch.ones(1, length, dtype=torch.bool))[-1]
        assert torch.allclose(together[row, :length], alone[0], atol=1e-5)


def test_segments_and_positions_matter() -> None:
    encoder = stirred(BertEncoder(CONFIG))
    x = torch.randn(1, 9, 32)
    valid = torch.ones(1, 9, dtype=torch.bool)
    plain = encoder(x, valid)[-1]
    assert not torch.allclose(encoder(x, valid, torch.ones(1, 9, dtype=torch.long))[-1], plain, atol=1e-2)
    assert not torch.allclose(encoder(x, valid, positions=torch.arange(9)[None] + 1)[-1], plain, atol=1e-2)


def test_more_positions_than_there_are() -> None:
    with pytest.raises(ValueError, match="21 positions are more than max_position_embeddings=20"):
        BertEncoder(CONFIG)(torch.zeros(1, 21, 32), torch.ones(1, 21, dtype=torch.bool))


def test_initialisation() -> None:
    torch.manual_seed(0)
    encoder = BertEncoder(EncoderConfig(vocab_size=300))
    dense = encoder.encoder.layer[0].intermediate.dense
    assert dense.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert dense.bias.abs().max() == 0
    words = encoder.embeddings.word_embeddings.weight
    assert words[0].abs().max() == 0  # the padding word
    assert words[1:].std().item() == pytest.approx(0.02, rel=0.02)
    assert torch.equal(encoder.embeddings.LayerNorm.weight, torch.ones(256))


# -- dropout ----------------------------------------------------------------------------------------------------------


def encoder_with(hidden: float, attention: float) -> BertEncoder:
    encoder = BertEncoder(
        CONFIG.model_copy(update={"hidden_dropout_prob": hidden, "attention_probs_dropout_prob": attention})
    )
    torch.manual_seed(0)
    stirred(encoder)
    return encoder


def test_without_dropout_training_is_eval() -> None:
    encoder = encoder_with(0.0, 0.0)
    x = torch.randn(3, 9, 32)
    assert torch.allclose(encoder.eval()(x, VALID)[-1], encoder.train()(x, VALID)[-1], atol=1e-6)


def test_hidden_dropout_leaves_attention_alone() -> None:
    encoder = encoder_with(0.5, 0.0).train()
    x = torch.randn(3, 9, 32)
    embedded = encoder(x, VALID)[0]
    assert (embedded == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    kept = embedded != 0
    assert torch.allclose(embedded[kept], 2 * encoder.eval()(x, VALID)[0][kept], atol=1e-5)  # inverted scaling
    attention = encoder.encoder.layer[0].attention.self
    assert torch.allclose(attention.train()(x, VALID), attention.eval()(x, VALID), atol=1e-6)


def test_attention_dropout_leaves_hidden_states_alone() -> None:
    encoder = encoder_with(0.0, 0.5).train()
    x = torch.randn(3, 9, 32)
    first, second = encoder(x, VALID), encoder(x, VALID)
    assert torch.equal(first[0], second[0])  # embeddings
    assert not torch.allclose(first[1], second[1], atol=1e-3)
    layer = encoder.encoder.layer[0]
    assert torch.equal(layer.output(layer.intermediate(x), x), layer.output(layer.intermediate(x), x))


def test_attention_dropout_acts_on_the_probabilities() -> None:
    positions = 12
    config = EncoderConfig(
        hidden_size=positions, num_attention_heads=1, num_hidden_layers=1, intermediate_size=4,
        attention_probs_dropout_prob=0.25, hidden_dropout_prob=0.9,
    )
    torch.manual_seed(0)
    attention = BertSelfAttention(config)
    with torch.no_grad():  # values are the unit matrix: what comes out are the attention probabilities themselves
        attention.value.weight.copy_(torch.eye(positions))
        attention.value.bias.zero_()
    x, valid = torch.eye(positions)[None], torch.ones(1, positions, dtype=torch.bool)
    q, k = attention.query(x)[0], attention.key(x)[0]
    wanted = (q @ k.T / positions**0.5).softmax(-1)
    assert torch.allclose(attention.eval()(x, valid)[0], wanted, atol=1e-6)
    got = torch.stack([attention.train()(x, valid)[0] for _ in range(20)])
    dropped = got == 0
    assert dropped.float().mean().item() == pytest.approx(0.25, abs=0.05)
    assert torch.allclose(got[~dropped], (wanted / 0.75).expand_as(got)[~dropped], atol=1e-5)


def test_hooks_see_every_layer() -> None:
    encoder = stirred(BertEncoder(CONFIG))
    seen: list[Tensor] = []
    handles = [
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        for layer in encoder.encoder.layer
    ]
    states = encoder(torch.randn(3, 9, 32), VALID)
    for handle in handles:
        handle.remove()
    assert len(seen) == 3
    assert all(torch.equal(a, b) for a, b in zip(seen, states[1:], strict=True))
    encoder(torch.randn(3, 9, 32), VALID)
    assert len(seen) == 3
