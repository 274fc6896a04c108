"""`lipread demo`: a talking head that no training ever saw (or the user's video) is read and shown."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lipread.captions import write_captioned_video
from lipread.errors import NoFaceError
from lipread.files import inside, require_apart
from lipread.inputs import CAPTIONED_SUFFIX
from lipread.metrics import score
from lipread.outputs import output_paths, write_outputs
from lipread.terminal import out, read_from, show_transcript, word_table

if TYPE_CHECKING:
    from lipread.hearing import Modality
    from lipread.pipeline import LipReader


def run_demo(
    video: Path | None, folder: Path, *, seed: int = 0, text: str | None = None, reader: LipReader,
    modality: Modality = "auto",
) -> None:
    """Read a video, show its words with their times, and write subtitles and a captioned film.

    Args:
        video: what to read; None draws a head.
        folder: where to write.
        seed, text: which reserved head to draw and what it says; None takes a sentence of the seed.
        reader: does the reading.
        modality: what from, as `LipReader.transcribe`.
    Raises: VideoError, NoFaceError, OutputError, DataError: as reading, drawing and writing.
    """
    said = None
    if video is None:
        from lipread.drawn import draw_video, sentence

        said = reader.alphabet.normalise(text or sentence(seed))
        video = inside(folder, f"talking-head-{seed}.mp4")
        out.print(f"drawing talking head {seed} ...")
        draw_video(video, said, seed)
    film = inside(folder, video.stem + CAPTIONED_SUFFIX)
    output_paths(video, folder, video.stem)  # what cannot be is told before it is read
    require_apart(film, video)
    transcript = reader.transcribe(video, modality=modality)
    written = write_outputs(transcript, folder, video.stem)
    write_captioned_video(video, transcript, film)
    show_transcript(transcript)
    if transcript.words:
        out.print(word_table(transcript))
    if said is not None:
        rate = score([said], [transcript.text]).wer
        used = dict.fromkeys(modality for _, _, (modality, _) in read_from(transcript))
        out.print(f"read:          {transcript.text}   (from {', '.join(used) or 'nothing'})", markup=False)
        out.print(f"really said:   {said}   ({100 * rate:.0f} % word errors)", markup=False)
        out.print(f"drawn video:   {video.resolve()}", markup=False)
    out.print(f"with captions: {film.resolve()}", markup=False)
    out.print(f"subtitles:     {next(path for path in written if path.suffix == '.srt').resolve()}", markup=False)
    if transcript.face_share == 0.0 and not transcript.text:
        raise NoFaceError(f"{video}: {transcript.reason}; use a video that shows a face")
