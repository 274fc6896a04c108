"""Pixel front-end: input normalisation by formula, blocks against torchvision's, what padding and time may change."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lipread.config import PRESETS, FrontendConfig
from lipread.model.frontend import BasicBlock, PixelFrontend, Stem
from lipread.model.masks import Frames, valid_frames
from networks import TINY, clips_of, padded, stirred


def tiny_frontend(**changes: object) -> PixelFrontend:
    torch.manual_seed(0)
    frontend = stirred(PixelFrontend(TINY.frontend.model_copy(update=changes)))
    assert isinstance(frontend, PixelFrontend)
    return frontend


def stem_input(frontend: PixelFrontend, crops: Tensor, real: Frames) -> Tensor:
    """What arrives at the stem, caught by a hook: (B, T, H, W)."""
    caught: list[Tensor] = []
    handle = frontend.stem.register_forward_pre_hook(lambda _module, inputs: caught.append(inputs[0]))
    frontend(crops, real)
    handle.remove()
    return caught[0]


def test_real_frames_come_out_in_order() -> None:
    frontend = tiny_frontend()
    crops, _, lengths = padded(clips_of(4, 2, 3))
    out = frontend(crops, Frames.of(valid_frames(lengths, 4)))
    assert out.shape == (9, frontend.features) == (9, 8 * TINY.frontend.width)
    for row, (first, length) in enumerate(((0, 4), (4, 2), (6, 3))):
        alone = frontend(crops[row : row + 1, :length], Frames.of(torch.ones(1, length, dtype=torch.bool)))
        assert torch.allclose(out[first : first + length], alone, atol=1e-4)
        assert alone.std() > 0.01


def test_grey_levels_are_normalised_as_the_field_does() -> None:
    frontend = tiny_frontend(input_side_px=88)  # no reduction
    crops, _, lengths = padded(clips_of(3, 2))
    got = stem_input(frontend, crops, Frames.of(valid_frames(lengths, 3)))
    wanted = (crops.double() / 255 - 0.421) / 0.165
    assert torch.allclose(got[0].double(), wanted[0], atol=1e-5)
    assert torch.allclose(got[1, :2].double(), wanted[1, :2], atol=1e-5)
    assert got[1, 2].abs().max() == 0  # padding: as outside the clip's ends


def test_float_and_uint8_pictures_are_the_same() -> None:
    frontend = tiny_frontend()
    crops, _, lengths = padded(clips_of(3))
    real = Frames.of(valid_frames(lengths, 3))
    assert torch.equal(frontend(crops, real), frontend(crops.float(), real))


def test_reduction_keeps_grey_level_and_place() -> None:
    frontend = tiny_frontend(input_side_px=44)
    real = Frames.of(torch.ones(1, 1, dtype=torch.bool))
    flat = stem_input(frontend, torch.full((1, 1, 88, 88), 200, dtype=torch.uint8), real)
    assert torch.allclose(flat, torch.full((1, 1, 44, 44), (200 / 255 - 0.421) / 0.165), atol=1e-4)
    ramp = torch.arange(88.0).expand(1, 1, 88, 88)  # at new pixel i a ramp has the value of its centre: 2 i + 0.5
    reduced = stem_input(frontend, ramp, real) * 0.165 * 255 + 0.421 * 255
    assert torch.allclose(reduced[0, 0, 20, 2:42], 2 * torch.arange(2.0, 42.0) + 0.5, atol=1e-2)


def test_reduction_averages_fine_patterns_away() -> None:
    frontend = tiny_frontend(input_side_px=32)
    stripes = (torch.arange(88) % 2 * 255.0).expand(1, 1, 88, 88)
    real = Frames.of(torch.ones(1, 1, dtype=torch.bool))
    inner = stem_input(frontend, stripes, real)[..., 4:28] * 0.165 * 255 + 0.421 * 255
    assert (inner - 127.5).abs().max() < 20  # without the average it would jump between 0 and 255


def test_a_frame_reaches_two_frames_each_way() -> None:
    frontend = tiny_frontend()
    crops = clips_of(11)[0].crops.float()[None]
    changed = crops.clone()
    changed[0, 5] = 255 - changed[0, 5]
    real = Frames.of(torch.ones(1, 11, dtype=torch.bool))
    moved = (frontend(changed, real) - frontend(crops, real)).abs().amax(1) > 1e-5
    assert moved.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(("channels_in", "channels", "stride"), [(6, 6, 1), (6, 8, 2), (6, 8, 1), (6, 6, 2)])
def test_block_equals_torchvision(channels_in: int, channels: int, stride: int) -> None:
    from torchvision.models.resnet import BasicBlock as TheirBlock

    torch.manual_seed(0)
    ours = stirred(BasicBlock(channels_in, channels, stride))
    downsample = None
    if stride != 1 or channels_in != channels:
        downsample = torch.nn.Sequential(
            torch.nn.Conv2d(channels_in, channels, 1, stride, bias=False), torch.nn.BatchNorm2d(channels)
        )
    theirs = TheirBlock(channels_in, channels, stride, downsample).eval()
    names = {"norm1": "bn1", "norm2": "bn2", "shortcut": "downsample"}
    state = {
        ".".join(names.get(part, part) for part in key.split(".")): value for key, value in ours.state_dict().items()
    }
    missing, unknown = theirs.load_state_dict(state, strict=False)
    assert unknown == []
    assert all(key.endswith("num_batches_tracked") for key in missing)
    x = torch.randn(3, channels_in, 9, 9)
    assert torch.allclose(ours(x), theirs(x), atol=1e-5)


def test_base_trunk_is_resnet_18() -> None:
    from torchvision.models import resnet18

    with torch.device("meta"):
        ours, theirs = PixelFrontend(PRESETS["base"].frontend).trunk, resnet18()
    layers = [theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4]
    assert [tuple(p.shape) for p in ours.parameters()] == [tuple(p.shape) for x in layers for p in x.parameters()]


def test_sizes_on_the_way() -> None:
    frontend = tiny_frontend(input_side_px=64)
    shapes: list[tuple[int, ...]] = []
    parts = [frontend.stem, *frontend.trunk]
    handles = [part.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape))) for part in parts]
    frontend(*(padded(clips_of(3))[0], Frames.of(torch.ones(1, 3, dtype=torch.bool))))
    for handle in handles:
        handle.remove()
    assert shapes == [(3, 4, 32, 32), (3, 4, 16, 16), (3, 8, 8, 8), (3, 16, 4, 4), (3, 32, 2, 2)]


def test_the_stem_is_a_convolution_in_three_dimensions() -> None:
    torch.manual_seed(0)
    stem = Stem(6)
    x = torch.randn(2, 5, 20, 24, requires_grad=True)
    real = Frames.of(valid_frames(torch.tensor([5, 3]), 5))
    shown = x * real.valid[..., None, None]
    wanted = F.conv3d(shown[:, None], stem.weight, None, (1, 2, 2), (2, 3, 3)).transpose(1, 2)[real.valid]
    got = stem(shown, real.clip, real.time)
    assert torch.allclose(got, wanted, atol=1e-5)
    probe = torch.randn_like(wanted)
    for ours, theirs in zip(
        torch.autograd.grad((got * probe).sum(), [stem.weight, x], retain_graph=True),
        torch.autograd.grad((wanted * probe).sum(), [stem.weight, x]),
        strict=True,
    ):
        assert torch.allclose(ours, theirs, atol=1e-4)


def test_no_clips_and_clips_of_no_frames() -> None:
    frontend = tiny_frontend()
    assert frontend(torch.zeros(0, 5, 88, 88), Frames.of(torch.zeros(0, 5, dtype=torch.bool))).shape == (0, 32)
    assert frontend(torch.zeros(2, 5, 88, 88), Frames.of(torch.zeros(2, 5, dtype=torch.bool))).shape == (0, 32)


def test_dropout_is_the_last_thing_and_only_in_training() -> None:
    torch.manual_seed(0)
    frontend = stirred(PixelFrontend(FrontendConfig(width=4, blocks=(1, 1, 1, 1), input_side_px=32, dropout=0.5)))
    crops, _, lengths = padded(clips_of(8))
    real = Frames.of(valid_frames(lengths, 8))
    plain = frontend(crops, real)
    frontend.dropout.train()
    dropped = frontend(crops, real)
    kept = dropped != 0
    assert (dropped[plain != 0] == 0).float().mean().item() == pytest.approx(0.5, abs=0.2)
    assert torch.allclose(dropped[kept], 2 * plain[kept], atol=1e-5)
