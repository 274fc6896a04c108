"""Pictures with everyone's face meshes -> everyone's mouths, frame by frame, in flat memory.

Shapes: H x W pixels, N = 478 mesh points.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from lipread.mouth import MAX_GAP_FRAMES, SMOOTH_FRAMES, MouthCropper
from lipread.values import Array, Mouth

GONE_FRAMES = MAX_GAP_FRAMES + SMOOTH_FRAMES + 1  # a face lost for so long leaves nothing to be cropped

JUMP_WIDTHS, JUMP_SIZE_RATIO = 0.6, 1.6

Mouths = dict[int, Mouth]  # identity of a face -> its mouth, of all faces that one frame shows


class Crowd:
    """A cropper for every face that is there; a frame is given out when all its mouths are ready (<= 19 frames later).

    Call `push` for every 25 Hz frame in order, then `end`.
    """

    def __init__(self) -> None:
        self._croppers: dict[int, MouthCropper] = {}
        self._done: dict[int, int] = {}  # of each cropper: the first frame that it has not given
        self._seen: dict[int, int] = {}  # of each cropper: the last frame with its face
        self._meshes: dict[int, Array] = {}  # and its mesh there
        self._waiting: list[Mouths] = []  # frames that are not complete
        self._frames = 0  # pushed so far

    def push(self, image: Array, meshes: Mapping[int, Array]) -> list[Mouths]:
        """Take the next frame.

        Args:
            image: RGB uint8, shape (H, W, 3).
            meshes: identity -> mesh (478, 2), pixels, of every face in it.
        Returns: the mouths of the frames that have become complete, in order; empty where a frame shows no face.
        """
        for identity, mesh in meshes.items():
            if identity in self._croppers and _jumped(self._meshes[identity], mesh):  # nothing is smoothed over a cut
                self._croppers[identity].end()
                self._take(identity)
                del self._croppers[identity]
            if identity not in self._croppers:
                self._croppers[identity], self._done[identity] = MouthCropper(), self._frames
            self._meshes[identity], self._seen[identity] = mesh, self._frames
        self._waiting.append({})
        self._frames += 1
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) if self._croppers else image
        for identity, cropper in list(self._croppers.items()):
            cropper.push(grey, meshes.get(identity))
            gone = self._frames - self._seen[identity] > GONE_FRAMES
            if gone:
                cropper.end()
            self._take(identity)
            if gone:
                for noted in (self._croppers, self._done, self._seen, self._meshes):
                    del noted[identity]
        return self._complete()

    def end(self) -> list[Mouths]:
        """The mouths of the last frames."""
        for identity, cropper in self._croppers.items():
            cropper.end()
            self._take(identity)
        return self._complete()

    def _take(self, identity: int) -> None:
        offset = self._done[identity] - (self._frames - len(self._waiting))
        ready = self._croppers[identity].take()
        for frame, mouth in enumerate(ready, start=offset):
            if mouth is not None:
                self._waiting[frame][identity] = mouth
        self._done[identity] += len(ready)

    def _complete(self) -> list[Mouths]:
        left = self._frames - min(self._done.values(), default=self._frames)
        complete = self._waiting[: len(self._waiting) - left]
        self._waiting = self._waiting[len(self._waiting) - left :]
        return complete


def _jumped(before: Array, after: Array) -> bool:
    """Whether a face is at another place, or of another size, than a person can come to between two frames."""
    (old_low, old_high), (low, high) = ((mesh.min(axis=0), mesh.max(axis=0)) for mesh in (before, after))
    size = float((old_high - old_low).max())
    moved = float(np.abs((low + high) - (old_low + old_high)).max()) / 2
    ratio = float((high - low).max()) / max(size, 1e-6)
    return moved > JUMP_WIDTHS * size or not 1 / JUMP_SIZE_RATIO < ratio < JUMP_SIZE_RATIO
