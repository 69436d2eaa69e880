# SPDX-License-Identifier: GPL-2.0-or-later
import json
from pathlib import Path
from typing import Any

import pytest

from v2v.errors import TargetError
from v2v.targets import firmware

SECURE = ("secure-boot", "enrolled-keys", "requires-smm")


def describe(
    folder: Path,
    name: str,
    *features: str,
    machine: str = "pc-q35-*",
    **mapping: Any,
) -> Path:
    """Write a descriptor and the files that it names; return the code's path."""
    folder.mkdir(exist_ok=True)
    code, store = folder / f"{name}.code", folder / f"{name}.vars"
    code.touch()
    store.touch()
    said = {
        "interface-types": ["uefi"],
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(code), "format": "raw"},
            "nvram-template": {"filename": str(store), "format": "raw"},
            **mapping,
        },
        "targets": [{"architecture": "x86_64", "machines": [machine]}],
        "features": list(features),
    }
    (folder / f"{name}.json").write_text(json.dumps(said))
    return code


def chosen(*folders: Path, secure_boot: bool = False, machine: str = "q35") -> Path:
    names = tuple(map(str, folders))
    return firmware.choose(machine, secure_boot=secure_boot, folders=names).code.path


def test_a_secure_build_is_not_taken_for_a_guest_without_secure_boot(
    tmp_path: Path,
) -> None:
    describe(tmp_path, "40-secure", *SECURE)
    plain = describe(tmp_path, "60-plain")
    assert chosen(tmp_path) == plain


def test_secure_boot_takes_the_build_with_keys_enrolled(tmp_path: Path) -> None:
    describe(tmp_path, "10-plain")
    describe(tmp_path, "20-empty", "secure-boot", "requires-smm")
    enrolled = describe(tmp_path, "30-enrolled", *SECURE)
    assert chosen(tmp_path, secure_boot=True) == enrolled


def test_the_pair_says_whether_it_needs_smm(tmp_path: Path) -> None:
    describe(tmp_path, "x", *SECURE)
    assert firmware.choose("q35", secure_boot=True, folders=(str(tmp_path),)).smm


def test_descriptors_are_preferred_by_name(tmp_path: Path) -> None:
    describe(tmp_path, "60-second")
    first = describe(tmp_path, "50-first")
    assert chosen(tmp_path) == first


def test_an_administrators_descriptor_hides_the_distributions(tmp_path: Path) -> None:
    describe(tmp_path / "usr", "60-plain")
    own = describe(tmp_path / "etc", "60-plain")
    assert chosen(tmp_path / "etc", tmp_path / "usr") == own


def test_an_empty_descriptor_masks_one_of_the_same_name(tmp_path: Path) -> None:
    describe(tmp_path / "usr", "50-masked")
    other = describe(tmp_path / "usr", "60-other")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "50-masked.json").touch()
    assert chosen(tmp_path / "etc", tmp_path / "usr") == other


def test_firmware_for_q35_alone_is_not_given_to_pc(tmp_path: Path) -> None:
    describe(tmp_path, "x")
    with pytest.raises(TargetError, match="no UEFI firmware for pc"):
        chosen(tmp_path, machine="pc")


def test_a_build_that_keeps_no_variables_is_passed_over(tmp_path: Path) -> None:
    describe(tmp_path, "x", mode="stateless")
    with pytest.raises(TargetError):
        chosen(tmp_path)


def test_a_descriptor_of_files_that_are_gone_is_passed_over(tmp_path: Path) -> None:
    describe(tmp_path, "50-gone").unlink()
    there = describe(tmp_path, "60-there")
    assert chosen(tmp_path) == there


def test_a_broken_descriptor_is_passed_over(tmp_path: Path) -> None:
    tmp_path.joinpath("10-broken.json").write_text("{")
    there = describe(tmp_path, "60-there")
    assert chosen(tmp_path) == there


def test_no_firmware_is_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(TargetError) as e:
        chosen(tmp_path)
    assert "ovmf" in e.value.remedy


@pytest.mark.skipif(
    not Path("/usr/share/qemu/firmware").is_dir(), reason="no firmware descriptors"
)
@pytest.mark.parametrize("secure_boot", [False, True])
def test_code_and_variables_of_this_host_are_of_one_size(secure_boot: bool) -> None:
    pair = firmware.choose("q35", secure_boot=secure_boot)
    assert ("4M" in pair.code.path.name) == ("4M" in pair.vars.path.name)
