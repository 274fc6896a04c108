"""Comparing and tuning on made-up readings whose best choice is known beforehand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lipread.alphabet import Alphabet
from lipread.checkpoint import load_checkpoint
from lipread.cli import main
from lipread.compare import Reading, compare, figures, read_clips, usual_ways
from lipread.config import SearchConfig
from lipread.decoding.align import align_words
from lipread.decoding.greedy import greedy_decode
from lipread.decoding.lm import NgramModel
from lipread.decoding.search import Search
from lipread.errors import DataError
from lipread.evaluate import EvalClip
from lipread.language_models import LanguageModel, Tuned, find_language_model, load_checked, make_search
from lipread.tuning import Trial, fit_temperature, tune_weights, tuned
from lipread.values import Array, Hypothesis
from shell import tiny_checkpoint
from test_pipeline import teller
from test_search import said

ENGLISH = Alphabet.english()
WORDS = Alphabet.english().with_words(["bin", "pin", "blue"])


class Two:
    """The wrong text first, the right one second."""

    def decode(self, log_probs: Array) -> tuple[Hypothesis, ...]:
        return (Hypothesis("bin red", -1.0, -1.0), Hypothesis("bin blue", -2.0, -2.0))


def test_figures_by_hand() -> None:
    readings = [Reading("a", "bin blue", said("bin blue")), Reading("b", "bin red", said("bin red"))]
    found = figures(readings, Search(ENGLISH, Two()), way="two")
    assert (found.way, found.score.wer, found.oracle_wer) == ("two", 0.25, 0.0)
    assert found.milliseconds > 0
    one = figures(readings, Search(ENGLISH, Two(), nbest=1))
    assert (one.score.wer, one.oracle_wer) == (0.25, 0.25)


def test_the_oracle_looks_at_the_candidates_of_every_utterance() -> None:
    parted = np.concatenate([said("bin blue"), said("_" * 30), said("bin red")])
    reading = Reading("a", "bin blue bin blue", parted)
    found = figures([reading], Search(ENGLISH, Two()))
    assert (found.score.wer, found.oracle_wer) == (0.5, 0.0)


def test_every_way_reads_the_same_readings() -> None:
    readings = [Reading("a", "bin blue at f two now", said("bin blue at f two now"))]
    ways = {"greedy": SearchConfig(), "grammar grid": SearchConfig(decoder="grammar")}
    found = compare(readings, {way: make_search(config, ENGLISH) for way, config in ways.items()})
    assert [(each.way, each.score.wer) for each in found] == [("greedy", 0.0), ("grammar grid", 0.0)]


def test_usual_ways_hold_every_bundled_language_model_and_the_grammar_last() -> None:
    ways = list(usual_ways())
    assert ways[:2] == ["greedy", "beam"] and ways[-1] == "grammar grid"
    assert "beam + grid-ngram" in ways


def test_a_clip_that_cannot_be_read_counts_as_read_empty(tmp_path: object) -> None:
    told: list[str | None] = []
    clips = [EvalClip("gone", "s1", "bin blue", video=None, prepared=None)]
    clips = [EvalClip("gone", "s1", "bin blue", prepared=tmp_path)]  # type: ignore[arg-type]
    (reading,) = read_clips(teller(), clips, finished=lambda clip, problem: told.append(problem))
    assert reading.reference == "bin blue" and len(reading.log_probs) == 0
    assert told[0] is not None and "gone" in told[0]
    assert figures([reading], Search(ENGLISH)).score.wer == 1.0


@pytest.fixture
def one_of_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Reading]:
    """What the network sees in the two clips of a manifest, one of which cannot be read; a tiny model lies beside."""
    (tmp_path / "manifest.tsv").write_text("clip\tsplit\ttext\na\tval\tbin blue\nb\tval\tset red\n")
    (tmp_path / "clips").mkdir()
    for clip in "ab":
        (tmp_path / "clips" / f"{clip}.mp4").touch()
    tiny_checkpoint(tmp_path)
    readings = [Reading("a", "bin blue", said("bin blue")), Reading("b", "set red", said(""), "b.mp4 is no video")]
    monkeypatch.setattr("lipread.compare.read_clips", lambda *_, **__: readings)
    return readings


def test_the_temperature_is_fitted_on_the_clips_that_were_read(
    one_of_two: list[Reading], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = tmp_path / "tiny.safetensors", tmp_path / "new.safetensors"
    arguments = ["calibrate", str(tmp_path), "-o", str(out), "--model", str(model), "--device", "cpu"]
    assert main(arguments) == 1
    assert "fitted on 1 clip of val" in capsys.readouterr().out
    assert load_checkpoint(out).record["calibration"]["clips"] == 1
    out.unlink()
    del one_of_two[0]
    assert main(arguments) == 1
    assert "none of the clips could be read" in capsys.readouterr().err and not out.exists()


def test_weights_are_tuned_on_the_clips_that_were_read(
    one_of_two: list[Reading], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arpa, stored = tmp_path / "a.arpa", tmp_path / "a.arpa.tuned.json"
    arpa.write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-99\t<s>\n-0.5\t</s>\n-0.5\tbin\n\n\\end\\\n")
    arguments = ["lm", "tune", str(arpa), str(tmp_path), "--model", str(tmp_path / "tiny.safetensors")]
    assert main([*arguments, "--device", "cpu"]) == 1
    assert "1 clip of val, model tiny: WER 0.0 % with it" in json.loads(stored.read_text())["tuned_on"]
    stored.unlink()
    del one_of_two[0]
    assert main([*arguments, "--device", "cpu"]) == 1
    assert "none of the clips could be read" in capsys.readouterr().err and not stored.exists()
    stored.mkdir()  # what follows is refused before anything is read, which would say the same again
    assert main([*arguments, "--device", "cpu"]) == 1
    assert "a.arpa.tuned.json cannot be written" in capsys.readouterr().err
    stored.rmdir()
    arpa.write_text(arpa.read_text()[:-40])
    assert main([*arguments, "--device", "cpu"]) == 1
    assert "a.arpa" in (said := capsys.readouterr().err) and "none of the clips" not in said


def unsure(first: str, second: str, lead: float) -> Array:
    """One frame of a word that may be one or the other (the first likelier by `lead` nats), between blanks."""
    rows = np.full((9, WORDS.size), -20.0)
    rows[:, 0] = 0.0
    rows[4, 0], rows[4, WORDS.symbols.index(f" {first}")] = -20.0, lead
    rows[4, WORDS.symbols.index(f" {second}")] = 0.0
    rows[6, 0], rows[6, WORDS.symbols.index(" blue")] = -20.0, 0.0
    return np.asarray(rows - np.log(np.exp(rows).sum(1, keepdims=True)), np.float32)


def test_tuning_finds_a_weight_that_helps_and_no_larger_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arpa = tmp_path / "pins.arpa"
    arpa.write_text(
        "\\data\\\nngram 1=6\n\n\\1-grams:\n-99\t<s>\n-0.5\t</s>\n-9\t<unk>\n"
        "-0.3\tbin\n-1.3\tpin\n-0.5\tblue\n\n\\end\\\n"
    )
    model = find_language_model(str(arpa))
    readings = [Reading("a", "bin blue", unsure("pin", "bin", 0.3))]
    read = NgramModel.load
    opened: list[Path] = []

    def counted(path: Path) -> NgramModel:
        opened.append(path)
        return read(path)

    monkeypatch.setattr(NgramModel, "load", counted)
    base = SearchConfig(decoder="beam", lm=str(arpa))
    trials = tune_weights(readings, model, load_checked(model, WORDS), WORDS, base=base)
    assert opened == [arpa]  # once for all trials
    assert (trials[0].wer, trials[0].word_score) == (0.0, 0.0)
    assert trials[0].weight == 0.2  # 0.2 x ln 10 > 0.3 > 0.1 x ln 10
    assert max(trial.wer for trial in trials if trial.weight == 0) == 0.5
    best = tuned(trials, tuned_on="one clip")
    assert (best.weight, best.helps) == (0.2, True)
    assert best.tuned_on == "one clip: WER 0.0 % with it, 50.0 % without"


def test_what_does_not_help_is_said_to_be_so() -> None:
    trials = [Trial(0.0, 0.0, 0.1, 0.1), Trial(0.5, 0.0, 0.1, 0.1)]
    assert tuned(trials, tuned_on="x") == Tuned(
        weight=0.0, word_score=0.0, helps=False, tuned_on="x: WER 10.0 % with it, 10.0 % without"
    )


def test_language_models_say_what_they_are() -> None:
    model = find_language_model("grid-ngram")
    assert isinstance(model, LanguageModel) and model.kind == "ngram"


@pytest.mark.parametrize("true_temperature", [1.0, 3.0])
def test_the_temperature_of_overconfident_readings_is_found(true_temperature: float) -> None:
    """Words are drawn from probabilities p; readings that claim p ** temperature must be flattened by it."""
    rng = np.random.default_rng(0)
    numbers = [WORDS.symbols.index(f" {word}") for word in ("bin", "pin")]
    readings = []
    for _ in range(400):
        logits = np.full((3, WORDS.size), -60.0)
        logits[:, 0] = 0.0
        logits[1, 0] = -60.0
        logits[1, numbers] = [rng.uniform(0, 3), 0.0]
        share = np.exp(logits[1, numbers]) / np.exp(logits[1, numbers]).sum()
        word = ("bin", "pin")[int(rng.random() > share[0])]
        claimed = logits * true_temperature
        claimed -= np.log(np.exp(claimed - claimed.max(1, keepdims=True)).sum(1, keepdims=True)) + claimed.max(
            1, keepdims=True
        )
        readings.append(Reading("x", word, claimed.astype(np.float32)))
    found = fit_temperature(readings, WORDS)
    assert found == pytest.approx(true_temperature, rel=0.35)
    confidence = np.mean([align_words(r.log_probs, "bin", WORDS, temperature=found)[0].confidence for r in readings])
    right = np.mean([r.reference == "bin" for r in readings])
    assert confidence == pytest.approx(right, abs=0.05)


def test_a_clip_whose_text_needs_more_frames_than_it_has_is_no_hindrance_to_the_temperature() -> None:
    def saying(*symbols: str) -> Reading:
        scores = np.full((len(symbols), WORDS.size), -9.0, np.float32)
        for frame, symbol in zip(scores, symbols, strict=True):
            frame[WORDS.symbols.index(symbol)] = -0.01
        return Reading("x", "bin", scores)

    good, bad = saying(WORDS.symbols[0], " bin", WORDS.symbols[0]), saying(" bin", "i")
    with pytest.raises(DataError, match="frames"):
        align_words(bad.log_probs, greedy_decode(bad.log_probs, WORDS).text, WORDS)
    assert fit_temperature([good, bad], WORDS) == fit_temperature([good], WORDS)
    with pytest.raises(DataError, match="no word was read"):
        fit_temperature([bad], WORDS)
