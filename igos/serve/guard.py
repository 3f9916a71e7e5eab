"""Who may speak to the live page: whoever knows its token, from the page itself, by the server's own name."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from igos.base.terminal import printable

Message = dict[str, Any]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
MOST_BODY = 33 * 2**20  # bytes of a request: a picture of 32 MB, and what a form says around it


class Guard:
    """An ASGI application in front of another: a foreign Host 400, a foreign Origin 403 on every method, without token
    or cookie 403, a body that is too large 413; and the headers of every answer.

    host, port: what the server is bound to. A host that is no loopback's may be called by any address, which no name
    of a stranger stands for, and by the machine's name.
    """

    def __init__(self, app: Any, token: str, host: str, port: int) -> None:
        self.app, self.token, self.port = app, token, port
        self.cookie, self.value = f"igos_{port}", hashlib.sha256(f"igos {token}".encode()).hexdigest()
        self._names = {"localhost", host.lower().strip("[]")} | {"127.0.0.1", "::1"}
        self._open = not is_loopback(host)
        if self._open:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no websockets
            await send({"type": "websocket.close", "code": 1008})
            return
        status, words = self.refusal(scope)
        if status:
            await _refuse(send, status, words)
            return
        headers = dict(HEADERS)
        if self._named(scope) and scope["path"] == "/":
            headers["set-cookie"] = f"{self.cookie}={self.value}; Path=/; HttpOnly; SameSite=Strict"
        length, begun, read = _one(scope, "content-length"), False, 0
        if length is not None and (not length.isdecimal() or int(length) > MOST_BODY):
            await _refuse(send, 413, too_large())
            return

        async def counted() -> Message:
            nonlocal read
            message: Message = await receive()
            read += len(message.get("body", b""))
            if read > MOST_BODY:
                raise TooLarge
            return message

        async def headed(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                own = {k.decode("latin-1").lower() for k, _ in message["headers"]}
                added = [(k.encode(), v.encode()) for k, v in headers.items() if k not in own]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        try:
            await self.app(scope, counted, headed)
        except TooLarge:
            if not begun:
                await _refuse(send, 413, too_large())

    def refusal(self, scope: Message) -> tuple[int, str]:
        """Why a request is not answered: a status and a sentence; 0 where it is."""
        host = _one(scope, "host")
        if host is None or not self._knows(host):
            return 400, f"this server is not {printable(host or 'without a name')}"
        origin = _every(scope, "origin")
        if origin and origin != [f"http://{host}"]:
            return 403, "the request comes from another page"
        if not (self._named(scope) or self._has_cookie(scope)):
            return 403, "open the address that igos serve prints: it holds the token"
        return 0, ""

    def _knows(self, host: str) -> bool:
        name, port = split_host(host)
        if port != str(self.port) and not (port == "" and self.port == 80):
            return False
        return name in self._names or (self._open and is_address(name))

    def _named(self, scope: Message) -> bool:
        try:
            given = parse_qs(scope["query_string"].decode(), max_num_fields=20).get("token", [])
        except ValueError:
            return False
        return len(given) == 1 and hmac.compare_digest(given[0].encode(), self.token.encode())

    def _has_cookie(self, scope: Message) -> bool:
        for line in _every(scope, "cookie"):
            try:
                found = SimpleCookie(line).get(self.cookie)
            except CookieError:
                continue
            if found is not None and hmac.compare_digest(found.value.encode(), self.value.encode()):
                return True
        return False


class TooLarge(Exception):
    """A body of more than MOST_BODY bytes."""


def too_large() -> str:
    return "a picture may have 32 MB at most"


def split_host(host: str) -> tuple[str, str]:
    """ "[::1]:80" -> "::1", "80"."""
    host = host.lower()
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, rest.removeprefix(":")
    name, _, port = host.partition(":")
    return name, port


def is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    name = host.strip("[]").lower()
    return name == "localhost" or (is_address(name) and ipaddress.ip_address(name).is_loopback)


def _every(scope: Message, name: str) -> list[str]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [v.decode("latin-1") for k, v in headers if k.lower() == name.encode()]


def _one(scope: Message, name: str) -> str | None:
    """The header, where it is there once."""
    found = _every(scope, name)
    return found[0] if len(found) == 1 else None


async def _refuse(send: Any, status: int, words: str) -> None:
    headers = {**HEADERS, "content-type": "text/plain; charset=utf-8", "connection": "close"}
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [(k.encode(), v.encode()) for k, v in headers.items()]})
    await send({"type": "http.response.body", "body": words.encode("utf-8", errors="replace")})
