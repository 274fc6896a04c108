"""What the network is asked of pieces: together as alone, only the frames that count, nothing where nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lipread.model.network import LipNetwork
from lipread.piece_reader import PieceReader, blanks
from lipread.pieces import Piece
from lipread.values import MouthTrack
from networks import TINY, tiny_network


def piece(frames: int, start: int, end: int, moving: list[int], *, seed: int = 0) -> Piece:
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 256, (frames, 96, 96)).astype(np.uint8)
    points = rng.normal(size=(frames, 9, 2)).astype(np.float32)
    moves = np.zeros(end - start, bool)
    moves[moving] = True
    return Piece(40, MouthTrack(crops, points, np.ones(frames, bool)), start, end, moves)


def test_blanks_are_log_probabilities() -> None:
    assert np.exp(blanks(3, 5)).sum(axis=1) == pytest.approx(1.0)
    assert blanks(3, 5).argmax(axis=1).tolist() == [0, 0, 0]


def test_pieces_read_together_are_those_read_alone() -> None:
    reader = PieceReader(tiny_network(), TINY.alphabet_size)
    pieces = [piece(9, 2, 8, [0, 1, 2, 5]), piece(5, 0, 5, [], seed=1), piece(14, 0, 14, list(range(14)), seed=2)]
    together = reader.seen(pieces)
    for one, (found, under_dropout) in zip(pieces, together, strict=True):
        assert under_dropout is None
        assert found.shape == (len(one.moving), TINY.alphabet_size)
        np.testing.assert_allclose(found, reader.seen([one])[0].log_probs, atol=1e-4)


def test_frames_that_count_and_move_are_the_network_s_and_others_blank() -> None:
    network, one = tiny_network(), piece(9, 2, 8, [0, 1, 2, 5])
    found = PieceReader(network, TINY.alphabet_size).seen([one])[0].log_probs
    crops, points = one.track.crops[None, :, 4:92, 4:92], one.track.points[None]
    direct, _ = network(torch.from_numpy(crops.copy()), torch.from_numpy(points), torch.tensor([9]))
    np.testing.assert_allclose(found[[0, 1, 2, 5]], direct[0, [2, 3, 4, 7]].detach().numpy(), atol=1e-5)
    np.testing.assert_array_equal(found[[3, 4]], blanks(2, TINY.alphabet_size))


def test_nothing_is_asked_where_nothing_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(*_: object) -> None:
        raise AssertionError("the network was asked")

    reader = PieceReader(tiny_network(), TINY.alphabet_size)
    monkeypatch.setattr(LipNetwork, "forward", asked)
    np.testing.assert_array_equal(reader.seen([piece(5, 0, 5, [])])[0].log_probs, blanks(5, TINY.alphabet_size))


def test_passes_with_dropout_stand_beside() -> None:
    network = tiny_network()
    pieces = [piece(9, 2, 8, [0, 1, 2, 5]), piece(5, 0, 5, [], seed=1)]
    plain = PieceReader(network, TINY.alphabet_size).seen(pieces)
    doubting = PieceReader(network, TINY.alphabet_size, passes=3).seen(pieces)
    for one, found, alone in zip(pieces, doubting, plain, strict=True):
        np.testing.assert_allclose(found.log_probs, alone.log_probs, atol=1e-5)
        assert found.under_dropout is not None
        assert found.under_dropout.shape == alone.log_probs.shape
        np.testing.assert_array_equal(found.under_dropout[~one.moving], alone.log_probs[~one.moving])
        np.testing.assert_allclose(np.exp(found.under_dropout).sum(axis=1), 1.0, atol=1e-5)
    first = doubting[0].under_dropout
    assert first is not None and np.abs(np.exp(first) - np.exp(plain[0].log_probs)).max() > 0.01
