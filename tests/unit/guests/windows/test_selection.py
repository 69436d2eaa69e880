# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest gets the drivers of its Windows, or of one before, and hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

import virtio_win as made
from v2v.document import Windows
from v2v.errors import HostError
from v2v.guests.windows import described, selection, virtio_win
from v2v.guests.windows.selection import Selection

BUILDS = {"win7": 7601, "win2k8r2": 7601, "win8.1": 9600, "win2k12r2": 9600}
USUAL = [
    *("viostor", "vioscsi", "netkvm", "vioser", "balloon", "viorng", "pvpanic"),
    *("fwcfg", "vioinput", "viofs", "viogpudo"),
]


def chosen(
    root: Path,
    windows_id: str = "win10",
    arch: str = "x86_64",
    files: dict[str, bytes] | None = None,
) -> Selection:
    folder = made.folder(root, made.files() if files is None else files)
    media = virtio_win.media(folder)
    assert media is not None
    return selection.selected(media, windows(windows_id), arch)


def windows(windows_id: str) -> Windows:
    return Windows(id=windows_id, build=BUILDS.get(windows_id, 20000))


def codes(found: Selection | None, windows_id: str) -> list[str]:
    told = selection.findings(found, windows(windows_id), "x86_64")
    return [finding.code for finding in told]


def test_both_drivers_of_disks_are_chosen_and_nothing_that_clashes(
    tmp_path: Path,
) -> None:
    found = chosen(tmp_path)
    assert [driver.name for driver in found.drivers] == USUAL
    assert [d.name for d in found.drivers if d.required] == USUAL[:4]
    assert found.drivers[0].folder == "viostor/w10/amd64"
    assert found.drivers[0].files.keys() == {
        "viostor.inf",
        "viostor.cat",
        "viostor.sys",
    }
    assert "readme.txt" not in found.drivers[2].files
    assert found.agent == ("qemu-ga-x86_64.msi", b"agent of 64 bits")
    assert codes(found, "win10") == []


@pytest.mark.report(
    "https://github.com/libguestfs/virt-v2v/issues/178",
    "https://github.com/virtio-win/virtio-win-pkg-scripts/issues/122",
)
def test_what_only_gives_a_name_is_never_installed(tmp_path: Path) -> None:
    names = {driver.name for driver in chosen(tmp_path, "win2k22").drivers}
    assert "viostor" in names
    assert not names & {"smbus", "qemupciserial", "qemufwcfg"}


@pytest.mark.parametrize(
    ("windows_id", "arch", "system"),
    [
        ("win7", "i386", "w7"),
        ("win2k8r2", "x86_64", "2k8r2"),
        ("win8.1", "i386", "w8.1"),
        ("win2k12r2", "x86_64", "2k12r2"),
        ("win11", "x86_64", "w11"),
        ("win2k25", "x86_64", "2k22"),
        ("win2k22", "x86_64", "2k22"),
    ],
)
def test_the_folder_is_that_of_the_windows(
    tmp_path: Path, windows_id: str, arch: str, system: str
) -> None:
    found = chosen(tmp_path, windows_id, arch)
    assert {driver.system for driver in found.drivers} == {system}
    for driver in found.drivers:
        assert described.has_service(driver.inf, arch)


def test_what_is_missing_is_taken_from_the_one_before_and_said(tmp_path: Path) -> None:
    files = made.files(("NetKVM/2k22", "viostor/2k22", "viostor/2k19", "Balloon/2k"))
    found = chosen(tmp_path, "win2k22", files=files)
    assert [d.system for d in found.drivers[:3]] == ["2k16", "2k22", "2k19"]
    told = list(selection.findings(found, windows("win2k22"), "x86_64"))
    assert [finding.code for finding in told] == ["virtio-win-fallback"]
    assert "viostor (2k16), netkvm (2k19), balloon (w10)" in told[0].message
    assert found.drivers[0].reason == "virtio-win has none for 2k22; 2k16 is next"


def test_a_newer_kernel_is_never_taken(tmp_path: Path) -> None:
    found = chosen(tmp_path, "win2k8")
    assert found.drivers == ()
    assert codes(found, "win2k8") == ["virtio-win-incomplete"]


