# SPDX-License-Identifier: GPL-2.0-or-later
"""What a guest can be customised by: the options, as virt-customize(1) spells them.

Only their names are here: what they do is in guests/customize.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One option as it was given, in its place among the others."""

    name: str
    value: str = ""


# Option: what follows it ("" if nothing does), and what it does.
OPTIONS = {
    "append-line": ("FILE:LINE", "Add LINE to FILE."),
    "chmod": ("MODE:FILE", "Set the permissions (octal) of FILE."),
    "chown": ("UID:GID:PATH", "Set who owns PATH, by numbers."),
    "commands-from-file": ("FILE", "Take more of these options from FILE."),
    "copy": ("SOURCE:DEST", "Copy files within the guest."),
    "copy-in": ("LOCAL:DIR", "Copy a file or folder of this host into DIR."),
    "delete": ("PATH", "Delete PATH (may be a pattern) and all in it."),
    "edit": ("FILE:EXPR", "Edit FILE by a Perl expression, with the guest's Perl."),
    "firstboot": ("SCRIPT", "Run this host's SCRIPT at the first boot."),
    "firstboot-command": ("COMMAND", "Run COMMAND at the first boot."),
    "firstboot-install": ("PKG,...", "Install packages at the first boot."),
    "hostname": ("NAME", "Set the host name."),
    "install": ("PKG,...", "Install packages: files now, names at the first boot."),
    "link": ("TARGET:LINK[:LINK...]", "Make symbolic links."),
    "mkdir": ("DIR", "Make a folder, and those it lies in."),
    "move": ("SOURCE:DEST", "Move or rename."),
    "password": ("USER:SELECTOR", "Set a password."),
    "password-crypto": ("METHOD", "sha512, yescrypt, sha256 or md5."),
    "root-password": ("SELECTOR", "Set root's password."),
    "run-script": ("SCRIPT", "Run this host's SCRIPT in the guest, now."),
    "run-command": ("COMMAND", "Run COMMAND in the guest, now."),
    "scrub": ("FILE", "Overwrite and delete FILE."),
    "ssh-inject": ("USER[:SELECTOR]", "Let a public key log in as USER."),
    "tar-in": ("TARFILE:DIR", "Unpack TARFILE of this host into DIR."),
    "timezone": ("ZONE", "Set the time zone."),
    "touch": ("FILE", "Make FILE, empty, unless it is there."),
    "truncate": ("FILE", "Make FILE empty."),
    "truncate-recursive": ("PATH", "Make all files under PATH empty."),
    "uninstall": ("PKG,...", "Remove packages."),
    "update": ("", "Update all packages, at the first boot."),
    "upload": ("FILE:DEST", "Copy one file of this host to DEST."),
    "write": ("FILE:CONTENT", "Write CONTENT to FILE."),
}
