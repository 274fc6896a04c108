"""Progress and results on the terminal: bars on stderr, results on stdout."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from lipread.batch import BatchReport, Outcome, live_line
from lipread.errors import OutputError
from lipread.evaluate import ClipResult, EvalClip, Evaluation
from lipread.files import PathLike, printable, written_whole
from lipread.inputs import Failure, Job
from lipread.metrics import Score
from lipread.run_record import FileState
from lipread.values import Array, Segment, Transcript

if TYPE_CHECKING:
    from lipread.compare import WayFigures
    from lipread.in_noise import InNoise
    from lipread.tuning import Trial


class _ByTheWay(Console):
    """For what is told while files are written: where its reader goes away, as `head` does, the work goes on."""

    def on_broken_pipe(self) -> None:
        """As the note on SIGPIPE in the documentation of Python's `signal`, but without an end."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


out = Console(highlight=False, emoji=False, soft_wrap=True)  # without a reader, the command ends
told = _ByTheWay(highlight=False, emoji=False, soft_wrap=True)
err = _ByTheWay(highlight=False, emoji=False, soft_wrap=True, stderr=True)

_READ_SHARE = 0.9  # of the time of one video goes into its pictures, the rest into the network


class _Display:
    """A bar; `count` says beside it how far one is, None: as a percentage."""

    def __init__(self, total: float, count: ProgressColumn | None, *, quiet: bool = False) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            count or TextColumn("{task.percentage:>3.0f}%"),
            TimeRemainingColumn(),
            console=err,
            transient=True,
            disable=quiet or not err.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=total, ended=0)
        self._ended = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _part(stage: str, share: float) -> float:
    """How much of a clip is over."""
    return _READ_SHARE * share if stage == "video" else _READ_SHARE + (1 - _READ_SHARE) * share


class BatchDisplay(_Display):
    """Shows each video's text as soon as it is there.

    In the bar each video has room by its size, for a long one takes longer; one that is skipped has none. The size of
    those behind URLs is not asked for: they take as much as the others do on average.

    Args:
        jobs: the videos; None: they come as they like.
        live: shows each segment as soon as it is over; None: where that is of one video and on a terminal.
        verbose: shows words with times and confidence.
        quiet: shows nothing of all this.
    """

    def __init__(
        self, jobs: Sequence[Job] | None, *, live: bool | None = None, verbose: bool = False, quiet: bool = False
    ) -> None:
        sizes = {job.name: state.size for job in jobs or () if (state := FileState.of(job.source))}
        self._usual = max(1.0, sum(sizes.values()) / max(1, len(sizes)))
        self._sizes = {job.name: sizes.get(job.name, self._usual) for job in jobs or ()}  # bytes of what is not over
        self._over, self._left = 0.0, sum(self._sizes.values())  # bytes
        count = TextColumn(f"{{task.fields[ended]}}/{len(jobs)}") if jobs is not None and len(jobs) > 1 else None
        super().__init__(self._left, count, quiet=quiet)
        self._verbose, self._quiet, self._endless = verbose, quiet, jobs is None
        self._alone = jobs is not None and len(jobs) == 1
        self._live = (self._alone and told.is_terminal if live is None else live) and not quiet
        self._parts: dict[str, float] = {}  # bytes that are over of the videos under way

    def progress_of(self, job: Job, stage: str | Segment, share: float) -> None:
        """Take how far one of the videos under way is, or what was just said in it."""
        if isinstance(stage, Segment):
            if self._live:
                _say(f"{'' if self._alone else f'{job.source}: '}{live_line(stage)}")
            return
        if job.name not in self._sizes:  # it came as it liked
            state = FileState.of(job.source)
            self._sizes[job.name] = state.size if state else self._usual
            self._left += self._sizes[job.name]
        self._parts[job.name] = _part(stage, share) * self._sizes[job.name]
        self._show()

    def finished(self, job: Job, outcome: Outcome | None) -> None:
        """Take what became of a video."""
        self._parts.pop(job.name, None)
        size = self._sizes.pop(job.name, 0.0)
        self._left -= size
        self._over += 0.0 if outcome is None else size
        self._ended += 1
        self._show()
        if isinstance(outcome, Failure) and self._endless:  # the end may be far
            show_failure(outcome)
        elif self._quiet:
            return
        elif outcome is None:
            _say(f"{job.source}: done already")
        elif isinstance(outcome, Failure):
            _say(f"{job.source}: failed", err)  # why is said at the end
        else:
            show_transcript(outcome.transcript, words=self._verbose)

    @property
    def share(self) -> float:
        """How much of the work is over, 0..1, as the bar shows it."""
        return (self._over + sum(self._parts.values())) / max(1.0, self._over + self._left)

    def _show(self) -> None:
        total = max(1.0, self._over + self._left)
        if not self._endless:
            self._bar.tasks[0].total = total  # a change of it in `update` would forget how quick it went so far
        self._bar.update(
            self._task, total=total, completed=self._over + sum(self._parts.values()), ended=self._ended
        )


