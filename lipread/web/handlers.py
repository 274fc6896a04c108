"""What the page's buttons and the API do: components' values -> components' values, one temporary folder per request.

Every function here is a generator or returns at once; folders are deleted when it ends, however it ends.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from lipread.errors import ConfigError, LipreadError
from lipread.hearing import Modality
from lipread.outputs import USUAL_FORMATS, as_json
from lipread.web import timeline
from lipread.web.limits import Cancelled, quoted
from lipread.web.many import HEADERS, Batch, pack, read_many, unexpected, unpack
from lipread.web.reading import Reading, Tell, read_video, write_files, write_film
from lipread.web.service import TUNED, Options, Service
from lipread.web.why import attention_of, explain, explain_moving, remark

ALL_HEADS = "all"
DOWNLOADS = len(USUAL_FORMATS) + 1  # and the film
NOTES, FILM = 1, 3  # places of the notes and of the player among the outputs
WIND_UP_S = 120  # the longest that a cancelled batch may take to end: a film is written to its end
NO_VIDEO = "Choose a video, record one and press Stop, or take an example first."


@dataclass
class Result:
    """The first tab's outputs, in the order in which `page` declares them; what is not given is emptied."""

    text: Any = field(default_factory=lambda: timeline.text_html(""))
    notes: Any = ""
    words: Any = ""
    film: Any = None
    changes: Any = ""
    nbest: Any = ""
    summary: Any = ""
    faces: Any = field(default_factory=lambda: gr.update(value=None, visible=False))
    key: Any = None
    files: tuple[Any, ...] = ()

    def values(self) -> tuple[Any, ...]:
        """As the outputs of an event, the download buttons last."""
        *others, files = (getattr(self, name) for name in self.__dataclass_fields__)
        ready = [gr.update(value=str(path), interactive=True) for path in files]
        return (*others, *ready, *[gr.update(value=None, interactive=False)] * (DOWNLOADS - len(ready)))

    def with_film(self, reading: Reading, folder: Path) -> tuple[Any, ...]:
        """Write the captioned film, for its player and its button; all else stays, also where that fails.

        The other buttons are given once more: in a slow browser an update may overtake the one before.
        """
        whole = self.values()
        values = [*[gr.skip()] * (len(whole) - DOWNLOADS), *whole[-DOWNLOADS:]]
        try:
            film = str(write_film(reading, folder))
            values[FILM], values[-1] = film, gr.update(value=film, interactive=True)
        except LipreadError as error:
            values[NOTES] = timeline.failure_html(str(error))
        return tuple(values)


