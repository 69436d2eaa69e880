# SPDX-License-Identifier: GPL-2.0-or-later
"""Packed sources, by the real commands: the same bytes, one copy at most, none left."""

import bz2
import gzip
import json
import lzma
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import archives
import ovf_package
from archives import content
from pipelines import Pipeline, command, vms, wait_for

MIB = 2**20
CONFIGURATION = b"""\
name: web01
scsi0: local:100,size=26M
#qmdump#map:scsi0:drive-scsi0:local:raw:
"""
SIZE = 26 * MIB


def by(program: str, *options: str) -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        line = [program, "-c", *options]
        return subprocess.run(line, input=data, capture_output=True, check=True).stdout

    return pack


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": lambda data: gzip.compress(data, 1),
    "bz2": lambda data: bz2.compress(data, 1),
    "xz": lambda data: lzma.compress(data, preset=0),
    "zst": by("zstd", "-q"),
    "lz4": by("lz4", "-q"),
    "lzo": by("lzop"),
}
in_blocks = by("xz", "-0", "-T2", "--block-size=1MiB")


@pytest.fixture
def disk() -> bytes:
    return content(5, SIZE)


def views(state: Path) -> list[Path]:
    """Return all that is in the folder of views."""
    place = state / "v2v" / "views"
    return list(place.rglob("*")) if place.exists() else []


def convert(source: Path, out: Path) -> tuple[Pipeline, Path]:
    """Start a conversion that serves the source; return it and its log."""
    log = out.with_suffix(".log")
    stages = [
        command("v2v-inspect", "--no-guest", "--json", source),
        command("v2v-export"),
        command("v2v-convert", "-f", "raw", "-o", out),
        command("v2v-define", "-t", "local", "-o", out),
    ]
    return Pipeline(stages).start(log), log


def converted(source: Path, out: Path) -> tuple[dict[str, Any], bytes, str]:
    """Return the document of the VM, its disk, and what was said."""
    job, log = convert(source, out)
    [vm] = vms(job.finish())
    assert "error" not in vm, vm["error"]
    assert job.statuses == [0, 0, 0, 0]
    assert not job.left()
    return vm, Path(vm["disks"][0]["target"]["path"]).read_bytes(), log.read_text()


@pytest.mark.parametrize("suffix", PACKERS)
def test_it_is_unpacked_once_for_all_stages(
    tmp_path: Path,
    own_state: Path,
    disk: bytes,
    suffix: str,
    requires: Callable[..., None],
) -> None:
    requires(*{"zst": ["zstd"], "lz4": ["lz4"], "lzo": ["lzop"]}.get(suffix, []))
    source = tmp_path / f"web01.raw.{suffix}"
    source.write_bytes(PACKERS[suffix](disk))
    vm, found, said = converted(source, tmp_path / "out")
    assert found == disk
    assert said.count("unpacking") == 1
    assert vm["name"] == "web01"
    assert [f["code"] for f in vm["findings"]] == ["unpacked"]
    assert vm["disks"][0]["source"]["origin"] == str(source)
    assert not views(own_state)


def test_a_stage_that_runs_later_unpacks_it_again(
    tmp_path: Path, own_state: Path, disk: bytes
) -> None:
    source = tmp_path / "web01.raw.gz"
    source.write_bytes(gzip.compress(disk, 1))
    file = tmp_path / "vm.json"
    with file.open("w") as out:
        line = command("v2v-inspect", "--no-guest", "--json", source)
        subprocess.run(line, stdout=out, check=True)
    assert not views(own_state)
    line = command("v2v-convert", "-M", file, "-f", "raw", "-o", tmp_path / "out")
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "out" / "web01-sda.raw").read_bytes() == disk
    assert not views(own_state)


def test_a_document_from_elsewhere_opens_nothing(
    tmp_path: Path, own_state: Path, disk: bytes
) -> None:
    source = tmp_path / "secret" / "web01.raw.gz"
    source.parent.mkdir()
    source.write_bytes(gzip.compress(disk, 1))
    line = command("v2v-inspect", "--no-guest", "--json", source)
    said = subprocess.run(line, capture_output=True, check=True).stdout
    record = json.loads(said.splitlines()[0])
    del record["grants"]
    file = tmp_path / "vm.json"
    file.write_text(json.dumps(record) + "\n")
    line = command("v2v-convert", "-M", file, "-o", tmp_path / "out")
    done = subprocess.run(line, capture_output=True)
    assert done.returncode == 12
    assert b"outside the folders" in done.stderr
    assert b"unpacking" not in done.stderr
    assert not views(own_state)


