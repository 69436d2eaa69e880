# SPDX-License-Identifier: GPL-2.0-or-later
"""Which drivers of virtio-win a guest gets: those of its Windows, or of one before.

Never of a newer kernel, and what is taken instead is said.  The folders are found by
the names in their paths, so all layouts are alike (facts 2.1, 2.2).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from v2v.document import Finding, Windows
from v2v.errors import HostError
from v2v.guests.windows import inf as infs
from v2v.guests.windows import version
from v2v.guests.windows.inf import Inf
from v2v.guests.windows.virtio_win import WHERE, Media

log = logging.getLogger(__name__)

FINDINGS = ("virtio-win-missing", "virtio-win-fallback", "virtio-win-incomplete")
# Without these there is no disk, no network, or no agent.
REQUIRED = ("viostor", "vioscsi", "netkvm", "vioser")
# There was none for Windows before Vista.
_NEVER_OLD = frozenset({"vioscsi"})
_VISTA = 6000  # build
# In the order in which the first boot installs them; each may fail there.  Not
# qemufwcfg, which fwcfg replaces, nor smbus and qemupciserial, which only give names
# and once made the first boot fail for ever (virt-v2v issue 178).
OPTIONAL = (
    "balloon",
    "viorng",
    "pvpanic",
    "fwcfg",
    "vioinput",
    "viofs",
    "viomem",
    "viosock",
    "viogpudo",
    "qxl",
    "qxldod",
)
# Their NetKVM clashes with the one that is wanted (RHEL-56383).
_CLASHING = "sriov"
_UNUSED = (".pdb", ".doc", ".htm", ".html", ".md", ".txt")
MAX_DRIVER = 256 * 2**20  # bytes

# Folders by the id of the Windows; the second of each pair is of the same kernel.
_FOLDERS: dict[str, tuple[str, ...]] = {
    "winxp": ("xp",),
    "win2k3": ("2k3",),
    "win2k3r2": ("2k3",),
    "winvista": ("2k8",),
    "win2k8": ("2k8",),
    "win7": ("w7", "2k8r2"),
    "win2k8r2": ("2k8r2", "w7"),
    "win8": ("w8", "2k12"),
    "win2k12": ("2k12", "w8"),
    "win8.1": ("w8.1", "2k12r2"),
    "win2k12r2": ("2k12r2", "w8.1"),
    "win10": ("w10",),
    "win11": ("w11", "w10"),
    "win2k16": ("2k16", "w10"),
    "win2k19": ("2k19", "2k16", "w10"),
    "win2k22": ("2k22", "2k19", "2k16", "w10"),
    "win2k25": ("2k25", "2k22", "2k19", "2k16", "w10"),
}
_KNOWN = frozenset(name for names in _FOLDERS.values() for name in names)
# Of the kernel: what an INF's sections are decorated with.
_KERNELS = {
    "winxp": (5, 1),
    "win2k3": (5, 2),
    "win2k3r2": (5, 2),
    "winvista": (6, 0),
    "win2k8": (6, 0),
    "win7": (6, 1),
    "win2k8r2": (6, 1),
    "win8": (6, 2),
    "win2k12": (6, 2),
    "win8.1": (6, 3),
    "win2k12r2": (6, 3),
}
_ARCHES = {"x86": "i386", "i386": "i386", "amd64": "x86_64", "arm64": "aarch64"}
_AGENTS = {
    "x86_64": ("guest-agent/qemu-ga-x86_64.msi", "rhev-qga64.msi"),
    "i386": ("guest-agent/qemu-ga-i386.msi", "rhev-qga.msi"),
}


@dataclass(frozen=True, kw_only=True)
class Driver:
    """One driver: ``name`` is its INF's, without the end; ``files`` by lower-case name.

    ``folder`` is where it was found, ``system`` the Windows that is for ("w10");
    ``reason`` says why that one.
    """

    name: str
    folder: str
    system: str
    inf: Inf
    files: Mapping[str, bytes]
    required: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The drivers for one guest, in the order in which they are to be installed.

    ``agent`` is the installer of the guest agent, by its file's name.
    """

    drivers: tuple[Driver, ...]
    agent: tuple[str, bytes] | None = None
    release: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class _Found:
    """A driver's INF at ``path``, for a Windows and a processor."""

    name: str
    path: str
    system: str
    arch: str

    @property
    def folder(self) -> str:
        return self.path.rpartition("/")[0]


def selected(media: Media, windows: Windows, arch: str) -> Selection:
    """Return the drivers of *media* for *windows* on *arch* (i386, x86_64, aarch64).

    Raises HostError if one of them is broken.
    """
    found = [one for one in _found(media) if one.arch == arch]
    drivers: list[Driver] = []
    for name in (*REQUIRED, *OPTIONAL):
        for system in _order(windows.id, arch):
            same = [
                f
                for f in found
                if f.name == name and f.system == system and _is_whole(media, f)
            ]
            if same:
                # One driver may be there by several layouts: the same, but for links.
                best = min(same, key=lambda f: (f.path.count("/"), f.path))
                drivers += _usable(media, windows, best)
                break
    return Selection(
        drivers=tuple(drivers), agent=_agent(media, arch), release=media.release
    )


