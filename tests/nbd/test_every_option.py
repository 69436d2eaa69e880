# SPDX-License-Identifier: GPL-2.0-or-later
"""No value of any option of any command ends in a traceback, or as a raw escape."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from every_option import MODULES
from pipelines import command

ROOT = Path(__file__).parents[2]
# What need not be found out for each case.
KNOWN = {"V2V_SANDBOX": "off", "V2V_ACCEL": "tcg"}
END = json.dumps({"v2v": 1, "kind": "end", "vms": 0, "failed": 0}) + "\n"


def described(source: Path) -> str:
    asked = command("v2v-inspect", "--no-guest", "--json", source)
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("name", MODULES)
def test_any_value_of_any_option_is_one_clear_line(name: str, tmp_path: Path) -> None:
    source = tmp_path / "web01.img"
    source.write_bytes(bytes(2**20))
    (tmp_path / "work").mkdir()
    # The others would serve the disk until somebody reads it, or look into it.
    takes = name in ("v2v-convert", "v2v-define")
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "every_option.py", name, source],
        input=described(source) if takes else END,
        capture_output=True,
        text=True,
        cwd=tmp_path / "work",
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT / 'tools'}", **KNOWN},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
