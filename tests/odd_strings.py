# SPDX-License-Identifier: GPL-2.0-or-later
"""Strings that steer terminals, break lines and names; and what they must not do here.

Whatever a source calls its machine, its disks and networks: there is a document that is
JSON and UTF-8, or one line of error; people see no control character; and the target's
names, domain and script are legal.
"""

import json
import logging
import shlex
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path

from hypothesis import strategies as st

from target_vm import disk, domain_of, machine_of
from v2v import names, stage, summary
from v2v.document import VM, decode, encode_vm
from v2v.errors import V2VError
from v2v.targets import commandline, machine

# Of a message, in characters: one that a person reads.
LONGEST = 2000
ESCAPES = "\x1b]0;owned\x07\x1b[2J"
ODD = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "  a  ",
                ".",
                "..",
                "../../x",
                "/",
                "-rf",
                "--help",
                "~",
                "$(x)",
            ),
            *("a\nb", "a\r\nb", "a\tb", "\n\n", "a\0b", "\0", ESCAPES, "\x7f\x9b31m"),
            *("\u202egnp.exe", "\u2066a\u2069", "\u200b", "\ufeff", "\u2028a\u2029"),
            *("\ud800", "a\udcffb", "\ufffe", "\uffff", "\U000e0001", "e\u0301" * 40),
            *("%s", "%n%n", "%0a", "%00", "%2e%2e%2f", "{0}", "{name}", "${HOME}"),
            *('"', "'", "''", '"""', "\\", "\\\\", "|22", "`", "&amp;", "<b>", "]]>"),
            *("<!ENTITY x>", "<!--", "a;b", "a,b=c", "a:b", "[x]", "#x", "=", "None"),
            *("名前" * 100, "a" * 10240, "\u202e" * 1024, "𝛑", "00:00:00:00:00:00"),
            *("ff:ff:ff:ff:ff:ff", "0" * 12, "1" * 40, "-1", "nan", "true", "C:\\a\\b"),
            *(
                "\\\\server\\share",
                "[ds] a/b.vmdk",
                "file:///etc/passwd",
                "a://b",
                "$(x)",
            ),
        ]
    ),
    st.text(st.characters(), max_size=40),
    st.text(
        "\x00\x01\x1b\x7f\x85\u2028\u202e\ud800 \n\t%\\\"'/.<>&,=:;#a", max_size=40
    ),
)


def harmless(read: Callable[[], Iterable[VM]]) -> list[VM]:
    """Check what *read* gives; return it, nothing if that is one line of error."""
    try:
        found = list(read())
    except V2VError as e:
        shown(f"error: {e.message}; {e.remedy}")
        assert "\n" not in e.message
        assert len(e.message) < LONGEST
        return []
    for vm in found:
        _document(vm)
        _seen(vm)
        _named(vm)
        _defined(vm)
    return found


def shown(text: str) -> str:
    """Return *text* as the log shows it, after a check that it is one harmless line."""
    record = logging.LogRecord("v2v", logging.INFO, "", 0, "%s", (text,), None)
    line = stage._OneLine("v2v: ").format(record)
    assert line.isprintable()
    line.encode()
    return line


def _document(vm: VM) -> None:
    text = json.dumps(encode_vm(vm))
    # On a terminal too: what steers it is escaped.
    assert text.isascii()
    assert text.isprintable()
    again = decode(json.loads(text))
    assert (again.name, again.disks, again.nics) == (vm.name, vm.disks, vm.nics)
    # No name has halves of characters: a later stage could not write them.
    json.dumps(encode_vm(vm), ensure_ascii=False).encode()


def _seen(vm: VM) -> None:
    shown(f"{vm.name}: {[f.message for f in vm.findings]}")
    for text in (summary.summary(vm), summary.verdict(vm, ()), summary.source(vm)):
        assert all(c.isprintable() or c in "\n\t" for c in text)
        text.encode()
    count = 3 + len(vm.disks) + len(vm.nics) + len(vm.findings)
    assert len(summary.summary(vm).rstrip("\n").split("\n")) == count
    assert all(len(f.message) < LONGEST for f in vm.findings)


def _named(vm: VM) -> None:
    name = names.safe(vm.name)
    assert name
    assert len(name.encode()) <= 200
    assert not name.startswith(("-", "."))
    assert "/" not in name
    assert not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def _defined(vm: VM) -> None:
    """Make a domain and a script of *vm*, whose disks are in place."""
    disks = (d.having(target=disk(n).target) for n, d in enumerate(vm.disks[:20]))
    vm = vm.having(disks=tuple(disks), arch="x86_64")
    domain_of(vm)
    made = machine_of(vm)
    text = commandline.script(made, None, Path("/images"), kvm=True)
    assert shlex.split(text.partition("exec ")[2].replace("\\\n", " "))
    for warning in made.warnings:
        shown(warning)
    assert machine.text(vm.description or "").isprintable() or vm.description
