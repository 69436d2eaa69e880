# SPDX-License-Identifier: GPL-2.0-or-later
"""Give each VM's files the access that its grants and the user's options allow."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from v2v import paths, server
from v2v.document import VM
from v2v.servers import Access, Keys


def of(
    vm: VM,
    allow: Iterable[Path] | None = None,
    keys: Keys | None = None,
    work: Path | None = None,
) -> Access:
    """Return what a stage may open of *vm*, see v2v.paths.

    Overlays that the stage is about to make in its work folder are among that.
    """
    own = paths.work_place(vm, work)
    return Access(
        checked=partial(paths.checked, allowed=paths.roots(vm, (*(allow or ()), own))),
        private=server.folder,
        keys=keys or Keys(),
    )
