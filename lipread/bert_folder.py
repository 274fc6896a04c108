"""A BERT language model <-> a folder as published: config.json, model.safetensors, vocab.txt, tokenizer_config.json.

`transformers` reads such a folder too. Nothing in it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lipread.checkpoint import differences
from lipread.config import EncoderConfig, make_config
from lipread.errors import CheckpointError, DataError
from lipread.files import PathLike, write_text, written_whole
from lipread.model.bert import BertLanguageModel
from lipread.wordpiece import SPECIAL, WordPiece

CONFIG, WEIGHTS, VOCABULARY, TOKENIZER = "config.json", "model.safetensors", "vocab.txt", "tokenizer_config.json"
_DEFAULTS: dict[str, Any] = {  # of the published model, where config.json leaves one out
    "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "max_position_embeddings": 512,
    "type_vocab_size": 2, "vocab_size": 30522, "layer_norm_eps": 1e-12,
}
_WANTED: dict[str, tuple[Any, ...]] = {  # settings that change what the weights mean, and their possible values
    "hidden_act": ("gelu",), "position_embedding_type": ("absolute", None), "is_decoder": (False, None),
    "add_cross_attention": (False, None), "tie_word_embeddings": (True, None),
}
_EMBEDDINGS, _BIAS = "bert.embeddings.word_embeddings.weight", "cls.predictions.bias"
_DECODER, _DECODER_BIAS = "cls.predictions.decoder.weight", "cls.predictions.decoder.bias"
_SIZES = {  # setting -> the weight that has its size, and along which dimension
    "vocab_size": (_EMBEDDINGS, 0), "hidden_size": (_EMBEDDINGS, 1),
    "max_position_embeddings": ("bert.embeddings.position_embeddings.weight", 0),
    "type_vocab_size": ("bert.embeddings.token_type_embeddings.weight", 0),
    "intermediate_size": ("bert.encoder.layer.0.intermediate.dense.weight", 0),
}
_NEXT, _POOLER = "cls.seq_relationship.", "bert.pooler."


def load_bert(folder: PathLike) -> tuple[BertLanguageModel, WordPiece]:
    """Read a BERT with a masked-LM head, in evaluation mode, float32, on the processor.

    The keys may have the prefix `bert.` or not, and layer normalisation the old names gamma and beta. Where the
    next-sentence head or the pooler is missing the model has neither (`next_sentence` is False).
    Raises: CheckpointError: something is missing, damaged or of another kind; the message names file and field.
        ConfigError: a size in config.json makes no sense. DataError: vocab.txt or tokenizer_config.json is damaged.
        MissingDependencyError: `tokenizers` is absent.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    wordpiece = _read_wordpiece(folder)
    if config.vocab_size is None:
        raise CheckpointError(f"{folder / CONFIG}: has no vocab_size; give the folder of a language model")
    if len(wordpiece.pieces) > config.vocab_size:
        raise CheckpointError(
            f"{folder / VOCABULARY}: has {len(wordpiece.pieces)} pieces, but {CONFIG} says vocab_size="
            f"{config.vocab_size}; give the vocabulary of this model"
        )
    file = folder / WEIGHTS
    state, next_sentence = _published_state(file, _read_weights(file))
    _check_sizes(file, state, config)
    model = BertLanguageModel(config, next_sentence=next_sentence and config.type_vocab_size > 1)
    wanted = model.state_dict()
    if not model.next_sentence:
        state = {key: value for key, value in state.items() if not key.startswith((_NEXT, _POOLER))}
        state |= {key: value for key, value in wanted.items() if key.startswith(_POOLER)}
    _check_same(file, state, wanted)
    model.load_state_dict(state)
    return model.eval(), wordpiece


def save_bert(folder: PathLike, model: BertLanguageModel, wordpiece: WordPiece) -> None:
    """Write the folder; config.json comes last, so that no folder looks whole before it is.

    Raises: OutputError: it cannot be written.
    """
    folder = Path(folder)
    state = {key: value.detach().float().cpu().contiguous() for key, value in model.state_dict().items()}
    if not model.next_sentence:
        state = {key: value for key, value in state.items() if not key.startswith(_POOLER)}
    with written_whole(folder / WEIGHTS) as temporary:
        try:
            save_file(state, temporary, metadata={"format": "pt"})
        except SafetensorError as error:  # how safetensors says that the disk is full
            raise OSError(str(error)) from error
    wordpiece.save(folder / VOCABULARY)
    tokenizer = {
        "tokenizer_class": "BertTokenizer", "do_lower_case": wordpiece.lower_case,
        "strip_accents": wordpiece.strip_accents, "tokenize_chinese_chars": wordpiece.split_chinese,
        "model_max_length": model.config.max_position_embeddings,
        **dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL, strict=True)),
    }
    write_text(folder / TOKENIZER, json.dumps(tokenizer, indent=2) + "\n")
    config = {
        "architectures": ["BertForPreTraining" if model.next_sentence else "BertForMaskedLM"], "model_type": "bert",
        "hidden_act": "gelu", "position_embedding_type": "absolute", "initializer_range": 0.02,
        "tie_word_embeddings": True, "pad_token_id": wordpiece.pad, **model.config.model_dump(),
    }
    write_text(folder / CONFIG, json.dumps(config, indent=2) + "\n")


