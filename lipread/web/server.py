"""Serve the page: the socket, the model, a private folder for all files, and a health endpoint.

Nothing outside that folder can be read through the page, and neither page nor server fetches anything from elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lipread.errors import ConfigError, LipreadError, MissingDependencyError
from lipread.web.limits import Limits

if TYPE_CHECKING:
    from fastapi import FastAPI

    from lipread.web.service import Service

PREFIX, ALIVE = "lipread-app-", "alive.lock"  # a server's folder, and what it holds locked in it
SETTLED_S = 60  # a folder younger than this may not be locked yet
SESSIONS = 64  # visitors whose state is kept, about 1 MB each: a whole description of the page
GRACE_S = 3  # how long open connections may hold up the end
# What the browser may load: this server only. Gradio's page needs inline scripts and blobs (recordings).
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; form-action 'self'"
)
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def serve(
    host: str,
    port: int,
    *,
    root_path: str = "",
    model: str = "small",
    device: str = "auto",
    user: str | None = None,
    password: str | None = None,
    limits: Limits | None = None,
    examples: int = 3,
) -> None:
    """Serve until interrupted or told to end (SIGTERM, which exits with 0); the folder goes away either way.

    Call it from the main thread.

    Args:
        host, port: where to listen; port 0 takes a free one.
        root_path: path under which a proxy shows the app, such as "/lipread".
        user, password: both, to ask for them; or neither.
        examples: how many drawn clips to offer.
    Raises: ConfigError: the address cannot be listened on, or only one of user and password is given; and as
        `load_model`. MissingDependencyError: gradio is absent.
    """
    check_credentials(user, password)
    root_path = check_root_path(root_path)
    listening = listen(host, port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # not the default, which leaves the folder behind
    shown = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::') else host}:{listening.getsockname()[1]}"
    sweep(Path(tempfile.gettempdir()))
    with listening, tempfile.TemporaryDirectory(prefix=PREFIX) as folder, FileLock(Path(folder) / ALIVE):
        os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
        os.environ["GRADIO_TEMP_DIR"] = str(Path(folder) / "gradio")
        tempfile.tempdir = str(Path(folder) / "requests")
        Path(tempfile.tempdir).mkdir()
        try:
            app, service = make_app(
                model, device, root_path=root_path, user=user, password=password, limits=limits or Limits(),
                examples=examples, folder=Path(folder), address=shown + root_path,
            )
        except ImportError as error:
            raise MissingDependencyError(f"{error}; the app needs gradio: pip install 'lipread[app]'") from error
        run(app, service, listening, f"lipread: {shown}{root_path or '/'}  (Ctrl-C ends it)")
        tempfile.tempdir = None


def run(app: FastAPI, service: Service, listening: socket.socket, greeting: str) -> None:
    """Answer until the program is told to end, then stop the readings that are under way, which it would wait for."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            service.close()
            await super().shutdown(sockets)

    server = Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_S, proxy_headers=True))
    logging.getLogger("uvicorn.error").addFilter(_is_fault)
    signal.signal(signal.SIGTERM, lambda *_: setattr(server, "should_exit", True))  # until uvicorn listens for it
    print(greeting, flush=True)
    server.run(sockets=[listening])


def _is_fault(record: logging.LogRecord) -> bool:
    """Not that pages were still open when the server was ended."""
    cancelled = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not (cancelled or str(record.msg).startswith("Cancel %s running task"))


def sweep(parent: Path) -> None:
    """Delete the folders of servers that were killed before they could do it; those of running ones are locked."""
    for folder in parent.glob(PREFIX + "*"):
        with contextlib.suppress(OSError, Timeout):
            if time.time() - folder.stat().st_mtime > SETTLED_S:
                with FileLock(folder / ALIVE, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)


def make_app(
    model: str,
    device: str,
    *,
    root_path: str,
    user: str | None,
    password: str | None,
    limits: Limits,
    examples: int,
    folder: Path,
    address: str,
) -> tuple[FastAPI, Service]:
    """Load everything and put the page together -> the app, and what its requests share."""
    import gradio as gr
    from fastapi import FastAPI

    from lipread.web.examples import make_examples
    from lipread.web.page import CSS, HEAD, build_page, make_theme
    from lipread.web.service import open_service
    from lipread.web.uploads import guard_uploads, keep_deleting

    service = open_service(model, device, limits)
    refuse_fetching()
    run_first(HEAD)
    guard_uploads()
    clips = make_examples(examples, fallback=folder / "examples") if examples else []
    page = build_page(service, clips, address=address)
    keep_deleting(Path(page.GRADIO_CACHE), limits.keep_s, page.shared_files())
    app = FastAPI(title="lipread", docs_url=None, redoc_url=None, openapi_url=None)
    warmed = threading.Event()
    add_routes(app, service, warmed)
    app.add_middleware(OpenPages, service=service)
    app.add_middleware(SafeHeaders)
    app.add_middleware(WithoutPrefix, prefix=root_path)
    page.state_session_capacity = SESSIONS
    page.has_launched = True  # else gradio, which expects launch(), lets requests and results name any file
    gr.mount_gradio_app(
        app, page, path="/", root_path=root_path or None, auth=(user, password) if user and password else None,
        auth_message="lipread asks for the user and password that its owner chose.", show_error=True,
        max_file_size=f"{limits.upload_mb}mb", footer_links=[], run_history=False, ssr_mode=False,
        theme=make_theme(), css=CSS, enable_monitoring=False, pwa=False, mcp_server=False,
        app_kwargs={"openapi_url": None},
    )
    threading.Thread(target=warm_up, args=(service, clips, folder, warmed), daemon=True).start()
    return app, service


