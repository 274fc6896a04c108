"""Random changes that keep the words: light, camera, position, shape of the face, tempo, lost frames, noise.

Shapes: T frames, S pixels, P lip points, N = 640 T samples.
Sources: time masks as in Ma et al. 2022, arXiv:2209.01383; the rest is common practice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np

from lipread.config import AugmentConfig
from lipread.noise import KINDS, Samples, make_noise, mixed
from lipread.training.batches import Example, WordSpan
from lipread.values import SAMPLES_PER_FRAME, Array

# Lip points that change places in a mirror: corners, and the inner lips' side points (values.LIP_POINTS).
MIRRORED = [1, 0, 2, 3, 4, 6, 5, 8, 7]
FRAMES_PER_MASK = 25
FRAMES_PER_STUTTER = 8
WARP_KNOTS = 4  # of the displacement field, along each side
SPARE_FRAMES = 4  # beside what CTC needs for the text
BABBLE_SHARE = 0.5  # of the noises
SOUND_JITTER_SAMPLES = SAMPLES_PER_FRAME  # that sound may be early or late


def augment(
    example: Example, rng: np.random.Generator, config: AugmentConfig, side_px: int,
    *, use_pixels: bool = True, use_points: bool = True, max_frames: int | None = None, speed: float | None = None,
    voices: Callable[[np.random.Generator], Samples] | None = None,
) -> Example:
    """Change one example at random.

    Args:
        example: with crops (T, 96, 96) or without.
        side_px: side of the crops that come out.
        use_pixels, use_points: a stream that is not used is not computed.
        max_frames: longest example that may come out, frames.
        speed: to play it at; None: a random one.
        voices: gives the sound of other people's clips, for babble.
    Returns: a new example; its length may differ (speed), its text does not.
    """
    if not use_pixels or example.crops is None:
        example = replace(example, crops=None)
    if speed is None:
        speed = random_speed(rng, config)
    if speed != 1:
        example = change_speed(example, speed, max_frames=max_frames)
    if rng.random() < config.stutter:
        example = stutter(example, rng)
    flip = bool(rng.random() < config.flip)
    crops = example.crops
    if crops is not None:
        crops = change_light(move_crops(crops, rng, config, side_px, flip=flip), rng, config)
        if rng.random() < config.cut_out:
            cut_out(crops, rng)
    shape = mirror_points(example.points) if flip else example.points.copy()
    points = change_points(example.points, rng, config, flip=flip)
    for start, end in time_masks(len(points), rng, config.time_mask_frames):
        if crops is not None:
            crops[start:end] = int(crops.mean())
            shape[start:end] = np.nan
            if rng.random() < 0.5:
                continue
        points[start:end] = np.nan
    sound = example.sound
    if sound is not None:
        sound = change_sound(sound, rng, config, voices)
    use_points = use_points or (crops is None and sound is None)
    return replace(example, crops=crops, points=points, shape=shape, sound=sound, use_points=use_points)


def random_speed(rng: np.random.Generator, config: AugmentConfig) -> float:
    """How many times as fast a clip is played."""
    return 1 + float(rng.uniform(-config.speed, config.speed)) if config.speed else 1.0


def change_speed(example: Example, factor: float, *, max_frames: int | None = None) -> Example:
    """Play faster (factor > 1) or slower, frames blended; never shorter than the text needs, or slower than fits."""
    frames = len(example.points)
    needed = frames_for_text(example.text) + SPARE_FRAMES
    count = max(round(frames / factor), min(frames, needed), 1)
    if max_frames is not None:
        count = min(count, max(frames, max_frames))
    place = np.linspace(0, frames - 1, count)
    low = np.floor(place).astype(int)
    high = np.ceil(place).astype(int)
    share = (place - low).astype(np.float32)
    points = example.points[low] * (1 - share)[:, None, None] + example.points[high] * share[:, None, None]
    crops = example.crops
    if crops is not None:
        crops = np.stack([
            crops[i] if s < 0.2 else crops[j] if s > 0.8 else cv2.addWeighted(crops[i], 1 - s, crops[j], s, 0)
            for i, j, s in zip(low, high, share.tolist(), strict=True)
        ])
    sound = example.sound
    if sound is not None:  # higher or lower, too, as another voice would be
        place = np.linspace(0, len(sound) - 1, count * SAMPLES_PER_FRAME)
        sound = np.interp(place, np.arange(len(sound)), sound).astype(np.float32)
    ratio = count / frames
    words = []
    for word in example.words:
        start = min(round(word.start * ratio), count - 1)
        words.append(WordSpan(start, max(start + 1, round(word.end * ratio)), word.text))
    return replace(example, points=points.astype(np.float32), crops=crops, words=tuple(words), sound=sound)


def stutter(example: Example, rng: np.random.Generator) -> Example:
    """A camera that loses frames: up to one in `FRAMES_PER_STUTTER` shows the frame before it once more."""
    frames = len(example.points)
    place = np.arange(frames)
    lost = rng.integers(1, max(frames, 2), int(rng.integers(1, 1 + max(1, frames // FRAMES_PER_STUTTER))))
    place[lost[lost < frames]] -= 1
    crops = None if example.crops is None else example.crops[place]
    return replace(example, points=example.points[place], crops=crops)


def frames_for_text(text: str) -> int:
    """Least frames for a text with CTC when every character is spelled, a blank between equal neighbours."""
    return len(text) + sum(a == b for a, b in pairwise(text))


def move_crops(crops: Array, rng: np.random.Generator, config: AugmentConfig, side_px: int, *, flip: bool) -> Array:
    """One random move for the whole clip, and the random crop; (T, S, S).

    A similarity (shift, size, rotation, mirror), a little stretched, and with `warp_px` a smooth field of displacements
    on top: the same lips on another face.
    """
    side = crops.shape[-1]
    reach = (side - side_px) / 2 + config.shift_px
    angle = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg))
    scale = 1 + rng.uniform(-config.scale, config.scale)
    stretch = 1 + rng.uniform(-config.scale, config.scale) / 2
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([-stretch if flip else stretch, 1 / stretch])
    centre = np.full(2, (side - 1) / 2) + rng.uniform(-reach, reach, 2)
    offset = np.full(2, (side_px - 1) / 2) - turn @ centre
    matrix = np.concatenate([turn, offset[:, None]], axis=1)
    if not config.warp_px:
        size = (side_px, side_px)
        return np.stack([
            cv2.warpAffine(crop, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for crop in crops
        ])
    knots = rng.normal(0, config.warp_px, (WARP_KNOTS, WARP_KNOTS, 2)).astype(np.float32)
    there = np.stack(np.meshgrid(np.arange(side_px), np.arange(side_px)), axis=-1)  # (S, S, 2) x, y of each new pixel
    back = cv2.invertAffineTransform(matrix)
    there = there @ back[:, :2].T + back[:, 2] + cv2.resize(knots, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    place, share = cv2.convertMaps(there.astype(np.float32), None, cv2.CV_16SC2)  # type: ignore[call-overload]
    return np.stack([cv2.remap(c, place, share, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for c in crops])


def change_light(crops: Array, rng: np.random.Generator, config: AugmentConfig) -> Array:
    """Gamma, contrast, brightness and a light from one side, then blur, grain and a codec's blocks; (T, S, S) uint8."""
    grey = np.linspace(0, 1, 256)
    curve = grey ** np.exp(rng.uniform(-config.light, config.light))
    curve = (curve - 0.45) * np.exp(rng.uniform(-config.light, config.light)) + 0.45
    curve = (curve + rng.uniform(-0.3, 0.3) * config.light).clip(0, 1)
    changed = cv2.LUT(crops.reshape(-1, crops.shape[-1]), (curve * 255).astype(np.uint8))
    crops = np.asarray(changed).reshape(crops.shape)
    if config.light and rng.random() < 0.5:
        ramp = np.linspace(-1, 1, crops.shape[-1], dtype=np.float32)
        direction = rng.uniform(0, 2 * np.pi)
        strength = rng.uniform(0, 0.6) * config.light
        shade = 1 + strength * (np.cos(direction) * ramp[None] + np.sin(direction) * ramp[:, None])
        shade = shade.astype(np.float32)
        crops = np.stack([cv2.multiply(c, shade, dtype=cv2.CV_8U) for c in crops])
    if rng.random() < config.blur:
        sigma = rng.uniform(0.4, 1.6)
        crops = np.stack([cv2.GaussianBlur(c, (0, 0), sigma) for c in crops])
    if config.noise and rng.random() < 0.5:
        grain = rng.normal(0, rng.uniform(0, config.noise), (4, *crops.shape[1:])).astype(np.float32)
        turns = rng.integers(0, 4 * crops.shape[-1], len(crops))
        crops = np.stack([
            cv2.add(crop, np.roll(grain[turn % 4], int(turn), axis=1), dtype=cv2.CV_8U)
            for crop, turn in zip(crops, turns, strict=True)
        ])
    if rng.random() < config.compress:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(10, 60))]
        crops = np.stack([cv2.imdecode(cv2.imencode(".jpg", c, quality)[1], cv2.IMREAD_GRAYSCALE) for c in crops])
    return crops