def test_many_blocks_of_xz_are_read_in_place(
    tmp_path: Path, own_state: Path, disk: bytes, requires: Callable[..., None]
) -> None:
    requires("nbdkit", "nbdfuse")
    source = tmp_path / "web01.raw.xz"
    source.write_bytes(in_blocks(disk))
    job, log = convert(source, tmp_path / "out")
    seen: set[str] = set()

    def ended() -> bool:
        seen.update(p.name for p in views(own_state))
        return job.children[2].poll() is not None

    assert wait_for(ended, 60)
    [vm] = vms(job.finish())
    assert Path(vm["disks"][0]["target"]["path"]).read_bytes() == disk
    assert "unpacking" not in log.read_text()
    assert not vm.get("findings")
    # Only locks, and folders named by a process with the mount in each; a view that
    # is just being removed begins with a dot.
    names = {n for n in seen if not n.isdigit() and len(n) != 24 and n[0] != "."}
    assert names <= {"lock", "web01.raw"}
    assert "made" not in seen
    assert not job.left()
    assert not views(own_state)
    assert str(own_state) not in Path("/proc/mounts").read_text()


def test_a_packed_vmdk(tmp_path: Path, own_state: Path) -> None:
    plain = tmp_path / "web01.vmdk"
    disk = ovf_package.image(plain, *ovf_package.STREAM)
    source = tmp_path / "web01.vmdk.gz"
    source.write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    vm, found, _ = converted(source, tmp_path / "out")
    assert found == disk
    assert vm["disks"][0]["source"]["format"] == "vmdk"


@pytest.mark.parametrize("name", ["web01.ova.gz", "web01.ova", "web01.ova.xz"])
def test_a_packed_ova(tmp_path: Path, own_state: Path, name: str) -> None:
    image = tmp_path / "disk.vmdk"
    disk = ovf_package.image(image, *ovf_package.STREAM)
    ovf = ovf_package.one_disk("disk.vmdk").encode()
    data = image.read_bytes()
    members = {"web01.ovf": ovf, "web01.mf": manifest(ovf, data), "disk.vmdk": data}
    plain = ovf_package.archive(tmp_path / "plain.tar", members)
    pack = in_blocks if name.endswith("xz") else gzip.compress
    (tmp_path / name).write_bytes(pack(plain.read_bytes()))
    vm, found, _ = converted(tmp_path / name, tmp_path / "out")
    assert found == disk
    assert vm["disks"][0]["source"]["digests"][0]["origin"] == str(tmp_path / name)
    assert not views(own_state)


def manifest(ovf: bytes, disk: bytes) -> bytes:
    import hashlib

    sums = {"web01.ovf": ovf, "disk.vmdk": disk}
    lines = [f"SHA256({n})= {hashlib.sha256(d).hexdigest()}" for n, d in sums.items()]
    return "\n".join(lines).encode() + b"\n"


def test_a_packed_ova_whose_disk_was_changed_is_refused(
    tmp_path: Path, own_state: Path
) -> None:
    image = tmp_path / "disk.vmdk"
    ovf_package.image(image, *ovf_package.STREAM)
    ovf = ovf_package.one_disk("disk.vmdk").encode()
    data = image.read_bytes()
    members = {
        "web01.ovf": ovf,
        "web01.mf": manifest(ovf, data + b"x"),
        "disk.vmdk": data,
    }
    plain = ovf_package.archive(tmp_path / "plain.tar", members)
    source = tmp_path / "web01.ova.gz"
    source.write_bytes(gzip.compress(plain.read_bytes()))
    job, _ = convert(source, tmp_path / "out")
    [vm] = vms(job.finish())
    assert vm["error"]["code"] == 12
    assert "SHA256" in vm["error"]["message"]
    assert not views(own_state)


