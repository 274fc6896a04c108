"""A reading -> what about the video is unlike what the model was trained on, with what to change.

Shapes: T frames, S x S pixels.
"""

from __future__ import annotations

import numpy as np

from lipread.speaking import SMALL_EYE_PX
from lipread.values import FRAME_RATE_HZ, MouthTrack, Transcript
from lipread.video import VideoInfo

UNSURE = 0.5  # mean word confidence below this is worth a word
SLOW_HZ = 20.0  # pictures per second: below this, lip movements fall between pictures
MODEST_EYE_PX = 18.0  # GRID's faces have about 35 pixels between the inner eye corners
DARK, BRIGHT = 50.0, 215.0  # mean grey level of the mouth, 0..255
FLAT = 9.0  # spread of grey levels inside the mouth crops; GRID has 20 to 40
FACE_SHARE = 0.8  # less of the time with a face is worth a word


def advice_for(transcript: Transcript, track: MouthTrack | None, info: VideoInfo | None) -> tuple[str, ...]:
    """Sentences, the weightiest first; none where the video is like the training's. No track: pictures do not count."""
    seen = () if track is None or info is None else (_face(track), _size(track), _rate(info), _light(track))
    return tuple(sentence for sentence in (*seen, _confidence(transcript)) if sentence)


def _face(track: MouthTrack) -> str:
    if not track.present.any():
        return (
            "No face was found. The whole face, from forehead to chin, must be in the picture, turned to the camera, "
            "and not covered."
        )
    if track.face_share < FACE_SHARE:
        return (
            f"The face was found in only {track.face_share:.0%} of the time. Keep it in the picture and turned to the "
            "camera."
        )
    return ""


def _size(track: MouthTrack) -> str:
    if SMALL_EYE_PX <= track.eye_px < MODEST_EYE_PX:  # smaller still: the transcript's own warning says it
        return (
            f"The face is rather small ({track.eye_px:.0f} pixels between the inner eye corners). Come closer, or "
            "record with more pixels."
        )
    return ""


def _rate(info: VideoInfo) -> str:
    rate = info.frame_rate_hz
    if rate is not None and rate < SLOW_HZ:
        return (
            f"The video has {rate:.3g} pictures per second; the model was trained on {FRAME_RATE_HZ}. Record with 25 "
            "or more; more light helps a camera to be quick."
        )
    return ""


def _light(track: MouthTrack) -> str:
    if not track.present.any():
        return ""
    seen = track.crops[track.present][:: max(1, int(track.present.sum()) // 50)].astype(np.float32)
    level, spread = float(seen.mean()), float(seen.std(axis=(1, 2)).mean())
    if level < DARK:
        return "The mouth is dark. Put a light in front of the face, not behind it."
    if level > BRIGHT:
        return "The mouth is overexposed. Turn the light or the camera's exposure down."
    if spread < FLAT:
        return "The mouth has little contrast. Clean the lens, and let light come from the front or the side."
    return ""


def _confidence(transcript: Transcript) -> str:
    if transcript.words and transcript.confidence < UNSURE:
        return (
            f"The model is unsure ({transcript.confidence:.0%} on average): it may know neither these words nor this "
            "way of speaking. See “About” for what it was trained on, and try a grammar or a language model "
            "under “Advanced” if the words are of that kind."
        )
    return ""
