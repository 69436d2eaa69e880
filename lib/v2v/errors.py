# SPDX-License-Identifier: GPL-2.0-or-later
"""What can go wrong, by whom it can be put right, and the exit status of each class.

The statuses are the same for every command; v2v-stream(7) has the table.
"""

from __future__ import annotations

SEVERAL_CLASSES = 1
USAGE = 2
CUT_OFF = 3
UNFIT_HOST = 4
BLOCKED = 10
GUEST = 11
SOURCE = 12
TARGET = 13
BUG = 70
LOCKED = 75


class Problem(Exception):  # noqa: N818 - not every problem is an error of ours
    """Something that a person can put right: a line of what, and one of what to do."""

    status = BUG

    def __init__(self, message: str, remedy: str = "") -> None:
        """Say *message* (one line, lower case, names the object) and *remedy*."""
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class V2VError(Problem):
    """One VM cannot go on; the others can."""


class BlockedError(V2VError):
    """An unresolved finding of severity ``block`` forbids the next step."""

    status = BLOCKED


class GuestError(V2VError):
    """The guest's own state forbids it: hibernated, locked, two roots undecidable."""

    status = GUEST


class SourceError(V2VError):
    """The source is unreachable, broken, hostile or not what its name says."""

    status = SOURCE


class TargetError(V2VError):
    """The target refused: it is full, unreachable or already has such a VM."""

    status = TARGET


class LockedError(V2VError):
    """Somebody else works on this VM now."""

    status = LOCKED


class StageError(Problem):
    """This stage cannot go on, with any VM."""


class UsageError(StageError):
    """Options that contradict each other or name nothing."""

    status = USAGE


class StreamError(StageError):
    """The input was cut off, or is not a stream of VM documents."""

    status = CUT_OFF


class CutOffError(StreamError):
    """The writer of our input died: there was no end record."""


class HostError(StageError):
    """This host cannot do the work: a program, permission or device is missing."""

    status = UNFIT_HOST


class NoTargetError(StageError):
    """The target as a whole is not there: no daemon answers, no such folder."""

    status = TARGET
