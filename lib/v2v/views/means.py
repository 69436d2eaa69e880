# SPDX-License-Identifier: GPL-2.0-or-later
"""With what this process reads what is at URLs: as its options say, for all alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from v2v.errors import UsageError
from v2v.views import urls
from v2v.views.urls import Url


@dataclass(frozen=True, kw_only=True)
class Means:
    """What the user gave to read URLs with.

    ``password`` is a file that holds the password of the user whom a URL names,
    ``authority`` one with the certificates to trust besides the system's.  ``folders``
    are the URLs of what may be read besides what the user named.
    """

    password: Path | None = None
    authority: Path | None = None
    check: bool = True
    folders: tuple[Url, ...] = ()

    def allows(self, url: Url) -> bool:
        """Whether the user has named a folder that *url* is in."""
        return any(
            folder.server() == url.server() and url.path.startswith(folder.path)
            for folder in self.folders
        )


_now = Means()


def use(means: Means) -> None:
    """Read URLs with *means* from now on."""
    global _now
    _now = means


def now() -> Means:
    """Return the means of this process."""
    return _now


def given(
    password: Path | None, tls: Path | None, folders: Iterable[str], *, check: bool
) -> Means:
    """Return the means that the options say; *tls* is the folder of --tls-dir.

    Raises UsageError if a file of theirs cannot be read.
    """
    if password:
        secret(password)
    authority = tls / "ca-cert.pem" if tls else None
    return Means(
        password=password.absolute() if password else None,
        authority=authority if authority and authority.exists() else None,
        check=check,
        folders=tuple(urls.folder(text) for text in folders),
    )


def secret(file: Path) -> str:
    """Return the password in the first line of *file*.  Raises UsageError."""
    try:
        with file.open(encoding="utf-8") as text:
            line = text.readline(4096).rstrip("\r\n")
    except (OSError, ValueError) as e:
        reason = getattr(e, "strerror", None) or "it is no text"
        raise UsageError(f"--url-password {str(file)!r}: {reason}") from e
    if not line:
        raise UsageError(f"--url-password {str(file)!r}: its first line is empty")
    return line
