# SPDX-License-Identifier: GPL-2.0-or-later
"""Hives that were made to end, or to hold up, whoever reads them."""

from pathlib import Path

import hivex
import pytest

import hives
from v2v.document import Nic
from v2v.errors import GuestError
from v2v.guests.windows import addresses, network
from v2v.guests.windows.hive import Hive, dword
from windows_registry import registry

SET = "ControlSet001"
GUID = "{00000000-0000-4000-8000-00000000000C}"
TCPIP = rf"{SET}\Services\Tcpip\Parameters\Interfaces\{GUID}"


def test_a_tree_that_is_too_deep_is_not_removed(tmp_path: Path) -> None:
    file = hives.made(tmp_path / "SYSTEM", {"Here": {}})
    own = hivex.Hivex(str(file), write=True)
    node = own.root()
    for _ in range(60_000):  # hivex' recursion ended the process
        node = own.node_add_child(node, "a")
    own.commit(str(file))
    with pytest.raises(GuestError, match="has more than 10000 keys"):
        Hive("SYSTEM", file).remove("a", "")


def test_what_was_looked_up_is_forgotten_when_it_changes(tmp_path: Path) -> None:
    own = Hive("SYSTEM", hives.made(tmp_path / "SYSTEM", {r"A\B": {"x": 1}}))
    assert own.number(r"a\b", "X") == 1
    assert not own.exists(r"A\C")
    own.set(r"A\C", "x", dword(2), "")
    own.set(r"A\B", "X", dword(3), "")
    assert (own.number(r"A\c", "x"), own.number(r"A\B", "x")) == (2, 3)
    own.unset(r"A\B", "x", "")
    assert own.values(r"A\B") == {}
    own.remove(r"A\B", "")
    assert (own.keys("A"), own.exists(r"A\B")) == (["C"], False)
    own.set(r"A\B", "y", dword(4), "")
    own.save(tmp_path / "again")
    again = Hive("SYSTEM", tmp_path / "again")
    assert {name: again.values(rf"A\{name}") for name in again.keys("A")} == {
        "B": {"y": dword(4)},
        "C": {"x": dword(2)},
    }


# A letter that is an s, or a k, when case does not count.
@pytest.mark.parametrize("suffix", ["\u017f.example", "\u212a.example", 'a"&b', "a\nb"])
def test_a_suffix_that_is_no_name_goes_into_no_script(
    tmp_path: Path, suffix: str
) -> None:
    own = registry(
        tmp_path,
        system={
            TCPIP: {
                "EnableDHCP": 0,
                "IPAddress": ["192.0.2.5"],
                "SubnetMask": ["255.255.255.0"],
                "Domain": suffix,
            }
        },
    )
    assert [c.suffix for c in network.connections(own)] == [""]


def test_a_name_in_the_document_is_no_longer_than_people_read(tmp_path: Path) -> None:
    about = rf"{SET}\Control\Network\{network.CLASS}\{GUID}\Connection"
    own = registry(
        tmp_path,
        system={TCPIP: {"EnableDHCP": 1}, about: {"Name": "n" * 8000}},
    )
    (one,) = addresses.interfaces(own, [Nic(mac="00:50:56:00:00:01")])
    assert one.name == "n" * 200
