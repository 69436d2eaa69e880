# SPDX-License-Identifier: GPL-2.0-or-later
"""Which modules the guest loads by name: those of the old hardware fail on the new.

A failed one leaves systemd "degraded".  Lines are put out, not removed: who reads the
file later sees what was there.
"""

from __future__ import annotations

import re

_OLD = re.compile(
    r"vmw_(?!vsock_virtio)\w+|vmxnet\w*|vmhgfs|vmmemctl|vmblock|vmci|vmsync|pvscsi"
    r"|vbox(?:guest|sf|video)|prl_\w+|hv_\w+|hyperv_\w+"
    r"|xen_(?:blkfront|netfront|fbfront|kbdfront|vnif|vbd|platform_pci)|xen(?:net|blk)"
)
_CARDS = re.compile(
    r"vmxnet\w*|pcnet32|e1000e?|hv_netvsc|netvsc|xennet|xen_vnif|xen_netfront|vlance"
)
_ALIAS = re.compile(
    r"([ \t]*alias[ \t]+)(eth\d+|scsi_hostadapter\d*)([ \t]+)(\S+)(.*)", re.S
)
_PUT_OUT = "# not on KVM: "


def loaded(text: str) -> str:
    """Return *text* of modules-load.d(5) or modules(5) without the old hardware's."""
    return "".join(
        _PUT_OUT + line if _is_old(line) else line
        for line in text.splitlines(keepends=True)
    )


def _is_old(line: str) -> bool:
    words = line.split(maxsplit=1)
    return bool(words) and _OLD.fullmatch(words[0].replace("-", "_")) is not None


def aliases(text: str) -> str:
    """Return *text* of a modprobe.conf whose aliases name the drivers for virtio.

    For the mkinitrd of Red Hat 5 and before, which puts these drivers into an initrd.
    """
    lines = []
    has_disk = False
    for line in text.splitlines(keepends=True):
        match = _ALIAS.fullmatch(line)
        if match and match[2].startswith("eth"):
            driver = "virtio_net" if _is_card(match[4]) else match[4]
            line = f"{match[1]}{match[2]}{match[3]}{driver}{match[5]}"
        elif match and not has_disk:
            has_disk = True
            line = f"{match[1]}{match[2]}{match[3]}virtio_blk{match[5]}"
        elif match:
            line = _PUT_OUT + line
        lines.append(line)
    if not has_disk:
        before = "" if not lines or lines[-1].endswith("\n") else "\n"
        lines.append(f"{before}alias scsi_hostadapter virtio_blk\n")
    return "".join(lines)


def _is_card(driver: str) -> bool:
    return _CARDS.fullmatch(driver.replace("-", "_")) is not None
