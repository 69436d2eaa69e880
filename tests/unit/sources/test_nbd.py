# SPDX-License-Identifier: GPL-2.0-or-later
import socket

import pytest

from v2v.document import VM, Layer
from v2v.errors import SourceError
from v2v.servers import nbd as server
from v2v.sources import Request, detect, read


def described(uri: str) -> VM:
    assert detect(uri) == "nbd"
    (vm,) = read(Request(location=uri))
    return vm


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("nbd://store.example/web01", "web01"),
        ("nbd://store.example:10810/dir/web01", "web01"),
        ("nbd://store.example/web%2001", "web 01"),
        ("nbd://store.example", "store.example"),
        ("nbd://[fe80::1]:10809/", "fe80::1"),
        ("NBD://Store.example/web01", "web01"),
        ("nbd+unix:///web01?socket=/run/x.sock", "web01"),
        ("nbd+unix:///?socket=/run/web02.sock", "web02"),
        ("nbds://store.example/web01", "web01"),
        ("nbds+unix:///web01?socket=/run/x.sock", "web01"),
    ],
)
def test_a_vm_is_named_after_the_export_or_its_place(uri: str, name: str) -> None:
    vm = described(uri)
    layer = vm.disks[0].source
    assert layer
    assert (vm.name, layer.server, vm.firmware_known) == (name, "nbd", False)
    assert server.parse(layer.uri or "")


def test_a_socket_is_on_this_host_and_a_port_is_not() -> None:
    here = described("nbd+unix:///web01?socket=/run/x.sock").disks[0].source
    there = described("nbd://store.example/web01").disks[0].source
    assert here
    assert there
    assert (here.host, there.host) == (socket.gethostname(), None)


def test_the_kind_of_tls_is_kept_without_keys() -> None:
    x509 = described("nbds://h/x?tls-certificates=/home/me/pki").disks[0].source
    assert x509 == Layer(server="nbd", uri="nbds://h/x", tls="x509")
    psk = described("nbds://alice@h/x?tls-psk-file=/home/me/k").disks[0].source
    assert psk == Layer(server="nbd", uri="nbds://h/x", tls="psk", tls_user="alice")
    plain = described("nbd://h/x").disks[0].source
    assert plain == Layer(server="nbd", uri="nbd://h/x")


@pytest.mark.parametrize(
    "uri",
    [
        "nbd://",
        "nbd:///x",
        "nbd://h:port/x",
        "nbd://h:99999/x",
        "nbd://[::1/x",
        "nbd+unix:///x",
        "nbd+unix:///x?socket=",
        "nbd+unix:///x?socket=relative",
    ],
)
def test_an_impossible_uri_is_refused(uri: str) -> None:
    with pytest.raises(SourceError) as e:
        described(uri)
    assert e.value.remedy


def test_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(SourceError) as e:
        described("nbds://alice:s3cret@h/x")
    assert "s3cret" not in e.value.message + e.value.remedy


def test_a_format_is_for_the_server_to_read() -> None:
    with pytest.raises(SourceError, match="read as raw"):
        list(read(Request(location="nbd://h/x", format="qcow2")))
    assert list(read(Request(location="nbd://h/x", format="raw")))
