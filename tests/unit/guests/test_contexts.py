# SPDX-License-Identifier: GPL-2.0-or-later
"""Which label a path gets: as libselinux finds it in file_contexts(5)."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from v2v.guests.linux.contexts import Contexts
from v2v.guests.linux.patterns import Budget, PatternError

FILE, FOLDER, LINK = stat.S_IFREG | 0o644, stat.S_IFDIR | 0o755, stat.S_IFLNK | 0o777
MAIN = """\
# as semodule sorts it: the more special, the later

/.*\tsystem_u:object_r:default_t:s0
/etc(/.*)?\tsystem_u:object_r:etc_t:s0
/(etc|usr)/x.*\tsystem_u:object_r:choice_t:s0
/lib|/slow\tsystem_u:object_r:top_t:s0
/etc/systemd/system(/.*)?\tsystem_u:object_r:systemd_unit_file_t:s0
/etc/shadow.*\t--\tsystem_u:object_r:shadow_t:s0
/etc/.*\\.link\t-l\tsystem_u:object_r:link_t:s0
/var/lib(/.*)?\tsystem_u:object_r:var_lib_t:s0
/var/lib/nfs/rpc_pipefs(/.*)?\t<<none>>
/usr/libx?/y.*\tsystem_u:object_r:lib_t:s0
/etc/motd\tsystem_u:object_r:motd_t:s0
/etc/two words\tmalformed
/etc/bad\t-x\tsystem_u:object_r:bad_t:s0
/home/[^/]+/\\.ssh(/.*)?\tsystem_u:object_r:main_ssh_t:s0
"""
HOMES = "/home/[^/]+/\\.ssh(/.*)?\tunconfined_u:object_r:ssh_home_t:s0\n"
LOCAL = "/var/lib/v2v(/.*)?\tsystem_u:object_r:mine_t:s0\n/etc/m.*\tx:y:local_t:s0\n"
SUBS = "/srv/www /var/www\n/opt /etc/opt\n"
DIST = "/run /var/run\n/run/lock /var/lock\n/usr/lib64 /usr/lib\n/etc/opt /etc/x\n"
CONTEXTS = Contexts([MAIN, HOMES, LOCAL], [SUBS, DIST])


KNOWN = [
    ("/new", FILE, "default_t"),
    ("/etc", FOLDER, "etc_t"),
    ("/etc/systemd/system/v2v-firstboot.service", FILE, "systemd_unit_file_t"),
    ("/etc/shadow", FILE, "shadow_t"),
    ("/etc/shadow", FOLDER, "etc_t"),
    ("/etc/a.link", LINK, "link_t"),
    ("/etc/a.link", FILE, "etc_t"),
    ("/etc/bad", FILE, "etc_t"),
    ("/usr/xyz", FILE, "choice_t"),
    ("/lib", LINK, "top_t"),
    ("/usr/lib/yes", FILE, "lib_t"),
    # The last file that is read wins, but not over a line that is no pattern.
    ("/home/anna/.ssh/authorized_keys", FILE, "ssh_home_t"),
    ("/var/lib/v2v/status.json", FILE, "mine_t"),
    ("/etc/motd", FILE, "motd_t"),
    ("/etc/mtab", FILE, "local_t"),
    # Substitutions: the owner's, then the distribution's.
    ("/opt/a", FILE, "choice_t"),
    ("/usr/lib64/yes", FILE, "lib_t"),
]


@pytest.mark.parametrize(("path", "mode", "kind"), KNOWN)
def test_the_last_line_that_fits_decides(path: str, mode: int, kind: str) -> None:
    found = CONTEXTS.of(path, mode)
    assert found is not None and found.split(":")[2] == kind


@pytest.mark.parametrize("kind", ["file", "dir", "lnk_file"])
def test_libselinux_says_the_same(tmp_path: Path, kind: str) -> None:
    """As tried with Debian's whole policy: 5363 lines, 3013 paths, no difference."""
    # It is in a folder for administrators, and works for all.
    program = shutil.which("matchpathcon", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("matchpathcon is not installed")
    texts = {"": MAIN, ".homedirs": HOMES, ".local": LOCAL, ".subs": SUBS}
    for end, text in {**texts, ".subs_dist": DIST}.items():
        good = [
            n for n in text.splitlines(True) if " words" not in n and "bad" not in n
        ]
        (tmp_path / f"fc{end}").write_text("".join(good))
    paths = [path for path, *_ in KNOWN] + [
        "/run/lock/a",
        "/run/x",
        "/srv/www/a",
        "/usr",
    ]
    done = subprocess.run(
        [program, "-f", str(tmp_path / "fc"), "-m", kind, *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    modes = {"file": FILE, "dir": FOLDER, "lnk_file": LINK}
    ours = [f"{path}\t{CONTEXTS.of(path, modes[kind])}" for path in paths]
    assert done.stdout.splitlines() == ours


def test_some_paths_are_to_have_no_label() -> None:
    assert CONTEXTS.of("/var/lib/nfs/rpc_pipefs/x", FILE) is None
    assert Contexts([""]).of("/etc", FOLDER) is None


def test_a_line_that_is_not_understood_matters_only_where_it_may_fit() -> None:
    contexts = Contexts(
        ["/a/(?!x).*\tu:r:odd_t:s0\n/a/c\tu:r:c_t:s0\n", "/b\tu:r:b:s0"]
    )
    assert contexts.of("/a/c", FILE) == "u:r:c_t:s0"
    assert contexts.of("/b", FILE) == "u:r:b:s0"
    with pytest.raises(PatternError):
        contexts.of("/a/b", FILE)


def test_a_policy_that_takes_too_long_is_given_up() -> None:
    """Whose every line has to be tried, for every path."""
    text = "".join(f"/?(a*)*{n:04}\tu:r:t:s0\n" for n in range(2000))
    contexts = Contexts([text], budget=Budget(left=100_000))
    with pytest.raises(PatternError, match="too long"):
        contexts.of("/" + "a" * 1000, FILE)


@pytest.mark.parametrize(
    "policy", [(["/a b\n" * 60_000], []), ([""], ["/a /b\n" * 2000])]
)
def test_a_policy_with_too_many_lines_is_given_up(
    policy: tuple[list[str], list[str]],
) -> None:
    """Two million lines are 8 MiB, a gigabyte once read, and minutes for a path."""
    with pytest.raises(PatternError, match="too many"):
        Contexts(*policy).of("/a", FILE)
