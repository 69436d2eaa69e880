# SPDX-License-Identifier: GPL-2.0-or-later
"""An initramfs by the guest's own tool: which, how, and proved before it counts."""

import hashlib
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from guest_folder import (
    DISK,
    Folder,
    Program,
    applied,
    guest,
    image,
    kernel,
    modules,
    ready,
    tree,
    vmlinuz,
)
from v2v.document import Guest
from v2v.errors import GuestError
from v2v.guests.linux import (
    drivers,
    generators,
    initramfs,
    kernels,
    persistent,
    virtual,
)
from v2v.guests.linux.stable import Names
from v2v.guests.plan import Action

VERSION = "5.14.0-1.x86_64"
CONFIG = "/etc/initramfs-tools/initramfs.conf"
IMAGE = f"/boot/initramfs-{VERSION}.img"
GUEST = Guest(type="linux", root="/dev/sda2", kernels=(kernel(VERSION, IMAGE),))
# What no udev is in, so that nothing can be appended.
OLD = image({"init": "#!/bin/sh\n", "etc/crypttab": "luks UUID=x none\n"})


def making(data: bytes, where: Callable[[list[str]], str]) -> Program:
    """Return a program that writes *data* where its arguments say."""

    def run(folder: Folder, arguments: list[str]) -> None:
        folder.write(where(arguments), data)

    return run


def actions(appliance: object, found: Guest = GUEST) -> list[Action]:
    return list(drivers.plan(appliance, found, Names(found)))  # type: ignore[arg-type]


ANY = "--force --no-hostonly --no-hostonly-cmdline --install /etc/crypttab"
TOOLS: dict[str, tuple[Callable[[list[str]], str], str]] = {
    "/usr/bin/dracut": (
        lambda a: a[-2],
        f"{ANY} --add-drivers virtio_blk virtio_pci virtio_net {IMAGE}.v2v {VERSION}",
    ),
    "/usr/bin/mkinitcpio": (
        lambda a: a[-1],
        f"-k {VERSION} -S autodetect -g {IMAGE}.v2v",
    ),
    "/usr/sbin/mkinitramfs": (lambda a: a[2], f"-o {IMAGE}.v2v {VERSION}"),
    "/sbin/mkinitfs": (lambda a: a[2], f"-o {IMAGE}.v2v {VERSION}"),
    "/usr/sbin/make-initrd": (lambda _: IMAGE, f"-k {VERSION}"),
    "/sbin/mkinitrd": (
        lambda a: a[-2],
        f"--with=virtio_blk --with=virtio_pci --with=virtio_net {IMAGE}.v2v {VERSION}",
    ),
}


@pytest.mark.parametrize("path", TOOLS)
def test_each_tool_is_run_as_it_wants_and_what_it_made_takes_the_old_ones_place(
    path: str, tmp_path: Path
) -> None:
    where, arguments = TOOLS[path]
    made = ready(VERSION)
    files = {IMAGE: OLD, CONFIG: "MODULES=dep\n", **modules(VERSION)}
    there = guest(tmp_path, files, {path: making(made, where)})
    for action in actions(there):
        action.apply(there)
    [command] = there.g.ran  # type: ignore[attr-defined]
    assert " ".join(command).partition(f"{path} ")[2] == arguments
    assert (tmp_path / IMAGE[1:]).read_bytes() == made
    assert [p.name for p in (tmp_path / "boot").iterdir()] == [Path(IMAGE).name]
    again = kernels.again(there, GUEST.kernels)
    assert {"virtio_blk", "virtio_pci"} <= set(again[0].initramfs_drivers)
    assert actions(there, GUEST.having(kernels=again)) == []


def test_a_link_to_an_image_stays_one(tmp_path: Path) -> None:
    """SUSE's loader may start /boot/vmlinuz with /boot/initrd, both links."""
    made = ready(VERSION)
    run = making(made, lambda a: a[-2])
    files = {
        IMAGE: OLD,
        f"/boot/vmlinuz-{VERSION}": vmlinuz(VERSION),
        "/boot/grub2/grub.cfg": "menuentry a {\nlinux /vmlinuz\ninitrd /initrd\n}\n",
        **modules(VERSION),
    }
    there = guest(tmp_path, files, {"/usr/bin/dracut": run})
    (tmp_path / "boot/vmlinuz").symlink_to(f"vmlinuz-{VERSION}")
    (tmp_path / "boot/initrd").symlink_to(Path(IMAGE).name)
    [found] = kernels.found(there)
    assert (found.initramfs, found.default) == (IMAGE, True)
    applied(there, drivers.plan(there, GUEST.having(kernels=(found,)), Names(GUEST)))
    assert (tmp_path / "boot/initrd").is_symlink()
    assert (tmp_path / IMAGE[1:]).read_bytes() == made


