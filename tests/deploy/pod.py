"""A pod as a node runs it: what the manifest says about volumes, users and probes, carried out by podman.

Volumes get the owners and modes that the kubelet gives them (Kubernetes: "Configure a Security
Context for a Pod", fsGroup; Secrets and ConfigMaps are links into a folder that is swapped). All
containers of the pod share the network of this machine. A field that is not known here fails the
test, since a pod that ignores half of its manifest proves nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from tests.deploy.engine import Engine

Fields = dict[str, Any]
_KNOWN = {
    *("name", "image", "args", "restartPolicy", "securityContext", "volumeMounts", "resources"),
    *("startupProbe", "livenessProbe", "readinessProbe"),
}


class Pod:
    """The first pod of a StatefulSet. `commands` are the arguments of containers that have none there."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        manifest: str,
        secrets: Mapping[str, bytes],
        commands: Mapping[str, Sequence[str]],
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._secrets = secrets
        self._commands = commands
        self._documents: list[Fields] = list(yaml.safe_load_all(manifest))
        (stateful_set,) = (found["spec"] for found in self._documents if found["kind"] == "StatefulSet")
        self._spec: Fields = stateful_set["template"]["spec"]
        self._group: int = self._spec["securityContext"]["fsGroup"]
        self._prefix = f"pod-{os.urandom(3).hex()}"
        self.volumes: dict[str, Path] = {}
        for volume in self._spec["volumes"]:
            self.volumes[volume["name"]] = self._volume(volume)
        for claim in stateful_set["volumeClaimTemplates"]:
            self.volumes[claim["metadata"]["name"]] = self._writable(claim["metadata"]["name"], 0o755)
        self.sidecars: list[Fields] = self._spec["initContainers"]
        self.containers: list[Fields] = self._spec["containers"]

    # --- volumes -------------------------------------------------------------------------------

    def _volume(self, volume: Fields) -> Path:
        match volume:
            case {"name": name, "emptyDir": {}}:
                return self._writable(name, 0o777)
            case {"name": name, "configMap": {"name": source}}:
                (found,) = (
                    document["data"]
                    for document in self._documents
                    if document["kind"] == "ConfigMap" and document["metadata"]["name"] == source
                )
                return self._projected(name, {file: text.encode() for file, text in found.items()}, 0o644)
            case {"name": name, "secret": {"secretName": _, "defaultMode": mode}}:
                return self._projected(name, self._secrets, mode)
        raise AssertionError(f"an unknown kind of volume: {volume}")

    def _writable(self, name: str, mode: int) -> Path:
        folder = self._folder / name
        folder.mkdir()
        os.chown(folder, 0, self._group)
        folder.chmod(mode | 0o2770)
        return folder

    def _projected(self, name: str, files: Mapping[str, bytes], mode: int) -> Path:
        folder = self._folder / name
        (folder / "..now").mkdir(parents=True)
        (folder / "..data").symlink_to("..now")
        for file, content in files.items():
            target = folder / "..now" / file
            target.write_bytes(content)
            os.chown(target, 0, self._group)
            target.chmod(mode | 0o440)
            (folder / file).symlink_to(f"..data/{file}")
        return folder

    # --- containers ----------------------------------------------------------------------------

    async def start(self, container: Fields) -> None:
        """Start a container of the pod."""
        await self._engine.podman(
            *("run", "--detach", f"--name={self.name(container)}", "--network=host", *self._options(container)),
            *(container["image"], *container.get("args", self._commands.get(container["name"], ()))),
        )

    def _options(self, container: Fields) -> list[str]:
        assert container.keys() <= _KNOWN, container.keys() - _KNOWN
        context: Fields = dict(container["securityContext"])
        # A user without a group is in group 0.
        options = [f"--user={context.pop('runAsUser')}:{context.pop('runAsGroup', 0)}", f"--group-add={self._group}"]
        if not context.pop("allowPrivilegeEscalation"):
            options.append("--security-opt=no-new-privileges")
        if context.pop("readOnlyRootFilesystem", False):
            options += ["--read-only", "--read-only-tmpfs=false"]
        options += [f"--cap-drop={name}" for name in context.pop("capabilities", {}).get("drop", ())]
        assert not context, f"unknown: {context}"
        for mount in container["volumeMounts"]:
            mode = "ro" if mount.get("readOnly") else "rw"
            options.append(f"--volume={self.volumes[mount['name']]}:{mount['mountPath']}:{mode}")
        if memory := container.get("resources", {}).get("limits", {}).get("memory"):
            options.append(f"--memory={memory.removesuffix('i').lower()}")
        return options

    async def probe(self, container: Fields, kind: str) -> bool:
        """Whether a probe of a container passes, within its own timeout."""
        probe: Fields = container[kind]
        command: list[str] = probe["exec"]["command"]
        done = await self._engine.outcome(
            "exec", self.name(container), "timeout", "-s", "KILL", str(probe["timeoutSeconds"]), *command
        )
        return done.returncode == 0

    async def stop(self, container: Fields, seconds: int) -> int:
        """Stop a container; return its exit code."""
        await self._engine.podman("stop", f"--time={seconds}", self.name(container))
        code = await self._engine.podman("inspect", "--format={{.State.ExitCode}}", self.name(container))
        return int(code)

    def name(self, container: Fields) -> str:
        """Return podman's name of a container."""
        return f"{self._prefix}-{container['name']}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        names = [self.name(container) for container in (*self.containers, *self.sidecars)]
        await self._engine.podman("rm", "--force", "--ignore", "--time=0", *names)
