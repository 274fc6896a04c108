"""Face mesh on black, tiny, odd and real pictures; identities against hand-made films of synthetic faces."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipread.errors import ConfigError, MissingDependencyError
from lipread.landmarks import MAX_TRACKS, MESH_POINTS, SEARCH_FRAMES, FaceMesh, FaceTracker
from media import frames_of

Array = npt.NDArray[Any]

CLIPS = ("s1_bbaf2n", "s3_bbaf1s")  # a man at the left half of the picture, another at the right


def face(x: float, y: float = 100.0, width: float = 100.0) -> Array:
    """A mesh of the face's shape, centred at (x, y) and `width` wide."""
    mesh = np.random.default_rng(0).uniform(-0.5, 0.5, (MESH_POINTS, 2)).astype(np.float32)
    mesh -= mesh.mean(axis=0)
    return mesh / np.ptp(mesh[:, 0]) * width + np.float32([x, y])


def film(*pictures: list[Array]) -> list[dict[int, Array]]:
    """Identities that the tracker gives the faces of each picture."""
    tracker = FaceTracker()
    empty = np.zeros((0, MESH_POINTS, 2), np.float32)
    return [tracker.update(np.stack(faces) if faces else empty) for faces in pictures]


# --- identities ---


def test_order_in_the_mesh_output_does_not_matter():
    a, b = face(100), face(400)
    found = film([a, b], [b, a], [b, a], [a, b])
    for picture in found:
        np.testing.assert_array_equal(picture[0], a)
        np.testing.assert_array_equal(picture[1], b)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_identities_hold_while_faces_sway_shuffle_and_vanish(seed: int):
    """Four people two face widths apart, each in a random walk of at most a third of a width around the seat."""
    rng = np.random.default_rng(seed)
    seats = np.array([100.0, 320.0, 540.0, 760.0])
    tracker = FaceTracker()
    first = tracker.update(np.stack([face(seat) for seat in seats]))
    person = {identity: int(np.argmin(np.abs(seats - mesh[:, 0].mean()))) for identity, mesh in first.items()}
    assert sorted(person.values()) == [0, 1, 2, 3]
    for _ in range(30):
        there = [p for p in range(4) if rng.random() < 0.7]
        rng.shuffle(there)
        at = {p: seats[p] + rng.uniform(-25, 25) for p in there}
        meshes = [face(at[p], 100 + rng.uniform(-25, 25), rng.uniform(90, 110)) for p in there]
        found = film_step(tracker, meshes)
        assert sorted(person[identity] for identity in found) == sorted(there)
        for identity, mesh in found.items():
            assert mesh[:, 0].mean() == pytest.approx(at[person[identity]], abs=0.1)


def film_step(tracker: FaceTracker, meshes: list[Array]) -> dict[int, Array]:
    return tracker.update(np.stack(meshes) if meshes else np.zeros((0, MESH_POINTS, 2), np.float32))


def test_who_comes_back_to_the_same_place_keeps_the_identity():
    a, b = face(100), face(400)
    found = film([a, b], *[[b]] * 40, [b, a], [a])
    assert [sorted(picture) for picture in found] == [[0, 1], *[[1]] * 40, [0, 1], [0]]


def test_a_cut_to_another_place_or_size_is_another_person():
    found = film([face(100)], [face(400)], [face(400, width=170)], [face(100)])
    assert [list(picture) for picture in found] == [[0], [1], [2], [0]]


def test_one_face_walks_across_the_picture():
    found = film(*[[face(100 + 20 * k, width=100 + k)] for k in range(60)])
    assert all(list(picture) == [0] for picture in found)


def test_the_nearest_face_wins_not_the_first_listed():
    """Both are near enough to be person 0: the one that hardly moved is."""
    moved, still = face(145), face(102)
    found = film([face(100)], [moved, still])
    np.testing.assert_array_equal(found[1][0], still)
    np.testing.assert_array_equal(found[1][1], moved)


def test_a_face_reported_twice_is_one_person():
    assert [list(picture) for picture in film([face(100), face(103)], [face(104), face(100)])] == [[0], [0]]


