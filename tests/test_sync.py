"""How late sound is: told in words, with what cannot be compared refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import media
from lipread.alphabet import Alphabet
from lipread.checkpoint import Checkpoint
from lipread.cli import main
from lipread.config import PRESETS, NetworkConfig
from lipread.errors import ConfigError, NoFaceError, NoSoundError
from lipread.hearing import LEAST_FIT
from lipread.model.network import LipNetwork
from lipread.pipeline import LipReader, load_model
from lipread.sync import Offset, sync_of


def hearing() -> LipReader:
    torch.manual_seed(0)
    config: NetworkConfig = PRESETS["tiny"].model_copy(update={"streams": ("pixels", "points", "sound")})
    return LipReader(Checkpoint(LipNetwork(config).eval(), Alphabet.english(), {}, "tiny"))


@pytest.mark.parametrize(
    ("offset", "says"),
    [
        (Offset(0.0, 0.99, 1.0), "in step, offset 0.00 s (certainty 99%, fit 1.00)"),
        (Offset(0.2, 0.95, 1.0), "late by 0.20 s, offset +0.20 s"),
        (Offset(-0.48, 0.95, 1.0), "early by 0.48 s, offset -0.48 s"),
        (Offset(0.2, 0.4, 1.0), "unsure: the sound is late by 0.20 s"),
        (Offset(-0.6, 0.0, 1.0), "unsure: the sound is early by 0.60 s or more"),
        (Offset(0.2, 0.99, LEAST_FIT / 2), "does not go with the lips"),
    ],
)
def test_sentences(offset: Offset, says: str) -> None:
    assert says in offset.sentence


def test_what_cannot_be_compared(tmp_path: Path, grid_dir: Path) -> None:
    reader = hearing()
    pictures = media.frames_of(grid_dir, "s1_bbaf2n")[:30]
    silent = media.write_video(tmp_path / "silent.mp4", pictures)
    with pytest.raises(NoSoundError, match=r"silent\.mp4 has no sound"):
        sync_of(reader, silent)
    tone = media.tone(300, 1.0, 16_000)
    faceless = media.write_video(tmp_path / "grey.mp4", [np.full((96, 96, 3), 90, np.uint8)] * 25, sound=tone)
    with pytest.raises(NoFaceError, match=r"grey\.mp4: no face was found"):
        sync_of(reader, faceless)
    quiet = media.write_video(tmp_path / "quiet.mp4", pictures, sound=0 * tone)
    with pytest.raises(NoSoundError, match=r"quiet\.mp4: no speech is recognised"):
        sync_of(load_model("small", "cpu"), quiet)
    brief = media.write_video(tmp_path / "brief.mp4", pictures, sound=tone[:, :8000])
    with pytest.raises(NoSoundError, match=r"brief\.mp4: no speech is recognised in the sound, or too little"):
        sync_of(reader, brief)


def test_the_command_goes_on_after_a_bad_file(
    tmp_path: Path, grid_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = media.touch(tmp_path / "notes.mp4", "hello")
    clip = grid_dir / "clips" / "s1_bbaf2n.mp4"
    assert main(["sync", str(text), str(clip)]) == 1
    shown = capsys.readouterr()
    assert "notes.mp4" in shown.err and shown.err.count("\n") == 1
    assert str(clip) in shown.out
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "talk.mp4").symlink_to(clip)
    assert main(["sync", str(tmp_path / "in"), str(tmp_path / "none.mp4")]) == 1
    shown = capsys.readouterr()
    assert f"{tmp_path / 'in' / 'talk.mp4'}: " in shown.out and "none.mp4: there is no such file" in shown.err


def test_a_model_that_does_not_hear_is_refused(grid_dir: Path) -> None:
    network = LipNetwork(PRESETS["tiny"]).eval()
    deaf = LipReader(Checkpoint(network, Alphabet.english(), {}, "lips"))
    with pytest.raises(ConfigError, match="'lips' reads lips only"):
        sync_of(deaf, grid_dir / "clips" / "s1_bbaf2n.mp4")


@pytest.mark.slow
@pytest.mark.parametrize("late", [-10, 0, 7])
def test_shifted_sound_of_a_real_clip(tmp_path: Path, grid_dir: Path, late: int) -> None:
    """A clip of `val`, its sound moved by so many frames."""
    from lipread.audio import read_audio

    reader = load_model("small", "cpu")
    if not reader.network.hears:
        pytest.skip("the bundled model reads lips only")
    source = sorted((grid_dir / "clips").glob("s1_*.mp4"))[0]
    sound = read_audio(source)
    assert sound is not None
    moved = np.roll(sound, late * 640)
    moved[slice(0, late * 640) if late > 0 else slice(len(moved) + late * 640, None) if late else slice(0, 0)] = 0
    film = media.write_video(tmp_path / "moved.mp4", media.frames_of(grid_dir, source.stem), sound=moved[None])
    assert abs(sync_of(reader, film).late_s - late / 25) <= 0.0401
