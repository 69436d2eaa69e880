# SPDX-License-Identifier: GPL-2.0-or-later
"""Views in a folder of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from v2v import views
from v2v.views import store


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of all views, empty; what the test opened is released after it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield store.root()
    views.leave()
