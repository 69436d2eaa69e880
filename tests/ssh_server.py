# SPDX-License-Identifier: GPL-2.0-or-later
"""A real SSH server on this host, which lets this user in by a key of the test's."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines import KEEP_PRIVATE, own_mounts, wait_for


@dataclass(frozen=True)
class SshServer:
    """Where it is, and the folder with the client's configuration."""

    port: int
    folder: Path

    def url(self, path: Path) -> str:
        """Return the URL of the file at *path*."""
        return f"ssh://root@127.0.0.1:{self.port}{path}"

    def config(self, name: str = "known", host: str = "host", key: str = "user") -> str:
        """Return a configuration that knows the key *host*, and offers the key *key*.

        An empty *host* knows none.
        """
        known = self.folder / f"{name}-hosts"
        public = (self.folder / f"{host}.pub").read_text() if host else ""
        words = public.split()[:2]
        known.write_text(f"[127.0.0.1]:{self.port} {' '.join(words)}\n" if host else "")
        file = self.folder / f"{name}-config"
        file.write_text(
            f"Host *\n  UserKnownHostsFile {known}\n  GlobalKnownHostsFile {known}\n"
            f"  IdentityFile {self.folder / key}\n"
        )
        return str(file)


@contextmanager
def ssh(folder: Path) -> Iterator[SshServer]:
    """Run dropbear(8) with keys in *folder*, which must not exist.  Takes root.

    Root has a home of its own there: dropbear looks nowhere else for keys.  Debian's
    openssh-server would be started on the real host when it is installed.
    """
    folder.mkdir(mode=0o700)
    for name in ("other", "user", "stranger"):
        make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", ""]
        subprocess.run([*make, "-f", str(folder / name)], check=True)
    make = ["dropbearkey", "-t", "ed25519", "-f", str(folder / "host")]
    said = subprocess.run(make, check=True, capture_output=True, text=True).stdout
    public = next(line for line in said.splitlines() if line.startswith("ssh-ed25519"))
    (folder / "host.pub").write_text(public)
    home = folder / "home"
    (home / ".ssh").mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    allowed = home / ".ssh" / "authorized_keys"
    allowed.write_text((folder / "user.pub").read_text())
    allowed.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    script = KEEP_PRIVATE + (
        f"sed -E 's#^(root:.*):[^:]*:([^:]*)$#\\1:{home}:\\2#' /etc/passwd "
        f">{folder}/passwd\nmount --bind {folder}/passwd /etc/passwd\n"
        f"exec dropbear -F -E -s -p 127.0.0.1:{port} -r {folder}/host -P ''\n"
    )
    command = [*own_mounts(), "sh", "-c", script]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        assert wait_for(lambda: _answers(port), 10), (folder / "log").read_text()
        yield SshServer(port, folder)
    finally:
        server.terminate()
        server.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
