# SPDX-License-Identifier: GPL-2.0-or-later
"""A packed file is read as what is in it, by those who may read the packed file."""

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from v2v import formats, paths, views
from v2v.document import VM, Digest, Disk, File, Layer, Source, Stretch
from v2v.errors import SourceError
from v2v.views import unpacking

MIB = 2**20
PLAIN = b"start" + bytes(3 * MIB) + b"end"


@pytest.fixture(autouse=True)
def own(kept: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(views.limits, "most", None)
    return kept


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    path = folder / "x.raw.gz"
    path.write_bytes(gzip.compress(PLAIN))
    return path


def allowed(*folders: Path) -> formats.Checked:
    return partial(paths.checked, allowed=folders)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(SourceError) as caught:
        call()
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_plain_file_is_itself(tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(PLAIN)
    assert views.source(str(tmp_path / "x.raw")) == str(tmp_path / "x.raw")
    assert views.source("nbd://host/x.gz") == "nbd://host/x.gz"


def test_a_packed_file_is_unpacked_with_holes(packed: Path) -> None:
    place = Path(views.source(str(packed)))
    assert place.name == "x.raw"
    assert place.read_bytes() == PLAIN
    assert place.stat().st_blocks * 512 < MIB


def test_it_is_unpacked_once(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = views.source(str(packed))
    monkeypatch.setattr(unpacking, "unpack", None)
    assert views.source(str(packed)) == first


def test_a_changed_file_is_unpacked_again(packed: Path) -> None:
    first = views.source(str(packed))
    views.leave()
    packed.write_bytes(gzip.compress(b"new"))
    second = views.source(str(packed))
    assert first != second
    assert Path(second).read_bytes() == b"new"


def test_nothing_is_left(packed: Path, own: Path) -> None:
    views.source(str(packed))
    views.leave()
    assert not list(own.iterdir())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(PLAIN)[:-9], "cut off"),
        (gzip.compress(PLAIN) + b"more", "something follows"),
        (gzip.compress(os.urandom(999))[:-8] + bytes(8), "damaged"),
    ],
)
def test_what_is_damaged_leaves_nothing(
    packed: Path, own: Path, data: bytes, said: str
) -> None:
    packed.write_bytes(data)
    assert said in refused(lambda: views.source(str(packed)))
    assert not [p for p in own.rglob("*") if p.name.startswith("x")]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_no_more_is_unpacked_than_allowed(
    packed: Path,
    own: Path,
    pack: Callable[[bytes], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = packed.with_suffix(".xz") if pack is lzma.compress else packed
    path.write_bytes(pack(PLAIN))
    monkeypatch.setattr(views.limits, "most", len(PLAIN) - 1)
    assert "more than" in refused(lambda: views.source(str(path)))
    assert not [p for p in own.rglob("*") if p.name.startswith("x")]
    monkeypatch.setattr(views.limits, "most", len(PLAIN))
    assert Path(views.source(str(path))).stat().st_size == len(PLAIN)


def test_a_full_disk_is_said(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "RESERVE", 2**62)
    assert "no room" in refused(lambda: views.source(str(packed)))


def test_room_is_looked_at_on_the_way(
    packed: Path, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []

    def look(folder: Path) -> os.statvfs_result:
        looked.append(folder)
        free = 2**40 if len(looked) == 1 else 0
        return os.statvfs_result((4096, 4096, free, free, free, 0, 0, 0, 0, 255))

    packed.write_bytes(gzip.compress(os.urandom(MIB)))
    monkeypatch.setattr(unpacking, "_LOOK", 2**17)
    monkeypatch.setattr(os, "statvfs", look)
    assert "no room" in refused(lambda: views.source(str(packed)))
    assert len(looked) == 2
    assert not [p for p in own.rglob("*") if p.name.startswith("x")]


def machine(path: str, **more: object) -> VM:
    layer = Layer(server="file", path=path).having(**more)
    vm = VM(
        id="a",
        name="a",
        memory=1,
        disks=(Disk(id="sda", source=layer),),
        source=Source(kind="disk", location=path),
    )
    return paths.granted(vm, Path(path).parent)


def described(packed: Path) -> VM:
    return views.marked(machine(views.source(str(packed))))


def source_of(vm: VM) -> Layer:
    assert vm.disks[0].source
    return vm.disks[0].source


def test_the_document_names_the_origin_and_not_the_view(
    packed: Path, own: Path
) -> None:
    vm = described(packed)
    assert vm.source.location == str(packed)
    assert source_of(vm).origin == str(packed)
    assert [g.folder for g in vm.grants] == [str(packed.parent)]
    assert [f.code for f in vm.findings] == ["unpacked"]
    assert paths.roots(vm)[0] == packed.parent


def test_a_vm_that_lies_in_no_view_stays_as_it_is(tmp_path: Path) -> None:
    vm = machine(str(tmp_path / "x.raw"))
    assert views.marked(vm) == vm


def test_parents_and_digests_are_named_by_their_origins(packed: Path) -> None:
    place = views.source(str(packed))
    digest = Digest(
        path=place, length=1, algorithm="sha1", value="", name="x", said_by="x.mf"
    )
    parent = File(path=place, format="raw")
    layer = source_of(
        views.marked(machine(place, backing=(parent,), digests=(digest,)))
    )
    assert layer.backing[0].origin == layer.digests[0].origin == str(packed)
    again, checked = views.placed(layer, allowed(packed.parent))
    for path in (again.path, again.backing[0].path, again.digests[0].path):
        assert checked(path or "") == Path(place)


def test_another_process_makes_it_again(packed: Path) -> None:
    vm = described(packed)
    views.leave()
    layer, checked = views.placed(source_of(vm), allowed(packed.parent))
    assert checked(layer.path or "").read_bytes() == PLAIN


def test_a_view_is_read_by_those_who_may_read_its_origin(
    packed: Path, tmp_path: Path
) -> None:
    vm = described(packed)
    for folder in (tmp_path / "other", paths.state_home(), tmp_path / "state"):
        folder.mkdir(exist_ok=True)
        said = refused(partial(views.placed, source_of(vm), allowed(folder)))
        assert "outside the folders" in said


@pytest.mark.parametrize("path", ["/etc/passwd", "../../key", "/", ""])
def test_where_a_document_says_that_the_view_lies_means_nothing(
    packed: Path, path: str
) -> None:
    hostile = source_of(described(packed)).having(path=path)
    layer, checked = views.placed(hostile, allowed(packed.parent))
    assert Path(layer.path or "").read_bytes() == PLAIN
    for other in ("/etc/passwd", paths.state_home() / "key", packed.parent.parent):
        with pytest.raises(SourceError):
            checked(other)


@pytest.mark.parametrize(
    "origin", ["/etc/passwd", "/nowhere", "x\0y", "a" * 5000, "", "http://host/x.gz"]
)
def test_an_origin_that_is_none_is_refused(packed: Path, origin: str) -> None:
    hostile = source_of(described(packed)).having(origin=origin)
    refused(lambda: views.placed(hostile, allowed(packed.parent)))


def test_an_origin_that_is_not_packed_is_refused(packed: Path) -> None:
    plain = packed.with_name("plain.raw")
    plain.write_bytes(PLAIN)
    hostile = source_of(described(packed)).having(origin=str(plain))
    said = refused(lambda: views.placed(hostile, allowed(packed.parent)))
    assert "no longer packed" in said


def test_a_link_out_of_the_folder_is_refused(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.raw.gz").write_bytes(gzip.compress(b"secret"))
    link = packed.with_name("link.raw.gz")
    link.symlink_to(tmp_path / "secret.raw.gz")
    hostile = source_of(described(packed)).having(origin=str(link))
    said = refused(lambda: views.placed(hostile, allowed(packed.parent)))
    assert "outside the folders" in said


def test_messages_speak_of_the_origin(packed: Path) -> None:
    place = views.source(str(packed))
    assert views.named(f"{place} is broken") == f"{packed} is broken"


@pytest.mark.parametrize("name", ["lock", "making", "made", "x.part", "-r", "a b"])
def test_a_view_may_have_any_name(tmp_path: Path, own: Path, name: str) -> None:
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(PLAIN))
    assert Path(views.source(str(path))).read_bytes() == PLAIN
    views.leave()
    assert not list(own.iterdir())


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_member_of_a_file(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    data = pack(PLAIN)
    path = tmp_path / "x.ova"
    path.write_bytes(b"head" + data + b"tail")
    place = views.member(formats.part(path, 4, len(data)), "../d.vmdk")
    assert place.name == "_/d.vmdk".replace("/", "_")
    assert place.read_bytes() == PLAIN
    layer = source_of(views.marked(machine(str(place))))
    assert layer.origin == str(path)
    assert layer.stretch and layer.stretch.offset == 4
    views.leave()
    again, checked = views.placed(layer, allowed(tmp_path))
    assert checked(again.path or "").read_bytes() == PLAIN
    refused(lambda: views.placed(layer, allowed(tmp_path / "elsewhere")))


def test_a_packed_member_of_a_packed_file(tmp_path: Path) -> None:
    inner = gzip.compress(PLAIN)
    path = tmp_path / "x.ova.xz"
    path.write_bytes(lzma.compress(b"head" + inner))
    outer = Path(views.source(str(path)))
    place = views.member(formats.part(outer, 4, len(inner)), "d.raw")
    layer = source_of(views.marked(machine(str(place))))
    assert layer.origin == str(path)
    views.leave()
    again, _ = views.placed(layer, allowed(tmp_path))
    assert Path(again.path or "").read_bytes() == PLAIN


def test_a_stretch_that_is_none_is_refused(packed: Path) -> None:
    layer = source_of(described(packed))
    for offset, length in ((0, 2**60), (2**60, 1), (1, 9)):
        hostile = layer.having(stretch=Stretch(offset=offset, length=length))
        refused(partial(views.placed, hostile, allowed(packed.parent)))
