# SPDX-License-Identifier: GPL-2.0-or-later
"""Options that several commands share, as typer understands them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from v2v.servers import Keys

Metadata = Annotated[
    Path | None,
    typer.Option(
        "-M", "--metadata", metavar="FILE", help="Read and keep documents in FILE."
    ),
]
State = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Keep each VM's document in DIR, to resume."),
]
Again = Annotated[
    bool, typer.Option("--again", help="Do again what was finished already.")
]
Only = Annotated[
    str, typer.Option(metavar="NAME", help="Work on the VM called NAME only.")
]
Run = Annotated[
    str, typer.Option(metavar="COMMAND", help="Give the documents to shell COMMAND.")
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="CODE", help="Go on in spite of finding CODE."),
]
AllowPath = Annotated[
    list[Path] | None,
    typer.Option("--allow-path", metavar="DIR", help="Let files under DIR be opened."),
]
Work = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder for overlays (default: the user's state)."
    ),
]
Key = Annotated[
    list[str] | None,
    typer.Option(
        "--key", metavar="<SELECTOR:file:FILE>", help="Passphrase for encrypted disks."
    ),
]
TlsPsk = Annotated[
    Path | None,
    typer.Option("--tls-psk", metavar="FILE", help="Keys for TLS, lines of user:key."),
]
TlsDir = Annotated[
    Path | None,
    typer.Option("--tls-dir", metavar="DIR", help="Certificates for TLS, as qemu's."),
]
NoCheckCertificate = Annotated[
    bool,
    typer.Option(
        "-x", "--no-check-certificate", help="Trust any server's certificate."
    ),
]
MaxSize = Annotated[
    str,
    typer.Option(
        "--max-size", metavar="SIZE", help="Unpack no more than SIZE (20G) of a source."
    ),
]
Sources = Annotated[
    list[str] | None,
    typer.Argument(metavar="SOURCE...", help="Descriptions, disks, folders, URLs."),
]
SourcesFrom = Annotated[
    str,
    typer.Option(
        "--sources-from", metavar="FILE", help="Take SOURCEs from FILE too, one a line."
    ),
]
AllowUrl = Annotated[
    list[str] | None,
    typer.Option("--allow-url", metavar="URL", help="Let files below URL be fetched."),
]
UrlPassword = Annotated[
    Path | None,
    typer.Option(
        "--url-password", metavar="FILE", help="Password of the user that URLs name."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what is in the way.")]
Verbose = Annotated[
    int,
    typer.Option("-v", "--verbose", count=True, help="Say more; twice: each command."),
]


def _show_version(value: bool) -> None:
    if value:
        from v2v import __version__

        typer.echo(f"v2v {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", is_eager=True, callback=_show_version, help="Show the version."
    ),
]


def size(text: str) -> int | None:
    """Return *text* (20G) in bytes; None if it is empty.  Raises BadParameter."""
    if not text:
        return None
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]?)(?:iB|B)?", text, re.IGNORECASE)
    if not match:
        raise typer.BadParameter(f"--max-size {text!r}: no size; write 20G")
    unit: int = 1024 ** " KMGT".index(match[2].upper() or " ")
    return int(match[1]) * unit


def reach(
    password: Path | None, tls: Path | None, folders: list[str] | None, *, check: bool
) -> None:
    """Let this process read what is at URLs as the options say.

    Raises BadParameter if they cannot be used.
    """
    from v2v.errors import Problem
    from v2v.views import means

    try:
        means.use(means.given(password, tls, folders or (), check=check))
    except Problem as e:
        raise typer.BadParameter(f"{e.message}; {e.remedy}".removesuffix("; ")) from e


def sources(given: list[str] | None, file: str) -> tuple[str, ...]:
    """Return the sources *given* and those in *file*.  Raises BadParameter: none."""
    from v2v import named_sources
    from v2v.errors import Problem

    try:
        return named_sources.named(given or (), file)
    except Problem as e:
        raise typer.BadParameter(f"{e.message}; {e.remedy}".removesuffix("; ")) from e


def mapped(words: list[str] | None) -> tuple[Path, ...]:
    """Let the maps *words* hold; return where they lead.  Raises BadParameter."""
    from v2v import maps
    from v2v.errors import Problem

    try:
        return maps.use(words or ())
    except Problem as e:
        raise typer.BadParameter(f"{e.message}; {e.remedy}") from e


def keys(psk: Path | None, folder: Path | None, *, check: bool) -> Keys:
    """Return with what this host proves itself to others, and they to it."""
    from v2v.servers import Keys

    return Keys(psk=psk, folder=folder, verify_peer=check)


def application(**settings: Any) -> typer.Typer:
    """Return the frame for a command: no completion installer, plain errors."""
    return typer.Typer(
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        **{"rich_markup_mode": None, **settings},
    )
