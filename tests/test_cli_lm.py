"""`lipread lm ngram`: what it prints, what it writes, and one line for each thing that cannot work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lipread.cli import main
from lipread.decoding.lm import NgramModel


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text("Bin blue at f two now\nlay red by a one soon\nset red at b two now\n")
    return path


def test_writes_a_model_and_says_what_it_is(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, check = tmp_path / "out.arpa", tmp_path / "check.txt"
    check.write_text("bin red at zebra two now\n")
    assert main(["lm", "ngram", str(text), str(text), "-o", str(out), "--order", "2", "--check", str(check)]) == 0
    said = capsys.readouterr().out
    model = NgramModel.load(out)
    assert f"{out}: order 2, unit word, of 6 sentences in " in said and re.search(r"in \d+\.\d s\n", said)
    for length, count in enumerate(model.counts, 1):
        assert re.search(rf"{length}-grams +{count} ", said)
    found = re.search(r"perplexity (\S+) on .* \(1 sentences, (\S+) % of the tokens unknown\)", said)
    assert found is not None
    assert float(found[1]) == pytest.approx(model.perplexity(["bin red at zebra two now"]), abs=1e-4)
    assert float(found[2]) == pytest.approx(100 / 6, abs=0.01)


def test_characters_gzipped(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "chars.arpa.gz"
    assert main(["lm", "ngram", str(text), "-o", str(out), "--order", "4", "--unit", "char"]) == 0
    assert out.read_bytes()[:2] == b"\x1f\x8b"
    assert (NgramModel.load(out).unit, NgramModel.load(out).order) == ("char", 4)
    assert "perplexity" not in capsys.readouterr().out


def test_says_when_no_sentence_is_long_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("stop\ngo\n")
    assert main(["lm", "ngram", str(tmp_path / "a.txt"), "-o", str(tmp_path / "a.arpa"), "--order", "5"]) == 0
    said = capsys.readouterr().out
    assert "order 3, unit word" in said and "no sentence is long enough for order 5" in said


def test_each_mistake_is_one_line(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, blank, latin = (tmp_path / name for name in ("empty.txt", "blank.txt", "latin.txt"))
    empty.write_bytes(b"")
    blank.write_bytes(b"\n \n")
    latin.write_bytes("für\n".encode("latin-1"))
    out = tmp_path / "out.arpa"

    def refused(code: int, said: str, *arguments: object) -> None:
        assert main(["lm", "ngram", *map(str, arguments)]) == code
        captured = capsys.readouterr()
        assert re.search(said, captured.err), captured.err
        assert captured.err.startswith("lipread: error: ") and captured.err.count("\n") == 1
        assert not out.exists() and captured.out == ""

    refused(1, "empty.txt: is empty", empty, "-o", out)
    refused(1, "blank.txt: has no words", text, blank, "-o", out)
    refused(1, "latin.txt, line 1: is not UTF-8", latin, "-o", out)
    refused(1, "absent.txt: cannot be read", tmp_path / "absent.txt", "-o", out)
    refused(1, "empty.txt: is empty", text, "-o", out, "--check", empty)
    refused(2, "order=6 is not within 1 to 5", text, "-o", out, "--order", 6)
    refused(2, "order=0", text, "-o", out, "--order", 0)
    refused(2, "unit='letter'.*word or char", text, "-o", out, "--unit", "letter")
    refused(1, "cannot be written", text, "-o", text / "out.arpa")  # the folder is a file
    refused(2, "would be lost", text, "-o", text)
    refused(2, "--output", text)
    assert text.read_text().startswith("Bin blue")


def test_weights_tuned_for_the_model_before_are_forgotten(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "out.arpa"
    old = tmp_path / "out.arpa.tuned.json"
    old.write_text('{"weight": 1.5, "word_score": 2.0, "tuned_on": "another", "helps": true}')
    assert main(["lm", "ngram", str(text), "-o", str(model), "--order", "2"]) == 0
    assert not old.exists() and f"{old}: removed" in capsys.readouterr().out
    assert main(["lm", "ngram", str(text), "-o", str(model), "--order", "2"]) == 0
    assert "removed" not in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(4))
def test_held_out_documents_of_one_line_have_no_pairs(seed: int, tmp_path: Path) -> None:
    documents = tmp_path / "documents.txt"
    lines = [f"bin {colour} now" for colour in ("blue", "red", "green", "white") * 10]
    documents.write_text("\n\n".join([*lines, *["lay blue\nset red"] * 5]) + "\n")
    small = ["--steps", "1", "--batch", "2", "--layers", "1", "--width", "16", "--vocab", "300", "--device", "cpu"]
    assert main(["lm", "bert", str(documents), "-o", str(tmp_path / "out"), *small, "--seed", str(seed)]) == 0


@pytest.mark.parametrize("wrong", [["--seed", "99999999999999999999999"], ["--learning-rate", "1e300"]])
def test_numbers_too_large_are_one_line(wrong: list[str], text: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lm", "bert", str(text), "-o", str(text.parent / "bert"), "--steps", "1", *wrong]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lipread: error: ") and said.count("\n") == 1
    assert wrong[0].removeprefix("--").replace("-", "_") in said
