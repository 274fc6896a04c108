"""A mouth, or sound -> the encoder's states, frame by frame: what search, clustering and synchronisation build on.

Shapes: T frames at 25 Hz, D features, N = 640 T samples.

A track that is longer than the network reads at once goes through it in windows that overlap; of what two of them
share, each gives the half that is its own.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import numpy as np

from lipread.errors import ConfigError, NoFaceError, NoSoundError, VideoError
from lipread.files import PathLike, written_whole
from lipread.hearing import SoundStream
from lipread.pieces import SHARED_FRAMES, WINDOW_FRAMES
from lipread.values import FRAME_RATE_HZ, SAMPLES_PER_FRAME, Array, MouthTrack

if TYPE_CHECKING:
    from lipread.model.network import LipNetwork
    from lipread.pipeline import LipReader
    from lipread.watch import Progress

FORMAT = "lipread-features-1"
SUFFIX = ".features.safetensors"
FeatureModality = Literal["video", "audio", "both"]


@dataclass(frozen=True)
class Features:
    """What the encoder makes of one person's lips, of sound, or of both.

    Attributes:
        states: of one layer, float32, shape (T, D).
        times: of the frames, seconds from the start of the video, float64, shape (T,).
        present: whether each frame has a face; where none is near, its state tells nothing of lips; bool, shape (T,).
        layer: 0 the embeddings, then after each layer of the encoder.
        model: name of the checkpoint.
        source: the file name as it was given.
        warnings: sentences about the video.
        modality: what was read.
    """

    states: Array
    times: Array
    present: Array
    layer: int
    model: str
    source: str = ""
    warnings: tuple[str, ...] = ()
    modality: FeatureModality = "video"


class Window(NamedTuple):
    """Frames first..last - 1 go through the network together; of these, start..end - 1 count."""

    first: int
    last: int
    start: int
    end: int


def video_features(
    reader: LipReader, path: PathLike, *, layer: int | None = None, speaker: str | int = "auto",
    modality: FeatureModality = "video", progress: Progress | None = None,
) -> Features:
    """Features of whoever is read in a video file, or of its sound.

    Args:
        reader: a model, as `load_model` gives it.
        path: any container that FFmpeg reads.
        layer: 0 the embeddings, 1 after the first layer of the encoder, ...; None: after the last one.
        speaker: whom to look at: "auto", "largest", or a number from 0, counted from left to right.
        modality: "video" (the lips), "audio", or "both", with the sound as it lies in the file (`lipread sync` tells
            whether it is late).
        progress: is told how far each stage is.
    Raises: VideoError: the file cannot be read as a video. NoFaceError: no face, or none of that number, was found.
        NoSoundError: there is no sound. ConfigError: the encoder has no such layer, or the model does not hear.
    """
    from lipread.pipeline import watch_mouth

    network, heard = reader.network, reader.checkpoint.with_sound
    name, model = os.fspath(path), reader.checkpoint.name
    if modality != "video" and heard:
        network, model = reader.listener, heard.name
    chosen = chosen_layer(network, layer)
    check_feature_modality(reader, modality)
    warnings: list[str] = []
    sound = None if modality == "video" else _sound(path, warnings)
    if modality == "audio":
        assert sound is not None
        sound = _as_long_as_the_picture(path, sound)
        states = states_of(network, None, sound, chosen, progress=progress)
        times, nobody = np.arange(len(states)) / FRAME_RATE_HZ, np.zeros(len(states), dtype=bool)
        return Features(states, times, nobody, chosen, model, name, tuple(warnings), modality)
    watched = watch_mouth(
        path, speaker=speaker, max_faces=reader.max_faces, progress=progress,
        agreement=None if sound is None else reader.agreement(SoundStream([sound])),
    )
    track = watched.track
    if not watched.faces:
        raise NoFaceError(f"{name}: no face was found, so there are no lips to describe; use a video that shows a face")
    states = states_of(network, track, sound, chosen, progress=progress)
    times = track.start_s + np.arange(len(track.present)) / FRAME_RATE_HZ
    return Features(states, times, track.present, chosen, model, name, (*watched.warnings, *warnings), modality)


def check_feature_modality(reader: LipReader, modality: str) -> None:
    """Raises: ConfigError: it is not known, or the model does not hear."""
    if modality not in get_args(FeatureModality):
        known = ", ".join(get_args(FeatureModality))
        raise ConfigError(f"modality {modality!r} is not known for features; use {known}")
    if modality != "video" and not reader.hears:
        raise ConfigError(
            f"model {reader.checkpoint.name!r} reads lips only, so there are no features of modality {modality!r}; "
            "use video"
        )


def _sound(path: PathLike, warnings: list[str]) -> Array:
    """All sound of a file, (N,). Raises: NoSoundError: there is none."""
    from lipread.audio import read_audio_blocks

    blocks = list(read_audio_blocks(path, warnings=warnings))
    if not sum(map(len, blocks)):
        raise NoSoundError(f"{os.fspath(path)} has no sound that can be decoded; use modality video")
    return np.concatenate(blocks)


def _as_long_as_the_picture(path: PathLike, sound: Array) -> Array:
    """Sound (N,), cut or filled with silence to the frames of the picture, as with modality both; where there is none,
    as it is."""
    from lipread.picture import MIN_SIDE_PX
    from lipread.video import read_frames

    try:
        with read_frames(path, max_side_px=MIN_SIDE_PX) as pictures:  # they are only counted
            wanted = SAMPLES_PER_FRAME * sum(1 for _ in pictures)
    except VideoError:
        return sound
    return np.pad(sound[:wanted], (0, max(0, wanted - len(sound))))


def chosen_layer(network: LipNetwork, layer: int | None) -> int:
    """The layer that is meant; None: the last one. Raises: ConfigError: the encoder has no such layer."""
    layers = network.config.encoder.num_hidden_layers
    if layer is not None and not 0 <= layer <= layers:
        raise ConfigError(f"layer={layer} is not in this model; take 0 (the embeddings) to {layers} (the last layer)")
    return layers if layer is None else layer


def states_of(
    network: LipNetwork, track: MouthTrack | None, sound: Array | None, layer: int, *,
    progress: Progress | None = None,
) -> Array:
    """States of a layer for every frame of a mouth track, of sound (N,) from its first frame on, or of both, however
    long, float32, (T, D)."""
    import torch

    from lipread.mouth import centre_crop

    device, side_px = network.device, network.config.frontend.crop_side_px
    stream = None if sound is None else SoundStream([sound])
    if track is not None:
        count = len(track.present)
    else:
        count = 0 if sound is None else math.ceil(len(sound) / SAMPLES_PER_FRAME)
    states = np.zeros((count, network.config.encoder.hidden_size), np.float32)
    for window in windows(len(states), min(WINDOW_FRAMES, network.max_frames)):
        frames = slice(window.first, window.last)
        crops = points = heard = None
        if track is not None:
            crops = torch.from_numpy(centre_crop(track.crops[frames], side_px)[None]).to(device)  # (1, T, 88, 88)
            points = torch.from_numpy(track.points[frames][None]).to(device)  # (1, T, 9, 2)
        if stream is not None:
            heard = torch.from_numpy(stream.frames(window.first, window.last)[None]).to(device)  # (1, N)
        lengths = torch.tensor([window.last - window.first], device=device)
        with torch.inference_mode():
            read = network.encode(crops, points, lengths, heard)[layer]
        found = read[0, 1:].float().cpu().numpy()  # (T, D), without [CLS]
        states[window.start : window.end] = found[window.start - window.first : window.end - window.first]
        if progress:
            progress("network", window.end / len(states))
    return states


def windows(frames: int, longest: int) -> list[Window]:
    """Windows of `longest` frames that share `SHARED_FRAMES` or more and are joined in the middle of what they share.

    The last one ends with the last frame, so that none is short where there is more to see.
    """
    if frames <= longest:
        return [Window(0, frames, 0, frames)] if frames else []
    step = longest - min(SHARED_FRAMES, longest - 1)
    firsts = [*range(0, frames - longest, step), frames - longest]
    joints = [0, *((one + longest + two) // 2 for one, two in pairwise(firsts)), frames]
    return [
        Window(first, first + longest, start, end)
        for first, start, end in zip(firsts, joints[:-1], joints[1:], strict=True)
    ]


def write_features(path: PathLike, features: Features, *, half: bool = False) -> None:
    """Write a safetensors file whole or not at all: tensors `states`, `times` and `present`, the rest as metadata.

    Args:
        half: states as float16, half the size.
    Raises: OutputError: it cannot be written.
    """
    from safetensors.numpy import save

    tensors = {
        "states": np.ascontiguousarray(features.states, np.float16 if half else np.float32),
        "times": features.times,
        "present": features.present,
    }
    metadata = {
        "format": FORMAT,
        "model": features.model,
        "layer": str(features.layer),
        "modality": features.modality,
        "source": features.source.encode("utf-8", "backslashreplace").decode(),  # names may hold bytes that are no text
        "frame_rate_hz": str(FRAME_RATE_HZ),
    }
    with written_whole(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))
