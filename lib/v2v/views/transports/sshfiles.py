# SPDX-License-Identifier: GPL-2.0-or-later
"""What libssh reads: the user's own keys and known hosts, and what ssh_config(5) names.

Of the system's folder the host's own keys are left out.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

# Who a user is; keys and hosts that all users share.
_SYSTEM = (
    *("/etc/passwd", "/etc/group", "/var/lib/sss/pipes", "/run/nscd/socket"),
    *("/etc/ssh/ssh_config", "/etc/ssh/ssh_config.d", "/etc/libssh"),
    *("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"),
)
# Settings whose values are names of files.
_NAMING = {
    *("identityfile", "certificatefile", "identityagent", "include"),
    *("userknownhostsfile", "globalknownhostsfile"),
}
_WORD = re.compile(r'"([^"]*)"|([^\s"=]+)')
_LONGEST = 2**20  # bytes of a configuration


def needed(config: str | None) -> list[Path]:
    """Return the files and folders that a connection may take.

    *config* is the configuration in place of the user's own, if there is one.
    """
    home = Path.home() / ".ssh"
    own = Path(config) if config else home / "config"
    found = [home, own.absolute(), *map(Path, _SYSTEM), *_named(own)]
    if agent := os.environ.get("SSH_AUTH_SOCK"):
        found.append(Path(agent))
    return found


def _named(config: Path) -> Iterator[Path]:
    """Yield the files that *config* names; not those of one that it includes."""
    try:
        with config.open(errors="replace") as file:
            text = file.read(_LONGEST)
    except (OSError, ValueError):
        return  # there is none, or libssh says what is wrong with it
    for line in text.splitlines():
        words = [quoted or plain for quoted, plain in _WORD.findall(line)]
        if words and words[0].lower() in _NAMING:
            for word in words[1:]:
                path = Path(word.replace("%d", str(Path.home()), 1))
                if word.startswith("~/"):
                    path = Path.home() / word[2:]
                if path.is_absolute() and len(path.parts) > 2:
                    yield path
