# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a stranger has put into a source: one clear line, bounded, and no leak.

The real commands run with little memory and CPU time.  Nobody may touch the forbidden
file, which is Watched by inotify(7), nor connect to the forbidden port.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from hostile import archives, chains, images, places, texts
from hostile.case import MIB, Case, Forbidden
from hostile.watch import Watched
from pipelines import command

_TABLES = {
    "archives": archives.cases(),
    "chains": chains.cases(),
    "images": images.cases(),
    "places": places.cases(),
    "texts": texts.cases(),
}
# Cases that one command takes after another: starting it is most of the work.
_TOGETHER = 12
# Of each process: bytes that it allocates, CPU seconds.  qemu has limits of its own.
_DATA, _CPU = 640 * MIB, 60
_WALL = 240
_LONGEST_LINE = 1200


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a source: its records, and what was said of it."""

    vms: tuple[dict[str, Any], ...]

    @property
    def text(self) -> str:
        """All errors and findings in one text."""
        errors = [f"{e['message']}; {e['remedy']}" for e in self.errors]
        found = (f for vm in self.vms for f in vm.get("findings", ()))
        return "\n".join([*errors, *(f"{f['code']}: {f['message']}" for f in found)])

    @property
    def errors(self) -> list[dict[str, Any]]:
        """The errors of the VMs."""
        return [vm["error"] for vm in self.vms if vm.get("error")]


def groups() -> Iterator[Any]:
    """Yield the cases in groups of those that take the same options."""
    for table, cases in _TABLES.items():
        by_options: dict[tuple[str, ...], list[str]] = {}
        for name, case in cases.items():
            by_options.setdefault(case.options, []).append(name)
        for names in by_options.values():
            for first in range(0, len(names), _TOGETHER):
                some = names[first : first + _TOGETHER]
                yield pytest.param(table, some, id=f"{table}-{some[0]}")


@pytest.mark.parametrize(("table", "names"), list(groups()))
def test_each_is_one_clear_line_within_bounds(
    table: str, names: list[str], tmp_path: Path, forbidden: Forbidden
) -> None:
    cases = {name: _TABLES[table][name] for name in names}
    folders = {name: tmp_path / "sources" / name for name in names}
    made = {}
    for name, case in cases.items():
        folders[name].mkdir(parents=True)
        made[name] = case.make(folders[name], forbidden)
    before = sorted(tmp_path.glob("sources/**/*"))
    said = _described(next(iter(cases.values())).options, list(made.values()), tmp_path)
    for name, case in cases.items():
        own = tuple(vm for vm in said if _is_of(vm, folders[name]))
        _check(name, case, Answer(vms=own))
    _copied([vm for vm in said if vm["disks"] and not vm.get("error")], tmp_path)
    assert sorted(tmp_path.glob("sources/**/*")) == before
    assert not list((tmp_path / "temporary").iterdir())
    views = tmp_path / "state" / "v2v" / "views"
    assert not views.exists() or not list(views.iterdir())


def _is_of(vm: Mapping[str, Any], folder: Path) -> bool:
    return Path(vm["source"]["location"]).is_relative_to(folder)


def _described(
    options: tuple[str, ...], sources: list[Path], folder: Path
) -> list[dict[str, Any]]:
    """Return the records of v2v-inspect for *sources*."""
    temporary = folder / "temporary"
    temporary.mkdir()
    inspect = command("v2v-inspect", "--no-guest", "--json", *options, *sources)
    return _records(inspect, folder, None)


def _copied(vms: list[dict[str, Any]], folder: Path) -> None:
    """Let v2v-convert take the disks of *vms* that can be had."""
    documents = folder / "documents"
    # Outputs are called by the names of VMs, and most of these have the same one.
    named = [vm | {"name": f"vm{number}"} for number, vm in enumerate(vms)]
    documents.write_text("".join(json.dumps(vm) + "\n" for vm in named))
    with documents.open() as stdin:
        convert = command("v2v-convert", "-o", folder / "out")
        made = _records(convert, folder, stdin) if vms else []
    assert len(made) == len(vms)


def _records(
    argv: list[str], folder: Path, stdin: IO[str] | None
) -> list[dict[str, Any]]:
    """Return the VMs that *argv* writes: each that failed has one line, and only it."""
    limits = ["prlimit", f"--data={_DATA}:", f"--cpu={_CPU}:"]
    done = subprocess.run(
        [*limits, *argv],
        stdin=stdin or subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "TMPDIR": str(folder / "temporary")},
        start_new_session=True,  # without a terminal
        timeout=_WALL,
        check=False,
    )
    out, errors = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in errors, errors[-4000:]
    assert "root:secret" not in out + errors
    for line in errors.splitlines():
        assert line.isprintable()
        assert len(line) < _LONGEST_LINE, line
    records = [json.loads(line) for line in out.splitlines()]
    vms = [record for record in records if record["kind"] == "vm"]
    codes = [vm["error"]["code"] for vm in vms if vm.get("error")]
    assert errors.count(": error: ") == len(codes), errors
    # 10: a finding blocks it; of several classes of errors the status is another.
    assert set(codes) <= {10, 12}
    assert done.returncode in (codes[0] if codes else 0, 1), errors[-4000:]
    return vms


def _check(name: str, case: Case, answer: Answer) -> None:
    assert answer.vms, f"{name} was passed over"
    assert len(json.dumps(answer.vms)) < MIB, f"{name} makes a very large document"
    for error in answer.errors:
        assert error["code"] == 12
        assert error["message"].strip() and error["remedy"].strip(), (name, error)
        assert "\n" not in error["message"] + error["remedy"], (name, error)
    if case.refused:
        assert len(answer.errors) == 1, f"{name} is described"
        message = answer.errors[0]["message"] + answer.errors[0]["remedy"]
        assert re.search(case.refused, message), f"{name}: {message}"
    assert re.search(case.found, answer.text), f"{name}: {answer.text}"


def test_the_watch_sees_who_opens_the_file(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("x")
    with Watched(path) as touched:
        assert not touched()
        path.stat()
        assert not touched()
        path.open().close()
        assert touched()
