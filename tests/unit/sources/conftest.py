# SPDX-License-Identifier: GPL-2.0-or-later
"""What tests of several sources begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import ovf_package
from v2v import views


@pytest.fixture
def own_views(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the views, which are gone after the test."""
    home = tmp_path / "state"
    monkeypatch.setenv("XDG_STATE_HOME", str(home))
    yield home / "v2v" / "views"
    views.leave()


@pytest.fixture(scope="session")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A streamOptimized VMDK, and what the disk holds."""
    path = tmp_path_factory.mktemp("stream") / "a.vmdk"
    held = ovf_package.image(path, *ovf_package.STREAM)
    return path.read_bytes(), held