def test_suses_mkinitrd_is_told_by_other_words(tmp_path: Path) -> None:
    config = {"/etc/sysconfig/kernel": 'INITRD_MODULES="ata_piix ext3"\n'}
    run = making(ready(VERSION), lambda a: a[a.index("-i") + 1])
    files = {IMAGE: OLD, **modules(VERSION), **config}
    there = guest(tmp_path, files, {"/sbin/mkinitrd": run})
    for action in actions(there):
        action.apply(there)
    assert there.g.ran == [  # type: ignore[attr-defined]
        [
            *("/usr/bin/env", "rootdev=/dev/sda2", "/sbin/mkinitrd"),
            *("-m", "virtio_blk virtio_pci virtio_net"),
            *("-i", f"{IMAGE}.v2v", "-k", f"/boot/vmlinuz-{VERSION}"),
            *("-d", "/dev/sda2"),
        ]
    ]
    assert (tmp_path / "etc/sysconfig/kernel").read_text() == (
        'INITRD_MODULES="ata_piix ext3 virtio_blk virtio_pci virtio_net"\n'
    )


@pytest.mark.parametrize(
    "path", ["/usr/bin/dracut", "/usr/sbin/make-initrd", "/sbin/mkinitrd"]
)
@pytest.mark.parametrize("made", [None, b"", OLD, image({"init": ""})])
def test_what_would_not_boot_never_takes_the_place_of_the_old_image(
    path: str, made: bytes | None, tmp_path: Path
) -> None:
    where, _ = TOOLS[path]

    def fails(folder: Folder, arguments: list[str]) -> None:
        if made is not None:
            folder.write(where(arguments), made)
        raise RuntimeError("dracut: out of ideas")

    there = guest(tmp_path, {IMAGE: OLD, **modules(VERSION)}, {path: fails})
    before = tree(tmp_path)
    with pytest.raises(GuestError):
        actions(there)[0].apply(there)
    assert tree(tmp_path) == before


def test_a_complaint_does_not_matter_if_the_image_is_good(tmp_path: Path) -> None:
    def complains(folder: Folder, arguments: list[str]) -> None:
        folder.write(arguments[-2], ready(VERSION))
        raise RuntimeError("dracut: no hwmon here")

    files = {IMAGE: OLD, **modules(VERSION)}
    there = guest(tmp_path, files, {"/usr/bin/dracut": complains})
    actions(there)[0].apply(there)
    assert (tmp_path / IMAGE[1:]).read_bytes() == ready(VERSION)


def test_dracuts_programs_of_other_names_are_not_taken_for_theirs(
    tmp_path: Path,
) -> None:
    names = ["/usr/sbin/update-initramfs", "/usr/bin/mkinitrd", "/usr/bin/dracut"]
    there = guest(tmp_path, dict.fromkeys(names, ""))
    found = generators.tool(there)
    assert found and found.path == "/usr/bin/dracut"


def test_a_tool_that_is_not_set_up_is_not_run(tmp_path: Path) -> None:
    there = guest(tmp_path, {"/usr/sbin/mkinitramfs": "", "/usr/bin/dracut": ""})
    found = generators.tool(there)
    assert found and found.path == "/usr/bin/dracut"


def test_what_made_the_old_image_makes_the_new_one(tmp_path: Path) -> None:
    files = ["/usr/sbin/mkinitramfs", "/usr/bin/dracut", CONFIG]
    there = guest(tmp_path, dict.fromkeys(files, ""))
    old = initramfs.parse(image({"init": "", "usr/lib/dracut/modules.txt": ""}))
    for made, name in ((old, "dracut"), (None, "mkinitramfs")):
        found = generators.tool(there, made)
        assert found and found.path.endswith(name)


def test_a_guest_without_a_tool_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    there = guest(tmp_path, {IMAGE: OLD, **modules(VERSION)})
    with pytest.raises(GuestError, match="lacks the virtio drivers") as e:
        actions(there)
    assert e.value.remedy


