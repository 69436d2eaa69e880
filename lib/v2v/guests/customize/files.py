# SPDX-License-Identifier: GPL-2.0-or-later
"""Files and folders: written, copied, edited, removed."""

from __future__ import annotations

import lzma
import posixpath
import re
import shlex
import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from v2v.errors import GuestError, UsageError
from v2v.guests.appliance import Appliance
from v2v.guests.customize.work import (
    Kind,
    Parsers,
    Place,
    Settings,
    Work,
    action,
    edited,
    guest_path,
    host_file,
    now,
    split,
)
from v2v.guests.plan import Action

_PIECE = 2**20
# How tar-in's file begins, and what libguestfs calls that.
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
}


def _append_line(value: str, _: Settings) -> Work:
    path, line = split("append-line", value, "FILE:LINE")

    def edit(text: str) -> str:
        # As the file ends its lines.
        end = "\r\n" if "\r\n" in text[:4096] else "\n"
        gap = "" if not text or text.endswith("\n") else end
        return f"{text}{gap}{line}{end}"

    name = guest_path("append-line", path)
    return now(edited("append-line", name, edit, after=f"{len(line)} characters"))


def _chmod(value: str, _: Settings) -> Work:
    mode, path = split("chmod", value, "MODE:FILE")
    if not re.fullmatch(r"[0-7]{3,5}", mode) or int(mode, 8) > 0o7777:
        raise UsageError(f"--chmod {value}: {mode} is no mode", "octal, as 0644")
    name = guest_path("chmod", path)
    apply = partial(_changed_mode, int(mode, 8), name)
    return now(action("chmod", name, "edit", apply, after=f"mode {mode}"))


def _changed_mode(mode: int, path: str, appliance: Appliance) -> None:
    appliance.g.chmod(mode, path)


def _chown(value: str, _: Settings) -> Work:
    match = re.fullmatch(r"(\d{1,10})[.:](\d{1,10}):(/.*)", value, re.S | re.A)
    if not match:
        raise UsageError(
            f"--chown {value}: not of the form UID:GID:PATH", "the ids are numbers"
        )
    owner, group, path = int(match[1]), int(match[2]), guest_path("chown", match[3])
    if max(owner, group) >= 2**31:
        raise UsageError(f"--chown {value}: an id is too large", "at most 2147483647")

    def apply(appliance: Appliance) -> None:
        appliance.g.lchown(owner, group, path)

    return now(action("chown", path, "edit", apply, after=f"owner {owner}:{group}"))


def _copy(value: str, _: Settings) -> Work:
    source, to = (guest_path("copy", p) for p in split("copy", value, "SOURCE:DEST"))

    def apply(appliance: Appliance) -> None:
        appliance.g.cp_a(source, to)

    made = action("copy", to, "create", apply, after=f"as {source}", tree=True)
    return now(made)


def _move(value: str, _: Settings) -> Work:
    source, to = (guest_path("move", p) for p in split("move", value, "SOURCE:DEST"))

    def apply(appliance: Appliance) -> None:
        appliance.g.mv(source, to)
        appliance.known.pop(source, None)

    return now(action("move", to, "create", apply, after=f"was {source}", tree=True))


def _copy_in(value: str, _: Settings) -> Work:
    local, folder = split("copy-in", value, "LOCAL:DIR")
    source = Path(local).expanduser().absolute()
    if not source.exists():
        raise UsageError(f"--copy-in {local}: no such file", "it is one of this host")
    place = guest_path("copy-in", folder, root=True)

    def apply(appliance: Appliance) -> None:
        appliance.g.copy_in(str(source), place)

    files = [source, *source.rglob("*")] if source.is_dir() else [source]
    size = sum(f.lstat().st_size + 4096 for f in files)
    path = f"{place.rstrip('/')}/{source.name}"
    made = action(
        "copy-in", path, "create", apply, after=str(source), space=size, tree=True
    )
    return now(made)


def _tar_in(value: str, _: Settings) -> Work:
    local, folder = split("tar-in", value, "TARFILE:DIR")
    source = host_file("tar-in", local)
    place = guest_path("tar-in", folder, root=True)
    with source.open("rb") as file:
        head = file.read(8)
    packed = next(
        (name for start, name in _PACKED.items() if head.startswith(start)), ""
    )

    def apply(appliance: Appliance) -> None:
        if packed:
            appliance.g.tar_in(str(source), place, compress=packed)
        else:
            appliance.g.tar_in(str(source), place)

    size = source.stat().st_size * (4 if packed else 1)
    also = tuple(_members(source, place))
    made = action(
        "tar-in", place, "create", apply, after=str(source), space=size, also=also
    )
    return now(made)


def _members(source: Path, place: str) -> Iterator[str]:
    """Yield where what is in the archive *source* goes.  Raises UsageError."""
    try:
        with tarfile.open(source) as archive:
            names = archive.getnames()
    except (tarfile.TarError, OSError, EOFError, zlib.error, lzma.LZMAError) as e:
        raise UsageError(
            f"--tar-in {source}: it cannot be read: {e}", "gzip, xz, bzip2 or plain tar"
        ) from e
    for name in names:
        top = place.rstrip("/")
        path = posixpath.normpath(f"{top}/{name}")
        if path != place and not path.startswith(f"{top}/"):
            raise UsageError(
                f"--tar-in {source}: {name} lies outside of it", "remove it"
            )
        yield path


