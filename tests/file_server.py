"""A server of files on this machine with the faults of real ones, so that nothing is fetched from outside."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class FileServer:
    """What it has, what it was asked for, and what goes wrong.

    Attributes:
        files: content by path, such as "/a.zip".
        faults: by path, what to do instead of answering well, one per request, in turn.
        ranges: whether it knows how to begin in the middle.
        asked: path and Range header of every request.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Callable[[BaseHTTPRequestHandler], None]]] = field(default_factory=dict)
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def describe(self, path: str, contents: dict[str, bytes], *, kind: str = "md5") -> str:
        """Lay out files and the description of a record that lists them; returns its address."""
        entries = []
        for name, content in contents.items():
            self.files[f"/files/{name}"] = content
            entries.append({
                "key": name, "size": len(content), "checksum": f"{kind}:{hashlib.new(kind, content).hexdigest()}",
                "links": {"self": f"{self.address}/files/{name}"},
            })
        self.files[path] = json.dumps({"id": 1, "files": entries}).encode()
        return self.address + path


def breaks_after(count: int) -> Callable[[BaseHTTPRequestHandler], None]:
    """Promise the whole rest, send so many bytes of it, and hang up."""

    def fault(handler: BaseHTTPRequestHandler) -> None:
        _send(handler, handler.server.owner, most=count)  # type: ignore[attr-defined]

    return fault


def answers(code: int, **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with a code and nothing else."""

    def fault(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return fault


def sends(content: bytes) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer with something else, whatever was asked for."""

    def fault(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return fault


def _send(handler: BaseHTTPRequestHandler, owner: FileServer, most: int | None = None) -> None:
    content = owner.files.get(handler.path)
    if content is None:
        handler.send_error(404)
        return
    asked, start = handler.headers.get("Range"), 0
    if asked and owner.ranges:
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    else:
        handler.send_response(200)
    handler.send_header("Content-Length", str(len(content) - start))
    handler.end_headers()
    handler.wfile.write(content[start:] if most is None else content[start : start + most])


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        owner: FileServer = self.server.owner  # type: ignore[attr-defined]
        owner.asked.append((self.path, self.headers.get("Range")))
        waiting = owner.faults.get(self.path, [])
        waiting.pop(0)(self) if waiting else _send(self, owner)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server while the block lasts."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        owner = server.owner = FileServer(f"http://127.0.0.1:{server.server_address[1]}")  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield owner
        finally:
            server.shutdown()
            thread.join()
