# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a driver is loaded when Windows starts, and why not.

The loader loads kernel drivers whose Start is 0 and that no StartOverride holds back:
Windows 8 and later note there, by the machine's configuration, which boot drivers this
machine does without (facts 2.5).  A StartOverride is never relied upon, whatever
machine it is for: a new SMBIOS UUID makes a new number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from v2v.guests.windows.registry import Registry

KERNEL_DRIVER, BOOT_START, DISABLED = 1, 0, 4
OVERRIDE = "StartOverride"

# Whether the system's folder has a driver's file, with the right architecture: by its
# path from there, in backslashes.
Present = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True)
class Services:
    """The services of one control set."""

    registry: Registry
    control_set: str
    present: Present

    def key(self, service: str) -> str:
        """Return the key of *service*."""
        return rf"{self.control_set}\Services\{service}"

    def exists(self, service: str) -> bool:
        """Whether there is such a service."""
        return bool(service) and self.registry.system.exists(self.key(service))

    def is_overridden(self, service: str) -> bool:
        """Whether some machine's configuration holds *service* back."""
        values = self.registry.system.values(rf"{self.key(service)}\{OVERRIDE}")
        return any(value.number != BOOT_START for value in values.values())

    def hindrance(self, service: str) -> str | None:
        """Return why *service* is not loaded at boot; None if it is."""
        if not self.exists(service):
            return f"{service} is not installed"
        system, key = self.registry.system, self.key(service)
        start = system.number(key, "Start")
        if system.number(key, "Type") != KERNEL_DRIVER:
            return f"{service} is no driver"
        if start == DISABLED:
            return f"{service} is disabled"
        if start != BOOT_START:
            return f"{service} is not started at boot (Start is {start})"
        if self.is_overridden(service):
            return f"{service} is overridden (StartOverride)"
        return self.absence(service)

    def absence(self, service: str) -> str | None:
        """Return that the file of *service* is not there, or of no use."""
        path = self.image(service)
        if path is None:
            return f"{service} has its driver outside of the system's folder"
        if not self.present(path):
            return f"{path} is missing, empty, or for another processor"
        return None

    def image(self, service: str) -> str | None:
        """Return the file of *service*, from the system's folder; None if elsewhere."""
        given = self.registry.system.text(self.key(service), "ImagePath")
        if not given:
            return rf"System32\drivers\{service}.sys"
        return relative(given, _roots(self.registry))


def relative(image: str, roots: Iterable[str]) -> str | None:
    r"""Return the path of *image* (an ImagePath) from the system's folder.

    As in "\\SystemRoot\\System32\\x.sys", "%SystemRoot%\\…", "\\??\\C:\\Windows\\…";
    without any of them it is from there (facts 2.5).  None if it leads elsewhere.
    """
    path = image.strip().strip('"').replace("/", "\\").removeprefix("\\??\\")
    lowered = path.lower()
    for root in roots:
        if lowered.startswith(root.lower() + "\\"):
            path = path[len(root) + 1 :]
            break
    else:
        if path.startswith("\\") or ":" in path or "%" in path:
            return None
    parts = [part for part in path.split("\\") if part]
    return None if ".." in parts or not parts else "\\".join(parts)


def _roots(registry: Registry) -> list[str]:
    version = r"Microsoft\Windows NT\CurrentVersion"
    named = registry.software.text(version, "SystemRoot")
    return ["\\SystemRoot", "%SystemRoot%", "%windir%", *([named] if named else [])]