def _read_config(file: Path) -> EncoderConfig:
    values = _read_json(file, "give the folder of a BERT, with config.json, model.safetensors and vocab.txt")
    if values.get("model_type") != "bert":
        raise CheckpointError(f"{file}: model_type is {values.get('model_type')!r}, wanted 'bert'; give another folder")
    for name, possible in _WANTED.items():
        if (value := values.get(name, possible[0])) not in possible:
            raise CheckpointError(
                f"{file}: {name} is {value!r}, but only {possible[0]!r} can be computed here; give another model"
            )
    sizes = {name: values.get(name, default) for name, default in _DEFAULTS.items()}
    return make_config(EncoderConfig, sizes, origin=str(file))


def _read_wordpiece(folder: Path) -> WordPiece:
    file = folder / TOKENIZER
    values = _read_json(file, "get it again") if file.exists() else {}
    defaults = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
    chosen: dict[str, Any] = {name: values.get(name, default) for name, default in defaults.items()}
    for name, value in chosen.items():
        if not isinstance(value, bool) and value is not defaults[name]:
            raise DataError(f"{file}: {name} is {value!r}, wanted true or false; correct it")
    return WordPiece.load(
        folder / VOCABULARY, lower_case=chosen["do_lower_case"], strip_accents=chosen["strip_accents"],
        split_chinese=chosen["tokenize_chinese_chars"],
    )


def _read_json(file: Path, advice: str) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read ({error.strerror or error}); {advice}") from error
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON
        raise CheckpointError(f"{file}: is not JSON ({error}); {advice}") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{file}: holds no table of settings; {advice}")
    return values


def _read_weights(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        other = file.with_name("pytorch_model.bin")
        said = f"; {other.name} could run code and is not read, save it as safetensors" if other.is_file() else ""
        raise CheckpointError(f"{file}: no such file{said or '; give the folder of a BERT with its weights'}")
    try:
        with safe_open(file, framework="pt") as handle:
            return {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file}: not a readable safetensors file ({error}); get it again") from error


def _published_state(file: Path, weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], bool]:
    """Weights under today's names and without what is there twice, and whether next-sentence head and pooler are there.

    Raises: CheckpointError: there is no masked-LM head, or its output weights are not the word embeddings.
    """
    state: dict[str, Tensor] = {}
    for key, value in weights.items():
        if key.endswith("position_ids"):
            continue
        for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
            key = key.removesuffix(old) + new if key.endswith(old) else key
        if not key.startswith(("bert.", "cls.")):
            key = f"bert.{key}"
        state[key] = value.float()
    decoder, bias = state.pop(_DECODER, None), state.pop(_DECODER_BIAS, None)
    if bias is not None:
        state.setdefault(_BIAS, bias)
    if not any(key.startswith("cls.predictions.") for key in state):
        raise CheckpointError(
            f"{file}: has no masked-LM head (cls.predictions.*), so it cannot score words; "
            "give a folder saved from BertForMaskedLM or BertForPreTraining"
        )
    if decoder is not None and _EMBEDDINGS in state and not torch.equal(decoder, state[_EMBEDDINGS]):
        raise CheckpointError(f"{file}: {_DECODER} differs from {_EMBEDDINGS}, to which it must be tied; give another")
    return state, all(any(key.startswith(prefix) for key in state) for prefix in (_NEXT, _POOLER))


def _check_sizes(file: Path, state: Mapping[str, Tensor], config: EncoderConfig) -> None:
    """Look before a model is built, which may not fit into memory. Raises: CheckpointError: the weights differ."""
    sizes = {"num_hidden_layers": len({key.split(".")[3] for key in state if key.startswith("bert.encoder.layer.")})}
    for name, (key, place) in _SIZES.items():
        shape = state[key].shape if key in state else ()
        sizes[name] = shape[place] if place < len(shape) else 0
    for name, size in sizes.items():
        if (wanted := getattr(config, name)) != size:
            raise CheckpointError(
                f"{file}: does not fit {CONFIG}: {name} is {wanted} there, but the weights have {size}; "
                "get both from the same model"
            )


def _check_same(file: Path, state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raises: CheckpointError: keys or sizes differ; the message shows how."""
    if shown := differences(state, wanted):
        raise CheckpointError(f"{file}: does not fit {CONFIG}: {shown}; get both from the same model")
