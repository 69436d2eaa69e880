# SPDX-License-Identifier: GPL-2.0-or-later
"""Give SELinux labels to the files that were touched, and to no others.

A whole relabelling, by setfiles or at the next boot, takes hours where there are
millions of files (RHEL-222316).  A file that was replaced keeps its label; a new one
gets what the guest's policy says.  Only where that cannot be found out the guest is
asked to relabel itself.

Whether the kernel runs with selinux=0 does not matter: then labels do no harm.
"""

from __future__ import annotations

import logging
import posixpath
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from v2v.document import Finding, Guest
from v2v.errors import GuestError
from v2v.guests.appliance import Appliance, printable
from v2v.guests.linux.contexts import Contexts
from v2v.guests.linux.patterns import PatternError
from v2v.guests.plan import Action, create

FINDINGS = ("selinux-relabel",)
_CONFIG = "/etc/selinux/config"
_SETTING = re.compile(r"^[ \t]*(SELINUX|SELINUXTYPE)[ \t]*=[ \t]*(\S+)", re.M)
_TYPE = re.compile(r"[\w-]{1,100}", re.A)
_AUTORELABEL = "/.autorelabel"
_ATTRIBUTE = "security.selinux"
_STAMP = "/.v2v-stamp"
_TOUCHED = "/.v2v-touched"
# File systems that keep no labels of files.
_WITHOUT = {"vfat", "msdos", "exfat", "ntfs", "iso9660", "udf"}
_MOST = 20_000  # files; more are better relabelled by the guest
_SCRATCH = {_STAMP, _TOUCHED}

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Labels:
    """The labels before anything is done: of each path; None if it had none."""

    contexts: Contexts
    before: dict[str, bytes | None]
    trees: list[str] = field(default_factory=list)
    by_guest: bool = False


def policy(appliance: Appliance) -> Contexts | None:
    """Return the labels of the policy that the guest runs with, if it does."""
    text = appliance.read(_CONFIG)
    if text is None:
        return None
    settings = dict(_SETTING.findall(text))
    kind = settings.get("SELINUXTYPE", "targeted")
    if settings.get("SELINUX", "disabled").lower() == "disabled":
        return None
    if not _TYPE.fullmatch(kind):
        return None
    base = f"/etc/selinux/{kind}/contexts/files/file_contexts"
    main = appliance.read(base)
    if main is None:
        return None

    def more(*ends: str) -> list[str]:
        return [appliance.read(f"{base}.{end}") or "" for end in ends]

    return Contexts([main, *more("homedirs", "local")], more("subs", "subs_dist"))


def plan(appliance: Appliance, actions: Sequence[Action]) -> Iterator[Action]:
    """Yield the guest's own relabelling, if labels for *actions* cannot be told."""
    if not actions or (contexts := policy(appliance)) is None:
        return
    try:
        for path in _paths(actions):
            contexts.of(_real(appliance, path), 0o100000)
    except PatternError as e:
        if not appliance.g.exists(_AUTORELABEL):
            reason = f"the labels of new files cannot be told: {printable(str(e))}"
            yield create(_AUTORELABEL, "", reason)


def noted(
    appliance: Appliance, guest: Guest, actions: Sequence[Action]
) -> Labels | None:
    """Return the labels as they are before *actions*; None if there are to be none."""
    if not actions or (contexts := policy(appliance)) is None:
        return None
    bare = _bare(guest)
    labels = Labels(
        contexts=contexts,
        before={
            path: _label(appliance, path)
            for path in _paths(actions)
            if not path.startswith(bare)
        },
        trees=[action.change.path for action in actions if action.tree],
        by_guest=any(action.change.kind == "run" for action in actions),
    )
    if labels.by_guest:
        appliance.g.write(_STAMP, b"")
    return labels


def _bare(guest: Guest) -> tuple[str, ...]:
    """Return how paths begin that lie on a file system without labels."""
    return tuple(
        f"{fs.mountpoint.rstrip('/')}/"
        for fs in guest.filesystems
        if fs.mountpoint and fs.type in _WITHOUT
    )


def restore(appliance: Appliance, guest: Guest, labels: Labels) -> None:
    """Label what was touched since *labels* were noted.

    Where it cannot be found out how, the guest relabels itself; see findings().
    """
    bare = _bare(guest)
    try:
        touched = dict.fromkeys([*labels.before, *_more(appliance, guest, labels)])
        if len(touched) > _MOST:
            raise GuestError(f"{len(touched)} files were touched")
        for path in sorted(touched.keys() - _SCRATCH):
            if not path.startswith(bare):
                _relabel(appliance, labels, path)
    except (GuestError, PatternError) as e:
        log.warning(
            "warning: the guest will relabel its files at its first boot: %s", e
        )
        appliance.g.write(_AUTORELABEL, b"")
    finally:
        for path in _SCRATCH if labels.by_guest else ():
            appliance.g.rm_f(path)


