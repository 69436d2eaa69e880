# SPDX-License-Identifier: GPL-2.0-or-later
"""The stages joined in every way that v2v-stream(7) promises."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines import BIN, Pipeline, command, records, vms

MakeVm = Callable[..., Path]


def inspect(vmx: Path) -> list[str]:
    return command("v2v-inspect", "--no-guest", "--json", vmx)


def run(tmp_path: Path, *commands: list[str], cwd: Path | None = None) -> Pipeline:
    return Pipeline(commands, cwd=cwd).start(tmp_path / "said")


def same(vmx: Path, target: Path, kind: str = "qcow2") -> bool:
    raw = vmx.parent / "raw"
    compare = ["qemu-img", "compare", "-f", "raw", "-F", kind, str(raw), str(target)]
    return (
        subprocess.run(compare, stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


@pytest.mark.parametrize("overlay", [(), ("--overlay",)], ids=["readonly", "overlay"])
def test_inspect_export_convert(
    tmp_path: Path, make_vm: MakeVm, overlay: tuple[str, ...]
) -> None:
    vmx = make_vm()
    job = run(
        tmp_path,
        inspect(vmx),
        command("v2v-export", *overlay),
        command("v2v-convert", "-o", tmp_path / "out", "--verify"),
    )
    [vm] = vms(job.finish())
    assert job.statuses == [0, 0, 0]
    assert same(vmx, tmp_path / "out" / "web01-sda.qcow2")
    assert vm["disks"][0]["target"]["verified"] is True
    assert job.left() == []


def test_convert_opens_a_local_source_itself(tmp_path: Path, make_vm: MakeVm) -> None:
    vmx = make_vm()
    job = run(
        tmp_path,
        inspect(vmx),
        command("v2v-convert", "-o", tmp_path / "out", "-f", "raw"),
    )
    job.finish()
    assert job.statuses == [0, 0]
    assert same(vmx, tmp_path / "out" / "web01-sda.raw", "raw")


@pytest.mark.parametrize(
    "filters",
    [
        [["tee", "seen"]],
        [["jq", "--unbuffered", "-c", "."]],
        [["cat"], ["tee", "a"], ["sed", "-u", "s/x/x/"]],
    ],
    ids=["tee", "jq", "three"],
)
def test_filters_may_stand_between_stages(
    tmp_path: Path, make_vm: MakeVm, filters: list[list[str]]
) -> None:
    vmx = make_vm()
    job = run(
        tmp_path,
        inspect(vmx),
        command("v2v-export"),
        *filters,
        command("v2v-convert", "-o", tmp_path / "out"),
        cwd=tmp_path,
    )
    job.finish(60)
    assert (job.statuses[1], job.statuses[-1]) == (0, 0)
    assert same(vmx, tmp_path / "out" / "web01-sda.qcow2")
    assert job.left() == []


def test_a_stage_takes_its_document_from_a_file_of_last_week(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm()
    saved = tmp_path / "saved.json"
    saved.write_text(run(tmp_path, inspect(vmx)).finish())
    with saved.open() as file:
        job = Pipeline([command("v2v-convert", "-o", tmp_path / "out")])
        job.start(tmp_path / "said", file.fileno())
        job.finish()
    assert job.statuses == [0]
    assert same(vmx, tmp_path / "out" / "web01-sda.qcow2")


def test_a_file_may_hold_one_bare_object_on_many_lines(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm()
    [vm] = vms(run(tmp_path, inspect(vmx)).finish())
    del vm["v2v"], vm["kind"]
    saved = tmp_path / "one.json"
    saved.write_text(json.dumps(vm, indent=2))
    with saved.open() as file:
        job = Pipeline([command("v2v-convert", "-o", tmp_path / "out")])
        job.start(tmp_path / "said", file.fileno()).finish()
    assert job.statuses == [0]


def script_of_the_readme() -> str:
    """Return the script that README shows in the place of v2v-convert."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    block = readme[readme.index("    #!/bin/sh") :].split("\n\n")[0]
    return "\n".join(line[4:] for line in block.splitlines()) + "\n"


