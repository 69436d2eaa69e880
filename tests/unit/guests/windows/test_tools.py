# SPDX-License-Identifier: GPL-2.0-or-later
"""The old hypervisor's tools are disabled, and no filter list names them any more."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import hives
from v2v.guests.windows import tools
from v2v.guests.windows.hive import Hive
from v2v.guests.windows.registry import Registry

MOUSE = "{4d36e96f-e325-11ce-bfc1-08002be10318}"
HDC = "{4d36e96a-e325-11ce-bfc1-08002be10318}"
SYSTEM_CLASS = "{4d36e97d-e325-11ce-bfc1-08002be10318}"
DISKS = "{4d36e967-e325-11ce-bfc1-08002be10318}"
RUN = r"Microsoft\Windows\CurrentVersion\Run"
SELECT = {"Select": {"Current": 1, "Default": 1, "LastKnownGood": 2}}
Made = Callable[..., Registry]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    def registry(system: hives.Keys, software: hives.Keys | None = None) -> Registry:
        keys = {**SELECT, "ControlSet001": {}, **system}
        return Registry(
            system=Hive("SYSTEM", hives.made(tmp_path / "SYSTEM", keys)),
            software=Hive(
                "SOFTWARE", hives.made(tmp_path / "SOFTWARE", software or {})
            ),
            paths={},
        )

    return registry


@pytest.fixture
def real(shared: Path, tmp_path: Path) -> Callable[[str], Registry]:
    def registry(name: str) -> Registry:
        software = hives.made(
            tmp_path / "SOFTWARE", {RUN: {"VMware User Process": "vmtoolsd.exe -n vm"}}
        )
        file = hives.real(shared, name, tmp_path)
        return Registry(
            system=Hive("SYSTEM", file), software=Hive("SOFTWARE", software), paths={}
        )

    return registry


def changes(registry: Registry) -> dict[str, tuple[str | None, str | None]]:
    """What was changed: values before and after, without the name of the hive."""
    return {
        change.path.partition("\\")[2]: (change.before, change.after)
        for hive in registry.hives
        for change in hive.changes
    }


def starts(control_set: str, old: Mapping[str, int]) -> dict[str, tuple[str, str]]:
    return {
        rf"{control_set}\Services\{service}\Start": (hex(number), "0x4")
        for service, number in old.items()
    }


RUN_VALUE = {rf"{RUN}\VMware User Process": ('"vmtoolsd.exe -n vm"', None)}


def test_windows_7_on_vmware_in_both_control_sets(
    real: Callable[[str], Registry],
) -> None:
    registry = real("win7-x86-vmware-static-SYSTEM")
    assert tools.found(registry) == ("vmware-tools",)
    tools.disable(registry)
    expected: dict[str, tuple[str | None, str | None]] = {**RUN_VALUE}
    for control_set in ("ControlSet001", "ControlSet002"):
        # guest-windows.md §4.1 names them but for vmdebug and VMUpgradeHelper, which
        # the hive has under "VMware Tools"; vmrawdsk is 4 already.
        expected |= starts(
            control_set,
            {"vm3dmp": 3, "vmci": 3, "vmdebug": 1, "VMMEMCTL": 2, "vmmouse": 3}
            | {"VMTools": 2, "VMUpgradeHelper": 2},
        )
        mouse = rf"{control_set}\Enum\ACPI\PNP0F13\4&25ee97c0&0\UpperFilters"
        expected[mouse] = ("[VMMouse]", None)
    assert changes(registry) == expected


@pytest.mark.report("https://github.com/OpenNebula/one-swap/issues/45")
def test_windows_10_on_vmware(real: Callable[[str], Registry]) -> None:
    registry = real("win10-x64-vmware-SYSTEM")
    assert tools.found(registry) == ("vmware-tools",)
    tools.disable(registry)
    control_set = "ControlSet001"
    order = (
        '"P9NP,vmhgfs,RDPNP,LanmanWorkstation,webclient"',
        '"P9NP,RDPNP,LanmanWorkstation,webclient"',
    )
    hid = rf"{control_set}\Enum\HID\VID_0E0F&PID_0003"
    assert changes(registry) == {
        **RUN_VALUE,
        rf"{control_set}\Enum\ACPI\VMW0003\4&1bd7f811&0\UpperFilters": (
            "[VMMouse]",
            None,
        ),
        rf"{hid}&MI_00\8&1230c469&0&0000\UpperFilters": ("[VMUsbMouse]", None),
        rf"{hid}&MI_01\8&3608022b&0&0000\UpperFilters": ("[VMUsbMouse]", None),
        rf"{control_set}\Control\NetworkProvider\Order\ProviderOrder": order,
        rf"{control_set}\Control\NetworkProvider\HwOrder\ProviderOrder": order,
        # pvscsi, vmxnet3ndis6 and vmwefifw are only staged: they have no Start.
        **starts(
            control_set,
            {"VGAuthService": 2, "vm3dmp": 3, "vm3dmp-debug": 3, "vm3dmp-stats": 3}
            | {"vm3dmp_loader": 3, "vmci": 0, "vmhgfs": 3, "VMMemCtl": 2}
            | {"vmmouse": 3, "VMRawDsk": 1, "VMTools": 2, "VMUsbMouse": 3}
            | {"vmvss": 3, "vsock": 0},
        ),
    }


def test_windows_8_1_on_virtualbox(real: Callable[[str], Registry]) -> None:
    registry = real("win81-x64-virtualbox-SYSTEM")
    assert tools.found(registry) == ("virtualbox",)
    tools.disable(registry)
    control_set = "ControlSet001"
    order = (
        '"VBoxSF,RDPNP,LanmanWorkstation,WebClient"',
        '"RDPNP,LanmanWorkstation,WebClient"',
    )
    assert changes(registry) == {
        **RUN_VALUE,
        rf"{control_set}\Control\Class\{MOUSE}\UpperFilters": (
            "[VBoxMouse, mouclass]",
            "[mouclass]",
        ),
        rf"{control_set}\Control\NetworkProvider\Order\ProviderOrder": order,
        rf"{control_set}\Control\NetworkProvider\HwOrder\ProviderOrder": order,
        **starts(
            control_set,
            {"VBoxGuest": 0, "VBoxMouse": 3, "VBoxService": 2, "VBoxSF": 1}
            | {"VBoxVideoW8": 3},
        ),
    }


def test_a_physical_machine_has_no_tools(real: Callable[[str], Registry]) -> None:
    registry = real("win10-1709-x64-physical-dirty-SYSTEM")
    assert tools.found(registry) == ()
    tools.disable(registry)
    assert changes(registry) == RUN_VALUE


@pytest.mark.parametrize(
    "name", ["win7-x86-vmware-static", "win10-x64-vmware", "win81-x64-virtualbox"]
)
def test_a_second_run_changes_nothing(
    real: Callable[[str], Registry], tmp_path: Path, name: str
) -> None:
    registry = real(f"{name}-SYSTEM")
    tools.disable(registry)
    registry.system.save(tmp_path / "SYSTEM.new")
    registry.software.save(tmp_path / "SOFTWARE.new")
    again = Registry(
        system=Hive("SYSTEM", tmp_path / "SYSTEM.new"),
        software=Hive("SOFTWARE", tmp_path / "SOFTWARE.new"),
        paths={},
    )
    assert tools.found(again) == tools.found(registry)
    tools.disable(again)
    assert changes(again) == {}


def test_nothing_else_of_the_hive_is_changed(
    real: Callable[[str], Registry], shared: Path, tmp_path: Path
) -> None:
    registry = real("win10-x64-vmware-SYSTEM")
    before = hives.dump(hives.real(shared, "win10-x64-vmware-SYSTEM", tmp_path))
    tools.disable(registry)
    registry.system.save(tmp_path / "SYSTEM.new")
    after = hives.dump(tmp_path / "SYSTEM.new")
    assert before.keys() == after.keys()
    differing = {
        rf"{key}\{name}"
        for key, values in before.items()
        for name in values.keys() | after[key].keys()
        if values.get(name) != after[key].get(name)
    }
    assert differing == set(changes(registry)) - set(RUN_VALUE)


@pytest.mark.report("https://github.com/xcp-ng/xcp/issues/547")
def test_xenfilt_is_out_of_the_classes_before_it_is_disabled(made: Made) -> None:
    services = r"ControlSet001\Services"
    classes = r"ControlSet001\Control\Class"
    registry = made(
        {
            rf"{services}\xenfilt": {"Start": 0},
            rf"{services}\XENBUS": {"Start": 0},
            rf"{services}\xenbus_monitor": {"Start": 2},
            rf"{classes}\{HDC}": {"UpperFilters": ["xenfilt"]},
            rf"{classes}\{SYSTEM_CLASS}": {"UpperFilters": ["XENFILT", "other"]},
        }
    )
    assert tools.found(registry) == ("xen",)
    tools.disable(registry)
    assert changes(registry) == {
        rf"{classes}\{HDC}\UpperFilters": ("[xenfilt]", None),
        rf"{classes}\{SYSTEM_CLASS}\UpperFilters": ("[XENFILT, other]", "[other]"),
        **starts("ControlSet001", {"xenfilt": 0, "XENBUS": 0, "xenbus_monitor": 2}),
    }
    paths = [change.path for change in registry.system.changes]
    first_start = min(i for i, path in enumerate(paths) if path.endswith("Start"))
    assert all("Filters" in path for path in paths[:first_start])


@pytest.mark.report("https://github.com/QubesOS/qubes-issues/issues/1078")
def test_a_filter_whose_driver_is_gone_is_taken_out(made: Made) -> None:
    """Who removed Xen's drivers by hand left a class that cannot start."""
    key = rf"ControlSet001\Control\Class\{SYSTEM_CLASS}"
    registry = made({key: {"UpperFilters": ["xenpci"]}})
    tools.disable(registry)
    assert changes(registry) == {rf"{key}\UpperFilters": ("[xenpci]", None)}


