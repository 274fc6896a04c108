"""Composed crops and what was drawn for each clip -> the crops as another camera would have seen another face.

What is changed is drawn at random, clip by clip, in `augment`; here it is done, for all clips of a batch at once and
on any device, so that a GPU is not kept waiting by the processor.

Shapes: C clips, N composed frames of all of them, M frames that are shown, R pixels of a composed frame, S of a shown
one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lipread.values import Array

BLUR_REACH_PX = 5  # three times the widest blur's sigma
BLOCK_PX = 8  # of JPEG
# quantisation of luminance at quality 50, ISO/IEC 10918-1, annex K
QUANTISATION = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip


@dataclass(frozen=True)
class Change:
    """What happens to the pixels of one clip of T shown frames.

    Attributes:
        place: where in the composed frames each shown frame lies; between two it is a blend of both, (T,).
        back: new pixel (x, y, 1) -> composed pixel, (2, 3).
        knots: displacements of composed pixels on a grid over the shown picture, in between smooth, (K, K, 2).
        curve: grey level -> grey level, (256,).
        shade: how much lighter the right and the lower edge are than the middle, shares, (2,).
        blur_px: standard deviation of a Gaussian; 0 for none.
        grain: standard deviation of noise, grey levels; 0 for none.
        seed: of that noise.
        quality: of JPEG, 1..99; 0 for no coding.
        hole: first frame and end, top and bottom, left and right of a hidden rectangle, and its grey, (7,).
        hidden: frames that are plain grey, (T,) bool.
    """

    place: Array
    back: Array
    knots: Array
    curve: Array
    shade: Array
    blur_px: float
    grain: float
    seed: int
    quality: int
    hole: Array
    hidden: Array


@dataclass(frozen=True)
class RawPixels:
    """Composed frames of the clips of a batch with their changes; the frames' fields first, then the clips'."""

    frames: Tensor  # uint8 (N, R, R)
    low: Tensor  # (M,) the composed frame before each shown one,
    high: Tensor  # (M,) ... the one after it,
    share: Tensor  # float32 (M,) ... and how much of that is seen
    owner: Tensor  # (M,) the clip of each shown frame
    time: Tensor  # (M,) its number in the clip
    blurs: Tensor  # which of the M frames are blurred; found here, so that no GPU has to say how many they are
    grainy: Tensor  # ... have grain
    coded: Tensor  # ... are coded
    holed: Tensor  # ... have a hole
    hidden: Tensor  # ... are plain grey
    rows: Tensor  # (C,) row in the batch
    back: Tensor  # float32 (C, 2, 3)
    knots: Tensor  # float32 (C, K, K, 2)
    curve: Tensor  # float32 (C, 256)
    shade: Tensor  # float32 (C, 2)
    blur_px: Tensor  # float32 (C,)
    grain: Tensor  # float32 (C,)
    quality: Tensor  # float32 (C,)
    hole: Tensor  # (C, 7)
    seeds: tuple[tuple[int, int], ...]  # of each clip with grain: seed, and how many frames

    @classmethod
    def of(cls, crops: Sequence[Array], changes: Sequence[Change], rows: Sequence[int]) -> RawPixels:
        """Crops uint8 (n, R, R), changes and rows of C >= 1 clips."""
        starts = np.cumsum([0, *(len(each) for each in crops)])
        place = [change.place.clip(0, len(each) - 1) for each, change in zip(crops, changes, strict=True)]
        low = [np.floor(each).astype(np.int64) for each in place]
        high = [np.ceil(each).astype(np.int64) for each in place]
        counts = [len(each) for each in place]
        owner = np.repeat(np.arange(len(crops)), counts)
        time = np.concatenate([np.arange(count) for count in counts])
        hole = np.array([change.hole for change in changes])[owner]

        def joined(parts: list[Array]) -> Tensor:
            return torch.from_numpy(np.concatenate(parts))

        def stacked(name: str, kind: Any = np.float32) -> Tensor:
            return torch.from_numpy(np.array([getattr(change, name) for change in changes], kind))

        def where(frames: Array) -> Tensor:
            return torch.from_numpy(np.flatnonzero(frames))

        def with_any(name: str) -> Tensor:
            return where(np.array([getattr(change, name) > 0 for change in changes])[owner])

        return cls(
            frames=joined(list(crops)),
            low=joined([each + start for each, start in zip(low, starts, strict=False)]),
            high=joined([each + start for each, start in zip(high, starts, strict=False)]),
            share=joined([(each - under).astype(np.float32) for each, under in zip(place, low, strict=True)]),
            owner=torch.from_numpy(owner), time=torch.from_numpy(time),
            blurs=with_any("blur_px"), grainy=with_any("grain"), coded=with_any("quality"),
            holed=where((time >= hole[:, 0]) & (time < hole[:, 1])),
            hidden=where(np.concatenate([change.hidden for change in changes])),
            rows=torch.tensor(rows),
            back=stacked("back"), knots=stacked("knots"), curve=stacked("curve"), shade=stacked("shade"),
            blur_px=stacked("blur_px"), grain=stacked("grain"), quality=stacked("quality"),
            hole=stacked("hole", np.int64),
            seeds=tuple((each.seed, count) for each, count in zip(changes, counts, strict=True) if each.grain > 0),
        )  # fmt: skip

    def each(self, change: Callable[[Tensor], Tensor]) -> RawPixels:
        """Every tensor changed, such as moved to a device."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "seeds"}
        return RawPixels(**{name: change(tensor) for name, tensor in tensors.items()}, seeds=self.seeds)


