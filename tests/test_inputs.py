"""What a user names -> videos with names: folders, patterns, lists; nothing leads out, nothing meets."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from lipread.errors import ConfigError, DataError
from lipread.inputs import MAX_PART_BYTES, collect, read_list, require_jobs
from lipread.run_record import RECORD_NAME
from test_batch import files


def named(*paths: Path | str, **more: object) -> list[str]:
    jobs, failures = collect(paths, **more)  # type: ignore[arg-type]
    assert failures == []
    return [job.name for job in jobs]


def test_folders_are_searched_in_depth_and_mirrored(tmp_path: Path) -> None:
    files(tmp_path, b_MP4="", a__x_mov="", a__deep__y_webm="", notes_txt="", a__z_captioned_mp4="", a__z_crops_mp4="")
    (tmp_path / ".hidden").mkdir()
    files(tmp_path / ".hidden", c_mp4="")
    jobs, failures = collect([tmp_path])
    assert [job.name for job in jobs] == ["b", "a/x", "a/deep/y"]
    assert jobs[1].source == tmp_path / "a" / "x.mov"
    assert failures == []


def test_a_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    files(tmp_path, talk_bin="", my_talk_mp4="")
    jobs, _ = collect([tmp_path / "talk.bin", str(tmp_path / "my.talk.mp4")])
    assert [job.name for job in jobs] == ["talk", "my.talk"]


def test_names_never_meet(tmp_path: Path) -> None:
    files(tmp_path, a__x_mp4="", a__x_mov="", b__x_mp4="", b__y_mp4="")
    jobs, _ = collect([tmp_path / "a", tmp_path / "b", tmp_path / "b" / "x.mp4"])
    assert [job.name for job in jobs] == ["x.mov", "x.mp4", "x.mp4-2", "y"]  # what is given twice is read once


def test_useless_paths_are_named(tmp_path: Path) -> None:
    files(tmp_path, empty__notes_txt="")
    jobs, failures = collect([tmp_path / "empty", tmp_path / "gone.mp4"])
    assert jobs == []
    assert "empty: the folder holds no video" in failures[0].message
    assert "gone.mp4: there is no such file" in failures[1].message
    with pytest.raises(DataError, match=r"holds no video.*gone\.mp4"):
        require_jobs(jobs, failures)
    with pytest.raises(DataError, match="no video was given"):
        require_jobs([], [])


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files(tmp_path, a_mp4=""))
    for given in ({"paths": [""]}, {"paths": ["a.mp4"], "listed": [""]}):
        with pytest.raises(ConfigError, match="an empty path was given"):
            collect(**given)
    assert named(".") == named(Path()) == ["a"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every folder")
def test_a_closed_folder_is_named(tmp_path: Path) -> None:
    files(tmp_path, open__x_mp4="", closed__y_mp4="")
    (tmp_path / "closed").chmod(0)
    try:
        jobs, failures = collect([tmp_path])
    finally:
        (tmp_path / "closed").chmod(0o755)
    assert [job.name for job in jobs] == ["open/x"]
    assert "cannot be opened" in failures[0].message


def test_patterns_at_any_depth_mirror_what_they_match(tmp_path: Path) -> None:
    files(tmp_path, b_mp4="", a__x_mov="", a__deep__y_mp4="", a__notes_txt="", a__odd_dat="", a__z_captioned_mp4="")
    files(tmp_path / "a" / ".hidden", h_mp4="")
    (tmp_path / "a" / "folder.mp4").mkdir()
    assert named(tmp_path / "**" / "*.mp4") == ["a/deep/y", "b"]
    assert named(tmp_path / "a" / "**") == ["deep/y", "x"]
    assert named(tmp_path / "?" / "*") == ["a/x"]
    assert named(tmp_path / "a" / "*.dat") == ["odd"]
    assert named(tmp_path / "**.mp4") == ["b"]  # within a name it is a *
    _, (failure,) = collect([tmp_path / "*.webm"])
    assert "no video matches this pattern" in failure.message


def test_a_name_with_wildcards_in_it_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a[1].mp4").touch()
    (tmp_path / "a1.mp4").touch()
    assert named(tmp_path / "a[1].mp4") == ["a[1]"]


def test_links_to_folders_are_not_followed_and_loops_end(tmp_path: Path) -> None:
    files(tmp_path, a__x_mp4="")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "itself.mp4").symlink_to("itself.mp4")
    assert named(tmp_path) == ["a/itself", "a/x"]  # reading the first will say what it is
    assert named(tmp_path / "**" / "*.mp4") == ["a/itself", "a/x"]
    assert named(tmp_path / "a" / "itself.mp4") == ["itself"]


@pytest.mark.parametrize(("separator", "end"), [("\n", ""), ("\n", "\n\n"), ("\r\n", ""), ("\0", "\0")])
def test_lists_from_a_file_and_from_stdin(
    separator: str, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [Path("a b.mp4"), Path("-x.mp4"), Path("é.mp4")]
    content = (separator.join(map(str, wanted)) + end).encode()
    (tmp_path / "list").write_bytes(content)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    assert read_list(tmp_path / "list") == read_list("-") == wanted
    with pytest.raises(DataError, match="gone: the list cannot be read"):
        read_list(tmp_path / "gone")


def test_zero_bytes_part_names_with_line_breaks_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"two\nlines.mp4\0b\xff.mp4\0")
    assert [os.fsencode(path) for path in read_list(tmp_path / "list")] == [b"two\nlines.mp4", b"b\xff.mp4"]


def test_listed_videos_are_named_by_their_whole_path_without_leading_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, a__v_mp4="", b__v_mp4="", in__b__v_mp4="")
    monkeypatch.chdir(tmp_path / "in")
    below = str(tmp_path).lstrip("/")
    assert named(listed=["../a/v.mp4", "../b/v.mp4", "b/v.mp4"]) == ["a/v", "b/v.mp4", "b/v.mp4-2"]
    assert named(listed=[tmp_path / "a" / "v.mp4"]) == [f"{below}/a/v"]
    assert named(listed=["..", "../*/v.mp4"]) == ["a/v", "b/v", "in/b/v"]


def test_names_that_some_file_systems_hold_for_one_are_kept_apart(tmp_path: Path) -> None:
    for name in ("Talk.mp4", "talk.mp4", "e\u0301.mp4", "\u00e9.mp4"):
        (tmp_path / name).touch()
    found = named(tmp_path)
    assert len({name.casefold() for name in found}) == 4
    assert sorted(found) == sorted(["Talk.mp4", "talk.mp4-2", "e\u0301.mp4", "\u00e9.mp4-2"])


def test_long_names_leave_room_for_suffixes_and_stay_apart(tmp_path: Path) -> None:
    for end in "ab":
        (tmp_path / ("ü" * 125 + end + ".mp4")).touch()
    first, second = named(tmp_path)
    assert first != second
    assert len(os.fsencode(first)) <= MAX_PART_BYTES


def test_folders_called_like_outputs_do_not_meet_them(tmp_path: Path) -> None:
    files(tmp_path, a_mp4="")
    (tmp_path / "a.json").mkdir()
    (tmp_path / "a.json" / "b.mp4").touch()
    assert named(tmp_path) == ["a", "a.json_/b"]


@pytest.mark.parametrize("name", [RECORD_NAME, RECORD_NAME.upper(), "a.live"])
def test_folders_called_like_other_files_of_ours_do_not_meet_them(name: str, tmp_path: Path) -> None:
    files(tmp_path, a_mp4="")
    (tmp_path / name).mkdir()
    (tmp_path / name / "b.mp4").touch()
    (tmp_path / f"{name}.mp4").touch()
    assert sorted(named(tmp_path)) == sorted(["a", name, f"{name}_/b"])
    assert named(listed=[tmp_path / name / "b.mp4"]) == [f"{str(tmp_path).lstrip('/')}/{name}_/b"]


def test_where_videos_may_still_come_is_told_from_what_is_no_use(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / "empty", tmp_path / "*.mp4", "memory://nothing-here", tmp_path / "gone", "nonsense://x"]
    _, failures = collect(paths)
    assert [each.may_come for each in failures] == [True, True, True, False, False]


def test_known_names_stay_and_stay_reserved(tmp_path: Path) -> None:
    files(tmp_path, a__x_mp4="", a__x_mov="", b__x_mp4="")
    known = {str(tmp_path / "a" / "x.mp4"): "x"}
    assert named(tmp_path / "a", known=known) == ["x.mov", "x"]
    assert named(tmp_path / "b", known=known) == ["x.mp4"]  # a/x.mp4 still has its files there
    (tmp_path / "a" / "x.mp4").unlink()
    assert named(tmp_path / "b", known=known) == ["x"]
    assert named(tmp_path / "b", known={str(tmp_path / "b" / "x.mp4"): "../x"}) == ["x"]  # no name of ours
