"""Talking heads of reserved seeds, which no training ever sees: for the demo, the bench and `evaluate --drawn`."""

from __future__ import annotations

from pathlib import Path

from lipread.evaluate import EvalClip
from lipread.files import PathLike


def reserved_seed(number: int) -> int:
    """The seed of drawn head `number` (0, 1, 2, ...) of those that training must not use."""
    from lipread.data.synthetic import FIRST_RESERVED_SEED

    return int(FIRST_RESERVED_SEED) + number


def sentence(number: int) -> str:
    """What drawn head `number` says: a sentence of the corpus's grammar, always the same for the same number."""
    from lipread.data.synthetic import sentence_of

    return str(sentence_of(reserved_seed(number)))


def draw_video(path: PathLike, text: str, number: int) -> bool:
    """Draw head `number` saying a text into an mp4; it has sound where eSpeak NG is installed.

    Returns: whether it has sound.
    Raises: DataError: the text cannot be spoken. OutputError: the file cannot be written.
    """
    from lipread.data.synthetic import draw_clip, write_video

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return bool(write_video(path, draw_clip(text, reserved_seed(number))))


def draw_clips(count: int, folder: PathLike) -> list[EvalClip]:
    """Draw heads 0 .. count-1, each saying its sentence, into a folder, to be read like any other clips.

    Raises: OutputError: a file cannot be written.
    """
    clips = []
    for number in range(count):
        video = Path(folder) / f"drawn{reserved_seed(number)}.mp4"
        draw_video(video, sentence(number), number)
        clips.append(EvalClip(video.stem, "drawn", sentence(number), video=video))
    return clips
