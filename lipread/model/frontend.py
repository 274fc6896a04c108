"""Mouth crops -> feature vectors.

Shapes: B clips, T frames, N real frames, C channels, H x W pixels, D features.
Source: Stafylakis & Tzimiropoulos 2017, arXiv:1703.04105 (Conv3d stem + ResNet); He et al. 2015, arXiv:1512.03385.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lipread.config import FrontendConfig
from lipread.model.context import Context
from lipread.model.masks import Frames
from lipread.model.norm import BatchNorm

# In training on a GPU, frames come in multiples of this: cuDNN plans every convolution anew for every size
# (docs/training-log.md, run 23).
FRAMES_AT_ONCE = 512
GREY_MEAN, GREY_STD = 0.421, 0.165  # of mouth crops in 0..1, the field's constants


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; (N, C, H, W) -> (N, C', H/stride, W/stride)."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.norm1 = BatchNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.norm2 = BatchNorm(channels)
        self.shortcut: nn.Module = nn.Identity()
        self.stride = stride
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels, 1, bias=False), BatchNorm(channels))

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        # not as the convolution's stride: oneDNN's gradient of that, with 4 channels and one thread, ends the program
        kept = x[:, :, :: self.stride, :: self.stride]
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(kept))


class Stem(nn.Conv3d):
    """The 5 x 7 x 7 convolution, computed as a Conv2d over five neighbouring frames as channels.

    The same numbers as Conv3d gives, for the frames wanted only, in 0.6 of its time (docs/speed.md).
    """

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels, (5, 7, 7), (1, 2, 2), (2, 3, 3), bias=False)

    def forward(self, x: Tensor, clip: Tensor, time: Tensor) -> Tensor:  # type: ignore[override]
        """Pictures (B, T, H, W), and clip and time of the frames wanted, (N,) each -> (N, C, H/2, W/2)."""
        seen = self.kernel_size[0]
        around = F.pad(x, (0, 0, 0, 0, seen // 2, seen // 2))  # (B, T + 4, H, W)
        x = torch.stack([around[clip, time + later] for later in range(seen)], dim=1)  # (N, 5, H, W)
        x = x.to(self.weight.dtype).contiguous(memory_format=torch.channels_last)
        return F.conv2d(x, self.weight[:, 0], self.bias, self.stride[1:], self.padding[1:])


class PixelFrontend(nn.Module):
    """Conv3d 5 x 7 x 7 stem and ResNet trunk."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: FrontendConfig) -> None:
        super().__init__()
        self.side_px = config.input_side_px
        self.register_buffer("mean", torch.tensor(GREY_MEAN * 255))
        self.register_buffer("std", torch.tensor(GREY_STD * 255))
        self.stem = Stem(config.width)
        self.stem_norm = BatchNorm(config.width)
        blocks: list[nn.Module] = []
        channels = config.width
        for stage, count in enumerate(config.blocks):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(BasicBlock(channels, config.width * 2**stage, stride))
                channels = config.width * 2**stage
        self.trunk = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(config.dropout)
        self.features = channels

    def forward(self, crops: Tensor, real: Frames, context: Context | None = None) -> Tensor:
        """Grey 0..255, (B, T, H, W) -> features of the real frames in order, (N, D); in a context each process looks
        at its part of them."""
        x = self._reduce(crops)
        x = (x - self.mean) / self.std * real.valid[..., None, None]  # padding is zero, as outside the clip's ends
        clip, time = real.clip, real.time
        if context:
            with context.own_dropout(x.device):
                own = self._features(x, context.own(clip, 0), context.own(time, 0))
            return context.gathered(own, 0, len(clip))
        return self._features(x, clip, time)

    def _features(self, x: Tensor, clip: Tensor, time: Tensor) -> Tensor:
        """Of some frames, (N, D)."""
        count = len(clip)
        if self.training and x.is_cuda and count:  # some frames twice
            again = torch.arange(-(-count // FRAMES_AT_ONCE) * FRAMES_AT_ONCE, device=x.device) % count
            clip, time = clip[again], time[again]
        x = self.stem(x, clip, time)  # (B, T, H, W) -> (N, C, H/2, W/2)
        x = F.max_pool2d(F.relu(self.stem_norm(x)), 3, 2, 1)  # (N, C, H/4, W/4)
        x = self.trunk(x)  # (N, 8C, H/32, W/32)
        features: Tensor = self.dropout(x.mean(dim=(2, 3))[:count])  # (N, D)
        return features

    def _reduce(self, crops: Tensor) -> Tensor:
        """To the input side, float32; each new pixel is an average over the old ones that it covers."""
        x = crops.float()
        if x.shape[-1] == self.side_px:
            return x
        return F.interpolate(x, size=(self.side_px, self.side_px), mode="bilinear", antialias=True)
