"""Pseudo-log-likelihoods against a loop that masks one piece at a time, and the next-sentence score."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.bert_folder import save_bert
from lipread.config import EncoderConfig
from lipread.errors import ConfigError
from lipread.model.bert import BertLanguageModel
from lipread.pseudo_likelihood import BATCH_POSITIONS, BertScorer, _batches, load_scorer
from lipread.wordpiece import SPECIAL, WordPiece
from networks import stirred

WORDS = ["bin", "blue", "at", "by", "b", "f", "##g", "two", "now", "soon"]
WORDPIECE = WordPiece([*SPECIAL, *WORDS])
CONFIG = EncoderConfig(
    hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, max_position_embeddings=12,
    vocab_size=18, type_vocab_size=2,
)
TEXTS = ["bin blue at f two now", "bin blue at bg two now", "bin blue by b two soon", "", "xyz now", "now"]


def random_model(config: EncoderConfig = CONFIG, **options: bool) -> BertLanguageModel:
    torch.manual_seed(0)
    model = stirred(BertLanguageModel(config, **options))
    assert isinstance(model, BertLanguageModel)
    return model


MODEL = random_model()
SCORER = BertScorer(MODEL, WORDPIECE)


@torch.no_grad()
def slow_score(model: BertLanguageModel, ids: Sequence[int]) -> float:
    """The formula as it stands: sum over places of log P(piece | all others), one sequence at a time."""
    whole = torch.tensor([[WORDPIECE.begin, *ids, WORDPIECE.end]])
    total = 0.0
    for place in range(1, len(ids) + 1):
        copy = whole.clone()
        copy[0, place] = WORDPIECE.mask
        words, _ = model(copy, torch.ones_like(copy, dtype=torch.bool))
        probabilities = words[0, place].double().exp()
        total += math.log(probabilities[whole[0, place]] / probabilities.sum())
    return total


def test_equals_one_mask_at_a_time() -> None:
    scores = SCORER.scores(TEXTS)
    wanted = [slow_score(MODEL, WORDPIECE.split(text)[0]) for text in TEXTS]
    assert len(set(wanted)) == len(TEXTS) and wanted[3] == 0
    assert scores == pytest.approx(wanted, abs=1e-4)


@given(st.lists(st.lists(st.sampled_from(["bin", "blue", "bg", "f", "xyz", "now"]), max_size=5), max_size=6))
@settings(max_examples=30, deadline=None)
def test_any_texts_together_score_as_alone(said: list[list[str]]) -> None:
    texts = [" ".join(words) for words in said]
    assert SCORER.scores(texts) == pytest.approx([SCORER.scores([text])[0] for text in texts], abs=1e-4)


def test_a_long_text_is_scored_in_parts_that_fit() -> None:
    ids = WORDPIECE.split(" ".join(["bin", "blue", "at"] * 8))[0]  # 24 pieces, 10 fit
    wanted = sum(slow_score(MODEL, ids[first : first + 10]) for first in (0, 10, 20))
    assert SCORER.scores([" ".join(["bin", "blue", "at"] * 8)]) == pytest.approx([wanted], abs=1e-4)


def test_nothing_is_computed_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, ...]] = []
    original = MODEL.states_at

    def counting(ids: torch.Tensor, valid: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        seen.extend(tuple(row[mask].tolist()) for row, mask in zip(ids, valid, strict=True))
        return original(ids, valid, places)

    monkeypatch.setattr(MODEL, "states_at", counting)
    scores = SCORER.scores(["bin blue at f two now", "bin blue at b two now", "bin blue at f two now"])
    assert scores[0] == scores[2] != scores[1]
    assert len(seen) == len(set(seen)) == 6 + 5  # they share the copy with the letter masked


def test_batches_are_small_and_whole() -> None:
    copies = [(1,) * length for length in sorted([3, 3, 5, 9, 2000, 40] * 60)]
    batches = list(_batches(copies))
    assert [copy for batch in batches for copy in batch] == copies
    assert all(len(batch) * len(batch[-1]) <= BATCH_POSITIONS or len(batch) == 1 for batch in batches)
    assert len(batches) < 60 + 8
    assert list(_batches([])) == [] and SCORER.scores([]) == []


def test_next_score_is_that_of_the_pair() -> None:
    pair = WORDPIECE.encode("bin blue", "at bg")
    with torch.no_grad():
        _, logits = MODEL(torch.tensor([pair.ids]), torch.ones(1, 8, dtype=torch.bool), torch.tensor([pair.segments]))
    a, b = logits[0].double().tolist()
    assert SCORER.next_score("bin blue", "at bg") == pytest.approx(math.log(math.exp(a) / (math.exp(a) + math.exp(b))))
    assert SCORER.next_score("bin blue", "at bg") != SCORER.next_score("at bg", "bin blue")
    long = "bin blue at f two now " * 5  # only what is near where they meet fits
    assert SCORER.next_score(long, long) == pytest.approx(SCORER.next_score("blue at f two now", "bin blue at f"))


def test_without_a_head_next_score_says_so() -> None:
    scorer = BertScorer(random_model(next_sentence=False), WORDPIECE)
    with pytest.raises(ConfigError, match="no next-sentence head; set it to 0"):
        scorer.next_score("bin", "blue")


def test_dropout_is_off() -> None:
    model = random_model().train()
    scorer = BertScorer(model, WORDPIECE)
    assert scorer.scores(TEXTS) == scorer.scores(TEXTS) == pytest.approx(SCORER.scores(TEXTS), abs=1e-5)


def test_equals_transformers_from_a_folder(tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="pip install 'lipread[dev]' brings transformers")
    save_bert(tmp_path, MODEL, WORDPIECE)
    assert load_scorer(tmp_path).scores(TEXTS) == pytest.approx(SCORER.scores(TEXTS), abs=1e-5)
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path).eval()
    ids = torch.tensor([WORDPIECE.encode(TEXTS[0]).ids])
    total = 0.0
    with torch.no_grad():
        for place in range(1, ids.shape[1] - 1):
            copy = ids.clone()
            copy[0, place] = WORDPIECE.mask
            total += float(theirs(input_ids=copy).logits[0, place].log_softmax(-1)[ids[0, place]])
    assert SCORER.scores(TEXTS[:1])[0] == pytest.approx(total, abs=1e-4)
