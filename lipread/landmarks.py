"""Frames -> face meshes -> tracks with identities.

Shapes: H x W pixels, F faces, N = 478 mesh points.
Source: MediaPipe face mesh (Kartynnik et al. 2019, arXiv:1907.06724; attention mesh, Grishchenko et al. 2020,
arXiv:2006.10962). MediaPipe stays behind `FaceMesh`, so that another detector can take its place.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Any

import numpy as np

from lipread.appearance import SAME_LOOKS, appearance, is_cut, likeness, thumbnail
from lipread.errors import ConfigError, missing_libraries_named
from lipread.speaking import MAX_FACES
from lipread.values import FRAME_RATE_HZ, Array

MESH_POINTS = 478

SEARCH_FRAMES = FRAME_RATE_HZ // 2  # new faces are looked for so often
FEWER_SEARCHES = 4  # so many without a face, and its place is given up
MARGIN = 0.3  # of a face's size, looked at around it

LOOK_FRAMES = FRAME_RATE_HZ // 2  # what people look like is noted so often
NEW_LOOKS = 0.2  # weight of what they look like now
MAX_TRACKS = 64  # of those who are gone, the ones gone longest are forgotten; fewer than `speaking.LATEST_FACES`

# A face is the same person if its mesh moved by less than this share of its width since it was last seen.
SAME_FACE_WIDTHS = 0.6
SAME_FACE_SIZE_RATIO = 1.6


class FaceMesh:
    """MediaPipe's face mesh over a stream of pictures.

    MediaPipe follows a face that it knows, and runs a detector over the picture as long as it knows of fewer faces than
    it was asked for. So it is asked for as many as there are, and new ones are looked for every half second, and at
    once when a face is lost. Where no face's surroundings changed at all, the last meshes still hold.

    Args:
        max_faces: how many faces to look for in each picture.
        min_confidence: detection and tracking threshold, 0..1.
    Attributes:
        crowded_frames: in so many pictures there were more faces than are looked for; not known where that is one.
    Raises: MissingDependencyError: mediapipe or a system library it needs is absent. ConfigError: max_faces < 1.
    """

    def __init__(self, max_faces: int = MAX_FACES, *, min_confidence: float = 0.5) -> None:
        if max_faces < 1:
            raise ConfigError(f"max_faces={max_faces} finds nobody; use 1 or more")
        self._max_faces, self._confidence = max_faces, min_confidence
        with _native_logs_hidden():
            self._mesh = self._follower(1)
            self._detector = None if max_faces == 1 else _mediapipe().FaceDetection(min_confidence)
            if self._detector is not None:
                self._detector.process(np.zeros((64, 64, 3), np.uint8))  # as in `_follower`
        self._settled = False  # the native part logs at its first picture and at its first face, then never again
        self._places = 1  # faces that are followed, at most
        self._most = 0  # of the faces found since places were last given up
        self._frame = 0
        self.crowded_frames = 0
        self._crowded = False  # when faces were last searched for
        self._last = np.zeros((0, 0, 3), np.uint8)  # picture, and what was found in it
        self._found = np.zeros((0, MESH_POINTS, 2), np.float32)

    def detect(self, image: Array) -> Array:
        """Find the faces of one picture.

        Args:
            image: RGB uint8 in 0..255, shape (H, W, 3); compared with the next one, so it may not be drawn into.
        Returns: mesh points in pixels (x right, y down), float32, shape (F, 478, 2); F may be 0.
        """
        if not image.size:  # would break the native graph for good
            return np.zeros((0, MESH_POINTS, 2), np.float32)
        search = self._frame % SEARCH_FRAMES == 0
        self._frame += 1
        if image is not self._last and (search or not _unchanged(image, self._last, self._found)):
            self._update(image, search=search)
        self.crowded_frames += self._crowded
        return self._found

    def _update(self, image: Array, *, search: bool) -> None:
        image = np.ascontiguousarray(image)
        with contextlib.nullcontext() if self._settled else _native_logs_hidden():
            found = self._follow(image)
            if len(found) < len(self._found):  # where it was lost it is not looked for until asked again
                found = self._follow(image)
            if search or len(found) != len(self._found):
                found = self._search(image, found)
        self._last, self._found = image, found
        self._settled = self._settled or len(found) > 0

    def close(self) -> None:
        """Free the native resources; closing again does nothing."""
        for part in (self._mesh, self._detector):
            if part is not None:
                part.close()
        self._mesh = self._detector = None

    def _follower(self, faces: int) -> Any:
        mesh = _mediapipe().FaceMesh(
            static_image_mode=False,
            max_num_faces=faces,
            refine_landmarks=True,
            min_detection_confidence=self._confidence,
            min_tracking_confidence=self._confidence,
        )
        mesh.process(np.zeros((64, 64, 3), np.uint8))  # waits for the native threads, which log as they start
        return mesh

    def _follow(self, image: Array) -> Array:
        height, width = image.shape[:2]
        found = self._mesh.process(image).multi_face_landmarks
        if not found:
            return np.zeros((0, MESH_POINTS, 2), np.float32)
        points = np.array([[(p.x, p.y) for p in face.landmark] for face in found], np.float32)
        return points * np.array([width, height], np.float32)  # (F, 478, 2)

    def _search(self, image: Array, found: Array) -> Array:
        """Give every face that is not followed a place, and give up places that have long been empty."""
        self._most = max(self._most, len(found))
        wanted = self._places
        if self._detector is not None:  # where nobody else could be followed, it tells whether anybody is there
            there = len(found) + sum(not _inside(middle, found) for middle in self._detected(image))
            self._crowded = there > self._max_faces
            wanted = max(wanted, min(self._max_faces, there))
        if wanted == self._places and self._frame % (FEWER_SEARCHES * SEARCH_FRAMES) == 1:
            wanted, self._most = max(1, self._most), len(found)
        if wanted == self._places:
            return found
        self._mesh.close()
        with _native_logs_hidden():
            self._mesh, self._places = self._follower(wanted), wanted
            found = self._follow(image)
        self._most = max(self._most, len(found))
        return found

    def _detected(self, image: Array) -> Array:
        """Middles of the faces that the detector sees, pixels, (F, 2)."""
        assert self._detector is not None
        found = self._detector.process(image).detections or ()
        boxes = [each.location_data.relative_bounding_box for each in found]
        middles = np.array([(box.xmin + box.width / 2, box.ymin + box.height / 2) for box in boxes]).reshape(-1, 2)
        return np.asarray(middles * np.array(image.shape[1::-1]))

    def __enter__(self) -> FaceMesh:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class _Track:
    identity: int
    mesh: Array
    seen_at: int
    looks: Array | None = None


class FaceTracker:
    """Gives every face an identity that it keeps from picture to picture.

    A face belongs to the track whose last mesh is nearest, within `SAME_FACE_WIDTHS` of its width and
    `SAME_FACE_SIZE_RATIO` of its size; a person who comes back to the same place keeps the identity. A face that
    appears anywhere else, or after a cut, belongs to the track that it looks like, if to any.
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._frame = -1
        self._known = 0  # identities that were given
        self._thumbnail: Array | None = None

    def update(self, meshes: Array, image: Array | None = None) -> dict[int, Array]:
        """Take the faces of the next picture.

        Args:
            meshes: mesh points in pixels, shape (F, 478, 2).
            image: the picture, RGB uint8, shape (H, W, 3); without it nobody is known again by looks.
        Returns: identity -> mesh (478, 2) of every face in this picture.
        """
        self._frame += 1
        cut = image is not None and self._is_cut(image)
        pairs = [] if cut else sorted(
            (distance, t, f)
            for t, track in enumerate(self._tracks)
            for f, mesh in enumerate(meshes)
            if (distance := self._distance(track, mesh)) is not None
        )
        found: dict[int, Array] = {}
        taken = self._take(pairs, meshes, found)
        others = [f for f in range(len(meshes)) if f not in taken and not _is_double(meshes[f], found)]
        looks = {} if image is None else {f: appearance(image, meshes[f]) for f in others}
        alike = sorted(
            (-share, t, f)
            for t, track in enumerate(self._tracks)
            for f, own in looks.items()
            if track.looks is not None and (share := likeness(track.looks, own)) >= SAME_LOOKS
        )
        taken |= self._take(alike, meshes, found)
        for f in others:
            if f not in taken and not _is_double(meshes[f], found):
                self._tracks.append(_Track(self._known, meshes[f], self._frame, looks.get(f)))
                found[self._known] = meshes[f]
                self._known += 1
        if image is not None and self._frame % LOOK_FRAMES == 0:
            self._note_looks(image)
        self._forget()
        return found

    def _forget(self) -> None:
        while len(self._tracks) > MAX_TRACKS:
            oldest = min(self._tracks, key=lambda track: track.seen_at)
            if oldest.seen_at == self._frame:  # all of them are in the picture
                return
            self._tracks.remove(oldest)

    def _take(self, pairs: list[tuple[float, int, int]], meshes: Array, found: dict[int, Array]) -> set[int]:
        """Give faces to tracks that have none yet, best pair (.., track, face) first -> the faces that were given."""
        taken: set[int] = set()
        for _, t, f in pairs:
            track = self._tracks[t]
            if track.identity not in found and f not in taken and not _is_double(meshes[f], found):
                taken.add(f)
                track.mesh, track.seen_at = meshes[f], self._frame
                found[track.identity] = meshes[f]
        return taken

    def _is_cut(self, image: Array) -> bool:
        before, self._thumbnail = self._thumbnail, thumbnail(image)
        return before is not None and is_cut(before, self._thumbnail)

    def _note_looks(self, image: Array) -> None:
        for track in self._tracks:
            if track.seen_at == self._frame:
                now = appearance(image, track.mesh)
                track.looks = now if track.looks is None else (1 - NEW_LOOKS) * track.looks + NEW_LOOKS * now

    def _distance(self, track: _Track, mesh: Array) -> float | None:
        """Distance in face widths, plus a little for the time out of sight; None if it cannot be the same face."""
        old_width, new_width = _width(track.mesh), _width(mesh)
        ratio = max(old_width, new_width) / max(1e-6, min(old_width, new_width))
        distance = float(np.abs(_centre(mesh) - _centre(track.mesh)).max()) / max(1e-6, old_width)
        if distance > SAME_FACE_WIDTHS or ratio > SAME_FACE_SIZE_RATIO:
            return None
        return distance + 0.1 * (self._frame - 1 - track.seen_at) / FRAME_RATE_HZ


