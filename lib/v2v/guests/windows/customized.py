# SPDX-License-Identifier: GPL-2.0-or-later
"""What of virt-customize's options a Windows guest can be customised by.

Those that are a script for its first boots.  All others go by a Unix' files, accounts
and shell, or run programs of the guest in the appliance, which Windows' are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from v2v.errors import GuestError
from v2v.guests.customize.work import host_text
from v2v.guests.windows.firstboot import Step
from v2v.operations import Operation

KNOWN = ("firstboot", "firstboot-command")
_BATCH = (".cmd", ".bat")


def steps(operations: Sequence[Operation]) -> Iterator[Step]:
    """Yield what *operations* have the guest do, in their order.

    Raises GuestError for what cannot be done to a Windows guest.
    """
    for operation in operations:
        if operation.name not in KNOWN:
            raise GuestError(
                f"the guest is Windows, and --{operation.name} is for others",
                "say it in a batch file, with --firstboot",
            )
        yield _script(operation) if operation.name == "firstboot" else _line(operation)


def _script(operation: Operation) -> Step:
    path = Path(operation.value)
    if path.suffix.lower() not in _BATCH:
        raise GuestError(
            f"--firstboot {operation.value}: no batch file, which Windows would run",
            f"give it a name with {' or '.join(_BATCH)}; it may call powershell",
        )
    return Step(
        name=path.stem,
        script=host_text("firstboot", operation.value),
        reason="asked for by --firstboot",
        shown=f"{path.name} of this host",
    )


def _line(operation: Operation) -> Step:
    """Return the step of one command line; its status is that of the step."""
    name = operation.value.split()[0].replace("\\", "/").rpartition("/")[2]
    return Step(
        name=name,
        script=f"@echo off\n{operation.value}\nexit /b %ERRORLEVEL%\n",
        reason="asked for by --firstboot-command",
        shown=operation.value,
    )
