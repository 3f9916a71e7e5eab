"""The server of the live page: from the command's flags to its end at Ctrl-C."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
import uvicorn

from igos.base.names import DEFAULT_METRICS
from igos.base.terminal import say
from igos.results.folder import RunFolder
from igos.run.settings import Run
from igos.serve.app import app
from igos.serve.guard import Guard, is_loopback
from igos.serve.jobs import Jobs
from igos.serve.process import Process
from igos.serve.session import Read, Session
from igos.types import ConfigError, ImageError

GRACE = 1  # seconds that streams have to end


@dataclass(frozen=True)
class Place:
    """Where the page is served, and who may see it."""

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    open: bool = False


def serve(
    flags: Mapping[str, Any],
    models: Sequence[str | None],
    data: Sequence[str] | None,
    place: Place,
    read: Read,
    record: Callable[[str], dict[str, Any]],
) -> int:
    """Serve until Ctrl-C or SIGTERM; the exit code. data: places of pictures, by default the samples of a bundled
    model; read: what reads a picture; record(device): for run.yaml. Raises ConfigError and what loading a model raises.
    """
    process = Process(flags, models, int(flags.get("threads") or torch.get_num_threads()))
    listening = None
    try:
        listening = _bound(place)
        with suppress(ImageError):
            read("")  # there is no such picture: what reads others is imported here while the network loads there
        facts = process.ready()
        usual: list[str] = next((m["flags"]["data"] for m in facts if m["flags"].get("data")), [])
        pictures = Run(data=list(data or usual)).pictures() if data or usual else []
        folder, temporary = _folder(flags)
        values = {
            "model": facts[0]["flags"]["model"],
            "metrics": list(flags.get("metrics") or DEFAULT_METRICS),
            **({"set": list(flags["set"])} if flags.get("set") else {}),
            "record": record(facts[0]["device"]),
        }
        session = Session(folder, pictures, read, facts, values)
        return _until_stopped(session, process, listening, place, temporary)
    finally:
        process.end()
        if listening is not None:
            listening.close()


def _until_stopped(session: Session, process: Process, listening: socket.socket, place: Place, temporary: bool) -> int:
    port = listening.getsockname()[1]
    token = place.token or secrets.token_urlsafe(24)
    jobs = Jobs(session, process)
    guard = Guard(app(session, process, jobs), token, place.host, port)
    host = f"[{place.host}]" if ":" in place.host.strip("[]") else place.host
    address = f"http://{host}:{port}/?token={quote(token, safe='')}"
    config = uvicorn.Config(
        guard, log_level="critical", access_log=False, timeout_graceful_shutdown=GRACE, lifespan="on",
        server_header=False, h11_max_incomplete_event_size=2**16, http="h11", ws="none",
    )  # fmt: skip
    server, code = Told(config, lambda: _tell(address, place, bool(place.token)), jobs.close), 0
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # streams that end with the server are no fault
    with suppress(KeyboardInterrupt):
        server.run([listening])
    if server.stopped_by == signal.SIGTERM:
        code = 143
    process.end()
    kept = session.close()
    if kept:
        say(session.folder.path)
    elif temporary:
        shutil.rmtree(session.folder.path, ignore_errors=True)
    return code


class Told(uvicorn.Server):
    """A server that says when it can be asked, and remembers what stopped it."""

    def __init__(self, config: uvicorn.Config, tell: Callable[[], None], close: Callable[[], None]) -> None:
        super().__init__(config)
        self._tell, self._close, self.stopped_by = tell, close, 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._tell()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Ctrl-C and SIGTERM end the server; uvicorn would send the signal again after the end."""
        self.stopped_by = self.stopped_by or sig
        self.force_exit, self.should_exit = self.should_exit, True
        self._loop.call_soon_threadsafe(self._close)  # open streams would keep it


def _tell(address: str, place: Place, chosen: bool) -> None:
    if not is_loopback(place.host) and not chosen:
        say("igos: warning: others may reach this address; who has the token sees the page", error=True)
    say(f"igos: {address}")
    sys.stdout.flush()  # whoever reads it from a pipe waits for it
    if place.open:
        webbrowser.open(address)


def _bound(place: Place) -> socket.socket:
    """A socket that listens at the place. Raises ConfigError."""
    name = place.host.strip("[]")
    try:
        family = socket.getaddrinfo(name, place.port, type=socket.SOCK_STREAM)[0][0]
        made = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((name, place.port))
    except (OSError, UnicodeError) as error:
        raise ConfigError(
            f"--host {place.host} --port {place.port}: cannot be used ({getattr(error, 'strerror', None) or error})"
        ) from None
    made.listen(128)
    return made


def _folder(flags: Mapping[str, Any]) -> tuple[RunFolder, bool]:
    """The run's folder, and whether it is a temporary one."""
    if flags.get("output"):
        return RunFolder(str(flags["output"])), False
    made = Path(tempfile.mkdtemp(prefix="igos-")) / time.strftime("live-%Y-%m-%d_%H-%M-%S")
    return RunFolder(made), True
