# SPDX-License-Identifier: GPL-2.0-or-later
"""Disks across hosts: TLS or nothing."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import (
    BIN,
    KEEP_PRIVATE,
    Pipeline,
    command,
    own_mounts,
    vms,
    wait_for,
)

MakeVm = Callable[..., Path]
MARK = b"this text of the guest must not be seen on the wire "


def same(vmx: Path, target: Path) -> bool:
    raw = str(vmx.parent / "raw")
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, str(target)]
    return (
        subprocess.run(compare, stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    file = tmp_path / "keys.psk"
    make = ["psktool", "-u", "v2v", "-p", str(file)]
    subprocess.run(make, check=True, capture_output=True)
    return file


def stages(vmx: Path, export: list[str | Path], convert: list[str | Path]) -> Pipeline:
    return Pipeline(
        [
            command("v2v-inspect", "--no-guest", "--json", vmx),
            command("v2v-export", "--listen", "127.0.0.1", *export),
            command("v2v-convert", "-o", vmx.parents[2] / "out", *convert),
        ]
    )


def test_tcp_with_a_shared_key(tmp_path: Path, make_vm: MakeVm, keys: Path) -> None:
    vmx = make_vm()
    job = stages(vmx, ["--tls-psk", keys], ["--tls-psk", keys]).start(tmp_path / "said")
    text = job.finish(60)
    assert job.statuses == [0, 0, 0], (tmp_path / "said").read_text()
    assert same(vmx, tmp_path / "out" / "web01-sda.qcow2")
    secret = keys.read_text().partition(":")[2].strip()
    assert secret not in text + (tmp_path / "said").read_text()
    assert job.left() == []


def test_tcp_without_tls_is_refused(tmp_path: Path, make_vm: MakeVm) -> None:
    job = stages(make_vm(), [], []).start(tmp_path / "said")
    job.finish(60)
    assert job.statuses[1:] == [2, 2]
    assert "--tls-psk" in (tmp_path / "said").read_text()


def test_insecure_is_for_loopback_addresses_only(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm()
    job = stages(vmx, ["--insecure"], []).start(tmp_path / "said")
    job.finish(60)
    assert job.statuses == [0, 0, 0]
    export = command("v2v-export", "--listen", "0.0.0.0", "--insecure")
    inspect = command("v2v-inspect", "--no-guest", "--json", vmx)
    job = Pipeline([inspect, export]).start(tmp_path / "said")
    job.finish(60)
    assert job.statuses[1] == 2


def test_a_wrong_key_is_said_and_no_disk_is_made(
    tmp_path: Path, make_vm: MakeVm, keys: Path
) -> None:
    other = tmp_path / "other.psk"
    other.write_text(f"v2v:{'0' * 64}\n")
    job = stages(make_vm(), ["--tls-psk", keys], ["--tls-psk", other])
    [vm] = vms(job.start(tmp_path / "said").finish(60))
    assert job.statuses[2] == 12
    assert "TLS" in vm["error"]["message"]
    assert not list((tmp_path / "out").glob("*.qcow2*"))


def test_certificates(tmp_path: Path, make_vm: MakeVm) -> None:
    vmx = make_vm()
    folder = certificates(tmp_path / "pki")
    both: list[str | Path] = ["--tls-dir", folder]
    job = stages(vmx, both, both).start(tmp_path / "said")
    job.finish(120)
    assert job.statuses == [0, 0, 0], (tmp_path / "said").read_text()
    assert same(vmx, tmp_path / "out" / "web01-sda.qcow2")


def certificates(folder: Path) -> Path:
    """Make a CA, a server and a client certificate, by the names that qemu wants."""
    folder.mkdir()
    (folder / "ca.info").write_text("cn = test CA\nca\ncert_signing_key\n")
    run = ["certtool", "--generate-privkey", "--ecc", "--outfile"]
    for name in ("ca", "server", "client"):
        subprocess.run(
            [*run, f"{name}-key.pem"], cwd=folder, check=True, capture_output=True
        )
    sign = "certtool --generate-self-signed --load-privkey ca-key.pem"
    make = f"{sign} --template ca.info --outfile ca-cert.pem"
    subprocess.run(make.split(), cwd=folder, check=True, capture_output=True)
    for name in ("server", "client"):
        (folder / f"{name}.info").write_text(
            f"cn = {name}\nip_address = 127.0.0.1\ntls_www_{name}\nsigning_key\n"
        )
        make = (
            "certtool --generate-certificate --load-ca-certificate ca-cert.pem "
            f"--load-ca-privkey ca-key.pem --load-privkey {name}-key.pem "
            f"--template {name}.info --outfile {name}-cert.pem"
        )
        subprocess.run(make.split(), cwd=folder, check=True, capture_output=True)
    # RFC 7919's group, so that qemu does not make parameters of its own for minutes.
    from v2v.servers import nbd

    (folder / "dh-params.pem").write_text(nbd._FFDHE2048)
    return folder


def within(host: str) -> tuple[str, ...]:
    """Return the argv that enters the network of *host*.

    ``ip netns exec`` would remount "/", which a chroot that is no mount point refuses.
    """
    return ("nsenter", f"--net=/run/netns/{host}")


class Hosts:
    """Two hosts, build7 and build8: network, mount and UTS namespaces of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "only-on-build7"
        self.source.mkdir()

    def argv(self, host: str, script: str) -> list[str]:
        """Return the argv that runs *script* on *host*."""
        own = [*own_mounts(), "--uts", "sh", "-ec"]
        named = f"{KEEP_PRIVATE}hostname {host}\n{script}"
        return [*within(host), *own, named]


