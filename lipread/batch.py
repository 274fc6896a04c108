"""Many videos -> transcripts in an output folder, and a record of what became of each; one failing stops nothing."""

from __future__ import annotations

import contextlib
import datetime
import os
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lipread import __version__
from lipread.errors import LipreadError, OutputError
from lipread.files import are_one, inside, is_full, require_apart, sweep_parts
from lipread.inputs import CAPTIONED_SUFFIX, LIVE_SUFFIX, Failure, Job, key_of
from lipread.outputs import USUAL_FORMATS, WRITERS, labelled, write_outputs
from lipread.remote import at_hand, is_there, is_url, joined, state_of, written_to
from lipread.run_record import (
    DONE,
    EMPTY,
    FAILED,
    FileState,
    RunRecord,
    language_model_identity,
    option_identity,
)
from lipread.values import Segment, Transcript
from lipread.workers import Later

if TYPE_CHECKING:
    from lipread.hearing import Modality
    from lipread.pipeline import LipReader, Progress

_LIVE_LINE = re.compile(rb" *\d+\.\d\d s  ")  # what `live_line` begins with


@dataclass(frozen=True)
class Recipe:
    """What is made of every video.

    Attributes:
        folder: where to write; str: a URL.
        formats: keys of `WRITERS`.
        captioned: also write NAME.captioned.mp4.
        speaker, modality: as `LipReader.transcribe`.
        live: append what is said to NAME.live while a video is read; not where `folder` is a URL.
    """

    folder: Path | str
    formats: tuple[str, ...] = USUAL_FORMATS
    captioned: bool = False
    speaker: str | int = "auto"
    modality: Modality = "auto"
    live: bool = False

    def outputs(self, name: str) -> list[Path | str]:
        """The files that are written for a job of this name."""
        return [joined(self.folder, each) for each in self._names(name)]

    def _names(self, name: str) -> list[str]:
        names = [f"{name}.{WRITERS[form].suffix}" for form in self.formats]
        return names + ([name + CAPTIONED_SUFFIX] if self.captioned else [])

    def live_file(self, name: str) -> Path | None:
        """What grows while a job of this name is read; None: nothing does."""
        return Path(self.folder) / (name + LIVE_SUFFIX) if self.live and not is_url(self.folder) else None

    def _touched(self, name: str) -> list[Path | str]:
        """The files of a job that are written, or grow and go."""
        live = self.live_file(name)
        return [*self.outputs(name), *([live] if live else [])]

    def require_inside(self, name: str) -> None:
        """Look before long work whether all files of a job can lie in the folder. Raises: OutputError."""
        if is_url(self.folder):  # no links there
            return
        for each in self._names(name) + ([name + LIVE_SUFFIX] if self.live else []):
            try:
                inside(self.folder, each)
            except OutputError as error:
                raise OutputError(
                    f'{Path(self.folder) / each}: a link (or "..") on this way leads out of the folder {self.folder}, '
                    "where all outputs must lie; remove the link or choose another output folder"
                ) from error
        for path in self.outputs(name):
            if os.path.isdir(path):
                raise OutputError(f"{path} is a folder, and a file is to be written there; move it away")

    def require_apart(self, job: Job) -> None:
        """Look whether a file that would be written, or grow and go, is the video itself. Raises: OutputError."""
        for each in self._touched(job.name):
            if not is_url(each) and not is_url(job.source):
                require_apart(each, job.source)

    def require_inputs_kept(self, jobs: Sequence[Job]) -> None:
        """Look before all work whether a file that one job writes is the video of another. Raises: OutputError."""
        ours = key_of(self.folder)
        keys = {job.key for job in jobs if job.key.startswith(ours)}
        for job in jobs if keys else ():
            for each in self._touched(job.name):
                if (key := key_of(each)) in keys and key != job.key:
                    raise OutputError(
                        f"{each} is to be read, and would be replaced by what is made of {job.source}; choose another "
                        "output folder"
                    )

    def sweep(self, names: Iterable[str]) -> None:
        """Delete what killed processes left half-written beside the outputs of these names."""
        if not is_url(self.folder):
            sweep_parts({(Path(self.folder) / name).parent for name in names})

    def drop_live(self, job: Job) -> None:
        """Delete NAME.live that a run which broke off has left; the video itself, and a file with any line that is not
        ours, stays."""
        path = os.path.join(self.folder, job.name + LIVE_SUFFIX)
        if is_url(self.folder) or os.path.islink(path) or not os.path.isfile(path) or are_one(path, job.source):
            return
        with contextlib.suppress(OSError):
            with open(path, "rb") as file:
                ours = os.path.getsize(path) > 0 and all(map(_LIVE_LINE.match, file))
            if ours:
                os.unlink(path)

    def options(self, search: Mapping[str, Any]) -> dict[str, Any]:
        """Options that change the outputs, as the record has them."""
        given = {key: option_identity(value) for key, value in search.items()}
        if search.get("lm"):
            given["lm"] = language_model_identity(search["lm"])
        own = {"captioned": self.captioned, "speaker": self.speaker, "modality": self.modality}
        return {"formats": list(self.formats), **own, **given}


