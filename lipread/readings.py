"""The readings of one video, of everyone who is read, and what is kept of them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from lipread.hearing import SURE, Sync
from lipread.reading import Reading
from lipread.speaking import SETTLE_FRAMES
from lipread.turns import STEP_FRAMES, Look
from lipread.values import Segment, Utterance
from lipread.watch import Watch


@dataclass
class Said:
    """What is kept of readings that are over.

    Attributes:
        problem: of the last one that has any.
        sync: of the one that knows best how late the sound is; None where none does.
    """

    segments: list[Segment] = field(default_factory=list)
    utterances: list[Utterance] = field(default_factory=list)
    problem: str | None = None
    sync: Sync | None = None

    def add(self, reading: Reading) -> Said:
        """With this one too."""
        self.segments += reading.segments
        self.utterances += reading.utterances
        self.problem = reading.problem or self.problem
        sync = reading.ears.sync if reading.ears else None
        if sync and sync.certainty >= SURE and (self.sync is None or sync.frames > self.sync.frames):
            self.sync = sync
        return self


class Readings:
    """The readings of one video: one of whoever is chosen, or one of each face. The reading of a face that has gone is
    brought to its end, and goes on if the face comes back; where that cannot be, only what was said is kept.

    Args:
        begin: the label of a person -> a new reading.
        watch: knows the faces.
        of_each: one of each face.
    Attributes:
        said: by those whose readings are over; at the end, by everyone.
    """

    def __init__(self, begin: Callable[[str | None], Reading], watch: Watch, *, of_each: bool) -> None:
        self.said = Said()
        self._begin, self._watch, self._of_each = begin, watch, of_each
        self._readings: dict[int | None, Reading] = {}
        self._last: dict[int | None, int] = {}  # of those who are there: the last frame that was pushed
        self._labels = 0  # given so far

    def push(self, look: Look) -> Generator[Segment]:
        """Take the next look -> the segments that are over."""
        yield from self._leave(look.frame)
        whose = look.face if self._of_each else None
        if self._of_each and (whose is None or self._watch.faces[whose].frames <= 2 * SETTLE_FRAMES):
            return  # nobody, or someone seen for a moment only
        if whose not in self._readings:
            self._labels += 1
            self._readings[whose] = self._begin(f"Speaker {self._labels}" if self._of_each else None)
        self._last[whose] = look.frame
        yield from self._readings[whose].push(look)

    def end(self) -> Generator[Segment]:
        """Take that no look follows -> the last segments."""
        for reading in self._readings.values():
            yield from reading.end()
            self.said.add(reading)
        self._readings.clear()

    def _leave(self, frame: int) -> Generator[Segment]:
        """Looks come in steps, face by face; who has no look in the whole last step has gone."""
        gone = [whose for whose, last in self._last.items() if frame - last > STEP_FRAMES]
        for whose in gone:
            del self._last[whose]
            yield from self._readings[whose].end()
        if gone and self._of_each:
            faces = self._watch.faces
            for whose in [each for each in self._readings if each not in self._last and each not in faces]:
                self.said.add(self._readings.pop(whose))
