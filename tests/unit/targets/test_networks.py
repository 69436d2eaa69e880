# SPDX-License-Identifier: GPL-2.0-or-later
import pytest

from target_vm import make_vm
from v2v.document import VM, Nic
from v2v.errors import TargetError, UsageError
from v2v.targets import networks
from v2v.targets.networks import DEFAULT, Place, Plan

BR0 = Place(kind="bridge", name="br0")
MAC = "00:50:56:01:02:03"
MAC2 = "00:50:56:01:02:04"


def two_cards() -> VM:
    return make_vm(
        nics=(
            Nic(mac=MAC, network="VM Network"),
            Nic(mac=MAC2, network="Storage: iSCSI"),
        )
    )


def planned(vm: VM, *words: str, known: bool = False) -> Plan:
    return networks.plan(vm, words, lambda place: known, DEFAULT)


def places(vm: VM, *words: str) -> list[str]:
    return [str(card.place) for card in planned(vm, *words).cards]


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("bridge=br0", "bridge=br0"),
        ("network=isolated", "network=isolated"),
        ("isolated", "network=isolated"),
        (":isolated", "network=isolated"),
        ("user", "user"),
    ],
)
def test_a_word_without_a_source_network_takes_all_cards(word: str, place: str) -> None:
    assert places(two_cards(), word) == [place, place]


def test_a_named_network_goes_where_it_is_sent_and_the_rest_elsewhere() -> None:
    assert places(two_cards(), "VM Network:bridge=br0", "user") == [
        "bridge=br0",
        "user",
    ]


def test_a_source_name_with_a_colon_can_be_mapped() -> None:
    assert places(two_cards(), "Storage: iSCSI:bridge=br9", "user")[1] == "bridge=br9"


def test_a_mac_address_in_any_case_selects_one_card() -> None:
    assert places(two_cards(), f"{MAC2.upper()}:bridge=br0", "user") == [
        "user",
        "bridge=br0",
    ]


def test_a_card_is_selected_by_mac_before_network() -> None:
    words = ("VM Network:user", f"{MAC}:bridge=br0", "user")
    assert places(two_cards(), *words)[0] == "bridge=br0"


def test_a_card_sent_to_none_is_left_out() -> None:
    (card,) = planned(two_cards(), "VM Network:none", "user").cards
    assert card.nic.mac == MAC2


@pytest.mark.parametrize(
    "word",
    [
        *("", "VM Network:", "bridge=", "network=", "bridge=br/0", "bridge=.."),
        *("bridge=" + "x" * 16, "vlan=3", "network=a\nb", "bridge=a b"),
    ],
)
def test_a_word_that_names_nothing_is_a_usage_error(word: str) -> None:
    with pytest.raises(UsageError):
        networks.rules([word])


@pytest.mark.parametrize("word", ["VM Network:user", "default"])
def test_the_same_network_cannot_be_mapped_twice(word: str) -> None:
    with pytest.raises(UsageError, match="mapped twice"):
        networks.rules([word, word.replace("default", "other")])


def test_a_port_group_without_a_rule_goes_to_the_default_with_a_warning() -> None:
    plan = planned(make_vm())
    assert [card.place for card in plan.cards] == [DEFAULT]
    assert "'VM Network'" in plan.warnings[0]
    assert "-n" in plan.warnings[0]


def test_a_rule_leaves_no_warning() -> None:
    assert not planned(make_vm(), "VM Network:user").warnings


def test_a_card_that_had_no_network_moves_without_a_warning() -> None:
    assert not planned(make_vm(nics=(Nic(mac=MAC),))).warnings


def test_libvirts_own_default_network_is_no_loss() -> None:
    vm = make_vm(nics=(Nic(mac=MAC, type="network", network="default"),))
    assert not networks.plan(vm, (), lambda place: False, networks.USER).warnings


def test_a_bridge_that_there_is_here_too_is_kept() -> None:
    vm = make_vm(nics=(Nic(mac=MAC, type="bridge", network="br0"),))
    plan = planned(vm, known=True)
    assert [card.place for card in plan.cards] == [BR0]
    assert not plan.warnings


def test_a_name_that_no_bridge_can_have_is_not_looked_for() -> None:
    vm = make_vm(nics=(Nic(mac=MAC, type="bridge", network="../../etc"),))
    assert [card.place for card in planned(vm, known=True).cards] == [DEFAULT]


def test_an_internal_network_is_not_joined_to_another_in_silence() -> None:
    vm = make_vm(nics=(Nic(mac=MAC, type="internal"),))
    assert "internal" in planned(vm).warnings[0]


def test_a_card_that_was_plugged_in_nowhere_has_no_link() -> None:
    vm = make_vm(nics=(Nic(mac=MAC, type="none"),))
    (card,) = planned(vm).cards
    assert not card.nic.connected


def test_a_misspelt_network_is_an_error_that_says_what_there_is() -> None:
    with pytest.raises(TargetError) as e:
        planned(make_vm(), "VM Netwrok:bridge=br0", "user")
    assert "'VM Network'" in e.value.remedy


def test_a_rule_for_another_vm_of_the_run_is_no_error() -> None:
    assert places(make_vm(), "VM Network:user", "DMZ:bridge=br7") == ["user"]


def test_a_hostile_network_name_does_not_reach_the_terminal_raw() -> None:
    vm = make_vm(nics=(Nic(mac=MAC, network="\x1b[2J\nv2v: all well"),))
    assert planned(vm).warnings[0].isprintable()