def test_a_double_does_not_wake_someone_who_stood_there_before():
    """Person 0 left; person 1, a little further to the right, is reported twice, within reach of both places."""
    found = film([face(100)], [face(170)], [face(150), face(152)], [face(152)])
    assert [list(picture) for picture in found] == [[0], [1], [1], [1]]


def test_nobody_is_nobody():
    assert [list(picture) for picture in film([], [face(100)], [])] == [[], [0], []]


def scene(*people: tuple[int, tuple[int, int, int]], wall: int = 90) -> tuple[Array, Array]:
    """A picture of people, each at some x and in a shirt of some colour, and their meshes."""
    image = np.full((300, 800, 3), wall, np.uint8)
    for x, shirt in people:
        image[30:150, x - 50 : x + 50] = (200, 150, 120)
        image[150:, x - 70 : x + 70] = shirt
    return np.stack([face(x) for x, _ in people]), image


RED, GREEN = (180, 20, 20), (20, 120, 20)


def identities(*scenes: tuple[Array, Array]) -> list[list[int]]:
    """Identities from left to right in each picture."""
    tracker = FaceTracker()
    found = [tracker.update(*each) for each in scenes]
    return [sorted(faces, key=lambda identity: faces[identity][:, 0].mean()) for faces in found]


def test_people_are_known_again_after_a_cut():
    two, swapped = scene((100, RED), (400, GREEN)), scene((100, GREEN), (600, RED), wall=200)
    assert identities(*[two] * 15, *[swapped] * 3, scene((400, GREEN)), *[two] * 2) == [
        *[[0, 1]] * 15, *[[1, 0]] * 3, [1], *[[0, 1]] * 2
    ]


def test_after_a_cut_someone_else_in_the_same_place_is_someone_else():
    assert identities(scene((100, RED)), scene((100, GREEN), wall=200)) == [[0], [1]]


def test_who_comes_out_from_behind_another_elsewhere_is_known_again():
    before, hidden, after = scene((100, RED), (400, GREEN)), scene((100, RED)), scene((100, RED), (650, GREEN))
    assert identities(*[before] * 13, *[hidden] * 10, after) == [*[[0, 1]] * 13, *[[0]] * 10, [0, 1]]


def test_tracks_do_not_pile_up():
    tracker = FaceTracker()
    for number in range(3 * MAX_TRACKS):
        tracker.update(face(1000.0 * number)[None])
    assert len(tracker._tracks) == MAX_TRACKS
    assert list(tracker.update(face(0.0)[None])) == [3 * MAX_TRACKS]


def test_tracks_do_not_pile_up_where_many_come_at_once():
    tracker = FaceTracker()
    for number in range(MAX_TRACKS):
        tracker.update(np.stack([face(1000.0 * (5 * number + each)) for each in range(5)]))
    assert len(tracker._tracks) == MAX_TRACKS


def test_nobody_in_the_picture_is_forgotten_however_many_they_are():
    tracker = FaceTracker()
    crowd = np.stack([face(1000.0 * number) for number in range(MAX_TRACKS + 20)])
    for _ in range(3):
        assert list(tracker.update(crowd)) == list(range(MAX_TRACKS + 20))
    assert list(tracker.update(crowd[:1])) == [0] and len(tracker._tracks) == MAX_TRACKS


# --- the face mesh itself ---


@pytest.fixture(scope="module")
def picture(grid_dir: Path) -> Array:
    """A frame of a real face."""
    return frames_of(grid_dir, CLIPS[0])[0]


def test_black_and_odd_pictures_have_no_face_and_do_no_harm():
    shapes = [(288, 360), (1, 1), (2, 2), (10, 10000), (10000, 10), (1, 300), (7, 3), (0, 5), (5, 0), (64, 64)]
    with FaceMesh(2) as mesh:
        for shape in shapes:
            found = mesh.detect(np.zeros((*shape, 3), np.uint8))
            assert (found.shape, found.dtype) == ((0, MESH_POINTS, 2), np.float32), shape


