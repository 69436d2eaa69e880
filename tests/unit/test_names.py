# SPDX-License-Identifier: GPL-2.0-or-later
import pytest

from v2v import names


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("web01", "web01"),
        ("Büro Server", "Büro Server"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a/b\\c", "a_b_c"),
        ("-rf", "rf"),
        (".hidden", "hidden"),
        ("web\n01\x00\x7f\x9f\ufffe\uffff", "web_01_____"),
        ("trailing. ", "trailing"),
        ("...", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_a_name_becomes_one_that_files_and_domains_can_have(
    name: str, safe: str
) -> None:
    assert names.safe(name) == safe


def test_a_long_name_is_cut_between_characters() -> None:
    cut = names.safe("ü" * 300)
    assert len(cut.encode()) <= 200
    assert set(cut) == {"ü"}