def _relabel(appliance: Appliance, labels: Labels, path: str) -> None:
    """Give the file at *path*, if there is one, the label it had or is to have."""
    try:
        mode = appliance.g.lstatns(path)["st_mode"]
    except RuntimeError:
        return  # it was removed
    before, now = labels.before.get(path), _label(appliance, path)
    if before is not None:
        context: str | None = before.rstrip(b"\0").decode("ascii", "replace")
    elif now is not None:
        return
    else:
        context = labels.contexts.of(_real(appliance, path), mode)
    if context and context.encode() + b"\0" != now:
        # With its NUL, as libselinux writes it.
        appliance.g.lsetxattr(_ATTRIBUTE, context, len(context) + 1, path)


def _label(appliance: Appliance, path: str) -> bytes | None:
    try:
        return bytes(appliance.g.lgetxattr(path, _ATTRIBUTE))
    except RuntimeError:
        return None  # no file, or no label


def _real(appliance: Appliance, path: str) -> str:
    """Return *path* without links in its folder, which a policy does not know."""
    folder, _, name = path.rpartition("/")
    # What is not there yet is made where the nearest folder is.
    while folder and not appliance.g.exists(folder):
        folder, _, more = folder.rpartition("/")
        name = f"{more}/{name}"
    return posixpath.join(appliance.g.realpath(folder or "/"), name)


def _paths(actions: Sequence[Action]) -> list[str]:
    """Return the paths of *actions* and the folders they lie in: some may be new."""
    found = set()
    for action in actions:
        for path in (action.change.path, *action.also):
            while path.strip("/") and path not in found:
                found.add(path)
                path = path.rpartition("/")[0]
    return sorted(found)


def _more(appliance: Appliance, guest: Guest, labels: Labels) -> list[str]:
    """Return what else was touched: under trees, and by the guest's own programs."""
    found = []
    with tempfile.TemporaryDirectory(prefix="v2v-") as folder:
        listed = Path(folder, "listed")
        for tree in labels.trees:
            if appliance.g.is_dir(tree, followsymlinks=True):
                appliance.g.find0(tree, str(listed))
                found += [f"{tree.rstrip('/')}/{n}" for n in _names(listed)]
        if labels.by_guest:
            _search(appliance, guest)
            _prove_short(appliance.g.filesize(_TOUCHED))
            found += _names(appliance.fetched(_TOUCHED, Path(folder)))
    return [path for path in found if posixpath.normpath(path) == path]


def _search(appliance: Appliance, guest: Guest) -> None:
    """Let the guest list what was changed since the stamp.

    Raises GuestError if it cannot.
    """
    points = [
        fs.mountpoint
        for fs in guest.filesystems
        if fs.mountpoint and fs.type not in _WITHOUT
    ]
    command = ["find", *(points or ["/"]), "-xdev", "-cnewer", _STAMP, "-print0"]
    try:
        appliance.g.sh(f"{shlex.join(command)} > {_TOUCHED}")
    except RuntimeError as e:
        raise GuestError(
            f"its programs touched files, and find failed: {printable(str(e))}"
        ) from e


def _prove_short(size: int) -> None:
    """Raise GuestError if a list of *size* bytes has too many names."""
    if size > _MOST * 200:
        raise GuestError("too many files were touched")


def _names(listed: Path) -> list[str]:
    """Return the names in *listed*, ended by NUL, but for those that are not UTF-8."""
    _prove_short(listed.stat().st_size)
    names = listed.read_bytes().split(b"\0")
    texts = (name.decode("utf-8", "surrogateescape") for name in names if name)
    return [text for text in texts if printable(text, len(text)) == text]


def findings(appliance: Appliance) -> Iterator[Finding]:
    """Yield that the guest is going to relabel all its files."""
    if appliance.g.exists(_AUTORELABEL) and policy(appliance) is not None:
        yield Finding(
            code="selinux-relabel",
            severity="warn",
            message="the guest relabels all its files at its first boot, which may "
            "take long, and then starts again",
            remedy="let it; or remove /.autorelabel and label what is new yourself",
        )
