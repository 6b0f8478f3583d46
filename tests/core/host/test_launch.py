"""Variables of launchers: several processes, one alone, and what other work has left behind."""

from __future__ import annotations

import socket

import pytest
import torch

from manyparts.core.errors import UserError
from manyparts.core.host import launchers as distributed
from manyparts.core.host.launchers import VARIABLES, Launch, launched_with_others
from manyparts.training.distributed.ranks import torchrun_ranks

WHOLE = {
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "1",
}


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch):
    """Set these of a launcher, and no others."""

    def put(values: dict[str, str]) -> None:
        for name in (
            *VARIABLES,
            "LOCAL_WORLD_SIZE",
            "TORCHELASTIC_RUN_ID",
            "SLURM_NTASKS",
            "PMI_SIZE",
        ):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"RANK": "3"},
        {"WORLD_SIZE": ""},
        {"WORLD_SIZE": "1"},
        WHOLE | {"WORLD_SIZE": "1", "MASTER_PORT": "taken"},
    ],
    ids=["nothing", "a rank alone", "empty", "one", "one, all set"],
)
def test_a_single_process_joins_nobody(variables, values: dict[str, str]) -> None:
    variables(values)
    assert launched_with_others() is None
    with torchrun_ranks(torch.device("cpu")) as ranks:
        assert (ranks.rank, ranks.world) == (0, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0"},
            "MASTER_ADDR, MASTER_PORT are not set",
        ),
        (
            {name: value for name, value in WHOLE.items() if name != "LOCAL_RANK"},
            "LOCAL_RANK is not set",
        ),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE is 'many'"),
        ({"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        (WHOLE | {"RANK": "2"}, "RANK is '2'; expected 0 to 1"),
        (WHOLE | {"MASTER_PORT": "99999"}, "MASTER_PORT is '99999'"),
    ],
)
def test_inconsistent_variables_are_named(variables, values: dict[str, str], message: str) -> None:
    variables(values)
    with pytest.raises(
        UserError, match=rf"{message}.*unset WORLD_SIZE RANK LOCAL_RANK MASTER_ADDR MASTER_PORT"
    ):
        launched_with_others()


@pytest.mark.parametrize(
    ("more", "patient"),
    [
        ({}, False),
        ({"TORCHELASTIC_RUN_ID": "x"}, True),
        ({"SLURM_NTASKS": "2"}, True),
        ({"SLURM_NTASKS": "1"}, False),
    ],
)
def test_launchers_get_a_longer_timeout(variables, more: dict[str, str], patient: bool) -> None:
    variables(WHOLE | more)
    launched = launched_with_others()
    assert launched is not None and (launched.patience_seconds > 60) == patient


@pytest.mark.parametrize("rank", ["0", "1"])
def test_missing_processes_are_an_error(variables, monkeypatch, rank: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    variables(WHOLE | {"RANK": rank, "MASTER_PORT": port})
    monkeypatch.setattr(
        distributed, "_TIMEOUT_SECONDS_WITHOUT_LAUNCHER", 0.0 if rank == "1" else 1.0
    )
    expected = (
        rf"not all 2 training processes came to 127.0.0.1:{port} .*torchrun, or .*unset WORLD_SIZE"
    )
    with pytest.raises(UserError, match=expected), torchrun_ranks(torch.device("cpu")):
        pass


def test_waiting_names_the_address() -> None:
    launched = Launch(0, 0, 3, 3, "node1", 29500, 30.0)
    assert launched.waiting() == "WORLD_SIZE is 3: waiting for 2 other processes at node1:29500"