@torch.no_grad()
def shown(raw: RawPixels, side_px: int) -> Tensor:
    """Do the changes -> uint8 (M, S, S)."""
    x = raw.frames[raw.low].float()
    x = x.lerp(raw.frames[raw.high].float(), raw.share[:, None, None])
    x = moved(x, raw, side_px)
    x = relit(x, raw)
    for chosen, change in ((raw.blurs, blurred), (raw.grainy, grained), (raw.coded, coded)):
        if len(chosen):
            x[chosen] = change(x[chosen], raw, raw.owner[chosen])
    return covered(x, raw).round_().clamp_(0, 255).to(torch.uint8)


def moved(x: Tensor, raw: RawPixels, side_px: int) -> Tensor:
    """One move for each whole clip: what its matrix and its field of displacements say, (M, R, R) -> (M, S, S)."""
    edge = x.shape[-1] - 1
    axis = torch.arange(side_px, device=x.device, dtype=torch.float32)
    there = torch.stack([axis.expand(side_px, -1), axis[:, None].expand(-1, side_px)], dim=-1)  # (S, S, 2) x, y
    field = F.interpolate(raw.knots.permute(0, 3, 1, 2), size=(side_px, side_px), mode="bicubic").permute(0, 2, 3, 1)
    field = field + there @ raw.back[:, None, :, :2].transpose(2, 3) + raw.back[:, None, None, :, 2]  # (C, S, S, 2)
    grid = (field * (2 / edge) - 1)[raw.owner]
    return F.grid_sample(x[:, None], grid, padding_mode="border", align_corners=True)[:, 0]


def relit(x: Tensor, raw: RawPixels) -> Tensor:
    """Gamma, contrast and brightness, then a light from one side."""
    level = x.round().clamp(0, 255).to(torch.int32) + 256 * raw.owner.to(torch.int32)[:, None, None]
    x = raw.curve.flatten().index_select(0, level.flatten()).view(x.shape)
    ramp = torch.linspace(-1, 1, x.shape[-1], device=x.device)
    across, down = raw.shade[:, 0, None, None], raw.shade[:, 1, None, None]
    return x.mul_((1 + across * ramp + down * ramp[:, None])[raw.owner]).clamp_(0, 255)


def blurred(x: Tensor, raw: RawPixels, owner: Tensor) -> Tensor:
    """A Gaussian along both sides."""
    reach = torch.arange(-BLUR_REACH_PX, BLUR_REACH_PX + 1, device=x.device)
    weights = torch.exp(-0.5 * (reach / raw.blur_px[owner, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)  # (M, 2 reach + 1)
    wide = F.pad(x[None], [BLUR_REACH_PX] * 4, mode="reflect")  # each frame is a channel of its own
    rows = F.conv2d(wide, weights[:, None, :, None], groups=len(x))
    return F.conv2d(rows, weights[:, None, None, :], groups=len(x))[0]


def grained(x: Tensor, raw: RawPixels, owner: Tensor) -> Tensor:
    """Other noise in every frame."""
    generator, noise, start = torch.Generator(x.device), torch.empty_like(x), 0
    for seed, count in raw.seeds:
        generator.manual_seed(seed)
        noise[start : start + count].normal_(generator=generator)
        start += count
    return noise.mul_(raw.grain[owner, None, None]).add_(x)


def coded(x: Tensor, raw: RawPixels, owner: Tensor) -> Tensor:
    """What JPEG of that quality leaves: its cosine transform in blocks, quantised; a part of a block is filled up."""
    side, more = x.shape[-1], -x.shape[-1] % BLOCK_PX
    x, blocks = F.pad(x, (0, more, 0, more), mode="replicate"), (side + more) // BLOCK_PX
    quality = raw.quality[owner]
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    steps = torch.tensor(QUANTISATION, device=x.device, dtype=x.dtype)
    steps = (steps * scale[:, None, None]).round().clamp(1, 255)[:, None, None]  # (M, 1, 1, 8, 8)
    cosine = _cosines(x)
    x = x.round().clamp(0, 255).view(-1, blocks, BLOCK_PX, blocks, BLOCK_PX).transpose(2, 3) - 128
    x = cosine @ x @ cosine.T
    x = cosine.T @ ((x / steps).round() * steps) @ cosine
    return (x + 128).transpose(2, 3).reshape(-1, side + more, side + more)[:, :side, :side].clamp(0, 255)


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal cosine transform of a block's row, (8, 8)."""
    place = torch.arange(BLOCK_PX, device=like.device, dtype=like.dtype)
    rows = torch.cos(torch.pi / BLOCK_PX * (place + 0.5) * place[:, None]) * (2 / BLOCK_PX) ** 0.5
    return torch.cat([rows[:1] / 2**0.5, rows[1:]])


def covered(x: Tensor, raw: RawPixels) -> Tensor:
    """A rectangle hidden for some time, and frames that are plain grey: the clip's mean."""
    if len(raw.holed):
        _, _, top, bottom, left, right, grey = raw.hole[raw.owner[raw.holed]].unbind(1)
        axis = torch.arange(x.shape[-1], device=x.device)
        rows = (axis >= top[:, None]) & (axis < bottom[:, None])
        columns = (axis >= left[:, None]) & (axis < right[:, None])
        inside = rows[:, :, None] & columns[:, None]
        x[raw.holed] = torch.where(inside, grey[:, None, None].to(x.dtype), x[raw.holed])
    if len(raw.hidden):
        clips = len(raw.rows)
        total = x.new_zeros(clips).index_add_(0, raw.owner, x.mean(dim=(1, 2)))
        count = x.new_zeros(clips).index_add_(0, raw.owner, x.new_ones(len(x)))
        mean = (total / count).floor()[raw.owner[raw.hidden]]
        x[raw.hidden] = mean[:, None, None].expand(-1, *x.shape[1:])
    return x
