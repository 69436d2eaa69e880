# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile documents: a VM that a stranger describes to a stage by himself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

Document = Mapping[str, Any]
_FAR = 2**80


def vm(*layers: Document, **fields: Any) -> Document:
    """Return a document with a disk for each of *layers*, its source."""
    disks = [{"id": f"sd{chr(97 + n)}", "source": s} for n, s in enumerate(layers)]
    source = {"kind": "disk", "location": "@FOLDER@/a.vmx"}
    plain = {"v2v": 1, "id": "x", "name": "x", "memory": 2**20, "source": source}
    return {**plain, "disks": disks, **fields}


def disk(**fields: Any) -> Document:
    """Return a document with a disk of these *fields*."""
    return vm(disks=[{"id": "sda", **fields}])


_SECRET = "@SECRET@"
_LOCAL = "@FOLDER@/a"
_PORT = "127.0.0.1:@PORT@"

# What names the forbidden file or port in some way: none may be reached.
REACHING: Mapping[str, Document] = {
    "raw": vm({"server": "file", "path": _SECRET}),
    "folder": vm({"server": "file", "path": "@FOLDER@/../outside/secret"}),
    "proc": vm({"server": "file", "path": "/proc/self/root@SECRET@"}),
    "link": vm({"server": "file", "path": "@FOLDER@/link"}),
    "json": vm({"server": "file", "path": 'json:{"driver":"file"}'}),
    "nbd-path": vm({"server": "file", "path": f"nbd://{_PORT}/x"}),
    "image": vm({"server": "qemu", "path": _SECRET, "format": "qcow2"}),
    "backing": vm(
        {
            "server": "qemu",
            "path": _LOCAL,
            "format": "qcow2",
            "backing": [{"path": _SECRET, "format": "raw"}],
        }
    ),
    "parts": vm(
        {"server": "file", "path": _LOCAL, "parts": [{"path": _SECRET, "length": 512}]}
    ),
    "xva": vm({"server": "xva", "path": _SECRET, "member": "Ref:1", "length": 512}),
    "vma": vm({"server": "vma", "path": _SECRET, "member": "drive-scsi0"}),
    "origin": vm({"server": "file", "path": _LOCAL, "origin": _SECRET}),
    "stretch": vm(
        {
            "server": "file",
            "path": _LOCAL,
            "origin": _SECRET,
            "stretch": {"offset": 0, "length": 512},
        }
    ),
    "url": vm({"server": "file", "path": _LOCAL, "origin": f"http://{_PORT}/a.raw"}),
    "url-ssh": vm({"server": "file", "path": _LOCAL, "origin": f"ssh://{_PORT}/a"}),
    "url-of-backing": vm(
        {
            "server": "qemu",
            "path": _LOCAL,
            "format": "qcow2",
            "backing": [
                {"path": _LOCAL, "format": "raw", "origin": f"http://{_PORT}/a"}
            ],
        }
    ),
    "digest": vm(
        {
            "server": "file",
            "path": _SECRET,
            "digests": [
                {
                    "path": _SECRET,
                    "length": 512,
                    "algorithm": "sha256",
                    "value": "00",
                    "name": "x",
                    "said_by": "x",
                }
            ],
        }
    ),
    "grants": vm(
        {"server": "file", "path": _SECRET},
        grants=[{"folder": "/", "seal": "0" * 64}, {"folder": "", "seal": ""}],
    ),
    "seal": vm(
        {"server": "file", "path": _SECRET}, grants=[{"folder": "/", "seal": "\u00e9"}]
    ),
    "overlay": disk(
        source={"server": "file", "path": _SECRET},
        overlay={
            "server": "qemu",
            "path": _SECRET,
            "format": "qcow2",
            "over": "source",
        },
    ),
    "target": disk(target={"server": "file", "path": _SECRET}),
    "endpoint": disk(endpoint={"server": "file", "path": _SECRET}),
}

# What no stage can work on: it is told, and nothing worse.
ODD: Mapping[str, Document | str] = {
    "offset": vm({"server": "file", "path": _LOCAL, "offset": -1}),
    "far": vm({"server": "file", "path": _LOCAL, "offset": _FAR, "length": 512}),
    "length": vm({"server": "file", "path": _LOCAL, "length": 2**63}),
    "blank": vm({"server": "blank", "length": _FAR}),
    "stretch": vm(
        {
            "server": "file",
            "path": _LOCAL,
            "origin": _LOCAL,
            "stretch": {"offset": _FAR, "length": _FAR},
        }
    ),
    "zero": vm({"server": "file", "path": "a\0b"}),
    "surrogate": vm({"server": "file", "path": "\ud800"}),
    "surrogate-name": vm({"server": "file", "path": _LOCAL}, name="\ud800"),
    "long": vm({"server": "file", "path": "a" * 100_000}),
    "id": vm({"server": "file", "path": _LOCAL}, id="../../../x"),
    "id-line": vm({"server": "file", "path": _LOCAL}, id="x\n"),
    "name": vm({"server": "file", "path": _LOCAL}, name="../../x/\x1b]0;y\x07"),
    "dots": vm({"server": "file", "path": _LOCAL}, name=".."),
    "uri": disk(endpoint={"server": "nbd", "uri": "nbd://[::1/x"}),
    "uri-port": disk(endpoint={"server": "nbd", "uri": "nbd://h:99999999/x"}),
    "uri-socket": disk(endpoint={"server": "nbd", "uri": "nbd+unix:///?socket=/x\0y"}),
    "uri-long": disk(
        endpoint={"server": "nbd", "uri": f"nbd+unix:///?socket=/{'a' * 5000}"}
    ),
    "url": vm({"server": "file", "path": _LOCAL, "origin": "https://[/a"}),
    "chain": vm(
        {
            "server": "qemu",
            "path": _LOCAL,
            "format": "qcow2",
            "backing": [{"path": _LOCAL, "format": "qcow2"}] * 20_000,
        }
    ),
    "parts": vm(
        {
            "server": "file",
            "path": _LOCAL,
            "parts": [{"path": _LOCAL, "length": 1}] * 50_000,
        }
    ),
    "circle": disk(
        source={"server": "file", "path": _LOCAL, "over": "overlay"},
        overlay={"server": "file", "path": _LOCAL, "over": "source"},
    ),
    "deep": '{"a":' * 100_000,
    "number": '{"v2v": 1, "memory": ' + "9" * 100_000 + "}",
    "nan": '{"v2v": NaN, "id": "x"}',
    "lists": "[" * 1_000_000,
    "wide": json.dumps(vm(**{f"x{n}": n for n in range(100_000)})),
}
