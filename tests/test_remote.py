"""Videos and outputs on other file systems: here fsspec's memory, which is one, and its files."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

import media
from lipread.batch import Recipe, transcribe_files
from lipread.engines import HereEngine, time_limit_s
from lipread.errors import ConfigError, OutputError, VideoError
from lipread.inputs import collect, read_list
from lipread.remote import (
    RemoteRecord,
    at_hand,
    is_there,
    is_url,
    joined,
    record_in,
    state_of,
    sweep_scratch,
    written_to,
)
from lipread.run_record import RECORD_NAME
from test_batch import PretendReader


def test_urls_are_told_from_paths() -> None:
    assert is_url("s3://bucket/a.mp4")
    assert not is_url("a:/b.mp4")
    assert not is_url(Path("s3://bucket"))  # a path has lost its slashes
    assert joined("s3://b/out/", "a/b.txt") == "s3://b/out/a/b.txt"
    assert joined(Path("out"), "a/b.txt") == Path("out/a/b.txt")
    assert (joined("memory://", "a.txt"), joined("file:///", "a.txt")) == ("memory://a.txt", "file:///a.txt")
    assert joined("zip://::v.zip", "a.txt") == "zip://a.txt::v.zip"
    assert joined("simplecache::zip://x/::s3://b/v.zip", "a.txt") == "simplecache::zip://x/a.txt::s3://b/v.zip"


def test_folders_patterns_files_and_lists_of_urls(memory: Any, tmp_path: Path) -> None:
    for name in ("/in/b.mp4", "/in/a/x.mov", "/in/a/notes.txt", "/in/a/.hidden.mp4"):
        memory.pipe_file(name, b"fine")
    jobs, failures = collect(["memory://in"])
    assert [(job.source, job.name) for job in jobs] == [("memory:///in/a/x.mov", "a/x"), ("memory:///in/b.mp4", "b")]
    assert failures == []
    assert [job.name for job in collect(["memory://in/**/*.mov"])[0]] == ["a/x"]
    assert [job.name for job in collect(["memory://in/b.mp4"])[0]] == ["b"]
    memory.pipe_file("/in/folder.wav/said.wav", b"fine")
    memory.pipe_file("/in/heard.wav", b"fine")  # a pattern that names a suffix means every file that has it
    assert [job.name for job in collect(["memory://in/*.wav"])[0]] == ["heard"]
    assert [job.name for job in collect(["memory://in/h*"])[0]] == []
    (tmp_path / "list").write_text("memory://in/b.mp4\nlocal.mp4\n")
    assert read_list(tmp_path / "list") == ["memory://in/b.mp4", Path("local.mp4")]
    _, failures = collect(["memory://gone", "nonsense://x"])
    assert "memory://gone: there is no video" in failures[0].message
    assert "nonsense" in failures[1].message


def test_hidden_files_and_folders_are_left_out_as_they_are_here(memory: Any, tmp_path: Path) -> None:
    for name in ("b.mp4", ".Trash/c.mp4", "a/.git/d.mp4", "a/e.mp4", ".f.mp4"):
        memory.pipe_file(f"/home/.me/in/{name}", b"fine")
        (tmp_path / ".me" / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".me" / "in" / name).touch()
    for folder in ("memory://home/.me/in", tmp_path / ".me" / "in", f"file://{tmp_path}/.me/in"):
        assert sorted(job.name for job in collect([folder])[0]) == ["a/e", "b"]  # the folder itself may be hidden
        pattern = f"{folder}/**/*.mp4"
        assert sorted(job.name for job in collect([pattern])[0]) == ["a/e", "b"]
        assert [job.name for job in collect([f"{folder}/*/.git/*.mp4"])[0]] == ["a/.git/d"]  # a pattern names it


def test_a_file_that_is_called_as_a_pattern_is_that_file(memory: Any) -> None:
    for name in ("a[1].mp4", "a1.mp4", "what?.mp4", "whats.mp4", "in[2]/x.mp4"):
        memory.pipe_file(f"/in/{name}", b"fine")
    assert [job.source for job in collect(["memory://in/a[1].mp4"])[0]] == ["memory:///in/a[1].mp4"]
    assert [job.source for job in collect(["memory://in/what?.mp4"])[0]] == ["memory:///in/what?.mp4"]
    assert [job.name for job in collect(["memory://in/in[2]"])[0]] == ["x"]
    assert [job.name for job in collect(["memory://in/a[12].mp4"])[0]] == ["a1"]  # no file is called so


def test_who_looks_again_sees_what_is_new_where_listings_are_kept(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, list[str]] = {}
    find = memory.find
    monkeypatch.setattr(memory, "find", lambda path: kept.setdefault(path, find(path)), raising=False)
    monkeypatch.setattr(memory, "invalidate_cache", lambda path=None: kept.clear(), raising=False)
    memory.pipe_file("/in/a.mp4", b"fine")
    assert [job.name for job in collect(["memory://in"])[0]] == ["a"]
    memory.pipe_file("/in/b.mp4", b"fine")
    assert [job.name for job in collect(["memory://in"])[0]] == ["a", "b"]


def test_a_batch_from_and_to_another_file_system_goes_on_where_it_stopped(memory: Any, tmp_path: Path) -> None:
    for name, kind in {"a": "fine", "b": "bad", "c/d": "fine"}.items():
        memory.pipe_file(f"/in/{name}.mp4", kind.encode())
    jobs, _ = collect(["memory://in"])
    recipe = Recipe("memory://out", ("txt", "json"))

    def read() -> tuple[PretendReader, Any]:
        reader = PretendReader()
        with record_in("memory://out") as record:
            return reader, transcribe_files(HereEngine(reader, recipe), jobs, recipe, record)  # type: ignore[arg-type]

    first, report = read()
    assert (report.done, report.failed) == (2, 1)
    assert report.failures[0].message == "memory:///in/b.mp4 is not a video"
    assert sorted(memory.find("/out")) == [
        "/out/a.json", "/out/a.txt", "/out/c/d.json", "/out/c/d.txt", f"/out/{RECORD_NAME}"
    ]
    assert b'"source": "memory:///in/a.mp4"' in memory.cat_file("/out/a.json")
    second, report = read()
    assert (len(first.seen), len(second.seen), report.skipped) == (3, 1, 2)
    memory.pipe_file("/in/a.mp4", b"finer")
    third, _ = read()
    assert len(third.seen) == 2
    with record_in("memory://out", read_only=True) as record:
        assert set(record.names.values()) == {"a", "b", "c/d"}


def test_videos_in_archives(memory: Any, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive := tmp_path / "v.zip", "w") as file:
        for name in ("a.mp4", "in/b.mp4", "in/notes.txt"):
            file.writestr(name, "fine")
    memory.pipe_file("/v.zip", archive.read_bytes())
    for rest in (f"::{archive}", "::memory://v.zip"):
        for inner, found in (("", ["a", "in/b"]), ("in", ["b"]), ("*.mp4", ["a"]), ("in/b.mp4", ["b"])):
            assert [job.name for job in collect([f"zip://{inner}{rest}"])[0]] == found
    jobs, _ = collect([f"zip://::{archive}"])
    recipe = Recipe("simplecache::memory://out", ("txt",))
    with record_in(recipe.folder) as record:
        report = transcribe_files(HereEngine(PretendReader(), recipe), jobs, recipe, record)  # type: ignore[arg-type]
    assert (report.done, report.failures) == (2, [])
    assert sorted(memory.find("/out")) == ["/out/a.txt", "/out/in/b.txt", f"/out/{RECORD_NAME}"]


def test_archives_that_are_no_use_are_told(tmp_path: Path) -> None:
    with zipfile.ZipFile(archive := tmp_path / "v.zip", "w"):
        pass
    (tmp_path / "torn.zip").write_bytes(b"no archive")
    for url in (f"zip://::{tmp_path}/gone.zip", f"zip://::{tmp_path}/torn.zip", f"tar://::{archive}"):
        _, (failure,) = collect([url])
        assert failure.message.startswith(f"{url} cannot be opened (")
        with pytest.raises(VideoError, match="cannot be opened"):
            record_in(url)
    with pytest.raises(OutputError, match="lies in an archive, which is only read"):
        record_in(f"zip://x::{archive}", read_only=True)


def test_what_is_not_there_is_told(memory: Any, tmp_path: Path) -> None:
    assert state_of("memory://gone.mp4") is None
    assert not is_there("memory://gone.mp4")
    with pytest.raises(VideoError, match="does not exist"), at_hand("memory://gone.mp4"):
        pass
    with pytest.raises(ConfigError, match="nonsense"), at_hand("nonsense://x"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), written_to(f"file://{tmp_path}/file/out") as folder:
        (folder / "a.txt").write_text("bin")


def test_time_limits_of_urls_follow_their_size(memory: Any) -> None:
    memory.pipe_file("/a.mp4", bytes(80_000))
    assert time_limit_s("memory://a.mp4") == 220.0
    assert time_limit_s("memory://gone.mp4") == 120.0


def test_time_limits_of_sound_alone_follow_its_length(tmp_path: Path) -> None:
    sound = media.tone(300, 20.0, 16_000)
    path = media.write_sound(tmp_path / "talk.wav", sound, rate_hz=16_000, codec="pcm_s16le")
    assert time_limit_s(path) == pytest.approx(320.0, abs=1)


def test_what_killed_processes_fetched_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    script = (
        "import os, tempfile\nfrom lipread.remote import keep_scratch_apart\nkeep_scratch_apart()\n"
        "open(os.path.join(tempfile.mkdtemp(prefix='lipread-'), 'video.mp4'), 'w')\nprint(tempfile.gettempdir())\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-uc", script], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True
    )
    (left,) = tmp_path.glob("*/*/video.mp4")
    assert Path(done.stdout.strip()) == left.parent.parent
    host = left.parent.parent.name.rpartition("-")[0]
    (mine := tmp_path / f"{host}-{os.getpid()}").mkdir()
    (tmp_path / "lipread-notes").mkdir()
    sweep_scratch()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, "lipread-notes"])


def test_a_record_that_cannot_be_written_back_for_a_while_ends_nothing(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lipread.remote.WRITE_BACK_EVERY_S", 0.0)
    with RemoteRecord("memory://out") as record:
        with monkeypatch.context() as broken:
            broken.setattr(type(memory), "put_file", lambda *_: (_ for _ in ()).throw(OSError("timed out")))
            record.append({"key": "a"})
        record.append({"key": "b"})
    assert memory.cat_file(f"/out/{RECORD_NAME}").count(b"key") == 2
