"""A node of Slurm on this machine, from Debian's slurm-wlm and munge."""

from __future__ import annotations

import contextlib
import getpass
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest
from clusters.commands import Commands, environment, wait_until

_CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class Slurm(Commands):
    """A cluster of one node with two cores, which may die."""

    def __init__(self, folder: Path) -> None:
        missing = [each for each in ("slurmctld", "slurmd", "munged") if shutil.which(each) is None]
        if missing:
            pytest.skip(f"no {', '.join(missing)}: sudo apt-get install slurm-wlm munge")
        if os.getuid() != 0:
            pytest.skip("the daemons of Slurm need root")
        # Sockets' paths must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="slurm", dir="/tmp"))
        config = self._folder / "slurm.conf"
        super().__init__(
            Path(sys.executable), "slurm:main", "--workers", "2", SLURM_CONF=str(config)
        )
        self._environment = environment({"SLURM_CONF": str(config)})
        for name in ("state", "spool"):
            (self._folder / name).mkdir()
        ports = []
        for _ in range(2):
            with socket.create_server(("127.0.0.1", 0)) as free:
                ports.append(free.getsockname()[1])
        host, user = socket.gethostname().partition(".")[0], getpass.getuser()
        config.write_text(_CONFIG.format(host=host, user=user, folder=self._folder, ports=ports))
        key = self._folder / "munge.key"
        key.write_bytes(secrets.token_bytes(1024))
        key.chmod(0o400)
        munge = self._folder / "munge"
        self._run("munged", "--force", f"--key-file={key}", f"--socket={munge}.socket",
                  f"--pid-file={munge}.pid", f"--log-file={munge}.log",
                  f"--seed-file={munge}.seed", "--num-threads=2")  # fmt: skip
        self._run("slurmctld")
        self.restore()

    def lose(self, process: int) -> bool:
        self._kill("slurmd")
        with contextlib.suppress(psutil.NoSuchProcess):
            for above in psutil.Process(process).parents():
                if "slurmstepd" in above.name():
                    above.kill()
        wait_until(lambda: self._state().startswith("down"), 120)
        return True

    def restore(self) -> None:
        self._run("slurmd")
        wait_until(lambda: self._state() in ("idle", "mixed", "allocated"), 120)

    def close(self) -> None:
        super().close()
        for name in ("slurmd", "slurmctld", "munge"):
            self._kill(name)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _state(self) -> str:
        """The node's, such as "idle" or "down*"."""
        return self._run("sinfo", "--noheader", "--format=%T").strip()

    def _kill(self, name: str) -> None:
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            process = psutil.Process(int((self._folder / f"{name}.pid").read_text()))
            process.kill()
            process.wait(60)

    def _run(self, *words: str) -> str:
        done = subprocess.run(
            words, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout
