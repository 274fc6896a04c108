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
from types import TracebackType
from typing import Any

import numpy as np

from lipread.errors import ConfigError, missing_libraries_named
from lipread.values import FRAME_RATE_HZ, Array

MESH_POINTS = 478
MAX_FACES = 4

# A face is the same person if its mesh moved by less than this share of its width since it was last seen.
SAME_FACE_WIDTHS = 0.6
SAME_FACE_SIZE_RATIO = 1.6


class FaceMesh:
    """MediaPipe's face mesh over a stream of pictures.

    Args:
        max_faces: how many faces to look for in each picture.
        min_confidence: detection and tracking threshold, 0..1.
    Raises: MissingDependencyError: mediapipe or a system library it needs is absent. ConfigError: max_faces < 1.
    """

    def __init__(self, max_faces: int = MAX_FACES, *, min_confidence: float = 0.5) -> None:
        if max_faces < 1:
            raise ConfigError(f"max_faces={max_faces} finds nobody; use 1 or more")
        with _native_logs_hidden():
            self._mesh = _face_mesh_class()(
                static_image_mode=False,
                max_num_faces=max_faces,
                refine_landmarks=True,
                min_detection_confidence=min_confidence,
                min_tracking_confidence=min_confidence,
            )
            self._mesh.process(np.zeros((64, 64, 3), np.uint8))  # waits for the native threads, which log as they start
        self._settled = False  # the native part logs at its first picture and at its first face, then never again

    def detect(self, image: Array) -> Array:
        """Find the faces of one picture.

        Args:
            image: RGB uint8 in 0..255, shape (H, W, 3).
        Returns: mesh points in pixels (x right, y down), float32, shape (F, 478, 2); F may be 0.
        """
        height, width = image.shape[:2]
        if not image.size:  # would break the native graph for good
            return np.zeros((0, MESH_POINTS, 2), np.float32)
        with contextlib.nullcontext() if self._settled else _native_logs_hidden():
            found = self._mesh.process(np.ascontiguousarray(image)).multi_face_landmarks
        if not found:
            return np.zeros((0, MESH_POINTS, 2), np.float32)
        self._settled = True
        points = np.array([[(p.x, p.y) for p in face.landmark] for face in found], np.float32)
        return points * np.array([width, height], np.float32)  # (F, 478, 2)

    def close(self) -> None:
        """Free the native resources; closing again does nothing."""
        mesh, self._mesh = self._mesh, None
        if mesh is not None:
            mesh.close()

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


class FaceTracker:
    """Gives every face an identity that it keeps from picture to picture.

    A face belongs to the track whose last mesh is nearest, within `SAME_FACE_WIDTHS` of its width and
    `SAME_FACE_SIZE_RATIO` of its size; a person who comes back to the same place keeps the identity.
    """

    def __init__(self) -> None:
        self._tracks: list[_Track] = []
        self._frame = -1

    def update(self, meshes: Array) -> dict[int, Array]:
        """Take the faces of the next picture.

        Args:
            meshes: mesh points in pixels, shape (F, 478, 2).
        Returns: identity -> mesh (478, 2) of every face in this picture.
        """
        self._frame += 1
        pairs = sorted(
            (distance, t, f)
            for t, track in enumerate(self._tracks)
            for f, mesh in enumerate(meshes)
            if (distance := self._distance(track, mesh)) is not None
        )
        found: dict[int, Array] = {}
        taken_tracks: set[int] = set()
        taken_faces: set[int] = set()
        for _, t, f in pairs:
            if t not in taken_tracks and f not in taken_faces and not _is_double(meshes[f], found):
                taken_tracks.add(t)
                taken_faces.add(f)
                self._tracks[t].mesh, self._tracks[t].seen_at = meshes[f], self._frame
                found[self._tracks[t].identity] = meshes[f]
        for f, mesh in enumerate(meshes):
            if f not in taken_faces and not _is_double(mesh, found):
                track = _Track(len(self._tracks), mesh, self._frame)
                self._tracks.append(track)
                found[track.identity] = mesh
        return found

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


def _face_mesh_class() -> Any:
    os.environ.setdefault("GLOG_minloglevel", "3")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with missing_libraries_named("pip install 'mediapipe>=0.10.21,<0.10.30'"):  # later ones lack these models
        from mediapipe.python.solutions.face_mesh import FaceMesh as MediaPipeFaceMesh
    return MediaPipeFaceMesh


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
