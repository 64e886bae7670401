"""What a machine boots from: this system's kernel, a few of its modules, this interpreter and this source tree.

Nothing is downloaded. The interpreter, the libraries that the forwarder needs and every shared object that
these load are copied into an ext4 image under the paths that they have here; the initramfs loads the drivers
and mounts that image, read-only, and the drive with the queue.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

from tests.campaigns.power.drive import SECTOR

REPOSITORY = Path(__file__).parents[3]
SITE = "/campaign"
"""Where the image keeps the source tree and the libraries."""

# The host can be reached at 10.0.2.2 (qemu's user network). Whatever ends the guest ends the machine.
_INIT = """#!/bin/busybox sh
/bin/busybox --install -s /bin
mkdir -p /proc /sys /dev /root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for module in $(cat /modules/order); do insmod /modules/$module; done
until [ -b /dev/vdb ] && [ -c /dev/vport0p1 ]; do sleep 0.05; done
fail() { echo "{\\"failed\\": \\"$1\\"}" >/dev/vport0p1; poweroff -f; }
[ "$(cat /sys/block/vdb/queue/write_cache)" = "write back" ] || fail "the drive shows no write cache"
mount -t ext4 -o ro /dev/vda /root || fail "the image with the forwarder cannot be mounted"
mount -t ext4 /dev/vdb /root/queue || fail "the file system of the queue cannot be mounted"
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
for folder in proc sys dev; do mount -o bind /$folder /root/$folder; done
mount -t tmpfs tmp /root/tmp
cd /root
chroot /root /bin/env -i PYTHONPATH=SITE PATH=/bin PYTHON -m tests.campaigns.power.guest
fail "the guest ended with $?"
"""
_DRIVERS = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "ext4")
# Of the standard library, what no daemon imports.
_NEEDLESS = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "config-*")


class MissingPackageError(Exception):
    """A program or a file that the campaign needs is not there; the message names the package."""


@dataclass(frozen=True, slots=True)
class Image:
    """Files that every machine of a campaign shares and none of them changes."""

    kernel: Path
    initramfs: Path
    root: Path


def build_image(folder: Path) -> Image:
    """Put everything that a machine boots from into a folder; raises MissingPackageError."""
    qemu()
    kernel, version = _kernel()
    initramfs, root = folder / "initramfs", folder / "root.ext4"
    busybox = _program("busybox", "busybox-static")
    initramfs.write_bytes(gzip.compress(_archive(_initramfs_files(busybox, version)), compresslevel=1))
    stage = folder / "stage"
    _fill(stage, busybox)
    # Compiled here: the machine computes many times slower than this one, and its image is read-only.
    subprocess.run(
        [
            sys.executable,
            "-m",
            "compileall",
            "-q",
            "-f",
            "--invalidation-mode",
            "unchecked-hash",
            str(stage / SITE[1:]),
        ],
        check=True,
    )
    make_ext4(root, 64 + _size(stage) * 5 // 4 // 2**20, stage)
    shutil.rmtree(stage)
    return Image(kernel, initramfs, root)


def make_ext4(path: Path, mebibytes: int, content: Path | None = None) -> None:
    """Make a file system; raises MissingPackageError."""
    words = [_program("mkfs.ext4", "e2fsprogs"), "-q", "-F", "-E", "root_owner=0:0", "-b", str(SECTOR)]
    if content is not None:
        words += ["-d", str(content)]
    path.unlink(missing_ok=True)
    subprocess.run([*words, str(path), f"{mebibytes}M"], check=True, stdout=subprocess.DEVNULL)


def qemu() -> str:
    """Return the program that runs the machines; raises MissingPackageError."""
    return _program("qemu-system-x86_64", "qemu-system-x86")


def _program(name: str, package: str) -> str:
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if found is None:
        raise MissingPackageError(f"{name} is missing: apt-get install {package}")
    return found


def _kernel() -> tuple[Path, str]:
    """Return the newest kernel whose modules are there, and its version."""
    for kernel in sorted(Path("/boot").glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime, reverse=True):
        version = kernel.name.removeprefix("vmlinuz-")
        if _modules(version).is_dir() and os.access(kernel, os.R_OK):
            return kernel, version
    raise MissingPackageError("there is no kernel in /boot that can be read: apt-get install linux-image-cloud-amd64")


def _modules(version: str) -> Path:
    return Path("/lib/modules") / version


# --- the initramfs ---------------------------------------------------------------------------------


def _initramfs_files(busybox: str, version: str) -> dict[str, bytes]:
    """Return the files by their paths: busybox, the init script, and the drivers in the order of loading."""
    drivers = list(_drivers(version))
    python = os.path.realpath(sys.executable)
    files = {f"modules/{path.name.split('.')[0]}.ko": _unpacked(path) for path in drivers}
    files["modules/order"] = "".join(f"{name.removeprefix('modules/')}\n" for name in files).encode()
    files["init"] = _INIT.replace("SITE", SITE).replace("PYTHON -m", f"{python} -m").encode()
    for path in [busybox, *_libraries([Path(busybox)])]:
        files["bin/busybox" if path == busybox else str(path).lstrip("/")] = Path(path).read_bytes()
    return files


def _drivers(version: str) -> Iterator[Path]:
    """Yield the modules to load, each after those that it needs (modules.dep(5)); what is built in is left out."""
    needs: dict[str, list[str]] = {}
    for line in (_modules(version) / "modules.dep").read_text(encoding="utf-8").splitlines():
        name, _, others = line.partition(":")
        needs[_driver_name(name)] = [name, *others.split()]
    seen: set[str] = set()
    for driver in _DRIVERS:
        # The file names what is needed from the nearest to the farthest.
        for name in reversed(needs.get(driver, [])):
            if name not in seen:
                seen.add(name)
                yield _modules(version) / name


def _driver_name(path: str) -> str:
    return Path(path).name.split(".")[0].replace("-", "_")


def _unpacked(path: Path) -> bytes:
    match path.suffix:
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case ".ko":
            return path.read_bytes()
    raise MissingPackageError(f"{path} is packed in a way that is not known here: install linux-image-cloud-amd64")


def _archive(files: dict[str, bytes]) -> bytes:
    """Return a cpio archive in the newc format (cpio(5)), with the folders that the files lie in."""
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    entries = [(name, 0o40755, b"") for name in sorted(folders)]
    entries += [(name, 0o100755, data) for name, data in files.items()]
    return b"".join(_entry(name, mode, data) for name, mode, data in [*entries, ("TRAILER!!!", 0, b"")])


def _entry(name: str, mode: int, data: bytes) -> bytes:
    fields = (0, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


# --- the image with the forwarder ------------------------------------------------------------------


def _fill(stage: Path, busybox: str) -> None:
    for name in ("proc", "sys", "dev", "tmp", "queue", "bin"):
        (stage / name).mkdir(parents=True)
    python = Path(os.path.realpath(sys.executable))
    _copy(python, stage / str(python).lstrip("/"))
    for name in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}:
        _copy(Path(name), stage / name.lstrip("/"), without=_NEEDLESS)
    for name in ("forwarder", "tests"):
        _copy(REPOSITORY / name, stage / SITE.lstrip("/") / name)
    for name in _requirements("event-forwarder", set()):
        _copy_distribution(name, stage / SITE.lstrip("/"))
    _copy(Path(busybox), stage / "bin/busybox")
    (stage / "bin/env").symlink_to("busybox")
    objects = [path for path in stage.rglob("*.so*") if path.is_file()]
    for name in _libraries([python, Path(busybox), *objects]):
        _copy(Path(name), stage / name.lstrip("/"))


def _copy(source: Path, target: Path, without: tuple[str, ...] = ()) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(*without))
    else:
        shutil.copy2(source, target)


def _requirements(name: str, seen: set[str]) -> set[str]:
    """Return the names of all distributions that one needs, without extras; what is not installed is not needed."""
    for requirement in distribution(name).requires or []:
        other = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        if "extra ==" in requirement or other in seen or not _is_installed(other):
            continue
        seen.add(other)
        _requirements(other, seen)
    return seen


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except ModuleNotFoundError:
        return False
    return True


def _copy_distribution(name: str, site: Path) -> None:
    for file in distribution(name).files or []:
        source = Path(str(file.locate()))
        # Scripts lie outside of the folder that packages are imported from.
        if ".." not in file.parts and source.is_file():
            _copy(source, site / str(file))


def _libraries(objects: list[Path]) -> set[str]:
    """Return the paths of all shared libraries that these load, and of the loader (ldd(1))."""
    found: set[str] = set()
    for first in range(0, len(objects), 50):
        done = subprocess.run(
            ["ldd", *map(str, objects[first : first + 50])], capture_output=True, text=True, check=False
        )
        found |= set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", done.stdout, flags=re.MULTILINE))
    return found


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
