"""A server of openpi's protocol: where it is, what it says of itself, and the connection to it."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.extras import install_command, load_package
from manyparts.core.keys import read_key
from manyparts.core.messages import Limits, pack, unpack
from manyparts.core.printing import shown_short
from manyparts.core.spec import ActionContract, Spec

SCHEMES = ("ws", "wss")
_LIMITS = Limits(message_bytes=64 * 2**20)
_SECONDS = 60.0  # that an answer may take
_MAX_CONTRACT = 1_000_000  # bytes
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@shown_short
@dataclass(frozen=True)
class Remote:
    """Where an agent is served, and what its server does not say of itself."""

    url: str
    """Such as ws://127.0.0.1:8000."""

    images: Mapping[str, str] = field(default_factory=dict)
    """A camera of the environment to the key of its image in a request. Empty: those that the
    server names."""

    state: str | None = None
    """The key of the state in a request; None: that of the server, or none."""

    action: ActionContract | None = None
    """What its actions mean; None: what the server says."""

    key_file: Path | None = None
    """The file with the key that it asks for."""

    def __hash__(self) -> int:
        return hash((self.url, tuple(self.images.items()), self.state, self.key_file))

    @property
    def mapping(self) -> dict[str, Any]:
        """What is said for the server, as JSON values; empty if nothing is."""
        action = None if self.action is None else self.action.to_dict()
        said = {"images": dict(self.images), "state": self.state, "action": action}
        return {name: value for name, value in said.items() if value}


@dataclass(frozen=True)
class Server:
    """What a server says of itself in its first message, unchecked values left out."""

    name: str
    """Its name and version."""

    spec: Spec | None
    """The robot of its agent; None if it does not say it."""

    prompts: tuple[str, ...]
    """What its agent can be asked with."""

    environment: Mapping[str, Any]
    """The settings of the environment that its agent was trained in, as JSON values."""

    weights: str | None
    """A hash of its agent's weights."""

    tasks: tuple[str, ...]
    """What its agent was trained on, "suite/task"."""

    answers: Mapping[str, float]
    """How it changes what its agent decides, as far as it says so: chunk, max_change."""

    @property
    def is_own(self) -> bool:
        """Whether it describes its robot, and takes names of episodes and seeds."""
        return self.spec is not None


def server_at(remote: Remote) -> Server:
    """Return what a server says of itself.

    Raises:
        UserError: Nobody answers there.
    """
    connection = Connection(remote)
    server = connection.server()
    connection.renew()
    return server