@dataclass(frozen=True)
class Handlers:
    """The functions behind the events of a page that serves one model."""

    service: Service

    # ---- first tab

    def read(
        self, video: str | None, start_s: float | None, end_s: float | None, decoder: str, grammar: str, lm: str,
        lm_weight: str, beam_size: float, nbest: float, modality: Modality, request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008  (how gradio hands it in)
    ) -> Iterator[tuple[Any, ...]]:
        """Read the video: the text first, then the captioned film and the files."""
        options = Options(decoder, grammar, lm, lm_weight, beam_size, nbest, modality)
        yield from self._read(video, "auto", start_s, end_s, options, request, progress)

    def read_face(
        self, video: str | None, start_s: float | None, end_s: float | None, decoder: str, grammar: str, lm: str,
        lm_weight: str, beam_size: float, nbest: float, modality: Modality, request: gr.Request, event: gr.SelectData,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        """Read again, the face that was chosen."""
        options = Options(decoder, grammar, lm, lm_weight, beam_size, nbest, modality)
        yield from self._read(video, int(event.index), start_s, end_s, options, request, progress)

    def _read(
        self, video: str | None, speaker: str | int, start_s: float | None, end_s: float | None, options: Options,
        request: gr.Request, progress: Tell,
    ) -> Iterator[tuple[Any, ...]]:
        if not video:
            yield Result(notes=timeline.failure_html(NO_VIDEO)).values()
            return
        nothing = Result()
        if speaker != "auto":
            nothing.faces = gr.skip()  # they stay while the chosen one is read
        yield nothing.values()  # what was read before goes; gradio closes only what has given something
        session = str(request.session_hash)
        with self._work(session, alone=True) as (folder, stop):
            try:
                progress(0.0, "Starting")
                reading = read_video(
                    self.service.reader(options), video, folder, limits=self.service.limits, speaker=speaker,
                    modality=options.modality, start_s=start_s or 0.0, end_s=end_s or 0.0, tell=progress, stop=stop,
                )
                result = shown(reading)
                result.key = self.service.remember(session, reading)
                result.files = tuple(write_files(reading, folder))
                yield result.values()
                if reading.info is not None:
                    film = result.with_film(reading, folder)
                    if not stop.is_set():
                        yield film
            except Cancelled:
                pass  # `cancel` has said so
            except LipreadError as error:
                yield Result(notes=timeline.failure_html(str(error))).values()
            except Exception as error:  # a fault of ours: the visitor gets a sentence, the log what happened
                traceback.print_exc()
                yield Result(notes=timeline.failure_html(unexpected(error))).values()

    def cancel(self, waiting: bool, request: gr.Request) -> Any:
        """Stop this visitor's reading; a batch goes on. Where nothing is read or waits for its turn, all stays."""
        running = self.service.cancel(str(request.session_hash), alone=True)
        return timeline.cancelled_html() if running or waiting else gr.skip()

    def noted(self, files: Any) -> None:
        """A visitor chose files: the page notes whose they are."""

    def leave(self, request: gr.Request) -> None:
        """The visitor closed the page."""
        self.service.leave(str(request.session_hash))

    # ---- why

    def why(
        self, key: str | None, layer: int, head: str, dark: bool, width_px: float
    ) -> Iterator[tuple[Any, ...]]:
        """Pictures and films of a reading that is still remembered."""
        reading, found = self.service.recall(key), None
        self.service.let_pass()
        with tempfile.TemporaryDirectory(prefix="lipread-why-") as folder, contextlib.suppress(LipreadError):
            found = reading and explain(
                reading, Path(folder), layer=int(layer) - 1, head=head_of(head), dark=dark, width_px=int(width_px)
            )
            if not reading or not found:
                yield (*[None] * 7, timeline.small_html(remark(reading)))
                return
            pictures = (found.strip, found.posteriorgram, found.attention, found.curves, found.saliency)
            yield (*pictures, str(found.crops_film), None, timeline.small_html(remark(reading)))
            self.service.let_pass()
            yield (*[gr.skip()] * 6, str(explain_moving(reading, Path(folder))), gr.skip())

    def attention(self, key: str | None, layer: int, head: str, dark: bool, width_px: float) -> Any:
        """The attention of another layer or head."""
        reading = self.service.recall(key)
        if reading is None:
            return None
        return attention_of(reading, layer=int(layer) - 1, head=head_of(head), dark=dark)

    # ---- second tab

    def read_many(
        self, files: list[str] | None, captioned: bool, decoder: str, grammar: str, lm: str, lm_weight: str,
        beam_size: float, nbest: float, modality: Modality, request: gr.Request,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple[Any, ...]]:
        """Read all files: the table as it fills, at the end the zip."""
        options = Options(decoder, grammar, lm, lm_weight, beam_size, nbest, modality)
        yield timeline.table_html([]), None, ""  # what was read before goes
        with self._work(str(request.session_hash)) as (folder, stop):
            batch = Batch(stop)
            self.service.begin_batch(str(request.session_hash), batch)
            try:
                rows = batch.rows = unpack(files or [], folder, self.service.limits)
                yield timeline.table_html(rows), None, ""
                reader = self.service.reader(options)
                for _ in read_many(
                    reader, rows, folder, limits=self.service.limits, modality=modality, captioned=captioned,
                    tell=progress, stop=stop,
                ):
                    yield timeline.table_html(rows), None, ""
                yield timeline.table_html(rows), str(pack(folder, rows)), timeline.finished_html(rows)
            except (Cancelled, GeneratorExit):  # gradio closes what was cancelled while it showed a row
                batch.keep(folder)  # for `finished`: what is given here is not shown any more
            except LipreadError as error:
                yield timeline.table_html(batch.rows), None, timeline.failure_html(str(error))
            except Exception as error:
                traceback.print_exc()
                yield timeline.table_html(batch.rows), None, timeline.failure_html(unexpected(error))
            finally:
                batch.over.set()

    def cancel_many(self, waiting: bool, request: gr.Request) -> tuple[Any, ...]:
        """Stop this visitor's batch: the table, the zip and a remark; of one that runs, `finished` has the rest."""
        if self.service.cancel(str(request.session_hash), alone=False):
            return gr.skip(), gr.skip(), timeline.cancelled_html("What was finished follows …")
        if waiting:
            return timeline.table_html([]), None, timeline.cancelled_html("Nothing was read of this batch.")
        return (gr.skip(),) * 3

    def finished(self, request: gr.Request) -> Iterator[tuple[Any, ...]]:
        """What was read before the batch was cancelled: the table and the zip, as `read_many`."""
        batch = self.service.take_batch(str(request.session_hash))
        if batch is None:  # none was running: what stands there stays
            yield (gr.skip(),) * 3
            return
        try:
            batch.over.wait(WIND_UP_S)
            zipped, rows = batch.result(), batch.finished
            kept = f"{len(rows)} of {len(batch.rows)} videos were finished; what was read is in the zip."
            yield (
                timeline.table_html(rows), zipped and str(zipped),
                timeline.cancelled_html(kept if zipped else "No video was finished."),
            )
        finally:
            batch.discard()

    # ---- API

    def transcribe(
        self, video: str, speaker: str = "auto", start: float = 0.0, end: float = 0.0, decoder: str = "automatic",
        grammar: str = "grid", lm: str = "none", lm_weight: str = TUNED, beam_size: float = 50,
        nbest: float = 5, modality: Modality = "auto", request: gr.Request | None = None,
    ) -> tuple[str, dict[str, Any]]:
        """Read what is said in a video.

        Returns the text, and everything that is known: segments and words with start, end (seconds) and probability,
        candidates with their scores, what was read from lips or sound and why, warnings, advice, and, where the text
        is empty, the reason.
        """
        if not video:
            raise gr.Error("give a video file", print_exception=False)
        options = Options(decoder, grammar, lm, lm_weight, beam_size, nbest, modality)
        with self._work(str(request.session_hash) if request else "") as (folder, stop), plain_errors():
            reading = read_video(
                self.service.reader(options), video, folder, limits=self.service.limits,
                speaker=speaker_of(speaker), modality=modality, start_s=start or 0.0, end_s=end or 0.0, stop=stop,
            )
            return reading.transcript.text, as_json(reading.transcript) | {"advice": list(reading.advice)}

    def batch(
        self, files: list[str], captioned: bool = False, decoder: str = "automatic", grammar: str = "grid",
        lm: str = "none", lm_weight: str = TUNED, beam_size: float = 50, nbest: float = 5, modality: Modality = "auto",
        request: gr.Request | None = None,
    ) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Read several videos, or zip archives of them.

        Returns {"headers": [...], "rows": [...]} with one row per video, and a zip with all outputs.
        """
        options = Options(decoder, grammar, lm, lm_weight, beam_size, nbest, modality)
        with self._work(str(request.session_hash) if request else "") as (folder, stop), plain_errors():
            rows = unpack(files or [], folder, self.service.limits)
            reader = self.service.reader(options)
            for _ in read_many(
                reader, rows, folder, limits=self.service.limits, modality=modality, captioned=captioned, stop=stop
            ):
                pass
            yield {"headers": list(HEADERS), "rows": [row.cells() for row in rows]}, str(pack(folder, rows))

    @contextlib.contextmanager
    def _work(self, session: str, *, alone: bool = False) -> Iterator[tuple[Path, threading.Event]]:
        """A request's own folder, deleted however it ends, and what tells it to stop."""
        stop = self.service.begin(session, alone=alone)
        try:
            with tempfile.TemporaryDirectory(prefix="lipread-request-") as folder:
                yield Path(folder), stop
        finally:
            self.service.end(session, stop)


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Errors that a caller of the API can understand."""
    try:
        yield
    except LipreadError as error:
        raise gr.Error(str(error), print_exception=False) from error
    except Cancelled as error:
        raise gr.Error("cancelled", print_exception=False) from error
    except Exception as error:
        traceback.print_exc()
        raise gr.Error(unexpected(error), print_exception=False) from error


def shown(reading: Reading) -> Result:
    """What the page shows of a reading, without its files."""
    transcript = reading.transcript
    faces = gr.update(value=None, visible=False)
    if len(reading.portraits) > 1:
        pictures = [
            (portrait, f"Face {number}" + (" (read)" if number - 1 == reading.chosen else ""))
            for number, portrait in enumerate(reading.portraits, 1)
        ]
        faces = gr.update(value=pictures, visible=True, selected_index=None)
    return Result(
        text=timeline.text_html(transcript.text, timeline.NO_TEXT),
        notes=timeline.notes_html(transcript, reading.advice, reading.remark),
        words=timeline.timeline_html(transcript, reading.from_s),
        changes=timeline.changes_html(transcript),
        nbest=timeline.nbest_html(transcript),
        summary=timeline.summary_html(transcript, looked=reading.track is not None),
        faces=faces,
    )


def head_of(choice: str) -> int | None:
    """"all" or a number from 1 -> a head from 0, or None for the mean."""
    return None if choice == ALL_HEADS else int(choice) - 1


def speaker_of(text: str | int | None) -> str | int:
    """"auto", "largest", or a number as text -> what the pipeline takes. Raises: ConfigError: none of these."""
    text = "" if text is None else str(text).strip()
    if re.fullmatch(r"\d{1,9}", text):
        return int(text)
    if text not in ("", "auto", "largest"):  # "all" has more than one mouth, and the page shows one
        raise ConfigError(
            f"speaker {quoted(text)} is not known here; use auto, largest, or a number from 0 (left to right)"
        )
    return text or "auto"
