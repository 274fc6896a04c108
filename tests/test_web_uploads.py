"""Uploads that fail or break off leave nothing, and what is old goes."""

from __future__ import annotations

import asyncio
import errno
import time
from pathlib import Path
from typing import Any

import pytest

import media
from lipread.web.uploads import delete_old, guard_uploads, keep_deleting

routes = pytest.importorskip("gradio.routes", reason="the app's packages are absent: pip install 'lipread[app]'")
ClientDisconnect = pytest.importorskip("starlette.requests").ClientDisconnect
OPEN: list[Any] = []  # as gradio leaves them


def upload(folder: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception | None = None) -> list[Path]:
    """Send "talk.mp4" to a gradio that writes a part of it and then may fail -> its paths."""

    async def upload_fn(request: Any, place: str, *_: Any, force_move: bool, **__: Any) -> tuple[list[str], ...]:
        part, whole = media.touch(Path(place) / "tmp1", "a part"), Path(place) / "hash" / "talk.mp4"
        OPEN.append(part.open("rb"))
        if fault:
            raise fault
        assert force_move  # else it would be moved after the answer, when nobody hears of faults any more
        part.rename(media.touch(whole))
        return [str(whole)], [], []

    monkeypatch.setattr(routes, "upload_fn", upload_fn)
    guard_uploads()
    paths, *moves = asyncio.run(routes.upload_fn(None, str(folder), 9, None, force_move=False))
    assert moves == [[], []]
    return [Path(path) for path in paths]


def test_a_whole_upload_lies_where_gradio_looks_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = upload(tmp_path / "gradio", monkeypatch)
    assert paths == [tmp_path / "gradio" / "hash" / "talk.mp4"]
    assert paths[0].read_text() == "a part"
    assert upload(tmp_path / "gradio", monkeypatch) == paths  # again
    assert [path.name for path in (tmp_path / "gradio").iterdir()] == ["hash"]


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507, "cannot be kept (No space left on device); send a"),
        (ClientDisconnect(), 400, "broke off"),
    ],
)
def test_an_upload_that_fails_leaves_nothing(
    fault: Exception, status: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastapi import HTTPException

    with pytest.raises(HTTPException) as error:
        upload(tmp_path, monkeypatch, fault)
    assert error.value.status_code == status and said in error.value.detail
    assert list(tmp_path.iterdir()) == []
    assert OPEN.pop().read() == b""  # so it takes no place on the disk either


def test_old_files_go_and_those_of_the_page_stay(tmp_path: Path) -> None:
    talk, empty = media.touch(tmp_path / "hash" / "talk.mp4"), media.touch(tmp_path / "tmp1", "")
    example = media.touch(tmp_path / "example" / "drawn.mp4")
    delete_old(tmp_path, 60, [str(example)])
    assert talk.exists() and empty.exists()
    keep_deleting(tmp_path, 0.5, [str(example)], every_s=0.1)
    end = time.monotonic() + 10
    while (talk.exists() or empty.exists()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not talk.exists() and not empty.exists() and example.exists()
