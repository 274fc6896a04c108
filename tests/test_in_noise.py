"""Error rates among noise: the right sound in the right way, and ratios as they were asked for."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lipread import in_noise
from lipread.alphabet import Alphabet
from lipread.cli import main
from lipread.errors import ConfigError, DataError, NoSoundError
from lipread.evaluate import EvalClip
from lipread.in_noise import WAYS, measure_in_noise, ratios_of
from lipread.noise import KINDS
from lipread.terminal import show_noise
from lipread.values import MouthTrack, Transcript

CLEAN = np.sin(np.arange(16_000) / 9).astype(np.float32)


class Listening:
    """Reads "bin" wherever it hears more of the clean sound than of noise, or where it sees lips; else "set"."""

    alphabet = Alphabet.english()

    def __init__(self, *, hears: bool = True) -> None:
        self.hears = hears
        self.asked: list[tuple[str, float]] = []

    def read_track(self, _track: MouthTrack, *, sound: Any = None, modality: str = "auto") -> Transcript:
        if sound is None:
            return said("bin")
        return said("bin" if modality == "both" else self._heard(sound))

    def transcribe(self, _path: str, *, modality: str, sound: Any) -> Transcript:
        assert modality == "audio"
        return said(self._heard(sound))

    def _heard(self, sound: Any) -> str:
        noise = sound.frames(0, 25) - CLEAN
        ratio = float(np.mean(CLEAN**2) / max(1e-12, float(np.mean(noise**2))))
        self.asked.append(("heard", round(10 * math.log10(ratio), 1)))
        return "bin" if ratio > 1 else "set"


def said(text: str) -> Transcript:
    return Transcript(text, (), 1.0, 1.0, 1.0)


@pytest.fixture
def clips(monkeypatch: pytest.MonkeyPatch) -> list[EvalClip]:
    monkeypatch.setattr(in_noise, "mouth_track", lambda _clip: None)
    monkeypatch.setattr(in_noise, "sound_of", lambda clip: CLEAN if clip.speaker == "me" else CLEAN[::-1] + 0.3)
    return [EvalClip(f"c{number}", "me", "bin", video=Path(f"c{number}.mp4")) for number in range(3)]


def test_each_way_at_each_ratio(clips: list[EvalClip], capsys: pytest.CaptureFixture[str]) -> None:
    reader: Any = Listening()
    others = [EvalClip("o1", "you", "set", video=Path("o.mp4")), *clips]
    found = measure_in_noise(reader, clips, others, "babble", [-5.0, 5.0, math.inf])
    rates = [{way: score.wer for way, score in each.scores.items()} for each in found]
    assert rates[0] == {"video": 0.0, "audio": 1.0, "both": 0.0, "auto": 1.0}
    assert rates[1] == rates[2] == dict.fromkeys(("video", "audio", "both", "auto"), 0.0)
    assert {ratio for _, ratio in reader.asked if ratio < 100} == {-5.0, 5.0}
    show_noise(found, "babble")
    shown = capsys.readouterr().out
    assert "100.0" in shown and "clean" in shown and "-5" in shown


@pytest.mark.parametrize("kind", KINDS)
def test_the_command_writes_what_it_shows(
    clips: list[EvalClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    reader: Any = Listening()
    reader.checkpoint = type("Checkpoint", (), {"name": "small"})()
    others = [EvalClip("o1", "you", "set", video=Path("o.mp4"))]
    monkeypatch.setattr("lipread.cli_sound.load_reader", lambda *_: reader)
    monkeypatch.setattr(
        "lipread.evaluate.read_manifest", lambda _manifest, *, split, **_: others if split == "train" else clips
    )
    arguments = ["noise", "manifest.tsv", "--kind", kind, "--snr=-5,clean", "--quiet"]
    path = tmp_path / "new" / "noise.json"
    assert main([*arguments, "--json", str(path)]) == 0
    told = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert (told["model"], told["kind"], told["clips"], told["left_out"]) == ("small", kind, 3, 0)
    assert [each["snr_db"] for each in told["ratios"]] == [-5.0, "clean"]
    assert all(list(each["scores"]) == list(WAYS) for each in told["ratios"])
    assert [each["scores"]["audio"]["wer"] for each in told["ratios"]] == [1.0, 0.0]
    assert main([*arguments, "--json", str(tmp_path / "noise.txt")]) == 2
    assert not (tmp_path / "noise.txt").exists()


def test_clips_that_cannot_be_read_are_named_and_left_out(
    clips: list[EvalClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    def sound_of(clip: EvalClip) -> Any:
        if clip.clip == "c1":
            raise NoSoundError("c1.mp4 has no sound")
        return CLEAN

    monkeypatch.setattr(in_noise, "sound_of", sound_of)
    reader: Any = Listening()
    told: list[tuple[str, str | None]] = []
    found = measure_in_noise(
        reader, clips, [], "white", [math.inf], finished=lambda clip, problem: told.append((clip.clip, problem))
    )
    assert told == [("c0", None), ("c1", "c1.mp4 has no sound"), ("c2", None)]
    assert found[0].clips == 2
    with pytest.raises(DataError, match="none of the clips could be read"):
        measure_in_noise(reader, clips[1:2], [], "white", [math.inf])


def test_babble_is_made_of_those_that_have_sound(clips: list[EvalClip], monkeypatch: pytest.MonkeyPatch) -> None:
    def sound_of(clip: EvalClip) -> Any:
        if clip.clip == "mute":
            raise NoSoundError("mute.mp4 has no sound")
        return CLEAN if clip.speaker == "me" else CLEAN[::-1] + 0.3

    monkeypatch.setattr(in_noise, "sound_of", sound_of)
    reader: Any = Listening()
    mute, voice = (EvalClip(name, "you", "set", video=Path(f"{name}.mp4")) for name in ("mute", "voice"))
    few, all_of_them = (
        measure_in_noise(reader, clips, others, "babble", [0.0, math.inf])
        for others in ([voice], [mute, voice, mute])
    )
    assert [each.scores for each in few] == [each.scores for each in all_of_them]
    with pytest.raises(DataError, match="no clip of theirs has any"):
        measure_in_noise(reader, clips, [mute], "babble", [0.0])
    monkeypatch.setattr(in_noise, "mouth_track", None)  # what follows is refused before anything is read
    own = EvalClip("own", "me", "set", video=Path("own.mp4"))
    with pytest.raises(ConfigError, match="beside me, who speaks in c0, there is nobody; choose another noise"):
        measure_in_noise(reader, clips, [own], "babble", [0.0])


def test_a_model_that_does_not_hear_is_refused(clips: list[EvalClip]) -> None:
    deaf: Any = Listening(hears=False)
    deaf.checkpoint = type("Checkpoint", (), {"name": "lips"})()
    with pytest.raises(ConfigError, match="'lips' reads lips only"):
        measure_in_noise(deaf, clips, [], "white", [0.0])


def test_ratios() -> None:
    assert ratios_of(" -10, 0,clean,") == (-10.0, 0.0, math.inf)
    assert ratios_of("5,5.0,clean,clean") == (5.0, math.inf)
    for wrong in ("", "loud", "0,nan", "-inf", "1e9"):
        with pytest.raises(ConfigError, match="snr"):
            ratios_of(wrong)


def test_the_curve_is_drawn(clips: list[EvalClip], tmp_path: Path) -> None:
    from lipread.plots import write_noise_curve

    reader: Any = Listening()
    found = measure_in_noise(reader, clips, [], "pink", [0.0, math.inf])
    write_noise_curve(tmp_path / "curve.png", found, "pink")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
