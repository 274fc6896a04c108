"""The second half of the way for one person: mouths and sound, frame by frame -> what is said, as soon as it is over.

Shapes: T frames at 25 Hz, V symbols.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from lipread.decoding.align import align_words, segment_words
from lipread.decoding.search import Heard, Listener, Search
from lipread.errors import DataError
from lipread.hearing import Choice, Ears
from lipread.piece_reader import Found, PieceReader, blanks
from lipread.pieces import Piece, Pieces
from lipread.turns import Look
from lipread.values import FRAME_RATE_HZ, Array, Segment, Utterance, Word

if TYPE_CHECKING:
    from lipread.watch import Clock

CHOICES_KEPT = 20  # of the last pieces: segments begin in one of them


class Reading:
    """The second half of the way for one person: looks -> pieces -> log-probabilities -> utterances -> words.

    Attributes:
        segments, utterances: what was said so far.
        problem: why something that was read is no text; None where there is nothing of the kind.

    Args:
        reader: asks the network.
        search: finds the text in its log-probabilities.
        clock: of the whole.
        temperature: of the words' confidences where lips alone are read, and where there is sound.
        speaker: a label for the segments.
        start_s: time of frame 0, seconds.
        ears: listen to the sound as well, or to nothing else; None reads lips alone.
        why: where lips alone are read, why.
    """

    def __init__(
        self, reader: PieceReader, search: Search, clock: Clock, *, temperature: tuple[float, float] = (1.0, 1.0),
        speaker: str | None = None, start_s: float = 0.0, ears: Ears | None = None, why: str = "",
    ) -> None:
        self.clock, self.segments, self.utterances = clock, list[Segment](), list[Utterance]()
        self.problem: str | None = None
        self._reader, self._search, self._temperature = reader, search, temperature
        self._speaker, self._start_s = speaker, start_s
        self.ears = ears
        self._choices = [(0, Choice("video", why))]  # what the pieces from each frame on were read from, the last ones
        self._pieces = Pieces(ears.still if ears else None)
        self._waiting: list[Piece] = []
        self._listener: Listener | None = None
        self._next = 0  # the frame that the listener expects
        self._under_dropout: list[tuple[int, Array]] = []  # what pieces from which frame on say under dropout

    def push(self, look: Look) -> Iterator[Segment]:
        """Take the next look -> the segments that are over."""
        self._waiting += self._pieces.push(look)
        if len(self._waiting) >= (1 if self.ears else self._reader.at_once):  # with sound, each is read alone
            yield from self._read()

    def end(self) -> Iterator[Segment]:
        """Take that no look follows -> the last segments."""
        self._waiting += self._pieces.end()
        yield from self._read()
        yield from self._stop()

    def _read(self) -> Iterator[Segment]:
        pieces, self._waiting = self._waiting, []
        with self.clock.stage("network"):
            found = self._reader.seen(pieces) if self.ears is None else list(map(self._heard, pieces))
        for piece, (log_probs, under_dropout) in zip(pieces, found, strict=True):
            if self._listener is None or piece.first != self._next:  # the person was away
                yield from self._stop()
                start_s = self._start_s + piece.first / FRAME_RATE_HZ
                self._listener = Listener(self._search, start_s=start_s)
            self._next = piece.first + len(log_probs)
            if under_dropout is not None:
                self._under_dropout.append((piece.first, under_dropout))
            with self.clock.stage("decoding"):
                new = self._said(self._listener.push(log_probs))
            yield from new

    def _heard(self, piece: Piece) -> Found:
        assert self.ears is not None
        found, choice = self._reader.heard(piece, self.ears)
        self._choices = [*self._choices[-CHOICES_KEPT:], (piece.first, choice)]
        return found

    def _stop(self) -> Iterator[Segment]:
        listener, self._listener = self._listener, None
        if listener is not None:
            with self.clock.stage("decoding"):
                new = self._said(listener.end())
            yield from new

    def _said(self, heard: list[Heard]) -> list[Segment]:
        """Find the words of utterances, and note both."""
        new: list[Segment] = []
        for each in heard:
            text, log_probs, start_s = each.utterance.text, each.log_probs, each.utterance.start_s
            temperature = self._temperature[self._choice_at(start_s).modality != "video"]
            try:
                words = align_words(log_probs, text, self._search.alphabet, start_s=start_s, temperature=temperature)
                if self._under_dropout:
                    words = self._doubted(words, text, start_s, len(log_probs))
            except DataError:  # whole-word symbols ran together into a text longer than any speech
                self.problem = f"what was read, {len(text)} letters, is too much for {len(log_probs)} frames"
                continue
            new += [self._explained(segment) for segment in segment_words(words, speaker=self._speaker)]
            self.utterances.append(replace(each.utterance, speaker=self._speaker))
        self.segments += new
        return new

    def _doubted(self, words: tuple[Word, ...], text: str, start_s: float, frames: int) -> tuple[Word, ...]:
        """The words of an utterance with their confidence under dropout; no later one begins before it."""
        first = round((start_s - self._start_s) * FRAME_RATE_HZ)
        self._under_dropout = [each for each in self._under_dropout if each[0] + len(each[1]) > first]
        doubted = blanks(frames, self._search.alphabet.size)
        for begins, log_probs in self._under_dropout:
            shared = slice(max(0, first - begins), max(0, first + frames - begins))
            place = max(0, begins - first)
            part = log_probs[shared]
            doubted[place : place + len(part)] = part
        again = align_words(doubted, text, self._search.alphabet)
        return tuple(
            replace(word, dropout_confidence=each.confidence) for word, each in zip(words, again, strict=True)
        )

    def _explained(self, segment: Segment) -> Segment:
        """With what the piece was read from in which it begins."""
        choice = self._choice_at(segment.start_s)
        return replace(segment, modality=choice.modality, why=choice.why)

    def _choice_at(self, start_s: float) -> Choice:
        frame = round((start_s - self._start_s) * FRAME_RATE_HZ)
        return next((choice for first, choice in reversed(self._choices) if first <= frame), self._choices[0][1])


@dataclass
class Seen:
    """Whether, and how well, those who are read were seen, a few bytes for each frame."""

    start_s: float = 0.0
    spread: float = 0.0  # the largest one
    _present: bytearray = field(default_factory=bytearray)
    _eyes_px: array[float] = field(default_factory=lambda: array("f"))

    def add(self, look: Look) -> None:
        """Take a look."""
        self._present.extend(bytes(max(0, look.frame + 1 - len(self._present))))
        self.spread = max(self.spread, look.spread)
        if look.mouth is not None:
            self._present[look.frame] = 1
            self._eyes_px.append(look.mouth.eye_px)

    @property
    def present(self) -> Array:
        """Whether each frame has a face that is read, bool (T,)."""
        return np.frombuffer(bytes(self._present), np.uint8).astype(bool)

    @property
    def eye_px(self) -> float:
        """Median distance of the inner eye corners, pixels; 0 where no face was seen."""
        return float(np.median(self._eyes_px)) if self._eyes_px else 0.0


