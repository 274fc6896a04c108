"""Folders of language models: theirs read by ours, ours by theirs, older forms, and what must be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lipread.alphabet import Alphabet
from lipread.bert_folder import load_bert, save_bert
from lipread.config import SearchConfig
from lipread.errors import CheckpointError, ConfigError, DataError, LipreadError, OutputError
from lipread.language_models import make_search
from lipread.wordpiece import SPECIAL, WordPiece
from test_bert import CONFIG, IDS, SEGMENTS, VALID, random_model

GIVEN = {"input_ids": IDS, "attention_mask": VALID.long(), "token_type_ids": SEGMENTS}
WORDPIECE = WordPiece([*SPECIAL, *(f"w{number}" for number in range(45))])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_bert(tmp_path / "lm", random_model(), WORDPIECE)
    return tmp_path / "lm"


def test_a_vocabulary_of_another_language_is_refused_for_rescoring(folder: Path) -> None:
    with pytest.raises(DataError, match="has none of the words and letters that can be read"):
        make_search(SearchConfig(lm=str(folder)), Alphabet.english())  # it knows w0, w1, ..., and no w


def edit_config(folder: Path, **values: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def edit_weights(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")


@torch.no_grad()
def outputs(folder: Path) -> tuple[Tensor, Tensor | None]:
    words, follows = load_bert(folder)[0](IDS, VALID, SEGMENTS)
    return words[VALID], follows


@torch.no_grad()
def test_ours_is_read_by_transformers(folder: Path) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="pip install 'lipread[dev]' brings transformers")
    words, follows = outputs(folder)
    theirs, info = transformers.BertForMaskedLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert (theirs(**GIVEN).logits[VALID] - words).abs().max() < 1e-5
    theirs, info = transformers.BertForNextSentencePrediction.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert (theirs(**GIVEN).logits - follows).abs().max() < 1e-5
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert tokenizer("w3 W7 x")["input_ids"] == list(WORDPIECE.encode("w3 W7 x").ids)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["BertForPreTraining", "BertForMaskedLM"])
def test_theirs_is_read_by_ours(kind: str, tmp_path: Path) -> None:
    transformers: Any = pytest.importorskip("transformers", reason="pip install 'lipread[dev]' brings transformers")
    torch.manual_seed(5)
    theirs = getattr(transformers, kind)(transformers.BertConfig(**CONFIG.model_dump())).eval()
    for parameter in theirs.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    WORDPIECE.save(tmp_path / "vocab.txt")
    model, wordpiece = load_bert(tmp_path)
    assert wordpiece.pieces == WORDPIECE.pieces and not model.training
    words, follows = model(IDS, VALID, SEGMENTS)
    wanted = theirs(**GIVEN)
    logits = wanted.logits if kind == "BertForMaskedLM" else wanted.prediction_logits
    assert (words - logits)[VALID].abs().max() < 1e-5
    assert model.next_sentence == (kind == "BertForPreTraining") == (follows is not None)
    if follows is not None:
        assert (follows - wanted.seq_relationship_logits).abs().max() < 1e-5
        save_bert(tmp_path / "again", model, wordpiece)
        again = transformers.BertForPreTraining.from_pretrained(tmp_path / "again")
        assert (again(**GIVEN).seq_relationship_logits - follows).abs().max() < 1e-5


def test_old_names_and_extra_keys(folder: Path) -> None:
    wanted = outputs(folder)

    def older(state: dict[str, Tensor]) -> dict[str, Tensor]:
        renamed = {}
        for key, value in state.items():
            if "LayerNorm" in key:
                key = key.replace(".weight", ".gamma").replace(".bias", ".beta")
            renamed[key.removeprefix("bert.")] = value
        renamed["embeddings.position_ids"] = torch.arange(20)[None]
        renamed["cls.predictions.decoder.weight"] = state["bert.embeddings.word_embeddings.weight"].clone()
        renamed["cls.predictions.decoder.bias"] = renamed.pop("cls.predictions.bias")
        return renamed

    edit_weights(folder, older)
    assert any(key.endswith(".gamma") for key in load_file(folder / "model.safetensors"))
    got = outputs(folder)
    assert torch.equal(got[0], wanted[0]) and got[1] is not None and torch.equal(got[1], wanted[1])


@pytest.mark.parametrize("lost", ["cls.seq_relationship", "bert.pooler"])
def test_without_pooler_or_head_there_is_no_next_sentence(folder: Path, lost: str) -> None:
    wanted = outputs(folder)[0]
    edit_weights(folder, lambda state: {key: value for key, value in state.items() if not key.startswith(lost)})
    words, follows = outputs(folder)
    assert follows is None and torch.equal(words, wanted)


def test_half_precision_and_a_vocabulary_with_room(folder: Path) -> None:
    edit_weights(folder, lambda state: {key: value.half() for key, value in state.items()})
    WordPiece(WORDPIECE.pieces[:40]).save(folder / "vocab.txt")
    model, wordpiece = load_bert(folder)
    assert {each.dtype for each in model.parameters()} == {torch.float32}
    assert len(wordpiece.pieces) == 40 and model.config.vocab_size == 50


def test_published_settings_where_the_file_is_silent(folder: Path) -> None:
    file = folder / "config.json"
    values = json.loads(file.read_text())
    for name in ("layer_norm_eps", "type_vocab_size", "hidden_act"):
        del values[name]
    file.write_text(json.dumps(values))
    assert load_bert(folder)[0].config == CONFIG.model_copy(update={"layer_norm_eps": 1e-12, "type_vocab_size": 2})
    del values["hidden_size"]
    file.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="hidden_size is 768 there, but the weights have 32"):
        load_bert(folder)


def test_the_tokenizer_keeps_case(tmp_path: Path) -> None:
    cased = WordPiece(WORDPIECE.pieces, lower_case=False, strip_accents=True, split_chinese=False)
    save_bert(tmp_path, random_model(), cased)
    loaded = load_bert(tmp_path)[1]
    assert (loaded.lower_case, loaded.strip_accents, loaded.split_chinese) == (False, True, False)
    assert loaded.split("W1") == ([loaded.unknown], [0])


def drop(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def put(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def settings(**values: Any) -> Callable[[Path], object]:
    return lambda folder: edit_config(folder, **values)


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], object]:
    return lambda folder: edit_weights(folder, change)


UNTIED = {"cls.predictions.decoder.weight": torch.zeros(50, 32)}
LONG = "\n".join([*SPECIAL, *map(str, range(60))]).encode()


@pytest.mark.parametrize(("spoil", "error", "said"), [
    (drop("config.json"), CheckpointError, "config.json: cannot be read"),
    (drop("vocab.txt"), DataError, "vocab.txt: cannot be read"),
    (drop("model.safetensors"), CheckpointError, "model.safetensors: no such file"),
    (put("config.json", b"\xff{"), CheckpointError, "config.json: is not JSON"),
    (put("config.json", b"[" * 100_000), CheckpointError, "config.json: is not JSON"),
    (put("config.json", b"[1]"), CheckpointError, "config.json: holds no table"),
    (put("config.json", b"{}"), CheckpointError, "model_type is None, wanted 'bert'"),
    (put("tokenizer_config.json", b"{"), CheckpointError, "tokenizer_config.json: is not JSON"),
    (put("tokenizer_config.json", b'{"do_lower_case": 3}'), DataError, "do_lower_case is 3"),
    (put("model.safetensors", b"PK\x03\x04junk"), CheckpointError, "model.safetensors: not a readable safetensors"),
    (put("vocab.txt", LONG), CheckpointError, "vocab.txt: has 65 pieces.*vocab_size=50"),
    (settings(model_type="roberta"), CheckpointError, "model_type is 'roberta'"),
    (settings(hidden_act="gelu_new"), CheckpointError, "hidden_act is 'gelu_new', but only 'gelu'"),
    (settings(position_embedding_type="relative_key"), CheckpointError, "position_embedding_type is 'relative_key'"),
    (settings(is_decoder=True), CheckpointError, "is_decoder is True"),
    (settings(tie_word_embeddings=False), CheckpointError, "tie_word_embeddings is False"),
    (settings(hidden_size="wide"), ConfigError, "config.json: hidden_size='wide'"),
    (settings(num_attention_heads=5), ConfigError, "hidden_size=32 is not a multiple"),
    (settings(num_hidden_layers=2), CheckpointError, "num_hidden_layers is 2 there, but the weights have 3"),
    (settings(num_hidden_layers=10**9), CheckpointError, "num_hidden_layers is 1000000000 there"),
    (settings(hidden_size=4 * 10**12), CheckpointError, "hidden_size is 4000000000000 there, but the weights have 32"),
    (settings(intermediate_size=10**12), CheckpointError, "fit config.json: intermediate_size is 1000000000000"),
    (settings(vocab_size=10**12), CheckpointError, "vocab_size is 1000000000000 there, but the weights have 50"),
    (settings(max_position_embeddings=10**12), CheckpointError, "max_position_embeddings is 1000000000000 there"),
    (settings(type_vocab_size=10**12), CheckpointError, "type_vocab_size is 1000000000000 there"),
    (weights(lambda state: {k: v for k, v in state.items() if "layer.1.output" not in k}), CheckpointError,
     r"missing bert.encoder.layer.1.output.dense.weight"),
    (weights(lambda state: {k: v for k, v in state.items() if "word_emb" not in k}), CheckpointError,
     "vocab_size is 50 there, but the weights have 0"),
    (weights(lambda state: {"classifier.weight": torch.zeros(2), **state}), CheckpointError, "unknown bert.classifier"),
    (weights(lambda state: {k: v for k, v in state.items() if "pred" not in k}), CheckpointError, "no masked-LM"),
    (weights(lambda state: state | UNTIED), CheckpointError, "decoder.weight differs from"),
    (weights(lambda state: state | {"cls.predictions.bias": torch.zeros(3)}), CheckpointError, r"is \(3,\), wanted"),
])
def test_other_folders_are_refused_in_one_sentence(
    folder: Path, spoil: Callable[[Path], object], error: type[LipreadError], said: str
) -> None:
    spoil(folder)
    with pytest.raises(error, match=said) as caught:
        load_bert(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_pickled_weights_are_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pytorch_model.bin could run code"):
        load_bert(folder)


def test_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        save_bert(tmp_path / "file" / "lm", random_model(), WORDPIECE)


def test_without_next_sentence_the_folder_says_so(tmp_path: Path) -> None:
    save_bert(tmp_path, random_model(next_sentence=False), WORDPIECE)
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["BertForMaskedLM"]
    assert not [key for key in load_file(tmp_path / "model.safetensors") if "pooler" in key or "seq_rel" in key]
    assert not load_bert(tmp_path)[0].next_sentence
