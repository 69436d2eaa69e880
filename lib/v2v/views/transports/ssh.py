# SPDX-License-Identifier: GPL-2.0-or-later
"""Files on a host that is reached by SSH, such as an ESXi: nbdkit-ssh-plugin(1).

The host's key must be known, and the user be let in by a key or an agent, or by the
password of --url-password.  libssh reads the user's own configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from v2v.errors import SourceError
from v2v.views.means import Means
from v2v.views.transports import nbdkit, sshfiles
from v2v.views.transports.found import BrokenOffError, Found
from v2v.views.urls import Url

# Where there is another configuration of ssh than the user's own.
CONFIG = "V2V_SSH_CONFIG"
_CONNECT = 30  # seconds
_MISSING = ("No such file", "No such path")
_CANNOT = "cannot open plugin"
# What nbdkit-ssh-plugin and libssh say, what it means, and what to do.
_REASONS = (
    (
        "host key for server changed",
        "the host key is another than the one that is known",
        "find out why; if it is right, remove the old one: ssh-keygen -R {host}",
    ),
    (
        "another type of key exists",
        "the host key is of another type than the one that is known",
        "find out why; if it is right, add it: ssh-keyscan {host}",
    ),
    (
        "host key is unknown",
        "the host key is not known",
        "connect once by ssh {login}, and compare the key with the host's own",
    ),
    (
        "could not find known_hosts",
        "the host key is not known",
        "connect once by ssh {login}, and compare the key with the host's own",
    ),
    (
        "authentication",
        "the host lets nobody in with the keys or the password at hand",
        "try ssh {login}; add a key to the agent or give --url-password FILE",
    ),
    (
        "Permission denied",
        "this user may not read the file",
        "name a user who may: ssh://USER@{host}/...",
    ),
    (
        "resolve hostname",
        "there is no host of this name",
        "check the name, and the network of this host",
    ),
    (
        "refused",
        "the host refuses the connection",
        "start the SSH service of the host, and check the port",
    ),
    (
        "connect to remote host",
        "the host cannot be reached",
        "check that it runs, that its SSH service is on, and the firewalls between",
    ),
)


def look(url: Url, means: Means) -> Found | None:
    """See Transport."""
    try:
        size = nbdkit.size(plugin(url, means), walls(means))
    except nbdkit.RefusedError as e:
        if any(reason in e.text for reason in _MISSING):
            return None
        raise refused(url, e) from e
    return Found(url=url, size=size)


def plugin(url: Url, means: Means) -> list[str]:
    """Return the parameters with which nbdkit serves *url*."""
    words = ["ssh", f"host={url.host}", f"path={url.path}", f"timeout={_CONNECT}"]
    if url.port:
        words.append(f"port={url.port}")
    if url.user:
        words.append(f"user={url.user}")
        if means.password:
            words.append(f"password=+{means.password}")
    if config := os.environ.get(CONFIG):
        words.append(f"config={config}")
    return words


def server(found: Found, means: Means) -> list[str]:
    """See Transport."""
    return nbdkit.command(plugin(found.url, means))


def walls(means: Means) -> list[str]:
    """See Transport."""
    password = [means.password] if means.password else []
    return nbdkit.walls(*sshfiles.needed(os.environ.get(CONFIG)), *password)


def pieces(found: Found, means: Means, start: int) -> Iterator[bytes]:
    """See Transport."""
    if start:
        raise BrokenOffError("nbdcopy goes on by itself, or not at all")
    yield from nbdkit.pieces(plugin(found.url, means), walls(means))


def refused(url: Url, e: nbdkit.RefusedError) -> SourceError:
    """Return the error for *url*, of which nbdkit says *e*."""
    host = f"[{url.host}]:{url.port}" if url.port else url.host
    login = f"-p {url.port} " if url.port else ""
    login += f"{url.user}@{url.host}" if url.user else url.host
    for said, reason, remedy in _REASONS:
        if said.lower() in e.text.lower():
            remedy = remedy.format(host=host, login=login)
            return SourceError(f"{url.shown()}: {reason}", remedy)
    return SourceError(f"{url.shown()} cannot be read: {e}", f"try sftp {login}")
