"""Pieces tile what is looked at, end where the lips pause, and share frames where they cannot."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from lipread.pieces import LEAST_FRAMES, SHARED_FRAMES, WINDOW_FRAMES, Piece, Pieces, stillness
from lipread.turns import Look
from lipread.values import Array, Mouth


def look(frame: int, gap: float | None, *, face: int = 0, moving: bool = True) -> Look:
    """A look at a mouth that is open so far, in eye distances, or is not seen; its crop holds the frame's number."""
    if gap is None:
        return Look(frame, face, None, 0.0, False)
    points = np.zeros((9, 2), np.float32)
    points[3, 1], points[1, 0] = gap, 1.0
    crop = np.full((96, 96), frame % 256, np.uint8)
    return Look(frame, face, Mouth(crop, points, 25.0, np.zeros((2, 2), np.float32)), 0.2, moving)


def talk(frames: int, *, pauses: tuple[int, ...] = (), pause_frames: int = 16) -> Array:
    """Gap of lips that talk, with pauses around some frames."""
    gaps = 0.2 + 0.2 * np.sin(1.1 * np.arange(frames)) * np.cos(0.37 * np.arange(frames))
    for middle in pauses:
        gaps[middle - pause_frames // 2 : middle + pause_frames // 2] = 0.0
    return gaps


def cut(looks: list[Look]) -> list[Piece]:
    pieces = Pieces()
    return [piece for each in looks for piece in pieces.push(each)] + pieces.end()


@pytest.mark.parametrize("frames", [1, 75, 99, 100, 101, 124, 125, 126, 140, 200, 333, 1000])
def test_every_frame_counts_once(frames: int) -> None:
    pieces = cut([look(number, gap) for number, gap in enumerate(talk(frames))])
    counted = []
    for piece in pieces:
        assert len(piece.track.present) <= WINDOW_FRAMES
        assert len(piece.moving) == piece.end - piece.start
        own = piece.track.crops[piece.start : piece.end, 0, 0]
        assert own.tolist() == [(piece.first + at) % 256 for at in range(len(own))]
        counted += list(range(piece.first, piece.first + len(own)))
    assert counted == list(range(frames))
    assert all(len(piece.moving) >= LEAST_FRAMES - SHARED_FRAMES // 2 for piece in pieces[:-1])


def test_a_clip_of_one_sentence_is_one_piece() -> None:
    (piece,) = cut([look(number, gap) for number, gap in enumerate(talk(WINDOW_FRAMES))])
    assert (piece.first, piece.start, piece.end) == (0, 0, WINDOW_FRAMES)


def test_pieces_end_in_pauses() -> None:
    pauses = (70, 150, 222, 300)
    pieces = cut([look(number, gap) for number, gap in enumerate(talk(360, pauses=pauses))])
    ends = [piece.first + len(piece.moving) for piece in pieces[:-1]]
    assert len(ends) == len(pauses)
    assert all(abs(end - pause) <= 4 for end, pause in zip(ends, pauses, strict=True))
    assert all(piece.start == 0 and piece.end == len(piece.track.present) for piece in pieces)  # nothing is shared


def test_who_never_pauses_is_cut_with_frames_to_share() -> None:
    pieces = cut([look(number, gap) for number, gap in enumerate(talk(300))])
    assert len(pieces) >= 3
    for left, right in pairwise(pieces):
        assert len(left.track.present) - left.end == SHARED_FRAMES // 2 == right.start
        shared = left.track.crops[-SHARED_FRAMES:, 0, 0]
        assert (shared == right.track.crops[:SHARED_FRAMES, 0, 0]).all()


def test_another_face_or_a_gap_in_time_begins_a_new_piece() -> None:
    looks = [look(number, 0.1, face=number // 30) for number in range(60)] + [look(70, 0.1, face=1)]
    pieces = cut(looks)
    assert [(piece.first, len(piece.moving)) for piece in pieces] == [(0, 30), (30, 30), (70, 1)]
    assert [piece.track.start_s for piece in pieces] == [0.0, 1.2, 2.8]


def test_frames_without_a_face_are_in_the_track_and_do_not_move() -> None:
    (piece,) = cut([look(0, 0.1), look(1, None), look(2, 0.3)])
    assert piece.track.present.tolist() == [True, False, True]
    assert piece.moving.tolist() == [True, False, True]
    assert np.isfinite(stillness([look(0, 0.1), look(1, None), look(2, 0.3)])).all()


def test_no_look_no_piece() -> None:
    assert cut([]) == []