def test_a_ten_line_script_can_stand_in_for_convert(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    """As README shows it: jq and nbdcopy."""
    vmx = make_vm()
    script = tmp_path / "my-convert"
    script.write_text(script_of_the_readme())
    script.chmod(0o755)
    job = run(
        tmp_path, inspect(vmx), command("v2v-export"), [str(script)], cwd=tmp_path
    )
    job.finish(60)
    assert job.statuses == [0, 0, 0]
    assert same(vmx, tmp_path / "mine.raw", "raw")
    assert job.left() == []


def test_run_gives_the_documents_to_a_shell_command(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm()
    inner = f"{BIN}/v2v-convert -o {tmp_path}/out | jq -r 'select(.kind==\"vm\").name'"
    job = run(tmp_path, inspect(vmx), command("v2v-export", "--run", inner))
    assert job.finish(60).strip() == "web01"
    assert job.statuses == [0, 0]
    assert same(vmx, tmp_path / "out" / "web01-sda.qcow2")


def test_metadata_keeps_what_each_stage_did_without_a_pipe(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm()
    saved = tmp_path / "vms.json"
    saved.write_text(run(tmp_path, inspect(vmx)).finish())
    for _ in range(2):
        job = run(tmp_path, command("v2v-convert", "-M", saved, "-o", tmp_path / "out"))
        job.finish()
        assert job.statuses == [0]
    [vm] = vms(saved.read_text())
    assert [entry["stage"] for entry in vm["log"]] == ["inspect", "convert"]
    assert "busy" not in vm


def test_a_vm_in_work_is_left_alone(tmp_path: Path, make_vm: MakeVm) -> None:
    vmx = make_vm()
    [vm] = vms(run(tmp_path, inspect(vmx)).finish())
    host = os.uname().nodename
    vm["busy"] = {"stage": "fixup", "host": host, "pid": os.getpid(), "since": "now"}
    saved = tmp_path / "vms.json"
    saved.write_text(json.dumps(vm))
    job = run(tmp_path, command("v2v-convert", "-M", saved, "-o", tmp_path / "out"))
    [result] = vms(job.finish())
    assert job.statuses == [75]
    assert result["error"]["code"] == 75
    assert json.loads(saved.read_text().splitlines()[0])["busy"]["stage"] == "fixup"


def test_two_vms_that_want_one_name_do_not_overwrite_each_other(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    first = make_vm()
    other = tmp_path / "source" / "other"
    shutil.copytree(first.parent, other)
    convert = command("v2v-convert", "-o", tmp_path / "out")
    run(tmp_path, inspect(first), convert).finish()
    job = run(tmp_path, inspect(other / "web01.vmx"), convert)
    [vm] = vms(job.finish())
    assert job.statuses == [0, 13]
    assert "--name" in vm["error"]["remedy"]
    assert same(first, tmp_path / "out" / "web01-sda.qcow2")


def test_the_same_command_again_replaces_only_what_it_made_itself(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    vmx = make_vm()
    convert = command("v2v-convert", "-o", tmp_path / "out")
    for _ in range(2):
        job = run(tmp_path, inspect(vmx), convert)
        job.finish()
        assert job.statuses == [0, 0]
    target = tmp_path / "out" / "web01-sda.qcow2"
    write = ["qemu-io", "-f", "qcow2", "-c", "write -P 7 0 64k", str(target)]
    subprocess.run(write, check=True, stdout=subprocess.DEVNULL)
    job = run(tmp_path, inspect(vmx), convert)
    [vm] = vms(job.finish())
    assert job.statuses == [0, 13]
    assert "changed since" in vm["error"]["message"]


def test_an_end_record_counts_what_failed(tmp_path: Path, make_vm: MakeVm) -> None:
    good = make_vm()
    job = run(
        tmp_path,
        command("v2v-inspect", "--no-guest", "--json", good, tmp_path / "none.vmx"),
        command("v2v-convert", "-o", tmp_path / "out"),
    )
    end = records(job.finish())[-1]
    assert job.statuses == [12, 12]
    assert (end["kind"], end["vms"], end["failed"]) == ("end", 2, 1)
    assert same(good, tmp_path / "out" / "web01-sda.qcow2")


def test_unknown_fields_pass_through(tmp_path: Path, make_vm: MakeVm) -> None:
    vmx = make_vm()
    add = [
        "jq",
        "--unbuffered",
        "-c",
        'if .kind=="vm" then .disks[0].x = [1] else . end',
    ]
    job = run(
        tmp_path, inspect(vmx), add, command("v2v-convert", "-o", tmp_path / "out")
    )
    [vm] = vms(job.finish())
    assert vm["disks"][0]["x"] == [1]


def test_each_stage_writes_its_own_sections_and_no_others(
    tmp_path: Path, make_vm: MakeVm
) -> None:
    """Compared as v2v-document(5) has it; log and grants are everybody's."""
    documents = [vms(run(tmp_path, inspect(make_vm())).finish())[0]]
    for name, arguments in (
        ("v2v-export", ["--overlay", "--run", "cat"]),
        ("v2v-convert", ["-o", str(tmp_path / "out")]),
        ("v2v-define", ["-t", "null"]),
    ):
        before = tmp_path / f"{name}.in"
        before.write_text(json.dumps(documents[-1]))
        with before.open() as file:
            job = Pipeline([command(name, *arguments)])
            [vm] = vms(job.start(tmp_path / "said", file.fileno()).finish(60))
        assert job.statuses == [0], (tmp_path / "said").read_text()
        documents.append(vm)
    inspected, exported, converted, defined = documents
    common = {"log", "grants"}
    assert changes(inspected, exported) == {*common, "disks.endpoint", "disks.overlay"}
    # The overlay and the endpoint are let go of: the target has their bytes.
    layers = {"disks.endpoint", "disks.overlay", "disks.target"}
    assert changes(exported, converted) == {*common, *layers, "generation"}
    assert changes(converted, defined) == {"log", "target"}


def changes(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Return the fields that differ, those of disks by disks.FIELD."""
    found = {
        key
        for key in (before.keys() | after.keys()) - {"disks"}
        if before.get(key) != after.get(key)
    }
    for old, new in zip(before["disks"], after["disks"], strict=True):
        found |= {
            f"disks.{key}"
            for key in old.keys() | new.keys()
            if old.get(key) != new.get(key)
        }
    return found
