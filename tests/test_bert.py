"""The language model against transformers' BertForMaskedLM and BertForNextSentencePrediction, random weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lipread.config import EncoderConfig
from lipread.model.bert import FOLLOWS, BertLanguageModel
from lipread.model.masks import valid_frames
from networks import stirred

CONFIG = EncoderConfig(
    hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48, max_position_embeddings=20,
    vocab_size=50, type_vocab_size=2,
)
LENGTHS = torch.tensor([9, 5, 2])
VALID = valid_frames(LENGTHS, 9)
IDS = torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(1))
SEGMENTS = (torch.arange(9)[None] >= torch.tensor([4, 3, 1])[:, None]).long()


def random_model(config: EncoderConfig = CONFIG, **options: bool) -> BertLanguageModel:
    torch.manual_seed(0)
    model = stirred(BertLanguageModel(config, **options))
    assert isinstance(model, BertLanguageModel)
    return model


@pytest.fixture(scope="module")
def published() -> Any:
    """BertForPreTraining with random weights, biases included; nothing is downloaded."""
    transformers: Any = pytest.importorskip("transformers", reason="pip install 'lipread[dev]' brings transformers")
    torch.manual_seed(3)
    return stirred(transformers.BertForPreTraining(transformers.BertConfig(**CONFIG.model_dump(), hidden_act="gelu")))


def masked_lm(published: Any) -> Any:
    import transformers

    theirs = transformers.BertForMaskedLM(published.config)
    missing = theirs.load_state_dict(published.state_dict(), strict=False).missing_keys
    assert not missing
    return theirs.eval()


def next_sentence(published: Any) -> Any:
    import transformers

    theirs = transformers.BertForNextSentencePrediction(published.config)
    assert not theirs.load_state_dict(published.state_dict(), strict=False).missing_keys
    return theirs.eval()


@torch.no_grad()
def test_equals_transformers_both_ways(published: Any) -> None:
    given = {"input_ids": IDS, "attention_mask": VALID.long(), "token_type_ids": SEGMENTS}
    ours = random_model()
    for way in ("theirs to ours", "ours to theirs"):
        if way == "theirs to ours":
            state = {key: value for key, value in published.state_dict().items() if ".decoder." not in key}
            ours.load_state_dict(state)  # strict: every name is the published one
        else:
            ours = random_model()
            assert not published.load_state_dict(ours.state_dict(), strict=False).unexpected_keys
        words, follows = ours(IDS, VALID, SEGMENTS)
        wanted, wanted_next = masked_lm(published)(**given).logits, next_sentence(published)(**given).logits
        assert wanted.std() > 0.1 and wanted_next.std() > 0.01  # not a comparison of zeros
        assert (words - wanted)[VALID].abs().max() < 1e-5
        assert (follows - wanted_next).abs().max() < 1e-5


def test_zero_means_follows_as_in_transformers(published: Any) -> None:
    with torch.no_grad():
        theirs = next_sentence(published)(input_ids=IDS, attention_mask=VALID.long(), labels=torch.zeros(3).long())
    ours = torch.log_softmax(theirs.logits, -1)[:, FOLLOWS].mean().item()
    assert ours == pytest.approx(-theirs.loss.item(), abs=1e-6)


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    model = random_model()
    words, follows = model(IDS, VALID, SEGMENTS)
    for row, length in enumerate(LENGTHS.tolist()):
        part = slice(row, row + 1), slice(length)
        alone, alone_follows = model(IDS[part], VALID[part], SEGMENTS[part])
        assert (alone[0] - words[row, :length]).abs().max() < 1e-5
        assert (alone_follows - follows[row]).abs().max() < 1e-5


@torch.no_grad()
def test_one_place_equals_all_places() -> None:
    model = random_model()
    every: Tensor = model.states(IDS, VALID)
    places = torch.tensor([4, 0, 1])
    assert (model.states_at(IDS, VALID, places) - every[torch.arange(3), places]).abs().max() < 1e-5
    single = random_model(CONFIG.model_copy(update={"num_hidden_layers": 1}))
    every = single.states(IDS, VALID)
    assert (single.states_at(IDS, VALID, places) - every[torch.arange(3), places]).abs().max() < 1e-5


@torch.no_grad()
def test_masked_places_alone() -> None:
    model = random_model()
    masked = torch.zeros_like(VALID)
    masked[0, 3] = masked[1, 4] = masked[0, 8] = True
    some, _ = model(IDS, VALID, SEGMENTS, masked)
    every, _ = model(IDS, VALID, SEGMENTS)
    assert some.shape == (3, 50)
    assert (some - every[masked]).abs().max() < 1e-5


def test_output_weights_are_the_word_embeddings() -> None:
    model = random_model()
    assert not [name for name, _ in model.named_parameters() if "decoder" in name]
    states = torch.randn(2, 32)
    before = model.word_logits(states)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[7] += 1
    changed = (model.word_logits(states) - before).abs().sum(0) > 0
    assert changed.nonzero().flatten().tolist() == [7]


def test_every_weight_learns() -> None:
    model = random_model().train()
    words, follows = model(IDS, VALID, SEGMENTS)
    (words[VALID].logsumexp(-1).sum() + follows[:, 0].sum()).backward()
    without = [name for name, each in model.named_parameters() if each.grad is None or not each.grad.abs().sum() > 0]
    assert [name for name in without if not name.endswith("key.bias")] == []  # a constant in a softmax


def test_random_weights_start_small() -> None:
    torch.manual_seed(0)
    heads = BertLanguageModel(CONFIG.model_copy(update={"hidden_size": 256})).cls
    assert heads.predictions.transform.dense.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert heads.seq_relationship.weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert not heads.seq_relationship.bias.any() and not heads.predictions.bias.any()


def test_without_a_next_sentence_head() -> None:
    model = random_model(next_sentence=False)
    assert not [name for name, _ in model.named_parameters() if "seq_relationship" in name]
    assert model(IDS, VALID)[1] is None
    with pytest.raises(ValueError, match="without a next-sentence head"):
        model.next_logits(torch.randn(1, 2, 32))


def test_what_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="vocab_size=None"):
        BertLanguageModel(CONFIG.model_copy(update={"vocab_size": None}))
    single = CONFIG.model_copy(update={"type_vocab_size": 1})
    with pytest.raises(ValueError, match="type_vocab_size=1"):
        BertLanguageModel(single)
    assert not BertLanguageModel(single, next_sentence=False).next_sentence
    with pytest.raises(ValueError, match="21 positions"):
        random_model()(torch.zeros(1, 21, dtype=torch.long), torch.ones(1, 21, dtype=torch.bool))
