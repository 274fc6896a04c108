"""Many videos -> transcripts in an output folder, and a record of what became of each; one failing stops nothing."""

from __future__ import annotations

import datetime
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lipread.errors import LipreadError
from lipread.files import inside
from lipread.inputs import CAPTIONED_SUFFIX as CAPTIONED_SUFFIX  # imported from here by others
from lipread.inputs import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from lipread.inputs import Failure, Job
from lipread.outputs import USUAL_FORMATS, WRITERS, write_outputs
from lipread.remote import at_hand, is_there, is_url, joined, state_of, written_to
from lipread.run_record import DONE, EMPTY, FAILED, FileState, RunRecord, option_identity, sweep_parts
from lipread.values import Segment, Transcript
from lipread.workers import Later

if TYPE_CHECKING:
    from lipread.hearing import Modality
    from lipread.pipeline import LipReader, Progress


@dataclass(frozen=True)
class Recipe:
    """What is made of every video.

    Attributes:
        folder: where to write; str: a URL.
        formats: keys of `WRITERS`.
        captioned: also write NAME.captioned.mp4.
        speaker, modality: as `LipReader.transcribe`.
    """

    folder: Path | str
    formats: tuple[str, ...] = USUAL_FORMATS
    captioned: bool = False
    speaker: str | int = "auto"
    modality: Modality = "auto"

    def outputs(self, name: str) -> list[Path | str]:
        """The files that are written for a job of this name."""
        names = [f"{name}.{WRITERS[form].suffix}" for form in self.formats]
        return [joined(self.folder, each) for each in names + ([name + CAPTIONED_SUFFIX] if self.captioned else [])]

    def sweep(self, names: Iterable[str]) -> None:
        """Delete what killed processes left half-written beside the outputs of these names."""
        if not is_url(self.folder):
            sweep_parts({(Path(self.folder) / name).parent for name in names})

    def options(self, search: Mapping[str, Any]) -> dict[str, Any]:
        """Options that change the outputs, as the record has them."""
        given = {key: option_identity(value) for key, value in search.items()}
        own = {"captioned": self.captioned, "speaker": self.speaker, "modality": self.modality}
        return {"formats": list(self.formats), **own, **given}


@dataclass(frozen=True)
class Done:
    """A video that was read, the files that were written, and how long it took."""

    job: Job
    transcript: Transcript
    written: tuple[Path | str, ...]
    took_s: float = 0.0


Outcome = Done | Failure
Tell = Callable[[Job, str | Segment, float], None]  # (video, stage or what was just said, share that is done)


class Engine(Protocol):
    """What reads the videos: this process, worker processes, or a cluster."""

    def run(self, jobs: Iterable[Job | Later], tell: Tell) -> Iterator[tuple[Job, Outcome]]:
        """Read each and write its outputs; gives the outcomes as they become ready."""


@dataclass
class BatchReport:
    """What became of every path.

    Attributes:
        done, empty, skipped: videos in which something is said; read, but nothing is said; done in an earlier run.
        failures: what could not be read, and videos without any face, which count as empty as well.
        video_s, took_s: length of what was read, and how long that took, seconds.
    """

    done: int = 0
    empty: int = 0
    skipped: int = 0
    failures: list[Failure] = field(default_factory=list)
    faceless: int = 0
    video_s: float = 0.0
    took_s: float = 0.0
    interrupted: bool = False

    @property
    def failed(self) -> int:
        """How many could not be read."""
        return len(self.failures) - self.faceless

    @property
    def exit_code(self) -> int:
        """0 when all went well, 1 when a file failed, 130 after Ctrl-C."""
        return 130 if self.interrupted else 1 if self.failures else 0

    def take(self, job: Job, outcome: Outcome | None) -> None:
        """Count what became of a video."""
        if outcome is None:
            self.skipped += 1
        elif isinstance(outcome, Failure):
            self.failures.append(outcome)
        else:
            self.done += bool(outcome.transcript.text)
            self.empty += not outcome.transcript.text
            self.video_s += outcome.transcript.duration_s
            if nobody_there(outcome.transcript):
                self.faceless += 1
                self.failures.append(Failure(str(job.source), f"{job.source}: {outcome.transcript.reason}"))


