# SPDX-License-Identifier: GPL-2.0-or-later
"""A user without rights, to run our commands as, with a home that is empty."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipelines import Pipeline

# One of Debian's own, since fusermount3(1) mounts for nobody without a name; and not
# "nobody", whom others here use: what this one has left can be told.
USER = "games"
UID = pwd.getpwnam(USER).pw_uid


@dataclass(frozen=True)
class PlainUser:
    """Who it is, by a folder that is its own; ``home`` is in it."""

    folder: Path

    @property
    def home(self) -> Path:
        """The home, in which there is nothing yet."""
        return self.folder / "home"

    def owns(self, path: Path) -> Path:
        """Give *path*, a file or folder with all that is in it, to the user."""
        for one in (path, *path.rglob("*")):
            os.chown(one, UID, UID, follow_symlinks=False)
        return path

    def run(self, *commands: Sequence[str], **env: str) -> Pipeline:
        """Start *commands*, joined by pipes, as the user; see said."""
        become = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        unset = ["XDG_STATE_HOME", "XDG_RUNTIME_DIR", "TMPDIR", "SSH_AUTH_SOCK"]
        clean = ["env", *(word for name in unset for word in ("-u", name))]
        clean += ["-C", str(self.home), f"HOME={self.home}", f"USER={USER}"]
        argv = [[*become, *clean, *command] for command in commands]
        return Pipeline(argv, env=env).start(self.folder / "said")

    @property
    def said(self) -> str:
        """What all that was started wrote to stderr."""
        return (self.folder / "said").read_text()

    def left(self) -> list[str]:
        """Return what of the user is left outside of its output: folders, mounts."""
        state = self.home / ".local" / "state" / "v2v"
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        views = list((state / "views").glob("*")) if state.exists() else []
        sockets = [p for p in Path("/tmp").iterdir() if p.lstat().st_uid == UID]
        return [
            *map(str, (*views, *sockets)),
            *(line for line in mounts if str(self.folder) in line),
        ]


@contextmanager
def plain_user() -> Iterator[PlainUser]:
    """Yield a user without rights.  Takes root."""
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))
    try:
        folder.chmod(0o755)
        (folder / "home").mkdir()
        yield PlainUser(folder)
    finally:
        shutil.rmtree(folder)
