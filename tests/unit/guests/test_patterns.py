# SPDX-License-Identifier: GPL-2.0-or-later
"""The expressions of SELinux policies: as re has them, but never slow."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v.guests.linux import patterns
from v2v.guests.linux.patterns import PatternError, matches

# As they are in the reference policy and in Fedora's.
REAL = [
    (r"/etc/.*\.sh", "/etc/a.sh", "/etc/ash"),
    (r"/etc(/.*)?", "/etc", "/etcetera"),
    (r"/lib(64)?/modules/[^/]+/.*", "/lib64/modules/6.1/x", "/lib/modules//x"),
    (r"/var/spool/(cron|at)/[^/]*", "/var/spool/at/", "/var/spool/at/a/b"),
    (r"/dev/tty[0-9a-f]+", "/dev/tty0f", "/dev/tty"),
    (r"/boot/(.*/)?System\.map(-.*)?", "/boot/System.map-6", "/boot/xSystem.map"),
    (r"/opt/(?:a|b){2,3}", "/opt/aba", "/opt/a"),
    (r"/x/[[:digit:]]{1,}\d\w", "/x/12_", "/x/a1_"),
    (r"/root(/[^.]*)+", "/root/a/b", "/root/.x"),
    (r"/tmp/x-%{USER}{2}(/.*)?", "/tmp/x-%{USER}}/y", "/tmp/x-%{USER}"),
    (r"^/a[]^-]\$$", "/a-$", "/ab$"),
]


@pytest.mark.parametrize(("pattern", "good", "bad"), REAL)
def test_what_policies_hold_is_matched(pattern: str, good: str, bad: str) -> None:
    assert matches(pattern, good)
    assert not matches(pattern, bad)


ATOMS = st.sampled_from(["a", "b", "/", ".", "[ab]", "[^a]", "[a-b/]", r"\.", "(?:)"])


def quantified(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    ends = st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "{0,}", "*?"])
    rows = st.lists(inner, max_size=3).map("".join)
    groups = st.lists(rows, min_size=1, max_size=3).map(lambda p: f"({'|'.join(p)})")
    return st.tuples(groups, ends).map("".join)


@given(
    st.recursive(ATOMS, quantified, max_leaves=6),
    st.lists(st.text("ab/.", max_size=6), max_size=8),
)
def test_it_is_as_re_has_it(pattern: str, texts: list[str]) -> None:
    for text in texts:
        known = re.fullmatch(pattern, text, re.DOTALL) is not None
        assert matches(pattern, text) == known, text


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(a",
            "a)",
            "[a",
            "a{3,2}",
            "a{256}",
            "a\\",
            "*a",
            "a**",
        ),
        *("(?=a)", "(?i)a", r"(a)\1", "a++", "[[.a.]]", "[b-a]", r"\bx", "a" * 2001),
        *("((((a{255}){255}){255}){255})", "(" * 50 + ")" * 50),
        "(((((){255}){255}){255}){255}){255}",
        f"[{'b' * 100}]",
    ],
)
def test_what_is_not_understood_or_too_much_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        matches(pattern, "a")


def test_what_takes_others_for_ever_is_quick() -> None:
    before = time.monotonic()
    assert not matches("(a*)*(a|a)*(a|aa)+b", "a" * 200)
    assert not matches("/(.*.*.*.*.*.*.*.*)*x", "/" + "y" * 4000)
    assert time.monotonic() - before < 5
    patterns._program.cache_clear()
