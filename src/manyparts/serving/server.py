"""The server: one port, two protocols by path, and health checks; closed to strangers.

It listens on this machine alone, unless told otherwise. No web page can reach it: browsers name
their page in the header `Origin`, and such requests are refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import errno
import hmac
import ipaddress
import json
import signal
import socket as sockets
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from manyparts.core.errors import UserError
from manyparts.core.extras import in_a_line, install_command, load_package
from manyparts.core.messages import Limits
from manyparts.core.printing import say
from manyparts.serving import openpi, vla_eval
from manyparts.serving.link import Link, Record
from manyparts.serving.service import Service

PATHS: Mapping[str, Callable[[Link], Awaitable[None]]] = {
    "/": openpi.converse,
    "/vla-eval": vla_eval.converse,
}
_DRAIN_SECONDS = 10.0
_SUMMARY_SECONDS = 60.0
_QUEUED_MESSAGES = 4  # of a client that sends more than it waits for
MIN_KEY = 8  # letters


@dataclass(frozen=True)
class Access:
    """Where a server listens, and to whom."""

    host: str = "127.0.0.1"
    """The address."""

    port: int = 8000
    """The port; 0: a free one."""

    key: str | None = None
    """What clients have to know; None: nothing."""

    without_key: bool = False
    """Whether to listen on other addresses than this machine's without a key."""

    certificate: Path | None = None
    """A file with the certificate of an encrypted connection."""

    private_key: Path | None = None
    """The file with its private key."""

    sessions: int = 16
    """Clients at once."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UserError(f"--port is {self.port}; expected 0 to 65535")
        if self.sessions < 1:
            raise UserError(f"--sessions is {self.sessions}; expected at least 1")
        if (self.certificate is None) != (self.private_key is None):
            raise UserError("--certificate and --private-key belong together; give both")
        if self.key is None and not self.without_key and not is_loopback(self.host):
            raise UserError(
                f"--host {self.host} can be reached by other machines, and then everybody there "
                "moves the robot: give --key-file FILE, or --without-key if the network is yours"
            )


def is_loopback(host: str) -> bool:
    """Return whether an address is of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def run(
    service: Service,
    access: Access,
    *,
    limits: Limits,
    record_of: Callable[[], Record] | None = None,
    on_listening: Callable[[int], None] = lambda port: None,
) -> None:
    """Serve until SIGINT or SIGTERM; answers under way are sent first.

    Args:
        service: What answers.
        access: Where to listen, and to whom.
        limits: How much a message may hold.
        record_of: Makes what keeps the episodes of a client; None: nothing does.
        on_listening: Called with the port, once clients can connect.

    Raises:
        UserError: The address is in use or unknown, or the certificate does not fit.
        KeyboardInterrupt: After SIGINT.
    """
    interrupted = asyncio.run(_serve(service, access, limits, record_of, on_listening))
    if interrupted:
        raise KeyboardInterrupt


async def _serve(
    service: Service,
    access: Access,
    limits: Limits,
    record_of: Callable[[], Record] | None,
    on_listening: Callable[[int], None],
) -> bool:
    websockets = load_websockets()
    gate = Gate(access, service)

    async def talk(socket: Any) -> None:
        with gate.inside.entered() as number:
            record = None if record_of is None else record_of()
            peer = socket.remote_address or ("?",)
            link = Link(socket, service, limits, record, f"client {number} of {peer[0]}")
            path = address_of(socket.request.path).path
            say(f"{link.name}: connected to {path}")
            try:
                await PATHS[path](link)
            except websockets.exceptions.ConnectionClosed:
                pass
            except Exception as error:  # a defect of ours, which costs this client alone
                with contextlib.suppress(websockets.exceptions.ConnectionClosed):
                    await link.refuse(UserError(f"the server failed: {in_a_line(error)}"))
            finally:
                link.ended()
                say(f"{link.name}: gone, {link.figures.summary()}")

    signals = signals_of()
    server = await opened_server(
        talk, access, process_request=gate.response, max_size=limits.message_bytes
    )
    async with server:
        on_listening(server.sockets[0].getsockname()[1])
        summaries = asyncio.create_task(_summaries(service))
        stopped_by = await signals.get()
        summaries.cancel()
        # Until then the gate sends new clients away.
        waiting = asyncio.create_task(service.drained(_DRAIN_SECONDS))
        again = asyncio.create_task(signals.get())  # who asks twice does not want to wait
        await asyncio.wait({waiting, again}, return_when=asyncio.FIRST_COMPLETED)
        again.cancel()
        server.close()
    service.close()
    return stopped_by == signal.SIGINT


def load_websockets() -> Any:
    """Import what speaks websockets.

    Raises:
        UserError: It is not installed.
    """
    load_package("websockets.asyncio.server", "a server", install_command("serve"))
    return load_package("websockets", "a server", install_command("serve"))


