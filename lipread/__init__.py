"""Read what someone says in a video from their lips.

    import lipread
    reader = lipread.load_model()
    print(reader.transcribe("talk.mp4").text)

Importing this package is quick: the heavy parts (torch, mediapipe) are imported when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lipread.errors import LipreadError as LipreadError

if TYPE_CHECKING:
    from lipread.alphabet import Alphabet as Alphabet
    from lipread.captions import write_captioned_video as write_captioned_video
    from lipread.outputs import write_outputs as write_outputs
    from lipread.pipeline import LipReader as LipReader
    from lipread.pipeline import load_model as load_model
    from lipread.values import MouthTrack as MouthTrack
    from lipread.values import Segment as Segment
    from lipread.values import Transcript as Transcript
    from lipread.values import Word as Word

__version__ = "0.1.0"

_HOMES = {  # public name -> module it lives in, imported on first use
    "Alphabet": "lipread.alphabet",
    "LipReader": "lipread.pipeline",
    "load_model": "lipread.pipeline",
    "MouthTrack": "lipread.values",
    "Segment": "lipread.values",
    "Transcript": "lipread.values",
    "Word": "lipread.values",
    "write_captioned_video": "lipread.captions",
    "write_outputs": "lipread.outputs",
}

__all__ = [
    "Alphabet",
    "LipReader",
    "LipreadError",
    "MouthTrack",
    "Segment",
    "Transcript",
    "Word",
    "__version__",
    "load_model",
    "write_captioned_video",
    "write_outputs",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lipread' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
