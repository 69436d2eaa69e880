# SPDX-License-Identifier: GPL-2.0-or-later
"""Each reader of hostile bytes under atheris: V2V_FUZZ_SECONDS for all together.

What was found stays in tests/fuzz/seeds/TARGET, and is read first.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent


def _targets() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_targets", HERE / "targets.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_targets"] = module
    spec.loader.exec_module(module)
    return module


TARGETS = _targets().TARGETS
SECONDS = float(os.environ.get("V2V_FUZZ_SECONDS", "20"))
SHARED = HERE.parents[2] / "shared" / "corpus"


@pytest.mark.parametrize("name", TARGETS)
def test_only_a_clear_line_comes_out(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    seeds, work = tmp_path / "seeds", tmp_path / "work"
    for folder in (seeds, work):
        folder.mkdir()
    for number, data in enumerate(target.seeds):
        (seeds / f"seed{number}").write_bytes(data)
    # Those of the corpus are tests of their own; here they only help to begin.
    found = [*sorted(SHARED.glob(target.corpus))] if target.corpus else []
    for file in (*found, *sorted((HERE / "seeds" / name).glob("*"))):
        if file.stat().st_size <= target.largest:
            shutil.copy(file, seeds)
    crash = tmp_path / "crash"
    seconds = max(1, round(SECONDS / len(TARGETS)))
    limits = ["-timeout=20", "-rss_limit_mb=1536", f"-max_total_time={seconds}"]
    command = [sys.executable, str(HERE / "one.py"), name, str(work)]
    done = subprocess.run(
        [*command, *limits, f"-exact_artifact_path={crash}", str(seeds)],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds + 120,
        check=False,
    )
    said = done.stderr + done.stdout
    said = said[said.find("=== Uncaught") :][-4000:]
    if crash.exists():
        kept = Path(shutil.copy(crash, f"/var/tmp/v2v-fuzz-{name}"))
        said += f"\nagain: {' '.join(command[:3])} /tmp {kept}"
    assert done.returncode == 0, said