def _upload(value: str, _: Settings) -> Work:
    local, path = split("upload", value, "FILE:DEST")
    source, to = host_file("upload", local), guest_path("upload", path, root=True)
    facts = source.stat()
    inside = f"{to.rstrip('/')}/{source.name}"

    def actions(place: Place) -> list[Action]:
        into = place.appliance.g.is_dir(to, followsymlinks=True)
        path, other = (inside, to) if into else (to, inside)

        def apply(appliance: Appliance) -> None:
            # The folder may have been made by an option before this.
            into = appliance.g.is_dir(to, followsymlinks=True)
            name = inside if into else to
            appliance.g.upload(str(source), name)
            appliance.g.chmod(facts.st_mode & 0o7777, name)

        made = action(
            "upload",
            path,
            "create",
            apply,
            after=str(source),
            space=facts.st_size,
            also=(other,),
        )
        return [made]

    return Work(actions=actions)


def _write(value: str, _: Settings) -> Work:
    path, content = split("write", value, "FILE:CONTENT")
    name = guest_path("write", path)

    def apply(appliance: Appliance) -> None:
        appliance.write(name, content)

    size = len(content.encode("utf-8", "surrogateescape"))
    return now(
        action("write", name, "create", apply, after=f"{size} bytes", space=size)
    )


def _delete(value: str, _: Settings) -> Work:
    pattern = guest_path("delete", value)

    def apply(appliance: Appliance) -> None:
        for path in appliance.glob(pattern):
            appliance.g.rm_rf(path)
        appliance.known.clear()

    return now(action("delete", pattern, "delete", apply, space=0))


def _link(value: str, _: Settings) -> Work:
    target, *links = value.split(":")
    if not target or not links:
        raise UsageError(
            f"--link {value}: not of the form TARGET:LINK[:LINK...]",
            "see v2v-fixup(1)",
        )
    return now(*(_one_link(target, guest_path("link", path)) for path in links))


def _one_link(target: str, path: str) -> Action:
    def apply(appliance: Appliance) -> None:
        appliance.g.ln_sf(target, path)

    return action("link", path, "link", apply, after=target)


def _one(
    option: str, kind: Kind, call: Callable[[Appliance, str], None]
) -> Callable[[str, Settings], Work]:
    """Return the parser of an option whose value is one path of the guest."""

    def parse(value: str, _: Settings) -> Work:
        path = guest_path(option, value)
        return now(action(option, path, kind, lambda appliance: call(appliance, path)))

    return parse


def _mkdir(appliance: Appliance, path: str) -> None:
    appliance.g.mkdir_p(path)


def _touch(appliance: Appliance, path: str) -> None:
    appliance.g.touch(path)


def _truncate(appliance: Appliance, path: str) -> None:
    appliance.g.truncate(path)


def _truncate_all(appliance: Appliance, path: str) -> None:
    for name in ("", *appliance.g.find(path)):
        file = f"{path}/{name}".rstrip("/")
        # A link is not followed: it may lead out of the folder.
        if appliance.g.is_file(file):
            appliance.g.truncate(file)


def _scrub(appliance: Appliance, path: str) -> None:
    """Overwrite the blocks of the file before it goes.

    In an overlay that is never shown to anybody the old ones stay in the source.
    """
    if not appliance.g.is_file(path):
        raise GuestError(
            f"--scrub {path}: there is no such file in the guest", "see its name there"
        )
    size = appliance.g.filesize(path)
    for offset in range(0, size, _PIECE):
        appliance.g.pwrite(path, bytes(min(_PIECE, size - offset)), offset)
    appliance.g.sync()
    appliance.g.rm_f(path)


def _edit(value: str, _: Settings) -> Work:
    path, expression = split("edit", value, "FILE:EXPR")
    name = guest_path("edit", path)

    def apply(appliance: Appliance) -> None:
        text = _by_perl(appliance, name, expression)
        if text != appliance.read(name):
            appliance.write(name, text)

    return now(action("edit", name, "edit", apply, after=f"perl: {expression}"))


def _by_perl(appliance: Appliance, path: str, expression: str) -> str:
    """Return what the guest's Perl makes of each line; never is this host's run."""
    if not appliance.g.exists("/usr/bin/perl") and not appliance.g.exists("/bin/perl"):
        raise GuestError(
            f"--edit {path}: the guest has no Perl, which it is to be edited by",
            "use --append-line, --write or --upload",
        )
    if appliance.read(path) is None:
        raise GuestError(
            f"--edit {path}: there is no such file in the guest", "see its name there"
        )
    made = f"{path}.v2v-edit"
    program = f"BEGIN {{ $lineno = 0 }} $lineno++; {expression}"
    command = shlex.join(["perl", "-p", "-e", program, "--", path])
    appliance.g.rm_f(made)  # who owns the folder may have left a link there
    try:
        appliance.g.sh(f"{command} > {shlex.quote(made)}")
        return appliance.read(made) or ""
    finally:
        appliance.g.rm_f(made)


PARSERS: Parsers = {
    "append-line": _append_line,
    "chmod": _chmod,
    "chown": _chown,
    "copy": _copy,
    "copy-in": _copy_in,
    "delete": _delete,
    "edit": _edit,
    "link": _link,
    "mkdir": _one("mkdir", "create", _mkdir),
    "move": _move,
    "scrub": _one("scrub", "delete", _scrub),
    "tar-in": _tar_in,
    "touch": _one("touch", "create", _touch),
    "truncate": _one("truncate", "edit", _truncate),
    "truncate-recursive": _one("truncate-recursive", "edit", _truncate_all),
    "upload": _upload,
    "write": _write,
}