class Connection:
    """A connection that is made when it is needed.

    Args:
        remote: Where it leads.
    """

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._socket: Any = None
        self._open_until_renewed = contextlib.ExitStack()
        self._first: Any = None

    def server(self) -> Server:
        """Return what the server says of itself."""
        self._open()
        return _server_of(self._first)

    def asked(self, request: Mapping[str, Any]) -> Any:
        """Return the answer to a request.

        Args:
            request: Values and arrays by key.

        Raises:
            UserError: There is none.
        """
        self._open()
        with self._errors():
            self._socket.send(pack(dict(request), "openpi"))
            data = self._socket.recv(timeout=_SECONDS)
        if isinstance(data, str):
            self.renew()
            line = " ".join(data.split())[:500]
            raise UserError(f"{self._remote.url} refused: {line}")
        return unpack(data, _LIMITS)

    def renew(self) -> None:
        """Begin with a new connection."""
        with contextlib.suppress(Exception):
            self._open_until_renewed.close()
        self._socket = None

    def _open(self) -> None:
        if self._socket is not None:
            return
        url = self._remote.url
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or not parts.hostname:
            raise UserError(f"{url} is no address of a server; expected ws://HOST:PORT")
        if parts.path.rstrip("/").endswith("/vla-eval"):
            raise UserError(f"{url} speaks vla-eval's protocol; expected the address of openpi's")
        client = load_package("websockets.sync.client", "a server", install_command("serve"))
        headers = {}
        if self._remote.key_file is not None:
            headers["Authorization"] = f"Api-Key {read_key(self._remote.key_file)}"
        # A proxy of the environment would be asked even for this machine.
        proxy = {"proxy": None} if parts.hostname in _LOOPBACK else {}
        with self._errors():
            connection = client.connect(
                url,
                additional_headers=headers,
                compression=None,
                max_size=_LIMITS.message_bytes,
                **proxy,
            )
            self._socket = self._open_until_renewed.enter_context(connection)
            data = self._socket.recv(timeout=_SECONDS)
        if isinstance(data, str):
            raise UserError(f"{url} refused: {' '.join(data.split())[:500]}")
        self._first = unpack(data, _LIMITS)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Errors of the connection as one line."""
        url = self._remote.url
        try:
            yield
        except UserError:
            raise
        except TimeoutError as error:
            self.renew()
            raise UserError(f"{url} did not answer within {_SECONDS:g} s") from error
        except ssl.SSLCertVerificationError as error:
            self.renew()
            raise UserError(
                f"{url} has a certificate that is not trusted here ({error.verify_message}); name "
                "the file of who signed it in the environment variable SSL_CERT_FILE"
            ) from error
        except OSError as error:
            self.renew()
            raise UserError(f"nobody serves at {url}: {error.strerror or error}") from error
        except Exception as error:  # of websockets, which has many
            self.renew()
            status = getattr(getattr(error, "response", None), "status_code", None)
            if status == 401:
                file = self._remote.key_file
                why = "asks for a key; give --remote.key-file FILE"
                if file is not None:
                    why = f"asks for another key than that in {file}"
                raise UserError(f"{url} {why}") from error
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UserError(f"the connection to {url} failed: {reason}") from error


def _server_of(values: Any) -> Server:
    """What a server's first message says; only what is as it should be."""
    if not isinstance(values, Mapping):
        values = {}
    spec = None
    with contextlib.suppress(UserError, ValueError, TypeError, KeyError, AttributeError):
        cameras = {str(name): _size(size) for name, size in values["cameras"].items()}
        states = tuple(str(name) for name in values["state"])
        name = str(values.get("embodiment", "robot"))
        spec = Spec(name, cameras, states, _contract(values["action"]))
    prompts, weights = values.get("prompts", ()), values.get("weights")
    environment, tasks = values.get("environment", {}), values.get("tasks", ())
    return Server(
        name=str(values.get("server", "a server without a name"))[:100],
        spec=spec,
        prompts=tuple(map(str, prompts)) if isinstance(prompts, list | tuple) else (),
        environment=dict(environment) if isinstance(environment, Mapping) else {},
        weights=str(weights)[:100] if weights is not None else None,
        tasks=tuple(
            str(task.get("name"))
            for task in (tasks if isinstance(tasks, list | tuple) else ())
            if isinstance(task, Mapping)
        ),
        answers={
            name: values[name]
            for name in ("chunk", "max_change")
            if isinstance(values.get(name), int | float)
        },
    )


def _size(value: Any) -> tuple[int, int]:
    height, width = value
    return int(height), int(width)


def _contract(values: Any) -> ActionContract:
    """An action contract of a stranger. Raises TypeError, KeyError or ValueError if it is none."""
    contract = ActionContract.from_dict(values)
    count = len(contract.names)
    texts = (contract.representation, contract.frame, *contract.names)
    numbers = (*contract.low, *contract.high, contract.control_rate_hz)
    if not count or len(contract.low) != count or len(contract.high) != count:
        raise ValueError("names, low and high differ in length")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a name is no text")
    if not np.isfinite(numbers).all() or contract.control_rate_hz <= 0:
        raise ValueError("a number is not finite, or the rate is not above 0")
    return contract


def read_contract(path: Path) -> ActionContract:
    """Read an action contract from a JSON file.

    Raises:
        UserError: The file cannot be read, or holds no contract.
    """
    try:
        if path.stat().st_size > _MAX_CONTRACT:
            raise UserError(f"{path} has more than {_MAX_CONTRACT} bytes; expected a contract")
        return _contract(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        fields = "representation, frame, names, low, high and control_rate_hz"
        raise UserError(f"{path} holds no action contract, an object with {fields}") from error
