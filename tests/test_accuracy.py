"""tools/accuracy.py on sentences of which the errors are known by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import accuracy

CLIPS = [
    {"speaker": "a", "reference": "bin red in b two now", "hypothesis": "bin red at p two now"},
    {"speaker": "a", "reference": "bin red in b two now", "hypothesis": "bin red in b two two now"},
    {"speaker": "b", "reference": "lay blue at f six soon", "hypothesis": "lay blue f six soon"},
    {"speaker": "b", "reference": "lay blue at f six soon", "hypothesis": ""},
]


def test_each_word_is_judged_where_it_was_said() -> None:
    assert accuracy.aligned("lay blue at f", "lay blue f") == [
        ("lay", "lay"), ("blue", "blue"), ("at", ""), ("f", "f")
    ]
    wrong = [round(each.wer * each.words) for each in accuracy.by_place(CLIPS)]
    assert wrong == [1, 1, 3, 2, 1, 1]


def test_viseme_pairs_tell_what_lips_cannot() -> None:
    pairs = accuracy.viseme_pairs(CLIPS)
    assert pairs == {("p b m", "p b m"): 1, ("ee y", "e a"): 1, ("t d n l s z", "t d n l s z"): 1}


def test_shares_of_visemes_count_every_phone_that_was_said() -> None:
    shares = accuracy.of_visemes(CLIPS[:1])  # bin red in b two now -> bin red at p two now
    # t d n l s z: d of red, n of bin, in, now, t of two; of these the n of "in" became a t
    assert shares["t d n l s z"] == pytest.approx(1 / 5)
    assert shares["p b m"] == pytest.approx(1 / 2)  # of bin and b
    assert shares["ee y"] == pytest.approx(1 / 3)  # of bin, in and b
    assert shares["oo"] == 0
    assert accuracy.of_visemes(CLIPS[3:])["f v"] == 1  # nothing was read


def test_every_phone_has_one_viseme() -> None:
    from lipread.data.visemes import DIPHTHONGS, PHONES

    assert set(accuracy.CLASS_OF) == set(PHONES) - {"-"} | set(DIPHTHONGS)
    assert sum(map(len, accuracy.VISEMES.values())) == len(accuracy.CLASS_OF)


def test_tables_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "some.json").write_text(json.dumps({"clips": CLIPS}))
    assert accuracy.main([f"four={tmp_path / 'some.json'}", "-o", str(tmp_path / "some.png")]) == 0
    told = capsys.readouterr().out
    assert "4 clips, WER 41.7 (" in told  # 3 + 7 of 24 words
    assert "| 3 | 3 | 75.0 (" in told and "Words too many: 1." in told
    assert "| b | 2 | 58.3 (" in told
    assert (tmp_path / "some.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("content", ["", "{}", '{"clips": [{}]}', None])
def test_a_bad_file_is_one_sentence(tmp_path: Path, content: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.json"
    if content is not None:
        file.write_text(content)
    assert accuracy.main([f"x={file}"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


