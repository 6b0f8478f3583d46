"""Send messages of strangers to what reads them: random bytes, broken messages, odd values.

python scripts/serving/fuzz.py [--messages 1000000] [--seed 0]

Each message must be read or refused by a UserError of one line. Anything else ends the script with
the message.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Mapping
from typing import Any

import msgpack
import numpy as np

from manyparts.core.errors import UserError
from manyparts.core.messages import pack, unpack
from manyparts.core.spec import ActionContract, Spec
from manyparts.serving import openpi, vla_eval

SPEC = Spec(
    "arm",
    {"top": (8, 8)},
    ("x", "y"),
    ActionContract("velocity", "world", ("x", "y"), (-1.0, -1.0), (1.0, 1.0), 10.0),
)
_KEYS = ("observation/top", "observation/state", "prompt", "endpoint", "executed", "session_id")
_KEYS += ("seed", "goal/top", "demonstration/top", "demonstration/actions", "type", "payload")
_KEYS += ("seq", "images", "states", "task_description", "__ndarray__", "__image__")
_KEYS += ("data", "dtype", "shape", "format", "__npgeneric__")
_DTYPES = ("<f4", "|u1", "|O", "<c8", "f1", "<f16", "|V9", "<U4", "", "<i8", ">f8", "|b1")


def value_of(random_: random.Random, depth: int = 0) -> Any:
    """Return a value that a stranger may send."""
    kind = random_.randrange(14 if depth < 3 else 9)
    if kind == 0:
        return None
    if kind == 1:
        return random_.choice((True, False, -1, 0, 1, 3, 2**63 - 1, -(2**63), 10**6))
    if kind == 2:
        return random_.choice((0.0, -1.5, 1e308, float("nan"), float("inf")))
    if kind == 3:
        return random_.choice(_KEYS + _DTYPES + ("hello", "observation", "infer", "reset", "a\nb"))
    if kind == 4:
        return random_.randbytes(random_.randrange(40))
    if kind == 5:
        return np.zeros(tuple(random_.randrange(4) for _ in range(random_.randrange(4))))
    if kind == 6:
        return np.zeros((8, 8, 3), np.uint8)
    if kind == 7:
        return np.float32(random_.random())
    if kind == 8:
        return msgpack.ExtType(random_.randrange(128), b"x")
    if kind == 9:
        return [value_of(random_, depth + 1) for _ in range(random_.randrange(4))]
    if kind == 10:
        marker = random_.choice(("__ndarray__", b"__ndarray__", "__image__", "__npgeneric__"))
        names = ("dtype", "shape", "data", "format")
        return {marker: True} | {
            (name.encode() if isinstance(marker, bytes) else name): value_of(random_, depth + 1)
            for name in names
        }
    return {
        random_.choice(_KEYS): value_of(random_, depth + 1) for _ in range(random_.randrange(7))
    }


def message_of(random_: random.Random) -> bytes:
    """Return a message: values, or a sound message with some of its bytes changed."""
    if random_.random() < 0.1:
        return random_.randbytes(random_.randrange(200))
    try:
        data = bytearray(pack(value_of(random_), random_.choice(("openpi", "vla-eval"))))
    except (TypeError, ValueError, OverflowError):
        return b""
    for _ in range(random_.randrange(4) if random_.random() < 0.5 else 0):
        if data:
            data[random_.randrange(len(data))] = random_.randrange(256)
    return bytes(data[: random_.randrange(len(data) + 1)] if random_.random() < 0.1 else data)


def tried(data: bytes) -> bool:
    """Return whether a message is read. Errors that are none of ours are raised."""
    try:
        message = unpack(data)
        for part_of in (openpi.endpoint_of, vla_eval.parts_of):
            try:
                part_of(message)
            except UserError as error:
                assert "\n" not in str(error), str(error)
        if not isinstance(message, Mapping):
            return True
        for request_of in (openpi.request_of, vla_eval.request_of):
            try:
                request_of(message, SPEC)
            except UserError as error:
                assert "\n" not in str(error), str(error)
        return True
    except UserError as error:
        assert "\n" not in str(error), str(error)
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random_, read, begin = random.Random(options.seed), 0, time.monotonic()
    for number in range(1, options.messages + 1):
        data = message_of(random_)
        try:
            read += tried(data)
        except Exception:
            print(f"message {number}: {data!r}", file=sys.stderr)
            raise
        if number % 200_000 == 0:
            print(f"{number} messages, {read} read, {time.monotonic() - begin:.0f} s", flush=True)
    print(f"{options.messages} messages: {read} read, the others refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
