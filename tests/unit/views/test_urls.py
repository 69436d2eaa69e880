# SPDX-License-Identifier: GPL-2.0-or-later
"""What URLs mean, and that nothing secret is shown of them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v.errors import SourceError, UsageError
from v2v.views import means, urls
from v2v.views.means import Means
from v2v.views.transports import ssh, web

SIGNED = "https://host/a/vm.ova?X-Amz-Signature=geheim"
DATASTORE = "https://esx/folder/VM/vm.vmx?dcPath=ha-datacenter&dsName=datastore1"


@pytest.mark.parametrize(
    ("location", "shown", "name"),
    [
        ("HTTPS://Host:443/a%20b/vm.ova", "https://host/a%20b/vm.ova", "vm.ova"),
        ("https://[::1]:8443/vm.ova", "https://[::1]:8443/vm.ova", "vm.ova"),
        ("ssh://root@esx/vmfs/a%20b.vmx", "ssh://root@esx/vmfs/a%20b.vmx", "a b.vmx"),
        ("s3://bucket/a/k%20?#y.ova", "s3://bucket/a/k%20?#y.ova", "k%20?#y.ova"),
        (SIGNED, "https://host/a/vm.ova", "vm.ova"),
        (DATASTORE, DATASTORE, "vm.vmx"),
    ],
)
def test_what_a_url_means(location: str, shown: str, name: str) -> None:
    url = urls.parse(location)
    assert url.shown() == shown
    assert url.name == name
    assert urls.shown(location) == shown


def test_files_beside() -> None:
    assert urls.parse(SIGNED).folder.beside("a b.mf").shown() == (
        "https://host/a/a%20b.mf"
    )
    flat = urls.parse(DATASTORE).folder.beside("vm-flat.vmdk").whole()
    assert flat == DATASTORE.replace("vm.vmx", "vm-flat.vmdk")


@pytest.mark.parametrize(
    "location",
    [
        "https:///vm.ova",
        "https://host/",
        "https://host",
        "https://host/a/../vm.ova",
        "https://host/a/%2e%2e/vm.ova",
        "https://host/a%2f..%2fvm.ova",
        "https://host/%00.ova",
        "https://host:0/vm.ova",
        "https://host:port/vm.ova",
        "https://-oProxyCommand/vm.ova",
        "ssh://-oProxyCommand=x/vm.ova",
        "s3://bucket",
        "https://host/" + "a/" * 100 + "vm.ova",
        "https://host/" + "a" * 256,
        "https://host/" + "a" * 5000,
        "https://me:geheim@host/vm.ova",
        "https://[::1/vm.ova",
        "https://host/a\nurl = file:///etc/passwd",
    ],
)
def test_what_is_refused(location: str) -> None:
    with pytest.raises(SourceError) as caught:
        urls.parse(location)
    assert "geheim" not in caught.value.message + caught.value.remedy


@given(st.text(max_size=60))
def test_whatever_is_typed_is_read_or_refused(text: str) -> None:
    location = f"https://{text}"
    assert urls.is_url(location)
    try:
        url = urls.parse(location)
    except SourceError:
        assert urls.shown(location).startswith("https://")
        return
    assert urls.parse(url.shown()).name == url.name
    assert "/" not in url.name


@given(st.text(alphabet="geheim%/:@?#[]", max_size=12), st.sampled_from(["", "x@"]))
def test_passwords_and_signatures_are_not_shown(path: str, user: str) -> None:
    text = urls.shown(f"https://{user}me:S3CRET@host/{path}?sig=S3CRET")
    assert "S3CRET" not in text


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://host/x", "ssh://host/x", "http://host/x"],
)
def test_no_redirect_leads_off_the_safe_web(target: str) -> None:
    with pytest.raises(SourceError):
        urls.joined(urls.parse("https://host/vm.ova"), target)


def test_a_user_is_known_to_the_same_server_only() -> None:
    base = urls.parse("https://me@host/a/vm.ova")
    assert urls.joined(base, "/b/vm.ova").user == "me"
    assert urls.joined(base, "https://other/vm.ova").user is None


def test_a_folder_that_is_allowed_is_no_prefix_of_others() -> None:
    allowed = Means(folders=(urls.folder("https://host/a/"),))
    assert allowed.allows(urls.parse("https://host:443/a/b/vm.ova"))
    for other in ("https://host/ab/vm.ova", "http://host/a/vm.ova"):
        assert not allowed.allows(urls.parse(other))
    for other in ("https://host.evil/a/vm.ova", "https://host:444/a/vm.ova"):
        assert not allowed.allows(urls.parse(other))


def test_no_value_leaves_its_quotes() -> None:
    url = urls.parse('https://a"b@host/%22%5C.ova')
    lines = web.config(url, Means(), []).splitlines()
    assert 'user = "a\\"b:"' in lines
    assert web.quoted('a"\\') == '"a\\"\\\\"'


def test_no_secret_is_in_an_argv(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("geheim\n")
    words = ssh.plugin(urls.parse("ssh://me@esx/vm.vmx"), Means(password=password))
    assert f"password=+{password}" in words
    assert "geheim" not in " ".join(words)
    with pytest.raises(UsageError):
        means.secret(tmp_path / "none")
