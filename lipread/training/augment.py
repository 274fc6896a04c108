"""Random changes that keep the words: light, camera, position, shape of the face, tempo, lost frames, noise.

Shapes: T frames, S pixels, P lip points, N = 640 T samples.
Sources: time masks as in Ma et al. 2022, arXiv:2209.01383; the rest is common practice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from lipread.config import AugmentConfig
from lipread.noise import KINDS, Samples, make_noise, mixed
from lipread.training.batches import Example, WordSpan
from lipread.training.pixels import Change
from lipread.values import SAMPLES_PER_FRAME, Array

# Lip points that change places in a mirror: corners, and the inner lips' side points (values.LIP_POINTS).
MIRRORED = [1, 0, 2, 3, 4, 6, 5, 8, 7]
FRAMES_PER_MASK = 25
FRAMES_PER_STUTTER = 8
SHARP_FRAMES = 0.2  # so near to a frame, it is shown unblended
BLURS_PX = (0.4, 1.6)  # least and largest standard deviation
QUALITIES = (10, 60)  # of JPEG
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
    Returns: a new example; its length may differ (speed), its text does not. What happens to its crops is drawn, and
        done later (`Batch.shown`).
    """
    if not use_pixels or example.crops is None:
        example = replace(example, crops=None)
    if speed is None:
        speed = random_speed(rng, config)
    place = np.arange(len(example.points), dtype=np.float64)
    if speed != 1:
        example, place = change_speed(example, speed, max_frames=max_frames)
    if rng.random() < config.stutter:
        example, place = stutter(example, place, rng)
    flip = bool(rng.random() < config.flip)
    shape = mirror_points(example.points) if flip else example.points.copy()
    points = change_points(example.points, rng, config, flip=flip)
    hidden = np.zeros(len(points), bool)
    for start, end in time_masks(len(points), rng, config.time_mask_frames):
        if example.crops is not None:
            hidden[start:end] = True
            shape[start:end] = np.nan
            if rng.random() < 0.5:
                continue
        points[start:end] = np.nan
    change = None
    if example.crops is not None:
        change = change_pixels(place, hidden, example.crops.shape[-1], rng, config, side_px, flip=flip)
    sound = example.sound
    if sound is not None:
        sound = change_sound(sound, rng, config, voices)
    use_points = use_points or (example.crops is None and sound is None)
    return replace(example, change=change, points=points, shape=shape, sound=sound, use_points=use_points)


def random_speed(rng: np.random.Generator, config: AugmentConfig) -> float:
    """How many times as fast a clip is played."""
    return 1 + float(rng.uniform(-config.speed, config.speed)) if config.speed else 1.0


def change_speed(example: Example, factor: float, *, max_frames: int | None = None) -> tuple[Example, Array]:
    """Play faster (factor > 1) or slower; never shorter than the text needs, or slower than fits.

    Returns: the example with crops as they were, and where in them each of its frames lies now, (T,).
    """
    frames = len(example.points)
    needed = frames_for_text(example.text) + SPARE_FRAMES
    count = max(round(frames / factor), min(frames, needed), 1)
    if max_frames is not None:
        count = min(count, max(frames, max_frames))
    place = np.linspace(0, frames - 1, count)
    low = np.floor(place).astype(int)
    high = np.ceil(place).astype(int)
    share = (place - low).astype(np.float32)[:, None, None]
    points = example.points[low] * (1 - share) + example.points[high] * share
    sound = example.sound
    if sound is not None:  # higher or lower, too, as another voice would be
        at = np.linspace(0, len(sound) - 1, count * SAMPLES_PER_FRAME)
        sound = np.interp(at, np.arange(len(sound)), sound).astype(np.float32)
    ratio = count / frames
    words = []
    for word in example.words:
        start = min(round(word.start * ratio), count - 1)
        words.append(WordSpan(start, max(start + 1, round(word.end * ratio)), word.text))
    near = np.abs(place - np.round(place)) < SHARP_FRAMES
    place[near] = np.round(place[near])
    return replace(example, points=points.astype(np.float32), words=tuple(words), sound=sound), place