def test_parallels_leaves_the_class_of_disks(made: Made) -> None:
    key = rf"ControlSet001\Control\Class\{DISKS}"
    registry = made(
        {
            r"ControlSet001\Services\prl_strg": {"Start": 0},
            key: {"LowerFilters": ["EhStorClass", "prl_strg"]},
        }
    )
    assert tools.found(registry) == ("parallels",)
    tools.disable(registry)
    assert changes(registry) == {
        rf"{key}\LowerFilters": ("[EhStorClass, prl_strg]", "[EhStorClass]"),
        **starts("ControlSet001", {"prl_strg": 0}),
    }


def test_a_single_filter_that_is_a_mere_string_is_deleted(made: Made) -> None:
    key = rf"ControlSet001\Control\Class\{MOUSE}"
    registry = made({key: {"UpperFilters": "VBoxMouse", "LowerFilters": 7}})
    tools.disable(registry)
    assert changes(registry) == {rf"{key}\UpperFilters": ('"VBoxMouse"', None)}


@pytest.mark.parametrize(
    "service",
    [
        *("vmbus", "vmbusr", "VMBusHID", "vmgid", "vmgencounter", "vmicheartbeat"),
        *("vmicvss", "vmstorfl", "vms3cap", "vmsmp", "VMSP", "vmcompute", "VmsProxy"),
        *("storvsc", "pvscsi", "viostor", "viosock", "netkvm", "processor"),
        "WmiApSrv",
    ],
)
def test_what_is_hyper_vs_or_the_boot_drivers_is_none_of_the_tools(
    service: str,
) -> None:
    assert [kind for kind, t in tools.KINDS.items() if t.has(service)] == []


