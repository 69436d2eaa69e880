# SPDX-License-Identifier: GPL-2.0-or-later
"""The drivers that are chosen are the guest's own, or an older Windows'."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

import virtio_win as made
from v2v.document import Guest, Windows
from v2v.errors import HostError
from v2v.guests.windows import peversion, selection
from v2v.guests.windows.selection import Selection
from v2v.guests.windows.virtio_win import VirtioWin, opened

DISKS = ("viostor", "vioscsi")
BUILDS = {"win7": 7601, "win2k8r2": 7601, "win8.1": 9600, "win2k12r2": 9600}


def chosen(files: Mapping[str, bytes], system: str, arch: str) -> Selection:
    names = {name.lower(): name for name in files}
    where = Path("virtio-win")
    return of(VirtioWin(where, names, "", files.__getitem__), system, arch)


def of(source: VirtioWin, system: str, arch: str) -> Selection:
    server = system.startswith("win2k")
    windows = Windows(
        id=system,
        build=BUILDS.get(system, 19045),
        installation="server" if server else "client",
    )
    guest = Guest(type="windows", arch=arch, windows=windows)
    return selection.chosen(source, guest)


def codes(found: Selection) -> list[str]:
    return [finding.code for finding in found.findings]


def test_an_iso_has_all_for_windows_10(tmp_path: Path) -> None:
    iso = made.iso(made.tree(), tmp_path / "virtio-win.iso")
    with opened(iso) as source:
        assert source
        found = of(source, "win10", "x86_64")
    assert [driver.name for driver in found.drivers] == [
        *("viostor", "vioscsi", "netkvm", "vioser", "balloon", "viorng"),
        *("pvpanic", "fwcfg", "viogpudo"),
    ]
    assert {driver.system for driver in found.drivers} == {"w10"}
    viostor = found.driver("viostor")
    assert viostor and viostor.required
    assert viostor.folder == "viostor/w10/amd64"
    assert sorted(viostor.files) == ["viostor.cat", "viostor.inf", "viostor.sys"]
    assert viostor.files["viostor.sys"] == made.program("amd64")
    assert peversion.file_version(viostor.files["viostor.sys"]) == made.VERSION
    assert found.agent
    assert found.agent.name == "qemu-ga-x86_64.msi"
    assert found.agent.content == b"agent of 64 bits"
    assert found.findings == ()


def test_companions_come_and_symbols_and_readmes_stay() -> None:
    found = chosen(made.tree(), "win10", "x86_64")
    balloon, netkvm = found.driver("balloon"), found.driver("netkvm")
    assert balloon and "blnsvr.exe" in balloon.files
    assert netkvm and "netkvmco.exe" in netkvm.files
    names = {name for driver in found.drivers for name in driver.files}
    assert not [n for n in names if n.endswith(".pdb") or n.startswith("readme")]


@pytest.mark.report("https://github.com/libguestfs/virt-v2v/issues/178")
@pytest.mark.report("https://github.com/OpenNebula/one/issues/7953")
@pytest.mark.report("https://github.com/virtio-win/virtio-win-pkg-scripts/issues/122")
def test_what_only_names_a_device_is_never_installed() -> None:
    """One such INF, not trusted, made whole first boots loop on Server 2025."""
    tree = made.tree()
    assert "smbus/2k25/amd64/smbus.inf" in tree
    found = chosen(tree, "win2k25", "x86_64")
    names = {driver.name for driver in found.drivers}
    assert {*selection.REQUIRED, "fwcfg"} <= names
    assert not names & {"smbus", "qemupciserial", "qemufwcfg", "vioprot"}
    assert not any("sriov" in driver.folder for driver in found.drivers)


@pytest.mark.parametrize(
    ("system", "without", "taken"),
    [
        ("win11", (), "w11"),
        ("win11", ("w11",), "w10"),
        ("win2k25", ("2k25",), "2k22"),
        ("win2k25", ("2k25", "2k22", "2k19"), "2k16"),
        ("win2k22", ("2k22", "2k19", "2k16"), "w10"),
        ("win8.1", ("w8.1",), "2k12R2"),
        ("win2k12r2", ("2k12R2",), "w8.1"),
        ("win7", ("w7",), "2k8R2"),
        # Never those of a newer kernel.
        ("win7", ("w7", "2k8R2"), None),
        ("win2k16", ("2k16", "w10"), None),
        ("win10", ("w10",), None),
        ("winxp", (), None),
        ("win2k", (), None),
    ],
)
def test_a_missing_folder_is_replaced_by_an_older(
    system: str, without: tuple[str, ...], taken: str | None
) -> None:
    tree = made.tree(without=without, release=None)
    found = chosen(tree, system, "x86_64")
    systems = {driver.system for driver in found.drivers}
    assert systems == ({taken.lower()} if taken else set())
    if taken is None:
        assert codes(found) == ["virtio-driver-missing"]
        assert "no viostor" in found.findings[0].message
    else:
        assert codes(found) == (["virtio-driver-older"] if without else [])


def test_each_driver_falls_back_by_itself() -> None:
    tree = made.tree()
    gone = [name for name in tree if name.startswith("NetKVM/2k22/")]
    for name in gone:
        del tree[name]
    found = chosen(tree, "win2k22", "x86_64")
    viostor, netkvm = found.driver("viostor"), found.driver("netkvm")
    assert viostor and netkvm
    assert (viostor.system, netkvm.system) == ("2k22", "2k19")
    assert [f.message for f in found.findings] == [
        "virtio-win has netkvm not for 2k22; those for 2k19 are used"
    ]


@pytest.mark.parametrize(
    ("arch", "folder"), [("i386", "x86"), ("x86_64", "amd64"), ("aarch64", "ARM64")]
)
def test_the_processor_is_the_guests(arch: str, folder: str) -> None:
    tree = made.tree(("x86", "amd64", "ARM64"))
    found = chosen(tree, "win10", arch)
    viostor = found.driver("viostor")
    assert viostor and viostor.files["viostor.sys"] == made.program(folder)
    assert (found.agent is None) == (arch == "aarch64")


def test_a_processor_without_drivers_gets_none() -> None:
    found = chosen(made.tree(), "win10", "ia64")
    assert found.drivers == ()
    assert codes(found) == ["virtio-driver-missing"]


@pytest.mark.parametrize(
    ("layout", "system"),
    [
        ("amd64/w10", "win10"),
        ("drivers/by-os/amd64/w10", "win10"),
        ("DRIVERS/AMD64/Win2012R2", "win2k12r2"),
        ("drivers/i386/Win7", "win7"),
    ],
)
def test_drivers_that_share_a_folder_get_their_own_files(
    layout: str, system: str
) -> None:
    above, _, folder = layout.rpartition("/")
    arch = "x86" if "i386" in layout else "amd64"
    shared = {
        f"{above}/{folder}/{path.rpartition('/')[2]}": content
        for path, content in made.by_arch(arch, folder).items()
    }
    known = "i386" if arch == "x86" else "x86_64"
    found = chosen(shared, system, known)
    assert {d.name: sorted(d.files) for d in found.drivers} == {
        "viostor": ["viostor.cat", "viostor.inf", "viostor.sys"],
        "vioscsi": ["vioscsi.cat", "vioscsi.inf", "vioscsi.sys"],
        "netkvm": ["netkvm.cat", "netkvm.inf", "netkvm.sys", "netkvmco.exe"],
    }


def test_the_package_of_a_distribution_is_read() -> None:
    tree = {f"drivers/by-driver/{name}": data for name, data in made.tree().items()}
    found = chosen(tree, "win2k19", "x86_64")
    viostor = found.driver("viostor")
    assert viostor and viostor.folder == "drivers/by-driver/viostor/2k19/amd64"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"viostor.sys": None}, "viostor.sys is not beside it"),
        ({"viostor.sys": made.program("x86")}, "viostor.sys is no program for x86_64"),
        ({"viostor.sys": b""}, "viostor.sys is no program for x86_64"),
        ({"viostor.inf": b"rubbish"}, "in no section"),
        ({f"{n}.txt": b"" for n in range(99)}, "has more than 64 files"),
    ],
)
def test_a_broken_one_is_refused(change: Mapping[str, bytes | None], said: str) -> None:
    tree = made.tree()
    for name, content in change.items():
        path = f"viostor/w10/amd64/{name}"
        if content is None:
            del tree[path]
        else:
            tree[path] = content
    with pytest.raises(HostError, match=said):
        chosen(tree, "win10", "x86_64")


@pytest.mark.report(
    "https://github.com/virtio-win/virtio-win-pkg-scripts/issues/40",
    "https://github.com/virtio-win/virtio-win-pkg-scripts/issues/43",
    "https://github.com/virtio-win/kvm-guest-drivers-windows/issues/485",
)
@pytest.mark.parametrize("system", ["win7", "win2k8r2"])
def test_windows_7_is_warned_of_signatures_it_does_not_know(system: str) -> None:
    found = chosen(made.tree(), system, "x86_64")
    (finding,) = found.findings
    assert (finding.code, finding.severity) == ("virtio-driver-sha2", "warn")
    assert finding.remedy and "KB4474419" in finding.remedy
    assert "0.1.173" in finding.remedy


@pytest.mark.report(
    "https://github.com/virtio-win/kvm-guest-drivers-windows/issues/1112",
    "https://github.com/virtio-win/virtio-win-pkg-scripts/issues/116",
)
@pytest.mark.parametrize("system", ["win8", "win2k12", "win8.1", "win2k12r2"])
def test_windows_2012_is_warned_of_drivers_that_are_not_cross_signed(
    system: str,
) -> None:
    found = chosen(made.tree(), system, "x86_64")
    (finding,) = found.findings
    assert (finding.code, finding.severity) == ("virtio-driver-signature", "warn")
    assert "0xC0000428" in finding.message


@pytest.mark.parametrize("release", ["0.1.173", "1.9.40", None])
@pytest.mark.parametrize("system", ["win7", "win2k12r2"])
def test_old_releases_and_red_hats_own_are_signed_for_all(
    release: str | None, system: str
) -> None:
    found = chosen(made.tree(release=release), system, "x86_64")
    assert found.findings == ()


def test_a_driver_without_catalogue_is_told_of() -> None:
    tree = made.tree()
    del tree["vioscsi/w10/amd64/vioscsi.cat"]
    found = chosen(tree, "win10", "x86_64")
    assert codes(found) == ["virtio-driver-unsigned"]
    assert "for vioscsi:" in found.findings[0].message


def test_a_version_is_read_from_a_program_or_there_is_none() -> None:
    program = made.program("amd64", (62, 1, 2, 3))
    assert peversion.file_version(program) == (62, 1, 2, 3)
    name = "VS_VERSION_INFO\0".encode("utf-16-le")
    assert peversion.file_version(name * 40) is None
    assert peversion.file_version(name + bytes(60) + program) == (62, 1, 2, 3)
    for size in range(0, len(program), 7):
        peversion.file_version(program[:size])
