# SPDX-License-Identifier: GPL-2.0-or-later
"""Customise a guest as virt-customize(1) does, in the order of its options.

Each module has PARSERS: for each of its options, what makes work of its value.  All is
parsed before any guest is opened; all that is done is in the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from v2v.errors import UsageError
from v2v.guests.customize import accounts, files, identity, scripts
from v2v.guests.customize.work import Place, Settings, Work, host_text
from v2v.operations import OPTIONS, Operation

_PARSERS = {
    **files.PARSERS,
    **accounts.PARSERS,
    **identity.PARSERS,
    **scripts.PARSERS,
}
_FROM_FILE = "commands-from-file"
_CRYPTO = "password-crypto"
# --run is another thing with our commands, but not in virt-customize's files.
_CALLED = {"run": "run-script"}

__all__ = ["Place", "Work", "parsed"]


def parsed(operations: Iterable[Operation]) -> list[Work]:
    """Return the work that *operations* come to, in their order.

    Raises UsageError if one of them makes no sense, or names no file of this host.
    """
    wanted = [one for each in operations for one in _with_files(each)]
    methods = [each.value for each in wanted if each.name == _CRYPTO]
    for method in methods:
        accounts.check_method(method)
    settings = Settings(crypto=methods[-1] if methods else None)
    return [
        _PARSERS[each.name](each.value, settings)
        for each in wanted
        if each.name != _CRYPTO
    ]


def _with_files(operation: Operation) -> Sequence[Operation]:
    """Return *operation*, or those in the file that it names."""
    if operation.name != _FROM_FILE:
        return [operation]
    text = host_text(_FROM_FILE, operation.value)
    return list(_commands(operation.value, text))


def _commands(name: str, text: str) -> Iterator[Operation]:
    r"""Yield the commands in *text*: "option value" lines; "\" at the end goes on."""
    for line in text.replace("\\\n", "").splitlines():
        word, _, value = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        word = _CALLED.get(word, word)
        # A file that names files would need a bound.
        if word not in OPTIONS or word == _FROM_FILE:
            raise UsageError(
                f"--{_FROM_FILE} {name}: {word[:50]} is none that may be there",
                "a line is an option without its dashes, a blank, its value",
            )
        if bool(OPTIONS[word][0]) != bool(value.strip()):
            raise UsageError(
                f"--{_FROM_FILE} {name}: {word} has {'no' if not value else 'a'} value",
                f"{word} {OPTIONS[word][0]}".strip(),
            )
        yield Operation(name=word, value=value.strip())
