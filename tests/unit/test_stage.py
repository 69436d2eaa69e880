# SPDX-License-Identifier: GPL-2.0-or-later
"""Documents, generations and streams, without processes."""

import io
import logging
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from v2v import document, metadata, stage, stream
from v2v.document import VM, Disk, End, Layer, LogEntry, Source, stack, top
from v2v.errors import CutOffError, LockedError, StreamError
from v2v.metadata import Store


def vm(**changes: Any) -> VM:
    values: dict[str, Any] = {
        "id": "x1",
        "name": "a",
        "memory": 1,
        "source": Source(kind="vmx", location="/x"),
    }
    return VM(**(values | changes))


def entry(stage: str, took: int, made: int) -> LogEntry:
    fields: Any = {"version": "1", "host": "h", "started": "s", "ended": "e"}
    return LogEntry(stage=stage, took=took, made=made, **fields)


def read(text: bytes, *, pipe: bool = True) -> list[VM]:
    if not pipe:
        with tempfile.TemporaryFile() as file:
            file.write(text)
            file.seek(0)
            return list(stream.Reader(file.fileno()).vms())
    ours, theirs = os.pipe()
    os.write(theirs, text)
    os.close(theirs)
    try:
        return list(stream.Reader(ours).vms())
    finally:
        os.close(ours)


def written(*vms: VM) -> bytes:
    out = io.StringIO()
    writer = stream.Writer(out)
    for each in vms:
        writer.vm(each)
    writer.end(End(vms=len(vms)))
    return out.getvalue().encode()


def test_what_is_written_is_read_back_with_unknown_fields() -> None:
    data = document.encode_vm(vm(disks=(Disk(id="sda"),)))
    data["newer"] = {"a": [1]}
    data["disks"][0]["newer"] = None
    again = document.decode(data)
    assert document.encode_vm(again) == data
    assert read(written(again)) == [again]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"memory": "2G"}, r"\$\.memory: '2G'"),
        ({"disks": [{"id": "sda", "bus": "x"}]}, r"\$\.disks\[0\]\.bus: 'x'"),
        ({"disks": [{"id": "../x"}]}, r"\$\.disks\[0\]\.id"),
        ({"disks": [{"id": "sda"}, {"id": "sda"}]}, "same id"),
        ({"id": "../../etc"}, r"\$\.id"),
        ({"name": ""}, r"\$\.name"),
        ({"nics": [{"mac": "zz"}]}, r"\$\.nics\[0\]\.mac"),
    ],
)
def test_the_place_of_a_mistake_is_named(change: dict[str, Any], place: str) -> None:
    with pytest.raises(StreamError, match=place):
        document.decode(document.encode_vm(vm()) | change)


def test_alive_records_and_blank_lines_say_nothing() -> None:
    alive = stream.ALIVE.encode()
    assert read(alive + b"\n" + written(vm()) + alive) == [vm()]


@pytest.mark.parametrize("cut", [0, 1, 40, -60])
def test_a_pipe_without_its_end_was_cut_off(cut: int) -> None:
    with pytest.raises((CutOffError, StreamError)):
        read(written(vm())[:cut])


def test_a_file_may_lack_its_end() -> None:
    assert read(written(vm()).splitlines()[0], pipe=False) == [vm()]


def test_a_newer_version_is_a_clear_error() -> None:
    with pytest.raises(StreamError, match="version 2"):
        read(b'{"v2v": 2, "kind": "vm"}\n')


def layer(over: str | None = None) -> Any:
    return Layer(server="file", path="/x", over=over)  # type: ignore[arg-type]


def test_the_topmost_layer_is_the_one_that_none_lies_over() -> None:
    disk = Disk(id="sda", source=layer(), overlay=layer("source"))
    assert top(disk) == "overlay"
    disk = disk.having(endpoint=layer("overlay"), target=layer("endpoint"))
    assert stack(disk) == ["source", "overlay", "endpoint", "target"]
    other = Disk(
        id="sda", source=layer(), endpoint=layer("source"), overlay=layer("endpoint")
    )
    assert top(other) == "overlay"


