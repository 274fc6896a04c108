"""The first half of the way: a video file -> the mouths of whoever is read, frame by frame.

Decoding works in one thread, landmarks and crops in another, and what comes after in the one that asks.

Shapes: T frames at 25 Hz.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lipread.ahead import ahead
from lipread.errors import ConfigError, NoFaceError, missing_libraries_named
from lipread.files import PathLike
from lipread.speaking import MAX_FACES, SeenFace, forget_faces, left_to_right, see_face
from lipread.turns import Agreement, Look, Turns
from lipread.values import FRAME_RATE_HZ, Array, Frame, MouthTrack

if TYPE_CHECKING:
    from lipread.crowd import Mouths
    from lipread.landmarks import FaceMesh
    from lipread.video import VideoStream

PICTURES_AHEAD = 8  # decoded, at most, before the landmarks of the first are found
SIGHTS_AHEAD = 2 * FRAME_RATE_HZ  # frames whose mouths are found, at most, before they are read
# More faces than are followed are worth a warning in so large a share of the frames, or in so many.
CROWDED_SHARE, CROWDED_FRAMES = 0.25, 10 * FRAME_RATE_HZ

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

    Args: as of `LipReader.transcribe`, and of `Turns`; `portraits`: whether to keep a picture of each face.
    Attributes:
        faces: identity -> what was seen of that face so far, as `Turns.faces`.
        together: whether two of them were seen at once.
        warnings: sentences about the video; complete at its end.
        portraits: a picture of each face that counts, as far as they are kept.
    Raises: VideoError: the file cannot be read as a video. MissingDependencyError: a system library is absent.
        NoFaceError (at the end): there is no face of the number asked for.
    """

    def __init__(
        self,
        path: PathLike,
        *,
        speaker: str | int = "auto",
        max_faces: int = MAX_FACES,
        agreement: Agreement | None = None,
        clock: Clock | None = None,
        progress: Progress | None = None,
        portraits: bool = False,
    ) -> None:
        with missing_libraries_named():
            from lipread.video import read_frames

        self._name, self._speaker, self._max_faces = os.fspath(path), speaker, max_faces
        self._clock, self._progress = clock or Clock(), progress
        self._turns = Turns(speaker, agreement)
        self._portraits: dict[int, SeenFace] | None = {} if portraits else None
        self.warnings: tuple[str, ...] = ()
        with self._clock.stage("video"):
            self._stream: VideoStream = read_frames(path)

    @property
    def faces(self) -> dict[int, SeenFace]:
        """Identity -> what was seen of that face so far, as `Turns.faces`."""
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
        kept = self._portraits or {}
        seen = [kept[identity].portrait for identity in self.ordered if identity in kept]
        return [portrait for portrait in seen if portrait is not None]

    @property
    def chosen(self) -> int:
        """Number of the face that was read most, from the left, from 0."""
        most = max(self.ordered, key=lambda identity: self.faces[identity].read_frames, default=None)
        return 0 if most is None else self.ordered.index(most)

    def __iter__(self) -> Iterator[Look]:
        with missing_libraries_named():
            from lipread.landmarks import FaceMesh

        expected = (self._stream.info.duration_s or 0.0) * FRAME_RATE_HZ
        with self._stream, FaceMesh(max_faces=self._max_faces) as mesh:
            pictures = ahead(self._pictures(), size=PICTURES_AHEAD)
            sights = ahead(self._sights(pictures, mesh), size=SIGHTS_AHEAD)
            frame = 0
            try:
                for frame, complete in enumerate(sights, start=1):
                    for mouths in complete:
                        yield from self._noted(self._turns.push(mouths))
                    if self._progress:  # without a stated length too, so that whoever listens can cancel
                        self._progress("video", min(1.0, frame / expected) if expected else 0.0)
            finally:
                sights.close()
            yield from self._noted(self._turns.end())
            crowded = crowd_warnings(mesh.crowded_frames, frame, self._max_faces)
            self.warnings = (*self._stream.warnings, *self._about_faces(), *crowded)

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
                    if self._portraits is not None:
                        for identity, points in meshes.items():
                            see_face(self._portraits, identity, points, frame.image)
                        forget_faces(self._portraits, meshes)
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
                self.faces[look.face].read_frames += 1
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
        several = sum(self.faces[identity].read_frames > 0 for identity in self.ordered) > 1
        by = "went with the sound" if self._turns.heard else "moved most"
        read = f"was read most, each while its lips {by}" if several else "was read"
        more = "More than " if self._turns.more else ""
        return [
            f"{more}{count} faces were seen; number {self.chosen} from the left (counted from 0) {read}. "
            "Choose another with the speaker option."
        ]


def crowd_warnings(crowded: int, frames: int, max_faces: int) -> list[str]:
    """What to say where more faces were there than are followed in `crowded` of the frames."""
    if not crowded or crowded < min(CROWDED_FRAMES, CROWDED_SHARE * frames):
        return []
    return [
        f"There were more than {max_faces} faces in the picture for {crowded / FRAME_RATE_HZ:.0f} s, and no more than "
        f"{max_faces} are followed; to follow all of them, raise --max-faces."
    ]


def watch_mouth(
    path: PathLike,
    *,
    speaker: str | int = "auto",
    max_faces: int = MAX_FACES,
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
    watch = Watch(
        path, speaker=speaker, max_faces=max_faces, agreement=agreement, clock=clock, progress=progress, portraits=True
    )
    track = MouthTrack.of([look.mouth for look in watch])
    if not watch.together:
        return Watched(track, min(1, len(watch.ordered)), watch.warnings)
    portraits = tuple(watch.portraits)
    several = portraits if len(portraits) == len(watch.ordered) else ()
    return Watched(track, len(watch.ordered), watch.warnings, several, watch.chosen)