def test_what_the_boot_disk_hangs_on_is_held(made: Made) -> None:
    registry = made(
        {
            r"ControlSet001\Services\xenvbd": {"Start": 0},
            r"ControlSet001\Services\xenbus": {"Start": 0},
            r"ControlSet001\Enum\XENBUS\VEN_XP&DEV_VBD\_": {"Service": "XENVBD"},
        }
    )
    assert tools.held(registry) == ("xen",)
    tools.disable(registry, kept=("xen",))
    assert changes(registry) == {}


def test_a_service_of_the_tools_that_drives_no_disk_holds_nothing(made: Made) -> None:
    registry = made(
        {
            r"ControlSet001\Services\vmci": {"Start": 0},
            r"ControlSet001\Enum\PCI\VEN_15AD&DEV_0740\x": {"Service": "vmci"},
        }
    )
    assert tools.held(registry) == ()


def test_the_time_provider_and_the_co_installer_of_vmware(made: Made) -> None:
    clock = r"ControlSet001\Services\W32Time\TimeProviders\vmwTimeProvider"
    installers = r"ControlSet001\Control\CoDeviceInstallers"
    display = "{4D36E968-E325-11CE-BFC1-08002BE10318}"
    registry = made(
        {
            clock: {"Enabled": 1, "DllName": "vmwTimeProvider.dll"},
            installers: {
                display: ["VM3DC003.dll,CoDeviceInstall", "SysClass.Dll,Other"],
                MOUSE: ["vm3dc003.dll"],
                HDC: ["SysClass.Dll,CriticalDeviceCoInstaller"],
            },
        }
    )
    tools.disable(registry)
    assert changes(registry) == {
        rf"{clock}\Enabled": ("0x1", "0x0"),
        rf"{installers}\{display}": (
            "[VM3DC003.dll,CoDeviceInstall, SysClass.Dll,Other]",
            "[SysClass.Dll,Other]",
        ),
        rf"{installers}\{MOUSE}": ("[vm3dc003.dll]", None),
    }


