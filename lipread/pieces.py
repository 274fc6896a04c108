"""One person's mouth, frame by frame -> pieces that the network reads at once, cut where the lips pause.

Shapes: T frames at 25 Hz, P = 9 lip points.

The network was trained on clips of one sentence with a little silence at its ends, and reads a piece badly that begins
or ends in the middle of a word. So a piece ends where the lips are stillest; only who talks on and on is cut in speech,
and then the pieces overlap, and of what they share each gives the half that is its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lipread.speaking import deviation_around, lip_gap_and_width
from lipread.turns import Look
from lipread.values import FRAME_RATE_HZ, Array, MouthTrack

WINDOW_FRAMES = 100  # the network was trained on clips of about 75 frames; up to so many are read in one piece
LEAST_FRAMES = 40  # of a piece that something follows
LAST_FRAMES = FRAME_RATE_HZ  # of the last piece
SHARED_FRAMES = 30  # of neighbouring pieces that were cut in speech, joined at the middle
NEAR_FRAMES = 4  # the lips are still at a frame if they are around it; averaged over ...
AVERAGED_FRAMES = 6  # ... so many to each side
# Spread of the lips over +-NEAR_FRAMES in eye distances, on GRID: 0.02 in pauses, in speech mostly above 0.06.
PAUSE_SPREAD = 0.045


@dataclass(frozen=True)
class Piece:
    """Frames that are read together.

    Attributes:
        first: number of the first frame that counts.
        track: the frames, with those around them that are only looked at.
        start, end: the frames of `track` that count.
        moving: whether something could be said in each of these, bool, shape (end - start,).
    """

    first: int
    track: MouthTrack
    start: int
    end: int
    moving: Array


class Pieces:
    """Cuts looks at one person after the other into pieces: another face, or a gap in time, begins a new one.

    Args:
        still: looks -> how far from still it is at each frame, (T,), up to `PAUSE_SPREAD` in pauses; None: `stillness`.
    """

    def __init__(self, still: Callable[[list[Look]], Array] | None = None) -> None:
        self._still = still or stillness
        self._looks: list[Look] = []
        self._start = 0  # the looks before it were given out, and are only there to be looked at

    def push(self, look: Look) -> list[Piece]:
        """Take the next look -> the pieces that are complete."""
        pieces = []
        if self._looks and (look.face != self._looks[-1].face or look.frame != self._looks[-1].frame + 1):
            pieces = self.end()
        self._looks.append(look)
        if len(self._looks) == WINDOW_FRAMES + LAST_FRAMES:
            pieces.append(self._cut())
        return pieces

    def end(self) -> list[Piece]:
        """Take that no look follows -> the last pieces."""
        pieces = []
        while len(self._looks) > WINDOW_FRAMES:
            pieces.append(self._cut())
        if len(self._looks) > self._start:
            pieces.append(self._piece(len(self._looks), len(self._looks)))
        self._looks, self._start = [], 0
        return pieces

    def _cut(self) -> Piece:
        """Give out the frames up to the best place to cut."""
        still = self._still(self._looks)
        first, last = self._start + LEAST_FRAMES, min(WINDOW_FRAMES, len(self._looks) - LAST_FRAMES)
        cut = last - int(np.argmin(still[first : last + 1][::-1]))  # the last of several that are as good
        around = 0
        if still[cut] > PAUSE_SPREAD:
            around = SHARED_FRAMES // 2
            last = WINDOW_FRAMES - around
            cut = last - int(np.argmin(still[first : last + 1][::-1]))
        piece = self._piece(cut, cut + around)
        del self._looks[: cut - around]
        self._start = around
        return piece

    def _piece(self, cut: int, end: int) -> Piece:
        counted = self._looks[self._start : cut]
        start_s = self._looks[0].frame / FRAME_RATE_HZ
        return Piece(
            first=counted[0].frame,
            track=MouthTrack.of([look.mouth for look in self._looks[:end]], start_s=start_s),
            start=self._start,
            end=cut,
            moving=np.array([look.moving for look in counted], dtype=bool),
        )


def stillness(looks: list[Look]) -> Array:
    """How far the lips move in the third of a second around each frame, averaged; 0 where nothing can be said."""
    moving = np.array([look.moving for look in looks], dtype=bool)
    gap, width = lip_gap_and_width(MouthTrack.of([look.mouth for look in looks]).points)
    seen = np.isfinite(gap)
    spread = deviation_around(gap, seen, NEAR_FRAMES) + deviation_around(width, seen, NEAR_FRAMES)
    box = np.ones(2 * AVERAGED_FRAMES + 1) / (2 * AVERAGED_FRAMES + 1)
    return np.convolve(np.where(moving, spread, 0.0), box, "same")