@dataclass(frozen=True)
class Done:
    """A video that was read, the files that were written, how long it took, and on which device."""

    job: Job
    transcript: Transcript
    written: tuple[Path | str, ...]
    took_s: float = 0.0
    device: str | None = None


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
        failures: what could not be read.
        faceless: those of the empty ones in which no face was seen.
        video_s, took_s: length of what was read, and how long that took, seconds.
    """

    failures: list[Failure] = field(default_factory=list)
    faceless: list[Failure] = field(default_factory=list)
    video_s: float = 0.0
    took_s: float = 0.0
    interrupted: bool = False
    _found: dict[str, str] = field(default_factory=dict, repr=False)  # key of a video -> what became of it last

    @property
    def done(self) -> int:
        """How many were read, and something is said in them."""
        return self._counted("done")

    @property
    def empty(self) -> int:
        """How many were read, but nothing is said in them."""
        return self._counted("empty")

    @property
    def skipped(self) -> int:
        """How many were done in an earlier run."""
        return self._counted("skipped")

    @property
    def failed(self) -> int:
        """How many could not be read."""
        return len(self.failures)

    @property
    def exit_code(self) -> int:
        """0 when all went well, 1 when a file failed, 130 after Ctrl-C."""
        return 130 if self.interrupted else 1 if self.failures else 0

    def take(self, job: Job, outcome: Outcome | None) -> None:
        """Count what became of a video; of one that changed and was read again, what became of it last."""
        if job.key in self._found:
            self.failures = [each for each in self.failures if each.source != str(job.source)]
            self.faceless = [each for each in self.faceless if each.source != str(job.source)]
        if outcome is None:
            found = "skipped"
        elif isinstance(outcome, Failure):
            self.failures.append(outcome)
            found = "failed"
        else:
            found = "done" if outcome.transcript.text else "empty"
            self.video_s += outcome.transcript.duration_s
            if nobody_there(outcome.transcript):
                self.faceless.append(failure(job, str(outcome.transcript.reason)))
        self._found[job.key] = found

    def _counted(self, found: str) -> int:
        return sum(each == found for each in self._found.values())


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
    report: BatchReport | None = None,
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
        report: is filled; whoever brings it has it even where this raises.
    Returns: the report. A video in which nothing is said, or no face is seen, is written with its reason and counts as
        empty, which is no failure. Ctrl-C ends the work early and is in the report.
    Raises: OutputError: the record cannot be written.
    """
    settings = settings or {}
    report, began_s = report or BatchReport(), time.monotonic()
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
        if not isinstance(outcome, Failure):
            recipe.drop_live(job)
        while order and order[0] in outcomes:
            first = order.popleft()
            show(first, outcomes.pop(first))

    def show(job: Job, outcome: Outcome | None) -> None:
        report.take(job, outcome)
        if finished:
            finished(job, outcome)

    try:
        for job, outcome in engine.run(to_read(), progress or (lambda *_: None)):
            try:
                record.append(_line(job, outcome, states.pop(job), settings))
            finally:
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
    began_s, device = time.monotonic(), reader.device
    try:
        recipe.require_inside(job.name)
        recipe.require_apart(job)
        with (
            at_hand(job.source) as path,
            written_to(recipe.folder) as folder,
            _written_live(recipe.live_file(job.name), heard) as live,
        ):
            transcript = reader.transcribe(
                path, speaker=recipe.speaker, modality=recipe.modality, progress=progress, heard=live
            )
            transcript = replace(transcript, source=str(job.source))
            write_outputs(transcript, folder, job.name, recipe.formats)
            if recipe.captioned:
                from lipread.captions import write_captioned_video

                write_captioned_video(path, transcript, inside(folder, job.name + CAPTIONED_SUFFIX))
        return Done(job, transcript, tuple(recipe.outputs(job.name)), time.monotonic() - began_s, device)
    except LipreadError as error:
        why = str(error)
    except Exception as error:  # a fault of ours in one file must not lose the others
        why = f"unexpected {type(error).__name__}: {error}; please report this with the file"
    return replace(failure(job, why), took_s=time.monotonic() - began_s, device=device)


@contextlib.contextmanager
def _written_live(
    path: Path | None, heard: Callable[[Segment], None] | None
) -> Iterator[Callable[[Segment], None] | None]:
    """`heard`, which also appends each segment to a file; that goes away when the block ends well.

    Raises: OutputError: it cannot be written.
    """
    if path is None:
        yield heard
        return

    def hear(segment: Segment) -> None:
        with _named_where_it_fails(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(live_line(segment) + "\n")
        if heard:
            heard(segment)

    with _named_where_it_fails(path):
        path.unlink(missing_ok=True)  # of a reading that broke off
    yield hear
    with _named_where_it_fails(path):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _named_where_it_fails(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        with contextlib.suppress(OSError):
            if not path.stat().st_size:  # made just now
                path.unlink()
        advice = "free some space" if is_full(error) else "leave out --live"
        raise OutputError(f"{path} cannot be written ({error.strerror or error}); {advice}") from error


def live_line(segment: Segment) -> str:
    """What is shown of a segment as soon as it is over."""
    return f"{segment.start_s:8.2f} s  {labelled(segment)}"


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
        "lipread": __version__,
        "device": outcome.device,
        "took_s": None if outcome.took_s is None else round(outcome.took_s, 3),
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
            "stage_seconds": {stage: round(seconds, 4) for stage, seconds in said.stage_s.items()},
        }
    return line | {"ended": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