def test_a_guest_that_boots_from_sata_and_cannot_be_given_virtio_stays_on_sata(
    tmp_path: Path,
) -> None:
    """Row 6 of the users' reports: no tool, so it was refused."""
    folder = f"lib/modules/{VERSION}"
    there = modules(VERSION)
    index = str(there[f"/{folder}/modules.dep"]) + "kernel/ahci.ko:\n"
    there[f"/{folder}/modules.dep"] = index
    old = image(
        {"init": "", f"{folder}/kernel/ahci.ko": "", f"{folder}/modules.dep": index}
    )
    found = kernels.again(guest(tmp_path, {IMAGE: old, **there}), GUEST.kernels)
    system = GUEST.having(kernels=found)
    assert virtual.devices(system, "libvirt", agent=False).block == "sata"
    [finding] = drivers.findings(system)
    assert "nothing that is known can add it" in finding.message
    with_tool = guest(tmp_path, {"/usr/bin/dracut": ""})
    found = kernels.again(with_tool, GUEST.kernels)
    system = GUEST.having(kernels=found)
    assert virtual.devices(system, "libvirt", agent=False).block == "virtio"


SATA = ("ahci", "sd_mod")


def without_virtio(made: dict[str, str]) -> tuple[dict[str, str | bytes], bytes]:
    """Return the files of a kernel with ahci alone, and an image that holds *made*."""
    folder = f"lib/modules/{VERSION}"
    index = "kernel/ahci.ko:\nkernel/sd_mod.ko:\n"
    files: dict[str, str | bytes] = {
        IMAGE: OLD,
        f"/{folder}/modules.dep": index,
        **{f"/{folder}/kernel/{name}.ko": "" for name in SATA},
    }
    return files, image({"init": "", f"{folder}/modules.dep": index, **made})


