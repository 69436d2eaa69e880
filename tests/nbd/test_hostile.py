# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever a stranger has put into a source: one clear line, bounded, and no leak.

The real commands run with little memory and CPU time.  Nobody may touch the forbidden
file, which is Watched by inotify(7), nor connect to the forbidden port.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hostile import archives, chains, images, places, texts
from hostile.case import MIB, Case, Forbidden, listening
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
_OPENED = 0x20 | 0x1  # IN_OPEN, IN_ACCESS


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


@pytest.fixture
def forbidden(tmp_path: Path) -> Iterator[Forbidden]:
    """A file that nobody opens and a port that nobody calls, or the test fails."""
    path = tmp_path / "outside" / "secret"
    path.parent.mkdir()
    path.write_text("root:secret\n" * 1000)
    with listening() as listener, Watched(path) as touched:
        yield Forbidden(path=path, port=listener.getsockname()[1])
        assert not touched(), "the forbidden file was opened"
        with pytest.raises(BlockingIOError):
            listener.accept()


class Watched:
    """Say whether the file was opened or read in the block, by whomever."""

    def __init__(self, path: Path) -> None:
        """Watch *path*."""
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        name = os.fsencode(path)
        if self._libc.inotify_add_watch(self._fd, name, _OPENED) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def __enter__(self) -> Watched:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def __call__(self) -> bool:
        try:
            return bool(os.read(self._fd, 4096))
        except BlockingIOError as e:
            assert e.errno == errno.EAGAIN
            return False


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
    limits = ["prlimit", f"--data={_DATA}:", f"--cpu={_CPU}:"]
    done = subprocess.run(
        [*limits, *inspect],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "TMPDIR": str(temporary)},
        start_new_session=True,  # without a terminal
        timeout=_WALL,
        check=False,
    )
    out, errors = done.stdout.decode(), done.stderr.decode()
    assert done.returncode in (0, 12), f"status {done.returncode}: {errors[-4000:]}"
    assert "Traceback" not in errors
    assert "root:secret" not in out + errors
    for line in errors.splitlines():
        assert line.isprintable()
        assert len(line) < _LONGEST_LINE, line
    records = [json.loads(line) for line in out.splitlines()]
    vms = [record for record in records if record["kind"] == "vm"]
    failed = [vm for vm in vms if vm.get("error")]
    assert errors.count(": error: ") == len(failed), errors
    assert (done.returncode == 12) == bool(failed)
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
