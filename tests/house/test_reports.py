# SPDX-License-Identifier: GPL-2.0-or-later
"""What users reported of other converters has tests here."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
WANTED = 20


def reports() -> Iterator[tuple[str, ...]]:
    """Yield the addresses of each report that marks a test."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                calls = (d for d in node.decorator_list if isinstance(d, ast.Call))
                yield from (_addresses(call) for call in calls if _is_report(call))


def _is_report(call: ast.Call) -> bool:
    return ast.unparse(call.func) in ("report", "pytest.mark.report")


def _addresses(call: ast.Call) -> tuple[str, ...]:
    return tuple(ast.literal_eval(word) for word in call.args)


def test_enough_reports_of_users_have_a_test() -> None:
    found = list(reports())
    assert all(url.startswith("https://") for urls in found for url in urls)
    assert len({urls[0] for urls in found}) >= WANTED
