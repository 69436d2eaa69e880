# SPDX-License-Identifier: GPL-2.0-or-later
"""cloud-init, which on another machine may take the guest for a new one.

Then it would write the network configuration anew, over a static one, and wait for the
cloud that the machine came from.  Two files of its own kind keep it from both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from v2v.document import Guest
from v2v.guests.appliance import Appliance
from v2v.guests.linux import boot
from v2v.guests.linux.interfaces import is_configured
from v2v.guests.plan import Action, create

_MAIN = "/etc/cloud/cloud.cfg"
_PARTS = "/etc/cloud/cloud.cfg.d"
_NETWORK = f"{_PARTS}/99-v2v-network.cfg"
_SOURCES = f"{_PARTS}/99-v2v-datasource.cfg"
_MAX_FILES = 100
_MAX_TEXT = 2**18  # characters
# Found without asking a network, on any machine.
_LOCAL = {"NoCloud", "ConfigDrive"}
_OFF = re.compile(
    r"(?m)^network:[ \t]*(?:\n[ \t]+|\{[ \t]*)config:[ \t]*[\"']?disabled"
)
_LIST = re.compile(
    r"(?m)^datasource_list:[ \t]*"
    r"(?:\[([^\]]{0,2000})\]|((?:\n[ \t]*- *[^\n]{1,100}){1,50}))"
)


def plan(
    appliance: Appliance, guest: Guest, *, pinned: bool = False
) -> Iterator[Action]:
    """Yield what keeps cloud-init from undoing, or holding up, what the guest has.

    *pinned*: its network configuration is to stay even if it is not static yet.
    """
    if not appliance.g.is_file(_MAIN, followsymlinks=True) or _is_off(appliance):
        return
    texts = {
        path: text
        for path in (_MAIN, *appliance.glob(f"{_PARTS}/*.cfg")[:_MAX_FILES])
        if (text := appliance.read(path)) and len(text) <= _MAX_TEXT
    }
    if (pinned or _is_static(guest)) and not any(map(_OFF.search, texts.values())):
        yield create(
            _NETWORK,
            "# Made by v2v: the network is configured already.\n"
            "network: {config: disabled}\n",
            "cloud-init may not write the static network configuration anew",
        )
    lists = {p: found for p, text in texts.items() if (found := datasources(text))}
    last = max(lists, default=None)
    if last and is_of_cloud(lists[last]):
        yield create(
            # The last one holds.
            _SOURCES if last < _SOURCES else f"{last.removesuffix('.cfg')}_v2v.cfg",
            "# Made by v2v: the cloud of before is not here.\n"
            "datasource_list: [NoCloud, ConfigDrive]\n",
            f"cloud-init would wait for {', '.join(lists[last])[:200]} at each boot",
        )


def _is_off(appliance: Appliance) -> bool:
    if appliance.g.exists("/etc/cloud/cloud-init.disabled"):
        return True
    return "cloud-init=disabled" in boot.command_lines(appliance)


def _is_static(guest: Guest) -> bool:
    return any(i.method == "static" and is_configured(i) for i in guest.interfaces)


def datasources(text: str) -> list[str]:
    """Return the names in the last ``datasource_list`` of a cloud.cfg(5)."""
    found = [inline or block for inline, block in _LIST.findall(text)]
    return re.findall(r"\w+", found[-1]) if found else []


def is_of_cloud(names: list[str]) -> bool:
    """Whether all of *names* are places that only the old machine could ask.

    "None" is no place: cloud-init takes it where it has found no other.
    """
    real = set(names) - {"None"}
    return bool(real) and not real & _LOCAL