def transcribe_files(
    engine: Engine,
    jobs: Iterable[Job | Later],
    recipe: Recipe,
    record: RunRecord,
    *,
    settings: Mapping[str, Any] | None = None,
    skip_existing: bool | None = None,
    progress: Tell | None = None,
    finished: Callable[[Job, Outcome | None], None] | None = None,
) -> BatchReport:
    """Read every video; its files are written as soon as it is read, and then its line in the record.

    Args:
        engine: does the reading, with the same recipe.
        jobs: as `collect` gives them; endless ones may yield `LATER`.
        recipe: what is made of each.
        record: of the output folder.
        settings: model and options, which must be those of the record for a video to count as done.
        skip_existing: leave out videos whose files are all there: None: where the record says that they were made from
            this very input with these settings; True: whoever made them; False: read everything.
        progress: is told how far each video is.
        finished: is told what became of each video (None: it was skipped), in the order of the jobs.
    Returns: the report. A video without any face is written with its reason and counts as a failure. Ctrl-C ends the
        work early and is in the report. Raises: OutputError: the record cannot be written.
    """
    settings = settings or {}
    report, began_s = BatchReport(), time.monotonic()
    order: deque[Job] = deque()  # not told of yet
    outcomes: dict[Job, Outcome | None] = {}
    states: dict[Job, FileState | None] = {}
    folders: set[str] = set()  # that outputs go to

    def to_read() -> Iterator[Job | Later]:
        for job in jobs:
            if isinstance(job, Later):
                yield job
                continue
            order.append(job)
            states[job] = state_of(job.source)
            if (folder := os.path.dirname(job.name)) not in folders:
                folders.add(folder)
                recipe.sweep([job.name])
            if is_done(job, states[job], recipe, record, settings, skip_existing):
                del states[job]
                settle(job, None)
            else:
                yield job

    def settle(job: Job, outcome: Outcome | None) -> None:
        outcomes[job] = outcome
        while order and order[0] in outcomes:
            first = order.popleft()
            show(first, outcomes.pop(first))

    def show(job: Job, outcome: Outcome | None) -> None:
        report.take(job, outcome)
        if finished:
            finished(job, outcome)

    try:
        for job, outcome in engine.run(to_read(), progress or (lambda *_: None)):
            record.append(_line(job, outcome, states.pop(job), settings))
            settle(job, outcome)
    except KeyboardInterrupt:
        report.interrupted = True
        for job in order:
            if job in outcomes:  # it was read, but waited for one before it
                show(job, outcomes[job])
    report.took_s = time.monotonic() - began_s
    return report


def is_done(
    job: Job,
    state: FileState | None,
    recipe: Recipe,
    record: RunRecord,
    settings: Mapping[str, Any],
    skip_existing: bool | None,
) -> bool:
    """Whether a video is left out; arguments as `transcribe_files`."""
    if skip_existing is False or not all(is_there(path) for path in recipe.outputs(job.name)):
        return False
    return bool(skip_existing) or record.says_done(job.key, job.name, state, settings)


def read_one(
    reader: LipReader, job: Job, recipe: Recipe, progress: Progress | None = None,
    heard: Callable[[Segment], None] | None = None,
) -> Outcome:
    """Read one video and write its files; whatever goes wrong is the outcome. `heard` as `LipReader.transcribe`."""
    began_s = time.monotonic()
    try:
        with at_hand(job.source) as path, written_to(recipe.folder) as folder:
            transcript = reader.transcribe(
                path, speaker=recipe.speaker, modality=recipe.modality, progress=progress, heard=heard
            )
            transcript = replace(transcript, source=str(job.source))
            write_outputs(transcript, folder, job.name, recipe.formats)
            if recipe.captioned:
                from lipread.captions import write_captioned_video

                write_captioned_video(path, transcript, inside(folder, job.name + CAPTIONED_SUFFIX))
        return Done(job, transcript, tuple(recipe.outputs(job.name)), time.monotonic() - began_s)
    except LipreadError as error:
        return failure(job, str(error))
    except Exception as error:  # a fault of ours in one file must not lose the others
        return failure(job, f"unexpected {type(error).__name__}: {error}; please report this with the file")


def nobody_there(transcript: Transcript) -> bool:
    """Whether a face was looked for in vain, and no word was heard either."""
    return transcript.face_share == 0.0 and not transcript.text and not transcript.heard_alone


def failure(job: Job, message: str) -> Failure:
    """A failure whose message names the file."""
    return Failure(str(job.source), message if str(job.source) in message else f"{job.source}: {message}")


def _line(job: Job, outcome: Outcome, state: FileState | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the record says of a video."""
    line: dict[str, Any] = {
        "input": str(job.source),
        "key": job.key,
        "name": job.name,
        "size": state.size if state else None,
        "mtime_ns": state.mtime_ns if state else None,
        **settings,
    }
    if isinstance(outcome, Failure):
        line |= {"result": FAILED, "error": outcome.message}
    else:
        said = outcome.transcript
        line |= {
            "result": DONE if said.text else EMPTY,
            "error": said.reason,
            "warnings": list(said.warnings),
            "video_s": round(said.duration_s, 3),
            "took_s": round(outcome.took_s, 3),
            "stage_seconds": {stage: round(seconds, 4) for stage, seconds in said.stage_s.items()},
        }
    return line | {"ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
