"""Talking heads -> a prepared folder to train on: people without number, who need no data.

Seeds below `FIRST_RESERVED_SEED` may be trained on; those from there on are for demonstration and measurement and are
refused here. The drawing itself is in `visemes`, `people`, `portrait`, `lips`, `scene` and `heads`, the video in
`film`; all that others need of them can be imported from here.

    python -m lipread.data.synthetic prepared/drawn --count 1000 --processes 2
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from lipread.audio import write_audio
from lipread.data.corpus import CODES
from lipread.data.film import espeak, write_video
from lipread.data.heads import DrawnClip, Head, draw_clip, draw_crops
from lipread.data.prepare import (
    Record,
    has_streams,
    only_run,
    open_folder,
    record_path,
    write_small_crops,
    write_tables,
)
from lipread.errors import ConfigError, DataError, LipreadError
from lipread.landmarks import FaceMesh
from lipread.mouth import MouthCropper
from lipread.prepared import MANIFEST_COLUMNS, stream_path, table_rows, write_points
from lipread.values import MouthTrack
from lipread.workers import WorkerDied, in_processes

__all__ = [
    "FIRST_RESERVED_SEED", "GRAMMAR", "DrawnClip", "DrawnReport", "Head", "draw_clip", "draw_crops", "espeak",
    "grid_sentence", "sentence_of", "through_mesh", "write_prepared", "write_video",
]

FIRST_RESERVED_SEED = 1_000_000

GRAMMAR = tuple(tuple(codes.values()) for codes in CODES)  # words by their place in the sentence


def grid_sentence(rng: np.random.Generator) -> str:
    """A random sentence of the GRID corpus's grammar."""
    return " ".join(choices[rng.integers(len(choices))] for choices in GRAMMAR)


def sentence_of(seed: int) -> str:
    """The sentence that the head of this seed says where no other text is given."""
    return grid_sentence(np.random.default_rng([seed, 3]))


@dataclass(frozen=True)
class DrawnReport:
    """What is in a folder after a run: clips in its manifest, and drawn heads among them that have no sound."""

    clips: int
    voiceless: int

    def __str__(self) -> str:
        if not self.voiceless:
            return f"{self.clips} clips"
        why = "failed, or was not there when they were drawn" if shutil.which("espeak-ng") else "is not there"
        return (
            f"{self.clips} clips, {self.voiceless} of them without a voice, because eSpeak NG {why}; to have voices, "
            "install espeak-ng and draw into another folder"
        )


def write_prepared(
    folder: str | os.PathLike[str],
    count: int,
    *,
    first_seed: int = 0,
    processes: int = 1,
    through_video: bool = False,
    show: bool = False,
) -> DrawnReport:
    """Write a prepared folder of drawn heads that say sentences of the GRID grammar.

    Args:
        folder: to write or to go on with; clips that are there are kept.
        count: seeds first_seed .. first_seed + count - 1, a person each.
        processes: that draw side by side; 1 draws in this one.
        through_video: find the face with the mesh as in a real video (slower); else crop by the known anchors.
        show: progress bar on stderr.
    Raises:
        DataError: seeds that are reserved, a folder that was prepared in another way, or another run at work in it.
        ConfigError: a number is negative. OutputError: the folder cannot be written.
    """
    if min(count, first_seed, processes) < 0:
        raise ConfigError(f"count={count}, first_seed={first_seed}, processes={processes}: none may be negative")
    if first_seed + count > FIRST_RESERVED_SEED:
        raise DataError(
            f"seeds from {FIRST_RESERVED_SEED} on are reserved for measuring, and {count} from {first_seed} on would "
            "use some of them; take fewer or start lower"
        )
    root = Path(folder)
    open_folder(root)
    with only_run(root):
        jobs = [(root, seed, through_video) for seed in range(first_seed, first_seed + count)]
        todo = [job for job in jobs if not _is_done(root, clip_name(job[1]))]
        _prepare_all(todo, min(processes, len(todo)), show)
        write_tables(root)
    rows = table_rows(root / "manifest.tsv", MANIFEST_COLUMNS)
    voices = [row["source"] != "drawn" or "sound" in row["streams"] for _, row in rows]
    return DrawnReport(len(voices), voices.count(False))


Job = tuple[Path, int, bool]  # prepared folder, seed, through video


def clip_name(seed: int) -> str:
    """The name of a drawn head's prepared clip, and of the person in it."""
    return f"drawn{seed:06d}"


def _is_done(root: Path, name: str) -> bool:
    record = Record.read(record_path(root, name)) or Record()
    return bool(record.clips) and has_streams(root, name, record.clips[0]["streams"])


def _prepare_all(todo: list[Job], processes: int, show: bool) -> None:
    from rich.progress import track

    from lipread.terminal import err

    done = in_processes(_prepare_one, todo, processes if processes > 1 else 0)
    hidden = not (show and err.is_terminal)
    for job, result in track(done, "drawing", total=len(todo), console=err, transient=True, disable=hidden):
        if isinstance(result, WorkerDied):
            name = clip_name(job[1])
            Record([], [(name, str(result), "no")]).write(record_path(job[0], name))


def _prepare_one(job: Job) -> None:
    """Draw one head and write its crops, its lip points, its voice and, last, its record. Raises: OutputError."""
    root, seed, through_video = job
    cv2.setNumThreads(1)
    name, head = clip_name(seed), Head(sentence_of(seed), seed)
    record = Record()
    if through_video:
        track = through_mesh(head)
        crops, points = track.crops, track.points
        if track.face_share < 1:
            kept = "yes" if track.face_share > 0.5 else "no"
            record.report.append((name, f"no face in {int((~track.present).sum())} of {len(head)} frames", kept))
    else:
        crops, points = draw_crops(head)
    if not record.report or record.report[0][2] == "yes":
        write_small_crops(stream_path(root, "crops", name), crops)
        write_points(stream_path(root, "points", name), points)
        words = [[word.start_s, word.end_s, word.text] for word in head.words]
        streams = "crops,points"
        if (sound := espeak(head.words, len(crops), seed)) is not None:
            write_audio(stream_path(root, "sound", name), sound)
            streams += ",sound"
        row = {"clip": name, "speaker": name, "split": "train", "source": "drawn", "streams": streams}
        record.clips.append({**row, "frames": len(crops), "text": head.text, "words": words})
    record.write(record_path(root, name))


def through_mesh(head: Head) -> MouthTrack:
    """Crop a head as if it were a video of someone: find the face in every picture."""
    cropper = MouthCropper()
    with FaceMesh(1) as mesh:
        for index in range(len(head)):
            picture = head.picture(index)
            found = mesh.detect(picture)
            cropper.push(picture, found[0] if len(found) else None)
    return cropper.finish()


def main() -> None:
    """Write a prepared folder."""
    parser = argparse.ArgumentParser(description="Draw talking heads into a prepared folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0, help="first seed; below 1,000,000")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--through-video", action="store_true", help="find faces with the mesh, as in a real video")
    chosen = parser.parse_args()
    try:
        report = write_prepared(
            chosen.folder, chosen.count, first_seed=chosen.seed, processes=chosen.processes,
            through_video=chosen.through_video, show=True,
        )  # fmt: skip
    except LipreadError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    print(f"{chosen.folder}: {report}")


if __name__ == "__main__":
    main()
