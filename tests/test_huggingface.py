"""Hugging Face models with random weights against sums made one mask, one word at a time."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lipread.alphabet import Alphabet
from lipread.errors import ConfigError, DataError, MissingDependencyError
from lipread.huggingface import HuggingFaceScorer
from lipread.language_models import LanguageModel, Tuned, load_checked

transformers = pytest.importorskip("transformers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "bin", "blue", "at", "f", "two", "now"]
TEXTS = ["bin blue at f", "two", "now now bin", ""]


def save_tokenizer(folder: Path, *, around: bool) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    if around:
        tokenizer.post_processor = TemplateProcessing("[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", bos_token="[CLS]",
    )
    fast.save_pretrained(folder)


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("masked")
    torch.manual_seed(0)
    config = transformers.DistilBertConfig(vocab_size=len(WORDS), dim=16, hidden_dim=32, n_layers=2, n_heads=2)
    model = transformers.DistilBertForMaskedLM(config).eval()
    model.save_pretrained(folder)
    save_tokenizer(folder, around=True)
    return folder, model


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("causal")
    torch.manual_seed(1)
    config = transformers.GPT2Config(vocab_size=len(WORDS), n_embd=16, n_layer=2, n_head=2, bos_token_id=2)
    model = transformers.GPT2LMHeadModel(config).eval()
    model.save_pretrained(folder)
    save_tokenizer(folder, around=False)
    return folder, model


def numbers(text: str) -> list[int]:
    return [WORDS.index(word) for word in text.split()]


def test_masked_models_score_by_pseudo_log_likelihood(masked: tuple[Path, Any]) -> None:
    folder, model = masked
    expected = []
    for text in TEXTS:
        ids, total = [2, *numbers(text), 3], 0.0
        for place in range(1, len(ids) - 1):
            hidden = torch.tensor([[*ids[:place], 4, *ids[place + 1 :]]])
            with torch.no_grad():
                total += float(model(hidden).logits[0, place].log_softmax(-1)[ids[place]])
        expected.append(total)
    scorer = HuggingFaceScorer(str(folder))
    assert scorer.masked
    assert scorer.scores(TEXTS) == pytest.approx(expected, abs=1e-4)


def test_causal_models_score_by_the_chain_rule(causal: tuple[Path, Any]) -> None:
    folder, model = causal
    expected = []
    for text in TEXTS:
        ids, total = [2, *numbers(text)], 0.0
        for place in range(1, len(ids)):
            with torch.no_grad():
                total += float(model(torch.tensor([ids[:place]])).logits[0, -1].log_softmax(-1)[ids[place]])
        expected.append(total)
    scorer = HuggingFaceScorer(str(folder))
    assert not scorer.masked
    assert scorer.scores(TEXTS) == pytest.approx(expected, abs=1e-4)


def test_a_model_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    config = transformers.ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=8, patch_size=4
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, around=True)
    with pytest.raises(ConfigError, match="ViTForImageClassification; a masked or a causal language model is wanted"):
        HuggingFaceScorer(str(tmp_path))


def test_long_texts_are_scored_in_parts_that_fit(masked: tuple[Path, Any], tmp_path: Path) -> None:
    text = "bin blue at f two now " * 300  # 1,800 words; 512 positions, of which two are left out, less [CLS] and [SEP]
    scorer = HuggingFaceScorer(str(masked[0]))
    parts = [" ".join(text.split()[first : first + 508]) for first in range(0, 1800, 508)]
    assert scorer.scores([text]) == pytest.approx([sum(scorer.scores(parts))], rel=1e-5)
    config = transformers.GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=2, bos_token_id=2, n_positions=8
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path, around=False)
    causal = HuggingFaceScorer(str(tmp_path))
    parts = [" ".join(text.split()[first : first + 5]) for first in range(0, 1800, 5)]
    assert causal.scores([text]) == pytest.approx([sum(causal.scores(parts))], rel=1e-5)


def test_unknown_words_are_no_better_than_known_ones(masked: tuple[Path, Any], causal: tuple[Path, Any]) -> None:
    for folder, _ in (masked, causal):
        scores = HuggingFaceScorer(str(folder)).scores(["xyz uvw", "bin"])
        assert scores[0] < scores[1] < 0


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: cut(folder / "model.safetensors"), "incomplete metadata"),
        (lambda folder: cut(folder / "tokenizer.json"), "cannot be used as a language model"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "cannot be used as a language model"),
        (lambda folder: change(folder / "config.json", n_embd="wide"), "n_embd"),
        (lambda folder: change(folder / "config.json", n_embd=32), "cannot be used as a language model"),
        (lambda folder: change(folder / "config.json", n_layer=3), r"lack transformer\.h\.2\..* and 11 more"),
    ],
)
def test_damaged_folders_are_refused(
    damage: Callable[[Path], Any], said: str, causal: tuple[Path, Any], tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = Path(shutil.copytree(causal[0], tmp_path / "model"))
    damage(folder)
    with pytest.raises(ConfigError, match=said) as caught:
        HuggingFaceScorer(str(folder))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")  # no progress bar, no report


def test_a_tokenizer_that_knows_more_than_the_model_is_refused(tmp_path: Path) -> None:
    config = transformers.DistilBertConfig(vocab_size=len(WORDS) - 1, dim=16, hidden_dim=32, n_layers=1, n_heads=2)
    transformers.DistilBertForMaskedLM(config).save_pretrained(tmp_path / "masked")
    save_tokenizer(tmp_path / "masked", around=True)
    with pytest.raises(ConfigError, match="/masked: its tokenizer numbers pieces up to 10, but the model has only 10 "):
        HuggingFaceScorer(str(tmp_path / "masked"))
    config = transformers.GPT2Config(vocab_size=5, n_embd=16, n_layer=1, n_head=2, bos_token_id=2)
    transformers.GPT2LMHeadModel(config).save_pretrained(tmp_path / "causal")
    save_tokenizer(tmp_path / "causal", around=False)
    with pytest.raises(ConfigError, match="/causal: its tokenizer numbers pieces up to 10, but the model has only 5 "):
        HuggingFaceScorer(str(tmp_path / "causal"))


def test_a_folder_whose_tokenizer_is_lost_is_refused(masked: tuple[Path, Any], tmp_path: Path) -> None:
    """Without its files the library makes a tokenizer that knows nothing, and every text would score the same."""
    for kind, config in (
        ("bert", transformers.BertConfig(vocab_size=60, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)),
        ("gpt2", transformers.GPT2Config(vocab_size=60, n_embd=16, n_layer=1, n_head=2)),
    ):
        model = transformers.BertForMaskedLM(config) if kind == "bert" else transformers.GPT2LMHeadModel(config)
        model.save_pretrained(tmp_path / kind)
        lost = LanguageModel(kind, "hf", tmp_path / kind, Tuned())
        with pytest.raises(DataError, match=f"{kind}: its vocabulary has none .*vocab.txt or tokenizer.json"):
            load_checked(lost, Alphabet.english())
    whole = LanguageModel("masked", "hf", masked[0], Tuned())
    assert load_checked(whole, Alphabet.english().with_words(["bin"])).scores(["bin"])[0] < 0
    with pytest.raises(DataError, match="its vocabulary has none"):
        load_checked(whole, Alphabet.from_list(["<blank>", " ", "ß"]))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used as a language model"):
        HuggingFaceScorer(str(tmp_path))


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'lipread\[hf\]'"):
        HuggingFaceScorer(str(tmp_path))
