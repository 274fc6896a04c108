"""One uploaded video -> what was said in it, and the files to take home."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lipread.audio import read_audio_blocks
from lipread.captions import write_captioned_video
from lipread.errors import LipreadError, NoPictureError, OutputError, VideoError
from lipread.files import PathLike, inside
from lipread.hearing import Modality, SoundStream, check_modality
from lipread.inputs import CAPTIONED_SUFFIX
from lipread.outputs import USUAL_FORMATS, write_outputs
from lipread.pipeline import Clock, LipReader, Progress, Watched, watch_mouth
from lipread.values import FRAME_RATE_HZ, SAMPLE_RATE_HZ, Array, MouthTrack, Transcript
from lipread.video import VideoInfo
from lipread.web.advice import advice_for
from lipread.web.limits import Cancelled, Limits, check_duration, check_part, check_video, deleted
from lipread.web.trim import cut_video, part_wanted

Tell = Callable[[float, str], None]  # (share done 0..1, what is being done)

TELL_EVERY_S = 0.15
VIDEO_SHARE = 0.9  # of the time, about, goes into finding the lips


@dataclass(frozen=True)
class Reading:
    """What was read in one video.

    Attributes:
        name: of the file without suffix, with the times of the part where only one was read; names the outputs.
        video: the file that was read: the upload, or the part that was cut out of it.
        info: what it says about its pictures; None where it has sound alone.
        track: the mouth; None where nobody looked at the pictures, since the sound alone was to be read.
        portraits: where several faces were seen, a picture of each from left to right, RGB uint8 (h, w, 3).
        chosen: number of the face that was read.
        advice: sentences about what makes this video hard to read, with what to change.
        from_s: where in the upload what was read begins, seconds.
        remark: a sentence about that, which is among the transcript's warnings; empty where that is the beginning.
    """

    name: str
    video: Path
    info: VideoInfo | None
    track: MouthTrack | None
    transcript: Transcript
    reader: LipReader
    portraits: tuple[Array, ...]
    chosen: int
    advice: tuple[str, ...]
    from_s: float = 0.0
    remark: str = ""


def read_video(
    reader: LipReader,
    path: PathLike,
    folder: Path,
    *,
    limits: Limits,
    speaker: str | int = "auto",
    modality: Modality = "auto",
    start_s: float = 0.0,
    end_s: float = 0.0,
    tell: Tell | None = None,
    stop: threading.Event | None = None,
) -> Reading:
    """Read one uploaded file.

    Args:
        path: the upload.
        folder: of this request; a part that is cut out is written there.
        speaker, modality: as `LipReader.transcribe`.
        start_s, end_s: the part to read, seconds; end 0 is the end of the video.
        tell: hears what is being done.
        stop: set by whoever wants no result any more.
    Raises: LipreadError: a sentence that names the file as the visitor does. Cancelled: `stop` was set.
    """
    name, shown = Path(path).name, Path(path).stem or "video"
    progress = _progress(tell, stop, limits, name)
    try:
        check_modality(modality)
        part = part_wanted(start_s, end_s)
        if not os.path.exists(path):
            raise VideoError(deleted(name, limits))
        if part is None:
            info = _pictures(reader, path, modality, limits, name)
            video = Path(path)
        else:
            shown += f" {part[0]:g}-{'end' if part[1] is None else f'{part[1]:g}s'}"
            video = inside(folder, f"{shown}.mp4")
            info = _cut(reader, path, video, part, modality=modality, limits=limits, name=name, progress=progress)
        hears, warnings = reader.hears and modality != "video", list[str]()
        sound = SoundStream(_sound(video, info, limits, progress, warnings)) if hears else None
        watched, transcript = _read(
            reader, video, sound, pictures=info is not None, speaker=speaker, modality=modality, progress=progress
        )
    except LipreadError as error:
        raise type(error)(str(error).replace(str(path), name).replace(str(folder), "")) from error
    warnings = [each for each in transcript.warnings if "faces were seen" not in each] + warnings
    from_s = part[0] if part else 0.0
    remark = f"Only a part was read: times count from its beginning, {from_s:g} s into {name}." if from_s else ""
    transcript = replace(transcript, warnings=(*warnings, *([remark] if remark else [])), source=name)
    track = watched.track if watched else None
    return Reading(
        name=shown, video=video, info=info, track=track, transcript=transcript, reader=reader,
        portraits=watched.portraits if watched else (), chosen=watched.chosen if watched else 0,
        advice=advice_for(transcript, track, info), from_s=from_s, remark=remark,
    )


def _pictures(reader: LipReader, path: PathLike, modality: Modality, limits: Limits, name: str) -> VideoInfo | None:
    """What an upload says about its pictures, None where it has none and is to be read from its sound.

    Raises: as `check_video`.
    """
    try:
        return check_video(path, limits, name)
    except NoPictureError:
        if reader.hears and modality in ("auto", "audio"):
            return None
        raise


def _cut(
    reader: LipReader, path: PathLike, video: Path, part: tuple[float, float | None], *, modality: Modality,
    limits: Limits, name: str, progress: Progress,
) -> VideoInfo:
    """Cut a part out of an upload -> what the part says about its pictures.

    Raises: as `cut_video`. VideoError: the part is too long. NoPictureError: the upload has sound alone.
    """
    start_s, end_s = part
    unlimited = replace(limits, duration_s=math.inf)
    whole = _pictures(reader, path, modality, unlimited, name)
    if whole is None:
        raise NoPictureError(f"{name} has no picture, and a part can be read of a video only; leave start and end at 0")
    ends = [each for each in (end_s, whole.duration_s) if each is not None]
    check_part(min(ends, default=0.0) - start_s, start_s, limits, name)
    cut_video(path, video, start_s, end_s, limit_s=limits.duration_s, progress=progress)
    info = check_video(video, unlimited, name)
    check_part(info.duration_s or 0.0, start_s, limits, name)  # where the upload did not state its length, or lied
    return info


def _read(
    reader: LipReader, video: PathLike, sound: SoundStream | None, *, pictures: bool, speaker: str | int,
    modality: Modality, progress: Progress,
) -> tuple[Watched | None, Transcript]:
    """The mouth, None where nobody is to look for it, and what was said: `LipReader.transcribe` keeps no mouth."""
    sounds = sound is not None and sound.any
    if modality == "audio" or not pictures or (modality == "both" and not sounds):  # without sound, it says why
        return None, reader.transcribe(video, modality=modality, sound=sound)
    clock = Clock()
    watched = watch_mouth(
        video, speaker=speaker, max_faces=reader.max_faces, agreement=reader.agreement(sound), clock=clock,
        progress=progress,
    )
    if sounds and modality == "auto" and not watched.track.present.any():
        transcript = because(reader.transcribe(video, modality="audio", sound=sound), "no face is seen")
        transcript = replace(transcript, stage_s={**clock.seconds, **transcript.stage_s})
    else:
        heard = sound if sounds else None
        transcript = reader.read_track(watched.track, sound=heard, modality=modality, clock=clock, progress=progress)
    return watched, replace(transcript, warnings=watched.warnings + transcript.warnings)


def because(transcript: Transcript, why: str) -> Transcript:
    """A transcript whose segments say why they were read from what they were read from."""
    return replace(transcript, segments=tuple(replace(segment, why=why) for segment in transcript.segments))


def _sound(
    video: PathLike, info: VideoInfo | None, limits: Limits, progress: Progress, warnings: list[str]
) -> Iterator[Array]:
    """The sound of a video, block by block; `progress` hears how far it is, and can end it."""
    done, whole_s = 0, info.duration_s if info else None
    for block in read_audio_blocks(video, warnings=warnings):
        done += len(block)
        seconds = done / SAMPLE_RATE_HZ
        check_duration(seconds, limits, Path(video).name)
        progress("sound", min(1.0, seconds / whole_s) if whole_s else 0.0)
        yield block


def _progress(tell: Tell | None, stop: threading.Event | None, limits: Limits, name: str) -> Progress:
    """A callback for the pipeline: passes on how far it is, and ends the work where nobody wants it or it gets long."""
    calls, told_at = 0, 0.0

    def heard(stage: str, share: float) -> None:
        nonlocal calls, told_at
        if stop is not None and stop.is_set():
            raise Cancelled
        if stage == "video":
            calls += 1
            check_duration(calls / FRAME_RATE_HZ, limits, name)  # where the file did not state its length, or lied
        if tell is not None and (now := time.monotonic()) - told_at >= TELL_EVERY_S:
            told_at = now
            tell(*_stage(stage, share))

    return heard


def _stage(stage: str, share: float) -> tuple[float, str]:
    """Where in the whole a stage is, and what it does."""
    if stage == "cut":
        return 0.1 * share, "Cutting out the part to read"
    if stage == "video":
        return VIDEO_SHARE * share, "Following the lips"
    doing = "Listening to the sound" if stage == "sound" else "Reading the lips"
    return VIDEO_SHARE + (1 - VIDEO_SHARE) * share, doing


def write_files(reading: Reading, folder: Path) -> list[Path]:
    """Write txt, srt, vtt, tsv and json. Raises: OutputError: a file cannot be written."""
    return list(write_outputs(reading.transcript, folder, reading.name, USUAL_FORMATS))


def write_film(reading: Reading, folder: Path) -> Path:
    """Write the captioned mp4. Raises: OutputError: it cannot be written, or there are no pictures to write on."""
    if reading.info is None:
        raise OutputError(f"{reading.video.name} has no picture, so there is no captioned film of it")
    film = inside(folder, reading.name + CAPTIONED_SUFFIX)
    write_captioned_video(reading.video, reading.transcript, film)
    return film
