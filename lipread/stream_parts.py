"""Packets of picture and sound -> the parts of a file in which times go on, as where transport streams were joined.

Each stream comes to a join at another place of the file. Both are moved by one shift there, so that they stay in step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

MAX_HOLD_S = Fraction(20)  # a longer pause is taken for broken times, unless it lies within the file's stated length
MAX_BACK_S = Fraction(1)  # going back further than this is a break, not disorder
MAX_APART_S = Fraction(5)  # after a break in one stream, that of the other comes within this time


@dataclass(eq=False)
class Part:
    """A stretch of a file in which the times of its streams go on; it begins where the longest stream before it ended.

    Attributes:
        number: of the parts found.
        after_s: when what is before it ends, moved.
        begin_s, end_s: the earliest and the latest moment in it so far, as stated.
        shift_s: what is to be added to its times, once that is settled.
        stored_s: when the latest packet of each stream in it is stored, by the stream's number.
    """

    number: int
    after_s: Fraction
    begin_s: Fraction
    end_s: Fraction
    shift_s: Fraction | None = None
    stored_s: dict[int, Fraction] = field(default_factory=dict)

    def settle(self) -> Fraction:
        """Its shift, which stays so from now on."""
        if self.shift_s is None:
            self.shift_s = self.after_s - self.begin_s
        return self.shift_s

    def apart_s(self, stored_s: Fraction) -> Fraction:
        """How far a moment is from the latest ones in it."""
        return min(abs(stored_s - each) for each in self.stored_s.values())

    def goes_on(self, index: int, stored_s: Fraction) -> bool:
        """Whether a stream's packet that is stored then may be the next one in it."""
        if index not in self.stored_s:
            return self.apart_s(stored_s) <= MAX_HOLD_S
        latest_s = max(self.stored_s.values())  # where the other stream went on, a pause of this one may be longer
        return self.stored_s[index] - MAX_BACK_S <= stored_s <= latest_s + MAX_HOLD_S


class Parts:
    """Tells which packets of picture and sound belong together where times start anew: one stream comes to the break
    before the other."""

    def __init__(self) -> None:
        self._now: dict[int, Part] = {}  # a stream's number -> the part it is in
        self._count = 0

    def part_of(self, packet: Packet[Any]) -> Part:
        """The part of the next packet stored, of either stream."""
        index, zero = packet.stream_index, Fraction(0)
        ticks = packet.pts if packet.dts is None else packet.dts
        own = self._now.get(index)
        other = next((part for key, part in self._now.items() if key != index), own)
        if ticks is None or not packet.time_base:
            return own or other or Part(0, zero, zero, zero, zero)
        tick_s = Fraction(packet.time_base)
        stored_s, shown_s = ticks * tick_s, (ticks if packet.pts is None else packet.pts) * tick_s
        part = other if own is None else self._next(own, other or own, index, stored_s)
        if part is None:
            self._count += 1
            after_s, shift_s = (own.end_s + own.settle(), None) if own else (zero, zero)
            part = Part(self._count, after_s, shown_s, shown_s, shift_s)
        if own and part is not own:
            part.after_s = max(part.after_s, own.end_s + own.settle())
        part.begin_s, part.end_s = min(part.begin_s, shown_s), max(part.end_s, shown_s + _lasts_s(packet))
        part.stored_s[index] = stored_s
        self._now[index] = part
        if len(part.stored_s) == len(self._now) or part.end_s - part.begin_s > MAX_APART_S:
            part.settle()
        return part

    @staticmethod
    def _next(own: Part, other: Part, index: int, stored_s: Fraction) -> Part | None:
        """The part after `own` in its stream, where the other stream is in `other`; None: one that is new."""
        ahead = other.number > own.number and other.apart_s(stored_s) < abs(stored_s - own.stored_s[index])
        if own.goes_on(index, stored_s) and not ahead:
            return own
        return other if other is not own and other.goes_on(index, stored_s) else None


def _lasts_s(packet: Packet[Any]) -> Fraction:
    """How long it is seen or heard."""
    rate = getattr(packet.stream, "average_rate", None)  # for pictures that do not say it
    return Fraction((packet.duration or 0) * packet.time_base or (1 / rate if rate else 0))
