"""Joining the streams, against the sum written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lipread.model.fusion import Fusion
from lipread.model.masks import Frames, valid_frames
from networks import stirred

WIDTHS = {"pixels": 6, "points": 4}
VALID = valid_frames(torch.tensor([5, 3]), 5)
REAL = Frames.of(VALID)


def new_fusion(layers: int = 0) -> Fusion:
    torch.manual_seed(0)
    fusion = stirred(Fusion(WIDTHS, 8, layers=layers, dropout=0.1))
    assert isinstance(fusion, Fusion)
    return fusion


def stream(name: str, where: Tensor, seed: int = 0) -> tuple[Tensor, Frames]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(int(where.sum()), WIDTHS[name], generator=generator), Frames.of(where)


def by_hand(fusion: Fusion, frames: dict[str, Tensor | None]) -> Tensor:
    """One frame: what each stream says, or its stand-in, added up and normalised."""
    total = torch.zeros(8)
    for name, value in frames.items():
        if value is None:
            total = total + fusion.absent[name]
        else:
            layer = fusion.project[name]
            total = total + layer.weight @ value + layer.bias
    centred = total - total.mean()
    return centred / (centred.square().mean() + 1e-5).sqrt() * fusion.norm.weight + fusion.norm.bias


def test_every_mixture_of_streams() -> None:
    fusion = new_fusion()
    pixels_where = VALID & torch.tensor([[True], [False]])  # the second clip has no pixels
    points_where = VALID.clone()
    points_where[0, 2] = False
    pixels, points = stream("pixels", pixels_where), stream("points", points_where, 1)
    out = fusion({"pixels": pixels, "points": points}, REAL)
    assert out.shape == (2, 5, 8)
    for clip, frame in VALID.nonzero().tolist():
        here = {
            name: values[int(where.valid.flatten()[: clip * 5 + frame].sum())] if where.valid[clip, frame] else None
            for name, (values, where) in (("pixels", pixels), ("points", points))
        }
        assert torch.allclose(out[clip, frame], by_hand(fusion, here), atol=1e-5), (clip, frame)


@pytest.mark.parametrize("name", WIDTHS)
def test_a_stream_left_out_is_the_same_as_one_that_is_nowhere(name: str) -> None:
    fusion = new_fusion(layers=2)
    other = next(key for key in WIDTHS if key != name)
    given = stream(name, VALID)
    alone = fusion({name: given}, REAL)
    nowhere = fusion({name: given, other: stream(other, torch.zeros_like(VALID))}, REAL)
    assert torch.allclose(alone, nowhere, atol=1e-6)


def test_the_order_in_which_streams_are_given_does_not_matter() -> None:
    fusion = new_fusion(layers=1)
    pixels, points = stream("pixels", VALID), stream("points", VALID)
    one = fusion({"pixels": pixels, "points": points}, REAL)
    assert torch.equal(one, fusion({"points": points, "pixels": pixels}, REAL))


def test_no_stream_at_all_says_the_same_everywhere() -> None:
    fusion = new_fusion()
    out = fusion({}, REAL)
    assert torch.allclose(out, by_hand(fusion, {"pixels": None, "points": None}).expand(2, 5, 8), atol=1e-6)


def test_stand_ins_learn_only_where_their_stream_is_absent() -> None:
    fusion = new_fusion()
    both = {"pixels": stream("pixels", VALID), "points": stream("points", VALID)}
    (fusion(both, REAL)[VALID] * torch.randn(8, 8)).sum().backward()
    assert fusion.absent["pixels"].grad.abs().max() == 0
    fusion.zero_grad()
    (fusion({"points": stream("points", VALID)}, REAL)[VALID] * torch.randn(8, 8)).sum().backward()
    assert fusion.absent["pixels"].grad.abs().max() > 0
    assert fusion.absent["points"].grad.abs().max() == 0


def test_padding_changes_nothing() -> None:
    fusion = new_fusion(layers=2)
    pixels, points = stream("pixels", VALID), stream("points", VALID, 1)
    together = fusion({"pixels": pixels, "points": points}, REAL)
    short = Frames.of(torch.ones(1, 3, dtype=torch.bool))
    alone = fusion({"pixels": (pixels[0][5:], short), "points": (points[0][5:], short)}, short)
    assert torch.allclose(together[1, :3], alone[0], atol=1e-5)