class ClipDisplay(_Display):
    """A bar in which every clip has the same room, and the clips that could not be read."""

    def __init__(self, clips: int, *, quiet: bool = False) -> None:
        super().__init__(clips, MofNCompleteColumn() if clips > 1 else None, quiet=quiet)

    def progress(self, stage: str, share: float) -> None:
        """Take how far the current clip is."""
        self._bar.update(self._task, completed=self._ended + _part(stage, share))

    def end_one(self) -> None:
        """Take the end of a clip."""
        self._ended += 1
        self._bar.update(self._task, completed=self._ended)

    def finished(self, result: ClipResult) -> None:
        """Take the result of a clip."""
        self.end_one()
        if result.problem:
            err.print(f"{result.clip}: {result.problem}", markup=False)

    def read(self, clip: EvalClip, problem: str | None) -> None:
        """Take that a clip has been seen by the network, or why not."""
        self.end_one()
        if problem:
            err.print(f"{clip.clip}: {problem}", markup=False)


def show_noise(found: Sequence[InNoise], kind: str, *, left_out: int = 0) -> None:
    """Word error rates with intervals: a row for each ratio, a column for each way to read."""
    ways = list(found[0].scores)
    table = Table("SNR dB", *ways, title=f"word error rates in percent among {kind} noise, 95 % intervals")
    for each in found:
        cells = [
            f"{100 * score.wer:.1f} ({100 * score.wer_interval[0]:.1f}-{100 * score.wer_interval[1]:.1f})"
            for score in each.scores.values()
        ]
        table.add_row("clean" if math.isinf(each.snr_db) else f"{each.snr_db:g}", *cells)
    out.print(table)
    if left_out:
        out.print(f"{left_out} clips could not be read and are left out")


def show_transcript(transcript: Transcript, *, words: bool = False) -> None:
    """One line with the text or why there is none; its warnings on stderr; what it was read from and its words in a
    table if wanted."""
    _say(f"{transcript.source}: {transcript.text or '(nothing: ' + str(transcript.reason) + ')'}")
    for warning in transcript.warnings:
        _say(f"lipread: warning: {transcript.source}: {warning}", err)
    if transcript.changed:
        _say(f"  without search: {transcript.raw_text}")
    if words and transcript.words:
        for start_s, end_s, (modality, why) in read_from(transcript):
            _say(f"  {start_s:.2f}-{end_s:.2f} s read from {modality}: {why}")
        told.print(word_table(transcript))
    if words and any(len(each.nbest) > 1 for each in transcript.utterances):
        told.print(candidate_table(transcript))


def read_from(transcript: Transcript) -> list[tuple[float, float, tuple[str, str]]]:
    """Start, end, and what segments were read from and why; neighbours for which that is the same are joined."""
    told: list[tuple[float, float, tuple[str, str]]] = []
    for segment in transcript.segments:
        reason = ({"video": "the lips", "audio": "the sound"}.get(segment.modality, "both"), segment.why)
        start_s = told.pop()[0] if told and told[-1][2] == reason else segment.start_s
        told.append((start_s, segment.end_s, reason))
    return told


def word_table(transcript: Transcript) -> Table:
    """Words with start, end and confidence."""
    doubted = any(word.dropout_confidence is not None for word in transcript.words)
    table = Table("word", "start s", "end s", "confidence", *(["under dropout"] if doubted else []))
    for column in table.columns[1:]:
        column.justify = "right"
    for word in transcript.words:
        figures = [word.start_s, word.end_s, word.confidence, *([word.dropout_confidence] if doubted else [])]
        table.add_row(word.text, *("" if each is None else f"{each:.2f}" for each in figures))
    return table


def candidate_table(transcript: Transcript) -> Table:
    """The candidates of every utterance with the parts of their scores, natural logarithms."""
    table = Table("from s", "candidate", "score", "network", "language model", "posterior")
    for column in table.columns[2:]:
        column.justify = "right"
    for utterance in transcript.utterances:
        table.add_section()
        for number, each in enumerate(utterance.nbest):
            posterior = "" if each.posterior is None else f"{each.posterior:.3f}"
            table.add_row(
                f"{utterance.start_s:.2f}" if number == 0 else "", each.text, f"{each.score:.2f}",
                f"{each.acoustic_score:.2f}", f"{each.lm_score:.2f}" if each.lm_score else "", posterior,
            )
    return table


