# SPDX-License-Identifier: GPL-2.0-or-later
"""The drivers of virtio-win for a guest: those made for its Windows, or for an older.

Never for a newer one: its kernel has what the guest's may lack (facts 2.2).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from v2v.document import Finding, Guest
from v2v.errors import HostError
from v2v.guests.windows import described, inf, signing, version
from v2v.guests.windows.inf import Inf, Target
from v2v.guests.windows.virtio_win import VirtioWin

FINDINGS = ("virtio-driver-missing", "virtio-driver-older", *signing.FINDINGS)
# The drivers by their INFs.  Those of disks come both: the bus may change (MTV-2199).
REQUIRED = ("viostor", "vioscsi", "netkvm")
# Not among them: smbus and qemupciserial, which no more than name a device, and whose
# failure made others' first boots loop; and sriov's, which take netkvm's cards.
OPTIONAL = (
    "vioser",
    "balloon",
    "viorng",
    "pvpanic",
    "fwcfg",
    "vioinput",
    "viofs",
    "viomem",
    "viosock",
    "viogpudo",
    "qxldod",
    "qxl",
)
_NEVER = "sriov"
_NOT_NEEDED = (".pdb", ".inf", ".exp", ".lib")
_MAX_FILES = 64  # of a driver
_ARCHES = {
    "x86": "i386",
    "i386": "i386",
    "amd64": "x86_64",
    "x64": "x86_64",
    "arm64": "aarch64",
}
# Where to look, the guest's own folder first.
_FOLDERS = {
    "winxp": ("xp", "2k3"),
    "win2k3": ("2k3",),
    "win2k3r2": ("2k3",),
    "winvista": ("vista", "2k8"),
    "win2k8": ("2k8", "vista"),
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
# As the trees of old packages spell them.
_LONG = {
    "winxp": "xp",
    "win2003": "2k3",
    "winvista": "vista",
    "win2008": "2k8",
    "win7": "w7",
    "win2008r2": "2k8r2",
    "win8": "w8",
    "win2012": "2k12",
    "win8.1": "w8.1",
    "win2012r2": "2k12r2",
    "win10": "w10",
    "win11": "w11",
    "win2016": "2k16",
    "win2019": "2k19",
    "win2022": "2k22",
    "win2025": "2k25",
}
_SYSTEMS = {name for names in _FOLDERS.values() for name in names}
_VERSIONS = {
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
# The agent's installers, by processor: of the public builds and of Red Hat's.
_AGENTS = {
    "i386": ("qemu-ga-i386.msi", "qemu-ga-x86.msi", "rhev-qga.msi"),
    "x86_64": ("qemu-ga-x86_64.msi", "qemu-ga-x64.msi", "rhev-qga64.msi"),
}


@dataclass(frozen=True, kw_only=True)
class Driver:
    """A driver: ``name`` is its INF's without ending, ``folder`` where it was found.

    ``files`` are its files by their names in lower case, ``system`` the Windows that it
    was made for, as virtio-win calls it ("w10").
    """

    name: str
    folder: str
    system: str
    inf: Inf
    files: Mapping[str, bytes]
    required: bool
    reason: str


@dataclass(frozen=True)
class Installer:
    """A program that installs something in the guest when it starts first."""

    name: str
    content: bytes


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What was chosen, and what there is to say about it."""

    drivers: tuple[Driver, ...] = ()
    agent: Installer | None = None
    findings: tuple[Finding, ...] = ()

    def driver(self, name: str) -> Driver | None:
        """Return the driver of this INF, if it was chosen."""
        return next((found for found in self.drivers if found.name == name), None)


def chosen(source: VirtioWin, guest: Guest) -> Selection:
    """Return what *source* has for *guest*.  Raises HostError if that is broken."""
    assert guest.windows, "only Windows has use for it"
    arch, system = guest.arch or "", guest.windows.id
    there = _index(source, arch)
    folders = _FOLDERS.get(system, ()) if arch in _ARCHES.values() else ()
    target = Target(
        arch=arch,
        version=_target_version(system, arch),
        build=guest.windows.build,
        is_server=guest.windows.installation != "client",
    )
    drivers = tuple(
        found
        for name in (*REQUIRED, *OPTIONAL)
        if (found := _first(source, there, folders, name, target))
    )
    findings = (
        *_absent(source, drivers, guest),
        *_older(drivers, folders),
        *signing.findings(system, source.release, drivers),
    )
    return Selection(
        drivers=drivers, agent=_agent(source, arch), findings=tuple(findings)
    )


def _target_version(system: str, arch: str) -> tuple[int, int]:
    """Return the version by which INFs know *system*; XP of 64 bits is 5.2."""
    if (system, arch) == ("winxp", "x86_64"):
        return 5, 2
    return _VERSIONS.get(system, (10, 0))


