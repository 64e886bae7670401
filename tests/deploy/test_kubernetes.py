"""config/kubernetes.yaml: right by the schemas of Kubernetes, and at work as a node would run it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from forwarder import __version__
from forwarder.config import load
from forwarder.receiver.server import Receiver
from forwarder.signing import Signer, generate_key
from tests.deploy.engine import BASE, IMAGE, PROJECT, UID, Engine, needs_containers
from tests.deploy.pod import Pod
from tests.deploy.sidecar import LOCAL
from tests.integration.process import PATIENCE, request
from tests.queue.building import numbers

FILE = PROJECT / "config/kubernetes.yaml"
TEXT = FILE.read_text(encoding="utf-8")


def documents() -> dict[str, Any]:
    """Return the documents of the file by their kind."""
    return {document["kind"]: document for document in yaml.safe_load_all(TEXT)}


# The first that knows native sidecars, and the latest that the validator knows.
@pytest.mark.parametrize("version", [["-k", "1.29"], []])
def test_schema(version: list[str]) -> None:
    """The file fits the schemas, and has no field that Kubernetes would not know."""
    words = [sys.executable, "-m", "kubernetes_validate", "--strict", *version, str(FILE)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed for resource") == 3


def test_configuration(tmp_path: Path) -> None:
    """The configuration in it is one, the image is of this version, and a pod has longer to stop than the forwarder."""
    found = documents()
    file = tmp_path / "forwarder.yaml"
    file.write_text(found["ConfigMap"]["data"]["forwarder.yaml"], encoding="utf-8")
    config = load(file, {})
    pod = found["StatefulSet"]["spec"]["template"]["spec"]
    (sidecar,) = pod["initContainers"]
    assert sidecar["image"] == f"event-forwarder:{__version__}"
    assert sidecar["restartPolicy"] == "Always"
    assert pod["securityContext"]["fsGroup"] == sidecar["securityContext"]["runAsUser"] == UID
    assert pod["terminationGracePeriodSeconds"] > config.shutdown_timeout + 5
    (claim,) = found["StatefulSet"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "2Gi"
    assert config.queue.max_bytes <= 1 << 30


@pytest.mark.system
@needs_containers
async def test_pod(engine: Engine, tmp_path: Path) -> None:
    """The sidecar starts first and stops last; the application's events arrive, with its last one; the probes tell."""
    engine.command("podman", "tag", IMAGE, f"localhost/event-forwarder:{__version__}")
    engine.command("podman", "tag", BASE, "localhost/my-application")
    key = generate_key(2048)
    (tmp_path / "key.pem").touch(mode=0o600)
    (tmp_path / "key.pem").write_bytes(key)
    async with Receiver(LOCAL, public_keys=[Signer.load(tmp_path / "key.pem").public("pem")]) as receiver:
        text = TEXT.replace("https://example.event.10duke.com/put", receiver.url)
        assert text != TEXT
        program = Path(__file__).with_name("application.py").read_text(encoding="utf-8")
        commands = {"application": ["python3", "-c", program]}
        async with Pod(engine, tmp_path, text, {"forwarder-key.pem": key}, commands) as pod:
            (sidecar,), (application,) = pod.sidecars, pod.containers
            await pod.start(sidecar)
            await passes(pod, sidecar, "startupProbe")
            await pod.start(application)
            await receiver.wait_stored(10, PATIENCE)
            assert await pod.probe(sidecar, "readinessProbe")
            assert await pod.probe(sidecar, "livenessProbe")
            assert await pod.stop(application, 30) == 0
            assert await pod.stop(sidecar, 30) == 0
            assert numbers(receiver.events) == list(range(11))


@pytest.mark.system
@needs_containers
async def test_probes_of_a_full_queue(engine: Engine, tmp_path: Path) -> None:
    """With a full queue it is not ready, but starts and lives; without its admin socket it does not live."""
    engine.command("podman", "tag", IMAGE, f"localhost/event-forwarder:{__version__}")
    text = TEXT.replace("https://example.event.10duke.com/put", "http://127.0.0.1:1/put")
    text = text.replace("max_bytes: 1GiB", "max_bytes: 1MiB")
    async with Pod(engine, tmp_path, text, {"forwarder-key.pem": generate_key(2048)}, {}) as pod:
        (sidecar,) = pod.sidecars
        await pod.start(sidecar)
        await passes(pod, sidecar, "readinessProbe")
        event = {"eventSourceId": "app", "eventType": "login", "data": {"padding": "x" * 1000}}
        status = 202
        while status == 202:
            status, _ = await request(pod.volumes["sockets"] / "http.sock", "POST", "/v1/events", json=[event] * 100)
        assert status == 503
        assert not await pod.probe(sidecar, "readinessProbe")
        assert await pod.probe(sidecar, "startupProbe")
        assert await pod.probe(sidecar, "livenessProbe")
        (pod.volumes["admin"] / "admin.sock").unlink()
        assert not await pod.probe(sidecar, "livenessProbe")


async def passes(pod: Pod, container: dict[str, Any], kind: str) -> None:
    """Wait until a probe passes."""
    async with asyncio.timeout(PATIENCE):
        while not await pod.probe(container, kind):
            await asyncio.sleep(0.1)
