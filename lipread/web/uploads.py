"""Uploads that do not come to their end leave nothing behind, and nothing that visitors sent or got is kept long."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

PART, EVERY_S = "upload-", 60


def guard_uploads() -> None:
    """Gradio leaves what was sent of an upload that breaks off: here it goes, and the rest is told in a sentence."""
    from fastapi import HTTPException
    from gradio import routes
    from starlette.requests import ClientDisconnect, Request

    take = routes.upload_fn  # type: ignore[attr-defined]  # what the route calls

    async def taken(
        request: Request, folder: str, *limits: Any, **options: Any
    ) -> tuple[list[str], list[str], list[str]]:
        """As gradio's, whole or not at all: paths, and nothing that is still to be moved."""
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            part = tempfile.mkdtemp(prefix=PART, dir=folder)
            try:
                paths, *_ = await take(request, part, *limits, **{**options, "force_move": True})
                return [_moved(path, part, folder) for path in paths], [], []
            finally:
                _delete(part)
        except OSError as error:
            reason = f"the file cannot be kept ({error.strerror or error}); send a smaller one, or try again later"
            raise HTTPException(507, reason) from error
        except ClientDisconnect as error:
            raise HTTPException(400, "the upload broke off") from error

    routes.upload_fn = taken  # type: ignore[assignment, attr-defined]


def _moved(path: str, part: str, folder: str) -> str:
    """Move a file to the same place below another folder -> its path there."""
    target = Path(folder) / Path(path).relative_to(part)
    target.parent.mkdir(exist_ok=True)
    os.replace(path, target)
    return str(target)


def _delete(part: str) -> None:
    """Delete a folder, and first what is in its files: gradio leaves those of a broken upload open."""
    for path in Path(part).glob("tmp*"):
        with contextlib.suppress(OSError):
            os.truncate(path, 0)
    shutil.rmtree(part, ignore_errors=True)


def delete_old(folder: Path, keep_s: float, shared: Collection[str] = ()) -> None:
    """Delete all files that nobody wrote to for so long, seconds, but those of the page itself."""
    for place, _, names in os.walk(folder):
        for path in (os.path.join(place, name) for name in names):
            with contextlib.suppress(OSError):  # gone meanwhile
                if time.time() - os.lstat(path).st_ctime > keep_s and path not in shared:
                    os.unlink(path)


def keep_deleting(folder: Path, keep_s: float, shared: Collection[str] = (), *, every_s: float = EVERY_S) -> None:
    """`delete_old` now and then, beside all else: gradio does it for files that it remembers, and forgets some."""

    def work() -> None:
        while True:
            time.sleep(every_s)
            delete_old(folder, keep_s, shared)

    threading.Thread(target=work, daemon=True, name="lipread-uploads").start()
