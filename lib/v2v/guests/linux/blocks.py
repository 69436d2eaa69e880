# SPDX-License-Identifier: GPL-2.0-or-later
"""The lines of a YAML file in block style, by how far right they stand.

For editing in place, where a YAML library would lose comments and order.
"""

from __future__ import annotations


def indent(line: str) -> int:
    """Return how many blanks *line* starts with."""
    return len(line) - len(line.lstrip())


def is_blank(line: str) -> bool:
    """Whether *line* says nothing: it is empty, or a comment."""
    return not line.strip() or line.lstrip().startswith("#")


def under(lines: list[str], head: int) -> list[int]:
    """Return the numbers of the lines that belong to the key at line *head*.

    A list's items may stand as far left as their key.
    """
    found = []
    for i in range(head + 1, len(lines)):
        item = lines[i].lstrip().startswith("- ")
        deeper = indent(lines[i]) - indent(lines[head])
        if not is_blank(lines[i]) and deeper < (0 if item else 1):
            break
        found.append(i)
    return [i for i in found if not is_blank(lines[i])]