def findings(
    selection: Selection | None, windows: Windows, arch: str
) -> Iterator[Finding]:
    """Yield what is missing, or taken instead; None: there is no virtio-win."""
    if selection is None:
        yield Finding(
            code="virtio-win-missing",
            severity="warn",
            message="there is no virtio-win with drivers for Windows on this host: "
            "the guest gets the drivers that it has already, if any",
            remedy=f"install virtio-win, or download the ISO from {WHERE} and name it "
            "with --virtio-win",
        )
        return
    own = _order(windows.id, arch)[:1]
    other = [d for d in selection.drivers if (d.system,) != own]
    if other:
        names = ", ".join(f"{d.name} ({d.system})" for d in other)
        yield Finding(
            code="virtio-win-fallback",
            severity="info",
            message=f"virtio-win has no folder {own[0]} for some drivers; those of an "
            f"earlier or the same kernel are taken: {names}",
        )
    there = {driver.name for driver in selection.drivers}
    there |= _NEVER_OLD if windows.build < _VISTA else frozenset()
    if missing := [name for name in REQUIRED if name not in there]:
        yield Finding(
            code="virtio-win-incomplete",
            severity="warn",
            message=f"virtio-win has no {', '.join(missing)} for {windows.id}, {arch}",
            remedy="name another release with --virtio-win: Windows before 7 was last "
            "served by 0.1.173",
        )


def _order(windows_id: str, arch: str) -> tuple[str, ...]:
    """Return the folders that suit, the best first."""
    if windows_id == "winxp" and arch == "x86_64":
        return ("2k3",)  # Windows XP of 64 bits has the kernel of 2003
    return _FOLDERS.get(windows_id, ())


def _found(media: Media) -> Iterator[_Found]:
    for path in media.entries:
        folder, _, file = path.rpartition("/")
        name, dot, end = file.rpartition(".")
        parts = folder.split("/")
        if (dot, end) != (".", "inf") or _CLASHING in parts:
            continue
        systems = [s for s in map(_system, parts) if s]
        arches = [_ARCHES[part] for part in parts if part in _ARCHES]
        if systems and arches:
            yield _Found(name=name, path=path, system=systems[-1], arch=arches[-1])


def _is_whole(media: Media, found: _Found) -> bool:
    """Whether the driver itself is there: of disks Windows stops without it."""
    return found.name not in REQUIRED[:2] or (
        f"{found.folder}/{found.name}.sys" in media.entries
    )


def _system(part: str) -> str | None:
    """Return the Windows that a folder is for; the package's say Win2012R2, Win7."""
    if part in _KNOWN:
        return part
    rest = part.removeprefix("win")
    if rest == part:
        return None
    short = f"2k{rest[2:]}" if rest.startswith("20") else f"w{rest}"
    short = {"2k03": "2k3", "2k08": "2k8", "2k08r2": "2k8r2", "wxp": "xp"}.get(
        short, short
    )
    return short if short in _KNOWN else None


def _usable(media: Media, windows: Windows, found: _Found) -> Iterator[Driver]:
    """Yield the driver, unless it is broken and the guest can do without."""
    try:
        yield _driver(media, windows, found)
    except HostError as e:
        if found.name in REQUIRED:
            raise
        log.warning("warning: %s; the guest goes without it", e.message)


def _driver(media: Media, windows: Windows, found: _Found) -> Driver:
    kernel = _KERNELS.get(windows.id, (10, 0))
    inf = infs.parse(found.path, media.read(found.path), (*kernel, windows.build))
    own = _order(windows.id, found.arch)[0]
    reason = f"virtio-win has it for {own}"
    if found.system != own:
        reason = f"virtio-win has none for {own}; {found.system} is next"
    paths = _files(media, found, inf)
    if sum(media.entries[path].size for path in paths) > MAX_DRIVER:
        raise infs.broken(found.path, "its files are too large")
    files = {path.rpartition("/")[2]: media.read(path) for path in paths}
    _prove(found, inf, files)
    return Driver(
        name=found.name,
        folder=found.folder,
        system=found.system,
        inf=inf,
        files=files,
        required=found.name in REQUIRED,
        reason=reason,
    )


def _prove(found: _Found, inf: Inf, files: Mapping[str, bytes]) -> None:
    """Raise HostError if the file of the INF's service is missing, or for another.

    An INF without a service brings no file of its own.
    """
    service = inf.driver(found.arch)
    if service is None:
        return
    name = service.file.lower()
    if name not in files:
        raise infs.broken(found.path, f"{name} is not beside it")
    if version.architecture(files[name][: version.HEAD]) != found.arch:
        raise infs.broken(found.path, f"{name} is no program for {found.arch}")


def _files(media: Media, found: _Found, inf: Inf) -> list[str]:
    """Return the paths of the driver's files.

    Some layouts have all drivers in one folder: then its INF tells which are its own.
    """
    here = sorted(
        path
        for path in media.entries
        if path.rpartition("/")[0] == found.folder and _is_used(path)
    )
    if sum(path.endswith(".inf") for path in here) == 1:
        return here
    named = {found.path.rpartition("/")[2], (inf.catalog or "").lower()}
    for section, lines in inf.sections.items():
        if section.partition(".")[0] == "sourcedisksfiles":
            named.update(line.key.lower() for line in lines if line.key)
    return [path for path in here if path.rpartition("/")[2] in named]


def _is_used(path: str) -> bool:
    name = path.rpartition("/")[2]
    # A backslash would lead to another folder of the guest, a colon into a stream.
    is_plain = name.isprintable() and not set(name) & set('\\:*?"<>|')
    return is_plain and not name.endswith(_UNUSED) and not name.startswith("readme")


def _agent(media: Media, arch: str) -> tuple[str, bytes] | None:
    """Return the guest agent's installer, wherever below the root it is."""
    for wanted in _AGENTS.get(arch, ()):
        for path in _ending(media.entries, wanted):
            return path.rpartition("/")[2], media.read(path)
    return None


def _ending(paths: Mapping[str, object], end: str) -> Sequence[str]:
    return sorted(p for p in paths if p == end or p.endswith(f"/{end}"))
