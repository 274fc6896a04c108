"""Names, files and folders -> language models and searches; what is refused, and how."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lipread.alphabet import Alphabet
from lipread.config import SearchConfig, make_config
from lipread.decoding.rescore import Rescorer
from lipread.errors import ConfigError, DataError, LipreadError
from lipread.language_models import (
    Tuned,
    bundled_language_models,
    find_language_model,
    make_search,
    read_tuned,
    tuned_path,
)
from test_search import said

ENGLISH = Alphabet.english()
ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-99\t<s>\t-0.3
-1.0\t</s>
-0.5\tbin\t-0.2
-0.7\tblue\t-0.1
-3.0\t<unk>

\\2-grams:
-0.1\t<s> bin
-0.2\tbin blue

\\end\\
"""


@pytest.fixture
def arpa(tmp_path: Path) -> Path:
    (tmp_path / "small.arpa").write_text(ARPA)
    return tmp_path / "small.arpa"


def test_an_arpa_file_is_found_and_scores(arpa: Path) -> None:
    model = find_language_model(str(arpa))
    assert (model.kind, model.path, model.tuned) == ("ngram", arpa, Tuned())
    assert model.load().scores(["bin blue"]) == pytest.approx([(-0.1 - 0.2 - 0.1 - 1.0) * np.log(10)])


def test_what_was_tuned_lies_beside_the_model(arpa: Path) -> None:
    tuned_path(arpa).write_text(Tuned(weight=0.7, word_score=1.5, helps=True, tuned_on="val").model_dump_json())
    assert find_language_model(str(arpa)).tuned == Tuned(weight=0.7, word_score=1.5, helps=True, tuned_on="val")
    search = make_search(SearchConfig(decoder="grammar", lm=str(arpa)), ENGLISH)
    assert isinstance(search.rescore, Rescorer)
    assert (search.rescore.weight, search.rescore.word_score) == (0.7, 1.5)
    given = make_search(SearchConfig(decoder="grammar", lm=str(arpa), lm_weight=0.1, word_score=0.0), ENGLISH)
    assert isinstance(given.rescore, Rescorer)
    assert (given.rescore.weight, given.rescore.word_score) == (0.1, 0.0)


@pytest.mark.parametrize(
    ("content", "said_so"),
    [("{", "cannot be read"), ("[]", "not a table"), ('{"weight": -1}', "weight=-1"), ('{"wait": 1}', "did you mean"),
     ("[" * 100_000, "cannot be read")],
)
def test_damaged_tuning_is_refused(arpa: Path, content: str, said_so: str) -> None:
    tuned_path(arpa).write_text(content)
    with pytest.raises(ConfigError, match=said_so):
        read_tuned(arpa)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"model_type": "bert", "architectures": ["BertForPreTraining"]}, "bert"),
        ({"model_type": "bert"}, "bert"),
        ({"model_type": "bert", "architectures": ["BertLMHeadModel"]}, "hf"),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, "hf"),
    ],
)
def test_folders_by_kind(tmp_path: Path, config: dict[str, object], kind: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "vocab.txt").write_text("[PAD]\n")
    assert find_language_model(str(tmp_path)).kind == kind
    (tmp_path / "vocab.txt").unlink()  # which its reader will then say
    assert find_language_model(str(tmp_path)).kind == kind
    (tmp_path / "tokenizer.json").write_text("{}")
    assert find_language_model(str(tmp_path)).kind == "hf"


def test_a_name_with_an_owner_is_left_to_hugging_face() -> None:
    model = find_language_model("somebody/some-model")
    assert (model.kind, model.path) == ("hf", None)