@pytest.mark.parametrize(
    "name", ["a.xva.gz", "a.xva", "a.vma.zst", "a.vma", "a.vma.xz"]
)
def test_a_packed_export_of_xenserver_or_proxmox(
    tmp_path: Path,
    own_state: Path,
    disk: bytes,
    name: str,
    requires: Callable[..., None],
) -> None:
    plain = tmp_path / "plain"
    if ".xva" in name:
        text = archives.xva_description("web01", "Ref:2", len(disk))
        archives.xva(plain, text, {"Ref:2": disk})
    else:
        files = {"qemu-server.conf": CONFIGURATION}
        archives.vma(plain, files, {"drive-scsi0": disk}, list(range(SIZE // 65536)))
    suffix = name.rpartition(".")[2]
    requires(*(["zstd"] if suffix == "zst" else []))
    pack = in_blocks if suffix == "xz" else PACKERS.get(suffix, PACKERS["gz"])
    (tmp_path / name).write_bytes(pack(plain.read_bytes()))
    vm, found, _ = converted(tmp_path / name, tmp_path / "out")
    assert found == disk
    assert vm["name"] == "web01"
    assert not views(own_state)


@pytest.mark.parametrize("kind", ["cut", "more", "bomb"])
def test_what_cannot_be_unpacked_is_one_line(
    tmp_path: Path, own_state: Path, disk: bytes, kind: str
) -> None:
    packed = gzip.compress(disk, 1)
    data = {"cut": packed[:-1], "more": packed + b"x", "bomb": packed}[kind]
    source = tmp_path / "web01.raw.gz"
    source.write_bytes(data)
    limit = ["--max-size", "25M"] if kind == "bomb" else []
    line = command("v2v-inspect", "--no-guest", "--json", *limit, source)
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 12
    errors = [text for text in done.stderr.splitlines() if "error" in text]
    assert len(errors) == 1
    assert str(source) in errors[0]
    assert "Traceback" not in done.stderr
    assert not views(own_state)


def unpacking(tmp_path: Path, own_state: Path) -> Pipeline:
    """Start to unpack what takes some seconds; return when it is under way."""
    source = tmp_path / "web01.raw.bz2"
    source.write_bytes(bz2.compress(content(7, SIZE), 9) * 8)
    line = command("v2v-inspect", "--no-guest", "--json", source)
    job = Pipeline([line]).start(tmp_path / "said")
    assert wait_for(lambda: any(p.suffix == ".part" for p in views(own_state)))
    return job


def test_a_signal_leaves_nothing(tmp_path: Path, own_state: Path) -> None:
    job = unpacking(tmp_path, own_state)
    job.signal(0, signal.SIGTERM)
    job.finish()
    assert job.statuses == [128 + signal.SIGTERM]
    assert not views(own_state)


def test_what_is_left_by_a_killed_one_is_swept(tmp_path: Path, own_state: Path) -> None:
    job = unpacking(tmp_path, own_state)
    job.signal(0, signal.SIGKILL)
    job.finish()
    assert views(own_state)
    line = command("v2v-inspect", "--no-guest", "--json", tmp_path / "nothing.raw")
    subprocess.run(line, capture_output=True)
    assert not views(own_state)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_mount_outlives_its_process(
    tmp_path: Path,
    own_state: Path,
    disk: bytes,
    number: int,
    requires: Callable[..., None],
) -> None:
    requires("nbdkit", "nbdfuse")
    source = tmp_path / "web01.raw.xz"
    source.write_bytes(in_blocks(disk))
    line = command("v2v-inspect", "--no-guest", "--run", "exec sleep 100", source)
    job = Pipeline([line]).start(tmp_path / "said")
    table = Path("/proc/mounts")
    assert wait_for(lambda: str(own_state) in table.read_text())
    job.signal(0, number)
    job.finish()
    assert not job.left()
    assert wait_for(lambda: str(own_state) not in table.read_text())
    line = command("v2v-inspect", "--no-guest", "--json", tmp_path / "nothing.raw")
    subprocess.run(line, capture_output=True)
    assert not views(own_state)


def test_two_at_once_share_one_copy(tmp_path: Path, own_state: Path) -> None:
    source = tmp_path / "web01.raw.bz2"
    source.write_bytes(bz2.compress(content(7, SIZE), 9) * 3)
    line = command("v2v-inspect", "--no-guest", "--run", "sleep 3", source)
    jobs = [Pipeline([line]).start(tmp_path / name) for name in ("a", "b")]
    for job in jobs:
        job.finish()
        assert job.statuses == [0]
    said = (tmp_path / "a").read_text() + (tmp_path / "b").read_text()
    # Not those lines that say how far it is.
    assert said.count("MiB packed") == 1
    assert not views(own_state)
