# SPDX-License-Identifier: GPL-2.0-or-later
"""What a hostile server can do with what fetches a source: next to nothing."""

import filecmp
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipelines import Pipeline, command, wait_for
from url_server import web
from v2v import process, sandbox
from v2v.errors import HostError
from v2v.process import ToolError
from v2v.views.means import Means
from v2v.views.transports import nbdkit, s3, ssh

MIB = 2**20
SECRET = b"root of all evil"


@pytest.fixture(autouse=True)
def demanded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Demand the sandbox, so that no test passes for want of one."""
    monkeypatch.setenv("V2V_SANDBOX", "require")
    sandbox.usable.cache_clear()
    try:
        sandbox.usable()
    except HostError as e:
        pytest.skip(e.message)
    yield
    sandbox.usable.cache_clear()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with keys and secrets."""
    for name in (".ssh/id", ".ssh/config", ".aws/credentials", "letter", "work/key"):
        (tmp_path / "home" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "home" / name).write_bytes(SECRET)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def seen(within: list[str], folder: Path) -> set[str]:
    """Return which files of *folder* can be read within."""
    look = (
        f'cd "{folder}" && find . -type f -exec cat {{}} + >/dev/null && find . -type f'
    )
    done = process.run(["sh", "-c", look], within=within, ok=range(256))
    return {line.removeprefix("./") for line in done.stdout.decode().splitlines()}


def test_it_reads_what_it_is_given_and_nothing_else(home: Path) -> None:
    assert len(seen([], home)) == 5
    assert seen(nbdkit.walls(), home) == set()
    assert seen(nbdkit.walls(home / "letter"), home) == {"letter"}
    assert seen(sandbox.helper("curl", network=True), home) == set()


def test_keys_are_for_whom_they_let_in(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seen(ssh.walls(Means()), home) == {".ssh/id", ".ssh/config"}
    assert seen(s3.walls(Means()), home) == {".aws/credentials"}
    (home / ".ssh/config").write_text('Host x\n  IdentityFile "~/work/key"\n')
    assert "work/key" in seen(ssh.walls(Means()), home)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "letter"))
    assert seen(s3.walls(Means()), home) == {".aws/credentials", "letter"}


def test_it_writes_to_a_place_of_its_own_that_is_bounded(
    home: Path, tmp_path: Path
) -> None:
    within = nbdkit.walls(home / "letter")
    for place in (home / "letter", home / "new", Path("/usr/new"), Path("/new")):
        with pytest.raises(ToolError, match=r"(?i)read-only|nonexistent"):
            process.run(["sh", "-c", f"echo x >{place}"], within=within)
    keep = "cat /dev/zero >$TMPDIR/file; stat -c %s $TMPDIR/file"
    done = process.run(["sh", "-c", keep], within=within, seconds=60)
    assert int(done.stdout) <= 2**27
    assert (home / "letter").read_bytes() == SECRET


def test_what_unpacks_has_no_network(tmp_path: Path) -> None:
    assert "--unshare-net" in sandbox.helper("zstd")
    assert "--unshare-net" not in nbdkit.walls()


def test_each_program_of_a_url_is_within(
    tmp_path: Path, make_vm: Callable[..., Path], as_root: None
) -> None:
    """nbdfuse cannot be: it has limits."""
    vmx = make_vm()
    with web(vmx.parent) as server:
        run = f"read -r line; touch {tmp_path}/ready; exec sleep 100"
        inspect = command("v2v-inspect", "--no-guest", "--run", run)
        job = Pipeline([[*inspect, f"{server.url}/web01.vmx"]])
        job.start(tmp_path / "said")
        assert wait_for((tmp_path / "ready").exists)
        found = {"nbdkit": 0, "nbdfuse": 0}
        for pid in job.processes():
            name = (pid / "comm").read_text().strip()
            if name in found:
                found[name] += 1
                inside = not os.path.lexists(pid / "root" / str(vmx).lstrip("/"))
                assert inside == (name == "nbdkit")
                assert (
                    "Max data size             1610612736"
                    in (pid / "limits").read_text()
                )
        assert found == {"nbdkit": 1, "nbdfuse": 1}
        job.signal(0, 15)
        job.finish()
    assert job.left() == []


@pytest.mark.parametrize("asked", ["require", "off"])
def test_more_than_it_may_keep_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Within walls nbdkit keeps its blocks in memory: the oldest must go."""
    monkeypatch.setenv("V2V_SANDBOX", asked)
    sandbox.usable.cache_clear()
    folder = tmp_path / "web"
    folder.mkdir()
    noise = os.urandom(MIB)
    with (folder / "web01.raw").open("wb") as file:
        for number in range(200):
            file.write(noise[number:] + noise[:number])
    with web(folder) as server:
        inspect = command("v2v-inspect", "--no-guest", f"{server.url}/web01.raw")
        convert = command("v2v-convert", "-f", "raw", "-o", tmp_path / "out")
        job = Pipeline([inspect, convert]).start(tmp_path / "said")
        job.finish(200)
        assert server.sent < 204 * MIB
    assert job.statuses == [0, 0], (tmp_path / "said").read_text()
    made = tmp_path / "out" / "web01-sda.raw"
    assert filecmp.cmp(folder / "web01.raw", made, shallow=False)
    assert job.left() == []
