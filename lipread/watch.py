"""The first half of the way: a video file -> the mouths of whoever is read, frame by frame.

Decoding works in one thread, landmarks and crops in another, and what comes after in the one that asks.

Shapes: T frames at 25 Hz.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lipread.ahead import ahead
from lipread.errors import ConfigError, NoFaceError, missing_libraries_named
from lipread.files import PathLike
from lipread.speaking import SeenFace, left_to_right
from lipread.turns import Agreement, Look, Turns
from lipread.values import FRAME_RATE_HZ, Array, Frame, MouthTrack

if TYPE_CHECKING:
    from lipread.crowd import Mouths
    from lipread.landmarks import FaceMesh
    from lipread.video import VideoStream

PICTURES_AHEAD = 8  # decoded, at most, before the landmarks of the first are found
SIGHTS_AHEAD = 2 * FRAME_RATE_HZ  # frames whose mouths are found, at most, before they are read

Progress = Callable[[str, float], None]  # (stage, share of it that is done, 0..1)


class Clock:
    """Adds up the seconds spent per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = dict.fromkeys(("video", "landmarks", "mouth", "network", "decoding"), 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - start


@dataclass(frozen=True)
class Watched:
    """The first half of the way: whose mouth is read, and what was odd about the video.

    Attributes:
        portraits: where there are several faces, a picture of each, from left to right, RGB uint8 (h, w, 3).
        chosen: number of the face that is read, from the left, from 0.
    """

    track: MouthTrack
    faces: int
    warnings: tuple[str, ...]
    portraits: tuple[Array, ...] = ()
    chosen: int = 0


class Watch:
    """The first half of the way: a video file -> looks at whoever is read, in order for each face.

    Args: as of `LipReader.transcribe`, and of `Turns`.
    Attributes:
        faces: identity -> what was seen of that face so far.
        together: whether two of them were seen at once.
        warnings: sentences about the video; complete at its end.
        portraits: identity -> a picture of the face.
    Raises: VideoError: the file cannot be read as a video. MissingDependencyError: a system library is absent.
        NoFaceError (at the end): there is no face of the number asked for.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        speaker: str | int = "auto",
        max_faces: int = 4,
        agreement: Agreement | None = None,
        clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> None:
        with missing_libraries_named():
            from lipread.video import read_frames

        self._name, self._speaker, self._max_faces = os.fspath(path), speaker, max_faces
        self._clock, self._progress = clock or Clock(), progress
        self._turns = Turns(speaker, agreement)
        self._portraits: dict[int, SeenFace] = {}
        self._read_by: Counter[int] = Counter()  # frames in which each face was read
        self.warnings: tuple[str, ...] = ()
        with self._clock.stage("video"):
            self._stream: VideoStream = read_frames(path)

    @property
    def faces(self) -> dict[int, SeenFace]:
        """Identity -> what was seen of that face so far."""
        return self._turns.faces

    @property
    def ordered(self) -> list[int]:
        """Identities of the faces that count, from left to right; one where no two of them were there at once."""
        return left_to_right(self.faces)

    @property
    def together(self) -> bool:
        """Whether two faces that count were seen in one frame."""
        return self._turns.together

    @property
    def portraits(self) -> list[Array]:
        """A picture of each face that counts, from left to right, RGB uint8 (h, w, 3)."""
        seen = [self._portraits[identity].portrait for identity in self.ordered if identity in self._portraits]
        return [portrait for portrait in seen if portrait is not None]

    @property
    def chosen(self) -> int:
        """Number of the face that was read most, from the left, from 0."""
        most = max(self.ordered, key=lambda identity: self._read_by[identity], default=None)
        return 0 if most is None else self.ordered.index(most)

    def __iter__(self) -> Iterator[Look]:
        with missing_libraries_named():
            from lipread.landmarks import FaceMesh

        expected = (self._stream.info.duration_s or 0.0) * FRAME_RATE_HZ
        with self._stream, FaceMesh(max_faces=self._max_faces) as mesh:
            pictures = ahead(self._pictures(), size=PICTURES_AHEAD)
            sights = ahead(self._sights(pictures, mesh), size=SIGHTS_AHEAD)
            try:
                for frame, complete in enumerate(sights, start=1):
                    for mouths in complete:
                        yield from self._noted(self._turns.push(mouths))
                    if self._progress:  # without a stated length too, so that whoever listens can cancel
                        self._progress("video", min(1.0, frame / expected) if expected else 0.0)
            finally:
                sights.close()
            yield from self._noted(self._turns.end())
            self.warnings = (*self._stream.warnings, *self._about_faces())

    def _pictures(self) -> Generator[Frame]:
        while True:
            with self._clock.stage("video"):
                frame = next(self._stream, None)
            if frame is None:
                return
            yield frame

    def _sights(self, pictures: Generator[Frame], mesh: FaceMesh) -> Generator[list[Mouths]]:
        """Pictures -> for each the frames whose mouths are found now, which are those of a little while ago."""
        from lipread.crowd import Crowd
        from lipread.landmarks import FaceTracker

        tracker, crowd = FaceTracker(), Crowd()
        last: list[Mouths] = []
        try:
            for frame in pictures:
                with self._clock.stage("landmarks"):
                    meshes = tracker.update(mesh.detect(frame.image), frame.image)
                with self._clock.stage("mouth"):
                    for identity, points in meshes.items():
                        self._portraits.setdefault(identity, SeenFace()).see(points, frame.image)
                    complete = crowd.push(frame.image, meshes)
                yield last
                last = complete
            with self._clock.stage("mouth"):
                last = [*last, *crowd.end()]
            yield last
        finally:
            pictures.close()

    def _noted(self, looks: list[Look]) -> Iterator[Look]:
        for look in looks:
            if look.face is not None and look.mouth is not None:
                self._read_by[look.face] += 1
            yield look

    def _about_faces(self) -> list[str]:
        """At the end: what to say about several faces. Raises: NoFaceError."""
        count = len(self.ordered)
        if isinstance(self._speaker, int) and self._speaker >= count:
            raise NoFaceError(
                f"{self._name}: there is no face {self._speaker}: {count} seen, numbered 0 to {count - 1} from left to "
                "right" if count else
                f"{self._name}: no face was found, so there is no face {self._speaker} to read"
            )
        if not self.together or self._speaker == "all":
            return []
        several = sum(self._read_by[identity] > 0 for identity in self.ordered) > 1
        by = "went with the sound" if self._turns.heard else "moved most"
        read = f"was read most, each while its lips {by}" if several else "was read"
        return [
            f"{count} faces were seen; number {self.chosen} from the left (counted from 0) {read}. "
            "Choose another with the speaker option."
        ]


def watch_mouth(
    path: PathLike,
    *,
    speaker: str | int = "auto",
    max_faces: int = 4,
    agreement: Agreement | None = None,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> Watched:
    """Video file -> the whole mouth track of the speaker, to be looked at. Arguments as `LipReader.transcribe`.

    Memory grows by 9 kB for each frame; `LipReader.transcribe` needs no such track.

    Raises: as `Watch`. ConfigError: the mouth of "all" is none.
    """
    if speaker == "all":
        raise ConfigError("speaker 'all' has more than one mouth; choose auto, largest, or a number from 0")
    watch = Watch(path, speaker=speaker, max_faces=max_faces, agreement=agreement, clock=clock, progress=progress)
    track = MouthTrack.of([look.mouth for look in watch])
    if not watch.together:
        return Watched(track, min(1, len(watch.ordered)), watch.warnings)
    portraits = tuple(watch.portraits)
    several = portraits if len(portraits) == len(watch.ordered) else ()
    return Watched(track, len(watch.ordered), watch.warnings, several, watch.chosen)


