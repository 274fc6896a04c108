"""Values of a wrong kind, and files that go when those who have them have gone."""

from __future__ import annotations

import math
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import media
from lipread.web.visitors import Belongings, check_count, check_uploads, check_value, files_in, is_number, lies_in

gr = pytest.importorskip("gradio", reason="the app's packages are absent: pip install 'lipread[app]'")

FILE = {"path": "x.mp4", "meta": {"_type": "gradio.FileData"}}


@pytest.mark.parametrize(
    ("make", "good", "bad"),
    [
        (lambda: gr.Number(label="Start"), [None, 0, 1.5, -1], ["abc", "1.5", [1], True, {}, math.nan, math.inf]),
        (lambda: gr.Number(label="Start", minimum=0), [None, 0, 1e9], [-0.1, "1"]),
        (lambda: gr.Slider(1, 9, step=1, label="Start"), [1, 2.0, 9], [None, 2.5, "2", [], False, 0, 10]),
        (lambda: gr.Slider(0, 1, step=0.1, label="Start"), [0.5], [None, "many"]),
        (lambda: gr.Checkbox(label="Start"), [True, False, None], ["yes", 1, {}]),
        (lambda: gr.Textbox(label="Start"), ["x", "", None, 2], [{}, ["x"]]),
        (lambda: gr.Dropdown(["a", "b"], label="Start"), ["a", None], ["c", 5, ["a"], {}]),
        (lambda: gr.Dropdown(["a"], label="Start", allow_custom_value=True), ["a", "0.3", 0.3], [["a"], {}]),
        (lambda: gr.Radio([("A", "a"), "b"], label="Start"), ["a", "b", None], ["A", "c", 5, ["a"], {}]),
        (lambda: gr.Video(label="Start"), [None, FILE], ["x.mp4", 5, {"path": "x"}, {**FILE, "path": 5}, [FILE]]),
        (lambda: gr.File(label="Start", file_count="multiple"), [None, [], [FILE]], [FILE, "x.mp4", ["x.mp4"]]),
    ],
)
def test_fields_take_their_kind_alone(make: Any, good: list[Any], bad: list[Any]) -> None:
    component = make()
    for value in good:
        check_value(component, value)
    for value in bad:
        with pytest.raises(gr.Error, match=r"Start: .* is not (a|an|one|text|true)\b"):
            check_value(component, value)


def test_long_values_are_cut_short() -> None:
    with pytest.raises(gr.Error) as error:
        check_value(gr.Number(label="Start"), "x" * 10_000)
    assert len(str(error.value)) < 200


def test_events_take_so_many_values_and_no_others() -> None:
    def read(video: str, start: float, progress: Any = None) -> None:
        """An event's function."""

    event = SimpleNamespace(fn=read, inputs=["video", "start"], api_name="transcribe")
    check_count(event, [None, 1])
    for values, given in (([], "0 were"), ([None], "1 was"), ([None, 1, 2], "3 were")):
        with pytest.raises(gr.Error, match=rf"^'transcribe takes 2 values \(video, start\), {given} given'$"):
            check_count(event, values)
    with pytest.raises(gr.Error, match="transcribe takes no values, 1 was given"):
        check_count(SimpleNamespace(fn=read, inputs=[], api_name="transcribe"), [1])
    with pytest.raises(gr.Error, match="does nothing on the server"):
        check_count(SimpleNamespace(fn=None, inputs=[], api_name=None), [])


def test_numbers_of_json() -> None:
    assert is_number(2) and is_number(2.0, whole=True) and not is_number(True) and not is_number("2")
    assert not is_number(2.5, whole=True) and not is_number(math.inf, whole=True)


def test_files_are_found_however_deep() -> None:
    update = {"value": {"video": {"path": "/a"}}, "__type__": "update"}
    assert list(files_in([1, None, update, [{"image": {"path": "/b"}, "caption": None}]])) == ["/a", "/b"]


def test_only_uploads_are_files_of_an_event(tmp_path: Path) -> None:
    cache, outside = tmp_path / "cache", tmp_path / "outside.mp4"
    upload = media.touch(cache / "hash" / "talk.mp4")
    (cache / "link.mp4").symlink_to(media.touch(outside))
    (tmp_path / "alias").symlink_to(cache)
    for path in (upload, tmp_path / "alias" / "hash" / "talk.mp4", cache / "hash" / "swept.mp4"):
        check_uploads([None, 5, [{"path": str(path)}]], cache)
        check_uploads([{"path": str(path)}], tmp_path / "alias")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for bad in (outside, cache, cache / "link.mp4", cache / ".." / "outside.mp4", "/dev/zero", "talk.mp4", "http://x/y"):
        with pytest.raises(gr.Error, match="this file is not here .any more.: choose it again"):
            check_uploads([{"path": str(upload)}, [{"video": {"path": str(bad)}}]], cache)
    assert not lies_in(f"{cache}/x\0", cache) and not lies_in(str(tmp_path / "loop" / "x"), cache)


def gone(path: Path, within_s: float = 10) -> bool:
    """Whether a file goes in time, with its folder."""
    end = time.monotonic() + within_s
    while path.parent.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return not path.parent.exists()


def test_files_go_with_the_last_who_has_them(tmp_path: Path) -> None:
    files = [media.touch(tmp_path / "cache" / name / "x.mp4") for name in ("anns", "both", "example", "nobodys")]
    anns, both, example, nobodys = files
    outside = media.touch(tmp_path / "outside" / "x.mp4")
    have = Belongings(tmp_path / "cache", left_s=0.1, shared=[str(example)])
    have.note("ann", [{"path": str(path)} for path in (anns, both, example, outside)], here=True)
    have.note("bob", {"path": str(both)})
    have.leave("ann")
    assert gone(anns)
    assert all(path.exists() for path in (both, example, nobodys, outside))
    have.leave("bob")
    assert gone(both)
    assert all(path.exists() for path in (example, nobodys, outside))


def test_who_comes_back_keeps_the_files(tmp_path: Path) -> None:
    anns, bobs = (media.touch(tmp_path / name / "x.mp4") for name in ("ann", "bob"))
    have = Belongings(tmp_path, left_s=0.4)
    for name, path in (("ann", anns), ("bob", bobs)):
        have.note(name, {"path": str(path)}, here=True)
        have.leave(name)
    have.note("ann", [], here=True)
    have.note("bob", [])  # what was under way still ends
    assert gone(bobs)
    time.sleep(0.5)
    assert anns.exists()
    have.leave("ann")
    assert gone(anns)
