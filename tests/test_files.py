"""Files that are written whole or not at all; names that try to leave the folder."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lipread.errors import DataError, OutputError
from lipread.files import inside, part_owner, process_runs, read_text, sweep_parts, write_text, written_whole


def test_what_is_written_takes_the_place_of_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "new" / "talk.txt"
    for text in ("first", "second, longer"):
        with written_whole(target) as temporary:
            temporary.write_text(text)
            assert temporary.parent == target.parent and temporary != target
        assert target.read_text() == text
    assert os.listdir(target.parent) == ["talk.txt"]


def test_machines_that_share_a_folder_do_not_write_the_same_file(tmp_path: Path) -> None:
    with written_whole(tmp_path / "talk.txt") as temporary:
        assert socket.gethostname() in temporary.name and part_owner(temporary) == os.getpid()
        temporary.touch()


def test_a_link_does_not_lead_out_either(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="leads out of"):
        inside(tmp_path / "out", "link/talk.txt")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "talk.txt"
    write_text(target, "old")
    with pytest.raises(KeyboardInterrupt), written_whole(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["talk.txt"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here to stand for a full disk")
def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = open
    monkeypatch.setattr(
        "builtins.open", lambda path, *rest, **more: real("/dev/full" if ".part" in str(path) else path, *rest, **more)
    )
    with pytest.raises(OutputError, match=r"talk\.txt cannot be written \(No space left"):
        write_text(tmp_path / "talk.txt", "words")
    assert os.listdir(tmp_path) == []


def test_text_is_read_with_any_line_ends_and_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfeins\r\nzwei\rdr\xc3\xa4i\n")
    assert read_text(file) == "eins\nzwei\ndräi\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"a\.txt: is empty; write one sentence a line"),
        (b" \n\t\n", r"a\.txt: has no words"),
        (b"one\ntwo \xff\n", r"a\.txt, line 2: is not UTF-8"),
        (b"one\ntwo\nth\0ree", r"a\.txt, line 3: has a zero byte"),
    ],
)
def test_what_is_no_text_is_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_text(tmp_path / "a.txt")
    with pytest.raises(DataError, match="cannot be read"):
        read_text(tmp_path)


def test_what_is_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "talk.txt").mkdir()
    for target, said in (
        (tmp_path / "file" / "a.txt", "a file has the name of its folder"),
        (tmp_path / "file" / "deep" / "a.txt", "a file has the name of its folder"),
        (tmp_path / "talk.txt", "a folder has its name"),
    ):
        with pytest.raises(OutputError) as caught:
            write_text(target, "words")
        assert f"({said}); choose another folder" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "talk.txt"]


def test_only_parts_of_processes_that_are_gone_are_swept(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = socket.gethostname()
    dead, alive = (tmp_path / f".lipread-{here}-{pid}-0.part" for pid in (gone.pid, os.getpid()))
    elsewhere = [tmp_path / f".lipread-{host}-{gone.pid}-0.part" for host in ("elsewhere", f"{here}-2", f"my-{here}")]
    others = [tmp_path / "talk.part", tmp_path / f".lipread-{here}-x-0.part", *elsewhere]
    for path in (dead, alive, *others):
        path.touch()
    sweep_parts([tmp_path, tmp_path / "no such folder"])
    assert not dead.exists()
    assert all(path.exists() for path in (alive, *others))


def test_where_asking_would_end_a_process_it_counts_as_running(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as on_windows:
        on_windows.setattr(os, "kill", None)  # there, signal 0 is Ctrl-C
        on_windows.setattr(os, "name", "nt")
        runs = process_runs(1)
    assert runs
