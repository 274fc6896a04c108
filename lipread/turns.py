"""Everyone's mouths, frame by frame -> whose are read, and whether their lips move, a few seconds later.

Shapes: T frames at 25 Hz, P = 9 lip points.

Decisions look `WINDOW_FRAMES` to each side, never at the whole video: a clip of three seconds is judged as a whole, and
an hour of a conversation goes from one speaker to the next in flat memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lipread.speaking import (
    AROUND_FRAMES,
    GHOST_SHARE,
    SETTLE_FRAMES,
    STILL_SPREAD,
    TALKING_SPREAD,
    SeenFace,
    check_speaker,
    forget_faces,
    left_to_right,
    lip_spread,
    see_face,
)
from lipread.values import FRAME_RATE_HZ, LIP_POINTS, Array, Mouth, MouthTrack

if TYPE_CHECKING:
    from lipread.crowd import Mouths

Agreement = Callable[[int, dict[int, MouthTrack]], dict[int, Array]]
"""First frame, mouths of faces that talk, T frames of each -> how well each goes with the sound in every frame, (T,);
nothing where the sound goes with none of them."""

WINDOW_FRAMES = 3 * FRAME_RATE_HZ  # who talks is judged by so much before and after a frame
LATE_FRAMES = WINDOW_FRAMES + AROUND_FRAMES  # so much of what follows has to be known
KEPT_FRAMES = LATE_FRAMES + SETTLE_FRAMES  # and so much of what came before
STEP_FRAMES = FRAME_RATE_HZ  # decided at once
HEARD_FRAMES = 2 * FRAME_RATE_HZ  # lips are compared with sound by so much before and after what is decided


@dataclass(frozen=True)
class Look:
    """One frame of one person who is read.

    Attributes:
        frame: its number.
        face: identity of the face; None where there is none to look at.
        mouth: None where the face is not seen.
        spread: how far the lips move around the frame, as `lip_spread`.
        moving: whether something could be said: the lips move now, and as in speech within the window.
    """

    frame: int
    face: int | None
    mouth: Mouth | None
    spread: float
    moving: bool


@dataclass(frozen=True)
class _Judged:
    """What is known of one face in the frames decided now, each (T,): is it seen, does it move, did it talk lately?"""

    present: Array
    spread: Array
    moving: Array
    talk: Array  # sum of the spread over the window
    there: Array  # bool (T, frames looked at): seen in each frame of the window


def looks_at(track: MouthTrack) -> Iterator[Look]:
    """Looks at a mouth that is there as a whole track."""
    turns = Turns()
    nowhere = np.zeros((2, 2), np.float32)
    for crop, points, present in zip(track.crops, track.points, track.present, strict=True):
        yield from turns.push({0: Mouth(crop, points, track.eye_px, nowhere)} if present else {})
    yield from turns.end()


@dataclass
class Turns:
    """Chooses whom to read.

    Args:
        speaker: "auto": at every moment the one whose lips move most around it; "largest"; a number from 0, counted
            from left to right among the faces so far; or "all": everyone, each face on its own.
        agreement: where "auto" has several faces whose lips move, the one that the sound goes with is chosen by this.
    Attributes:
        faces: identity -> what was seen of that face so far; where there are very many, of those who are there, who
            may come back, or who were there longest, as `forget_faces` has it.
        more: whether faces that counted were forgotten.
        together: whether any two faces were seen in one frame.
        heard: whether the sound ever helped to choose.
    Raises: ConfigError: speaker is none of these.
    """

    speaker: str | int = "auto"
    agreement: Agreement | None = None
    faces: dict[int, SeenFace] = field(default_factory=dict)
    more: bool = False
    together: bool = False
    heard: bool = False
    _mouths: list[Mouths] = field(default_factory=list)  # of the frames from `_base` on
    _base: int = 0
    _next: int = 0  # the first frame that is not decided

    def __post_init__(self) -> None:
        check_speaker(self.speaker)

    def push(self, mouths: Mouths) -> list[Look]:
        """Take the next frame -> looks at those that are decided; of "all", face by face and in order for each, or at
        nobody where nobody is there for long."""
        self._mouths.append(mouths)
        for identity, mouth in mouths.items():
            see_face(self.faces, identity, mouth.box)
        known = self._base + len(self._mouths)
        if known < self._next + STEP_FRAMES + LATE_FRAMES:
            return []
        self._forget()  # not at the end: looks that were given out name faces that are still known
        return self._decide(self._next + STEP_FRAMES)

    def end(self) -> list[Look]:
        """Take that no frame follows -> the last looks."""
        known = self._base + len(self._mouths)
        looks: list[Look] = []
        while self._next < known:
            looks += self._decide(min(known, self._next + STEP_FRAMES))
        return looks

    def _decide(self, end: int) -> list[Look]:
        here = sorted({identity for mouths in self._mouths for identity in mouths})
        judged = {identity: self._judge(identity, end) for identity in here}
        self._note_together()
        looks: list[Look] = []
        if self.speaker == "all" and here:
            for identity in sorted(here, key=lambda each: self.faces[each].left_px):
                looks += self._looks([identity] * (end - self._next), judged)
        else:
            looks = self._looks(self._choose(judged, end), judged)
        self._next = end
        surplus = max(0, end - KEPT_FRAMES - self._base)
        del self._mouths[:surplus]
        self._base += surplus
        return looks

    def _forget(self) -> None:
        counted = left_to_right(self.faces)
        there = {identity for mouths in self._mouths for identity in mouths}
        forgotten = forget_faces(self.faces, there)
        self.more = self.more or not set(counted).isdisjoint(forgotten)

    def _note_together(self) -> None:
        counted = set(left_to_right(self.faces))
        self.together = self.together or any(len(counted & mouths.keys()) > 1 for mouths in self._mouths)

    def _looks(self, faces: list[int | None], judged: dict[int, _Judged]) -> list[Look]:
        looks = []
        for at, face in enumerate(faces):
            frame = self._next + at
            if face is None:
                looks.append(Look(frame, None, None, 0.0, False))
                continue
            mouth, own = self._mouths[frame - self._base].get(face), judged[face]
            looks.append(Look(frame, face, mouth, float(own.spread[at]), bool(own.moving[at])))
        return looks

    def _judge(self, identity: int, end: int) -> _Judged:
        points = np.full((len(self._mouths), len(LIP_POINTS), 2), np.nan, np.float32)
        present = np.zeros(len(points), dtype=bool)
        for at, mouths in enumerate(self._mouths):
            if (mouth := mouths.get(identity)) is not None:
                points[at], present[at] = mouth.points, True
        spread = lip_spread(points)
        frames = np.arange(self._next, end)[:, None] - self._base  # (T, 1)
        window = np.abs(np.arange(len(points)) - frames) <= WINDOW_FRAMES  # (T, frames looked at)
        here = slice(self._next - self._base, end - self._base)
        there = window & present
        talking = np.where(window, spread, 0.0).max(axis=1) >= TALKING_SPREAD
        talking &= there.sum(axis=1) > 2 * SETTLE_FRAMES
        return _Judged(
            present=present[here], spread=spread[here],
            moving=present[here] & (spread[here] >= STILL_SPREAD) & talking,
            talk=(window * spread).sum(axis=1), there=there,
        )

    def _choose(self, judged: dict[int, _Judged], end: int) -> list[int | None]:
        """The face to read in each frame."""
        frames = range(end - self._next)
        if isinstance(self.speaker, int):
            ordered = left_to_right(self.faces)
            wanted = ordered[self.speaker] if self.speaker < len(ordered) else None
            return [wanted if wanted in judged else None for _ in frames]
        chosen: list[int | None] = []
        agreeing = self._compare(judged, end) if self.speaker == "auto" else {}
        for at in frames:
            seen = {identity: int(each.there[at].sum()) for identity, each in judged.items()}
            most = max(seen.values(), default=0)
            counted = [identity for identity in judged if seen[identity] > 0 and seen[identity] >= GHOST_SHARE * most]
            if not counted:
                chosen.append(None)
            elif self.speaker == "largest":
                chosen.append(max(counted, key=lambda identity: self.faces[identity].height_px))
            else:
                chosen.append(_most_talking(counted, judged, agreeing, at))
        return chosen

    def _compare(self, judged: dict[int, _Judged], end: int) -> dict[int, Array]:
        """How well the faces whose lips move go with the sound in the frames decided now, (T,) each."""
        talking = [identity for identity, each in judged.items() if each.moving.any()]
        if self.agreement is None or len(talking) < 2:
            return {}
        first = max(self._base, self._next - HEARD_FRAMES)
        mouths = self._mouths[first - self._base : end + HEARD_FRAMES - self._base]
        tracks = {identity: MouthTrack.of([each.get(identity) for each in mouths]) for identity in talking}
        found = self.agreement(first, tracks)
        self.heard = self.heard or bool(found)
        return {identity: values[self._next - first : end - first] for identity, values in found.items()}


def _most_talking(counted: list[int], judged: dict[int, _Judged], agreeing: dict[int, Array], at: int) -> int:
    """The face whose talk is heard, or else that talks most around a frame; where it is away, one that never is there
    together with it."""
    heard = [identity for identity in counted if identity in agreeing and judged[identity].moving[at]]
    if len(heard) > 1:
        return max(heard, key=lambda identity: agreeing[identity][at])
    best = max(counted, key=lambda identity: judged[identity].talk[at])
    if judged[best].present[at]:
        return best
    others = [
        identity for identity in counted
        if judged[identity].present[at] and not (judged[identity].there[at] & judged[best].there[at]).any()
    ]
    return max(others, key=lambda identity: judged[identity].talk[at], default=best)
