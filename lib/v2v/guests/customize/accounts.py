# SPDX-License-Identifier: GPL-2.0-or-later
"""Passwords, and keys to log in with.

No password is taken from, or put into, a command line, a document or a log.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import posixpath
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from v2v.errors import GuestError, HostError, UsageError
from v2v.guests.appliance import Appliance, printable
from v2v.guests.customize.work import (
    Parsers,
    Place,
    Settings,
    Work,
    action,
    host_text,
)
from v2v.guests.plan import Action

# crypt(5): what a hash of each method begins with.
_METHODS = {"md5": "$1$", "sha256": "$5$", "sha512": "$6$", "yescrypt": "$y$"}
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?")
_SHADOW = "/etc/shadow"
# Where a guest says by which hash it makes passwords.
_EVIDENCE = (
    "/etc/pam.d/common-password",
    "/etc/pam.d/system-auth",
    "/etc/pam.d/password-auth",
    "/etc/login.defs",
)
_ALPHABET = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_LENGTH = 20  # characters of a random password: 116 bits
_DAY = 86_400  # seconds
_KEY = re.compile(
    r"(?:[\w-]+(?:=\S+)?,?\S* )?(?:ssh-|ecdsa-|sk-)[\w@.-]+ [A-Za-z0-9+/=]+"
)


@dataclass(frozen=True, kw_only=True)
class _Selector:
    """How a password is to be: ``file`` holds it; None and not ``random``: none."""

    state: Literal["open", "locked", "disabled"] = "open"
    file: str | None = None
    random: bool = False


_WORDS = {
    "locked": _Selector(state="locked"),
    "disabled": _Selector(state="disabled"),
    "random": _Selector(random=True),
}


def check_method(method: str) -> None:
    """Raise UsageError if *method* is none of crypt(5)'s that are known."""
    if method not in _METHODS:
        raise UsageError(
            f"--password-crypto {method}: no such method",
            f"one of {', '.join(_METHODS)}",
        )


def _password(value: str, settings: Settings) -> Work:
    # Not repeated where it is wrong: it may be a password.
    user, _, selector = value.partition(":")
    if not selector or not _USER.fullmatch(user):
        raise UsageError(
            "--password: not of the form USER:SELECTOR", "see v2v-fixup(1)"
        )
    return _set("password", user, _selector("password", selector), settings)


def _root_password(value: str, settings: Settings) -> Work:
    selector = _selector("root-password", value)
    return _set("root-password", "root", selector, settings)


def _selector(option: str, text: str) -> _Selector:
    """Return what *text* asks for; it is never repeated: it may hold a password."""
    if text in _WORDS:
        return _WORDS[text]
    word, _, rest = text.partition(":")
    if word == "file" and rest:
        return _Selector(file=_readable(option, rest))
    if word == "locked":
        inner = _selector(option, rest)
        if inner.state == "open":
            return _Selector(state="locked", file=inner.file, random=inner.random)
    if word == "password":
        raise UsageError(
            f"--{option}: a password on the command line is seen by all on this host",
            "put it into a file that only you can read, and say file:FILE",
        )
    raise UsageError(
        f"--{option}: no such selector",
        "file:FILE, random, disabled, locked, locked:file:FILE or locked:random",
    )


def _readable(option: str, name: str) -> str:
    """Return *name*, if it can be read: not yet, since a pipe gives it but once."""
    if not os.access(Path(name).expanduser(), os.R_OK):
        raise UsageError(f"--{option}: {name} cannot be read", "see who may read it")
    return name


def _set(option: str, user: str, selector: _Selector, settings: Settings) -> Work:
    what = "a new password" if selector.file or selector.random else "no password"
    shown = f"{user}: {what}{'' if selector.state == 'open' else f', {selector.state}'}"

    def actions(place: Place) -> list[Action]:
        def apply(appliance: Appliance) -> None:
            text = appliance.read(_SHADOW)
            if text is None:
                raise GuestError(
                    f"--{option}: the guest has no /etc/shadow", "use --run-command"
                )
            method = settings.crypto or _method(appliance, text)
            new = _new_field(option, user, selector, method, place)
            appliance.write(_SHADOW, changed(text, option, user, new))

        return [action(option, _SHADOW, "edit", apply, after=shown)]

    return Work(actions=actions)


def _new_field(
    option: str, user: str, selector: _Selector, method: str, place: Place
) -> Callable[[str], str]:
    """Return what makes the second field of shadow(5) of the old one."""
    if selector.state == "disabled":
        return lambda old: "*"
    if not selector.file and not selector.random:
        return lambda old: old if old.startswith("!") else f"!{old}"
    if selector.file:
        password = (
            host_text(option, selector.file, 4096).partition("\n")[0].rstrip("\r")
        )
        if not password:
            raise GuestError(f"--{option}: {selector.file} is empty", "write it there")
    else:
        password = _made_up(user, place)
    new = ("!" if selector.state == "locked" else "") + hashed(password, method)
    return lambda old: new


def _made_up(user: str, place: Place) -> str:
    """Return a random password, and leave it in a file that only we can read."""
    if place.folder is None:
        raise AssertionError("a dry run sets no password")
    password = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    path = place.folder / f"{user}.password"
    path.unlink(missing_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, f"{password}\n".encode())
    finally:
        os.close(fd)
    return password


