"""Encrypted connections, and a disk that fills up while episodes are recorded."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import numpy as np
import pytest
from evaluation.evaluating import make_run
from serving.served import Client, request, serving

from manyparts.data.dataset import EpisodeDataset

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


def test_connections_are_encrypted(run: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    make += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    make += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    flags = ("--certificate", str(certificate), "--private-key", str(key))
    with serving(run, tmp_path, *flags) as served:
        url = f"wss://127.0.0.1:{served.port}"
        assert url in served.log.read_text()
        client = Client(url, ssl=ssl.create_default_context(cafile=str(certificate)))
        assert np.isfinite(client.infer(request(0))["actions"]).all()
        with pytest.raises(ssl.SSLCertVerificationError):  # nobody vouches for it
            Client(url)
        with pytest.raises(Exception, match="did not receive a valid HTTP response"):
            Client(served.url)
        assert np.isfinite(client.infer(request(1))["actions"]).all()


def test_a_full_disk_ends_the_recording_alone(run: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = 'mount -t tmpfs -o size=512k none "$1" && shift && exec "$@"'
    within = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(small)]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*within, "true"], capture_output=True).returncode
    ):
        pytest.skip("this machine lets nobody mount a small file system")
    flags = ("--record", str(small / "set"), "--actions", "1")
    with serving(run, tmp_path, *flags, within=within) as served:
        for number in range(60):
            client = Client(served.url)
            for step in range(40):
                answer = client.infer(request(100 * number + step))
                assert np.isfinite(answer["actions"]).all()
            client.close()
            if "nothing more is recorded" in served.log.read_text():
                break
        said = [line for line in served.log.read_text().splitlines() if "--record" in line]
        assert len(said) == 1 and "nothing more is recorded" in said[0]
        assert "No space left" in said[0] or "disk full" in said[0]
        # As the server sees the folder, which is mounted for it alone.
        seen = Path(f"/proc/{served.process.pid}/root") / small.relative_to("/") / "set"
        assert 0 < EpisodeDataset.open(seen).num_episodes <= number
        assert np.isfinite(Client(served.url).infer(request(0))["actions"]).all()