def _centre(mesh: Array) -> Array:
    return np.asarray(mesh.mean(axis=0))


def _width(mesh: Array) -> float:
    return float(mesh[:, 0].max() - mesh[:, 0].min())


def _is_double(mesh: Array, found: dict[int, Array]) -> bool:
    """MediaPipe now and then reports one face twice."""
    return any(float(np.abs(_centre(mesh) - _centre(other)).max()) < 0.3 * _width(other) for other in found.values())


def _inside(middle: Array, meshes: Array) -> bool:
    """Whether a point (2,) lies in the box around one of the meshes (F, 478, 2)."""
    return any((mesh.min(axis=0) <= middle).all() and (middle <= mesh.max(axis=0)).all() for mesh in meshes)


def _unchanged(image: Array, last: Array, meshes: Array) -> bool:
    """Whether the picture around each mesh (F, 478, 2), of which there are some, is exactly what it was."""
    if image.shape != last.shape or not len(meshes):
        return False
    for mesh in meshes:
        low, high = mesh.min(axis=0), mesh.max(axis=0)
        margin = MARGIN * (high - low)
        (left, top), (right, bottom) = np.maximum(0, low - margin).astype(int), (high + margin).astype(int)
        now, then = image[top:bottom, left:right], last[top:bottom, left:right]
        if not np.array_equal(now[::16], then[::16]) or not np.array_equal(now, then):  # a few rows mostly suffice
            return False
    return True


def _mediapipe() -> SimpleNamespace:
    """MediaPipe's FaceMesh and FaceDetection."""
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with missing_libraries_named("pip install 'mediapipe>=0.10.21,<0.10.30'"):  # later ones lack these models
        from mediapipe.python.solutions.face_detection import FaceDetection
        from mediapipe.python.solutions.face_mesh import FaceMesh as MediaPipeFaceMesh
    return SimpleNamespace(FaceMesh=MediaPipeFaceMesh, FaceDetection=FaceDetection)


@contextlib.contextmanager
def _native_logs_hidden() -> Iterator[None]:
    """Keep the native libraries' start-up lines off the terminal (they write to file descriptor 2 directly)."""
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, ValueError, AttributeError):
        yield
        return
    try:
        with open(os.devnull, "wb") as sink:
            os.dup2(sink.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