def changed(text: str, option: str, user: str, new: Callable[[str], str]) -> str:
    """Return shadow(5) *text* with the password field of *user* as *new* makes it.

    Raises GuestError if there is no such user.
    """
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        fields = line.rstrip("\n").split(":")
        if fields[0] != user or len(fields) < 3:
            continue
        field = new(fields[1])
        if field.lstrip("!") != fields[1].lstrip("!") and field != "*":
            fields[2] = str(int(time.time()) // _DAY)  # when it was changed
        fields[1] = field
        lines[number] = ":".join(fields) + line[len(line.rstrip("\n")) :]
        return "".join(lines)
    raise GuestError(f"--{option}: the guest has no user {user}", "see its /etc/shadow")


def _method(appliance: Appliance, shadow: str) -> str:
    """Return the method that the guest makes passwords by, SHA-512 if it is not sure.

    All that is not ancient understands that: glibc since 2.7, musl.
    """
    told = "\n".join(
        line
        for path in _EVIDENCE
        for line in (appliance.read(path) or "").splitlines()
        if not line.lstrip().startswith("#")
    )
    if re.search(r"\byescrypt\b", told, re.IGNORECASE) or ":$y$" in shadow:
        return "yescrypt"
    return "sha512"


def hashed(password: str, method: str) -> str:
    """Return the hash of *password*, with a new salt, by this host's libcrypt.

    Raises HostError if it does not know the method.
    """
    name = ctypes.util.find_library("crypt") or "libcrypt.so.1"
    try:
        library = ctypes.CDLL(name)
        library.crypt_gensalt.restype = library.crypt.restype = ctypes.c_char_p
    except (OSError, AttributeError) as e:
        raise HostError(f"{name} cannot be used: {e}", "install libcrypt1") from e
    salt = library.crypt_gensalt(
        _METHODS[method].encode(), ctypes.c_ulong(0), None, ctypes.c_int(0)
    )
    made = library.crypt(password.encode("utf-8", "surrogateescape"), salt)
    if not made or not made.startswith(b"$"):
        raise HostError(
            f"libcrypt cannot make {method} hashes", "use --password-crypto"
        )
    return str(made.decode())


def _ssh_inject(value: str, _: Settings) -> Work:
    user, _colon, selector = value.partition(":")
    if not _USER.fullmatch(user):
        raise UsageError(
            f"--ssh-inject {user}: that is no user's name", "see passwd(5)"
        )
    keys = _keys(selector)

    def actions(place: Place) -> list[Action]:
        def apply(appliance: Appliance) -> None:
            _inject(appliance, user, keys)

        # The user may be made by an option before this.
        known = _account(place.appliance, user)
        path = f"{known[2] if known else f'/home/{user}'}/.ssh/authorized_keys"
        shown = f"{user}: {len(keys)} key(s)"
        return [action("ssh-inject", path, "edit", apply, after=shown)]

    return Work(actions=actions)


def _keys(selector: str) -> list[str]:
    """Return the public keys that *selector* names.  Raises UsageError."""
    word, _, rest = selector.partition(":")
    if word == "string" and rest:
        text = rest
    elif word == "file" and rest:
        text = host_text("ssh-inject", rest)
    elif not selector:
        text = host_text("ssh-inject", str(_own_key()))
    else:
        raise UsageError(f"--ssh-inject: {word}: no such selector", "file: or string:")
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or not all(_KEY.match(key) for key in keys):
        raise UsageError(
            "--ssh-inject: that holds no public keys",
            "id_ed25519.pub is one, as a rule",
        )
    return keys


def _own_key() -> Path:
    found = sorted(Path.home().glob(".ssh/id_*.pub"))
    if not found:
        raise UsageError(
            "--ssh-inject: you have no public key in ~/.ssh", "name one: USER:file:FILE"
        )
    return found[0]


def _inject(appliance: Appliance, user: str, keys: list[str]) -> None:
    """Add *keys* to those that may log in as *user*; see sshd(8)."""
    account = _account(appliance, user)
    if account is None:
        raise GuestError(
            f"--ssh-inject: the guest has no user {user} with a home",
            "see its /etc/passwd",
        )
    owner, group, home = account
    folder = f"{home}/.ssh"
    path = f"{folder}/authorized_keys"
    for each in (folder, path):
        # The user may have made it lead to a file of root's.
        if appliance.g.is_symlink(each):
            raise GuestError(
                f"--ssh-inject {user}: {printable(each)} in the guest is a link",
                "name the user whose keys these are, or use --append-line",
            )
    if not appliance.g.exists(folder):
        appliance.g.mkdir_p(folder)
        appliance.g.chmod(0o700, folder)
        appliance.g.chown(owner, group, folder)
    old = appliance.read(path)
    there = {line.strip() for line in (old or "").splitlines()}
    more = [key for key in keys if key not in there]
    if more:
        gap = "\n" if old and not old.endswith("\n") else ""
        appliance.write(path, (old or "") + gap + "".join(f"{key}\n" for key in more))
    if old is None:
        appliance.g.chmod(0o600, path)
        appliance.g.chown(owner, group, path)


def _account(appliance: Appliance, user: str) -> tuple[int, int, str] | None:
    """Return the ids and the home of *user*, by passwd(5)."""
    for line in (appliance.read("/etc/passwd") or "").splitlines():
        fields = line.split(":")
        if fields[0] == user and len(fields) >= 6:
            owner, group, home = fields[2], fields[3], posixpath.normpath(fields[5])
            numbers = all(re.fullmatch(r"[0-9]{1,10}", n) for n in (owner, group))
            # libguestfs takes no larger ones.
            numbers = numbers and max(int(owner), int(group)) < 2**31
            if numbers and home.startswith("/"):
                return int(owner), int(group), home.rstrip("/")
    return None


PARSERS: Parsers = {
    "password": _password,
    "root-password": _root_password,
    "ssh-inject": _ssh_inject,
}