def show_report(
    report: BatchReport, videos: int, folder: Path | str, *, live: Path | None = None, quiet: bool = False
) -> None:
    """What became of a batch: every failure again, videos without a face, and a table at its end; `live`: what stays of
    a video under way."""
    if report.interrupted:
        ended = report.done + report.empty + report.skipped
        but = f", but what was read of a video under way, in {live}" if live else ""
        _say(
            f"lipread: interrupted: {ended} of {videos} videos are finished and their files are in {folder}; nothing "
            f"half-written stays{but}. The same command goes on from there.",
            err,
        )
    for failure in report.failures:
        show_failure(failure)
    if quiet:
        return
    for each in report.faceless:
        _say(f"lipread: warning: {each.message}", err)
    if videos > 1:
        told.print(_summary(report))
    if report.done + report.empty:
        _say(f"files written to {folder.resolve() if isinstance(folder, Path) else folder}")


def show_failure(failure: Failure, *, waited_for: bool = False) -> None:
    """What could not be read, or where one waits for videos."""
    _say(f"lipread: {'waiting for videos' if waited_for else 'error'}: {failure.message}", err)


def _summary(report: BatchReport) -> Table:
    table = Table("done", "empty", "failed", "skipped", "hours of video", "real-time factor")
    for column in table.columns:
        column.justify = "right"
    factor = f"{report.took_s / report.video_s:.2f}" if report.video_s else "-"
    counts = (report.done, report.empty, report.failed, report.skipped)
    table.add_row(*map(str, counts), f"{report.video_s / 3600:.3f}", factor)
    return table


def _say(text: str, console: Console = told) -> None:
    console.print(printable(text), markup=False)


def show_evaluation(result: Evaluation) -> None:
    """Error rates with intervals, per speaker, confusions, and the real-time factor by stage."""
    table = Table(
        "speaker", "clips", "words", "WER %", "95 %", "CER %", "95 %",
        title=f"{result.model}, {result.search}, {result.way}"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for speaker, each in result.speakers.items():
        table.add_row(speaker, *_score_cells(each))
    table.add_section()
    table.add_row("all", *_score_cells(result.score))
    out.print(table)
    whole = result.score
    out.print(f"{whole.substitutions} substitutions, {whole.deletions} deletions, {whole.insertions} insertions")
    if result.confusions:
        shown = ", ".join(f"{each.reference}→{each.hypothesis} {each.count}" for each in result.confusions)
        out.print(f"most frequent confusions: {shown}")
    unread = sum(each.problem is not None for each in result.clips)
    if unread:
        out.print(f"{unread} of {len(result.clips)} clips gave no text; they count as read empty")
    if result.calibration:
        error, words = result.calibration.error, result.calibration.words
        out.print(f"expected calibration error of word confidences {error:.3f} ({words} words)")
    for name, share in result.told_apart.items():
        out.print(f"a right word has a higher {name} than a wrong one in {share:.1%} of all pairs")
    if result.duration_s:
        factors = ", ".join(f"{stage} {seconds / result.duration_s:.3f}" for stage, seconds in result.stage_s.items())
        out.print(f"real-time factor {result.real_time_factor:.3f} ({factors})")


def show_comparison(name: str, figures: Sequence[WayFigures]) -> None:
    """One set of clips in every way; a closed grammar stands apart, for it knows which sentences can be said."""
    clips = figures[0].score.clips
    title = f"{name}, {clips} clips"
    table = Table("search", "WER %", "95 %", "CER %", "oracle WER % of 10", "ms/clip", title=title)
    for column in table.columns[1:]:
        column.justify = "right"
    for each in figures:
        if each.way.startswith("grammar"):
            table.add_section()
        low, high = each.score.wer_interval
        table.add_row(
            each.way, f"{100 * each.score.wer:.1f}", f"{100 * low:.1f}-{100 * high:.1f}", f"{100 * each.score.cer:.1f}",
            f"{100 * each.oracle_wer:.1f}", f"{each.milliseconds:.1f}",
        )
    out.print(table)


def show_trials(trials: Sequence[Trial]) -> None:
    """Choices of weights, best first."""
    table = Table("weight", "word score", "WER %", "CER %")
    for each in trials:
        table.add_row(f"{each.weight}", f"{each.word_score}", f"{100 * each.wer:.1f}", f"{100 * each.cer:.1f}")
    out.print(table)


def _score_cells(score: Score) -> tuple[str, ...]:
    return (
        str(score.clips),
        str(score.words),
        f"{100 * score.wer:.1f}",
        f"{100 * score.wer_interval[0]:.1f}-{100 * score.wer_interval[1]:.1f}",
        f"{100 * score.cer:.1f}",
        f"{100 * score.cer_interval[0]:.1f}-{100 * score.cer_interval[1]:.1f}",
    )


def write_png(path: PathLike, image: Array) -> None:
    """Write a picture, RGB or grey uint8, whole or not at all. Raises: OutputError."""
    import cv2

    good, coded = cv2.imencode(".png", image[..., ::-1] if image.ndim == 3 else image)
    if not good:
        raise OutputError(f"{path}: a picture of shape {image.shape} cannot be written as png; use a shorter video")
    with written_whole(path) as temporary:
        temporary.write_bytes(coded.tobytes())