def check_credentials(user: str | None, password: str | None) -> None:
    """Raises: ConfigError: one without the other."""
    if bool(user) != bool(password):
        given, absent = ("LIPREAD_USER", "LIPREAD_PASSWORD") if user else ("LIPREAD_PASSWORD", "LIPREAD_USER")
        raise ConfigError(f"{given} is set and {absent} is not; set both, or neither to let everybody in")


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises: ConfigError: the address cannot be listened on."""
    if not 0 <= port <= 65535:
        raise ConfigError(f"port {port} does not exist; choose one from 1 to 65535, or 0 for a free one")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or str(error)
        raise ConfigError(f"{host}:{port} cannot be listened on ({reason}); choose another --port or --host") from error


def add_routes(app: FastAPI, service: Service, warmed: threading.Event) -> None:
    """The health endpoint; and the doors that gradio leaves open to other servers are shut."""
    from fastapi.responses import JSONResponse

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "model": service.model, "warm": warmed.is_set()}

    @app.api_route("/gradio_api/file={scheme}:/{rest:path}", methods=["GET", "HEAD"])
    def elsewhere(scheme: str, rest: str) -> JSONResponse:
        return JSONResponse({"detail": "only files of this page are served"}, status_code=403)


def refuse_fetching() -> None:
    """Gradio downloads what a request names by URL; this page reads uploads only."""
    from gradio import Error, processing_utils

    async def refused(url: str, cache_dir: str) -> str:
        raise Error("files are uploaded here, not fetched; upload the video itself", print_exception=False)

    processing_utils.async_ssrf_protected_download = refused


def run_first(head: str) -> None:
    """Put scripts before gradio's own: those that it is given as its `head` come after its start."""
    from gradio.routes import templates
    from jinja2 import ChoiceLoader, DictLoader

    loader, name = templates.env.loader, "frontend/index.html"
    assert loader is not None
    page = loader.get_source(templates.env, name)[0]
    if head not in page:  # by an app that was made before in this process
        page = page.replace("<head>", f"<head>{{% raw %}}{head}{{% endraw %}}", 1)
        templates.env.loader = ChoiceLoader([DictLoader({name: page}), loader])


class SafeHeaders:
    """Adds headers to every answer: nothing is loaded from elsewhere, and nobody is told where visitors came from."""

    HEADERS = (
        (b"content-security-policy", POLICY.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
    )

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *self.HEADERS]
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


class OpenPages:
    """Tells the service whose pages are open: gradio's heartbeats last as long as they are."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], service: Service) -> None:
        self.app, self.service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        _, found, session = scope.get("path", "").partition("/gradio_api/heartbeat/")
        with self.service.page_open(session) if found else contextlib.nullcontext():
            await self.app(scope, receive, send)


class WithoutPrefix:
    """Takes the path of the proxy off requests that still have it, so that proxies may or may not strip it."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        path = scope.get("path", "")
        if self.prefix and (path == self.prefix or path.startswith(self.prefix + "/")):
            raw = scope.get("raw_path") or path.encode()
            scope = {**scope, "path": path[len(self.prefix) :] or "/", "raw_path": raw[len(self.prefix) :] or b"/"}
        await self.app(scope, receive, send)


def check_root_path(root_path: str) -> str:
    """The path without a slash at its end. Raises: ConfigError: it is no path."""
    path = root_path.rstrip("/")
    if path and (not path.startswith("/") or "//" in path or any(sign in path for sign in "?#% ")):
        raise ConfigError(f"root path {root_path!r} is no path; give one such as /lipread")
    return path


def warm_up(service: Service, clips: Sequence[Path], folder: Path, warmed: threading.Event) -> None:
    """Load what the first reading would wait for: the face mesh, the network's first pass, the plots."""
    from lipread.web.reading import read_video

    try:
        if clips:
            import lipread.web.why  # noqa: F401  (its imports)

            read_video(service.base, clips[0], folder, limits=service.limits)
    except LipreadError as error:
        print(f"lipread: warning: reading an example failed: {error}", file=sys.stderr, flush=True)
    finally:
        gc.collect()
        gc.freeze()  # else what stays for good holds up the collection of what requests leave behind
        warmed.set()
