"""Talks to a server by openpi-client 0.1.2; prints what it got as JSON. usage: HOST PORT CAMERA"""

from __future__ import annotations

import json
import sys

import numpy as np
from openpi_client.action_chunk_broker import ActionChunkBroker
from openpi_client.websocket_client_policy import WebsocketClientPolicy


def request(number: int, camera: str) -> dict[str, object]:
    generator = np.random.default_rng(number)
    return {
        f"observation/{camera}": generator.integers(0, 256, (16, 16, 3), dtype=np.uint8),
        "observation/state": generator.uniform(-0.5, 0.5, 2),  # float64, as openpi's examples
        "prompt": "reach the red target",
    }


def main(host: str, port: str, camera: str) -> None:
    policy = WebsocketClientPolicy(host, int(port))
    answers = [policy.infer(request(number, camera)) for number in range(3)]
    broker = ActionChunkBroker(WebsocketClientPolicy(host, int(port)), action_horizon=2)
    single = [broker.infer(request(number, camera))["actions"] for number in (0, 0, 1, 1)]
    try:
        policy.infer({"prompt": "no image"})
        refused = ""
    except RuntimeError as error:
        refused = str(error)
    print(
        json.dumps(
            {
                "metadata": sorted(policy.get_server_metadata()),
                "actions": [answer["actions"].tolist() for answer in answers],
                "single": [action.tolist() for action in single],
                "refused": refused,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
