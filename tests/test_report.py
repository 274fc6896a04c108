"""What a training shows and keeps: curves, sample decodes, lines without a terminal, its record."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lipread.config import TrainConfig
from lipread.errors import OutputError
from lipread.metrics import score
from lipread.training.clips import Clip
from lipread.training.evaluation import Classification, Evaluation
from lipread.training.report import Report

REFERENCES = tuple(f"bin blue {k}" for k in range(12))
FIGURES = {
    "val": Evaluation(score(REFERENCES, ["bin blue 0"] * 12), REFERENCES, tuple("bin blue 0" for _ in REFERENCES)),
}


def run(config: TrainConfig, first: int, last: int, *, loss: float, show: bool = False, active: bool = True) -> Report:
    report = Report(config, active=active, show=show, first=first)
    for step in report.steps(range(first + 1, last + 1), first):
        report.step(step, loss, clips=4)
        if step == last:
            report.evaluation(step, FIGURES)
    report.close()
    return report


def curves(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return events


def test_curves_and_sample_decodes(tmp_path: Path) -> None:
    run(TrainConfig(out=tmp_path, steps=120), 0, 120, loss=2.5)
    events = curves(tmp_path)
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(50, 2.5), (100, 2.5), (120, 2.5)]
    assert all(event.value > 0 for event in events.Scalars("train/clips_per_second"))
    (error,) = events.Scalars("val/wer")
    assert (error.step, error.value) == (120, pytest.approx(11 / 36))
    assert events.Scalars("val/cer")[0].value == pytest.approx(FIGURES["val"].score.cer)
    (event,) = events.Tensors("val/decodes/text_summary")
    table = event.tensor_proto.string_val[0].decode().splitlines()
    assert table[0] == "| said | read |"
    assert table[2] == "| bin blue 0 | bin blue 0 |"
    assert len(table) == 2 + 5  # from all over the clips
    assert table[-1] == "| bin blue 8 | bin blue 0 |"


def test_curves_of_an_interrupted_run_go_on_where_it_does(tmp_path: Path) -> None:
    config = TrainConfig(out=tmp_path, steps=200)
    run(config, 0, 150, loss=2.0)  # interrupted after 150; step 100 was the last one saved
    run(config, 100, 200, loss=1.0)
    assert [(event.step, event.value) for event in curves(tmp_path).Scalars("train/loss")] == [
        (50, 2.0), (100, 2.0), (150, 1.0), (200, 1.0)
    ]


def test_lines_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = TrainConfig(out=tmp_path, steps=210)
    report = run(config, 0, 210, loss=2.5, show=True)
    report.note("[3] clips are left out")
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if ": loss" in line]
    assert [line.split(":")[0] for line in steps] == ["step 100", "step 200", "step 210"]
    assert all("loss 2.500" in line and "clips/s" in line for line in steps)
    assert "step 210: val: WER 30.6%, CER 9.8%" in lines
    assert "    bin blue 0 | bin blue 0" in lines
    assert lines[-1] == "[3] clips are left out"


def test_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, told = ("bin", "red", "at", "b"), ("bin", "red", "eight", "b")
    report = Report(TrainConfig(out=tmp_path), active=True, show=True)
    report.evaluation(7, {"val": Classification(score(said, told), said, told)})
    report.close()
    assert "step 7: val: top-1 accuracy 75.0% of 4" in capsys.readouterr().out.splitlines()
    (accuracy,) = curves(tmp_path).Scalars("val/accuracy")
    assert (accuracy.step, accuracy.value) == (7, 0.75)


def test_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(TrainConfig(out=tmp_path / "a", steps=100), 0, 100, loss=1.0).note("unheard")
    run(TrainConfig(out=tmp_path / "b", steps=100), 0, 100, loss=1.0, show=True, active=False)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    assert not (tmp_path / "b").exists()  # another process writes there


def test_the_configuration_is_kept(tmp_path: Path) -> None:
    config = TrainConfig(out=tmp_path, preset="tiny", steps=7)
    run(config, 0, 7, loss=1.0)
    assert TrainConfig.model_validate(json.loads((tmp_path / "config.json").read_text())) == config


def test_an_unwritable_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="config.json cannot be written"):
        Report(TrainConfig(out=tmp_path / "file" / "run"), active=True, show=False)


def test_without_tensorboard_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real_import = builtins.__import__

    def absent(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return real_import(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", absent)
    run(TrainConfig(out=tmp_path, steps=3), 0, 3, loss=1.0, show=True)
    assert "pip install 'lipread[train]'" in capsys.readouterr().out
    assert not (tmp_path / "tensorboard").exists()


def test_the_record_of_a_checkpoint(tmp_path: Path) -> None:
    points = np.zeros((3, 9, 2), np.float32)
    clips = [
        Clip(f"{speaker}{source}", speaker, "train", source, "ah", 3, (), points, None)
        for speaker, source in (("s2", "real"), ("s1", "points"), ("s1", "real"), ("doll", "drawn"))
    ]
    config = TrainConfig(out=tmp_path, preset="tiny", data=(tmp_path,), learning_rate=3e-4)
    record = Report(config, active=False, show=False).record(9, clips)
    assert record["steps"] == 9
    assert record["clips"] == {"real": 2, "points": 1, "drawn": 1}
    assert record["speakers"] == ["s1", "s2"]  # people, not drawn heads
    assert record["config"]["learning_rate"] == 3e-4
    assert str(tmp_path) not in json.dumps(record)  # nobody's folders travel with a checkpoint
