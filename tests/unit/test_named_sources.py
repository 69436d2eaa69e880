# SPDX-License-Identifier: GPL-2.0-or-later
"""Lists of sources: a line each, or ended by NUL."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from v2v import named_sources
from v2v.errors import UsageError

NAMES = st.lists(st.binary(min_size=1, max_size=40).filter(lambda b: b"\0" not in b))


@given(NAMES)
def test_whatever_a_name_holds_it_comes_back(names: list[bytes]) -> None:
    sources = [os.fsdecode(name) for name in names]
    assert named_sources.parse(named_sources.text(sources), "-") == sources


@pytest.mark.parametrize(
    "data", [b"a b.vmx\n\nhttps://x/y?z\n", b"a b.vmx\r\nhttps://x/y?z", b"a b.vmx\0https://x/y?z\0"]
)  # fmt: skip
def test_lines_and_what_find_prints(data: bytes) -> None:
    assert named_sources.parse(data, "x") == ["a b.vmx", "https://x/y?z"]


def test_a_file_follows_what_is_given(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("b\nc\n")
    assert named_sources.named(["a"], str(tmp_path / "list")) == ("a", "b", "c")


@pytest.mark.parametrize("file", ["", "/dev/null", "/", "/none", "a\0b", "/dev/zero"])
def test_what_is_no_list_is_one_clear_line(file: str) -> None:
    with pytest.raises(UsageError) as caught:
        named_sources.named([], file)
    assert "\n" not in caught.value.message
    assert repr(file)[1:-1] in caught.value.message