def signals_of() -> asyncio.Queue[int]:
    """Return a queue that SIGINT and SIGTERM are put into instead of ending the process."""
    signals: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, signals.put_nowait, number)
    return signals


async def opened_server(
    talk: Callable[[Any], Awaitable[None]],
    access: Access,
    *,
    process_request: Callable[[Any, Any], Any],
    max_size: int,
) -> Any:
    """Return a server of websockets that listens.

    Args:
        talk: Called with each connection.
        access: Where to listen.
        process_request: Called with a connection and its request before it becomes a websocket; it
            returns a response instead, or None.
        max_size: Bytes of a message at most.

    Raises:
        UserError: The address is in use or unknown, or the certificate does not fit.
    """
    websockets = load_websockets()
    try:
        return await websockets.asyncio.server.serve(
            talk,
            access.host,
            access.port,
            process_request=process_request,
            max_size=max_size,
            max_queue=_QUEUED_MESSAGES,
            compression=None,
            server_header=None,
            ssl=_encryption(access),
        )
    except sockets.gaierror as error:
        raise UserError(f"--host {access.host} is no address of this machine") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(
                f"port {access.port} of {access.host} is in use; choose another with --port"
            ) from error
        raise UserError(f"cannot listen on {access.host}: {error.strerror or error}") from error


def address_of(target: str) -> SplitResult:
    """Return what a stranger asks for; what is no address is an empty one."""
    try:
        return urlsplit(target)
    except ValueError:
        return urlsplit("")


class Inside:
    """Counts the clients that are connected, and numbers all that came.

    Attributes:
        count: How many are connected.
    """

    def __init__(self) -> None:
        self.count = self._number = 0

    @contextlib.contextmanager
    def entered(self) -> Iterator[int]:
        """Count a client for as long as the block runs, and give its number."""
        self._number, self.count = self._number + 1, self.count + 1
        try:
            yield self._number
        finally:
            self.count -= 1


class Gate:
    """Who comes in: answers plain requests, and refuses strangers before they are connected.

    Args:
        access: To whom the server listens.
        service: What `/config` describes.
    """

    def __init__(self, access: Access, service: Service) -> None:
        self._access, self._service = access, service
        self.inside = Inside()

    def response(self, connection: Any, request: Any) -> Any:
        """Return the response to a request that does not become a websocket; None to go on."""
        path, headers = address_of(request.path).path, request.headers
        if headers.get("Origin") is not None:
            return connection.respond(HTTPStatus.FORBIDDEN, "web pages are not served\n")
        if path == "/healthz":
            return connection.respond(HTTPStatus.OK, "OK\n")
        if path == "/health":
            return _json(connection, {"status": "ok"})
        if path == "/config":  # vla-eval's client reads it, and sends no key for it
            return _json(
                connection, {"sessions": self._access.sessions, "clients": self.inside.count}
            )
        if not self._knows_key(headers.get("Authorization", "")):
            return connection.respond(HTTPStatus.UNAUTHORIZED, "a key is needed\n")
        if path not in PATHS:
            return connection.respond(HTTPStatus.NOT_FOUND, "paths: /, /vla-eval, /healthz\n")
        if self.inside.count >= self._access.sessions or self._service.stopping:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many clients\n")
        return None

    def _knows_key(self, authorization: str) -> bool:
        """Whether a header has the key, as openpi's clients send it or as HTTP Basic."""
        if self._access.key is None:
            return True
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "basic":
            try:
                plain = base64.b64decode(value, validate=True).decode("utf-8")
            except (binascii.Error, ValueError):
                return False
            value = plain.partition(":")[2]
        elif scheme.lower() not in ("api-key", "bearer"):
            return False
        # A stranger's header may be no text, which is read with surrogates.
        sent = value.strip().encode(errors="surrogateescape")
        return hmac.compare_digest(sent, self._access.key.encode())


def _json(connection: Any, values: Mapping[str, Any]) -> Any:
    response = connection.respond(HTTPStatus.OK, json.dumps(values) + "\n")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "application/json"
    return response


def _encryption(access: Access) -> ssl.SSLContext | None:
    if access.certificate is None or access.private_key is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(access.certificate, access.private_key, password=_refuse_password)
    except OSError as error:
        is_torn = isinstance(error, ssl.SSLError)
        reason = "they are no certificate and its key in PEM" if is_torn else error.strerror
        raise UserError(
            f"--certificate {access.certificate} and --private-key {access.private_key} cannot be "
            f"used: {reason}"
        ) from error
    return context


def _refuse_password() -> str:
    raise UserError("--private-key is encrypted; decrypt it, such as by `openssl pkey`")


async def _summaries(service: Service) -> None:
    """Say how it goes, now and then, if something went."""
    said = 0
    while True:
        await asyncio.sleep(_SUMMARY_SECONDS)
        if service.figures.requests > said:
            said = service.figures.requests
            say(f"all clients: {service.figures.summary()}")
