"""Films: read back with PyAV, frame by frame, against the crops; what browsers need; failures leave nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from lipread.errors import ConfigError, OutputError
from lipread.films import CAPTION_PX, captioned, crops_film, enlarged, fitting_font, heated, saliency_film, word_at
from lipread.insight import Insight
from lipread.values import Array, MouthTrack, Word
from looked_at import moving_track

WORDS = (Word("blue", 0.2, 0.4, 0.9), Word("now", 0.4, 0.6, 0.5))


def ramps(frames: int = 20) -> MouthTrack:
    """Smooth crops, each with its own lightness, as a codec can keep them."""
    ramp = np.linspace(0, 60, 96)[None, None] + np.linspace(20, 180, frames)[:, None, None]
    return replace(moving_track(frames), crops=np.broadcast_to(ramp, (frames, 96, 96)).astype(np.uint8))


def insight_of(track: MouthTrack, first: int = 0, frames: int | None = None) -> Insight:
    """A corner of every frame is salient."""
    frames = len(track.crops) - first if frames is None else frames
    saliency = np.zeros((frames, 96, 96), np.float32)
    saliency[:, :24, :24] = 1
    nothing = np.zeros(frames)
    return Insight(
        start_s=first / 25, first=first, frames=frames, log_probs=np.zeros((frames, 2), np.float32),
        attention=np.eye(frames, dtype=np.float32), attention_cls=nothing, saliency=saliency, opening=nothing,
        width=nothing, words=WORDS, layer=0, head=None,
    )


def read_film(path: Path) -> tuple[list[Array], dict[str, object]]:
    """Pictures and facts of a film."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        facts: dict[str, object] = {
            "codec": stream.codec_context.name, "pixels": stream.codec_context.pix_fmt, "rate": stream.average_rate,
            "streams": len(film.streams), "size": (stream.width, stream.height),
        }
        return [frame.to_ndarray(format="rgb24") for frame in film.decode(stream)], facts


def test_crops_film_is_what_browsers_play(tmp_path: Path) -> None:
    track = ramps()
    crops_film(track, tmp_path / "new" / "crops.mp4")
    pictures, facts = read_film(tmp_path / "new" / "crops.mp4")
    assert facts == {"codec": "h264", "pixels": "yuv420p", "rate": 25, "streams": 1, "size": (288, 288)}
    assert len(pictures) == 20
    for picture, crop in zip(pictures, track.crops, strict=True):
        small = cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA)
        assert abs(small.astype(int) - crop[..., None]).mean() < 4
    data = (tmp_path / "new" / "crops.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is loaded whole


def test_saliency_film_shows_crops_heat_and_words(tmp_path: Path) -> None:
    track = ramps()
    saliency_film([insight_of(track)], track, tmp_path / "why.mp4")
    pictures, facts = read_film(tmp_path / "why.mp4")
    assert facts["size"] == (288, 288 + CAPTION_PX) and facts["pixels"] == "yuv420p" and len(pictures) == 20
    for number, (picture, crop) in enumerate(zip(pictures, track.crops, strict=True)):
        lower = picture[150:288, 150:].astype(int)
        assert abs(lower - np.repeat(np.repeat(crop[50:, 50:], 3, 0), 3, 1)[..., None]).mean() < 5  # grey as it was
        hot = picture[10:60, 10:60].astype(int)
        assert (hot[..., 0] - hot[..., 2]).mean() > 50  # yellow
        assert (picture[288:].max() > 150) == (5 <= number < 15)  # words from 0.2 to 0.6 s


def test_only_what_was_looked_at_is_shown(tmp_path: Path) -> None:
    track = ramps(40)
    saliency_film([insight_of(track, first=12, frames=9)], track, tmp_path / "why.mp4")
    pictures, _ = read_film(tmp_path / "why.mp4")
    assert len(pictures) == 9
    assert abs(pictures[0][200:280, 200:280].mean() - track.crops[12][66:94, 66:94].mean()) < 4


def test_windows_that_overlap_show_each_frame_once(tmp_path: Path) -> None:
    track = ramps(40)
    windows = [insight_of(track, first, 15) for first in (0, 15, 25)]  # the last one ends where the track ends
    saliency_film(windows, track, tmp_path / "why.mp4")
    pictures, _ = read_film(tmp_path / "why.mp4")
    assert len(pictures) == 40
    light = [float(picture[150:288, 150:].mean()) for picture in pictures]
    assert light == sorted(light)  # in the order of the track, which grows lighter


def test_another_track_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give the track that was looked at"):
        saliency_film([insight_of(ramps(20))], ramps(19), tmp_path / "why.mp4")
    assert list(tmp_path.iterdir()) == []


def test_no_crops_no_film(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there are no crops to write"):
        crops_film(moving_track(0), tmp_path / "crops.mp4")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "crops.mp4"
    path.write_bytes(b"old")
    count = iter(range(100))
    monkeypatch.setattr(
        "lipread.films.enlarged", lambda picture: enlarged(picture) if next(count) < 5 else np.zeros((3, 3, 9))
    )
    with pytest.raises(OutputError, match="cannot be written"):
        crops_film(ramps(), path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        crops_film(ramps(), tmp_path / "file" / "crops.mp4")


def test_heat_by_hand() -> None:
    crop = np.full((2, 2), 100, np.uint8)
    made = heated(crop, np.array([[0.0, 0.1], [0.5, 1.0]], np.float32))
    inferno = cv2.applyColorMap(np.array([[0, 26, 128, 255]], np.uint8), cv2.COLORMAP_INFERNO)[0, :, ::-1]
    assert (made[0, 0] == 100).all()
    np.testing.assert_allclose(made[0, 1], 0.8 * 100 + 0.2 * inferno[1], atol=1)
    np.testing.assert_allclose(made[1, 1], 0.25 * 100 + 0.75 * inferno[3], atol=1)


def test_word_at_its_time() -> None:
    assert [word_at(WORDS, time_s) for time_s in (0.1, 0.2, 0.39, 0.4, 0.6)] == ["", "blue", "blue", "now", ""]


def test_captions_stay_below_the_picture_and_within_it() -> None:
    picture = np.full((288, 288, 3), 77, np.uint8)
    for text in ("", "a", "word " * 9):
        made = captioned(picture, text)
        assert made.shape == (288 + CAPTION_PX, 288, 3) and (made[:288] == 77).all()
        assert bool(made[288:].any()) == bool(text)
        assert not made[288:, 0].any() and not made[288:, -1].any()
    assert fitting_font("m" * 30, 200, 24).getlength("m" * 30) <= 200
