# SPDX-License-Identifier: GPL-2.0-or-later
"""Build hook: turn each man/*.rst into the man page it describes."""

import tempfile
from pathlib import Path
from typing import Any

from docutils.core import publish_file
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ManPages(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the built pages into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the pages, and add them to the wheel."""
        self.out = tempfile.TemporaryDirectory(prefix="v2v-man-")
        for source in sorted(Path(self.root, "man").glob("*.rst")):
            page = Path(self.out.name, source.stem)  # v2v-convert.1
            publish_file(
                source_path=str(source),
                destination_path=str(page),
                writer_name="manpage",
            )
            build_data["shared_data"][str(page)] = (
                f"share/man/man{page.suffix[1:]}/{page.name}"
            )

    def finalize(
        self, version: str, build_data: dict[str, Any], artifact_path: str
    ) -> None:
        """Remove what was built."""
        self.out.cleanup()
