# SPDX-License-Identifier: GPL-2.0-or-later
"""A document from a stranger opens nothing of this host, and breaks nothing."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from hostile import documents
from hostile.case import Forbidden
from pipelines import command

MIB = 2**20
_STAGES = {
    "export": ("v2v-export", "--run", "cat"),
    "convert": ("v2v-convert", "-o", "@FOLDER@/../out"),
    "define": ("v2v-define", "-t", "local", "-o", "@FOLDER@/../out"),
    "fixup": ("v2v-fixup", "--dry-run"),
}


def written(text: str, folder: Path, forbidden: Forbidden) -> str:
    for mark, value in {
        "@SECRET@": forbidden.path,
        "@PORT@": forbidden.port,
        "@FOLDER@": folder,
    }.items():
        text = text.replace(mark, str(value))
    return text


def run(
    stage: str, document: object, folder: Path, forbidden: Forbidden
) -> tuple[int, str]:
    """Return the status of *stage* for *document*, and all that it wrote."""
    text = document if isinstance(document, str) else json.dumps(document)
    argv = [written(word, folder, forbidden) for word in _STAGES[stage]]
    file = folder / "document"
    file.write_text(written(text, folder, forbidden))
    with file.open() as stdin:
        done = subprocess.run(
            ["prlimit", f"--data={640 * MIB}:", "--cpu=60:", *command(*argv)],
            stdin=stdin,
            capture_output=True,
            start_new_session=True,
            timeout=120,
            check=False,
        )
    errors = done.stderr.decode()
    assert "Traceback" not in errors, errors[-3000:]
    assert all(line.isprintable() for line in errors.splitlines())
    return done.returncode, done.stdout.decode() + errors


@pytest.fixture
def folder(tmp_path: Path, forbidden: Forbidden) -> Path:
    """A folder that nobody has granted, with a disk and a link that leads out."""
    made = tmp_path / "source"
    made.mkdir()
    (made / "a").write_bytes(os.urandom(MIB))
    (made / "link").symlink_to(forbidden.path)
    return made


@pytest.mark.parametrize("stage", ["export", "convert"])
@pytest.mark.parametrize("name", documents.REACHING)
def test_it_reaches_nothing(
    name: str, stage: str, folder: Path, forbidden: Forbidden
) -> None:
    status, said = run(stage, documents.REACHING[name], folder, forbidden)
    assert status == 12, said[-3000:]
    assert "secret:" not in said
    assert said.count(": error: ") == 1, said


@pytest.mark.parametrize("stage", ["export", "convert"])
@pytest.mark.parametrize("name", documents.ODD)
def test_it_breaks_nothing(
    name: str, stage: str, folder: Path, forbidden: Forbidden
) -> None:
    status, said = run(stage, documents.ODD[name], folder, forbidden)
    assert status in (3, 4, 12, 13), said[-3000:]
    assert ": error: " in said
    assert {file.name for file in folder.parent.iterdir()} <= {
        *("source", "outside", "state", "out")
    }
