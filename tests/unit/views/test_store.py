# SPDX-License-Identifier: GPL-2.0-or-later
"""A view is shared by all who use it, and outlives none of them."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from v2v.views import store

HOLDER = """
import sys
from v2v.views import store
held = store.hold("a")
with store.making(held.place("x")) as unfinished:
    if unfinished:
        unfinished.write_text("data")
        if "half" in sys.argv:
            print("there", flush=True)
            sys.stdin.read()
print("there", flush=True)
sys.stdin.read()
store.leave()
"""


class Other:
    """Another process that holds the view, until it is told to go."""

    def __init__(self, *words: str) -> None:
        pipe = subprocess.PIPE
        self.child = subprocess.Popen(
            [sys.executable, "-c", HOLDER, *words], stdin=pipe, stdout=pipe
        )
        assert self.child.stdout
        assert self.child.stdout.readline() == b"there\n"

    def go(self, number: int = 0) -> None:
        if number:
            self.child.send_signal(number)
        self.child.communicate()


def test_the_last_one_removes_it(kept: Path) -> None:
    held = store.hold("a")
    with store.making(held.place("x")) as unfinished:
        assert unfinished
        unfinished.write_text("data")
    assert (kept / "a" / "made" / "x").read_text() == "data"
    held.release()
    assert not list(kept.iterdir())


def test_two_in_turn(kept: Path) -> None:
    other = Other()
    held = store.hold("a")
    assert held.is_shared()
    with store.making(held.place("x")) as unfinished:
        assert unfinished is None  # it is there
    other.go()
    assert (kept / "a" / "made" / "x").exists()
    assert not held.is_shared()
    held.release()
    assert not list(kept.iterdir())


def test_the_first_may_leave_first(kept: Path) -> None:
    held = store.hold("a")
    other = Other()
    held.release()
    assert (kept / "a" / "made" / "x").exists()
    other.go()
    assert not list(kept.iterdir())


@pytest.mark.parametrize("words", [[], ["half"]])
def test_what_a_killed_one_left_is_swept(kept: Path, words: list[str]) -> None:
    other = Other(*words)
    other.go(signal.SIGKILL)
    assert (kept / "a").exists()
    store.sweep()
    assert not list(kept.iterdir())


def test_the_sweep_spares_what_is_used(kept: Path) -> None:
    other = Other()
    store.hold("b")
    store.sweep()
    assert sorted(p.name for p in kept.iterdir()) == ["a", "b"]
    other.go()


def test_one_who_died_half_way_is_followed_by_another(kept: Path) -> None:
    other = Other("half")
    held = store.hold("a")
    threading.Timer(0.2, other.go, [signal.SIGKILL]).start()
    with store.making(held.place("x")) as unfinished:
        assert unfinished
        assert not unfinished.exists()
        unfinished.write_text("whole")
    assert (held.place("x")).read_text() == "whole"


def test_an_error_leaves_nothing_half_made(kept: Path) -> None:
    held = store.hold("a")
    with pytest.raises(ValueError, match="no"):  # noqa: SIM117
        with store.making(held.place("x")) as unfinished:
            assert unfinished
            unfinished.write_text("da")
            raise ValueError("no")
    assert not list(held.place("x").parent.iterdir())


def test_a_reader_that_takes_its_share_lets_us_go(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_GRACE", 60)
    store.hold("a")
    ours, theirs = os.pipe()
    os.write(theirs, b"document")
    taken = []

    def read() -> None:
        os.read(ours, 100)
        taken.append(Other())

    reader = threading.Timer(0.2, read)
    reader.start()
    store.handed_on(theirs)
    assert store.shares()[0].is_shared()
    reader.join()
    taken[0].go()


def test_a_reader_that_wants_none_holds_us_not_for_long(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_GRACE", 0.2)
    held = store.hold("a")
    ours, theirs = os.pipe()
    store.handed_on(theirs)
    assert not held.is_shared()
    os.close(ours)
    monkeypatch.setattr(store, "_GRACE", 1000)
    store.handed_on(theirs)  # nobody reads any more


def test_only_what_is_a_view_is_shared(kept: Path) -> None:
    held = store.hold("a")
    assert store.share(kept / "a" / "made" / "x")
    for path in (kept, kept / "b" / "x", Path("/etc/passwd"), kept.parent / "key"):
        assert store.share(path) is None
    held.release()
