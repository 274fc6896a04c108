"""Names and files -> language models, and the search that the options ask for.

A language model is an n-gram in ARPA format (FILE.arpa, FILE.arpa.gz), a folder with a BERT as published (config.json,
model.safetensors, vocab.txt), or any other Hugging Face folder or name with the extra `hf`. What was tuned for it lies
beside it: FILE.tuned.json, or tuned.json in the folder.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from lipread.alphabet import BLANK, Alphabet
from lipread.config import MOST_WEIGHT, Config, SearchConfig, make_config
from lipread.decoding.lm import NgramModel, SentenceScorer
from lipread.decoding.search import Decoder, Search
from lipread.errors import ConfigError, DataError, OutputError

if TYPE_CHECKING:
    from lipread.decoding.ngram_binary import Ngrams

BUNDLED_FOLDER = Path(__file__).parent / "weights" / "lm"
ARPA_SUFFIXES = (".arpa", ".arpa.gz")
DEFAULT_WEIGHT = 0.5  # of a language model for which nothing was tuned
DEFAULT_GRAMMAR = "grid"
DEFAULT_BEAM_SIZE = 50
DEFAULT_NBEST = 10
RESCORED = 25  # candidates, at least, that a language model may put in another order
OTHER_FILES = frozenset({".arpa", ".gz", ".bin", ".txt", ".json", ".safetensors"})  # endings of files, not of names

Kind = Literal["ngram", "bert", "hf"]


class Tuned(Config):
    """What suits a language model, and where that was measured."""

    weight: float = Field(DEFAULT_WEIGHT, ge=0, le=MOST_WEIGHT)
    word_score: float = Field(0.0, ge=-MOST_WEIGHT, le=MOST_WEIGHT)
    tuned_on: str | None = None  # clips, model and error rates
    helps: bool = False  # whether it made the clips it was tuned on better


@dataclass(frozen=True)
class LanguageModel:
    """A language model that was found; `load` reads it."""

    name: str
    kind: Kind
    path: Path | None  # None: a name that Hugging Face knows
    tuned: Tuned

    def load(self) -> SentenceScorer:
        """Read it. Raises: DataError, ConfigError: damaged or of another kind. MissingDependencyError: extra `hf`."""
        if self.kind == "ngram":
            assert self.path is not None
            return NgramModel.load(self.path)
        if self.kind == "bert":
            from lipread.pseudo_likelihood import load_scorer

            assert self.path is not None
            return load_scorer(self.path)
        from lipread.huggingface import HuggingFaceScorer

        return HuggingFaceScorer(self.name if self.path is None else str(self.path))


def bundled_language_models() -> dict[str, Path]:
    """Name -> file or folder of the language models that ship."""
    if not BUNDLED_FOLDER.is_dir():
        return {}
    found = {path.name.split(".")[0]: path for path in BUNDLED_FOLDER.iterdir() if path.name.endswith(ARPA_SUFFIXES)}
    found |= {path.name: path for path in BUNDLED_FOLDER.iterdir() if (path / "config.json").is_file()}
    return dict(sorted(found.items()))


def find_language_model(name_or_path: str) -> LanguageModel:
    """A bundled name, an ARPA file, a folder, or a name that Hugging Face knows (owner/name).

    Raises: ConfigError: it is none of these, or what is stored beside it makes no sense.
    """
    path = bundled_language_models().get(name_or_path, Path(name_or_path))
    if os.path.isfile(path):  # where the methods of Path raise for a name that is too long, these say no
        return LanguageModel(name_or_path, "ngram", path, read_tuned(path))
    if os.path.isdir(path):
        return LanguageModel(name_or_path, _folder_kind(path), path, read_tuned(path))
    if name_or_path.count("/") == 1 and not name_or_path.startswith(("/", ".")) and path.suffix not in OTHER_FILES:
        return LanguageModel(name_or_path, "hf", None, Tuned())
    known = ", ".join(bundled_language_models()) or "none in this installation"
    raise ConfigError(
        f"lm {name_or_path!r} is neither a file nor a folder, and no bundled one has this name; bundled: {known}"
    )


def _folder_kind(folder: Path) -> Kind:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{folder}: no readable config.json there ({error}); give the folder of a model") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ConfigError(f"{folder / 'config.json'}: has no model_type; give the folder of a language model")
    architectures = config.get("architectures")
    named = architectures if isinstance(architectures, list) else []
    causal = any("CausalLM" in str(each) or "LMHead" in str(each) for each in named)
    other = (folder / "tokenizer.json").is_file() and not (folder / "vocab.txt").is_file()  # that `bert_folder` lacks
    return "bert" if config["model_type"] == "bert" and not causal and not other else "hf"


def tuned_path(path: Path) -> Path:
    """Where the tuned weights of a language model lie."""
    return path / "tuned.json" if path.is_dir() else path.with_name(path.name + ".tuned.json")


def forget_tuned(path: Path) -> bool:
    """Remove what was tuned for the language model that lay at a path before -> whether there was anything.

    Raises: OutputError: it cannot be removed.
    """
    file = tuned_path(path)
    try:
        file.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise OutputError(f"{file} is of another model and cannot be removed ({error.strerror}); delete it") from error
    return True


def read_tuned(path: Path) -> Tuned:
    """What was tuned for the language model at a path; defaults where nothing was.

    Raises: ConfigError: the file is damaged.
    """
    file = tuned_path(path)
    if not file.is_file():
        return Tuned()
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be read ({error}); delete it and run `lipread lm tune` again") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{file}: is not a table of values; delete it and run `lipread lm tune` again")
    return make_config(Tuned, values, origin=str(file))


def make_search(config: SearchConfig, alphabet: Alphabet, *, scorer: SentenceScorer | None = None) -> Search:
    """Build the search that the options ask for.

    Args:
        alphabet: of the network.
        scorer: the language model, where it was loaded already.
    Raises: ConfigError, DataError: a grammar, lexicon or language model cannot be read or does not fit the alphabet.
        MissingDependencyError: an optional package is absent.
    """
    kind = config.chosen_decoder
    if kind == "greedy":
        return Search(alphabet)
    model = find_language_model(config.lm) if config.lm is not None else None
    tuned = model.tuned if model else Tuned(weight=0.0)
    weight = tuned.weight if config.lm_weight is None else config.lm_weight
    word_score = tuned.word_score if config.word_score is None else config.word_score
    in_search = kind == "beam" and model is not None and model.kind == "ngram"
    name, decoder = kind, None
    if kind == "grammar":
        decoder, name = _grammar_decoder(config, alphabet), f"grammar {config.grammar or DEFAULT_GRAMMAR}"
    else:
        loaded = scorer if isinstance(scorer, NgramModel) else None
        ngram = (loaded or model.path) if model and in_search else None
        decoder = _beam_decoder(config, alphabet, ngram, weight, word_score)
    rescore = None
    if model is not None:
        name += f" + {model.name}"
        if not in_search:
            from lipread.decoding.rescore import Remembering, Rescorer

            scorer = scorer or Remembering(load_checked(model, alphabet))
            rescore = Rescorer(scorer, weight, word_score, config.next_weight)
    if config.next_weight and not getattr(scorer, "can_follow", False):
        raise ConfigError(
            f"next_weight={config.next_weight}: {config.lm} cannot tell which sentence follows another; give a BERT "
            "with a next-sentence head, or leave it out"
        )
    return Search(
        alphabet, decoder, rescore, nbest=config.nbest or DEFAULT_NBEST, name=name,
        sentences=kind == "grammar" or model is not None,
    )


def load_checked(model: LanguageModel, alphabet: Alphabet) -> SentenceScorer:
    """Read it. Raises: as `LanguageModel.load`; DataError: it knows nothing that can be written."""
    loaded = model.load()
    if model.kind == "ngram":
        from lipread.decoding.beam import check_knows

        assert isinstance(loaded, NgramModel)
        check_knows(loaded, model.name, alphabet)
    else:
        writable = " ".join(symbol.strip() for symbol in alphabet.symbols[BLANK + 1 :])
        if not loaded.knows(writable):  # type: ignore[attr-defined]
            raise DataError(
                f"{model.name}: its vocabulary has none of the words and letters that can be read; see that its folder "
                "holds vocab.txt or tokenizer.json"
            )
    return loaded


def _grammar_decoder(config: SearchConfig, alphabet: Alphabet) -> Decoder:
    from lipread.decoding.grammar import load_grammar
    from lipread.decoding.grammar_search import GrammarDecoder

    nbest = config.nbest or DEFAULT_NBEST
    if config.lm:
        nbest = max(nbest, RESCORED)
    return GrammarDecoder(load_grammar(config.grammar or DEFAULT_GRAMMAR), alphabet, nbest=nbest)


def _beam_decoder(
    config: SearchConfig, alphabet: Alphabet, ngram: Path | Ngrams | None, weight: float, word_score: float
) -> Decoder:
    from lipread.decoding.beam import BeamDecoder, read_lexicon

    lexicon = read_lexicon(config.lexicon, alphabet) if config.lexicon else None
    beam_size = config.beam_size or DEFAULT_BEAM_SIZE
    return BeamDecoder(
        alphabet, beam_size=beam_size, nbest=max(config.nbest or DEFAULT_NBEST, RESCORED), lexicon=lexicon,
        lm=ngram, lm_weight=weight, word_score=word_score,
    )
