"""The demo with a reader that knows nothing: what it writes and shows, for a drawn head and for a given video."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import media
from lipread import cli
from lipread.demo import run_demo
from lipread.drawn import sentence
from lipread.errors import NoFaceError
from test_pipeline import teller


def test_drawn_head(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "load_reader", lambda *_: teller())
    assert cli.main(["demo", "-o", str(tmp_path / "new"), "--seed", "3"]) == 0
    shown = capsys.readouterr().out
    assert sentence(3) in shown
    assert "% word errors" in shown
    assert str(tmp_path / "new" / "talking-head-3.captioned.mp4") in shown
    assert str(tmp_path / "new" / "talking-head-3.srt") in shown
    assert {path.suffix for path in (tmp_path / "new").iterdir()} == {".mp4", ".srt", ".vtt", ".tsv", ".txt", ".json"}


def test_what_is_given_twice_or_in_vain_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["a.mp4", "--video", "b.mp4"], "give the video once: either a.mp4 or --video b.mp4"),
        (["a.mp4", "--seed", "0"], "--seed and --text are for a head that is drawn, and a.mp4 is read"),
        (["--video", "b.mp4", "--text", "bin"], "and b.mp4 is read"),
    ):
        assert cli.main(["demo", "-o", str(tmp_path / "out"), *arguments]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_own_text_is_normalised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_demo(None, tmp_path, text="Set RED, now!", reader=teller())
    assert "set red now" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["talk.json", "talk.srt", "talk.captioned.mp4"])
def test_the_video_itself_is_never_replaced(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "load_reader", lambda *_: teller())
    film = media.write_video(tmp_path / "talk.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 5)
    content = film.read_bytes()
    if name == "talk.captioned.mp4":
        (tmp_path / name).hardlink_to(film)
    else:
        film = film.rename(tmp_path / name)
    assert cli.main(["demo", str(film), "-o", str(tmp_path)]) == 1
    assert f"{name} is the video itself and would be replaced" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == content
    assert {path.name for path in tmp_path.iterdir()} <= {"talk.mp4", name}


def test_given_video_without_a_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film = media.write_video(tmp_path / "wall.mp4", [np.full((48, 64, 3), 90, np.uint8)] * 10)
    with pytest.raises(NoFaceError, match=r"wall\.mp4: no face was found"):
        run_demo(film, tmp_path / "out", reader=teller())
    shown = capsys.readouterr().out
    assert "really said" not in shown
    assert (tmp_path / "out" / "wall.captioned.mp4").exists()
