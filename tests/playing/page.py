"""Servers of `manyparts play`, and a client that is no browser."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from websockets.sync.client import connect


class Playing:
    """A server in a process of its own.

    Attributes:
        url: Of its page, with the token.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path, url: str) -> None:
        self.process, self.log, self.url = process, log, url
        self.origin, _, self.query = url.partition("/?")
        self.socket_url = self.origin.replace("http", "ws", 1) + "/socket?" + self.query

    def stopped(self, number: int = signal.SIGINT) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.process.wait(timeout=30)

    def fetched(self, path: str, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
        """Status, body and headers of a plain request."""
        asked = urllib.request.Request(f"{self.origin}{path}", headers=headers)
        try:
            with urllib.request.urlopen(asked, timeout=10) as response:
                return response.status, response.read(), dict(response.headers)
        except urllib.error.HTTPError as error:
            return error.code, error.read(), dict(error.headers)


@contextlib.contextmanager
def playing(folder: Path, *arguments: str) -> Iterator[Playing]:
    """A server at a free port, with its log in a folder."""
    log = folder / "play.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "manyparts", "play", *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            yield Playing(process, log, _url(process, log))
        finally:
            process.kill()
            process.wait()


def _url(process: subprocess.Popen[str], log: Path) -> str:
    for _ in range(1200):
        text = log.read_text()
        if "Ctrl-C ends" in text:
            return re.findall(r"open (http\S+)", text)[0]
        assert process.poll() is None, text
        time.sleep(0.05)
    raise AssertionError(log.read_text())


class Page:
    """A client that speaks as the page does."""

    def __init__(self, served: Playing) -> None:
        proxy: Any = {"proxy": None}
        self._connection = connect(
            served.socket_url, origin=served.origin, compression=None, **proxy
        )
        self.socket = self._connection.__enter__()
        self.frame: dict[str, Any] = {}
        self.pictures: dict[str, bytes] = {}
        self.counts: list[dict[str, Any]] = []
        self.hello, self.task = self.until("hello"), self.until("task")

    def __enter__(self) -> Page:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def received(self) -> dict[str, Any]:
        """The next message; frames are acknowledged, and kept."""
        data = self.socket.recv(timeout=30)
        if isinstance(data, str):
            message = json.loads(data)
            if message["type"] == "counts":
                self.counts = message["rows"]
            return message
        (size,) = struct.unpack(">I", data[:4])
        self.frame, self.pictures, at = json.loads(data[4 : 4 + size]), {}, 4 + size
        for name, length in self.frame["pictures"]:
            self.pictures[name] = data[at : at + length]
            at += length
        assert at == len(data)
        self.send("ack", frame=self.frame["frame"])
        return {"type": "frame", **self.frame}

    def until(self, kind: str, **values: Any) -> dict[str, Any]:
        """The next message of a kind with these values."""
        for _ in range(5000):
            message = self.received()
            if message["type"] == kind and all(message[key] == values[key] for key in values):
                return message
            assert message["type"] != "refused", message["text"]
        raise AssertionError(f"no {kind} with {values}")

    def asked(self, kind: str, **fields: Any) -> str:
        """What the server says or refuses when it is asked for something."""
        self.send(kind, **fields)
        while True:
            message = self.received()
            if message["type"] in ("said", "refused"):
                return message["text"]

    def steps(self, count: int) -> None:
        """Take single steps, and wait until they are done."""
        step = self.frame.get("step", 0)
        for _ in range(count):
            self.send("step")
        self.until("frame", step=step + count)