def _index(source: VirtioWin, arch: str) -> dict[tuple[str, str], str]:
    """Return the INFs for *arch*: Windows and name -> path, the shortest of several.

    The last two folders are Windows and processor, either first.
    """
    found: dict[tuple[str, str], str] = {}
    for path in sorted(source.names, key=lambda name: (name.count("/"), name)):
        *folders, file = path.split("/")
        if not file.endswith(".inf") or len(folders) < 2 or _NEVER in folders:
            continue
        for system, processor in (folders[-2:], folders[:-3:-1]):
            system = _LONG.get(system, system)
            if system in _SYSTEMS and _ARCHES.get(processor) == arch:
                found.setdefault((system, file.removesuffix(".inf")), path)
    return found


def _first(
    source: VirtioWin,
    there: Mapping[tuple[str, str], str],
    folders: tuple[str, ...],
    name: str,
    target: Target,
) -> Driver | None:
    """Return the driver *name* of the first folder whose INF is for the guest."""
    for system in folders:
        path = there.get((system, name))
        if path is None:
            continue
        read = inf.parsed(f"{name}.inf", source.read(path), target)
        if not described.has_service(read, target.arch):
            continue
        own = "made for this Windows"
        return Driver(
            name=name,
            folder=path.rpartition("/")[0],
            system=system,
            inf=read,
            files=_files(source, path, read, target.arch),
            required=name in REQUIRED,
            reason=own
            if system == folders[0]
            else f"made for {system}, which is older",
        )
    return None


def _files(source: VirtioWin, path: str, read: Inf, arch: str) -> dict[str, bytes]:
    """Return the files of the INF at *path*.

    All of its folder, or, if others share it, those that it names.
    """
    folder = path.rpartition("/")[0] + "/"
    beside = [n for n in source.names if n.startswith(folder)]
    names = {
        n.removeprefix(folder): n for n in beside if n.count("/") == path.count("/")
    }
    if sum(name.endswith(".inf") for name in names) > 1:
        names = {name: n for name, n in names.items() if name in read.sources}
    wanted = {
        name: n
        for name, n in names.items()
        if not name.startswith("readme") and not name.endswith(_NOT_NEEDED)
    }
    if len(wanted) > _MAX_FILES:
        raise _broken(path, f"its folder has more than {_MAX_FILES} files")
    files = {name: source.read(n) for name, n in wanted.items()}
    _prove(path, read, files, arch)
    return files | {read.name: source.read(path)}


def _prove(path: str, read: Inf, files: Mapping[str, bytes], arch: str) -> None:
    """Raise HostError if the file of the INF's service is missing, or for another."""
    services = (read.service(section) for _, section, _ in read.models(arch))
    service = next(filter(None, services))
    name = service.image.replace("/", "\\").rpartition("\\")[2].lower()
    if name not in files:
        raise _broken(path, f"{name} is not beside it")
    if version.architecture(files[name][: version.HEAD]) != arch:
        raise _broken(path, f"{name} is no program for {arch}")


def _broken(path: str, why: str) -> HostError:
    return HostError(
        f"{path} of virtio-win is broken: {why}",
        "use another release of virtio-win with --virtio-win",
    )


def _agent(source: VirtioWin, arch: str) -> Installer | None:
    """Return the installer of the guest agent for *arch*; the first folder's."""
    for wanted in _AGENTS.get(arch, ()):
        for name in sorted(source.names):
            if name.rpartition("/")[2] == wanted:
                return Installer(wanted, source.read(name))
    return None


def _absent(
    source: VirtioWin, drivers: tuple[Driver, ...], guest: Guest
) -> Iterator[Finding]:
    absent = sorted(set(REQUIRED) - {driver.name for driver in drivers})
    if not absent or not guest.windows:
        return
    yield Finding(
        code="virtio-driver-missing",
        severity="warn",
        message=f"{source.where} has no {' and no '.join(absent)} for "
        f"{guest.windows.id} on {guest.arch or 'an unknown processor'}",
        remedy="give another release with --virtio-win: for Windows before 7, one up "
        "to 0.1.173",
    )


def _older(drivers: tuple[Driver, ...], folders: tuple[str, ...]) -> Iterator[Finding]:
    by_system: dict[str, list[str]] = defaultdict(list)
    for driver in drivers:
        if driver.system != folders[0]:
            by_system[driver.system].append(driver.name)
    for system, names in by_system.items():
        yield Finding(
            code="virtio-driver-older",
            severity="info",
            message=f"virtio-win has {', '.join(names)} not for {folders[0]}; those "
            f"for {system} are used",
            remedy="a newer release may have them: see --virtio-win",
        )
