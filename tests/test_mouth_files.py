"""Mouth crops as films and as strips: what is written comes back, what is damaged is refused, nothing half stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from lipread.errors import DataError, OutputError
from lipread.mouth import crop_strip, read_crops, write_crops_mp4
from lipread.values import Word

Array = npt.NDArray[Any]


def smooth_film(frames: int, seed: int = 0) -> Array:
    """Soft moving texture, as skin is."""
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.uniform(-1, 1, (160, 300)), (0, 0), 5)
    texture = 127 + texture / np.abs(texture).max() * 110
    return np.stack([texture[20:116, k % 200 : k % 200 + 96] for k in range(frames)]).astype(np.uint8)


def test_crops_written_come_back(tmp_path: Path):
    crops = smooth_film(75)
    write_crops_mp4(tmp_path / "clip.mp4", crops)
    back = read_crops(tmp_path / "clip.mp4")
    assert (back.shape, back.dtype) == (crops.shape, np.uint8)
    difference = np.abs(back.astype(int) - crops).mean(axis=(1, 2))
    assert difference.max() < 2
    assert np.abs(back[:-1].astype(int) - crops[1:]).mean() > 2 * difference.mean()  # not shifted by a frame
    assert (tmp_path / "clip.mp4").stat().st_size <= 60_000
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
    with av.open(str(tmp_path / "clip.mp4")) as film:
        assert film.streams.video[0].average_rate == 25


def test_the_same_crops_make_the_same_bytes(tmp_path: Path):
    """As a drawn mouth: grain, and a patch that opens and closes; without the option a third of the films differ."""
    rng = np.random.default_rng(0)
    crops = smooth_film(75) // 2 + rng.integers(0, 12, (75, 96, 96), np.uint8)
    for number in range(75):
        crops[number, 50 : 54 + number % 9, 30:66] = 20
    films = set()
    for _ in range(60):
        write_crops_mp4(tmp_path / "clip.mp4", crops)
        films.add((tmp_path / "clip.mp4").read_bytes())
    assert len(films) == 1


def test_black_and_white_come_back(tmp_path: Path):
    crops = np.zeros((4, 96, 96), np.uint8)
    crops[2:] = 255
    write_crops_mp4(tmp_path / "clip.mp4", crops)
    assert np.abs(read_crops(tmp_path / "clip.mp4").astype(int) - crops).max() <= 3


@pytest.mark.parametrize("frames", [1, 2, 300])
def test_any_length_comes_back(tmp_path: Path, frames: int):
    write_crops_mp4(tmp_path / "clip.mp4", smooth_film(frames))
    assert len(read_crops(tmp_path / "clip.mp4")) == frames


def test_damaged_films_are_refused(tmp_path: Path):
    whole = tmp_path / "clip.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (30, 96, 96), np.uint8)
    write_crops_mp4(whole, noise)
    data = whole.read_bytes()
    damaged = {"half": data[: len(data) // 2], "empty": b"", "words": b"a film of a mouth"}
    for name, content in damaged.items():
        (tmp_path / f"{name}.mp4").write_bytes(content)
        with pytest.raises(DataError, match=rf"{name}\.mp4.*prepare it again"):
            read_crops(tmp_path / f"{name}.mp4")
    with pytest.raises(DataError, match=r"absent\.mp4"):
        read_crops(tmp_path / "absent.mp4")


def test_a_film_with_a_hole_is_refused(tmp_path: Path):
    """Fewer frames than the file says would shift what follows in time."""
    whole = tmp_path / "clip.mp4"
    write_crops_mp4(whole, np.random.default_rng(0).integers(0, 256, (30, 96, 96), np.uint8))
    data = bytearray(whole.read_bytes())
    data[len(data) // 4 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 4)
    whole.write_bytes(data)
    with pytest.raises(DataError, match=r"clip\.mp4"):
        read_crops(whole)


def test_a_film_of_another_size_is_refused(tmp_path: Path):
    write_crops_mp4(tmp_path / "clip.mp4", np.zeros((3, 64, 64), np.uint8))
    with pytest.raises(DataError, match="96x96"):
        read_crops(tmp_path / "clip.mp4")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path):
    crops = smooth_film(3)
    file = tmp_path / "file"
    file.write_text("not a folder")
    (tmp_path / "folder.mp4").mkdir()
    for target in (file / "clip.mp4", tmp_path / "folder.mp4"):
        with pytest.raises(OutputError, match=f"{target.name}.*cannot be written"):
            write_crops_mp4(target, crops)
    with pytest.raises(OutputError, match="no crops to write"):
        write_crops_mp4(tmp_path / "clip.mp4", crops[:0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.mp4"]


def test_a_failure_half_way_keeps_the_old_film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_crops_mp4(tmp_path / "clip.mp4", smooth_film(5))
    before = (tmp_path / "clip.mp4").read_bytes()

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(av.VideoFrame, "from_ndarray", full)
    with pytest.raises(OutputError, match="No space left"):
        write_crops_mp4(tmp_path / "clip.mp4", smooth_film(9))
    assert (tmp_path / "clip.mp4").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


# --- the strip ---


def test_strip_shows_every_crop_in_its_place_and_words_under_them():
    crops = np.stack([np.full((96, 96), 10 * k, np.uint8) for k in range(20)])
    words = (Word("bin", 0.0, 0.2, 1.0), Word("blue", 0.2, 0.32, 1.0))  # frames 0-4 and 5-7
    picture = crop_strip(crops, words, columns=8)
    row_px = picture.shape[0] // 3
    assert picture.shape == (3 * row_px, 8 * 96, 3) and picture.dtype == np.uint8
    for k in range(20):
        top, left = k // 8 * row_px, k % 8 * 96
        assert (picture[top : top + 96, left : left + 96] == 10 * k).all()
    under = picture[96:row_px].reshape(row_px - 96, 8, 96, 3)
    dark = (under.max(axis=-1) < 100).any(axis=(0, 2))  # letters
    np.testing.assert_array_equal(dark, [True, False, False, False, False, True, False, False])
    assert all((under[1:-1, k] != 255).any() for k in range(8))  # every crop of a word is underlined
    assert (picture[row_px + 96 : 2 * row_px] == 255).all()  # no words there
    assert (picture[2 * row_px :, 4 * 96 :] == 255).all()  # the last row is not full


def test_strip_without_words_or_crops():
    assert (crop_strip(np.zeros((3, 96, 96), np.uint8), columns=3)[96:] == 255).all()
    assert crop_strip(np.zeros((0, 96, 96), np.uint8)).shape[2] == 3