ADDRESSES = {"build7": "10.213.7.1", "build8": "10.213.7.2"}


@pytest.fixture
def hosts(tmp_path: Path, as_root: None) -> Iterator[Hosts]:
    def ip(line: str, host: str = "") -> None:
        inside = within(host) if host else ()
        subprocess.run([*inside, "ip", *line.split()], check=True)

    for name in ADDRESSES:
        ip(f"netns add {name}")
    try:
        ip("link add b7 netns build7 type veth peer name b8 netns build8")
        for name, address in ADDRESSES.items():
            ip(f"addr add {address}/24 dev b{name[-1]}", name)
            ip(f"link set b{name[-1]} up", name)
            ip("link set lo up", name)
        yield Hosts(tmp_path)
    finally:
        for name in ADDRESSES:
            ip(f"netns del {name}")


SNIFF = """
import socket, sys
found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(3))
found.bind((sys.argv[1], 0))
found.settimeout(1)
with open(sys.argv[2], 'wb', buffering=0) as file:
    file.write(b'ready')
    while True:
        try:
            file.write(found.recv(70000))
        except TimeoutError:
            pass
"""


def test_two_hosts_by_an_ssh_pipe_and_nbd_over_tls(
    hosts: Hosts, tmp_path: Path, keys: Path
) -> None:
    raw = tmp_path / "raw"
    raw.write_bytes(MARK * (8 * 2**20 // len(MARK)) + bytes(2**20))
    subprocess.run(["truncate", "-s", "16M", str(raw)], check=True)
    server = ssh_server(hosts, tmp_path)
    seen = tmp_path / "seen"
    sniff = Pipeline(
        [[*within("build8"), "python3", "-c", SNIFF, "b8", str(seen)]]
    ).start(tmp_path / "sniff")
    assert wait_for(seen.exists)
    ssh = (
        f"ssh -p 2222 -i {tmp_path}/id -o BatchMode=yes -o StrictHostKeyChecking=no "
        f"-o UserKnownHostsFile=/dev/null -o LogLevel=ERROR root@{ADDRESSES['build8']}"
    )
    out = tmp_path / "out"
    script = f"""
        mount -t tmpfs tmpfs {hosts.source}
        qemu-img convert -f raw -O vmdk {raw} {hosts.source}/web01.vmdk
        cat > {hosts.source}/web01.vmx <<X
config.version = "8"
displayName = "web01"
memsize = "512"
scsi0.present = "TRUE"
scsi0:0.present = "TRUE"
scsi0:0.fileName = "web01.vmdk"
X
        {BIN}/v2v-inspect --no-guest --json {hosts.source}/web01.vmx |
        {BIN}/v2v-export --listen {ADDRESSES["build7"]} --tls-psk {keys} |
        tee {tmp_path}/document |
        {ssh} {BIN}/v2v-convert -o {out} --tls-psk {keys}
    """
    job = Pipeline([hosts.argv("build7", script)]).start(tmp_path / "said")
    [vm] = vms(job.finish(120))
    assert job.statuses == [0], (tmp_path / "said").read_text()
    for running in (sniff, server):
        running.signal(0, 15)
        running.finish(10)
    assert "error" not in vm
    assert [e["host"] for e in vm["log"]] == ["build7", "build7", "build8"]
    compare = ["qemu-img", "compare", "-f", "raw", "-F", "qcow2", str(raw)]
    target = str(out / "web01-sda.qcow2")
    subprocess.run([*compare, target], check=True, stdout=subprocess.DEVNULL)
    # build8 could not have opened the source, and what came to it was encrypted.
    assert not list(hosts.source.iterdir())
    wire = seen.read_bytes()
    # A busy machine's sniffer loses packets; what it has is enough to tell.
    assert len(wire) > 2**20
    assert MARK not in wire
    assert job.left() == []
    source_is_not_there(tmp_path, vm)


def ssh_server(hosts: Hosts, folder: Path) -> Pipeline:
    """Run an SSH server on build8, which has a home of its own.

    Dropbear, since to install Debian's openssh-server starts it on the real host.
    """
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id")]
    subprocess.run(make, check=True)
    host = ["dropbearkey", "-t", "ed25519", "-f", str(folder / "host")]
    subprocess.run(host, check=True, capture_output=True)
    home = folder / "home"
    (home / ".ssh").mkdir(mode=0o700, parents=True)
    home.chmod(0o700)
    allowed = home / ".ssh" / "authorized_keys"
    allowed.write_text((folder / "id.pub").read_text())
    allowed.chmod(0o600)
    serve = f"""
        sed -E 's#^(root:.*):[^:]*:([^:]*)$#\\1:{home}:\\2#' /etc/passwd \
            > {folder}/passwd
        mount --bind {folder}/passwd /etc/passwd
        exec dropbear -F -E -s -p 2222 -r {folder}/host -P ''
    """
    server = Pipeline([hosts.argv("build8", serve)]).start(folder / "sshd")
    listening = [*within("build8"), "ss", "-ltn"]

    def is_up() -> bool:
        done = subprocess.run(listening, capture_output=True, check=True)
        return b":2222" in done.stdout

    assert wait_for(is_up)
    return server


def source_is_not_there(folder: Path, vm: dict[str, object]) -> None:
    """Without the endpoint, the document's source cannot be opened here."""
    [disk] = json.loads(json.dumps(vm["disks"]))
    bare = {**vm, "disks": [{k: v for k, v in disk.items() if k != "target"}]}
    saved = folder / "bare.json"
    saved.write_text(json.dumps(bare))
    with saved.open() as file:
        job = Pipeline([command("v2v-convert", "-o", folder / "other")])
        job.start(folder / "said", file.fileno()).finish()
    assert job.statuses == [12]


def test_a_unix_endpoint_of_another_host_is_named(
    hosts: Hosts, tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm()
    script = (
        f"{BIN}/v2v-inspect --no-guest --json {vmx} | {BIN}/v2v-export | "
        f"unshare --uts sh -c 'hostname build8; exec {BIN}/v2v-convert -o {tmp_path}'"
    )
    job = Pipeline([hosts.argv("build7", script)]).start(tmp_path / "said")
    [vm] = vms(job.finish(60))
    assert vm["error"]["code"] == 12
    assert "is served on host build7" in vm["error"]["message"]
    assert "--listen" in vm["error"]["remedy"]
