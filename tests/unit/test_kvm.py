# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether KVM works is found out once, and people can say so themselves."""

import os
from pathlib import Path

import pytest

from v2v import kvm
from v2v.errors import HostError


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("V2V_ACCEL", "LIBGUESTFS_BACKEND_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kvm.usable.cache_clear()


@pytest.mark.parametrize(("word", "answer"), [("kvm", True), ("tcg", False)])
def test_the_user_decides(
    word: str, answer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("V2V_ACCEL", word)
    assert kvm.usable() is answer


def test_a_word_that_is_neither_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V2V_ACCEL", "yes")
    with pytest.raises(HostError, match="neither kvm nor tcg"):
        kvm.usable()


def test_force_tcg_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIBGUESTFS_BACKEND_SETTINGS", "force_tcg")
    assert not kvm.usable()


def test_an_answer_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host on which KVM hangs is asked once, not by every VM."""
    monkeypatch.setattr(os, "access", lambda *_: True)
    tries: list[bool] = []

    def tried() -> bool:
        tries.append(True)
        return False

    monkeypatch.setattr(kvm, "_tried", tried)
    assert not kvm.usable()
    kvm.usable.cache_clear()  # as another process would
    assert not kvm.usable()
    assert len(tries) == 1