def test_nutanix_agents_go_and_its_virtio_drivers_stay(made: Made) -> None:
    registry = made(
        {
            r"ControlSet001\Services\Nutanix Guest Agent": {"Start": 2},
            r"ControlSet001\Services\viostor": {"Start": 0},
        }
    )
    assert tools.found(registry) == ("nutanix",)
    tools.disable(registry)
    assert changes(registry) == starts("ControlSet001", {"Nutanix Guest Agent": 2})


def test_processor_drivers_of_windows_xp(made: Made) -> None:
    services = r"ControlSet001\Services"
    bridge = r"ControlSet001\Enum\PCI\VEN_8086&DEV_7191\3&13c0b0c5&0&08"
    registry = made(
        {
            rf"{services}\intelppm": {"Start": 1},
            rf"{services}\Processor": {"Start": 1},
            rf"{services}\agp440": {"Start": 0},
            bridge: {"UpperFilters": ["AGP440"]},
        }
    )
    tools.disable_processors(registry)
    assert changes(registry) == {
        rf"{bridge}\UpperFilters": ("[AGP440]", None),
        **starts("ControlSet001", {"intelppm": 1, "Processor": 1, "agp440": 0}),
    }


def test_run_values_of_both_views(made: Made) -> None:
    wow = r"Wow6432Node\Microsoft\Windows\CurrentVersion\Run"
    registry = made(
        {}, {RUN: {"VBoxTray": "a", "Other": "b"}, wow: {"VMware User Process": "c"}}
    )
    tools.disable(registry)
    assert changes(registry) == {
        rf"{RUN}\VBoxTray": ('"a"', None),
        rf"{wow}\VMware User Process": ('"c"', None),
    }