def stutter(example: Example, place: Array, rng: np.random.Generator) -> tuple[Example, Array]:
    """A camera that loses frames: up to one in `FRAMES_PER_STUTTER` shows the frame before it once more."""
    frames = len(example.points)
    shown = np.arange(frames)
    lost = rng.integers(1, max(frames, 2), int(rng.integers(1, 1 + max(1, frames // FRAMES_PER_STUTTER))))
    shown[lost[lost < frames]] -= 1
    return replace(example, points=example.points[shown]), place[shown]


def frames_for_text(text: str) -> int:
    """Least frames for a text with CTC when every character is spelled, a blank between equal neighbours."""
    return len(text) + sum(a == b for a, b in pairwise(text))


def change_pixels(
    place: Array, hidden: Array, composed_px: int, rng: np.random.Generator, config: AugmentConfig, side_px: int,
    *, flip: bool,
) -> Change:
    """Draw what happens to the pixels of a clip.

    One move for the whole clip: a similarity (shift, size, rotation, mirror), a little stretched, within which the crop
    is taken at random, and with `warp_px` a smooth field of displacements on top: the same lips on another face. Then
    gamma, contrast, brightness and a light from one side; blur, grain and a codec's blocks; a hidden rectangle.

    Args:
        place: where in the composed frames each frame lies, (T,).
        hidden: frames that show nothing, (T,) bool.
        composed_px, side_px: sides of the crops before and after, pixels.
    """
    reach = (composed_px - side_px) / 2 + config.shift_px
    angle = np.deg2rad(rng.uniform(-config.rotate_deg, config.rotate_deg))
    scale = 1 + rng.uniform(-config.scale, config.scale)
    stretch = 1 + rng.uniform(-config.scale, config.scale) / 2
    turn_back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    back = np.diag([-1 / stretch if flip else 1 / stretch, stretch]) @ turn_back
    centre = np.full(2, (composed_px - 1) / 2) + rng.uniform(-reach, reach, 2)
    offset = centre - back @ np.full(2, (side_px - 1) / 2)
    light, bent = config.light, 0.0
    curve = np.linspace(0, 1, 256) ** np.exp(rng.uniform(-light, light))
    curve = (curve - 0.45) * np.exp(rng.uniform(-light, light)) + 0.45
    curve = (curve + rng.uniform(-0.3, 0.3) * light).clip(0, 1)
    direction = rng.uniform(0, 2 * np.pi)
    if rng.random() < 0.5:
        bent = rng.uniform(0, 0.6) * light
    hole = np.zeros(7, np.int64)
    if rng.random() < config.cut_out:
        hole = draw_hole(len(place), side_px, rng)
    return Change(
        place=place,
        back=np.concatenate([back, offset[:, None]], axis=1),
        knots=rng.normal(0, config.warp_px, (WARP_KNOTS, WARP_KNOTS, 2)),
        curve=np.round(curve * 255),
        shade=bent * np.array([np.cos(direction), np.sin(direction)]),
        blur_px=rng.uniform(*BLURS_PX) if rng.random() < config.blur else 0.0,
        grain=rng.uniform(0, config.noise) if rng.random() < 0.5 else 0.0,
        seed=int(rng.integers(2**31)),
        quality=int(rng.integers(*QUALITIES)) if rng.random() < config.compress else 0,
        hole=hole,
        hidden=hidden,
    )


def draw_hole(frames: int, side_px: int, rng: np.random.Generator) -> Array:
    """A rectangle to hide behind plain grey for some time, as `Change.hole`."""
    height, width = rng.integers(side_px // 8, side_px // 3, 2)
    top, left = rng.integers(0, side_px - height + 1), rng.integers(0, side_px - width + 1)
    first, last = np.sort(rng.integers(0, frames + 1, 2))
    return np.array([first, last, top, top + height, left, left + width, rng.integers(0, 256)])


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
