# SPDX-License-Identifier: GPL-2.0-or-later
"""What a transport says of a file at a URL."""

from __future__ import annotations

from dataclasses import dataclass

from v2v.views.urls import Url


class BrokenOffError(Exception):
    """The file came in part only; says why."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A file that is there: at ``url``, to which the one that was asked for leads.

    ``size`` is in bytes, None if it is not told.  ``mark`` changes when the file does,
    as far as the server says.  ``seekable``: whether any part of it can be asked for;
    ``served``: whether an NBD server can do so for us.
    """

    url: Url
    size: int | None
    mark: str = ""
    seekable: bool = True
    served: bool = True
