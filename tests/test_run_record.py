"""The record of a run: what a kill leaves behind does no harm, and only one run writes at a time."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save

from lipread import language_models
from lipread.errors import OutputError
from lipread.run_record import (
    RECORD_NAME,
    FileState,
    RunRecord,
    language_model_identity,
    model_identity,
)

SETTINGS = {"model": "small", "options": {"formats": ["txt"]}}
STATE = FileState(4, 17)


def line(key: str = "/a.mp4", **more: Any) -> dict[str, Any]:
    return {"key": key, "name": "a", "size": 4, "mtime_ns": 17, "result": "done", **SETTINGS, **more}


def test_what_was_appended_is_known_to_the_next_run(tmp_path: Path) -> None:
    odd = "/\udcff \n é.mp4"  # bytes that are no text, a line break
    with RunRecord(tmp_path / "out") as record:
        assert record.lines == {}
        record.append(line())
        record.append(line(odd, name="odd"))
        record.append(line(result="failed"))
        record.append(line())
    with RunRecord(tmp_path / "out") as record:
        assert record.names == {"/a.mp4": "a", odd: "odd"}
        assert record.says_done("/a.mp4", "a", STATE, SETTINGS)
    assert len((tmp_path / "out" / RECORD_NAME).read_bytes().splitlines()) == 4


@pytest.mark.parametrize(
    ("changed", "name", "state", "settings"),
    [
        ({"result": "failed"}, "a", STATE, SETTINGS),
        ({}, "b", STATE, SETTINGS),
        ({}, "a", FileState(5, 17), SETTINGS),
        ({}, "a", FileState(4, 18), SETTINGS),
        ({}, "a", None, SETTINGS),
        ({}, "a", STATE, {**SETTINGS, "model": "large"}),
        ({}, "a", STATE, {**SETTINGS, "options": {"formats": ["txt", "json"]}}),
    ],
)
def test_any_difference_means_not_done(
    changed: dict[str, Any], name: str, state: FileState, settings: dict[str, Any], tmp_path: Path
) -> None:
    with RunRecord(tmp_path) as record:
        record.append(line(**changed))
        assert not record.says_done("/a.mp4", name, state, settings)
        record.append(line(result="empty"))
        assert record.says_done("/a.mp4", "a", STATE, SETTINGS)


def test_a_line_cut_off_anywhere_loses_itself_only(tmp_path: Path) -> None:
    with RunRecord(tmp_path) as record:
        record.append(line("/first.mp4"))
        record.append(line("/last é.mp4"))
    whole = (tmp_path / RECORD_NAME).read_bytes()
    first = whole.index(b"\n") + 1
    for cut in range(first, len(whole)):
        (tmp_path / RECORD_NAME).write_bytes(whole[:cut])
        with RunRecord(tmp_path) as record:
            assert ("/last é.mp4" in record.lines) == (cut == len(whole) - 1)  # only its line break is missing
            record.append(line("/next.mp4"))
        with RunRecord(tmp_path, read_only=True) as record:
            assert {"/first.mp4", "/next.mp4"} <= set(record.lines)


def test_lines_of_other_hands_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / RECORD_NAME).write_bytes(b"\xff\xfe\n[]\n17\n{}\n\n" + json.dumps(line()).encode())
    with RunRecord(tmp_path) as record:
        assert list(record.lines) == ["/a.mp4"]


def test_looking_makes_nothing_and_nothing_read_leaves_nothing(tmp_path: Path) -> None:
    with RunRecord(tmp_path / "out", read_only=True):
        pass
    assert not (tmp_path / "out").exists()
    with RunRecord(tmp_path / "out"):
        assert (tmp_path / "out" / RECORD_NAME).exists()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_one_run_at_a_time_and_a_killed_one_is_no_hindrance(tmp_path: Path) -> None:
    script = (
        "import sys, time; from lipread.run_record import RunRecord; record = RunRecord(sys.argv[1]); "
        "print(1, flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE)
    assert other.stdout is not None
    other.stdout.readline()
    with pytest.raises(OutputError, match="another lipread is writing to"):
        RunRecord(tmp_path)
    other.kill()
    other.communicate()
    with RunRecord(tmp_path) as record:
        record.append(line())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"lipread-run\.jsonl cannot be written"):
        RunRecord(tmp_path / "file" / "out")
    for read_only in (False, True):
        with pytest.raises(OutputError, match="choose another output folder"):
            RunRecord(tmp_path / "file", read_only=read_only)
    (tmp_path / "out" / "lipread-run.jsonl").mkdir(parents=True)
    for read_only in (False, True):
        with pytest.raises(OutputError, match="choose another output folder"):
            RunRecord(tmp_path / "out", read_only=read_only)


def test_a_model_is_known_by_its_content(tmp_path: Path) -> None:
    assert model_identity("small").startswith("small ")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"1")
    first = model_identity(path)
    path.write_bytes(b"2")
    assert model_identity(path) != first
    assert model_identity("no-such") == "no-such"


def test_a_model_is_known_by_the_one_that_it_brings_for_sound_too(tmp_path: Path) -> None:
    assert re.fullmatch(r"small [0-9a-f]{16} small-sound [0-9a-f]{16}", model_identity("small"))
    path, ears = tmp_path / "mine.safetensors", tmp_path / "ears.safetensors"
    path.write_bytes(save({}, {"record": json.dumps({"with_sound": "ears"})}))
    seen = [model_identity(path)]  # absent
    for content in (b"1", b"2"):
        ears.write_bytes(content)
        seen.append(model_identity(path))
    assert len(set(seen)) == 3


def test_a_language_model_is_known_by_its_files_and_by_what_was_tuned_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, ngram = tmp_path / "grid-bert", tmp_path / "grid-ngram.arpa.gz"
    folder.mkdir()
    for path in (folder / "config.json", folder / "tuned.json", ngram, tmp_path / "grid-ngram.arpa.gz.tuned.json"):
        path.write_text("{}")
    monkeypatch.setattr(language_models, "BUNDLED_FOLDER", tmp_path)
    for name, tuned in (("grid-bert", folder / "tuned.json"), ("grid-ngram", tmp_path / f"{ngram.name}.tuned.json")):
        first = language_model_identity(name)
        assert first.startswith(f"{name} ") and first == language_model_identity(name)
        os.utime(tuned, (1, 1))
        assert language_model_identity(name) == first  # installed anew
        tuned.write_text('{"weight": 1}')
        second = language_model_identity(name)
        tuned.unlink()
        assert len({first, second, language_model_identity(name)}) == 3
    assert language_model_identity(str(ngram)).startswith(f"{ngram} ")
    before = language_model_identity("grid-ngram")
    ngram.write_text("another")
    assert language_model_identity("grid-ngram") != before
    assert language_model_identity("owner/name") == "owner/name"
