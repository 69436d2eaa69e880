# SPDX-License-Identifier: GPL-2.0-or-later
"""A libvirtd of our own, for tests.

The daemon runs in a mount namespace with empty state folders: it sees nothing of this
host's libvirt, and this host nothing of it but a socket in a temporary folder.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines import KEEP_PRIVATE, own_mounts
from v2v.targets import libvirt as target

libvirt: Any = pytest.importorskip("libvirt")

_WITH_NVRAM = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM

# No core files: sudo sets a limit of none, which only a few may raise.
# There is no /dev/kvm: to ask a QEMU whose KVM hangs what it can do takes seconds.
_DAEMON = (
    f"set -e{KEEP_PRIVATE}"
    """
mount -t tmpfs none /run
for folder in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
    mkdir -p "$folder"
    mount -t tmpfs none "$folder"
done
mkdir -p /run/dev/pts /run/dev/shm
cp -a /dev/null /dev/zero /dev/random /dev/urandom /dev/tty /dev/ptmx /run/dev
mount --bind /dev/pts /run/dev/pts
mount --rbind /run/dev /dev
mkdir /run/libvirt
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
max_core = 0
END
cat >/run/libvirtd.conf <<END
unix_sock_dir = "$0"
auth_unix_rw = "none"
END
setpriv --pdeathsig KILL virtlogd -p /run/virtlogd.pid &
exec libvirtd -f /run/libvirtd.conf -p "$0/libvirtd.pid"
"""
)


@pytest.fixture(scope="session")
def daemon(requires: Callable[..., None]) -> Iterator[tuple[str, int]]:
    """Start a libvirtd; yield its URI and its process."""
    requires("libvirtd", "virtlogd", "unshare", "setpriv", "qemu-system-x86_64")
    if os.getuid():
        pytest.skip("needs root")
    folder = Path(tempfile.mkdtemp(prefix="v2v-libvirtd-"))
    uri = f"qemu:///system?socket={folder}/libvirt-sock"
    tied = ["setpriv", "--pdeathsig", "KILL", *own_mounts()]
    with (folder / "log").open("w") as log:
        command = [*tied, "sh", "-c", _DAEMON, str(folder)]
        child = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        _wait_for(uri, child, folder)
        yield uri, child.pid
    finally:
        child.terminate()
        child.wait(20)
        shutil.rmtree(folder)


def _wait_for(uri: str, child: subprocess.Popen[bytes], folder: Path) -> None:
    end = time.monotonic() + 60
    while not target.answers(uri):
        if child.poll() is not None or time.monotonic() > end:
            pytest.fail(f"libvirtd did not start: {(folder / 'log').read_text()}")
        time.sleep(0.1)


@pytest.fixture
def uri(daemon: tuple[str, int]) -> Iterator[str]:
    """The URI of a libvirtd on which there is nothing."""
    uri, _ = daemon
    yield uri
    connection = libvirt.open(uri)
    for known in connection.listAllDomains():
        if known.isActive():
            known.destroy()
        known.undefineFlags(_WITH_NVRAM)
    for network in connection.listAllNetworks():
        if network.isActive():
            network.destroy()
        network.undefine()
    for pool in connection.listAllStoragePools():
        pool.destroy()
        pool.undefine()
    connection.close()


@pytest.fixture
def connection(uri: str) -> Iterator[Any]:
    connection = libvirt.open(uri)
    yield connection
    connection.close()