@pytest.mark.parametrize("given", [SATA, ("sd_mod",)])
def test_an_image_for_sata_is_proved_by_what_sata_needs(
    given: tuple[str, ...], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Virtio cannot be in it: the kernel has none.  Emulated hardware is no promise."""
    files, made = without_virtio(
        {f"lib/modules/{VERSION}/kernel/{name}.ko": "" for name in given}
    )
    there = guest(tmp_path, files, {"/usr/bin/dracut": making(made, lambda a: a[-2])})
    before = (tmp_path / IMAGE[1:]).read_bytes()
    system = GUEST.having(kernels=kernels.again(there, GUEST.kernels))
    applied(there, drivers.plan(there, system, Names(system), SATA))
    good = given == SATA
    assert (tmp_path / IMAGE[1:]).read_bytes() == (made if good else before)
    assert ("lacks ahci" in caplog.text) is not good


def test_a_second_kernel_whose_tool_fails_does_not_refuse_the_guest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = f"{IMAGE}.old"

    def run(folder: Folder, arguments: list[str]) -> None:
        if other not in arguments[-2]:
            folder.write(arguments[-2], ready(VERSION))

    second = kernel(VERSION, other).having(default=False)
    system = GUEST.having(kernels=(*GUEST.kernels, second))
    files = {IMAGE: OLD, other: OLD, **modules(VERSION)}
    there = guest(tmp_path, files, {"/usr/bin/dracut": run})
    applied(there, drivers.plan(there, system, Names(system)))
    assert (tmp_path / IMAGE[1:]).read_bytes() == ready(VERSION)
    assert (tmp_path / other[1:]).read_bytes() == OLD
    assert "made no initramfs" in caplog.text


def test_an_image_that_cannot_be_read_is_made_anew_and_says_why(
    tmp_path: Path,
) -> None:
    run = making(ready(VERSION), lambda a: a[-2])
    files = {IMAGE: b"\x1f\x8b nothing", **modules(VERSION)}
    there = guest(tmp_path, files, {"/usr/bin/dracut": run})
    [action] = actions(there)
    assert action.change.kind == "run" and "broken" in action.change.reason
    assert action.change.after and action.change.after.endswith(f"{IMAGE} {VERSION}")


def test_dracut_is_given_the_parts_of_the_old_image_that_are_still_there(
    tmp_path: Path,
) -> None:
    parts = "bash\nlvm\ngone\n$(reboot)\n"
    old = image({"init": "", "usr/lib/dracut/modules.txt": parts})
    folders = {
        f"/usr/lib/dracut/modules.d/{name}/module-setup.sh": ""
        for name in ("00bash", "90lvm", "90crypt")
    }
    run = making(ready(VERSION), lambda a: a[-2])
    files = {IMAGE: old, **folders, **modules(VERSION)}
    there = guest(tmp_path, files, {"/usr/bin/dracut": run})
    [action] = actions(there)
    assert "--add bash lvm --add-drivers" in (action.change.after or "")


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst"])
def test_modules_are_appended_as_the_guest_stores_them(
    suffix: str, tmp_path: Path
) -> None:
    old = image(
        {
            "init": "",
            "usr/lib/systemd/systemd-udevd": "",
            f"lib/modules/{VERSION}/kernel/ext4.ko{suffix}": "",
        }
    )
    there = guest(tmp_path, {IMAGE: old, **modules(VERSION, suffix)})
    for action in actions(there):
        action.apply(there)
    [found] = kernels.again(there, GUEST.kernels)
    assert {"virtio_blk", "virtio_pci"} <= set(found.initramfs_drivers)


def test_two_kernels_with_one_image_both_find_their_modules_in_it(
    tmp_path: Path,
) -> None:
    """What is appended for the second must not undo the first."""
    second = "6.1.0-2.x86_64"
    old = image({"init": "", "sbin/udevd": ""})
    there = guest(tmp_path, {IMAGE: old, **modules(VERSION), **modules(second)})
    both = (GUEST.kernels[0], kernel(second, IMAGE).having(default=False))
    planned = actions(there, GUEST.having(kernels=both))
    applied(there, planned)
    size = (tmp_path / IMAGE[1:]).stat().st_size
    assert size - len(old) <= sum(action.space for action in planned)
    for found in kernels.again(there, both):
        assert {"virtio_blk", "virtio_pci"} <= set(found.initramfs_drivers)


def test_what_is_planned_holds_no_image(tmp_path: Path) -> None:
    """Those of 32 kernels may be more than the host has memory."""
    old = image({"init": "", "sbin/udevd": "", "large": bytes(2**24)})
    there = guest(tmp_path, {IMAGE: old, **modules(VERSION)})
    tracemalloc.start()
    planned = actions(there)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(planned) == 1 and held < 2**22


def test_an_index_with_whole_paths_is_read_as_well(tmp_path: Path) -> None:
    """depmod's until module-init-tools 3.4: Debian 5, RHEL 5, SLES 10."""
    folder = f"/lib/modules/{VERSION}"
    files = modules(VERSION)
    index = str(files[f"{folder}/modules.dep"])
    files[f"{folder}/modules.dep"] = index.replace("kernel/", f"{folder}/kernel/")
    old = image({"init": "", "sbin/udevd": "", f"{folder[1:]}/kernel/ext3.ko": ""})
    there = guest(tmp_path, {IMAGE: old, **files})
    [action] = actions(there)
    assert "virtio_blk.ko" in (action.change.after or "")
    action.apply(there)
    [found] = kernels.again(there, GUEST.kernels)
    assert {"virtio_blk", "virtio_pci"} <= set(found.initramfs_drivers)


def test_modules_that_are_stored_unlike_the_images_are_not_appended(
    tmp_path: Path,
) -> None:
    """The index would name .ko.xz where the image has .ko: none could be loaded."""
    old = image(
        {
            "init": "",
            "usr/lib/systemd/systemd-udevd": "",
            f"lib/modules/{VERSION}/kernel/ext4.ko": "",
        }
    )
    run = making(ready(VERSION, ".xz"), lambda a: a[-2])
    files = {IMAGE: old, **modules(VERSION, ".xz")}
    there = guest(tmp_path, files, {"/usr/bin/dracut": run})
    [action] = actions(there)
    assert action.change.kind == "run"


def nash(*loaded: str) -> bytes:
    lines = "".join(f"echo Loading\ninsmod /lib/{name}.ko \n" for name in loaded)
    files = {f"lib/{name}.ko": "" for name in DISK}
    return image({"init": f"#!/bin/nash\n{lines}", "bin/nash": "", **files})


def test_an_image_that_loads_from_a_list_has_what_the_list_names(
    tmp_path: Path,
) -> None:
    """RHEL 5's: a module that only lies in it is never loaded."""
    run = making(nash(*DISK), lambda a: a[-2])
    files = {IMAGE: nash("virtio", "virtio_ring"), **modules(VERSION)}
    files[f"/lib/modules/{VERSION}/vmlinuz"] = ""
    there = guest(tmp_path, files, {"/sbin/mkinitrd": run})
    [before] = kernels.again(there, GUEST.kernels)
    assert before.initramfs_drivers == ()
    [action] = actions(there)
    assert action.change.kind == "run"
    action.apply(there)
    [after] = kernels.again(there, GUEST.kernels)
    assert {"virtio_blk", "virtio_pci"} <= set(after.initramfs_drivers)


def test_a_script_of_dracut_that_waits_for_an_old_name_waits_for_the_uuid() -> None:
    from v2v.document import Filesystem
    from v2v.guests.linux.initramfs import Initramfs

    path = r"usr/lib/dracut/hooks/initqueue/finished/devexists-\x2fdev\x2fsda3.sh"
    found = Guest(filesystems=(Filesystem(device="/dev/sda3", type="swap", uuid="s"),))
    there = Initramfs(texts={path: b'[ -e "/dev/sda3" ]\n', "init": b"/dev/sda3"})
    assert dict(drivers._stale(there, Names(found))) == {
        path: b'[ -e "/dev/disk/by-uuid/s" ]\n'
    }


CONFIGS = {
    "/etc/mkinitcpio.conf": (
        "# MODULES=(x)\nMODULES=(ext4)\nHOOKS=(udev)\n",
        "# MODULES=(x)\nMODULES=(ext4 virtio_blk virtio_pci)\nHOOKS=(udev)\n",
    ),
    "/etc/mkinitfs/mkinitfs.conf": (
        'features="ata base ext4"\n',
        'features="ata base ext4 virtio"\n',
    ),
    "/etc/initramfs-tools/modules": (
        "# a list\nvirtio_pci",
        "# a list\nvirtio_pci\nvirtio_blk\n",
    ),
    "/etc/dracut.conf.d/50-v2v-virtio.conf": (
        "",
        'add_drivers+=" virtio_blk virtio_pci "\n',
    ),
    "/etc/sysconfig/kernel": (
        'INITRD_MODULES="ata_piix"\nA=1\n',
        'INITRD_MODULES="ata_piix virtio_blk virtio_pci"\nA=1\n',
    ),
}


@pytest.mark.parametrize("path", CONFIGS)
def test_the_next_initramfs_is_asked_for_virtio_once(path: str, tmp_path: Path) -> None:
    before, after = CONFIGS[path]
    there = guest(tmp_path, {path: before})
    for action in persistent.plan(there, ["virtio_blk", "virtio_pci"]):
        action.apply(there)
    assert (tmp_path / path[1:]).read_text() == after
    assert list(persistent.plan(there, ["virtio_blk", "virtio_pci"])) == []


def test_update_initramfs_takes_the_new_image_for_its_own(tmp_path: Path) -> None:
    """It refused: "has been altered. Cannot update" (Debian until 10)."""
    state = f"/var/lib/initramfs-tools/{VERSION}"
    files = {
        IMAGE: OLD,
        CONFIG: "",
        **modules(VERSION),
        state: f"{'0' * 40}  {IMAGE}\n",
    }
    run = making(ready(VERSION), lambda a: a[2])
    there = guest(tmp_path, files, {"/usr/sbin/mkinitramfs": run})
    assert applied(there, actions(there)) == [IMAGE, state]
    digest = hashlib.sha1(ready(VERSION)).hexdigest()
    assert (tmp_path / state[1:]).read_text() == f"{digest}  {IMAGE}\n"


def test_an_empty_list_and_one_that_is_not_there(tmp_path: Path) -> None:
    assert persistent.with_words("MODULES=()\n", persistent._ARRAY, ["a"]) == (
        "MODULES=(a)\n"
    )
    assert persistent.with_words("X=1\n", persistent._ARRAY, ["a"]) == "X=1\n"
    assert (
        re.search(r"^features", "features=")
        and list(
            persistent.plan(
                guest(tmp_path, {"/etc/sysconfig/kernel": "UPDATE=yes\n"}), ["a"]
            )
        )
        == []
    )