def test_no_virtio_win_is_said_with_where_it_is() -> None:
    told = list(selection.findings(None, windows("win10"), "x86_64"))
    assert [finding.code for finding in told] == ["virtio-win-missing"]
    assert "--virtio-win" in told[0].remedy


@pytest.mark.parametrize(
    "layout", ["drivers/by-driver/{name}/2k12R2/amd64", "drivers/by-os/amd64/2k12R2"]
)
def test_the_layouts_of_packages_are_known(tmp_path: Path, layout: str) -> None:
    files = {
        f"{layout.format(name=path.split('/')[0])}/{Path(path).name}": content
        for path, content in made.files(("sriov",)).items()
        if "/2k12R2/" in path
    }
    found = chosen(tmp_path, "win2k12r2", files=files)
    assert [driver.name for driver in found.drivers] == USUAL
    for driver in found.drivers:
        own = {f"{driver.name}.{end}" for end in ("inf", "cat", "sys")}
        own |= {"blnsvr.exe"} if driver.name == "balloon" else set()
        assert driver.files.keys() == own


def test_the_old_names_of_folders_are_known(tmp_path: Path) -> None:
    files = {
        f"drivers/amd64/Win2012R2/{Path(path).name}": content
        for path, content in made.files(("sriov",)).items()
        if path.startswith(("viostor/2k12R2", "NetKVM/2k12R2"))
    }
    found = chosen(tmp_path, "win2k12r2", files=files)
    assert [driver.name for driver in found.drivers] == ["viostor", "netkvm"]


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("win7", "w7"),
        ("win8.1", "w8.1"),
        ("win2008r2", "2k8r2"),
        ("win2003", "2k3"),
        ("win2022", "2k22"),
        ("winxp", "xp"),
        ("windows", None),
        ("amd64", None),
    ],
)
def test_a_folder_says_its_windows(
    name: str, system: str | None, tmp_path: Path
) -> None:
    files = made.files()
    text = files["viostor/w7/x86/viostor.inf"]
    ids = {"2k3": "win2k3", "xp": "winxp", "2k22": "win2k22", "w7": "win7"}
    ids |= {"w8.1": "win8.1", "2k8r2": "win2k8r2"}
    found = chosen(
        tmp_path,
        ids.get(system or "", "win10"),
        "i386",
        {
            f"x86/{name}/vioser.inf": text,
            f"x86/{name}/viostor.sys": files["viostor/w7/x86/viostor.sys"],
        },
    )
    assert [driver.system for driver in found.drivers] == ([system] if system else [])


def test_a_broken_inf_is_the_hosts_fault(tmp_path: Path) -> None:
    files = {"NetKVM/w10/amd64/netkvm.inf": b"[Version]\nnothing"}
    with pytest.raises(HostError, match=r"w10/amd64/netkvm\.inf of virtio-win"):
        chosen(tmp_path, files=files)


def test_a_driver_of_disks_without_its_file_is_none(tmp_path: Path) -> None:
    files = made.files(("viostor/w11/amd64/viostor.sys",))
    found = chosen(tmp_path, "win11", files=files)
    assert [driver.system for driver in found.drivers[:2]] == ["w10", "w11"]


def test_a_name_that_leads_elsewhere_is_no_file_of_a_driver(tmp_path: Path) -> None:
    files = made.files()
    for name in (r"..\..\system32\evil.dll", "viostor.sys:x", "a\nb.dll"):
        files[f"viostor/w10/amd64/{name}"] = b"MZ"
    found = chosen(tmp_path, files=files).drivers[0].files
    assert found.keys() == {"viostor.inf", "viostor.cat", "viostor.sys"}


@pytest.mark.parametrize(("build", "told"), [(2600, []), (7601, ["vioscsi"])])
def test_a_driver_that_no_release_has_is_not_missed(
    build: int, told: list[str]
) -> None:
    """Windows before Vista has none for virtio-scsi."""
    there = Selection(drivers=())
    windows_ = Windows(id="winxp" if build < 6000 else "win7", build=build)
    (found,) = selection.findings(there, windows_, "i386")
    assert found.code == "virtio-win-incomplete"
    assert [name for name in ("vioscsi",) if name in found.message] == told
