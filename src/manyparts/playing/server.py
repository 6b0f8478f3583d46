"""The server of the page: one port for the page and its socket, open to who knows its token.

It listens on this machine alone, unless asked otherwise. A page of another origin is refused, and
so is a name of this machine that is not its own, with which such a page could come in.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from manyparts.core.printing import say
from manyparts.playing.cast import Cast
from manyparts.playing.link import Link
from manyparts.serving.server import (
    Access,
    Inside,
    address_of,
    is_loopback,
    load_websockets,
    opened_server,
    signals_of,
)

SOCKET = "/socket"
_FOLDER = Path(__file__).with_name("page")
_FILES: Mapping[str, tuple[str, str]] = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/hand.js": ("hand.js", "text/javascript; charset=utf-8"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": _POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def run(cast: Cast, access: Access, *, max_bytes: int, on_listening: Callable[[int], None]) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        cast: What there is to play with.
        access: Where to listen; its key is the token.
        max_bytes: Of a message at most.
        on_listening: Called with the port, once the page can be opened.

    Raises:
        UserError: The address is in use or unknown.
        KeyboardInterrupt: After SIGINT.
    """
    if asyncio.run(_serve(cast, access, max_bytes, on_listening)):
        raise KeyboardInterrupt


async def _serve(
    cast: Cast, access: Access, max_bytes: int, on_listening: Callable[[int], None]
) -> bool:
    websockets = load_websockets()
    gate, thread = Gate(access), ThreadPoolExecutor(1, thread_name_prefix="play")

    async def talk(socket: Any) -> None:
        with gate.inside.entered() as number:
            link = Link(socket, cast, thread, f"page {number}")
            say(f"{link.name}: opened")
            with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                await link.run()
            say(f"{link.name}: closed")

    signals = signals_of()
    server = await opened_server(talk, access, process_request=gate.response, max_size=max_bytes)
    async with server:
        on_listening(server.sockets[0].getsockname()[1])
        stopped_by = await signals.get()
        server.close()
    thread.shutdown(wait=True)
    return stopped_by == signal.SIGINT


class Gate:
    """Who comes in: answers plain requests, and refuses strangers before they are connected.

    Args:
        access: Where the server listens. Its key is the token, and its sessions the number of
            pages.
    """

    def __init__(self, access: Access) -> None:
        assert access.key is not None
        self._access, self._token = access, access.key.encode()
        self.inside = Inside()

    def response(self, connection: Any, request: Any) -> Any:
        """Return the response to a request that does not become a websocket; None to go on."""
        address, headers = address_of(request.path), request.headers
        hosts, origins = headers.get_all("Host"), headers.get_all("Origin")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            return _text(HTTPStatus.FORBIDDEN, "open the address that the command printed\n")
        own = (f"http://{hosts[0]}", f"https://{hosts[0]}")
        if any(origin not in own for origin in origins):
            return _text(HTTPStatus.FORBIDDEN, "pages of other origins are not served\n")
        if address.path in _FILES and address.path != "/":  # nothing in them is secret
            return _file(address.path)
        if address.path not in ("/", SOCKET):
            return _text(HTTPStatus.NOT_FOUND, "there is no such page\n")
        given = parse_qs(address.query).get("token", [""])[0]
        if not hmac.compare_digest(given.encode(), self._token):
            return _text(HTTPStatus.FORBIDDEN, "open the address that the command printed\n")
        if address.path == "/":
            return _file("/")
        if len(origins) != 1:
            return _text(HTTPStatus.FORBIDDEN, "the socket is for the page\n")
        if self.inside.count >= self._access.sessions:
            return _text(HTTPStatus.SERVICE_UNAVAILABLE, "too many pages are open\n")
        return None

    def _is_own(self, host: str) -> bool:
        """Whether a header `Host` is a name under which this server is meant to be reached."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return not is_loopback(self._access.host) or is_loopback(name)


def _file(path: str) -> Any:
    name, kind = _FILES[path]
    return _response(HTTPStatus.OK, kind, (_FOLDER / name).read_bytes())


def _text(status: HTTPStatus, text: str) -> Any:
    return _response(status, "text/plain; charset=utf-8", text.encode())


def _response(status: HTTPStatus, kind: str, body: bytes) -> Any:
    from websockets.datastructures import Headers
    from websockets.http11 import Response

    fields = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
    headers = Headers(list((fields | dict(_HEADERS)).items()))
    return Response(status.value, status.phrase, headers, body)