@pytest.mark.parametrize("name", ["nothing", "/no/such/file.arpa", "./gone"])
def test_unknown_names_list_the_known(name: str) -> None:
    with pytest.raises(ConfigError, match="neither a file nor a folder.*bundled: .*grid-ngram"):
        find_language_model(name)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", "[" * 100_000])
def test_folders_of_another_kind_are_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        find_language_model(str(tmp_path))


def test_the_bundled_ones_know_the_grammar_but_not_the_sentences() -> None:
    assert "grid-ngram" in bundled_language_models()
    scores = find_language_model("grid-ngram").load().scores(["bin blue at f two now", "blue bin two f at now"])
    assert scores[0] > scores[1] + 10


def test_greedy_is_the_default_and_names_say_what_was_done() -> None:
    assert make_search(SearchConfig(), ENGLISH).name == "greedy"
    assert make_search(SearchConfig(grammar="grid"), ENGLISH).name == "grammar grid"
    search = make_search(SearchConfig(decoder="grammar", lm="grid-ngram", nbest=3), ENGLISH)
    assert search.name == "grammar grid + grid-ngram"
    (only,) = search.utterances(said("bin blue at f two now"))
    assert (only.text, len(only.nbest)) == ("bin blue at f two now", 3)
    best = only.nbest[0]
    assert best.posterior is not None and best.posterior > 0.9
    tuned = find_language_model("grid-ngram").tuned
    assert best.score == pytest.approx(best.acoustic_score + tuned.weight * best.lm_score + 6 * tuned.word_score)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"decoder": "greedy", "lm": "x"}, "single candidate"),
        ({"decoder": "beam", "grammar": "grid"}, "is for decoder='grammar'"),
        ({"decoder": "grammar", "lexicon": "words.txt"}, "is for decoder='beam'"),
        ({"grammar": "grid", "lexicon": "words.txt"}, "exclude one another"),
        ({"lm_weight": 1.0}, "nothing to weigh"),
        ({"next_weight": 1.0}, "nothing to weigh"),
        ({"decoder": "greedy", "beam_size": 5}, "beam_size=5 is for decoder='beam', not for 'greedy'"),
        ({"grammar": "grid", "beam_size": 5}, "not for 'grammar'"),
        ({"decoder": "greedy", "word_score": 1.0}, "word_score=1.0 is for"),
        ({"decoder": "best"}, "decoder='best'"),
        ({"beam_size": 0}, "beam_size=0"),
        ({"nbest": 0}, "nbest=0"),
        ({"nbest": 5}, "nbest=5 is for beam or grammar"),
        ({"lm": "x", "lm_weight": -1}, "lm_weight=-1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_config(SearchConfig, options)


@pytest.mark.parametrize("options", [{}, {"grammar": "grid"}, {"decoder": "beam", "beam_size": 7}])
def test_options_go_through_json(options: dict[str, object]) -> None:
    config = make_config(SearchConfig, options)
    assert SearchConfig.model_validate_json(config.model_dump_json()) == config


class Counting:
    """A scorer that likes long texts and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def scores(self, texts: Sequence[str]) -> list[float]:
        self.asked += texts
        return [float(len(text)) for text in texts]


def test_how_many_candidates_are_shown_does_not_change_the_text() -> None:
    unsure = said("bin blue at f two now", sure=0.3)
    texts = set()
    for nbest in (1, 25):
        scorer = Counting()
        config = SearchConfig(decoder="grammar", lm="grid-bert", lm_weight=3.0, nbest=nbest)
        (only,) = make_search(config, ENGLISH, scorer=scorer).utterances(unsure)
        assert len(only.nbest) == nbest and len(scorer.asked) >= 25
        texts.add(only.text)
    assert len(texts) == 1


def test_an_ngram_of_another_alphabet_is_refused_with_a_grammar_too(tmp_path: Path) -> None:
    arpa = tmp_path / "foreign.arpa"
    arpa.write_text(ARPA.replace("bin", "дом").replace("blue", "свет"))
    with pytest.raises(DataError, match="can spell none of its words"):
        make_search(SearchConfig(grammar="grid", lm=str(arpa)), ENGLISH)


@pytest.mark.parametrize("lm", ["grid-ngram", "grid-bert"])
def test_next_weight_needs_a_model_that_can_tell(lm: str) -> None:
    with pytest.raises(ConfigError, match=f"next_weight=2.0: {lm} cannot tell"):
        make_search(SearchConfig(lm=lm, next_weight=2.0), ENGLISH)


def test_names_that_hugging_face_knows_may_have_dots() -> None:
    assert find_language_model("Qwen/Qwen2.5-0.5B").kind == "hf"
    with pytest.raises(ConfigError, match="neither a file nor a folder"):
        find_language_model("texts/mine.arpa")


@pytest.mark.parametrize(
    "options",
    [{"grammar": "nowhere"}, {"lexicon": Path("/no/words.txt")}, {"lm": "/no/file.arpa"}, {"lm": __file__}],
)
def test_files_that_are_not_there_or_of_another_kind_are_named(options: dict[str, object]) -> None:
    with pytest.raises(LipreadError, match=r"nowhere|words\.txt|file\.arpa|test_language_models"):
        make_search(SearchConfig(**options), ENGLISH)  # type: ignore[arg-type]