def cut_out(crops: Array, rng: np.random.Generator) -> None:
    """Hide a rectangle behind plain grey for some time, in place; (T, S, S)."""
    frames, side = crops.shape[:2]
    height, width = rng.integers(side // 8, side // 3, 2)
    top, left = rng.integers(0, side - height + 1), rng.integers(0, side - width + 1)
    first, last = np.sort(rng.integers(0, frames + 1, 2))
    crops[first:last, top : top + height, left : left + width] = rng.integers(0, 256)


def mirror_points(points: Array) -> Array:
    """The lip points of the mirrored picture; (T, P, 2)."""
    return np.asarray(points[:, MIRRORED] * np.array([-1, 1], np.float32))


def change_points(points: Array, rng: np.random.Generator, config: AugmentConfig, *, flip: bool) -> Array:
    """Another mouth: wider or narrower, opening more or less, slanted, mirrored, with a jittering mesh; (T, P, 2)."""
    if flip:
        points = mirror_points(points)
    angle = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    stretch = np.diag(np.exp(rng.uniform(-config.point_warp, config.point_warp, 2)))
    warp = turn @ (stretch + rng.uniform(-0.05, 0.05, (2, 2)))
    noise = rng.normal(0, rng.uniform(0, 2 * config.point_noise) + 1e-9, points.shape)
    each = np.exp(rng.uniform(-config.point_warp, config.point_warp, (points.shape[1], 1)) / 2)
    return np.asarray((points * each) @ warp.T + noise, np.float32)


def time_masks(frames: int, rng: np.random.Generator, longest: int) -> list[tuple[int, int]]:
    """One stretch per 25 frames to be masked, each 0..longest frames."""
    masks = []
    for _ in range(round(frames / FRAMES_PER_MASK) if longest else 0):
        length = int(rng.integers(0, longest + 1))
        start = int(rng.integers(0, max(1, frames - length)))
        masks.append((start, min(frames, start + length)))
    return masks


def change_sound(
    sound: Array, rng: np.random.Generator, config: AugmentConfig,
    voices: Callable[[np.random.Generator], Samples] | None = None,
) -> Array:
    """Another microphone, a little early or late, stretches lost, among noise; (N,)."""
    late = int(rng.integers(-SOUND_JITTER_SAMPLES, SOUND_JITTER_SAMPLES + 1))
    sound = np.roll(sound, late)
    if late:
        sound[slice(0, late) if late > 0 else slice(late, None)] = 0
    tilt = float(rng.uniform(-0.6, 0.6))  # more treble or more bass
    sound = np.append(sound[:1], sound[1:] + np.float32(tilt) * sound[:-1]).astype(np.float32)
    for start, end in time_masks(len(sound) // SAMPLES_PER_FRAME, rng, config.time_mask_frames):
        if rng.random() < 0.5:
            sound[start * SAMPLES_PER_FRAME : end * SAMPLES_PER_FRAME] = 0
    if rng.random() < config.sound_noise:
        others = [kind for kind in KINDS if kind != "babble"]
        kind = "babble" if voices and rng.random() < BABBLE_SHARE else others[int(rng.integers(len(others)))]
        noise = make_noise(kind, len(sound), rng, voices)
        sound = mixed(sound, noise, float(rng.uniform(*config.snr_db)))
    return sound
