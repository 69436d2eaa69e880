# SPDX-License-Identifier: GPL-2.0-or-later
"""What a Windows may refuse to load for its signature is said before it does."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import hives
import virtio_win as made
from v2v.document import Windows
from v2v.guests.windows import selection, signing, virtio_win
from v2v.guests.windows.hive import Hive, dword
from v2v.guests.windows.selection import Selection

PACKAGES = r"Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages"


def software(root: Path) -> Hive:
    file = root / "SOFTWARE"
    file.write_bytes(hives.empty())
    return Hive("SOFTWARE", file)


def chosen(root: Path, windows: Windows, release: tuple[int, ...] | None) -> Selection:
    media = virtio_win.media(made.folder(root / "iso", made.files()))
    assert media is not None
    found = selection.selected(media, windows, "x86_64")
    return dataclasses.replace(found, release=release)


def codes(root: Path, windows_id: str, release: tuple[int, ...] | None) -> list[str]:
    windows = Windows(id=windows_id, build=7601)
    found = chosen(root, windows, release)
    told = signing.findings(found, windows, "x86_64", software(root))
    return [finding.code for finding in told]


@pytest.mark.report(
    "https://github.com/virtio-win/virtio-win-pkg-scripts/issues/40",
    "https://github.com/virtio-win/virtio-win-pkg-scripts/issues/43",
    "https://github.com/virtio-win/kvm-guest-drivers-windows/issues/485",
)
def test_windows_7_is_told_of_drivers_that_it_cannot_check(tmp_path: Path) -> None:
    assert codes(tmp_path, "win7", (0, 1, 173)) == []
    assert codes(tmp_path, "win7", (0, 1, 185)) == ["driver-signature"]
    assert codes(tmp_path, "win2k8r2", None) == ["driver-signature"]
    assert codes(tmp_path, "win2k8r2", (1, 9, 40)) == []


@pytest.mark.parametrize(
    ("arch", "release", "refused"),
    [
        ("x86_64", (0, 1, 185), True),
        ("x86_64", (0, 1, 173), False),
        ("x86_64", (1, 9, 40), False),
        ("i386", (0, 1, 185), False),
    ],
)
def test_only_64_bits_stop_for_them_and_go_without(
    tmp_path: Path, arch: str, release: tuple[int, ...], refused: bool
) -> None:
    windows = Windows(id="win7", build=7601)
    found = chosen(tmp_path, windows, release)
    hive = software(tmp_path)
    assert signing.is_refused(found, windows, arch, hive) is refused


@pytest.mark.parametrize("update", ["KB4474419", "kb3033929"])
def test_an_update_lets_windows_7_check_them(tmp_path: Path, update: str) -> None:
    windows = Windows(id="win7", build=7601)
    hive = software(tmp_path)
    name = rf"{PACKAGES}\Package_for_{update}~31bf3856ad364e35~amd64~~6.1.3.2"
    hive.set(name, "CurrentState", dword(112), "a test")
    found = chosen(tmp_path, windows, (0, 1, 271))
    assert list(signing.findings(found, windows, "x86_64", hive)) == []


@pytest.mark.report(
    "https://github.com/virtio-win/kvm-guest-drivers-windows/issues/1112",
    "https://github.com/virtio-win/virtio-win-pkg-scripts/issues/116",
)
def test_windows_2012_r2_is_told_of_drivers_that_are_not_cross_signed(
    tmp_path: Path,
) -> None:
    assert codes(tmp_path, "win2k12r2", (0, 1, 271)) == ["driver-not-cross-signed"]
    assert codes(tmp_path, "win2k12r2", (0, 1, 160)) == []
    assert codes(tmp_path, "win10", (0, 1, 271)) == []


def test_a_driver_without_its_catalogue_is_said(tmp_path: Path) -> None:
    windows = Windows(id="win10", build=19045)
    root = made.folder(tmp_path / "iso", made.files())
    (root / "NetKVM/w10/amd64/netkvm.cat").unlink()
    media = virtio_win.media(root)
    assert media is not None
    found = selection.selected(media, windows, "x86_64")
    told = list(signing.findings(found, windows, "x86_64", software(tmp_path)))
    assert [finding.code for finding in told] == ["driver-no-catalogue"]
    assert told[0].message.startswith("of virtio-win, netkvm has no catalogue")


@pytest.mark.parametrize(
    ("catalogue", "codes_"),
    [
        (made.SIGNED, []),
        (
            "x Microsoft Windows Hardware Compatibility Publisher".encode("utf-16-be"),
            [],
        ),
        (b"Red Hat, Inc.", ["driver-secure-boot"]),
    ],
)
def test_secure_boot_wants_drivers_of_disks_that_microsoft_signed(
    tmp_path: Path, catalogue: bytes, codes_: list[str]
) -> None:
    folder = made.folder(tmp_path / "iso", made.files(catalogue=catalogue))
    media = virtio_win.media(folder)
    assert media is not None
    windows = Windows(id="win11", build=22631)
    found = selection.selected(media, windows, "x86_64")
    hive = software(tmp_path)
    told = list(signing.findings(found, windows, "x86_64", hive, secure_boot=True))
    assert [finding.code for finding in told] == codes_
    assert list(signing.findings(found, windows, "x86_64", hive)) == []