@pytest.mark.parametrize(
    "layers",
    [
        {"source": layer(), "overlay": layer("source"), "target": layer("source")},
        {"source": layer(), "target": layer("overlay")},
        {"overlay": layer("target"), "target": layer("overlay")},
    ],
)
def test_layers_that_form_no_stack_are_refused(layers: dict[str, Any]) -> None:
    with pytest.raises(StreamError):
        stack(Disk(id="sda", **layers))


def test_an_endpoint_is_live_while_no_target_lies_over_it() -> None:
    disk = Disk(id="sda", source=layer(), endpoint=layer("source"))
    assert document.is_live(vm(disks=(disk,)))
    done = disk.having(target=layer("endpoint"))
    assert not document.is_live(vm(disks=(done,)))


def test_a_repeated_convert_leaves_an_earlier_fixup_behind() -> None:
    """inspect, convert, fixup, and convert again: the fixup has to be repeated."""
    again = (entry("convert", 0, 1), entry("fixup", 1, 2), entry("convert", 0, 3))
    assert document.ancestry(vm(generation=3, log=again)) == {3, 0}
    usual = (entry("fixup", 0, 1), entry("convert", 1, 2))
    assert document.ancestry(vm(generation=2, log=usual)) == {2, 1, 0}


def test_a_store_replaces_one_vm_and_keeps_the_others(tmp_path: Path) -> None:
    store = Store(path=tmp_path / "vms.json")
    metadata.save(store, vm())
    metadata.save(store, vm(id="x2", name="b"))
    metadata.save(store, vm(memory=7))
    assert [(v.id, v.memory) for v in metadata.vms(store)] == [("x1", 7), ("x2", 1)]
    assert list(tmp_path.glob("*.part")) == []


def test_a_claim_holds_while_its_process_lives(tmp_path: Path) -> None:
    store = Store(path=tmp_path, is_folder=True)
    metadata.save(store, vm())
    host = os.uname().nodename
    busy = {"stage": "convert", "host": host, "since": "now"}
    alive = document.Busy(pid=os.getppid(), **busy)
    metadata.save(store, vm(busy=alive))
    with pytest.raises(LockedError, match="convert works on it"):
        metadata.claim(store, vm(), "fixup")
    assert metadata.claim(store, vm(), "fixup", force=True).busy is None
    gone = document.Busy(pid=2**22 - 1, **busy)
    metadata.save(store, vm(busy=gone))
    assert metadata.claim(store, vm(), "fixup").busy is None
    known = metadata.find(store, "x1")
    assert known and known.busy and known.busy.pid == os.getpid()


def test_what_was_warned_of_is_in_the_log_of_that_vm(tmp_path: Path) -> None:
    def step(vm: VM) -> stage.Done:
        logging.getLogger("v2v.targets.local").warning("a: warning: no KVM")
        logging.getLogger("v2v.guests").warning("warning: that is odd")
        logging.getLogger("v2v").info("and this is none")
        return stage.Done(vm=vm)

    run = stage.Stage(name="define", step=step, settings=stage.Settings())
    for name in ("a", "b"):
        [entry] = stage._take(run, vm(name=name)).log
        assert entry.warnings[-2:] == (
            "no KVM" if name == "a" else "a: warning: no KVM",
            "that is odd",
        )
        assert len(entry.warnings) == 2
    # Guests have names that are no UTF-8, and documents have not.
    assert stage._bare("warning: \udcff is odd", vm()) == "? is odd"


def test_disk_ids_go_on_after_z() -> None:
    assert [document.disk_id(i) for i in (0, 25, 26, 701, 702)] == [
        *("sda", "sdz", "sdaa", "sdzz", "sdaaa")
    ]


def test_a_name_from_a_source_steers_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage.set_up_logging("convert", 0)
    stage.warned(vm(name="evil\x1b[2J\n"), "it %s", "differs")
    assert capsys.readouterr().err == "v2v-convert: evil?[2J?: warning: it differs\n"
