# SPDX-License-Identifier: GPL-2.0-or-later
"""What may be opened, and whose folder of state is trusted."""

import os
import socket
from pathlib import Path

import pytest

from v2v import paths, server
from v2v.errors import HostError, SourceError
from v2v.views import store


def test_what_would_make_us_wait_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for name in ("pipe", "link", "socket"):
        with pytest.raises(SourceError, match="no file"):
            paths.checked(tmp_path / name, [tmp_path])


def test_character_devices_are_no_files_even_where_all_may_be_read() -> None:
    with pytest.raises(SourceError, match="no file"):
        paths.checked("/dev/zero", [Path("/dev")])


def test_a_name_that_is_too_long_for_a_file_is_cut_in_what_is_said(
    tmp_path: Path,
) -> None:
    with pytest.raises(SourceError) as e:
        paths.checked(tmp_path / ("x" * 5000), [tmp_path])
    assert len(e.value.message) < 400


@pytest.mark.parametrize("use", [lambda: store.hold("a"), paths.own_state])
def test_a_state_folder_that_all_may_write_to_is_none(
    use: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    (tmp_path / "v2v").mkdir()
    (tmp_path / "v2v").chmod(0o777)
    assert callable(use)
    with pytest.raises(HostError, match="another user") as e:
        use()
    assert "XDG_STATE_HOME" in e.value.remedy


def test_a_state_folder_of_another_user_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    paths.own_state()
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(HostError, match="another user"):
        paths.own_state()


def test_a_folder_that_another_process_sweeps_first_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Parent:
        def glob(self, pattern: str) -> list[Path]:
            assert pattern.startswith("v2v-")
            return [tmp_path / "gone", tmp_path / "old"]

    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "lock").touch()
    monkeypatch.setattr(server, "_PARENT", Parent())
    server._sweep()
    assert not (tmp_path / "old").exists()