def test_noise_has_no_face():
    with FaceMesh(1) as mesh:
        assert mesh.detect(np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)).shape[0] == 0


def test_a_real_face_is_upright_and_inside_the_picture(picture: Array):
    with FaceMesh() as mesh:
        found = mesh.detect(picture)
    assert (found.shape, found.dtype) == ((1, MESH_POINTS, 2), np.float32)
    points = found[0]
    assert points.min() >= 0 and (points.max(axis=0) <= (picture.shape[1], picture.shape[0])).all()
    right_eye, left_eye, nose, mouth, chin = points[[133, 362, 2, 13, 152]]
    assert right_eye[0] < nose[0] < left_eye[0]  # the person's right is the picture's left
    assert right_eye[1] < nose[1] < mouth[1] < chin[1]


def test_odd_pictures_between_do_not_disturb(picture: Array):
    with FaceMesh(1) as mesh:
        mesh.detect(picture)
        for odd in (picture[:1, :1], picture[:0], np.zeros((3000, 10, 3), np.uint8), picture[:, :1]):
            assert len(mesh.detect(odd)) == 0
            assert len(mesh.detect(picture)) == 1


def test_pixels_follow_the_size_of_the_picture(picture: Array):
    large = cv2.resize(picture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    with FaceMesh(1) as small_mesh, FaceMesh(1) as large_mesh:
        points, tripled = small_mesh.detect(picture)[0], large_mesh.detect(large)[0]
    assert np.abs(tripled / 3 - points).mean() < 0.5


def test_a_view_of_another_picture_will_do(picture: Array):
    with FaceMesh(1) as one, FaceMesh(1) as other:
        np.testing.assert_array_equal(one.detect(picture[:, ::-1]), other.detect(picture[:, ::-1].copy()))


def test_looking_for_more_faces_does_not_move_the_points_of_one(grid_dir: Path):
    """Training data is prepared with one face, videos are read with several."""
    images = frames_of(grid_dir, CLIPS[0])[:30]
    with FaceMesh(1) as one, FaceMesh(4) as four:
        for image in images:
            np.testing.assert_allclose(four.detect(image), one.detect(image), atol=1e-3)


def test_only_what_is_followed_is_looked_for(picture: Array):
    """With one face in the picture the detector runs twice a second, not for every picture."""
    noise = np.random.default_rng(0)
    with FaceMesh(4) as mesh:
        searched: list[int] = []
        looked = mesh._detected
        mesh._detected = lambda image: searched.append(0) or looked(image)  # type: ignore[method-assign]
        for _ in range(26):
            assert len(mesh.detect(noise.integers(0, 3, picture.shape, np.uint8) + picture // 2 * 2)) == 1
        assert len(searched) == 3


def test_a_face_in_unchanged_surroundings_keeps_its_mesh(picture: Array):
    with FaceMesh() as mesh:
        first = mesh.detect(picture)
        changed = picture.copy()
        changed[:20] = 0  # far from the face
        assert mesh.detect(picture) is first
        assert mesh.detect(changed) is first
        moved = np.roll(picture, 5, axis=1)
        assert np.abs(mesh.detect(moved)[0] - first[0]).mean() > 2


# --- two people in one picture ---


@pytest.fixture(scope="module")
def pair(grid_dir: Path) -> list[Array]:
    """Two GRID speakers side by side, 720 x 288."""
    left, right = (frames_of(grid_dir, clip) for clip in CLIPS)
    return [np.concatenate([a, b], axis=1) for a, b in zip(left, right, strict=True)]


def follow(images: list[Array]) -> list[dict[int, float]]:
    """Identity -> horizontal middle of the face in pixels, for every picture."""
    tracker = FaceTracker()
    with FaceMesh() as mesh:
        found = [tracker.update(mesh.detect(image)) for image in images]
    return [{identity: float(points[:, 0].mean()) for identity, points in faces.items()} for faces in found]


def test_two_people_keep_their_identities(pair: list[Array]):
    places = follow(pair)
    assert all(sorted(faces) == [0, 1] for faces in places)
    for identity in (0, 1):
        assert np.ptp([faces[identity] for faces in places]) < 40
    assert abs(places[0][0] - places[0][1]) > 200


def test_one_of_two_is_hidden_for_a_while(pair: list[Array]):
    images = [image.copy() for image in pair[:50]]
    for image in images[15:35]:
        image[:, 360:] = 0
    places = follow(images)
    hidden = max(places[0], key=lambda identity: places[0][identity])
    other = min(places[0], key=lambda identity: places[0][identity])
    assert all(other in faces for faces in places)
    assert all(hidden in faces for faces in places[:15])
    assert all(list(faces) == [other] for faces in places[16:35])
    assert all(sorted(faces) == [0, 1] for faces in places[37:])  # it may take a picture or two to be found again


def test_a_second_face_is_found_within_half_a_second(pair: list[Array]):
    images = [image.copy() for image in pair[:50]]
    for image in images[:20]:
        image[:, 360:] = 0
    places = follow(images)
    assert all(len(faces) == 1 for faces in places[:20])
    assert all(sorted(faces) == [0, 1] for faces in places[20 + SEARCH_FRAMES :])


def test_a_cut_in_a_real_film(pair: list[Array]):
    """First only the left person, then only the right one: two people, each in their own half of the time."""
    images = [image.copy() for image in pair[:40]]
    for image in images[:20]:
        image[:, 360:] = 0
    for image in images[20:]:
        image[:, :360] = 0
    places = follow(images)
    assert {identity for faces in places[:20] for identity in faces} == {0}
    assert {identity for faces in places[24:] for identity in faces} == {1}


@pytest.mark.parametrize("most", [1, 3, 4])
def test_more_faces_than_are_followed_are_noticed(pair: list[Array], most: int):
    """Two people, twice one above the other, and after a second half of them only; with one nothing else is sought."""
    images = [np.concatenate([image, image[:, ::-1]]) for image in pair[:50]]
    for image in images[25:]:
        image[288:] = 0
    with FaceMesh(most) as mesh:
        found = [len(mesh.detect(image)) for image in images]
        assert found[24] == most
        assert found[-1] == min(2, most)
        many = range(25, 25 + SEARCH_FRAMES) if most == 3 else [0]
        assert mesh.crowded_frames in many


# --- surroundings ---


def test_nothing_native_is_written_to_the_terminal(grid_dir: Path):
    program = textwrap.dedent("""
        import sys
        import cv2, numpy as np
        import lipread.landmarks
        assert "mediapipe" not in sys.modules, "mediapipe was imported before it was needed"
        image = cv2.cvtColor(cv2.VideoCapture(sys.argv[1]).read()[1], cv2.COLOR_BGR2RGB)
        with lipread.landmarks.FaceMesh() as mesh:
            mesh.detect(np.zeros((50, 50, 3), np.uint8))
            for _ in range(3):
                assert len(mesh.detect(image)) == 1
        print("own words", file=sys.stderr)
    """)
    clip = grid_dir / "clips" / f"{CLIPS[0]}.mp4"
    done = subprocess.run([sys.executable, "-c", program, str(clip)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "own words\n")


@pytest.mark.parametrize("number", [0, -1])
def test_looking_for_no_face_is_refused(number: int):
    with pytest.raises(ConfigError, match=f"max_faces={number}"):
        FaceMesh(number)


def test_closing_twice_does_nothing():
    mesh = FaceMesh(1)
    mesh.close()
    mesh.close()


def test_absent_mediapipe_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "mediapipe.python.solutions.face_mesh", None)
    with pytest.raises(MissingDependencyError, match="pip install 'mediapipe"):
        FaceMesh()


def test_absent_system_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    class Broken:
        def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
            if name.startswith("mediapipe"):
                raise ImportError("libGL.so.1: cannot open shared object file")

    for name in [name for name in sys.modules if name.split(".")[0] == "mediapipe"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(MissingDependencyError, match=r"libGL\.so\.1.*apt-get install"):
        FaceMesh()
